"""Train each family for the same time on the same data, beside a trigram that never sees the question.

    python nbs/_bench/families.py --data data/train.txt --minutes 10 --out checkpoints/families

Writes results/families.csv and results/families_history.csv beside this file; 02_train shows them.
A second call with other --archs adds to them.
"""
import argparse
import math
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from chitchat.checkpoints import load_model
from chitchat.corpus import load_corpus
from chitchat.data import BOS, EOS, DataConfig
from chitchat.files import VOCAB_SIZES
from chitchat.models import REGISTRY, count_parameters
from chitchat.train import TrainConfig, evaluate, fit, metrics_from_sums, new_model, train_preset

RESULTS = Path(__file__).parent / "results"


def trigrams(data):
    for i in range(len(data)):
        ids = [BOS, BOS, *data[i][1].tolist(), EOS]
        yield from zip(ids, ids[1:], ids[2:])


class KneserNey:
    "Interpolated Kneser–Ney trigram, explained and checked in 02_train."

    def __init__(self, grams, vocab_size: int, d: float = 0.8):
        three = Counter(grams)
        two = Counter((v, w) for _, v, w in three)  # each different word before counts once
        self.d, self.V, self.orders = d, vocab_size, {}
        for counts in (three, two, Counter((w,) for _, w in two)):
            total, kinds = Counter(), Counter()
            for gram, c in counts.items():
                total[gram[:-1]] += c
                kinds[gram[:-1]] += 1
            self.orders[len(next(iter(counts)))] = counts, total, kinds

    def p(self, gram: tuple) -> float:
        "Probability of the last token after the others."
        if not gram:
            return 1 / self.V
        counts, total, kinds = self.orders[len(gram)]
        past, lower = gram[:-1], self.p(gram[1:])
        if not total[past]:
            return lower
        return (max(counts[gram] - self.d, 0) + self.d * kinds[past] * lower) / total[past]


def merge(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    "Replace a family's rows in a stored table."
    path = RESULTS / name
    if path.exists():
        old = pd.read_csv(path)
        rows = pd.concat([old[~old.model.isin(rows.model)], rows])
    RESULTS.mkdir(exist_ok=True)
    rows.to_csv(path, index=False)
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--preset", default="small")
    p.add_argument("--archs", nargs="+", default=[a for a in REGISTRY if a != "gru"])
    p.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    a = p.parse_args()
    corpus = load_corpus(a.data, DataConfig(vocab_size=VOCAB_SIZES[a.preset]))
    print(corpus.describe(), flush=True)
    t0 = time.perf_counter()
    trigram = KneserNey(trigrams(corpus.train), len(corpus.tok))
    floor = metrics_from_sums(corpus.valid, -sum(math.log(trigram.p(g)) for g in trigrams(corpus.valid)))
    about = dict(data=a.data.name, minutes=a.minutes, date=time.strftime("%Y-%m-%d"))
    row = dict(model="Kneser-Ney trigram", seconds=time.perf_counter() - t0, **floor, **about)
    merge("families.csv", pd.DataFrame([row]))
    for arch in a.archs:
        model = new_model(corpus, arch, a.preset)
        words = arch + " {seconds:.0f} s: {bits_per_char:.3f} bits/char, question gain {question_gain:.3f}"
        cfg = TrainConfig(minutes=a.minutes, **train_preset(arch, a.preset))
        history = fit(model, corpus.train, corpus.valid, cfg, out=a.out / arch, corpus=corpus,
                      on_eval=lambda row: print(words.format(**row), flush=True))
        figures = evaluate(load_model(a.out / arch), corpus.valid)
        last = history.iloc[-1]
        merge("families_history.csv", history.assign(model=arch))
        table = merge("families.csv", pd.DataFrame([dict(
            model=arch, parameters=count_parameters(model),
            seconds=last.seconds, tokens=int(last.tokens), tokens_per_second=last.tokens / last.seconds,
            **figures, **about)]))
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

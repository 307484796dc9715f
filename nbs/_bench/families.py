"""Train each family for the same time on the same data and write what came out, beside a trigram that never sees the question.

    python nbs/_bench/families.py --data data/train.txt --minutes 10 --out checkpoints/families

Writes results/families.csv and results/families_history.csv beside this file; 02_train shows them.
A second call with other --archs adds to them.
"""
import argparse
import time
from pathlib import Path

import pandas as pd

from chitchat.data import VOCAB_SIZES, DataConfig, load_corpus
from chitchat.models import REGISTRY, count_parameters, flops_per_token
from chitchat.train import KneserNey, TrainConfig, evaluate, fit, load_model, new_model, train_preset

RESULTS = Path(__file__).parent / "results"


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
    floor = KneserNey(corpus.train).evaluate(corpus.valid)
    about = dict(data=a.data.name, minutes=a.minutes, date=time.strftime("%Y-%m-%d"))
    merge("families.csv", pd.DataFrame([dict(model="Kneser-Ney trigram", seconds=time.perf_counter() - t0, **floor, **about)]))
    for arch in a.archs:
        model = new_model(corpus, arch, a.preset)
        show = lambda row: print(arch, f"{row['seconds']:.0f} s: perplexity {row['ppl']:.1f}, {row['bits_per_char']:.3f} bits per character, question gain {row['question_gain']:.3f}", flush=True)
        history = fit(model, corpus.train, corpus.valid, TrainConfig(minutes=a.minutes, **train_preset(arch, a.preset)), out=a.out / arch, corpus=corpus, on_eval=show)
        figures = evaluate(load_model(a.out / arch), corpus.valid)
        last = history.iloc[-1]
        merge("families_history.csv", history.assign(model=arch))
        table = merge("families.csv", pd.DataFrame([dict(
            model=arch, parameters=count_parameters(model), mflops=flops_per_token(model) / 1e6, seconds=last.seconds, tokens=int(last.tokens),
            tokens_per_second=last.tokens / last.seconds, **figures, **about)]))
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

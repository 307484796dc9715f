"""Does a model use the category it is given? On a file with categories, such as qa_data.jsonl.

    python nbs/_bench/category.py --data data/qa_data.jsonl.zip --arch lstm --out checkpoints/category

Trains (or takes up what stands in --out), then compares the perplexity of held-out answers with the right
category, with none and with a wrong one, and lets a naive Bayes classifier that knows only real answers
guess under which of three categories each of 200 questions was answered. Writes results/category.json.
"""

import argparse
import copy
import json
import re
import time
from pathlib import Path

import numpy as np

from chitchat.checkpoints import load_checkpoint
from chitchat.corpus import load_corpus
from chitchat.data import DataConfig
from chitchat.decoding import Responder
from chitchat.files import VOCAB_SIZES
from chitchat.train import TrainConfig, evaluate, fit, new_model, train_preset

RESULTS = Path(__file__).parent / "results"


class NaiveBayes:
    "Guesses the category of an answer from its bag of words; all categories equally likely before."

    def __init__(self, answers, categories):
        self.names = sorted(set(categories))
        bags = [self.bag(a) for a in answers]
        self.index = {w: i for i, w in enumerate(sorted({w for bag in bags for w in bag}))}
        counts = np.full((len(self.names), len(self.index)), 0.1)
        for bag, c in zip(bags, categories):
            np.add.at(counts[self.names.index(c)], [self.index[w] for w in bag], 1)
        self.logp = np.log(counts / counts.sum(1, keepdims=True))

    def bag(self, answer: str) -> list[str]:
        "Stems and marks, how the answer begins and ends, how long it is."
        words = [w[:6] for w in re.findall(r"\w+|[^\w\s]", answer.lower())]
        length = min(len(re.findall(r"\w+", answer)), 12)
        return [*words, *(f"^{w}" for w in words[:1]), *(f"{w}$" for w in words[-1:]), f"length {length}"]

    def __call__(self, answer: str) -> str:
        known = [self.index[w] for w in self.bag(answer) if w in self.index]
        return self.names[self.logp[:, known].sum(1).argmax()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--arch", default="transformer")
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--categories", nargs="+", default=["Викторина", "Армянское радио", "Пьеса: драма"])
    a = p.parse_args()
    corpus = load_corpus(a.data, DataConfig(vocab_size=VOCAB_SIZES["small"]))
    print(corpus.describe(), flush=True)
    fit(
        new_model(corpus, a.arch, "small"),
        corpus.train,
        corpus.valid,
        TrainConfig(minutes=a.minutes, **train_preset(a.arch, "small")),
        out=a.out,
        corpus=corpus,
        on_eval=lambda row: print(
            {k: round(row[k], 3) for k in ("seconds", "ppl", "bits_per_char")}, flush=True
        ),
    )
    ck = load_checkpoint(a.out)
    some = corpus.valid.subset(np.flatnonzero(corpus.valid.cat))  # pairs that have a category
    rng = np.random.default_rng(0)
    wrong = 1 + (some.cat - 1 + rng.integers(1, len(corpus.cats) - 1, len(some))) % (len(corpus.cats) - 1)
    result = dict(
        data=a.data.name, arch=a.arch, minutes=a.minutes, date=time.strftime("%Y-%m-%d"), pairs=len(some)
    )
    for name, cat in (("right", some.cat), ("none", 0 * some.cat), ("wrong", wrong.astype(some.cat.dtype))):
        asked = copy.copy(some)
        asked.cat = cat
        result[f"perplexity_{name}_category"] = evaluate(ck.model, asked)["ppl"]
    real = corpus.train_df[corpus.train_df.category.isin(a.categories)]
    real = real.groupby("category").head(real.category.value_counts().min())  # equally many of each
    judge = NaiveBayes(list(real.answer), list(real.category))
    responder = Responder(ck.model, ck.tok, ck.cats, ck.data_cfg)
    held = corpus.valid_df[corpus.valid_df.category.isin(a.categories)]
    real_hits = {
        c: float(np.mean([judge(x) == c for x in held.answer[held.category == c]])) for c in a.categories
    }
    result |= {f"people's own answers under «{c}» recognised": hit for c, hit in real_hits.items()}
    result["judge_on_real_answers"] = float(np.mean(list(real_hits.values())))
    questions = corpus.valid_df.question.drop_duplicates().sample(frac=1, random_state=0)[:200].tolist()
    result["chance"] = 1 / len(a.categories)
    for method in ("greedy", "rerank"):
        said = {c: responder.answers(questions, c, method=method, seed=0) for c in a.categories}
        hits = {c: float(np.mean([judge(x) == c for x in said[c]])) for c in a.categories}
        result[f"recognised, {method}"] = float(np.mean(list(hits.values())))
        result |= {f"«{c}», {method}": hit for c, hit in hits.items()}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, indent=1)
    (RESULTS / "category.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Does a model use the category it is given? On a file with categories, such as qa_data.jsonl.

    python nbs/_bench/category.py --data data/qa_data.jsonl.zip --arch lstm --out checkpoints/category

Trains (or takes up what stands in --out), then compares the perplexity of held-out answers with the right category, with
none and with a wrong one, and lets a naive Bayes classifier that knows only real answers guess under which of three
categories each of 200 questions was answered. Writes results/category.json and, ten questions under five categories, results/category_answers.csv.
"""
import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd

from chitchat.data import DataConfig, load_corpus
from chitchat.decoding import NaiveBayes, Responder
from chitchat.train import VOCAB_SIZES, TrainConfig, fit, load_checkpoint, new_model, total_nll, train_preset

RESULTS = Path(__file__).parent / "results"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--arch", default="transformer")
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--categories", nargs="+", default=["Викторина", "Армянское радио", "Пьеса: драма"])
    p.add_argument("--guidance", nargs="+", type=float, default=[1, 1.5, 2, 3], help="weights of the category in decoding")
    p.add_argument("--table", type=float, default=2, help="the weight that answers the table")
    p.add_argument("--show", nargs="+", default=["Викторина", "Армянское радио", "Пьеса: драма", "Что? Где? Когда?", "Пьеса: комедия"])
    a = p.parse_args()
    corpus = load_corpus(a.data, DataConfig(vocab_size=VOCAB_SIZES["small"]))
    print(corpus.describe(), flush=True)
    fit(new_model(corpus, a.arch, "small"), corpus.train, corpus.valid, TrainConfig(minutes=a.minutes, **train_preset(a.arch, "small")), out=a.out, corpus=corpus,
        on_eval=lambda row: print(f"{row['seconds']:.0f} s: perplexity {row['ppl']:.1f}, {row['bits_per_char']:.3f} bits per character", flush=True))
    ck = load_checkpoint(a.out)
    some = corpus.valid.subset(np.flatnonzero(corpus.valid.cat))  # pairs that have a category
    rng, n = np.random.default_rng(0), int(some.lengths[:, 1].sum())
    wrong = 1 + (some.cat - 1 + rng.integers(1, len(corpus.cats) - 1, len(some))) % (len(corpus.cats) - 1)
    result = dict(data=a.data.name, arch=a.arch, minutes=a.minutes, date=time.strftime("%Y-%m-%d"), pairs=len(some))
    for name, cat in (("right", some.cat), ("none", 0 * some.cat), ("wrong", wrong.astype(some.cat.dtype))):
        asked = copy.copy(some)
        asked.cat = cat
        result[f"perplexity_{name}_category"] = math.exp(total_nll(ck.model, asked) / n)
    real = corpus.train_df[corpus.train_df.category.isin(a.categories)]
    real = real.groupby("category").head(real.category.value_counts().min())  # equally many of each, or the largest class wins
    judge = NaiveBayes(list(real.answer), list(real.category))
    responder = Responder(ck.model, ck.tok, ck.cats, ck.data_cfg)
    held = corpus.valid_df[corpus.valid_df.category.isin(a.categories)]
    for c in a.categories:
        result[f"people's own answers under «{c}» recognised"] = float(np.mean([judge(x) == c for x in held.answer[held.category == c]]))
    result["judge_on_real_answers"] = float(np.mean([result[f"people's own answers under «{c}» recognised"] for c in a.categories]))
    questions = list(corpus.valid_df.drop_duplicates("question").question.sample(200, random_state=0))
    result["chance"] = 1 / len(a.categories)
    for w in a.guidance:
        hits = {c: float(np.mean([judge(x) == c for x in responder.answers(questions, c, category_guidance=w)])) for c in a.categories}
        result[f"recognised, category guidance {w:g}"] = float(np.mean(list(hits.values())))
        result |= {f"«{c}», category guidance {w:g}": hit for c, hit in hits.items()}
    result["category guidance of the table of answers"] = a.table
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "category.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    table = pd.DataFrame({"question": questions[:10]} | {c: responder.answers(questions[:10], c, category_guidance=a.table) for c in a.show})
    table.to_csv(RESULTS / "category_answers.csv", index=False)
    print(json.dumps(result, ensure_ascii=False, indent=1))
    print(table.to_string())


if __name__ == "__main__":
    main()

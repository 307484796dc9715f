"""Does each family learn the embedded sample in the demo's two minutes?

    python nbs/_bench/sample_families.py

Trains each family as `chitchat_demo --arch FAMILY` does and asks all held-out questions, each once in a category: share of the most
frequent answer, share of answers whose category a naive Bayes classifier that knows real answers only recognises, and, of questions
whose answer in the dataset names what they are about, share of answers that do so. Writes results/sample_families.csv, the dataset's own answers first; a second call with other --archs adds to it.
"""
import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd

from chitchat.data import DataConfig, load_corpus, sample_path
from chitchat.decoding import NaiveBayes, Responder, answer_stats
from chitchat.models import REGISTRY
from chitchat.train import VOCAB_SIZES, TrainConfig, fit, new_model, train_preset

PATH = Path(__file__).parent / "results" / "sample_families.csv"


def stems(text: str) -> set[str]:
    return {w[:4] for w in re.findall(r"\w{4,}", text.lower())}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=2)
    p.add_argument("--archs", nargs="+", default=[a for a in REGISTRY if a != "gru"])
    a = p.parse_args()
    corpus = load_corpus(sample_path(), DataConfig(vocab_size=VOCAB_SIZES["tiny"]))
    judge, held = NaiveBayes(list(corpus.train_df.answer), list(corpus.train_df.category)), corpus.valid_df.drop_duplicates(["question", "category"])
    questions, slots = list(held.question), [bool(stems(q) & stems(x)) for q, x in zip(held.question, held.answer)]

    def figures(name: str, answers: list[str], **more) -> dict:
        named = [bool(stems(q) & stems(x)) for q, x, slot in zip(questions, answers, slots) if slot]
        return dict(answers=name, most_frequent=answer_stats(answers, questions)["top1_share"], named=np.mean(named),
                    category_recognised=np.mean([judge(x) == c for x, c in zip(answers, held.category)]), **more)

    rows = [figures("dataset", list(held.answer))]
    for arch in a.archs:
        model = new_model(corpus, arch, "tiny")
        history = fit(model, corpus.train, corpus.valid, TrainConfig(minutes=a.minutes, evals=1, **train_preset(arch, "tiny")))
        answers = Responder(model, corpus.tok, corpus.cats, corpus.cfg).answers(questions, list(held.category))
        last = history.iloc[-1]
        rows.append(figures(arch, answers, steps=int(last.step), minutes=a.minutes, ppl=last.ppl))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    if PATH.exists():
        old = pd.read_csv(PATH)
        table = pd.concat([old[~old.answers.isin(table.answers)], table])
    table.sort_values("answers", key=lambda names: names != "dataset", kind="stable").to_csv(PATH, index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

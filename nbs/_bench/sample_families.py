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

from chitchat.corpus import load_corpus
from chitchat.data import DataConfig
from chitchat.decoding import Responder, answer_stats
from chitchat.files import VOCAB_SIZES, sample_path
from chitchat.models import REGISTRY
from chitchat.train import TrainConfig, fit, new_model, train_preset

PATH = Path(__file__).parent / "results" / "sample_families.csv"


def stems(text: str) -> set[str]:
    return {w[:4] for w in re.findall(r"\w{4,}", text.lower())}


class NaiveBayes:
    "Guesses the category of an answer from its words, additive smoothing; all categories equally likely before."

    def __init__(self, answers: list[str], categories: list[str]):
        self.names = sorted(set(categories))
        bags = [self.bag(a) for a in answers]
        self.index = {w: i for i, w in enumerate(sorted({w for bag in bags for w in bag}))}
        counts = np.full((len(self.names), len(self.index)), 0.1)
        for bag, c in zip(bags, categories):
            np.add.at(counts[self.names.index(c)], [self.index[w] for w in bag], 1)
        self.logp = np.log(counts / counts.sum(1, keepdims=True))

    @staticmethod
    def bag(answer: str) -> list[str]:
        "Beginnings of words, marks, how the answer begins and ends, and how long it is."
        words = [w[:6] for w in re.findall(r"\w+|[^\w\s]", answer.lower())]
        long = min(len(re.findall(r"\w+", answer)), 12)
        return [*words, *(f"^{w}" for w in words[:1]), *(f"{w}$" for w in words[-1:]), f"length {long}"]

    def __call__(self, answer: str) -> str:
        known = [self.index[w] for w in self.bag(answer) if w in self.index]
        return self.names[self.logp[:, known].sum(1).argmax()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=2)
    p.add_argument("--archs", nargs="+", default=[a for a in REGISTRY if a != "gru"])
    a = p.parse_args()
    corpus = load_corpus(sample_path(), DataConfig(vocab_size=VOCAB_SIZES["tiny"]))
    judge = NaiveBayes(list(corpus.train_df.answer), list(corpus.train_df.category))
    held = corpus.valid_df.drop_duplicates(["question", "category"])
    questions = list(held.question)
    slots = [bool(stems(q) & stems(x)) for q, x in zip(held.question, held.answer)]

    def figures(name: str, answers: list[str], **more) -> dict:
        named = [bool(stems(q) & stems(x)) for q, x, slot in zip(questions, answers, slots) if slot]
        recognised = np.mean([judge(x) == c for x, c in zip(answers, held.category)])
        return dict(answers=name, most_frequent=answer_stats(answers, questions)["top1_share"],
                    named=np.mean(named), category_recognised=recognised, **more)

    rows = [figures("dataset", list(held.answer))]
    for arch in a.archs:
        model = new_model(corpus, arch, "tiny")
        cfg = TrainConfig(minutes=a.minutes, evals=1, **train_preset(arch, "tiny"))
        history = fit(model, corpus.train, corpus.valid, cfg)
        answers = Responder(model, corpus.tok, corpus.cats, corpus.cfg).answers(questions,
            list(held.category))
        last = history.iloc[-1]
        rows.append(figures(arch, answers, steps=int(last.step), minutes=a.minutes, ppl=last.ppl))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    if PATH.exists():
        old = pd.read_csv(PATH)
        table = pd.concat([old[~old.answers.isin(table.answers)], table])
    table.sort_values("answers", key=lambda names: names != "dataset", kind="stable").to_csv(PATH,
        index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

"""Does each family learn the embedded sample in the demo's two minutes?

    python nbs/_bench/sample_families.py

Trains each family as `chitchat_demo` trains its LSTM and asks all held-out questions, once in a category.
Prints, the dataset's own answers first: the share of the most frequent answer; of questions whose answer in
the dataset names what they are about, the share of answers that do so; the share of answers whose category a
naive Bayes classifier recognises that knows real answers only.
"""
import argparse
import re

import numpy as np
import pandas as pd

from category import NaiveBayes

from chitchat.corpus import load_corpus
from chitchat.data import DataConfig
from chitchat.decoding import Responder, answer_stats
from chitchat.files import VOCAB_SIZES, sample_path
from chitchat.models import REGISTRY
from chitchat.train import TrainConfig, fit, new_model, train_preset


def stems(text: str) -> set[str]:
    return {w[:4] for w in re.findall(r"\w{4,}", text.lower())}


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
        responder = Responder(model, corpus.tok, corpus.cats, corpus.cfg)
        answers = responder.answers(questions, list(held.category))
        last = history.iloc[-1]
        rows.append(figures(arch, answers, steps=int(last.step), minutes=a.minutes, ppl=last.ppl))
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()

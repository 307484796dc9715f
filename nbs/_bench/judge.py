"""Which figure agrees with people? Marks of answers (see marks.py) on questions that nothing is reported on.

    python nbs/_bench/judge.py --checkpoint ck/lstm --data data/train.txt --marked marks/marked.csv \
        --reverse ck/reverse

`--marked`: columns question, system, answer, sensible, specific, fluent, as `marks.py score` writes them; the
system `cold` has two samples of one model a question. `--reverse`: a model of p(q|a), trained here for
`--minutes` where there is none. For each figure: how often it puts the better of two answers to a question
first (AUC within questions), for what models wrote, for `cold` alone and for what people answered to similar
questions; and for a logistic regression on all figures, cross-validated by question. Then the attack: answers
that must lose against people's own, a tie being half. Writes results/judge.csv and results/judge_attack.csv
beside this file; 03_decoding shows them.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from chitchat.checkpoints import load_model
from chitchat.corpus import load_corpus
from chitchat.data import Seq2SeqDataset, clean_text
from chitchat.decoding import Responder, answer_logp, words_of
from chitchat.train import TrainConfig, fit, new_model, train_preset

RESULTS = Path(__file__).parent / "results"
MARKS = ["sensible", "specific", "fluent"]


@torch.inference_mode()
def figures(responder, reverse, questions, answers, similarity):
    "What can be computed of each answer, without people."
    ids = [(responder.read(q), responder.tok.encode(a)[:40]) for q, a in zip(questions, answers)]
    n, m = (np.array([len(pair[k]) + 1 for pair in ids]) for k in (1, 0))
    asked = np.array(answer_logp(responder.model, [(q, a, 0) for q, a in ids]))
    anyway = np.array(answer_logp(responder.model, [([], a, 0) for _, a in ids]))
    back = np.array(answer_logp(reverse, [(a, q, 0) for q, a in ids]))
    alone = np.array(answer_logp(reverse, [([], q, 0) for q, _ in ids]))
    words = [(words_of([a]), words_of([q])) for q, a in zip(questions, answers)]
    return pd.DataFrame({
        "log p(a|q)": asked,
        "log p(a|q) / |a|": asked / n,
        "log p(a|q) / |a|^0.5": asked / n**0.5,
        "log p(a) / |a|": anyway / n,
        "(log p(a|q) - 0.5 log p(a)) / |a|": (asked - 0.5 * anyway) / n,
        "(log p(a|q) - log p(a)) / |a|": (asked - anyway) / n,
        "(log p(q|a) - log p(q)) / |q|": (back - alone) / m,
        "similarity of the neighbour": similarity,
        "no unknown word": [float(a <= responder.words | q) for a, q in words],
        "few words of the question": [-len(a & q) / max(1, len(a)) for a, q in words],
        "shortness": -np.log(n),
    })


def reverse_model(corpus, folder, minutes):
    "An LSTM that was shown the answers and learnt to say the questions."
    def turn(d):
        n = np.diff(d.src_off).astype(np.int32) + 1
        return Seq2SeqDataset(d.tgt, d.tgt_off, d.src, d.src_off, d.cat, n)

    turned = replace(corpus, train=turn(corpus.train), valid=turn(corpus.valid))
    if not (folder / "model.safetensors").exists():
        cfg = TrainConfig(minutes=minutes, evals=1, **train_preset("lstm", "small"))
        fit(new_model(turned, "lstm", "small"), turned.train, turned.valid, cfg, out=folder, corpus=turned)
    return load_model(folder)


def within(score, good, question):
    "Share of pairs of answers to one question that the score orders as the marks do; number of pairs."
    right = total = 0.0
    for _, rows in pd.DataFrame(dict(s=score, y=good, q=question)).groupby("q"):
        better = rows.y.values[:, None] > rows.y.values
        ahead = np.sign(rows.s.values[:, None] - rows.s.values)
        right, total = right + (ahead[better] + 1).sum() / 2, total + better.sum()
    return right / max(total, 1), int(total)


def logistic(x, y, l2=1.0):
    "Weights of a logistic regression, the last one without a feature."
    x, w = np.c_[x, np.ones(len(x))], np.zeros(x.shape[1] + 1)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w += np.linalg.solve((x.T * (p * (1 - p))) @ x + l2 * np.eye(len(w)), x.T @ (y - p) - l2 * w)
    return w


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--marked", required=True)
    p.add_argument("--reverse", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=2)
    a = p.parse_args()
    responder = Responder.from_checkpoint(a.checkpoint)
    corpus = load_corpus(a.data, responder.data_cfg, tok=responder.tok, cats=responder.cats)
    reverse = reverse_model(corpus, a.reverse, a.minutes)
    marked = pd.read_csv(a.marked, keep_default_na=False)
    marked = marked.drop_duplicates(["question", "answer"]).reset_index(drop=True)
    near = [{n.answer: n.score for n in responder.index.search(clean_text(q), 500)} for q in marked.question]
    similarity = [found.get(answer, 0.0) for found, answer in zip(near, marked.answer)]
    x = figures(responder, reverse, marked.question, marked.answer, similarity)
    good, fold = (marked.sensible + marked.specific) / 2, marked.question.factorize()[0] % 5
    said = np.where(np.array(similarity) > 0, "neighbour", "model")
    said[marked.system.str.startswith("people")] = "people"  # those dealt at random, too
    table = {}
    kinds = {"models": said == "model", "cold samples": marked.system == "cold"}
    for kind, these in (kinds | {"neighbours": said == "neighbour"}).items():
        z = ((x - x[these].mean()) / x[these].std().replace(0, 1))[these].values
        y, f, q = good[these].values, fold[these], marked.question[these]
        combined = np.zeros(len(y))
        for k in range(5):
            w = logistic(z[f != k], y[f != k])
            combined[f == k] = np.c_[z[f == k], np.ones((f == k).sum())] @ w
        columns = {name: within(x[name][these], y, q)[0] for name in x}
        columns["all together"], pairs = within(combined, y, q)
        table[f"{kind} ({pairs} pairs)"] = columns
    result = pd.DataFrame(table)
    print(result.round(3).to_string())
    result.round(4).to_csv(RESULTS / "judge.csv")

    some = corpus.valid_df[corpus.valid_df.question.str.endswith("?")].sample(300, random_state=0)
    q, own, rng = some.question.tolist(), some.answer.tolist(), random.Random(0)
    fakes = {
        "the question echoed": q,
        "its own words shuffled": [" ".join(rng.sample(t.split(), len(t.split()))) for t in own],
        "«не знаю.»": ["не знаю."] * len(q),
        "«а что такое?»": ["а что такое?"] * len(q),
        "another question's answer": own[1:] + own[:1],
    }
    real, none = figures(responder, reverse, q, own, 0.0), ["similarity of the neighbour", "shortness"]
    attack = {}
    for fake, texts in fakes.items():
        of_fake = figures(responder, reverse, q, texts, 0.0)
        attack[fake] = ((of_fake < real).mean() + (of_fake <= real).mean()) / 2  # a tie is half
    attack = pd.DataFrame(attack).drop(none)
    print(attack.round(3).to_string())
    attack.round(4).to_csv(RESULTS / "judge_attack.csv")


if __name__ == "__main__":
    main()

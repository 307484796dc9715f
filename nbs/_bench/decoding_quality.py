"""What each way of decoding does to the answers of trained checkpoints: a row a model and method.

People's answers come first. Held-out questions of `--data` are answered by every checkpoint in every way;
the figures are those of `answer_stats`. They say what is broken in the answers, not what is good: for that,
people have to read them, so some are printed.

    python nbs/_bench/decoding_quality.py --data data/train.txt --checkpoints ck/lstm ck/transformer ck/cnn

Writes results/decoding_quality.csv beside this file; 03_decoding shows it.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from chitchat.corpus import load_corpus
from chitchat.decoding import DecodeConfig, Responder, answer_stats, side_by_side, words_of

WAYS = {
    "greedy": DecodeConfig(),
    "beam 5": DecodeConfig(method="beam"),
    "nucleus 0.9": DecodeConfig(method="nucleus"),
    "cold nucleus": DecodeConfig(method="nucleus", temperature=0.7, min_p=0.05),
    "guided": DecodeConfig(guidance_scale=2.0),
    "rerank": DecodeConfig(method="rerank", num_candidates=16, temperature=0.7, min_p=0.05),
}
RESULTS = Path(__file__).parent / "results"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--checkpoints", nargs="+", required=True)
    p.add_argument("--n", type=int, default=500, help="held-out questions")
    p.add_argument("--show", type=int, default=5, help="of them printed with their answers")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    models = {Path(c).name: Responder.from_checkpoint(c) for c in a.checkpoints}
    first = next(iter(models.values()))
    corpus = load_corpus(a.data, first.data_cfg, tok=first.tok, cats=first.cats)
    known = words_of([*corpus.train_df.question, *corpus.train_df.answer])
    some = corpus.valid_df.drop_duplicates("question").sample(frac=1, random_state=0).head(a.n)
    ways = {name: asdict(cfg) | {"seed": tuple(range(len(some)))} for name, cfg in WAYS.items()}
    rows = []
    for name, responder in models.items():
        responder.words = known
        table = side_by_side(responder, some, ways)
        figures = {way: answer_stats(table[way], table.question, known) for way in ("dataset", *WAYS)}
        rows += [dict(model=name, method=way) | row for way, row in figures.items()]
        print(table.head(a.show).T.to_string())
    result = pd.DataFrame(rows)
    print(result.round(3).to_string(index=False))
    result.round(4).to_csv(RESULTS / "decoding_quality.csv", index=False)


if __name__ == "__main__":
    main()

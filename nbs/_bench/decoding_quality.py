"""What each way of decoding buys, for trained checkpoints: a row a model and method, people's answers first.

Held-out questions of `--data` are answered by every checkpoint in every way; the figures are those of `answer_stats`, and
`relevance`, the judge's: how often an answer is likelier after its own question than after nine random ones, by a model that
neither wrote nor chose it. The judge of a model is the next one of the list. The choice of `choose_decoding` is marked, and
with `--store` written into the checkpoint's folder.

    python nbs/_bench/decoding_quality.py --data data/train.txt --checkpoints ck/lstm ck/transformer ck/cnn --csv nbs/_bench/results/decoding_quality.csv --answers nbs/_bench/results/decoding_answers.csv
"""
import argparse
from pathlib import Path

import pandas as pd
import torch

from chitchat.data import load_corpus
from chitchat.decoding import CANDIDATES, Responder, choose_decoding, save_decoding, side_by_side, words_of

COLUMNS = ["top1_share", "top5_share", "distinct_1", "distinct_2", "repeated_3gram_share", "repeated_word_share", "punct_run_share", "unknown_word_share",
           "question_overlap", "mean_words", "relevance", "broken", "chosen"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--checkpoints", nargs="+", required=True, help="two or more; each is judged by the next")
    p.add_argument("--n", type=int, default=500, help="held-out questions")
    p.add_argument("--show", type=int, default=20, help="of them kept as text")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--store", action="store_true", help="write decoding.json into each checkpoint")
    p.add_argument("--csv")
    p.add_argument("--answers")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    models = {Path(c).name: Responder.from_checkpoint(c) for c in a.checkpoints}
    assert len(models) > 1, "a judge of its own answers is no judge: give two checkpoints or more"
    first = next(iter(models.values()))
    corpus = load_corpus(a.data, first.data_cfg, tok=first.tok, cats=first.cats)
    known, names, tables, shown = words_of([*corpus.train_df.question, *corpus.train_df.answer]), list(models), [], []
    for folder, (i, name) in zip(a.checkpoints, enumerate(names)):
        judge = names[(i + 1) % len(names)]
        cfg, table = choose_decoding(models[name], corpus.valid_df, models[judge], known, n=a.n)
        if a.store:
            save_decoding(folder, cfg, known)
        tables.append(table[COLUMNS].rename_axis("method").reset_index().assign(model=name, judge=judge))
        print(tables[-1].round(3).to_string(index=False), flush=True)
        some = corpus.valid_df.drop_duplicates("question").sample(frac=1, random_state=0).head(a.show)
        shown.append(side_by_side(models[name], some, {m: {"method": "greedy", "seed": tuple(range(len(some)))} | kw for m, kw in CANDIDATES.items()}).assign(model=name))
        if a.csv:
            pd.concat(tables).round(4).to_csv(a.csv, index=False)
        if a.answers:
            pd.concat(shown).to_csv(a.answers, index=False)


if __name__ == "__main__":
    main()

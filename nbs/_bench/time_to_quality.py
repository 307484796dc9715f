"""How long until a model of ours has the bits per character that Hugging Face's Marian has after ten minutes of training?

    pip install transformers==5.23.0
    python nbs/_bench/time_to_quality.py --data data/train.txt --minutes 10 --share 0.333

Marian (size of training_speed.py, AdamW, the learning rate schedule of 02_train) learns for --minutes, with that of --lrs which did best in a
fifth of the time, if there are several; before and after it, each family named in --archs learns from scratch for --share of the time, so that a
drift of the machine's speed shows. Times are of training alone.
Writes results/time_to_quality.csv (one row a run) and results/time_to_quality_history.csv beside this file; 02_train shows them.
"""
import argparse
import math
import time
from pathlib import Path

import pandas as pd
import torch
import training_speed
from training_speed import Marian, V

from chitchat.corpus import load_corpus
from chitchat.data import DataConfig, LengthBatchSampler, collate
from chitchat.train import TrainConfig, fit, lr_at, new_model, train_preset

RESULTS = Path(__file__).parent / "results"


@torch.inference_mode()
def bits_per_char(peer: Marian, data) -> float:
    total = 0.0
    peer.model.eval()
    for rows in LengthBatchSampler(data.lengths, 8000, shuffle=False):
        b = collate([data[i] for i in rows])
        total += peer.loss(b).item() * b.n_tokens
    peer.model.train()
    return total / math.log(2) / int(data.n_chars.sum())


def train_peer(corpus, minutes: float, lr: float, max_tokens: int) -> pd.DataFrame:
    "The plain loop: a batch, its mean loss, a step."
    peer, cfg, data = Marian(), TrainConfig(steps=1, learning_rate=lr), corpus.train
    sampler, rows, seconds, tokens, step, epoch = LengthBatchSampler(data.lengths, max_tokens,
                                                                     0), [], 0.0, 0, 0, 0
    while seconds < 60 * minutes:
        sampler.set_epoch(epoch)
        for batch in sampler.batches():
            t0 = time.perf_counter()
            b = collate([data[int(i)] for i in batch])
            for g in peer.opt.param_groups:
                g["lr"] = lr_at(step, seconds / 60 / minutes, cfg)
            peer.step(b)
            seconds, tokens, step = seconds + time.perf_counter() - t0, tokens + b.n_tokens, step + 1
            if seconds >= 6 * minutes * (len(rows) + 1) or seconds >= 60 * minutes:
                rows.append(dict(seconds=seconds, tokens=tokens, step=step,
                                 bits_per_char=bits_per_char(peer, corpus.valid)))
                print(f"Marian {seconds:.0f} s: {rows[-1]['bits_per_char']:.3f} bits per character, {tokens / seconds:.0f} tokens/s", flush=True)
            if seconds >= 60 * minutes:
                break
        epoch += 1
    return pd.DataFrame(rows).assign(model="Marian")


def train_ours(corpus, arch: str, minutes: float, seed: int) -> pd.DataFrame:
    cfg = TrainConfig(minutes=minutes, seed=seed, eval_pairs=len(corpus.valid), precision="fp32",
                      **train_preset(arch, "small"))
    history = fit(new_model(corpus, arch, "small", seed), corpus.train, corpus.valid, cfg, corpus=corpus)
    print(f"chitchat {arch}: {history.bits_per_char.iloc[-1]:.3f} bits per character after {history.seconds.iloc[-1]:.0f} s", flush=True)
    return history[["seconds", "tokens", "step", "bits_per_char"]].assign(model=f"chitchat {arch}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--share", type=float, default=1 / 3)
    p.add_argument("--archs", nargs="+", default=["transformer", "lstm"],
                   help="the first before Marian, the others after")
    p.add_argument("--lrs", type=float, nargs="+", default=[1e-3],
                   help="Marian's learning rates to choose from")
    p.add_argument("--dropout", type=float, default=0.1, help="Marian's; ours have none at this size")
    p.add_argument("--max_tokens", type=int, default=4000, help="Marian's tokens a batch")
    a = p.parse_args()
    torch.set_num_threads(2)
    corpus = load_corpus(a.data, DataConfig(vocab_size=V))
    training_speed.DROP = a.dropout
    tried = {lr: train_peer(corpus, a.minutes / 5, lr,
                            a.max_tokens).bits_per_char.iloc[-1] for lr in a.lrs} if len(a.lrs) > 1 else {a.lrs[0]: 0.0}
    lr = min(tried, key=tried.__getitem__)
    print(f"Marian's learning rate: {lr:g}", flush=True)
    runs = [train_ours(corpus, a.archs[0], a.minutes * a.share, 0),
            train_peer(corpus, a.minutes, lr, a.max_tokens)]
    runs += [train_ours(corpus, arch, a.minutes * a.share, 0) for arch in a.archs[1:]]
    goal = runs[1].bits_per_char.iloc[-1]
    rows = []
    for run in runs:
        there = run[run.bits_per_char <= goal]
        rows.append(dict(model=run.model.iloc[0], seconds=run.seconds.iloc[-1],
                         tokens_per_second=run.tokens.iloc[-1] / run.seconds.iloc[-1],
                         bits_per_char=run.bits_per_char.iloc[-1],
                         seconds_to_marian=there.seconds.iloc[0] if len(there) else math.nan, marian_lr=lr,
                         date=time.strftime("%Y-%m-%d")))
    table = pd.DataFrame(rows).assign(share_of_marian=lambda t: t.seconds_to_marian / t.seconds_to_marian.iloc[1])
    table.to_csv(RESULTS / "time_to_quality.csv", index=False)
    pd.concat(runs).to_csv(RESULTS / "time_to_quality_history.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

"""How long until a model of ours has the bits per character of Hugging Face's Marian after ten minutes?

    pip install transformers==5.23.0
    PRECISION=bf16 python nbs/_bench/time_to_quality.py --data data/train.txt --seeds 0 1 2

Marian (size of training_speed.py, AdamW, the learning rate schedule of 02_train) learns for --minutes, after
it each family named in --archs from scratch for --share of the time, seed by seed, all in one precision
(default: fp32). Times are of training alone. Writes results/time_to_quality.csv (one row a run) and
results/time_to_quality_history.csv beside this file.
"""
import argparse
import math
import time
from itertools import count
from pathlib import Path

import pandas as pd
import torch
from training_speed import PRECISION, Marian, V

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


def train_peer(corpus, minutes: float, seed: int) -> pd.DataFrame:
    "The plain loop: a batch, its mean loss, a step."
    peer, cfg, data = Marian(seed), TrainConfig(steps=1, learning_rate=1e-3), corpus.train
    sampler = LengthBatchSampler(data.lengths, 4000, seed)
    rows, seconds = [], 0.0
    tokens = step = 0
    for epoch in count():
        sampler.set_epoch(epoch)
        for batch in sampler.batches():
            t0 = time.perf_counter()
            b = collate([data[int(i)] for i in batch])
            for g in peer.opt.param_groups:
                g["lr"] = lr_at(step, seconds / 60 / minutes, cfg)
            peer.step(b)
            seconds, tokens, step = seconds + time.perf_counter() - t0, tokens + b.n_tokens, step + 1
            over = seconds >= 60 * minutes
            if over or seconds >= 6 * minutes * (len(rows) + 1):
                bits = bits_per_char(peer, corpus.valid)
                rows.append(dict(seconds=seconds, tokens=tokens, step=step, bits_per_char=bits))
                print(f"Marian, {seconds:.0f} s: {bits:.3f} bits/char", flush=True)
            if over:
                return pd.DataFrame(rows).assign(model="Marian", seed=seed)


def train_ours(corpus, arch: str, minutes: float, seed: int) -> pd.DataFrame:
    cfg = TrainConfig(minutes=minutes, eval_pairs=len(corpus.valid), precision=PRECISION, seed=seed,
                      **train_preset(arch, "small"))
    history = fit(new_model(corpus, arch, "small", seed), corpus.train, corpus.valid, cfg, corpus=corpus)
    last = history.iloc[-1]
    print(f"{arch}: {last.bits_per_char:.3f} bits/char after {last.seconds:.0f} s", flush=True)
    return history[["seconds", "tokens", "step", "bits_per_char"]].assign(model=f"chitchat {arch}", seed=seed)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--share", type=float, default=1 / 3)
    p.add_argument("--archs", nargs="+", default=["transformer"])
    p.add_argument("--seeds", nargs="+", type=int, default=[0])
    a = p.parse_args()
    torch.set_num_threads(2)
    corpus = load_corpus(a.data, DataConfig(vocab_size=V))
    runs, rows = [], []
    for seed in a.seeds:
        runs.append(train_peer(corpus, a.minutes, seed))
        goal = runs[-1].iloc[-1]
        runs += [train_ours(corpus, arch, a.minutes * a.share, seed) for arch in a.archs]
        for run in runs[-1 - len(a.archs):]:
            last, there = run.iloc[-1], run.seconds[run.bits_per_char <= goal.bits_per_char].min()
            rows.append(dict(model=last.model, seed=seed, precision=PRECISION, seconds=last.seconds,
                             tokens_per_second=last.tokens / last.seconds,
                             bits_per_char=last.bits_per_char, seconds_to_marian=there,
                             date=time.strftime("%Y-%m-%d"), share_of_marian=there / goal.seconds))
        table = pd.DataFrame(rows)
        table.to_csv(RESULTS / "time_to_quality.csv", index=False)
        pd.concat(runs).to_csv(RESULTS / "time_to_quality_history.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

"""Does it help? Two proposals for better models, each beside the same training without it.

    python nbs/_bench/ingredients.py --data data/train.txt --steps 1000 --seeds 0 1 2

An LSTM `small`, all held-out pairs. `average`: the mean of the weights of the last quarter of the steps.
`trigram`: the log-probabilities of a Kneser–Ney trigram, times a learned gate, are added to the logits
(Li et al. 2022, arXiv 2210.14431); in training no answer is among the counts that score it. Adds rows to
results/ingredients.csv beside this file; 02_train shows them.
"""
import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.optim.swa_utils import AveragedModel

from chitchat.checkpoints import DistributedContext
from chitchat.corpus import load_corpus
from chitchat.data import BOS, EOS, PAD, DataConfig
from chitchat.train import (TrainConfig, TrainState, batch_loss, bow_loss, condition_dropout, evaluate,
                            grad_accum_batches, lr_at, make_optimizer, new_model, pick_precision, token_loss,
                            train_preset, train_step)

RESULTS = Path(__file__).parent / "results" / "ingredients.csv"
DISCOUNT = 0.8


def totals(keys, counts, V):
    "Of sorted n-grams, written as numbers in base V: contexts, where each begins, its total and kinds."
    contexts, starts, kinds = np.unique(keys // V, return_index=True, return_counts=True)
    return contexts, np.append(starts, len(keys)), np.add.reduceat(counts, starts), kinds


class Trigram:
    "Interpolated Kneser–Ney as 02_train explains it, of all next tokens at once."

    def __init__(self, data, V):
        self.V = V
        ids = np.insert(data.tgt.astype(np.int64), data.tgt_off[1:], EOS)
        starts = data.tgt_off[:-1] + np.arange(len(data))
        before, first = np.roll(ids, 1), np.zeros(len(ids), bool)
        before[starts], first[starts] = BOS, True
        two_before = np.where(first, BOS, np.roll(before, 1))
        self.three, self.c3 = np.unique((two_before * V + before) * V + ids, return_counts=True)
        self.two, self.c2 = np.unique(self.three % V**2, return_counts=True)  # different tokens before
        c1 = np.bincount(self.two % V, minlength=V)
        one = np.maximum(c1 - DISCOUNT, 0) / c1.sum() + DISCOUNT * (c1 > 0).sum() / c1.sum() / V
        contexts, _, self.total2, self.kinds2 = totals(self.two, self.c2, V)
        self.row2 = np.zeros(V, int) - 1
        self.row2[contexts] = range(len(contexts))
        self.p2 = np.tile(one.astype(np.float32), (V, 1))
        self.p2[contexts] *= (DISCOUNT * self.kinds2 / self.total2)[:, None].astype(np.float32)
        total = self.total2[self.row2[self.two // V]]
        self.p2[self.two // V, self.two % V] += (np.maximum(self.c2 - DISCOUNT, 0) / total).astype(np.float32)
        self.contexts, self.starts, self.total3, self.kinds3 = totals(self.three, self.c3, V)
        self.one = one

    def logp(self, u, v, target=None):
        "Log-probabilities (N, V) after tokens u, v (N,); `target` is not counted where it stands itself."
        context = u * self.V + v
        at = np.minimum(np.searchsorted(self.contexts, context), len(self.contexts) - 1)
        known = self.contexts[at] == context
        rows, at = np.flatnonzero(known), at[known]
        p = self.p2[v]
        p[rows] *= (DISCOUNT * self.kinds3[at] / self.total3[at])[:, None].astype(np.float32)
        n = self.kinds3[at]
        entry = np.repeat(self.starts[at] - np.insert(np.cumsum(n), 0, 0)[:-1], n) + np.arange(n.sum())
        share = np.maximum(self.c3[entry] - DISCOUNT, 0) / np.repeat(self.total3[at], n)
        p[np.repeat(rows, n), self.three[entry] % self.V] += share.astype(np.float32)
        if target is not None:
            p[np.arange(len(v)), target] = self.without(context, at, v, target)
        return torch.from_numpy(np.log(p))

    def without(self, context, at, v, target):
        "Probability of each target by the other occurrences."
        c3 = self.c3[np.searchsorted(self.three, context * self.V + target)]
        alone = c3 == 1  # then the pair of the last two tokens has been seen after one context less
        i, r = np.searchsorted(self.two, v * self.V + target), self.row2[v]
        c2, t2 = self.c2[i] - alone, self.total2[r] - alone
        k2 = self.kinds2[r] - (c2 == 0)
        one = self.one[target]
        p2 = np.where(t2 > 0, (np.maximum(c2 - DISCOUNT, 0) + DISCOUNT * k2 * one) / np.maximum(t2, 1), one)
        t3, k3 = self.total3[at] - 1, self.kinds3[at] - alone
        p3 = (np.maximum(c3 - 1 - DISCOUNT, 0) + DISCOUNT * k3 * p2) / np.maximum(t3, 1)
        return np.where(t3 > 0, p3, p2)


class WithTrigram(torch.nn.Module):
    "Logits of a model plus gate · log-probabilities of counting."

    def __init__(self, model, trigram):
        super().__init__()
        self.model, self.trigram, self.cfg = model, trigram, model.cfg
        self.gate = torch.nn.Linear(model.cfg.d_model, 1)
        torch.nn.init.zeros_(self.gate.weight)
        torch.nn.init.zeros_(model.out_bias)  # counting knows how frequent a token is

    def logits(self, h, tgt_in, real, target=None):
        v, u = tgt_in.numpy(), np.roll(tgt_in.numpy(), 1, 1)
        u[:, 0] = BOS
        real = real.numpy()
        counted = self.trigram.logp(u[real], v[real], target)
        return self.model.logits(h) + 2 * self.gate(h).sigmoid() * counted

    def forward(self, src, tgt_in, cat=None):
        memory = self.model.encode(src, cat)
        h, _ = self.model.decode_hidden(tgt_in, memory, memory.init_state)
        every = torch.ones_like(tgt_in, dtype=torch.bool)
        return self.logits(h.flatten(0, 1), tgt_in, every).view(*tgt_in.shape, -1)


def trigram_loss(both, batch, cfg):
    "As `batch_loss`."
    memory = both.model.encode(batch.src, batch.cat)
    h, _ = both.model.decode_hidden(batch.tgt_in, memory, memory.init_state)
    real = batch.tgt_out != PAD
    target = batch.tgt_out[real]
    nll = token_loss(both.logits(h[real], batch.tgt_in, real, target.numpy()), target)
    bow = bow_loss(both.model.bow_logits(memory), batch.src, batch.tgt_out)
    return nll + cfg.bow_weight * bow, nll.detach()


def train(corpus, what, steps, seed):
    "A row for each thing that this training tells."
    cfg = TrainConfig(steps=steps, seed=seed, **train_preset("lstm", "small"))
    cfg = replace(cfg, precision=pick_precision(torch.device("cpu")))
    model, loss = new_model(corpus, "lstm", "small", seed).cpu(), batch_loss
    if what == "trigram":
        model, loss = WithTrigram(model, Trigram(corpus.train, len(corpus.tok))), trigram_loss
    opt, average, start = make_optimizer(model, cfg), AveragedModel(model), time.perf_counter()
    groups = grad_accum_batches(corpus.train, cfg, TrainState(), DistributedContext())
    for step, group in zip(range(steps), groups):
        for g in opt.param_groups:
            g["lr"] = lr_at(step, step / steps, cfg)
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batches = [condition_dropout(b, cfg, step / steps, random) for b in group.batches]
        train_step(model.train(), batches, opt, cfg, n_tokens=group.n_tokens, seeds=[step], loss=loss)
        if step >= 0.75 * steps and step % 5 == 0:
            average.update_parameters(model)
    about = dict(seed=seed, steps=steps, seconds=time.perf_counter() - start)
    yield dict(what=what, **about, **evaluate(model, corpus.valid))
    if what == "plain":
        yield dict(what="average", **about, **evaluate(average.module, corpus.valid))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--what", nargs="+", default=["plain", "trigram"])
    a = p.parse_args()
    corpus = load_corpus(a.data, DataConfig(vocab_size=8000))
    for seed in a.seeds:
        for what in a.what:
            rows = pd.DataFrame(train(corpus, what, a.steps, seed))
            rows = pd.concat([pd.read_csv(RESULTS), rows]) if RESULTS.exists() else rows
            rows.to_csv(RESULTS, index=False)
            print(rows.round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()

"""What must hold on every device, and where a step waits for it: the first part of gpu.py."""
import copy
import sys
import tempfile
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from chitchat import models
from chitchat.contract import check_seq2seq
from chitchat.corpus import Corpus, load_corpus
from chitchat.data import DataConfig, Seq2SeqDataset
from chitchat.decoding import DecodeConfig, Responder, generate
from chitchat.files import sample_path
from chitchat.models import REGISTRY, Seq2Seq, build_model, preset, reorder_state
from chitchat.train import TrainConfig, Trainer, fit, make_optimizer, train_step

FAMILIES = ("lstm", "cnn", "transformer")
LIBRARY = Path(models.__file__).parent
# deciles of the lengths of 136,000 real questions, and of their answers, in tokens
DECILES = ([1, 3, 5, 6, 8, 9, 10, 12, 15, 18, 48], [1, 4, 5, 6, 7, 9, 10, 12, 15, 18, 40])


def random_pairs(n: int, V: int) -> Seq2SeqDataset:
    "Pairs of random tokens, a few frequent, most rare, with the lengths of real ones."
    rng, parts = np.random.default_rng(0), []
    for deciles in DECILES:
        lengths = np.interp(rng.random(n), np.linspace(0, 1, 11), deciles).astype(np.int64)
        off = np.concatenate([[0], lengths.cumsum()])
        parts += [(4 + (V - 4) * rng.random(off[-1], np.float32) ** 3).astype(np.uint16), off]
    return Seq2SeqDataset(*parts, np.zeros(n, np.int32), 1 + 4 * np.diff(parts[3]))


class OnDevice(Seq2Seq):
    "Computes on its device what it is asked on the CPU, as `check_seq2seq` does."
    where: torch.device

    def encode(self, src, cat=None):
        self.to(self.where)
        return super().encode(src.to(self.where), None if cat is None else cat.to(self.where))

    def decode(self, tgt, memory, state):
        return super().decode(tgt.to(self.where), memory, state)


def contract(run, arch: str) -> dict:
    cfg = preset(arch, "base", vocab_size=20, n_categories=3, d_model=16, n_layers=2, n_heads=2)
    model = build_model(cfg)
    model.__class__, model.where = OnDevice, run.device
    with patch("chitchat.contract.reorder_state", lambda state, i: reorder_state(state, i.to(run.device))):
        return {"properties": len(check_seq2seq(model, range(1 if run.quick else 3)))}


def same_logits(run, arch: str) -> dict:
    "In float32, without the shorter mantissa that cuDNN takes by itself."
    model, b = run.model(arch).eval(), random_pairs(64, run.V).batch(range(64))
    on_cpu = copy.deepcopy(model).cpu()
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        there = model(*(t.to(run.device) for t in (b.src, b.tgt_in, b.cat))).cpu()
        here = on_cpu(b.src, b.tgt_in, b.cat)
    worst = ((there - here).abs().max() / here.std()).item()
    assert worst < 1e-3, f"logits differ by {worst:.2g} of their standard deviation"
    return {"difference": worst}


def losses(run, arch: str, precision: str, steps: int, folder: Path | None = None) -> np.ndarray:
    "Nats a token of each step; with a folder, fresh objects go on half way."
    cfg = TrainConfig(steps=steps, warmup_steps=5, precision=precision, max_tokens=run.max_tokens // 4)
    data, found = random_pairs(2000, run.V), []
    trainer = Trainer(run.model(arch), data, cfg, folder)
    for step in range(steps):
        if folder and step == steps // 2:
            trainer.save()
            trainer = Trainer(run.model(arch), data, cfg, folder)
        found.append(trainer.step()[0].nll)
    return np.array(found)


def precisions(run, arch: str) -> dict:
    tried = ("fp32", "bf16", "fp16") if run.device.type == "cuda" else ("fp32", "bf16")
    last = {p: float(losses(run, arch, p, 20)[-5:].mean()) for p in tried}
    assert all(abs(x / last["fp32"] - 1) < 0.05 for x in last.values()), str(last)
    return last


def resumed(run, arch: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        worst = float(np.abs(losses(run, arch, "bf16", 6) - losses(run, arch, "bf16", 6, Path(folder))).max())
    assert worst < 1e-2, f"losses differ by {worst:.2g}"
    return {"difference": worst}


def same_answers(run, arch: str, corpus: Corpus) -> dict:
    "Of a model that has learnt a little; a near tie may fall to the other side."
    model = run.model(arch, "tiny", vocab_size=len(corpus.tok), n_categories=len(corpus.cats))
    fit(model, corpus.train, corpus.valid, TrainConfig(steps=60, evals=1, eval_pairs=20, precision="fp32"))
    questions, shares = list(corpus.valid_df.question[:20]), {}
    for method in ("greedy", "beam"):
        there, here = (Responder(m, corpus.tok, corpus.cats, corpus.cfg).answers(questions, method=method)
                       for m in (model, copy.deepcopy(model).cpu()))
        shares[method] = sum(a == b for a, b in zip(there, here)) / len(questions)
    assert min(shares.values()) >= 0.9, f"as on the CPU: {shares}"
    return shares


def fused_loss(run) -> dict:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        return {"left_out": f"torch {torch.__version__} has none"}
    h, W, b = (torch.randn(*shape, device=run.device) for shape in ((999, 64), (run.V, 64), (run.V,)))
    target = torch.randint(run.V, (999,), device=run.device)
    plain = F.cross_entropy(F.linear(h, W, b), target, reduction="sum")
    with torch.autocast(run.device.type, torch.bfloat16):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=256)
        fused = F.linear_cross_entropy(h, W, target, linear_bias=b, reduction="sum", options=options)
    worst = (fused / plain - 1).abs().item()
    assert worst < 0.01, f"fused {fused.item():.6g}, plain {plain.item():.6g}"
    return {"difference": worst, "dtype": str(fused.dtype)}


class Waits(TorchFunctionMode):
    "Counts, by line of the library, the calls by which the host waits for what a device computes."
    NAMES = ("item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "__bool__", "__int__", "__float__",
             "__index__")

    def __init__(self, device: torch.device):
        super().__init__()
        self.device, self.found = device, Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        index = args[1] if name in ("__getitem__", "__setitem__") else ()
        index = index if isinstance(index, tuple) else (index,)
        masked = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in index)
        if (name in self.NAMES or masked) and args[0].device.type == self.device.type:
            frame = sys._getframe(1)
            while frame and Path(frame.f_code.co_filename).parent != LIBRARY:
                frame = frame.f_back
            where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""
            self.found[f"{where} {name}"] += 1
        return func(*args, **(kwargs or {}))


MOST_WAITS = {"lstm": 3, "cnn": 1, "transformer": 1}  # an LSTM packs its rows by their lengths


def waits(run, arch: str) -> dict:
    "Of a training step, and of decoding a token; on a GPU, of that step, what CUDA says, copies too."
    model, cfg = run.model(arch), TrainConfig(steps=1, precision="bf16")
    batch, opt = random_pairs(64, run.V).batch(range(64)), make_optimizer(model, cfg)
    step = partial(train_step, model, [batch], opt, cfg, n_tokens=batch.n_tokens)
    step()
    with Waits(run.device) as training:
        step()
    n, figures = sum(training.found.values()), {"lines": dict(training.found)}
    assert n <= MOST_WAITS[arch], f"{n} waits in a step: {figures}"
    if run.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        figures["cuda"] = dict(Counter(f"{Path(w.filename).name}:{w.lineno}" for w in said))
    many = []
    for new in (4, 12):
        how = DecodeConfig(min_new_tokens=new, max_new_tokens=new)
        with Waits(run.device) as decoding:
            generate(model, batch.src[:1].to(run.device), None, how)
        many.append(decoding.found)
    each = {line: (m - many[0][line]) / 8 for line, m in many[1].items() if m > many[0][line]}
    return {"a_step": n, "a_token": sum(each.values())} | figures | {"token_lines": each}


def right(run) -> None:
    for arch in REGISTRY:
        run.attempt(f"check_seq2seq, {arch}", contract, arch)
    with tempfile.TemporaryDirectory() as cache:
        corpus = load_corpus(sample_path(), DataConfig(vocab_size=500), max_rows=600, cache=cache)
    for arch in FAMILIES:
        run.attempt(f"logits as on the CPU, {arch}", same_logits, arch)
        run.attempt(f"loss after 20 steps, {arch}", precisions, arch)
        run.attempt(f"stopped and resumed, {arch}", resumed, arch)
        run.attempt(f"share of answers as on the CPU, {arch}", same_answers, arch, corpus)
        run.attempt(f"waits for the device, {arch}", waits, arch)
    run.attempt("fused vocabulary loss under autocast", fused_loss)

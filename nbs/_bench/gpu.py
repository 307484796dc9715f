"""All that depends on a GPU, in one command: is it right, how fast is it, where does the time go?

    python nbs/_bench/gpu.py --out gpu.json                 # at most 8 minutes
    python nbs/_bench/gpu.py --parts data --data data/train.txt --minutes 10
    python nbs/_bench/gpu.py --device cpu --quick           # toy sizes, as in .ci/run

It prints one table at the end. --out is written after each line of it, so that a run that was cut tells what
it found. A line that fails shows its error, the next one runs, and the exit code is 1. The last part takes
what time is left.

Nothing need be installed but torch, numpy, pandas, tokenizers, safetensors, tqdm, and, as a peer in decoding,
transformers. What else a machine without network lacks is fetched elsewhere, into a folder that git ignores;
this script imports from the wheels that lie there:

    pip download --no-deps --dest build/wheels razdel platformdirs

Tokens are those of answers, without padding; `mfu` is the share of the rate of a large bf16 product, measured
first, at which the model's own FLOPs are done: see `step_flops`.
"""
import argparse
import copy
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path += map(str, ROOT.glob("build/wheels/*.whl"))

import torch
import torch.nn as nn
import torch.nn.functional as F
from decoding_speed import marian
from gpu_right import FAMILIES, random_pairs, right
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chitchat.checkpoints import DistributedContext
from chitchat.corpus import Corpus, load_corpus
from chitchat.data import BOS, PAD, Batch, DataConfig, Seq2SeqDataset, pad_rows
from chitchat.decoding import DecodeConfig, Responder, generate
from chitchat.files import sample_path
from chitchat.models import ModelConfig, MultiHeadAttention, Seq2Seq, build_model, preset
from chitchat.train import (TrainConfig, TrainState, batch_loss, bow_loss, condition_dropout, evaluate, fit,
                            grad_accum_batches, make_optimizer, new_model, train_preset, train_step)


@dataclass
class Run:
    "How large everything is, and what was found."
    device: torch.device
    quick: bool
    data: Path
    out: Path | None
    end: float     # by `time.monotonic()`
    part: str = "machine"
    peak: float = 0.0  # FLOPs a second of a large product

    def __post_init__(self) -> None:
        self.V, self.max_tokens, self.n = (300, 600, 2000) if self.quick else (16_000, 32_000, 400_000)
        self.long, self.short = (0.4, 0.2) if self.quick else (30.0, 8.0)  # seconds of a measurement
        self.toy = dict(d_model=32, n_layers=1, n_heads=2) if self.quick else {}
        self.rows: list[dict] = []
        self.made: dict[ModelConfig, Seq2Seq] = {}

    def model(self, arch: str, size: str = "base", **changes) -> Seq2Seq:
        "A copy of an untrained model; to make a large LSTM anew takes seconds."
        cfg = preset(arch, size, **dict(vocab_size=self.V) | self.toy | changes)
        if cfg not in self.made:
            torch.manual_seed(0)
            self.made[cfg] = build_model(cfg)
        return copy.deepcopy(self.made[cfg]).to(self.device)

    def clock(self) -> float:
        "Seconds, when all that was asked of the device is done."
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def note(self, what: str, **figures) -> None:
        self.rows.append({"part": self.part, "what": what, **figures})
        print(self.part, what, *figures.values(), file=sys.stderr)
        if self.out:
            self.out.write_text(json.dumps(self.rows, indent=1, ensure_ascii=False), encoding="utf-8")

    def table(self) -> str:
        show = lambda v: f"{v:.4g}" if isinstance(v, float) else str(v)
        figures = lambda row: ", ".join(f"{k} {show(v)}" for k, v in row.items() if k not in ("part", "what"))
        return "\n".join(f"{row['part']:8} {row['what']:42} {figures(row)}" for row in self.rows)

    def attempt(self, what: str, work: Callable[..., dict], *args, **options) -> None:
        "Note what `work` finds, or in a line why it finds nothing."
        try:
            self.note(what, **work(self, *args, **options))
        except ImportError as e:
            self.note(what, left_out=str(e))
        except Exception as e:
            self.note(what, error=f"{type(e).__name__}: {' '.join(str(e).split())}"[:300])


# How fast does it train?

def product_rate(run: Run) -> float:
    "FLOPs a second of a product of two square bf16 matrices, 8192 wide."
    n, times = (256 if run.quick else 8192), []
    a, b = (torch.randn(n, n, device=run.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(20):
        t0 = run.clock()
        a @ b
        times.append(run.clock() - t0)
    return 2 * n**3 / statistics.median(times[5:])


def step_flops(model: Seq2Seq, src: Tensor, tgt: Tensor) -> float:
    """Of forward and backward, for pairs of these lengths, (B,) each. Forward: 2 for each number of a matrix
    and each token it multiplies, the vocabulary among them, and 4·D for each two tokens that a layer's
    attention joins. Backward: twice that."""
    D, V, L, arch = model.cfg.d_model, model.cfg.vocab_size, model.cfg.n_layers, model.cfg.arch
    question, answer, pair = 0, V * D, V * D  # numbers that multiply each token, or once a pair
    for name, p in model.named_parameters():
        if p.dim() == 2 and name.startswith(("to_", "decoder.first")):
            pair += p.numel()
        elif p.dim() == 2 and (name.startswith("encoder") or ".key." in name or ".cross.kv." in name):
            question += p.numel()
        elif p.dim() == 2 and name.startswith("decoder"):
            answer += p.numel()
    src, tgt = src.double(), tgt.double()
    joined = {"transformer": L * (src @ src + src @ tgt + tgt @ tgt / 2), "cnn": L * (src @ tgt)}
    products = src.sum() * question + tgt.sum() * answer + len(src) * pair
    return float(3 * (2 * products + 4 * D * joined.get(arch, src @ tgt)))


def ahead(groups: Iterator, device: torch.device) -> Iterator:
    "The same groups, made and pinned in a thread while the step before runs, and copied without a wait."
    pinned = lambda b: Batch(*(t.pin_memory() for t in vars(b).values())) if device.type == "cuda" else b

    def ready():
        group = next(groups)
        return replace(group, batches=[pinned(b) for b in group.batches])
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(ready)
        while True:
            group, following = following.result(), pool.submit(ready)
            yield group


def speed(run: Run, data: Seq2SeqDataset, arch: str, size: str = "base", *, seconds: float = 0.0,
          max_tokens: int = 0, change: Callable = lambda model: None, loss: Callable = batch_loss,
          thread: bool = False) -> dict:
    "Train as `fit` does, for some seconds after the first five steps."
    model = run.model(arch, size)
    change(model)
    settings = train_preset(arch, "base") | dict(max_tokens=max_tokens or run.max_tokens)
    cfg, seconds = TrainConfig(steps=10**9, precision="bf16", **settings), seconds or run.short
    opt = make_optimizer(model.train(), cfg)
    groups = grad_accum_batches(data, cfg, TrainState(), DistributedContext())
    groups = ahead(groups, run.device) if thread else groups
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for step in count():
        t = time.perf_counter()
        if step == 5:
            n, waiting, lengths, start = 0, 0.0, [], run.clock()
        elif step > 5 and t - start > seconds:
            break
        group = next(groups)
        batch = condition_dropout(group.batches[0], cfg, 0.0, torch.Generator().manual_seed(step))
        if step >= 5:
            n, waiting = n + group.n_tokens, waiting + time.perf_counter() - t
            lengths.append([(ids != PAD).sum(1) for ids in (batch.src, batch.tgt_out)])
        if thread:
            batch = Batch(*(t.to(run.device, non_blocking=True) for t in vars(batch).values()))
        train_step(model, [batch], opt, cfg, n_tokens=group.n_tokens, seeds=[step], loss=loss)
    took = run.clock() - start
    pairs = sum(len(src) for src, _ in lengths) / took
    mfu = sum(step_flops(model, *each) for each in lengths) / took / run.peak
    memory = torch.cuda.max_memory_allocated() / 2**30 if run.device.type == "cuda" else 0.0
    return {"tokens_per_s": n / took, "step_ms": 1000 * took / len(lengths), "mfu": mfu, "memory_gb": memory,
            "share_waiting_for_data": waiting / took, "epoch_minutes": 6.6e6 / pairs / 60}


class Unpacked(nn.Module):
    "`RNNEncoder` of LSTMs without packing: the backward direction reads each row turned round, padding last."

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.dropout, self.layers = encoder.dropout, nn.ModuleList()
        for rnn in encoder.layers:
            weights = rnn.state_dict()
            for end in ("", "_reverse"):
                one = nn.LSTM(rnn.input_size, rnn.hidden_size, batch_first=True)
                one.load_state_dict({name: weights[name + end] for name in one.state_dict()})
                self.layers.append(one.to(weights["bias_ih_l0"].device))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        at, n, h = torch.arange(x.shape[1], device=x.device), mask.sum(1, keepdim=True), x
        turn = torch.where(at < n, n - 1 - at, at).unsqueeze(-1)  # (B, S, 1), its own inverse
        for forth, back in zip(self.layers[::2], self.layers[1::2]):
            y = back(h.gather(1, turn.expand_as(h)))[0]
            h = self.dropout(torch.cat([forth(h)[0], y.gather(1, turn.expand_as(y))], -1))
        return (h + x) * mask.unsqueeze(-1)


@torch.no_grad()
def unpack(model: Seq2Seq) -> None:
    "Put `Unpacked` into the model; it must compute the same."
    src = random_pairs(64, model.cfg.vocab_size).batch(range(64)).src.to(model.out_bias.device)
    with torch.backends.cudnn.flags(allow_tf32=False):
        packed = model.eval().encode(src).out
        model.encoder = Unpacked(model.encoder)
        worst = (model.encode(src).out - packed).abs().max().item()
    assert worst < 1e-4, f"another result: {worst:.2g}"


def separate(model: Seq2Seq) -> None:
    for m in model.modules():
        if isinstance(m, MultiHeadAttention):
            m.fused = False


def compiled(model: Seq2Seq) -> None:
    model.encoder.compile(dynamic=True)
    model.decoder.compile(dynamic=True)


def chunked_loss(model: Seq2Seq, batch: Batch, cfg: TrainConfig) -> tuple[Tensor, Tensor]:
    "`batch_loss`, its logits made a few rows at a time, and again in the backward pass."
    memory = model.encode(batch.src, batch.cat)
    h, _ = model.decode_hidden(batch.tgt_in, memory, memory.init_state)
    some = lambda h, y: F.cross_entropy(model.logits(h).float(), y, ignore_index=PAD, reduction="sum")
    parts = zip(h.flatten(0, 1).split(4096), batch.tgt_out.flatten().split(4096))
    nll = sum(checkpoint(some, *part, use_reentrant=False) for part in parts)
    return nll + cfg.bow_weight * bow_loss(model.bow_logits(memory), batch.src, batch.tgt_out), nll.detach()


def training(run: Run) -> None:
    data, t = random_pairs(run.n, run.V), "transformer"
    for arch in FAMILIES:
        run.attempt(f"{arch}, base", speed, data, arch, seconds=run.long)
    run.attempt("lstm, encoder not packed", speed, data, "lstm", change=unpack)
    run.attempt("lstm, batches from a thread", speed, data, "lstm", thread=True)
    run.attempt("transformer, batches from a thread", speed, data, t, thread=True)
    run.attempt("transformer, attention not in one kernel", speed, data, t, change=separate)
    with patch("chitchat.models.rms_norm", lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-6)):
        run.attempt("transformer, norm of queries in one kernel", speed, data, t)
    run.attempt("transformer, vocabulary loss in chunks", speed, data, t, loss=chunked_loss)
    for n in (run.max_tokens // 2, run.max_tokens * 2):
        run.attempt(f"transformer, max_tokens={n}", speed, data, t, max_tokens=n)
    if not run.quick:  # half a minute of compiling
        run.attempt("transformer, compiled", speed, data, t, change=compiled)


def epoch(run: Run) -> None:
    data = random_pairs(20_000 if run.quick else 6_600_000, run.V)
    for size in ("small", "base"):
        what = f"lstm, {size}, {len(data):,} pairs, thread"
        run.attempt(what, speed, data, "lstm", size, seconds=run.long, thread=True)


# How fast does it answer?

def ours(run: Run, arch: str, method: str) -> Callable[[Tensor, int], list]:
    model = run.model(arch)
    return lambda src, new: generate(model, src, None,
                                     DecodeConfig(method, min_new_tokens=new, max_new_tokens=new))


def plain_loop(run: Run, arch: str, graph: bool) -> Callable[[Tensor, int], list]:
    "Greedy steps of the decoder alone, without rules; with `graph`, recorded in the first call and replayed."
    model, memory, replay, out = run.model(arch).eval(), None, None, None

    def steps(src: Tensor, new: int) -> Tensor:
        token, state, found = src.new_full((len(src), 1), BOS), memory.init_state, []
        for _ in range(new):
            logits, state = model.decode(token, memory, state)
            token = logits[:, -1:].argmax(-1)
            found.append(token)
        return torch.cat(found, 1)

    @torch.inference_mode()
    def answer(src: Tensor, new: int) -> list:
        nonlocal memory, replay, out
        if memory is None:
            memory = model.encode(src)
        if not graph:
            return steps(src, new).tolist()
        if replay is None:
            expected, replay = steps(src, new).tolist(), torch.cuda.CUDAGraph()
            with torch.cuda.graph(replay):
                out = steps(src, new)
            replay.replay()
            assert out.tolist() == expected, "the graph says something else"
        replay.replay()
        return out.tolist()
    return answer


def hugging_face(run: Run) -> Callable[[Tensor, int], list]:
    cfg = run.model("transformer").cfg
    answer = marian(run.V, cfg.d_model, cfg.n_layers, cfg.n_heads, run.device)[0]
    return lambda src, new: answer([row[row != PAD].tolist() for row in src.cpu()], "greedy", new)


def answers_per_second(run: Run, make: Callable, batch: int) -> dict:
    new, g = (6 if run.quick else 32), torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 16, (batch,), generator=g).tolist()
    questions = [torch.randint(4, run.V, (n,), generator=g).tolist() for n in lengths]
    answer, times = make(run), []
    while len(times) < 4 or sum(times) < run.short / 4:
        t0 = run.clock()
        found = answer(pad_rows(questions).to(run.device), new)
        times.append(run.clock() - t0)
    assert len(found) == batch
    median = statistics.median(times[2:])
    return {"answers_per_s": batch / median, "ms_a_token": 1000 * median / new}


def decoding(run: Run) -> None:
    many = 4 if run.quick else 256
    for arch in FAMILIES:
        for method, batch in (("greedy", 1), ("rerank", 1), ("greedy", many)):
            make = partial(ours, arch=arch, method=method)
            run.attempt(f"{arch}, {method}, {batch} at once", answers_per_second, make, batch)
        for graph in (False, True) if run.device.type == "cuda" else (False,):
            make, how = partial(plain_loop, arch=arch, graph=graph), "CUDA graph" if graph else "plain loop"
            run.attempt(f"{arch}, steps in a {how}", answers_per_second, make, 1)
    for batch in (1, many):
        run.attempt(f"Hugging Face Marian, greedy, {batch} at once", answers_per_second, hugging_face, batch)


# What does it learn in the time that is left?

def learn(run: Run, arch: str, corpus: Corpus, seconds: float) -> dict:
    settings = train_preset(arch, "base") | dict(max_tokens=run.max_tokens, warmup_steps=200)
    model = new_model(corpus, arch, "base", **run.toy).to(run.device)
    fit(model, corpus.train, corpus.valid, TrainConfig(minutes=seconds / 60, evals=1, **settings))
    questions = list(corpus.valid_df.question[:10])
    answers = Responder(model, corpus.tok, corpus.cats, corpus.cfg).answers(questions)
    return evaluate(model, corpus.valid, 2000) | {"answers": dict(zip(questions, answers))}


def data(run: Run) -> None:
    with tempfile.TemporaryDirectory() as cache:
        cfg, rows = DataConfig(vocab_size=run.V), 600 if run.quick else None
        corpus = load_corpus(run.data, cfg, max_rows=rows, cache=cache)
        seconds = 2.0 if run.quick else min(180.0, (run.end - time.monotonic()) / len(FAMILIES) - 15)
        for arch in FAMILIES if seconds > 1 else ():
            run.attempt(f"{arch}, base, {seconds:.0f} s", learn, arch, corpus, seconds)


PARTS = {"right": (right, 90), "training": (training, 240), "epoch": (epoch, 100), "decoding": (decoding, 60),
         "data": (data, 600)}  # and the most seconds that each may take


class OutOfTime(BaseException):
    "No `except Exception` on the way stops it."


def stop(*_) -> None:
    raise OutOfTime("its time was over")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda")
    p.add_argument("--quick", action="store_true", help="toy sizes")
    p.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    p.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    p.add_argument("--data", type=Path, default=sample_path(), help="file for the last part")
    p.add_argument("--out", type=Path, help="JSON file")
    a = p.parse_args()
    run = Run(torch.device(a.device), a.quick, a.data, a.out, time.monotonic() + 60 * a.minutes - 10)
    signal.signal(signal.SIGALRM, stop)
    run.peak = product_rate(run)
    name = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU"
    run.note(name, torch=torch.__version__, date=time.strftime("%Y-%m-%d"), peak_tflops=run.peak / 1e12)
    for run.part in a.parts:
        (work, most), t0 = PARTS[run.part], time.monotonic()
        signal.alarm(max(1, int(run.end - t0 if run.quick else min(most, run.end - t0))))
        try:
            work(run)
        except (OutOfTime, Exception) as e:
            run.note("the rest", error=f"{type(e).__name__}: {e}")
        signal.alarm(0)
        run.note("the whole part", seconds=time.monotonic() - t0)
    print(run.table())
    return int(any("error" in row for row in run.rows))


if __name__ == "__main__":
    sys.exit(main())

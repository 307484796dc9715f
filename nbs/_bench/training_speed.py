"""Training speed beside other libraries: target tokens/s of forward, backward and step.

    pip install transformers==5.23.0 x-transformers==2.31.10    # a peer that is missing is left out
    python nbs/_bench/training_speed.py --data data/train.txt --rounds 12

The same batches for all, each library in its own process, interleaved rounds, medians. fairseq no longer
installs by itself: unpack its source (pip download --no-deps --no-binary :all: fairseq==0.12.2), install
what it imports (cython hydra-core omegaconf bitarray sacrebleu regex) and pass --fairseq FOLDER.

Sizes: vocabulary 8,000; Transformers 3+3 layers, D 256, FF 1,024, 4 heads, one tied embedding; convolutional
6+6 layers of 256, kernel 3, attention in each decoder layer; LSTM 2+2 layers of 512 with attention and, as
ours, embeddings of 512, or of 256, which halves the largest product, that with the vocabulary (the peers'
encoder goes one way, ours both). Dropout 0.1, AdamW, gradient clipping. All in float32, then all in bfloat16
by autocast, as ours trains where the processor can. Writes results/training_speed.csv beside
this file; a5_fast shows it.
"""
import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
os.environ["OMP_NUM_THREADS"] = str(THREADS)
PRECISION = os.environ.get("PRECISION", "fp32")  # of the process of one peer

import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F

from chitchat.corpus import load_corpus
from chitchat.data import BOS, EOS, PAD, Batch, DataConfig, collate
from chitchat.fast import keep_memory
from chitchat.models import build_model, preset
from chitchat.train import TrainConfig, make_optimizer, train_step

RESULTS = Path(__file__).parent / "results"
V, D, FF = 8000, 256, 1024
LAYERS, HEADS, DROP = 3, 4, 0.1


class Peer:
    "A model with a loss; the step is the same for all."

    def __init__(self, seed: int = 0):
        torch.manual_seed(seed)
        self.model = self.build().train()
        self.opt = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01,
                                     fused=True)

    def loss(self, b: Batch):
        return F.cross_entropy(self.logits(b).flatten(0, 1).float(), b.tgt_out.flatten(), ignore_index=PAD)

    def step(self, b: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bf16"):
            loss = self.loss(b)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)


class Ours(Peer):
    "One family, with its plain loss alone, so that the work is that of the peers."

    def __init__(self, family: str, **sizes):
        torch.manual_seed(0)
        keep_memory()  # as every training does
        self.cfg = TrainConfig(steps=1000, precision=PRECISION, bow_weight=0.0)
        self.model = build_model(preset(family, "small", vocab_size=V, dropout=DROP, **sizes)).train()
        self.opt = make_optimizer(self.model, self.cfg)

    def step(self, b: Batch) -> None:
        train_step(self.model, [b], self.opt, self.cfg)


class Marian(Peer):
    "Hugging Face"

    def build(self):
        from transformers import MarianConfig, MarianMTModel
        return MarianMTModel(MarianConfig(
            vocab_size=V, decoder_vocab_size=V, d_model=D, encoder_layers=LAYERS, decoder_layers=LAYERS,
            encoder_attention_heads=HEADS, decoder_attention_heads=HEADS,
            encoder_ffn_dim=FF, decoder_ffn_dim=FF, max_position_embeddings=64, activation_function="relu",
            dropout=DROP, scale_embedding=True,
            share_encoder_decoder_embeddings=True, tie_word_embeddings=True, pad_token_id=PAD,
            bos_token_id=BOS, eos_token_id=EOS,
            decoder_start_token_id=BOS, forced_eos_token_id=None))

    def logits(self, b):
        return self.model(input_ids=b.src, attention_mask=(b.src != PAD).long(),
                          decoder_input_ids=b.tgt_in).logits


class TorchTransformer(Peer):
    "nn.Transformer, pre-norm, sinusoidal positions, tied embedding"

    def build(self):
        net = nn.Module()
        net.emb = nn.Embedding(V, D, PAD)
        net.tr = nn.Transformer(D, HEADS, LAYERS, LAYERS, FF, DROP, batch_first=True, norm_first=True)
        nn.init.normal_(net.emb.weight, std=D**-0.5)
        angle = torch.arange(64)[:, None] / 10000 ** (torch.arange(0, D, 2) / D)
        self.positions = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
        self.drop = nn.Dropout(DROP)
        return net

    def embed(self, ids):
        return self.drop(self.model.emb(ids) * D**0.5 + self.positions[:ids.shape[1]])

    def logits(self, b):
        hidden = torch.zeros(b.src.shape).masked_fill(b.src == PAD, -torch.inf)
        causal = nn.Transformer.generate_square_subsequent_mask(b.tgt_in.shape[1])
        h = self.model.tr(self.embed(b.src), self.embed(b.tgt_in), tgt_mask=causal,
                          src_key_padding_mask=hidden, memory_key_padding_mask=hidden, tgt_is_causal=True)
        return h @ self.model.emb.weight.T


class XTransformers(Peer):
    "x-transformers with its flash attention"

    def build(self):
        from x_transformers import XTransformer
        sizes = dict(num_tokens=V, depth=LAYERS, heads=HEADS, max_seq_len=64, attn_dropout=DROP,
                     ff_dropout=DROP, emb_dropout=DROP, attn_flash=True)
        kw = {f"{part}_{k}": v for part in ("enc", "dec") for k, v in sizes.items()}
        model = XTransformer(dim=D, tie_token_emb=True, pad_value=PAD, ignore_index=-100, **kw)
        model.decoder.net.to_logits.weight = model.decoder.net.token_emb.emb.weight
        return model

    def loss(self, b):
        tgt = torch.cat([b.tgt_in[:, :1], b.tgt_out], 1)
        return self.model(b.src, tgt.masked_fill(tgt == PAD, -100), mask=b.src != PAD)


class LuongLSTM(Peer):
    "one nn.LSTM call for the question, one for the answer, attention after it, tied embedding"

    def __init__(self, width: int):
        self.width = width
        super().__init__()

    def build(self):
        net, E, H = nn.Module(), self.width, 512
        net.emb, net.drop = nn.Embedding(V, E, PAD), nn.Dropout(DROP)
        net.concat, net.bias = nn.Linear(2 * H, E), nn.Parameter(torch.zeros(V))
        net.enc, net.dec = (nn.LSTM(E, H, 2, dropout=DROP, batch_first=True) for _ in range(2))
        nn.init.normal_(net.emb.weight, std=E**-0.5)
        return net

    def logits(self, b):
        m = self.model
        out, state = m.enc(m.drop(m.emb(b.src)))
        h, _ = m.dec(m.drop(m.emb(b.tgt_in)), state)
        weights = (h @ out.transpose(1, 2)).masked_fill((b.src == PAD)[:, None], -1e9).softmax(-1)
        mixed = torch.tanh(m.concat(torch.cat([h, weights @ out], -1)))
        return F.linear(m.drop(mixed), m.emb.weight, m.bias)


class _Dictionary:
    "What fairseq asks of a vocabulary."
    def __len__(self): return V
    def pad(self): return PAD
    def eos(self): return EOS
    def unk(self): return 1


class FairseqConv(Peer):
    "fairseq's fconv, 6+6 layers of 256"

    def build(self):
        from fairseq.models.fconv import FConvDecoder, FConvEncoder, FConvModel
        layers = [(D, 3)] * 6
        enc = FConvEncoder(_Dictionary(), embed_dim=D, convolutions=layers, dropout=DROP, max_positions=128)
        dec = FConvDecoder(_Dictionary(), embed_dim=D, convolutions=layers, out_embed_dim=D, attention=True,
                           dropout=DROP, max_positions=128, share_embed=True)
        enc.num_attention_layers = sum(layer is not None for layer in dec.attention)
        return FConvModel(enc, dec)

    def logits(self, b):
        return self.model(b.src, (b.src != PAD).sum(1), b.tgt_in)[0]


class FairseqTransformer(Peer):
    "fairseq's transformer"

    def build(self):
        from argparse import Namespace
        from fairseq.models.transformer import TransformerModel, base_architecture
        a = Namespace(encoder_embed_dim=D, encoder_ffn_embed_dim=FF, encoder_layers=LAYERS,
                      encoder_attention_heads=HEADS, decoder_embed_dim=D, decoder_ffn_embed_dim=FF,
                      decoder_layers=LAYERS, decoder_attention_heads=HEADS, dropout=DROP,
                      share_all_embeddings=True, max_source_positions=128, max_target_positions=128)
        base_architecture(a)
        words = _Dictionary()  # one for both, as for a shared embedding
        task = Namespace(source_dictionary=words, target_dictionary=words)
        return TransformerModel.build_model(a, task)

    def logits(self, b):
        return self.model(b.src, (b.src != PAD).sum(1), b.tgt_in)[0]


def import_fairseq(folder: str) -> None:
    "Its configuration classes have defaults that Python 3.11 refuses unless they can be hashed."
    import dataclasses
    real = dataclasses.dataclass

    def dataclass(cls=None, /, **kw):
        if str(sys._getframe(1).f_globals.get("__name__", "")).startswith("fairseq"):
            kw.setdefault("unsafe_hash", True)
        return real(cls, **kw)

    sys.path.insert(0, folder)
    for name, t in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if name not in np.__dict__:
            setattr(np, name, t)
    dataclasses.dataclass = dataclass
    try:
        import fairseq.models.fconv, fairseq.models.transformer  # noqa: F401  # while the patch is in force
    finally:
        dataclasses.dataclass = real


JOBS = {
    "chitchat transformer": lambda: Ours("transformer", d_model=D, n_layers=LAYERS, n_heads=HEADS),
    "Marian (transformers)": Marian, "fairseq transformer": FairseqTransformer,
    "torch.nn.Transformer": TorchTransformer, "x-transformers": XTransformers,
    "chitchat cnn": lambda: Ours("cnn", d_model=D, n_layers=6), "fairseq fconv": FairseqConv,
    "chitchat lstm": lambda: Ours("lstm", d_model=512, n_layers=2),
    "Luong LSTM, fused": lambda: LuongLSTM(256),
    "Luong LSTM, fused, embeddings of 512": lambda: LuongLSTM(512),
}
FAMILY = {name: next((f for f in ("cnn", "lstm") if f in name.lower() or (f == "cnn" and "fconv" in name)),
                     "transformer") for name in JOBS}


def make_batches(path: str, n: int, tokens: int = 4000) -> list[Batch]:
    "Pairs of similar length, about `tokens` target tokens a batch."
    data = load_corpus(path, DataConfig(vocab_size=V)).train
    lengths, rng = data.lengths, np.random.default_rng(1)
    order = np.lexsort((rng.permutation(len(data)), lengths[:, 0], lengths[:, 1]))
    cut = np.split(order, np.flatnonzero(np.diff(lengths[order, 1].cumsum() // tokens)) + 1)
    uncategorised = lambda rows: collate([(*data[int(i)][:2], 0) for i in rows])  # no peer has categories
    return [uncategorised(cut[k]) for k in rng.permutation(len(cut) - 1)[:n]]


def work(name: str, file: str, fairseq: str | None) -> None:
    "One peer in a process of its own: numbers of batches come on stdin, seconds of steps go to stdout."
    torch.set_num_threads(THREADS)
    if fairseq:
        import_fairseq(fairseq)
    batches, peer = [Batch(*tensors) for tensors in torch.load(file)], JOBS[name]()
    print(sum(p.numel() for p in {id(p): p for p in peer.model.parameters()}.values()), flush=True)
    for line in sys.stdin:
        t0 = time.perf_counter()
        peer.step(batches[int(line)])
        print(time.perf_counter() - t0, flush=True)


class Worker:
    "The other end of `work`."

    def __init__(self, name: str, file: str, fairseq: str | None, precision: str):
        args = [sys.executable, __file__, "--work", name, "--data", file]
        args += ["--fairseq", fairseq] if fairseq else []
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | {"PRECISION": precision})
        answer = self.process.stdout.readline()
        self.parameters = int(answer) if answer.strip().isdigit() else None

    def step(self, i: int) -> float:
        print(i, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def compare(names: list[str], batches: list[Batch], warm: int, file: str, fairseq: str | None,
            precision: str) -> list[dict]:
    "The models of one family, a step each in turn: a row a model."
    live = {name: Worker(name, file, fairseq, precision) for name in names}
    live = {name: w for name, w in live.items() if w.parameters or print(f"{name} is left out")}
    if not live:
        return []
    rates: dict[str, list[float]] = {name: [] for name in live}
    for i, b in enumerate(batches):
        for name, worker in live.items():  # everyone sees batch i before anyone sees batch i + 1
            seconds = worker.step(i)
            if i >= warm:
                rates[name].append(b.n_tokens / seconds)
        print(f"round {i}:", ", ".join(f"{name} {r[-1]:.0f}" for name, r in rates.items() if r), flush=True)
    ours = np.array(next(iter(rates.values())))
    for worker in live.values():
        worker.process.kill()
    return [dict(model=name, family=FAMILY[name], precision=precision,
                 million_parameters=worker.parameters / 1e6, tokens_per_second=np.median(rates[name]),
                 chitchat_is_faster_by=np.median(ours / np.array(rates[name])), rounds=len(rates[name]),
                 threads=THREADS, date=time.strftime("%Y-%m-%d"))
            for name, worker in live.items()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--rounds", type=int, default=12)
    p.add_argument("--warm", type=int, default=1)
    p.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS, help="those to compare")
    p.add_argument("--fairseq", help="folder with its source")
    p.add_argument("--work", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work:
        return work(a.work, a.data, a.fairseq)
    with tempfile.TemporaryDirectory() as tmp:
        batches, file = make_batches(a.data, a.rounds + a.warm), f"{tmp}/batches.pt"
        torch.save([(b.src, b.tgt_in, b.tgt_out, b.cat) for b in batches], file)
        rows: list[dict] = []
        families = dict.fromkeys(FAMILY[name] for name in a.jobs)  # all at once may not fit into memory
        for precision, family in itertools.product(("fp32", "bf16"), families):
            names = [name for name in a.jobs if FAMILY[name] == family]
            rows += compare(names, batches, a.warm, file, a.fairseq, precision)
    table = pd.DataFrame(rows)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "training_speed.csv", index=False)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()

"""The homework of the course, graded: python nbs/grade.py my_solution.py

A solution is a file with a subclass of `Homework`; a3_contract shows one.
"""
import argparse, os, runpy, sys, threading
from collections.abc import Callable
from doctest import DocTestParser
from multiprocessing import Pipe, Process
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: F401  # the examples use it
from torch import Tensor
from tqdm import tqdm

from chitchat.contract import check_seq2seq  # noqa: F401
from chitchat.data import PAD  # noqa: F401
from chitchat.files import tolerant_streams
from chitchat.models import ModelConfig  # noqa: F401


class Homework:
    "The tasks of the course; a solution overrides what it has done. PAD, UNK, BOS, EOS = 0, 1, 2, 3."
    def dataset(self, pairs: list) -> tuple:
        """0 points. A batch of texts (question, answer): src (B, S), tgt_in (B, T), tgt_out (B, T).
        >>> src, tgt_in, tgt_out = my.dataset([("где папа", "на работе"), ("где мама", "дома")])
        >>> tgt_in[:, 0].tolist(), (tgt_out == 3).sum(1).tolist()  # BOS before an answer, one EOS after it
        ([2, 2], [1, 1])
        >>> ((tgt_out == tgt_in.roll(-1, 1)) | (tgt_out == 3) | (tgt_out == 0)).all()  # one token later
        tensor(True)
        >>> src[0].equal(src[1])  # the same ids: does a regex delete Cyrillic?
        False"""
        raise NotImplementedError
    def split(self, pairs: list) -> tuple:
        """0 points. Pairs (question, answer) for training, and for validation.
        >>> train, valid = my.split([(f"вопрос {i // 2}", f"ответ {i}") for i in range(400)])
        >>> len(train) + len(valid), len({q for q, _ in train} & {q for q, _ in valid})  # on both sides
        (400, 0)"""
        raise NotImplementedError
    def rnn(self, vocab_size: int) -> nn.Module:
        """6 points. An LSTM or GRU, model(src (B, S), tgt_in (B, T)) → logits (B, T, vocab_size).
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.rnn(20))"""
        raise NotImplementedError
    def cnn(self, vocab_size: int) -> nn.Module:
        """10 points. The same with convolutions.
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.cnn(20))"""
        raise NotImplementedError
    def transformer(self, vocab_size: int) -> nn.Module:
        """10 points. The same with self-attention, all layers your own.
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.transformer(20))
        >>> any(isinstance(m, nn.MultiheadAttention) for m in my.transformer(20).modules())  # not yours
        False"""
        raise NotImplementedError
    def attention(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """5 points. Weights (B, T, S) for query (B, T, 8), memory (B, S, 8), mask (B, S), True = a word.
        >>> mask = torch.tensor([[True, True, True], [True, True, False]])
        >>> weights = my.attention(torch.randn(2, 2, 8), torch.randn(2, 3, 8), mask).detach()
        >>> (weights * mask[:, None]).sum(-1).round(decimals=4).tolist()  # all weight is on words
        [[1.0, 1.0], [1.0, 1.0]]
        >>> weights[0, 0].equal(weights[0, 1])  # two queries, the same weights
        False"""
        raise NotImplementedError
    def greedy(self, model: nn.Module, src: Tensor, max_len: int) -> list:
        """3 points. The answer to src (1, S), always the likeliest token; ids without BOS and EOS.
        >>> p, model = torch.zeros(8, 8), nn.Module()
        >>> p[2, 4:6], p[4, 3:], p[5:, 3] = torch.tensor([.6, .4]), torch.tensor([.25, 0, 0, .4, .35]), 1
        >>> model.forward = lambda src, tgt_in: (p[tgt_in] + 1e-9).log()  # after i comes j: p[i, j]
        >>> my.greedy(model, torch.tensor([[4]]), 9), my.greedy(model, torch.tensor([[4]]), 1)
        ([4, 6], [4])"""
        raise NotImplementedError
    def beam(self, model: nn.Module, src: Tensor, num_beams: int, max_len: int) -> list:
        """5 points. The same by beam search; the score is log p, without normalisation by length.
        >>> p, model = torch.zeros(8, 8, 8), nn.Module(); p[:, 5:, 3] = 1
        >>> p[:, 2, 4:6], p[:, 4, 3:] = torch.tensor([.6, .4]), torch.tensor([.25, 0, 0, .4, .35])
        >>> model.forward = lambda src, tgt_in: (p[F.pad(tgt_in, (1, 0))[:, :-1], tgt_in] + 1e-9).log()
        >>> my.beam(model, torch.tensor([[4]]), 2, 9)  # 0.4 · 1 is more than 0.6 · 0.4
        [5]
        >>> p[:, 5:, 3], p[:, 5:, 6:], p[4, 7] = .1, .45, torch.eye(8)[3]  # 7 after 4 is the end
        >>> my.beam(model, torch.tensor([[4]]), 2, 9)  # is the state reordered with the beams?
        [4, 7]"""
        raise NotImplementedError
    def nucleus(self, probs: Tensor, p: float) -> Tensor:
        """5 points. Of probabilities (N, V) the smallest set of tokens that has p, renormalised.
        >>> my.nucleus(torch.tensor([[.15, .5, .05, .3], [.05, .05, .8, .1]]), .79).round(decimals=4).tolist()
        [[0.0, 0.625, 0.0, 0.375], [0.0, 0.0, 1.0, 0.0]]"""
        raise NotImplementedError
    def category(self, vocab_size: int, n_categories: int) -> nn.Module:
        """3 points. A model(src, tgt_in, cat (B,)) → logits.
        >>> model, ids = my.category(20, 3).eval(), torch.tensor([[4, 5, 6]])
        >>> model(ids, ids, torch.tensor([1])).equal(model(ids, ids, torch.tensor([2])))  # not read
        False"""
        raise NotImplementedError
    def layer_norm(self, d: int) -> nn.Module:
        """2 points. A layer (B, T, d) → (B, T, d) of an RNN or CNN, with layer norm at its end or a residual.
        >>> layer, x = my.layer_norm(16), torch.randn(2, 3, 16)
        >>> y = layer(x).detach(); zero = [p.data.zero_() for p in layer.parameters()]
        >>> y.square().mean(-1).allclose(torch.ones(2, 3), 0.01) or layer(x).equal(x)  # norm, or residual
        True"""
        raise NotImplementedError
    def accumulation(self, model: nn.Module, batches: list) -> None:
        """3 points. The gradient of the loss a token, left in `model`; a batch has src, tgt_in and tgt_out.
        >>> from chitchat.data import collate; from chitchat.models import build_model
        >>> rows = lambda *lengths: collate([([5], [6] * n, 0) for n in lengths])
        >>> model, big = build_model(ModelConfig(vocab_size=9, d_model=8, dropout=0.0)), rows(1, 9, 3, 2)
        >>> loss = F.cross_entropy(model(big.src, big.tgt_in).mT, big.tgt_out, ignore_index=PAD)
        >>> right = torch.autograd.grad(loss, model.out_bias)[0]
        >>> my.accumulation(model, [big]); model.out_bias.grad.allclose(right, 1e-3, 1e-5)  # is PAD counted?
        True
        >>> model.zero_grad(); my.accumulation(model, [rows(1, 9), rows(3, 2)])
        >>> model.out_bias.grad.allclose(right, 1e-3, 1e-5)  # a mean of means?
        True"""
        raise NotImplementedError
    def bot(self, text: str) -> str:
        """1 point. What the bot answers, with its trained model.
        >>> len({my.bot(text) for text in ("как дела?", "где папа?", "что подарить?")}) > 1  # was it loaded?
        True
        >>> import re; re.search("[0-9]{8,10}:[A-Za-z0-9_-]{35}", path.read_text("utf-8")) is None  # a token
        True"""
        raise NotImplementedError


def _judge(path: Path, doc: str, tell: Callable) -> None:
    "In a process of its own, for a student's file can do anything."
    sys.stdout = sys.stderr = open(os.devnull, "w")
    tqdm.set_lock(threading.RLock())  # the usual one is shared: killed with it, nobody else could go on
    sys.path[:0] = [str(path.parent), str(Path(__file__).parent)]
    torch.set_num_threads(1)
    shown, words = [], "passed"
    sys.displayhook = shown.append
    try:
        runpy.run_path(str(path))
        names = globals() | {"path": path, "my": (Homework.__subclasses__() or [Homework])[-1]()}
        for example in DocTestParser().get_examples(doc):
            exec(compile(example.source, "example", "single"), names)
            if example.want and repr(shown[-1]) + "\n" != example.want:
                words = f"{example.source} gives {shown[-1]!r} instead of {example.want}"
                break
    except NotImplementedError:
        words = "not done"
    except BaseException as e:
        words = f"{type(e).__name__}: {e}"
    tell(" ".join(words.split())[:400])


def grade_main(argv: list[str] | None = None) -> None:
    "The points of a solution, a line a task."
    p = argparse.ArgumentParser(description="What a solution of the course is worth.")
    p.add_argument("solution", type=Path, help="a Python file with a subclass of Homework")
    tolerant_streams()
    path, total = p.parse_args(argv).solution, 0
    for task, method in vars(Homework).items():
        if task[0] == "_":
            continue
        ours, theirs = Pipe(duplex=False)
        child = Process(target=_judge, args=(path, method.__doc__, theirs.send))
        child.start()
        words = ours.recv() if ours.poll(8) else "no answer in 8 seconds, or it ended Python"
        child.join(1)  # one that has answered ends by itself
        child.kill()
        points = int(method.__doc__.split()[0])
        total += points * (words == "passed")
        print(f"{task:14}{points:3}  {words}", flush=True)
    print(f"{'':14}{total:3}  points; the course counts 10 at most")


if __name__ == "__main__":
    from grade import grade_main as main  # a solution imports `grade`, and must mean the same `Homework`
    main()

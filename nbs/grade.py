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
from torch.nn.modules.module import register_module_forward_pre_hook
from tqdm import tqdm

from chitchat.contract import check_seq2seq  # noqa: F401
from chitchat.data import PAD  # noqa: F401
from chitchat.files import tolerant_streams
from chitchat.models import ModelConfig  # noqa: F401


def dice(f: Callable, *args: Tensor) -> Tensor:
    "What `f` gives after a fixed seed, for it may make its layers anew in each call."
    torch.manual_seed(1)
    return f(*args).detach()


def recurrent(model: nn.Module) -> list[str]:
    "The names of its recurrent layers, those that it has and those that run, for some are hidden in a list."
    layers, ids = [*model.modules()], torch.full((1, 3), 4)
    hook = register_module_forward_pre_hook(lambda m, _: layers.append(m))
    model(ids, ids)
    hook.remove()
    return sorted({type(m).__name__ for m in layers if isinstance(m, (nn.RNNBase, nn.RNNCellBase))})


def wide(model: nn.Module) -> int:
    "More tokens than its convolutions see; 47 may be seen by those that are no `nn.Conv1d`."
    convs = [m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d))]
    return max(48, 2 + sum((k - 1) * d for m in convs for k, d in zip(m.kernel_size, m.dilation)))


@torch.no_grad()
def heard(model: nn.Module, scale: float, n: int = 48) -> tuple[float, float]:
    """How much the first of n tokens, and the last but one, move the logits after the last. All weights times
    `scale`: if they are small, an RNN forgets at once, and attention looks everywhere alike."""
    g = torch.Generator().manual_seed(0)
    for p in model.double().eval().parameters():
        p.copy_(scale * p + 0.02 * torch.randn(p.shape, generator=g))  # a weight of 0 would hide things
    src, tgt = (torch.randint(4, 20, (4, length), generator=g) for length in (5, n))
    far, near = (torch.where(torch.arange(n) == t, 4 + (tgt - 3) % 16, tgt) for t in (0, n - 2))
    moved = model(src.repeat(3, 1), torch.cat([tgt, far, near]))[:, -1].unflatten(0, (3, 4))
    return tuple(((moved[1:] - moved[0]).abs().amax((1, 2)) / moved[0].abs().max()).tolist())


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
        >>> pairs = [(f"вопрос {i // 2}", f"ответ {i}") for i in range(4000)]
        >>> train, valid = my.split(pairs[:])
        >>> len(train) + len(valid), len({q for q, _ in train} & {q for q, _ in valid})  # on both sides
        (4000, 0)
        >>> sorted(map(tuple, [*train, *valid])) == sorted(pairs)  # a pair is lost, or another stands for it
        True
        >>> len(train) > len(valid) > 0  # nothing to validate on, or little to train on
        True"""
        raise NotImplementedError
    def rnn(self, vocab_size: int) -> nn.Module:
        """6 points. An LSTM or GRU, model(src (B, S), tgt_in (B, T)) → logits (B, T, vocab_size).
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.rnn(20))
        >>> heard(my.rnn(20), 1, 20)[0] > 1e-13  # the token 19 back is not heard: a CNN?
        True
        >>> far, near = heard(my.rnn(20), .3)
        >>> far < 1e-4 * near  # with small weights a far token counts as a near one: attention, not an RNN
        True"""
        raise NotImplementedError
    def cnn(self, vocab_size: int) -> nn.Module:
        """10 points. The same with convolutions.
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.cnn(20))
        >>> recurrent(my.cnn(20))  # an RNN is no CNN
        []
        >>> heard(my.cnn(20), .3)[1] > 1e-9  # the token before the last is not heard: no convolution
        True
        >>> [heard(my.cnn(20), scale, wide(my.cnn(20)))[0] > 1e-12 for scale in (.3, 2)]  # more than a window
        [False, False]"""
        raise NotImplementedError
    def transformer(self, vocab_size: int) -> nn.Module:
        """10 points. The same with self-attention, all layers your own.
        >>> torch.set_default_dtype(torch.float64); check_seq2seq(my.transformer(20))
        >>> recurrent(my.transformer(20))  # an RNN is no Transformer
        []
        >>> far, near = heard(my.transformer(20), .3)
        >>> far > 1e-4 * near  # a far token does not count as a near one does: no self-attention
        True
        >>> any(isinstance(m, nn.MultiheadAttention) for m in my.transformer(20).modules())  # not yours
        False"""
        raise NotImplementedError
    def attention(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """5 points. Weights (B, T, S) for query (B, T, 8), memory (B, S, 8), mask (B, S), True = a word.
        >>> mask = torch.tensor([[True, True, True], [True, True, False]])
        >>> query, memory = torch.randn(2, 2, 8), torch.randn(2, 3, 8)
        >>> weights = dice(my.attention, query, memory, mask)
        >>> (weights * mask[:, None]).sum(-1).round(decimals=4).tolist()  # all weight is on words
        [[1.0, 1.0], [1.0, 1.0]]
        >>> bool(weights.min() < 0 or weights[1, :, 2].max() > 1e-4)  # a weight below 0, or one on PAD
        False
        >>> weights[0, 0].equal(weights[0, 1])  # two queries, the same weights
        False
        >>> swapped = dice(my.attention, query.flip(1), memory, mask)
        >>> swapped.allclose(weights.flip(1), 1e-3, 1e-5)  # queries moved, weights did not: by chance?
        True
        >>> moved = dice(my.attention, query, memory[:, [1, 0, 2]], mask)
        >>> moved.allclose(weights[..., [1, 0, 2]], 1e-3, 1e-5)  # a word moved, its weight did not
        True
        >>> two, less = weights[0, :, :2], dice(my.attention, query, memory, mask & mask[1])[0, :, :2]
        >>> less.allclose(two / two.sum(-1, keepdim=True), 1e-3, 1e-5)  # a word less: no softmax of scores
        True"""
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
        >>> model, ids, cat = my.category(20, 3).eval(), torch.tensor([[4, 5, 6]]), torch.tensor([1])
        >>> said = model(ids, ids, cat)
        >>> said.allclose(model(ids, ids, cat), 1e-3, 1e-5)  # other logits the second time: is it by chance?
        True
        >>> others = (ids, ids, cat + 1), (ids + 1, ids, cat), (ids, ids + 1, cat)
        >>> [model(*other).equal(said) for other in others]  # category, src or tgt_in is not read
        [False, False, False]"""
        raise NotImplementedError
    def layer_norm(self, d: int) -> nn.Module:
        """2 points. A layer (B, T, d) → (B, T, d) of an RNN or CNN, with layer norm at its end or a residual.
        >>> layer, x = my.layer_norm(16).eval(), torch.randn(2, 3, 16)
        >>> y = layer(torch.stack([x, 100 * x + 5]).flatten(0, 1)).detach()  # whatever the size of the input
        >>> beside = x + torch.tensor([[0], [1], [0]])
        >>> layer(x)[:, ::2].equal(layer(beside)[:, ::2])  # neighbours not read: no layer of an RNN, CNN
        False
        >>> small = [p.data.mul_(1e-9) for p in layer.parameters()]  # what is left is the way around
        >>> around = F.cosine_similarity(layer(x), x, dim=-1).min() > 0.999
        >>> normed = y.mean(-1).abs().max() < 0.01 and (y.var(-1) - 1).abs().max() < 0.1
        >>> bool(around or normed)  # mean 0 and variance 1 at each position: norm, or residual
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
    torch.manual_seed(0)  # the same verdict each time
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

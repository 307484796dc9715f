"""How fast answers are decoded, beside libraries, in one interleaved run.

Every peer answers the same questions with exactly `--new` forced tokens (equal work, so untrained weights
compare), in greedy decoding, beam search (5) and nucleus sampling (0.9), one question at a time and in
batches. One round measures each peer once, so that a machine that gets slower does so for all; the median
of the rounds is reported, and its ratio to the peers. Sizes: Transformers 3+3 layers of width 256 with one
tied table of 8,000 tokens, the others the `small` presets; the peer LSTM (Luong attention, fused layers)
2+2 layers of width 512.

    python nbs/_bench/decoding_speed.py --threads 1 --batch 1 --csv nbs/_bench/results/decoding_speed_1.csv
    python nbs/_bench/decoding_speed.py --threads 2 --batch 64 --csv nbs/_bench/results/decoding_speed_64.csv

Development requirements beside the project's own: transformers==5.23.0 ctranslate2==4.8.5. A peer whose
package is missing is left out, and said so.
"""

import argparse, logging, statistics, tempfile, time, warnings

import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F

from chitchat.data import BOS, EOS, PAD, pad_rows
from chitchat.decoding import DecodeConfig, generate
from chitchat.fast import optimize_for_inference
from chitchat.models import build_model, preset

V, D = 8000, 256
LAYERS, HEADS = 3, 4
MODES = {
    "greedy": {},
    "beam 5": dict(method="beam"),
    "nucleus 0.9": dict(method="nucleus", temperature=1.0, min_p=0.0, seed=0),
}


def ours(arch: str, precision: str | None):
    "One of the families; precision None = the model as it was trained, not arranged for decoding."
    torch.manual_seed(0)
    model = build_model(preset(arch, "small", vocab_size=V)).eval()
    model = optimize_for_inference(model, precision) if precision else model

    def answer(questions, mode, new):
        cfg = DecodeConfig(min_new_tokens=new, max_new_tokens=new, no_repeat_ngram_size=0, **MODES[mode])
        return [h[0].ids for h in generate(model, pad_rows(questions), None, cfg)]

    return answer


def marian(vocab=V, width=D, layers=LAYERS, heads=HEADS, device="cpu"):
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=vocab,
            decoder_vocab_size=vocab,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            decoder_ffn_dim=4 * width,
            max_position_embeddings=64,
            activation_function="relu",
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            forced_eos_token_id=None,
        )
    ).eval().to(device)
    model.generation_config.bad_words_ids = [[PAD], [BOS]]
    how = {"greedy": {}, "beam 5": dict(num_beams=5), "nucleus 0.9": dict(do_sample=True, top_p=0.9, top_k=0)}

    @torch.no_grad()
    def answer(questions, mode, new):
        src = pad_rows([[*q, EOS] for q in questions]).to(device)
        out = model.generate(
            input_ids=src,
            attention_mask=(src != PAD).long(),
            max_new_tokens=new,
            min_new_tokens=new,
            max_length=None,
            **dict(num_beams=1, do_sample=False) | how[mode],
        )
        return [row[1:].tolist() for row in out]

    return answer, model


def ctranslate2(compute: str, threads: int):
    import ctranslate2
    from ctranslate2.converters import transformers as conv

    _, model = marian()
    model.config.normalize_before = model.config.normalize_embedding = False
    spec = conv.BartLoader.get_model_spec(conv.MarianMTLoader(), model)
    spec.decoder.start_from_zero_embedding = False
    vocab = ["<pad>", "<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(4, V)]
    spec.register_source_vocabulary(vocab)
    spec.register_target_vocabulary(vocab)
    spec.config.bos_token = spec.config.decoder_start_token = "<s>"
    spec.config.eos_token, spec.config.unk_token = "</s>", "<unk>"
    spec.config.add_source_eos = False
    spec.validate()
    spec.optimize()
    folder = tempfile.mkdtemp()
    spec.save(folder)
    translator = ctranslate2.Translator(
        folder, device="cpu", compute_type=compute, inter_threads=1, intra_threads=threads
    )
    how = {
        "greedy": dict(beam_size=1),
        "beam 5": dict(beam_size=5),
        "nucleus 0.9": dict(beam_size=1, sampling_topk=0, sampling_topp=0.9),
    }

    def answer(questions, mode, new):
        rows = [[vocab[i] for i in [*q, EOS]] for q in questions]
        out = translator.translate_batch(
            rows,
            max_decoding_length=new,
            min_decoding_length=new,
            max_batch_size=0,
            suppress_sequences=[["<pad>"], ["<s>"]],
            **how[mode],
        )
        return [r.hypotheses[0] for r in out]

    return answer


class Luong(nn.Module):
    "An LSTM with Luong's dot attention in fused layers: 2+2 of width 512, tied output."

    def __init__(self, width=512):
        super().__init__()
        self.emb = nn.Embedding(V, D, PAD)
        self.enc, self.dec = (nn.LSTM(D, width, 2, batch_first=True) for _ in range(2))
        self.concat, self.bias = nn.Linear(2 * width, D), nn.Parameter(torch.zeros(V))

    def step(self, last, state, enc, mask):
        h, state = self.dec(self.emb(last), state)
        a = (h @ enc.transpose(1, 2)).masked_fill(mask.unsqueeze(1), -1e9).softmax(-1)
        return F.linear(torch.tanh(self.concat(torch.cat([h, a @ enc], -1))), self.emb.weight, self.bias)[
            :, 0
        ], state


def in_a_plain_loop(start):
    "Decode with `start(src, k)`: it gives a function from last tokens, and what they continue, to logits."

    @torch.no_grad()
    def answer(questions, mode, new):
        n, k = len(questions), 5 if mode == "beam 5" else 1
        step, order = start(pad_rows([[*q, EOS] for q in questions]), k), None
        last, out = torch.full((n * k, 1), BOS), torch.zeros(n * k, 0, dtype=torch.long)
        score = torch.full((n, k), -torch.inf)
        score[:, 0] = 0
        for _ in range(new):
            logits = step(last, out, order)
            logits[:, [PAD, BOS, EOS]] = -torch.inf
            if mode == "beam 5":
                score, at = (score.unsqueeze(2) + logits.log_softmax(-1).view(n, k, V)).view(n, -1).topk(k)
                order = (torch.arange(n).unsqueeze(1) * k + at // V).flatten()
                out, last = out[order], (at % V).view(-1, 1)
            elif mode == "greedy":
                last = logits.argmax(-1, keepdim=True)
            else:
                ranked, by_rank = logits.softmax(-1).sort(descending=True)
                ranked[ranked.cumsum(-1) - ranked > 0.9] = 0
                last = by_rank.gather(1, torch.multinomial(ranked, 1))
            out = torch.cat([out, last], 1)
        return out[::k].tolist()

    return answer


def luong():
    torch.manual_seed(0)
    model = Luong().eval()

    def start(src, k):
        (enc, state), rows = model.enc(model.emb(src)), torch.arange(len(src)).repeat_interleave(k)
        enc, mask, state = enc[rows], (src == PAD)[rows], tuple(s[:, rows] for s in state)

        def step(last, out, order):
            nonlocal state
            state = state if order is None else tuple(s[:, order] for s in state)
            logits, state = model.step(last, state, enc, mask)
            return logits

        return step

    return in_a_plain_loop(start)


def fconv(folder: str):
    "fairseq's convolutional model with its own incremental decoding."
    from training_speed import FairseqConv, import_fairseq

    import_fairseq(folder)
    torch.manual_seed(0)
    model = FairseqConv().model.eval()

    def start(src, k):
        src = src.repeat_interleave(k, 0)
        out, state = model.encoder(src, (src != PAD).sum(1)), {}

        def step(last, before, order):
            if order is not None:
                model.decoder.reorder_incremental_state_scripting(state, order)
            prefix = torch.cat([torch.full((len(last), 1), BOS), before], 1)
            return model.decoder(prefix, out, incremental_state=state)[0][:, -1]

        return step

    return in_a_plain_loop(start)


def peers(threads: int, only: str, fairseq: str | None) -> dict:
    "Every peer that can be built and whose name holds one of the words of `only`."
    made, wanted = {}, lambda name: any(word in name for word in only.split(","))
    for name, make in {
        "HF Marian": lambda: marian()[0],
        "CTranslate2 float32": lambda: ctranslate2("float32", threads),
        "CTranslate2 int8": lambda: ctranslate2("int8", threads),
        "Luong LSTM": luong,
        "fairseq fconv": lambda: fconv(fairseq),
    }.items():
        try:
            if wanted(name) and (fairseq or "fairseq" not in name):
                made[name] = make()
        except ImportError as e:
            print(f"{name} is left out: {e}")
    for arch in ("transformer", "lstm", "cnn"):
        for name, precision in {f"{arch}, not arranged": None, arch: "fp32", f"{arch} int8": "int8"}.items():
            if wanted(name):
                made[name] = ours(arch, precision)
    return made


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--new", type=int, default=32, help="tokens of every answer")
    p.add_argument("--modes", default=",".join(MODES))
    p.add_argument("--only", default="", help="peers whose name holds one of these words, comma between")
    p.add_argument("--fairseq", help="folder with its source, see training_speed.py")
    p.add_argument("--csv", help="write the table here")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(a.threads)
    g = torch.Generator().manual_seed(0)
    questions = [
        torch.randint(4, V, (int(n),), generator=g).tolist()
        for n in torch.randint(4, 16, (a.batch,), generator=g)
    ]
    live, modes = peers(a.threads, a.only, a.fairseq), a.modes.split(",")
    times = {(m, n): [] for m in modes for n in live}
    for r in range(a.rounds + 1):  # the first warms up
        for mode in modes:
            for name, answer in live.items():
                t = time.perf_counter()
                out = answer(questions, mode, a.new)
                if r:
                    times[mode, name].append(time.perf_counter() - t)
                assert len(out) == a.batch and all(len(x) == a.new for x in out), (
                    f"{name}: not {a.new} tokens"
                )
    about = dict(threads=a.threads, batch=a.batch)
    rows = [
        about | dict(method=m, model=n, sentences_per_s=a.batch / statistics.median(t))
        for (m, n), t in times.items()
    ]
    table = pd.DataFrame(rows)
    for peer in [n for n in ("HF Marian", "CTranslate2 float32", "Luong LSTM", "fairseq fconv") if n in live]:
        theirs = table[table.model == peer].set_index("method").sentences_per_s
        table[f"/ {peer}"] = table.sentences_per_s / table.method.map(theirs)
    print(table.round(2).to_string(index=False))
    if a.csv:
        table.round(3).to_csv(a.csv, index=False)


if __name__ == "__main__":
    main()

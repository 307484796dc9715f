"""Kill a training at random moments, saves included, and start it again each time.

Its end must equal, bit for bit, that of a run that was never killed.

    python nbs/_bench/kill_test.py --kills 20

Exit code 1 and the name of what differs if it does not.
"""
import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from chitchat.checkpoints import load_checkpoint, load_resume
from chitchat.corpus import load_corpus
from chitchat.data import DataConfig
from chitchat.files import data_path
from chitchat.models import build_model, preset
from chitchat.train import TrainConfig, fit


def train(folder: Path, steps: int) -> None:
    "What is killed: dropout, accumulation, questions left out, a save after every step."
    torch.set_num_threads(1)
    corpus = load_corpus(data_path(), DataConfig(vocab_size=500), max_rows=600)
    torch.manual_seed(1)
    sizes = dict(vocab_size=len(corpus.tok), n_categories=len(corpus.cats), dropout=0.2)
    model = build_model(preset("gru", "tiny", **sizes))
    cfg = TrainConfig(steps=steps, eval_every=7, save_every=1, max_tokens=600, gradient_accumulation_steps=2,
                      drop_question_from=0.3)
    print("go", flush=True)
    fit(model, corpus.train, corpus.valid, cfg, out=folder, corpus=corpus)


def start(folder: Path, steps: int) -> subprocess.Popen:
    "A training in a process of its own, at the point where it begins or goes on."
    args = [sys.executable, __file__, "--train", str(folder), "--steps", str(steps)]
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.stdout.readline().strip() != "go":
        raise SystemExit(f"the training did not start:\n{p.communicate()[1]}")
    return p


def finished_state(folder: Path) -> dict:
    "All that a run leaves, but for what a clock measured."
    saved = load_resume(folder)
    timeless = lambda d: {k: v for k, v in d.items() if k != "seconds"}
    state = {f"weight {k}": v for k, v in saved["model"].items()}
    state |= {f"optimizer {i} {k}": v for i, s in saved["optimizer"]["state"].items() for k, v in s.items()}
    state |= {"position": timeless(saved["state"]), "history": [timeless(r) for r in saved["history"]]}
    state["learning rates"] = [g["lr"] for g in saved["optimizer"]["param_groups"]]
    return state | {"best weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}


def killed_run(folder: Path, steps: int, rng: random.Random, longest: float) -> tuple[int, int]:
    "Kill and restart until one gets through: how often it was killed, how often while saving."
    kills = saving = 0
    while True:
        p, killed = start(folder, steps), False
        try:
            p.wait(rng.uniform(0, longest))
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            killed = True
        if p.returncode == 0:
            return kills, saving
        if not killed:
            raise SystemExit(f"the training failed by itself:\n{p.communicate()[1]}")
        kills, saving = kills + 1, saving + bool(list(folder.glob("*.part")))
        if (folder / "model.safetensors").exists():
            load_checkpoint(folder, "cpu")  # whole after every kill


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=20, help="at least")
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.train:
        return train(a.train, a.steps)
    rng = random.Random(a.seed)
    kills = saving = runs = 0
    with tempfile.TemporaryDirectory() as tmp:
        t0, whole = time.perf_counter(), start(Path(tmp) / "whole", a.steps)
        whole.communicate()
        longest, want = 0.6 * (time.perf_counter() - t0), finished_state(Path(tmp) / "whole")
        while kills < a.kills:
            folder, runs = Path(tmp) / f"killed{runs}", runs + 1
            k, s = killed_run(folder, a.steps, rng, longest)
            kills, saving, got = kills + k, saving + s, finished_state(folder)
            same = lambda v, w: torch.equal(v, w) if torch.is_tensor(v) else v == w
            odd = [name for name, v in want.items() if not same(v, got[name])]
            if odd or want.keys() != got.keys():
                raise SystemExit(f"after {k} kills these differ: {', '.join(odd[:5])}")
    print(f"{runs} runs killed {kills} times, {saving} of them while a file was being written: "
          "each ended bit for bit like the run that was never killed")


if __name__ == "__main__":
    main()

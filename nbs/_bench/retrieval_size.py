"""Size and speed of an index: builds it from ROWS varied pairs, asks it, writes results/retrieval_size.json.

`ms` and `cpu_ms`: 50th, 95th and 100th percentile of a search; `…_base_mb`: imports and data.

python nbs/_bench/retrieval_size.py --source train.txt --source qa_data.jsonl.zip --rows 400000 --folder F
"""
import argparse, json, os, random, resource, subprocess, sys, time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from chitchat.data import filter_pairs, split_pairs
from chitchat.files import read_pairs
from chitchat.retrieval import Index, build_index
from data_size import varied


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # kilobytes on Linux


class Stream:
    "Pairs that are made when they are asked for, in order, as a `TextDataset` gives them."

    def __init__(self, pairs, n):
        self.pairs, self.n = pairs, n

    def __len__(self):
        return self.n

    def __getitem__(self, rows):
        pairs = islice(self.pairs, min(rows.stop, self.n) - rows.start)
        return pd.DataFrame(pairs, columns=["question", "answer", "category"])


def build(sources, rows, folder):
    rng, train, asked = random.Random(0), [], []
    for path in sources:
        parts = split_pairs(filter_pairs(read_pairs(path)))
        train += list(parts[0].itertuples(index=False, name=None))
        asked += [q for q in parts[1].question if q.endswith("?")]
    rng.shuffle(train)
    pairs = iter(train) if rows <= len(train) else varied(train, rows, rng)
    before, seconds = peak_mb(), time.perf_counter()
    build_index(Stream(pairs, rows), folder)
    seconds = time.perf_counter() - seconds
    questions = rng.sample(asked, min(500, len(asked)))
    (folder.parent / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    memory = {"build_peak_mb": peak_mb(), "build_base_mb": before}
    return {"rows": rows, "build_seconds": round(seconds)} | memory


def ask(folder):
    questions = json.loads((folder.parent / "questions.json").read_text(encoding="utf-8"))
    index, wall, cpu = Index.load(folder), [], []
    before = peak_mb()
    for question in questions:
        start, start_cpu = time.perf_counter(), time.process_time()
        index.search(question)
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - start_cpu) * 1e3)  # what a busy machine does not blur
    ms, cpu_ms = (np.percentile(times, [50, 95, 100]).round(1).tolist() for times in (wall, cpu))
    memory = {"query_peak_mb": peak_mb(), "query_base_mb": before}
    return {"questions": len(wall), "ms": ms, "cpu_ms": cpu_ms} | memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", action="append", required=True)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--part", choices=["build", "ask"])
    args = parser.parse_args()
    folder = args.folder / "index"
    if args.part:
        figures = build(args.source, args.rows, folder) if args.part == "build" else ask(folder)
    else:  # each part in a process of its own, so that its memory is its own
        figures, one_thread = {}, os.environ | {"OMP_NUM_THREADS": "1"}
        for part in ("build", "ask"):
            command = [sys.executable, *sys.argv, "--part", part]
            run = subprocess.run(command, env=one_thread, check=True, stdout=subprocess.PIPE)
            figures |= json.loads(run.stdout)
        figures["bytes_on_disk"] = sum(f.stat().st_size for f in folder.iterdir())
    print(json.dumps(figures))
    if not args.part:
        path = Path(__file__).parent / "results" / "retrieval_size.json"
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

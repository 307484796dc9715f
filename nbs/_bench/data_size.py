"""From a raw file of the course's size to ready batches: time and memory, beside the usual way with pandas.

python nbs/_bench/data_size.py generate --source train.txt --source qa_data.jsonl --folder F --rows 6600000
python nbs/_bench/data_size.py measure  --folder FOLDER --rows 6600000 [--only chitchat|again|pandas]

`measure` prints a JSON object a way and appends it to results/data_size.csv.
Peak memory is known on Unix systems only.
"""
import argparse, contextlib, json, random, re, shutil, subprocess, sys, time
from pathlib import Path

import numpy as np
import pandas as pd

with contextlib.suppress(ImportError):
    import resource

RESULTS = Path(__file__).parent / "results" / "data_size.csv"
FILE = "course.txt"
COURSE = {"jsonl": 700_000, "tsv": 5_900_000}  # lines of the course's two files
NOISE = ["смотри на www.example.com/{n}", "продам шкаф, доставка, тел. {n}", "who cares about number {n}",
         "ахахахахахах{n}",
         "да да да да", "см. https://example.org/{n}", "?", ""]


def varied(rows, n, rng):
    "Resample rows, with a word put in here and there, so that most are no copies; every fiftieth is noise."
    words = sorted({w for q, a, _ in rows[:20_000] for w in f"{q} {a}".split()})
    rnd = rng.random  # `choice` and `randrange` take several times as long
    def pick(some): return some[int(rnd() * len(some))]
    for _ in range(n):
        q, a, c = pick(rows)
        if rnd() < .1:  # some questions get an answer from elsewhere
            a = pick(rows)[1]
        texts = []
        for text in (q, a):
            parts = text.split()
            for _ in range(int(rnd() * 3)):
                parts.insert(int(rnd() * (len(parts) + 1)), pick(words))
            texts.append(" ".join(parts))
        if rnd() < .02:
            texts[rnd() < .5] = pick(NOISE).format(n=int(rnd() * 10**6))
        yield *texts, c


def generate(sources, folder, n):
    "Write one file of `n` lines of both formats, with the course's proportions."
    from chitchat.files import read_pairs
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    tables = {"tsv": [], "jsonl": []}
    for path in sources:
        df = read_pairs(path)
        df = df[df.question.str.contains(r"\w") & df.answer.str.contains(r"\w")]
        tables["jsonl" if df.category.any() else "tsv"] += list(df.itertuples(index=False, name=None))
    lines = {kind: round(n * share / sum(COURSE.values())) for kind, share in COURSE.items()}
    with open(folder / FILE, "w", encoding="utf-8") as f:
        for q, a, _ in varied(tables["tsv"], lines["tsv"], rng):
            f.write(f"{q}\t{a}\n" if rng.random() > .001 else f"{q}\n")
        more = varied(tables["jsonl"], 10**12, rng)
        for _ in range(lines["jsonl"]):
            q, a, c = next(more)
            others = [next(more)[1] for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 4]))]
            row = {"question": q, "category": c, "responses": [a, *others] if rng.random() > .03 else []}
            f.write(json.dumps(row, ensure_ascii=False)[:None if rng.random() > .001 else 40] + "\n")
    print(f"{FILE}: {(folder / FILE).stat().st_size / 1e6:,.0f} MB")


def chitchat_way(folder):
    "`load_corpus` and an epoch's batches."
    from chitchat.corpus import load_corpus
    from chitchat.data import DataConfig, LengthBatchSampler
    corpus = load_corpus(folder / FILE, DataConfig(), cache=folder / "cache")
    loaded = time.perf_counter()
    lengths = corpus.train.lengths
    batches, cut = LengthBatchSampler(lengths, 3000).batches(), time.perf_counter()
    made = [len(corpus.train.batch(b)) for b in batches[:200]]
    batched = time.perf_counter()
    padded = sum(len(b) * lengths[b].max(0).sum() for b in batches)
    print(corpus.describe(), file=sys.stderr)
    return dict(pairs=len(corpus.train) + len(corpus.valid), padding=1 - float(lengths.sum() / padded),
                sampler_s=cut - loaded, batch_ms=1000 * (batched - cut) / len(made))


def pandas_way(folder):
    """As published solutions do: the whole file, a function applied to each row, a list of ids for each text,
    batches padded to one length."""
    from tokenizers import Tokenizer as BPE, models, pre_tokenizers, trainers
    rows = []
    for line in open(folder / FILE, encoding="utf-8"):
        with contextlib.suppress(ValueError):
            if line.startswith("{"):
                row = json.loads(line)
                rows += [(row["question"], a) for a in row["responses"]]
            else:
                q, a = line.rstrip("\n").split("\t")
                rows.append((q, a))
    df = pd.DataFrame(rows, columns=["question", "answer"])

    def clean(text):
        text = re.sub(r"https?://\S+|www\.\S+", "", text.lower())
        text = re.sub(r"([!?.,)(])\1+", r"\1", text)
        text = re.sub(r"[^а-яёa-z0-9 !?.,()-]", " ", text)
        return re.sub(r"\s+", " ", text).strip()
    for column in ("question", "answer"):
        df[column] = df[column].apply(clean)
        df = df[df[column].apply(lambda t: 0 < len(t.split()) <= 40)]
    df = df.drop_duplicates(["question", "answer"])
    valid = df.sample(frac=.02, random_state=0)
    train = df.drop(valid.index)
    tok = BPE(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    specials = ["<pad>", "<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=specials, show_progress=False)
    tok.train_from_iterator(pd.concat([train.question, train.answer])[:2_000_000], trainer)
    ids = [(tok.encode(q).ids[:48], tok.encode(a).ids[:40])
           for part in (train, valid) for q, a in zip(part.question, part.answer)]
    rng, size = np.random.default_rng(0), 3000 // 88
    tokens = sum(len(q) + len(a) for q, a in ids)
    for _ in range(200):
        some = [ids[i % len(ids)] for i in rng.integers(0, len(ids), size)]
        np.array([q + [0] * (48 - len(q)) + a + [0] * (40 - len(a)) for q, a in some])
    return dict(pairs=len(ids), padding=1 - tokens / (88 * len(ids)))


def measure(folder, rows, only):
    "Run each way in a process of its own; append to the table."
    for way in only or ["chitchat", "again", "pandas"]:
        if way == "chitchat":
            shutil.rmtree(folder / "cache", ignore_errors=True)
        start = time.perf_counter()
        command = [sys.executable, __file__, "child", "--folder", str(folder), "--way", way]
        p = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        row = dict(rows=rows, way=way, seconds=round(time.perf_counter() - start, 2), status=p.returncode)
        row |= {k: v and round(v, 4) for k, v in json.loads(p.stdout or "{}").items()}
        print(json.dumps(row), flush=True)
        old = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=list(row))
        old = old[(old.rows != rows) | (old.way != way)]
        pd.concat([old, pd.DataFrame([row])]).sort_values(["rows", "way"]).to_csv(RESULTS, index=False)


def child(folder, way):
    "One way; its figures, with the peak memory and the processor's time of this process."
    found = (pandas_way if way == "pandas" else chitchat_way)(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 if "resource" in globals() else None
    return dict(peak_mb=peak, cpu_s=time.process_time()) | found


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["generate", "measure", "child"])
    p.add_argument("--source", type=Path, action="append")
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--rows", type=int)
    p.add_argument("--only", action="append", choices=["chitchat", "again", "pandas"])
    p.add_argument("--way")
    a = p.parse_args()
    if a.what == "generate":
        generate(a.source, a.folder, a.rows)
    elif a.what == "measure":
        measure(a.folder, a.rows, a.only)
    else:
        print(json.dumps(child(a.folder, a.way)))

"""Throw damaged files at `read_pairs`. Nothing but a table or a `ChitchatError` may come back,
every untouched row must be in the table, what was skipped must be counted,
and neither time nor memory may grow with the damage.

python nbs/_bench/fuzz_read.py --data FILE [--data FILE …] [--files 10000] [--seed 0]
"""
import argparse, contextlib, gzip, io, json, os, sys, tempfile, time, zipfile
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

with contextlib.suppress(ImportError):
    import resource

from chitchat.files import ChitchatError, raw_lines, read_pairs, sample_path


def flipped(line, rng):
    b = bytearray(line)
    for i in rng.integers(0, len(b), rng.integers(1, 9)):
        b[i] = int(rng.integers(0, 256))
    return bytes(b).replace(b"\n", b"!")


def cut(line, rng): return line[:rng.integers(1, len(line))]
def with_nul(line, rng): return line[:5] + b"\0" + line[5:]
def endless(line, rng): return line + "я".encode() * 600_000
def deep(line, rng): return b'{"question": ' + b"[" * int(rng.integers(10, 100_000))
def number(line, rng): return b'{"question": "a", "category": "b", "responses": ' + b"9" * 20_000 + b"}"
def binary(line, rng): return rng.bytes(200).replace(b"\n", b"!").replace(b"\r", b"!")
def no_column(line, rng): return line.replace(b"\t", b" ")
def third_column(line, rng): return line + b"\tmore"
def surrogate(line, rng): return line.replace(b'"question": "', b'"question": "\\ud83d')
def twins(line, rng): return line.replace(b"{", b'{"question": "?", ', 1)


def wrong_type(line, rng):
    row = json.loads(line)
    wrong = [None, 1, "да", {}, [[]], ["да", None], [["да"]], {"a": ["да"]}, True]
    row[str(rng.choice(["question", "category", "responses"]))] = wrong[rng.integers(len(wrong))]
    return json.dumps(row, ensure_ascii=False).encode()


def missing(line, rng):
    row = json.loads(line)
    del row[str(rng.choice(list(row)))]
    return json.dumps(row).encode()


ANY = [flipped, cut, with_nul, deep, number, binary]
LINES = {"json": [*ANY, wrong_type, missing, surrogate, twins], "tsv": [*ANY, no_column, third_column]}


def escaped(line): return json.dumps(json.loads(line)).encode()


def nulls(line):
    row = json.loads(line)
    row["responses"] = [None, *row["responses"], None]
    return json.dumps({k: v for k, v in row.items() if k != "category"}, ensure_ascii=False).encode()


def quoted(line):  # as pandas writes it
    return b"\t".join(b'"%s"' % c.replace(b'"', b'""') if b'"' in c else c for c in line.split(b"\t"))


def as_it_is(line): return line


SPELLINGS = {"json": [as_it_is, nulls, escaped], "tsv": [as_it_is, quoted]}  # of the same row


def zipped(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members:
            z.writestr(name, content)
    return out.getvalue()


@lru_cache
def bomb(what):
    content = {"n": b"\n" * (30 << 20), "r": b"a\tb\n" * (8 << 20), "0": b"\0" * (30 << 20)}[what[1]]
    return gzip.compress(content) if what[0] == "g" else zipped(("train.txt", content))


def torn(content, rng):
    b = bytearray(content)
    for i in rng.integers(0, len(b), 3):
        b[i] ^= 1 << int(rng.integers(8))
    return bytes(b[:len(b) if rng.random() < .5 else rng.integers(1, len(b))])


def web_page(c, rng):
    rows = c.replace(b"\n", b"</p>\n").replace(b"\n{", b"\n<p>{")
    return b"<!DOCTYPE html>\n<html>\n" + rows + b"</html>\n"


def packed(magic): return lambda c, rng: magic + rng.bytes(3000)


# name → (content → content, may all rows be expected: True, must be refused: False, either: None)
FILES = {
    "plain": (lambda c, rng: c, True),
    "BOM": (lambda c, rng: b"\xef\xbb\xbf" + c, True),
    "CRLF": (lambda c, rng: c.replace(b"\n", b"\r\n"), True),
    "no last line break": (lambda c, rng: c.rstrip(b"\n"), True),
    "gzip": (lambda c, rng: gzip.compress(c), True),
    "zip": (lambda c, rng: zipped(("a.txt", c)), True),
    "zip with a path": (lambda c, rng: zipped(("../../../evil\x1b[31m.txt", c)), True),
    "zip of macOS": (lambda c, rng: zipped(("a.txt", c), ("__MACOSX/._a.txt", b"x")), True),
    "UTF-16": (lambda c, rng: c.decode("utf-8", "replace").encode("utf-16"), False),
    "two files in a zip": (lambda c, rng: zipped(("a", c), ("b", c)), False),
    "zip in zip": (lambda c, rng: zipped(("a.zip", zipped(("a", c)))), False),
    "gzip in zip": (lambda c, rng: zipped(("a.gz", gzip.compress(c))), False),
    "torn zip": (lambda c, rng: torn(zipped(("a.txt", c)), rng), None),
    "torn gzip": (lambda c, rng: torn(gzip.compress(c), rng), None),
    "cut gzip": (lambda c, rng: gzip.compress(c)[:-int(rng.integers(1, 20))], False),
    "zstd": (packed(b"\x28\xb5\x2f\xfd"), False),
    "7-Zip": (packed(b"7z\xbc\xaf\x27\x1c"), False),
    "RAR": (packed(b"Rar!\x1a\x07"), False),
    "web page": (web_page, False),
    "empty": (lambda c, rng: b"", False),
    "noise": (lambda c, rng: rng.bytes(3000), None),
    "no break at all": (lambda c, rng: c.replace(b"\n", b" "), None),
} | ({"pipe": (lambda c, rng: None, False)} if hasattr(os, "mkfifo") else {})
# wrongly decoded, of two thousand bytes or more all must be refused: (written in, read in)
DECODED = {f"{a} as {b}": (a, b) for a, b in [
    ("cp1251", ""), ("koi8-r", ""), ("cp866", ""), ("mac-cyrillic", ""), ("utf-32", ""), ("utf-8", "cp1251"),
    ("utf-8", "latin-1"), ("koi8-r", "cp1251"), ("cp866", "cp1251"), ("cp1251", "koi8-r")]}
DECODED |= {"escapes": ("raw_unicode_escape", ""), "transliteration": ("latin", "")}
BOMBS = ["gn", "gr", "g0", "zn", "zr", "z0"]
LATIN = dict(zip("абвгдежзийклмнопрстуфхцчшщъыьэюя", (
    "a b v g d e zh z i y k l m n o p r s t u f h c ch sh sch _ y _ e yu ya").replace("_", "").split(" ")))
LATIN = str.maketrans(LATIN | {"ё": "e"} | {k.upper(): v.capitalize() for k, v in LATIN.items()})


def decoded(content, written, read):
    text = content.decode("utf-8", "replace")
    if written == "latin":
        return text.translate(LATIN).encode()
    if written != "utf-8":
        content = text.encode(written, "replace")
    return content.decode(read, "replace").encode() if read else content


def expected(line, kind):  # pairs of a line that nobody touched
    if kind == "tsv":
        return [tuple(line.decode().split("\t"))]
    row = json.loads(line)
    return [(row["question"], a) for a in row["responses"]]


def usable(line, kind):
    try:
        return len(expected(line, kind)[0]) == 2
    except (ValueError, LookupError, TypeError):
        return False


def one_file(good, kind, name, rng, folder):
    "Write one damaged file and read it: refused?, rows, seconds."
    lines = [good[i] for i in rng.integers(0, len(good), rng.integers(1, 40))]
    keep = rng.random(len(lines)) > rng.choice([0, .1, .5])
    damage = LINES[kind] + [endless] * (rng.random() < .02)
    same = [as_it_is] if name in DECODED else SPELLINGS[kind]  # escapes are the same in every encoding
    content = b"".join((same[rng.integers(len(same))](line) if k else
                        damage[rng.integers(len(damage))](line, rng)) + b"\n" for line, k in zip(lines, keep))
    want = [p for line, k in zip(lines, keep) if k for p in expected(line, kind)]
    if name in DECODED:
        pack = lambda c, r: decoded(c, *DECODED[name])
        sure = len(content) > 2000 and keep.mean() > .8
        sure &= kind == "tsv" or name not in ("escapes", "transliteration")  # JSON may hold escapes
        readable = False if sure else None
    else:
        pack, readable = (lambda c, r: bomb(name), False) if name in BOMBS else FILES[name]
    path = folder / "file.txt"
    path.unlink(missing_ok=True)
    if (whole := pack(content, rng)) is None:
        os.mkfifo(path)
    else:
        path.write_bytes(whole)
    start = time.perf_counter()
    try:
        df = read_pairs(path, max_broken=1)
    except ChitchatError as e:
        assert str(path) in str(e), e
        assert not (readable and want), f"{name} was refused although it holds good rows: {e}"
        return True, 0, time.perf_counter() - start
    assert readable is not False, f"{name} was accepted"
    if readable:
        got, report = iter(zip(df.question, df.answer)), df.attrs["read"]
        assert all(w in got for w in want), f"{name}: a good row is lost"  # `in` on an iterator: in order
        assert report.lines <= len(lines) + 1 and report.broken <= len(lines) - keep.sum(), report
        assert report.pairs == len(df), report
        assert report.broken == sum(report.reasons.values())
    return False, len(df), time.perf_counter() - start


def fuzz(
    paths=(sample_path(),),  # files whose rows are damaged
    n: int = 10_000,         # files
    seed: int = 0,
) -> pd.DataFrame:           # a row a kind of file: how many, refused, rows read, slowest
    "Read `n` damaged files; `AssertionError` at the first that shows a fault."
    good = []
    for path in paths:
        lines = [line.strip(b"\r\n") for _, line in islice(raw_lines(path), 3000)]
        kind = "json" if lines[0].startswith(b"{") else "tsv"
        good.append(([line for line in lines if usable(line, kind)], kind))
    names = [*FILES, *DECODED] * 20 + BOMBS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            rng = np.random.default_rng([seed, i])
            name = names[i % len(names)] if n >= len(names) else names[rng.integers(len(names))]
            try:
                found = one_file(*good[rng.integers(len(good))], name, rng, Path(folder))
                rows.append((name if name not in BOMBS else "bomb", *found))
            except Exception:
                print(f"file {i} of seed {seed} ({name})", file=sys.stderr)
                raise
    table = pd.DataFrame(rows, columns=["kind", "refused", "rows", "slowest"]).groupby("kind").agg(
        files=("rows", "size"), refused=("refused", "sum"), rows=("rows", "sum"), slowest=("slowest", "max"))
    return table.loc[[k for k in [*FILES, *DECODED, "bomb"] if k in table.index]]


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--data", type=Path, action="append")
    p.add_argument("--files", type=int, default=10_000)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if "resource" in globals() else 0
    start, before = time.perf_counter(), peak()
    table = fuzz(a.data or [sample_path()], a.files, a.seed)
    print(table.to_string(float_format="{:.3f} s".format))
    seconds = time.perf_counter() - start
    print(f"{table.files.sum():,} files in {seconds:.0f} s, {table['rows'].sum():,} rows read; "
          f"peak memory {peak():.0f} MB, of which {before:.0f} MB before the first")

"""How much of the exported code do the notebooks' tests execute? `python .ci/covered.py`; needs coverage.

`nbdev_test` runs an exported cell in the notebook, not in the module that was made of it, so a line counts if
it ran there or, when a later notebook imports it, in `chitchat/*.py`. What tests start in other processes does not
count. Importing runs every `def` line, so functions whose body never ran are listed by name.
"""
import argparse
import ast
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
SEGMENT = re.compile(r"^# %% \.\./nbs/.*$", re.MULTILINE)


def traced(folder: Path) -> Coverage:
    return Coverage(data_file=str(folder / ".coverage"), config_file=False, include=[f"{ROOT}/chitchat/*", f"{folder}/*"], data_suffix=True)


def run_notebook(path: Path, folder: Path) -> bool:
    "As `nbdev_test` does; each cell is compiled from a file, for the tracer skips code that has none."
    from IPython.core.compilerop import CachingCompiler

    def name_of(self: CachingCompiler, raw: str, transformed: str, number: int) -> str:
        file = folder / f"{path.stem}-{hashlib.sha256(raw.encode()).hexdigest()[:16]}.py"
        file.write_text(transformed, encoding="utf-8")
        return str(file)
    CachingCompiler.get_code_name = name_of
    from nbdev.test import test_nb
    cov = traced(folder)
    cov.start()
    good, _ = test_nb(path, skip_flags=["slow"], basepath=ROOT)
    cov.stop()
    cov.save()
    return good


def ran(cov: Coverage, file: Path) -> set[int]:
    "Numbers of the statements of a file that ran."
    _, statements, _, missing, _ = cov.analysis2(str(file))
    return set(statements) - set(missing)


def segments(module: Path) -> list[tuple[int, str]]:
    "Line before the first, and text as it stands in the notebook, of each exported cell."
    text = module.read_text(encoding="utf-8")
    marks = [m.end() + 1 for m in SEGMENT.finditer(text)]
    ends = [*[m.start() for m in SEGMENT.finditer(text)][1:], len(text)]
    return [(text[:start].count("\n"), re.sub(r"^(\s*)from \.(\w+) import", r"\1from chitchat.\2 import", text[start:end], flags=re.MULTILINE)) for start, end in zip(marks, ends)]


def squeezed(text: str) -> str:  # what nbdev may change in an import of several lines is its indentation
    return re.sub(r"\s+", " ", text).strip()


def functions(module: Path) -> list[tuple[str, int, int]]:
    "Name, first and last line of the body of every function and method."
    tree, found = ast.parse(module.read_text(encoding="utf-8")), []

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if named and not isinstance(child, ast.ClassDef):
                body = child.body[1:] if isinstance(child.body[0], ast.Expr) and len(child.body) > 1 else child.body
                found.append((prefix + child.name, body[0].lineno, child.end_lineno))
            walk(child, f"{prefix}{child.name}." if named else prefix)
    walk(tree, "")
    return found


def ranges(numbers: set[int], among: list[int]) -> str:  # of line numbers, where `among` has nothing between
    runs: list[list[int]] = []
    for before, n in zip([None, *among], among):
        if n in numbers and runs and runs[-1][1] == before:
            runs[-1][1] = n
        elif n in numbers:
            runs.append([n, n])
    return ", ".join(f"{a}–{b}" if a < b else f"{a}" for a, b in runs)


def report(folder: Path, notebooks: list[Path]) -> float:  # percent of the statements of their modules
    cov = traced(folder)
    cov.combine([str(folder)], keep=True)
    cells = {(f.name.rsplit("-", 1)[0], squeezed(f.read_text(encoding="utf-8"))): f for f in folder.glob("*.py")}
    total, hit, never = 0, 0, []
    for notebook in notebooks:
        module = ROOT / "chitchat" / f"{notebook.stem[3:]}.py"
        lines, unmatched = ran(cov, module) if str(module) in cov.get_data().measured_files() else set(), 0
        for before, text in segments(module):
            cell = cells.get((notebook.stem, squeezed(text)))
            unmatched += cell is None
            lines |= {n + before for n in ran(cov, cell)} if cell else set()
        statements = set(cov.analysis2(str(module))[1]) - {n for n, line in enumerate(module.read_text(encoding="utf-8").splitlines(), 1) if line.startswith("__all__")}
        total, hit = total + len(statements), hit + len(lines & statements)
        print(f"{module.name:12} {len(lines & statements):5} of {len(statements):5} statements, {len(lines & statements) / len(statements):6.1%}"
              + (f"; {unmatched} cells were not run or not found" if unmatched else ""))
        print(f"             not run: {ranges(statements - lines, sorted(statements)) or 'nothing'}")
        never += [f"{module.stem}.{name}" for name, first, last in functions(module) if not lines & set(range(first, last + 1))]
    print(f"all          {hit:5} of {total:5} statements, {hit / total:6.1%}\nnever run: {', '.join(never) or 'nothing'}")
    return 100 * hit / total


def main() -> int:
    p = argparse.ArgumentParser(description="Coverage of the exported code by the notebooks' own tests.")
    p.add_argument("notebooks", nargs="*", type=Path, help="default: all five")
    p.add_argument("--least", type=float, default=90.0, help="percent; less is a failure")
    p.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.folder:
        return 0 if run_notebook(a.notebooks[0], a.folder) else 1
    with tempfile.TemporaryDirectory() as folder:
        notebooks = [n.resolve() for n in a.notebooks] or sorted((ROOT / "nbs").glob("0*.ipynb"))
        one = lambda n: subprocess.run([sys.executable, __file__, str(n), "--folder", str(Path(folder).resolve())], check=False).returncode
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            codes = list(pool.map(one, notebooks))
        if any(codes):
            print("a notebook failed")
            return 1
        return 0 if report(Path(folder).resolve(), notebooks) >= a.least else 1


if __name__ == "__main__":
    sys.exit(main())

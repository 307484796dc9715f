"""Checks of the code as text: `python .ci/names.py` prints what is wrong, `--write` renews README's table.

- A module imports only those before it in ORDER, also inside functions, and `import chitchat` is quick.
- No line of a module, script or cell has more than 110 characters, no assignment unpacks more than three.
- The package stays small enough to be held in the head.
- Each name in README's table is public, and its text is the first sentence of its docstring.
"""
import ast
import json
import re
import subprocess
import sys
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("files", "data", "corpus", "models", "fast", "checkpoints", "train", "contract", "retrieval",
         "decoding", "commands", "serving", "bot")
LARGE = ("torch", "numpy", "pandas", "matplotlib", "telegram", "tokenizers", "razdel")
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
MAX_WIDTH, MAX_UNPACKED = 110, 3                        # characters a line, values an assignment
MAX_TOKENS, MAX_LINES, MAX_MODULE = 42_000, 4_800, 565  # of the package, of the package, lines of a module
ROW = re.compile(r"^\| `chitchat\.(\w+)\.([\w.]+)` \| (.*) \|$", re.MULTILINE)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def wrong_order(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            path = ".".join(["chitchat"] * bool(node.level) + [node.module] * bool(node.module))
            names = [f"{path}.{a.name}" for a in node.names] if path == "chitchat" else [path]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        others = {n.split(".")[1] for n in names if n.startswith("chitchat.")} & {*ORDER}
        yield from (f"chitchat.{name}:{node.lineno} imports chitchat.{other}, which does not come before it"
                    for other in others if ORDER.index(other) >= ORDER.index(name))


def slow_import(most: float = 0.3) -> Iterator[str]:
    code = f"import sys, chitchat; print(*[m for m in {LARGE} if m in sys.modules])"
    times = []
    for _ in range(5):
        t0 = time.perf_counter()
        loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip()
        times.append(time.perf_counter() - t0)
    if loaded:
        yield f"import chitchat imports {loaded} too"
    if min(times) > most:
        yield f"import chitchat takes {min(times):.2f} s"


def pieces() -> Iterator[tuple[str, str, bool]]:
    "Where it stands, text, and whether readers of the course meet it: modules and cells, then scripts."
    for path in sorted((ROOT / "chitchat").glob("*.py")):
        if path.name != "_modidx.py":
            blank = lambda m: "\n" * m[0].count("\n")  # nbdev lays that list out
            yield path.name, re.sub(r"(?ms)^__all__ = \[.*?\]", blank, read(path)), True
    for path in sorted((ROOT / "nbs").glob("[!_]*.ipynb")):
        for i, cell in enumerate(json.loads(read(path))["cells"]):
            if cell["cell_type"] == "code":
                text = re.sub(r"(?m)^[%!].*", "", "".join(cell["source"]))  # magics are no Python
                yield f"{path.name} cell {i}", text, True
    for path in [*ROOT.glob("*.py"), *ROOT.glob(".ci/*.py"), *ROOT.glob("nbs/_bench/*.py")]:
        yield str(path.relative_to(ROOT)), read(path), False


def too_dense(where: str, text: str, shown: bool) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_WIDTH:
            yield f"{where}:{number} has {len(line)} characters"
    for node in ast.walk(ast.parse(text)) if shown else ():
        for target in node.targets if isinstance(node, ast.Assign) else ():
            stored = [n for n in ast.walk(target) if isinstance(getattr(n, "ctx", None), ast.Store)]
            n = sum(not isinstance(n, (ast.Tuple, ast.List, ast.Starred)) for n in stored)
            if n > MAX_UNPACKED:
                yield f"{where}:{node.lineno} unpacks {n} values"


def too_large(modules: list[Path]) -> Iterator[str]:
    tokens = lines = 0
    for path in modules:
        with tokenize.open(path) as f:
            tokens += sum(t.type not in LAYOUT for t in tokenize.generate_tokens(f.readline))
        n = read(path).count("\n")
        lines += n
        if n > MAX_MODULE:
            yield f"{path.name} has {n} lines"
    print(f"the package: {tokens:,} tokens, {lines:,} lines")
    if tokens > MAX_TOKENS or lines > MAX_LINES:
        yield f"the package is larger than {MAX_TOKENS:,} tokens or {MAX_LINES:,} lines"


def first_sentence(tree: ast.Module, name: str) -> str:
    "Of the docstring of a public name; empty if there is none."
    assigned = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    public = ast.literal_eval(assigned["__all__"]) if "__all__" in assigned else ()
    head, *rest = name.split(".")
    node: ast.AST | None = tree if head in public else None
    for part in (head, *rest):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        node = next((n for n in getattr(node, "body", ()) if isinstance(n, kinds) and n.name == part), None)
    text = " ".join(((node and ast.get_docstring(node)) or "").split()).replace("|", "\\|")
    return re.split(r"(?<=\.) (?=[A-Z`'(])", text)[0]


def renew_table(trees: dict[str, ast.Module], write: bool) -> list[str]:
    wrong = []

    def renewed(m: re.Match) -> str:
        text = first_sentence(trees[m[1]], m[2]) if m[1] in trees else ""
        if not text:
            wrong.append(f"README: chitchat.{m[1]}.{m[2]} is not a public name with a docstring")
        elif text != m[3] and not write:
            wrong.append(f"README: chitchat.{m[1]}.{m[2]} is said to be {m[3]!r}, and is {text!r}")
        return f"| `chitchat.{m[1]}.{m[2]}` | {text or m[3]} |"
    readme = ROOT / "README.md"
    text, n = ROW.subn(renewed, read(readme))
    if write:
        readme.write_text(text, encoding="utf-8")
    return wrong if n else ["README has no table of names"]


def main() -> int:
    modules = [p for p in sorted((ROOT / "chitchat").glob("*.py")) if p.name != "_modidx.py"]
    trees = {p.stem: ast.parse(read(p)) for p in modules if p.stem != "__init__"}
    wrong = [f"chitchat.{name} has no place in ORDER" for name in trees if name not in ORDER]
    wrong += [w for name, tree in trees.items() if name in ORDER for w in wrong_order(name, tree)]
    wrong += [*slow_import(), *(w for piece in pieces() for w in too_dense(*piece)), *too_large(modules)]
    wrong += renew_table(trees, write="--write" in sys.argv)
    print("\n".join(wrong) or "nothing is wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

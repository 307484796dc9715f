"""Checks of the code as text. `python .ci/names.py` says what is wrong; `--write` brings README's table up to date.

- The modules import one another in the order of the notebooks: none knows a later one.
- `import chitchat` is quick and takes none of the large libraries along.
- No function has more than 40 lines.
- README's table of names: each exists in `__all__`, and its text is the first line of its docstring.
"""
import argparse
import ast
import re
import subprocess
import sys
import time
from pathlib import Path

ORDER = ["data", "models", "train", "decoding", "bot"]
LATER = {("train", "decoding")}  # within `_responder`, when a command runs: what is trained is also heard
LARGE = ("torch", "numpy", "pandas", "matplotlib", "telegram", "tokenizers", "razdel")
ROW = re.compile(r"^\| `chitchat\.(\w+)\.([\w.]+)` \| (.*) \|$", re.MULTILINE)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def imports(tree: ast.AST) -> list[tuple[str, bool]]:
    "Modules of chitchat that a module imports, and whether it does so at once."
    at_once = {id(n) for n in ast.walk(tree)} - {id(n) for f in ast.walk(tree) if isinstance(f, (*FUNCTION, ast.If)) for n in ast.walk(f) if n is not f}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            path = "chitchat" * bool(node.level) + "." * bool(node.level and node.module) + (node.module or "")
            names = [f"{path}.{a.name}" for a in node.names] if path == "chitchat" else [path]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found += [(n.split(".")[1], id(node) in at_once) for n in names if n.startswith("chitchat.")]
    return found


def wrong_order(trees: dict[str, ast.Module]) -> list[str]:
    out = []
    for name, tree in trees.items():
        for other, at_once in imports(tree):
            later = ORDER.index(other) > ORDER.index(name)
            if later and (at_once or (name, other) not in LATER):
                out.append(f"chitchat.{name} imports chitchat.{other}, which comes after it")
    return out


def slow_import(root: Path, most: float = 0.3) -> list[str]:
    code = f"import sys, chitchat; print(*[m for m in {LARGE} if m in sys.modules])"
    times, loaded = [], ""
    for _ in range(5):
        t0 = time.perf_counter()
        loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        times.append(time.perf_counter() - t0)
    print(f"import chitchat: {min(times):.2f} s with the start of Python")
    return [f"import chitchat imports {loaded} too"] * bool(loaded) + [f"import chitchat takes {min(times):.2f} s"] * (min(times) > most)


def long_functions(trees: dict[str, ast.Module], most: int = 40) -> list[str]:
    return [f"chitchat.{name}.{n.name} has {n.end_lineno - n.lineno + 1} lines" for name, tree in trees.items()
            for n in ast.walk(tree) if isinstance(n, FUNCTION) and n.end_lineno - n.lineno >= most]


def first_line(tree: ast.Module, name: str) -> str | None:
    "Of the docstring of a public name, or None."
    public = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"), [])
    node, head, *rest = tree, *name.split(".")
    if head not in public:
        return None
    for part in (head, *rest):
        node = next((n for n in node.body if isinstance(n, (*FUNCTION, ast.ClassDef)) and n.name == part), None)
        if node is None:
            return None
    return (ast.get_docstring(node) or "").split("\n")[0].replace("|", "\\|")


def table(readme: str, trees: dict[str, ast.Module]) -> tuple[str, list[str]]:
    "README with its texts renewed, and what was wrong with them."
    wrong = [] if ROW.search(readme) else ["README has no table of names"]

    def renewed(m: re.Match) -> str:
        text = first_line(trees[m[1]], m[2]) if m[1] in trees else None
        if not text:
            wrong.append(f"README: chitchat.{m[1]}.{m[2]} is not a public name with a docstring")
            return m[0]
        if text != m[3]:
            wrong.append(f"README: chitchat.{m[1]}.{m[2]} is said to be {m[3]!r}, and is {text!r}")
        return f"| `chitchat.{m[1]}.{m[2]}` | {text} |"
    return ROW.sub(renewed, readme), wrong


def main() -> int:
    p = argparse.ArgumentParser(description="Checks of the code as text.")
    p.add_argument("--write", action="store_true", help="renew README's table")
    p.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    a = p.parse_args()
    trees = {name: ast.parse((a.root / "chitchat" / f"{name}.py").read_text(encoding="utf-8")) for name in ORDER}
    readme = a.root / "README.md"
    text, stale = table(readme.read_text(encoding="utf-8"), trees)
    if a.write:
        readme.write_text(text, encoding="utf-8")
        stale = [s for s in stale if "is said to be" not in s]
    wrong = wrong_order(trees) + slow_import(a.root) + long_functions(trees) + stale
    print("\n".join(wrong) or "nothing is wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

"""Test a notebook as `nbdev_test` does, with its exported cells compiled as if they stood in their module.

`nbdev_test` runs an exported cell in the notebook, not in the module made of it, so coverage does not see it.
`coverage run .ci/covered.py NOTEBOOK` counts a line if it ran in its cell or in the module.
"""
import ast
import re
import sys
from pathlib import Path

from IPython.core.compilerop import CachingCompiler
from nbdev.test import test_nb

ROOT = Path(__file__).resolve().parent.parent
plain_cache, plain_parse = CachingCompiler.cache, CachingCompiler.ast_parse


def key(code: str) -> str:
    "A cell without directives; nbdev may change the package's name and the indentation of an import."
    code = re.sub(r"^\s*#\s*\|.*", "", code, flags=re.MULTILINE).replace("from chitchat.", "from .")
    return re.sub(r"\s+", " ", code).strip()


exported = {}  # cell → its module and the line before its first
for module in (ROOT / "chitchat").glob("*.py"):
    marks = [*re.finditer(r"^# %% \.\./nbs/.*\n", text := module.read_text(encoding="utf-8"), re.MULTILINE)]
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(text)]):
        exported[key(text[mark.end():end])] = str(module), text.count("\n", 0, mark.end())


def cache(self: CachingCompiler, code: str, number: int = 0, raw_code: str | None = None) -> str:
    file, self.before = exported.get(key(code), ("", 0))
    self.before -= len(re.match(r"(\s*#\s*\|.*\n|\s*\n)*", code)[0].splitlines())
    return file or plain_cache(self, code, number, raw_code)


def ast_parse(self: CachingCompiler, source: str, filename: str = "", symbol: str = "exec") -> ast.AST:
    tree = plain_parse(self, source, filename, symbol)
    return ast.increment_lineno(tree, self.before) if filename.startswith(str(ROOT)) else tree


CachingCompiler.cache, CachingCompiler.ast_parse = cache, ast_parse
if __name__ == "__main__":
    good, _ = test_nb(Path(sys.argv[1]).resolve(), skip_flags=["slow"], basepath=ROOT)
    sys.exit(not good)

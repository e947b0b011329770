"""What the book says of the code, and the code that it shows; read from the files, without Sphinx."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

BOOK = Path(__file__).resolve().parent.parent
ROOT = BOOK.parent


class Statement(NamedTuple):
    """A theorem, lemma, definition or the like of the book."""

    page: str
    kind: str
    title: str
    label: str


class Trace(NamedTuple):
    """An equation of the book, the functions that compute it and the tests that hold it."""

    page: str
    label: str
    functions: list[str]
    tests: list[str]


def traces() -> list[Trace]:
    """Every ``{traced}`` block of the book, in the order of the table of contents."""
    block = re.compile(r"^:::\{traced\} (\S+)\n:function: (.+)\n:test: (.+)\n:::$", re.M)
    return [Trace(page, label, functions.split(), tests.split())
            for page, text in _pages() for label, functions, tests in block.findall(text)]


def statements() -> list[Statement]:
    """Every statement that has a number, in the order of the table of contents."""
    head = re.compile(r"^[`:]{3,}\{prf:(?!proof|ref)(\w+)\} (.+)\n:label: (\S+)$", re.M)
    return [Statement(page, *found) for page, text in _pages() for found in head.findall(text)]


def definition(name: str) -> tuple[ast.FunctionDef | ast.ClassDef, Path]:
    """The syntax tree of a function or class named by its dotted path, and its file."""
    parts = name.split(".")
    depth = next(k for k in range(len(parts), 0, -1) if _file(parts[:k]))
    path = _file(parts[:depth])
    node = ast.parse(path.read_text(encoding="utf-8"))
    for part in parts[depth:]:
        node = next(inner for inner in node.body if getattr(inner, "name", "") == part)
    return node, path


def source(name: str) -> tuple[str, Path]:
    """The text of a function or class, its docstrings left out, and its file below the project's folder."""
    node, path = definition(name)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    docs = [inner.body[0] for inner in ast.walk(node)
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None]
    dropped = {line for doc in docs for line in range(doc.lineno, doc.end_lineno + 1)}
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [lines[n - 1] for n in range(first, node.end_lineno + 1) if n not in dropped]
    indent = len(kept[0]) - len(kept[0].lstrip())
    return re.sub(r"\n{2,}", "\n\n", "\n".join(line[indent:] for line in kept)), path.relative_to(ROOT)


def _pages() -> list[tuple[str, str]]:
    """Name and text of each page, in the order of the table of contents."""
    order = re.findall(r"file: (\w+)", (BOOK / "_toc.yml").read_text(encoding="utf-8"))
    return [(page, (BOOK / f"{page}.md").read_text(encoding="utf-8")) for page in order]


def _file(parts: list[str]) -> Path | None:
    path = ROOT.joinpath(*parts)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)

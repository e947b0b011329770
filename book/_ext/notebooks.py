"""Each page with code cells as a Jupyter notebook beside the built pages, which needs none of the book's tools.

Its text comes from the page as Sphinx has resolved it: numbers, references and measured values are those of the HTML.
Its code comes from the page's source, as cells that the book does not show are needed too.
"""

import ast
import re
import shutil
from itertools import groupby
from pathlib import Path

import nbformat
from as_markdown import Blocks, Page, inside
from docutils import nodes
from myst_nb.core.read import create_nb_reader
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx

from vi_ref import __version__

FOLDER = "notebooks"
SAVED = re.compile(r'Path\("results"\)\.glob\("([^"]+)"\)')


def without_glue(code: str) -> str:
    """The code without what hands values to the book's text; empty if there is nothing else."""
    lines = code.splitlines()
    tree = ast.parse("\n".join("pass" if line.startswith(("%", "!")) else line for line in lines))
    gone = {n for node in ast.walk(tree) if _glues(node) for n in range(node.lineno, node.end_lineno + 1)}
    kept = "\n".join(line for n, line in enumerate(lines, 1) if n not in gone).strip()
    return "" if all(_glues(node) for node in tree.body) else kept


def _glues(node: ast.AST) -> bool:
    """Whether it is a call of `glue`, the import of it, or a block of such calls alone."""
    if isinstance(node, ast.For | ast.If | ast.With):
        return all(_glues(inner) for inner in node.body + getattr(node, "orelse", []))
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.func
    return getattr(node, "module", "") == "myst_nb" or getattr(called, "id", "") == "glue"


def convert(app: Sphinx, name: str, doctree: nodes.document) -> nbformat.NotebookNode:
    """The notebook of a page."""
    env, source = app.env, Path(app.env.doc2path(name))
    text = source.read_text(encoding="utf-8")
    cells = create_nb_reader(str(source), env.myst_config, env.mystnb_config, text).read(text).cells
    code = _placed(doctree, cells)
    others = {app.builder.get_relative_uri(name, other): f"{other}.ipynb" for other in env.found_docs
              if other != name and has_cells(app, other)}
    page = Page(_preface(app, name, cells), code, env.toc_secnumbers.get(name, {}),
                env.toc_fignumbers.get(name, {}), others)
    parts = [part for part in inside(doctree, page) + _references(doctree) if part]
    notebook = new_notebook(metadata={"kernelspec": dict(env.metadata[name]["kernelspec"]),
                                      "language_info": {"name": "python"}})
    for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_text:
            texts = re.split(r"\n\n(?=#+ )", "\n\n".join(run))
            notebook.cells += [new_markdown_cell(text) for text in texts]
        else:
            notebook.cells += run
    for k, cell in enumerate(notebook.cells):
        cell["id"] = f"{name}-{k}"
    return notebook


def has_cells(app: Sphinx, name: str) -> bool:
    """Whether a page holds code cells, and so becomes a notebook."""
    return "kernelspec" in app.env.metadata[name]


def _placed(doctree: nodes.document, cells: list) -> dict[int, Blocks]:
    """For each cell that the page shows: itself and the ones up to the next; under -1 the ones before all."""
    shown = [-1, *(node["cell_index"] for node in doctree.findall(nodes.container) if "cell_index" in node)]
    if shown != sorted(shown):
        raise ValueError("the page shows cells in another order than they run")
    placed, last = {-1: []}, -1
    for k, cell in enumerate(cells):
        last = k if k in shown else last
        if cell.cell_type == "code":
            tags, source = cell.metadata.get("tags", []), without_glue(cell.source)
            metadata = {"tags": tags} if tags else {}
            if "hide-input" in tags:
                metadata["jupyter"] = {"source_hidden": True}
            placed.setdefault(last, []).append(new_code_cell(source, metadata=metadata) if source else "")
    return placed


def _preface(app: Sphinx, name: str, cells: list) -> str:
    """What the notebook is and what it needs."""
    saved = [file for cell in cells for file in saved_files(app, cell.source)]
    needed = "".join(f" It reads `results/{file.name}`, which is to be had where the notebook is." for file in saved)
    return (f"*A page of the book **{app.config.html_title}**, of vi_ref {__version__}, as a notebook. It needs vi_ref "
            "and what the book imports, by `python -m pip install '.[notebook]'` in the project's folder or with the "
            f"project's address in place of the dot.{needed}*")


def saved_files(app: Sphinx, code: str) -> list[Path]:
    """The file of measured values that a cell reads: the newest of its kind."""
    return [max((Path(app.srcdir) / "results").glob(pattern)) for pattern in SAVED.findall(code)]


def _references(doctree: nodes.document) -> list[str]:
    """What the page cites, in full."""
    cited = {reference["reftitle"] for reference in doctree.findall(nodes.reference) if "reftitle" in reference
             and "bibtex-citation" in reference.parent["classes"]}
    return ["## References", "\n".join(f"- {entry}" for entry in sorted(cited))] if cited else []


def write(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Write the notebook of a page, with what it reads, and offer it among the page's downloads."""
    if doctree is None or app.builder.name != "html" or not has_cells(app, pagename):
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(exist_ok=True)
    notebook = convert(app, pagename, doctree)
    nbformat.write(notebook, folder / f"{pagename}.ipynb")
    saved = [file for cell in notebook.cells if cell.cell_type == "code" for file in saved_files(app, cell.source)]
    for file in saved:
        (folder / "results").mkdir(exist_ok=True)
        shutil.copy(file, folder / "results")
    offered = [(f"{pagename}.ipynb", ".ipynb", "Download this page as a notebook"),
               *((f"results/{file.name}", ".json", "Download the values that the notebook reads") for file in saved)]
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            group["buttons"][:1] = [
                {"type": "link", "url": context["pathto"](f"{FOLDER}/{file}", 1), "text": text, "icon": "fas fa-code",
                 "tooltip": tooltip, "label": "download-notebook-button"} for file, text, tooltip in offered]


def setup(app: Sphinx) -> dict[str, bool]:
    """Have the notebooks written with the pages, after the theme has made its buttons."""
    app.connect("html-page-context", write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What the book needs beyond Jupyter Book: source without docstrings, traceability, macros for both TeX engines."""

import re
import runpy
from itertools import groupby
from typing import ClassVar

import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from numpy.typing import ArrayLike, NDArray
from reading import ROOT, Trace, source, statements, traces
from sphinx.util.docutils import SphinxDirective

#: TeX macros of the book: name to definition, or to (definition, number of arguments).
MACROS = {
    "E": r"\mathbb{E}",
    "KL": r"\operatorname{KL}",
    "elbo": r"\mathcal{L}",
    "Var": r"\operatorname{Var}",
    "Cov": r"\operatorname{Cov}",
    "GammaDist": r"\operatorname{Gamma}",
    "Poisson": r"\operatorname{Poisson}",
    "partialby": (r"\frac{\partial #1}{\partial #2}", 2),
}


class Source(SphinxDirective):
    """``{source} vi_ref.module.function ...``: the code as it stands, one block for all of the names."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        shown = [source(name) for name in self.arguments[0].split()]
        for _, path in shown:
            self.env.note_dependency(str(ROOT / path))
        text = "\n\n\n".join(text for text, _ in shown)
        block = nodes.literal_block(text, text, language="python")
        files = " and ".join(dict.fromkeys(path.as_posix() for _, path in shown))
        note = nodes.paragraph("", f"from {files}, docstrings left out", classes=["vi-ref-note"])
        return [nodes.container("", block, note, classes=["vi-ref-source"])]


class Traced(SphinxDirective):
    """Under an equation: what computes it and what holds it."""

    required_arguments = 1
    option_spec: ClassVar = {"function": directives.unchanged_required, "test": directives.unchanged_required}

    def run(self):
        trace = Trace(self.env.docname, self.arguments[0], *(self.options[k].split() for k in ("function", "test")))
        line = f"{{eq}}`{trace.label}` is computed by {_functions(trace, ', ')} and held by {_tests(trace, ', ')}."
        return [nodes.container("", *self.parse_text_to_nodes(line), classes=["vi-ref-note"])]


class TraceTable(SphinxDirective):
    """Every ``{traced}`` block, a table a chapter."""

    def run(self):
        rows = [(t.page, f"{{eq}}`{t.label}`", _functions(t, " "), _tests(t, " ")) for t in traces()]
        return _table_a_page(self, ("equation", "function", "test"), rows, "vi-ref-table")


class StatementTable(SphinxDirective):
    """Every theorem, lemma and the like, a table a chapter."""

    def run(self):
        rows = [(s.page, f"{{prf:ref}}`{s.label}`", s.title) for s in statements()]
        return _table_a_page(self, ("number", "what it states"), rows, "vi-ref-statements")


def _table_a_page(directive: SphinxDirective, heads: tuple[str, ...], rows: list[tuple[str, ...]],
                  style: str) -> list[nodes.Node]:
    """Rows that begin with their page, below a link to it; read again at every build, as they are from other files."""
    lines = []
    for page, group in groupby(rows, key=lambda row: row[0]):
        lines += [f"{{doc}}`{page}`\n", *("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads)))]
        lines += ["| " + " | ".join(cells) + " |" for _, *cells in group]
        lines.append("")
    directive.env.note_reread()
    return [nodes.container("", *directive.parse_text_to_nodes("\n".join(lines)), classes=[style])]


def _functions(trace: Trace, between: str) -> str:
    shown = [(name, name.removeprefix("vi_ref.")) for name in trace.functions]
    return between.join(f"`{short}`" if "._" in name else f"{{py:obj}}`{short} <{name}>`" for name, short in shown)


def _tests(trace: Trace, between: str) -> str:
    return between.join(f"`{name.removeprefix('tests/')}`" for name in trace.tests)


def link_equations(app, what, name, obj, options, lines):
    """In docstrings, ``book eq. `eq-label` `` becomes a link to the equation."""
    lines[:] = [re.sub(r"(?<!:)`(eq-[\w-]+)`", r":eq:`\1`", line) for line in lines]


def named_types(app, obj, bound_method):
    """Let a signature say ArrayLike and Array where it would spell out the unions behind them."""
    names = [(ArrayLike, "ArrayLike"), (NDArray[np.float64], "Array")]
    for parameter, hint in getattr(obj, "__annotations__", {}).items():
        obj.__annotations__[parameter] = next((name for kind, name in names if hint == kind), hint)


def both_engines(app, config):
    """Give the macros to MathJax and to LaTeX."""
    as_mathjax = {name: list(m) if isinstance(m, tuple) else m for name, m in MACROS.items()}
    config.mathjax3_config = {"tex": {"macros": as_mathjax}}
    pairs = [(name, m if isinstance(m, tuple) else (m, 0)) for name, m in MACROS.items()]
    newcommands = [rf"\providecommand{{\{name}}}[{n}]{{{definition}}}" for name, (definition, n) in pairs]
    config.latex_elements["preamble"] = config.latex_elements.get("preamble", "") + "\n" + "\n".join(newcommands)


def setup(app):
    runpy.run_path(str(ROOT / "tests" / "conftest.py"))      # NUMBA_CACHE_DIR, keyed by the sources
    app.add_directive("source", Source)
    app.add_directive("traced", Traced)
    app.add_directive("trace-table", TraceTable)
    app.add_directive("statement-table", StatementTable)
    app.connect("config-inited", both_engines)
    app.connect("autodoc-process-docstring", link_equations)
    app.connect("autodoc-before-process-signature", named_types)
    return {"parallel_read_safe": True}

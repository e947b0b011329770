"""A small page with every construct of the book becomes a notebook in which each is plain Markdown or code.

Needs what builds the book; ``.ci/run`` has it run there.
"""

import io
import sys
from pathlib import Path

import pytest

pytest.importorskip("myst_nb")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book" / "_ext"), str(ROOT / "tests")]
import nbformat  # noqa: E402
from as_markdown import expand  # noqa: E402
from check_notebooks import faults  # noqa: E402
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output  # noqa: E402
from notebooks import without_glue  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

CONFIG = {
    "extensions": ["sphinx.ext.autodoc", "myst_nb", "sphinx_proof", "sphinx_exercise", "sphinx_design",
                   "sphinxcontrib.bibtex", "vi_ref_book", "notebooks"],
    "myst_enable_extensions": ["colon_fence", "dollarmath"], "nb_execution_mode": "off",
    "numfig": True, "math_numfig": True, "html_title": "A book", "html_theme": "basic",
    "exercise_style": "solution_follow_exercise", "proof_minimal_theme": True, "bibtex_bibfiles": ["all.bib"],
    "bibtex_reference_style": "author_year", "suppress_warnings": ["config.cache"],
}
BIB = "@article{k15, author={Kingma, Diederik and Ba, Jimmy}, title={Adam}, journal={ICLR}, year={2015}}"
INDEX = """# Index

```{toctree}
:numbered:
page
other
```

```{bibliography}
```
"""
OTHER = "# Another\n\n$$ x $$ (eq-other)\n"
BEFORE = r"""# The *page*

By {eq}`eq-here`, {eq}`eq-other`, {doc}`other` and {doc}`index`; {numref}`fig-one`, {prf:ref}`thm-one`, {ref}`ex-one`;
{glue:text}`seen:.2f` with a [link](https://example.org) and $\partialby{\elbo}{\alpha}$, \*stars\* and a_b.
{cite:t}`k15` said it, and {cite:p}`k15`.

$$
\E_q[x] = 1 ,

x < 2
$$ (eq-here)

:::{traced} eq-here
:function: vi_ref.gamma_grad._series
:test: tests/test_gamma_grad.py::test_one
:::

```{source} vi_ref.gamma_grad.dz_dshape
```

## A section

```{prf:theorem} Of note
:label: thm-one
It is **true**:

1. one,
2. two with

   $$ y $$
```

```{prf:proof}
It is. $\square$
```

| a | b |
| --- | --- |
| $\|x\|$ | $y$ |

```{dropdown} The algebra of $\KL$
Folded.
```

:::{note}
Noted.
:::
"""
EXERCISE = """
```{exercise} By hand
:label: ex-one
Do it.
```

````{solution-start} ex-one
:class: dropdown
````
First.
"""
END = "Then.\n\n````{solution-end}\n````"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built pages, and what the build complained of."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    value = new_output("display_data", {"text/plain": "0.125"},
                       metadata={"scrapbook": {"name": "seen", "mime_prefix": ""}})
    picture = new_output("display_data", {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'></svg>"})
    figure = {"mystnb": {"figure": {"name": "fig-one", "caption": "A *caption*."}}, "tags": ["hide-input"]}
    cells = [
        new_code_cell("%matplotlib inline\nimport math\nfrom myst_nb import glue", metadata={"tags": ["remove-cell"]}),
        new_markdown_cell(BEFORE),
        new_code_cell("draw()", metadata=figure, outputs=[picture]),
        new_code_cell("glue('seen', 0.125)", metadata={"tags": ["remove-cell"]}, outputs=[value]),
        new_code_cell("assert math.pi > 3", metadata={"tags": ["remove-cell"]}),
        new_markdown_cell(EXERCISE),
        new_code_cell("solve()"),
        new_markdown_cell(END),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    for name, content in (("page", cells), ("other", [new_markdown_cell(OTHER), new_code_cell("1")])):
        nbformat.write(new_notebook(cells=content, metadata=kernel), source / f"{name}.ipynb")
    (source / "index.md").write_text(INDEX)
    (source / "all.bib").write_text(BIB)
    warnings = io.StringIO()
    Sphinx(source, None, out, out / ".doctrees", "html", CONFIG, status=None, warning=warnings).build()
    return out, warnings.getvalue()


@pytest.fixture(scope="module")
def notebook(built):
    return nbformat.read(built[0] / "notebooks" / "page.ipynb", 4)


@pytest.fixture(scope="module")
def text(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_the_page_is_built_without_a_warning_and_its_notebook_is_sound(built, notebook):
    assert built[1] == ""
    assert faults(notebook, built[0] / "notebooks") == []
    assert not (built[0] / "notebooks" / "index.ipynb").exists()


def test_cells_come_in_order_and_say_nothing_to_the_book(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    sources = ["%matplotlib inline\nimport math", "draw()", "assert math.pi > 3", "solve()"]
    assert [cell.source for cell in code] == sources
    assert code[0].metadata == code[2].metadata == {"tags": ["remove-cell"]}
    assert code[1].metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert code[3].metadata == {"jupyter": {"source_hidden": True}}


@pytest.mark.parametrize("expected", [
    "# 1. The *page*\n\n*A page of the book **A book**, of vi_ref ",
    "By (1.1), [(2.1)](other.ipynb), [Another](other.ipynb) and *Index*; ",
    "Fig. 1.1, Theorem 1.1, Exercise 1.1; 0.12 with",
    r"a [link](https://example.org) and $\frac{\partial \mathcal{L}}{\partial \alpha}$, \*stars\* and a_b.",
    "Kingma and Ba [2015] said it, and [Kingma and Ba, 2015].",
    "$$\n\\mathbb{E}_q[x] = 1 ,\nx < 2\n\\tag{1.1}\n$$",
    "<small>(1.1) is computed by `gamma_grad._series` and held by `test_gamma_grad.py::test_one`.</small>",
    "```python\ndef dz_dshape(shape: ArrayLike, z: ArrayLike)",
    "<small>from vi_ref/gamma_grad.py, docstrings left out</small>",
    "## 1.1. A section",
    "<blockquote>\n\n**Theorem 1.1** (Of note)\n\nIt is **true**:\n\n1. one,\n\n2. two with\n\n   $$\n   y\n   $$\n\n"
    "</blockquote>\n\n**Proof.** It is. $\\square$",
    "| a | b |\n| --- | --- |\n| $\\vert x\\vert $ | $y$ |",
    "<details>\n<summary>The algebra of $\\operatorname{KL}$</summary>\n\nFolded.\n\n</details>",
    "<blockquote>\n\n**Note**\n\nNoted.\n\n</blockquote>",
    "**Fig. 1.1.** A *caption*.",
    "<blockquote>\n\n**Exercise 1.1** (By hand)\n\nDo it.\n\n</blockquote>\n\n"
    "<details>\n<summary>Solution</summary>\n\nFirst.\n\n</details>",
    "<details>\n<summary>Solution, continued</summary>\n\nThen.\n\n</details>",
    "## References\n\n- Diederik Kingma and Jimmy Ba. Adam. ICLR, 2015.",
])
def test_what_the_reader_sees_is_plain_markdown(text, expected):
    assert expected in text


def test_glue_goes_and_what_else_the_lines_do_stays():
    code = ("%config X\nfrom myst_nb import glue\nx = 1\nfor k in range(3):\n    glue(k,\n         x)\n"
            "if x:\n    y = 2\n    glue('y', y)")
    assert without_glue(code) == "%config X\nx = 1\nif x:\n    y = 2"
    assert without_glue("from myst_nb import glue\nglue('x', 1)") == ""
    assert without_glue("# for the text alone\nglue('x', 1)") == ""


@pytest.mark.parametrize("tex, plain", [
    (r"\partialby{\log \KL}{a_{b}}", r"\frac{\partial \log \operatorname{KL}}{\partial a_{b}}"),
    (r"x_\E \Elsewhere", r"x_{\mathbb{E}} \Elsewhere"),
    (r"\partialby f x", r"\frac{\partial f}{\partial x}"),
])
def test_macros_are_written_out(tex, plain):
    assert expand(tex) == plain


@pytest.mark.parametrize("source, fault", [
    ("see {eq}`eq-x`", "not Markdown: {eq}`"),
    (":::{note}", "not Markdown: :::"),
    ("```{source} x", "not Markdown: ```{"),
    (r"$\elbo$", r"not Markdown: \elbo"),
    ("[there](gone.ipynb)", "leads nowhere: gone.ipynb"),
])
def test_the_check_sees_each_fault(source, fault, tmp_path):
    good = [new_markdown_cell("[out](https://example.org) and `f[0](x)`"), new_code_cell("1")]
    assert faults(new_notebook(cells=good), tmp_path) == []
    assert faults(new_notebook(cells=[*good, new_markdown_cell(source)]), tmp_path) == [fault]


def test_the_check_sees_the_books_tools_in_code(tmp_path):
    cells = [new_code_cell("from myst_nb import glue\nglue('x', 1)")]
    assert len(faults(new_notebook(cells=cells), tmp_path)) == 2

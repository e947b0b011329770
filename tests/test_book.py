"""The book and the code say the same of each other, and every figure is described."""

import ast
import re
import sys
from pathlib import Path

import pytest

import vi_ref

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
sys.path[:0] = [str(BOOK / "_ext"), str(ROOT / "tests")]
import check_book  # noqa: E402
from reading import definition, source, statements, traces  # noqa: E402

PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted(BOOK.glob("*.md"))}
TEXT = "\n".join(PAGES.values())
NUMBERED = re.findall(r"^(?:>|\s)*\$\$ \((eq-[\w-]+)\)", TEXT, re.M)


def citations():
    """Each (dotted path, label) where a docstring of the package says ``book eq. `label` ``."""
    found = set()
    for path in sorted((ROOT / "vi_ref").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found |= {(name, label) for name, doc in docstrings(ast.parse(path.read_text(encoding="utf-8")), module)
                  for label in re.findall(r"`(eq-[\w-]+)`", doc)}
    return found


def docstrings(node, name):
    yield name, ast.get_docstring(node) or ""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.ClassDef):
            yield from docstrings(inner, f"{name}.{inner.name}")


def test_the_contents_hold_every_page_once():
    listed = re.findall(r"^(?:root|\s+- file): (\w+)$", (BOOK / "_toc.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(PAGES)


def test_every_label_is_given_once():
    assert len(NUMBERED) > 50 and sorted(set(NUMBERED)) == sorted(NUMBERED)


def test_every_equation_cited_in_code_is_traced_to_that_code_and_the_other_way_round():
    traced = {(name, trace.label) for trace in traces() for name in trace.functions}
    assert len(traced) > 40 and citations() == traced


def test_every_traced_block_is_read():
    assert TEXT.count(":::{traced}") == len(traces())


def test_every_statement_has_a_title_and_a_label_and_is_in_the_index():
    listed = [statement.label for statement in statements()]
    assert len(listed) > 70 and len(set(listed)) == len(listed)
    assert len(listed) == len(re.findall(r"\{prf:(?!ref\}|proof\})", TEXT))


@pytest.mark.parametrize("trace", traces(), ids=lambda trace: trace.label)
def test_every_traced_equation_stands_on_its_page_and_its_tests_exist(trace):
    assert f"$$ ({trace.label})" in PAGES[trace.page]
    for name in trace.functions:
        definition(name)
    for name in trace.tests:
        path, function = name.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function.startswith("test_") and function in {getattr(node, "name", None) for node in tree.body}


def test_every_numbered_equation_is_computed_or_referred_to():
    used = {trace.label for trace in traces()} | set(re.findall(r"\{eq\}`(eq-[\w-]+)`", TEXT))
    assert set(NUMBERED) == used


def test_a_reference_leads_to_an_equation():
    assert set(re.findall(r"`(eq-[\w-]+)`", TEXT)) <= set(NUMBERED)


def test_every_figure_has_a_caption_and_says_what_it_shows():
    """The built pages are counted by ``tests/check_book.py``: no picture can hide from it."""
    names = []
    for page, text in PAGES.items():
        cells = re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", text, re.M | re.S)
        for cell in cells:
            if re.search(r"^:  figure: ", cell, re.M):
                alt = re.search(r'^:  image: \{alt: "([^"]*)"\}$', cell, re.M)
                figure = re.search(r'^:  figure: \{name: (fig-[\w-]+), caption: "([^"]+)"\}$', cell, re.M)
                assert alt and figure, f"{page}: {cell[:80]}"
                assert len(alt[1]) > 60 and alt[1] != figure[2]
                names.append(figure[1])
            if "plots.player(" in cell:
                assert "alt=" in cell
    assert len(names) >= 12 and len(set(names)) == len(names)


def test_no_line_of_text_begins_with_a_percent_sign():
    """MyST takes such a line for a comment, and it is gone without a word."""
    for page, text in PAGES.items():
        assert not re.search(r"^\s*%", re.sub(r"^```\{code-cell\}.*?^```$", "", text, flags=re.M | re.S), re.M), page


def test_no_page_refers_to_a_later_chapter_but_from_the_front():
    """Chapters lean on what came before, on the appendices and the reference pages; intro may show the way."""
    order = re.findall(r"file: (\w+)", (BOOK / "_toc.yml").read_text(encoding="utf-8"))
    chapters = order[:order.index("gamma_facts")]
    given = re.compile(r"(?:\$\$ \(|:label: |name: )((?:eq|thm|prop|lem|cor|ex|fig)-[\w-]+)")
    home = {label: page for page in chapters for label in given.findall(PAGES[page])}
    assert len(home) > 300
    for place, page in enumerate(chapters):
        said = re.findall(r"\{(?:doc|eq|numref|ref|prf:ref)\}`(?:[^`<]*<)?([\w-]+)>?`", PAGES[page])
        later = {name for name in said if home.get(name, name) in chapters[place + 1:]}
        assert not later, f"{page}: {later}"


def test_every_source_is_cited_and_every_citation_has_a_source():
    sources = re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.M)
    cited = {key.strip() for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", TEXT) for key in keys.split(",")}
    assert len(sources) > 20 and set(sources) == cited


def test_no_line_of_the_text_is_lost_as_a_comment():
    """A line that starts with a per cent sign is one to MyST, and takes its formulas with it."""
    for page, text in PAGES.items():
        prose = re.sub(r"^```\{code-cell\}.*?^```$", "", text, flags=re.M | re.S)
        assert not re.findall(r"^\s*%.*", prose, re.M), page


def test_exercises_are_solved():
    for page, text in PAGES.items():
        given = re.findall(r"^:label: (ex-[\w-]+)$", text, re.M)
        assert given == re.findall(r"^`+\{solution-start\} (ex-[\w-]+)$", text, re.M), page


def test_nothing_executed_is_stored():
    assert not list(BOOK.glob("*.ipynb"))


def test_source_shows_code_without_its_docstring():
    text, path = source("vi_ref.gamma_grad.dz_dshape")
    assert path.as_posix() == "vi_ref/gamma_grad.py"
    assert text.startswith("def dz_dshape(shape: ArrayLike, z: ArrayLike)") and '"""' not in text
    assert ast.unparse(ast.parse(text).body[0].body[0]) == ast.unparse(
        definition("vi_ref.gamma_grad.dz_dshape")[0].body[1])
    assert source("vi_ref.gamma_grad._series")[0].startswith("@njit")


def test_api_page_holds_every_module():
    pages = set(re.findall(r"automodule:: (\S+)", PAGES["api"]))
    assert pages == {f"vi_ref.{name}" for name in vi_ref._MODULES} | {
        f"vi_ref.gradients.{name}" for name in vi_ref.gradients.NAMES} | {
        f"vi_ref.{package}.{path.stem}" for package in ("diagnostics", "poisson_factorization")
        for path in (ROOT / "vi_ref" / package).glob("[a-z]*.py")}


@pytest.mark.parametrize("body, fault", [
    ('<img src="a.png">', "picture without a description: a.png"),
    ('<img src="a.png" alt="short">', "picture without a description"),
    ('<a href="gone.html">', "leads nowhere: gone.html"),
    ('<a href="page.html#gone">', "no such place: page.html#gone"),
    ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
    ('<link rel="stylesheet" href="//cdn.example/x.css">', "loads //cdn.example/x.css"),
    ('<div class="output stderr">', "stderr on the page"),
])
def test_the_check_of_built_pages_sees_each_fault(body, fault, tmp_path, capsys):
    good = '<p id="here"><a href="page.html#here"></a><img src="data:," alt="a picture that is described"></p>'
    (tmp_path / "page.html").write_text(12 * good)
    assert check_book.main(tmp_path) == 0
    (tmp_path / "page.html").write_text(12 * good + body)
    assert check_book.main(tmp_path) == 1
    assert fault in capsys.readouterr().out

"""The book on paper, as far as it can be seen without TeX; and a small one made with it, where it is installed.

The slow test is never run by CI, which has no TeX: ``python -m pytest -m slow tests/test_paper.py`` in an environment
with the book's and the tests' requirements and the packages that README.md lists.
"""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
CONFIG = (BOOK / "_config.yml").read_text(encoding="utf-8")
PAPER = ast.parse((BOOK / "_ext" / "paper.py").read_text(encoding="utf-8"))
MISSING = [name for name in ("xelatex", "latexmk", "make", "rsvg-convert") if shutil.which(name) is None]
MISSING += [name for name in ("jupyter_book",) if importlib.util.find_spec(name) is None]


def constant(name):
    """What `name` is set to in paper.py, which cannot be imported without Sphinx."""
    values = {ast.unparse(getattr(node, "target", None) or node.targets[0]): node.value for node in ast.walk(PAPER)
              if isinstance(node, ast.Assign | ast.AnnAssign)}
    return ast.literal_eval(values[name])


def test_latex_takes_the_picture_that_becomes_a_pdf_before_a_bitmap():
    """MyST-NB's own order for LaTeX gives PNG 20 and has no SVG: a player, with PNG and HTML, is a still."""
    place = re.search(r"nb_mime_priority_overrides: \[\[latex, image/svg\+xml, (\d+)\]\]", CONFIG)
    assert place and int(place[1]) < 20
    assert constant("conversion_rules") == [("image/svg+xml", "application/pdf")]


def test_every_page_with_pictures_draws_them_as_svg():
    for path in BOOK.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^:  (figure|image): ", text, re.M):
            assert '%config InlineBackend.figure_formats = ["svg"]' in text, path.name


def test_the_pages_that_paper_treats_apart_exist_and_have_as_many_columns():
    assert (BOOK / f"{constant('ON_THE_SCREEN')}.md").is_file()
    for page, widths in constant("widths").items():
        assert sum(widths) == 100
        heads = re.findall(r"^(\| .* \|)\n\| -", (BOOK / f"{page}.md").read_text(encoding="utf-8"), re.M)
        assert all(head.count("|") - 1 == len(widths) for head in heads), page


def test_the_font_of_code_has_every_letter_of_the_code():
    """The same font comes with matplotlib."""
    assert r"\setmonofont{DejaVuSansMono}" in (BOOK / "_ext" / "paper.tex").read_text(encoding="utf-8")
    glyphs = set(FT2Font(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf"))).get_charmap())
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "vi_ref").rglob("*.py")]
    for path in BOOK.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        code += re.findall(r"^```\{code-cell\}.*?^```$", text, re.M | re.S) + re.findall(r"`[^`\n]+`", text)
    assert {letter for letter in "".join(code) if letter.isprintable() and ord(letter) not in glyphs} == set()


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"a PDF of the book needs {', '.join(MISSING)}")
def test_a_small_book_becomes_a_pdf_with_a_player_within_its_margins(tmp_path):
    contents = ["format: jb-book", "root: intro", "parts:"]
    for caption, numbered, page in [("One", "true", "poisson_gamma"), ("Two", "false", "errata")]:
        contents += [f"  - caption: {caption}", f"    numbered: {numbered}", f"    chapters: [file: {page}]"]
    (tmp_path / "_toc.yml").write_text("\n".join(contents))
    subprocess.run([Path(sys.executable).with_name("jupyter-book"), "build", BOOK, "--builder", "pdflatex",
                    "--toc", tmp_path / "_toc.yml", "--path-output", tmp_path], cwd=ROOT, check=True)
    built = tmp_path / "_build" / "latex"
    assert (built / "vi_ref.pdf").read_bytes().startswith(b"%PDF")
    log, tex = ((built / f"vi_ref.{kind}").read_text(encoding="utf-8", errors="replace") for kind in ("log", "tex"))
    assert not re.search(r"Missing character|^!", log, re.M)
    assert max(map(float, re.findall(r"Overfull \\hbox \((\S+)pt", log)), default=0.0) < 20
    assert re.search(r"includegraphics\[height=\S+\]\{\{\w+\}\.png\}", tex) and "The posterior mean image and" in tex
    assert re.search(r"includegraphics(\[.*?\])?\{\{\w+\}\.pdf\}", tex) and ".svg" not in tex
    assert "Theorem 1.1" in tex and r"\subsubsection*{The integral, step by step}" in tex

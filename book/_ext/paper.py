"""What the book needs to become a PDF: ``jupyter-book build book --builder pdflatex``."""

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from PIL import Image
from sphinx import addnodes
from sphinx.builders.latex import LaTeXBuilder
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx_exercise.nodes import exercise_latex_number_reference
from sphinx_jupyterbook_latex.nodes import RootHeader
from sphinx_proof.nodes import proof_node

PREAMBLE = Path(__file__).with_name("paper.tex")
ON_THE_SCREEN = "api"
NOT_HERE = "The documentation of the code is part of the book on the screen, where each name of a function leads to it."


class SvgToPdf(ImageConverter):
    """Pictures stay lines and letters."""

    conversion_rules: ClassVar = [("image/svg+xml", "application/pdf")]

    def is_available(self):
        if shutil.which("rsvg-convert") is None:
            raise ExtensionError("rsvg-convert is missing: README.md says what a PDF of the book needs")
        return True

    def convert(self, _from, _to):
        subprocess.run(["rsvg-convert", "--format=pdf", f"--output={_to}", _from], check=True)
        return True


class Unfolded(SphinxPostTransform):
    """A dropdown is indented, a proof has no box, and a picture that says what it shows has its words below."""

    formats = ("latex",)
    default_priority = 150                   # while pictures are still files of their own

    def run(self):
        for box in self.document.findall(nodes.container):
            if box.get("design_component") == "dropdown":
                box["classes"].append("vi-ref-dropdown")
        for proof in list(self.document.findall(proof_node)):
            first = proof[0][0]
            if isinstance(first[0], nodes.Text):
                word, _, rest = first[0].partition(" ")
                first.replace(first[0], [nodes.emphasis("", word), nodes.Text(" " + rest)])
            proof.replace_self(proof[0].children)
        for line in list(self.document.findall(nodes.paragraph)):
            if "vi-ref-note" in line["classes"]:
                line.replace_self(nodes.container("", line.deepcopy(), classes=["vi-ref-note"]))
        for image in list(self.document.findall(nodes.image)):
            words = self.description(image)
            if words:
                still = image.deepcopy()
                still["height"] = "18cm"
                begin, end = _tex(r"\begin{figure}[htbp]\centering\small"), _tex(r"\end{figure}")
                image.replace_self([begin, still, nodes.paragraph("", words), end])   # no number: it has none there

    def description(self, image):
        path = Path(self.app.srcdir, image["uri"])
        if path.suffix != ".png" or isinstance(image.parent, nodes.figure):
            return None
        with Image.open(path) as picture:
            return picture.text.get("Description")


class WithoutScreen(SphinxPostTransform):
    """The documentation of the code is left out, and links into it are plain text."""

    formats = ("latex",)
    default_priority = 160

    def run(self):
        for page in list(self.document.findall(addnodes.start_of_file)):
            if page["docname"] == ON_THE_SCREEN:
                page[0].children = [page[0][0]]
                page[0] += nodes.paragraph("", NOT_HERE)
        for link in list(self.document.findall(nodes.reference)):
            page, _, place = link.get("refuri", "").partition("#")
            if page == f"%{ON_THE_SCREEN}" and place:
                link.parent.replace(link, link.children)


class ExercisesElsewhere(SphinxPostTransform):
    """An exercise of another chapter has its number too: sphinx_exercise sees to those of the same chapter."""

    formats = ("latex",)
    default_priority = 165

    def run(self):
        for link in list(self.document.findall(addnodes.number_reference)):
            page, _, label = link.get("refuri", "").removeprefix("%").partition("#")
            number = self.env.toc_fignumbers.get(page, {}).get("exercise", {}).get(label)
            if number:
                words = self.config.numfig_format["exercise"] % ".".join(map(str, number))
                link.replace_self(exercise_latex_number_reference("", "", nodes.Text(words), refid=label))


class Tables(SphinxPostTransform):
    """The long tables of these pages may break between pages, and their columns share the width as said here."""

    formats = ("latex",)
    default_priority = 170
    widths: ClassVar = {"intro": (28, 42, 30), "symbols": (17, 36, 27, 20), "theorems": (20, 80),
                        "traceability": (10, 36, 54)}

    def run(self):
        for table in list(self.document.findall(nodes.table)):
            page = self.env.path2doc(list(_above(table, nodes.document))[-1]["source"])
            columns = list(table.findall(nodes.colspec))
            if len(self.widths.get(page, ())) == len(columns):
                table["classes"] += ["longtable", "colwidths-given"]
                for column, width in zip(columns, self.widths[page], strict=True):
                    column["colwidth"] = width
                before = table.parent.index(table) - 1
                table.parent.insert(before, _tex(r"\needspace{6\baselineskip}"))
            if page == "traceability":
                for gap in list(table.findall(lambda node: isinstance(node, nodes.Text) and node.isspace())):
                    gap.parent.replace(gap, _tex(r"\newline"))                   # a name a line


class Headings(SphinxPostTransform):
    """The first page is a chapter without a number, and so are those that have none on the screen."""

    formats = ("latex",)
    default_priority = 760                   # after the parts have been made and the bibliography moved to the end

    def run(self):
        first = next(self.document.findall(nodes.section))
        first.insert(1, _tex(rf"\opening{{{first[0].astext()}}}"))
        for header in list(self.document.findall(RootHeader)):
            header.replace_self(_tex(rf"\section*{{{header.astext()}}}"))
        pages = {page["docname"]: page for page in self.document.findall(addnodes.start_of_file)}
        plain = next((page for name, page in pages.items()
                      if name in self.env.all_docs and not self.env.toc_secnumbers.get(name)), None)
        if plain:
            part = next(above for above in _above(plain, nodes.section) if above["docname"] not in self.env.all_docs)
            part.parent.insert(part.parent.index(part), _tex(r"\setcounter{secnumdepth}{-2}"))
        for page in list(self.document.findall(addnodes.start_of_file)):
            if page.astext().strip() == page[0][0].astext():        # that of the bibliography
                page.parent.remove(page)


def _above(node, kind):
    while node := node.parent:
        if isinstance(node, kind):
            yield node


def _tex(text):
    return nodes.raw("", text + "\n", format="latex")


def preamble(app, config):
    text = PREAMBLE.read_text(encoding="utf-8")
    config.latex_elements["preamble"] = config.latex_elements.get("preamble", "") + "\n" + text


def numbers_as_on_the_screen(app, *_):
    """Theorem 2.1, not 2.3.1: a part is a level of headings for LaTeX alone."""
    if isinstance(app.builder, LaTeXBuilder):
        app.config.numfig_secnum_depth = 1


def numbers_as_latex_counts(app, _):
    if isinstance(app.builder, LaTeXBuilder):
        app.config.numfig_secnum_depth = 2


def setup(app):
    for transform in (SvgToPdf, Unfolded, WithoutScreen, ExercisesElsewhere, Tables, Headings):
        app.add_post_transform(transform)
    app.connect("config-inited", preamble)
    app.connect("builder-inited", numbers_as_on_the_screen, priority=900)    # after sphinx_jupyterbook_latex
    app.connect("env-check-consistency", numbers_as_latex_counts)
    return {"parallel_read_safe": True}

"""The Markdown of a page that Sphinx has resolved, as plain Jupyter shows it, between the page's code cells."""

import html
import re
from itertools import count, groupby
from typing import NamedTuple

from docutils import nodes
from nbformat import NotebookNode
from sphinx.util import logging
from vi_ref_book import MACROS

SKIPPED = {"target", "compound", "raw", "comment"}
Blocks = list[str | NotebookNode]


class Page(NamedTuple):
    """What the conversion of a page must know beside its nodes."""

    preface: str
    code: dict[int, list[NotebookNode]]     # a shown cell and the ones after it that are not; -1: before all
    sections: dict[str, tuple[int, ...]]
    numbers: dict[str, dict[str, tuple[int, ...]]]
    notebooks: dict[str, str]                        # of the other pages, by address


def expand(tex: str) -> str:
    """The TeX with the book's macros written out, since not every notebook keeps macros from cell to cell."""
    for name, macro in MACROS.items():
        definition, n = macro if isinstance(macro, tuple) else (macro, 0)
        while found := re.search(rf"([_^]?)\\{name}(?![A-Za-z])", tex):
            value, end = definition, found.end()
            for k in range(1, n + 1):
                argument, end = _argument(tex, end)
                value = value.replace(f"#{k}", argument)
            tex = tex[:found.start()] + (f"{found[1]}{{{value}}}" if found[1] else value) + tex[end:]
    return re.sub(r"\n\s*\n", "\n", tex.strip())


def _argument(tex: str, start: int) -> tuple[str, int]:
    """What stands in the braces at `start`, and where it ends."""
    depth = 0
    for token in re.finditer(r"\\.|[{}]|\S", tex[start:], re.S):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if not depth:
            end = start + token.end()
            return tex[start:end].strip().removeprefix("{").removesuffix("}"), end
    raise ValueError(f"no argument at {tex[start:]!r}")


def inline(node: nodes.Node, page: Page) -> str:
    """Markdown of what stands within a line."""
    kind = type(node).__name__
    if kind == "Text":
        return re.sub(r"[\\`*<$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", node.astext().replace("\n", " "))
    if kind == "math":
        return "$" + expand(node.astext()).replace("\n", " ") + "$"
    if kind == "literal":
        return f"`{node.astext()}`"
    text = "".join(inline(child, page) for child in node.children)
    if kind == "reference":
        uri = node.get("refuri", "")
        to = uri if "://" in uri else page.notebooks.get(uri.partition("#")[0])
        title = text and "doc" in getattr(node[0], "attributes", {}).get("classes", [])
        return f"[{text}]({to})" if to else f"*{text}*" if title else text
    if kind not in INLINE:
        logging.getLogger(__name__).warning("a notebook has no words for %s", kind, location=node)
    return INLINE.get(kind, "{}").format(text)


INLINE = {"strong": "**{}**", "emphasis": "*{}*", "target": "", "raw": "",
          **dict.fromkeys(["inline", "number_reference", "paragraph", "title", "caption", "dropdown_title"], "{}")}


def blocks(node: nodes.Node, page: Page) -> Blocks:
    """Paragraphs, formulas and the like, as Markdown, and code cells."""
    kind = type(node).__name__
    if kind in SKIPPED:
        return []
    default = statement if isinstance(node, nodes.Admonition) else paragraph
    return BLOCKS.get(kind, default)(node, page)


def inside(node: nodes.Node, page: Page) -> Blocks:
    """The blocks of everything in a node but its title."""
    return [block for child in node.children if not isinstance(child, nodes.title) for block in blocks(child, page)]


def section(node: nodes.section, page: Page) -> Blocks:
    """A heading with its number, and what follows it."""
    if not isinstance(node[0], nodes.title):
        return inside(node, page)
    level, above = 1, node.parent
    while isinstance(above, nodes.section):
        level, above = level + 1, above.parent
    number = page.sections.get("" if level == 1 else f"#{node['ids'][0]}")
    words = [".".join(map(str, number)) + "."] if number else []
    start = [page.preface, *page.code.get(-1, [])] if level == 1 else []
    return [" ".join(["#" * level, *words, inline(node[0], page)]), *start, *inside(node, page)]


def math_block(node: nodes.math_block, page: Page) -> Blocks:
    """A formula, with the number that the page gives it."""
    number = _number(page, "displaymath", node)
    tag = f"\n\\tag{{{number}}}" if number else ""
    return [f"$$\n{expand(node.astext())}{tag}\n$$"]


def statement(node: nodes.Element, page: Page) -> Blocks:
    """A theorem, an exercise or a note: a bold heading above its text, set in."""
    kind = node.get("realtype") or node.get("type") or type(node).__name__
    words = [kind.title(), _number(page, node.get("countertype", kind), node)]
    title = inline(node[0], page).strip() if isinstance(node[0], nodes.title) else ""
    head = f"**{' '.join(words)}** {title}" if words[1] else f"**{title or words[0]}**"
    return wrapped([head.strip(), *inside(node, page)], "<blockquote>", "</blockquote>")


def proof(node: nodes.Element, page: Page) -> Blocks:
    """A proof, in the text's own width: it ends with a square."""
    first, *rest = inside(node[0], page)
    return [re.sub(r"^Proof\.", "**Proof.**", first), *rest]


def folded(node: nodes.Element, page: Page) -> Blocks:
    """A solution or a dropdown: text to be unfolded; code is hidden where the notebook's program can do so."""
    title = node[0][0] if type(node).__name__ == "dropdown_main" else node[0]
    words = "".join(f"${expand(part.astext())}$" if isinstance(part, nodes.math) else html.escape(part.astext())
                    for part in title.children)
    inner = [block for child in node.children[1:] for block in blocks(child, page)]
    for block in inner:
        if not isinstance(block, str):
            block.metadata["jupyter"] = {"source_hidden": True}
    head = "<details>\n<summary>{}</summary>"
    return wrapped(inner, head.format(words), "</details>", head.format(f"{words}, continued"))


def wrapped(inner: Blocks, head: str, tail: str, again: str | None = None) -> Blocks:
    """Each run of texts between `head`, after the first `again`, and `tail`, which no cell can stand between."""
    found = []
    for is_text, group in groupby(inner, key=lambda block: isinstance(block, str)):
        run = list(group)
        found += [head, *run, tail] if is_text else run
        head = again or head
    return found


def container(node: nodes.container, page: Page) -> Blocks:
    """A code cell with the caption of its figure, or what one of the book's directives has made."""
    if node.get("nb_element") == "cell_code":
        captions = [f"**Fig. {_number(page, 'figure', figure)}.** {inline(caption, page)}"
                    for figure in node.findall(nodes.figure) for caption in figure.findall(nodes.caption)]
        first, *others = page.code[node["cell_index"]]
        return [first, *captions, *others]
    if "vi-ref-note" in node["classes"]:
        return [f"<small>{block}</small>" for block in inside(node, page)]
    return inside(node, page)


def literal_block(node: nodes.literal_block, page: Page) -> Blocks:
    """Code that is shown and not run."""
    language = node.get("language", "").replace("default", "")
    return [f"```{language}\n{node.astext().rstrip()}\n```"]


def paragraph(node: nodes.paragraph, page: Page) -> Blocks:
    """A paragraph; a small one where the book sets it small."""
    text = inline(node, page)
    return [f"<small>{text}</small>" if "vi-ref-note" in node["classes"] else text]


def listing(node: nodes.Element, page: Page) -> Blocks:
    """A list, with what is in an item below its first line set in."""
    starts = count(node.get("start", 1))
    marks = [f"{next(starts)}. " if isinstance(node, nodes.enumerated_list) else "- " for _ in node.children]
    texts = ["\n\n".join(inside(item, page)) for item in node.children]
    items = [mark + re.sub(r"\n(?!\n)", "\n" + " " * len(mark), text) for mark, text in zip(marks, texts, strict=True)]
    return [("\n\n" if "\n" in "".join(texts) else "\n").join(items)]


def table(node: nodes.table, page: Page) -> Blocks:
    """A table with one heading row."""
    def barless(found: re.Match) -> str:
        return "\\|" if found[0] == "|" else found[0].replace(r"\|", r"\Vert ").replace("|", r"\vert ")

    rows = [[re.sub(r"\$[^$]*\$|\|", barless, " ".join(inside(entry, page))) for entry in row.children]
            for row in node.findall(nodes.row)]
    lines = ["| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]]
    return ["\n".join(lines)]


BLOCKS = {"section": section, "math_block": math_block, "solution_node": folded, "dropdown_main": folded,
          "container": container, "literal_block": literal_block, "paragraph": paragraph, "bullet_list": listing,
          "enumerated_list": listing, "table": table, "proof_node": proof}


def _number(page: Page, kind: str, node: nodes.Element) -> str:
    found = page.numbers.get(kind, {})
    return ".".join(map(str, next((found[name] for name in node["ids"] if name in found), ())))

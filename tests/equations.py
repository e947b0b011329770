"""The numbered equations of the book as they are printed, for tests that hold them against computer algebra."""

import re
from pathlib import Path

_BOOK = Path(__file__).resolve().parent.parent / "book"
_PRINTED = {label: tex for page in sorted(_BOOK.glob("*.md"))
            for tex, label in re.findall(r"\$\$\n((?:(?!\$\$).)*?)\$\$ \((eq-[\w-]+)\)",
                                         page.read_text(encoding="utf-8"), re.S)}


def printed(label: str, tex: str) -> None:
    """Fail unless the book prints `tex` under `label`, blanks and quote marks of its block apart."""
    book, here = (re.sub(r"[\s>]+", "", text) for text in (_PRINTED[label], tex))
    assert book == here, f"{label} is printed as {_PRINTED[label]}"

"""Read the built book as a browser would: ``python tests/check_book.py book/_build/html``.

Fails where a picture has no description, a link leads nowhere, something would be loaded
from a server, or a cell's error or warning stands on a page. Needs the standard library alone.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "about", "copyright"}


class Page(HTMLParser):
    """Ids, links, pictures and loaded addresses of a page, and its text outside of code and scripts."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.undescribed, self.pictures = set(), [], [], [], 0
        self.classes = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Take note of what a tag names, shows, loads or links to."""
        found = dict(attributes)
        self.ids.update(found[key] for key in ("id", "name") if found.get(key))
        self.classes.update((found.get("class") or "").split())
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.pictures += 1
            if len(found.get("alt") or "") < 20:
                self.undescribed.append(found.get("src") or found.get("id"))
        for key in ("src", "href"):
            if (tag, key) in LOADS and found.get(key) and found.get("rel") not in NOT_LOADED:
                self.loads.append(found[key])


def main(root: Path) -> int:
    """Check every page below `root`; print what is wrong, and a count of what was looked at."""
    pages = {path.resolve(): Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(root.resolve())
        faults += [f"{name}: picture without a description: {source}" for source in page.undescribed]
        faults += [f"{name}: loads {address}" for address in page.loads
                   if urlsplit(address).scheme not in ("", "data") or address.startswith("//")]
        faults += [f"{name}: {kind} on the page" for kind in ("stderr", "traceback", "problematic")
                   if kind in page.classes]
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                faults.append(f"{name}: leads nowhere: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                faults.append(f"{name}: no such place: {link}")
    for fault in faults:
        print(fault)
    pictures = sum(page.pictures for page in pages.values())
    print(f"{len(pages)} pages, {pictures} pictures, {sum(len(page.links) for page in pages.values())} links: "
          f"{len(faults)} faults")
    return 1 if faults or pictures < 12 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

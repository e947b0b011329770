"""Read the book's notebooks as a reader without its tools would: ``check_notebooks.py book NOTEBOOKS [NAME ...]``.

Fails where a chapter of `book` has no notebook in the folder NOTEBOOKS, a notebook is not valid, holds anything
that only the book's tools understand, or has a link that leads nowhere. The named ones are run from top to bottom,
where no folder of the project is near, and any error fails.
"""

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat

ONLY_IN_THE_BOOK = re.compile(r"\{[a-z][a-z:-]*\}`|^ *:::|^ *```\{|^\([\w-]+\)=$|\\(?:GammaDist|partialby|elbo|E)\b",
                              re.M)


def faults(notebook: nbformat.NotebookNode, folder: Path) -> list[str]:
    """What a reader of the notebook, with the others in `folder`, would stumble over."""
    found = []
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        found.append(f"not valid: {error}")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found += [f"asks for the book's tools: {line}" for line in cell.source.splitlines()
                      if re.search(r"\bmyst_nb\b|^\s*glue\(|^:\w", line)]
            continue
        found += [f"not Markdown: {match[0]}" for match in ONLY_IN_THE_BOOK.finditer(cell.source)]
        links = re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`|\$[^$]*\$", "", cell.source))
        found += [f"leads nowhere: {link}" for link in links
                  if "://" not in link and not (folder / link.partition("#")[0]).exists()]
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        found.append("no code")
    return found


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run it from top to bottom in a new folder that holds the saved results alone; an error in a cell is raised."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(folder / "results", Path(elsewhere, "results"))
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": elsewhere}}).execute()


def main(book: Path, folder: Path, *to_run: str) -> int:
    """Check every notebook, run the named ones; print what is wrong, and a count of what was looked at."""
    chapters = {page.stem for page in book.glob("*.md") if "{code-cell}" in page.read_text(encoding="utf-8")}
    notebooks = {path.stem: nbformat.read(path, 4) for path in sorted(folder.glob("*.ipynb"))}
    found = [f"{name}: no notebook" for name in sorted(chapters - set(notebooks))]
    found += [f"{name}: its page does not offer it" for name in notebooks
              if f'"{folder.name}/{name}.ipynb"' not in (folder.parent / f"{name}.html").read_text(encoding="utf-8")]
    found += [f"{name}: {fault}" for name, notebook in notebooks.items() for fault in faults(notebook, folder)]
    print("\n".join([*found, f"{len(notebooks)} notebooks: {len(found)} faults"]))
    for name in to_run:
        began = time.perf_counter()
        run(notebooks[name], folder)
        print(f"{name}: ran in {time.perf_counter() - began:.0f} s")
    return 1 if found or not notebooks else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))

"""What prose and docstrings name exists: files, tests, modules, functions."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from vi_ref import __main__
from vi_ref.gradients import NAMES

ROOT = Path(__file__).resolve().parent.parent
FILES = [path for pattern in ("*.md", "book/*.md", "vi_ref/**/*.md", "vi_ref/**/*.py", "figures/*.py",
                              "book/_vendor/*.css", "tests/check_*", "setup.cfg", ".ci/run")
         for path in sorted(ROOT.glob(pattern))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
MODULES = {path.stem: ".".join(path.relative_to(ROOT).with_suffix("").parts)
           for path in sorted((ROOT / "vi_ref").rglob("[a-z]*.py")) if path.stem not in NAMES}
MODULES |= {name: f"vi_ref.gradients.{name}" for name in NAMES}
#: Names of files without their folder: of the project's, and of what the commands write.
BARE = {path.name for path in (*ROOT.iterdir(), *(ROOT / "vi_ref").rglob("*"))} | {
    *__main__._FILES, *__main__._GRADIENT_FILES}
#: NumPyro's, SciPy's, PyTorch's, and what a cell of the book writes.
THEIRS = {"elbo.py", "gamma.cdf", "special.gammainc", "vi_ref.called"}


def missing_files(text):
    """Files below a folder of the project's, stars and tests' names allowed, that do not exist."""
    for path, test in re.findall(r"(?<![\w./*-])((?:tests|vi_ref|book|figures|\.ci)/[\w./*-]*\w)(?:::(\w+))?", text):
        found = list(ROOT.glob(path))
        there = found and (not test or f"\ndef {test}(" in found[0].read_text(encoding="utf-8"))
        if not there and not path.startswith("book/_build/"):
            yield f"{path}::{test}" if test else path


def missing_bare_files(text):
    """Names of files in backticks, without their folder, that no file has and no command writes."""
    for name in re.findall(r"`([\w-]+\.(?:py|md|csv|json|png|txt|cfg|npy))`", text):
        if name not in BARE | THEIRS:
            yield name


def missing_names(text):
    """Dotted names, from the package on, or in backticks from one of its modules on, that lead to nothing."""
    names = {name: name for name in re.findall(r"(?<![\w./-])vi_ref(?:\.\w+)+(?![\w/-])", text)}
    names |= {f"{module}.{name}": f"{MODULES[module]}.{name}"
              for module, name in re.findall(r"`(\w+)\.([A-Za-z_]\w*)(?:\(\))?`", text) if module in MODULES}
    for said, name in names.items():
        if said not in THEIRS and not re.fullmatch(r".*\.(py|md|csv|json|png|npy|css|js)", said) and not leads(name):
            yield said


def leads(name):
    """Whether a dotted name is a module's, which may need a library that is not there, or can be had from one."""
    if ROOT.joinpath(*name.split(".")).with_suffix(".py").exists():
        return True
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_what_is_named_exists():
    assert [f"{file}: {fault}" for file, text in TEXTS.items()
            for find in (missing_files, missing_bare_files, missing_names) for fault in find(text)] == []


def test_enough_is_read():
    assert {"README.md", "CHANGELOG.md", "book/intro.md", "vi_ref/vectors/README.md", "vi_ref/gamma.py"} <= set(TEXTS)


@pytest.mark.parametrize(("find", "good", "bad", "found"), [
    (missing_files, "`tests/test_gamma.py`", "`tests/test_{}.py`", "tests/test_gone.py"),
    (missing_files, "tests/test_mentions.py::test_enough_is_read", "tests/test_mentions.py::test_{}",
     "tests/test_mentions.py::test_gone"),
    (missing_files, "`vi_ref/compare/with_*.py`", "`vi_ref/{}/with_*.py`", "vi_ref/gone/with_*.py"),
    (missing_files, "in book/results/.", "in figures/{}.png", "figures/gone.png"),
    (missing_bare_files, "`horse_kicks.csv`, `result.json`", "`{}.csv`", "gone.csv"),
    (missing_names, "vi_ref.stopping.AverageSettles", "vi_ref.stopping.{}", "vi_ref.stopping.gone"),
    (missing_names, "`vi_ref.vectors.load()`", "`vi_ref.{}`", "vi_ref.gone"),
    (missing_names, "`gamma_grad.dz_dshape`", "`gamma_grad.{}`", "gamma_grad.gone"),
])
def test_what_does_not_exist_is_found(find, good, bad, found):
    assert list(find(good)) == [] and list(find(bad.format("gone"))) == [found]

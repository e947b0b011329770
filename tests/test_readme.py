"""README says what the project does, and nothing that was typed rather than produced."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

from vi_ref import vectors

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_examples_run():
    """Every printed line is what the code prints; and there are examples."""
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert results.failed == 0 and results.attempted >= 8


def test_its_tables_are_those_that_figures_made():
    tables = re.findall(r"<!-- (figures/\S+) -->\n```text\n(.*?)```", README, re.S)
    assert [path for path, _ in tables] == ["figures/digit_zero.txt", "figures/12_scorecard.txt"]
    for path, table in tables:
        assert table == (ROOT / path).read_text(encoding="utf-8"), path


def test_its_pictures_exist_and_are_described():
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    assert pictures
    for alt, path in pictures:
        assert len(alt) > 40 and (ROOT / path).is_file()


def test_it_counts_the_reference_vectors_right():
    double, single = (vectors.load(1, precision).size for precision in ("float64", "float32"))
    assert f"at {double} points in double and {single} in single" in " ".join(README.split())


def test_quick_start_holds_the_two_commands():
    section = README.split("## Quick start")[1].split("\n## ")[0]
    commands = re.search(r"```sh\n(.*?)```", section, re.S).group(1).strip().splitlines()
    assert commands == [
        "python3 -m venv .venv && .venv/bin/python -m pip install -e . && .venv/bin/python -m vi_ref",
        ".venv/bin/python -m pip install -e '.[test]' && .venv/bin/python -m pytest",
    ]


def test_bare_import_loads_no_heavy_library():
    code = "import sys, vi_ref; print([m for m in ('scipy', 'numba', 'sklearn', 'matplotlib') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


def test_gamma_loads_no_picture_or_learning_library():
    code = ("import sys; from vi_ref import Gamma; "
            "print([m for m in ('sklearn', 'matplotlib', 'scipy.stats') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


def test_no_public_function_shares_its_modules_name():
    """A lazy package would hand out now one, now the other."""
    for path in (ROOT / "vi_ref").rglob("*.py"):
        names = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body
                 if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert path.stem not in names


def test_rooms_import_only_from_rooms_below():
    """The order of the house in README, low to high."""
    order = ["_validate", "_compiled", "_threads", "special", "gamma_grad", "gamma_grad_fast", "gamma_table", "vectors",
             "sampler", "gamma", "related", "negative_binomial", "poisson_gamma", "_quadrature", "exposure",
             "gamma_shape", "exact_elbo", "gradients", "kernels", "adam", "coordinates", "stopping", "optimize",
             "datasets", "empirical_bayes", "density", "plots", "diagnostics", "poisson_factorization", "study",
             "study_dirichlet", "study_fit", "study_plots", "study_classify", "study_little_data", "study_generation",
             "study_recovery", "study_factorization", "practice_plots", "factorization_plots", "summary", "_command",
             "compare", "__main__"]
    for path in (ROOT / "vi_ref").rglob("*.py"):
        room = path.relative_to(ROOT / "vi_ref").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for used in re.findall(r"^from vi_ref(?:\.(\w+)\S*)? import (.*)$", path.read_text(encoding="utf-8"), re.M):
            below = [used[0]] if used[0] else [name.strip() for name in used[1].split(",") if name.strip() in order]
            for other in below:
                assert order.index(other) < order.index(room) or other == room, f"{path.name} imports {other}"

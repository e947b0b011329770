"""The disk cache of compiled functions: warm when nothing changed, stale when any file of the package did."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = "from vi_ref import gamma_grad; print(float(gamma_grad.dlogz_dshape([3.0], [1.5])[0]))"


def value(folder, **environment):
    run = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | environment)
    return float(run.stdout)


@pytest.fixture
def package(tmp_path):
    shutil.copytree(ROOT / "vi_ref", tmp_path / "vi_ref", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_change_in_another_file_is_noticed(package):
    """`gamma_grad` calls into `special`; the edit there keeps the file's size and its time."""
    cache, special = package / "cache", package / "vi_ref" / "special.py"
    before = value(package, NUMBA_CACHE_DIR=str(cache))
    files = sorted(cache.rglob("*.nbc"))
    assert files
    written = {file: file.stat().st_mtime_ns for file in files}
    model = package / "vi_ref" / "poisson_gamma.py"                      # holds nothing compiled
    model.write_text(model.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert value(package, NUMBA_CACHE_DIR=str(cache)) == before
    again = {file: file.stat().st_mtime_ns for file in sorted(cache.rglob("*.nbc"))}
    assert again == written                                              # nothing was compiled anew
    source, times = special.read_text(encoding="utf-8"), special.stat()
    old, new = "return -0.5 / x - bernoulli", "return -0.5 / x + bernoulli"
    assert source.count(old) == 1
    special.write_text(source.replace(old, new), encoding="utf-8")
    os.utime(special, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert value(package, NUMBA_CACHE_DIR=str(cache)) != before
    special.write_text(source, encoding="utf-8")
    assert value(package, NUMBA_CACHE_DIR=str(cache)) == before


def test_without_a_folder_to_write_to_it_runs_all_the_same(package):
    """As root may write anywhere, a file stands where the folder should."""
    (package / "blocked").write_text("")
    for folder in ("vi_ref", "."):
        (package / folder / "__pycache__").write_text("")
    assert value(package, NUMBA_CACHE_DIR=str(package / "blocked"), HOME=str(package / "blocked"),
                 XDG_CACHE_HOME=str(package / "blocked")) == value(package, NUMBA_CACHE_DIR=str(package / "cache"))

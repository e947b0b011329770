"""Score an implicit gradient that is not ours, (alpha, z) -> dz/dalpha, against the reference vectors.

The function runs in a process of its own, so that it may hang, crash or print what it likes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vi_ref import vectors

#: Relative error that a decade may have where none is asked for: what each format should reach with digits to spare.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}


def points(precision: str) -> NDArray:
    """The reference vectors whose input is z; in the others z underflows."""
    table = vectors.load(version=1, precision=precision)
    return table[table["exact"] == "z"]


def values(target: str, precision: str, timeout: float) -> NDArray:
    """What the function ``module:name`` returns for arrays alpha and z of all `points`, in their precision.

    Raises
    ------
    ValueError
        In one line, if it cannot be imported, raises, takes longer than `timeout` seconds, or returns anything but an
        array of that shape and precision.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "values.npy")
        try:
            run = subprocess.run([sys.executable, "-m", "vi_ref.compare.mine", target, precision, file],
                                 capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{target} took longer than {timeout:g} seconds") from None
        if run.returncode:
            said = Path(file + ".failed")
            raise ValueError(f"{target} failed: "
                             + (said.read_text(encoding="utf-8") if said.exists() else f"exit code {run.returncode}"))
        if not os.path.exists(file):
            raise ValueError(f"{target} failed: it ended the process")
        found = np.load(file)
    expected = points(precision).shape
    if found.shape != expected or found.dtype != precision:
        raise ValueError(f"{target} must return an array of shape {expected} and type {precision}, "
                         f"got shape {found.shape} and type {found.dtype}")
    return found


def score(found: NDArray, table: NDArray, precision: str) -> list[dict[str, Any]]:
    """Relative errors of dz/dalpha at rows of `points`, by decade of alpha: how many, median, worst, not finite.

    Below the smallest normal number of the precision, errors are relative to that.
    """
    finite = np.isfinite(found)
    with np.errstate(all="ignore"):
        error = np.abs((found - table["dz_dalpha"]) - table["dz_dalpha_rest"])
        error /= np.maximum(table["dz_dalpha"], float(np.finfo(precision).tiny))
    error[~finite] = np.inf
    decade, rows = np.floor(np.log10(table["alpha"])).astype(int), []
    for k in np.unique(decade):
        here = np.flatnonzero(decade == k)
        worst = here[np.argmax(error[here])]
        rows.append({"decade": int(k), "points": here.size, "not_finite": int(np.sum(~finite[here])),
                     "median": float(np.median(error[here])), "max": float(error[worst]),
                     "alpha": float(table["alpha"][worst]), "z": float(table["z"][worst]),
                     "value": float(found[worst]), "truth": float(table["dz_dalpha"][worst])})
    return rows


def beyond(rows: Sequence[dict[str, Any]], tolerance: float) -> list[dict[str, Any]]:
    """The decades whose worst error is above the tolerance, or not a number."""
    return [row for row in rows if not row["max"] <= tolerance]


def table(rows: Sequence[dict[str, Any]], tolerance: float) -> str:
    """The result of `score`, a line a decade."""
    lines = [f"{'alpha from':>10}{'points':>8}{'median':>10}{'worst':>10}{'not finite':>12}"
             "   the worst: alpha, z, value, truth"]
    for row in rows:
        mark = "  BEYOND" if beyond([row], tolerance) else ""
        where = ", ".join(f"{row[name]!r}" for name in ("alpha", "z", "value", "truth"))
        lines.append(f"{10.0 ** row['decade']:>10.0e}{row['points']:>8}{row['median']:>10.1e}{row['max']:>10.1e}"
                     f"{row['not_finite']:>12}   {where}{mark}")
    return "\n".join(lines)


def _run(target: str, precision: str, file: str) -> None:
    sys.path.insert(0, os.getcwd())
    module, name = target.split(":")
    function, given = getattr(import_module(module), name), points(precision)
    found = function(given["alpha"].astype(precision), given["z"].astype(precision))
    np.save(file, np.asarray(found), allow_pickle=False)


if __name__ == "__main__":
    try:
        _run(*sys.argv[1:])
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        Path(sys.argv[3] + ".failed").write_text(words, encoding="utf-8")
        raise

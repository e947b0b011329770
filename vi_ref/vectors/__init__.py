"""Reference vectors of the gamma's implicit gradient: tables of truths to 25 digits, and how to read them.

The files beside this module are plain CSV, described in ``README.md`` there and
usable without Python. They are in the public domain (CC0 1.0) and are never
edited once released: a correction is a new version and an erratum.
"""

import csv
from decimal import Decimal, localcontext
from importlib import resources

import numpy as np
from numpy.typing import NDArray

_FILES = {("float64", 1): "gamma_grad_v1.csv", ("float32", 1): "gamma_grad_float32_v1.csv"}
_TEXT = ("exact", "region")
_TRUTHS = ("p_lower", "q_upper", "dp_dalpha", "dz_dalpha", "dlogz_dalpha", "dlogz_dalpha_at_log_z")


def load(version: int = 1, precision: str = "float64") -> NDArray:
    """One table of reference vectors as a structured array.

    Parameters
    ----------
    version : int
        Of the table; versions are never edited.
    precision : {"float64", "float32"}
        The format in which the inputs alpha, z and log_z are exact. The array
        holds doubles either way.

    Returns
    -------
    ndarray, structured, shape (rows,)
        The fields are the columns of the file without the hexadecimal ones. A
        truth t of 25 digits is split over two fields, the double nearest to it
        and what that leaves: ``t`` and ``t_rest``. An empty cell is NaN.

    Raises
    ------
    ValueError
        If there is no such version or precision.

    Examples
    --------
    >>> table = load()
    >>> print(table[table["alpha"] == 1.0][["z", "exact", "region", "dz_dalpha"]][5])
    (1.5262051115958637, 'z', 'left', 1.4426097372167328)

    The error of a computed value, to more digits than a double has:

    >>> from vi_ref.gamma_grad import dz_dshape
    >>> table = table[table["exact"] == "z"]
    >>> error = dz_dshape(table["alpha"], table["z"]) - table["dz_dalpha"] - table["dz_dalpha_rest"]
    >>> bool(np.all(np.abs(error) <= 4e-15 * table["dz_dalpha"]))
    True
    """
    _require("version", version, [version for _, version in _FILES])
    _require("precision", precision, [precision for precision, _ in _FILES])
    text = (resources.files(__name__) / _FILES[precision, version]).read_text(encoding="ascii")
    header, *rows = csv.reader(text.splitlines())
    fields = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        if not name.endswith("_hex"):
            fields[name] = np.array([cell if name in _TEXT else float(cell or "nan") for cell in cells])
        if name in _TRUTHS:
            fields[f"{name}_rest"] = np.array([_rest(cell) for cell in cells])
    table = np.empty(len(rows), [(name, values.dtype) for name, values in fields.items()])
    for name, values in fields.items():
        table[name] = values
    return table


def _require(name: str, value: object, choices: list) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, sorted(set(choices))))}, got {value!r}")


def _rest(cell: str) -> float:
    """A decimal less the double nearest to it."""
    with localcontext(prec=60):
        return float(Decimal(cell) - Decimal(float(cell))) if cell else np.nan

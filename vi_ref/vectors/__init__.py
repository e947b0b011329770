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
    >>> row = table[table["alpha"] == 1.0][0]
    >>> row["dz_dalpha"] == row["z"] * row["dlogz_dalpha"]       # here; in general up to rounding
    np.True_

    The error of a computed value, with more digits than a double has:

    >>> from vi_ref.gamma_grad import dz_dshape
    >>> table = table[table["exact"] == "z"]
    >>> error = dz_dshape(table["alpha"], table["z"]) - table["dz_dalpha"] - table["dz_dalpha_rest"]
    >>> bool(np.all(np.abs(error) <= 4e-15 * table["dz_dalpha"]))
    True
    """
    versions, precisions = ({key[i] for key in _FILES} for i in (1, 0))
    if version not in versions:
        raise ValueError(f"version must be one of {', '.join(map(str, sorted(versions)))}, got {version!r}")
    if precision not in precisions:
        raise ValueError(f"precision must be one of {', '.join(sorted(precisions))}, got {precision!r}")
    text = (resources.files(__name__) / _FILES[precision, version]).read_text(encoding="ascii")
    header, *rows = csv.reader(text.splitlines())
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    fields = {}
    for name in (name for name in header if not name.endswith("_hex")):
        fields[name] = np.array([cell if name in _TEXT else float(cell or "nan") for cell in columns[name]])
        if name in _TRUTHS:
            fields[f"{name}_rest"] = np.array([_rest(cell) for cell in columns[name]])
    return np.rec.fromarrays(list(fields.values()), names=list(fields)).view(np.ndarray)


def _rest(cell: str) -> float:
    """A decimal less the double nearest to it."""
    with localcontext(prec=60):
        return float(Decimal(cell) - Decimal(float(cell))) if cell else np.nan

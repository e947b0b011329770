"""Many tests at once: p-values adjusted so that a false alarm stays as rare as one test's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref._validate import real, require

Array = NDArray[np.float64]


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values of Holm (1979): those below a level have no false one among them, but for that probability.

    Valid whatever the dependence between the tests.

    Parameters
    ----------
    p_values : array_like, shape (n,)
        In [0, 1].

    Returns
    -------
    ndarray, shape (n,)
        With p_(i) the i-th smallest of n, max_{j <= i} min(1, (n - j + 1) p_(j)).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = _probabilities(p_values)
    order, n = np.argsort(p), p.size
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((n - np.arange(n)) * p[order]))
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> Array:
    """Adjusted p-values of Benjamini & Hochberg (1995): of those below a level, expect at most that share to be false.

    Valid for independent tests, and for many that depend positively.

    Parameters
    ----------
    p_values : array_like, shape (n,)
        In [0, 1].

    Returns
    -------
    ndarray, shape (n,)
        With p_(i) the i-th smallest of n, min_{j >= i} min(1, n p_(j) / j).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    p = _probabilities(p_values)
    order, n = np.argsort(p)[::-1], p.size
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(n / (n - np.arange(n)) * p[order]))
    return adjusted


def _probabilities(p_values: ArrayLike) -> Array:
    p = real("p_values", p_values)
    if p.ndim != 1:
        raise ValueError(f"p_values must have shape (n,), got {p.shape}")
    require("p_values", "in [0, 1]", p, (p >= 0) & (p <= 1))
    return p

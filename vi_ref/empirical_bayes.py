"""The prior that makes the column totals most probable: one strength, and where asked one mean, for all columns.

Given its prior Gamma(a, b) a column's total over m rows is negative binomial, T ~ NB(a, b / (b + m)), and columns are
independent. A prior for each column cannot be had in this way: see `pooled`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from vi_ref._validate import positive, real, require, whole
from vi_ref.gamma import Gamma, _expm1_minus, _log_ratio
from vi_ref.negative_binomial import log_prob
from vi_ref.special import digamma_minus_log_ufunc

Array = NDArray[np.float64]

_FAR = 1e6                             # a prior so many times stronger than all data is taken for infinitely strong


def log_evidence(n_observations: int, totals: ArrayLike, prior: Gamma) -> float:
    """Log probability of the column totals of so many rows under a prior: book eq. `eq-pooled-evidence`.

    It differs from the log evidence of the table, `PoissonGamma.log_evidence`, by a constant: the same prior is best.

    Parameters
    ----------
    n_observations : int
        The rows, at least 1.
    totals : array_like, shape (D,)
        Non-negative numbers.
    prior : Gamma
        Scalar, or of shape (D,).

    Examples
    --------
    >>> log_evidence(2, [8, 1, 0, 3], Gamma(1.0, 0.5)).round(6)
    np.float64(-9.115474)
    """
    m, totals = _statistics(n_observations, totals)
    if not isinstance(prior, Gamma) or prior.shape.shape not in ((), totals.shape):
        raise ValueError(f"prior must be a vi_ref.Gamma of shape () or {totals.shape}, as totals, got {prior!r:.60}")
    return log_prob(totals, prior.shape, prior.rate / m).sum()


def slope(n_observations: int, totals: ArrayLike, picture: ArrayLike, strength: float) -> float:
    """Derivative of `log_evidence` in log c, for the prior Gamma(c x0, c) with the expected picture x0.

    With a = c x0, h(x) = psi(x) - log x and y = (T / x0 - m) / (c + m), it is the sum over columns of

        a { [h(a + T) - h(a)] - [y - log(1 + y)] }.

    The first bracket is positive, as h increases: any total asks for more strength. The second is not negative:
    what a total is off its expected m x0 asks for less.
    """
    m, totals = _statistics(n_observations, totals)
    x0, c = _picture(picture, totals), positive("strength", strength)
    a = c * x0
    off = _expm1_minus(_log_ratio(c + totals / x0, c + m))
    return np.sum(a * (digamma_minus_log_ufunc(a + totals) - digamma_minus_log_ufunc(a) - off))


def strength(n_observations: int, totals: ArrayLike, picture: ArrayLike) -> float:
    """The strength c of the prior Gamma(c x0, c) that makes the totals most probable, x0 being the expected picture.

    Parameters
    ----------
    n_observations : int
        The rows m, at least 1.
    totals : array_like, shape (D,)
        Non-negative numbers.
    picture : array_like, shape (D,)
        The prior's mean of each column, positive; a number is that of all.

    Returns
    -------
    float
        In rows: the picture counts like so many. The zero of `slope`, which is there at most 1e-14 a column where
        counts spread about as the prior says. That it has no other is not proved here; none of 9000 random sets of
        columns had.

    Raises
    ------
    ValueError
        If there is no best strength: all totals are zero, where the evidence grows as c falls to 0; or they are no
        further from m x0 than Poisson counts would be, where it grows with c for ever.

    Examples
    --------
    >>> c = strength(2, [8, 1, 0, 3], [1.5, 1.5, 1.5, 1.5])
    >>> c.round(6), abs(slope(2, [8, 1, 0, 3], 1.5, c)) < 1e-12
    (np.float64(0.67123), np.True_)
    """
    m, totals = _statistics(n_observations, totals)
    best = _best(m, totals, np.broadcast_to(_picture(picture, totals), totals.shape))
    if best == 0:
        raise _none("strength", m, totals, "all are zero", "as it falls to 0")
    if best == np.inf:
        raise _none("strength", m, totals, "they are no further from what the prior expects than Poisson counts are",
                    "with it for ever")
    return best


def pooled(n_observations: int, totals: ArrayLike) -> Gamma:
    """The one prior Gamma(a, b) of all columns that makes the totals most probable, scalar.

    Whatever a is, the best mean a / b is that of the table, mean(T) / m; so it is the best `strength` of
    the picture that expects this mean everywhere. There is one if and only if the totals spread more than Poisson
    counts: if their variance, with 1 / D, is above their mean (Levin & Reeds 1977). Less than a part in a million above
    is taken for none: a prior a million times stronger than the data is not told from one infinitely strong.

    Parameters
    ----------
    n_observations : int
        The rows m, at least 1.
    totals : array_like, shape (D,)
        Non-negative numbers.

    Raises
    ------
    ValueError
        If there is no best prior: all totals are zero, or they spread no more than Poisson counts. A single total has
        no spread at all: there y = 0 in `slope`, which is then positive at every strength. So each column by itself has
        no best prior.

    Examples
    --------
    >>> prior = pooled(2, [8, 1, 0, 3])
    >>> prior.shape.round(6), prior.rate.round(6), prior.mean.round(6)
    (np.float64(1.006845), np.float64(0.67123), np.float64(1.5))
    """
    m, totals = _statistics(n_observations, totals)
    mean = totals.mean()
    if mean == 0:
        raise _none("prior", m, totals, "all are zero", "as its mean falls to 0")
    best = _best(m, totals, np.full(totals.shape, mean / m))
    if best == np.inf:
        raise _none("prior", m, totals, "they spread no more than Poisson counts, with variance "
                    f"{totals.var():.6g} at a mean of {mean:.6g} (told to 1e-6)", "with its strength for ever")
    return Gamma(best * mean / m, best)


def _picture(picture: ArrayLike, totals: Array) -> Array:
    x0 = positive("picture", picture)
    if x0.shape not in ((), totals.shape):
        raise ValueError(f"picture must have shape () or {totals.shape}, as the totals, got {x0.shape}")
    return x0


def _best(m: int, totals: Array, x0: Array) -> float:
    """The zero of `slope`, by Brent's method in log c; 0 or infinity where the evidence grows that way."""
    if not np.any(totals):
        return 0.0
    low = 1e-3 / x0.sum()
    while slope(m, totals, x0, low) <= 0:                # it tends to the number of positive totals as c falls to 0
        low /= 10
    high = _FAR * max(m, np.max(totals / x0), low)
    if slope(m, totals, x0, high) >= 0:
        return np.inf
    return np.exp(brentq(lambda log_c: slope(m, totals, x0, np.exp(log_c)), np.log(low), np.log(high), xtol=1e-15))


def _none(what: str, m: int, totals: Array, why: str, how: str) -> ValueError:
    return ValueError(f"there is no best {what} for these totals (n_samples = {m}, n_features = {totals.size}): {why}, "
                      f"and the evidence grows {how}; give prior_shape and prior_rate, and no empirical_bayes")


def _statistics(n_observations: int, totals: ArrayLike) -> tuple[int, Array]:
    m, totals = whole("n_observations", n_observations, 1), real("totals", totals)
    if totals.ndim != 1 or totals.size == 0:
        raise ValueError(f"totals must be one number a column, got shape {totals.shape}")
    require("totals", "in [0, 1e100]", totals, (totals >= 0) & (totals <= 1e100))
    return m, totals

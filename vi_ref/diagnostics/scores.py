"""Normal scores of parameters under q, and two exact tests of them: of their mean and of their variance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from vi_ref._validate import real, require
from vi_ref.diagnostics._tails import gamma_tails, score_of
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


def normal_scores(q: Gamma, log_theta: ArrayLike) -> Array:
    """Normal scores z = Phi^-1(F_q(theta)), standard normal if theta is a draw of q: book eq. `eq-normal-scores`.

    Each is found in whichever tail is the smaller, in log space, so none is infinite.

    Parameters
    ----------
    q : Gamma, shape (D,)
    log_theta : array_like
        Log parameters, broadcast against q; finite, and rate theta at most 1e300.

    Returns
    -------
    ndarray
        Within 1e-12 of (1 + abs(z)), for shapes up to 1e4; beyond, log theta and the log rate are given to eps only,
        which is sqrt(shape) eps (1 + abs(log theta) + abs(log rate)) of z.

    Raises
    ------
    ValueError
        If a log_theta is not finite, or rate theta overflows.

    Examples
    --------
    >>> q = Gamma(shape=4.0, rate=2.0)
    >>> normal_scores(q, np.log(q.quantile([0.025, 0.5, 0.975]))).round(2)
    array([-1.96,  0.  ,  1.96])
    >>> normal_scores(q, [-1000.0, 10.0]).round(2)
    array([-89.39, 296.7 ])
    """
    if not isinstance(q, Gamma):
        raise ValueError(f"q must be a vi_ref.Gamma, got {type(q).__name__}")
    log_theta = real("log_theta", log_theta)
    require("log_theta", "finite, with rate theta at most 1e300", log_theta,
            np.isfinite(log_theta) & (log_theta + np.log(q.rate) <= np.log(1e300)))
    return score_of(*gamma_tails(q, log_theta))


@dataclass(frozen=True)
class ScoreTests:
    """Whether scores are independent standard normal numbers, as seen in their mean and in their variance."""

    mean: Array         #: of the scores, along the first axis
    variance: Array     #: about that mean, with the divisor N - 1
    mean_z: Array       #: sqrt(N) mean, standard normal if the scores are
    variance_z: Array   #: the normal score of the variance under its law, chi^2 with N - 1 degrees of freedom
    p_mean: Array       #: two-sided
    p_variance: Array   #: two-sided, twice the smaller tail


def score_tests(scores: ArrayLike) -> ScoreTests:
    """The exact z test of the mean and the chi^2 test of the variance of normal scores.

    Both p-values are uniform, and independent of each other, if the scores are independent and standard normal. A
    variance above 1 says that q is too narrow, below 1 too wide.

    Parameters
    ----------
    scores : array_like, shape (N,) or (N, D)
        At most 1e140 in absolute value; N at least 2; not all equal in a column.

    Returns
    -------
    ScoreTests
        Its fields have shape () or (D,).

    Examples
    --------
    >>> tests = score_tests(1.2 * np.random.default_rng(0).standard_normal(1000))
    >>> print(f"{tests.p_mean:.2f} {tests.p_variance:.0e}")
    0.07 5e-14
    """
    scores = real("scores", scores)
    if scores.ndim not in (1, 2) or scores.shape[0] < 2 or scores.size == 0:
        raise ValueError(f"scores must have shape (N,) or (N, D) with N at least 2, got {scores.shape}")
    require("scores", "finite, at most 1e140 in absolute value", scores, np.abs(scores) <= 1e140)
    n, mean = len(scores), scores.mean(axis=0)
    squares = np.sum((scores - mean) ** 2, axis=0)
    require("scores", "not all equal in a column, sum of squares positive", squares, squares > 0)
    mean_z, variance_z = np.sqrt(n) * mean, normal_scores(Gamma((n - 1) / 2, 0.5), np.log(squares))
    p_mean, p_variance = (2 * ndtr(-np.abs(z)) for z in (mean_z, variance_z))
    return ScoreTests(mean, squares / (n - 1), mean_z, variance_z, p_mean, p_variance)

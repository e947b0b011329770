"""How often central credible intervals hold the parameters behind simulated data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc, betaincinv, ndtri

from vi_ref._validate import between, real
from vi_ref.diagnostics.scores import normal_scores
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """Of each level, how many intervals held their parameter, and what that says about the probability that they do."""

    levels: Array                #: (K,)
    n: int                       #: intervals of each level
    inside: NDArray[np.int64]    #: (K,) how many held their parameter
    share: Array                 #: (K,) inside / n
    low: Array                   #: (K,) lower end of the confidence interval for the probability
    high: Array                  #: (K,) its upper end
    p_values: Array              #: (K,) of the hypothesis that the probability is the level; exact binomial, two-sided


def coverage(q: Gamma, log_theta: ArrayLike, levels: float | Sequence[float] = (0.5, 0.8, 0.95), *,
             confidence: float = 0.95) -> Coverage:
    """How many central intervals of q hold the parameters, with Clopper and Pearson's (1934) confidence interval.

    theta is inside the interval of a level where the absolute value of its normal score is at most
    Phi^-1((1 + level) / 2); unlike theta and the ends themselves, scores do not underflow at small shapes.

    Parameters
    ----------
    q : Gamma, shape (N,)
        What was inferred, one a simulation.
    log_theta : array_like, shape (N,)
        Log of the parameters behind the data.
    levels : float or sequence of float
        Probabilities inside, each in (0, 1).
    confidence : float
        With at least this probability [low, high] holds the true probability, in (0, 1).

    Returns
    -------
    Coverage

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> q = Gamma(np.full(1000, 5.0), 2.0)
    >>> found = coverage(q, q.sample_log(1, rng)[0])
    >>> found.share, found.low.round(3), found.high.round(3)
    (array([0.509, 0.813, 0.944]), array([0.478, 0.787, 0.928]), array([0.54 , 0.837, 0.957]))
    """
    levels = np.array([between("levels", level, 0, 1) for level in np.atleast_1d(levels).tolist()])
    tail = 0.5 * (1 - between("confidence", confidence, 0, 1))
    log_theta = real("log_theta", log_theta)
    if not isinstance(q, Gamma) or q.shape.ndim != 1 or q.shape.shape != log_theta.shape or not log_theta.size:
        raise ValueError(f"log_theta must have the shape (N,) of q, a vi_ref.Gamma, got {log_theta.shape}, {q!r:.60}")
    distance, n = np.abs(normal_scores(q, log_theta)), log_theta.size
    inside = np.array([np.count_nonzero(distance <= ndtri(0.5 * (1 + level))) for level in levels], dtype=np.int64)
    low = np.where(inside > 0, betaincinv(np.maximum(inside, 1), n - inside + 1, tail), 0.0)
    high = np.where(inside < n, betaincinv(inside + 1, np.maximum(n - inside, 1), 1 - tail), 1.0)
    at_most, at_least = bdtr(inside, n, levels), np.where(inside > 0, bdtrc(inside - 1.0, n, levels), 1.0)
    return Coverage(levels, n, inside, inside / n, low, high, np.minimum(1, 2 * np.minimum(at_most, at_least)))

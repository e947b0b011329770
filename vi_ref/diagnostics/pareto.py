"""Pareto smoothed importance sampling: what the largest importance weights say about the weights not seen.

Their tail is fitted by a generalised Pareto distribution, whose shape k says how many moments the weights have: fewer
than 1/k. Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto smoothed importance sampling", JMLR 25(72).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from vi_ref._validate import between, real, require

Array = NDArray[np.float64]

#: Log of the smallest normal double: where the tail begins if there are fewer weights above 0 than it asks for.
_TINY = float(np.log(np.finfo(float).tiny))


@dataclass(frozen=True)
class Psis:
    """Smoothed importance weights and whether to trust them."""

    log_weights: Array    #: (S,) or (S, D), smoothed and normalised: their exponentials sum to 1
    khat: Array           #: () or (D,) shape of the fitted tail; -inf: nothing to smooth, inf: too few to fit
    threshold: float      #: min(1 - 1/log10 S, 0.7), below which the weighted averages can be trusted
    ess: Array            #: () or (D,) effective sample size, 1 / sum of squared smoothed weights

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """Whether khat is below the threshold."""
        return self.khat < self.threshold


def psis(log_weights: ArrayLike, *, resolution: float = 0.0) -> Psis:
    """Smooth the largest importance weights, and give the shape k-hat of their tail: book eq. `eq-khat`.

    The tail are the min(S/5, 3 sqrt(S)) largest weights, rounded up, less those that equal the next one. Their
    excesses over it are fitted as by Zhang & Stephens (2009), the shape drawn towards 1/2 as if by 10 further weights;
    then the tail is replaced by the fit's quantiles, cut off at the largest weight. As ArviZ does: the results agree to
    rounding.

    Parameters
    ----------
    log_weights : array_like, shape (S,) or (S, D)
        Log of target over proposal at S draws of the proposal, up to a constant; columns apart. S at least 2; -inf is
        a weight of 0.
    resolution : float
        Log weights closer than that count as equal; 0 if they are exact. Nothing is smoothed where the largest is
        within it of the tail's lower end.

    Returns
    -------
    Psis
        k-hat is -inf, below every threshold, where the largest weight is as large as the tail's lower end, as where all
        weights are equal: no tail is seen. It is inf, as in ArviZ, where the tail holds 1 to 4 weights, too few to
        fit: always for S from 2 to 20 unless they are equal.

    Raises
    ------
    ValueError
        If a log weight is NaN or inf, or a column holds none above -inf.

    Examples
    --------
    >>> log_weights = 0.5 * np.random.default_rng(0).standard_exponential(10_000)     # weights with tail 1/2
    >>> result = psis(log_weights)
    >>> print(f"{result.khat:.2f} {result.threshold} {result.ess:.0f}")
    0.50 0.7 4076
    >>> print(psis(np.zeros(100)).khat)
    -inf
    """
    x, resolution = real("log_weights", log_weights), between("resolution", resolution, 0, np.inf, "[)")
    if x.ndim not in (1, 2) or x.shape[0] < 2 or x.size == 0:
        raise ValueError(f"log_weights must have shape (S,) or (S, D) with S at least 2, got {x.shape}")
    require("log_weights", "below inf, not NaN", x, x < np.inf)
    top = x.max(axis=0)
    require("log_weights", "above -inf somewhere in each column, largest", top, top > -np.inf)
    columns = [_smooth(column, resolution) for column in (x - top).reshape(len(x), -1).T]
    smoothed = np.stack([column for column, _ in columns], axis=1).reshape(x.shape)
    smoothed -= logsumexp(smoothed, axis=0)
    khat = np.array([k for _, k in columns]).reshape(x.shape[1:])[()]
    return Psis(smoothed, khat, min(1 - 1 / np.log10(len(x)), 0.7), np.exp(-logsumexp(2 * smoothed, axis=0)))


def _smooth(x: Array, resolution: float) -> tuple[Array, float]:
    """Smoothed log weights and k-hat of one column of log weights whose largest is 0."""
    order = np.argsort(x, kind="stable")
    size = int(np.ceil(min(x.size / 5, 3 * np.sqrt(x.size))))
    cut = max(x[order[-size - 1]], _TINY)
    tail = order[x[order] > cut]
    if -cut <= resolution:
        return x, -np.inf
    if tail.size < 5:
        return x, np.inf
    excess = np.exp(cut) * np.expm1(x[tail] - cut)
    k, sigma = _fit(excess)
    log_survival = np.log1p(-(np.arange(tail.size) + 0.5) / tail.size)
    quantile = -sigma * log_survival if abs(k) < 1e-15 else sigma * np.expm1(-k * log_survival) / k
    smoothed = x.copy()
    smoothed[tail] = np.minimum(cut + np.log1p(np.exp(-cut) * quantile), 0)
    return smoothed, k


def _fit(x: Array) -> tuple[float, float]:
    """Shape k and scale sigma of a generalised Pareto distribution, P(X > x) = (1 + k x / sigma)^(-1/k).

    Zhang & Stephens (2009): with b = -k / sigma the best k is the mean of log(1 - b x), so that the likelihood is one
    of b alone; b is its posterior mean on a grid of prior quantiles, which spreads with the first quartile of x.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Positive, in increasing order.
    """
    n = x.size
    m = 30 + int(np.sqrt(n))
    b = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(m) + 0.5))) / (3 * x[int(n / 4 + 0.5) - 1])
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    zero = b == 0                                        # the exponential distribution: -k / b is its scale
    scale = np.where(zero, x.mean(), -k / np.where(zero, 1, b))
    log_likelihood = -n * (np.log(scale) + k + 1)
    weight = np.exp(log_likelihood - logsumexp(log_likelihood))
    weight[weight < 10 * np.finfo(float).eps] = 0
    b = weight @ b / weight.sum()
    k = np.log1p(-b * x).mean()
    sigma = -k / b if b else x.mean()
    return (n * k + 5) / (n + 10), sigma

"""Logarithms of gamma and negative binomial tail probabilities, also where the probabilities underflow.

Beyond 37 standard deviations or so a tail is below 1e-290. There SciPy's value is replaced by the density at the
tail's edge times an integral over the tail, whose integrand is e^(-v) times a factor that stays near 1 where e^(-v)
counts: Gauss and Laguerre's rule of 32 nodes then leaves 1e-14 of it. So does it from 4.4 standard deviations on where
the shape is large, and it is taken there too: SciPy ends its series for P after 2000 terms, which at shape 1e9 are a
third of it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, gammainc, gammaincc, gammaln, ndtri_exp

from vi_ref.gamma import Gamma
from vi_ref.negative_binomial import log_prob_ufunc

Array = NDArray[np.float64]

#: Below it a probability is taken in log space.
SMALL = 1e-290
#: Shapes for which SciPy's series may need more than its 2000 terms, beyond the 4.5 sd up to which it needs no series,
#: and the log probability from which on the rule is taken there.
_LARGE, _BEYOND = 1e4, -12.0
_NODE, _WEIGHT = np.polynomial.laguerre.laggauss(32)


def gamma_tails(q: Gamma, log_theta: Array) -> tuple[Array, Array]:
    """Log P(theta' < theta) and log P(theta' > theta) for theta' ~ q, broadcast; rate theta must not overflow."""
    shape, log_x, log_density = np.broadcast_arrays(q.shape, log_theta + np.log(q.rate), q.log_density(log_theta))
    x = np.exp(log_x)
    with np.errstate(divide="ignore"):
        lower, upper = np.asarray(np.log(gammainc(shape, x))), np.asarray(np.log(gammaincc(shape, x)))
    tiny = x < SMALL                                     # P = x^shape / Gamma(shape + 1), which need not be small
    lower[tiny] = (shape * log_x - gammaln(1 + shape))[tiny]
    upper[tiny] = np.log(-np.expm1(lower[tiny]))
    for tail, sign in ((lower, -1), (upper, 1)):
        deep = (tail < np.where(shape > _LARGE, _BEYOND, np.log(SMALL))) & ~tiny
        slope = sign * (x[deep] - shape[deep])           # at theta e^(sign s) the tail falls off like e^(-slope s)
        s = _NODE / slope[:, None]
        factor = np.exp(-x[deep][:, None] * (np.expm1(sign * s) - sign * s))
        tail[deep] = log_density[deep] - np.log(slope) + np.log(factor @ _WEIGHT)
    return lower, upper


def nbinom_tails(q: Gamma, counts: Array, v: Array) -> tuple[Array, Array]:
    """Logs of u = F(x - 1) + v f(x) and of 1 - u, where F and f are those of a Poisson count whose rate is q's draw.

    The count is negative binomial, with 1 / (rate + 1) for the probability of another success. v is in (0, 1].
    """
    shape, rate, x, v = np.broadcast_arrays(q.shape, q.rate, counts, v)
    log_pmf = np.asarray(log_prob_ufunc(x, shape, rate))
    below, some = np.full(x.shape, -np.inf), x > 0
    with np.errstate(divide="ignore"):
        edge = log_pmf + np.log(x) + np.log1p(rate), log_pmf + np.log((x + shape) / rate)
        below[some] = _log_betainc(*(part[some] for part in (shape, x, rate, edge[0])))
        upper = np.logaddexp(_log_betainc(x + 1, shape, 1 / rate, edge[1]), np.log1p(-v) + log_pmf)
    return np.logaddexp(below, np.log(v) + log_pmf), upper


def _log_betainc(a: Array, b: Array, odds: Array, edge: Array) -> Array:
    """Log of the regularised incomplete beta function I_w(a, b) with w = odds / (odds + 1).

    `edge` is log w dI/dw = a log w + (b - 1) log(1 - w) - log B(a, b).
    """
    with np.errstate(divide="ignore"):                   # w or 1 - w, whichever is the smaller and holds its digits
        tail = np.where(odds < 1, betainc(a, b, odds / (odds + 1)), betaincc(b, a, 1 / (odds + 1)))
        value = np.asarray(np.log(tail))
    deep = value < np.log(SMALL)
    a, b, odds = a[deep], b[deep], odds[deep]
    slope = a - (b - 1) * odds                           # the integrand falls off like e^(-slope s), at w e^(-s)
    s = _NODE / slope[:, None]
    factor = np.exp((b[:, None] - 1) * (np.log1p(-odds[:, None] * np.expm1(-s)) - odds[:, None] * s))
    value[deep] = edge[deep] - np.log(slope) + np.log(factor @ _WEIGHT)
    return value


def score_of(lower: Array, upper: Array) -> Array:
    """The standard normal number with these log tails, found in the smaller of the two."""
    return np.where(lower < upper, ndtri_exp(np.minimum(lower, 0)), -ndtri_exp(np.minimum(upper, 0)))[()]

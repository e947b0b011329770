"""Simulation-based calibration: does inference give back the parameters that made the data, as often as it says?

The simulations are columns of one model, which are independent, so a thousand of them cost one fit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

from vi_ref._validate import between, generator, real, require, whole
from vi_ref.diagnostics.scores import ScoreTests, normal_scores, score_tests
from vi_ref.gamma import Gamma
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]


def simulate(prior: Gamma, n_observations: int, n_simulations: int,
             rng: np.random.Generator) -> tuple[PoissonGamma, Array]:
    """Parameters from the prior and counts from the parameters: one simulation a column of one model.

    Parameters
    ----------
    prior : Gamma, shape () or (n_simulations,)
        Small enough that no count comes near 2^53.
    n_observations, n_simulations : int
        Rows of each data set, and data sets; at least 1.
    rng : numpy.random.Generator

    Returns
    -------
    model : PoissonGamma
        Of n_simulations columns; fit it, or take its exact posterior.
    log_theta : ndarray, shape (n_simulations,)
        Log of the parameters behind the counts.

    Raises
    ------
    ValueError
        If the prior has another shape, or draws a rate above 2^52.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model, log_theta = simulate(Gamma(2.0, 1.0), n_observations=3, n_simulations=1000, rng=rng)
    >>> result = calibration_check(model.posterior, log_theta, rng=rng)
    >>> bool(result.outside.any()), bool(min(result.tests.p_mean, result.tests.p_variance) > 0.01)
    (False, True)
    """
    m, n, rng = (whole("n_observations", n_observations, 1), whole("n_simulations", n_simulations, 1),
                 generator("rng", rng))
    if not isinstance(prior, Gamma) or prior.shape.shape not in ((), (n,)):
        raise ValueError(f"prior must be a vi_ref.Gamma of shape () or ({n},), got {prior!r:.60}")
    prior = Gamma(np.broadcast_to(prior.shape, n), prior.rate)
    log_theta = prior.sample_log(1, rng)[0]
    if log_theta.max() > 52 * np.log(2):
        raise ValueError(f"prior must draw rates of at most 2^52, got e^{log_theta.max():.6g}")
    return PoissonGamma(prior, rng.poisson(np.exp(log_theta), (m, n))), log_theta


def ranks(q: Gamma, log_theta: ArrayLike, n_draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many of n_draws draws of each q lie below its parameter: uniform on 0 ... n_draws if q is the posterior.

    Book eq. `eq-sbc-rank`; Talts et al. (2018), theorem 1.

    Parameters
    ----------
    q : Gamma, shape (N,)
        The posteriors to be checked, one a simulation.
    log_theta : array_like, shape (N,)
        Log of the parameters behind the data, finite.
    n_draws : int
        At least 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (N,)
    """
    log_theta, n_draws = _matching(q, log_theta), whole("n_draws", n_draws, 1)
    return np.sum(q.sample_log(n_draws, rng) < log_theta, axis=0)


def rank_band(n_simulations: int, n_bins: int, level: float = 0.95) -> tuple[int, int, float]:
    """A band that holds all counts of a uniform histogram at once, and the exact probability that it does.

    Each count is binomial; the band leaves at most (1 - level) / (2 n_bins) beyond each of its ends, and by
    Bonferroni's inequality holds all counts with probability `level` at least. The exact probability is that of
    independent Poisson counts, all inside, given their sum.

    Parameters
    ----------
    n_simulations, n_bins : int
        At least 1 and 2.
    level : float
        In (0, 1).

    Returns
    -------
    low, high : int
        Ends of the band, both inside.
    probability : float
        That all counts are inside, at least `level`; to 1e-11 for 1e4 simulations, 1e-9 for a million.

    Examples
    --------
    >>> low, high, probability = rank_band(1000, 20)
    >>> low, high, round(probability, 4)
    (30, 72, 0.9661)
    """
    n, bins = whole("n_simulations", n_simulations, 1), whole("n_bins", n_bins, 2)
    tail = (1 - between("level", level, 0, 1)) / (2 * bins)
    x, mean = np.arange(n + 1), n / bins
    choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    binomial = np.exp(choose - xlogy(x, bins) + xlogy(n - x, 1 - 1 / bins))
    low, high = int(np.argmax(np.cumsum(binomial) > tail)), n - int(np.argmax(np.cumsum(binomial[::-1]) > tail))
    x = np.arange(low, high + 1)
    inside = total = np.exp(x * np.log(mean) - mean - gammaln(x + 1))        # Poisson, of sums from low up
    for _ in range(bins - 1):
        total = np.convolve(total, inside)
    return low, high, float(total[n - bins * low] / np.exp(n * np.log(n) - n - gammaln(n + 1)))


@dataclass(frozen=True)
class Calibration:
    """What simulation-based calibration found: ranks for the eye, normal scores for the tests."""

    ranks: NDArray[np.int64]    #: (N,) of the parameters among draws of q, 0 ... n_draws
    n_draws: int
    counts: NDArray[np.int64]   #: (n_bins,) histogram of the ranks, bins of equally many ranks
    low: int                    #: lower end of the band that holds all of `counts` at once
    high: int                   #: its upper end; both are inside
    probability: float          #: that it does, if q is the posterior
    scores: Array               #: (N,) normal scores of the parameters under q
    tests: ScoreTests           #: of the scores; a variance above 1: q is too narrow

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which bins lie outside the band."""
        return (self.counts < self.low) | (self.counts > self.high)


def calibration_check(q: Gamma, log_theta: ArrayLike, *, n_draws: int = 99, n_bins: int = 20, level: float = 0.95,
                      rng: np.random.Generator) -> Calibration:
    """Ranks and normal scores of the parameters behind simulated data under the posteriors inferred from them.

    Ranks make the histogram of Talts et al. (2018). Tests are made of the normal scores, which need no draws and whose
    variance answers to a wrong width of q much sooner than the ranks' distribution function.

    Parameters
    ----------
    q : Gamma, shape (N,)
        What was inferred, one a simulation.
    log_theta : array_like, shape (N,)
        Log of the parameters behind the data, finite; N at least 2.
    n_draws : int
        Draws of each q; n_draws + 1 must be a multiple of n_bins.
    n_bins : int
        At least 2.
    level : float
        The least probability that the band of `rank_band` holds all bins, in (0, 1).
    rng : numpy.random.Generator

    Returns
    -------
    Calibration
    """
    n_draws, n_bins, log_theta = whole("n_draws", n_draws, 1), whole("n_bins", n_bins, 2), _matching(q, log_theta)
    rng = generator("rng", rng)
    if log_theta.size < 2:
        raise ValueError(f"log_theta must hold at least 2 simulations, got {log_theta.size}")
    if (n_draws + 1) % n_bins:
        raise ValueError(f"n_draws + 1 must be a multiple of n_bins, got {n_draws} and {n_bins}")
    low, high, probability = rank_band(log_theta.size, n_bins, level)
    scores = normal_scores(q, log_theta)
    tests = score_tests(scores)
    drawn = ranks(q, log_theta, n_draws, rng)
    counts = np.bincount(drawn // ((n_draws + 1) // n_bins), minlength=n_bins)
    return Calibration(drawn, n_draws, counts, low, high, probability, scores, tests)


def _matching(q: Gamma, log_theta: ArrayLike) -> Array:
    log_theta = real("log_theta", log_theta)
    if not isinstance(q, Gamma) or q.shape.ndim != 1 or q.shape.shape != log_theta.shape:
        raise ValueError(f"log_theta must have the shape (N,) of q, a vi_ref.Gamma, got {log_theta.shape}, {q!r:.60}")
    require("log_theta", "finite", log_theta, np.isfinite(log_theta))
    return log_theta

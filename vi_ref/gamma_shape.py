"""Positive data with unknown shape and rate: y_i ~ Gamma(s, r), s ~ Gamma(a_s, b_s), r ~ Gamma(a_r, b_r).

The likelihood holds Gamma(s)^-m, which is conjugate to nothing simple, and ties s to r: their ratio is the mean of
the data and well known, each alone is not. Columns 0 and 1 of every array are s and r.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, polygamma, psi

from vi_ref import _validate
from vi_ref._quadrature import Grid, integrate
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


class Moments(NamedTuple):
    """Of the unknowns (s, r) and of their logarithms, (2,) each."""

    mean: Array
    variance: Array
    mean_log: Array
    variance_log: Array


class GammaShape:
    """The shape s and the rate r behind positive observations; not conjugate.

    Parameters
    ----------
    prior : Gamma, shape (2,)
        Of s and of r.
    observations : array_like, shape (m,)
        Positive and finite.

    Attributes
    ----------
    prior : Gamma, shape (2,)
    n_observations : int
    total, total_log : float
        The sufficient statistics: sums of y and of log y.

    Raises
    ------
    ValueError
        If the observations are not positive, not finite, not a row or none, or the prior is not of shape (2,).

    Examples
    --------
    >>> model = GammaShape(Gamma([2.0, 2.0], [0.5, 1.0]), [0.8, 2.1, 1.4, 3.0, 0.6])
    >>> model.log_evidence.round(6)
    np.float64(-7.730618)
    >>> model.posterior_moments().mean.round(4)
    array([3.1334, 1.9851])
    """

    def __init__(self, prior: Gamma, observations: ArrayLike):
        y = _validate.positive("observations", observations)
        if y.ndim != 1 or y.size == 0:
            raise ValueError(f"observations must be a row of at least one number, got shape {y.shape}")
        if not isinstance(prior, Gamma) or prior.shape.shape != (2,):
            raise ValueError(f"prior must be a vi_ref.Gamma of shape (2,), got {prior!r:.60}")
        self.prior, self.n_observations = prior, y.size
        self.total, self.total_log = float(y.sum()), float(np.log(y).sum())

    def log_joint_terms(self, log_theta: ArrayLike) -> Array:
        """Every factor of the joint density that touches a column, (S, 2): the likelihood, in both, and its prior."""
        prior, likelihood = self._parts(log_theta)
        return prior + likelihood[..., None]

    def log_joint(self, log_theta: ArrayLike) -> Array:
        """Log joint density of the observations, log s and log r, with respect to log s and log r.

        Book eq. `eq-gamma-shape-joint`.

        Parameters
        ----------
        log_theta : array_like, shape (S, 2)
            Columns log s and log r.

        Returns
        -------
        ndarray, shape (S,)
        """
        prior, likelihood = self._parts(log_theta)
        return prior.sum(axis=-1) + likelihood

    def grad_log_joint(self, log_theta: ArrayLike) -> Array:
        """Derivative of `log_joint` in log s and log r, shape (S, 2): book eq. `eq-gamma-shape-gradient`.

        With G the sum of log y and s psi(s) = s psi(1 + s) - 1, which stays finite where s underflows,

            a_s - b_s s + s (m log r + G) - m s psi(s),        a_r - b_r r + m s - r sum y.
        """
        log_theta = self._columns(log_theta)
        (s, r), n = np.moveaxis(np.exp(log_theta), -1, 0), self.n_observations
        to_s = s * (n * log_theta[..., 1] + self.total_log) - n * (s * psi(1 + s) - 1)
        to_r = n * s - r * self.total
        return self.prior.grad_log_density(log_theta) + np.stack([to_s, to_r], axis=-1)

    def _parts(self, log_theta: ArrayLike) -> tuple[Array, Array]:
        """Log priors with respect to log s and log r, (S, 2), and the log likelihood, (S,)."""
        log_theta = self._columns(log_theta)
        (s, r), log_r, n = np.moveaxis(np.exp(log_theta), -1, 0), log_theta[..., 1], self.n_observations
        log_gamma_s = gammaln(1 + s) - log_theta[..., 0]                       # finite where s underflows
        likelihood = n * (s * log_r - log_gamma_s) + (s - 1) * self.total_log - r * self.total
        return self.prior.log_density(log_theta), likelihood

    def _columns(self, log_theta: ArrayLike) -> Array:
        log_theta = _validate.real("log_theta", log_theta)
        if log_theta.shape[-1:] != (2,):
            raise ValueError(f"log_theta must have 2 columns, log s and log r, got shape {log_theta.shape}")
        return log_theta

    def rate_given(self, s: ArrayLike) -> Gamma:
        """The exact posterior of r if s were known, Gamma(a_r + m s, b_r + sum y): this half is conjugate."""
        return Gamma(self.prior.shape[1] + self.n_observations * np.asarray(s), self.prior.rate[1] + self.total)

    def log_joint_shape(self, log_s: ArrayLike) -> Array:
        """Log joint density of the observations and log s, r integrated out: one value for each log s.

        Book eq. `eq-gamma-shape-marginal`.

        Beyond its prior and Gamma(s)^-m it is the ratio of two normalising constants, of the prior
        Gamma(a_r, b_r) and of the posterior `rate_given`.
        """
        log_s = np.asarray(log_s, dtype=float)
        s, (a, A), (b, B), n = np.exp(log_s), self.prior.shape, self.prior.rate, self.n_observations
        shape, rate = A + n * s, B + self.total
        return (a * log_s - b * s + a * np.log(b) - gammaln(a)
                - n * (gammaln(1 + s) - log_s) + (s - 1) * self.total_log
                + A * np.log(B) - gammaln(A) - shape * np.log(rate) + gammaln(shape))

    @cached_property
    def _grid(self) -> Grid:
        return integrate(self.log_joint_shape, float(np.log(self.prior.mean[0])))

    @property
    def log_evidence(self) -> float:
        """log p(observations), the integral of e^`log_joint_shape` by the trapezoid rule.

        Off by the roundings of the log joint, a few eps of its largest term, about m s log(m s). The density of log s
        has one mode and climbs to it from the left with a slope of at least a_s, so the tails cut off at e^-60 of
        the top are below 1e-26 / (a_s width of the peak) of the integral.
        """
        return self._grid.log_integral

    def posterior_moments(self) -> Moments:
        """Exact posterior moments of s, r and their logarithms, to the accuracy of `log_evidence`.

        Those of r are the moments of `rate_given` averaged over s; its variance is the mean of the variances and
        the variance of the means.
        """
        grid = self._grid
        s = np.exp(grid.u)
        r = self.rate_given(s)
        pairs = [grid.mean_variance(v) for v in (s, r.mean, grid.u, r.mean_log)]
        (mean_s, mean_r, log_s, log_r), (var_s, var_r, var_log_s, var_log_r) = zip(*pairs, strict=True)
        within, within_log = grid.weight @ r.variance, grid.weight @ polygamma(1, r.shape)
        return Moments(np.array([mean_s, mean_r]), np.array([var_s, var_r + within]),
                       np.array([log_s, log_r]), np.array([var_log_s, var_log_r + within_log]))

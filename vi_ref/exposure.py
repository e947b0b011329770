"""Counts with unknown exposures: x_i ~ Poisson(theta e_i), theta ~ Gamma(a, b), e_i ~ Gamma(c_i, d_i).

Each unknown is conjugate given the others, but the posterior is no product: the smallest model where mean field
has to be wrong, and where both its optimum and the truth can be computed.
"""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from vi_ref import _validate
from vi_ref._quadrature import Grid, integrate
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


class PoissonExposure:
    """A rate theta and exposures e_1..e_n behind n counts; columns 0..n of every array are theta, e_1..e_n.

    Parameters
    ----------
    rate : Gamma
        Prior of theta, scalar.
    exposures : Gamma, shape (n,)
        Prior of each exposure.
    counts : array_like, shape (n,)
        Non-negative whole numbers.

    Attributes
    ----------
    prior : Gamma, shape (n + 1,)
        Of theta and the exposures; where a fit may start.
    counts : ndarray, shape (n,)

    Raises
    ------
    ValueError
        If the counts are negative, fractional, not finite, not a row or none, or the priors do not match them.

    Examples
    --------
    >>> rolls = PoissonExposure(Gamma(2.0, 1.0), Gamma(4.0, [2.0, 4 / 3, 4.0, 0.8, 2.0]), [4, 7, 1, 12, 6])
    >>> q = rolls.coordinate_ascent()
    >>> rolls.log_evidence.round(6), rolls.elbo(q).round(6)
    (np.float64(-12.140153), np.float64(-12.568648))
    >>> mean, variance = rolls.posterior_moments()
    >>> (q.variance[0] / variance).round(2)
    np.float64(0.38)
    """

    def __init__(self, rate: Gamma, exposures: Gamma, counts: ArrayLike):
        counts = _validate.counts("counts", counts).copy()
        if counts.ndim != 1 or counts.size == 0:
            raise ValueError(f"counts must be a row of at least one count, got shape {counts.shape}")
        for name, gamma, shape in (("rate", rate, ()), ("exposures", exposures, counts.shape)):
            if not isinstance(gamma, Gamma):
                raise ValueError(f"{name} must be a vi_ref.Gamma, got {type(gamma).__name__}")
            if gamma.shape.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {gamma.shape.shape}")
        counts.flags.writeable = False
        self.counts = counts
        self.prior = Gamma(np.append(rate.shape, exposures.shape), np.append(rate.rate, exposures.rate))
        #: The shapes of the mean-field optimum, and of each unknown's conditional posterior: (n + 1,).
        self.shapes = self.prior.shape + np.append(counts.sum(), counts)

    def log_joint_terms(self, log_theta: ArrayLike) -> Array:
        """Every factor of the joint density that touches a column: its prior and its likelihood terms.

        Parameters
        ----------
        log_theta : array_like, shape (S, n + 1)

        Returns
        -------
        ndarray, shape (S, n + 1)
            Column 0 holds all likelihood terms, column i its own. Each likelihood term is in two columns, so the
            sum over columns is not the log joint.
        """
        prior, likelihood = self._parts(log_theta)
        prior[..., 0] += likelihood.sum(axis=-1)
        prior[..., 1:] += likelihood
        return prior

    def log_joint(self, log_theta: ArrayLike) -> Array:
        """Log joint density of counts, log theta and log exposures, with respect to the logarithms, shape (S,).

        Book eq. `eq-exposure-log-joint`.
        """
        prior, likelihood = self._parts(log_theta)
        return prior.sum(axis=-1) + likelihood.sum(axis=-1)

    def grad_log_joint(self, log_theta: ArrayLike) -> Array:
        """Derivative of `log_joint`, (S, n + 1): shape - rate e^column + (sum of) x_i - theta e_i.

        Book eq. `eq-exposure-gradient`.
        """
        log_theta = self._columns(log_theta)
        slope = self.shapes - self.prior.rate * np.exp(log_theta)
        expected = np.exp(log_theta[..., :1] + log_theta[..., 1:])             # theta e_i
        slope[..., 0] -= expected.sum(axis=-1)
        slope[..., 1:] -= expected
        return slope

    def _parts(self, log_theta: ArrayLike) -> tuple[Array, Array]:
        """Log priors with respect to the logarithms, (S, n + 1), and log likelihood terms, (S, n)."""
        log_theta, (a, b), x = self._columns(log_theta), (self.prior.shape, self.prior.rate), self.counts
        log_expected = log_theta[..., :1] + log_theta[..., 1:]
        prior = a * log_theta - b * np.exp(log_theta) + a * np.log(b) - gammaln(a)
        return prior, x * log_expected - np.exp(log_expected) - gammaln(x + 1)

    def _columns(self, log_theta: ArrayLike) -> Array:
        log_theta = np.asarray(log_theta)
        if log_theta.shape[-1:] != self.prior.shape.shape:
            raise ValueError(f"log_theta must have the model's {self.prior.shape.size} columns, "
                             f"got shape {log_theta.shape}")
        return log_theta

    def update(self, q: Gamma) -> Gamma:
        """One round of coordinate ascent, book eq. `eq-exposure-updates`: theta given the exposures' means, then they.

        Only the means of q's columns 1..n are used. No round lowers the ELBO.
        """
        self._check(q)
        theta_rate = self.prior.rate[0] + q.mean[1:].sum()
        rates = self.prior.rate[1:] + self.shapes[0] / theta_rate
        return Gamma(self.shapes, np.append(theta_rate, rates))

    def coordinate_ascent(self, max_rounds: int = 100_000) -> Gamma:
        """The best product of gammas, shape (n + 1,): rounds of `update` from the prior until one changes no bit.

        A round maps t = E[theta] to an increasing function of t with one fixed point (the book's chapter on
        the bound proves it). Rounded sums and quotients of positive numbers increase as well, so the rounds
        go one way and stop. With rho < 1 the factor by which a round shrinks the distance,

            1 - rho = (b + sum_i gamma_i d_i / delta_i^2) / beta,

        that takes about 37 / (1 - rho) rounds, and leaves rates off by at most about (n + 5) eps / (1 - rho).

        Raises
        ------
        ArithmeticError
            If the rates still change after `max_rounds`: priors so vague that only the products theta e_i are known.
        """
        q = self.update(self.prior)
        for _ in range(_validate.whole("max_rounds", max_rounds, 1)):
            last, q = q, self.update(q)
            if np.array_equal(q.rate, last.rate):
                return q
        raise ArithmeticError(f"coordinate ascent has not converged in {max_rounds} rounds, E[theta] is {q.mean[0]}")

    def elbo(self, q: Gamma) -> float:
        """The ELBO of a product of gammas in closed form: expected log likelihood less the divergences to the priors.

        Parameters
        ----------
        q : Gamma, shape (n + 1,)
        """
        self._check(q)
        log_expected, x = q.mean_log[0] + q.mean_log[1:], self.counts
        likelihood = x * log_expected - q.mean[0] * q.mean[1:] - gammaln(x + 1)
        return likelihood.sum() - q.kl(self.prior).sum()

    def _check(self, q: Gamma) -> None:
        if not isinstance(q, Gamma) or q.shape.shape != self.prior.shape.shape:
            raise ValueError(f"q must be a vi_ref.Gamma of shape {self.prior.shape.shape}, got {q!r:.60}")

    def log_joint_theta(self, log_theta: ArrayLike) -> Array:
        """Log joint density of counts and log theta, the exposures integrated out: one value for each log theta.

        Book eq. `eq-exposure-marginal`. Each count is then negative binomial, with c_i for the number of
        failures and d_i / (d_i + theta) for their probability. Concave in log theta.
        """
        log_theta, x = np.asarray(log_theta, dtype=float)[..., None], self.counts
        (a, *_), (b, *_), c = self.prior.shape, self.prior.rate, self.prior.shape[1:]
        odds = log_theta - np.log(self.prior.rate[1:])                         # log(theta / d_i)
        failures, successes = -c * np.logaddexp(0, odds), -x * np.logaddexp(0, -odds)
        binomial = gammaln(c + x) - gammaln(c) - gammaln(x + 1)
        return Gamma(a, b).log_density(log_theta[..., 0]) + (binomial + failures + successes).sum(axis=-1)

    @cached_property
    def _grid(self) -> Grid:
        return integrate(self.log_joint_theta, float(np.log(self.update(self.prior).mean[0])))

    @property
    def log_evidence(self) -> float:
        """log p(counts), the integral of e^`log_joint_theta` by the trapezoid rule.

        Off by the roundings of the log joint, a few eps of its largest term (1e-13 at the counts of the example).
        As the integrand is log-concave, the tails cut off at e^-60 of the top are e^-60 of the integral.
        """
        return self._grid.log_integral

    def posterior_theta(self, theta: ArrayLike) -> Array:
        """Exact posterior density of theta at positive theta, with respect to theta; relative error as `log_evidence`.

        Parameters
        ----------
        theta : array_like
        """
        log_theta = np.log(_validate.positive("theta", theta))
        return np.exp(self.log_joint_theta(log_theta) - self.log_evidence - log_theta)

    def posterior_moments(self) -> tuple[float, float]:
        """Exact posterior mean and variance of theta, relative error as `log_evidence`."""
        return self._grid.mean_variance(np.exp(self._grid.u))

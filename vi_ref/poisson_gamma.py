"""The Poisson-gamma model: counts x_id ~ Poisson(theta_d), theta_d ~ Gamma(a_d, b_d)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

from vi_ref import _validate
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


class PoissonGamma:
    """Independent Poisson counts whose rates have gamma priors; conjugate, so all is known.

    The posterior is book eq. `eq-posterior`. Everything goes through the sufficient statistics, the
    number of rows m and the column sums, so that no method's cost depends on m.

    Parameters
    ----------
    prior : Gamma
        Prior of each rate: scalar, or of shape (D,).
    counts : array_like, shape (m, D)
        Non-negative whole numbers, rows are observations.

    Attributes
    ----------
    prior : Gamma
        Of shape (D,).
    n_observations : int
        The number of rows m.
    totals : ndarray, shape (D,)
        Column sums.

    Raises
    ------
    ValueError
        If the counts are negative, fractional, not finite, not a table, empty,
        or do not match the prior.

    Examples
    --------
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> model.posterior.shape, model.posterior.rate
    (array([10.,  3.]), array([3., 3.]))
    >>> model.log_evidence.round(6)
    np.float64(-7.366236)
    """

    def __init__(self, prior: Gamma, counts: ArrayLike):
        table = _validate.counts("counts", counts)
        if table.ndim != 2 or table.size == 0:
            raise ValueError(f"counts must be a table of observations by columns with at least one of each, "
                             f"got shape {table.shape}")
        self._set(prior, len(table), table.sum(axis=0), -gammaln(table + 1).sum(axis=0))

    @classmethod
    def from_totals(cls, prior: Gamma, n_observations: int, totals: ArrayLike) -> "PoissonGamma":
        """The model given the column sums alone, T_d ~ Poisson(m theta_d).

        The posterior is that of the whole table; log joint and log evidence are those
        of the sums, and differ from the table's by a constant, the probability of the
        table given its sums.

        Parameters
        ----------
        prior : Gamma
        n_observations : int
            At least 0; with 0 the posterior is the prior.
        totals : array_like, shape (D,)
            Non-negative whole numbers, all 0 if there are no observations.
        """
        m = _validate.whole("n_observations", n_observations, 0)
        totals = _validate.counts("totals", totals).copy()
        if totals.ndim != 1 or totals.size == 0:
            raise ValueError(f"totals must be one number a column, got shape {totals.shape}")
        _validate.require("totals", "0 where there are no observations", totals, (totals == 0) | (m > 0))
        return cls._from_statistics(prior, m, totals, xlogy(totals, m) - gammaln(totals + 1))

    @classmethod
    def _from_statistics(cls, prior: Gamma, n_observations: int, totals: Array, log_base: Array) -> "PoissonGamma":
        """The model given its sufficient statistics, of any real numbers, and - sum log x! of each column."""
        model = cls.__new__(cls)
        model._set(prior, n_observations, totals, log_base)
        return model

    def _set(self, prior: Gamma, n_observations: int, totals: Array, log_base: Array) -> None:
        if not isinstance(prior, Gamma):
            raise ValueError(f"prior must be a vi_ref.Gamma, got {type(prior).__name__}")
        if prior.shape.shape not in ((), (1,), totals.shape):
            raise ValueError(f"prior must have shape () or {totals.shape}, as the counts have columns, "
                             f"got {prior.shape.shape}")
        totals.flags.writeable = False
        self.n_observations, self.totals, self._log_base = n_observations, totals, log_base
        self.prior = Gamma(np.broadcast_to(prior.shape, totals.shape), prior.rate)
        #: The exact posterior, Gamma(a + totals, b + m).
        self.posterior = Gamma(self.prior.shape + totals, self.prior.rate + n_observations)
        a, b = self.prior.shape, self.prior.rate
        #: What the log joint adds to A log theta - B theta, shape (D,): a log b - log Gamma(a) - sum log x!.
        self.log_constant = a * np.log(b) - gammaln(a) + log_base
        self.log_constant.flags.writeable = False

    def log_joint_terms(self, log_theta: ArrayLike) -> Array:
        """Every factor of the log joint that touches theta_d, with respect to log theta_d.

        Parameters
        ----------
        log_theta : array_like, shape (S, D)

        Returns
        -------
        ndarray, shape (S, D)
            A log theta - B theta + const, book eq. `eq-log-joint`: the Jacobian log theta is in it.
        """
        log_theta = self._columns(log_theta)
        A, B = self.posterior.shape, self.posterior.rate
        return A * log_theta - B * np.exp(log_theta) + self.log_constant

    def log_joint(self, log_theta: ArrayLike) -> Array:
        """Log joint density of the counts and log theta, shape (S,), the sum of `log_joint_terms`."""
        return self.log_joint_terms(log_theta).sum(axis=-1)

    def grad_log_joint(self, log_theta: ArrayLike) -> Array:
        """Derivative of `log_joint` in log theta, shape (S, D): A - B theta, book eq. `eq-grad-log-joint`."""
        return self.posterior.shape - self.posterior.rate * np.exp(self._columns(log_theta))

    def _columns(self, log_theta: ArrayLike) -> Array:
        log_theta = np.asarray(log_theta)
        if log_theta.shape[-1:] != self.totals.shape:
            raise ValueError(f"log_theta must have the model's {self.totals.size} columns, got shape {log_theta.shape}")
        return log_theta

    @property
    def log_evidence_terms(self) -> Array:
        """Log evidence of each column, shape (D,): book eq. `eq-evidence`."""
        A, B = self.posterior.shape, self.posterior.rate
        return self.log_constant + gammaln(A) - A * np.log(B)

    @property
    def log_evidence(self) -> float:
        """log p(counts), the log joint integrated over theta."""
        return self.log_evidence_terms.sum()

    def predictive(self) -> Any:
        """The next row of counts: negative binomial, as a frozen ``scipy.stats.nbinom``; book eq. `eq-predictive`.

        A Poisson count whose rate is Gamma(A, B) is negative binomial with n = A and
        p = B / (B + 1): mean A/B, variance A/B + A/B^2. As p holds 1 - p = 1/(B + 1) only to
        1e-16 absolute, moments are off by 1e-16 (B + 1), relative.

        Examples
        --------
        >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
        >>> model.predictive().pmf(0).round(4)
        array([0.0563, 0.4219])
        """
        from scipy.stats import nbinom  # slow to import, and few need it

        return nbinom(self.posterior.shape, self.posterior.rate / (self.posterior.rate + 1))

"""Poisson factorisation with the causes of each count summed out, as a model that any gradient of the project fits.

Coordinate ascent shares every count out among the K causes, and its bound pays for that. Here the likelihood is the
Poisson of the sum itself: no closed form, a higher ELBO for the same q, and a gradient from draws of q. The unknowns
are the logarithms of all theta, all phi and, where a prior has a spread, of the rows' own rates, in that order.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import gammaln

from vi_ref import _validate
from vi_ref._threads import spread
from vi_ref.adam import Adam
from vi_ref.gamma import Gamma
from vi_ref.optimize import fit
from vi_ref.poisson_factorization import draws, sweep
from vi_ref.poisson_factorization.cavi import Prior, Side

Array = NDArray[np.float64]

_BATCH = 64                            # draws held at a time


class MarginalFactorization:
    """Counts x_id ~ Poisson(sum_k theta_ik phi_dk) with gamma priors: log joint and gradient in all logarithms.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        Non-negative numbers, with x! = Gamma(x + 1).
    priors : tuple of Prior
        Of the rows' side and of the columns'. A learned one stays as it is.
    n_components : int
        K, at least 1.
    n_threads : int
        At most so many, over the draws; the result is the same, bit for bit.

    Attributes
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
    n_unknowns : int
        m K + D K, and m, or D, more where the rows' prior, or the columns', has a spread.

    Raises
    ------
    ValueError
        If counts are not such a table, or a prior's shape, rate or spread is not positive or does not fit K.

    Examples
    --------
    >>> from vi_ref.poisson_factorization import cavi
    >>> rng, prior = np.random.default_rng(0), cavi.Prior(0.5, 0.5)
    >>> counts = csr_array(rng.poisson(2.0, (6, 4)))
    >>> q = cavi.factorize(counts, cavi.start(counts, 2, (prior, prior), rng), n_sweeps=200)
    >>> model = MarginalFactorization(counts, (prior, prior), 2)
    >>> model.log_joint(np.log(model.pack(q.rows, q.columns).mean)[None]).shape
    (1,)
    >>> value, standard_error = elbo_estimate(model, model.pack(q.rows, q.columns), 1000, rng)
    >>> bool(value - q.elbo[-1] > 10 * standard_error)
    True
    """

    def __init__(self, counts: csr_array, priors: tuple[Prior, Prior], n_components: int, n_threads: int = 1):
        self.counts = draws.checked(counts)
        self.n_components = _validate.whole("n_components", n_components, 1)
        self.n_threads = _validate.whole("n_threads", n_threads, 1)
        self.priors = tuple(draws.fixed(f"the {name}' prior", prior, n_components)
                            for name, prior in zip(("rows", "columns"), priors, strict=True))
        own = [n for n, prior in zip(counts.shape, self.priors, strict=True) if prior.spread is not None]
        self.n_unknowns = sum(counts.shape) * n_components + sum(own)
        self._constant = -gammaln(self.counts.data + 1).sum()

    def log_joint(self, log_theta: ArrayLike) -> Array:
        """Log joint density of the counts and all unknowns, with respect to the logarithms, shape (S,).

        Book eq. `eq-pf-marginal-log-joint`: the log likelihood `eq-pf-marginal-likelihood`, and `eq-pf-log-prior` of
        either side.

        Parameters
        ----------
        log_theta : array_like, shape (S, n_unknowns)
        """
        (rows, columns), own = self._split(np.array(log_theta, dtype=float))
        sums = spread(lambda s: draws.log_sums(self.counts, rows[s], columns[s]).sum(), range(len(rows)),
                      self.n_threads)
        mass = np.sum(np.exp(rows).sum(axis=1) * np.exp(columns).sum(axis=1), axis=1)
        priors = (draws.log_prior(*side).sum(axis=-1) for side in zip(self.priors, (rows, columns), own, strict=True))
        return np.array(sums) - mass + self._constant + sum(priors)

    def grad_log_joint(self, log_theta: ArrayLike) -> Array:
        """Derivative of `log_joint`, (S, n_unknowns): book eq. `eq-pf-marginal-gradient`.

        In log theta_ik it is sum_d x_id r_idk - theta_ik sum_d phi_dk + a - b theta_ik, with r_idk the share of cause k
        in the sum; in log phi_dk alike. Where b is the row's own, its logarithm's is sum_k (a - b theta_ik) + s - t b,
        for the prior Gamma(s, t) of b.
        """
        sides, own = self._split(np.array(log_theta, dtype=float))
        slope = np.empty((len(sides[0]), self.n_unknowns))
        slopes, own_slopes = self._split(slope)
        spread(lambda s: draws.shares(self.counts, sides[0][s], sides[1][s], slopes[0][s], slopes[1][s]),
               range(len(slope)), self.n_threads)
        values = [np.exp(side) for side in sides]
        for mine, prior in enumerate(self.priors):
            rate = prior.rate if own[mine] is None else np.exp(own[mine])[..., None]
            from_prior = prior.shape - rate * values[mine]
            slopes[mine][:] += from_prior - values[mine] * values[1 - mine].sum(axis=1, keepdims=True)
            if own[mine] is not None:
                own_slopes[mine][:] = from_prior.sum(axis=-1) + prior.spread * (1 - rate[..., 0] / prior.rate)
        return slope

    def pack(self, rows: Side, columns: Side) -> Gamma:
        """The q of both sides as one row of gammas, (n_unknowns,), in the order of the unknowns."""
        (m, D), K = self.counts.shape, self.n_components
        got = rows.table.shape.shape, columns.table.shape.shape
        if got != ((m, K), (D, K)):
            raise ValueError(f"rows and columns must be sides of shapes {m, K} and {D, K}, got {got[0]} and {got[1]}")
        own = [side.row_rate for side in (rows, columns) if side.row_rate is not None]
        parts = [rows.q, columns.q, *own]
        q = Gamma(*(np.concatenate([getattr(part, name).ravel() for part in parts]) for name in ("shape", "rate")))
        return self._suits(q)

    def unpack(self, q: Gamma) -> tuple[Side, Side]:
        """The two sides of a q that `pack` made, or a fit moved."""
        (shapes, own_shapes), (rates, own_rates) = (self._split(part) for part in (self._suits(q).shape, q.rate))
        own = (None if shape is None else Gamma(shape, rate) for shape, rate in zip(own_shapes, own_rates, strict=True))
        tables = (sweep.table(shape.copy(), rate.copy()) for shape, rate in zip(shapes, rates, strict=True))
        rows, columns = (Side(*parts) for parts in zip(self.priors, tables, own, strict=True))
        return rows, columns

    def _suits(self, q: Gamma) -> Gamma:
        if not isinstance(q, Gamma) or q.shape.shape != (self.n_unknowns,):
            raise ValueError(f"q must be a vi_ref.Gamma of the model's {self.n_unknowns} unknowns, got {q!r:.60}")
        return q

    def _split(self, unknowns: Array) -> tuple[list[Array], list[Array | None]]:
        """Views of both sides, (..., n, K) each, and of their rows' own rates, (..., n) each or None."""
        if unknowns.shape[-1:] != (self.n_unknowns,):
            raise ValueError(f"log_theta must have the model's {self.n_unknowns} columns, got shape {unknowns.shape}")
        sizes = [n * self.n_components for n in self.counts.shape]
        sizes += [0 if p.spread is None else n for n, p in zip(self.counts.shape, self.priors, strict=True)]
        *sides, rows_own, columns_own, _ = np.split(unknowns, np.cumsum(sizes), axis=-1)
        own = [None if p.spread is None else part
               for part, p in zip((rows_own, columns_own), self.priors, strict=True)]
        return [side.reshape(*side.shape[:-1], -1, self.n_components) for side in sides], own


class Fitted(NamedTuple):
    """What `fit_gradient` ended at, and went through."""

    rows: Side
    columns: Side
    elbo: Array                            #: (n_steps,), its estimate before each step


class Value(NamedTuple):
    """A Monte Carlo estimate and its standard error, in nats."""

    value: float
    standard_error: float


def elbo_estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator) -> Value:
    """The ELBO of any model by draws of q: the mean of log joint less log q.

    Parameters
    ----------
    model : object
        With ``log_joint(log_theta)``, (S, n) -> (S,), with respect to log theta.
    q : Gamma, shape (n,)
    n_samples : int
        At least 2; drawn a few at a time.
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If n_samples or rng is of the wrong kind, or q does not fit the model.

    Examples
    --------
    >>> from vi_ref import PoissonGamma, exact_elbo
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> value, standard_error = elbo_estimate(model, model.prior, 10_000, np.random.default_rng(0))
    >>> bool(abs(value - exact_elbo.value(model, model.prior)) < 3 * standard_error)
    True
    """
    n_samples, rng = _validate.whole("n_samples", n_samples, 2), _validate.generator("rng", rng)
    values = []
    for first in range(0, n_samples, _BATCH):
        log_theta = q.sample_log(min(_BATCH, n_samples - first), rng)
        values.append(model.log_joint(log_theta) - q.log_density(log_theta).sum(axis=1))
    values = np.concatenate(values)
    return Value(float(values.mean()), float(values.std(ddof=1) / np.sqrt(n_samples)))


def fit_gradient(counts: csr_array, begin: tuple[Side, Side], *, n_steps: int = 1000, n_samples: int = 8,
                 rng: np.random.Generator, learning_rate: float = 0.1, n_threads: int = 1) -> Fitted:
    """Fit both sides to the marginal likelihood by path derivatives, `vi_ref.gradients.sticking_the_landing`.

    Adam is handed natural gradients in (log shape, log mean), its learning rate falling to 0 along a cosine. A good
    start is where coordinate ascent ends, from which it rises further: by 15 to 19 nats on 30 x 12 counts of about 6
    under three components, and by 500 on 100 digits zero under ten. From `cavi.start` it may need more steps.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
    begin : tuple of Side
        Rows and columns, with their priors: `cavi.start`, or the end of `cavi.factorize`.
    n_steps, n_samples : int
        Steps, and draws of all unknowns for each; at least 1.
    rng : numpy.random.Generator
    learning_rate : float
        Of the first step; positive.
    n_threads : int
        At most so many; the result is the same, bit for bit.

    Raises
    ------
    ValueError
        For a bad argument, before any work starts.
    FloatingPointError
        As `vi_ref.optimize.fit`.
    """
    rows, columns = begin
    model = MarginalFactorization(counts, (rows.prior, columns.prior), rows.table.shape.shape[1], n_threads)
    result = fit(model, model.pack(rows, columns), n_steps=n_steps, n_samples=n_samples, rng=rng,
                 optimizer=Adam(learning_rate=learning_rate, beta2=0.996), natural_gradient=True, keep_every=n_steps)
    return Fitted(*model.unpack(result.q), result.trace.elbo)

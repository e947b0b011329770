"""Coordinate ascent for Poisson factorisation: x_id ~ Poisson(sum_k theta_ik phi_dk), gamma priors on theta and phi.

Rows and columns are two sides of one model, each a table of gammas with its prior. The best q of one side, given the
other and the proportions in which each count is shared out among the K causes, is had from one pass over the non-zeros
(`vi_ref.poisson_factorization.sweep`). Every update is the best of its block and can only raise the ELBO.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vi_ref import _validate
from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization import sweep
from vi_ref.special import digamma_minus_log_ufunc, trigamma_minus_reciprocal_ufunc

Array = NDArray[np.float64]


class Prior(NamedTuple):
    """Gamma(shape, rate) of each entry of a side: scalars, or one for each of K components.

    With `spread` s each row has an unknown rate of its own, rate_i ~ Gamma(s, s / rate), whose mean is `rate`: rows may
    differ in activity. That is the hierarchy of Gopalan, Hofman & Blei (2013), s their a' and rate their b'; it goes
    with scalars. With `learned`, shape and rate are a start, and each component's are chosen to raise the ELBO.
    """

    shape: Array | float
    rate: Array | float
    spread: float | None = None
    learned: bool = False


@dataclass(frozen=True)
class Side:
    """A side's prior and q."""

    prior: Prior
    table: sweep.Table
    row_rate: Gamma | None = None          #: q of the rows' own rates, (n,), if the prior has a spread

    @property
    def q(self) -> Gamma:
        """Of the side's entries, (n, K)."""
        return Gamma(self.table.shape, self.table.rate)

    @property
    def mean(self) -> Array:
        """E[theta_ik], (n, K)."""
        return self.table.shape / self.table.rate

    @property
    def prior_rates(self) -> tuple[Array, Array]:
        """The prior's expected rate of entry (i, k) as a sum own_i + common_k, (n,) and (K,), one of them 0."""
        n, K = self.table.shape.shape
        if self.row_rate is not None:
            return self.row_rate.mean, np.zeros(K)
        return np.zeros(n), np.zeros(K) + self.prior.rate

    @property
    def prior_shape(self) -> Array:
        """The prior's shape of each component, (K,)."""
        return np.zeros(self.table.shape.shape[1]) + self.prior.shape


@dataclass(frozen=True)
class Factorization:
    """What `factorize` went through and where it ended."""

    rows: Side
    columns: Side
    sweeps: NDArray[np.int64]              #: after how many sweeps the ELBO was taken
    elbo: Array                            #: its values, in nats
    converged: bool

    @property
    def n_sweeps(self) -> int:
        """Sweeps done."""
        return int(self.sweeps[-1])


def side(prior: Prior, shape: Array, rate: Array, n_threads: int = 1) -> Side:
    """A side with q = Gamma(shape, rate), (n, K) each, and the best q of its rows' own rates, if there are any."""
    return _own_rates(Side(prior, sweep.table(shape, rate, n_threads)))


def start(counts: csr_array, n_components: int, priors: tuple[Prior, Prior],
          rng: np.random.Generator) -> tuple[Side, Side]:
    """Where to begin: every gamma of one mean, which reproduces the total (1 if it is 0), times noise of a tenth.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
    n_components : int
    priors : tuple of Prior
        Of the rows' side and of the columns'.
    rng : numpy.random.Generator
    """
    level = np.sqrt((counts.sum() or 1.0) / counts.shape[0] / counts.shape[1] / n_components)
    noise = (rng.gamma(100.0, 0.01, (n, n_components)) for n in counts.shape)
    return tuple(side(p, np.full_like(z, 100.0), 100.0 / (level * z)) for p, z in zip(priors, noise, strict=True))


def update(counts: csr_array, mine: Side, other: Side, n_threads: int = 1) -> Side:
    """The side whose rows the counts are, with the best q given the other side.

    Book eqs. `eq-pf-shape` and `eq-pf-rate`: the prior's shape and the expected counts of a cause; the
    prior's rate and the other side's means, added up. Then the rows' own rates, `eq-pf-own-rate`, or the learned prior.
    """
    own, common = mine.prior_rates
    common += other.mean.sum(axis=0)
    mine = _own_rates(Side(mine.prior, sweep.best(counts, mine.table, other.table, mine.prior_shape, own, common,
                                                  n_threads)))
    return replace(mine, prior=learned(mine)) if mine.prior.learned else mine


def elbo(counts: csr_array, rows: Side, columns: Side, n_threads: int = 1) -> float:
    """The ELBO in nats, with every count shared out in the best proportions: book eq. `eq-pf-bound`.

    Exact up to rounding of the sizes of its terms: as a rule log x! and the log sums are the largest, with shapes or a
    spread beyond 1e10 the divergences'.
    """
    shared = sweep.log_sums(counts, rows.table, columns.table, n_threads).sum()
    mass = rows.mean.sum(axis=0) @ columns.mean.sum(axis=0)
    return float(shared - mass - divergence(rows, n_threads) - divergence(columns, n_threads))


def divergence(mine: Side, n_threads: int = 1) -> float:
    """KL(q || prior) of a side, its rows' own rates included: book eq. `eq-pf-divergence`."""
    to_mean_rate = sweep.divergences(mine.table, mine.prior_shape, *mine.prior_rates, n_threads).sum()
    if mine.row_rate is None:
        return to_mean_rate
    own, s = mine.row_rate, mine.prior.spread
    jensen = -digamma_minus_log_ufunc(own.shape)           # what E[log rate] is below log E[rate]
    to_prior = sweep.divergences(sweep.table(own.shape[:, None].copy(), own.rate[:, None].copy()), np.full(1, float(s)),
                                 np.zeros(own.shape.size), np.full(1, s / mine.prior.rate))
    return to_mean_rate + mine.prior_shape.sum() * jensen.sum() + to_prior.sum()


def factorize(counts: csr_array, begin: tuple[Side, Side], *, n_sweeps: int, tol: float = 0.0, look_every: int = 10,
              n_threads: int = 1, say: Callable[[int, float], Any] = lambda sweep, elbo: None) -> Factorization:
    """Coordinate ascent: rows, then columns, so often or until the ELBO hardly rises.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        Positive entries, each place once.
    begin : tuple of Side
        Rows and columns; `start` makes them.
    n_sweeps : int
        At most so many sweeps, each of which updates both sides.
    tol : float
        It ends where the ELBO rises by less than `tol` of its size a sweep, between two looks.
    look_every : int
        Sweeps from one look at the ELBO to the next; a look costs about as much as a sweep.
    n_threads : int
        At most so many; the result is the same, bit for bit.
    say : callable
        Told the number of sweeps and the ELBO at each look.

    Raises
    ------
    ValueError
        If n_sweeps is no whole number of at least 0, look_every none of at least 1, or counts do not fit the sides.
    """
    n_sweeps, look_every = _validate.whole("n_sweeps", n_sweeps, 0), _validate.whole("look_every", look_every, 1)
    rows, columns = begin
    del begin                                            # as large as what follows it
    transposed, looks, done, converged = counts.T.tocsr(), [], 0, False
    while True:
        looks.append((done, elbo(counts, rows, columns, n_threads)))
        say(*looks[-1])
        if len(looks) > 1:
            (before, low), (after, high) = looks[-2:]
            converged = high - low < tol * abs(high) * (after - before)
        if converged or done >= n_sweeps:
            sweeps, values = zip(*looks, strict=True)
            return Factorization(rows, columns, np.array(sweeps), np.array(values), converged)
        for _ in range(min(look_every, n_sweeps - done)):
            rows = update(counts, rows, columns, n_threads)
            columns = update(transposed, columns, rows, n_threads)
            done += 1


def infer_rows(counts: csr_array, columns: Side, prior: Prior, *, n_sweeps: int, tol: float,
               n_threads: int = 1) -> Side:
    """The rows' side for new counts, the columns' q held fixed.

    Each row is on its own: it starts at the prior's mean, with gammas so narrow that no component's shape favours it,
    and is left alone once a sweep moves no mean by more than `tol` of their total. So a row's result does not depend on
    which others come with it.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (n, D)
        Positive entries, each place once.
    columns : Side
        Of D rows.
    prior : Prior
        Of the rows' side; a learned one stays as it is.
    n_sweeps : int
        At most so many; at least 1.
    tol : float
    n_threads : int

    Raises
    ------
    ValueError
        If n_sweeps is no whole number of at least 1, or counts do not fit the columns.
    """
    n_sweeps, n, K = _validate.whole("n_sweeps", n_sweeps, 1), counts.shape[0], columns.table.shape.shape[1]
    shape, rate, moving = np.full((n, K), 100.0), np.ones((n, K)) * 100 * prior.rate / prior.shape, np.arange(n)
    rows = side(prior._replace(learned=False), shape, rate, n_threads)
    part = rows
    for _ in range(n_sweeps):
        before, part = part.mean, update(counts[moving], part, columns, n_threads)
        shape[moving], rate[moving] = part.table.shape, part.table.rate
        still = np.all(np.abs(part.mean - before) <= tol * part.mean.sum(axis=1, keepdims=True), axis=1)
        if still.all():
            break
        moving, part = moving[~still], side(rows.prior, part.table.shape[~still], part.table.rate[~still], n_threads)
    return side(rows.prior, shape, rate, n_threads)


def learned(mine: Side) -> Prior:
    """The prior, one shape and rate a component, under which the side's q is most likely: book eq. `eq-pf-learned`.

    The ELBO depends on them through the means of E[theta] and of E[log theta] over the rows alone.
    """
    mean = mine.mean.mean(axis=0)
    among = -np.log(mine.mean / mean).mean(axis=0)         # log of the mean less the mean of the logs: not negative
    within = -digamma_minus_log_ufunc(mine.table.shape).mean(axis=0)
    shape = shape_from(np.maximum(among, 0.0) + within)
    return mine.prior._replace(shape=shape, rate=shape / mean)


def shape_from(gap: Array) -> Array:
    """The shape whose log mean is above the mean logarithm by `gap`: log a - psi(a) = gap, positive.

    Newton's steps in 1/a (Minka 2002, Estimating a Gamma distribution), from 1/(2 gap), until they stand still, each
    by itself.
    """
    shape, still = 0.5 / gap, np.zeros_like(gap, bool)
    for _ in range(50):
        slope = shape**2 * trigamma_minus_reciprocal_ufunc(shape)
        step = shape * (gap + digamma_minus_log_ufunc(shape)) / slope
        shape, before = np.where(still, shape, shape / (1 + step)), shape
        still = np.abs(shape - before) <= 4 * np.finfo(float).eps * shape
        if still.all():
            break
    return shape


def _own_rates(mine: Side) -> Side:
    if mine.prior.spread is None:
        return mine
    s = mine.prior.spread
    return replace(mine, row_rate=Gamma(s + mine.prior_shape.sum(), s / mine.prior.rate + mine.table.total))

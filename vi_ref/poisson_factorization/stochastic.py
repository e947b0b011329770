"""Stochastic variational inference: the columns' q from batches of rows, none of which need be kept.

A batch's own rows are brought to their best q with the columns held fixed. What the columns would be, were the whole
table like the batch, is a shape and a rate for each entry, and the columns move a part of the way there: a step along
the natural gradient of the ELBO, which in (shape, rate) is that difference (Hoffman, Blei, Wang & Paisley 2013,
Stochastic variational inference, Journal of Machine Learning Research 14).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization import cavi, sweep
from vi_ref.poisson_factorization.cavi import Prior, Side


class Step(NamedTuple):
    """What a batch leaves behind: the q of its rows, the columns moved, and the rows' prior, moved if it is learned."""

    rows: Side
    columns: Side
    prior: Prior


def rate(t: int, offset: float, decay: float) -> float:
    """Share of the way that step t = 1, 2, ... goes: (t + offset)^(-decay), book eq. `eq-pf-step-size`.

    Its sum diverges and that of its squares does not, as convergence asks, for a decay in (0.5, 1].

    Examples
    --------
    >>> rate(6, offset=10.0, decay=0.75)
    0.125
    """
    return (t + offset) ** -decay


def step(batch: csr_array, columns: Side, prior: Prior, *, total_rows: float, rho: float, n_sweeps: int, tol: float,
         n_threads: int = 1) -> Step:
    """Move the columns by `rho` toward what a batch of rows asks for: book eq. `eq-pf-stochastic-step`.

    With rho = 1 and the whole table for a batch it is `cavi.update` of the columns.

    Parameters
    ----------
    batch : scipy.sparse.csr_array, shape (n, D)
        Positive entries, each place once.
    columns : Side
        Of D rows.
    prior : Prior
        Of the rows' side; a learned one moves as well.
    total_rows : float
        How many rows the whole table has: each of the batch stands for total_rows / n of them.
    rho : float
        In (0, 1].
    n_sweeps, tol : int and float
        Of `cavi.infer_rows`.
    n_threads : int
        At most so many; the result is the same, bit for bit.
    """
    rows = cavi.infer_rows(batch, columns, prior, n_sweeps=n_sweeps, tol=tol, n_threads=n_threads)
    weight, (own, common) = total_rows / batch.shape[0], columns.prior_rates
    expected = sweep.expected_counts(batch.T.tocsr(), columns.table, rows.table, n_threads)
    shape = _between(columns.table.shape, columns.prior_shape + weight * expected, rho)
    rates = own[:, None] + (common + weight * rows.mean.sum(axis=0))
    moved = cavi.side(columns.prior, shape, _between(columns.table.rate, rates, rho), n_threads)
    if columns.row_rate is not None:
        asked = moved.row_rate
        moved = replace(moved, row_rate=Gamma(_between(columns.row_rate.shape, asked.shape, rho),
                                              _between(columns.row_rate.rate, asked.rate, rho)))
    return Step(rows, moved, _moved_prior(prior, rows, rho) if prior.learned else prior)


def _moved_prior(prior: Prior, rows: Side, rho: float) -> Prior:
    """The prior whose E[theta] and E[log theta] are moved to the means of the rows': `cavi.learned` if rho is 1."""
    shape = np.zeros(rows.table.shape.shape[1]) + prior.shape
    before, asked = Gamma(shape, prior.rate), cavi.learned(rows)
    target = Gamma(asked.shape, asked.rate)
    mean = _between(before.mean, target.mean, rho)
    gap = np.log(mean) - _between(before.mean_log, target.mean_log, rho)
    shape = cavi.shape_from(gap)
    return prior._replace(shape=shape, rate=shape / mean)


def _between(here, there, rho: float):
    return (1 - rho) * here + rho * there

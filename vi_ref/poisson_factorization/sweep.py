"""The passes over the non-zero counts that Poisson factorisation consists of: one function for rows and columns alike.

A count x_id is shared out among K causes in proportion to exp(E[log theta_ik] + E[log phi_dk]). The exponentials are
taken once a row and once a column, each divided by its row's largest, which the proportions do not notice: what is left
for a non-zero is K products, a division and K more products. Rows are independent of each other, so threads take runs
of rows and the result does not depend on their number. The same functions, handed the transposed table, serve the
columns.
"""

import math
import os
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vi_ref._compiled import njit
from vi_ref._threads import spread
from vi_ref.special import _digamma_tail, digamma

Array = NDArray[np.float64]

_BLOCK = 64                            # non-zeros whose sums are held at a time: their rows stay in the fastest cache
_LEAST = 1e-150                        # a scaled sum below is taken again in logarithms, as its terms may have vanished
_THREADED = 1 << 14                    # non-zeros from which on threads pay


class Table(NamedTuple):
    """Shapes and rates of independent gammas, (n, K) each, with what the passes need of them."""

    shape: Array
    rate: Array
    scaled: Array                      #: exp(E[log] - its row's largest), (n, K)
    largest: Array                     #: that largest, (n,)
    total: Array                       #: a row's means added up, (n,)


def table(shape: Array, rate: Array, n_threads: int = 1) -> Table:
    """The gammas of these shapes and rates, ready for a pass: psi(shape) - log rate, book eq. `eq-mean-log`."""
    made = Table(shape, rate, np.empty_like(shape), *np.empty((2, len(shape))))
    parts = _equal(np.arange(0, shape.size + 1, shape.shape[1]), n_threads)
    spread(lambda part: _fill(*made, part.start, part.stop), parts, n_threads)
    return made


def best(counts: csr_array, rows: Table, columns: Table, prior_shape: Array, own_rate: Array, common_rate: Array,
         n_threads: int = 1) -> Table:
    """The rows' gammas of shape prior_shape_k + `expected_counts` and rate own_rate_i + common_rate_k, in one pass.

    Book eqs. `eq-pf-shape` and `eq-pf-rate`, whose rates the caller puts together.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        Positive entries, each place once.
    rows, columns : Table
        Of m and of D rows.
    prior_shape, own_rate, common_rate : ndarray, shapes (K,), (m,), (K,)
    n_threads : int
        At most so many; the result is the same.
    """
    made = Table(*np.empty((3, *rows.shape.shape)), *np.empty((2, len(rows.shape))))
    parts = _runs(counts, rows, columns, n_threads)
    spread(lambda part: _best(counts.indptr, counts.indices, counts.data, *rows[:3], *columns[:3],
                              prior_shape, own_rate, common_rate, *made, part.start, part.stop), parts, n_threads)
    return made


def expected_counts(counts: csr_array, rows: Table, columns: Table, n_threads: int = 1) -> Array:
    """Of each row's counts, how many are expected of each cause: sum_d x_id r_idk, (m, K).

    Book eqs. `eq-pf-responsibilities` and `eq-pf-expected-counts`.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        Positive entries, each place once.
    rows, columns : Table
        Of m and of D rows.
    n_threads : int
        At most so many; the result is the same.
    """
    out = np.empty_like(rows.scaled)
    parts = _runs(counts, rows, columns, n_threads)
    spread(lambda part: _share_out(counts.indptr, counts.indices, counts.data, *rows[:3], *columns[:3], out,
                                   part.start, part.stop), parts, n_threads)
    return out


def log_sums(counts: csr_array, rows: Table, columns: Table, n_threads: int = 1) -> Array:
    """Of each row, sum_d [x_id log sum_k exp(E[log theta_ik] + E[log phi_dk]) - log x_id!], (m,).

    Book eq. `eq-pf-bound`. Counts and tables as of `expected_counts`.
    """
    out = np.empty(len(rows.largest))
    parts = _runs(counts, rows, columns, n_threads)
    spread(lambda part: _log_sums(counts.indptr, counts.indices, counts.data, *rows[:4], *columns[:4], out,
                                  part.start, part.stop), parts, n_threads)
    return out


def divergences(mine: Table, prior_shape: Array, own_rate: Array, common_rate: Array, n_threads: int = 1) -> Array:
    """KL of each row's gammas to Gamma(prior_shape_k, own_rate_i + common_rate_k), added up, (n,).

    The textbook's sum, good to rounding of the sizes of its terms; `Gamma.kl` keeps its digits, at some forty
    times the cost.
    """
    out = np.empty(len(mine.shape))
    parts = _equal(np.arange(0, mine.shape.size + 1, mine.shape.shape[1]), n_threads)
    spread(lambda part: _divergences(mine.shape, mine.rate, prior_shape, own_rate, common_rate, out,
                                     part.start, part.stop), parts, n_threads)
    return out


def threads(n_nonzeros: int, n_jobs: int | None) -> int:
    """How many threads a pass takes: `n_jobs` as joblib counts, by default one a processor where there is work."""
    processors = os.cpu_count() or 1
    if n_jobs is None:
        return processors if n_nonzeros >= _THREADED else 1
    return max(1, processors + 1 + n_jobs) if n_jobs < 0 else n_jobs


def _runs(counts: csr_array, rows: Table, columns: Table, n_threads: int) -> list[slice]:
    """Runs of the table's rows, or an error: compiled code would read beyond the end of tables that do not fit."""
    (n, K), (D, same) = rows.shape.shape, columns.shape.shape
    if counts.shape != (n, D) or K != same:
        raise ValueError(f"rows and columns must be one for each of counts', {counts.shape}, with the same components, "
                         f"got {n, K} and {D, same}")
    return _equal(counts.indptr, n_threads)


def _equal(ends: NDArray, n_threads: int) -> list[slice]:
    """Runs of rows of about the same work, four a thread; `ends` are the running totals of a row's work."""
    at = np.searchsorted(ends, np.linspace(0, ends[-1], 4 * n_threads + 1)[1:-1]) if n_threads > 1 else []
    edges = np.unique(np.concatenate([[0], at, [len(ends) - 1]]).astype(int))
    return [slice(a, b) for a, b in pairwise(edges)]


@njit
def _fill(shape, rate, scaled, largest, total, first, last):
    """What a `Table` holds beside shapes and rates."""
    exponent = np.empty(shape.shape[1])
    for i in range(first, last):
        total[i] = _exponentials(shape[i], rate[i], scaled[i], exponent)
        highest, top = -np.inf, 0.0
        for k in range(exponent.size):
            highest = max(highest, exponent[k])
        for k in range(exponent.size):
            scaled[i, k] *= math.exp(exponent[k] - highest)
            top = max(top, scaled[i, k])
        largest[i] = math.log(top) + highest
        for k in range(exponent.size):
            scaled[i, k] /= top


@njit(fastmath={"reassoc", "contract"})
def _exponentials(shape, rate, factor, exponent):
    """exp(psi(shape) - log rate) as factor exp(exponent), without a logarithm; and the means added up.

    As `special.digamma`, with the ten reciprocals of the recurrence in pairs, 1/(x + j) + 1/(x + 9 - j) = (2x + 9) /
    (x (x + 9) + j (9 - j)), and no branch, so that a processor takes several at once.
    """
    total = 0.0
    for k in range(shape.size):
        small = shape[k] < 10.0
        x, far = (shape[k], shape[k] + 10.0) if small else (1.0, shape[k])
        t = x * (x + 9.0)
        pairs = (2.0 * x + 9.0) * (1 / t + 1 / (t + 8.0) + 1 / (t + 14.0) + 1 / (t + 18.0) + 1 / (t + 20.0))
        factor[k] = far / rate[k]
        exponent[k] = _digamma_tail(far) - (pairs if small else 0.0)
        total += shape[k] / rate[k]
    return total


@njit
def _share_out(indptr, indices, data, shape, rate, row, shapes, rates, column, out, first, last):
    total, weight = np.empty(row.shape[1]), np.empty(_BLOCK)
    for i in range(first, last):
        total[:] = 0.0
        out[i] = 0.0
        for start in range(indptr[i], indptr[i + 1], _BLOCK):
            end = min(start + _BLOCK, indptr[i + 1])
            _sums(row[i], column, indices[start:end], weight)
            for j in range(start, end):
                if weight[j - start] >= _LEAST:
                    weight[j - start] = data[j] / weight[j - start]
                else:
                    weight[j - start] = 0.0
                    d = indices[j]
                    _in_logarithms(_mean_log(shape[i], rate[i]), _mean_log(shapes[d], rates[d]), data[j], out[i])
            _add(weight, column, indices[start:end], total)
        for k in range(row.shape[1]):
            out[i, k] += row[i, k] * total[k]


@njit
def _best(indptr, indices, data, shape, rate, row, shapes, rates, column, prior_shape, own_rate, common_rate,
          new_shape, new_rate, scaled, largest, total, first, last):
    _share_out(indptr, indices, data, shape, rate, row, shapes, rates, column, new_shape, first, last)
    for i in range(first, last):
        for k in range(row.shape[1]):
            new_shape[i, k] += prior_shape[k]
            new_rate[i, k] = own_rate[i] + common_rate[k]
    _fill(new_shape, new_rate, scaled, largest, total, first, last)


@njit
def _divergences(shape, rate, prior_shape, own_rate, common_rate, out, first, last):
    """Book eq. `eq-pf-divergence`: (alpha - a) psi(alpha) - log Gamma(alpha) + log Gamma(a) + a log(beta / b) + ..."""
    for i in range(first, last):
        out[i] = 0.0
        for k in range(shape.shape[1]):
            alpha, beta, a, b = shape[i, k], rate[i, k], prior_shape[k], own_rate[i] + common_rate[k]
            out[i] += ((alpha - a) * digamma(alpha) - math.lgamma(alpha) + math.lgamma(a)
                       + a * math.log(beta / b) + alpha * (b - beta) / beta)


@njit
def _log_sums(indptr, indices, data, shape, rate, row, largest, shapes, rates, column, largests, out, first, last):
    nothing, weight = np.zeros(row.shape[1]), np.empty(_BLOCK)
    for i in range(first, last):
        out[i] = 0.0
        for start in range(indptr[i], indptr[i + 1], _BLOCK):
            end = min(start + _BLOCK, indptr[i + 1])
            _sums(row[i], column, indices[start:end], weight)
            for j in range(start, end):
                d = indices[j]
                if weight[j - start] >= _LEAST:
                    out[i] += data[j] * (math.log(weight[j - start]) + largest[i] + largests[d])
                else:
                    mine, other = _mean_log(shape[i], rate[i]), _mean_log(shapes[d], rates[d])
                    out[i] += data[j] * _in_logarithms(mine, other, 0.0, nothing)
                if data[j] != 1.0:
                    out[i] -= math.lgamma(data[j] + 1.0)


@njit(fastmath={"reassoc", "contract"})
def _sums(mine, column, indices, sums):
    """Sums over k of mine[k] column[d, k], for each d of `indices`."""
    for j in range(indices.size):
        other, s = column[indices[j]], 0.0
        for k in range(mine.size):
            s += mine[k] * other[k]
        sums[j] = s


@njit(fastmath={"reassoc", "contract"})
def _add(weight, column, indices, total):
    """Add to total[k] the sum of weight column[d, k] over the d of `indices`."""
    for j in range(indices.size):
        other, w = column[indices[j]], weight[j]
        for k in range(total.size):
            total[k] += w * other[k]


@njit
def _in_logarithms(mine, other, count, shared):
    """Log of the sum of exp(mine_k + other_k); `count`, shared out in proportion, is added to `shared`."""
    top, total = -np.inf, 0.0
    for k in range(mine.size):
        top = max(top, mine[k] + other[k])
    for k in range(mine.size):
        total += math.exp(mine[k] + other[k] - top)
    for k in range(mine.size):
        shared[k] += count * math.exp(mine[k] + other[k] - top) / total
    return top + math.log(total)


@njit
def _mean_log(shape, rate):
    """E[log theta_k] of a row, (K,)."""
    mean_log = np.empty(shape.size)
    for k in range(shape.size):
        mean_log[k] = digamma(shape[k]) - math.log(rate[k])
    return mean_log

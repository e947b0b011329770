"""The Monte Carlo ELBO of the Poisson-gamma model and its gradient: one compiled pass over draws and columns.

For this model the force on a draw, d(log joint - log q) / d log theta = (A - alpha) - (B - beta) theta, is linear in
theta = z / beta. So all that an estimate needs of a column's draws is four averages, of log z, z, r and r z with r =
d log z / d log alpha. A block of draws is made (`vi_ref.sampler`), given its r
(`vi_ref.gamma_table`) and added up before the next is made; no array of all draws exists, and no data is touched.

Other models and gradient estimators take the general route of `vi_ref.gradients`, and so can this one: the two are held
against each other on the same draws by ``tests/test_kernels.py``.
"""

import math
import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vi_ref._compiled import njit
from vi_ref._threads import spread
from vi_ref._validate import generator, whole
from vi_ref.gamma import Gamma
from vi_ref.gamma_grad_fast import _left_series
from vi_ref.gamma_table import _CELLS, _HIGH, _LOW, _TERMS, cell_of, elasticities, ends, outside, polynomials, table
from vi_ref.gradients._paths import Estimate
from vi_ref.poisson_gamma import PoissonGamma
from vi_ref.sampler import lowered, roots, streams
from vi_ref.special import digamma_minus_log

Array = NDArray[np.float64]

#: The gradient estimators that have a kernel, and whether the score is part of them.
FUSED = {"reparameterized": True, "sticking_the_landing": False}

_BLOCK = 128                           # draws made at a time: what is kept of them stays in the fastest cache
_LANES = 8                             # products of up to 16 roots, each from 2^-53 to 6, need a logarithm
_THREADED = 1 << 17                    # draws from which on threads pay, two milliseconds' worth


def for_model(model: object, gradient: str, n_threads: int | None = None) -> Callable[..., Estimate] | None:
    """`estimate` for a gradient estimator by name, where the model is a `PoissonGamma` and it has a kernel; or None."""
    if type(model) is not PoissonGamma or gradient not in tuple(FUSED):
        return None
    return partial(estimate, score=FUSED[gradient], n_threads=n_threads)


def estimate(model: PoissonGamma, q: Gamma, n_samples: int, rng: np.random.Generator, *,
             score: bool, n_threads: int | None = None) -> Estimate:
    """Unbiased estimate of the ELBO and of its gradient, of the same law as the general route's.

    Book eqs. `eq-kernel-shape` and `eq-kernel-rate`.

    Parameters
    ----------
    model : PoissonGamma
    q : Gamma, shape (D,)
    n_samples : int
        At least 1.
    rng : numpy.random.Generator
        Asked for 256 random bits a column, the state of the column's stream.
    score : bool
        With the score, as in `vi_ref.gradients.reparameterized`, or without, as in `sticking_the_landing`.
    n_threads : int, optional
        At most so many threads; by default one, and one a processor from 2^17 draws on. The result is the same, bit
        for bit.

    Returns
    -------
    Estimate
        On the same draws the general route's, up to rounding: 2e-14 of the averaged sizes of what is added up.

    Raises
    ------
    ValueError
        If `q` does not fit the model, or an argument is of the wrong kind.

    Examples
    --------
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> estimate(model, model.posterior, 128, np.random.default_rng(0), score=False).log_shape
    array([0., 0.])
    """
    n_samples = whole("n_samples", n_samples, 1)
    if q.shape.shape != model.totals.shape:
        raise ValueError(f"q must have shape {model.totals.shape}, as the model has columns, got {q.shape.shape}")
    states, out = streams(q.shape.size, generator("rng", rng)), np.empty((q.shape.size, 3))
    columns = q.shape, q.rate, model.posterior.shape, model.posterior.rate, model.log_constant, states, out
    threads = _threads(q.shape.size * n_samples, n_threads)
    if threads == 1:
        _columns(n_samples, score, table(), *columns)
    else:
        spread(lambda part: _columns(n_samples, score, table(), *(array[part] for array in columns)),
               _parts(q.shape.size, threads), threads)
    return Estimate(out[:, 0].sum(), out[:, 1], out[:, 2])


def draws(q: Gamma, n_samples: int, rng: np.random.Generator) -> Array:
    """The log theta, (S, D), that `estimate` draws from this generator and does not keep."""
    log_z = np.empty((q.shape.size, whole("n_samples", n_samples, 1)))
    _log_draws(q.shape, streams(q.shape.size, generator("rng", rng)), log_z)
    return log_z.T - np.log(q.rate)


def _threads(n_draws: int, n_threads: int | None) -> int:
    if n_threads is None:
        return 1 if n_draws < _THREADED else os.cpu_count() or 1
    return whole("n_threads", n_threads, 1)


def _parts(n_columns: int, n_threads: int) -> list[slice]:
    """Runs of columns, four a thread, as columns of small shapes take longer."""
    edges = np.linspace(0, n_columns, min(n_columns, 4 * n_threads) + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


@njit
def _columns(n, score, table, shape, rate, A, B, constant, states, out):
    """The ELBO's share of each column and its gradient in log shape and log rate, from `n` draws each."""
    room = np.empty((5, _BLOCK))
    c = np.empty((_CELLS, _TERMS))
    for d in range(shape.size):
        alpha, beta = shape[d], rate[d]
        log_ratio, z, r, rz = _averages(alpha, n, table, states[d], c, room)
        to_shape, to_rate = A[d] - alpha, (B[d] - beta) / beta
        log_theta = log_ratio + math.log(alpha / beta)
        log_q = alpha * math.log(beta) - math.lgamma(alpha)
        out[d, 0] = to_shape * log_theta - to_rate * z + constant[d] - log_q
        out[d, 1] = to_shape * r - to_rate * rz
        out[d, 2] = to_rate * z - to_shape
        if score:
            out[d, 1] -= alpha * (log_ratio - digamma_minus_log(alpha))
            out[d, 2] -= alpha - z


@njit
def _averages(shape, n, table, state, c, room):
    """Averages over `n` draws of log(z / shape), z, r and r z: book eq. `eq-four-averages`."""
    d, log_ratio = _scale(shape)
    first, last = _CELLS, -1                             # the cells whose polynomials are there
    logs, cubes, rs, both = 0.0, 0.0, 0.0, 0.0
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        root, w, drop, r = room[0][:size], room[1][:size], room[2][:size], room[3][:size]
        if shape < 1.0:
            roots(shape + 1.0, state, root)
            lowered(shape, state, root, w, drop)
            logs += drop.sum()
        else:
            roots(shape, state, root)
            w = root
        low, high = ends(w)
        if cell_of(low) < first or cell_of(high) > last:
            first, last = min(first, cell_of(low)), max(last, cell_of(high))
            polynomials(table, shape, first, last, c)
        elasticities(c, first, last, w, r)
        if not (low >= _LOW[0] and high < _HIGH):
            a, m = _left_series(shape)
            for i in range(size):
                if not _LOW[0] <= w[i] < _HIGH:
                    log_w = math.log(root[i]) + (drop[i] if shape < 1.0 else 0.0)
                    r[i] = outside(shape, d * w[i] ** 3, math.log(d) + 3.0 * log_w, a, m)
        logs += _sum_of_logs(root, room[4])
        sums = _sums(w, r)
        cubes, rs, both = cubes + sums[0], rs + sums[1], both + sums[2]
    return log_ratio + 3.0 * logs / n, d * (cubes / n), rs / n, d * (both / n)


@njit
def _scale(shape):
    """d of z = d w^3, and log(d / shape)."""
    if shape < 1.0:
        return shape + 2.0 / 3.0, math.log((shape + 2.0 / 3.0) / shape)
    return shape - 1.0 / 3.0, math.log1p(-1.0 / (3.0 * shape))


@njit(fastmath={"reassoc", "contract"})
def _sums(w, r):
    """Sums of w^3, r and r w^3."""
    cubes, rs, both = 0.0, 0.0, 0.0
    for i in range(w.size):
        cube = w[i] * w[i] * w[i]
        cubes += cube
        rs += r[i]
        both += r[i] * cube
    return cubes, rs, both


@njit
def _sum_of_logs(root, lanes):
    """Sum of the logarithms of up to 128 roots by those of eight products."""
    lanes[:_LANES] = 1.0
    for start in range(0, root.size, _LANES):
        for i in range(min(_LANES, root.size - start)):
            lanes[i] *= root[start + i]
    total = 0.0
    for i in range(_LANES):
        total += math.log(lanes[i])
    return total


@njit
def _log_draws(shape, states, log_z):
    root, w, drop = np.empty(_BLOCK), np.empty(_BLOCK), np.zeros(_BLOCK)
    for d in range(shape.size):
        for start in range(0, log_z.shape[1], _BLOCK):
            size = min(_BLOCK, log_z.shape[1] - start)
            if shape[d] < 1.0:
                roots(shape[d] + 1.0, states[d], root[:size])
                lowered(shape[d], states[d], root[:size], w[:size], drop[:size])
            else:
                roots(shape[d], states[d], root[:size])
                drop[:] = 0.0
            for i in range(size):
                log_z[d, start + i] = math.log(_scale(shape[d])[0]) + 3.0 * (math.log(root[i]) + drop[i])

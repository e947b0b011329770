"""The implicit gradient for one shape and many draws, as the inner loop of Monte Carlo needs it.

All that depends on the shape alone is paid once; then a draw costs one short polynomial:

- at shapes from 12 on, the expansion of `vi_ref.gamma_grad`, its powers of 1/shape summed
  beforehand: a polynomial in x = log(z / shape). Where z is given and the shape is large,
  x = 2 artanh((z - shape) / (z + shape)) is a polynomial too, and no logarithm is taken;
- below, the line of z is cut into eighths of octaves, and on each piece that some draw
  visits, g = dz/dshape is its Taylor polynomial about the middle c. One value g(c) by the
  clear version is enough: differentiating the implicit equation in z gives

      z g' = (z - shape + 1) g - z (log z - psi(shape)),

  hence each coefficient from those before it (an error in g(c) grows like p(c)/p(z), so
  pieces are kept away from the tails, where p falls steeply);
- for z < 1/16 the series of the clear version, its two power series in z summed apart.

All other draws, and a shape with one draw of its own, go to the clear version. The two are
the same function: ``tests/test_gamma_grad_fast.py`` fails where this one is off by more than 2e-15.
"""

import math
import os
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref import gamma_grad
from vi_ref._compiled import njit
from vi_ref._threads import spread
from vi_ref._validate import real, require, whole
from vi_ref.gamma_grad import _COEFFICIENTS, _LARGE_SHAPE, _LARGE_SHAPE_WINDOW, _ratio, checked_shape, log_quotient
from vi_ref.special import digamma, digamma_minus_log, split_log

Array = NDArray[np.float64]

# Degrees of the expansion in x and numbers of terms of artanh(w)/w; at very large shapes x stays
# within 0.38 and fewer do. Numba must see them as constants to unroll the loops.
_DEGREE, _SHORT_DEGREE = _COEFFICIENTS.shape[1] - 1, 15
_ARTANH_TERMS, _SHORT_ARTANH_TERMS = 31, 12
_ARTANH = np.array([1.0 / (2 * n + 1) for n in range(_ARTANH_TERMS)])
_VERY_LARGE_SHAPE = 256.0

_FIRST_OCTAVE, _OCTAVES = -4, 12       # pieces cover z from 1/16 to 256, eight an octave
_TERMS = 14                            # Taylor coefficients a piece: half its width is at most c/17
_STEEP = 12.0                          # pieces whose p(c)/p(z) stays below e^(12/17)
_LEFT_TERMS = 10                       # below 1/16: (1/16)^10 / 10! < 1e-18

_CHUNK = 1 << 17                       # draws a thread takes at least; fewer stay on one thread


@njit
def _polynomial(shape):
    """Coefficients of g in x: `_COEFFICIENTS` with the powers of 1/shape summed."""
    c, reciprocal = np.zeros(_DEGREE + 1), 1.0 / shape
    for k in range(_COEFFICIENTS.shape[0] - 1, -1, -1):
        for n in range(_DEGREE + 1):
            c[n] = c[n] * reciprocal + _COEFFICIENTS[k, n]
    return c


@njit
def _polynomial_log(shape):
    """Coefficients of d log z / dshape = g e^-x / shape in x."""
    g, c = _polynomial(shape), np.zeros(_DEGREE + 1)
    exp = 1.0 / shape
    for k in range(_DEGREE + 1):                         # exp = (-1)^k / k! / shape
        for n in range(_DEGREE + 1 - k):
            c[n + k] += exp * g[n]
        exp = -exp / (k + 1.0)
    return c


@njit
def _window(shape):
    """How far from x = 0 the polynomial in x is used: 6 sd of log z where the expansion holds that far."""
    return min(_LARGE_SHAPE_WINDOW, 6.0 / math.sqrt(shape))


@njit(fastmath={"contract"})
def _horner_z(shape, c, z, out, artanh_terms, degree):
    """dz/dshape at large shapes with x = 2 artanh w; the lengths are constants, so the loops unroll."""
    for i in range(z.size):
        w = (z[i] - shape) / (z[i] + shape)
        s = w * w
        artanh = _ARTANH[artanh_terms - 1]
        for n in range(artanh_terms - 1):
            artanh = artanh * s + _ARTANH[artanh_terms - 2 - n]
        x = 2.0 * w * artanh
        g = c[degree]
        for n in range(degree):
            g = g * x + c[degree - 1 - n]
        out[i] = g


@njit
def _large_z(shape, z, out):
    """dz/dshape for shape >= 12 and many z."""
    c = _polynomial(shape)
    if shape < _VERY_LARGE_SHAPE:
        _horner_z(shape, c, z, out, _ARTANH_TERMS, _DEGREE)
    else:
        _horner_z(shape, c, z, out, _SHORT_ARTANH_TERMS, _SHORT_DEGREE)
    low, high = shape * math.exp(-_window(shape)), shape * math.exp(_window(shape))
    for i in range(z.size):
        if not low <= z[i] <= high:
            out[i] = _clear_z(shape, z[i])


@njit(fastmath={"contract"})
def _horner_log(shape, c, log_z, out, degree):
    high, low = split_log(shape)
    for i in range(log_z.size):
        x = (log_z[i] - high) - low
        g = c[degree]
        for n in range(degree):
            g = g * x + c[degree - 1 - n]
        out[i] = g


@njit
def _large_log(shape, log_z, out):
    """d log z / dshape for shape >= 12 and many log z."""
    c, log_shape, window = _polynomial_log(shape), math.log(shape), _window(shape)
    if shape < _VERY_LARGE_SHAPE:
        _horner_log(shape, c, log_z, out, _DEGREE)
    else:
        _horner_log(shape, c, log_z, out, _SHORT_DEGREE)
    for i in range(log_z.size):
        if not abs(log_z[i] - log_shape) <= window:
            out[i] = _clear_log(shape, math.exp(log_z[i]), log_z[i])


@njit
def _clear_z(shape, z):
    if z == 0.0 or z == math.inf:
        return z
    return z * _ratio(shape, z, math.log(z), log_quotient(z, shape))


@njit
def _clear_log(shape, z, log_z):
    high, low = split_log(shape)
    return _ratio(shape, z, log_z, (log_z - high) - low)


@njit
def _taylor(shape, c, out):
    """Coefficients of g(c + h) in h, book eq. `eq-taylor`: (n+1) c g_{n+1} = (c - shape + 1 - n) g_n + g_{n-1} - l_n,

    from book eq. `eq-ode`, l_n those of (c + h)(log(c + h) - psi): c(log c - psi), log c - psi + 1, 1/(2c),
    -1/(6c^2), ...
    """
    log_c, x = math.log(c), log_quotient(c, shape)
    from_psi = x - digamma_minus_log(shape) if shape >= 1.0 else log_c - digamma(shape)
    out[0] = c * _ratio(shape, c, log_c, x)
    out[1] = ((c - shape + 1.0) * out[0] - c * from_psi) / c
    l_n, power = from_psi + 1.0, -1.0
    for n in range(1, _TERMS - 1):
        out[n + 1] = ((c - shape + 1.0 - n) * out[n] + out[n - 1] - l_n) / ((n + 1.0) * c)
        power *= -c
        l_n = 1.0 / (n * (n + 1.0) * power)


@njit
def _left_series(shape):
    """Coefficients of sum z^n psi(shape+1+n) / (shape)_{n+1} and sum z^n / (shape)_{n+1}."""
    a, m = np.empty(_LEFT_TERMS), np.empty(_LEFT_TERMS)
    term, psi = 1.0 / shape, digamma(shape + 1.0)
    for n in range(_LEFT_TERMS):
        a[n], m[n] = term * psi, term
        term /= shape + n + 1.0
        psi += 1.0 / (shape + n + 1.0)
    return a, m


@njit
def _small(shape, z, log_z, out):
    """Shapes below 12: dz/dshape for many z, or d log z / dshape where log z is given too."""
    given = log_z.size > 0
    a, m = _left_series(shape)
    pieces, center = np.empty((8 * _OCTAVES, _TERMS)), np.zeros(8 * _OCTAVES)
    bits = z.view(np.int64)
    for i in range(z.size):
        k = (bits[i] >> 49) - 8 * (1023 + _FIRST_OCTAVE)     # exponent and three bits of the mantissa
        if 0 <= k < 8 * _OCTAVES:
            if center[k] == 0.0:
                center[k] = 2.0 ** (k // 8 + _FIRST_OCTAVE) * (1.0 + (k % 8 + 0.5) / 8.0)
                _taylor(shape, center[k], pieces[k])
            if abs(center[k] - shape + 1.0) <= _STEEP:
                h, g = z[i] - center[k], pieces[k, _TERMS - 1]
                for n in range(_TERMS - 1):
                    g = g * h + pieces[k, _TERMS - 2 - n]
                out[i] = g / z[i] if given else g
                continue
        elif k < 0:
            lz = log_z[i] if given else math.log(z[i])
            with_psi, alone = a[_LEFT_TERMS - 1], m[_LEFT_TERMS - 1]
            for n in range(_LEFT_TERMS - 1):
                with_psi = with_psi * z[i] + a[_LEFT_TERMS - 2 - n]
                alone = alone * z[i] + m[_LEFT_TERMS - 2 - n]
            g = with_psi - alone * lz
            out[i] = g if given else (z[i] * g if z[i] != 0.0 else 0.0)  # a NaN with its sign bit set stays NaN
            continue
        if given:
            out[i] = _clear_log(shape, z[i], log_z[i])
        else:
            out[i] = _clear_z(shape, z[i])


@njit
def _rows(shape, z, log_z, out):
    """One shape a row: dz/dshape from z if log_z has no columns, else d log z / dshape from both."""
    for d in range(shape.size):
        if shape[d] < _LARGE_SHAPE:
            _small(shape[d], z[d], log_z[d], out[d])
        elif log_z.shape[1] > 0:
            _large_log(shape[d], log_z[d], out[d])
        else:
            _large_z(shape[d], z[d], out[d])


def dz_dshape(shape: ArrayLike, z: ArrayLike, n_threads: int | None = None) -> Array:
    """dz/dshape at fixed u = P(shape, z): `vi_ref.gamma_grad.dz_dshape`, faster.

    It gains where a shape has many draws: `shape` a scalar, or an array that `z`
    extends by leading axes, (D,) against (S, D). Other arrays get the clear version.

    Parameters
    ----------
    shape : array_like
        Positive and finite.
    z : array_like
        The draws, non-negative; NaN gives NaN.
    n_threads : int, optional
        At most so many threads, by default one a processor; fewer than 2^18 draws stay on
        one. The result is the same, bit for bit.

    Returns
    -------
    ndarray
        At most 2e-15 off, relative.

    Raises
    ------
    ValueError
        If a shape is not positive and finite, or a z is negative.

    Examples
    --------
    >>> dz_dshape(2.0, [0.5, 1.0, 4.0]).round(9)
    array([0.49802672, 0.75077869, 1.50597395])
    """
    return _spread(shape, real("z", z), False, n_threads)


def dlogz_dshape(shape: ArrayLike, log_z: ArrayLike, n_threads: int | None = None) -> Array:
    """d log z / dshape at fixed u = P(shape, z): `vi_ref.gamma_grad.dlogz_dshape`, faster.

    It gains where `dz_dshape` does.

    Parameters
    ----------
    shape : array_like
        Positive and finite.
    log_z : array_like
        Logarithms of the draws; NaN gives NaN.
    n_threads : int, optional
        As in `dz_dshape`.

    Returns
    -------
    ndarray
        At most 2e-15 off, relative.

    Raises
    ------
    ValueError
        If a shape is not positive and finite.

    Examples
    --------
    >>> dlogz_dshape(2.0, np.log([0.5, 1.0, 4.0])).round(9)
    array([0.99605344, 0.75077869, 0.37649349])
    """
    return _spread(shape, real("log_z", log_z), True, n_threads)


def dp_dshape(shape: ArrayLike, z: ArrayLike) -> Array:
    """dP(shape, z)/dshape: the clear version, whose time goes into the density."""
    return gamma_grad.dp_dshape(shape, z)


def _spread(shape: ArrayLike, given: Array, in_log: bool, n_threads: int | None) -> Array:
    """Arrange the draws one shape a row, and whole rows, or pieces of a row, over threads."""
    shape = checked_shape(shape)
    workers = whole("n_threads", os.cpu_count() or 1 if n_threads is None else n_threads, 1)
    extends = given.ndim >= shape.ndim and given.shape[given.ndim - shape.ndim:] == shape.shape
    if given.size < 2 * max(shape.size, 1) or not extends or not shape.min() >= 1e-300:
        return (gamma_grad.dlogz_dshape if in_log else gamma_grad.dz_dshape)(shape, given)
    rows = np.ascontiguousarray(given.reshape(-1, shape.size).T)
    out = np.empty_like(rows)

    def work(part: tuple[slice, slice]) -> bool:
        draws = rows[part]
        if not in_log and draws.min() < 0:               # one pass; NaN compares false
            return False
        with np.errstate(over="ignore", under="ignore"):
            z = np.exp(draws) if in_log else draws
        _rows(shape.ravel()[part[0]], z, draws if in_log else draws[:, :0], out[part])
        return True

    if not all(spread(work, _parts(*rows.shape, min(workers, given.size // _CHUNK)), workers)):
        require("z", "non-negative", given, ~(given < 0))
    return out.T.reshape(given.shape)[()]


def _parts(n_rows: int, n_draws: int, workers: int) -> list[tuple[slice, slice]]:
    """Blocks that lie together in memory: groups of rows, or pieces of each row where rows are few."""
    if workers <= 1:
        return [(slice(None), slice(None))]
    edges = np.linspace(0, n_rows if n_rows >= workers else n_draws, workers + 1).astype(int)
    cuts = [slice(a, b) for a, b in pairwise(edges)]
    if n_rows >= workers:
        return [(cut, slice(None)) for cut in cuts]
    return [(slice(d, d + 1), cut) for d in range(n_rows) for cut in cuts]

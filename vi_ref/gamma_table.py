"""The implicit gradient as a small table, made from the clear version at first use: what a Monte Carlo kernel needs.

A step of a fit has a few draws of each of many shapes, so what is paid once a shape must be cheap too. Write a draw as
z = d w^3, the root w as in `vi_ref.sampler`, with d = a - 1/3 and a the shape, raised by 1 below 1. In (1/a, w) the
gradient d log z / d log shape is smooth, from shape 0 to infinity: three pieces in 1/a, seven in w, each a polynomial
of degree 13 in either, give it to 1e-14. Summed over the powers of 1/a, seven polynomials in w
are left for a shape; to the left of them, where the gradient grows like -log z, the series of the clear version is.
"""

import math
from functools import cache

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly
from numpy.typing import NDArray

from vi_ref import gamma_grad
from vi_ref._compiled import njit
from vi_ref.gamma_grad import _ratio
from vi_ref.gamma_grad_fast import _LEFT_TERMS

Array = NDArray[np.float64]

#: Pieces in 1/a: of shapes below 1, below 2.5, and from there on.
_PIECES = ((0.5, 1.0), (0.4, 1.0), (0.0, 0.4))
_SECOND, _THIRD = 1.0, 2.5
_TERMS = 14
_CELLS, _ONE = 7, 3                    # cells of w, a factor of 2^(1/2) each, from 0.297 to 3.36; the cell about 1
_LOW = 2.0 ** (0.5 * np.arange(_CELLS) - 0.5 * _ONE - 0.25)
_HIGH = _LOW[-1] * math.sqrt(2)
_MIDDLE, _HALF = _LOW * (math.sqrt(2) + 1) / 2, _LOW * (math.sqrt(2) - 1) / 2


@cache
def table() -> Array:
    """Coefficients (piece of 1/a, power of it, cell of w, power of w), (3, 14, 7, 14), of book eq. `eq-table`.

    Made once, in a few milliseconds.

    Chebyshev's interpolation in both, on the interval of the piece and of the cell mapped to [-1, 1], then sorted
    by powers. The polynomials in w are in w - middle of the cell.
    """
    angle = np.pi * (np.arange(_TERMS) + 0.5) / _TERMS
    node = np.cos(angle)
    w = _MIDDLE[:, None] + _HALF[:, None] * node
    low, high = np.array(_PIECES).T[:, :, None, None, None]
    a = 1 / (0.5 * (low + high) + 0.5 * (high - low) * node[:, None, None])
    shape = np.where(low == _PIECES[0][0], a - 1, a)
    values = shape * gamma_grad.dlogz_dshape(shape, np.log(a - 1 / 3) + 3 * np.log(w))
    to_chebyshev = 2 / _TERMS * np.cos(np.outer(np.arange(_TERMS), angle))
    to_chebyshev[0] /= 2
    to_powers = np.zeros((_TERMS, _TERMS))
    for k in range(_TERMS):
        to_powers[: k + 1, k] = cheb2poly([0] * k + [1])
    coefficients = np.einsum("ij,pjcl,kl->pick", to_chebyshev, values, to_chebyshev)    # falling fast, so that the
    coefficients = np.einsum("ij,pjcl,kl->pick", to_powers, coefficients, to_powers)    # large powers do no harm
    return coefficients / _HALF[:, None] ** np.arange(_TERMS)


@njit
def cell_of(w):
    """The cell that holds w; the first or the last where none does."""
    cell = 0
    for k in range(1, _CELLS):
        cell += w >= _LOW[k]
    return cell


@njit(fastmath={"contract"})
def polynomials(table, shape, first, last, c):
    """Fill rows `first` to `last` of `c`, (cells, powers of w): book eq. `eq-table`, summed over the powers of 1/a."""
    piece = 0 if shape < _SECOND else (1 if shape < _THIRD else 2)
    u = 1.0 / (shape + 1.0) if shape < _SECOND else 1.0 / shape
    low, high = _PIECES[piece]
    t = (2.0 * u - (low + high)) / (high - low)
    for cell in range(first, last + 1):
        for n in range(_TERMS):
            c[cell, n] = table[piece, _TERMS - 1, cell, n]
        for k in range(_TERMS - 2, -1, -1):
            for n in range(_TERMS):
                c[cell, n] = c[cell, n] * t + table[piece, k, cell, n]


@njit(fastmath={"nnan", "nsz"})
def ends(w):
    """The smallest and the largest root, none of which is NaN."""
    low, high = w[0], w[0]
    for i in range(w.size):
        low = w[i] if w[i] < low else low
        high = w[i] if w[i] > high else high
    return low, high


@njit(fastmath={"contract"})
def elasticities(c, first, last, w, out):
    """Fill `out` with d log z / d log shape at roots w by the `polynomials` of their cells, book eq. `eq-table`.

    What is no root of a cell, outside [0.297, 3.36), gets what the nearest cell extrapolates; see `outside`.
    """
    if first == last:                                    # one polynomial: processors take several roots at a time
        middle = _MIDDLE[first]
        c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = c[first]
        for i in range(w.size):
            y = w[i] - middle
            high = c7 + y * (c8 + y * (c9 + y * (c10 + y * (c11 + y * (c12 + y * c13)))))
            out[i] = c0 + y * (c1 + y * (c2 + y * (c3 + y * (c4 + y * (c5 + y * (c6 + y * high))))))
    else:
        for i in range(w.size):
            cell = cell_of(w[i])
            y = w[i] - _MIDDLE[cell]
            r = c[cell, _TERMS - 1]
            for n in range(_TERMS - 1):
                r = r * y + c[cell, _TERMS - 2 - n]
            out[i] = r


@njit
def outside(shape, z, log_z, a, m):
    """d log z / d log shape for a root in no cell, by the clear version; `a` and `m` are its two series in small z."""
    if z >= 1.0 / 16.0:
        return shape * _ratio(shape, z, log_z, log_z - math.log(shape))
    with_psi, alone = a[_LEFT_TERMS - 1], m[_LEFT_TERMS - 1]
    for n in range(_LEFT_TERMS - 1):
        with_psi = with_psi * z + a[_LEFT_TERMS - 2 - n]
        alone = alone * z + m[_LEFT_TERMS - 2 - n]
    return shape * (with_psi - alone * log_z)

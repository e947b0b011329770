"""Standard gamma draws inside Numba: random bits, a normal by the ziggurat, Marsaglia & Tsang's gamma.

Each column has a stream of its own, a xoshiro256++ generator whose four words of state stay in registers. The caller's
``numpy.random.Generator`` fills them anew at each call and nothing is kept, so what is drawn depends on that generator
alone, on whatever threads the columns run.

A draw comes as w, the root that the method works in: z = d w^3 with d = a - 1/3, and a the shape, raised by 1 where it
is below 1.
"""

import math

import numpy as np
from numba import int64
from numpy.typing import NDArray

from vi_ref._compiled import njit

_LAYERS = 256
_START = 3.6541528853610088            # where the tail begins: the one start for which `ziggurat` ends at x = 0
_UNIT = 2.0**-52


def ziggurat(n_layers: int, start: float) -> NDArray[np.float64]:
    """Widths x_0 > x_1 > ... > x_n of layers of one area that cover exp(-x^2 / 2) on x >= 0: book eq. `eq-ziggurat`.

    Layer i >= 1 is a rectangle of width x_i from the height of the curve at x_i to that at x_(i+1). Layer 0 is
    what lies below, with the tail beyond x_1 = start: x_0 is the width of a rectangle of its area. The widths end
    at x_n = 0 for one start alone.

    Examples
    --------
    >>> ziggurat(256, 3.6541528853610088)[[0, 1, 255]].round(6)
    array([3.910758, 3.654153, 0.215242])
    """
    area = start * math.exp(-0.5 * start**2) + math.sqrt(math.pi / 2) * math.erfc(start / math.sqrt(2))
    x = [area * math.exp(0.5 * start**2), start]
    while len(x) < n_layers:
        x.append(math.sqrt(-2 * math.log(math.exp(-0.5 * x[-1] ** 2) + area / x[-1])))
    return np.array([*x, 0.0])


_WIDTH = ziggurat(_LAYERS, _START)
_HEIGHT = np.exp(-0.5 * _WIDTH**2)


def streams(n: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """States of n streams, (n, 4): 256 random bits each (all zero, which would be stuck, comes once in 2^256)."""
    return rng.integers(0, 2**64 - 1, (n, 4), np.uint64, endpoint=True)


@njit(inline="always")
def _rotated(word, k):
    return (word << np.uint64(k)) | (word >> np.uint64(64 - k))


@njit
def next_bits(s0, s1, s2, s3):
    """64 random bits and the next state: xoshiro256++ (Blackman & Vigna 2021)."""
    bits = _rotated(s0 + s3, 23) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = _rotated(s3, 45)
    return bits, s0, s1, s2, s3


@njit
def uniform(s0, s1, s2, s3):
    """A uniform draw from the middles of 2^52 equal parts of (0, 1), and the next state."""
    bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    return ((bits >> np.uint64(12)) + 0.5) * _UNIT, s0, s1, s2, s3


@njit
def _at_the_curve(layer, x, s0, s1, s2, s3):
    """Whether a random height in the layer is below the curve at x; in layer 0 x becomes a draw of the tail."""
    if layer > 0:
        u, s0, s1, s2, s3 = uniform(s0, s1, s2, s3)
        height = _HEIGHT[layer] + u * (_HEIGHT[layer + np.uint64(1)] - _HEIGHT[layer])
        return height < math.exp(-0.5 * x * x), x, s0, s1, s2, s3
    while True:                                          # Marsaglia (1964): an exponential draw, cut to size
        u, s0, s1, s2, s3 = uniform(s0, s1, s2, s3)
        v, s0, s1, s2, s3 = uniform(s0, s1, s2, s3)
        beyond = -math.log(u) / _START
        if -2.0 * math.log(v) > beyond * beyond:
            return True, math.copysign(_START + beyond, x), s0, s1, s2, s3


@njit
def normal(s0, s1, s2, s3):
    """A standard normal draw and the next state: the ziggurat of Marsaglia & Tsang (2000), book eq. `eq-ziggurat`.

    Eight bits choose a layer, 53 others the place x on it. Inside the width of the layer above, x is below the curve.
    """
    while True:
        bits, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
        layer = bits & np.uint64(255)
        x = (int64(bits) >> 11) * _UNIT * _WIDTH[layer]
        if abs(x) < _WIDTH[layer + np.uint64(1)]:        # 98 of 100 draws
            return x, s0, s1, s2, s3
        below, x, s0, s1, s2, s3 = _at_the_curve(layer, x, s0, s1, s2, s3)
        if below:
            return x, s0, s1, s2, s3


@njit
def roots(a, state, w):
    """Fill `w` with roots of Gamma(a, 1) draws, z = (a - 1/3) w^3, for a >= 1; `state` moves on.

    Marsaglia & Tsang (2000), book eq. `eq-marsaglia-tsang`. The first test is below the second; where it accepts, as
    in most draws, no logarithm is taken.
    """
    s0, s1, s2, s3 = state
    d = a - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for i in range(w.size):
        while True:
            x, s0, s1, s2, s3 = normal(s0, s1, s2, s3)
            root = 1.0 + c * x
            if root <= 0.0:
                continue
            u, s0, s1, s2, s3 = uniform(s0, s1, s2, s3)
            square = x * x
            if u < 1.0 - 0.0331 * square * square:
                break
            cube = root * root * root
            if math.log(u) < 0.5 * square + d * (1.0 - cube + 3.0 * math.log(root)):
                break
        w[i] = root
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit
def lowered(shape, state, roots, w, drop):
    """From `roots` of Gamma(shape + 1, 1) draws to those of Gamma(shape, 1), w = root e^drop; `state` moves on.

    Marsaglia & Tsang (2000), book eq. `eq-boost`: z is multiplied by U^(1/shape), U uniform, so that drop is
    log(U) / (3 shape). It is kept, for w itself may underflow.
    """
    s0, s1, s2, s3 = state
    power = 1.0 / (3.0 * shape)
    for i in range(w.size):
        u, s0, s1, s2, s3 = uniform(s0, s1, s2, s3)
        drop[i] = power * math.log(u)
        w[i] = roots[i] * math.exp(drop[i])
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3

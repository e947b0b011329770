"""The implicit gradient of a gamma draw with respect to its shape.

A standard gamma draw z ~ Gamma(shape, 1) can be written z = P^-1(shape, u) with
u uniform and P the regularised lower incomplete gamma function. Holding u still
and differentiating P(shape, z) = u gives

    dz/dshape = -(dP/dshape) / p(z; shape),   p = z^(shape-1) e^-z / Gamma(shape)

(Figurnov, Mohamed & Mnih 2018, eq. 5). Forming p and dP/dshape apart loses
digits and underflows; each regime below gives their ratio directly, as
d log z / dshape = (dz/dshape) / z, which also exists where z itself underflows.

=========  =====================================  =====================  ============
regime     where                                  function               worst error
=========  =====================================  =====================  ============
large      shape >= 12, abs(log(z/shape)) <= 1.2  `_expansion`           4.5e-16
left       otherwise, log z <= psi(shape + 1)     `_series`              1.4e-15
right      otherwise                              `_continued_fraction`  1e-15
=========  =====================================  =====================  ============

The errors are those of dz/dshape and d log z/dshape, relative, over every row of
`vi_ref.vectors`: shapes 1e-8 ... 1e10, both tails to 1e-15. ``tests/test_vectors.py``
measures them and fails when the table is not true.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref._compiled import njit, vectorize
from vi_ref._validate import real, require
from vi_ref.special import digamma, digamma_minus_log, split_log, stirling_error

_LARGE_SHAPE = 12.0
_LARGE_SHAPE_WINDOW = 1.2
_TWO_PI = 2.0 * math.pi


def expansion_coefficients(orders: int, degree: int) -> NDArray[np.float64]:
    """Taylor coefficients of the functions g_k in dz/dshape = sum_k g_k(x) / shape^k.

    With x = log(z / shape), differentiating the implicit equation in z gives
    (e^x - 1) g = x e^x - (psi(shape) - log shape) e^x + (g' - g) / shape, hence

        g_0 = x / (1 - e^-x)
        g_k = (g_{k-1}' - g_{k-1} - psi_k e^x) / (e^x - 1),

    where psi(shape) - log shape = sum_k psi_k / shape^k (book eq. `eq-expansion`). Each g_k is regular at
    x = 0, so its Taylor coefficients are rational and are worked out exactly.

    Parameters
    ----------
    orders : int
        How many powers of 1/shape, k = 0 ... orders - 1.
    degree : int
        The highest power of x.

    Returns
    -------
    ndarray, shape (orders, degree + 1)
        Row k holds the coefficients of g_k, the constant term first.

    Examples
    --------
    >>> expansion_coefficients(2, 2) * 12        # g_0 = 1 + x/2 + x^2/12 ...
    array([[12. ,  6. ,  1. ],
           [ 2. ,  1. ,  0.1]])
    """
    length = degree + 1 + 2 * orders                     # each order uses up two coefficients
    bernoulli = [Fraction(1)]
    for n in range(1, length + 1):
        bernoulli.append(-sum(math.comb(n + 1, k) * bernoulli[k] for k in range(n)) / (n + 1))
    exp = [Fraction(1, math.factorial(n)) for n in range(length + 2)]
    g = [bernoulli[n] * exp[n] for n in range(length)]   # x / (e^x - 1), and + x below
    g[1] += 1
    table = [g]
    for k in range(1, orders):
        psi_k = -bernoulli[k] / k                        # psi_1 = -1/2 needs B_1 = +1/2
        psi_k = -psi_k if k == 1 else psi_k
        numerator = [(n + 1) * g[n + 1] - g[n] - psi_k * exp[n] for n in range(len(g) - 1)]
        g = []
        for n in range(len(numerator) - 1):              # divide by (e^x - 1), constant term first
            g.append(numerator[n + 1] - sum(g[j] * exp[n - j + 1] for j in range(n)))
        table.append(g)
    return np.array([[float(c) for c in g[: degree + 1]] for g in table])


_COEFFICIENTS = expansion_coefficients(orders=14, degree=25)


@njit
def _expansion(shape, x):
    """Large shapes: sum_k g_k(x) / shape^k over z = shape e^x, book eq. `eq-expansion`.

    The sum ends where shape^-k < e^-36: up to the last order kept, every g_k is below 0.1 from k = 2 on.
    """
    orders = min(_COEFFICIENTS.shape[0], 1 + int(36.0 / math.log(shape)))
    g, reciprocal = 0.0, 1.0 / shape
    for k in range(orders - 1, -1, -1):
        g_k = 0.0
        for n in range(_COEFFICIENTS.shape[1] - 1, -1, -1):
            g_k = g_k * x + _COEFFICIENTS[k, n]
        g = g * reciprocal + g_k
    return g / (shape * math.exp(x))


@njit
def _series(shape, z, gap):
    """Left: (1/shape) sum_n z^n / (shape+1)_n [psi(shape+1+n) - log z], with gap = psi(shape+1) - log z >= 0.

    Book eq. `eq-series`: DLMF 8.11.4 differentiated term by term; no term is negative.
    """
    total, n = gap, 1.0
    term = z / (shape + 1.0)
    gap += 1.0 / (shape + 1.0)
    while term * gap > 1e-17 * total:                    # NaN and infinity end the loop too
        total += term * gap
        n += 1.0
        term *= z / (shape + n)
        gap += 1.0 / (shape + n)
    return total / shape


@njit
def _continued_fraction(shape, z, gap):
    """Right: C (log z - psi(shape)) + dC/dshape, with Q(shape, z) = z p C (Legendre, DLMF 8.9.2).

    Book eq. `eq-continued-fraction`: C = 1/f_0 with f_{k-1} = z + 2k - 1 - shape + k (shape - k) / f_k, evaluated
    from the far end together with the derivative of each f. The length was
    found by experiment, for shapes 1e-8 ... 1e8: it leaves less than 1e-17.
    """
    length = int(10.0 + 105.0 / z)
    f, df = z + 2.0 * length + 1.0 - shape, -1.0
    for k in range(length, 0, -1):
        numerator, reciprocal = k * (shape - k), 1.0 / f
        df = -1.0 + (k - numerator * df * reciprocal) * reciprocal
        f = z + 2.0 * k - 1.0 - shape + numerator * reciprocal
    return (1.0 / shape - gap - df / f) / f


@njit
def _ratio(shape, z, log_z, x):
    """d log z / dshape from z, log z and x = log(z / shape): the dispatcher over the regimes.

    From shape 1 on psi(shape + 1) - log z comes in small parts, book eq. `eq-gap-in-logs`.
    """
    if math.isnan(z):
        return z
    if z == math.inf:
        return 0.0                                       # log(z)/z in the limit
    if shape >= _LARGE_SHAPE and abs(x) <= _LARGE_SHAPE_WINDOW:
        return _expansion(shape, x)
    if shape >= 1.0:
        gap = digamma_minus_log(shape) + 1.0 / shape - x
    else:
        gap = digamma(shape + 1.0) - log_z
    return _series(shape, z, gap) if gap >= 0.0 else _continued_fraction(shape, z, gap)


@njit
def _deviance(shape, z, x):
    """shape log(shape / z) + z - shape, with x = log(z / shape); by its series where z is close (Loader 2000).

    Book eq. `eq-deviance`. With v = (shape - z) / (shape + z) it is (shape - z) v + 2 shape v (v^2/3 + v^4/5 + ...).
    """
    v = (shape - z) / (shape + z)
    if not abs(v) < 0.5:
        return z - shape - shape * x
    total, power, n = (shape - z) * v, 2.0 * shape * v, 1.0
    while True:
        power *= v * v
        n += 2.0
        before = total
        total += power / n
        if total == before:
            return total


@njit
def _log_zp(shape, z, log_z, x):
    """log(z p(z; shape)) by Stirling's form and the deviance (Loader 2000), plainly below shape 1.

    Book eq. `eq-log-zp`.
    """
    if shape < 1.0:
        return shape * log_z - z - math.lgamma(shape)
    return 0.5 * math.log(shape / _TWO_PI) - stirling_error(shape) - _deviance(shape, z, x)


@njit
def log_quotient(z: float, shape: float) -> float:
    """log(z / shape) for positive z and shape, also where the quotient is subnormal or overflows."""
    quotient = z / shape
    if 1e-300 < quotient < 1e300:
        return math.log(quotient)
    return math.log(z) - math.log(shape)


@vectorize
def _dlogz_dshape(shape, log_z):
    high, low = split_log(shape)
    return _ratio(shape, math.exp(log_z), log_z, (log_z - high) - low)


@vectorize
def _dz_dshape(shape, z):
    if z == 0.0 or z == math.inf:
        return z + 0.0 * shape
    return z * _ratio(shape, z, math.log(z), log_quotient(z, shape))


@vectorize
def _dp_dshape(shape, z):
    if z == 0.0 or z == math.inf:
        return 0.0 * shape
    log_z, x = math.log(z), log_quotient(z, shape)
    return -math.exp(_log_zp(shape, z, log_z, x)) * _ratio(shape, z, log_z, x)


def dlogz_dshape(shape: ArrayLike, log_z: ArrayLike) -> NDArray[np.float64]:
    """d log z / dshape at fixed u = P(shape, z), from log z: book eq. `eq-implicit-log`.

    Works where z itself underflows to 0: at shape 0.001 half of all draws have
    log z below -690.

    Parameters
    ----------
    shape : array_like
        Shape of the standard gamma, positive and finite; broadcast against `log_z`.
    log_z : array_like
        Logarithm of the draw, any real number. NaN gives NaN.

    Returns
    -------
    ndarray
        Positive; at most 4e-15 off, relative, for shapes from 1e-8 to 1e10. Larger shapes
        follow the same expansion; below 1e-300 the result may overflow to infinity.

    Raises
    ------
    ValueError
        If a shape is not positive and finite; NaN gives NaN.

    References
    ----------
    Figurnov, Mohamed & Mnih (2018), Implicit Reparameterization Gradients, eq. 5.

    Examples
    --------
    >>> dlogz_dshape(1.0, 0.0).round(12)         # dz/dshape at shape 1, z = 1
    np.float64(1.173563027225)
    >>> dlogz_dshape([1e-3, 1e-3], [-2000.0, -700.0]).round(8)
    array([1999424.42806819,  699424.42806819])
    """
    with np.errstate(all="ignore"):                      # the ends of the domain overflow and underflow
        return _dlogz_dshape(checked_shape(shape), real("log_z", log_z))


def dz_dshape(shape: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
    """dz/dshape at fixed u = P(shape, z), the implicit gradient of a standard gamma draw: book eq. `eq-implicit`.

    Parameters
    ----------
    shape : array_like
        Shape of the standard gamma, positive and finite; broadcast against `z`.
    z : array_like
        The draw, non-negative. At 0 the gradient is 0, at infinity it is
        infinite; NaN gives NaN.

    Returns
    -------
    ndarray
        Non-negative; at most 4e-15 off, relative, for shapes from 1e-8 to 1e10. Larger shapes
        follow the same expansion; below 1e-300 the result may overflow to infinity.

    Raises
    ------
    ValueError
        If a shape is not positive and finite, or a z is negative; NaN gives NaN.

    References
    ----------
    Figurnov, Mohamed & Mnih (2018), Implicit Reparameterization Gradients, eq. 5.

    Examples
    --------
    At shape 1 it is an exponential integral, book eq. `eq-at-one`; for large shapes z is nearly shape +
    sqrt(shape) times a normal draw, so that the gradient tends to 1:

    >>> dz_dshape([0.1, 1.0, 1e8], [0.1, 1.0, 1e8]).round(9)
    array([2.14692206, 1.17356303, 1.        ])
    """
    with np.errstate(all="ignore"):
        return _dz_dshape(checked_shape(shape), _nonnegative("z", z))


def dp_dshape(shape: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
    """dP(shape, z)/dshape, the derivative of the regularised lower incomplete gamma function.

    It is -p dz/dshape, book eq. `eq-dp`, so it carries the condition number of the density p: the
    relative error grows with abs(log(z p)).

    Parameters
    ----------
    shape : array_like
        Positive and finite; broadcast against `z`.
    z : array_like
        Non-negative. At 0 and at infinity the derivative is 0; NaN gives NaN.

    Returns
    -------
    ndarray
        Not positive; off by at most 4e-15 + 4 eps (1 + abs(log(z p))), relative.

    Raises
    ------
    ValueError
        If a shape is not positive and finite, or a z is negative; NaN gives NaN.

    References
    ----------
    Moore (1982), Algorithm AS 187, for other series; Loader (2000) for the density.

    Examples
    --------
    >>> dp_dshape(1.0, 1.0).round(12)
    np.float64(-0.431729710635)
    """
    with np.errstate(all="ignore"):
        return _dp_dshape(checked_shape(shape), _nonnegative("z", z))


def checked_shape(value: ArrayLike) -> NDArray[np.float64]:
    """`value` as shapes, each positive and finite or NaN, which NumPy's functions pass through."""
    array = real("shape", value)
    require("shape", "positive and finite", array, np.isnan(array) | ((array > 0) & (array < np.inf)))
    return array


def _nonnegative(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = real(name, value)
    require(name, "non-negative", array, ~(array < 0))
    return array

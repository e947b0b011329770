"""Scalar special functions of the gamma family, compiled with Numba.

SciPy's special functions cannot be called from Numba code, and two of the
combinations below lose their digits when put together from the usual ones, so
each is written here from one pair of ideas: a recurrence moves the argument up
to at least 10, all its terms of one sign, and there the asymptotic series (DLMF
5.11) is good to the last digit.

=============================  ========================  ===========================
function                       domain tested             worst error
=============================  ========================  ===========================
`digamma`                      1e-8 ... 1e10             1e-15 of max(1, abs(psi))
`digamma_minus_log`            1e-8 ... 1e10             4.5e-15 relative
`trigamma_minus_reciprocal`    1e-8 ... 1e10             1.5e-15 relative
`stirling_error`               1 ... 1e10                1.5e-15 relative
=============================  ========================  ===========================

``tests/test_special.py`` holds each row against mpmath at 50 digits.
"""

import math

from vi_ref._compiled import njit, vectorize

_ASYMPTOTIC_FROM = 10.0


@njit
def split_log(x: float) -> tuple[float, float]:
    """log x for x > 0 as high + low, good to 1e-16 absolute however large it is.

    Book eq. `eq-split-log`. With x = m 2^k and m near 1, high = k log 2 is exact, for its log 2 has 32
    significant bits and k at most 11, and low holds log m and the rest of k log 2. So a difference of logarithms
    ``(log_z - high) - low`` keeps the digits that ``log_z - log(x)`` rounds away.
    """
    m, k = math.frexp(x)
    if m < 0.7071067811865476:
        m, k = 2.0 * m, k - 1
    return k * 6.93147180369123816490e-01, k * 1.90821492927058770002e-10 + math.log(m)


@njit
def _digamma_tail(x):
    """psi(x) - log x for x >= 10: -1/(2x) - sum B_2k / (2k x^2k), book eq. `eq-digamma-asymptotic` (DLMF 5.11.2)."""
    w = 1.0 / (x * x)
    bernoulli = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (
        1 / 132 - w * (691 / 32760 - w * (1 / 12 - w * 3617 / 8160)))))))
    return -0.5 / x - bernoulli


@njit
def _reciprocals(x, far):
    """1/x + 1/(x + 1) + ... below far, small terms first: psi(far) - psi(x), book eq. `eq-digamma-recurrence`."""
    total = 0.0
    for k in range(round(far - x) - 1, -1, -1):
        total += 1.0 / (x + k)
    return total


@njit
def digamma(x: float) -> float:
    """psi(x) = d log Gamma(x) / dx for x > 0 (DLMF 5.5.2 and 5.11.2).

    Book eq. `eq-digamma`, by `eq-digamma-recurrence` and `eq-digamma-asymptotic`. The error is relative to
    max(1, abs(psi)): psi has a root at 1.4616.
    """
    far = x if x >= _ASYMPTOTIC_FROM else x + math.ceil(_ASYMPTOTIC_FROM - x)
    return math.log(far) - _reciprocals(x, far) + _digamma_tail(far)


@njit
def digamma_minus_log(x: float) -> float:
    """psi(x) - log x for x > 0: about -1/(2x) when x is large, -1/x when small.

    Book eq. `eq-digamma-minus-log`, by `eq-digamma-asymptotic` from 10 on.
    """
    far = x if x >= _ASYMPTOTIC_FROM else x + math.ceil(_ASYMPTOTIC_FROM - x)
    return math.log(far / x) - _reciprocals(x, far) + _digamma_tail(far)


@njit
def trigamma_minus_reciprocal(x: float) -> float:
    """psi'(x) - 1/x for x > 0: about 1/(2x^2) when x is large, 1/x^2 when small.

    Book eq. `eq-trigamma-minus-reciprocal`, by `eq-trigamma-asymptotic` from 10 on. From psi'(x) = psi'(x +
    1) + 1/x^2 (DLMF 5.15.5) the difference obeys h(x) = h(x + 1) + 1/(x^2 (x + 1)): positive terms only,
    where psi'(x) - 1/x written out loses a factor of 2x in relative accuracy.
    """
    total = 0.0
    while x < _ASYMPTOTIC_FROM:
        total += 1.0 / (x * x * (x + 1.0))
        x += 1.0
    w = 1.0 / (x * x)                                    # DLMF 5.15.8: sum B_2k / x^(2k+1)
    bernoulli = w * (1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (
        5 / 66 - w * (691 / 2730 - w * (7 / 6 - w * 3617 / 510)))))))
    return total + 0.5 * w + bernoulli / x


@njit
def _stirling_step(x):
    """stirling_error(x) - stirling_error(x + 1) = (x + 1/2) log(1 + 1/x) - 1 = y^2/3 + y^4/5 + ..., y = 1/(2x + 1).

    Book eq. `eq-stirling-step`.
    """
    if x < 1.0:
        return (x + 0.5) * math.log1p(1.0 / x) - 1.0
    w = 1.0 / (2.0 * x + 1.0) ** 2
    total = 0.0
    for n in range(35, 1, -2):
        total = (total + 1.0 / n) * w
    return total


@njit
def stirling_error(x: float) -> float:
    """log Gamma(x) - [(x - 1/2) log x - x + log(2 pi)/2] for x > 0: about 1/(12x).

    What Stirling's formula leaves out (DLMF 5.11.1), book eq. `eq-stirling-error`: by steps of
    `eq-stirling-step` up to 10 and by `eq-stirling-asymptotic` from there. Densities built from it
    keep their digits where log Gamma(x) is in the thousands.
    """
    total = 0.0
    while x < _ASYMPTOTIC_FROM:
        total += _stirling_step(x)
        x += 1.0
    w = 1.0 / (x * x)
    return total + (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (
        1 / 1188 - w * (691 / 360360 - w * (1 / 156 - w * 3617 / 122400))))))) / x


@vectorize
def digamma_minus_log_ufunc(x):
    """`digamma_minus_log` over arrays."""
    return digamma_minus_log(x)


@vectorize
def trigamma_minus_reciprocal_ufunc(x):
    """`trigamma_minus_reciprocal` over arrays."""
    return trigamma_minus_reciprocal(x)


@vectorize
def stirling_error_ufunc(x):
    """`stirling_error` over arrays."""
    return stirling_error(x)

"""Log tail probabilities against mpmath, near the mode and far beyond where the probabilities underflow."""

import mpmath as mp
import numpy as np
import pytest
from oracles import exactly

from vi_ref import Gamma
from vi_ref.diagnostics._tails import gamma_tails, nbinom_tails, score_of


def log_tails(shape, log_x):
    """Log P and log Q at 60 digits: whichever converges by its series or by mpmath's upper function, then 1 less it."""
    a, x = exactly(shape), mp.exp(exactly(log_x))
    if x < a + 1:
        lower = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1)) * mp.hyp1f1(1, a + 1, x)
        return mp.log(lower), mp.log(1 - lower)
    upper = mp.gammainc(a, x, mp.inf, regularized=True)
    return mp.log(1 - upper), mp.log(upper)


# Relative to 1 + |log tail|, what a score hangs on: 1e-13 is five times the worst met, 2e-14 from SciPy's values at
# shape 1e5 and from the rule of 32 nodes; eps sqrt(shape) z (1 + log x), by rounding of log x, is within it too.
@pytest.mark.parametrize("shape", [1e-3, 0.05, 0.5, 1.0, 3.3, 40.0, 1e3, 1e5])
@pytest.mark.parametrize("z", [-200, -80, -45, -38, -37, -20, -5, -1, 0, 1, 5, 20, 36, 38, 45, 80])
def test_gamma_tails(shape, z):
    far = z * np.sqrt(shape) + (z**2 / 2 if z > 0 else 0)
    log_x = np.log(shape) + z / np.sqrt(shape) if z <= 0 else np.log(shape + far)
    lower, upper = gamma_tails(Gamma(shape, 1.0), np.array(log_x))
    with mp.workdps(60):
        truth = [float(t) for t in log_tails(shape, log_x)]
    smaller, value = (truth[0], lower) if truth[0] < truth[1] else (truth[1], upper)
    assert abs(value - smaller) <= 1e-13 * (1 + abs(smaller))


# SciPy ends its series after 2000 terms, beyond 4.5 sd: at shape 1e9 and 5 sd below, 0.3 of P. mpmath integrates the
# density, relative to its value at the edge: 60 steps of its decay leave e^-60. log x is given to eps of 21 and more,
# which moves log P by eps sqrt(shape) |z| (1 + log x): 1e-10 at 20 sd.
@pytest.mark.parametrize("shape", [1e6, 1e9])
@pytest.mark.parametrize("z", [-20, -5, -4.6, -4.3, 4.3, 4.6, 5, 20])
def test_gamma_tails_of_large_shapes(shape, z):
    log_x = np.log(shape) + z / np.sqrt(shape)
    with mp.workdps(40):
        a, x, sign = exactly(shape), mp.exp(exactly(log_x)), mp.sign(z)
        step = 1 / abs(x - a)
        ratio = mp.quad(lambda s: mp.exp(a * sign * s - x * mp.expm1(sign * s)), [k * step for k in (0, 2, 8, 20, 60)])
        truth = float(a * mp.log(x) - x - mp.loggamma(a) + mp.log(ratio))
    found = gamma_tails(Gamma(shape, 1.0), np.array(log_x))[int(z > 0)]
    assert abs(found - truth) <= 1e-15 * np.sqrt(shape) * abs(z) * (1 + log_x)


def test_gamma_tails_where_x_underflows_and_the_probability_does_not():
    # P = x^a / Gamma(a + 1) = e^-0.9 / Gamma(1.0009), of which 1 - e^-0.9 is not in doubt
    lower, upper = gamma_tails(Gamma(0.0009, 1.0), np.array(-1000.0))
    with mp.workdps(30):
        truth = mp.exp(exactly(0.0009) * -1000) / mp.gamma(1 + exactly(0.0009))
        assert abs(lower - float(mp.log(truth))) <= 1e-15 and abs(upper - float(mp.log(1 - truth))) <= 1e-15


def nbinom_truth(shape, rate, x, v):
    """Log of u and of 1 - u from sums of the probabilities, each the one before times a ratio."""
    a, b, v = map(exactly, (shape, rate, v))
    p, below = (b / (b + 1)) ** a, mp.mpf(0)
    for k in range(x):
        below += p
        p *= (a + k) / (k + 1) / (b + 1)
    above, term, k = mp.mpf(0), p, x
    while term > above * mp.mpf(10) ** -40:
        term *= (a + k) / (k + 1) / (b + 1)
        above, k = above + term, k + 1
    return mp.log(below + v * p), mp.log(above + (1 - v) * p)


# The negative binomial is good to 60 eps of |x - mean|, SciPy's incomplete beta function to 1e-14 but for a few
# arguments: 1e-12 of 1 + |log u|; the worst met is 3e-15. At a rate of 1e20 the textbook's p, rate / (rate + 1), is 1.
@pytest.mark.parametrize(("shape", "rate", "x"), [
    (3.0, 2.0, 0), (3.0, 2.0, 4), (0.5, 102.0, 0), (0.5, 102.0, 3), (0.02, 0.5, 1), (900.0, 100.0, 2),
    (900.0, 100.0, 9), (900.0, 100.0, 40), (900.0, 100.0, 900), (4e3, 4.0, 0), (4e3, 4.0, 10), (4e3, 4.0, 1000),
    (4e3, 4.0, 6000), (0.3, 0.05, 20_000), (5.0, 1000.0, 300),
    (1e7, 1e6, 10), (1e9, 1e6, 1030), (1e20, 1e20, 1), (1e20, 1e20, 3),
])
@pytest.mark.parametrize("v", [0.3, 1.0])
def test_nbinom_tails(shape, rate, x, v):
    lower, upper = nbinom_tails(Gamma(shape, rate), np.array(float(x)), np.array(v))
    with mp.workdps(50):
        truth = [float(t) for t in nbinom_truth(shape, rate, x, v)]
    smaller, value = (truth[0], lower) if truth[0] < truth[1] else (truth[1], upper)
    assert abs(value - smaller) <= 1e-12 * (1 + abs(smaller))


def test_score_is_found_in_the_smaller_tail():
    # Phi(-40) = e^-804.608..., 1 - Phi(1) = 0.158655...
    with mp.workdps(30):
        deep, near = float(mp.log(mp.ncdf(-40))), float(mp.ncdf(-1))
    assert abs(score_of(np.array(deep), np.array(0.0)) + 40) <= 40 * 1e-15
    assert abs(score_of(np.array(0.0), np.array(deep)) - 40) <= 40 * 1e-15
    assert abs(score_of(np.log1p(-near), np.log(near)) - 1) <= 1e-15

"""The implicit gradient against mpmath: the series at high precision, itself held against two other methods."""

from fractions import Fraction
from functools import cache

import mpmath as mp
import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import EPS, errors, exactly
from scipy.special import gammainccinv, gammaincinv, gammaln, psi

from vi_ref import gamma_grad
from vi_ref.gamma_grad import dlogz_dshape, dp_dshape, dz_dshape, expansion_coefficients

WORST = 4e-15                                     # of dz and dlogz, relative; seen over 10 000 points: 2.2e-15


def sample(n=400):
    """Shapes 1e-3 ... 1e5 and log z between the quantiles 1e-6 and 1 - 1e-6, half of them in each tail."""
    rng = np.random.default_rng(2)
    shape, tail = 10 ** rng.uniform(-3, 5, n), 10 ** rng.uniform(-6, np.log10(0.5), n)
    z = np.where(np.arange(n) % 2, gammaincinv(shape, tail), gammainccinv(shape, tail))
    tiny = (np.log(tail) + gammaln(1 + shape)) / shape       # P = z^shape / Gamma(1 + shape) where z is near 0
    return shape, np.where(z > 1e-200, np.log(np.maximum(z, 1e-200)), tiny)


def borders():
    """Both sides of each border between regimes: the large shape, its window, and log z = psi(shape + 1)."""
    large, window = gamma_grad._LARGE_SHAPE, gamma_grad._LARGE_SHAPE_WINDOW
    below = np.nextafter(large, 0)
    points = [(shape, np.log(large) + x) for shape in (below, large) for x in window * np.linspace(-1, 1, 9)]
    points += [(shape, np.log(shape) + x) for shape in large * np.array([1, 1.1, 1.4])
               for x in np.outer([-window, window], [1 - 1e-12, 1, 1 + 1e-12]).ravel()]
    points += [(shape, psi(shape + 1) + x) for shape in (1e-3, 0.1, 1.0, 5.0, below) for x in (-1e-14, 0, 1e-14)]
    return np.transpose(points)


@cache
def in_log_space():
    shape, log_z = np.hstack([sample(), borders()])
    return shape, log_z, [oracles.dlogz_dshape(*point) for point in zip(shape, log_z, strict=True)]


@cache
def in_z():
    """The same points where z is a double: shape, z, truths of dlogz/dshape and of log(z p)."""
    shape, log_z, _ = in_log_space()
    shape, z = shape[log_z > -600], np.exp(log_z[log_z > -600])
    with mp.workdps(60):
        truth = [oracles.dlogz_dshape(a, mp.log(exactly(v))) for a, v in zip(shape, z, strict=True)]
    return shape, z, truth, [oracles.log_zp(a, v) for a, v in zip(shape, z, strict=True)]


@pytest.mark.parametrize(("shape", "z"), [(0.05, 1e-9), (0.7, 2.0), (3.0, 0.4), (31.0, 50.0), (300.0, 290.0)])
def test_oracle_is_the_derivative_of_the_quantile(shape, z):
    with mp.workdps(60):
        u = mp.gammainc(shape, 0, z, regularized=True)
        quantile = lambda a: mp.findroot(lambda y: mp.gammainc(a, 0, y, regularized=True) - u, exactly(z))  # noqa: E731
        truth = oracles.derivative(quantile, shape) / exactly(z)
        # the difference leaves 1e-40 of the third derivative; the root is sought to 60 digits, over 2h = 2e-20
        assert abs(oracles.dlogz_dshape(shape, mp.log(exactly(z))) / truth - 1) < 1e-30


@pytest.mark.parametrize("z", [1e-5, 0.3, 1.0, 14.0])
def test_oracle_and_ours_at_shape_one_by_the_exponential_integral(z):
    with mp.workdps(60):
        closed = mp.exp(exactly(z)) * mp.e1(exactly(z)) + mp.log(exactly(z)) + mp.euler
        assert abs(exactly(z) * oracles.dlogz_dshape(1, mp.log(exactly(z))) / closed - 1) < 1e-30
    assert errors(dz_dshape(1.0, z), [closed]) <= WORST


def test_dlogz_dshape():
    shape, log_z, truth = in_log_space()
    assert errors(dlogz_dshape(shape, log_z), truth).max() <= WORST


def test_dz_dshape():
    shape, z, truth, _ = in_z()
    with mp.workdps(60):
        truth = [exactly(v) * t for v, t in zip(z, truth, strict=True)]
    assert errors(dz_dshape(shape, z), truth).max() <= WORST


def test_dp_dshape():
    shape, z, truth, log_zp = in_z()
    with mp.workdps(60):
        truth = [-mp.exp(density) * t for density, t in zip(log_zp, truth, strict=True)]
    allowed = WORST + 4 * EPS * (1 + np.abs(np.array(log_zp, float)))        # exp turns absolute error into relative
    assert np.all(errors(dp_dshape(shape, z), truth) <= allowed)


@pytest.mark.parametrize("shape", [1e-3, 0.1, 5.0, 40.0, 1e5])
def test_log_space_far_below_underflow(shape):
    log_z = np.array([-746.0, -2000.0, -1e6, -1e300])
    assert errors(dlogz_dshape(shape, log_z), [oracles.dlogz_dshape(shape, v) for v in log_z]).max() <= WORST


@pytest.mark.parametrize("shape", [0.1, 5.0, 50.0])
def test_ends_of_the_domain(shape):
    np.testing.assert_array_equal(dz_dshape(shape, [0, np.inf, np.nan]), [0, np.inf, np.nan])
    np.testing.assert_array_equal(dp_dshape(shape, [0, np.inf, np.nan]), [0, 0, np.nan])
    np.testing.assert_array_equal(dlogz_dshape(shape, [-np.inf, 1000, np.inf, np.nan]), [np.inf, 0, 0, np.nan])


# dlogz is given log z rounded, EPS/2 |log z| off; its relative slope in log z is at most 2 (1/2 at large shapes, about
# 1 in the right tail, 1/|log z| far left). dp and p dz are each off as stated.
@given(st.floats(-3, 5), st.floats(1e-6, 1 - 1e-6))
@oracles.repeatable
def test_the_three_agree_and_keep_their_signs(log10_shape, u):
    shape = 10**log10_shape
    z = gammaincinv(shape, u)
    assume(z > 1e-290)
    dz, dlogz, dp = dz_dshape(shape, z), dlogz_dshape(shape, np.log(z)), dp_dshape(shape, z)
    assert dz > 0 and dlogz > 0 and dp < 0
    assert abs(dz - z * dlogz) <= (2 * WORST + EPS * abs(np.log(z))) * dz
    log_zp = oracles.log_zp(shape, z)
    assert errors(dp, [-mp.exp(log_zp) * exactly(dz / z)]) <= 2 * WORST + EPS * (5 + 4 * abs(float(log_zp)))


@pytest.mark.parametrize("function", [dz_dshape, dp_dshape, dlogz_dshape])
def test_broadcasting(function):
    shape, z = np.array([[0.1], [3.0], [80.0]]), np.array([1, 2, 60, 100])
    table = function(shape, z)
    assert table.shape == (3, 4) and table.dtype == np.float64
    assert table.tolist() == [[function(a, v) for v in z.tolist()] for a in shape.ravel().tolist()]


@pytest.mark.parametrize(("function", "arguments", "message"), [
    (dz_dshape, ([1, 0.0], 1), r"shape must be positive and finite, got 0\.0 at index 1"),
    (dp_dshape, (-2, 1), r"shape must be positive and finite, got -2\.0$"),
    (dlogz_dshape, ([[1, np.inf]], 1), r"shape must be positive and finite, got inf at index \(0, 1\)"),
    (dz_dshape, (1, [0, 3, -1]), r"z must be non-negative, got -1\.0 at index 2"),
    (dp_dshape, (1, -1e-9), r"z must be non-negative, got -1e-09$"),
    (dlogz_dshape, (1, "low"), r"log_z must be an array of real numbers, got 'low'"),
    (dz_dshape, (1 + 1j, 1), r"shape must be an array of real numbers, got \(1\+1j\)"),
])
def test_bad_input(function, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        function(*arguments)


def test_first_row_of_coefficients_is_x_over_one_minus_exp():
    exact = [Fraction(*mp.bernfrac(n)) / int(mp.factorial(n)) * (-1) ** n for n in range(19)]
    assert expansion_coefficients(1, 18)[0].tolist() == [float(c) for c in exact]


def test_coefficients_solve_the_differential_equation():
    table, inverse = expansion_coefficients(10, 22), np.array([float(1 / mp.factorial(n)) for n in range(24)])
    for k in range(1, 10):
        psi_k = -(0.5 if k == 1 else float(mp.bernoulli(k))) / k
        for n in range(22):                                  # (e^x - 1) g_k = g_{k-1}' - g_{k-1} - psi_k e^x at x^n
            terms = np.array([*(table[k, :n] * inverse[n:0:-1]), -(n + 1) * table[k - 1, n + 1],
                              table[k - 1, n], psi_k * inverse[n]])
            # each term is a product of two numbers that are each half an eps off: with its own rounding, 1.5 EPS
            assert abs(terms.sum()) <= (1.5 + 0.5 * terms.size) * EPS * np.abs(terms).sum()

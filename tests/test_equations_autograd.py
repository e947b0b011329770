"""The key equations of the chapter on automatic libraries, as printed, from the gamma distribution by mpmath."""

from itertools import pairwise

import mpmath as mp
import sympy as sp
from equations import printed


def dz_dshape(shape, z):
    """The implicit derivative from its definition: P as an integral, differentiated in the shape by differences."""
    p = mp.exp((shape - 1) * mp.log(z) - z - mp.loggamma(shape))
    return -mp.diff(lambda a: mp.gammainc(a, 0, z, regularized=True), shape) / p


def test_limit_at_large_shapes_and_its_series():
    printed("eq-large-shapes", r"""
\partialby{z}{\alpha} \;\to\; \frac{\lambda\log\lambda}{\lambda - 1}
  = 1 + \sum_{k\ge1}\frac{(-1)^{k+1}}{k\,(k+1)}\,\delta^k , \qquad \delta = \lambda - 1,
""")
    delta = sp.symbols("delta")
    middle = (1 + delta) * sp.log(1 + delta) / delta
    series = 1 + sum(sp.Rational((-1) ** (k + 1), k * (k + 1)) * delta**k for k in range(1, 6))
    assert sp.expand(sp.series(middle, delta, 0, 6).removeO() - series) == 0
    with mp.workdps(30):
        ratio = mp.mpf(3) / 4
        limit = ratio * mp.log(ratio) / (ratio - 1)
        off = [dz_dshape(mp.mpf(shape), ratio * shape) - limit for shape in (200, 400, 800)]
        # an error c / shape + d / shape^2 + ...: two of Richardson's steps leave the third power of 1 / 200
        first = [2 * y - x for x, y in pairwise(off)]
        assert abs((4 * first[1] - first[0]) / 3) < 1e-6 < 1e-4 < abs(off[0])


def test_what_a_clamp_leaves():
    printed("eq-clamp", r"\psi'(\alpha) - \frac{P(\alpha, e^L)}{\alpha^2} .")
    with mp.workdps(20):
        shape, L = mp.mpf(3) / 10, mp.mpf(-7)
        z = mp.exp(L)
        clamped = mp.psi(1, shape) - mp.gammainc(shape, 0, z, regularized=True) / shape**2

        def moved(y):                                    # density times derivative, both in y = log z
            return -mp.diff(lambda a: mp.gammainc(a, 0, mp.exp(y), regularized=True), shape)

        # right of L the integral of -dP/da over log z; left of it the derivative at L, as often as a draw is there
        at_L = dz_dshape(shape, z) / z
        mean = mp.quad(moved, [L, -3, 0, 2, 4], maxdegree=4) + at_L * mp.gammainc(shape, 0, z, regularized=True)
        assert abs(mean / clamped - 1) < mp.exp(L) < 0.1 * (mp.psi(1, shape) / clamped - 1)


def test_mean_derivative_along_one_proposal():
    printed("eq-same-proposal",
            r"\frac{1}{2d}\Bigl[\frac{3\,d^{1/3}\,\Gamma(\alpha - \frac13)}{\Gamma(\alpha)} - 1\Bigr],")
    with mp.workdps(25):
        shape = mp.mpf(17) / 5
        d = shape - mp.mpf(1) / 3
        value = (3 * mp.cbrt(d) * mp.gamma(shape - mp.mpf(1) / 3) / mp.gamma(shape) - 1) / (2 * d)

        def log_z(a, x):
            d = a - mp.mpf(1) / 3
            return mp.log(d) + 3 * mp.log(1 + x / mp.sqrt(9 * d))

        def integrand(z):                                # at the x that gives this z
            x = (mp.cbrt(z / d) - 1) * mp.sqrt(9 * d)
            return mp.diff(lambda a: log_z(a, x), shape) * z ** (shape - 1) * mp.exp(-z) / mp.gamma(shape)

        mean = mp.quad(integrand, [0, 1, 4, 10, 30, 80], maxdegree=5)
        assert abs(mean / value - 1) < 1e-10 < 1e-3 < abs(value / mp.psi(1, shape) - 1)

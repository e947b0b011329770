"""The key equations of the appendix on measure-valued gradients, from the gamma density and its integrals."""

import sympy as sp
from equations import printed
from mpmath import mp

alpha, beta, theta = sp.symbols("alpha beta theta", positive=True)


def density(shape):
    return beta**shape * theta ** (shape - 1) * sp.exp(-beta * theta) / sp.gamma(shape)


def integrand(a, b, theta):
    """f = log p - log q at q = Gamma(a, b), for a log joint without a gamma posterior, 3 log theta - theta^1.5."""
    return 3 * mp.log(theta) - theta**1.5 - (a * mp.log(b * theta) - b * theta - mp.loggamma(a))


def elbo(a, b):
    """E[f], by E[log theta] = psi(a) - log b and E[theta^s] = Gamma(a + s) / (Gamma(a) b^s)."""
    return 3 * (mp.psi(0, a) - mp.log(b)) - mp.gamma(a + 1.5) / mp.gamma(a) / b**1.5 - (
        a * mp.psi(0, a) - a - mp.loggamma(a))


def hill(a, z):
    """h = -dP/dalpha at fixed z."""
    return -mp.diff(lambda shape: mp.gammainc(shape, 0, z, regularized=True), a)


def test_rate():
    printed("eq-weak-rate", r"""
        \partialby{\elbo}{\log\beta}
        = \alpha\,\E\!\left[f(\theta) - f\!\left(\theta + \frac{E}{\beta}\right)\right] .""")
    # The density moves as alpha times the difference of two; what moves f is the score, of mean zero.
    moves = sp.diff(sp.log(density(alpha)), beta) * beta - alpha * (1 - density(alpha + 1) / density(alpha))
    assert sp.simplify(sp.gammasimp(moves)) == 0
    # Density of the sum: in the convolution e^(-beta t) cancels, and t^(alpha - 1) has the integral t^alpha / alpha.
    moved = beta * sp.exp(-beta * theta) * beta**alpha / sp.gamma(alpha) * theta**alpha / alpha
    assert sp.simplify(sp.gammasimp(moved / density(alpha + 1))) == 1
    with mp.workdps(30):
        a, b = mp.mpf("1.6"), mp.mpf("1.4")

        def mean(shape):                                 # of the same f under Gamma(shape, b), by trapezoids in y
            return mp.fsum(integrand(a, b, mp.exp(y) / b) * mp.exp(shape * y - mp.exp(y)) for y in (
                mp.mpf(k) / 8 for k in range(-320, 40))) / 8 / mp.gamma(shape)

        slope = mp.diff(lambda log_b: elbo(a, mp.exp(log_b)), mp.log(b))
        assert abs(a * (mean(a) - mean(a + 1)) / slope - 1) < 1e-20


def test_shape():
    printed("eq-weak-shape", r"""
        \partialby{\elbo}{\log\alpha} = \alpha c\,\E\!\left[f\!\left(\frac{z_+}{\beta}\right)
        - f\!\left(\frac{z_-}{\beta}\right)\right] .""")
    with mp.workdps(20):
        a, b = mp.mpf("1.6"), mp.mpf("1.4")
        psi = mp.psi(0, a)
        c = hill(a, mp.exp(psi))

        def side(sign, ends, f):                         # E of f under p_+ or p_-, in y = log z
            return mp.quad(lambda y: sign * (y - psi) / c * mp.exp(a * y - mp.exp(y)) / mp.gamma(a) * f(y), ends)

        def f(y):
            return integrand(a, b, mp.exp(y) / b)

        below, above = [-30, -8, -2, psi], [psi, 2, 4.5]
        assert abs(side(-1, below, lambda y: 1) - 1) < 1e-15 and abs(side(1, above, lambda y: 1) - 1) < 1e-15
        slope = mp.diff(lambda log_a: elbo(mp.exp(log_a), b), mp.log(a))
        assert abs(a * c * (side(1, above, f) - side(-1, below, f)) / slope - 1) < 1e-15


def test_coupling():
    printed("eq-weak-coupling", r"h(z_-) = c\,u, \qquad h(z_+) = c\,(1 - u) .")
    with mp.workdps(20):
        a, z_minus, z_plus = mp.mpf("1.6"), mp.mpf("0.45"), mp.mpf("2.9")
        top = mp.exp(mp.psi(0, a))
        c = hill(a, top)

        def mass(sign, ends):                            # of p_- or p_+
            return mp.quad(lambda z: sign * (mp.log(z) - mp.psi(0, a)) / c * mp.exp(-z) * z ** (a - 1) / mp.gamma(a),
                           ends)

        u = mass(-1, [0, 0.01, 0.1, z_minus])            # the distribution functions at the two points
        assert 0.1 < u < 0.9 and abs(hill(a, z_minus) / (c * u) - 1) < 1e-15
        u = mass(1, [top, z_plus])
        assert 0.1 < u < 0.9 and abs(hill(a, z_plus) / (c * (1 - u)) - 1) < 1e-15

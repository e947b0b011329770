"""The key equations of the chapter on implicit reparameterisation, from densities, integrals and quantiles alone."""

import mpmath as mp
import pytest
from equations import printed


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(32):
        yield


def p(t, alpha):
    return t ** (alpha - 1) * mp.exp(-t) / mp.gamma(alpha)


def dp_dshape(alpha, z):
    """dP/dalpha as `eq-dp-integral` has it."""
    return mp.quad(lambda t: (mp.log(t) - mp.digamma(alpha)) * p(t, alpha), [0, z])


def cdf(alpha, z):
    return mp.gammainc(alpha, 0, z, regularized=True)


def slope(function, at):
    """The derivative by a central difference over eight points, which leaves h^8 / 630 times the ninth derivative."""
    h = mp.mpf("1e-5")
    weights = {1: mp.mpf(4) / 5, 2: -mp.mpf(1) / 5, 3: mp.mpf(4) / 105, 4: -mp.mpf(1) / 280}
    return sum(w * (function(at + j * h) - function(at - j * h)) for j, w in weights.items()) / h


def quantile_slope(alpha, z):
    """dz/dalpha at fixed u, from roots of P = u."""
    u = cdf(alpha, z)
    return slope(lambda a: mp.findroot(lambda t: cdf(a, t) - u, z), alpha)


def path_at_one(z):
    return mp.exp(z) * mp.e1(z) + mp.log(z) + mp.euler


# Of 32 digits five go to the division by h; the quadrature leaves less than that.
CLOSE = mp.mpf("1e-25")


def test_implicit_derivative_is_the_slope_of_the_quantile():
    printed("eq-implicit", r"\partialby{z}{\alpha} = -\,\frac{\partial P(\alpha, z)/\partial\alpha}{p(z; \alpha)} .")
    alpha, z = mp.mpf("2.3"), mp.mpf("1.7")
    assert abs(quantile_slope(alpha, z) - (-dp_dshape(alpha, z) / p(z, alpha))) < CLOSE


def test_derivative_of_the_distribution_function():
    printed("eq-dp-integral", r"\partialby{P}{\alpha} = \int_0^z (\log t - \psi(\alpha))\, p(t; \alpha)\, dt .")
    alpha, z = mp.mpf("2.3"), mp.mpf("1.7")
    assert abs(dp_dshape(alpha, z) - slope(lambda a: cdf(a, z), alpha)) < CLOSE


def test_velocity_of_the_logarithm_is_either_integral():
    printed("eq-two-integrals", r"""\begin{aligned}
\partialby{\log z}{\alpha}
&= \int_0^1 (\psi(\alpha) - \log z - \log s)\, s^{\alpha-1} e^{z(1-s)}\, ds \\
&= \int_1^\infty (\log z + \log s - \psi(\alpha))\, s^{\alpha-1} e^{-z(s-1)}\, ds .
\end{aligned}""")
    alpha, z = mp.mpf("2.3"), mp.mpf("1.7")
    psi = mp.digamma(alpha)
    left = mp.quad(lambda s: (psi - mp.log(z) - mp.log(s)) * s ** (alpha - 1) * mp.exp(z * (1 - s)), [0, 1])
    right = mp.quad(lambda s: (mp.log(z) + mp.log(s) - psi) * s ** (alpha - 1) * mp.exp(-z * (s - 1)),
                    [1, 3, 10, 30, mp.inf])
    truth = -dp_dshape(alpha, z) / (z * p(z, alpha))
    assert abs(left - truth) < CLOSE and abs(right - truth) < CLOSE


def test_shape_one_by_the_exponential_integral():
    printed("eq-at-one", r"\left.\partialby{z}{\alpha}\right|_{\alpha = 1} = e^z E_1(z) + \log z + \gamma .")
    z = mp.mpf("0.7")
    assert abs(path_at_one(z) - quantile_slope(mp.mpf(1), z)) < CLOSE


def test_pathwise_gradient_of_a_power():
    printed("eq-pathwise", r"\partialby{}{\alpha}\,\E[f(z)] = \E\!\left[f'(z)\,\partialby{z}{\alpha}\right]"
            r" = \E\!\left[z f'(z)\,\partialby{\log z}{\alpha}\right] .")
    power, pieces = mp.mpf("2.5"), [0, 1, 10, 70]                 # f = z^2.5 at shape 1
    left = mp.quad(lambda t: t**power * (mp.log(t) - mp.digamma(1)) * mp.exp(-t), pieces)   # of f times dp/dalpha
    right = mp.quad(lambda t: power * t ** (power - 1) * path_at_one(t) * mp.exp(-t), pieces)
    assert abs(left - right) < CLOSE                               # left out beyond 70: below 1e-26


def test_mean_of_the_reparameterisation_gradient_is_the_gradient_of_the_elbo():
    printed("eq-reparameterized", r"""\begin{aligned}
\hat g_{\log\alpha} &= \frac1S \sum_{s=1}^S
\left[\phi(\theta_s)\;\alpha\,\partialby{\log z_s}{\alpha} - \alpha\,(\log z_s - \psi(\alpha))\right], \\
\hat g_{\log\beta} &= \frac1S \sum_{s=1}^S \left[-\phi(\theta_s) - (\alpha - z_s)\right]
\end{aligned}""")
    A, B, beta = mp.mpf("3.5"), mp.mpf("1.6"), mp.mpf("0.7")

    def integrand(alpha, beta, z):                         # log p - log q with respect to log theta, up to a constant
        log_theta = mp.log(z / beta)
        log_q = alpha * mp.log(beta) - mp.loggamma(alpha) + alpha * log_theta - z
        return A * log_theta - B * mp.exp(log_theta) - log_q

    def phi(z):                                            # at shape 1, as all that follows
        return (A - B * z / beta) - (1 - z)

    terms = (lambda z: phi(z) * path_at_one(z) / z - (mp.log(z) - mp.digamma(1)), lambda z: -phi(z) - (1 - z))

    z = mp.mpf("0.7")                                      # one draw: the whole integrand along its path
    at_fixed_noise = (slope(lambda a: integrand(a, beta, z + (a - 1) * path_at_one(z)), mp.mpf(1)),
                      beta * slope(lambda b: integrand(mp.mpf(1), b, z), beta))
    pieces = [0, 1, 10, 70]                               # the mean: of (log p - log q) times the slope of the density
    means = [mp.quad(lambda t, term=term: term(t) * mp.exp(-t), pieces) for term in terms]
    truths = [mp.quad(lambda t, score=score: integrand(mp.mpf(1), beta, t) * score(t) * mp.exp(-t), pieces)
              for score in (lambda t: mp.log(t) - mp.digamma(1), lambda t: 1 - t)]
    for got, truth in zip((*(term(z) for term in terms), *means), (*at_fixed_noise, *truths), strict=True):
        assert abs(got - truth) < CLOSE

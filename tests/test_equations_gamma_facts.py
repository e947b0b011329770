"""The key equations of the appendix on the gamma function and gamma family, from integrals and definitions alone."""

import mpmath as mp
import pytest
import sympy as sp
from equations import printed

ALPHA, BETA = mp.mpf("2.3"), mp.mpf("1.7")
CLOSE = mp.mpf("1e-25")                                    # of 32 digits; quadrature leaves less


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(32):
        yield


def log_density(theta):
    return ALPHA * mp.log(BETA) - mp.loggamma(ALPHA) + (ALPHA - 1) * mp.log(theta) - BETA * theta


def mean(function):
    """E[function(theta)] by quadrature in log theta; left out beyond the ends: below 1e-30."""
    return mp.quad(lambda y: function(mp.exp(y)) * mp.exp(y + log_density(mp.exp(y))), [-34, -10, -2, 1, 4])


def stirling_error(x):
    return mp.loggamma(x) - ((x - mp.mpf(1) / 2) * mp.log(x) - x + mp.log(2 * mp.pi) / 2)


def test_every_moment():
    printed("eq-moments", r"\E[\theta^s] = \frac{\Gamma(\alpha + s)}{\Gamma(\alpha)\,\beta^s} , \qquad\text{so}\qquad"
            r"\E[\theta] = \frac{\alpha}{\beta}, \qquad \Var[\theta] = \frac{\alpha}{\beta^2} .")
    s = mp.mpf("-0.3")
    assert abs(mean(lambda theta: theta**s) - mp.gamma(ALPHA + s) / (mp.gamma(ALPHA) * BETA**s)) < CLOSE
    assert abs(mean(lambda theta: theta) - ALPHA / BETA) < CLOSE
    assert abs(mean(lambda theta: (theta - ALPHA / BETA) ** 2) - ALPHA / BETA**2) < CLOSE


def test_mean_of_the_logarithm():
    printed("eq-mean-log", r"\E[\log\theta] = \psi(\alpha) - \log\beta ,")
    assert abs(mean(mp.log) - (mp.digamma(ALPHA) - mp.log(BETA))) < CLOSE


def test_covariances_of_the_scores():
    printed("eq-score-variance", r"\Var[\log\theta] = \psi'(\alpha), \qquad \Cov(\log\theta, \beta\theta) = 1,"
            r"\qquad \Var[\beta\theta] = \alpha .")
    centre = mean(mp.log)
    assert abs(mean(lambda theta: (mp.log(theta) - centre) ** 2) - mp.psi(1, ALPHA)) < CLOSE
    assert abs(mean(lambda theta: (mp.log(theta) - centre) * (BETA * theta - ALPHA)) - 1) < CLOSE
    assert abs(mean(lambda theta: (BETA * theta - ALPHA) ** 2) - ALPHA) < CLOSE


def test_entropy_plain_and_without_cancellation():
    printed("eq-entropy", r"\E[-\log p(\theta; \alpha, \beta)] ="
            r"\alpha - \log\beta + \log\Gamma(\alpha) + (1 - \alpha)\,\psi(\alpha) ,")
    printed("eq-entropy-accurate", r"\E[-\log p] = \tfrac12\log(2\pi\alpha) - \log\beta + \delta(\alpha)"
            r"+ (1 - \alpha)\big(\psi(\alpha) - \log\alpha\big) .")
    entropy = mean(lambda theta: -log_density(theta))
    psi = mp.digamma(ALPHA)
    assert abs(ALPHA - mp.log(BETA) + mp.loggamma(ALPHA) + (1 - ALPHA) * psi - entropy) < CLOSE
    assert abs(mp.log(2 * mp.pi * ALPHA) / 2 - mp.log(BETA) + stirling_error(ALPHA)
               + (1 - ALPHA) * (psi - mp.log(ALPHA)) - entropy) < CLOSE


def test_trigamma_as_a_series_between_its_bounds():
    printed("eq-trigamma-bounds", r"\psi'(x) = \sum_{k=0}^\infty \frac1{(x+k)^2} ,"
            r"\qquad \frac1x < \psi'(x) < \frac1x + \frac1{x^2} .")
    x = mp.mpf("0.3")
    trigamma = mp.diff(mp.loggamma, x, 2)
    assert abs(mp.nsum(lambda k: 1 / (x + k) ** 2, [0, mp.inf]) - trigamma) < mp.mpf("1e-20")      # a second difference
    assert 1 / x < trigamma < 1 / x + 1 / x**2


def test_asymptotic_series_err_by_less_than_the_next_term_and_to_its_side():
    printed("eq-trigamma-asymptotic", r"\psi'(x) - \frac1x \approx"
            r"\frac1{2x^2} + \sum_{k=1}^K \frac{B_{2k}}{x^{2k+1}} ,")
    printed("eq-digamma-asymptotic", r"\psi(x) - \log x \approx"
            r"-\frac1{2x} - \sum_{k=1}^K \frac{B_{2k}}{2k\,x^{2k}} ,")
    printed("eq-stirling-asymptotic", r"\delta(x) \approx \sum_{k=1}^K \frac{B_{2k}}{2k(2k-1)\,x^{2k-1}} .")
    x, B = mp.mpf(7), mp.bernoulli
    left_out = [mp.psi(1, x) - 1 / x - 1 / (2 * x**2),
                mp.digamma(x) - mp.log(x) + 1 / (2 * x),
                stirling_error(x)]
    for k in range(1, 7):                                  # what is left before term k, over term k: in (0, 1), near 1
        terms = [B(2 * k) / x ** (2 * k + 1),
                 -B(2 * k) / (2 * k * x ** (2 * k)),
                 B(2 * k) / (2 * k * (2 * k - 1) * x ** (2 * k - 1))]
        assert all(0.8 < rest / term < 1 for rest, term in zip(left_out, terms, strict=True))
        left_out = [rest - term for rest, term in zip(left_out, terms, strict=True)]


def test_step_of_the_stirling_error():
    printed("eq-stirling-step", r"""\begin{aligned}
\delta(x) - \delta(x+1) &= \Big(x + \frac12\Big)\log\Big(1 + \frac1x\Big) - 1 \\
&= \frac{y^2}3 + \frac{y^4}5 + \frac{y^6}7 + \dots , \qquad y = \frac1{2x+1} .
\end{aligned}""")
    x = mp.mpf("1.3")
    step, y = stirling_error(x) - stirling_error(x + 1), 1 / (2 * x + 1)
    assert abs((x + mp.mpf(1) / 2) * mp.log(1 + 1 / x) - 1 - step) < CLOSE
    assert abs(sum(y ** (2 * n) / (2 * n + 1) for n in range(1, 50)) - step) < CLOSE           # y^100 is below 1e-55


def test_step_and_series_of_the_incomplete_gamma_function():
    printed("eq-incomplete-gamma", r"P(\alpha, z) = \frac1{\Gamma(\alpha)}\int_0^z t^{\alpha-1}e^{-t}\,dt ,"
            r"\qquad Q(\alpha, z) = 1 - P(\alpha, z) .")
    z, gamma = mp.mpf("1.9"), mp.gamma

    def P(alpha):
        return mp.quad(lambda y: mp.exp(alpha * y - mp.exp(y)), [-34, -4, mp.log(z)]) / gamma(alpha)      # t = e^y

    assert abs(P(ALPHA) - P(ALPHA + 1) - z**ALPHA * mp.exp(-z) / gamma(ALPHA + 1)) < CLOSE
    positive = z**ALPHA * mp.exp(-z) * sum(z**n / gamma(ALPHA + n + 1) for n in range(50))
    alternating = z**ALPHA / gamma(ALPHA) * sum((-z) ** n / (mp.factorial(n) * (ALPHA + n)) for n in range(50))
    assert abs(positive - P(ALPHA)) < CLOSE and abs(alternating - P(ALPHA)) < CLOSE


def test_sum_and_share_of_two_gammas():
    """Unnumbered: the joint density of z_1 = s w and z_2 = s (1 - w) is a gamma density times a Beta density."""
    s, w, a, b = sp.symbols("s w a b", positive=True)
    z_1, z_2 = s * w, s * (1 - w)
    jacobian = sp.Matrix([z_1, z_2]).jacobian([s, w]).det()
    log_joint = (a - 1) * sp.log(z_1) + (b - 1) * (sp.log(s) + sp.log(1 - w)) - z_1 - z_2
    log_product = (a + b - 1) * sp.log(s) - s + (a - 1) * sp.log(w) + (b - 1) * sp.log(1 - w)
    assert sp.expand(jacobian) == -s
    assert sp.expand(sp.expand_log(log_joint + sp.log(s) - log_product)) == 0

"""The key equations of the chapter "Little data", as printed, from moments, densities and sums."""

from fractions import Fraction
from itertools import product
from statistics import mean, variance

import mpmath
import sympy as sp
from equations import printed

b, m, v, x0, theta = sp.symbols("b m v x0 theta", positive=True)


def test_what_a_prior_is_worth():
    printed("eq-prior-gain", r"""\begin{aligned}
\operatorname{MSE} = \E\bigl[(\hat\theta - \theta)^2\bigr] &= \frac{b^2\Delta^2 + m\,v}{(b + m)^2} , \\
\frac vm - \operatorname{MSE} &= \left(\frac{b}{b + m}\right)^{\!2}
\left[\, v\left(\frac2b + \frac1m\right) - \Delta^2 \right] .
\end{aligned}""")
    delta = x0 - theta
    mse = (b**2 * delta**2 + m * v) / (b + m)**2
    gain = (b / (b + m))**2 * (v * (2 / b + 1 / m) - delta**2)
    T = sp.Symbol("T")
    square = sp.Poly(sp.expand(((b * x0 + T) / (b + m) - theta)**2), T)
    moments = {0: 1, 1: m * theta, 2: m * v + (m * theta)**2}        # of a total of m independent rows
    assert sp.simplify(sum(c * moments[k] for (k,), c in square.terms()) - mse) == 0
    assert sp.simplify(v / m - mse - gain) == 0


def test_what_a_point_rule_costs():
    printed("eq-point-excess", r"""\E\left[\log\frac{\Poisson(x; \theta)}{\Poisson(x; \hat\theta)}\right]
= \theta\log\frac{\theta}{\hat\theta} - \theta + \hat\theta
= \frac{\theta\,(\hat\theta - \theta)^2}{2\,\tilde\theta^2}""")
    with mpmath.workdps(30):
        rate, other = mpmath.mpf("2.7"), mpmath.mpf("1.9")
        excess = rate * mpmath.log(rate / other) - rate + other
        poisson = [lambda x, t=t: mpmath.exp(-t) * t**x / mpmath.factorial(x) for t in (rate, other)]
        total = sum(poisson[0](x) * mpmath.log(poisson[0](x) / poisson[1](x)) for x in range(80))
        assert abs(total - excess) < 1e-25                           # beyond x = 80 lies less than 1e-80
        between = mpmath.sqrt(rate * (other - rate)**2 / (2 * excess))
        assert other < between < rate


def test_a_standard_error_for_crossed_samples():
    printed("eq-crossed-error", r"""\E\left[\frac{s_K^2}{K} + \frac{s_I^2}{I}\right]
= \Var(\bar d) + \frac{\sigma_\varepsilon^2}{KI} \;\ge\; \Var(\bar d) ,""")
    # d = g(set, image) with fair coins for sets and images: all 2^5 outcomes of 3 sets and 2 images, in fractions
    g, mu = ((Fraction(0), Fraction(1)), (Fraction(2), Fraction(7))), Fraction(10, 4)
    left, means = 0, []
    for coins in product((0, 1), repeat=5):
        d = [[g[one][image] for image in coins[3:]] for one in coins[:3]]
        of_sets, of_images = [mean(row) for row in d], [mean(column) for column in zip(*d, strict=True)]
        left += (variance(of_sets) / 3 + variance(of_images) / 2) / 32
        means.append(mean(of_sets))
    rest = [g[one][image] - mean(g[one]) - (g[0][image] + g[1][image]) / 2 + mu
            for one, image in product((0, 1), repeat=2)]
    sigma_eps2, of_mean = mean([part**2 for part in rest]), mean([(one - mu)**2 for one in means])
    assert sigma_eps2 > 0 and left == of_mean + sigma_eps2 / (3 * 2)


def test_the_wider_distribution():
    printed("eq-wider", r"""\frac{(x - \mu)^2 - x}{2B\mu}, \qquad\text{on average}\quad
\frac{1}{2B}\left(\frac{v}{\theta} - 1\right)""")
    with mpmath.workdps(60):
        mu, B, x = mpmath.mpf("1.7"), mpmath.mpf("1e20"), 4
        A = mu * B
        negative_binomial = (mpmath.loggamma(A + x) - mpmath.loggamma(A) - mpmath.loggamma(x + 1)
                             + A * mpmath.log(B / (B + 1)) - x * mpmath.log(B + 1))
        above = negative_binomial - (x * mpmath.log(mu) - mu - mpmath.loggamma(x + 1))
        # the next order is 1/B = 1e-20 of it, and 60 digits hold 35 after the log-gammas of 1e22
        assert abs(above / (((x - mu)**2 - x) / (2 * B * mu)) - 1) < 1e-18
    count = sp.Symbol("x")
    square = sp.Poly(sp.expand((count - theta)**2 - count), count)
    average = sum(c * {0: 1, 1: theta, 2: v + theta**2}[k] for (k,), c in square.terms())
    assert sp.simplify(average / (2 * theta) - (v / theta - 1) / 2) == 0


def test_the_evidence_of_the_totals():
    printed("eq-pooled-evidence", r"""\begin{aligned}
\log p(T) = \sum_{d=1}^D \Bigl[ & \log\Gamma(a_d + T_d) - \log\Gamma(a_d) - \log T_d! \\
& {} + a_d\log\frac{b_d}{b_d + m} + T_d\log\frac{m}{b_d + m} \Bigr] .
\end{aligned}""")
    with mpmath.workdps(30):
        shape, rate, rows, total = mpmath.mpf("0.7"), mpmath.mpf("1.3"), 3, 4
        term = (mpmath.loggamma(shape + total) - mpmath.loggamma(shape) - mpmath.log(mpmath.factorial(total))
                + shape * mpmath.log(rate / (rate + rows)) + total * mpmath.log(rows / (rate + rows)))
        by_integral = mpmath.quad(
            lambda t: (mpmath.exp(-rows * t) * (rows * t)**total / mpmath.factorial(total)
                       * rate**shape / mpmath.gamma(shape) * t**(shape - 1) * mpmath.exp(-rate * t)), [0, 1, 4, 40])
        assert abs(term - mpmath.log(by_integral)) < 1e-20           # the corner t^3.7 at 0 holds quadrature there


TOTALS, ROWS = (0, 1, 3, 8), 2
MEAN = sp.Rational(sum(TOTALS), len(TOTALS))


def evidence(shapes, rates):
    """The log evidence of TOTALS, as printed above."""
    return sum(sp.loggamma(a + T) - sp.loggamma(a) + a * sp.log(b / (b + ROWS)) + T * sp.log(ROWS / (b + ROWS))
               for a, b, T in zip(shapes, rates, TOTALS, strict=True))


def test_the_slope_of_the_pooled_evidence():
    printed("eq-pooled-slope", r"""\ell'(a) = \sum_{d=1}^D\;\sum_{j=0}^{T_d - 1}\frac{1}{a + j}
- D\log\left(1 + \frac Ma\right) .""")
    a, mu = sp.symbols("a mu", positive=True)
    slope = sum(1 / (a + j) for T in TOTALS for j in range(T)) - len(TOTALS) * sp.log(1 + MEAN / a)
    free = evidence(4 * [a], 4 * [a / mu])
    assert sp.simplify(free.diff(mu).subs(mu, MEAN / ROWS)) == 0     # part 1 of the theorem
    held = free.subs(mu, MEAN / ROWS).diff(a)
    assert abs((held - slope).evalf(30, {a: sp.Rational(7, 5)})) < 1e-25
    spread = sum((T - MEAN)**2 for T in TOTALS) / len(TOTALS)        # and what the proof says of its two ends
    assert sp.limit(a * slope, a, 0) == 3
    assert sp.series(slope.subs(a, 1 / mu), mu, 0, 3).removeO().coeff(mu, 2) == len(TOTALS) * (MEAN - spread) / 2


def test_the_slope_in_the_strength_of_a_drawing():
    printed("eq-strength-slope", r"""\partialby{\log p(T)}{\log c} = \sum_d a_d\left\{
\bigl[\chi(a_d + T_d) - \chi(a_d)\bigr] - \bigl[y_d - \log(1 + y_d)\bigr]\right\} .""")
    c, picture = sp.Symbol("c", positive=True), (sp.Rational(1, 4), 1, 2, sp.Rational(7, 2))
    chi = lambda t: sp.digamma(t) - sp.log(t)                        # noqa: E731
    shapes = [c * one for one in picture]
    y = [(T / one - ROWS) / (c + ROWS) for T, one in zip(TOTALS, picture, strict=True)]
    slope = sum(a * ((chi(a + T) - chi(a)) - (off - sp.log(1 + off)))
                for a, T, off in zip(shapes, TOTALS, y, strict=True))
    by_derivative = c * evidence(shapes, 4 * [c]).diff(c)
    assert abs((by_derivative - slope).evalf(30, {c: sp.Rational(3, 7)})) < 1e-25

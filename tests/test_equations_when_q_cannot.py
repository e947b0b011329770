"""The key equations of the chapter on posteriors outside the family, as printed, from densities and integrals."""

from functools import cache

import sympy as sp
from equations import printed

theta, e1, e2, a, b, c1, c2, d1, d2 = sp.symbols("theta e_1 e_2 a b c_1 c_2 d_1 d_2", positive=True)
alpha, beta, g1, g2, h1, h2 = sp.symbols("alpha beta gamma_1 gamma_2 delta_1 delta_2", positive=True)
x1, x2 = sp.symbols("x_1 x_2", integer=True, nonnegative=True)
y1, y2, s, r, a_s, b_s, a_r, b_r = sp.symbols("y_1 y_2 s r a_s b_s a_r b_r", positive=True)


def gamma(x, shape, rate):
    """Log density of x."""
    return shape * sp.log(rate) - sp.loggamma(shape) + (shape - 1) * sp.log(x) - rate * x


def poisson(k, mean):
    return k * sp.log(mean) - mean - sp.loggamma(k + 1)


def zero(expression):
    logs = sp.expand_log(sp.expand(expression), force=True)
    return sp.expand(logs) == 0 or sp.cancel(sp.together(logs)) == 0


@cache
def gamma_integral(k=sp.Symbol("k", positive=True), v=sp.Symbol("v", positive=True)):
    """Log of the integral of x^(k - 1) e^(-v x) over x > 0, as a function of k and v."""
    value = sp.log(sp.integrate(theta ** (k - 1) * sp.exp(-v * theta), (theta, 0, sp.oo)))
    return sp.Lambda((k, v), sp.expand_log(value, force=True).replace(sp.gamma, lambda u: sp.exp(sp.loggamma(u))))


# with respect to logarithms: each density times its variable
EXPOSURE = (gamma(theta, a, b) + sp.log(theta) + gamma(e1, c1, d1) + sp.log(e1) + gamma(e2, c2, d2) + sp.log(e2)
            + poisson(x1, theta * e1) + poisson(x2, theta * e2))
SHAPE = gamma(s, a_s, b_s) + sp.log(s) + gamma(r, a_r, b_r) + sp.log(r) + gamma(y1, s, r) + gamma(y2, s, r)
m, G, Y = 2, sp.log(y1) + sp.log(y2), y1 + y2


def test_slopes_of_the_exposure_model():
    printed("eq-exposure-gradient", r"""\begin{aligned}
        \partialby{\log p}{\log\theta} &= a + \sum_ix_i - \Big(b + \sum_ie_i\Big)\theta, \\
        \partialby{\log p}{\log e_i} &= c_i + x_i - (d_i + \theta)\,e_i .
        \end{aligned}""")
    assert zero(theta * sp.diff(EXPOSURE, theta) - (a + x1 + x2 - (b + e1 + e2) * theta))
    assert zero(e1 * sp.diff(EXPOSURE, e1) - (c1 + x1 - (d1 + theta) * e1))


def test_noise_of_the_path_derivative_at_the_best_product():
    printed("eq-exposure-floor", r"""\begin{aligned}
        \Var(\phi_\theta) &= \E[\theta^2]\sum_i\Var(e_i), \\
        \Var(\phi_{e_i}) &= \E[e_i^2]\,\Var(\theta),
        \end{aligned}""")
    unknowns = ((theta, alpha, beta), (e1, g1, h1), (e2, g2, h2))
    best = {a: alpha - x1 - x2, b: beta - g1 / h1 - g2 / h2,             # where each factor is the best for the others
            c1: g1 - x1, d1: h1 - alpha / beta, c2: g2 - x2, d2: h2 - alpha / beta}

    def mean(expression):
        total = 0
        for powers, c in sp.Poly(sp.expand(expression), theta, e1, e2).terms():
            for (_, shape, rate), k in zip(unknowns, powers, strict=True):
                c = c * sp.rf(shape, k) / rate**k        # E[x^k] of a gamma
            total += c
        return total

    def variance(expression):
        return mean(expression**2) - mean(expression) ** 2
    forces = [(sp.expand(x * sp.diff(EXPOSURE - gamma(x, shape, rate) - sp.log(x), x)).subs(best), shape - rate * x)
              for x, shape, rate in unknowns]
    claimed = (mean(theta**2) * (variance(e1) + variance(e2)), mean(e1**2) * variance(theta))
    for (force, score), floor, (_, shape, _) in zip(forces, claimed, unknowns, strict=False):
        assert sp.cancel(mean(force)) == 0 and sp.cancel(variance(force) - floor) == 0
        assert sp.cancel(variance(-force - score) - (floor + shape)) == 0            # the full gradient's


def test_the_exposures_integrated_out():
    printed("eq-exposure-marginal", r"""\begin{aligned}
        \log p(x, \log\theta) ={} & a\log\theta - b\theta + a\log b - \log\Gamma(a)
        + \sum_i\Big[\log\frac{\Gamma(c_i + x_i)}{\Gamma(c_i)\,x_i!} \\
        & {} + c_i\log\frac{d_i}{d_i + \theta} + x_i\log\frac{\theta}{d_i + \theta}\Big] .
        \end{aligned}""")
    one = gamma(theta, a, b) + sp.log(theta) + gamma(e1, c1, d1) + poisson(x1, theta * e1)
    rest = sp.expand(sp.expand_log(one, force=True) - (c1 + x1 - 1) * sp.log(e1) + (d1 + theta) * e1)
    assert not rest.has(e1)                              # all of e_1 is in the integral
    integral = rest + gamma_integral()(c1 + x1, d1 + theta)
    claimed = (a * sp.log(theta) - b * theta + a * sp.log(b) - sp.loggamma(a)
               + sp.loggamma(c1 + x1) - sp.loggamma(c1) - sp.loggamma(x1 + 1)
               + c1 * sp.log(d1 / (d1 + theta)) + x1 * sp.log(theta / (d1 + theta)))
    assert zero(integral - claimed)


def test_the_best_product_for_a_normal_posterior():
    printed("eq-mean-field-normal", r"""\begin{gathered}
        \Var_{q^*}(t_d) = \frac{1}{\Lambda_{dd}} = \Var(t_d \mid \text{the others}), \\
        \log p(x) - \elbo(q^*) = \tfrac12\log\frac{\prod_d\Lambda_{dd}}{\det\Lambda} .
        \end{gathered}""")
    precision = sp.Matrix(3, 3, lambda i, j: sp.Symbol(f"L{min(i, j)}{max(i, j)}", positive=i == j, real=True))
    covariance = precision.inv()
    for d in range(3):                                   # of a normal, by the Schur complement
        others = [i for i in range(3) if i != d]
        inner = covariance.extract(others, others)
        given = covariance[d, d] - (covariance.extract([d], others) * inner.inv() * covariance.extract(others, [d]))[0]
        assert sp.cancel(given - 1 / precision[d, d]) == 0
    v, means = sp.symbols("v:3", positive=True), sp.Matrix(sp.symbols("n:3", real=True))
    quadratic = sum(precision[d, d] * v[d] for d in range(3)) + (means.T * precision * means)[0]     # mu = 0
    log_det = sp.log(precision.det())
    divergence = (-sum(sp.log(2 * sp.pi * sp.E * u) for u in v) + quadratic + 3 * sp.log(2 * sp.pi) - log_det) / 2
    at = {u: 1 / precision[d, d] for d, u in enumerate(v)} | dict.fromkeys(means, 0)
    for u in (*v, *means):                               # and it is convex in each variance and in the means
        assert sp.cancel(sp.diff(divergence, u).subs(at)) == 0
    gap = (sp.log(precision[0, 0] * precision[1, 1] * precision[2, 2]) - log_det) / 2
    assert zero(divergence.subs(at) - gap)


def test_slopes_of_the_model_with_an_unknown_shape():
    printed("eq-gamma-shape-gradient", r"""\begin{aligned}
        \partialby{\log p}{\log s} &= a_s - b_ss + s\,(m\log r + G) - m\,s\,\psi(s), \\
        \partialby{\log p}{\log r} &= a_r - b_rr + ms - rY .
        \end{aligned}""")
    assert zero(s * sp.diff(SHAPE, s) - (a_s - b_s * s + s * (m * sp.log(r) + G) - m * s * sp.digamma(s)))
    assert zero(r * sp.diff(SHAPE, r) - (a_r - b_r * r + m * s - r * Y))


def test_the_best_factor_of_the_shape():
    printed("eq-best-shape-factor", r"""\exp\big\{a_s\log s - b_ss + s\,(m\E[\log r] + G) - m\log\Gamma(s)\big\} ,""")
    mean_log_r, mean_r = sp.symbols("E_log_r E_r", real=True)
    expected = sp.expand_log(sp.expand(SHAPE), force=True).subs(sp.log(r), mean_log_r).subs(r, mean_r)    # it is linear
    claimed = a_s * sp.log(s) - b_s * s + s * (m * mean_log_r + G) - m * sp.loggamma(s)
    assert zero(sp.diff(expected - claimed, s))


def test_the_rate_integrated_out():
    printed("eq-gamma-shape-marginal", r"""\begin{aligned}
        \log p(y, \log s) ={} & a_s\log s - b_ss + a_s\log b_s - \log\Gamma(a_s) \\
        & - m\log\Gamma(s) + (s - 1)\,G + a_r\log b_r - \log\Gamma(a_r) \\
        & + \log\Gamma(a_r + ms) - (a_r + ms)\log(b_r + Y) .
        \end{aligned}""")
    rest = sp.expand(sp.expand_log(SHAPE, force=True) - (a_r + m * s) * sp.log(r) + (b_r + Y) * r)
    assert not rest.has(r)                               # over log r: one power of r less
    integral = rest + gamma_integral()(a_r + m * s, b_r + Y)
    claimed = (a_s * sp.log(s) - b_s * s + a_s * sp.log(b_s) - sp.loggamma(a_s)
               - m * sp.loggamma(s) + (s - 1) * G + a_r * sp.log(b_r) - sp.loggamma(a_r)
               + sp.loggamma(a_r + m * s) - (a_r + m * s) * sp.log(b_r + Y))
    assert zero(integral - claimed)

"""The key equations of the chapter on the fit, as printed, from densities and moments by computer algebra."""

import mpmath as mp
import sympy as sp
from equations import printed

a, b, c, d, t, v = sp.symbols("alpha beta c d t v", positive=True)
A, B = sp.Rational(37, 17), sp.Rational(13, 9)                             # an odd point


def expected(f, shape, rate):
    """The mean under Gamma(shape, rate) of a polynomial of degree 2 in log theta (`c`) and theta (`d`)."""
    moment = sp.gamma(shape + t) / (sp.gamma(shape) * rate**t)             # of theta^t; log theta differentiates in t
    return sum(k * sp.diff(moment, t, i).subs(t, j) for (i, j), k in sp.Poly(f, c, d).terms())


def log_density(shape, rate):
    """Of log theta, at log theta = c and theta = d."""
    return shape * sp.log(rate) - sp.loggamma(shape) + shape * c - rate * d


def value(expression):
    """At Gamma(A, B), to 25 digits."""
    return sp.N(expression.subs({a: A, b: B}), 25)


def test_half_the_variance_of_the_integrand_is_the_divergence_to_second_order():
    printed("eq-half-variance", r"\KL(q \,\|\, p(\theta \mid x)) \approx \tfrac12 \Var_q f .")
    alpha, beta, small = mp.mpf(37) / 17, mp.mpf(13) / 9, mp.mpf(10) ** -6

    def log_q(y, alpha, beta):                                             # the density of y = log theta
        return alpha * mp.log(beta) - mp.loggamma(alpha) + alpha * y - beta * mp.exp(y)

    with mp.workdps(30):
        def mean(f):
            return mp.quad(lambda y: mp.exp(log_q(y, alpha, beta)) * f(y), [-40, -10, -2, 2, 5])

        def delta(y):                                                      # f is a constant less Delta
            return log_q(y, alpha, beta) - log_q(y, alpha * (1 + 2 * small), beta * (1 - 3 * small))

        kl = mean(delta)
        half_variance = mean(lambda y: (delta(y) - kl) ** 2) / 2
        assert abs(half_variance / kl - 1) < 10 * small                    # up to the third order


def test_the_gradient_tells_the_divergence_to_second_order():
    printed("eq-estimated-kl", r"\KL \approx \tfrac12\, g^\top F^{-1} g .")
    kl = expected(log_density(a, b) - log_density(A, B), a, b)             # Gamma(A, B) is the posterior
    score = [x * sp.diff(log_density(a, b), x) for x in (a, b)]            # in log shape and log rate
    F = sp.Matrix(2, 2, lambda i, j: value(expected(score[i] * score[j], a, b)))
    g = sp.Matrix([-x * sp.diff(kl, x) for x in (a, b)])                   # of the ELBO, log p(x) - KL
    curvature = sp.Matrix(2, 2, lambda i, j: value(-(a, b)[j] * sp.diff(g[i], (a, b)[j])))
    way = sp.Matrix([2, -3])                                               # at q = posterior + s way, to order s:
    slope = -curvature * way                                               # the gradient is s slope
    assert max(abs(value(x)) for x in [kl, *g]) < 1e-20
    left, right = (way.T * curvature * way)[0] / 2, (slope.T * F.inv() * slope)[0] / 2
    assert abs(left - right) < 1e-20 and left > 1


def test_split_r_hat_compares_two_estimates_of_one_variance():
    printed("eq-split-r-hat", r"\hat R = \sqrt{\frac{\tfrac{n-1}{n} V + V_2}{V}}")
    size = 3                                                               # of a half; all numbers independent
    x = sp.symbols("x:6", real=True)
    halves = x[:size], x[size:]
    V = sum((y - sum(half) / size) ** 2 for half in halves for y in half) / (size - 1) / 2
    V2 = sum((sum(half) / size - sum(x) / 6) ** 2 for half in halves)      # divisor 2 - 1

    def mean_of(f):                                                        # E[x_i x_j] = v where i = j, else 0
        return sum(k * (v if 2 in powers else 0) for powers, k in sp.Poly(sp.expand(f), *x).terms())

    numerator = sp.Rational(size - 1, size) * V + V2
    assert mean_of(V) == v and mean_of(numerator) == v


def test_effective_sample_size_is_what_the_variance_of_a_mean_says():
    printed("eq-effective-sample-size",
            r"\mathrm{ESS} = \frac{N}{-1 + 2\sum_{k\ge0} \left(\rho_{2k} + \rho_{2k+1}\right)} .")
    with mp.workdps(30):
        rho, N = mp.mpf(3) / 5, 10**6                                      # numbers k apart correlate as rho^k
        ess = N / (-1 + 2 * sum(rho ** (2 * k) + rho ** (2 * k + 1) for k in range(100)))     # rho^200 = 1e-44
        variance = (N + 2 * sum((N - k) * rho**k for k in range(1, 200))) / mp.mpf(N) ** 2    # all pairs of numbers
        assert abs(variance * ess - 1) < 2 / mp.mpf(N)                     # "for large N": as 1 / N


def test_the_cost_of_an_average_and_twice_its_deviation():
    printed("eq-kl-of-average",
            r"\tfrac12 \sum_i F_i e_i^2 + 2 \sqrt{\tfrac12 \sum_i \left(F_i e_i^2\right)^2} .")
    z1, z2 = sp.symbols("z1 z2", real=True)
    F1, F2, e1, e2 = sp.symbols("F1 F2 e1 e2", positive=True)
    bound = (F1 * e1**2 + F2 * e2**2) / 2 + 2 * sp.sqrt(((F1 * e1**2) ** 2 + (F2 * e2**2) ** 2) / 2)

    def normal_mean(f):
        moments = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3}
        return sum(k * moments[i] * moments[j] for (i, j), k in sp.Poly(sp.expand(f), z1, z2).terms())

    cost = (F1 * (e1 * z1) ** 2 + F2 * (e2 * z2) ** 2) / 2
    mean = normal_mean(cost)
    variance = normal_mean(cost**2) - mean**2
    assert sp.simplify(mean + 2 * sp.sqrt(variance) - bound) == 0

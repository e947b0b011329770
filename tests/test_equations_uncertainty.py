"""The key equations of the chapter "Uncertainty and calibration", as printed, from densities, integrals and sums."""

from fractions import Fraction
from math import comb

import mpmath
import sympy as sp
from equations import printed


def test_ranks_are_uniform():
    printed("eq-sbc-rank", r"""\begin{gathered}
r = \#\{l : \theta_l < \theta\}, \\
P(r = j) = \frac{1}{L + 1} \quad (0 \le j \le L) .
\end{gathered}""")
    L, j, e = 4, 1, sp.Symbol("e")                                   # an exponential posterior, e = exp(-B theta)
    # each draw is below theta with probability 1 - e; the mean of e^n is the integral of B exp(-(n + 1) B theta)
    chance = sp.Poly(sp.expand(sp.binomial(L, j) * (1 - e)**j * e**(L - j)), e)
    theta, B = sp.symbols("theta B", positive=True)
    mean = {n: sp.integrate(B * sp.exp(-(n + 1) * B * theta), (theta, 0, sp.oo)) for (n,), _ in chance.terms()}
    assert sum(factor * mean[n] for (n,), factor in chance.terms()) == sp.Rational(1, L + 1)


def test_what_the_variance_of_the_scores_says():
    printed("eq-score-width", r"""\E[z] = -\frac{\E[\delta]}{c}, \qquad \Var(z) = \frac{1 + \Var(\delta)}{c^2} .""")
    theta, mu, d1, d2 = sp.symbols("theta mu d1 d2")                 # d1, d2: the mean of delta and of its square
    z, c, s, delta = sp.Symbol("z"), *sp.symbols("c s delta", positive=True)
    score = sp.solve(sp.Eq(z, (theta - (mu + delta * s)) / (c * s)), z)[0]     # F_q(theta) = Phi(z), q normal

    def mean(power):
        terms = sp.Poly(sp.expand(score**power), theta, delta).terms()
        of_theta, of_delta = {0: 1, 1: mu, 2: mu**2 + s**2}, {0: 1, 1: d1, 2: d2}
        return sum(factor * of_theta[k] * of_delta[n] for (k, n), factor in terms)

    assert sp.simplify(mean(1) + d1 / c) == 0
    assert sp.simplify(mean(2) - mean(1)**2 - (1 + d2 - d1**2) / c**2) == 0


def test_the_fit_of_the_tail():
    printed("eq-khat", r"""\begin{aligned}
b_j &= \frac{1}{y_{(M)}} + \frac{1 - \sqrt{m/(j - \frac12)}}{3\,y_{(\lfloor M/4 + 1/2\rfloor)}}, \\
k_j &= \frac1M\sum_i\log(1 - b_jy_i), \\
\log L_j &= M\left(\log\frac{-b_j}{k_j} - k_j - 1\right), \\
b &= \frac{\sum_j b_jL_j}{\sum_j L_j}, \\
k^* &= \frac1M\sum_i\log(1 - by_i), \\
\hat k &= \frac{M k^* + 5}{M + 10} .
\end{aligned}""")
    with mpmath.workdps(40):
        y, m, j = [mpmath.mpf(n) / 4 for n in (1, 2, 5, 9, 20)], 32, 3
        M, quartile = len(y), y[int(len(y) / 4 + 0.5) - 1]
        b = 1 / y[-1] + (1 - mpmath.sqrt(m / (j - mpmath.mpf(1) / 2))) / (3 * quartile)
        k = sum(mpmath.log(1 - b * one) for one in y) / M
        log_L = M * (mpmath.log(-b / k) - k - 1)

        def log_likelihood(k):                                       # of eq-pareto, whose density is less its slope
            sigma = -k / b
            return sum(mpmath.log((1 + k * one / sigma)**(-1 / k - 1) / sigma) for one in y)

        assert abs(mpmath.diff(lambda t: (1 + 3 * t / 2)**(-mpmath.mpf(1) / 3), 1)
                   + (1 + mpmath.mpf(3) / 2)**(-mpmath.mpf(1) / 3 - 1) / 2) < 1e-15       # k = 3, sigma = 2, t = 1
        assert abs(mpmath.diff(log_likelihood, k)) < 1e-15 and mpmath.diff(log_likelihood, k, 2) < 0
        assert abs(log_likelihood(k) - log_L) < 1e-30
        # the grid: quantiles of such a law of 1/y_(M) - b, with k = 1/2 and sigma = 1 / (6 quartile)
        assert abs((1 + (1 / y[-1] - b) * 6 * quartile / 2)**(-2) - (j - 0.5) / m) < 1e-30
        star = mpmath.mpf("0.9")                                     # ten weights of k = 1/2 beside M of k^*
        assert abs((M * star + 5) / (M + 10) - (M * star + 10 * 0.5) / (M + 10)) < 1e-30


def gamma_density(theta, shape, rate):
    return rate**shape / mpmath.gamma(shape) * theta**(shape - 1) * mpmath.exp(-rate * theta)


def test_k_of_a_gamma_for_a_gamma():
    printed("eq-khat-gamma", r"""k = \max\left(0,\; 1 - \frac B\beta,\; 1 - \frac A\alpha\right) .""")
    # E_q[w^r] integrates q^(1 - r) p^r, a gamma density but for constants: finite while its two parameters are positive
    r, theta, alpha, beta, A, B = sp.symbols("r theta alpha beta A B", positive=True)
    log_density = lambda shape, rate: (shape - 1) * sp.log(theta) - rate * theta          # noqa: E731
    power = sp.expand((1 - r) * log_density(alpha, beta) + r * log_density(A, B))
    shape, rate = 1 + power.coeff(sp.log(theta)), -power.coeff(theta)
    assert sp.simplify(1 / sp.solve(shape, r)[0] - (1 - A / alpha)) == 0
    assert sp.simplify(1 / sp.solve(rate, r)[0] - (1 - B / beta)) == 0
    assert shape.subs(r, 0) == alpha and rate.subs(r, 0) == beta     # so below its root each is positive


def test_the_right_tail_of_the_weights():
    printed("eq-right-tail", r"""\begin{gathered}
P(w > t,\ \theta \ge 1) \sim C_1\,t^{-\beta/(\beta - B)}\,(\log t)^\gamma , \\
\gamma = \alpha - 1 + \frac{(A - \alpha)\,\beta}{\beta - B} ,
\end{gathered}""")
    with mpmath.workdps(50):
        alpha, beta, A, B = (mpmath.mpf(n) for n in ("3.5", "2", "2.25", "0.75"))
        gamma = alpha - 1 + (A - alpha) * beta / (beta - B)

        def log_ratio(log_t):
            """Log of P(w > t) over the right side, with C = C_1 = 1."""
            log_w = lambda theta: (A - alpha) * mpmath.log(theta) + (beta - B) * theta    # noqa: E731
            at = mpmath.findroot(lambda theta: log_w(theta) - log_t, log_t / (beta - B))
            # the upper tail of the gamma by its continued fraction's first terms: x is 1e18, the next is 1e-36
            x = beta * at
            log_tail = (alpha - 1) * mpmath.log(x) - x + mpmath.log1p((alpha - 1) / x) - mpmath.loggamma(alpha)
            return log_tail - (-beta / (beta - B) * log_t + gamma * mpmath.log(log_t))

        # what is left goes to zero like log(log t) / log t
        assert abs(log_ratio(mpmath.mpf(10)**18) - log_ratio(mpmath.mpf(10)**19)) < 1e-15


def test_the_local_k():
    printed("eq-local-k", r"""\text{local } k = H\left(2\beta - B - \frac{\alpha - 1}{\theta}\right) - 1 .""")
    with mpmath.workdps(40):
        alpha, beta, B = mpmath.mpf("3.3"), mpmath.mpf("2.1"), mpmath.mpf("0.8")
        q = lambda theta: gamma_density(theta, alpha, beta)          # noqa: E731
        weight = lambda theta: gamma_density(theta, alpha, B) / q(theta)                  # noqa: E731
        above = lambda theta: mpmath.gammainc(alpha, beta * theta, regularized=True)      # noqa: E731
        at = mpmath.mpf("2.7")
        # tail probability over density of the weight, and its slope in the weight
        ratio = lambda theta: above(theta) * mpmath.diff(weight, theta) / q(theta)        # noqa: E731
        slope = mpmath.diff(ratio, at) / mpmath.diff(weight, at)
        H = above(at) / q(at)
        assert abs(slope - (H * (2 * beta - B - (alpha - 1) / at) - 1)) < 1e-15           # differences twice


def test_the_randomised_pit():
    printed("eq-randomised-pit", r"""u = F(x - 1) + v\,f(x)""")
    # theta exponential of rate 1, two Poisson counts: P(u_1 <= s_1, u_2 <= s_2) = s_1 s_2, in fractions
    def both(x, y):                                                  # the integral over theta
        return Fraction(comb(x + y, x), 3**(1 + x + y))

    def first(x):                                                    # its sum over y
        return Fraction(1, 2**(x + 1))

    def filled(s, f, x):
        """P(u <= s | x): the share of v in (0, 1) with F(x - 1) + v f(x) <= s."""
        return min(max((s - sum(map(f, range(x)))) / f(x), Fraction(0)), Fraction(1))

    s1, s2 = Fraction(5, 8), Fraction(7, 10)
    chance = sum(both(x, y) * filled(s1, first, x) * filled(s2, lambda y, x=x: both(x, y) / first(x), y)
                 for x in range(3) for y in range(6))               # beyond x = 1 and y = 2 nothing is added
    assert chance == s1 * s2

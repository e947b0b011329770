"""The key equations of the chapter on the path derivative, as printed, from the density of a gamma and its moments."""

from functools import cache

import mpmath as mp
import sympy as sp
from equations import printed

a, b, A, B, z, t, S = sp.symbols("alpha beta A B z t S", positive=True)
L = sp.Symbol("L", real=True)                            # log z, with theta = z / beta
MOMENT = sp.integrate(z ** (a - 1 + t) * sp.exp(-z), (z, 0, sp.oo), conds="none") / sp.gamma(a)      # E[z^t]

# log q with respect to log theta, by the density of theta times theta
LOG_Q = a * L - z - sp.loggamma(a)
FORCE = (A - a) - (B - b) * z / b
SCORE = sp.Matrix([a * (L - sp.digamma(a)), a - z])


def mean(expression):
    """E of a polynomial in z and log z: a logarithm is a derivative of E[z^t]."""
    terms = sp.Poly(sp.expand(expression), z, L).terms()
    value = sum(c * sp.diff(MOMENT, t, j).subs(t, i) for (i, j), c in terms)
    return sp.simplify(sp.expand_func(sp.gammasimp(value.doit())))


def test_the_force_and_the_scores_are_derivatives_of_the_densities():
    printed("eq-force", r"""\begin{aligned}
        \phi(\theta) = \partialby{}{\log\theta}\left(\log p(x, \log\theta) - \log q\right)
        &= (A - B\theta) - (\alpha - \beta\theta) \\
        &= (A - \alpha) - (B - \beta)\,\theta .
        \end{aligned}""")
    x, th = sp.symbols("x theta", positive=True)
    density = b**a * th ** (a - 1) * sp.exp(-b * th) / sp.gamma(a)
    log_q = sp.expand_log(sp.log((density * th).subs(th, sp.exp(x))), force=True)        # of x = log theta
    at = {x: L - sp.log(b)}
    for parameter, score in zip((a, b), SCORE, strict=True):
        difference = (parameter * sp.diff(log_q, parameter)).subs(at) - score
        assert sp.simplify(sp.expand_log(difference.subs(L, sp.log(z)), force=True)) == 0
    force = sp.diff(A * x - B * sp.exp(x) - log_q, x).subs(at)
    assert sp.simplify(force.subs(L, sp.log(z)) - FORCE) == 0


def test_covariance_of_the_full_gradient_at_the_posterior():
    printed("eq-variance-at-optimum", r"""\begin{gathered}
        \Var(\nabla_{\log\alpha}) = \frac{\alpha^2\psi'(\alpha)}{S}, \qquad
        \Var(\nabla_{\log\beta}) = \frac{\alpha}{S}, \\
        \Cov(\nabla_{\log\alpha}, \nabla_{\log\beta}) = -\frac{\alpha}{S} .
        \end{gathered}""")
    claimed = sp.Matrix([[a**2 * sp.polygamma(1, a), -a], [-a, a]]) / S
    assert FORCE.subs({A: a, B: b}) == 0                 # of a draw minus the score is left, S of them averaged
    assert [mean(h) for h in SCORE] == [0, 0]
    for i in range(2):
        for j in range(2):
            assert sp.simplify(mean(SCORE[i] * SCORE[j]) / S - claimed[i, j]) == 0


def test_ratio_of_the_spreads_in_the_log_rate():
    printed("eq-sd-ratio", r"""\frac{\text{sd of the path derivative}}{\text{sd of the full gradient}} = |k - 1|,
        \qquad k = \frac{\beta}{B} .""")
    k = b / B

    def variance(g):
        return mean(g**2) - mean(g) ** 2
    assert sp.simplify(variance(-FORCE) / variance(-FORCE - SCORE[1]) - (k - 1) ** 2) == 0


ALPHA, BETA, AT = mp.mpf("2.5"), mp.mpf("0.7"), {"A": mp.mpf("4.1"), "B": mp.mpf("1.9")}


@cache
def nodes():
    """Of the trapezoidal rule in y = log z: (z, its weight, its path alpha d log z / d alpha at fixed P)."""
    def cdf(y, shape):
        return mp.gammainc(shape, 0, mp.exp(y), regularized=True)
    found = []
    for i in range(-200, 41):
        y = mp.mpf(i) / 8
        density = mp.exp(ALPHA * y - mp.exp(y)) / mp.gamma(ALPHA)
        found.append((mp.exp(y), density / 8, -ALPHA * mp.diff(lambda s, y=y: cdf(y, s), ALPHA) / density))
    return found


def exact_gradient():
    """Of E[log p - log q] in (log alpha, log beta), with E[log theta] the slope of E[theta^t] at 0."""
    def elbo(log_shape, log_rate):
        shape, rate = mp.exp(log_shape), mp.exp(log_rate)
        mean_log_z = mp.diff(lambda t: mp.gamma(shape + t) / mp.gamma(shape), 0)
        mean_log_p = AT["A"] * (mean_log_z - log_rate) - AT["B"] * shape / rate
        return mean_log_p - (shape * mean_log_z - shape - mp.loggamma(shape))
    at = (mp.log(ALPHA), mp.log(BETA))
    return mp.diff(elbo, at, (1, 0)), mp.diff(elbo, at, (0, 1))


# The rule leaves out e^-60 at the left end, e^-140 at the right, and e^(-8 pi^2) for its step: 1e-20 is seen.
def test_mean_of_the_path_derivative_is_the_gradient():
    printed("eq-path-derivative", r"""\partialby{\elbo}{\log\alpha} \approx \frac1S\sum_{s=1}^S \phi(\theta_s)\, r_s,
        \qquad \partialby{\elbo}{\log\beta} \approx -\frac1S\sum_{s=1}^S \phi(\theta_s) .""")

    def force(z):
        return (AT["A"] - ALPHA) - (AT["B"] - BETA) * z / BETA
    with mp.workdps(25):
        log_shape = mp.fsum(p * force(z) * w for z, p, w in nodes())
        log_rate = -mp.fsum(p * force(z) for z, p, _ in nodes())
        exact = exact_gradient()
        assert abs(log_shape - exact[0]) < 1e-20 and abs(log_rate - exact[1]) < 1e-20


def test_mean_of_the_third_form_is_the_gradient():
    printed("eq-third-form", r"""\begin{aligned}
        \partialby{\elbo}{\log\alpha} &\approx \frac1S\sum_{s=1}^S (A - B\theta_s)\,r_s
        + \alpha\,\bigl(1 - \alpha\,\psi'(\alpha)\bigr), \\
        \partialby{\elbo}{\log\beta} &\approx -\frac1S\sum_{s=1}^S (A - B\theta_s) .
        \end{aligned}""")

    def slope(z):
        return AT["A"] - AT["B"] * z / BETA
    with mp.workdps(25):
        log_shape = mp.fsum(p * slope(z) * w for z, p, w in nodes()) + ALPHA * (1 - ALPHA * mp.psi(1, ALPHA))
        log_rate = -mp.fsum(p * slope(z) for z, p, _ in nodes())
        exact = exact_gradient()
        assert abs(log_shape - exact[0]) < 1e-20 and abs(log_rate - exact[1]) < 1e-20
    entropy = -mean(LOG_Q)                               # of log theta
    assert sp.simplify(a * sp.diff(entropy, a) - a * (1 - a * sp.polygamma(1, a))) == 0

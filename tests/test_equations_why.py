"""The equations of the chapter "Why variational inference" as printed, against sums and integrals of densities."""

import mpmath as mp
import sympy as sp
from equations import printed

a, b, m, A, B, theta = sp.symbols("a b m A B theta", positive=True)
k = sp.symbols("k", integer=True, nonnegative=True)


def gamma_density(t, shape, rate):
    return rate**shape * t ** (shape - 1) * sp.exp(-rate * t) / sp.gamma(shape)


def test_expected_posterior_variance():
    printed("eq-why-expected-variance", r"\E\left[\Var(\theta \mid x)\right] = \frac{a/b}{b + m} .")
    right = a / b / (b + m)

    # the total T = k of m counts is Poisson(m theta); p(k) and the posterior's moments are integrals of the joint
    joint = gamma_density(theta, a, b) * sp.exp(-m * theta) * (m * theta) ** k / sp.factorial(k)
    mass, first, second = (sp.integrate(sp.powsimp(joint * theta**n), (theta, 0, sp.oo)) for n in range(3))
    values = {a: sp.Rational(17, 10), b: sp.Rational(5, 2), m: 2}
    term = sp.lambdify(k, (second - first**2 / mass).subs(values), "mpmath")
    with mp.workdps(30):
        left = mp.fsum(term(mp.mpf(n)) for n in range(100))  # the tail falls like (m/(b + m))^k = (4/9)^k: below 1e-30
        assert abs(left - sp.N(right.subs(values), 30)) < 1e-25


def test_the_two_variances_of_the_next_count():
    printed("eq-why-two-variances",
            r"\Var(x^* \mid x) = \underbrace{A/B}_{\text{images}} + \underbrace{A/B^2}_{\text{the mean}} .")
    right = A / B + A / B**2

    poisson = sp.exp(-theta) * theta**k / sp.factorial(k)
    given = [sp.simplify(sp.summation(k**n * poisson, (k, 0, sp.oo))) for n in (1, 2)]  # moments given theta
    first, second = (sp.integrate(sp.expand(moment * gamma_density(theta, A, B)), (theta, 0, sp.oo))
                     for moment in given)
    assert sp.simplify(sp.gammasimp(second - first**2) - right) == 0


def test_the_divergence_is_log_evidence_less_elbo():
    printed("eq-why-variational", r"""
\begin{aligned}
\KL\bigl(q(\theta) \,\|\, p(\theta \mid x)\bigr) &= \log p(x) - \elbo(q), \\
\elbo(q) &= \E_q\left[\log p(x, \theta) - \log q(\theta)\right] .
\end{aligned}
""")

    def joint(t):  # counts 0 and 2 under the chapter's log-normal prior, median 3.7
        return mp.exp(-2 * t) * t**2 / 2 * mp.exp(-mp.log(t / 3.7) ** 2 / 2) / (t * mp.sqrt(2 * mp.pi))

    def q(t):
        return mp.mpf(1.5) ** 3 * t**2 * mp.exp(-1.5 * t) / 2

    def integral(f):  # over y = log theta, by the trapezoidal rule: right to 1e-20, as f is analytic near the axis
        points = (mp.exp(mp.mpf(k) / 8) for k in range(-240, 37))  # y from -30 to 4.5: beyond, below 1e-30
        return mp.fsum(f(t) * t for t in points) / 8

    with mp.workdps(25):
        evidence = integral(joint)
        divergence = integral(lambda t: q(t) * mp.log(q(t) / (joint(t) / evidence)))
        elbo = integral(lambda t: q(t) * (mp.log(joint(t)) - mp.log(q(t))))
        assert divergence > 0.01 and abs(divergence - (mp.log(evidence) - elbo)) < 1e-20

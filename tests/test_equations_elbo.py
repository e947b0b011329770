"""The equations of the chapter on the evidence lower bound as printed, against quadrature and computer algebra."""

import mpmath as mp
import sympy as sp
from equations import printed

alpha, beta, A, B, theta = sp.symbols("alpha beta A B theta", positive=True)
STEP = mp.mpf(1) / 8


def log_gamma_density(y, shape, rate):
    """With respect to y = log theta."""
    return shape * mp.log(rate) - mp.loggamma(shape) + shape * y - rate * mp.exp(y)


def integral(f):
    """Over log theta, by the trapezoidal rule: right to 1e-20, as f is analytic up to an imaginary part of 1.5."""
    return STEP * mp.fsum(f(k * STEP) for k in range(-240, 33))  # from -30 to 4: beyond, densities are below 1e-27


def mean(f, shape, rate):
    """E[f(log theta)] for theta ~ Gamma(shape, rate)."""
    return integral(lambda y: mp.exp(log_gamma_density(y, shape, rate)) * f(y))


def log_joint(y):
    """Counts 1 and 4, prior Gamma(1.5, 0.75)."""
    return log_gamma_density(y, mp.mpf(1.5), mp.mpf(0.75)) + 5 * y - 2 * mp.exp(y) - mp.log(24)


def test_elbo_falls_short_of_the_log_evidence_by_the_divergence():
    printed("eq-elbo", r"\elbo(q) = \E_q\big[\log p(x, \log\theta) - \log q(\log\theta)\big] .")
    printed("eq-elbo-gap", r"\log p(x) = \elbo(q) + \KL\big(q(\theta)\,\|\,p(\theta\mid x)\big),")
    with mp.workdps(25):
        shape, rate = mp.mpf(4.25), mp.mpf(3)
        log_q = lambda y: log_gamma_density(y, shape, rate)  # noqa: E731
        evidence = integral(lambda y: mp.exp(log_joint(y)))
        elbo = mean(lambda y: log_joint(y) - log_q(y), shape, rate)
        divergence = mean(lambda y: log_q(y) - (log_joint(y) - mp.log(evidence)), shape, rate)
        assert divergence > 0.1 and abs(mp.log(evidence) - (elbo + divergence)) < 1e-20


def test_value_is_the_expectation():
    printed("eq-elbo-value", r"""
\elbo = (A - \alpha)\,\psi(\alpha) - A\log\beta - \frac{B\alpha}{\beta} + \alpha + \log\Gamma(\alpha) + c ,
""")
    with mp.workdps(25):
        a, b, A, B, alpha, beta = map(mp.mpf, (1.5, 0.75, 6.5, 2.75, 4.25, 3))
        c = a * mp.log(b) - mp.loggamma(a) - mp.log(24)
        value = (A - alpha) * mp.digamma(alpha) - A * mp.log(beta) - B * alpha / beta + alpha + mp.loggamma(alpha) + c
        true = mean(lambda y: log_joint(y) - log_gamma_density(y, alpha, beta), alpha, beta)
        assert abs(value - true) < 1e-20


def test_both_forms_of_the_divergence_are_the_expectation():
    printed("eq-kl-textbook", r"""
\KL = (\alpha - A)\,\psi(\alpha) - \log\Gamma(\alpha) + \log\Gamma(A) + A\log\frac{\beta}{B}
+ \alpha\Big(\frac{B}{\beta} - 1\Big) .
""")
    printed("eq-kl", r"""
\KL(q\,\|\,p) = A\,(r - 1 - \log r) + \int_\alpha^A (A - t)\Big(\psi'(t) - \frac1t\Big)\,dt ,
""")
    with mp.workdps(25):
        alpha, beta, A, B = map(mp.mpf, (2.25, 3, 6.5, 2.75))
        textbook = ((alpha - A) * mp.digamma(alpha) - mp.loggamma(alpha) + mp.loggamma(A)
                    + A * mp.log(beta / B) + alpha * (B / beta - 1))
        r = alpha * B / (beta * A)
        shapes = mp.quad(lambda t: (A - t) * (mp.psi(1, t) - 1 / t), [alpha, A])
        two_parts = A * (r - 1 - mp.log(r)) + shapes
        true = mean(lambda y: log_gamma_density(y, alpha, beta) - log_gamma_density(y, A, B), alpha, beta)
        assert shapes > 0 and abs(textbook - true) < 1e-20 and abs(two_parts - true) < 1e-20


VALUE = ((A - alpha) * sp.digamma(alpha) - A * sp.log(beta) - B * alpha / beta  # eq-elbo-value, without c
         + alpha + sp.loggamma(alpha))
FISHER = sp.Matrix([[sp.polygamma(1, alpha), -1 / beta], [-1 / beta, alpha / beta**2]])


def test_gradient_is_the_derivative_of_the_value():
    printed("eq-elbo-gradient", r"""
\begin{aligned}
\partialby{\elbo}{\log\alpha} &= \alpha\left[(A - \alpha)\,\psi'(\alpha) - \frac{B - \beta}{\beta}\right], \\
\partialby{\elbo}{\log\beta} &= \frac{\alpha\,(B - \beta)}{\beta} - (A - \alpha) .
\end{aligned}
""")
    in_log_shape = alpha * ((A - alpha) * sp.polygamma(1, alpha) - (B - beta) / beta)
    in_log_rate = alpha * (B - beta) / beta - (A - alpha)
    assert sp.simplify(alpha * sp.diff(VALUE, alpha) - in_log_shape) == 0
    assert sp.simplify(beta * sp.diff(VALUE, beta) - in_log_rate) == 0


def test_fisher_information_is_the_covariance_of_the_score_and_minus_the_mean_second_derivative():
    printed("eq-fisher", r"""
F = \E_q\big[h\,h^\top\big] = -\E_q\big[\nabla_\lambda^2\log q\big]
= \begin{pmatrix} \psi'(\alpha) & -1/\beta \\ -1/\beta & \alpha/\beta^2 \end{pmatrix} .
""")
    log_q = alpha * sp.log(beta) - sp.loggamma(alpha) + (alpha - 1) * sp.log(theta) - beta * theta
    assert (-sp.hessian(log_q, (alpha, beta)) - FISHER).applyfunc(sp.simplify) == sp.zeros(2)  # free of theta

    y = sp.symbols("y")
    at = {alpha: sp.Rational(9, 4), beta: 3}
    score = [sp.lambdify(y, sp.diff(log_q, v).subs(theta, sp.exp(y)).subs(at), "mpmath") for v in (alpha, beta)]
    with mp.workdps(25):
        for i, j in ((0, 0), (0, 1), (1, 1)):
            product = mean(lambda y, i=i, j=j: score[i](y) * score[j](y), mp.mpf(2.25), mp.mpf(3))
            assert abs(product - sp.N(FISHER[i, j].subs(at), 25)) < 1e-20


def test_natural_gradient_is_the_distance_to_the_posterior():
    printed("eq-natural-gradient", r"F^{-1}\,\nabla_{\alpha,\beta}\,\elbo = (A - \alpha,\; B - \beta) .")
    natural = FISHER.inv() * sp.Matrix([sp.diff(VALUE, alpha), sp.diff(VALUE, beta)])
    assert (natural - sp.Matrix([A - alpha, B - beta])).applyfunc(sp.simplify) == sp.zeros(2, 1)


def test_optimal_factors_of_the_exposures_are_gammas():
    printed("eq-exposure-updates", r"""
\begin{aligned}
\alpha &= a + \sum_i x_i, & \beta &= b + \sum_i \E[e_i] = b + \sum_i\frac{\gamma_i}{\delta_i} , \\
\gamma_i &= c_i + x_i, & \delta_i &= d_i + \E[\theta] = d_i + \frac{\alpha}{\beta} .
\end{aligned}
""")

    def joint(y, z):  # one roll, x = 3 defects; y = log theta, z = log e; without the constant -log 3!
        return (log_gamma_density(y, mp.mpf(2), mp.mpf(1.5)) + log_gamma_density(z, mp.mpf(4), mp.mpf(2.5))
                + 3 * (y + z) - mp.exp(y + z))

    with mp.workdps(25):
        shape, rate = mp.mpf(4 + 3), mp.mpf(3.25)  # any factor of e; its rate need not be final
        alpha, beta = 2 + 3, 1.5 + shape / rate
        given_theta = [mean(lambda z, y=y: joint(y, z), shape, rate) - log_gamma_density(y, alpha, beta)
                       for y in (-1, 2)]
        gamma, delta = 4 + 3, 2.5 + alpha / beta
        given_e = [mean(lambda y, z=z: joint(y, z), alpha, beta) - log_gamma_density(z, gamma, delta)
                   for z in (-1, 2)]
        for constant in (given_theta, given_e):  # proportional to the density claimed
            assert max(constant) - min(constant) < 1e-20

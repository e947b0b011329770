"""The key equations of the chapter on gradients that are almost a path, from the density of log z alone."""

import sympy as sp
from equations import printed
from mpmath import mp

alpha, d, w = sp.symbols("alpha d w", positive=True)
e, x, y = sp.symbols("epsilon x y", real=True)
psi = sp.digamma(alpha)


def log_k(y):
    """Log density of y = log z, z ~ Gamma(alpha, 1)."""
    return alpha * y - sp.exp(y) - sp.loggamma(alpha)


def at_fixed_noise(g, noise):
    """Velocity dg/dalpha, its slope in y, and the derivative of the log density of the noise, by definition."""
    velocity = sp.diff(g, alpha)
    return (velocity, sp.diff(velocity, noise) / sp.diff(g, noise),
            sp.diff(log_k(g) + sp.log(sp.diff(g, noise)), alpha))


def mean(a, values):
    """E over Gamma(a, 1) of a function of y by the trapezoidal rule: off by e^(-8 pi^2), 1e-34, times powers of 50."""
    nodes = [mp.mpf(k) / 8 for k in range(-240, 40)]
    return mp.fsum(values(y) * mp.exp(a * y - mp.exp(y)) for y in nodes) / 8 / mp.gamma(a)


def test_correction():
    printed("eq-correction", r"c(y) = (y - \psi(\alpha)) + (\alpha - z)\,v(y) + v'(y) .")
    g = sp.Function("g")(e, alpha)
    v, slope, derivative = at_fixed_noise(g, e)
    assert sp.simplify((g - psi) + (alpha - sp.exp(g)) * v + slope - derivative) == 0


def test_path_and_correction_have_the_gradient_as_their_mean():
    printed("eq-almost-path", r"""
        \partialby{}{\alpha}\,\E[f(y)] = \underbrace{\E\bigl[f'(y)\,v(y)\bigr]}_{\text{path part}}
        + \underbrace{\E\bigl[f(y)\,c(y)\bigr]}_{\text{correction part}} .""")
    with mp.workdps(30):                                 # f = z^(1/2), and any velocity will do: v = sin y
        a = mp.mpf("2.7")
        truth = mp.gamma(a + 0.5) / mp.gamma(a) * (mp.psi(0, a + 0.5) - mp.psi(0, a))
        path = mean(a, lambda y: mp.exp(y / 2) / 2 * mp.sin(y))
        correction = mean(a, lambda y: mp.exp(y / 2) * (
            y - mp.psi(0, a) + (a - mp.exp(y)) * mp.sin(y) + mp.cos(y)))
        assert abs(path) > 0.1 and abs((path + correction) / truth - 1) < 1e-25


def test_gradient_of_the_elbo():
    printed("eq-almost-elbo", r"""
        \begin{aligned}
        \partialby{\elbo}{\log\alpha} &\approx \frac1S\sum_{s=1}^S \alpha\,\bigl[f'(y_s)\,v(y_s) + f(y_s)\,c(y_s)\bigr]
        + \alpha\,(1 - \alpha\,\psi'(\alpha)), \\
        \partialby{\elbo}{\log\beta} &\approx -\frac1S\sum_{s=1}^S f'(y_s) .
        \end{aligned}""")
    with mp.workdps(30):                                 # a model without a gamma posterior: 3 log theta - theta^1.5
        a, b, v, step = mp.mpf("2.7"), mp.mpf("1.4"), mp.mpf("0.3"), mp.mpf("1e-6")

        def elbo(i, j):                                  # its log joint less log q, both of log theta
            shape, rate = a * mp.exp(i * step), b * mp.exp(j * step)
            return mean(shape, lambda y: 3 * (y - mp.log(rate)) - mp.exp(1.5 * y) / rate**1.5
                        - shape * y + mp.exp(y) + mp.loggamma(shape))

        def slope(y):
            return 3 - 1.5 * mp.exp(1.5 * y) / b**1.5

        by_shape = mean(a, lambda y: a * (slope(y) * v + (3 * (y - mp.log(b)) - mp.exp(1.5 * y) / b**1.5) * (
            y - mp.psi(0, a) + (a - mp.exp(y)) * v))) + a * (1 - a * mp.psi(1, a))
        by_rate = -mean(a, slope)
        # Quotients of fourth order are off by step^4 / 30 of a fifth derivative, and by rounding, 1e-30 / step.
        quotients = [(8 * (elbo(i, j) - elbo(-i, -j)) - elbo(2 * i, 2 * j) + elbo(-2 * i, -2 * j)) / (12 * step)
                     for i, j in ((1, 0), (0, 1))]
        assert abs(by_shape / quotients[0] - 1) < 1e-20 and abs(by_rate / quotients[1] - 1) < 1e-20


def test_correction_of_g_rep():
    printed("eq-grep-correction", r"""
        \begin{aligned}
        v(y) &= \psi' + \tau\,(y - \psi), \\
        c(y) &= (y - \psi) + (\alpha - z)\bigl[\psi' + \tau\,(y - \psi)\bigr] + \tau .
        \end{aligned}""")
    psi_1, psi_2 = sp.polygamma(1, alpha), sp.polygamma(2, alpha)
    g = psi + sp.sqrt(psi_1) * e
    velocity, _, derivative = at_fixed_noise(g, e)
    tau, z = psi_2 / (2 * psi_1), sp.exp(g)
    v = psi_1 + tau * (g - psi)
    c = (g - psi) + (alpha - z) * (psi_1 + tau * (g - psi)) + tau
    assert sp.simplify(v - velocity) == 0 and sp.simplify(c - derivative) == 0


def test_correction_of_the_rejection_sampler():
    printed("eq-rejection-correction", r"""
        \begin{aligned}
        v &= \frac{3/w - 1}{2d}, \qquad w = (z/d)^{1/3}, \\
        c &= 3\log w + \tfrac12\,(1 - w^3)\left(\frac3w - 1\right) + \log d - \psi(\alpha) - \frac{1}{6d} .
        \end{aligned}""")
    third = sp.Rational(1, 3)
    of_x = 1 + x / sp.sqrt(9 * (alpha - third))          # w at fixed x
    velocity, _, derivative = at_fixed_noise(sp.log(alpha - third) + 3 * sp.log(of_x), x)

    def in_w(expression):
        return expression.subs(x, 3 * sp.sqrt(alpha - third) * (w - 1)).subs(alpha, d + third)

    v = (3 / w - 1) / (2 * d)
    c = (3 * sp.log(w) + (1 - w**3) * (3 / w - 1) / 2 + sp.log(d) - sp.digamma(d + third) - 1 / (6 * d))
    assert sp.simplify(v - in_w(velocity)) == 0
    assert sp.simplify(sp.expand_log(c - in_w(derivative), force=True)) == 0


def test_accepted_noise_is_nearly_normal_and_its_correction_small():
    printed("eq-nearly-normal", r"\log\pi = \text{const} - \frac{x^2}{2} - \frac{x^4}{108\,d} + \dots")
    printed("eq-correction-size", r"""
        c \approx \frac{x^4 - 3}{108\,d^2}, \qquad
        \text{rms of } \alpha c \approx \frac{\sqrt{96}}{108}\cdot\frac{\alpha}{d^2}
        = \sqrt{\tfrac{2}{243}}\;\frac{\alpha}{d^2} .""")
    delta = sp.Symbol("delta")                           # w = 1 + x / (3 sqrt(d)) = 1 + delta
    series = sp.series(3 * d * sp.log(1 + delta) - d * (1 + delta) ** 3, delta, 0, 5).removeO()
    log_pi = sp.expand(series.subs(delta, x / (3 * sp.sqrt(d))))
    assert sp.simplify(log_pi + d + x**2 / 2 + x**4 / (108 * d)) == 0

    def normal_mean(polynomial):
        return sum(p * (sp.factorial2(n - 1) if n % 2 == 0 else 0) for (n,), p in sp.Poly(polynomial, x).terms())

    c, derivative = (x**4 - 3) / (108 * d**2), sp.diff(log_pi + d, d)        # of its part in x, at fixed x
    assert sp.simplify(c - (derivative - normal_mean(derivative))) == 0
    assert sp.simplify(normal_mean(c**2) - sp.Rational(96, 108**2) / d**4) == 0
    assert sp.sqrt(96) / 108 == sp.sqrt(sp.Rational(2, 243))


def test_limit_of_many_steps():
    printed("eq-left-over", r"""
        \begin{aligned}
        V_B(y) \;&\to\; -\frac{\partial P(\alpha, e^y)/\partial\alpha}{k(y; \alpha)} , \\
        \Var(\text{path}) \;&\to\; \sum_{i=0}^\infty \frac{1}{(\alpha + i)^4} = \frac{\psi'''(\alpha)}{6} .
        \end{aligned}""")
    with mp.workdps(20):
        a, s = mp.mpf("1.3"), mp.mpf("0.7")
        # In the limit the path is sum E_i / (a + i)^2, and y less the sum of E_i / (a + i) is no longer random.
        # E_i e^(-s E_i / (a + i)) has (a + i) / (a + i + s) times the mean of e^(-s E_i / (a + i)), so e^(s y) path has
        of_path = mp.nsum(lambda i: 1 / ((a + i) * (a + i + s)), [0, mp.inf]) * mp.gamma(a + s) / mp.gamma(a)
        # as its mean. That of e^(s y) times the claimed V is an integral of e^(s y) (-dP/dalpha).
        step, nodes = mp.mpf(1) / 5, range(-110, 22)
        of_v = -step * mp.fsum(mp.exp(s * k * step) * mp.diff(
            lambda t, k=k: mp.gammainc(t, 0, mp.exp(k * step), regularized=True), a, h=mp.mpf("1e-10")) for k in nodes)
        assert abs(of_v / of_path - 1) < 1e-8            # forward difference
        assert abs(mp.nsum(lambda i: (a + i) ** -4, [0, mp.inf]) * 6 / mp.psi(3, a) - 1) < 1e-15

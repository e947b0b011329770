"""The key equations of the chapter on the kernel, as printed: averages by computer algebra, tables by mpmath."""

import mpmath as mp
import sympy as sp
from equations import printed

alpha, beta, A, B, z1, z2, r1, r2 = sp.symbols("alpha beta A B z1 z2 r1 r2", positive=True)
c, sigma = sp.symbols("c sigma", real=True)
log_theta = sp.symbols("y", real=True)

# two draws of a column stand for S
ell, zeta = (sp.log(z1 / alpha) + sp.log(z2 / alpha)) / 2, (z1 + z2) / 2
rho, omega = (r1 + r2) / 2, (r1 * z1 + r2 * z2) / 2
log_q = alpha * sp.log(beta) - sp.loggamma(alpha) + alpha * log_theta - beta * sp.exp(log_theta)
log_p = A * log_theta - B * sp.exp(log_theta) + c


def average(f):
    """Of a function of y = log theta and of the draw's speed r, over the two draws theta = z / beta."""
    speed = sp.symbols("r")
    return sum(f(speed).subs({log_theta: sp.log(z / beta), speed: r}) for z, r in ((z1, r1), (z2, r2))) / 2


def is_zero(expression):
    return sp.simplify(sp.expand_log(sp.expand(expression))) == 0


def test_log_shape_component_from_four_averages():
    printed("eq-four-averages",
            r"\ell = \Bigl\langle\log\frac{z}{\alpha}\Bigr\rangle, \qquad \zeta = \langle z\rangle, \qquad "
            r"\rho = \langle r\rangle, \qquad \omega = \langle r z\rangle .")
    printed("eq-kernel-shape",
            r"\partialby{\elbo}{\log\alpha} \approx (A - \alpha)\,\rho - \frac{B - \beta}{\beta}\,\omega"
            r"- \sigma\,\alpha\,\bigl(\ell - [\psi(\alpha) - \log\alpha]\bigr) ,")
    short = ((A - alpha) * rho - (B - beta) / beta * omega
             - sigma * alpha * (ell - (sp.digamma(alpha) - sp.log(alpha))))
    by_draw = average(lambda r: sp.diff(log_p - log_q, log_theta) * r                    # d log theta / d log alpha = r
                      - sigma * alpha * sp.diff(log_q, alpha))                           # and in q itself, the score
    assert is_zero(short - by_draw)


def test_log_rate_component_and_elbo_from_the_averages():
    printed("eq-kernel-rate", r"""
\begin{aligned}
\partialby{\elbo}{\log\beta} &\approx \frac{B - \beta}{\beta}\,\zeta - (A - \alpha) - \sigma\,(\alpha - \zeta) , \\
\elbo &\approx (A - \alpha)\Bigl(\ell + \log\frac{\alpha}{\beta}\Bigr) - \frac{B - \beta}{\beta}\,\zeta \\
&\qquad {} + c - \alpha\log\beta + \log\Gamma(\alpha) ,
\end{aligned}""")
    log_rate = (B - beta) / beta * zeta - (A - alpha) - sigma * (alpha - zeta)
    elbo = ((A - alpha) * (ell + sp.log(alpha / beta)) - (B - beta) / beta * zeta
            + c - alpha * sp.log(beta) + sp.loggamma(alpha))
    assert is_zero(elbo - average(lambda r: log_p - log_q))
    by_draw = average(lambda r: -sp.diff(log_p - log_q, log_theta) - sigma * beta * sp.diff(log_q, beta))
    assert is_zero(log_rate - by_draw)


def test_ziggurat_ends_at_the_top():
    printed("eq-ziggurat", r"""
\begin{gathered}
x_1 f(x_1) + \int_{x_1}^\infty f(x)\,dx = v , \\
x_i\,\bigl[f(x_{i+1}) - f(x_i)\bigr] = v \quad (1 \le i < n), \qquad x_n = 0 .
\end{gathered}""")
    n = 256
    with mp.workdps(25):
        x = mp.mpf("3.6541528853610088")                 # of Marsaglia and Tsang (2000), rounded there

        def f(x):
            return mp.exp(-x * x / 2)

        v = x * f(x) + mp.sqrt(mp.pi / 2) * mp.erfc(x / mp.sqrt(2))
        for _ in range(1, n - 1):                        # to x_{n-1}
            x = mp.sqrt(-2 * mp.log(f(x) + v / x))
        assert abs(x * (1 - f(x)) / v - 1) < 1e-12       # up to f(0) = 1; that rounding, 5e-17, grows a thousandfold


def test_polynomial_of_a_cell_is_the_derivative():
    printed("eq-table",
            r"r \approx \sum_{k=0}^{13}\sum_{n=0}^{13} c_{kn}\,t^k\,(w - w_0)^n , \qquad "
            r"t = \frac{2y - (y_1 + y_0)}{y_1 - y_0} ,")
    y0, y1, low = mp.mpf(2) / 5, mp.mpf(1), mp.mpf(2) ** -0.25                           # the cell about w = 1
    w0, half = low * (1 + mp.sqrt(2)) / 2, low * (mp.sqrt(2) - 1) / 2
    nodes = [mp.cos(mp.pi * (2 * j + 1) / 28) for j in range(14)]

    def series(shape, w):                                # d log z / d log shape from P = z^a e^-z sum z^n / (a)_(n+1)
        z, term, total = (shape - mp.mpf(1) / 3) * w**3, mp.mpf(1), mp.mpf(0)
        bracket = mp.psi(0, shape + 1) - mp.log(z)
        for n in range(45):                              # z is below 4
            total += term * bracket
            bracket += 1 / (shape + n + 1)
            term *= z / (shape + n + 1)
        return total

    def interpolated(at, values):                        # Lagrange's polynomial through the nodes
        return sum(value * mp.fprod((at - s) / (node - s) for s in nodes if s != node)
                   for node, value in zip(nodes, values, strict=True))

    with mp.workdps(25):
        shape, w = mp.mpf(17) / 10, mp.mpf(11) / 10
        y = 1 / shape
        t = (2 * y - (y1 + y0)) / (y1 - y0)
        shapes = [2 / ((y1 - y0) * s + y1 + y0) for s in nodes]
        sums = [interpolated((w - w0) / half, [series(a, w0 + half * s) for s in nodes]) for a in shapes]
        z = (shape - mp.mpf(1) / 3) * w**3
        p = z ** (shape - 1) * mp.exp(-z) / mp.gamma(shape)
        truth = -shape * mp.diff(lambda a: mp.gammainc(a, 0, z, regularized=True), shape) / (z * p)
        assert abs(interpolated(t, sums) / truth - 1) < 1e-14                            # as the chapter says

"""The key equations of the chapter on computing the implicit derivative, from densities and integrals alone."""

import mpmath as mp
import pytest
import sympy as sp
from equations import printed

# Of 32 digits up to five go to a difference quotient with the step 1e-5; quadrature leaves less than that.
CLOSE = mp.mpf("1e-25")


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(32):
        yield


def velocity(alpha, z):
    """d log z/dalpha at fixed u, -(dP/dalpha) / (z p): the density differentiated in alpha, integrated from z on."""
    def integrand(s):                                      # at t = z s, over z p
        return (mp.log(z * s) - mp.digamma(alpha)) * s ** (alpha - 1) * mp.exp(-z * (s - 1))

    width = max(1, alpha) / z
    return mp.quad(integrand, [1, 1 + width / 8, 1 + width, 1 + 5 * width, 1 + 30 * width + 80 / z])


def slope(function, at):
    """The derivative by a central difference over eight points."""
    h = mp.mpf("1e-5")
    weights = {1: mp.mpf(4) / 5, 2: -mp.mpf(1) / 5, 3: mp.mpf(4) / 105, 4: -mp.mpf(1) / 280}
    return sum(w * (function(at + j * h) - function(at - j * h)) for j, w in weights.items()) / h


def test_series():
    printed("eq-series", r"\partialby{\log z}{\alpha} = \frac1\alpha\sum_{n=0}^\infty \frac{z^n}{(\alpha+1)_n}\,"
            r"\bigl[\psi(\alpha + 1 + n) - \log z\bigr] ,")
    alpha, z = mp.mpf("2.3"), mp.mpf("1.7")
    total = sum(z**n / mp.rf(alpha + 1, n) * (mp.digamma(alpha + 1 + n) - mp.log(z)) for n in range(60)) / alpha
    assert abs(total - velocity(alpha, z)) < CLOSE         # term 60 is below 1e-60


def test_continued_fraction():
    printed("eq-continued-fraction", r"""\begin{aligned}
\partialby{\log z}{\alpha} &= C\,[\log z - \psi(\alpha)] + \partialby{C}{\alpha}, \\
C &= \frac{1}{f_0}, \\
f_{k-1} &= z + 2k - 1 - \alpha + \frac{k(\alpha - k)}{f_k} ,
\end{aligned}""")
    alpha, z = mp.mpf("2.3"), mp.mpf("4.7")

    def C(alpha, length=120):                              # what this length leaves out is below 1e-30 here
        f = z + 2 * length + 1 - alpha
        for k in range(length, 0, -1):
            f = z + 2 * k - 1 - alpha + k * (alpha - k) / f
        return 1 / f

    assert abs(C(alpha) * (mp.log(z) - mp.digamma(alpha)) + slope(C, alpha) - velocity(alpha, z)) < CLOSE


def test_differential_equation():
    printed("eq-ode", r"z\,g' = (z - \alpha + 1)\,g - z\,[\log z - \psi(\alpha)] .")
    alpha, z, psi = sp.symbols("alpha z psi", positive=True)
    dp_dshape = sp.Function("D")(z)
    p = z ** (alpha - 1) * sp.exp(-z)                      # over Gamma(alpha), whose log has the slope psi
    g = -dp_dshape / p
    slope_of_g = sp.diff(g, z).subs(sp.diff(dp_dshape, z), p * (sp.log(z) - psi))      # d/dz dP/dalpha = dp/dalpha
    right = (z - alpha + 1) * g - z * (sp.log(z) - psi)
    assert sp.powsimp(sp.expand(z * slope_of_g - right)) == 0


def test_expansion_at_large_shapes():
    printed("eq-expansion", r"""g_0 = \frac{x}{1 - e^{-x}}, \qquad
g_k = \frac{\dot g_{k-1} - g_{k-1} - \psi_k\,e^x}{e^x - 1} .""")
    x = sp.Symbol("x")
    g = [x / (1 - sp.exp(-x))]
    for psi_k in (-sp.Rational(1, 2), -sp.Rational(1, 12), 0):     # -B_k / k; at k = 1 with the minus sign
        g.append((sp.diff(g[-1], x) - g[-1] - psi_k * sp.exp(x)) / (sp.exp(x) - 1))
    at = [mp.mpf(sp.N(g_k.subs(x, sp.Rational(1, 4)), 30)) for g_k in g]

    def left_out(alpha):
        z = alpha * mp.exp(mp.mpf(1) / 4)
        return z * velocity(alpha, z) - sum(g_k / alpha**k for k, g_k in enumerate(at))

    # the next term falls like alpha^-4, and the one after it is 1e-4 of it or less
    assert abs(10**4 * left_out(mp.mpf(10000)) / left_out(mp.mpf(1000)) - 1) < 2e-3


def test_taylor_coefficients():
    printed("eq-taylor", r"(n+1)\,c\,g_{n+1} = (c - \alpha + 1 - n)\,g_n + g_{n-1} - l_n ,")
    alpha, c = mp.mpf("2.3"), mp.mpf("1.7")
    psi = mp.digamma(alpha)
    g = [0, c * velocity(alpha, c)]                        # g_-1, g_0
    for n in range(60):
        l_n = (c * (mp.log(c) - psi), mp.log(c) - psi + 1)[n] if n < 2 else (-1) ** n / (n * (n - 1) * c ** (n - 1))
        g.append(((c - alpha + 1 - n) * g[-1] + g[-2] - l_n) / ((n + 1) * c))
    h = mp.mpf("0.3")                                      # (0.3 / 1.7)^60 is below 1e-45
    assert abs(sum(g_n * h**n for n, g_n in enumerate(g[1:])) - (c + h) * velocity(alpha, c + h)) < CLOSE


def test_log_density_without_large_parts():
    printed("eq-log-zp", r"""\begin{gathered}
\log(z\,p) = \tfrac12\log\frac{\alpha}{2\pi} - \delta(\alpha) - \Delta, \\
\Delta = \alpha\log\frac\alpha z + z - \alpha .
\end{gathered}""")
    alpha, z = sp.symbols("alpha z", positive=True)
    delta = sp.loggamma(alpha) - ((alpha - sp.Rational(1, 2)) * sp.log(alpha) - alpha + sp.log(2 * sp.pi) / 2)
    deviance = alpha * sp.log(alpha / z) + z - alpha
    log_zp = alpha * sp.log(z) - z - sp.loggamma(alpha)
    difference = log_zp - (sp.log(alpha / (2 * sp.pi)) / 2 - delta - deviance)
    assert sp.expand(sp.expand_log(difference)) == 0


def test_deviance_near_its_zero():
    printed("eq-deviance", r"\Delta = (\alpha - z)\,r + 2\alpha r\left(\frac{r^2}{3} + \frac{r^4}{5} + \cdots\right) .")
    alpha, z = mp.mpf("7.3"), mp.mpf("9.1")
    r = (alpha - z) / (alpha + z)
    series = (alpha - z) * r + 2 * alpha * r * sum(r ** (2 * n) / (2 * n + 1) for n in range(1, 30))
    assert abs(series - (alpha * mp.log(alpha / z) + z - alpha)) < CLOSE       # r^60 is below 1e-57


def test_gradient_through_a_dirichlet_draw():
    printed("eq-dirichlet-gradient", r"\partialby{f}{c_j} = \sum_i s_i\,(\delta_{ij} - x_j)\,v_j"
            r" = v_j\,\Bigl(s_j - x_j\sum_i s_i\Bigr) .")
    log_z, s = sp.symbols("y:3", real=True), sp.symbols("s:3", real=True)
    total = sum(map(sp.exp, log_z))
    x = [sp.exp(y) / total for y in log_z]
    f = sum(s_i * (y - sp.log(total)) for s_i, y in zip(s, log_z, strict=True))     # sum_i s_i log x_i
    j = 1                                                  # log z_j moves with the speed v_j, the others stand still
    assert sp.expand(sp.diff(f, log_z[j]) - (s[j] - x[j] * sum(s))) == 0
    assert sp.expand(sum(s[i] * (int(i == j) - x[j]) for i in range(3)) - (s[j] - x[j] * sum(s))) == 0

"""The key equations of the chapter on Poisson factorisation, as printed, against the definitions behind them."""

from itertools import product

import mpmath as mp
import sympy as sp
from equations import printed

TWO = range(2)
a, b, alpha, beta = sp.symbols("a b alpha beta", positive=True)
theta = sp.symbols("theta:2:2", positive=True)                         # theta_ik at 2i + k, rows i and components k
phi = sp.symbols("phi:2:2", positive=True)                             # phi_kd at 2k + d


def log_gamma(x, shape, rate):
    """Log density of a gamma variable x."""
    return shape * sp.log(rate) - sp.loggamma(shape) + (shape - 1) * sp.log(x) - rate * x


def test_covariance():
    printed("eq-pf-covariance", r"""
\Cov(x_{id}, x_{ie}) = \Cov(\lambda_{id}, \lambda_{ie}) = \sum_k \phi_{kd}\,\phi_{ke} \Var(\theta_{ik}) > 0 ,
\qquad d \ne e .
""")
    s, t = sp.symbols("s t")
    # E[s^x_d t^x_e]: given theta it is e^(sum_k theta_k c_k), and a gamma variable has E[e^(theta c)] = (b/(b - c))^a
    of_all = sp.prod((b / (b - (s - 1) * phi[2 * k] - (t - 1) * phi[2 * k + 1])) ** a for k in TWO)
    mixed, one, other = (sp.diff(of_all, *of).subs({s: 1, t: 1}) for of in ((s, t), (s,), (t,)))
    printed_sum = sum(phi[2 * k] * phi[2 * k + 1] * a / b**2 for k in TWO)
    assert sp.simplify(mixed - one * other - printed_sum) == 0


def test_splitting():
    printed("eq-pf-splitting", r"""
\prod_k \frac{\lambda_k^{z_k}e^{-\lambda_k}}{z_k!}
= \underbrace{\frac{\lambda^x e^{-\lambda}}{x!}}_{\Poisson(x;\,\lambda)}\;\cdot\;
\underbrace{\frac{x!}{\prod_k z_k!}\prod_k\Big(\frac{\lambda_k}{\lambda}\Big)^{z_k}}_{\text{multinomial}} .
""")
    rates = sp.symbols("lambda:3", positive=True)
    z = (2, 0, 3)
    x, total = sum(z), sum(rates)
    left = sp.prod(rate**n * sp.exp(-rate) / sp.factorial(n) for rate, n in zip(rates, z, strict=True))
    ways = sp.factorial(x) / sp.prod(sp.factorial(n) for n in z)
    units = list(product(range(3), repeat=x))                          # each unit goes to a cause: 3^5 ways
    assert sum(tuple(unit.count(k) for k in range(3)) == z for unit in units) == ways
    poisson = total**x * sp.exp(-total) / sp.factorial(x)
    right = poisson * ways * sp.prod((rate / total) ** n for rate, n in zip(rates, z, strict=True))
    assert sp.simplify(left / right) == 1


def of_two_points():
    """A count x = 3 of two causes whose unknowns take two values each: the 16 states, omega_k, E[theta_k] E[phi_k].

    The bounds and their difference are derived from independence under q alone, so sums can stand for integrals.
    """
    values = [((mp.mpf("0.4"), mp.mpf("1.9")), mp.mpf("0.3")), ((mp.mpf("0.7"), mp.mpf("2.2")), mp.mpf("0.6")),
              ((mp.mpf("1.1"), mp.mpf("0.2")), mp.mpf("0.8")), ((mp.mpf("0.9"), mp.mpf("3.1")), mp.mpf("0.45"))]
    states = []
    for chosen in product(TWO, repeat=4):
        theta_1, theta_2, phi_1, phi_2 = (pair[c] for (pair, _), c in zip(values, chosen, strict=True))
        weight = mp.fprod(p if c == 0 else 1 - p for (_, p), c in zip(values, chosen, strict=True))
        states.append((weight, (theta_1 * phi_1, theta_2 * phi_2)))
    omega = [mp.exp(mp.fsum(w * mp.log(rate[k]) for w, rate in states)) for k in TWO]
    total = [mp.fprod(mp.fsum((p * pair[0], (1 - p) * pair[1])) for pair, p in values[k::2]) for k in TWO]
    return 3, states, omega, total


def auxiliary(x, states, r):
    """E_q[log p(x, z | theta, phi) - log q(z)] by its definition, with multinomial q(z) of shares r, r_1 + r_2 = 1."""
    terms = []
    for first in range(x + 1):
        z = (first, x - first)
        q_z = mp.binomial(x, first) * r[0] ** z[0] * r[1] ** z[1]
        terms += [w * q_z * (mp.fsum(n * mp.log(rate) - rate - mp.log(mp.factorial(n))
                                     for n, rate in zip(z, rates, strict=True)) - mp.log(q_z)) for w, rates in states]
    return mp.fsum(terms)


def test_bound():
    printed("eq-pf-responsibilities", r"""
r_{idk} = \frac{\omega_{idk}}{\sum_l\omega_{idl}}, \qquad
\omega_{idk} = \exp\big(\E[\log\theta_{ik}] + \E[\log\phi_{kd}]\big) .
""")
    printed("eq-pf-bound", r"""
\begin{aligned}
\elbo_{\text{aux}}(q) = {} & \sum_{x_{id} > 0}\Big[x_{id}\log\sum_k\omega_{idk} - \log x_{id}!\Big] \\
& {} - \sum_k\Big(\sum_i\E[\theta_{ik}]\Big)\Big(\sum_d\E[\phi_{kd}]\Big) - \KL(\theta) - \KL(\phi) ,
\end{aligned}
""")
    with mp.workdps(25):
        x, states, omega, total = of_two_points()
        best = auxiliary(x, states, [omega[0] / sum(omega), omega[1] / sum(omega)])
        bound = x * mp.log(sum(omega)) - mp.log(mp.factorial(x)) - sum(total)
        assert abs(best - bound) < 1e-23                               # 64 terms of size 10 with 25 digits
        for off in (mp.mpf("0.001"), -mp.mpf("0.001")):
            assert auxiliary(x, states, [omega[0] / sum(omega) + off, omega[1] / sum(omega) - off]) < best - 1e-7


def test_two_bounds():
    printed("eq-pf-two-bounds", r"""
\elbo_{\text{marg}}(q) - \elbo_{\text{aux}}(q)
= \sum_{i,d} x_{id}\,\E_q\Big[\sum_k r_{idk}\log\frac{r_{idk}}{r_{idk}(\theta, \phi)}\Big] \ge 0 ,
""")
    with mp.workdps(25):
        x, states, omega, _ = of_two_points()
        r = [omega[0] / sum(omega), omega[1] / sum(omega)]
        marginal = mp.fsum(w * (x * mp.log(sum(rate)) - sum(rate) - mp.log(mp.factorial(x))) for w, rate in states)
        price = x * mp.fsum(w * mp.fsum(r[k] * mp.log(r[k] / (rate[k] / sum(rate))) for k in TWO)
                            for w, rate in states)
        assert abs(marginal - auxiliary(x, states, r) - price) < 1e-23 and price > 0.01


def test_learned():
    printed("eq-pf-learned", r"\log a_k - \psi(a_k) = \log M_k - L_k , \qquad b_k = \frac{a_k}{M_k} ,")
    M, L = sp.symbols("M L", positive=True)
    x = sp.symbols("x", positive=True)
    expected = sp.expand_log(log_gamma(x, a, b)).subs(sp.log(x), L).subs(x, M)       # linear in log x and x
    in_b = sp.solve(sp.diff(expected, b), b)
    assert in_b == [a / M]
    in_a = sp.diff(expected, a).subs(b, a / M)
    assert sp.simplify(sp.expand_log(in_a - ((sp.log(a) - sp.digamma(a)) - (sp.log(M) - L)), force=True)) == 0


def test_marginal_gradient():
    printed("eq-pf-shares", r"r_{idk}(\theta, \phi) = \frac{\theta_{ik}\phi_{kd}}{\sum_l\theta_{il}\phi_{ld}} .")
    printed("eq-pf-marginal-gradient", r"""
\partialby{\log p}{\log\theta_{ik}} = \Big(a + \sum_d x_{id}\,r_{idk}(\theta, \phi)\Big)
- \Big(b + \sum_d\phi_{kd}\Big)\theta_{ik} ,
""")
    x = sp.symbols("x:2:2", positive=True)
    log_p = sum(log_gamma(one, a, b) + sp.log(one) for one in theta)   # densities of the logarithms
    for i, d in product(TWO, TWO):
        rate = sum(theta[2 * i + k] * phi[2 * k + d] for k in TWO)
        log_p += x[2 * i + d] * sp.log(rate) - rate
    i, k = 1, 0
    slope = theta[2 * i + k] * sp.diff(log_p, theta[2 * i + k])
    share = [theta[2 * i + k] * phi[2 * k + d] / sum(theta[2 * i + j] * phi[2 * j + d] for j in TWO) for d in TWO]
    line = a + sum(x[2 * i + d] * share[d] for d in TWO) - (b + sum(phi[2 * k + d] for d in TWO)) * theta[2 * i + k]
    assert sp.simplify(slope - line) == 0


def test_natural():
    printed("eq-pf-natural", r"""
\Big(a' + \sum_i x_{id}\,r_{idk} - \alpha'_{kd},\;\; b' + \sum_i\E[\theta_{ik}] - \beta'_{kd}\Big) .
""")
    n, e, x = sp.symbols("n e x", positive=True)                       # sum_i x r and sum_i E[theta]
    mean, mean_log = alpha / beta, sp.digamma(alpha) - sp.log(beta)
    log_prior = a * sp.log(b) - sp.loggamma(a) + (a - 1) * mean_log - b * mean
    log_q = alpha * sp.log(beta) - sp.loggamma(alpha) + (alpha - 1) * mean_log - beta * mean
    elbo = n * mean_log - e * mean + log_prior - log_q
    fisher = -sp.hessian(log_gamma(x, alpha, beta), (alpha, beta))     # does not depend on x
    claimed = sp.Matrix([a + n - alpha, b + e - beta])
    gradient = sp.Matrix([sp.diff(elbo, alpha), sp.diff(elbo, beta)])
    assert not fisher.has(x) and sp.simplify(fisher * claimed - gradient) == sp.zeros(2, 1)


def test_compound_prior():
    printed("eq-pf-compound-prior", r"""
\begin{aligned}
\log p(\log\theta) = {} & \sum_k\big[a\log\theta_k - \log\Gamma(a)\big] + \log\frac{\Gamma(s + Ka)}{\Gamma(s)} \\
& {} - Ka\log\frac sb - (s + Ka)\log\Big(1 + \frac bs\sum_k\theta_k\Big) .
\end{aligned}
""")
    with mp.workdps(25):
        a, b, s, K, theta = mp.mpf("0.7"), mp.mpf("1.3"), mp.mpf("2.6"), 2, (mp.mpf("0.4"), mp.mpf("1.9"))

        def joint(log_xi):                                             # of log theta and log xi
            xi = mp.exp(log_xi)
            of_theta = mp.fsum(a * mp.log(xi * t) - xi * t - mp.loggamma(a) for t in theta)
            return mp.exp(of_theta + s * mp.log(s / b * xi) - s / b * xi - mp.loggamma(s))

        step = mp.mpf(1) / 8                                           # trapezoid rule: exact far beyond 20 digits
        by_sum = mp.log(step * mp.fsum(joint(step * j) for j in range(-130, 36)))
        line = (mp.fsum(a * mp.log(t) - mp.loggamma(a) for t in theta) + mp.loggamma(s + K * a) - mp.loggamma(s)
                - K * a * mp.log(s / b) - (s + K * a) * mp.log(1 + b / s * sum(theta)))
        assert abs(by_sum - line) < 1e-20

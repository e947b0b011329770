"""The key equations of the chapter on Adam, as printed, from sums, recursions and the density of a gamma."""

import mpmath as mp
import sympy as sp
from equations import printed

b1, b2, h, kappa = sp.symbols("beta_1 beta_2 h kappa", positive=True)
a, mu, z, s = sp.symbols("alpha mu z s", positive=True)


def test_the_correction_divides_by_the_sum_of_the_weights():
    printed("eq-adam-bias", r"\hat m_t = \frac{m_t}{1 - \beta_1^t} , \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t}")
    mean, square, first, second = sp.symbols("mean square first second")
    m, v = sp.Integer(0), sp.Integer(0)                  # eq-adam-moments, in expectation
    for t in range(1, 6):
        m, v = b1 * m + (1 - b1) * mean, b2 * v + (1 - b2) * square
        first, second = m / (1 - b1**t), v / (1 - b2**t)
        assert sp.simplify(first - mean) == 0 and sp.simplify(second - square) == 0


# Over all g the largest (sum_k a_k g_k)^2 / sum_k b_k g_k^2 is sum_k a_k^2 / b_k, at g_k = a_k / b_k.
def test_the_bound_on_a_step_is_the_largest_ratio():
    printed("eq-adam-bound", r"""\frac{|\hat m_t|}{\sqrt{\hat v_t}} \;\le\; \frac{1 - \beta_1}{\sqrt{1 - \beta_2}}\,
        \sqrt{\frac{1 - r^t}{1 - r}}\; \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} .""")
    t, r = 5, b1**2 / b2
    squared = (1 - b1) ** 2 / (1 - b2) * (1 - r**t) / (1 - r) * (1 - b2**t) / (1 - b1**t) ** 2
    ages = range(t)
    weights = [((1 - b1) * b1**k / (1 - b1**t), (1 - b2) * b2**k / (1 - b2**t)) for k in ages]
    assert sp.cancel(squared - sum(x**2 / y for x, y in weights)) == 0
    growing = [x / y for x, y in weights]                # by beta_2 / beta_1 a step: with the age it falls
    assert all(sp.cancel(growing[k] / growing[k + 1] - b2 / b1) == 0 for k in ages[:-1])


def test_the_gradient_in_log_shape_and_log_mean():
    printed("eq-mean-coordinates", r"""\begin{aligned}
        \left.\partialby{\elbo}{\log\alpha}\right|_{\mu}
        &= \partialby{\elbo}{\log\alpha} + \partialby{\elbo}{\log\beta} , \\
        \left.\partialby{\elbo}{\log\mu}\right|_{\alpha} &= -\partialby{\elbo}{\log\beta} ,
        \end{aligned}""")
    u, v, y = sp.symbols("u v y")                        # log alpha, log mean, log beta
    elbo = sp.Function("f")(u) * sp.Function("g")(y)     # sums of such are all smooth functions
    at = {y: u - v}
    in_shape, in_rate = sp.diff(elbo, u).subs(at).doit(), sp.diff(elbo, y).subs(at).doit()
    assert sp.simplify(sp.diff(elbo.subs(at), u) - (in_shape + in_rate).doit()) == 0
    assert sp.simplify(sp.diff(elbo.subs(at), v) - (-in_rate).doit()) == 0


def test_the_fisher_information_in_log_shape_and_log_mean_is_diagonal():
    printed("eq-fisher-mean", r"""F_{(\log\alpha, \log\mu)} = J^\top F_{(\log\alpha, \log\beta)}\, J
        = \begin{pmatrix} \alpha^2\psi'(\alpha) - \alpha & 0 \\ 0 & \alpha \end{pmatrix} .""")
    claimed = sp.diag(a**2 * sp.polygamma(1, a) - a, a)
    u, v, log_theta = sp.symbols("u v x", real=True)     # minus the mean of the second derivatives of log q
    log_q = sp.exp(u) * (u - v) - sp.loggamma(sp.exp(u)) + sp.exp(u) * log_theta - sp.exp(u - v + log_theta)
    second = -sp.hessian(log_q, (u, v))
    moment = sp.integrate(z ** (a - 1 + s) * sp.exp(-z), (z, 0, sp.oo), conds="none") / sp.gamma(a)    # E[z^s]
    mean_log = sp.diff(moment, s).subs(s, 0) - sp.log(a / mu)
    for i in range(2):
        for j in range(2):                               # linear in log theta and in theta
            entry = sp.expand(sp.expand(second[i, j]).subs(sp.exp(log_theta), z * sp.exp(v - u)))
            entry = entry.subs(log_theta, mean_log).subs(z, moment.subs(s, 1)).subs({u: sp.log(a), v: sp.log(mu)})
            assert sp.simplify(sp.expand_func(entry) - claimed[i, j]) == 0
    shape = mp.mpf(10) ** 8                              # in (log shape, log rate) the condition number: 8 alpha + O(1)
    with mp.workdps(40):
        rho = 1 / mp.sqrt(shape * mp.psi(1, shape))
        assert abs((1 + rho) / (1 - rho) / (8 * shape) - 1) < 1 / shape


def test_the_powers_of_adam_with_a_root_that_stands_still():
    printed("eq-adam-frozen", r"\lambda^2 - \big(1 + \beta_1 - h\,(1 - \beta_1)\big)\,\lambda + \beta_1 = 0 .")
    x = sp.Symbol("lambda")
    quadratic = x**2 - (1 + b1 - h * (1 - b1)) * x + b1
    delta, m = sp.symbols("delta m")
    new_m = b1 * m + (1 - b1) * kappa * delta            # g = kappa delta; h = eta kappa / root
    step = sp.Matrix([delta - h / kappa * new_m, new_m]).jacobian([delta, m])
    assert sp.expand(step.charpoly(x).as_expr() - quadratic) == 0
    root = sp.Symbol("rho", positive=True)               # of beta_1
    for sign in (1, -1):                                 # a double root at both ends of the landing zone
        end = ((1 + sign * root) ** 2 / (1 - b1)).subs(b1, root**2)
        assert sp.simplify(sp.discriminant(quadratic, x).subs(b1, root**2).subs(h, end)) == 0
    assert sp.simplify(quadratic.subs({x: -1, h: 2 * (1 + b1) / (1 - b1)})) == 0
    cold = sp.series(max(sp.solve(quadratic.subs(b1, sp.Rational(9, 10)), x), key=lambda r: r.subs(h, 0)), h, 0, 2)
    assert sp.expand(cold.removeO() - (1 - h)) == 0

"""The equations of the chapter on the Poisson-gamma model as printed, against integrals of the two densities."""

import sympy as sp
from equations import printed

a, b, alpha, beta, theta, m = sp.symbols("a b alpha beta theta m", positive=True)
x, y, star = sp.symbols("x y x_star", integer=True, nonnegative=True)  # two rows and the next count
LOG_THETA = sp.symbols("ell", real=True)


def density(shape, rate):
    """The gamma density with respect to theta, equation eq-gamma-density."""
    return rate**shape / sp.gamma(shape) * theta ** (shape - 1) * sp.exp(-rate * theta)


def poisson(count):
    return theta**count * sp.exp(-theta) / sp.factorial(count)


LIKELIHOOD = poisson(x) * poisson(y)
A, B = a + x + y, b + 2  # equation eq-posterior with two rows
C = a * sp.log(b) - sp.loggamma(a) - sp.log(sp.factorial(x)) - sp.log(sp.factorial(y))


def zero(expression):
    expression = sp.expand_log(expression.rewrite(sp.gamma).replace(sp.loggamma, lambda n: sp.log(sp.gamma(n))))
    return sp.simplify(sp.expand(expression)) == 0


def test_gamma_density_integrates_to_one_with_the_mean_and_the_variance():
    printed("eq-gamma-density", r"""
p(\theta; \alpha, \beta) = \frac{\beta^\alpha}{\Gamma(\alpha)}\, \theta^{\alpha - 1} e^{-\beta\theta},
\qquad \Gamma(\alpha) = \int_0^\infty t^{\alpha-1} e^{-t}\, dt .
""")
    mass, first, second = (sp.simplify(sp.integrate(density(alpha, beta) * theta**n, (theta, 0, sp.oo)))
                           for n in range(3))
    assert mass == 1 and sp.simplify(first - alpha / beta) == 0
    assert sp.simplify(second - first**2 - alpha / beta**2) == 0
    assert sp.integrate(theta ** (alpha - 1) * sp.exp(-theta), (theta, 0, sp.oo)) == sp.gamma(alpha)


def test_posterior_is_proportional_to_likelihood_times_prior():
    printed("eq-posterior", r"A = a + T, \qquad B = b + m .")
    ratio = sp.log(LIKELIHOOD * density(a, b)) - sp.log(density(A, B))
    assert sp.simplify(sp.diff(ratio, theta)) == 0


def test_log_density_and_its_slope():
    printed("eq-log-density", r"""
\log p(\log\theta; \alpha, \beta) = \alpha\log\beta - \log\Gamma(\alpha) + \alpha\log\theta - \beta\theta .
""")
    printed("eq-grad-log-density",
            r"\partialby{}{\log\theta} \log p(\log\theta; \alpha, \beta) = \alpha - \beta\theta .")
    log_density = alpha * sp.log(beta) - sp.loggamma(alpha) + alpha * sp.log(theta) - beta * theta
    slope = alpha - beta * theta

    # the distribution function of log theta, differentiated in log theta
    t = sp.symbols("t", positive=True)
    below = sp.Integral(density(alpha, beta).subs(theta, t), (t, 0, sp.exp(LOG_THETA)))
    true = sp.diff(below, LOG_THETA).doit().subs(LOG_THETA, sp.log(theta))
    assert zero(sp.log(true) - log_density)
    assert sp.simplify(theta * sp.diff(log_density, theta) - slope) == 0


def test_log_joint_and_its_slope():
    printed("eq-log-joint", r"""
\begin{aligned}
\log p(x, \log\theta) &= A\log\theta - B\theta + c, \\
c &= a\log b - \log\Gamma(a) - \textstyle\sum_i \log x_i! ,
\end{aligned}
""")
    printed("eq-grad-log-joint", r"\partialby{}{\log\theta}\log p(x, \log\theta) = A - B\theta ,")
    log_joint = A * sp.log(theta) - B * theta + C
    slope = A - B * theta

    true = sp.log(LIKELIHOOD * density(a, b) * theta)  # theta is the Jacobian
    assert zero(true - log_joint)
    assert sp.simplify(theta * sp.diff(true, theta) - slope) == 0


def test_evidence_is_the_integral_of_the_joint():
    printed("eq-evidence", r"\log p(x) = c + \log\Gamma(A) - A\log B .")
    log_evidence = C + sp.loggamma(A) - A * sp.log(B)
    integral = sp.integrate(sp.powsimp(LIKELIHOOD * density(a, b)), (theta, 0, sp.oo))
    assert zero(sp.log(integral) - log_evidence)


def test_predictive_is_the_average_over_the_posterior():
    printed("eq-predictive", r"""
p(x^* \mid x) = \frac{\Gamma(A + x^*)}{\Gamma(A)\, x^*!}
\left(\frac{B}{B + 1}\right)^{A}\left(\frac{1}{B + 1}\right)^{x^*} .
""")
    predictive = (sp.gamma(alpha + star) / (sp.gamma(alpha) * sp.factorial(star))
                  * (beta / (beta + 1)) ** alpha * (1 / (beta + 1)) ** star)  # alpha, beta for A, B
    integral = sp.integrate(sp.powsimp(poisson(star) * density(alpha, beta)), (theta, 0, sp.oo))
    assert zero(sp.log(integral) - sp.log(predictive))

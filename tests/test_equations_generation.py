"""The equations of the chapter on generation, as printed, against sums over counts and over draws of images."""

from itertools import permutations, product

import numpy as np
import sympy as sp
from equations import printed
from scipy.special import gammaln

A, B = sp.symbols("A B", positive=True)
u, v = sp.symbols("u v", positive=True)


def generating_function():
    """E[u^x v^y] of two counts that share their rate theta: given it e^((u - 1) theta) e^((v - 1) theta).

    What is left is the integral of B^A/Gamma(A) theta^(A - 1) e^(-C theta) with C = B + 2 - u - v, that is (B/C)^A.
    """
    return (B / (B + 2 - u - v)) ** A


def at_one(expression):
    return sp.simplify(expression.subs({u: 1, v: 1}))


def test_shared():
    printed("eq-generation-shared", r"\Cov(x_i, x_j) = \Var(\theta) = \frac{A}{B^2} .")
    G = generating_function()
    covariance = at_one(sp.diff(G, u, v)) - at_one(sp.diff(G, u)) * at_one(sp.diff(G, v))
    assert sp.simplify(covariance - A / B**2) == 0


def test_predictive_variance_split():
    printed("eq-predictive-variance-split", r"""
\begin{gathered}
\Var(x) = \underbrace{\E[\theta]}_{\text{noise}} + \underbrace{\Var(\theta)}_{\text{uncertainty}}
= \frac{A}{B} + \frac{A}{B^2}, \\
\frac{\text{uncertainty}}{\Var(x)} = \frac{1}{B + 1} .
\end{gathered}
""")
    G = generating_function().subs(v, 1)
    mean = at_one(sp.diff(G, u))
    variance = at_one(sp.diff(G, u, 2)) + mean - mean**2
    assert sp.simplify(mean - A / B) == 0                             # E[theta], the noise
    assert sp.simplify(variance - (A / B + A / B**2)) == 0
    assert sp.simplify(A / B**2 / variance - 1 / (B + 1)) == 0


def test_real():
    printed("eq-generation-real", r"\E\bigl[(x^* - \bar x)^2\bigr] = v + \frac{v}{m} .")
    c, m = sp.symbols("c:4"), 2
    centre = sum(c) / 4
    squares = sum((one - centre) ** 2 for one in c)
    for images, v in ((list(permutations(c, m + 1)), squares / 3), (list(product(c, repeat=m + 1)), squares / 4)):
        distance = sum((new - sum(seen) / m) ** 2 for new, *seen in images) / len(images)
        assert sp.expand(distance - (v + v / m)) == 0                  # without replacement; independent


def test_rows():
    printed("eq-generation-rows", r"""
\text{standard error} = \sqrt{\frac{h(1 - h)}{n}}, \qquad n = \frac{1 - h}{h\,\varepsilon^2} .
""")
    h, n, epsilon = sp.symbols("h n epsilon", positive=True)
    five = [sp.binomial(5, hits) * h**hits * (1 - h) ** (5 - hits) for hits in range(6)]
    mean = sum(p * hits for hits, p in enumerate(five)) / 5
    square = sum(p * hits**2 for hits, p in enumerate(five)) / 25
    assert sp.expand(mean - h) == 0 and sp.expand(square - h**2 - (h * (1 - h) / n).subs(n, 5)) == 0
    enough = (1 - h) / (h * epsilon**2)
    assert sp.simplify((h * (1 - h) / n).subs(n, enough) - (epsilon * h) ** 2) == 0


def test_the_generating_function_is_the_sum_over_counts():
    a, b, x, y, step = 1.7, 2.3, 0.8, 0.6, 1 / 32
    theta = np.exp(np.arange(-30, 4, step))            # trapezoid rule in log theta: exact to rounding
    k = np.arange(120)
    pmf = np.exp(k * np.log(theta)[:, None] - theta[:, None] - gammaln(k + 1))
    density = np.exp(a * np.log(b * theta) - b * theta - gammaln(a))
    by_sum = np.sum(density * (pmf @ x**k) * (pmf @ y**k)) * step
    symbols = dict(zip((A, B, u, v), (a, b, x, y), strict=True))
    assert abs(by_sum / float(generating_function().subs(symbols)) - 1) < 1e-13

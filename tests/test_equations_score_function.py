"""The key equations of the chapter on the score function, from the gamma density and from finite noise."""

from itertools import product

import numpy as np
import sympy as sp
from equations import printed
from mpmath import mp

alpha, beta, z, t = sp.symbols("alpha beta z t", positive=True)
psi = sp.digamma(alpha)
# A variable of three values: their probabilities, f, and a score of mean zero. All exact.
WEIGHT, F, H = (np.array(sp.S(row), dtype=object) for row in ("[1/2, 1/3, 1/6]", "[3, -1, 7]", "[1, -3, 3]"))
G = WEIGHT @ (F * H)


def test_scores():
    printed("eq-score-function-scores",
            r"h_{\log\alpha} = \alpha\,(\log z - \psi(\alpha)) , \qquad h_{\log\beta} = \alpha - z .")
    log_q = alpha * sp.log(beta) + alpha * t - beta * sp.exp(t) - sp.loggamma(alpha)         # of t = log theta
    at = sp.log(z / beta)
    h_shape, h_rate = alpha * (sp.log(z) - psi), alpha - z
    assert sp.simplify(sp.expand_log((alpha * sp.diff(log_q, alpha)).subs(t, at)) - h_shape) == 0
    assert sp.simplify((beta * sp.diff(log_q, beta)).subs(t, at) - h_rate) == 0


def test_gradient_is_the_mean_of_f_times_the_score():
    printed("eq-score-function",
            r"\partialby{\elbo}{\lambda} = \E_q[f h] \;\approx\; \frac1S\sum_{s=1}^S f_s h_s .")
    with mp.workdps(30):
        a, step = mp.mpf("2.5"), mp.mpf("1e-6")
        # Trapezoidal rule in t = log theta, off by e^(-8 pi^2), 1e-34, times powers of 50; left of it is 1e-32.
        nodes = [mp.mpf(k) / 8 for k in range(-240, 40)]

        def log_gamma(shape, rate):
            return [shape * (mp.log(rate) + t) - rate * mp.exp(t) - mp.loggamma(shape) for t in nodes]

        def average(shape, weigh):                       # over q = Gamma(shape, 2); no gamma is this model's posterior
            log_q = log_gamma(shape, 2)
            f = [p - mp.exp(t / 2) - q for p, q, t in zip(log_gamma(3, 1), log_q, nodes, strict=True)]
            return mp.fsum(v * weigh(t) * mp.exp(q) for v, q, t in zip(f, log_q, nodes, strict=True)) / 8

        def elbo(steps):
            return average(a * mp.exp(steps * step), lambda t: 1)

        found = average(a, lambda t: a * (mp.log(2) + t - mp.psi(0, a)))
        quotient = (8 * (elbo(1) - elbo(-1)) - elbo(2) + elbo(-2)) / (12 * step)
        # Off by step^4 / 30 of a fifth derivative, and by rounding, 1e-30 / step.
        assert abs(found / quotient - 1) < 1e-20


def test_covariance_at_the_posterior():
    printed("eq-score-variance-at-optimum", r"\Cov(\nabla\elbo) = \frac{(\log p(x))^2}{S}\,F .")
    # F by its definition: E[z^s log(z)^n] are derivatives of Gamma(alpha + s) / Gamma(alpha).
    s, log_p, S = sp.symbols("s log_p S")
    moment = sp.gamma(alpha + s) / sp.gamma(alpha)
    log_1, log_2 = (sp.diff(moment, s, n).subs(s, 0) for n in (1, 2))
    z_1, z_2, z_log = moment.subs(s, 1), moment.subs(s, 2), sp.diff(moment, s).subs(s, 1)
    fisher = sp.Matrix([[alpha**2 * (log_2 - 2 * psi * log_1 + psi**2),
                         alpha * (alpha * log_1 - z_log - psi * (alpha - z_1))],
                        [0, alpha**2 - 2 * alpha * z_1 + z_2]])
    fisher[1, 0] = fisher[0, 1]
    claim = sp.Matrix([[alpha**2 * sp.polygamma(1, alpha), -alpha], [-alpha, alpha]])       # printed after the scores
    assert (fisher - claim).applyfunc(lambda entry: sp.simplify(sp.expand_func(entry))) == sp.zeros(2)
    # A sum of S independent terms log_p h / S.
    assert sp.simplify(S * (log_p / S) ** 2 * fisher - log_p**2 / S * fisher) == sp.zeros(2)


def test_variance_left_out_with_other_columns():
    printed("eq-rao-blackwell-variance",
            r"\Var(f h_d) = \Var\bigl((f_d + k_d)\,h_d\bigr) + \Var(f - f_d)\,\E[h_d^2] .")
    rest = np.array([4, -2, 11])                         # of another column, independent, with the same weights
    both, f, h = np.outer(WEIGHT, WEIGHT), F[:, None], H[:, None]

    def variance(values):
        return np.sum(both * values**2) - np.sum(both * values) ** 2

    k = WEIGHT @ rest
    assert variance((f + rest) * h) == variance((f + k + 0 * rest) * h) + variance(rest + 0 * f) * (WEIGHT @ H**2)


def test_variance_of_leave_one_out():
    printed("eq-leave-one-out-variance", r"""
        \frac1S\biggl(\E[\tilde f^2 h^2] + \frac{\Var(f)\Var(h)}{S - 1} - \frac{S-2}{S-1}\,g^2\biggr) .""")
    S, first, second = 3, 0, 0
    for draws in product(range(3), repeat=S):            # every sample, and its estimate by its definition
        f, h = F[list(draws)], H[list(draws)]
        estimate = sum((f - (f.sum() - f) / (S - 1)) * h) / S
        probability = np.prod(WEIGHT[list(draws)])
        first, second = first + probability * estimate, second + probability * estimate**2
    centred = F - WEIGHT @ F
    var_f, var_h, squares = WEIGHT @ centred**2, WEIGHT @ H**2, WEIGHT @ (centred * H) ** 2
    assert first == G
    assert second - first**2 == (squares + var_f * var_h / (S - 1) - sp.Rational(S - 2, S - 1) * G**2) / S


def test_best_constant():
    printed("eq-control-variate", r"""
        \partialby{\elbo}{\lambda} \approx \frac1S\sum_{s=1}^S (f_s - \kappa_s)\,h_s , \qquad
        \kappa = \frac{\Cov(f h, h)}{\Var(h)} = \frac{\E[f h^2]}{\E[h^2]} .""")
    k = sp.Symbol("k")
    variance = WEIGHT @ ((F - k) * H) ** 2 - (WEIGHT @ ((F - k) * H)) ** 2
    best, = sp.solve(sp.diff(variance, k), k)
    covariance = WEIGHT @ (F * H * H) - G * (WEIGHT @ H)
    assert best == covariance / (WEIGHT @ H**2) == (WEIGHT @ (F * H**2)) / (WEIGHT @ H**2)


def test_leading_bias_of_the_fitted_constant():
    printed("eq-same-sample-bias", r"""
        \E\Bigl[\frac1S\sum_s (f_s - \hat\kappa)\,h_s\Bigr] - g = -\frac1S\,\frac{\E[e\,h^2]}{\E[h^2]}
        + O\!\left(\frac1{S^2}\right) .""")
    weight, f, h = (column.astype(float) for column in (WEIGHT, F, H))
    g, kappa = weight @ (f * h), weight @ (f * h**2) / (weight @ h**2)
    e = f * h - g - kappa * h
    leading = -(weight @ (e * h**2)) / (weight @ h**2)

    def bias(S):
        """S times the exact bias, over all counts of the three values (equal draws get the constant kappa)."""
        i, j = np.meshgrid(*2 * [np.arange(S + 1)], indexing="ij")
        counts = np.stack([i, j, S - i - j], axis=-1)[i + j <= S]
        log_factorial = np.concatenate([[0], np.cumsum(np.log(np.arange(1, S + 1)))])
        probability = np.exp(log_factorial[S] - log_factorial[counts].sum(axis=1) + counts @ np.log(weight))
        y, mean_h = counts @ (f * h) / S, counts @ h / S
        variance = counts @ h**2 / S - mean_h**2
        covariance = counts @ (f * h * h) / S - y * mean_h
        fitted = np.where(variance > 1e-9, covariance / np.maximum(variance, 1e-9), kappa)
        assert abs(probability.sum() - 1) < 1e-10
        return S * (probability @ (y - fitted * mean_h) - g)

    # S times the bias is the leading term + O(1 / S): of two S the first order is taken out.
    assert abs(bias(100) / leading - 1) > 1e-3 > abs((2 * bias(200) - bias(100)) / leading - 1)

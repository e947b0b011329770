"""Normal scores against SciPy's distributions, and the two tests against theirs."""

import numpy as np
import pytest
from scipy import stats

from vi_ref import Gamma
from vi_ref.diagnostics import normal_scores, score_tests


# SciPy's gamma cdf and normal quantile are good to 1e-14 of the tail, a score to that over (1 + |z|): 1e-13 with room
# for the rounding of e^log_theta.
def test_scores_against_scipy():
    q, z = Gamma([[0.3], [2.0], [80.0]], [[1.0], [5.0], [0.1]]), np.linspace(-4, 4, 9)
    tail = stats.norm.sf(np.abs(z))
    law = stats.gamma(q.shape, scale=1 / q.rate)
    theta = np.where(z < 0, law.ppf(tail), law.isf(tail))
    assert np.all(np.abs(normal_scores(q, np.log(theta)) - z) <= 1e-13 * (1 + np.abs(z)))


def test_scores_of_extremes_are_finite_and_increase():
    scores = normal_scores(Gamma(5.0, 2.0), np.linspace(-1e5, 690, 1000))
    assert np.isfinite(scores).all() and (np.diff(scores) > 0).all()
    # far out log Q = -x (1 + O(log x / x)), and z = sqrt(2 x)
    assert abs(normal_scores(Gamma(5.0, 2.0), 600.0) / np.sqrt(4 * np.exp(600.0)) - 1) < 1e-12


# k = 4.5 standard errors of a mean of 40 000 scores, and of their mean square (sd sqrt(2)): both pass but for 1.4e-5
# if right. Without the rate in log x, or with the tails swapped, they are off by more than 100.
@pytest.mark.parametrize("shape", [1e-3, 0.7, 300.0])
def test_scores_of_draws_are_standard_normal(shape):
    q, n = Gamma(shape, 7.0), 40_000
    scores = normal_scores(q, q.sample_log(n, np.random.default_rng(5)))
    assert abs(scores.mean()) <= 4.5 / np.sqrt(n) and abs(np.mean(scores**2) - 1) <= 4.5 * np.sqrt(2 / n)


def test_tests_against_scipy():
    x = np.random.default_rng(1).normal(0.1, 1.2, (50, 3))
    found, squares = score_tests(x), 49 * x.var(axis=0, ddof=1)
    chi2 = stats.chi2(49)
    np.testing.assert_allclose(found.p_variance, 2 * np.minimum(chi2.cdf(squares), chi2.sf(squares)), rtol=1e-12)
    np.testing.assert_allclose(found.p_mean, 2 * stats.norm.sf(np.abs(x.mean(axis=0)) * np.sqrt(50)), rtol=1e-12)
    np.testing.assert_allclose(found.variance, squares / 49, rtol=1e-14)
    # sums along a row and down a column round differently: 50 eps of z = 1, times z / p at most
    np.testing.assert_allclose(score_tests(x[:, 0]).p_mean, found.p_mean[0], rtol=1e-13)
    np.testing.assert_allclose(stats.norm.cdf(found.variance_z), chi2.cdf(squares), rtol=1e-12)


# 2000 p-values each, in 10 bins, chi^2 with 9 degrees of freedom above 33.7 with probability 1e-4 if right; a divisor
# off by one degree of freedom in 5 moves a tenth of them.
def test_p_values_are_uniform():
    found = score_tests(np.random.default_rng(2).standard_normal((5, 2000)))
    for p in (found.p_mean, found.p_variance):
        counts = np.histogram(p, np.linspace(0, 1, 11))[0]
        assert np.sum((counts - 200) ** 2 / 200) < 33.7


@pytest.mark.parametrize(("call", "words"), [
    (lambda: normal_scores(Gamma(1.0, 1.0), [0.0, -np.inf]), "log_theta must be finite.* at index 1"),
    (lambda: normal_scores(Gamma(1.0, 1.0), 700.0), "rate theta at most 1e300, got 700"),
    (lambda: normal_scores(Gamma(1.0, 1.0), np.nan), "log_theta must be finite"),
    (lambda: normal_scores(2.0, 0.0), "q must be a vi_ref.Gamma, got float"),
    (lambda: score_tests([1.0]), r"\(N,\) or \(N, D\) with N at least 2, got \(1,\)"),
    (lambda: score_tests([1.0, np.inf]), "scores must be finite.* at index 1"),
    (lambda: score_tests([1e160, -1e160]), "scores must be finite, at most 1e140 .* at index 0"),
    (lambda: score_tests([[1.0, 2.0], [1.0, 3.0]]), "not all equal in a column.* at index 0"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()

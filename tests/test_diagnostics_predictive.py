"""Predictive checks: statistics against NumPy, valid p-values, and what the digit's pixels share."""

import numpy as np
import pytest

from vi_ref import Gamma, PoissonGamma, datasets
from vi_ref.diagnostics import benjamini_hochberg, predictive_check
from vi_ref.diagnostics.predictive import STATISTICS, correlation, mean_correlation

TRAIN, HELD_OUT = datasets.digit(0)[:100], datasets.digit(0)[100:]
MODEL = PoissonGamma(datasets.picture_prior(datasets.ring()), TRAIN)


def test_statistics_against_numpy():
    table = np.random.default_rng(1).poisson([0.3, 4.0, 20.0], (30, 3)).astype(float)
    ratio = table.var(axis=0, ddof=1) / table.mean(axis=0)
    np.testing.assert_allclose(STATISTICS["dispersion"](table), ratio, rtol=1e-14)
    np.testing.assert_array_equal(STATISTICS["zeros"](table), (table == 0).mean(axis=0))
    np.testing.assert_array_equal(STATISTICS["maximum"](table), table.max(axis=0))
    np.testing.assert_array_equal(STATISTICS["mean"](table), table.mean(axis=0))
    truth = np.corrcoef(table.T)
    np.testing.assert_allclose(correlation(table), truth, atol=1e-14)
    assert abs(mean_correlation(table) - np.abs(truth[[0, 0, 1], [1, 2, 2]]).mean()) < 1e-14


def test_columns_that_do_not_vary():
    table = np.array([[0.0, 3.0, 1.0, 2.0], [0.0, 3.0, 2.0, 4.0]])
    np.testing.assert_array_equal(STATISTICS["dispersion"](table)[:2], [1, 0])
    assert abs(mean_correlation(table) - 1 / 6) < 1e-15 and mean_correlation(table[:, :1]) == 0
    check = predictive_check(Gamma(np.full(2, 1e-9), 100.0), np.zeros((5, 2)), 20, np.random.default_rng(0))
    assert all((p == 1).all() for p in check.p_values.values()) and all(p == 1 for p in check.overall.values())


def test_p_values_count_the_tables():
    check = predictive_check(MODEL.posterior, HELD_OUT, 30, np.random.default_rng(1))
    for name, p in check.p_values.items():
        observed, replicated = check.observed[name], check.replicated[name]
        above, below = (1 + np.sum(replicated >= observed, axis=0)), (1 + np.sum(replicated <= observed, axis=0))
        np.testing.assert_array_equal(p, np.minimum(1, 2 * np.minimum(above, below) / 31))
    assert check.replicated["mean"].shape == (30, 64) and check.replicated["correlation"].shape == (30,)


# Without the division the large columns alone would count: means of 0.3 and 30 differ by 100 in their variance. These
# statistics are nearly continuous: no distance but the observed one's is within 1e-9 of it.
def test_overall_is_the_share_of_tables_as_far_from_the_mean_in_units_of_each_columns_sd():
    q, rng = Gamma(np.geomspace(0.3, 30, 12) * 50, 50.0), np.random.default_rng(5)
    check = predictive_check(q, rng.poisson(q.mean, (20, 12)), 200, rng)
    for name in ("mean", "dispersion"):
        tables = np.vstack([check.observed[name], check.replicated[name]])
        far = np.sum(((tables - tables.mean(axis=0)) / tables.std(axis=0)) ** 2, axis=1)
        assert np.count_nonzero(abs(far / far[0] - 1) < 1e-9) == 1
        assert check.overall[name] == np.mean(far >= far[0])


# One theta a table, and a Poisson count a row: the mean of 78 rows has variance A/B^2 + A/(78 B). 2000 replicates, 64
# columns: k = 5 standard errors of sqrt(2 / 2000) for a normal mean, of twice that for the skewed pixels of mean 0.005.
def test_replicates_share_their_theta_over_rows():
    q = Gamma(np.array([50.0, 900.0]), 3.0)
    means = predictive_check(q, np.ones((78, 2)), 2000, np.random.default_rng(2)).replicated["mean"]
    expected = q.variance + q.mean / 78
    assert np.all(np.abs(means.var(axis=0) / expected - 1) <= 5 * np.sqrt(2 / 2000) * 1.1)
    assert np.all(np.abs(means.mean(axis=0) - q.mean) <= 5 * np.sqrt(expected / 2000))


# 150 tables of the model, 19 replicates each: an overall p-value is at most 0.1 with probability 0.1 at most, and the
# two-sided one of the correlation too. 32 of 150 or more have probability 2e-5 each, 1e-4 in all.
def test_data_of_the_model_pass():
    rng, q = np.random.default_rng(3), Gamma(np.geomspace(0.3, 30, 12), 2.0)
    p = []
    for _ in range(150):
        counts = rng.poisson(q.sample(1, rng)[0], (20, 12))
        p.append(list(predictive_check(q, counts, 19, rng).overall.values()))
    rejected = np.sum(np.array(p) <= 0.1, axis=0)
    assert rejected.max() < 32 and rejected.sum() > 20   # and not so conservative as to see nothing: 75 expected


# Observed 0.121 beside 0.057 +- 0.004: no replicate of 299 comes near.
def test_the_digits_pixels_are_correlated_and_dispersed():
    check = predictive_check(MODEL.posterior, HELD_OUT, 299, np.random.default_rng(4))
    assert 0.115 < check.observed["correlation"] < 0.125 and 0.05 < check.replicated["correlation"].mean() < 0.065
    assert check.replicated["correlation"].max() < 0.09 and check.overall["correlation"] == 2 / 300
    assert check.overall["dispersion"] == 1 / 300 and check.overall["zeros"] == 1 / 300
    wrong = benjamini_hochberg(check.p_values["dispersion"]) < 0.05
    high = check.observed["dispersion"] > 1
    assert 20 <= np.sum(wrong & high) <= 30 and 3 <= np.sum(wrong & ~high) <= 9


@pytest.mark.parametrize(("call", "words"), [
    (lambda r: predictive_check(MODEL.posterior, HELD_OUT[:1], 9, r), "counts must have at least 2 rows"),
    (lambda r: predictive_check(MODEL.posterior, HELD_OUT, 0, r), "n_replicates must be a whole number of at least 1"),
    (lambda r: predictive_check(MODEL.posterior, -HELD_OUT, 9, r), "counts must be non-negative whole numbers"),
    (lambda r: predictive_check(MODEL.posterior, HELD_OUT, 9, 1), "rng must be"),
    (lambda r: predictive_check(Gamma([1e30], 1.0), [[1], [2]], 9, r), r"q must draw rates of at most 2\^52, got 1e"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.random.default_rng(0))

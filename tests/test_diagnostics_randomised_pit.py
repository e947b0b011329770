"""Randomised PIT values against their definition, uniform if the model is right, and what the digit's pixels show."""

import numpy as np
import pytest
from scipy import stats

from vi_ref import Gamma, PoissonGamma, datasets
from vi_ref.diagnostics import benjamini_hochberg, pit

TRAIN, HELD_OUT = datasets.digit(0)[:100], datasets.digit(0)[100:]
MODEL = PoissonGamma(datasets.picture_prior(datasets.ring()), TRAIN)


# SciPy's negative binomial with p = rate / (rate + 1), good to 1e-13 in the tail that is summed.
def test_the_definition_row_by_row():
    q, x = Gamma([3.0, 0.5], [1.0, 0.2]), np.array([[4, 0], [1, 7], [2, 0]])
    result, v = pit(q, x, np.random.default_rng(1)), 1 - np.random.default_rng(1).random((3, 2))
    for i in range(3):
        shape, rate = q.shape + x[:i].sum(axis=0), q.rate + i
        law = stats.nbinom(shape, rate / (rate + 1))
        u = law.cdf(x[i] - 1) + v[i] * (law.cdf(x[i]) - law.cdf(x[i] - 1))
        np.testing.assert_allclose(result.values[i], u, rtol=1e-12)
        np.testing.assert_allclose(result.scores[i], stats.norm.ppf(u), rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(result.adjusted, benjamini_hochberg(result.tests.p_variance))
    np.testing.assert_array_equal(result.adjusted_mean, benjamini_hochberg(result.tests.p_mean))


def made_by_the_model(q, rows, rng):
    return rng.poisson(q.sample(1, rng)[0], (rows, q.shape.size))


# Few training rows, so that the shared theta matters: with q not updated the variance would fall to 2/3 of 1. 100
# tables of 8 rows and 40 columns: p-values in 10 bins, chi^2 with 9 degrees of freedom above 33.7 once in 1e4, three
# times; neighbouring scores are uncorrelated within 4.5 standard errors.
def test_uniform_independent_and_exact_p_values_if_the_model_is_right():
    rng, q = np.random.default_rng(2), Gamma(np.geomspace(0.3, 30, 40), 2.0)
    results = [pit(q, made_by_the_model(q, 8, rng), rng) for _ in range(100)]
    for p in ([r.tests.p_mean for r in results], [r.tests.p_variance for r in results], [r.values for r in results]):
        counts = np.histogram(np.ravel(p), np.linspace(0, 1, 11))[0]
        assert np.sum((counts - counts.mean()) ** 2 / counts.mean()) < 33.7
    product = np.array([r.scores[1:] * r.scores[:-1] for r in results])
    assert abs(product.mean()) <= 4.5 / np.sqrt(product.size)


# 60 tables of the digit's own size; a false alarm in a table has probability 0.05, so 3 are expected of 60, and more
# than 10 come with probability 1e-4.
def test_data_of_the_model_pass():
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(60):
        result = pit(MODEL.posterior, made_by_the_model(MODEL.posterior, 78, rng), rng)
        alarms += (result.under_dispersed() | result.over_dispersed()).any()
    assert alarms <= 10


# What is found moves by a pixel or two with the seed of the v: of 300 seeds 3 to 7 are under, 23 to 27 over, and in 71
# one to three of the 16 blank pixels are among them, as u = v is uniform.
def test_the_digits_pixels_are_no_poisson_counts():
    for seed in range(3):
        result = pit(MODEL.posterior, HELD_OUT, np.random.default_rng(seed))
        under, over = result.under_dispersed(), result.over_dispersed()
        assert 3 <= under.sum() <= 7 and 23 <= over.sum() <= 27
        assert under[[3, 59]].all() and over[[19, 27, 35]].all()             # strokes at top and bottom; the hole
        assert result.constant.sum() == 16 and (under | over)[result.constant].sum() <= 3


# A column predicted at 0 and found there has u = v F(0), F(0) = 0.995: uniform to 0.005.
def test_a_column_of_zeros_says_nothing():
    q = Gamma(np.full(500, 0.5), 100.0)
    result = pit(q, np.zeros((50, 500)), np.random.default_rng(4))
    assert result.constant.all() and result.adjusted.min() > 0.01
    assert np.sum((np.histogram(result.tests.p_variance, np.linspace(0, 1, 11))[0] - 50) ** 2 / 50) < 33.7


def test_a_surprise_far_beyond_every_draw_has_a_finite_score():
    result = pit(Gamma([1e6, 5.0], [1e3, 5.0]), [[0, 10_000], [900, 1]], np.random.default_rng(5))
    assert np.isfinite(result.scores).all() and result.scores[0, 0] < -40 and result.scores[0, 1] > 100


# Of counts far above every draw u rounds to 1; a rate of 1e20 leaves nothing of 1 - rate / (rate + 1).
def test_values_are_probabilities():
    q = Gamma([3.0, 900.0, 1e20], [2.0, 100.0, 1e20])
    result = pit(q, np.tile([[0, 0, 0], [60, 900, 1], [1, 9, 3]], (40, 1)), np.random.default_rng(6))
    assert ((result.values >= 0) & (result.values <= 1)).all() and (result.values == 1).any()
    inside = abs(result.scores) < 5                      # ndtr is good to 1e-15
    np.testing.assert_allclose(result.values[inside], stats.norm.cdf(result.scores[inside]), rtol=1e-13)


@pytest.mark.parametrize(("call", "words"), [
    (lambda r: pit(MODEL.posterior, HELD_OUT[:1], r), r"counts must have at least 2 rows and q's 64 columns"),
    (lambda r: pit(MODEL.posterior, HELD_OUT[:, :3], r), r"q's 64 columns, got \(78, 3\)"),
    (lambda r: pit(Gamma(1.0, 1.0), [[1], [2]], r), r"q must be a vi_ref.Gamma of shape \(D,\)"),
    (lambda r: pit(Gamma([1.0], 1.0), [[1], [0.5]], r), "counts must be non-negative whole numbers"),
    (lambda r: pit(Gamma([1.0], 1.0), [[1], [2]], 3), "rng must be"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.random.default_rng(0))

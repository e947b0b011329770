"""Coverage of central intervals against their ends, and its confidence limits against SciPy's."""

import numpy as np
import pytest
from scipy.stats import binomtest

from vi_ref import Gamma
from vi_ref.diagnostics import coverage, simulate

MODEL, LOG_THETA = simulate(Gamma(2.0, 1.0), 5, 2000, np.random.default_rng(1))


def test_inside_is_between_the_ends():
    q, found = MODEL.posterior, coverage(MODEL.posterior, LOG_THETA)
    for level, inside in zip(found.levels, found.inside, strict=True):
        low, high = q.interval(level)
        assert inside == np.count_nonzero((low <= np.exp(LOG_THETA)) & (np.exp(LOG_THETA) <= high))
    np.testing.assert_array_equal(found.share, found.inside / 2000)


# SciPy solves for the ends by bracketing to 1e-12.
def test_confidence_limits_and_p_values_against_scipy():
    found = coverage(MODEL.posterior, LOG_THETA, (0.2, 0.9), confidence=0.99)
    rows = zip(found.levels, found.inside, found.low, found.high, found.p_values, strict=True)
    for level, inside, *ends, p in rows:
        test = binomtest(int(inside), 2000, level)
        np.testing.assert_allclose(ends, test.proportion_ci(0.99, method="exact"), atol=1e-11)
        sides = [binomtest(int(inside), 2000, level, side).pvalue for side in ("less", "greater")]
        np.testing.assert_allclose(p, min(1, 2 * min(sides)), rtol=1e-10)


# Three exact tests of a right q: below 0.001 once in 300; of 0.8 of the sd: 0.41, 0.69 and 0.88 of 2000, more than 7
# standard errors from the levels.
def test_the_posterior_covers_and_a_narrow_q_does_not():
    q = MODEL.posterior
    assert coverage(q, LOG_THETA).p_values.min() > 0.001
    narrow = coverage(Gamma(q.shape / 0.64, q.rate / 0.64), LOG_THETA)
    assert (narrow.p_values < 1e-6).all() and (narrow.high < narrow.levels).all()


def test_all_inside_and_none_inside():
    q = Gamma(np.full(20, 3.0), 1.0)
    none = coverage(q, np.full(20, 9.0), [0.5])
    assert none.inside == 0 and none.low == 0 and abs(none.high - (1 - 0.025 ** (1 / 20))) < 1e-15
    every = coverage(q, np.log(np.full(20, 2.7)), [0.5])
    assert every.inside == 20 and every.high == 1 and abs(every.low - 0.025 ** (1 / 20)) < 1e-15
    assert abs(none.p_values[0] / (2 * 0.5**20) - 1) < 1e-12 and abs(every.p_values[0] / (2 * 0.5**20) - 1) < 1e-12


def test_small_shapes_whose_draws_underflow():
    q = Gamma(np.full(4000, 1e-3), 1.0)
    found = coverage(q, q.sample_log(1, np.random.default_rng(2))[0])
    assert found.p_values.min() > 0.001                  # once in 300


def test_one_level():
    assert coverage(MODEL.posterior, LOG_THETA, 0.5).inside == coverage(MODEL.posterior, LOG_THETA).inside[0]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: coverage(Gamma([1.0, 1.0], 1.0), [0.0]), r"log_theta must have the shape \(N,\) of q"),
    (lambda: coverage(Gamma([1.0], 1.0), [0.0], [0.5, 1.0]), r"levels must be in \(0, 1\), got 1.0"),
    (lambda: coverage(Gamma([1.0], 1.0), [0.0], confidence=0), r"confidence must be in \(0, 1\)"),
    (lambda: coverage(Gamma([1.0], 1.0), [-np.inf]), "log_theta must be finite"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()

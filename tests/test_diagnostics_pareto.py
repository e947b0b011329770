"""Pareto smoothing against ArviZ, its own values frozen, and closed forms."""

import numpy as np
import pytest
from oracles import EPS

from vi_ref.diagnostics import psis

# number S, k, k-hat, effective sample size by ArviZ 0.23.4 (psislw, reff = 1) of the weights below
ARVIZ = [
    (25, -0.5, 0.249567767343366, 24.235359470127),
    (25, 0.3, 0.4512926042661841, 22.284595569059757),
    (25, 0.7, 0.5532443137866409, 12.599540960175117),
    (25, 1.5, 0.7565502974807063, 4.268757275981848),
    (100, -0.5, -0.0964809385137361, 96.81688083864715),
    (100, 0.3, 0.37726986816579655, 85.73007755650472),
    (100, 0.7, 0.6062891118970053, 33.26911996214496),
    (100, 1.5, 1.0646752698863482, 5.009368162336634),
    (1000, -0.5, -0.3781012465319315, 969.4465177771032),
    (1000, 0.3, 0.3235606438260692, 832.3783680626304),
    (1000, 0.7, 0.6706577683143559, 138.93847000409713),
    (1000, 1.5, 1.3650358987029836, 3.4396365532998847),
    (100000, -0.5, -0.48688855617744886, 96969.58739752222),
    (100000, 0.3, 0.30251673612372226, 81922.87823305567),
    (100000, 0.7, 0.6967334864660332, 2179.4132183750003),
    (100000, 1.5, 1.4849213469438096, 2.7892121858028696),
]


def weights(n, k):
    """Log of the quantiles at (i - 1/2)/n of a law whose tail has shape k."""
    s = 1 - (np.arange(n) + 0.5) / n
    return -k * np.log(s) if k > 0 else np.log1p(k * s**-k)


# Excesses over the cut are differences of exponentials here and there: their rounding, EPS over the smallest share of
# 1e-4, weighs as one of 60 and more; 1e-12 is a hundred times what is met.
@pytest.mark.parametrize(("n", "k", "khat", "ess"), ARVIZ)
def test_values_of_arviz(n, k, khat, ess):
    order = np.random.default_rng(0).permutation(n)
    result = psis(weights(n, k)[order])
    assert abs(result.khat - khat) <= 1e-12 and abs(result.ess / ess - 1) <= 1e-11
    assert result.threshold == min(1 - 1 / np.log10(n), 0.7) and result.reliable == (khat < result.threshold)


@pytest.mark.filterwarnings("ignore")
def test_against_arviz():
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("this ArviZ has no psislw")
    rng = np.random.default_rng(1)
    for n in (25, 26, 99, 100, 1000, 20_000):
        for k in (0.01, 0.5, 1.2, 3.0):
            log_weights = k * rng.standard_exponential(n)
            log_weights[: n // 2] -= rng.choice([0.0, np.inf], n // 2)
            smoothed, khat = arviz.psislw(log_weights.copy())
            result = psis(log_weights)
            assert abs(result.khat - khat) <= 1e-12
            finite = np.isfinite(log_weights)
            np.testing.assert_allclose(result.log_weights[finite], smoothed[finite], rtol=0, atol=1e-12)


# The sd of k-hat is about (1 + k) / sqrt(tail of 949): 0.05 at k = 0.5. Mean of 20, 4.5 standard errors; the prior
# draws k by (1/2 - k) 10 / 959, at most 0.02 here, and counts as known. False-failure 3e-5 in all.
@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.5])
def test_pareto_weights_give_back_their_shape(k):
    log_weights = k * np.random.default_rng(2).standard_exponential((100_000, 20))
    khat = psis(log_weights).khat
    expected = k + (0.5 - k) * 10 / 959
    assert abs(khat.mean() - expected) <= 4.5 * (1 + k) / np.sqrt(949 * 20)


def test_smoothing_keeps_order_body_and_the_largest():
    log_weights = np.random.default_rng(3).normal(0, 2, 500)
    result, order = psis(log_weights), np.argsort(log_weights)
    assert abs(np.exp(result.log_weights).sum() - 1) <= 500 * EPS
    assert (np.diff(result.log_weights[order]) >= 0).all()
    body = order[: 500 - 68]                             # the tail are ceil(3 sqrt(500)) = 68
    moved = result.log_weights - log_weights
    assert np.ptp(moved[body]) <= 32 * EPS and np.abs(np.diff(moved[order[-68:]])).min() > 0
    assert result.log_weights.max() <= log_weights.max() + moved[body[0]] + 32 * EPS


# sums of 1000 terms and log weights of up to 10: rounding below 1e-13
def test_a_constant_changes_nothing_and_columns_are_apart():
    log_weights = np.random.default_rng(4).normal(0, 1.5, (1000, 3))
    result, moved = psis(log_weights), psis(log_weights + np.array([0.0, 5000.0, -5000.0]))
    np.testing.assert_allclose(moved.khat, result.khat, atol=1e-9)      # log weights of 5000 are good to 1e-12
    for d in range(3):
        one = psis(log_weights[:, d])
        assert one.khat == result.khat[d] and abs(one.ess / result.ess[d] - 1) < 1e-13
        np.testing.assert_allclose(one.log_weights, result.log_weights[:, d], atol=1e-13)


def test_equal_weights_have_no_tail():
    for n in (2, 10, 1000):
        result = psis(np.full(n, -3.0))
        assert result.khat == -np.inf and result.reliable and abs(result.ess / n - 1) <= n * EPS
    capped = psis(np.minimum(np.random.default_rng(5).normal(0, 1, 1000), 0))       # half are the largest
    assert capped.khat == -np.inf and capped.reliable
    rounding = 1e-12 * np.random.default_rng(6).normal(size=1000)
    assert psis(rounding, resolution=1e-10).khat == -np.inf < psis(rounding).khat


def test_too_few_to_fit_is_never_reliable():
    rng = np.random.default_rng(7)
    for n in (2, 5, 20):
        assert psis(rng.normal(size=n)).khat == np.inf
    assert np.isfinite(psis(rng.normal(size=21)).khat)
    few = np.full(1000, -np.inf)
    few[:4] = rng.normal(size=4)
    result = psis(few)
    assert result.khat == np.inf and not result.reliable and not np.isnan(result.log_weights).any()
    assert abs(result.ess - 1 / np.sum((np.exp(few) / np.exp(few).sum()) ** 2)) < 1e-12


def test_zero_weights_are_left_at_zero():
    log_weights = np.random.default_rng(8).normal(size=1000)
    log_weights[::2] = -np.inf
    result = psis(log_weights)
    assert np.isneginf(result.log_weights[::2]).all() and np.isfinite(result.log_weights[1::2]).all()
    assert np.isfinite(result.khat)


# 100 excesses of exactly 1/2: one of the grid's b is exactly 0, where -k / b is their mean
def test_two_valued_weights():
    log_weights = np.zeros(2000)
    log_weights[:100] = np.log(2)
    result = psis(log_weights)
    assert result.khat < 0 and np.isfinite(result.log_weights).all()


@pytest.mark.parametrize(("log_weights", "words"), [
    ([0.0, np.nan], "below inf, not NaN, got nan at index 1"), ([np.inf, 0.0], "below inf, not NaN, got inf"),
    ([-np.inf, -np.inf], "above -inf somewhere in each column"), ([1.0], r"S at least 2, got \(1,\)"),
    (np.zeros((2, 2, 2)), r"shape \(S,\) or \(S, D\)"),
    ([[0.0, -np.inf], [0.0, -np.inf]], "above -inf somewhere in each column, largest, got -inf at index 1"),
])
def test_bad_input(log_weights, words):
    with pytest.raises(ValueError, match=words):
        psis(log_weights)


def test_bad_resolution():
    with pytest.raises(ValueError, match="resolution must be in"):
        psis([0.0, 1.0], resolution=-1.0)

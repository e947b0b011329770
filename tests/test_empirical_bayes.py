"""The prior found from the totals against mpmath, scipy, a dense search, and cases where there is none."""

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS, derivative, digits, exactly
from scipy import stats
from scipy.special import gammaln

from vi_ref import Gamma, PoissonGamma, empirical_bayes
from vi_ref.special import digamma_minus_log_ufunc as h

TOTALS, ROWS = np.array([8.0, 1.0, 0.0, 3.0, 40.0, 2.5]), 3
PICTURE = np.array([2.0, 1.0, 0.5, 1.0, 6.0, 2.0])


@digits(60)
def log_nb(T, a, r):
    """Log probability of a total T ~ NB(a, r / (r + 1)), the textbook's."""
    return mp.loggamma(a + T) - mp.loggamma(a) - mp.loggamma(T + 1) - a * mp.log1p(1 / r) - T * mp.log1p(r)


def evidence(m, totals, shapes, rate):
    return sum(log_nb(T, a, rate / m) for T, a in zip(map(exactly, totals), shapes, strict=True))


# Six terms below 10, each off by a few EPS of itself and of T - mean (tests/test_negative_binomial.py).
def test_log_evidence_is_the_sum_over_columns():
    prior = Gamma(0.7 * PICTURE, 0.7)
    truth = evidence(ROWS, TOTALS, map(exactly, prior.shape), exactly(0.7))
    found = empirical_bayes.log_evidence(ROWS, TOTALS, prior)
    assert abs(exactly(found) - truth) <= 6 * EPS * (6 + np.abs(truth) + np.abs(TOTALS - ROWS * PICTURE).sum())
    by_scipy = stats.nbinom.logpmf(np.floor(TOTALS), prior.shape, 0.7 / 3.7).sum()          # SciPy's to 1e-12
    assert abs(empirical_bayes.log_evidence(ROWS, np.floor(TOTALS), prior) - by_scipy) <= 1e-10


# Both are sums of terms below 100 in size, of which each side has a few EPS.
def test_it_differs_from_the_evidence_of_the_table_by_a_constant():
    table = np.random.default_rng(3).poisson([0.5, 4.0, 9.0], (5, 3))
    gaps = [PoissonGamma(prior, table).log_evidence - empirical_bayes.log_evidence(5, table.sum(axis=0), prior)
            for prior in (Gamma(0.3, 0.2), Gamma(5.0, 2.0), Gamma([1.0, 2.0, 30.0], 3.0))]
    given_sums = stats.multinomial.logpmf(table.T, table.sum(axis=0), np.full(5, 0.2)).sum()
    np.testing.assert_allclose(gaps, given_sums, rtol=0, atol=100 * EPS * np.abs(gammaln(table + 1)).sum())


# Each part is a few EPS of itself, digamma_minus_log 4.5e-15: 1e-14 of the sum of the sizes of the parts.
@pytest.mark.parametrize("c", [1e-6, 0.01, 0.7, 30.0, 1e5])
def test_slope_is_the_derivative(c):
    with mp.workdps(60):
        x0 = list(map(exactly, PICTURE))
        truth = derivative(lambda u: evidence(ROWS, TOTALS, [mp.exp(u) * x for x in x0], mp.exp(u)), mp.log(exactly(c)))
        sizes = sum(abs(a * (mp.digamma(a) - mp.log(a))) + abs(a * (mp.digamma(a + T) - mp.log(a + T)))
                    + abs(a * (T / x - ROWS) / (c + ROWS))
                    for a, T, x in ((exactly(c) * x, exactly(T), x) for T, x in zip(TOTALS, x0, strict=True)))
        found = empirical_bayes.slope(ROWS, TOTALS, PICTURE, c)
        assert abs(exactly(found) - truth) <= 1e-14 * sizes
        assert abs(truth) > 1e-7 * sizes                  # what would pass for any slope is no test


# The zero by mpmath at 30 digits; in doubles it is off by the slope's rounding, 1e-15 of parts near 1, over its own
# slope in log c, near 1 here (seen: 4e-16).
def test_strength_is_the_zero_of_the_slope():
    c = empirical_bayes.strength(ROWS, TOTALS, PICTURE)
    with mp.workdps(40):
        def log_evidence(u):
            return evidence(ROWS, TOTALS, [mp.exp(u) * exactly(x) for x in PICTURE], mp.exp(u))
        near = mp.log(c) - 0.01, mp.log(c) + 0.01
        root = mp.exp(mp.findroot(lambda u: derivative(log_evidence, u), near, tol=1e-25))
        assert abs(exactly(c) / root - 1) <= 1e-14


# A search over a grid of strengths, a hundred a decade, finds none better: the zero is the highest point of all.
@pytest.mark.parametrize("seed", range(12))
def test_strength_is_the_best_of_a_dense_search(seed):
    rng = np.random.default_rng(seed)
    D, m = rng.integers(2, 20), int(rng.integers(1, 50))
    picture = 10 ** rng.uniform(-2, 2, D)
    totals = rng.poisson(m * rng.gamma(0.5 * picture) / 0.5).astype(float) + rng.integers(0, 2, D) / 2
    c = empirical_bayes.strength(m, totals, picture)
    near, best = np.geomspace(1e-4, 1e4, 801) * c, empirical_bayes.log_evidence(m, totals, Gamma(c * picture, c))
    found = [empirical_bayes.log_evidence(m, totals, Gamma(k * picture, k)) for k in near]
    assert np.argmax(found) == 400 and max(found) == best
    # a column's parts are near 1 or below (seen: 4e-16 a column)
    assert abs(empirical_bayes.slope(m, totals, picture, c)) <= 1e-14 * D


# In two dimensions: both derivatives vanish. Each is a sum of 6 parts of up to a log 1/b near 10 and T near 40, of
# which the zero in doubles leaves a few EPS of a change of 1 in the log of a parameter (seen: 3e-15).
def test_pooled_has_no_slope_in_either_parameter():
    prior = empirical_bayes.pooled(ROWS, TOTALS)
    assert prior.shape.shape == prior.rate.shape == ()
    with mp.workdps(60):
        a, b = exactly(prior.shape), exactly(prior.rate)
        by_shape = derivative(lambda u: evidence(ROWS, TOTALS, [a * mp.exp(u)] * 6, b), 0)
        by_rate = derivative(lambda u: evidence(ROWS, TOTALS, [a] * 6, b * mp.exp(u)), 0)
        assert abs(by_shape) <= 2e-14 and abs(by_rate) <= 2e-14
        # and the evidence falls on all sides, by more than 1e-4 at a percent or two
        top = evidence(ROWS, TOTALS, [a] * 6, b)
        for u, v in ((1, 0), (0, 1), (1, 1), (1, -1), (-1, 0), (0, -1), (-1, -1), (-1, 1)):
            k, l = mp.exp(mp.mpf(u) / 20), mp.exp(mp.mpf(v) / 20)                                   # noqa: E741
            assert top - evidence(ROWS, TOTALS, [a * k] * 6, b * l) > 1e-4


def test_pooled_is_the_best_of_a_dense_search():
    totals = np.random.default_rng(5).poisson(4 * np.random.default_rng(6).gamma(0.8, 5.0, 64)).astype(float)
    prior = empirical_bayes.pooled(4, totals)
    steps = np.geomspace(0.2, 5, 61)
    found = np.array([[empirical_bayes.log_evidence(4, totals, Gamma(prior.shape * s, prior.rate * r))
                       for r in steps] for s in steps])
    assert np.unravel_index(np.argmax(found), found.shape) == (30, 30)


# Drawn from the model with 4000 columns: at 4 standard errors, of the curvature's inverse below, one seed in 16000
# would fail for each parameter; in log shape and log rate the errors are 0.02, so that one of 10 % is seen.
def test_pooled_recovers_the_prior_of_many_columns():
    rng = np.random.default_rng(7)
    totals = rng.poisson(20 * rng.gamma(2.0, 1 / 0.5, 4000)).astype(float)
    prior, step = empirical_bayes.pooled(20, totals), 1e-3
    value = lambda u, v: empirical_bayes.log_evidence(20, totals, Gamma(2.0 * np.exp(u), 0.5 * np.exp(v)))  # noqa: E731
    uu, vv = (value(*d) - 2 * value(0, 0) + value(*-np.array(d)) for d in ((step, 0), (0, step)))
    uv = (value(step, step) - value(step, -step) - value(-step, step) + value(-step, -step)) / 4
    error = np.sqrt(np.diag(np.linalg.inv(-np.array([[uu, uv], [uv, vv]]) / step**2)))
    assert np.all(np.abs(np.log([prior.shape / 2.0, prior.rate / 0.5])) <= 4 * error) and error.max() < 0.03


# One column: with a / b = T / m the slope is a [h(a + T) - h(a)], above zero however large a is, and the evidence
# climbs towards the Poisson probability of T at its own mean without reaching it.
@pytest.mark.parametrize("T", [1.0, 7.0, 2.5, 1e4])
def test_a_column_by_itself_has_no_best_prior(T):
    strengths = np.geomspace(1e-6, 1e6, 49)
    slopes = [empirical_bayes.slope(3, [T], [T / 3], c) for c in strengths]
    assert np.all(np.array(slopes) > 0)
    a = strengths * T / 3
    np.testing.assert_allclose(slopes, a * (h(a + T) - h(a)), rtol=1e-9)     # h itself is 1e-15, T / a at least 1e-6
    found = [empirical_bayes.log_evidence(3, [T], Gamma(c * T / 3, c)) for c in strengths]
    limit = T * np.log(T) - T - gammaln(T + 1)
    # at 1e6 the slope, about T m / (2 a) = m / (2 c), is what is still to come; the limit itself is 1e-11 good
    assert np.all(np.diff(found) > 0) and 0 < limit - found[-1] < 1e-5
    with pytest.raises(ValueError, match=r"n_features = 1\): they spread no more .* with its strength for ever"):
        empirical_bayes.pooled(3, [T])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: empirical_bayes.pooled(2, [0, 0, 0]), r"there is no best prior .*: all are zero, .* falls to 0; give pr"),
    (lambda: empirical_bayes.pooled(2, [5, 6, 5, 7]), r"there is no best prior for these totals \(n_samples = 2, "
     r"n_features = 4\): they spread no more than Poisson counts, with variance 0.6875 at a mean of 5.75 \(told "),
    (lambda: empirical_bayes.strength(2, [0, 0], [1, 1]), r"there is no best strength .* all are zero, .* falls to 0"),
    (lambda: empirical_bayes.strength(2, [2, 5], [1, 2]), r"there is no best strength .* no further from what the "),
    (lambda: empirical_bayes.strength(2, [2, 5], [1, 2, 3]), r"picture must have shape \(\) or \(2,\), .* got \(3,\)"),
    (lambda: empirical_bayes.strength(2, [2, 5], [1, 0]), r"picture must be positive and finite, got 0.0 at index 1"),
    (lambda: empirical_bayes.slope(2, [2, 5], [1, 2, 3], 1), r"picture must have shape \(\) or \(2,\), .* got \(3,\)"),
    (lambda: empirical_bayes.slope(2, [2], [1, 2], 1), r"picture must have shape \(\) or \(1,\), .* got \(2,\)"),
    (lambda: empirical_bayes.log_evidence(2, [2], Gamma([1.0, 2.0], 1.0)), r"prior must be a .* or \(1,\), .* got G"),
    (lambda: empirical_bayes.log_evidence(2, [2, 5], (1.0, 2.0)), r"prior must be a vi_ref.Gamma .* got \(1.0, 2.0\)"),
    (lambda: empirical_bayes.pooled(0, [2, 5]), r"n_observations must be a whole number of at least 1, got 0"),
    (lambda: empirical_bayes.pooled(1, [2, -5]), r"totals must be in \[0, 1e100\], got -5.0 at index 1"),
    (lambda: empirical_bayes.pooled(1, [[2, 5]]), r"totals must be one number a column, got shape \(1, 2\)"),
    (lambda: empirical_bayes.slope(1, [2, 5], [1, 1], 0), r"strength must be positive and finite, got 0.0"),
])
def test_bad_input_and_no_answer(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# Just above Poisson spread there is a prior, however strong; just below there is none: variance less mean is +-0.01.
def test_the_border_is_poisson_spread():
    totals = np.array([10.0] * 50 + [16.0] * 50)                             # variance 9, mean 13
    wider = totals + np.where(totals > 13, 1, -1) * (np.sqrt(13.01) - 3)
    narrower = totals + np.where(totals > 13, 1, -1) * (np.sqrt(12.99) - 3)
    prior = empirical_bayes.pooled(1, wider)
    assert 13**2 / 0.01 / 2 < prior.shape < 13**2 / 0.01 * 2                 # the moments' guess mean^2 / (var - mean)
    with pytest.raises(ValueError, match="spread no more than Poisson counts"):
        empirical_bayes.pooled(1, narrower)


# The moments' shape is mean^2 / (variance - mean), in rows 1 / excess where the variance exceeds the mean by that
# share: 1e5 rows are found, to the next order, 1 / mean = 1e-3 (seen: 6e-4); 2e6 are beyond a million times the
# data's one.
def test_a_prior_a_million_times_stronger_than_the_data_is_none():
    side = np.resize([-1.0, 1.0], 100)
    prior = empirical_bayes.pooled(1, 1000 + side * np.sqrt(1000 * (1 + 1e-5)))
    assert prior.rate == pytest.approx(1e5, rel=1e-3)
    with pytest.raises(ValueError, match=r"variance 1000 at a mean of 1000 \(told to 1e-6\), and the evidence grows"):
        empirical_bayes.pooled(1, 1000 + side * np.sqrt(1000 * (1 + 5e-7)))


# One column far above the picture, all others empty: the zero lies below where the search begins.
def test_a_prior_weaker_than_where_the_search_starts():
    totals = np.append(1e12, np.zeros(999))
    c = empirical_bayes.strength(10**5, totals, np.ones(1000))
    assert c < 1e-6 and abs(empirical_bayes.slope(10**5, totals, 1.0, c)) < 1e-14

"""The study of little data: scores against scipy and mpmath, errors against known variances, and the gain."""

import json
import re

import mpmath
import numpy as np
import pytest
from scipy import stats

from vi_ref import Gamma, PoissonGamma, datasets, empirical_bayes, study_little_data
from vi_ref.study_little_data import CONTESTANTS, differences, mean_squared_error, prior_gain


@pytest.fixture(scope="module")
def result():
    return study_little_data.scores()


# -- the scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "rate"), [(0.5, 1e-3), (0.5, 150.001), (3.7, 2.0), (2400.5, 152.0)])
def test_predictive_scores_against_mpmath(shape, rate):
    """Each column to 60 eps of its largest term, as `negative_binomial.log_prob` promises: below 1e-14 of it."""
    counts = np.array([[0], [1], [7], [16]])
    found = study_little_data.predictive_scores(Gamma([shape], [rate]), counts)
    with mpmath.workdps(40):
        A, B = mpmath.mpf(shape), mpmath.mpf(rate)
        for x, score in zip(counts[:, 0].tolist(), found, strict=True):
            truth = mpmath.log(mpmath.binomial(x + A - 1, x)) + A * mpmath.log(B / (B + 1)) - x * mpmath.log(B + 1)
            largest = max(mpmath.loggamma(x + A) - mpmath.loggamma(A), -truth, 1)
            assert abs(score - truth) < 1e-14 * largest


def test_predictive_scores_are_those_of_predictive_for_every_model_at_once():
    rng = np.random.default_rng(0)
    train, test = rng.poisson(5, (4, 3, 6)), rng.poisson(5, (9, 6))
    models = [PoissonGamma(Gamma(2.0, 0.5), table) for table in train]
    q = Gamma(*(np.array([getattr(model.posterior, name) for model in models]) for name in ("shape", "rate")))
    truth = [model.predictive().logpmf(test).sum(axis=1) for model in models]
    # scipy's log Gamma at up to 60, about 200, is good to a few eps: 1e-13 a pixel, 6e-13 an image
    np.testing.assert_allclose(study_little_data.predictive_scores(q, test), truth, rtol=0, atol=6e-13)


def test_point_scores_are_poisson():
    rng = np.random.default_rng(0)
    theta, test = rng.gamma(2, 2, (3, 5)), rng.poisson(5, (7, 5))
    truth = stats.poisson(theta[:, None]).logpmf(test).sum(axis=-1)
    # sums of five terms up to 40: 40 eps each
    np.testing.assert_allclose(study_little_data.point_scores(theta, test), truth, rtol=0, atol=1e-13)


def test_priors_are_two_examples_and_the_set_aside_zeros_are_nowhere_else():
    aside, rest = study_little_data.images()
    zeros = datasets.digit(0)
    assert aside.shape == (20, 64) and rest.shape == (158, 64)
    np.testing.assert_array_equal(aside[1], zeros[9])
    np.testing.assert_array_equal(np.delete(zeros, np.arange(0, 178, 9), axis=0), rest)
    priors = study_little_data.priors()
    np.testing.assert_array_equal(priors["ring"].mean, datasets.ring())
    average = zeros[::9].mean(axis=0)
    assert np.sum(average == 0) == 18
    np.testing.assert_allclose(priors["20 zeros"].mean, np.where(average < 0.25, 0.25, average), rtol=1e-15)
    assert all(np.all(priors[label].rate == 2) for label in ("ring", "20 zeros"))
    assert np.all(priors["flat"].shape == 0.5) and np.all(priors["flat"].rate == 1e-3)


@pytest.mark.parametrize(("m", "sets", "held_out"), [(20, 5, 58), (150, 1, 8)])
def test_scores_by_hand(m, sets, held_out):
    """The second shuffle's last training set: its own rows, and none of the held-out ones, whatever the contestant."""
    found = study_little_data.scores([m], n_splits=2 * sets, seed=4)
    assert (found["shuffles"], found["sets"], found["held_out"]) == ([2], [sets], [held_out])
    order = np.random.default_rng([4, 1]).permutation(158)
    rest = study_little_data.images()[1]
    train, test = rest[order[(sets - 1) * m:sets * m]], rest[order[158 - held_out:]]
    totals, priors = train.sum(axis=0), study_little_data.priors()
    rules = {label: PoissonGamma(prior, train).predictive() for label, prior in priors.items()}
    rules["pooled"] = PoissonGamma(empirical_bayes.pooled(m, totals), train).predictive()
    rules["add 1/2"] = stats.poisson((totals + 0.5) / m)
    for label in CONTESTANTS:
        # scipy's log Gamma at up to 2400, about 2e4, to a few eps: 1e-11 a pixel at most, less on average
        truth = rules[label].logpmf(test).sum(axis=1)
        assert found["by_set"][label][0][1][sets - 1] == pytest.approx(truth.mean(), abs=1e-10)
        by_image = found["by_image"][label][0][1]
        assert np.mean(by_image) == pytest.approx(np.mean(found["by_set"][label][0][1]), abs=1e-10)
        if sets == 1:
            np.testing.assert_allclose(by_image, truth, rtol=0, atol=1e-10)


def test_impossible_is_the_share_to_which_maximum_likelihood_gives_no_probability():
    found = study_little_data.scores([50], n_splits=8, seed=1)
    rest, infinite = study_little_data.images()[1], []
    for shuffle in range(4):
        shuffled = rest[np.random.default_rng([1, shuffle]).permutation(158)]
        infinite += [stats.poisson(train.mean(axis=0)).logpmf(shuffled[100:]).sum(axis=1) == -np.inf
                     for train in (shuffled[:50], shuffled[50:100])]
    assert found["impossible"] == {"sets": [np.any(infinite, axis=1).mean()], "images": [np.mean(infinite)]}
    assert 0 < np.mean(infinite) < np.any(infinite, axis=1).mean() < 1


# -- what the study finds ------------------------------------------------------------------------------


def test_each_size_has_at_least_fifty_training_sets(result):
    assert result["size"] == [1, 2, 5, 10, 20, 50, 100, 150]
    assert result["held_out"] == [58] * 7 + [8]
    assert [len(by) * len(by[0]) for by in result["by_set"]["ring"]] == [100, 50, 60, 50, 50, 50, 50, 50]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("informed", ["ring", "20 zeros"])
def test_after_two_images_a_picture_wins(result, informed):
    """By more than three standard errors over each rule without one; the data are fixed and so is the seed."""
    k = result["size"].index(2)
    for label, gain in differences(result, informed, ["flat", "pooled", "add 1/2"]).items():
        assert gain["mean"][k] > 3 * gain["error"][k] > 0, label


def test_the_drawing_loses_to_real_zeros_at_first_and_all_agree_at_last(result):
    gains = differences(result, "ring")
    assert gains["20 zeros"]["mean"][1] < -3 * gains["20 zeros"]["error"][1]
    k = result["size"].index(100)
    assert all(abs(gains[label]["mean"][k]) < 0.05 for label in ("20 zeros", "flat", "pooled"))


def test_maximum_likelihood_fails_on_nearly_every_split_up_to_twenty_images(result):
    """Over six seeds the shares are 0.96 to 1 at ten images, 0.90 to 0.96 at twenty, and 0 to 0.02 at 150."""
    shares = dict(zip(result["size"], result["impossible"]["sets"], strict=True))
    assert shares[10] > 0.9 and shares[20] > 0.8 and shares[150] < 0.1


# -- the errors ----------------------------------------------------------------------------------------


def layout(values, m=7):
    """A result of one size in which the ring scores `values`, (shuffles, sets, images), and the flat prior 0."""
    values = np.asarray(values, dtype=float)
    parts = {part: {"ring": [values.mean(axis=axis).tolist()], "flat": [(0 * values.mean(axis=axis)).tolist()]}
             for part, axis in (("by_set", 2), ("by_image", 1))}
    return {"size": [m], **parts}


def test_the_disjoint_error_is_the_standard_error_of_a_crossed_layout():
    """With parts of sets, images and pairs of sd s, t, u its square is s^2/K + t^2/I + 2 u^2/(K I) on average.

    That is u^2/(K I) above the variance of the mean. 4000 layouts leave a relative error of 2 %, as the squared
    errors have a sd of about their mean: 4 standard errors are 8 %, false alarm 1 in 16000.
    """
    rng, K, images, (s, t, u) = np.random.default_rng(0), 4, 6, (1.0, 2.0, 3.0)
    drawn = (s * rng.normal(size=(4000, K, 1)) + t * rng.normal(size=(4000, 1, images))
             + u * rng.normal(size=(4000, K, images)))
    gain = [differences(layout(one[None]), "ring", ["flat"])["flat"] for one in drawn]
    squares = np.array([one["disjoint"][0]**2 for one in gain])
    expected = s**2 / K + t**2 / images + 2 * u**2 / (K * images)
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(4000) < 0.08 * expected
    means = np.array([one["mean"][0] for one in gain])
    assert squares.mean() > 1.1 * means.var()                       # a mean's variance 1.29, the error's square 2.04
    assert gain[0]["error"] == gain[0]["disjoint"]


def test_the_three_errors_by_hand():
    values = np.arange(24.0).reshape(2, 3, 4)**2
    gain = differences(layout(values, m=7), "ring", ["flat"])["flat"]
    by_set, s = values.mean(axis=2), values.mean(axis=2).std(ddof=1)
    each = [np.var(one.mean(axis=1), ddof=1) / 3 + np.var(one.mean(axis=0), ddof=1) / 4 for one in values]
    assert gain["mean"][0] == pytest.approx(by_set.mean(), rel=1e-14)
    assert gain["over_splits"][0] == pytest.approx(s / np.sqrt(6), rel=1e-14)
    assert gain["nadeau_bengio"][0] == pytest.approx(s * np.sqrt(1 / 6 + 4 / 7), rel=1e-14)
    assert gain["disjoint"][0] == pytest.approx(np.sqrt(np.mean(each)), rel=1e-14)


@pytest.mark.slow
def test_intervals_at_two_images_cover(monkeypatch):
    """The study on 158 zeros drawn anew, 300 times: the mean over all is the truth of those draws.

    A share of 0.95 of 300 has a sd of 0.013: below 0.9, 4 sd off, lie 1 in 10000 if the intervals keep their promise.
    """
    aside, rest = study_little_data.images()
    priors, gains = study_little_data.priors(), []
    monkeypatch.setattr(study_little_data, "priors", lambda: priors)
    for repetition in range(300):
        drawn = rest[np.random.default_rng(repetition).integers(158, size=158)]
        monkeypatch.setattr(study_little_data, "images", lambda drawn=drawn: (aside, drawn))
        gain = differences(study_little_data.scores([2], seed=repetition), "ring", ["flat"])["flat"]
        gains.append([gain[name][0] for name in ("mean", "disjoint", "over_splits")])
    mean, disjoint, over_splits = np.transpose(gains)
    covered = [np.mean(abs(mean - mean.mean()) < 1.96 * error) for error in (disjoint, over_splits)]
    assert covered[0] > 0.9 > covered[1]                             # 0.95 and 0.82 in an earlier run


def test_one_training_set_a_shuffle_leaves_the_error_to_nadeau_and_bengio(result):
    gain = differences(result, "ring", ["pooled"])["pooled"]
    for k, m in enumerate(result["size"]):
        assert (gain["disjoint"][k] is None) == (m > 50)
        assert gain["error"][k] == gain["nadeau_bengio" if m > 50 else "disjoint"][k]


def test_differences_are_of_the_one_less_the_others(result):
    forth, back = differences(result, "ring")["pooled"], differences(result, "pooled")["ring"]
    assert forth["mean"][1] == pytest.approx(np.mean(result["by_set"]["ring"][1])
                                             - np.mean(result["by_set"]["pooled"][1]), abs=1e-12)
    np.testing.assert_allclose(back["mean"], np.negative(forth["mean"]), rtol=1e-12)
    np.testing.assert_allclose(back["error"], forth["error"], rtol=1e-12)
    assert list(differences(result, "flat")) == ["ring", "20 zeros", "pooled", "add 1/2"]


def test_the_table_holds_every_mean_and_difference(result):
    lines = study_little_data.table(result).splitlines()
    assert len(lines) == 3 + 8 + 2 * (3 + 8) and max(map(len, lines)) <= 110
    for k, (m, line) in enumerate(zip(result["size"], lines[3:11], strict=True)):
        means = [np.mean(result["by_set"][label][k]) for label in CONTESTANTS]
        cells = [f"{mean:.2f}" + "*" * int(mean == max(means)) for mean in means]
        shares = [f"{result['impossible'][part][k]:.0%}" for part in ("sets", "images")]
        assert line.split() == [str(m), str((100, 50, 60, 50, 50, 50, 50, 50)[k]), *cells, *shares]
    for of, start in (("ring", 14), ("20 zeros", 25)):
        gains = differences(result, of)
        assert lines[start - 2].startswith(f"{of} less the others")
        for k, line in enumerate(lines[start:start + 8]):
            cells = [(f"{gain['mean'][k]:.2f}", "+-", f"{gain['error'][k]:.2f}") for gain in gains.values()]
            assert line.split() == [str(result["size"][k]), *sum(cells, ())]


def test_the_same_seed_gives_the_same_scores():
    first, again, other = (study_little_data.scores([50], 2, seed) for seed in (1, 1, 2))
    assert first == again != other


# -- the gain in closed form ---------------------------------------------------------------------------


@pytest.mark.parametrize(("x0", "b", "theta", "m"), [(5.0, 2.0, 4.0, 2), (0.25, 2.0, 0.1, 1), (12.0, 0.5, 3.0, 20),
                                                     (1.0, 0.0, 3.0, 4)])
def test_mean_squared_error_is_the_sum_over_all_totals(x0, b, theta, m):
    total = np.arange(400)                        # beyond it lies less than 1e-100
    square = ((b * x0 + total) / (b + m) - theta)**2
    truth = np.sum(stats.poisson(m * theta).pmf(total) * square)
    # scipy's pmf is good to 1e-13 at these totals
    assert mean_squared_error(x0, b, theta, m) == pytest.approx(truth, rel=1e-12)
    if b:
        criterion = (b / (b + m))**2 * (theta * (2 / b + 1 / m) - (x0 - theta)**2)
        assert prior_gain(x0, b, theta, m) == pytest.approx(criterion, rel=1e-12)
    else:
        assert prior_gain(x0, b, theta, m) == 0


def test_mean_squared_error_of_counts_that_are_not_poisson():
    """Negative binomial counts of mean 4 and variance 12: the sum of three has n = 6."""
    total = np.arange(2000)                       # beyond it lies less than 1e-100
    truth = np.sum(stats.nbinom(6, 1 / 3).pmf(total) * ((2 * 5 + total) / 5 - 4)**2)
    assert mean_squared_error(5.0, 2.0, 4.0, 3, variance=12.0) == pytest.approx(truth, rel=1e-12)
    assert prior_gain(5.0, 2.0, 4.0, 3, variance=12.0) == pytest.approx(12 / 3 - truth, rel=1e-12)


def test_a_prior_worth_any_number_of_examples():
    """From 1e200 examples on the estimate is the prior's mean, and the error its square distance, to 1e-200."""
    np.testing.assert_allclose(mean_squared_error(5.0, [1e200, 1e300], 4.0, 2), 1.0, rtol=1e-15)
    np.testing.assert_allclose(prior_gain(5.0, 1e200, 4.0, 2), 1.0, rtol=1e-15)


def test_a_prior_wins_up_to_the_stated_distance():
    theta, b, m = 4.0, 2.0, 2
    edge = np.sqrt(theta * (2 / b + 1 / m))
    inside, outside = prior_gain(theta + edge * np.array([0.999, 1.001]), b, theta, m)
    assert outside < 0 < inside


@pytest.mark.parametrize("m", [1, 2, 20])
def test_ring_gain_counts_the_pixels_by_the_criterion(m):
    zeros = datasets.digit(0)
    theta = zeros.mean(axis=0)
    for name, variance in (("poisson", theta), ("real", zeros.var(axis=0, ddof=1))):
        wins = (datasets.ring() - theta)**2 < variance * (1 + 1 / m)
        found = study_little_data.ring_gain(m)[name]
        assert (found["wins"], found["loses"]) == (wins.sum(), 64 - wins.sum())
        assert found["blank"] == np.sum(theta == 0) == 16                # the corners
        assert found["average"] == pytest.approx(variance.sum() / m, rel=1e-13)
        assert found["average"] - found["ring"] == pytest.approx(
            prior_gain(datasets.ring(), 2.0, theta, m, variance).sum(), rel=1e-12)
    assert study_little_data.ring_gain()["poisson"]["wins"] == 37


@pytest.mark.parametrize(("call", "message"), [
    (lambda: study_little_data.scores([0]), "sizes must be a whole number of at least 1, got 0"),
    (lambda: study_little_data.scores([2, 151]), "sizes must be at most 150, got 151 at index 1"),
    (lambda: study_little_data.scores([]), "sizes must hold at least one number, got []"),
    (lambda: study_little_data.scores(n_splits=1), "n_splits must be a whole number of at least 2, got 1"),
    (lambda: study_little_data.scores(seed=-1), "seed must be a whole number of at least 0, got -1"),
    (lambda: differences(layout(np.ones((1, 2, 2))), "line"), "of must be one of ring, 20 zeros, flat, pooled"),
    (lambda: differences(layout(np.ones((1, 2, 2))), "ring", ["line"]), "against must be one of ring, 20 zeros"),
    (lambda: study_little_data.predictive_scores(Gamma([1.0], [1.0]), [[1, 2]]), "counts must be a table with q's"),
    (lambda: study_little_data.predictive_scores(2.0, [[1]]), "q must be a vi_ref.Gamma, got float"),
    (lambda: study_little_data.predictive_scores(Gamma([1.0], [1.0]), [[-1]]), "counts must be non-negative whole"),
    (lambda: study_little_data.point_scores([0.0], [[1]]), "theta must be positive and finite, got 0.0 at index 0"),
    (lambda: study_little_data.point_scores([1.0], [[1, 2]]), "counts must be a table with theta's (1,) columns"),
    (lambda: mean_squared_error(-1.0, 2, 1, 1), "prior_mean must be non-negative and finite, got -1.0"),
    (lambda: mean_squared_error(1.0, np.nan, 1, 1), "strength must be non-negative and finite, got nan"),
    (lambda: mean_squared_error(1.0, 2, -1, 1), "theta must be non-negative and finite, got -1"),
    (lambda: prior_gain(1.0, 2, 1, 1, -2.0), "variance must be non-negative and finite, got -2.0"),
    (lambda: mean_squared_error(1.0, 2, 1, 0), "m must be positive and finite, got 0"),
    (lambda: study_little_data.ring_gain(0), "m must be a whole number of at least 1, got 0"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()

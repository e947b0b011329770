"""The generation study: models and scores by hand, and the variance of a new pixel against the exact one."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from vi_ref import Gamma, PoissonGamma, datasets, study_generation
from vi_ref.study_generation import variance_split


@pytest.fixture(scope="module")
def result():
    return study_generation.scores()


@pytest.fixture(scope="module")
def sources():
    return study_generation.variances()


@pytest.mark.parametrize(("target", "m"), [(0, 100), (8, 172)])
def test_split_leaves_each_image_on_one_side(target, m):
    train, held_out = study_generation.split(target, m, seed=3)
    images = datasets.digit(target)
    assert len(train) == m and len(train) + len(held_out) == len(images)
    both = np.concatenate([train, held_out])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(images, axis=0))
    assert not np.array_equal(both, images)                              # shuffled
    again = study_generation.split(target, m, seed=3)
    np.testing.assert_array_equal(again[0], train)


def test_models_are_exact_posteriors_of_a_weak_prior():
    train = datasets.digit(2)[:7]
    q = study_generation.posterior(train)
    np.testing.assert_array_equal(q.shape, 0.5 + train.sum(axis=0))
    assert np.all(q.rate == 7.001)


def test_synthetic_images_are_poisson_counts_of_fresh_rates():
    """The same draws by hand; and with one training image, mean and variance of the predictive.

    A mean of 3000 images lies more than 4.5 standard errors off for any of 64 pixels in 1 of 2000 runs. The variances'
    sum over the image has a relative sd of 0.5 % (measured in 200 runs), so that 2 % is 4 of them, false alarm 1 in
    16000, and far from the half that is missing if theta is not drawn anew.
    """
    real, synthetic = study_generation.generate(n=2, m=100, seed=5)
    rng = np.random.default_rng(5)
    assert real.shape == synthetic.shape == (10, 2, 64)
    for target in range(10):
        train, held_out = study_generation.split(target, 100, 5)
        q = Gamma(train.sum(axis=0) + 0.5, 100.001)
        np.testing.assert_array_equal(synthetic[target], rng.poisson(q.sample(2, rng)))
        np.testing.assert_array_equal(real[target], held_out[:2])
    train, _ = study_generation.split(0, 1, 0)
    q, rng = study_generation.posterior(train), np.random.default_rng(0)
    many = rng.poisson(q.sample(3000, rng))
    exact = PoissonGamma(study_generation.PRIOR, train).predictive()
    assert np.max(np.abs(many.mean(axis=0) - exact.mean()) / np.sqrt(exact.var() / 3000)) < 4.5
    assert many.var(axis=0).sum() == pytest.approx(exact.var().sum(), rel=0.02)


@pytest.mark.parametrize("target", [0, 8])
def test_scores_by_hand(result, target):
    parts = [study_generation.split(digit) for digit in range(10)]
    held_out = parts[target][1]
    models = [PoissonGamma(study_generation.PRIOR, train).predictive() for train, _ in parts]
    everyone = PoissonGamma(study_generation.PRIOR, np.concatenate([train for train, _ in parts])).predictive()
    under = np.array([model.logpmf(held_out).sum(axis=1) for model in models])
    own, everyone = under[target], everyone.logpmf(held_out).sum(axis=1)
    other = np.max(under[[digit for digit in range(10) if digit != target]], axis=0)
    n = len(held_out)
    truth = {"own": own, "all": everyone, "other": other, "own_less_all": own - everyone, "own_less_other": own - other}
    for name, values in truth.items():
        # scipy's log Gamma at up to 16000, about 1.4e5, is good to a few eps: 1e-10 a pixel, 1e-8 an image at most
        assert result[name][target] == pytest.approx(values.mean(), abs=1e-8)
        assert result["error"][name][target] == pytest.approx(values.std(ddof=1) / np.sqrt(n), abs=1e-8)
    assert result["won"][target] == np.mean(own > other) and result["held_out"][target] == n
    json.dumps(result, allow_nan=False)


def test_every_digit_is_better_told_by_its_own_model(result):
    """By more than 5 standard errors over the model of all digits; by 3 over the best of nine, chosen by image.

    The least of ten is 8 to 12 and 3.6 to 6.9 over eight seeds, the least share won 0.68 to 0.83.
    """
    for name, k in (("own_less_all", 5), ("own_less_other", 3)):
        assert np.all(np.array(result[name]) > k * np.array(result["error"][name])), name
    assert min(result["won"]) > 0.6 and result["won"][0] > 0.95
    assert result["held_out"] == [len(datasets.digit(target)) - 100 for target in range(10)]


def test_the_table_holds_every_digit(result):
    heading, columns, *lines, last = study_generation.table(result).splitlines()
    assert "after 100 images" in heading and columns.split()[0] == "digit"
    for target, line in enumerate(lines):
        cells = [(f"{result[name][target]:.2f}", "+-", f"{result['error'][name][target]:.2f}")
                 for name in ("own", "own_less_all", "own_less_other")]
        assert line.split() == [str(target), str(result["held_out"][target]), *sum(cells, ()),
                                f"{result['won'][target]:.0%}"]
    won = np.dot(result["won"], result["held_out"])
    assert len(lines) == 10 and f"{won / 797:.1%} of 797 images" in last


# -- where the variance comes from ---------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "rate"), [(0.5, 1.001), (7.5, 2.0), (2000.5, 150.0)])
def test_the_two_sources_sum_to_the_exact_variance(shape, rate):
    noise, uncertainty = variance_split(Gamma(shape, rate))
    exact = stats.nbinom(shape, rate / (rate + 1)).var()
    # scipy's variance n (1 - p) / p^2 holds 1 - p to 1e-16 absolute: 1e-16 (B + 1) relative, 2e-14 at most
    assert noise + uncertainty == pytest.approx(exact, rel=1e-13)
    assert uncertainty / (noise + uncertainty) == pytest.approx(1 / (rate + 1), rel=1e-14)


def test_the_sources_are_what_simulation_says_they_are():
    """E[Var(x | theta)] and Var(E[x | theta]) from 20 counts each of 40000 rates, each within 4 standard errors.

    Their standard errors are 0.4 % and 0.8 %. The counts' noise adds 1/20 of the first to the second, 7.5 %, which is
    taken off. False alarm 1 in 8000 for both.
    """
    rng, q = np.random.default_rng(1), Gamma(3.0, 1.5)
    theta = q.sample(40_000, rng)
    counts = rng.poisson(theta[:, None], (40_000, 20))
    within, centre = counts.var(axis=1, ddof=1), counts.mean(axis=1)
    noise, uncertainty = variance_split(q)
    assert abs(within.mean() - noise) < 4 * within.std() / 200 < 0.05 * noise
    squares = (centre - centre.mean())**2 - within / 20
    assert abs(squares.mean() - uncertainty) < 4 * squares.std() / 200 < 0.05 * uncertainty


def test_variances_by_hand():
    found = study_generation.variances(3, sizes=(20, 5), shuffles=2, seed=7)
    expected = []
    for seed in (7, 8):
        train, held_out = study_generation.split(3, 20, seed)
        exact = [PoissonGamma(study_generation.PRIOR, train[:m]) for m in (20, 5)]
        expected.append({
            "noise": [model.posterior.mean.sum() for model in exact],
            "uncertainty": [np.sum(model.posterior.sd**2) for model in exact],
            "error": [np.mean([np.sum((x - model.posterior.mean)**2) for x in held_out]) for model in exact],
            "real": np.sum(np.var(held_out, axis=0, ddof=1)), "pixel_predicted": exact[0].predictive().var(),
            "pixel_real": np.var(held_out, axis=0, ddof=1), "ink_predicted": exact[0].predictive().var().sum(),
            "ink_real": np.var(held_out.sum(axis=1), ddof=1)})
    for name in expected[0]:
        np.testing.assert_allclose(found[name], np.mean([one[name] for one in expected], axis=0), rtol=1e-12)
    assert (found["digit"], found["size"], found["shuffles"]) == (3, [20, 5], 2)
    json.dumps(found, allow_nan=False)


def test_uncertainty_goes_away_and_the_variance_of_real_images_stays(sources):
    share = np.array(sources["uncertainty"]) / (np.array(sources["noise"]) + sources["uncertainty"])
    np.testing.assert_allclose(share, 1 / (1 + np.array(sources["size"]) + 1e-3), rtol=1e-12)
    predicted = sources["noise"][-1] + sources["uncertainty"][-1]
    assert sources["real"] > 1.15 * predicted and abs(sources["error"][-1] / sources["real"] - 1) < 0.02
    assert sources["ink_real"] > 4 * sources["ink_predicted"]            # pixels vary together


@pytest.mark.parametrize(("call", "message"), [
    (lambda: study_generation.split(0, 0), "m must be a whole number of at least 1, got 0"),
    (lambda: study_generation.split(0, 173), "m must be in [1, 172], got 173"),
    (lambda: study_generation.split(10), "target must be a digit from 0 to 9, got 10"),
    (lambda: study_generation.split(0, 10, -1), "seed must be a whole number of at least 0, got -1"),
    (lambda: study_generation.scores(200), "m must be in [1, 172], got 200"),
    (lambda: study_generation.generate(0), "n must be a whole number of at least 1, got 0"),
    (lambda: study_generation.generate(75), "n must be in [1, 74], got 75"),
    (lambda: variance_split(2.0), "q must be a vi_ref.Gamma, got float"),
    (lambda: study_generation.variances(0, []), "sizes must hold at least one number, got []"),
    (lambda: study_generation.variances(0, [0]), "sizes must be a whole number of at least 1, got 0"),
    (lambda: study_generation.variances(0, [5, 173]), "sizes must be at most 172, got 173 at index 1"),
    (lambda: study_generation.variances(0, seed="a"), "seed must be a whole number of at least 0, got 'a'"),
    (lambda: study_generation.variances(0, shuffles=0), "shuffles must be a whole number of at least 1, got 0"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()

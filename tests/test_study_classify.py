"""The classification study: who is given what, the densities' decisions by hand, and the picture."""

import json
import re

import numpy as np
import pytest
from scipy.special import gammaln
from sklearn.datasets import load_digits

from vi_ref import PoissonGamma, empirical_bayes, study_classify

X, Y = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def result():
    return study_classify.accuracies(sizes=(1, 3), n_splits=2, seed=4)


def test_each_class_gives_as_many_images_and_the_smaller_choice_is_part_of_the_larger():
    choices = list(study_classify.splits(Y, (1, 3), 2, seed=4))
    for small, large in choices:
        assert np.bincount(Y[small]).tolist() == [1] * 10 and np.bincount(Y[large]).tolist() == [3] * 10
        assert not np.any(small & ~large)
    assert np.any(choices[0][1] != choices[1][1])


def test_a_density_decides_by_the_larger_predictive():
    """By the formula, with log gammas; no image is within 1e-6 of a tie, far above their rounding."""
    learnt, model = next(study_classify.splits(Y, (3,), 1, seed=4))[0], study_classify.contestants()["weak prior"]
    scores = []
    for k in range(10):
        A, B = 0.5 + X[learnt & (Y == k)].sum(axis=0), 3.1
        terms = gammaln(A + X) - gammaln(A) - gammaln(X + 1) + A * np.log(B / (B + 1)) - X * np.log(B + 1)
        scores.append(terms.sum(axis=1))
    first, second = np.sort(scores, axis=0)[:-3:-1]
    assert np.min(first - second) > 1e-6
    found = study_classify.predict(model, X[learnt], Y[learnt], X)
    np.testing.assert_array_equal(found, np.argmax(scores, axis=0))


def test_the_pooled_contestant_has_a_prior_fitted_to_all_pixels_of_its_class():
    """Scores are differences of hundreds: no image is within 1e-6 of a tie, far above their rounding."""
    learnt = next(study_classify.splits(Y, (3,), 1, seed=4))[0]
    model, scores = study_classify.contestants()["pooled empirical Bayes"], []
    for k in range(10):
        prior = empirical_bayes.pooled(3, X[learnt & (Y == k)].sum(axis=0))
        scores.append(PoissonGamma(prior, X[learnt & (Y == k)]).predictive().logpmf(X).sum(axis=1))
    first, second = np.sort(scores, axis=0)[:-3:-1]
    assert np.min(first - second) > 1e-6
    np.testing.assert_array_equal(study_classify.predict(model, X[learnt], Y[learnt], X), np.argmax(scores, axis=0))


def test_accuracies_are_of_the_held_out_images(result):
    from sklearn.naive_bayes import MultinomialNB

    assert result["sizes"] == [1, 3] and result["n_splits"] == 2
    json.dumps(result, allow_nan=False)
    for split, learnt in enumerate(study_classify.splits(Y, (1, 3), 2, seed=4)):
        for k, rows in enumerate(learnt):
            by_hand = MultinomialNB(fit_prior=False).fit(X[rows], Y[rows]).score(X[~rows], Y[~rows])
            assert result["accuracy"]["MultinomialNB"][k][split] == by_hand
    for values in result["accuracy"].values():
        assert np.shape(values) == (2, 2) and np.all((0.3 < np.array(values)) & (np.array(values) < 0.9))


def test_table_holds_means_ends_and_differences(result):
    lines = study_classify.table(result).splitlines()
    assert lines[0].split() == ["images", "a", "class", "1", "3"] and len(lines) == 6
    ours, other = (100 * np.array(result["accuracy"][label]) for label in ("weak prior", "MultinomialNB"))
    for line, values in ((lines[2], ours), (lines[5], ours - other)):
        low, high = np.quantile(values, [0.05, 0.95], axis=1)
        for k in range(2):
            assert f" {values[k].mean():.1f} ({low[k]:.1f}, {high[k]:.1f})" in line


def test_picture_shows_the_means_and_the_differences(result):
    left, right = study_classify.picture(result).axes
    rows = {label: 100 * np.array(values) for label, values in result["accuracy"].items()}
    for line in left.lines:
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([[1, 3], rows[line.get_label()].mean(axis=1)]))
    for bars, label in zip(right.containers, rows, strict=True):
        better = rows[label] - rows["MultinomialNB"]
        np.testing.assert_array_equal(bars[0].get_ydata(), better.mean(axis=1))
        ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
        np.testing.assert_allclose(ends, np.quantile(better, [0.05, 0.95], axis=1).T, atol=1e-12)


@pytest.mark.parametrize(("options", "message"), [
    ({"sizes": (0,)}, "sizes must be a whole number of at least 1, got 0"),
    ({"sizes": (151,)}, "sizes must be at most 150, as the rarest digit has 174 images, got 151"),
    ({"n_splits": 0}, "n_splits must be a whole number of at least 1, got 0"),
])
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        study_classify.accuracies(**options)

"""The digits, the drawn zero and the prior made of it."""

import numpy as np
import pytest
import sklearn.datasets

from vi_ref import datasets


# the numbers in scikit-learn's copy of the UCI test set, its documentation's 1797 in all
@pytest.mark.parametrize(("target", "m"), [*enumerate([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])])
def test_digit(target, m):
    images = datasets.digit(target)
    assert images.shape == (m, 64) and images.dtype == np.int64
    assert images.min() == 0 and images.max() == 16


def test_digit_is_the_digit():
    data, target = sklearn.datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(datasets.digit(3), data[target == 3])


@pytest.mark.parametrize("floor", [0.05, 0.25, 0.5])
def test_ring_is_positive_symmetric_and_held_by_the_floor(floor):
    picture = datasets.ring(floor).reshape(datasets.IMAGE)
    assert picture.min() == picture[0, 0] == floor
    assert 11 < picture.max() <= 12                          # the pen's peak, 12, lies between pixels
    np.testing.assert_array_equal(picture, picture[::-1])
    np.testing.assert_array_equal(picture, picture[:, ::-1])


def test_ring_is_a_zero():
    picture = datasets.ring().reshape(datasets.IMAGE)
    assert picture[3, 3] < 1 < 5 < picture[0, 3]             # a hole in the middle, ink at the top
    assert picture[3, 0] < 1 < 5 < picture[3, 2]             # higher than it is wide


def test_ring_peeks_at_no_data(monkeypatch):
    expected = datasets.ring()

    def forbidden(*_, **__):
        raise AssertionError("the drawn prior read the data")
    monkeypatch.setattr(sklearn.datasets, "load_digits", forbidden)
    monkeypatch.setattr(datasets, "digit", forbidden)
    np.testing.assert_array_equal(datasets.ring(), expected)


def test_picture_prior_counts_the_picture_as_examples():
    prior = datasets.picture_prior([0.5, 3.0], weight=4)
    assert prior.shape.tolist() == [2.0, 12.0] and prior.rate.tolist() == [4.0, 4.0]
    assert datasets.picture_prior([0.5, 3.0]).shape.tolist() == [1.0, 6.0]


def test_picture_of_averages_names_its_first_empty_pixel():
    average = datasets.digit(0).mean(axis=0)                 # the tutorial's recipe: no zero has ink in its corner
    with pytest.raises(ValueError, match=r"^picture must be positive and finite, got 0\.0 at index 0$"):
        datasets.picture_prior(average)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: datasets.digit(10), r"target must be a digit from 0 to 9, got 10$"),
    (lambda: datasets.digit(-1), r"target must be a whole number of at least 0, got -1$"),
    (lambda: datasets.digit(1.5), r"target must be a whole number of at least 0, got 1\.5$"),
    (lambda: datasets.ring(0), r"floor must be in \(0, 16\), got 0$"),
    (lambda: datasets.ring(np.nan), r"floor must be in \(0, 16\), got nan$"),
    (lambda: datasets.picture_prior([1.0, np.nan]), r"picture must be positive and finite, got nan at index 1$"),
    (lambda: datasets.picture_prior([1.0], weight=0), r"weight must be positive and finite, got 0\.0$"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_horse_kicks_have_the_published_margins():
    """The frequencies of 0 to 4 deaths and the corps' totals that von Bortkiewicz printed beside the table."""
    corps, counts = datasets.horse_kicks()
    assert counts.shape == (20, 14) and np.bincount(counts.ravel()).tolist() == [144, 91, 32, 11, 2]
    totals = {"G": 16, "I": 16, "II": 12, "III": 12, "IV": 8, "V": 11, "VI": 17, "VII": 12, "VIII": 7, "IX": 13, 
              "X": 15, "XI": 25, "XIV": 24, "XV": 8}
    assert dict(zip(corps, counts.sum(axis=0).tolist(), strict=True)) == totals
    assert counts.sum(axis=1).tolist() == [3, 5, 7, 9, 10, 18, 6, 14, 11, 9, 5, 11, 15, 6, 11, 17, 12, 15, 8, 4]

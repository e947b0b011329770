"""The negative binomial against mpmath at 60 digits, over its whole domain."""

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS, digits, errors, exactly
from scipy import stats

from vi_ref.negative_binomial import deviance, log_prob


@digits(60)
def truth(x, A, B):
    """The textbook's formula: it cancels by at most 1e-20 here, and has the digits to spare."""
    return mp.loggamma(A + x) - mp.loggamma(A) - mp.loggamma(x + 1) - A * mp.log1p(1 / B) - x * mp.log1p(B)


def arguments(kind, n, seed):
    """Shapes from 1e-3 to 1e7, rates from 1e-3 to 1e6, and counts that are drawn, whole or any numbers to 1e7."""
    rng = np.random.default_rng(seed)
    shape, rate = 10 ** rng.uniform(-3, 7, n), 10 ** rng.uniform(-3, 6, n)
    any_count = 10 ** rng.uniform(-3, 7, n)
    drawn = rng.poisson(rng.gamma(shape) / rate).astype(float)
    return {"drawn": drawn, "whole": np.floor(any_count), "any": any_count}[kind], shape, rate


# Seen over 20 000 of each kind: 1.7, 1.9 and 3.8 EPS of the sizes, and 3.7e-14 of log p. The corrections and the two
# deviances are a few roundings of their own sizes each, which are below 1 + |log p| or move with x - mean.
@pytest.mark.parametrize("kind", ["drawn", "whole", "any"])
def test_against_mpmath(kind):
    x, shape, rate = arguments(kind, 1500, seed=2)
    truths = [truth(*numbers) for numbers in zip(x, shape, rate, strict=True)]
    found = log_prob(x, shape, rate)
    sizes = 1 + np.abs(found) + np.abs(x - (shape + x) / (rate + 1))
    assert np.all(errors(found, truths, scale=lambda _: 1) <= 6 * EPS * sizes)
    assert np.all(errors(found, truths) <= 1e-13)


# Both branches and the border at v = 0.1, which is x / mean = 1.222 or 0.818. Inside, x - mean is exact (Sterbenz) and
# the rest a handful of operations on terms that fall by v^2; outside, x log(x / mean) and x - mean are at most 11 times
# their difference, and have two or three roundings of half an EPS (seen: 0.7 and 13 EPS).
@pytest.mark.parametrize("ratio", [1e-3, 0.5, 0.8181, 0.8182, 0.9, 1 - 1e-9, 1 + 1e-9, 1.1, 1.2222, 1.2223, 3.0, 1e3])
def test_deviance_against_mpmath(ratio):
    for mean in (1e-3, 0.7, 13.0, 1e7):
        x, bound = ratio * mean, 4 if 0.82 < ratio < 1.22 else 20
        with mp.workdps(50):
            x_, m = exactly(x), exactly(mean)
            true = x_ * mp.log(x_ / m) - x_ + m
            assert abs(exactly(deviance(x, mean)) - true) <= bound * EPS * true


# The corners of the domain, and counts so small that their reciprocal overflows; at most 50 EPS seen.
@pytest.mark.parametrize(("x", "shape", "rate"), [
    (5.0, 1e-100, 1e-100), (5.0, 1e100, 1e100), (5.0, 1e100, 1.0), (1e100, 1e100, 1e-100), (1e100, 1e-100, 1e-100),
    (1e-310, 1.0, 1.0), (5e-324, 1e100, 1e-100), (1e-280, 1e100, 1e-100),
    (1e-280, 1e100, 1e100), (1e-200, 1e-100, 1e100), (0.0, 1e-3, 1e-100), (0.0, 1e7, 1e6)])
def test_corners(x, shape, rate):
    with mp.workdps(300):
        x_, A, B = map(exactly, (x, shape, rate))
        value = (mp.loggamma(A + x_) - mp.loggamma(A) - mp.loggamma(x_ + 1)
                 - A * mp.log1p(1 / B) - x_ * mp.log1p(B))
        moved = abs(x_ - (A + x_) / (B + 1))
        assert abs(exactly(log_prob(x, shape, rate)) - value) <= 60 * EPS * (1 + abs(value) + moved)


# scipy's is off by what it loses to 1 - p, at most 1e-9 at these rates (see the docstring); the sum runs to where the
# tail is below 1e-20: mean 30, sd 17.
def test_it_is_scipys_and_sums_to_one():
    k = np.arange(600)
    found = log_prob(k, 3.0, 0.1)
    assert np.all(np.abs(found - stats.nbinom.logpmf(k, 3.0, 0.1 / 1.1)) <= 1e-12 * (1 + np.abs(found)))
    # 600 terms, each exp of an error of 6 EPS (1 + |log p| + |x - mean|), weighed by p: sizes near 30
    assert abs(np.exp(found).sum() - 1) <= 6 * EPS * 60


def test_it_broadcasts():
    assert log_prob([[1], [2]], [1.0, 2.0, 3.0], 0.5).shape == (2, 3)
    assert log_prob(1, 1.0, 0.5) == log_prob([[1], [2]], [1.0, 2.0, 3.0], 0.5)[0, 0]


@pytest.mark.parametrize(("arguments", "message"), [
    (([1, -1], 1, 1), r"x must be in \[0, 1e100\], got -1.0 at index 1"),
    ((np.nan, 1, 1), r"x must be in \[0, 1e100\], got nan"),
    ((1e101, 1, 1), r"x must be in \[0, 1e100\], got 1e\+101"),
    ((1, 0, 1), r"shape must be positive and finite, got 0.0"),
    ((1, 1, np.inf), r"rate must be positive and finite, got inf"),
])
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        log_prob(*arguments)

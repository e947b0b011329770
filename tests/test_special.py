"""The scalar special functions against mpmath at 50 digits."""

import mpmath as mp
import numpy as np
import pytest
from oracles import errors, exactly

from vi_ref import special

SCALE = {"digamma": lambda truth: max(1, abs(truth))}        # psi has a root at 1.4616; the others are relative
TRUTH = {
    "digamma": mp.digamma,
    "digamma_minus_log": lambda x: mp.digamma(x) - mp.log(x),
    "trigamma_minus_reciprocal": lambda x: mp.psi(1, x) - 1 / x,
    "stirling_error": lambda x: mp.loggamma(x) - ((x - 0.5) * mp.log(x) - x + mp.log(2 * mp.pi) / 2),
}


def arguments(low, high):
    """Seeded, evenly over the logarithm and over the recurrence's reach, and both sides of each whole number."""
    rng, whole = np.random.default_rng(1), np.arange(1.0, 13.0)
    x = np.concatenate([np.exp(rng.uniform(np.log(low), np.log(high), 300)), rng.uniform(low, min(high, 12), 300),
                        whole, np.nextafter(whole, 0)])
    return x[(x >= low) & (x < high)]


# The worst seen over 12 000 arguments stands beside each bound. Below 10 each of up to 10 steps of the recurrence
# adds roundings; from 10 on there is the series alone, whose last term is 9e-16 of digamma_minus_log(10) and 3.5e-15
# of stirling_error(10), so that dropping any term is seen.
@pytest.mark.parametrize(("name", "low", "high", "bound"), [
    ("digamma", 1e-8, 10, 1e-15),                            # 8.3e-16
    ("digamma", 10, 1e10, 3e-16),                            # 2.1e-16
    ("digamma_minus_log", 1e-8, 10, 4.5e-15),                # 3.6e-15
    ("digamma_minus_log", 10, 1e10, 3e-16),                  # 2.2e-16
    ("trigamma_minus_reciprocal", 1e-8, 10, 1.2e-15),        # 9.0e-16
    ("trigamma_minus_reciprocal", 10, 1e10, 1.5e-15),        # 1.2e-15, of which the term left out is 1.1e-15
    ("stirling_error", 1, 10, 1.5e-15),                      # 5.6e-16
    ("stirling_error", 10, 1e10, 5e-16),                     # 3.7e-16
])
def test_against_mpmath(name, low, high, bound):
    x = arguments(low, high)
    with mp.workdps(50):
        truth = [TRUTH[name](exactly(v)) for v in x]
    assert errors([getattr(special, name)(v) for v in x], truth, SCALE.get(name, abs)).max() <= bound


@pytest.mark.parametrize("x", [1e-3, 0.1, 0.5])
def test_stirling_error_below_one_to_a_few_eps_absolute(x):
    # the table stops at 1; densities of smaller shapes use it too, with an absolute error of a few eps (seen: 7e-16)
    with mp.workdps(50):
        assert abs(special.stirling_error(x) - TRUTH["stirling_error"](exactly(x))) <= 2e-15


@pytest.mark.parametrize("name", ["digamma_minus_log", "trigamma_minus_reciprocal", "stirling_error"])
def test_array_versions_give_the_same_bits(name):
    x = arguments(1, 1e10)
    np.testing.assert_array_equal(getattr(special, f"{name}_ufunc")(x), [getattr(special, name)(v) for v in x])


@pytest.mark.parametrize("x", [5e-324, 1e-300, 0.3, np.nextafter(0.5**0.5, 0), 0.5**0.5, 1.0, 3.0, 1e10, 1e308])
def test_split_log_keeps_the_digits_that_a_logarithm_rounds_away(x):
    """high is a multiple of 2^-32, so exact differences from it exist; high + low = log x to 1e-16 absolute."""
    high, low = special.split_log(x)
    assert high * 2.0**32 == round(high * 2.0**32)
    with mp.workdps(50):
        assert abs(exactly(high) + exactly(low) - mp.log(exactly(x))) <= 1e-16    # half an ulp of low, below 0.35

"""Adjusted p-values against the procedures' definitions, and their false alarms."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from vi_ref.diagnostics import benjamini_hochberg, holm

P = np.random.default_rng(0).random((50, 7)) ** 3


def holm_rejects(p, level):
    """Holm's own words: compare the smallest with level/n, the next with level/(n-1), until one is above."""
    rejected = np.zeros(p.size, dtype=bool)
    for j, i in enumerate(np.argsort(p)):
        if p[i] > level / (p.size - j):
            break
        rejected[i] = True
    return rejected


def test_holm_rejects_what_its_steps_reject():
    for p in P:
        for level in (0.01, 0.05, 0.3):
            np.testing.assert_array_equal(holm(p) <= level, holm_rejects(p, level))


def test_benjamini_hochberg_against_scipy():
    for p in P:
        np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-15)


# 4000 families of 7 true hypotheses: at level 0.1 each procedure alarms with probability 1 - (1 - 0.1/7)^7 = 0.096
# (Holm) and 0.1 exactly (Benjamini & Hochberg, independent). 4.5 standard errors of 0.0047, false-failure 1e-5 in all.
def test_false_alarms_are_as_rare_as_stated():
    p = np.random.default_rng(1).random((4000, 7))
    for adjust, rate in ((holm, 1 - (1 - 0.1 / 7) ** 7), (benjamini_hochberg, 0.1)):
        alarms = np.mean([np.any(adjust(row) <= 0.1) for row in p])
        assert abs(alarms - rate) <= 4.5 * np.sqrt(rate * (1 - rate) / 4000)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize(("p", "words"), [
    ([0.1, 1.2], r"in \[0, 1\], got 1.2 at index 1"), ([0.1, np.nan], r"in \[0, 1\], got nan"),
    (0.1, r"shape \(n,\), got \(\)"),
])
def test_bad_input(adjust, p, words):
    with pytest.raises(ValueError, match=words):
        adjust(p)

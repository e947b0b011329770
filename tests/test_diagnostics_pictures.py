"""The pictures of the diagnostics hold the numbers they are meant to show."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from vi_ref import Gamma, PoissonGamma, datasets, diagnostics, plots


def test_rank_histograms_hold_counts_and_band():
    model, log_theta = diagnostics.simulate(Gamma(2.0, 1.0), 3, 1000, np.random.default_rng(1))
    q = model.posterior
    narrow = Gamma(4 * q.shape, 4 * q.rate)
    results = {name: diagnostics.calibration_check(one, log_theta, rng=np.random.default_rng(2))
               for name, one in (("exact", q), ("narrow", narrow))}
    for axes, (name, result) in zip(diagnostics.rank_histograms(results).axes, results.items(), strict=True):
        np.testing.assert_array_equal([bar.get_height() for bar in axes.patches], result.counts)
        assert [line.get_ydata()[0] for line in axes.lines] == [result.low, result.high]
        red = [to_rgb(bar.get_facecolor()) == to_rgb(plots.RED) for bar in axes.patches]
        np.testing.assert_array_equal(red, result.outside)
        assert axes.get_title().startswith(f"{name}\n") and f"{result.tests.variance:.2f}" in axes.get_title()
    assert results["narrow"].outside.any()


def test_pit_panel_holds_dispersion_marks_and_correlations():
    counts = datasets.digit(0)
    model, rng = PoissonGamma(datasets.picture_prior(datasets.ring()), counts[:100]), np.random.default_rng(3)
    result = diagnostics.pit(model.posterior, counts[100:], rng)
    replicate = rng.poisson(model.posterior.sample(1, rng)[0], (78, 64))
    left, real, made = diagnostics.pit_panel(result, counts[100:], replicate).axes[:3]
    np.testing.assert_array_equal(np.ravel(left.images[0].get_array()), result.tests.variance_z)
    marks = [text.get_text() for text in left.texts]
    assert marks.count("\N{MINUS SIGN}") == result.under_dispersed().sum()
    assert marks.count("+") == result.over_dispersed().sum() and np.count_nonzero(result.constant) == 16
    unmarked = result.constant & ~result.under_dispersed() & ~result.over_dispersed()
    assert marks.count("·") == unmarked.sum() > 0
    for axes, table in ((real, counts[100:]), (made, replicate)):
        varies = np.ptp(table, axis=0) > 0
        shown = np.array(axes.images[0].get_array())
        np.testing.assert_allclose(shown[np.ix_(varies, varies)], np.corrcoef(table[:, varies].T), atol=1e-13)
        assert not shown[~varies].any()
    with pytest.raises(ValueError, match="result must have 64 columns"):
        diagnostics.pit_panel(diagnostics.pit(Gamma([1.0], 1.0), [[1], [2]], rng), counts, counts)


def test_khat_picture_holds_each_khat():
    model = PoissonGamma(Gamma([2.0, 3.0], 1.0), [[3, 0], [5, 1], [4, 0]])
    q = model.posterior
    results = {name: diagnostics.khat(model, one, 1000, np.random.default_rng(4))
               for name, one in (("exact", q), ("narrow", Gamma(4 * q.shape, 4 * q.rate)))}
    axes = diagnostics.khat_picture(results).axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    low = axes.get_xlim()[0]
    for line, (row, part) in zip(lines, [(row, part) for name in ("columns", "joint") for row, part in enumerate(
            getattr(result, name) for result in results.values())], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.maximum(np.ravel(part.khat), low))
        assert set(line.get_ydata()) == {row}
    assert axes.lines[-1].get_xdata()[0] == results["exact"].joint.threshold


def test_infinite_khats_are_named_at_their_edges():
    model = PoissonGamma(Gamma([2.0, 3.0], 1.0), [[3, 0], [5, 1], [4, 0]])
    q = model.posterior
    results = {"exact": diagnostics.khat(model, q, 100, np.random.default_rng(4)),
               "few": diagnostics.khat(model, Gamma(4 * q.shape, 4 * q.rate), 20, np.random.default_rng(4))}
    axes = diagnostics.khat_picture(results).axes[0]
    found = {text.get_text().strip(): text.get_position()[0] for text in axes.texts}
    low, high = axes.get_xlim()
    assert found == {"\N{MINUS SIGN}∞: no tail": low, "∞: too few to fit": high}


def test_a_p_value_that_underflows_is_not_called_0():
    log_theta = np.full(1000, 4.0) + np.arange(1000) % 2
    result = diagnostics.calibration_check(Gamma(np.full(1000, 9.0), 1.0), log_theta, rng=np.random.default_rng(2))
    assert result.tests.p_variance == 0
    assert diagnostics.rank_histograms({"far": result}).axes[0].get_title().endswith(", p < 1e-300")


def test_bad_input():
    counts, rng = datasets.digit(0)[100:], np.random.default_rng(3)
    result = diagnostics.pit(Gamma(np.ones(64), 1.0), counts, rng)
    for draw in (diagnostics.rank_histograms, diagnostics.khat_picture):
        with pytest.raises(ValueError, match="results must hold at least one result"):
            draw({})
    with pytest.raises(ValueError, match=r"counts must have 64 columns and at least 2 rows, got shape \(78, 3\)"):
        diagnostics.pit_panel(result, counts[:, :3], counts)
    with pytest.raises(ValueError, match="replicate must be non-negative whole numbers"):
        diagnostics.pit_panel(result, counts, -1 - counts)


def test_only_the_pictures_load_matplotlib():
    code = ("import sys; from vi_ref import diagnostics; "
            "[getattr(diagnostics, name) for name, home in diagnostics._HOME.items() if home != 'pictures']; "
            "print([m for m in ('matplotlib', 'sklearn', 'scipy.stats') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert dir(diagnostics) == sorted(diagnostics.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diagnostics.nothing

"""The fit study: equal rows for all, errors against those of a fit by hand, one seed one result."""

import json
import re

import numpy as np
import pytest

from vi_ref import Adam, Gamma, PoissonGamma, fit, study, study_fit
from vi_ref.gradients import by_name


@pytest.fixture(scope="module")
def model():
    return PoissonGamma(Gamma([2.0, 3.0], [1.0, 0.5]), [[3, 0], [5, 1], [4, 2]])


@pytest.fixture(scope="module")
def result(model):
    return study_fit.errors(model, rows=28, n_steps=80, seeds=3, seed=5)


def test_half_a_row_is_four_pixels_of_the_digit():
    model = study_fit.half_a_row()
    assert model.totals.tolist() == [0, 1045, 2057, 159] and model.n_observations == 178
    assert study_fit.rows_a_draw(model, "measure-valued, coupled") == 3 * 4 + 1


def test_all_are_granted_the_same_rows(result):
    """Of two columns the measure-valued gradient asks for 7 rows a draw, the others for 2."""
    assert list(result["fits"]) == list(study_fit.LABELS)
    for label, fits in result["fits"].items():
        draws = {"measure-valued, coupled": 4, "exact": 0}.get(label, 14)
        assert fits["n_samples"] == draws
        assert fits["rows"] == list(range(0, 28 * 80 + 1, 56))
        assert all(0 <= low <= median <= high for low, median, high in
                   zip(fits["low"], fits["median"], fits["high"], strict=True))
    json.dumps(result, allow_nan=False)


def test_rows_that_do_not_go_into_draws_are_not_asked_for(model):
    fits = study_fit.errors(model, rows=31, n_steps=3, seeds=1)["fits"]
    assert {label: f["rows"][-1] for label, f in fits.items()} == {
        label: {"measure-valued, coupled": 84, "exact": 93}.get(label, 90) for label in study_fit.LABELS}


@pytest.mark.parametrize(("label", "options"), [
    ("exact", {}), ("sticking the landing", {}), ("RSVI, B = 10", {"augmentation": 10}),
    ("score, R.-B., leave one out", {"rao_blackwell": True, "baseline": "leave_one_out"})])
def test_errors_are_the_divergences_of_a_fit_done_by_hand(model, result, label, options):
    """Median, lowest and highest over the seeds, of the same draws: the same bits."""
    estimate = by_name("exact" if label == "exact" else study.ESTIMATORS[label][0])
    kl = []
    for seed in range(3):
        rng = np.random.default_rng([5, study_fit.LABELS.index(label), seed])
        trace = fit(model, model.prior, gradient=lambda *given: estimate(*given, **options), n_samples=14, n_steps=80,
                    rng=rng, optimizer=Adam(0.2, beta2=0.995), keep_every=2).trace
        kl.append([Gamma(*q).kl(model.posterior).sum() for q in zip(trace.shape, trace.rate, strict=True)])
    fits = result["fits"][label]
    assert fits["median"] == np.sort(kl, axis=0)[1].tolist()
    assert fits["low"] == np.min(kl, axis=0).tolist() and fits["high"] == np.max(kl, axis=0).tolist()


def test_the_table_holds_the_end_of_every_fit(result):
    heading, columns, *lines = study_fit.table(result).splitlines()
    assert "80 steps, 3 seeds" in heading and columns.split() == ["draws", "a", "step", "rows", "lowest", "median",
                                                                  "highest"]
    for line, (label, fits) in zip(lines, result["fits"].items(), strict=True):
        ends = [f"{fits[part][-1]:.1e}" for part in ("low", "median", "high")]
        assert line.split() == [*label.split(), str(fits["n_samples"]), "2240", *ends]


def test_the_same_seed_gives_the_same_errors(model):
    first, again, other = (study_fit.errors(model, 28, 5, 1, seed, ["G-REP"])["fits"]["G-REP"]["median"]
                           for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("options", "message"), [
    ({"rows": 13}, "rows must be a whole number of at least 14, got 13"),
    ({"n_steps": 0}, "n_steps must be a whole number of at least 1, got 0"),
    ({"seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
])
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        study_fit.errors(model, **options)

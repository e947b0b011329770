"""The noise study: unbiased, the exact laws at the optimum, and one-draw gradients of many shapes.

Statistical tests allow k = 5 standard errors at fixed seeds: for about 200 normal means in all a false failure once in
8000 runs with fresh seeds. What they detect is said beside each.
"""

import json
import re

import numpy as np
import pytest
from scipy.special import polygamma

from vi_ref import Gamma, PoissonGamma, datasets, exact_elbo, study, study_dirichlet, study_fit
from vi_ref.__main__ import gradient_table, main
from vi_ref.gradients import NAMES, by_name
from vi_ref.gradients._paths import entropy_gradient

REPLICATES, K_ERRORS = 300, 5


@pytest.fixture(scope="module")
def model():
    return PoissonGamma(Gamma([2.0, 3.0], [1.0, 0.5]), [[3, 0], [5, 1], [4, 2]])


@pytest.fixture(scope="module")
def comparison(model):
    return study.compare(model, n_samples=8, replicates=REPLICATES, seed=1)


def test_every_gradient_estimator_is_studied(comparison):
    assert {name for name, _ in study.ESTIMATORS.values()} == set(NAMES) - {"exact"}
    assert list(comparison) == ["start", "half way", "optimum"]
    for rows in comparison.values():
        assert list(rows) == list(study.ESTIMATORS)


def test_all_are_unbiased(comparison):
    """300 x 8 draws: a bias of 5 / sqrt(2400) = 0.1 of a draw's sd is seen."""
    for rows in comparison.values():
        for row in rows.values():
            assert row["rms_z"] <= row["worst_z"] <= K_ERRORS


def test_the_exact_laws_at_the_optimum(model, comparison):
    """Variances in units of F/S: 1, c^2 and 0. An sd that is 19 % too large is seen half the times, 28 % nearly always.

    The variance of R means of 8 scores has the standard error sqrt((2 + excess / 8) / R), relative; the scores'
    excess kurtosis is 6 / alpha at most, alpha 6 or 14. Five of them are 0.42.
    """
    rows, k = comparison["optimum"], K_ERRORS * np.sqrt((2 + 1 / 8) / REPLICATES)
    c, c_d = model.log_evidence, np.sqrt(np.mean(model.log_evidence_terms**2))
    for label, sd in (("reparameterized", 1.0), ("score", abs(c)), ("score, Rao-Blackwell", c_d)):
        for part in ("sd_log_shape", "sd_log_rate"):
            assert (rows[label][part] / sd) ** 2 == pytest.approx(1, abs=k)
    for label in ("G-REP", "RSVI, B = 0", "RSVI, B = 1", "RSVI, B = 10"):
        assert rows[label]["sd_log_rate"] ** 2 == pytest.approx(1, abs=k)
    for label in ("score, leave one out", "score, R.-B., leave one out", "score, R.-B., control variate",
                  "measure-valued", "measure-valued, coupled", "sticking the landing"):
        assert rows[label]["variance"] < 1e-24                          # of rounding: log joint and log q are below 100


def test_fisher_information():
    q = Gamma([0.02, 3.0, 400.0], 2.0)
    np.testing.assert_allclose(study.fisher(q), [q.shape**2 * polygamma(1, q.shape), q.shape], rtol=1e-14)


def test_the_cost_counts_rows_given_to_the_model(comparison):
    """Value alone, value and slope or terms, and for the measure-valued gradient 3 D + 1."""
    rows = comparison["start"]
    for label, calls in (("score", 1), ("score, leave one out", 1), ("score, Rao-Blackwell", 2), ("G-REP", 2),
                         ("RSVI, B = 10", 2), ("measure-valued, coupled", 7), ("reparameterized", 2)):
        assert rows[label]["evaluations"] == calls
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["variance_seconds"] == row["variance"] * row["seconds"]
        assert row["variance_evaluations"] == row["variance"] * row["evaluations"]


def test_what_is_asked_of_the_model_is_noted(comparison):
    """Each function is called by name in the estimator's own file."""
    slope, terms = ["grad_log_joint", "log_joint"], ["log_joint", "log_joint_terms"]
    for label, asked in (("score", ["log_joint"]), ("score, leave one out", ["log_joint"]),
                         ("score, Rao-Blackwell", terms), ("measure-valued", ["log_joint"]), ("G-REP", slope),
                         ("RSVI, B = 1", slope), ("reparameterized", slope), ("sticking the landing", slope)):
        assert all(rows[label]["asked"] == asked for rows in comparison.values())


def test_times_are_the_least_of_each_in_those_of_the_full_gradient():
    times = ({"reparameterized": 4.0, "score": 3.0}, {"reparameterized": 2.0, "score": 8.0})
    digit = {point: {label: {"seconds": s} for label, s in of.items()} | {"RSVI, B = 0": None}
             for point, of in zip(("start", "optimum"), times, strict=True)}
    assert study.relative_times(digit) == {"reparameterized": 1.0, "score": 1.5}


def test_bare_rejection_sampling_is_left_out_below_shape_1():
    model = PoissonGamma(Gamma([0.5, 3.0], 1.0), [[0, 1]])
    result = study.compare(model, replicates=2, labels=["RSVI, B = 0", "RSVI, B = 1"])
    assert all(rows["RSVI, B = 0"] is None and rows["RSVI, B = 1"] for rows in result.values())
    assert "no sampler" in gradient_table(result)


def test_the_same_seed_gives_the_same_noise(model):
    first, again, other = (study.compare(model, replicates=3, seed=s, labels=["G-REP"]) for s in (4, 4, 5))
    assert first["start"]["G-REP"]["worst_z"] == again["start"]["G-REP"]["worst_z"]
    assert first["start"]["G-REP"]["worst_z"] != other["start"]["G-REP"]["worst_z"]


@pytest.mark.parametrize(("options", "message"), [
    ({"replicates": 1}, "replicates must be a whole number of at least 2, got 1"),
    ({"n_samples": 2}, "n_samples must be a whole number of at least 3, got 2"),
])
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        study.compare(model, **options)


def test_noise_in_numbers_done_by_hand():
    gradients = np.array([[[1.0], [4.0]], [[3.0], [8.0]]])              # means 2 and 6, variances 2 and 8
    result = study.noise(gradients, [[1.0], [6.0]], np.array([[4.0], [2.0]]), 3)
    assert result == pytest.approx({"worst_z": 1.0, "rms_z": np.sqrt(0.5), "variance": (1.5 + 12) / 2,
                                    "sd_log_shape": np.sqrt(1.5), "sd_log_rate": np.sqrt(12)}, rel=1e-14)


@pytest.mark.parametrize(("path", "name", "options"), [
    ("g_rep", "generalized_reparameterization", {}),
    *((B, "rejection_sampling", {"augmentation": B}) for B in (0, 1, 10)),
])
def test_draws_are_those_of_the_gradient_estimator(path, name, options):
    """The same generator gives the same estimate, in another order of adding up 50 draws: 1e-12 of their size."""
    model, q = PoissonGamma(Gamma([2.5], [0.5]), [[3.0], [8.0]]), Gamma([1.7], [0.9])
    log_z, moved, correction = study.draws(path, q.shape, 50, np.random.default_rng(3))
    log_theta = log_z - np.log(q.rate)
    terms = q.shape * (model.grad_log_joint(log_theta) * moved + model.log_joint_terms(log_theta) * correction)
    truth = by_name(name)(model, q, 50, np.random.default_rng(3), **options).log_shape
    assert np.abs(terms.mean(axis=0) + entropy_gradient(q)[0] - truth) <= 1e-12 * np.abs(terms).max()


@pytest.mark.parametrize(("label", "name", "options"), [
    ("reparameterized", "reparameterized", {}), ("sticking the landing", "sticking_the_landing", {}),
    ("score, Rao-Blackwell", "score_function", {"rao_blackwell": True}),
])
def test_one_sample_gradients_average_to_the_gradient_estimators(label, name, options):
    model, q = study.off_optimum([0.3, 5.0])
    values = study.one_sample(model, q, 50, np.random.default_rng(3))[label]
    truth = by_name(name)(model, q, 50, np.random.default_rng(3), **options).log_shape
    assert np.all(np.abs(values.mean(axis=0) - truth) <= 1e-12 * np.abs(values).max())


def test_one_sample_gradients_are_unbiased_at_every_shape():
    """20 000 draws: a bias of 5 / sqrt(20000) = 0.035 of a draw's sd is seen."""
    model, q = study.off_optimum([0.05, 0.7, 3.0, 200.0])
    exact = exact_elbo.gradient(model, q)[0]
    for label, values in study.one_sample(model, q, 20_000, np.random.default_rng(0)).items():
        here = q.shape >= 1 if label == "RSVI, B = 0" else np.full(4, True)
        assert np.array_equal(np.isnan(values).any(axis=0), ~here)
        error = values.std(axis=0, ddof=1) / np.sqrt(20_000)
        assert np.all(np.abs(values.mean(axis=0) - exact)[here] <= K_ERRORS * error[here]), label


def test_off_the_optimum_by_about_a_hundredth_of_a_nat():
    model, q = study.off_optimum(study.SHAPES)
    assert np.all((q.shape > model.posterior.shape) & (q.mean > model.posterior.mean))
    kl = q.kl(model.posterior)
    assert np.all((kl > 0.009) & (kl < 0.013))
    assert kl[-1] == pytest.approx(0.01, rel=0.1)                       # third order: 0.1 / 3 of either half
    assert model.log_evidence == pytest.approx(0, abs=1e-9)             # log Gamma(1e4) = 8e4, and its rounding


def test_shape_sweep_has_a_variance_and_an_error_or_neither():
    result = study.shape_sweep(2000, seed=2, shapes=(0.1, 5.0))
    for label, variance in result["variance"].items():
        error = result["error"][label]
        assert [v is None for v in variance] == [e is None for e in error] == [label == "RSVI, B = 0", False]
        assert all(0 < e < v for v, e in zip(variance, error, strict=True) if v is not None)
    json.dumps(result, allow_nan=False)


def test_the_command_writes_its_files_and_leaves_those_of_a_fit(tmp_path, capsys):
    (tmp_path / "result.json").write_text("of a fit")
    assert main(["gradients", "--replicates", "3", "--seed", "7", "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "fit_error.png", "gradient_noise.png", "gradients.json", "naesseth.png", "result.json"]
    assert (tmp_path / "result.json").read_text() == "of a fit"
    result = json.loads((tmp_path / "gradients.json").read_text())
    assert result["seed"] == 7 and result["replicates"] == 3 and "numpy" in result["versions"]
    model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
    again = study.compare(model, replicates=3, seed=7, labels=["reparameterized"])
    assert result["digit"]["start"]["reparameterized"]["worst_z"] == again["start"]["reparameterized"]["worst_z"]
    assert result["naesseth"] == study_dirichlet.naesseth(n=750, seed=7)
    assert result["shapes"] == study.shape_sweep(750, 7)
    assert result["fit"] == study_fit.errors(study_fit.half_a_row(), n_steps=7, seed=7)
    printed = capsys.readouterr().out
    assert gradient_table(result["digit"]) in printed and study_fit.table(result["fit"]) in printed


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--replicates", "1"], "--replicates must be a whole number of at least 2, got 1"),
    (["--seed", "-1"], "--seed must be a whole number of at least 0, got -1"),
    (["--frobnicate"], "--frobnicate"),
])
def test_the_command_refuses_bad_options_in_one_line(tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["gradients", *arguments])
    except SystemExit as stop:
        code = stop.code
    stderr = capsys.readouterr().err
    assert code == 2 and reason in stderr and stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

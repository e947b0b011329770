"""The studies of factorisation: matches and intervals by hand, an exact case that must pass, and what was found."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array

from vi_ref import Gamma, PoissonGamma, factorization_plots, study_factorization, study_generation, study_recovery
from vi_ref.poisson_factorization import cavi
from vi_ref.poisson_factorization.cavi import Prior
from vi_ref.poisson_factorization.simulated import sparse_factors


@pytest.fixture(scope="module")
def zeros():
    return study_generation.split(0)


@pytest.fixture(scope="module")
def model(zeros):
    return study_factorization.digit_model(zeros[0])


@pytest.fixture(scope="module")
def together():
    return study_factorization.correlations(n_replicates=100)


@pytest.fixture(scope="module")
def calibrated():
    return study_recovery.calibration(n_simulations=60)


@pytest.fixture(scope="module")
def recovered():
    return study_recovery.recovery(sizes=(20, 200), n_seeds=3)


def known(phi):
    """Columns of which nothing is unknown: shapes of 1e12, a relative sd of 1e-6."""
    phi = np.asarray(phi, float)
    return cavi.side(Prior(1.0, 1.0), np.full_like(phi, 1e12), 1e12 / phi)


# -- tables drawn from the model -----------------------------------------------------------------------


def test_sparse_factors_have_their_priors_and_counts_their_rates():
    """Means of 40000 factors and of 40000 counts given their rates within 4.5 standard errors: false alarm 1 in 48000.

    The first detects a mean off by 3 %, sd / mean being 1.4; mean squares, whose sd / mean is below 4, by 9 %.
    """
    priors = Prior(0.5, 2.0), Prior(0.5, 0.1)
    counts, theta, phi = sparse_factors(20_000, 2, 2, priors, np.random.default_rng(0))
    assert counts.shape == (20_000, 2) and theta.shape == (20_000, 2) and phi.shape == (2, 2)
    for power, exact in ((1, 0.25), (2, 0.25**2 * 3)):
        values = theta.ravel()**power
        assert abs(values.mean() - exact) < 4.5 * values.std() / 200
    excess = counts.toarray() - theta @ phi.T
    assert np.all(np.abs(excess.mean(axis=0)) < 4.5 * np.sqrt((theta @ phi.T).mean(axis=0) / 20_000))
    again = sparse_factors(10, 2, 2, priors, np.random.default_rng(0))
    np.testing.assert_array_equal(again.components, phi)                       # of a shorter table, the same


def test_components_have_the_columns_prior():
    """The mean of 20000 with sd / mean 1.4 is within 4.5 standard errors, 4.5 %: false alarm 1 in 150000."""
    phi = sparse_factors(1, 10_000, 2, (Prior(0.5, 1e4), Prior(0.5, 0.1)), np.random.default_rng(1)).components
    assert abs(phi.mean() / 5 - 1) < 4.5 * np.sqrt(2 / 20_000)


def test_best_of_sorts_by_elbo():
    table = sparse_factors(50, 20, 3, study_recovery.SPARSE, np.random.default_rng(0))
    fits = study_recovery.best_of(table.counts, 3, study_recovery.SPARSE, 4, np.random.default_rng(1), n_sweeps=50)
    elbos = [fit.elbo[-1] for fit in fits]
    assert elbos == sorted(elbos, reverse=True) and elbos[0] > elbos[-1] and max(fit.n_sweeps for fit in fits) <= 50


def test_components_are_matched_whatever_their_order_and_scale():
    truth = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [1.0, 1.0, 0.0]])
    found = truth[:, [2, 0, 1]] * [10.0, 0.1, 3.0]
    extra = np.column_stack([np.ones(3), found])                               # one more: is left over
    for components in (found, extra):
        np.testing.assert_allclose(study_recovery.matched_cosines(components, truth), 1, rtol=1e-15)
    turned = study_recovery.matched_cosines([[1.0, 1.0], [0.0, 1.0]], np.eye(2))
    np.testing.assert_allclose(turned, [1, np.sqrt(0.5)], rtol=1e-15)         # each found one serves once


def test_more_rows_find_the_components_and_the_best_start_is_better(recovered):
    """Over eight seeds 0.74 to 0.85 at m = 20, 0.94 to 0.99 at 200, where the worst of three has 0.75 to 0.95."""
    best, worst = (np.mean(recovered[name], axis=1) for name in ("best", "worst"))
    assert best[0] < 0.86 and best[1] > 0.92 and best[1] >= worst[1]
    assert np.all(np.array(recovered["used"]) >= recovered["components"])
    json.dumps(recovered, allow_nan=False)


@pytest.mark.slow
def test_what_is_left_over_empties_out():
    found = study_recovery.recovery(sizes=(60, 2000), n_seeds=3)
    assert np.mean(found["used"][0]) > 6 > 4.5 > np.mean(found["used"][1])
    assert np.min(found["best"][1]) > 0.98 and np.min(found["double"][1]) > 0.98


def test_gibbs_draws_from_the_posterior_of_one_component():
    """K = 1 with phi all but known: theta's posterior is Gamma(a + sum x, b + sum phi), so a cell's rate is one, too.

    1000 draws of 40 tables, independent as theta does not depend on the last theta: the mean of normal scores of 40000
    is within 4.5 / 200 and their variance within 4.5 sqrt(2) / 200, 3 %, of 0 and 1; false alarm 1 in 74000.
    """
    rng, x = np.random.default_rng(2), np.random.default_rng(3).poisson(4.0, (40, 1, 3))
    priors = Prior(2.0, 0.5), Prior(1e10, 1e10)
    draws = study_recovery.gibbs(x, 1, priors, 1000, rng, skipped=1, thin=1)
    assert draws.shape == (1000, 40, 1, 3)
    exact = stats.gamma(2.0 + x.sum(axis=2), scale=1 / 3.5)
    scores = stats.norm.ppf(exact.cdf(draws[..., 0]))
    assert abs(scores.mean()) < 4.5 / 200 and abs(scores.var() - 1) < 4.5 * np.sqrt(2) / 200


def test_gibbs_draws_from_the_posterior_of_two_components():
    """One row, one column, K = 2: the posterior mean of lambda, by draws of the prior.

    With theta_k and phi_k of unit exponentials lambda's prior is a sum of two products, whose draws are weighted by the
    Poisson probability of the count: 4e5 of them. Both means agree within 4.5
    joint standard errors, below 2 % each; that of the 300 chains' means covers the correlation of draws.
    """
    rng, x = np.random.default_rng(4), 7
    prior = np.sum(rng.standard_exponential((400_000, 2)) * rng.standard_exponential((400_000, 2)), axis=1)
    weight = stats.poisson.pmf(x, prior)
    exact = weight @ prior / weight.sum()
    error = np.sqrt(np.sum(weight**2 * (prior - exact)**2)) / weight.sum()
    chains = study_recovery.gibbs(np.full((300, 1, 1), x), 2, (Prior(1.0, 1.0),) * 2, 60, rng, thin=3)[..., 0, 0]
    means = chains.mean(axis=0)
    joint = np.hypot(error, means.std(ddof=1) / np.sqrt(300))
    assert joint < 0.02 * exact and abs(means.mean() - exact) < 4.5 * joint


def test_the_check_passes_where_q_is_exact():
    """K = 1 and phi known: q of a row is its posterior, so ranks must be uniform. N = 400 tables of one row.

    Shares and bins within 4.5 standard errors, and the variance's p-value above 1e-4: false alarm 1 in 5000.
    """
    rng, phi, prior, N, L = np.random.default_rng(5), np.array([[0.5], [2.0], [1.0]]), Prior(2.0, 0.5), 400, 99
    theta = rng.gamma(2.0, 2.0, (N, 1))
    counts = csr_array(rng.poisson(theta @ phi.T).astype(float))
    rows = cavi.infer_rows(counts, known(phi), prior, n_sweeps=20, tol=1e-9)
    draws = rows.q.sample(L, rng)[:, :, None] @ phi.T
    found = study_recovery.judged(np.sum(draws < (theta @ phi.T)[:, None], axis=0), L, rng)
    for name, exact, error in (("share", study_recovery.LEVELS, "error"), ("rank", [0.1] * 10, "rank_error")):
        # all rates of a row are in one order: the error over tables is that of N, not of 3 N
        assert np.all(np.abs(np.subtract(found[name], exact)) < 4.5 * np.array(found[error]))
        np.testing.assert_allclose(found[error], np.sqrt(np.multiply(exact, np.subtract(1, exact)) / N), rtol=0.35)
    assert found["p_variance"] > 1e-4


def test_half_the_width_is_found_out():
    """Draws of half the sd about the right mean: 50 % intervals hold 26 % = P(|z| < 0.674 / 2) of the truths."""
    rng = np.random.default_rng(6)
    truth, draws = rng.standard_normal((400, 1)), 0.5 * rng.standard_normal((999, 400, 1))
    found = study_recovery.judged(np.sum(draws < truth, axis=0), 999, rng)
    assert abs(found["share"][0] - 0.264) < 4.5 * np.sqrt(0.264 * 0.736 / 400)
    assert found["p_variance"] < 1e-6 and found["rank"][0] > 0.2 < found["rank"][-1]


def test_mean_field_is_too_sure_and_gibbs_is_not(calibrated):
    """Over 400 tables mean field's shares are 0.43, 0.72 and 0.90, below the levels by 7 to 10 errors of N = 60.

    Gibbs within 4.5 standard errors of the levels: false alarm 1 in 49000.
    """
    level = np.array(calibrated["level"])
    short = level - calibrated["mean field"]["share"]
    assert np.all(short > 3 * np.array(calibrated["mean field"]["error"])) and np.all(short < 0.12)
    assert np.all(np.abs(level - calibrated["gibbs"]["share"]) < 4.5 * np.array(calibrated["gibbs"]["error"]))
    assert calibrated["mean field"]["rank"][0] > 0.12 < calibrated["mean field"]["rank"][-1]
    json.dumps(calibrated, allow_nan=False)


def test_rates_are_products_of_draws():
    """With gammas of relative sd 1e-6 every draw is the product of the means, to 1e-5, 5 sd of a sum of two."""
    rows, columns = known([[1.0, 2.0], [3.0, 0.5]]), known([[1.0, 1.0], [2.0, 0.1], [0.3, 4.0]])
    fit = cavi.Factorization(rows, columns, np.array([0]), np.array([0.0]), True)
    draws = study_recovery.rates(fit, 4, np.random.default_rng(0))
    np.testing.assert_allclose(draws, np.broadcast_to(rows.mean @ columns.mean.T, (4, 2, 3)), rtol=1e-5)


# -- digits --------------------------------------------------------------------------------------------


def test_the_activations_prior_is_learned_from_the_finished_q(model, zeros):
    q, prior = model.rows.q, model.rows.prior
    np.testing.assert_allclose(prior.shape / prior.rate, q.mean.mean(axis=0), rtol=1e-12)
    fitted = Gamma(prior.shape, prior.rate).mean_log                # log mean less gap: two roundings of about 5
    np.testing.assert_allclose(fitted, q.mean_log.mean(axis=0), atol=1e-12)
    again = cavi.update(csr_array(zeros[0].astype(float)), replace(model.rows, prior=study_factorization.PRIORS[0]),
                        model.columns)
    np.testing.assert_allclose(again.mean, model.rows.mean, atol=0.2)       # nearly at rest, under the prior of the fit


def test_gains_are_over_the_exact_negative_binomial(zeros):
    """One component with phi known makes the row's probability exact: negative binomial with shared theta.

    Importance sampling then has the posterior itself for proposal but for a twentieth of draws of the prior, and the
    Gibbs average: the standard error it reports is below 0.02, and 4.5 of it are allowed in each of 20 rows.
    """
    train, rest = zeros
    phi = train.mean(axis=0)[:, None] + 0.1
    fit = cavi.Factorization(cavi.side(Prior(5.0, 5.0), np.ones((1, 1)), np.ones((1, 1))), known(phi), np.array([0]),
                             np.array([0.0]), True)
    gain, error, khat = study_factorization.gains(fit, train, rest[:20], 2000)
    total, b = rest[:20].sum(axis=1), 5.0 + phi.sum()
    log_p = (stats.nbinom(5.0, 5.0 / b).logpmf(total)
             + stats.multinomial(total, (phi / phi.sum()).ravel()).logpmf(rest[:20]))
    independent = PoissonGamma(study_generation.PRIOR, train).predictive().logpmf(rest[:20]).sum(axis=1)
    assert error < 0.02 and np.max(np.abs(gain - (log_p - independent))) < 4.5 * 0.02
    assert khat.shape == (20,)


def test_factorisation_wins_on_held_out_zeros(model, zeros):
    """14 nats an image with a standard error of 1.5 over images; over ten splits 12.3 to 15.3."""
    gain, sampling, _ = study_factorization.gains(model, *zeros)
    error = gain.std(ddof=1) / np.sqrt(gain.size)
    assert gain.mean() > 5 * error and np.mean(gain > 0) > 0.8 and sampling < 0.1


def test_the_error_over_splits_covers_other_training_images():
    found = study_factorization.held_out(n_splits=2, n_components=2)
    first, second = found["gain"]
    assert found["overall"] == pytest.approx(abs(first - second) / np.sqrt(2) * np.sqrt(1 / 2 + 78 / 100))
    assert found["mean"] == pytest.approx((first + second) / 2) and found["held_out"] == 78
    gain = study_factorization.gains(study_factorization.digit_model(study_generation.split(0, seed=1)[0], 2, seed=1),
                                     *study_generation.split(0, seed=1), seed=1)[0]
    assert second == pytest.approx(gain.mean()) and found["error"][1] == pytest.approx(stats.sem(gain))


@pytest.mark.slow
def test_it_wins_in_every_split_and_by_cross_validation():
    found = study_factorization.held_out(n_splits=3)
    assert min(np.divide(found["gain"], found["error"])) > 5 and found["mean"] > 5 * found["overall"]
    chosen = study_factorization.choice(sizes=(2, 10))
    assert chosen["end"][1] > chosen["end"][0] + 3 and chosen["end"][1] > chosen["always"][1] + 3
    assert chosen["constant"][1] > 5 and chosen["elbo"][0] > chosen["elbo"][1]
    json.dumps([found, chosen], allow_nan=False)


@pytest.mark.slow
def test_one_model_without_labels_beats_ten_with():
    found = study_factorization.ten_digits()
    assert found["one"] > 20 * found["one_error"] and found["own"] > 5 * found["own_error"]
    assert np.shape(found["components"]) == (20, 64)


def test_synthetic_rows_share_the_components_and_have_their_own_activations():
    """phi all but known: the counts of 20000 rows have mean phi E[theta] and covariance phi Var(theta) phi^T + noise.

    Within 5 standard errors, those of the covariance from the products' own spread: false alarm 1 in 190000.
    """
    phi, prior = np.array([[2.0, 0.0], [1.0, 3.0]]) + 1e-9, Prior(np.array([2.0, 4.0]), np.array([0.5, 1.0]))
    rows = replace(cavi.side(Prior(1.0, 1.0), np.ones((1, 2)), np.ones((1, 2))), prior=prior)
    fit = cavi.Factorization(rows, known(phi), np.array([0]), np.array([0.0]), True)
    table = study_factorization.synthetic(fit, 20_000, np.random.default_rng(7))
    mean = phi @ (prior.shape / prior.rate)
    products = (table - mean)[:, :, None] * (table - mean)[:, None]
    exact = phi @ np.diag(prior.shape / prior.rate**2) @ phi.T + np.diag(mean)
    assert np.all(np.abs(table.mean(axis=0) - mean) < 5 * np.sqrt(np.diag(exact) / 20_000))
    assert np.all(np.abs(products.mean(axis=0) - exact) < 5 * products.std(axis=0) / np.sqrt(20_000))


def test_signed_correlation_by_hand():
    base = np.array([1.0, -1.0, 1.0, -1.0])
    other = np.array([1.0, 1.0, -1.0, -1.0])
    found = study_factorization.signed_correlation(np.column_stack([base, -base, base, other]))
    for name, value in (("absolute", 3 / 6), ("positive", 1 / 6), ("negative", 2 / 6)):     # +1, -1, -1, 0, 0, 0
        assert found[name] == pytest.approx(value, rel=1e-14)


def test_pixels_of_synthetic_zeros_vary_together_but_not_against_each_other(together):
    """The real mean correlation is among the factorised tables' and above all independent ones; its negative part not.

    Over five splits the real absolute value lies at the 3 to 96 % point of the factorised replicates, and the real
    negative part above all of both.
    """
    real, factorised, independent = (together[name] for name in ("real", "factorised", "independent"))
    low, high = np.quantile(factorised["absolute"], [0.005, 0.995])
    assert low < real["absolute"] < high and real["absolute"] > 1.3 * max(independent["absolute"])
    assert real["negative"] > max(factorised["negative"]) and real["negative"] > max(independent["negative"])
    assert np.mean(factorised["ink"]) > 1.5 * real["ink"] > 1.5 * 1.5 * np.mean(independent["ink"])
    np.testing.assert_allclose(np.diag(together["factorised"]["matrix"])[20], 1, rtol=1e-14)
    json.dumps(together, allow_nan=False)


def test_strokes_are_shares_of_the_mean_image(model, zeros):
    """At a fixed point of the columns' update the sum over components is the mean image, but for the prior's weight."""
    components = study_factorization.strokes(model)
    ink = components.sum(axis=1)
    assert components.shape == (10, 64) and np.all(np.diff(ink) <= 0)
    np.testing.assert_allclose(components.sum(axis=0), zeros[0].mean(axis=0), rtol=0.01, atol=0.05)


def test_generated_zeros(zeros):
    images = study_factorization.generate(4)
    np.testing.assert_array_equal(images["real"], zeros[1][:4])
    assert all(table.shape == (4, 64) and table.dtype.kind == "i" for table in images.values())


@pytest.mark.parametrize(("call", "message"), [
    (lambda: study_factorization.digit_model([[0.5]]), "train must be non-negative whole numbers, got 0.5"),
    (lambda: study_factorization.digit_model([[1]], 0), "n_components must be a whole number of at least 1, got 0"),
    (lambda: study_factorization.digit_model([[1]], 1, 0), "n_starts must be a whole number of at least 1, got 0"),
    (lambda: study_factorization.choice([0]), "sizes must be a whole number of at least 1, got 0"),
    (lambda: study_factorization.choice([2], 1), "n_folds must be a whole number of at least 2, got 1"),
    (lambda: study_factorization.held_out(1), "n_splits must be a whole number of at least 2, got 1"),
    (lambda: study_factorization.generate(0), "n must be a whole number of at least 1, got 0"),
    (lambda: study_factorization.correlations(0), "n_replicates must be a whole number of at least 1, got 0"),
    (lambda: study_recovery.recovery([1]), "sizes must be a whole number of at least 2, got 1"),
    (lambda: study_recovery.recovery([2], 0), "n_seeds must be a whole number of at least 1, got 0"),
    (lambda: study_recovery.calibration(1), "n_simulations must be a whole number of at least 2, got 1"),
    (lambda: study_recovery.calibration(2, 0), "n_draws must be a whole number of at least 1, got 0"),
    (lambda: study_recovery.gibbs([[[0.5]]], 1, study_recovery.SMALL, 1, np.random.default_rng(0)),
     "counts must be non-negative whole numbers, got 0.5"),
    (lambda: study_recovery.matched_cosines(np.eye(2)[:, :1], np.eye(2)),
     "components must have truth's rows and at least as many columns, got shapes (2, 1) and (2, 2)"),
    (lambda: sparse_factors(0, 1, 1, study_recovery.SPARSE, None), "n_rows must be a whole number of at least 1"),
    (lambda: sparse_factors(1, 1, 1, study_recovery.SPARSE, None), "rng must be a numpy.random.Generator, got None"),
    (lambda: sparse_factors(1, 1, 1, (Prior(1.0, 1.0, 2.0), Prior(1.0, 1.0)), np.random.default_rng(0)),
     "priors must be without a spread, got [2.0, None]"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


# -- pictures ------------------------------------------------------------------------------------------


def test_strokes_shows_each_component_with_its_share():
    components = np.outer([30.0, 10.0, 0.001], np.arange(64.0))
    axes = factorization_plots.strokes(components, per_row=2).axes
    assert [one.get_title() for one in axes] == ["75%", "25%", "< 1%", ""]
    for one, values in zip(axes, components, strict=False):
        np.testing.assert_array_equal(one.images[0].get_array().ravel(), values)
        assert one.images[0].get_clim() == (0, max(values.max(), 0.1))


def test_zeros_side_by_side_shows_every_image():
    images = {name: np.full((3, 64), k) for k, name in enumerate(("real", "factorised", "independent"))}
    axes = np.reshape(factorization_plots.zeros_side_by_side(images).axes, (3, 3))
    for k, line in enumerate(axes):
        assert all(np.all(one.images[0].get_array() == k) and one.images[0].get_clim() == (0, 16) for one in line)
    assert [line[0].get_ylabel().split()[0] for line in axes] == ["real,", "factorised", "independent"]


def test_correlations_shows_two_pixels_and_three_parts(together):
    figure = factorization_plots.correlations(together, pixels=(26, 53))
    left, right = figure.subfigs
    for axes, (pixel, name) in zip(left.axes, [(p, n) for p in (26, 53) for n in together], strict=False):
        shown = axes.images[0].get_array().ravel()
        expected = np.delete(np.array(together[name]["matrix"])[pixel], pixel)
        np.testing.assert_array_equal(np.delete(shown, pixel), expected)
    middles = sorted(bars.lines[0].get_xydata()[0].tolist() for bars in right.axes[0].containers)
    expected = sorted([place + 0.22 * (shift - 1), np.median(together[name][part])]
                      for place, part in enumerate(("absolute", "positive", "negative"))
                      for shift, name in enumerate(together))
    np.testing.assert_allclose(middles, expected, rtol=1e-14)


def test_recovery_shows_medians_and_ranges(recovered):
    left, right = factorization_plots.recovery(recovered).axes
    for line, band, name in zip(left.lines, left.collections, ("best", "worst", "double"), strict=True):
        values = np.array(recovered[name])
        np.testing.assert_array_equal(line.get_ydata(), np.median(values, axis=1))
        heights = {height for _, height in band.get_paths()[0].vertices}
        assert heights == {*values.min(axis=1), *values.max(axis=1)}
    level, used = right.lines
    assert set(level.get_ydata()) == {4}
    np.testing.assert_array_equal(used.get_ydata(), np.median(recovered["used"], axis=1))


def test_calibration_shows_shares_and_ranks(calibrated):
    left, right = factorization_plots.calibration(calibrated).axes
    points = [bars for bars in left.containers]
    for bars, name in zip(points, ("mean field", "gibbs"), strict=True):
        line, _, (segments,) = bars.lines
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([calibrated["level"], calibrated[name]["share"]]))
        halves = [np.ptp(segment[:, 1]) / 2 for segment in segments.get_segments()]
        np.testing.assert_allclose(halves, 1.96 * np.array(calibrated[name]["error"]), rtol=1e-12)
    heights = [patch.get_height() for patch in right.patches]
    assert heights == calibrated["mean field"]["rank"] + calibrated["gibbs"]["rank"]

"""The marginal likelihood against SciPy and complex steps, its ELBO against quadrature, its fits against CAVI."""

from functools import cache

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import gammaln

from vi_ref import Gamma
from vi_ref.gradients import sticking_the_landing
from vi_ref.poisson_factorization import cavi, draws
from vi_ref.poisson_factorization.cavi import Prior
from vi_ref.poisson_factorization.marginal import MarginalFactorization, elbo_estimate, fit_gradient

X = np.array([[3, 0, 1], [0, 0, 0], [7, 2, 0], [0, 1, 30]])
COUNTS = csr_array(X.astype(float))
PER_COMPONENT = Prior(np.array([0.6, 2.5]), np.array([0.9, 4.0]))
OWN = Prior(0.7, 2.0, spread=1.5)
PRIORS = pytest.mark.parametrize("priors", [(PER_COMPONENT, Prior(0.3, 0.3)), (OWN, PER_COMPONENT), (OWN, OWN),
                                            (PER_COMPONENT, OWN)])


def at(priors, n_samples=5):
    """A model of the table and points, (S, n_unknowns), taken apart as the docstring says they are laid out."""
    model = MarginalFactorization(COUNTS, priors, 2)
    return model, np.random.default_rng(60).normal(0, 1.2, (n_samples, model.n_unknowns))


def apart(point, priors):
    theta, phi, own = point[:8].reshape(4, 2), point[8:14].reshape(3, 2), point[14:]
    n_rows = 0 if priors[0].spread is None else 4
    return [(theta, own[:n_rows] if n_rows else None), (phi, own[n_rows:] if priors[1].spread else None)]


def dense(point, priors):
    """The terms of the log joint that depend on the unknowns, plainly: good for complex numbers, signs kept apart."""
    sides = apart(point, priors)
    rate = np.exp(sides[0][0]) @ np.exp(sides[1][0]).T
    terms = [X * np.log(rate), -rate]
    for prior, (logs, own) in zip(priors, sides, strict=True):
        log_b = np.log(prior.rate) if own is None else own[:, None]
        terms += [prior.shape * logs, prior.shape * (0 * logs + log_b), -np.exp(logs + log_b)]
        if own is not None:
            terms += [prior.spread * own, -prior.spread / prior.rate * np.exp(own)]
    return terms


def size(point, priors):
    """The sizes of the numbers that add up to the log joint; what exp or log is taken of passes its rounding on."""
    constants = gammaln(X + 1).sum() + sum(np.abs(gammaln(p.shape)).sum() * n + 3 * n
                                           for p, n in zip(priors, X.shape, strict=True))
    return constants + X.sum() + sum(np.abs(term).sum() for term in dense(point, priors)) * (2 + np.abs(point).max())


# Each term is good to a few EPS of the sizes, SciPy's to some more; up to 40 are added.
@PRIORS
def test_log_joint_is_likelihood_times_priors_times_jacobian(priors):
    model, points = at(priors)
    for point, value in zip(points, model.log_joint(points), strict=True):
        sides = apart(point, priors)
        truth = stats.poisson.logpmf(X, np.exp(sides[0][0]) @ np.exp(sides[1][0]).T).sum() + point.sum()
        for prior, (logs, own) in zip(priors, sides, strict=True):
            rate = prior.rate if own is None else np.exp(own)[:, None]
            truth += stats.gamma.logpdf(np.exp(logs), prior.shape, scale=1 / rate).sum()
            if own is not None:
                truth += stats.gamma.logpdf(np.exp(own), prior.spread, scale=prior.rate / prior.spread).sum()
        assert abs(value - truth) <= 8 * EPS * size(point, priors)


# A complex step has no cancellation: f(x + ih).imag / h is off by h^2 = 1e-40 and by roundings of the terms.
@PRIORS
def test_gradient_is_the_complex_step_of_the_plain_sum(priors):
    model, points = at(priors)
    slopes, h = model.grad_log_joint(points), 1e-20
    assert slopes.shape == points.shape
    for point, slope in zip(points, slopes, strict=True):
        for d in range(point.size):
            moved = point + 1j * h * (np.arange(point.size) == d)
            truth = sum(term.sum() for term in dense(moved, priors)).imag / h
            assert abs(slope[d] - truth) <= 8 * EPS * size(point, priors)


# Products of e^-800 vanish, their logarithms do not: the table's sums are taken in logarithms alone. Errors are a few
# roundings of numbers up to 900, times counts up to 30.
def test_sums_and_shares_where_every_product_underflows():
    log_theta = np.array([[0.0, -800.0], [0.0, -900.0], [-1.0, 0.5], [0.0, -700.0]])
    log_phi = np.array([[-801.0, 0.0], [-700.2, 0.3], [-699.5, 0.0]])
    logs = log_theta[:, None] + log_phi
    log_rate = np.logaddexp(logs[..., 0], logs[..., 1])
    share = X[..., None] * np.exp(logs - log_rate[..., None])
    assert np.exp(logs[0, 0] - log_theta[0].max() - log_phi[0].max()).sum() == 0
    np.testing.assert_allclose(draws.log_sums(draws.checked(COUNTS), log_theta, log_phi), (X * log_rate).sum(axis=1),
                               rtol=8 * EPS, atol=0)
    of_rows, of_columns = np.full((4, 2), np.nan), np.full((3, 2), np.nan)
    draws.shares(draws.checked(COUNTS), log_theta, log_phi, of_rows, of_columns)
    np.testing.assert_allclose(of_rows, share.sum(axis=1), rtol=2 * 900 * EPS, atol=1e-280)
    np.testing.assert_allclose(of_columns, share.sum(axis=0), rtol=2 * 900 * EPS, atol=1e-280)


def test_rows_longer_than_a_block():
    rng = np.random.default_rng(61)
    x, log_theta, log_phi = rng.poisson(3.0, (2, 300)), rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (300, 3))
    rate = np.exp(log_theta) @ np.exp(log_phi).T
    counts, of_rows, of_columns = draws.checked(csr_array(x)), np.empty((2, 3)), np.empty((300, 3))
    draws.shares(counts, log_theta, log_phi, of_rows, of_columns)
    # sums of up to 300 positive numbers, each with up to ten roundings; the logarithms' sum is of both signs
    np.testing.assert_allclose(of_rows, np.exp(log_theta) * (x / rate @ np.exp(log_phi)), rtol=310 * EPS)
    np.testing.assert_allclose(of_columns, np.exp(log_phi) * ((x / rate).T @ np.exp(log_theta)), rtol=20 * EPS)
    allowed = 310 * EPS * (x * (1 + np.abs(np.log(rate)))).sum(axis=1)
    assert np.all(np.abs(draws.log_sums(counts, log_theta, log_phi) - (x * np.log(rate)).sum(axis=1)) <= allowed)


def test_same_bits_on_two_threads_and_a_table_with_doubled_places():
    model, points = at((OWN, PER_COMPONENT))
    threaded = MarginalFactorization(COUNTS, model.priors, 2, n_threads=2)
    np.testing.assert_array_equal(threaded.log_joint(points), model.log_joint(points))
    np.testing.assert_array_equal(threaded.grad_log_joint(points), model.grad_log_joint(points))
    half = csr_array((np.array([2, 1, 1]), np.array([0, 0, 2]), np.array([0, 3])), shape=(1, 3))
    doubled, plain = (MarginalFactorization(x, (PER_COMPONENT, PER_COMPONENT), 2) for x in (half, COUNTS[[0]]))
    np.testing.assert_array_equal(doubled.log_joint(points[:, :8]), plain.log_joint(points[:, :8]))


def sides(counts, priors, K, seed=62, n_sweeps=0):
    begin = cavi.start(counts, K, priors, np.random.default_rng(seed))
    return cavi.factorize(counts, begin, n_sweeps=n_sweeps)


@PRIORS
def test_unpack_undoes_pack(priors):
    model, q = MarginalFactorization(COUNTS, priors, 2), sides(COUNTS, priors, 2, n_sweeps=3)
    packed = model.pack(q.rows, q.columns)
    for before, after in zip((q.rows, q.columns), model.unpack(packed), strict=True):
        for name in ("shape", "rate", "scaled", "largest"):
            np.testing.assert_array_equal(getattr(after.table, name), getattr(before.table, name))
        assert after.prior is not None and (after.row_rate is None) == (before.row_rate is None)
        if before.row_rate is not None:
            np.testing.assert_array_equal([after.row_rate.shape, after.row_rate.rate],
                                          [before.row_rate.shape, before.row_rate.rate])
    assert cavi.elbo(COUNTS, *model.unpack(packed)) == q.elbo[-1]


# -- one component: the bound is the marginal ELBO, and both routes end at one q ------------------------------


# 4 standard errors leave two z-tests a false-failure rate of 1.3e-4; an error of 8 of them, 0.3 nats, is sure to show.
@pytest.mark.parametrize("prior", [Prior(1.5, 0.5), OWN])
def test_bound_is_the_elbo_of_one_component(prior):
    priors = (prior, Prior(0.8, 0.4))
    model, q = MarginalFactorization(COUNTS, priors, 1), sides(COUNTS, priors, 1, n_sweeps=2)
    value, standard_error = elbo_estimate(model, model.pack(q.rows, q.columns), 20_000, np.random.default_rng(63))
    assert abs(value - q.elbo[-1]) <= 4 * standard_error
    assert standard_error < 0.04


# Of 40 independent means the standard error is known to 11%, so 6 of them leave up to 36 numbers a false-failure rate
# of 2e-5 (Student's t, 39 degrees). A drift of the optimum shows if it moves a gradient by 12 standard errors.
@pytest.mark.parametrize("prior", [Prior(1.5, 0.5), OWN])
def test_mean_gradient_vanishes_where_coordinate_ascent_of_one_component_ends(prior):
    priors = (prior, Prior(0.8, 0.4))
    model, q = MarginalFactorization(COUNTS, priors, 1), sides(COUNTS, priors, 1, n_sweeps=500)
    best, rng = model.pack(q.rows, q.columns), np.random.default_rng(64)
    means = np.array([sticking_the_landing.estimate(model, best, 500, rng)[1:] for _ in range(40)])
    assert np.all(np.abs(means.mean(axis=0)) <= 6 * means.std(axis=0, ddof=1) / np.sqrt(40))


# The ELBO is exact for one component, so the fit's loss is too. The posterior is no product: the gradient's noise stays
# and the fit ends near the optimum. Of 30 seeds for each prior the worst ended 0.022 and 0.036 nats below it, from
# starts 41 and 46 below; allowed is twice that.
@pytest.mark.parametrize("prior", [Prior(1.5, 0.5), OWN])
def test_gradient_of_one_component_ends_where_coordinate_ascent_does(prior):
    priors = (prior, Prior(0.8, 0.4))
    best, begin = sides(COUNTS, priors, 1, n_sweeps=500), sides(COUNTS, priors, 1)
    found = fit_gradient(COUNTS, (begin.rows, begin.columns), n_steps=400, rng=np.random.default_rng(65))
    loss = best.elbo[-1] - cavi.elbo(COUNTS, found.rows, found.columns)
    assert begin.elbo[-1] < best.elbo[-1] - 1
    assert -1e-10 <= loss <= 0.072


# -- several components: the marginal ELBO is above the bound ------------------------------------------------


def mean_log_rate(q_theta, q_phi):
    """E log sum_k theta_k phi_k by Frullani's integral of (e^-t - E e^(-t sum)) / t, each factor by a sum over phi.

    With theta out in closed form E e^(-t theta phi) = E (1 + t phi / beta)^-alpha. The trapezoid rule in log phi leaves
    |Gamma(c + 2 pi i / h) / Gamma(c)| of a density of shape c: at h = 0.1 below e^-43 for shapes up to 33, and that in
    log t as much as at c = 1. Cut off at the left are e^(-60 * 0.8) of phi; of t, e^-40 times the sum's mean at the
    left, and at the right E e^(-t sum), below e^(-60 * 0.8).
    """
    h = 0.1
    log_t, log_phi = np.arange(-40, 60 + h, h), np.arange(-60, 8 + h, h)
    survival = np.ones_like(log_t)
    for k in range(q_theta.shape.size):
        theta, phi = (Gamma(q.shape[k], q.rate[k]) for q in (q_theta, q_phi))
        inner = np.exp(-theta.shape * np.log1p(np.exp(np.add.outer(log_t, log_phi)) / theta.rate))
        survival *= inner @ np.exp(phi.log_density(log_phi)) * h
    return np.sum(np.exp(-np.exp(log_t)) - survival) * h


def marginal_elbo(x, rows, columns):
    """The exact ELBO of the marginal likelihood: the bound with its log sums exchanged for the mean log rates."""
    value = cavi.elbo(csr_array(x.astype(float)), rows, columns)
    for i, d in np.argwhere(x):
        theta, phi = (Gamma(side.q.shape[n], side.q.rate[n]) for side, n in ((rows, i), (columns, d)))
        value += x[i, d] * (mean_log_rate(theta, phi) - np.log(np.exp(theta.mean_log + phi.mean_log).sum()))
    return value


def test_mean_log_rate_of_one_product_is_the_sum_of_mean_logarithms():
    theta, phi = Gamma([1.3], [0.4]), Gamma([5.0], [2.0])
    # a node of up to 60 is rounded, which moves the log density of shape 5 by up to 5 * 60 EPS; over 40 of log t
    assert abs(mean_log_rate(theta, phi) - (theta.mean_log + phi.mean_log)[0]) <= 40 * 5 * 60 * EPS


# Four standard errors and a false-failure rate of 6e-5; quadrature leaves 1e-10 at most. A bias of 8 standard errors,
# 0.07 nats, is sure to show.
def test_elbo_estimate_against_quadrature_above_the_bound():
    priors = (Prior(1.2, 0.6), Prior(0.8, 0.5))
    model, q = MarginalFactorization(COUNTS, priors, 2), sides(COUNTS, priors, 2, n_sweeps=50)
    truth = marginal_elbo(X, q.rows, q.columns)
    value, standard_error = elbo_estimate(model, model.pack(q.rows, q.columns), 20_000, np.random.default_rng(66))
    assert abs(value - truth) <= 4 * standard_error + 1e-10
    assert truth - q.elbo[-1] > 20 * standard_error


def test_every_draw_of_the_log_rates_is_above_the_tangent_at_the_mean_logarithms():
    """A log sum of exponentials is convex: so the marginal ELBO is above the bound, whatever q."""
    q, counts = sides(COUNTS, (OWN, PER_COMPONENT), 2, n_sweeps=2), draws.checked(COUNTS)
    rng = np.random.default_rng(67)
    centre, slopes = [side.q.mean_log for side in (q.rows, q.columns)], (np.empty((4, 2)), np.empty((3, 2)))
    draws.shares(counts, *centre, *slopes)
    at_centre = draws.log_sums(counts, *centre).sum()
    for _ in range(200):
        logs = [side.q.sample_log(1, rng)[0] for side in (q.rows, q.columns)]
        rise = [slope * (log - mid) for slope, log, mid in zip(slopes, logs, centre, strict=True)]
        gain = draws.log_sums(counts, *logs).sum() - at_centre - sum(part.sum() for part in rise)
        assert gain >= -50 * EPS * (abs(at_centre) + X.sum() + sum(np.abs(part).sum() for part in rise))


@cache
def one_cell():
    """A single count of two causes, its priors, and the log of its probability.

    The mean of e^(-s sum_k theta_k phi_k) is a product of Tricomi's functions, whose Taylor coefficient x at s = 1 is
    (-1)^x p(x).
    """
    x, (a, b), (c, d) = 4, (1.5, 1.0), (2.0, 1.0)

    def laplace(s):
        return ((b * d / s) ** c * mp.hyperu(c, c - a + 1, b * d / s)) ** 2

    with mp.workdps(40):
        log_p = float(mp.log((-1) ** x * mp.taylor(laplace, 1, x)[x]))
    return np.array([[x]]), (Prior(a, b), Prior(c, d)), log_p


# All four are exact to 1e-10: the bound, the marginal ELBO at its optimum, at the fit's end, and the evidence. They are
# 0.54, 0.08 (0.081 to 0.085 of five seeds) and 0.41 nats apart.
def test_bound_elbo_fit_and_evidence_come_in_that_order():
    x, priors, log_p = one_cell()
    counts = csr_array(x.astype(float))
    q = sides(counts, priors, 2, n_sweeps=2000)
    found = fit_gradient(counts, (q.rows, q.columns), n_steps=500, rng=np.random.default_rng(68))
    values = [q.elbo[-1], marginal_elbo(x, q.rows, q.columns), marginal_elbo(x, found.rows, found.columns), log_p]
    assert np.all(np.diff(values) > 0.07)


@pytest.mark.parametrize("seed", [69, 70])
def test_gradient_rises_above_the_end_of_coordinate_ascent(seed):
    rng, priors = np.random.default_rng(seed), (Prior(1.0, 1.0), Prior(1.0, 1.0))
    counts = csr_array(rng.poisson(2 * rng.gamma(1, 1, (30, 3)) @ rng.gamma(1, 1, (3, 12))).astype(float))
    q, model = sides(counts, priors, 3, seed, n_sweeps=500), MarginalFactorization(counts, priors, 3)
    found = fit_gradient(counts, (q.rows, q.columns), n_steps=300, n_samples=4, rng=rng)
    before, after = (elbo_estimate(model, model.pack(*ends), 2000, rng)
                     for ends in ((q.rows, q.columns), (found.rows, found.columns)))
    noise = np.hypot(before.standard_error, after.standard_error)
    assert before.value - q.elbo[-1] > 10 and after.value - before.value > 10 and noise < 0.3
    assert found.elbo.shape == (300,)
    # the last 20 estimates, of four draws each, are those of nearly the last q: sd 5/sqrt(80), at 4 standard errors 2.3
    assert abs(found.elbo[-20:].mean() - after.value) < 2.3


@pytest.mark.parametrize(("arguments", "message"), [
    ((X, (OWN, OWN), 2), r"^counts must be a scipy.sparse.csr_array of at least one row and column, got array"),
    ((csr_array((0, 3)), (OWN, OWN), 2), r"^counts must be a scipy.sparse.csr_array of at least one row and column"),
    ((csr_array(X - 1), (OWN, OWN), 2), r"^counts must be non-negative and finite, got -1.0 at index "),
    ((csr_array(X / np.inf + np.inf), (OWN, OWN), 2), r"^counts must be non-negative and finite, got inf at index 0"),
    ((COUNTS, (OWN, OWN), 0), r"^n_components must be a whole number of at least 1, got 0"),
    ((COUNTS, (OWN, OWN), 2, 0), r"^n_threads must be a whole number of at least 1, got 0"),
    ((COUNTS, ((1.0, 1.0), OWN), 2), r"^the rows' prior must be a Prior, got \(1.0, 1.0\)"),
    ((COUNTS, (OWN, Prior(-1.0, 1.0)), 2), r"^the columns' prior's shape must be positive and finite, got -1.0"),
    ((COUNTS, (OWN, PER_COMPONENT), 3), r"^the columns' prior's shape must be a number or 3 of them, got shape \(2,\)"),
    ((COUNTS, (OWN._replace(spread=0.0), OWN), 2), r"^the rows' prior's spread must be in \(0, inf\), got 0.0"),
    ((COUNTS, (OWN._replace(rate=np.ones(2)), OWN), 2), r"^the rows' prior's rate must be one number with a spread"),
])
def test_bad_models(arguments, message):
    with pytest.raises(ValueError, match=message):
        MarginalFactorization(*arguments)


def test_bad_calls():
    model, q = MarginalFactorization(COUNTS, (OWN, OWN), 2), sides(COUNTS, (OWN, OWN), 3)
    with pytest.raises(ValueError, match=r"^log_theta must have the model's 21 columns, got shape \(5, 20\)"):
        model.log_joint(np.zeros((5, 20)))
    with pytest.raises(ValueError, match=r"^log_theta must have the model's 21 columns, got shape \(5, 22\)"):
        model.grad_log_joint(np.zeros((5, 22)))
    with pytest.raises(ValueError, match=r"^rows and columns must be sides of shapes \(4, 2\) and \(3, 2\), got "):
        model.pack(q.rows, q.columns)
    q = sides(COUNTS, (OWN, OWN), 2)
    with pytest.raises(ValueError, match=r"^rows and columns must be sides of shapes .*, got \(3, 2\) and \(4, 2\)"):
        model.pack(q.columns, q.rows)
    with pytest.raises(ValueError, match=r"^q must be a vi_ref.Gamma of the model's 21 unknowns, got Gamma"):
        model.unpack(Gamma(np.ones(20), 1.0))
    with pytest.raises(ValueError, match=r"^n_samples must be a whole number of at least 2, got 1"):
        elbo_estimate(model, Gamma(np.ones(21), 1.0), 1, np.random.default_rng(0))

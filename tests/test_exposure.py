"""Counts with unknown exposures against mpmath, brute-force quadrature, and fits against the mean-field optimum."""

from functools import cache

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS, exactly
from scipy.special import gammaln

from vi_ref import Gamma, _quadrature, fit
from vi_ref.exposure import PoissonExposure
from vi_ref.gradients import reparameterized, sticking_the_landing

# the five rolls of cloth of the book
ROLLS = PoissonExposure(Gamma(2.0, 1.0), Gamma(4.0, [2.0, 4 / 3, 4.0, 0.8, 2.0]), [4, 7, 1, 12, 6])
ONE = PoissonExposure(Gamma(1.5, 0.7), Gamma([3.0], [1.2]), [5])
TWO = PoissonExposure(Gamma(3.0, 1.4), Gamma([2.5, 4.0], [0.5, 2.0]), [3, 0])
LOG_THETA = np.random.default_rng(30).normal(0, 1.5, (5, 6))


@cache
def best():
    """The mean-field optimum of the rolls."""
    return ROLLS.coordinate_ascent()


def sizes(model, log_theta):
    """The sizes of the numbers that add up to the log joint."""
    (a, b), x = (model.prior.shape, model.prior.rate), model.counts
    log_expected = log_theta[:, :1] + log_theta[:, 1:]
    prior = np.abs(a * log_theta) + b * np.exp(log_theta) + np.abs(a * np.log(b)) + np.abs(gammaln(a))
    # a rounding of the sum log_expected is one of its parts
    likelihood = x * (np.abs(log_theta[:, :1]) + np.abs(log_theta[:, 1:])) + gammaln(x + 1)
    return prior.sum(axis=1) + (likelihood + np.exp(log_expected) * (1 + np.abs(log_expected))).sum(axis=1)


def log_gamma(x, a, b):
    """Log density of Gamma(a, b) at e^x with respect to x: that at e^x, times the Jacobian e^x."""
    theta = mp.exp(x)
    return mp.log(b**a * theta ** (a - 1) * mp.exp(-b * theta) / mp.gamma(a) * theta)


# The parts are good to a few EPS each; up to 18 additions round partial sums below the total size.
def test_log_joint_is_likelihood_times_priors_times_jacobian():
    with mp.workdps(40):
        truth = []
        for row in LOG_THETA:
            x = [exactly(v) for v in row]
            parts = [log_gamma(*map(exactly, v)) for v in zip(row, ROLLS.prior.shape, ROLLS.prior.rate, strict=True)]
            for e, k in zip(x[1:], ROLLS.counts, strict=True):
                mean = mp.exp(x[0]) * mp.exp(e)
                parts.append(mp.log(mean ** int(k) * mp.exp(-mean) / mp.factorial(int(k))))
            truth.append(float(mp.fsum(parts)))
    assert np.all(np.abs(ROLLS.log_joint(LOG_THETA) - truth) <= 6 * EPS * sizes(ROLLS, LOG_THETA))


# A complex step has no cancellation: f(x + ih).imag / h is off by h^2 = 1e-40 and by the roundings of either side, at
# most 8 EPS of the sizes of the terms (n + 2 of them, and theta e inherits the rounding of log theta + log e).
def test_grad_log_joint_and_what_each_column_of_terms_holds():
    h, slope = 1e-20, ROLLS.grad_log_joint(LOG_THETA)
    log_expected = LOG_THETA[:, :1] + LOG_THETA[:, 1:]
    allowed = 8 * EPS * (ROLLS.shapes.sum() + (ROLLS.prior.rate * np.exp(LOG_THETA)).sum(axis=1)
                         + (np.exp(log_expected) * (1 + np.abs(log_expected))).sum(axis=1))
    assert slope.shape == (5, 6)
    for d in range(6):
        moved = LOG_THETA + 1j * h * (np.arange(6) == d)
        assert np.all(np.abs(ROLLS.log_joint(moved).imag / h - slope[:, d]) <= allowed)
        terms = ROLLS.log_joint_terms(moved).imag / h
        assert np.all(np.abs(terms[:, d] - slope[:, d]) <= allowed)
        if d:                                            # e_d is not in the terms of the other exposures
            assert not terms[:, np.delete(np.arange(1, 6), d - 1)].any()


def test_terms_hold_each_prior_once_and_each_likelihood_twice():
    prior = ROLLS.prior.log_density(LOG_THETA)
    terms, allowed = ROLLS.log_joint_terms(LOG_THETA), 12 * EPS * sizes(ROLLS, LOG_THETA)
    likelihood = terms[:, 1:].sum(axis=1) - prior[:, 1:].sum(axis=1)
    assert np.all(np.abs(terms[:, 0] - prior[:, 0] - likelihood) <= allowed)
    assert np.all(np.abs(prior.sum(axis=1) + likelihood - ROLLS.log_joint(LOG_THETA)) <= allowed)


def test_finite_where_theta_underflows():
    deep = np.full((1, 6), -2000.0)
    assert np.isfinite(ROLLS.log_joint(deep)).all() and np.isfinite(ROLLS.log_joint_theta(-2000.0))
    np.testing.assert_array_equal(ROLLS.grad_log_joint(deep)[0], ROLLS.shapes)


def lattice(low, high, h, dimensions):
    """All points of a cubic lattice, (N, dimensions)."""
    axes = np.meshgrid(*[np.arange(low, high, h)] * dimensions, indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1)


# With log theta on a lattice of step h the trapezoid rule leaves about e^(-pi^2 / h) of the size of the integrand, as
# gamma densities of log theta are analytic within pi/2 of the real axis: 1e-42 at h = 0.1, 1e-28 at 0.15. The left
# ends cut off e^(-18 * 3) and less of q, and the right ends less still. The sums of positive numbers lose nothing;
# the log joint's sizes are the rounding.
@pytest.mark.parametrize("q", [Gamma([4.0, 6.0], [2.0, 3.0]), Gamma([3.0, 12.0], [5.0, 1.5])])
def test_elbo_is_the_integral(q):
    u, h = lattice(-18, 5, 0.1, 2), 0.1
    log_q = q.log_density(u).sum(axis=1)
    weight = np.exp(log_q) * h**2
    truth = weight @ (ONE.log_joint(u) - log_q)
    size = weight @ (sizes(ONE, u) + np.abs(log_q))
    assert abs(ONE.elbo(q) - truth) <= 20 * EPS * size + 1e-12 * q.kl(ONE.prior).sum()


def test_evidence_and_posterior_against_the_integral_over_all_unknowns():
    u, h = lattice(-20, 5, 0.2, 3), 0.2                  # left ends: p falls by e^(-2.5 * 19), strip: e^(-pi^2 / h)
    density = np.exp(TWO.log_joint(u)) * h**3
    total, theta = density.sum(), np.exp(u[:, 0])
    mean = density @ theta / total
    variance = density @ (theta - mean) ** 2 / total
    # 1e-18 of left ends and strips, a few roundings of a log joint below 100 where there is mass: 1e-13
    np.testing.assert_allclose(TWO.log_evidence, np.log(total), atol=1e-13, rtol=0)
    np.testing.assert_allclose(TWO.posterior_moments(), [mean, variance], rtol=1e-12)
    nodes = np.unique(u[:, 0])
    marginal = density.reshape(nodes.size, -1).sum(axis=1) / (total * h)
    seen = slice(60, None)                               # from log theta = -8
    np.testing.assert_allclose(TWO.posterior_theta(np.exp(nodes[seen])) * np.exp(nodes[seen]), marginal[seen],
                               rtol=1e-12, atol=1e-280)


# mpmath's tanh-sinh rule on the exact integrand, exposures integrated out one at a time by a formula that
# SciPy's log Gamma and logaddexp do not enter. The errors allowed are 4 EPS of the log joint's largest terms.
@pytest.mark.parametrize(("a", "b", "c", "d", "x", "size"), [
    (2.0, 1.0, [4.0] * 5, [2.0, 4 / 3, 4.0, 0.8, 2.0], [4, 7, 1, 12, 6], 100),
    (0.05, 0.01, [0.5, 3.0], [0.1, 3.0], [0, 0], 100),   # a long left tail: e^(0.05 log theta)
    (0.5, 1e-3, [0.3], [2.0], [40], 400),                # a long right tail
    (50.0, 2.0, [400.0, 900.0], [20.0, 30.0], [510, 760], 2e4),
])
def test_evidence_and_moments_to_rounding(a, b, c, d, x, size):
    model = PoissonExposure(Gamma(a, b), Gamma(c, d), x)
    with mp.workdps(25):
        (a, b), c, d = map(exactly, (a, b)), [exactly(v) for v in c], [exactly(v) for v in d]
        constant = (a * mp.log(b) - mp.loggamma(a)
                    + mp.fsum(mp.loggamma(p + k) - mp.loggamma(p) - mp.loggamma(k + 1) + p * mp.log(r)
                              for p, r, k in zip(c, d, x, strict=True)))
        middle, wide = mp.mpf(float(np.log(model.posterior_moments()[0]))), 20 if x[0] < 100 else 1

        def joint(u, power):
            theta = mp.exp(u)
            log_p = constant + (a + sum(x) + power) * u - b * theta
            return mp.exp(log_p - mp.fsum((p + k) * mp.log(r + theta) for p, r, k in zip(c, d, x, strict=True)))

        ends = [middle + wide * k / 8 for k in (*([-480, -240, -120, -60] if a < 1 else []), *range(-30, 13, 2))]
        total, first, second = (mp.quad(lambda u: joint(u, power), ends) for power in range(3))  # noqa: B023
        mean = first / total
        assert abs(model.log_evidence - mp.log(total)) <= 4 * EPS * size
        for value, truth in zip(model.posterior_moments(), (mean, second / total - mean**2), strict=True):
            assert abs(value / truth - 1) <= 4 * EPS * size


def test_posterior_theta_integrates_to_one():
    u, h = np.linspace(-12, 6, 1801, retstep=True)
    assert abs(np.sum(ROLLS.posterior_theta(np.exp(u)) * np.exp(u)) * h - 1) <= 100 * EPS     # log joint below 50


# A gamma's log density in log theta, of shape 3 and rate 1; the quadrature knows only that it has one mode. Started e^8
# too high or low, the ends must still lie 60 below the top: the weights there are then below e^-60.
@pytest.mark.parametrize("start", [-8.0, 8.0, 30.0])
def test_quadrature_from_a_start_far_from_the_mode(start):
    grid = _quadrature.integrate(Gamma(3.0, 1.0).log_density, start)
    mean, variance = grid.mean_variance(np.exp(grid.u))
    np.testing.assert_allclose([grid.log_integral + 1, mean, variance], [1, 3, 3], rtol=100 * EPS)
    assert max(grid.weight[0], grid.weight[-1]) < np.exp(-60)


# At the right end theta^2 p, too, is e^-60 of its top. Of a beta prime density, whose p falls like theta^-2.5 in
# log theta and theta^2 p like theta^-0.5, a cut by p alone would leave e^-12 or so to the mean square.
def test_quadrature_reaches_as_far_as_the_mean_square_does():
    grid = _quadrature.integrate(lambda u: 2 * u - 4.5 * np.logaddexp(0, u), 0.0)
    assert 2 * grid.u[-1] + np.log(grid.weight[-1]) < -58


def test_quadrature_says_when_it_has_too_few_nodes():
    # a peak of width 1e-4 between ends that are found in steps of 0.01; the cap on nodes is made smaller
    model = PoissonExposure(Gamma(1e8, 1.0), Gamma([1.0], [1.0]), [0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_quadrature, "MOST_NODES", 128)
        with pytest.raises(ArithmeticError, match=r"^no two of the grids up to 128 steps on \[.*\] agree$"):
            model.log_evidence  # noqa: B018


# Each ELBO near the optimum carries at most 20 roundings of its terms, below 300 in all, and 1e-12 of its divergences.
ELBO_ERROR = 20 * EPS * 300 + 1e-12 * 50


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_coordinate_ascent_climbs_and_stops_at_one_point(scale):
    q = Gamma(ROLLS.prior.shape, ROLLS.prior.rate * scale)
    trace = []
    for _ in range(120):
        q = ROLLS.update(q)
        trace.append(ROLLS.elbo(q))
    assert np.min(np.diff(trace)) >= -2 * ELBO_ERROR
    # rho at the optimum, the factor of a round: 1 - rho is the share of the rate of theta that does not move with it
    rho = 1 - (1 + np.sum(best().shape[1:] * ROLLS.prior.rate[1:] / best().rate[1:] ** 2)) / best().rate[0]
    np.testing.assert_allclose(q.rate, best().rate, rtol=2 * 10 * EPS / (1 - rho))
    assert rho < 0.6 and np.all(q.shape == [32, 8, 11, 5, 16, 10])


def test_coordinate_ascent_changes_no_bit_of_its_result_and_says_when_it_cannot():
    again = ROLLS.update(best())
    np.testing.assert_array_equal([again.shape, again.rate], [best().shape, best().rate])
    vague = PoissonExposure(Gamma(1e-6, 1e-6), Gamma([1e-6], [1e-6]), [5])
    with pytest.raises(ArithmeticError, match=r"^coordinate ascent has not converged in 50 rounds, E\[theta\] is "):
        vague.coordinate_ascent(max_rounds=50)


# The five-point rule with step h leaves h^4 f''''' / 30, with derivatives of the order of the shapes, 32: 1e-12; and
# 1.5 ELBO errors over h. The gradient a tenth away from the optimum is of order 1.
def test_elbo_is_stationary_at_the_optimum_and_lower_around_it():
    h, u = 1e-3, np.log([best().shape, best().rate])
    for i in np.ndindex(u.shape):
        e = np.zeros_like(u)
        e[i] = h
        f = [ROLLS.elbo(Gamma(*np.exp(u + k * e))) for k in (-2, -1, 1, 2)]
        assert abs(f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h) <= 1e-11 + 1.5 * ELBO_ERROR / h
        assert max(f[0], f[3]) < ROLLS.elbo(best())


def test_no_product_reaches_the_evidence():
    rng = np.random.default_rng(31)
    for _ in range(100):
        q = Gamma(best().shape * np.exp(rng.normal(0, 0.5, 6)), best().rate * np.exp(rng.normal(0, 0.5, 6)))
        assert ROLLS.elbo(q) <= ROLLS.elbo(best()) < ROLLS.log_evidence


def test_distance_from_the_optimum_to_the_posterior():
    mean, variance = ROLLS.posterior_moments()
    assert round(best().variance[0] / variance, 4) == 0.3781           # as in the book: 0.38
    assert round(best().mean[0] / mean, 4) == 0.9644
    assert round(ROLLS.log_evidence - ROLLS.elbo(best()), 6) == 0.428494


STARTS = [ROLLS.prior, Gamma(np.full(6, 0.5), np.full(6, 5.0)), Gamma(np.full(6, 100.0), np.full(6, 5.0))]
FITS = pytest.mark.parametrize(("gradient", "nats", "log_shape"),
                               [("sticking_the_landing", 2.8e-3, 0.041), ("reparameterized", 6.6e-3, 0.13)])


# The posterior is no product, so neither gradient's noise vanishes at the optimum and a fit stops near it: over 18
# fits, six from each start and each with a seed of its own (3200 to 3217, the same for both gradients), within 1.36e-3
# (path derivative) and 3.30e-3 nats (with the score), the log shapes' root mean square distance from the optimum's up
# to 0.0081 and 0.0251. The tolerances are twice the worst gap, and five times that distance, rounded up: of 501 more
# fits of each (seeds from 60000) they leave out two and none, both by the gap. Starts are 9, 305 and 2006 nats below.
@FITS
@pytest.mark.parametrize("start", range(3))
def test_fit_lands_on_the_mean_field_optimum(start, gradient, nats, log_shape):
    rng = np.random.default_rng([32, start])
    q = fit(ROLLS, STARTS[start], gradient=gradient, n_samples=64, n_steps=500, rng=rng).q
    assert 0 <= ROLLS.elbo(best()) - ROLLS.elbo(q) <= nats
    assert np.max(np.abs(np.log(q.shape / best().shape))) <= log_shape
    assert ROLLS.elbo(STARTS[start]) < ROLLS.elbo(best()) - 8


@pytest.mark.slow
@FITS
def test_fit_lands_closer_with_more_samples(gradient, nats, log_shape):
    """Sixteen times the samples, at most a quarter of the gap.

    Adam divides by the noise's sd sigma: a step is a rate lr times (H u + sigma xi) / sigma, whose stationary
    variance, lr sigma / 2H, falls as the sd does and not as its square.
    """
    q = fit(ROLLS, ROLLS.prior, gradient=gradient, n_samples=1024, n_steps=500, rng=np.random.default_rng(33)).q
    assert 0 <= ROLLS.elbo(best()) - ROLLS.elbo(q) <= nats / 4
    assert np.max(np.abs(np.log(q.shape / best().shape))) <= log_shape / 2


# Of 40 independent means the standard error is known to 11%, so 6 of them leave 24 numbers a false-failure rate of
# 1e-5 (Student's t, 39 degrees). A bias of 12 standard errors is sure to be seen: 0.16 of theta's path derivative and
# 0.34 with the score, half of that and less for the exposures; theta's shape is 32.
@pytest.mark.parametrize("gradient", [sticking_the_landing, reparameterized])
def test_mean_gradient_vanishes_at_the_optimum(gradient):
    rng = np.random.default_rng(34)
    means = np.array([gradient.estimate(ROLLS, best(), 2000, rng)[1:] for _ in range(40)])
    error = means.std(axis=0, ddof=1) / np.sqrt(40)
    assert np.all(np.abs(means.mean(axis=0)) <= 6 * error)
    assert 12 * np.max(error) <= (0.16 if gradient is sticking_the_landing else 0.34)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), [-1]), r"counts must be non-negative .* -1\.0 at index 0$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), [0.5]), r"counts must be .* whole .* got 0\.5 at index 0$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), [np.nan]), r"counts must be non-negative .* nan at index 0$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), []), r"counts must be a row .*, got shape \(0,\)$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), [[1]]), r"counts must be a row .*, got shape \(1, 1\)$"),
    (lambda: PoissonExposure((1, 1), Gamma([1], 1), [1]), r"rate must be a vi_ref\.Gamma, got tuple$"),
    (lambda: PoissonExposure(Gamma(1, 1), 3.0, [1]), r"exposures must be a vi_ref\.Gamma, got float$"),
    (lambda: PoissonExposure(Gamma([1], 1), Gamma([1], 1), [1]), r"rate must have shape \(\), got \(1,\)$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma(1, 1), [1]), r"exposures must have shape \(1,\), got \(\)$"),
    (lambda: PoissonExposure(Gamma(1, 1), Gamma([1], 1), [1, 2]), r"exposures must have shape \(2,\), got \(1,\)$"),
    (lambda: ROLLS.log_joint(np.zeros((2, 5))), r"log_theta must have the model's 6 columns, got shape \(2, 5\)$"),
    (lambda: ROLLS.grad_log_joint(np.zeros((2, 7))), r"log_theta must have the model's 6 columns, got shape \(2, 7\)$"),
    (lambda: ROLLS.elbo(Gamma(1.0, 1.0)), r"q must be a vi_ref\.Gamma of shape \(6,\), got Gamma"),
    (lambda: ROLLS.update(3), r"q must be a vi_ref\.Gamma of shape \(6,\), got 3$"),
    (lambda: ROLLS.coordinate_ascent(max_rounds=0), r"max_rounds must be a whole number of at least 1, got 0$"),
    (lambda: ROLLS.posterior_theta([1.0, 0.0]), r"theta must be positive and finite, got 0\.0 at index 1$"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

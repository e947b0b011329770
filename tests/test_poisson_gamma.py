"""The Poisson-gamma model against scipy.stats, quadrature and its own chain of predictions."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import EPS, exactly, repeatable
from scipy import stats
from scipy.special import gammaln

from vi_ref import Gamma, PoissonGamma

COUNTS = np.random.default_rng(20).poisson([0.2, 3.0, 40.0], (7, 3))
PRIOR = Gamma([0.5, 2.0, 30.0], [2.0, 0.7, 1.0])
MODEL = PoissonGamma(PRIOR, COUNTS)
LOG_THETA = np.random.default_rng(21).normal(0, 2, (5, 3))


def sizes(model, log_theta):
    """The sizes of the numbers that add up to the log joint, over the columns."""
    A, B, (a, b) = model.posterior.shape, model.posterior.rate, (model.prior.shape, model.prior.rate)
    constant = np.abs(a * np.log(b)) + np.abs(gammaln(a)) + np.abs(model._log_base)
    return (A * np.abs(log_theta) + B * np.exp(log_theta) + constant).sum(axis=-1)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.floats(-3, 3).map(lambda x: 10**x))
@repeatable
def test_posterior_adds_the_counts_and_the_rows(column, a):
    posterior = PoissonGamma(Gamma(a, 2.5), np.array(column)[:, None]).posterior
    assert posterior.shape.tolist() == [a + sum(column)] and posterior.rate.tolist() == [2.5 + len(column)]


# Both sides add up the same parts, each with a few roundings of its own size; the sums add roundings of partial sums,
# which are smaller (seen: 1.5 EPS of the total size).
def test_log_joint_is_likelihood_times_prior_times_jacobian():
    theta = np.exp(LOG_THETA)
    likelihood = stats.poisson.logpmf(COUNTS, theta[:, None, :]).sum(axis=(1, 2))
    prior = stats.gamma.logpdf(theta, PRIOR.shape, scale=1 / PRIOR.rate).sum(axis=1)
    error = MODEL.log_joint(LOG_THETA) - (likelihood + prior + LOG_THETA.sum(axis=1))
    assert np.all(np.abs(error) <= 6 * EPS * sizes(MODEL, LOG_THETA))


def test_log_joint_sums_its_terms_and_is_finite_where_theta_underflows():
    terms = MODEL.log_joint_terms(LOG_THETA)
    assert terms.shape == (5, 3)
    np.testing.assert_array_equal(MODEL.log_joint(LOG_THETA), terms.sum(axis=1))
    deep = np.full((1, 3), -2000.0)
    assert np.isfinite(MODEL.log_joint(deep)).all()
    np.testing.assert_array_equal(MODEL.grad_log_joint(deep)[0], MODEL.posterior.shape)


# A complex step has no cancellation: f(x + ih).imag / h is off by h^2 = 1e-40 and the roundings of A and B theta: exp
# and a product and a sum on either side, within 4 EPS of their sizes.
def test_grad_log_joint():
    h, (A, B) = 1e-20, (MODEL.posterior.shape, MODEL.posterior.rate)
    for d in range(3):
        step = MODEL.log_joint(LOG_THETA + 1j * h * (np.arange(3) == d)).imag / h
        allowed = 4 * EPS * (A + B * np.exp(LOG_THETA))[:, d]
        assert np.all(np.abs(MODEL.grad_log_joint(LOG_THETA)[:, d] - step) <= allowed)


@pytest.mark.parametrize(("a", "b", "column"), [(0.5, 2.0, [0, 0, 1]), (3.0, 0.5, [4, 9]), (40.0, 8.0, [5] * 6)])
def test_log_evidence_is_the_integral(a, b, column):
    with mp.workdps(30):
        def joint(x):
            theta = mp.exp(x)
            prior = exactly(b) ** a * theta**a * mp.exp(-b * theta) / mp.gamma(a)
            return prior * mp.fprod(mp.exp(-theta) * theta**k / mp.factorial(k) for k in column)
        truth = mp.log(mp.quad(joint, range(-120, 9, 2)))    # at shape 1.5 and more the ends hold below e^-180
        model = PoissonGamma(Gamma(a, b), np.array(column)[:, None])
        # the parts of the log joint at the mean are the size of those of the evidence, a few roundings each
        assert abs(model.log_evidence - truth) <= 12 * EPS * sizes(model, np.log(model.posterior.mean))


# 7 * 3 negative binomials of SciPy, at most 1.4e-13 off at these counts (against mpmath); seen in the sum: 1e-13.
def test_log_evidence_is_a_chain_of_predictions():
    chain, seen = 0.0, np.zeros(3)
    for m, row in enumerate(COUNTS):
        chain += PoissonGamma.from_totals(PRIOR, m, seen).predictive().logpmf(row).sum()
        seen += row
    assert abs(MODEL.log_evidence - chain) <= 21 * 1.4e-13
    assert MODEL.log_evidence == MODEL.log_evidence_terms.sum()


def test_from_totals_is_the_table_up_to_a_constant():
    model = PoissonGamma.from_totals(PRIOR, 7, COUNTS.sum(axis=0))
    for name in ("shape", "rate"):
        np.testing.assert_array_equal(getattr(model.posterior, name), getattr(MODEL.posterior, name))
    np.testing.assert_array_equal(model.grad_log_joint(LOG_THETA), MODEL.grad_log_joint(LOG_THETA))
    given_sums = stats.multinomial.logpmf(COUNTS.T, COUNTS.sum(axis=0), np.full(7, 1 / 7)).sum()
    allowed = 6 * EPS * (sizes(MODEL, LOG_THETA) + 2 * gammaln(COUNTS.sum(axis=0) + 1).sum())
    assert np.all(np.abs(MODEL.log_joint(LOG_THETA) - model.log_joint(LOG_THETA) - given_sums) <= allowed)
    assert abs(MODEL.log_evidence - model.log_evidence - given_sums) <= allowed.min()


def test_without_observations_the_posterior_is_the_prior():
    model = PoissonGamma.from_totals(Gamma([0.3, 4.0], 2.0), 0, [0, 0])
    np.testing.assert_array_equal(model.posterior.shape, [0.3, 4.0])
    np.testing.assert_array_equal(model.posterior.rate, [2.0, 2.0])
    # a log b - log Gamma(a) less itself, of parts below 4
    assert abs(model.log_evidence) <= 10 * EPS


# The pmf's tail beyond 400 is below 1e-20 at a mean below 45 and an sd below 8; SciPy's pmf is good to 1e-12.
def test_predictive():
    predictive, k = MODEL.predictive(), np.arange(400)[:, None]
    pmf = predictive.pmf(k)
    assert np.all(np.abs(pmf.sum(axis=0) - 1) <= 1e-12)
    A, B = MODEL.posterior.shape, MODEL.posterior.rate
    for moment, truth in ((pmf.T @ k[:, 0], A / B), (pmf.T @ k[:, 0] ** 2 - (A / B) ** 2, A / B + A / B**2)):
        np.testing.assert_allclose(moment, truth, rtol=1e-10)                    # squares near 1600, variances near 40
    with mp.workdps(25):
        for d, count in ((0, 1), (1, 4), (2, 50)):
            a, b = exactly(A[d]), exactly(B[d])
            constant = a * mp.log(b) - mp.loggamma(a) - mp.loggamma(count + 1)
            mass = mp.quad(lambda x: mp.exp(constant + (a + count) * x - (b + 1) * mp.exp(x)), mp.linspace(-30, 6, 73))  # noqa: B023
            assert abs(pmf[count, d] / mass - 1) <= 1e-12


def test_holds_no_table():
    model = PoissonGamma(Gamma(1.0, 1.0), np.ones((1000, 4)))
    for name, value in vars(model).items():
        assert isinstance(value, Gamma) or np.size(value) <= 4, name
    assert (model.n_observations, model.totals.tolist()) == (1000, [1000.0] * 4)
    assert model.prior.shape.shape == model.posterior.shape.shape == (4,)


ONE, TABLE = Gamma(1.0, 1.0), [[1, 2], [3, 4]]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PoissonGamma(ONE, [[1, -2]]), r"counts must be non-negative whole numbers, got -2\.0 at index \(0, 1\)$"),
    (lambda: PoissonGamma(ONE, [[1], [0.5]]), r"counts must be non-negative whole numbers, got 0\.5 at index \(1, 0\)"),
    (lambda: PoissonGamma(ONE, [[np.nan]]), r"counts must be non-negative whole numbers, got nan at index \(0, 0\)$"),
    (lambda: PoissonGamma(ONE, [[np.inf]]), r"counts must be non-negative whole numbers, got inf at index \(0, 0\)$"),
    (lambda: PoissonGamma(ONE, [["3"]]), r"counts must be an array of real numbers, got \[\['3'\]\]$"),
    (lambda: PoissonGamma(ONE, [[1, 2], [3]]), r"counts must be an array of real numbers, got \[\[1, 2\], \[3\]\]$"),
    (lambda: PoissonGamma(ONE, np.zeros((0, 3))), r"counts must be a table .* got shape \(0, 3\)$"),
    (lambda: PoissonGamma(ONE, np.zeros((3, 0))), r"counts must be a table .* got shape \(3, 0\)$"),
    (lambda: PoissonGamma(ONE, [1, 2]), r"counts must be a table .* got shape \(2,\)$"),
    (lambda: PoissonGamma(ONE, [[[1]]]), r"counts must be a table .* got shape \(1, 1, 1\)$"),
    (lambda: PoissonGamma((1, 1), TABLE), r"prior must be a vi_ref\.Gamma, got tuple$"),
    (lambda: PoissonGamma(Gamma([1, 2, 3], 1), TABLE), r"prior must have shape \(\) or \(2,\), .* got \(3,\)$"),
    (lambda: PoissonGamma(Gamma([[1, 2]], 1), TABLE), r"prior must have shape \(\) or \(2,\), .* got \(1, 2\)$"),
    (lambda: PoissonGamma(Gamma([1, 0], 1), TABLE), r"shape must be positive and finite, got 0\.0 at index 1$"),
    (lambda: PoissonGamma(Gamma(1, [np.nan, 1]), TABLE), r"rate must be positive and finite, got nan at index 0$"),
    (lambda: PoissonGamma.from_totals(ONE, -1, [0]), r"n_observations must be a whole number of at least 0, got -1$"),
    (lambda: PoissonGamma.from_totals(ONE, 2.0, [0]), r"n_observations must be a whole number of .* 0, got 2\.0$"),
    (lambda: PoissonGamma.from_totals(ONE, 2, [0, -1]), r"totals must be non-negative whole .* got -1\.0 at index 1$"),
    (lambda: PoissonGamma.from_totals(ONE, 2, []), r"totals must be one number a column, got shape \(0,\)$"),
    (lambda: PoissonGamma.from_totals(ONE, 2, [[1]]), r"totals must be one number a column, got shape \(1, 1\)$"),
    (lambda: PoissonGamma.from_totals(ONE, 0, [0, 3]), r"totals must be 0 where .* got 3\.0 at index 1$"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

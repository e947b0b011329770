"""The exact ELBO against quadrature and the identity ELBO = log evidence - KL, its gradients against mpmath."""

import mpmath as mp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import EPS, exactly
from scipy.special import polygamma

from vi_ref import Gamma, PoissonGamma, exact_elbo

PRIOR = Gamma([0.5, 2.0, 30.0], [2.0, 0.7, 1.0])
MODEL = PoissonGamma(PRIOR, [[0, 2, 41], [1, 5, 38]])
POWER = st.floats(-3, 3).map(lambda x: 10**x)


def near(model, spread, seed=0):
    """A q whose parameters lie a factor of about e^spread from the posterior's."""
    rng, D = np.random.default_rng(seed), model.totals.size
    return Gamma(model.posterior.shape * np.exp(spread * rng.normal(size=D)),
                 model.posterior.rate * np.exp(spread * rng.normal(size=D)))


@pytest.mark.parametrize(("a", "b", "column", "alpha", "beta"), [
    (0.5, 2.0, [0, 0, 1], 0.8, 3.0), (3.0, 0.5, [4, 9], 20.0, 2.0), (40.0, 8.0, [5] * 6, 90.0, 16.0)])
def test_value_is_the_integral(a, b, column, alpha, beta):
    with mp.workdps(25):
        a, b, alpha, beta = map(exactly, (a, b, alpha, beta))
        log_gamma = lambda s, r, x: s * (mp.log(r) + x) - r * mp.exp(x) - mp.loggamma(s)  # noqa: E731

        def integrand(x):
            likelihood = sum(k * x - mp.exp(x) - mp.loggamma(k + 1) for k in column)
            log_q = log_gamma(alpha, beta, x)
            return mp.exp(log_q) * (log_gamma(a, b, x) + likelihood - log_q)
        truth = mp.quad(integrand, range(-80, 7, 2))         # at shape 0.8 what lies left of it is below 1e-25
    model, q = PoissonGamma(Gamma(float(a), float(b)), np.array(column)[:, None]), Gamma([float(alpha)], [float(beta)])
    # value alone and value - log evidence add up the same parts
    assert abs(exact_elbo.value(model, q) - truth) <= exact_elbo.rounding(model, q)


@given(POWER, POWER, st.lists(st.integers(0, 2000), min_size=1, max_size=6), st.floats(-3, 3), st.floats(-3, 3))
@oracles.repeatable
def test_value_is_evidence_less_divergence_within_rounding(a, b, column, to_shape, to_rate):
    model = PoissonGamma(Gamma(a, b), np.array(column)[:, None])
    q = Gamma(model.posterior.shape * np.exp(to_shape), model.posterior.rate * np.exp(to_rate))
    gap = exact_elbo.value(model, q) - model.log_evidence
    assert abs(exactly(gap) + sum(oracles.kls(q, model.posterior))) <= exact_elbo.rounding(model, q)


# A bound far above the errors would let a wrong value pass: over 100 inputs the worst error is 0.2 of it (300 seen).
@pytest.mark.parametrize("spread", [1e-9, 1.0])
def test_rounding_is_not_loose(spread):
    rng, worst = np.random.default_rng(30), 0.0
    for seed in range(100):
        model = PoissonGamma(Gamma(10 ** rng.uniform(-3, 3), 10 ** rng.uniform(-3, 3)), rng.poisson(5, (3, 2)))
        q = near(model, spread, seed)
        gap = exactly(exact_elbo.value(model, q) - model.log_evidence)
        worst = max(worst, abs(gap + sum(oracles.kls(q, model.posterior))) / exact_elbo.rounding(model, q))
    assert 0.02 <= worst <= 1


# Two differences from the posterior, three products and a sum, half an EPS each, and trigamma's own (seen: 0.6 EPS).
@pytest.mark.parametrize("spread", [2.0, 0.1, 1e-4, 1e-9])
def test_gradient(spread):
    q, p = near(MODEL, spread), MODEL.posterior
    log_shape, log_rate = exact_elbo.gradient(MODEL, q)
    on_shape = np.abs((p.shape - q.shape) * polygamma(1, q.shape)) * q.shape
    on_rate = np.abs(p.rate - q.rate) / q.rate * q.shape
    for d in range(3):
        a, b, A, B = (exactly(v[d]) for v in (q.shape, q.rate, p.shape, p.rate))
        by_shape = -oracles.derivative(lambda u: oracles.kl(a * mp.exp(u), b, A, B), 0)    # noqa: B023
        by_rate = -oracles.derivative(lambda u: oracles.kl(a, b * mp.exp(u), A, B), 0)     # noqa: B023
        assert abs(log_shape[d] - by_shape) <= 2 * EPS * (on_shape + on_rate)[d]
        assert abs(log_rate[d] - by_rate) <= 2 * EPS * (on_rate[d] + abs(p.shape[d] - q.shape[d]))


def test_gradients_vanish_at_the_posterior():
    for gradient in (exact_elbo.gradient, exact_elbo.natural_gradient):
        np.testing.assert_array_equal(gradient(MODEL, MODEL.posterior), 0)


# F natural = gradient in (shape, rate), each side a sum of the two products whose sizes are compared.
def test_natural_gradient_is_the_gradient_by_the_inverse_fisher_information():
    q = near(MODEL, 0.5)
    log_shape, log_rate = exact_elbo.gradient(MODEL, q)
    for d in range(3):
        alpha, beta = q.shape[d], q.rate[d]
        fisher = np.array([[polygamma(1, alpha), -1 / beta], [-1 / beta, alpha / beta**2]])
        natural = np.array(exact_elbo.natural_gradient(MODEL, q))[:, d]
        error = fisher @ natural - [log_shape[d] / alpha, log_rate[d] / beta]
        assert np.all(np.abs(error) <= 8 * EPS * (np.abs(fisher) @ np.abs(natural)))


@pytest.mark.parametrize("spread", [2.0, 0.1, 1e-9])
def test_one_unit_natural_step_lands_on_the_posterior(spread):
    q, p = near(MODEL, spread), MODEL.posterior
    to_shape, to_rate = exact_elbo.natural_gradient(MODEL, q)
    # a difference and a sum, each half an EPS of the larger of the two
    assert np.all(np.abs(q.shape + to_shape - p.shape) <= EPS * np.maximum(p.shape, q.shape))
    assert np.all(np.abs(q.rate + to_rate - p.rate) <= EPS * np.maximum(p.rate, q.rate))


def test_cross_check():
    p = MODEL.posterior
    q = Gamma(p.shape * [1, 1.5, 1], p.rate * [1, 1, 0.75])
    found = exact_elbo.cross_check(MODEL, q)
    # relative errors of two roundings each, the median of 0, 0 or small, and the one that was put in
    assert abs(found["shape"]["max"] - 0.5) <= 2 * EPS and abs(found["rate"]["max"] - 0.25) <= 2 * EPS
    assert abs(found["mean"]["max"] - 0.5) <= 4 * EPS and abs(found["sd"]["max"] - 1 / 3) <= 4 * EPS
    assert found["shape"]["median"] == found["rate"]["median"] == 0
    assert abs(found["mean"]["median"] - 1 / 3) <= 4 * EPS and abs(found["sd"]["median"] - (1.5**0.5 - 1)) <= 4 * EPS
    truth = sum(oracles.kls(q, p))
    assert abs(found["kl"] / truth - 1) <= 1e-12 and truth > 0.1
    assert found["evidence_gap_rounding"] == exact_elbo.rounding(MODEL, q)
    assert abs(found["evidence_gap"] - truth) <= exact_elbo.rounding(MODEL, q)


@pytest.mark.parametrize("function", [exact_elbo.value, exact_elbo.gradient])
def test_bad_input(function):
    with pytest.raises(ValueError, match=r"^q must have shape \(3,\), as the model has, got \(2,\)$"):
        function(MODEL, Gamma([1.0, 2.0], 1.0))

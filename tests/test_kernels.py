"""The kernels against the general route on the same draws, and against the laws that both should obey."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from vi_ref import Gamma, PoissonGamma, exact_elbo, fit, gamma_grad, gradients, kernels
from vi_ref.gradients import _paths, by_name
from vi_ref.study import fisher

ROOT = Path(__file__).resolve().parent.parent
#: Shapes of every piece of the table and roots in every cell; some far from the posterior, some near.
SHAPES = np.array([1e-3, 0.02, 0.3, 0.7, 0.99, 1.0, 1.4, 2.2, 2.6, 5.0, 11.0, 30.0, 300.0, 4e3, 1e6])
Q = Gamma(SHAPES, np.linspace(0.2, 40, SHAPES.size))
MODEL = PoissonGamma(Gamma(0.5 * SHAPES, 0.1), np.random.default_rng(3).poisson(Q.mean, (4, SHAPES.size)))
K_ERRORS = 5.0
NAMES = pytest.mark.parametrize("name", list(kernels.FUSED))
UNIT = 2.0**-53


def kernel(name, model=MODEL, q=Q, n_samples=300, seed=0, **options):
    return kernels.for_model(model, name, **options)(model, q, n_samples, np.random.default_rng(seed))


@NAMES
@pytest.mark.parametrize("n_samples", [1, 127, 128, 129, 300])
def test_the_general_route_on_the_same_draws(name, n_samples, monkeypatch):
    """The general route given the kernel's draws, its r by the clear version; both sum the same products.

    Each r of the table is off by 1e-14, and the clear one by 4e-15. What else is rounded: log theta, to 2^-53 of its
    size, which e^. passes on to theta; sums of n, in which errors of either sign add to at most n 2^-53; a dozen
    operations. All relative to the sizes of what is added up, over the draws and before anything cancels.
    """
    log_theta = kernels.draws(Q, n_samples, np.random.default_rng(0))
    theta, log_z = np.exp(log_theta), log_theta + np.log(Q.rate)
    r = Q.shape * gamma_grad.dlogz_dshape(Q.shape, log_z)
    monkeypatch.setattr(_paths, "sample_log_standard", lambda *_: log_z)
    monkeypatch.setattr(_paths, "dlogz_dshape", gamma_grad.dlogz_dshape)
    general = by_name(name)(MODEL, Q, n_samples, None)
    ours = kernel(name, n_samples=n_samples)

    A, B = MODEL.posterior.shape, MODEL.posterior.rate
    forces = A + B * theta + Q.shape + Q.rate * theta                    # the general route adds these four up
    score = kernels.FUSED[name] * Q.shape * (1 + np.abs(log_z) + abs(np.log(Q.shape)) + 1 / Q.shape)
    rounding = UNIT * (n_samples + 30 + 4 * np.abs(log_theta).max(axis=0) + 4 * np.abs(log_z).max(axis=0))
    allowed = (2e-14 + rounding) * np.mean(forces * r + score, axis=0)
    assert np.all(np.abs(ours.log_shape - general.log_shape) <= allowed)
    assert np.all(np.abs(ours.log_rate - general.log_rate) <= (rounding + 4 * UNIT) * np.mean(
        forces + Q.shape + Q.rate * theta, axis=0))
    terms = [abs(A * log_theta), B * theta, abs(Q.shape * log_theta), Q.rate * theta, np.abs(MODEL.log_constant),
             abs(Q.shape * np.log(Q.rate)), np.abs(exact_elbo._terms(MODEL, Q)[3])]
    assert abs(ours.elbo - general.elbo) <= sum(np.sum(rounding * np.mean(np.broadcast_to(t, theta.shape), axis=0))
                                                for t in terms)


def test_the_allowance_on_the_same_draws_is_small():
    """What the test above allows is below 1e-9 of a draw's sd for every column, so that a wrong term cannot hide."""
    log_theta = kernels.draws(Q, 300, np.random.default_rng(0))
    r = Q.shape * gamma_grad.dlogz_dshape(Q.shape, log_theta + np.log(Q.rate))
    force = MODEL.grad_log_joint(log_theta) - Q.grad_log_density(log_theta)
    size = np.mean((MODEL.posterior.shape + MODEL.posterior.rate * np.exp(log_theta)) * r, axis=0)
    assert np.all(2e-13 * size < 1e-9 * np.std(force * r, axis=0))


@pytest.mark.parametrize("n_samples", [128, 20_000])
def test_threads_give_the_same_bits(n_samples):
    one = kernel("reparameterized", n_samples=n_samples, n_threads=1)
    for n_threads in (2, 3, 40, None):
        for a, b in zip(one, kernel("reparameterized", n_samples=n_samples, n_threads=n_threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_columns_are_drawn_apart():
    """A column's stream is its own: leaving out the last columns changes nothing in those before."""
    few = slice(0, 6)
    log_theta = kernels.draws(Q, 50, np.random.default_rng(9))
    states = np.random.default_rng(9).integers(0, 2**64 - 1, (SHAPES.size, 4), np.uint64, endpoint=True)
    alone = np.empty((6, 50))
    kernels._log_draws(SHAPES[few], states[few].copy(), alone)
    np.testing.assert_array_equal(log_theta[:, few], alone.T - np.log(Q.rate[few]))


@NAMES
def test_unbiased_at_every_shape(name):
    """2000 estimates of 64 draws: a bias of 5 / sqrt(2000 x 64) = 0.014 of a draw's sd is seen."""
    rng, exact = np.random.default_rng(5), np.array(exact_elbo.gradient(MODEL, Q))
    estimates = [kernels.for_model(MODEL, name)(MODEL, Q, 64, rng) for _ in range(2000)]
    values = np.array([[e.log_shape, e.log_rate] for e in estimates])
    error = values.std(axis=0, ddof=1) / math.sqrt(2000)
    assert np.all(np.abs(values.mean(axis=0) - exact) <= K_ERRORS * error)
    elbo = np.array([e.elbo for e in estimates])
    assert abs(elbo.mean() - exact_elbo.value(MODEL, Q)) <= K_ERRORS * elbo.std(ddof=1) / math.sqrt(2000)


def test_law_at_the_optimum():
    """Covariance F/S: each variance by a chi^2 of 4000 replicates, at a false failure of 1e-6 / 28 each; seen: 13 %.

    Shapes from 1 on: the score's fourth moment grows as 6 / shape, and at 1 a mean of 128 has it at 3 + 0.05, which
    widens the chi^2 by less than 1 %. Sticking the landing has no variance: both of its coefficients are exactly 0.
    """
    keep = SHAPES >= 1
    model = PoissonGamma(Gamma(SHAPES[keep], 3.0), np.ones((2, keep.sum())))
    q, rng, R, S = model.posterior, np.random.default_rng(8), 4000, 128
    values = np.array([kernels.for_model(model, "reparameterized")(model, q, S, rng)[1:] for _ in range(R)])
    ratio = values.var(axis=0, ddof=1) * S / fisher(q)
    low, high = chi2.ppf([0.5e-6 / ratio.size, 1 - 0.5e-6 / ratio.size], R - 1) / (R - 1)
    assert np.all((ratio > low * 0.99) & (ratio < high * 1.01))
    covariance = np.mean(values[:, 0] * values[:, 1], axis=0) * S           # -shape; sd of the mean of R products below
    assert np.all(np.abs(covariance + q.shape) <= K_ERRORS * np.sqrt(2 * fisher(q)[0] * q.shape / R))
    landed = kernels.for_model(model, "sticking_the_landing")(model, q, S, rng)
    assert not landed.log_shape.any() and not landed.log_rate.any()
    assert landed.elbo == pytest.approx(model.log_evidence, abs=exact_elbo.rounding(model, q))


def test_the_ends_of_the_domain_are_finite():
    """Of `Gamma`'s own, for shapes and rates."""
    q = Gamma([1e-100, 1e-8, 1e8, 1e100], [1.0, 1e-3, 1e9, 1e100])
    model = PoissonGamma(Gamma([1.0, 1.0, 1e8, 1e100], [1.0, 1.0, 1e9, 1e100]), [[0, 1, 0, 2]])
    for name in kernels.FUSED:
        estimate = kernel(name, model, q)
        assert all(np.all(np.isfinite(part)) for part in estimate), name


@NAMES
def test_fit_takes_the_kernel_by_name_and_lands(name):
    model = PoissonGamma(Gamma([2.0, 0.5], 1.0), [[3, 0], [5, 1]])
    options = {"n_samples": 32, "n_steps": 60}
    by_kernel = fit(model, model.prior, gradient=name, rng=np.random.default_rng(1), **options)
    again = fit(model, model.prior, gradient=kernels.for_model(model, name), rng=np.random.default_rng(1), **options)
    general = fit(model, model.prior, gradient=by_name(name), rng=np.random.default_rng(1), **options)
    np.testing.assert_array_equal(by_kernel.trace.elbo, again.trace.elbo)
    assert np.all(by_kernel.trace.elbo != general.trace.elbo)
    # 60 steps lead either way to within a few sd of a step's noise, 1 / sqrt(32 x 10), of one another
    np.testing.assert_allclose(by_kernel.q.mean, general.q.mean, rtol=0.5)


def test_only_a_poisson_gamma_and_two_estimators_have_a_kernel():
    class Other(PoissonGamma):
        """May say something else of its log joint."""

    assert kernels.for_model(MODEL, "reparameterized") and kernels.for_model(MODEL, "sticking_the_landing")
    assert kernels.for_model(Other(Gamma(1.0, 1.0), [[1]]), "reparameterized") is None
    assert [name for name in gradients.NAMES if kernels.for_model(MODEL, name)] == list(kernels.FUSED)
    assert kernels.for_model(MODEL, ["reparameterized"]) is None


def test_memory_does_not_grow_with_the_draws():
    """Of a fit: the peak of a process with 64 columns and a million draws a step, whose log theta alone is 512 MB."""
    pytest.importorskip("resource")                                      # not on Windows
    code = """
import resource, sys
import numpy as np
from vi_ref import Gamma, PoissonGamma, fit
model = PoissonGamma(Gamma(np.full(64, 3.0), 1.0), np.ones((2, 64)))
for n in (128, 1_000_000):
    fit(model, model.prior, n_samples=n, n_steps=2, rng=np.random.default_rng(0), n_threads=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    small, large = map(int, run.stdout.split())
    assert (large - small) * (1 if sys.platform == "darwin" else 1024) < 2**20


@pytest.mark.parametrize(("options", "message"), [
    ({"n_samples": 0}, "n_samples must be a whole number of at least 1, got 0"),
    ({"n_threads": 0}, "n_threads must be a whole number of at least 1, got 0"),
    ({"q": Gamma([1.0], [1.0])}, "q must have shape (15,), as the model has columns, got (1,)"),
])
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kernel("reparameterized", **options)


def test_bad_generator_and_threads_of_a_fit():
    with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator, got 0"):
        kernels.draws(Q, 8, 0)
    with pytest.raises(ValueError, match="n_samples must be a whole number of at least 1, got 0"):
        kernels.draws(Q, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator, got 0"):
        kernels.for_model(MODEL, "reparameterized")(MODEL, Q, 8, 0)
    with pytest.raises(ValueError, match=r"n_threads must be a whole number of at least 1, got 1\.5"):
        fit(MODEL, MODEL.prior, rng=np.random.default_rng(0), n_threads=1.5)

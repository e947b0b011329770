"""Automatic differentiation as the oracle: torch and jax, each skipped where it is not installed.

torch 2.13 and jax 0.10 are what these tolerances were measured with. jax needs its 64-bit mode, which
is switched on for a block at a time.
"""

import numpy as np
import pytest
from scipy.special import gammainccinv, gammaincinv

from vi_ref import Gamma, PoissonGamma
from vi_ref.gamma import sample_log_standard
from vi_ref.gamma_grad import dlogz_dshape, dz_dshape
from vi_ref.gradients import reparameterized, sticking_the_landing

# Worst relative error of each library against 60-digit truth, by decades of the shape.
DECADES = [(-3, -2), (-2, 0), (0, 2), (3, 5)]
TORCH = [1.4e-1, 3e-2, 3e-3, 9e-5]
JAX = [1e-14, 5e-15, 2e-14, 1e-11]
OURS = 4e-15
UNIT = 2.0**-53


def draws(low, high):
    """Shapes over some decades, and z at quantiles 1e-6 ... 1 - 1e-6 of each, where z is a normal number."""
    shape = np.repeat(np.logspace(low, high, 25), 41)
    tail = np.tile(np.r_[np.logspace(-6, np.log10(0.5), 21), np.logspace(np.log10(0.4), -6, 20)], 25)
    lower = np.tile(np.arange(41) < 21, 25)
    z = np.where(lower, gammaincinv(shape, tail), gammainccinv(shape, tail))
    usable = z > 1e-300
    return shape[usable], z[usable]


def relative(ours, theirs):
    return np.max(np.abs(ours - theirs) / ours)


# Their own worst error and ours; a factor 2 for those of our points that are worse than any in the table.
@pytest.mark.parametrize("decades, accuracy", list(zip(DECADES, TORCH, strict=True)))
def test_implicit_gradient_against_torch(decades, accuracy):
    torch = pytest.importorskip("torch")
    shape, z = draws(*decades)
    theirs = torch._standard_gamma_grad(torch.from_numpy(shape), torch.from_numpy(z)).numpy()
    assert relative(dz_dshape(shape, z), theirs) <= 2 * (accuracy + OURS)


@pytest.mark.parametrize("decades, accuracy", list(zip(DECADES, JAX, strict=True)))
def test_implicit_gradient_against_jax(decades, accuracy):
    jax = pytest.importorskip("jax")
    shape, z = draws(*decades)
    with jax.enable_x64(True):
        theirs = np.asarray(jax.lax.random_gamma_grad(shape, z))
    assert theirs.dtype == np.float64
    assert relative(dz_dshape(shape, z), theirs) <= 2 * (accuracy + OURS)


def problem():
    """A model of twelve columns, q apart from its posterior, and draws of log z."""
    rng = np.random.default_rng(17)
    prior = Gamma(rng.uniform(0.5, 20, 12), rng.uniform(0.5, 3, 12))
    model = PoissonGamma(prior, rng.poisson(prior.mean, (6, 12)))
    spread = np.exp(rng.normal(0, 0.3, (2, 12)))
    q = Gamma(model.posterior.shape * spread[0], model.posterior.rate * spread[1])
    return model, q, sample_log_standard(q.shape, 128, rng)


def budget(model, q, log_z):
    """Rounding of both ways to the gradient: (elbo, log shape, log rate).

    `size` is the largest of the terms of a sample that either way adds: A, B theta, shape, rate theta, shape log z and
    lgamma, those of the ELBO being moved through by at most shape dlogz/dshape. 128 of them are added and
    divided by 128, after a dozen operations each on either side: 128 + 2 * 12 + 8, rounded up to 200 units.
    """
    A, B, theta = model.posterior.shape, model.posterior.rate, np.exp(log_z) / q.rate
    size = A + B * theta + q.shape + q.rate * theta + (A + q.shape) * (np.abs(log_z) + np.abs(np.log(q.rate)))
    moves = np.maximum(1, q.shape * dlogz_dshape(q.shape, log_z))
    return (200 * UNIT * size.max(axis=0).sum(), *np.broadcast_to(200 * UNIT * (size * moves).max(axis=0), (2, 12)))


def assert_agree(estimator, theirs, monkeypatch):
    model, q, log_z = problem()
    monkeypatch.setattr("vi_ref.gradients._paths.sample_log_standard", lambda *_: log_z)
    ours = estimator.estimate(model, q, 128, None)
    for name, mine, other, bound in zip(ours._fields, ours, theirs, budget(model, q, log_z), strict=True):
        if name == "elbo":                       # theirs leaves out the constants of the log joint
            mine = mine - model.log_constant.sum()
        assert np.all(np.abs(mine - other) <= bound), name
        assert np.all(bound <= 1e-12 * np.linalg.norm(other))         # so this tight it is


# The path enters as z + (alpha - alpha held fixed) dz/dalpha: the value is z, its derivative the implicit gradient.
# With `sticking_the_landing` log q is differentiated at parameters held fixed, so through the sample only.
@pytest.mark.parametrize("estimator, held", [(reparameterized, False), (sticking_the_landing, True)])
def test_estimate_against_torch_on_the_same_draws(estimator, held, monkeypatch):
    torch = pytest.importorskip("torch")
    model, q, log_z = problem()
    u = torch.tensor(np.log([q.shape, q.rate]), requires_grad=True)
    A, B, z = (torch.tensor(a) for a in (model.posterior.shape, model.posterior.rate, np.exp(log_z)))
    shape, rate = torch.exp(u)
    theta = (z + (shape - shape.detach()) * torch.from_numpy(dz_dshape(q.shape, z.numpy()))) / rate
    if held:
        shape, rate = shape.detach(), rate.detach()
    log_theta = torch.log(theta)
    log_q = shape * torch.log(rate) + shape * log_theta - rate * theta - torch.lgamma(shape)
    elbo = (A * log_theta - B * theta - log_q).sum(dim=1).mean()
    elbo.backward()
    assert_agree(estimator, (elbo.item(), *u.grad.numpy()), monkeypatch)


@pytest.mark.parametrize("estimator, held", [(reparameterized, False), (sticking_the_landing, True)])
def test_estimate_against_jax_on_the_same_draws(estimator, held, monkeypatch):
    jax = pytest.importorskip("jax")
    jnp, hold = jax.numpy, jax.lax.stop_gradient
    model, q, log_z = problem()
    A, B = model.posterior.shape, model.posterior.rate

    def sampled_elbo(u, z):
        shape, rate = jnp.exp(u)
        path = jax.lax.random_gamma_grad(jnp.broadcast_to(hold(shape), z.shape), z)    # jax's own: nothing is ours
        theta = (z + (shape - hold(shape)) * path) / rate
        if held:
            shape, rate = hold(shape), hold(rate)
        log_theta = jnp.log(theta)
        log_q = shape * jnp.log(rate) + shape * log_theta - rate * theta - jax.lax.lgamma(shape)
        return (A * log_theta - B * theta - log_q).sum(axis=1).mean()

    with jax.enable_x64(True):
        elbo, gradient = jax.value_and_grad(sampled_elbo)(np.log([q.shape, q.rate]), np.exp(log_z))
    assert gradient.dtype == np.float64
    assert_agree(estimator, (float(elbo), *np.asarray(gradient)), monkeypatch)

"""The tutorial's model in JAX and Optax: `jax.random.gamma` carries the implicit gradient, `jax.grad` does the rest."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy import stats

from vi_ref.gamma import Gamma
from vi_ref.poisson_gamma import PoissonGamma


def dz_dshape(shape: Any, z: Any) -> np.ndarray:
    """The implicit gradient of draws z of Gamma(shape, 1), broadcast, in the arrays' precision."""
    with jax.enable_x64(True):                                # or float64 would be rounded; float32 stays float32
        return np.asarray(_random_gamma_grad(shape, z))


_random_gamma_grad = jax.jit(lambda shape, z: jax.lax.random_gamma_grad(jnp.broadcast_to(shape, z.shape), z))


def sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(shape, seed)``: `n` draws of Gamma(shape, 1), and the derivative of each in the shape: (2, n)."""
    return with_slopes(lambda a, key: jax.random.gamma(key, a, dtype=precision), n, precision)


def log_sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """The same of their logarithms, for which JAX has a sampler of its own."""
    return with_slopes(lambda a, key: jax.random.loggamma(key, a, dtype=precision), n, precision)


def beta_sampler(b: float, n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: `n` draws of Beta(a, b), and the derivative of each in a: (2, n)."""
    return with_slopes(lambda a, key: jax.random.beta(key, a, jnp.full_like(a, b), dtype=precision), n, precision)


def with_slopes(sample: Callable[..., Any], n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: what ``sample(a, key)`` draws for `n` parameters a, and its derivative in a, forwards."""
    x64 = precision == "float64"
    compiled = jax.jit(lambda a, key: jax.jvp(lambda a: sample(a, key), (a,), (jnp.ones_like(a),)))

    def draw(a, seed):
        with jax.enable_x64(x64):
            return np.stack(compiled(jnp.broadcast_to(jnp.asarray(a, precision), (n,)), jax.random.key(seed)))

    return draw


def q_of(u: Any, coordinates: str) -> tuple[Any, Any]:
    """Shape and rate at (log shape, log rate), or at (log shape, log mean)."""
    return jnp.exp(u[0]), jnp.exp(u[1] if coordinates == "rate" else u[0] - u[1])


def sampled_elbo(counts: Any, prior: Gamma, precision: str, n_samples: int = 128, coordinates: str = "rate",
                 sticking: bool = False) -> Callable[..., Any]:
    """``elbo(u, key)``: its value, and the draws with their log joint and log q; every row of the counts is visited."""
    counts, a, b = (jnp.asarray(x, precision) for x in (counts, prior.shape, prior.rate))

    def elbo(u, key):
        shape, rate = q_of(u, coordinates)
        theta = jax.random.gamma(key, shape, (n_samples, a.size), precision) / rate
        log_joint = stats.poisson.logpmf(counts, theta[:, None, :]).sum(axis=(1, 2))
        log_joint += stats.gamma.logpdf(theta, a, scale=1 / b).sum(axis=1)
        if sticking:                                          # q moves with its samples alone
            shape, rate = jax.lax.stop_gradient((shape, rate))
        log_q = stats.gamma.logpdf(theta, shape, scale=1 / rate).sum(axis=1)
        return (log_joint - log_q).mean(), (theta, log_joint, log_q)

    return elbo


def evaluator(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``evaluate(u, seed)`` at u = (log shape, log rate): draws, their log joint and log q, ELBO and gradient."""
    with jax.enable_x64(precision == "float64"):
        compiled = jax.jit(jax.value_and_grad(sampled_elbo(counts, prior, precision), has_aux=True))

    def evaluate(u, seed):
        with jax.enable_x64(precision == "float64"):
            (elbo, (theta, log_joint, log_q)), gradient = compiled(jnp.asarray(u, precision), jax.random.key(seed))
            return tuple(map(np.asarray, (theta, log_joint, log_q, elbo, gradient)))

    return evaluate


def fitter(counts: Any, prior: Gamma, precision: str, n_steps: int, *, learning_rate: float, beta2: float,
           schedule: str, coordinates: str, sticking: bool) -> Callable[[int], np.ndarray]:
    """``run(seed)``: log shape and log rate after `n_steps` from the prior, one compiled scan over the steps."""
    x64 = precision == "float64"
    with jax.enable_x64(x64):
        elbo = sampled_elbo(counts, prior, precision, coordinates=coordinates, sticking=sticking)
        rate = optax.cosine_decay_schedule(learning_rate, n_steps) if schedule == "cosine" else learning_rate
        optimizer = optax.adam(rate, b2=beta2)
        start = jnp.asarray(np.log([prior.shape, prior.rate if coordinates == "rate" else prior.mean]), precision)

    def step(state, key):
        u, moments = state
        gradient, _ = jax.grad(elbo, has_aux=True)(u, key)
        updates, moments = optimizer.update(-gradient, moments)
        return (optax.apply_updates(u, updates), moments), None

    @jax.jit
    def run(key):
        (u, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(key, n_steps))
        return jnp.log(jnp.stack(q_of(u, coordinates)))

    def seeded(seed):
        with jax.enable_x64(x64):
            return np.asarray(run(jax.random.key(seed)))

    return seeded


def adam(gradients: np.ndarray, **settings: float) -> np.ndarray:
    """Where Optax's Adam goes from 0 by these gradients, (T, D), in their precision."""
    optimizer = optax.adam(settings["learning_rate"], settings["beta1"], settings["beta2"], settings["epsilon"])

    def step(state, gradient):
        x, moments = state
        updates, moments = optimizer.update(gradient, moments)
        x = optax.apply_updates(x, updates)
        return (x, moments), x

    with jax.enable_x64(gradients.dtype == "float64"):
        x = jnp.zeros(gradients.shape[1], gradients.dtype)
        return np.asarray(jax.lax.scan(step, (x, optimizer.init(x)), jnp.asarray(gradients))[1])


def estimator(model: PoissonGamma, n_samples: int) -> Callable[..., Any]:
    """``estimate(u)``: the ELBO and its gradient in float64, from the sums A and B: as little work as JAX allows."""
    with jax.enable_x64(True):
        A, B, constant = map(jnp.asarray, (model.posterior.shape, model.posterior.rate, model.log_constant))
        key = jax.random.key(0)

    def elbo(u, key):
        shape, rate = jnp.exp(u)
        theta = jax.random.gamma(key, shape, (n_samples, shape.size)) / rate
        log_joint = A * jnp.log(theta) - B * theta + constant
        log_q = shape * jnp.log(rate * theta) - rate * theta - jax.scipy.special.gammaln(shape)
        return (log_joint - log_q).sum(axis=1).mean()

    compiled = jax.jit(jax.value_and_grad(elbo))

    def estimate(u, key=key):
        with jax.enable_x64(True):
            return jax.block_until_ready(compiled(jnp.asarray(u), key))

    return estimate

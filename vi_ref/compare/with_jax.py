"""The estimate in JAX: `jax.random.gamma` carries the implicit gradient, `jax.grad` does the rest, `jit` compiles."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vi_ref.poisson_gamma import PoissonGamma


def estimator(model: PoissonGamma, n_samples: int, dtype: str = "float64") -> Callable[..., Any]:
    """``estimate(parameters, key)``: the ELBO and its gradient in (log shape, log rate), (2, D), from the sums."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    A, B, constant = (jnp.asarray(x, dtype) for x in (model.posterior.shape, model.posterior.rate, model.log_constant))

    def elbo(parameters, key):
        shape, rate = jnp.exp(parameters)
        theta = jax.random.gamma(key, shape, (n_samples, shape.size), dtype) / rate
        log_joint = A * jnp.log(theta) - B * theta + constant
        log_q = shape * jnp.log(rate * theta) - rate * theta - jax.scipy.special.gammaln(shape)
        return (log_joint - log_q).sum(axis=1).mean()

    return jax.jit(jax.value_and_grad(elbo))


def tutorial(counts: Any, prior_shape: Any, prior_rate: float, n_steps: int) -> Any:
    """The tutorial's fit, float32: the likelihood of every row, Optax's Adam at 0.2, 128 samples, a new key a step."""
    import optax

    counts, a, b = jnp.asarray(counts, "float32"), jnp.asarray(prior_shape, "float32"), prior_rate

    def loss(parameters, key):
        shape, rate = jnp.exp(parameters["log_shape"]), jnp.exp(parameters["log_rate"])
        theta = jax.random.gamma(key, shape, (128, shape.size)) / rate
        likelihood = jax.scipy.stats.poisson.logpmf(counts, theta[:, None, :]).sum(axis=(1, 2))
        prior = jax.scipy.stats.gamma.logpdf(theta, a, scale=1 / b).sum(axis=1)
        log_q = jax.scipy.stats.gamma.logpdf(theta, shape, scale=1 / rate).sum(axis=1)
        return -(likelihood + prior - log_q).mean()

    optimizer = optax.adam(0.2)

    @jax.jit
    def step(parameters, state, key):
        value, gradient = jax.value_and_grad(loss)(parameters, key)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(parameters, updates), state, value

    parameters = {"log_shape": jnp.log(a), "log_rate": jnp.full_like(a, jnp.log(b))}
    state, key = optimizer.init(parameters), jax.random.key(0)
    for _ in range(n_steps):
        key, now = jax.random.split(key)
        parameters, state, _ = step(parameters, state, now)
    return jax.block_until_ready(parameters)

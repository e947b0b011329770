"""The tutorial's model in TensorFlow Probability on JAX: `fit_surrogate_posterior_stateless` is the whole fit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tensorflow_probability.substrates import jax as tfp

from vi_ref.compare.with_jax import with_slopes
from vi_ref.gamma import Gamma

tfd = tfp.distributions


def sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(shape, seed)``: `n` draws of Gamma(shape, 1), and the derivative of each in the shape: (2, n)."""
    return with_slopes(lambda a, key: tfd.Gamma(a, jnp.ones_like(a)).sample(seed=key), n, precision)


def log_sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """The same of their logarithms, for which TFP has a distribution of its own."""
    return with_slopes(lambda a, key: tfd.ExpGamma(a, jnp.ones_like(a)).sample(seed=key), n, precision)


def beta_sampler(b: float, n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: `n` draws of Beta(a, b), and the derivative of each in a: (2, n)."""
    return with_slopes(lambda a, key: tfd.Beta(a, jnp.full_like(a, b)).sample(seed=key), n, precision)


def q_of(u: Any, coordinates: str) -> Any:
    """The Gamma at (log shape, log rate), or at (log shape, log mean)."""
    rate = u[1] if coordinates == "rate" else u[0] - u[1]
    return tfd.Independent(tfd.Gamma(jnp.exp(u[0]), jnp.exp(rate)), reinterpreted_batch_ndims=1)


def log_joint(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``log_joint(theta)``, (S, D) -> (S,); every row of the counts is visited."""
    counts, a, b = (jnp.asarray(x, precision) for x in (counts, prior.shape, prior.rate))

    def of(theta):
        likelihood = tfd.Poisson(rate=theta[:, None, :]).log_prob(counts).sum(axis=(1, 2))
        return likelihood + tfd.Gamma(a, b).log_prob(theta).sum(axis=1)

    return of


def evaluator(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``evaluate(u, seed)`` at u = (log shape, log rate): draws, their log joint and log q, ELBO and gradient."""
    def elbo(u, key):
        q = q_of(u, "rate")
        theta = q.sample(128, seed=key)
        log_p, log_q = log_joint(counts, prior, precision)(theta), q.log_prob(theta)
        return (log_p - log_q).mean(), (theta, log_p, log_q)

    compiled = jax.jit(jax.value_and_grad(elbo, has_aux=True))

    def evaluate(u, seed):
        with jax.enable_x64(precision == "float64"):
            (value, (theta, log_p, log_q)), gradient = compiled(jnp.asarray(u, precision), jax.random.key(seed))
            return tuple(map(np.asarray, (theta, log_p, log_q, value, gradient)))

    return evaluate


def fitter(counts: Any, prior: Gamma, precision: str, n_steps: int, *, learning_rate: float, beta2: float,
           schedule: str, coordinates: str, sticking: bool) -> Callable[[int], np.ndarray]:
    """``run(seed)``: log shape and log rate after `n_steps` from the prior.

    Sticking the landing is what TFP calls doubly reparameterized, with one importance sample.
    """
    estimators = tfp.vi.GradientEstimators
    rate = optax.cosine_decay_schedule(learning_rate, n_steps) if schedule == "cosine" else learning_rate

    def fit(key):
        start = jnp.asarray(np.log([prior.shape, prior.rate if coordinates == "rate" else prior.mean]), precision)
        u, _ = tfp.vi.fit_surrogate_posterior_stateless(
            log_joint(counts, prior, precision), lambda u: q_of(u, coordinates), (start,),
            optimizer=optax.adam(rate, b2=beta2), num_steps=n_steps, sample_size=128, seed=key,
            gradient_estimator=estimators.DOUBLY_REPARAMETERIZED if sticking else estimators.REPARAMETERIZATION)
        q = q_of(u[0], coordinates).distribution
        return jnp.log(jnp.stack([q.concentration, q.rate]))

    compiled = jax.jit(fit)

    def run(seed):
        with jax.enable_x64(precision == "float64"):
            return np.asarray(compiled(jax.random.key(seed)))

    return run

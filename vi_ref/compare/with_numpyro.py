"""The tutorial's model in NumPyro: a model, a guide, and `SVI`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
from numpyro import distributions as dist
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.util import log_density

from vi_ref.compare.with_jax import with_slopes
from vi_ref.gamma import Gamma


class Landing(dist.Gamma):
    """A Gamma that is sampled with derivatives and evaluated without those of its parameters."""

    def log_prob(self, value):
        """Log density at parameters held fixed: q moves with its samples alone."""
        return dist.Gamma(*jax.lax.stop_gradient((self.concentration, self.rate))).log_prob(value)


def sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(shape, seed)``: `n` draws of Gamma(shape, 1), and the derivative of each in the shape: (2, n)."""
    return with_slopes(lambda a, key: dist.Gamma(a).rsample(key), n, precision)


def beta_sampler(b: float, n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: `n` draws of Beta(a, b), and the derivative of each in a: (2, n)."""
    return with_slopes(lambda a, key: dist.Beta(a, jnp.full_like(a, b)).rsample(key), n, precision)


def model_and_guide(counts: Any, prior: Gamma, precision: str, coordinates: str = "rate",
                    sticking: bool = False) -> tuple[Callable[[], None], Callable[[], None]]:
    """The model visits every row of the counts; the guide starts at the prior."""
    counts, a, b = (jnp.asarray(x, precision) for x in (counts, prior.shape, prior.rate))
    start = jnp.stack([jnp.log(a), jnp.log(b if coordinates == "rate" else a / b)])
    Family = Landing if sticking else dist.Gamma

    def model():
        with numpyro.plate("pixel", a.size, dim=-1):
            theta = numpyro.sample("theta", dist.Gamma(a, b))
            with numpyro.plate("image", len(counts), dim=-2):
                numpyro.sample("counts", dist.Poisson(theta), obs=counts)

    def guide():
        u = numpyro.param("u", start)
        with numpyro.plate("pixel", a.size, dim=-1):
            numpyro.sample("theta", Family(jnp.exp(u[0]), jnp.exp(u[1] if coordinates == "rate" else u[0] - u[1])))

    return model, guide


def evaluator(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``evaluate(u, seed)`` at u = (log shape, log rate): draws, their log joint and log q, ELBO and gradient."""
    with jax.enable_x64(precision == "float64"):
        model, guide = model_and_guide(counts, prior, precision)

    def particle(u, key):
        log_q, trace = log_density(handlers.seed(guide, key), (), {}, {"u": u})
        theta = trace["theta"]["value"]
        return theta, log_density(model, (), {}, {"theta": theta})[0], log_q

    def elbo(u, key):
        theta, log_joint, log_q = jax.vmap(particle, (None, 0))(u, jax.random.split(key, 128))
        return (log_joint - log_q).mean(), (theta, log_joint, log_q)

    compiled = jax.jit(jax.value_and_grad(elbo, has_aux=True))

    def evaluate(u, seed):
        with jax.enable_x64(precision == "float64"):
            (value, (theta, log_joint, log_q)), gradient = compiled(jnp.asarray(u, precision), jax.random.key(seed))
            return tuple(map(np.asarray, (theta, log_joint, log_q, value, gradient)))

    return evaluate


def fitter(counts: Any, prior: Gamma, precision: str, n_steps: int, *, learning_rate: float, beta2: float,
           schedule: str, coordinates: str, sticking: bool) -> Callable[[int], np.ndarray]:
    """``run(seed)``: log shape and log rate after `n_steps` from the prior."""
    x64 = precision == "float64"
    with jax.enable_x64(x64):
        model, guide = model_and_guide(counts, prior, precision, coordinates, sticking)
    rate = optax.cosine_decay_schedule(learning_rate, n_steps) if schedule == "cosine" else learning_rate
    svi = SVI(model, guide, numpyro.optim.Adam(rate, b2=beta2), Trace_ELBO(num_particles=128))

    @jax.jit
    def run(key):
        u = svi.run(key, n_steps, progress_bar=False).params["u"]
        return jnp.stack([u[0], u[1] if coordinates == "rate" else u[0] - u[1]])

    def seeded(seed):
        with jax.enable_x64(x64):
            return np.asarray(run(jax.random.key(seed)))

    return seeded


def adam(gradients: np.ndarray, **settings: float) -> np.ndarray:
    """Where NumPyro's Adam goes from 0 by these gradients, (T, D), in their precision."""
    optimizer = numpyro.optim.Adam(settings["learning_rate"], settings["beta1"], settings["beta2"],
                                   settings["epsilon"])

    def step(state, gradient):
        state = optimizer.update(gradient, state)
        return state, optimizer.get_params(state)

    with jax.enable_x64(gradients.dtype == "float64"):
        start = optimizer.init(jnp.zeros(gradients.shape[1], gradients.dtype))
        return np.asarray(jax.lax.scan(step, start, jnp.asarray(gradients))[1])

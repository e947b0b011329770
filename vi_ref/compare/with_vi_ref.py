"""This library in the place of another: the same questions, answered in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vi_ref import related
from vi_ref.adam import Adam
from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gamma_grad_fast import dlogz_dshape, dz_dshape
from vi_ref.gradients import reparameterized
from vi_ref.optimize import fit
from vi_ref.poisson_gamma import PoissonGamma

__all__ = ["adam", "beta_sampler", "dz_dshape", "evaluator", "fitter", "given", "log_sampler", "sampler"]


def sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(shape, seed)``: `n` draws of Gamma(shape, 1), and the derivative of each in the shape: (2, n)."""
    def draw(shape, seed):
        log_z, slope = log_sampler(n, precision)(shape, seed)
        return np.stack([np.exp(log_z), np.exp(log_z) * slope])

    return draw


def log_sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """The same of their logarithms, in which this library works throughout."""
    def draw(shape, seed):
        shape = np.array(np.broadcast_to(shape, n), float)
        log_z = sample_log_standard(shape, 1, np.random.default_rng(seed))[0]
        return np.stack([log_z, dlogz_dshape(shape, log_z)])

    return draw


def beta_sampler(b: float, n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: `n` draws of Beta(a, b), and the derivative of each in a: (2, n)."""
    def draw(a, seed):
        paths = related.beta(a, b, n, np.random.default_rng(seed))
        return np.stack([np.exp(paths.log_x), np.exp(paths.log_x) * paths.dlogx_da])

    return draw


def evaluator(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``evaluate(u, seed)`` at u = (log shape, log rate): draws, their log joint and log q, ELBO and gradient."""
    model = PoissonGamma(prior, counts)

    def evaluate(u, seed):
        q = Gamma(*np.exp(u))
        return given(model, q, sample_log_standard(q.shape, 128, np.random.default_rng(seed)) - np.log(q.rate))

    return evaluate


def given(model: PoissonGamma, q: Gamma, log_theta: np.ndarray) -> tuple[Any, ...]:
    """What `evaluator` returns, for given draws: densities with respect to theta, as the others have them."""
    estimate = reparameterized.given(model, q, log_theta + np.log(q.rate))
    jacobian = log_theta.sum(axis=1)
    return (np.exp(log_theta), model.log_joint(log_theta) - jacobian, q.log_density(log_theta).sum(axis=1) - jacobian,
            estimate.elbo, np.stack(estimate[1:]))


def fitter(counts: Any, prior: Gamma, precision: str, n_steps: int, *, learning_rate: float, beta2: float,
           schedule: str, coordinates: str, sticking: bool) -> Callable[[int], np.ndarray]:
    """``run(seed)``: log shape and log rate after `n_steps` from the prior."""
    model = PoissonGamma(prior, counts)

    def run(seed):
        q = fit(model, prior, gradient="sticking_the_landing" if sticking else "reparameterized", n_steps=n_steps,
                rng=np.random.default_rng(seed), optimizer=Adam(learning_rate, beta2=beta2), schedule=schedule,
                coordinates=coordinates).q
        return np.log([q.shape, q.rate])

    return run


def adam(gradients: np.ndarray, **settings: float) -> np.ndarray:
    """Where `Adam` goes from 0 by these gradients, (T, D)."""
    optimizer, x, path = Adam(**settings), np.zeros(gradients.shape[1]), []
    state = optimizer.init(x)
    for gradient in gradients:
        x, state = optimizer.update(x, gradient, state)
        path.append(x)
    return np.array(path)

"""What the pathwise estimators share: samples, and how each moves with the parameters of q."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gamma_grad_fast import dlogz_dshape
from vi_ref.special import trigamma_minus_reciprocal_ufunc

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """An estimate of the ELBO, (), and of its gradient in (log shape, log rate), (D,) each."""

    elbo: float
    log_shape: Array
    log_rate: Array


class Paths(NamedTuple):
    """Samples of q with the derivatives of log theta = log z - log rate at fixed noise."""

    log_theta: Array             # (S, D)
    dlogtheta_dlogshape: Array   # (S, D): shape d log z / dshape; in log rate it is -1 throughout
    elbo: float                  # mean of log joint - log q
    force: Array                 # (S, D): d(log joint - log q) / d log theta


def draw(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator) -> Paths:
    """Sample q and differentiate the integrand along each sample's path, book eq. `eq-path-theta`."""
    return along(model, q, sample_log_standard(q.shape, n_samples, rng))


def along(model: Any, q: Gamma, log_z: Array) -> Paths:
    """The paths of standard gamma draws, given by their logarithms, (S, D)."""
    log_theta = log_z - np.log(q.rate)
    log_joint, slope = evaluate(model, log_theta)
    return Paths(
        log_theta,
        q.shape * dlogz_dshape(q.shape, log_z),
        np.mean(log_joint - q.log_density(log_theta).sum(axis=1)),
        slope - q.grad_log_density(log_theta),
    )


def evaluate(model: Any, log_theta: Array) -> tuple[Array, Array]:
    """The model's log joint, (S,), and its slope in log theta, (S, D)."""
    log_theta.flags.writeable = False                    # a model must not change what q is evaluated at
    log_joint, slope = np.asarray(model.log_joint(log_theta)), np.asarray(model.grad_log_joint(log_theta))
    if log_joint.shape != log_theta.shape[:1] or slope.shape != log_theta.shape:
        raise ValueError(f"model must return log_joint of shape {log_theta.shape[:1]} and grad_log_joint of shape "
                         f"{log_theta.shape} for log_theta of shape {log_theta.shape}, "
                         f"got {log_joint.shape} and {slope.shape}")
    return log_joint, slope


def entropy_gradient(q: Gamma) -> tuple[Array, Array]:
    """Gradient of the entropy of log theta in (log shape, log rate), (D,) each: -alpha^2 (psi'(alpha) - 1/alpha), 0.

    It is the exact part of book eq. `eq-almost-elbo`.
    """
    return -q.shape**2 * trigamma_minus_reciprocal_ufunc(q.shape), np.zeros_like(q.rate)

"""The full reparameterisation gradient, as automatic differentiation of the sampled ELBO gives it.

log q(theta; alpha, beta) depends on the parameters twice: through the sample, and directly.
The direct part is the score, whose mean is zero and whose variance is not.
"""

from typing import Any

import numpy as np

from vi_ref.gamma import Gamma
from vi_ref.gradients._paths import Array, Estimate, Paths, along, draw, entropy_gradient
from vi_ref.special import digamma_minus_log_ufunc


def estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator, *,
             exact_entropy: bool = False) -> Estimate:
    """Unbiased pathwise estimate of the ELBO and of its gradient, score included: book eq. `eq-reparameterized`.

    The score is book eq. `eq-score-function-scores`, its mean zero `eq-score-mean-zero`; that the paths' mean is
    the rest of the gradient, `eq-pathwise`.

    Parameters
    ----------
    model : object
        With ``log_joint`` and ``grad_log_joint`` in log theta.
    q : Gamma, shape (D,)
    n_samples : int
        At least 1.
    rng : numpy.random.Generator
    exact_entropy : bool
        Take the samples for the log joint alone, and the gradient of the entropy exactly: book eq. `eq-third-form`.

    Returns
    -------
    Estimate
        At q = posterior its covariance is the Fisher information over n_samples, book
        eq. `eq-variance-at-optimum`:
        the log-shape sd is sqrt(alpha^2 psi'(alpha) / n_samples).

    Raises
    ------
    ValueError
        If an argument is of the wrong kind, or the model returns wrong shapes.

    References
    ----------
    Figurnov, Mohamed & Mnih (2018), eq. 5, for the path of a gamma draw.
    """
    if not isinstance(exact_entropy, bool):
        raise ValueError(f"exact_entropy must be True or False, got {exact_entropy!r}")
    paths = draw(model, q, n_samples, rng)
    if exact_entropy:
        slope = paths.force + q.grad_log_density(paths.log_theta)                      # of the log joint
        log_shape, log_rate = entropy_gradient(q)
        return Estimate(paths.elbo, np.mean(slope * paths.dlogtheta_dlogshape, axis=0) + log_shape,
                        np.mean(-slope, axis=0) + log_rate)
    return _estimate(q, paths)


def given(model: Any, q: Gamma, log_z: Array) -> Estimate:
    """What `estimate` returns when its standard draws are these, given by their logarithms, (S, D)."""
    return _estimate(q, along(model, q, log_z))


def _estimate(q: Gamma, paths: Paths) -> Estimate:
    log_z_over_shape = paths.log_theta - np.log(q.mean)
    score_log_shape = q.shape * (log_z_over_shape - digamma_minus_log_ufunc(q.shape))  # d log q / d log alpha
    score_log_rate = q.grad_log_density(paths.log_theta)                               # alpha - beta theta
    return Estimate(
        paths.elbo,
        np.mean(paths.force * paths.dlogtheta_dlogshape - score_log_shape, axis=0),
        np.mean(-paths.force - score_log_rate, axis=0),
    )

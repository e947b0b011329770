"""The path derivative: the reparameterisation gradient without its score term.

What is left of each sample is (d log joint - d log q)/d log theta times its path, which
is zero, not only on average but for every sample, once q is the posterior.
"""

from typing import Any

import numpy as np

from vi_ref.gamma import Gamma
from vi_ref.gradients._paths import Estimate, draw


def estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator) -> Estimate:
    """Unbiased path-derivative estimate of the ELBO and of its gradient: book eq. `eq-path-derivative`.

    It leaves out the score, whose mean is zero by book eq. `eq-score-mean-zero`.

    Parameters
    ----------
    model : object
        With ``log_joint`` and ``grad_log_joint`` in log theta.
    q : Gamma, shape (D,)
    n_samples : int
        At least 1.
    rng : numpy.random.Generator

    Returns
    -------
    Estimate
        Its variance vanishes as q approaches the posterior.

    References
    ----------
    Roeder, Wu & Duvenaud (2017), Sticking the Landing.
    """
    paths = draw(model, q, n_samples, rng)
    return Estimate(
        paths.elbo,
        np.mean(paths.force * paths.dlogtheta_dlogshape, axis=0),
        -np.mean(paths.force, axis=0),
    )

"""The exact ELBO and gradient in the estimators' signature: the noise-free limit of the others."""

import numpy as np

from vi_ref import exact_elbo
from vi_ref.gamma import Gamma
from vi_ref.gradients._paths import Estimate
from vi_ref.poisson_gamma import PoissonGamma


def estimate(model: PoissonGamma, q: Gamma, n_samples: int = 0, rng: np.random.Generator | None = None) -> Estimate:
    """Closed-form ELBO and gradient; `n_samples` and `rng` are not used.

    Parameters
    ----------
    model : PoissonGamma
        No other model has the closed form.
    q : Gamma, shape (D,)

    Raises
    ------
    ValueError
        If the model is not a `PoissonGamma`.
    """
    if not isinstance(model, PoissonGamma):
        raise ValueError(f"model must be a PoissonGamma for the exact gradient, got {type(model).__name__}")
    return Estimate(exact_elbo.value(model, q), *exact_elbo.gradient(model, q))

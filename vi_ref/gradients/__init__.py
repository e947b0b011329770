"""Monte Carlo gradient estimators of the ELBO, one a file, all of one signature.

``estimate(model, q, n_samples, rng) -> Estimate(elbo, log_shape, log_rate)``

The model needs ``log_joint(log_theta)`` and ``grad_log_joint(log_theta)`` with respect to log theta, and
nothing else; `score_function` and `measure_valued` ask for the first alone. Gradients are in (log shape,
log rate) whatever the fit's coordinates.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from vi_ref._validate import one_of

#: The gradient estimators that there are.
NAMES = ("reparameterized", "sticking_the_landing", "score_function", "generalized_reparameterization",
         "rejection_sampling", "measure_valued", "exact")

__all__ = ["NAMES", "Estimate", "by_name", *NAMES]


def by_name(name: str) -> Callable[..., Any]:
    """The ``estimate`` function of a gradient estimator.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those there are.
    """
    return import_module(f"vi_ref.gradients.{one_of('gradient', name, NAMES)}").estimate


def __getattr__(name: str):
    if name == "Estimate":
        return import_module("vi_ref.gradients._paths").Estimate
    if name in NAMES:
        return import_module(f"vi_ref.gradients.{name}")
    raise AttributeError(f"module 'vi_ref.gradients' has no attribute {name!r}")

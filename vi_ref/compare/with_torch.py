"""The estimate in PyTorch: `rsample` carries the implicit gradient, autograd does the rest."""

from collections.abc import Callable
from typing import Any

import torch

from vi_ref.poisson_gamma import PoissonGamma


def estimator(model: PoissonGamma, n_samples: int) -> Callable[..., Any]:
    """``estimate(parameters)``: the ELBO and its gradient in (log shape, log rate), (2, D), from the sums."""
    A, B, constant = (torch.tensor(x) for x in (model.posterior.shape, model.posterior.rate, model.log_constant))

    def estimate(parameters):
        shape, rate = parameters.exp()
        q = torch.distributions.Gamma(shape, rate, validate_args=False)
        theta = q.rsample((n_samples,))
        log_theta = theta.log()
        log_joint = A * log_theta - B * theta + constant
        elbo = (log_joint - log_theta - q.log_prob(theta)).sum(dim=1).mean()
        return elbo.detach(), torch.autograd.grad(elbo, parameters)[0]

    return estimate

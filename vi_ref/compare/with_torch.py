"""The tutorial's model in PyTorch: `rsample` carries the implicit gradient, autograd does the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.distributions import Beta, Poisson
from torch.distributions import Gamma as TorchGamma

from vi_ref.gamma import Gamma
from vi_ref.poisson_gamma import PoissonGamma


def dz_dshape(shape: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The implicit gradient of draws z of Gamma(shape, 1), broadcast, in the arrays' precision."""
    shape, z = torch.broadcast_tensors(torch.from_numpy(shape), torch.from_numpy(z))
    return torch._standard_gamma_grad(shape, z).numpy()


def sampler(n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(shape, seed)``: `n` draws of Gamma(shape, 1), and the derivative of each in the shape: (2, n)."""
    return _with_slopes(lambda a: TorchGamma(a, torch.ones_like(a)), n, precision)


def beta_sampler(b: float, n: int, precision: str) -> Callable[..., np.ndarray]:
    """``draw(a, seed)``: `n` draws of Beta(a, b), and the derivative of each in a: (2, n)."""
    return _with_slopes(lambda a: Beta(a, torch.full_like(a, b)), n, precision)


def _with_slopes(family: Callable[..., Any], n: int, precision: str) -> Callable[..., np.ndarray]:
    def draw(a, seed):
        torch.manual_seed(seed)
        a = _tensor(np.broadcast_to(a, n), precision).requires_grad_()
        x = family(a).rsample()
        return np.stack([x.detach().numpy(), torch.autograd.grad(x.sum(), a)[0].numpy()])

    return draw


def q_of(u: torch.Tensor, coordinates: str) -> TorchGamma:
    """The Gamma at (log shape, log rate), or at (log shape, log mean)."""
    rate = u[1] if coordinates == "rate" else u[0] - u[1]
    return TorchGamma(u[0].exp(), rate.exp(), validate_args=False)


def sampled_elbo(counts: Any, prior: Gamma, precision: str, n_samples: int = 128, coordinates: str = "rate",
                 sticking: bool = False) -> Callable[..., Any]:
    """``elbo(u)``: its value, and the draws with their log joint and log q; every row of the counts is visited."""
    counts, a, b = (_tensor(x, precision) for x in (counts, prior.shape, prior.rate))
    prior = TorchGamma(a, b)

    def elbo(u):
        q = q_of(u, coordinates)
        theta = q.rsample((n_samples,))
        log_joint = Poisson(theta[:, None, :], validate_args=False).log_prob(counts).sum((1, 2))
        log_joint = log_joint + prior.log_prob(theta).sum(1)
        if sticking:                                          # q moves with its samples alone
            q = q_of(u.detach(), coordinates)
        log_q = q.log_prob(theta).sum(1)
        return (log_joint - log_q).mean(), (theta, log_joint, log_q)

    return elbo


def evaluator(counts: Any, prior: Gamma, precision: str) -> Callable[..., Any]:
    """``evaluate(u, seed)`` at u = (log shape, log rate): draws, their log joint and log q, ELBO and gradient."""
    elbo = sampled_elbo(counts, prior, precision)

    def evaluate(u, seed):
        torch.manual_seed(seed)
        u = _tensor(u, precision).requires_grad_()
        value, of_draws = elbo(u)
        gradient, = torch.autograd.grad(value, u)
        return tuple(x.detach().numpy() for x in (*of_draws, value, gradient))

    return evaluate


def fitter(counts: Any, prior: Gamma, precision: str, n_steps: int, *, learning_rate: float, beta2: float,
           schedule: str, coordinates: str, sticking: bool) -> Callable[[int], np.ndarray]:
    """``run(seed)``: log shape and log rate after `n_steps` from the prior."""
    elbo = sampled_elbo(counts, prior, precision, coordinates=coordinates, sticking=sticking)

    def run(seed):
        torch.manual_seed(seed)
        u = _tensor(np.log([prior.shape, prior.rate if coordinates == "rate" else prior.mean]), precision)
        optimizer = torch.optim.Adam([u.requires_grad_()], lr=learning_rate, betas=(0.9, beta2))
        falling = schedule == "cosine" and torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(n_steps):
            optimizer.zero_grad()
            value, _ = elbo(u)
            (-value).backward()
            optimizer.step()
            if falling:
                falling.step()
        q = q_of(u.detach(), coordinates)
        return torch.stack([q.concentration, q.rate]).log().numpy()

    return run


def adam(gradients: np.ndarray, **settings: float) -> np.ndarray:
    """Where PyTorch's Adam goes from 0 by these gradients, (T, D), in their precision."""
    x, path = torch.zeros(gradients.shape[1], dtype=torch.from_numpy(gradients).dtype, requires_grad=True), []
    optimizer = torch.optim.Adam([x], lr=settings["learning_rate"], betas=(settings["beta1"], settings["beta2"]),
                                 eps=settings["epsilon"])
    for gradient in torch.from_numpy(gradients):
        x.grad = gradient.clone()
        optimizer.step()
        path.append(x.detach().numpy().copy())
    return np.array(path)


def estimator(model: PoissonGamma, n_samples: int) -> Callable[..., Any]:
    """``estimate(u)``: the ELBO and its gradient in float64, from the sums A and B: as little work as can be."""
    A, B, constant = (torch.tensor(x) for x in (model.posterior.shape, model.posterior.rate, model.log_constant))

    def estimate(u):
        u = torch.tensor(u, requires_grad=True)
        q = q_of(u, "rate")
        theta = q.rsample((n_samples,))
        log_theta = theta.log()
        log_joint = A * log_theta - B * theta + constant
        elbo = (log_joint - log_theta - q.log_prob(theta)).sum(dim=1).mean()
        return elbo.detach(), torch.autograd.grad(elbo, u)[0]

    return estimate


def _tensor(x: Any, precision: str) -> torch.Tensor:
    return torch.tensor(np.asarray(x), dtype=getattr(torch, precision))

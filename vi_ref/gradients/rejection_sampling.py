"""Reparameterisation through a rejection sampler: the path of the accepted proposal, and a correction.

Marsaglia & Tsang turn a normal draw x into z = h(x, a) = (a - 1/3) (1 + x / sqrt(9a - 3))^3 and accept some: the
density of the accepted ones still depends on a, the less the larger a is. So the shape is first raised,
a = alpha + B, and lowered again by B uniform draws: z = h(x, a) prod_i U_i^(1 / (alpha + i - 1)).
Only E_q[log joint] is estimated so; the gradient of the entropy of log theta is exact.
"""

from typing import Any

import numpy as np

from vi_ref._validate import require, whole
from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gradients._paths import Array, Estimate
from vi_ref.gradients.generalized_reparameterization import corrected
from vi_ref.special import digamma_minus_log_ufunc


def estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator, *, augmentation: int = 1) -> Estimate:
    """Unbiased estimate of the ELBO and of its gradient by the accepted x and the uniform draws U.

    No rejection loop is needed: h increases in x, so x = sqrt(9a - 3) ((z / (a - 1/3))^(1/3) - 1) of a gamma draw z,
    however made, is distributed exactly as an accepted proposal, with density q(h) dh/dx.

    Parameters
    ----------
    model : object
        With ``log_joint`` and ``grad_log_joint`` in log theta.
    q : Gamma, shape (D,)
    n_samples : int
        At least 1.
    rng : numpy.random.Generator
    augmentation : int
        B, at least 0; at least 1 where a shape is below 1: there the correction's variance grows, without bound at 2/3.

    Returns
    -------
    Estimate
        The correction's rms in log shape falls as sqrt(2/243) alpha / (alpha + B)^2. What is left as B grows is a
        path of B + 1 draws, which given z still varies about the implicit path: so the variance does not fall
        to that of the implicit path, but at log joint = log theta to alpha^2 psi'''(alpha) / 6 (book eq.
        `eq-left-over`). In log rate, where nothing is to be corrected, the variance at q = posterior is alpha
        / n_samples.

    Raises
    ------
    ValueError
        If B is not a whole number of at least 0, or is 0 with a shape below 1.

    References
    ----------
    Naesseth, Ruiz, Linderman & Blei (2017), Reparameterization Gradients through Acceptance-Rejection Sampling
    Algorithms, on the gamma and its shape augmentation; Marsaglia & Tsang (2000) for h.
    """
    return corrected(model, q, *draw(q.shape, n_samples, rng, augmentation))


def draw(shape: Array, n_samples: int, rng: np.random.Generator, augmentation: int) -> tuple[Array, Array, Array]:
    """Draws of log z, book eq. `eq-augmented`, their path and the correction of the raised draw, (S, D) each.

    Both are derivatives in the shape, at fixed x and U.
    """
    B = whole("augmentation", augmentation, 0)
    require("shape", "at least 1 unless augmentation >= 1", shape, (shape >= 1) | (B > 0))
    log_z = sample_log_standard(shape + B, n_samples, rng)
    path, correction = path_and_correction(shape + B, log_z)
    for i in range(B):
        power = 1 / (shape + i)
        drop = power * rng.standard_exponential(log_z.shape)           # -log(U) / (alpha + i)
        log_z = log_z - drop
        path = path + power * drop
    return log_z, path, correction


def path_and_correction(a: Array, log_z: Array) -> tuple[Array, Array]:
    """d/da, at fixed x, of log h(x, a) and of log[q(h) dh/dx], (S, D) each; a is the raised shape.

    Book eqs. `eq-marsaglia-tsang` and `eq-rejection-correction`. With d = a - 1/3 and w = (z/d)^(1/3) = 1 + x
    / (3 sqrt(d)) the correction is (log z - psi(a)) + (a - z) path + d path / d log z. The last, -1 / (2 d
    w), cancels by hand against a part of the middle one, which leaves (x^4 - 3) / (108 d^2) + O(d^(-5/2)).
    """
    d = a - 1 / 3
    u = log_z - np.log(d)                                              # 3 log w
    path = (3 * np.exp(-u / 3) - 1) / (2 * d)                          # (3/w - 1) / (2d)
    constant = np.log1p(-1 / (3 * a)) - 1 / (6 * d) - digamma_minus_log_ufunc(a)   # log d - 1/(6d) - psi(a)
    return path, u - d * np.expm1(u) * path + constant

"""Measure-valued gradients: the derivative of the density, as a multiple of the difference of two densities.

As d q_d / d parameter = c (p_plus - p_minus), that of E[f] is c (E_plus[f] - E_minus[f]): one coordinate of a
draw is replaced, the others stay, and f is not differentiated. In the rate the two are q_d and Gamma(shape + 1,
rate); in the shape, the parts of q_d (log z - psi(shape)) on either side of its zero. A constant in f cancels in
each draw, and with the same noise for both densities so does most of f.
"""

from typing import Any

import numpy as np

from vi_ref._validate import generator, require, whole
from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gamma_grad_fast import dlogz_dshape
from vi_ref.gradients._paths import Array, Estimate

_SMALLEST, _LARGEST = 1e-8, 1e6                          # shapes for which the inversion is tested
_STEPS = 30                                              # of Newton's method, at most; the tests see up to 15


def estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator, *, coupled: bool = True) -> Estimate:
    """Unbiased measure-valued estimate of the gradient of the ELBO, book eq. `eq-weak-derivative`; the ELBO is a mean.

    The integrand is f = log joint - log q with the parameters inside f held: what that leaves out is the score,
    whose mean is zero. With theta ~ q_d, E ~ Exp(1), z = rate theta and P the incomplete gamma function

        d E[f] / d log rate  = shape E[f(theta) - f(theta + E / rate)]
        d E[f] / d log shape = shape c E[f(z_plus / rate) - f(z_minus / rate)],    c = -dP/dshape at e^psi(shape),

    z_minus and z_plus of densities proportional to abs(log z - psi(shape)) p(z; shape) to the left and to the
    right of e^psi(shape): -dP/dshape is c u at z_minus and c (1 - u) at z_plus, u uniform, and both rise with u.

    The model is asked for 3 D + 1 values a draw: two replacements of a coordinate for its shape, one for its
    rate (whose other one is the draw itself), and the draw. They come in D calls of 3 n_samples rows.

    Parameters
    ----------
    model : object
        With ``log_joint`` in log theta; its gradient is not used.
    q : Gamma, shape (D,)
        Of shapes in [1e-8, 1e6].
    n_samples : int
        At least 1.
    rng : numpy.random.Generator
    coupled : bool
        One u for both sides, and theta + E / rate for the rate; if False, two u, and a draw of
        Gamma(shape + 1, rate) that has nothing to do with theta. No coupling of the sides has a
        lower variance where f is monotone in theta.

    Returns
    -------
    Estimate
        At q = posterior f is constant: each draw's gradient is zero up to rounding, that of f times shape c in
        log shape and times the shape in log rate. shape c tends to 1/e for small shapes and to
        sqrt(shape / 2 pi) for large ones. For f = log theta at shape 30 the sd of one draw in log shape is 0.0995,
        0.379 if not coupled, and 18.6 for the score function; for f = theta, that in log rate is
        shape / rate, or sqrt(2 shape + 1) times as much if not coupled.

    Raises
    ------
    ValueError
        If a shape is outside its domain, an argument is of the wrong kind, or the model returns a wrong shape.

    References
    ----------
    Mohamed, Rosca, Figurnov & Mnih (2020), Monte Carlo Gradient Estimation in Machine Learning;
    Pflug (1996), Optimization of Stochastic Models, for weak derivatives.
    """
    require("q.shape", f"in [{_SMALLEST:g}, {_LARGEST:g}] for measure_valued", q.shape,
            (q.shape >= _SMALLEST) & (q.shape <= _LARGEST))
    if not isinstance(coupled, bool):
        raise ValueError(f"coupled must be True or False, got {coupled!r}")
    draws = draw(q, whole("n_samples", n_samples, 1), generator("rng", rng), coupled)
    return Estimate(*(np.mean(values, axis=0) for values in weak_derivatives(model, q, *draws)))


def draw(q: Gamma, n_samples: int, rng: np.random.Generator, coupled: bool) -> tuple[Array, Array]:
    """Draws of log theta, (S, D), and what replaces each: (3, S, D), by z_minus, z_plus and book eq. `eq-weak-rate`."""
    log_z = sample_log_standard(q.shape, n_samples, rng)
    u = rng.random((1 if coupled else 2, *log_z.shape))
    if coupled:                                          # Gamma(shape) + Exp(1) = Gamma(shape + 1)
        higher = np.logaddexp(log_z, sample_log_standard(np.ones_like(q.shape), n_samples, rng))
    else:
        higher = sample_log_standard(q.shape + 1, n_samples, rng)
    return log_z - np.log(q.rate), np.stack([*_sides(q.shape, u[0], u[-1]), higher]) - np.log(q.rate)


def weak_derivatives(model: Any, q: Gamma, log_theta: Array, replaced: Array) -> tuple[Array, Array, Array]:
    """f of each draw, (S,), and its weak derivatives in log shape and in log rate, (S, D) each.

    Book eq. `eq-weak-derivative` with `eq-weak-shape` and `eq-weak-rate`.
    """
    log_theta.flags.writeable = False                    # a model must not change what the others are held at
    log_joint, log_q = _log_joint(model, log_theta), q.log_density(log_theta)
    f = -q.log_density(replaced)                         # log q of the columns held is in no difference
    for d in range(q.shape.size):
        rows = np.tile(log_theta, (3, 1))
        rows[:, d] = replaced[:, :, d].ravel()
        f[:, :, d] += _log_joint(model, rows).reshape(3, -1)
    minus, plus, higher = f
    c = np.exp(_log_level(q.shape, Gamma(q.shape, 1.0).mean_log)[0])
    return (
        log_joint - log_q.sum(axis=1),
        q.shape * c * (plus - minus),
        q.shape * (log_joint[:, None] - log_q - higher),
    )


def _sides(shape: Array, u_minus: Array, u_plus: Array) -> tuple[Array, Array]:
    """log z_minus and log z_plus, where -dP/dshape is c u_minus and c (1 - u_plus), from starts further out.

    Book eq. `eq-weak-coupling`.
    """
    psi = Gamma(shape, 1.0).mean_log
    log_c, curvature = _log_level(shape, psi)            # log(-dP/dshape) is log_c - (log z - psi)^2 / (2 curvature)
    minus, plus = -np.log(np.maximum(u_minus, 2.0**-54)), -np.log1p(-u_plus)
    far_left = psi - np.sqrt(2 * curvature * minus) - minus / shape
    far_right = np.minimum(psi + np.sqrt(2 * curvature * plus), np.log(1 + shape + np.sqrt(2 * shape * plus) + plus))
    return _solve(shape, psi, log_c - minus, far_left), _solve(shape, psi, log_c - plus, far_right)


def _solve(shape: Array, psi: Array, level: Array, log_z: Array) -> Array:
    """The log z on the side of its start where log(-dP/dshape) = level, by Newton's method.

    Book eq. `eq-weak-coupling`. In log z it is concave, on each side the logarithm of an integral of a
    log-concave function, so that steps from further out never pass the root; u is right to 1e-12 + 2e-14
    sqrt(shape), relative.
    """
    tolerance = 1e-12 + 2e-14 * np.sqrt(shape)
    for _ in range(_STEPS):
        value, ratio = _log_level(shape, log_z)
        excess = value - level
        unsolved = np.abs(excess) > tolerance
        if not unsolved.any():
            break
        slope = (psi - log_z) / ratio                    # d(-dP/dshape) / d log z = (psi - log z) z p
        log_z = log_z - np.divide(excess, slope, out=np.zeros_like(excess), where=unsolved)
    return log_z


def _log_level(shape: Array, log_z: Array) -> tuple[Array, Array]:
    """log(-dP/dshape), the log density of log z plus the logarithm of d log z / dshape, and the latter."""
    ratio = dlogz_dshape(shape, log_z)
    return Gamma(shape, 1.0).log_density(log_z) + np.log(ratio), ratio


def _log_joint(model: Any, log_theta: Array) -> Array:
    log_joint = np.asarray(model.log_joint(log_theta))
    if log_joint.shape != log_theta.shape[:1]:
        raise ValueError(f"model must return log_joint of shape {log_theta.shape[:1]} for log_theta of shape "
                         f"{log_theta.shape}, got {log_joint.shape}")
    return log_joint

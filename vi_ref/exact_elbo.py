"""The evidence lower bound of the Poisson-gamma model in closed form, with its gradients.

For q = Gamma(alpha, beta) and the exact posterior Gamma(A, B) each column adds

    (A - alpha) psi(alpha) - A log beta - B alpha / beta + alpha + log Gamma(alpha) + const.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, polygamma, psi

from vi_ref.gamma import Gamma
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]


def _terms(model: PoissonGamma, q: Gamma) -> tuple[Array, ...]:
    if q.shape.shape != model.posterior.shape.shape:
        raise ValueError(f"q must have shape {model.posterior.shape.shape}, as the model has, got {q.shape.shape}")
    A, B = model.posterior.shape, model.posterior.rate
    return (
        (A - q.shape) * psi(q.shape),        # E[log joint] and entropy, what multiplies psi
        -A * np.log(q.rate),
        -B * q.shape / q.rate,
        q.shape + gammaln(q.shape),          # the rest of the entropy of log theta
        model.log_constant,
    )


def value(model: PoissonGamma, q: Gamma) -> float:
    """The exact ELBO, E_q[log p(x, theta) - log q(theta)], in nats: book eq. `eq-elbo-value`.

    Parameters
    ----------
    model : PoissonGamma
    q : Gamma, shape (D,)

    Returns
    -------
    float
        Less the log evidence, it is off by at most `rounding`.

    Examples
    --------
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> value(model, model.prior).round(6), (value(model, model.posterior) - model.log_evidence).round(12)
    (np.float64(-10.774192), np.float64(0.0))
    """
    return np.sum(_terms(model, q))


def rounding(model: PoissonGamma, q: Gamma) -> float:
    """A bound on the rounding error of ``value(model, q) - model.log_evidence``.

    Book eq. `eq-gap-rounding`. Each term carries at most 8 roundings of 2^-53 of its own size, those of its
    logarithm or log Gamma included, and passes at most 5 + D additions of numbers
    no larger than the sum of sizes. That SciPy's psi and log Gamma keep to their share is
    taken on trust; ``tests/test_exact_elbo.py`` holds the bound against mpmath.
    """
    sizes = [np.abs(term).sum() for term in _terms(model, q)]
    A, B = model.posterior.shape, model.posterior.rate
    a, b = model.prior.shape, model.prior.rate
    sizes += [np.sum(np.abs(term)) for term in (gammaln(A), A * np.log(B), a * np.log(b), gammaln(a), model._log_base)]
    return (13 + A.size) * 2.0**-53 * np.sum(sizes)


def gradient(model: PoissonGamma, q: Gamma) -> tuple[Array, Array]:
    """Gradient of `value` in (log shape, log rate), each of shape (D,): book eq. `eq-elbo-gradient`.

    Both are written in differences from the posterior, which keeps their
    relative accuracy as q approaches it:

        d/d log alpha = alpha [(A - alpha) psi'(alpha) - (B - beta) / beta]
        d/d log beta  = alpha (B - beta) / beta - (A - alpha).
    """
    _terms(model, q)
    to_shape, to_rate = natural_gradient(model, q)
    log_shape = q.shape * (to_shape * polygamma(1, q.shape) - to_rate / q.rate)
    log_rate = q.shape * to_rate / q.rate - to_shape
    return log_shape, log_rate


def natural_gradient(model: PoissonGamma, q: Gamma) -> tuple[Array, Array]:
    """Natural gradient of `value` in (shape, rate): (A - alpha, B - beta), book eq. `eq-natural-gradient`.

    The Fisher information of Gamma(alpha, beta) in (shape, rate) is
    [[psi'(alpha), -1/beta], [-1/beta, alpha/beta^2]], book eq. `eq-fisher`; its inverse turns the gradient
    into the distance to the posterior, so that one unit step is exact.

    Examples
    --------
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> natural_gradient(model, model.prior)
    (array([8., 1.]), array([2., 2.]))
    """
    return model.posterior.shape - q.shape, model.posterior.rate - q.rate


def cross_check(model: PoissonGamma, q: Gamma) -> dict[str, Any]:
    """How far q is from the exact posterior.

    Returns
    -------
    dict
        Relative errors ``{"max": ..., "median": ...}`` over the columns under ``"shape"``,
        ``"rate"``, ``"mean"`` and ``"sd"``; in nats ``"kl"``, KL(q || posterior), and
        ``"evidence_gap"``, log evidence - ELBO, which equals it and is computed apart from
        it (book eq. `eq-elbo-gap`), up to ``"evidence_gap_rounding"``.
    """
    checks: dict[str, Any] = {}
    for name in ("shape", "rate", "mean", "sd"):
        exact = getattr(model.posterior, name)
        error = np.abs(getattr(q, name) - exact) / exact
        checks[name] = {"max": float(error.max()), "median": float(np.median(error))}
    checks["kl"] = float(q.kl(model.posterior).sum())
    checks["evidence_gap"] = float(model.log_evidence - value(model, q))
    checks["evidence_gap_rounding"] = float(rounding(model, q))
    return checks

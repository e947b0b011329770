"""How far q is from the target, as its importance weights see it: the shape k-hat of their tail."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vi_ref._validate import generator, require, whole
from vi_ref.diagnostics.pareto import Psis, psis
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Khat:
    """Smoothed importance weights of q for a model."""

    joint: Psis             #: of all columns together, what an average over q weighted towards the target would use
    columns: Psis | None    #: of each column's factor, (S, D); None where the log joint does not fall into such factors


def khat(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator, *, resolution: float = 1e-8) -> Khat:
    """Draw from q, weigh by joint density over q, and fit the tail of the weights.

    In many columns the joint k-hat is large for a q that is fair in each: their log weights add up. A low k-hat is no
    proof. It says that weights can mend q, not that q is right: 0.9 of the posterior's sd has k = 0.19. Draws of q say
    nothing about where q does not go, and a q too wide in one column has k at most 0. At 1e4 draws the sd of k-hat is
    about 0.1, so near the threshold the verdict changes with the seed.

    Parameters
    ----------
    model : object
        With ``log_joint(log_theta)``, (S, D) -> (S,), with respect to log theta. Where it has ``log_joint_terms``,
        every factor that touches a column, (S, D), columns are judged apart if no factor touches two. Such a factor
        would be counted twice: the sum of the terms less the log joint would change from draw to draw.
    q : Gamma, shape (D,)
    n_samples : int
        Draws S, at least 2; `psis` asks for 21.
    rng : numpy.random.Generator
    resolution : float
        Log weights closer than that count as equal. The default is above what rounding leaves when q is the posterior
        itself, of up to 3000 columns whose shape times log theta is up to 1e6 each.

    Returns
    -------
    Khat

    Raises
    ------
    ValueError
        If q does not fit the model, or the log joint is not of shape (S,), is NaN or inf at a draw, or -inf at all.

    Examples
    --------
    >>> from vi_ref import PoissonGamma
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> A, B = model.posterior.shape, model.posterior.rate
    >>> narrow = Gamma(4 * A, 4 * B)                     # the posterior's means, half its sd
    >>> khat(model, narrow, 10_000, np.random.default_rng(0)).columns.khat.round(2), khat_gamma(narrow, model.posterior)
    (array([0.75, 0.71]), array([0.75, 0.75]))
    >>> khat(model, model.posterior, 10_000, np.random.default_rng(0)).joint.khat
    np.float64(-inf)
    """
    n_samples, rng = whole("n_samples", n_samples, 2), generator("rng", rng)
    if not callable(getattr(model, "log_joint", None)):
        raise ValueError(f"model must have a method log_joint(log_theta), got {type(model).__name__}")
    if not isinstance(q, Gamma) or q.shape.ndim != 1:
        raise ValueError(f"q must be a vi_ref.Gamma of shape (D,), got {q!r:.60}")
    log_theta = q.sample_log(n_samples, rng)
    log_q, log_joint = q.log_density(log_theta), _returned(model, "log_joint", log_theta, (n_samples,))
    require("log_joint", "below inf, not NaN", log_joint, log_joint < np.inf)
    joint = psis(log_joint - log_q.sum(axis=1), resolution=resolution)
    if not callable(getattr(model, "log_joint_terms", None)):
        return Khat(joint, None)
    terms = _returned(model, "log_joint_terms", log_theta, log_theta.shape)
    if not _add_up(terms, log_joint):
        return Khat(joint, None)
    return Khat(joint, psis(terms - log_q, resolution=resolution))


def _returned(model: Any, name: str, log_theta: Array, shape: tuple[int, ...]) -> Array:
    """What the model's method makes of the draws, of that shape."""
    value = np.asarray(getattr(model, name)(log_theta))
    if value.shape != shape:
        raise ValueError(f"model must return {name} of shape {shape} for log_theta of shape {log_theta.shape}, "
                         f"got {value.shape}")
    return value


def _add_up(terms: Array, log_joint: Array) -> bool:
    """Whether the terms' sum is the log joint up to a constant and rounding, and -inf where that is."""
    possible = log_joint > -np.inf
    if not np.array_equal(possible, (terms > -np.inf).all(axis=1)):
        return False
    terms, log_joint = terms[possible], log_joint[possible]
    return np.ptp(terms.sum(axis=1) - log_joint) <= 1e-10 * np.abs(terms).sum(axis=1).max()


def khat_gamma(q: Gamma, target: Gamma) -> Array:
    """The k that k-hat estimates, for q = Gamma(alpha, beta) and a target Gamma(A, B): book eq. `eq-khat-gamma`.

    The weight is proportional to theta^(A - alpha) e^((beta - B) theta). Its upper tail is max(0, 1 - B/beta,
    1 - A/alpha): the second where q's right tail is too short, the third where q vanishes too fast at 0. Otherwise 0
    is returned: if the rates are equal and A is above alpha the weights are a power of theta, of which all moments are
    finite; in all other cases they are bounded, and the k of their tail may be negative.

    Parameters
    ----------
    q, target : Gamma
        Broadcast against each other.

    Notes
    -----
    k-hat is slow to get there. At 1e5 draws the right tail's excess is a power with a factor of
    (log w)^(alpha - 1 + (A - alpha) / k), which moves k-hat by about k^2 (alpha - 1 + (A - alpha) / k) / log w; the
    left one's is a pure power only where draws come near 0, at shapes of a few.

    Examples
    --------
    >>> khat_gamma(Gamma([4.0, 4.0, 2.0], [4.0, 2.0, 1.0]), Gamma(3.0, 2.0))
    array([0.5 , 0.25, 0.  ])
    """
    return np.maximum(0, np.maximum(1 - target.rate / q.rate, 1 - target.shape / q.shape))

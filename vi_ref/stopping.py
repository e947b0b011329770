"""When to stop a fit at a constant learning rate: two rules, one for each kind of gradient estimate.

At the optimum the noise of some gradient estimates vanishes: their size alone then bounds the distance. That of the
others stays, and so does the iterates' unrest: what settles is their average. Distances are in nats, KL(q || optimum),
to second order with the Fisher information of q; no coordinates enter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref._validate import between, real, require, whole
from vi_ref.coordinates import fisher
from vi_ref.gamma import Gamma
from vi_ref.gradients import NAMES, by_name

Array = NDArray[np.float64]

#: Gradient estimators whose variance is zero where q is the posterior.
VANISHING = ("sticking_the_landing", "measure_valued", "exact")


def estimated_kl(q: Gamma, log_shape: ArrayLike, log_rate: ArrayLike) -> float:
    """Half g^T F^-1 g: the KL divergence, in nats, from q to the optimum that a gradient g speaks of.

    Book eq. `eq-estimated-kl`. Where the posterior is in the family, g = F (w* - w) near it to first order, F the
    Fisher information, which makes it the divergence to second order. Noise adds half the trace of F^-1 Cov(g), so that
    on average an estimated g tells too much.

    Parameters
    ----------
    q : Gamma, shape (D,)
    log_shape, log_rate : array_like, shape (D,)
        Gradient of the ELBO in (log shape, log rate).

    Examples
    --------
    >>> from vi_ref import PoissonGamma, exact_elbo
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> q = Gamma(1.01 * model.posterior.shape, model.posterior.rate)
    >>> print(f"{estimated_kl(q, *exact_elbo.gradient(model, q)):.3e}, {q.kl(model.posterior).sum():.3e} nats")
    6.960e-04, 6.985e-04 nats
    """
    at_fixed_mean = np.stack([np.add(log_shape, log_rate), np.negative(log_rate)])
    return float(0.5 * np.sum(at_fixed_mean**2 / fisher(q.shape)))


def split_r_hat(draws: ArrayLike) -> Array:
    """How much wider the whole of a sequence is than its halves: 1 when they agree, for each column.

    Book eq. `eq-split-r-hat` (Gelman et al. 2013, section 11.4): sqrt(((n - 1)/n V + V_2) / V) for halves of n draws,
    V the mean of their variances and V_2 the variance of their means. Where no draw differs from another it is 1;
    where the halves are still but apart, infinite.

    Parameters
    ----------
    draws : array_like, shape (N, ...)
        N at least 4; with N odd the first is left out.

    Examples
    --------
    >>> split_r_hat([[0.0, 0.0], [1.0, 1.0], [0.0, 5.0], [1.0, 6.0]]).round(3)
    array([0.707, 5.05 ])
    """
    draws = _sequence(draws)
    n = len(draws) // 2
    draws = draws[len(draws) - 2 * n:]
    halves = draws.reshape(2, n, *draws.shape[1:])
    within, between_means = halves.var(axis=1, ddof=1).mean(axis=0), halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_hat = np.sqrt((n - 1) / n + between_means / within)
    return np.where(np.ptp(draws, axis=0) == 0, 1.0, r_hat)


def effective_sample_size(draws: ArrayLike) -> Array:
    """How many independent draws would have a mean as certain as that of a sequence, for each column.

    Book eq. `eq-effective-sample-size`: N / (-1 + 2 sum_k (rho_2k + rho_2k+1)), the pairs of its autocorrelations up
    to the first that is not positive and none larger than the one before (Geyer 1992, the initial monotone sequence).
    At least 1 and at most N log10 N, which sequences that swing from side to side can exceed; N where no draw differs
    from another.

    Parameters
    ----------
    draws : array_like, shape (N, ...)
        N at least 4.

    Examples
    --------
    >>> from scipy.signal import lfilter
    >>> steps = np.random.default_rng(0).standard_normal(100_000)
    >>> walk = lfilter([1], [1, -0.9], steps)                  # x_t = 0.9 x_t-1 + step: truth N (1 - 0.9) / (1 + 0.9)
    >>> (effective_sample_size(walk) / (100_000 / 19)).round(2)
    np.float64(0.92)
    """
    draws = _sequence(draws)
    n = len(draws)
    centred = draws - draws.mean(axis=0)
    length = 1 << (2 * n - 1).bit_length()                            # room for the sums not to wrap around
    spectrum = np.abs(np.fft.rfft(centred, length, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, length, axis=0)[:n]
    still = np.ptp(draws, axis=0) == 0
    rho = covariance / np.where(still, 1.0, covariance[0])
    pairs = rho[0:n - 1:2] + rho[1:n:2]
    positive = np.cumprod(pairs > 0, axis=0)
    time = -1 + 2 * (positive * np.minimum.accumulate(pairs, axis=0)).sum(axis=0)
    return np.where(still, n, n / np.clip(time, 1 / np.log10(n), n))


def kl_of_average(draws: Array) -> tuple[Gamma, float]:
    """The average of iterates as a Gamma, and how far it is at most from the mean that they wander about, in nats.

    Book eq. `eq-kl-of-average`. The average's error has the Monte Carlo standard error e_i = sd_i / sqrt(ESS_i) in
    coordinate i and costs half sum_i F_i e_i^2 nats on average; twice the standard deviation of that, which for normal
    errors is sqrt(half sum_i (F_i e_i^2)^2), is added.

    Parameters
    ----------
    draws : ndarray, shape (N, 2, D)
        Iterates in (log shape, log mean).
    """
    log_shape, log_mean = draws.mean(axis=0)
    q = Gamma(np.exp(log_shape), np.exp(log_shape - log_mean))
    cost = fisher(q.shape) * draws.var(axis=0, ddof=1) / effective_sample_size(draws)
    return q, float(0.5 * cost.sum() + 2 * np.sqrt(0.5 * np.sum(cost**2)))


@dataclass(frozen=True)
class GradientVanishes:
    """Stop once `estimated_kl` has been below `nats` at `steps` steps in a row: for estimates without noise at the end.

    The fit's result is the q that the last of these estimates was made at, and no step later: under a constant
    rate the optimiser throws q back now and then (the book's chapter on Adam says why), which no average shows. Where
    the posterior is no product of gammas the noise stays, and is in the estimates: the rule then holds only where
    `nats` is above it, and F is near the curvature at best.

    Parameters
    ----------
    nats : float
        Positive.
    steps : int
        At least 1. An estimate from few samples may be small by chance.
    """

    nats: float = 1e-4
    steps: int = 10

    def __post_init__(self):
        between("nats", self.nats, 0, np.inf)
        whole("steps", self.steps, 1)

    def suits(self, gradient: str | Callable[..., Any]) -> None:
        """Raise unless the estimates of a gradient lose their noise at the optimum; one of your own is trusted."""
        if vanishes(gradient) is False:
            raise ValueError(f"stopping by GradientVanishes must have a gradient whose noise vanishes at the optimum "
                             f"({', '.join(VANISHING)}, score_function with a baseline), got {_ours(gradient)[0]}; "
                             "for this one take AverageSettles")

    def before_step(self, memory: dict[str, Any], q: Gamma, estimated: Any) -> bool:
        """Whether to stop at q, on an estimate made there; `memory` is the rule's own from step to step."""
        memory["nats"] = estimated_kl(q, estimated.log_shape, estimated.log_rate)
        memory["in a row"] = memory.get("in a row", 0) + 1 if memory["nats"] < self.nats else 0
        return memory["in a row"] == self.steps

    def after_step(self, memory: dict[str, Any], q: Gamma) -> bool:
        """Never stops."""
        return False

    def verdict(self, memory: dict[str, Any], converged: bool) -> tuple[None, str]:
        """No average, and what the rule saw last."""
        held = f"below {self.nats:g} {self.steps} times in a row" if converged else f"the rule asks for {self.nats:g}"
        return None, f"estimated KL to the optimum {memory['nats']:.2g} nats, {held}"


@dataclass(frozen=True)
class AverageSettles:
    """Stop once the average of the later half of the iterates is known to `nats`: for estimates whose noise stays.

    Every `every` steps, or a tenth of those taken where that is more, the later half of all iterates is looked at, in
    (log shape, log mean). It is averaged when its `split_r_hat` is below `r_hat` in all coordinates, and the fit ends
    when moreover the effective sample size of each is at least `ess` and `kl_of_average` at most `nats` (after Dhaka et
    al. 2020). The result is the average. That the iterates wander about the optimum itself, and not beside it, is not
    seen: that bias falls with the learning rate.

    Parameters
    ----------
    nats : float
        Positive.
    r_hat : float
        Above 1.
    ess : float
        Positive.
    every : int
        At least 4.
    """

    nats: float = 1e-2
    r_hat: float = 1.1
    ess: float = 20.0
    every: int = 100

    def __post_init__(self):
        between("nats", self.nats, 0, np.inf)
        between("r_hat", self.r_hat, 1, np.inf)
        between("ess", self.ess, 0, np.inf)
        whole("every", self.every, 4)

    def suits(self, gradient: str | Callable[..., Any]) -> None:
        """Raise unless the estimates of a gradient keep their noise at the optimum; one of your own is trusted."""
        if vanishes(gradient):
            raise ValueError(f"stopping by AverageSettles must have a gradient whose noise stays at the optimum, got "
                             f"{_ours(gradient)[0]}, under which R-hat misleads; for this one take GradientVanishes")

    def before_step(self, memory: dict[str, Any], q: Gamma, estimated: Any) -> bool:
        """Never stops."""
        return False

    def after_step(self, memory: dict[str, Any], q: Gamma) -> bool:
        """Whether to stop after a step to q; `memory` holds all iterates."""
        draws = memory.setdefault("draws", [])
        draws.append(np.log([q.shape, q.mean]))
        if len(draws) % self.every or 10 * len(draws) < 11 * memory.get("looked", 0):
            return False
        memory["looked"] = len(draws)
        memory["r_hat"], memory["ess"], memory["nats"] = self._look(draws)
        return memory["ess"] >= self.ess and memory["nats"] <= self.nats

    def _look(self, draws: list[Array]) -> tuple[float, float, float]:
        """R-hat, least effective sample size and bound on the KL of the later half; 0 and inf while it drifts."""
        later = np.stack(draws[len(draws) // 2:])
        r_hat = float(split_r_hat(later).max()) if len(later) >= 4 else np.inf
        if not r_hat < self.r_hat:
            return r_hat, 0.0, np.inf
        return r_hat, float(effective_sample_size(later).min()), kl_of_average(later)[1]

    def verdict(self, memory: dict[str, Any], converged: bool) -> tuple[Gamma | None, str]:
        """The average, where R-hat allows it, and what the rule saw last."""
        draws = memory["draws"]
        r_hat, ess, nats = self._look(draws)
        if not r_hat < self.r_hat:
            return None, f"R-hat of the later half {r_hat:.3g}, not below {self.r_hat:g}: it is not averaged"
        return kl_of_average(np.stack(draws[len(draws) // 2:]))[0], (
            f"average of {len(draws) - len(draws) // 2} iterates, KL at most {nats:.2g} nats (the rule asks for "
            f"{self.nats:g}), R-hat {r_hat:.3g} ({self.r_hat:g}), effective sample size {ess:.3g} ({self.ess:g})")


def vanishes(gradient: str | Callable[..., Any]) -> bool | None:
    """Whether the noise of a gradient's estimates is zero where q is the posterior; None for a function not ours.

    Examples
    --------
    >>> from vi_ref.gradients import score_function
    >>> vanishes("sticking_the_landing"), vanishes("reparameterized"), vanishes(lambda *_: None)
    (True, False, None)
    >>> vanishes(score_function.estimate), vanishes(partial(score_function.estimate, baseline="leave_one_out"))
    (False, True)
    """
    name, options = _ours(gradient)
    if name == "score_function":
        return options.get("baseline", "none") != "none"
    return name in VANISHING if name else None


def _ours(gradient: str | Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """The name of one of our gradient estimators and the options that it is bound to; no name for another function."""
    if isinstance(gradient, str):
        return gradient, {}
    function, options = (gradient.func, gradient.keywords) if isinstance(gradient, partial) else (gradient, {})
    name = getattr(function, "__module__", "").rpartition(".")[2]
    return name if name in NAMES and function is by_name(name) else "", options


def _sequence(draws: ArrayLike) -> Array:
    """Draws of sizes up to 1 in each column: what is asked of them does not depend on their unit."""
    draws = real("draws", draws)
    if draws.ndim == 0 or len(draws) < 4:
        raise ValueError(f"draws must be at least 4, one a row, got shape {draws.shape}")
    require("draws", "finite", draws, np.isfinite(draws))
    return np.ldexp(draws, -np.frexp(np.abs(draws).max(axis=0))[1])    # so that squares neither overflow nor vanish

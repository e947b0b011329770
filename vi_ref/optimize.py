"""The fit: one loop, any gradient estimator, any model."""

import math
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vi_ref import kernels
from vi_ref._validate import between, generator, one_of, whole
from vi_ref.adam import Adam, AdamState
from vi_ref.coordinates import COORDINATES, Mean, Rate, natural
from vi_ref.gamma import Gamma
from vi_ref.gradients import by_name
from vi_ref.stopping import AverageSettles, GradientVanishes

Array = NDArray[np.float64]

#: The share of the learning rate used at step t of n, for each schedule.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda t, n: 1.0,
    "cosine": lambda t, n: 0.5 * (1 + math.cos(math.pi * t / n)),
}


@dataclass(frozen=True)
class Trace:
    """What a fit went through; entry t is from before step t + 1."""

    elbo: Array            #: (n_steps,) estimate of the ELBO
    gradient_norm: Array   #: (n_steps,) Euclidean norm of the estimated gradient in (log shape, log rate)
    step: NDArray[np.int64]  #: (K,) the steps after which q was kept, not averaged; the last is n_steps
    shape: Array           #: (K, D) q.shape then
    rate: Array            #: (K, D) q.rate then


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a fit; it can be pickled if its gradient and the model's can, and taken up again by `resume`."""

    q: Gamma                 #: the fitted distribution: the average where the fit averages, else the last
    trace: Trace
    reason: str              #: why the fit ended
    converged: bool | None   #: whether the stopping rule held; None without one
    n_steps: int             #: steps taken
    last: Gamma              #: q after the last of them
    averaged: Gamma | None   #: the average of iterates, if there is one
    settings: "Settings" = field(repr=False)
    state: "State" = field(repr=False)       #: what `resume` goes on from


@dataclass(frozen=True)
class Settings:
    """What `fit` was asked for, see there; a bad one raises ValueError."""

    gradient: str | Callable[..., Any]
    n_samples: int
    n_steps: int
    optimizer: Adam
    schedule: str
    coordinates: str
    natural_gradient: bool
    average: float
    keep_every: int
    n_threads: int | None
    stopping: GradientVanishes | AverageSettles | None

    def __post_init__(self):
        for name in ("n_samples", "n_steps", "keep_every"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1))
        if self.n_threads is not None:
            whole("n_threads", self.n_threads, 1)
        if not callable(self.gradient):
            by_name(self.gradient)
        between("average", self.average, 0, 1, "[)")
        one_of("schedule", self.schedule, tuple(SCHEDULES))
        one_of("coordinates", self.coordinates, tuple(COORDINATES))
        if not isinstance(self.natural_gradient, bool):
            raise ValueError(f"natural_gradient must be True or False, got {self.natural_gradient!r}")
        if not isinstance(self.optimizer, Adam):
            raise ValueError(f"optimizer must be a vi_ref.Adam, got {type(self.optimizer).__name__}")
        if self.stopping is not None:
            self._check_stopping()

    def _check_stopping(self) -> None:
        if not isinstance(self.stopping, GradientVanishes | AverageSettles):
            raise ValueError(f"stopping must be a rule of vi_ref.stopping or None, got {self.stopping!r:.60}")
        if self.schedule != "constant":
            raise ValueError(f"stopping must be None under the schedule {self.schedule}, which runs to its end, "
                             f"got {type(self.stopping).__name__}; it needs schedule='constant'")
        if self.average:
            raise ValueError(f"average must be 0 with a stopping rule, which chooses by itself, got {self.average}")
        self.stopping.suits(self.gradient)


@dataclass
class State:
    """Where a fit stands between two steps."""

    q: Gamma
    u: Array                    #: q in the coordinates
    adam: AdamState
    rng: np.random.Generator
    mean_u: Array               #: of the iterates averaged so far
    n_averaged: int
    elbo: list[float]
    norm: list[float]
    kept: list[tuple[int, Gamma]]
    memory: dict[str, Any]      #: the stopping rule's own


def fit(
    model: Any,
    start: Gamma,
    *,
    gradient: str | Callable[..., Any] = "sticking_the_landing",
    n_samples: int = 128,
    n_steps: int = 5000,
    rng: np.random.Generator,
    optimizer: Adam = Adam(learning_rate=0.2, beta2=0.996),
    schedule: str = "cosine",
    coordinates: str = "mean",
    natural_gradient: bool = False,
    average: float = 0.0,
    keep_every: int = 50,
    n_threads: int | None = None,
    stopping: GradientVanishes | AverageSettles | None = None,
    pause_after: int | None = None,
) -> Fit:
    """Fit q = Gamma(shape, rate) to a model by stochastic ascent of the ELBO: book eq. `eq-fit-step`.

    Parameters
    ----------
    model : object
        With ``log_joint(log_theta)``, (S, D) -> (S,), the log joint density with respect to
        log theta, and ``grad_log_joint(log_theta)``, (S, D) -> (S, D). Nothing else is used.
    start : Gamma, shape (D,)
        Where the fit starts; the prior is a good choice.
    gradient : str or callable
        A name in `vi_ref.gradients.NAMES`, or a function of their signature. By name, ``"reparameterized"`` and
        ``"sticking_the_landing"`` of a `PoissonGamma` are computed by `vi_ref.kernels`: the same law, other draws.
    n_samples, n_steps : int
        Monte Carlo samples a step, and steps; at least 1.
    rng : numpy.random.Generator
        The same state gives the same result, bit for bit.
    optimizer : Adam
        Its learning rate is the schedule's highest. The default's beta2 forgets the first
        gradients well before the end (0.999 does not) and averages long enough to land:
        over digits 0 to 9, three priors and ten seeds the worst fit stopped at 2e-12 with 0.995.
    schedule : {"cosine", "constant"}
        How the learning rate falls over the steps; the cosine is book eq. `eq-cosine`.
    coordinates : {"mean", "rate"}
        (log shape, log mean) or (log shape, log rate), in which the optimiser moves.
    natural_gradient : bool
        Whether the optimiser is handed `natural` of the estimated gradient, a direction that is the same change of
        q in all coordinates, in place of the gradient.
    average : float
        In [0, 1): the share of the last steps whose coordinates are averaged into the
        result (book eq. `eq-average`); 0 takes the last step's.
    keep_every : int
        The trace keeps q at the start, at every such step, and at the end.
    n_threads : int, optional
        Of a kernel: at most so many, by default one unless a step has 2^17 draws. The result is the same.
    stopping : GradientVanishes or AverageSettles, optional
        A rule of `vi_ref.stopping` that may end the fit before `n_steps`; for the constant schedule. Which of the two
        depends on the gradient: they refuse those they do not suit.
    pause_after : int, optional
        Stop after so many of the `n_steps`; `resume` takes the rest.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        For a bad argument, before any work starts.
    FloatingPointError
        If a gradient, its square or an ELBO is not finite, or a step leaves the domain of `Gamma`;
        it names the step and, for a gradient, the column and q there.

    Examples
    --------
    >>> from vi_ref import PoissonGamma
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> result = fit(model, model.prior, n_steps=1000, rng=np.random.default_rng(0))
    >>> result.q.shape.round(9), result.q.rate.round(9)     # exactly (10, 3) and (3, 3)
    (array([10.,  3.]), array([3., 3.]))
    """
    settings = Settings(gradient, n_samples, n_steps, optimizer, schedule, coordinates, natural_gradient, average,
                        keep_every, n_threads, stopping)
    until = settings.n_steps if pause_after is None else min(whole("pause_after", pause_after, 1), settings.n_steps)
    _check(model, start, generator("rng", rng))
    u = COORDINATES[coordinates].of(start)
    state = State(start, u, optimizer.init(u), rng, np.zeros_like(u), 0, [], [], [(0, start)], {})
    return _run(model, settings, state, until)


def resume(model: Any, earlier: Fit, n_steps: int | None = None) -> Fit:
    """Go on with a fit where it ended: the result is that of one fit, bit for bit.

    Parameters
    ----------
    model : object
        That of the earlier fit.
    earlier : Fit
        Is left as it is. If its stopping rule held there is nothing to go on with.
    n_steps : int, optional
        Steps in all, at least those taken. More than were planned can be asked for only where the plan's end
        has no part in a step: at a constant rate, without averaging. By default the plan's.

    Raises
    ------
    ValueError
        For a bad argument, before any work starts.
    FloatingPointError
        As `fit`.

    Examples
    --------
    >>> from vi_ref import PoissonGamma
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> half = fit(model, model.prior, n_steps=1000, pause_after=500, rng=np.random.default_rng(0))
    >>> half.reason
    'paused after 500 of 1000 steps'
    >>> resume(model, half).q.shape == fit(model, model.prior, n_steps=1000, rng=np.random.default_rng(0)).q.shape
    array([ True,  True])
    """
    if not isinstance(earlier, Fit):
        raise ValueError(f"earlier must be a Fit, got {type(earlier).__name__}")
    if earlier.converged:
        raise ValueError(f"earlier must be a fit whose stopping rule has not held, but: {earlier.reason}")
    settings = earlier.settings
    total = settings.n_steps if n_steps is None else whole("n_steps", n_steps, earlier.n_steps)
    if total > settings.n_steps and (settings.schedule != "constant" or settings.average):
        raise ValueError(f"n_steps must be at most the {settings.n_steps} that were planned, as the schedule "
                         f"{settings.schedule} and average {settings.average:g} count from their end, got {total}")
    _check(model, earlier.last, earlier.state.rng)
    return _run(model, replace(settings, n_steps=max(total, settings.n_steps)), _copy(earlier.state), total)


def _run(model: Any, settings: Settings, state: State, until: int) -> Fit:
    """Steps from `state`, which is changed, up to the step `until` or the stopping rule's word."""
    estimate = settings.gradient
    if not callable(estimate):
        estimate = kernels.for_model(model, estimate, settings.n_threads) or by_name(estimate)
    chart, share, rule = COORDINATES[settings.coordinates], SCHEDULES[settings.schedule], settings.stopping
    converged, progress = False, _Progress(until)
    for t in range(len(state.elbo), until):
        estimated = estimate(model, state.q, settings.n_samples, state.rng)
        _stop_if_not_finite(estimated, state.q, t)
        if rule and rule.before_step(state.memory, state.q, estimated):
            converged = True
            break
        state.elbo.append(float(estimated.elbo))
        state.norm.append(float(np.linalg.norm([estimated.log_shape, estimated.log_rate])))
        if settings.natural_gradient:
            ascent = chart.move(*natural(state.q, estimated.log_shape, estimated.log_rate))
        else:
            ascent = chart.gradient(estimated.log_shape, estimated.log_rate)
        scale = share(t, settings.n_steps)
        state.u, state.adam = settings.optimizer.update(state.u, -ascent, state.adam, scale)     # Adam descends
        if t >= settings.n_steps - settings.average * settings.n_steps:
            state.n_averaged += 1
            state.mean_u = state.mean_u + (state.u - state.mean_u) / state.n_averaged
        state.q = _at(chart, state.u, t)
        if (t + 1) % settings.keep_every == 0:
            state.kept.append((t + 1, state.q))
        progress.show(t + 1, estimated.elbo)
        if rule and rule.after_step(state.memory, state.q):
            converged = True
            break
    progress.end()
    return _result(chart, settings, state, converged)


def _result(chart: type[Rate] | type[Mean], settings: Settings, state: State, converged: bool) -> Fit:
    taken, planned, q = len(state.elbo), settings.n_steps, state.q
    kept = state.kept if state.kept[-1][0] == taken else [*state.kept, (taken, q)]
    steps, qs = zip(*kept, strict=True)
    trace = Trace(np.array(state.elbo), np.array(state.norm), np.array(steps), np.stack([k.shape for k in qs]),
                  np.stack([k.rate for k in qs]))
    averaged = chart.q(state.mean_u) if state.n_averaged else None
    reason = f"all {planned} steps were taken" if taken == planned else f"paused after {taken} of {planned} steps"
    if settings.stopping:
        averaged, seen = settings.stopping.verdict(state.memory, converged)
        reason = f"converged after {taken} of {planned} steps: {seen}" if converged else f"{reason}, {seen}"
    return Fit(q if averaged is None else averaged, trace, reason, converged if settings.stopping else None, taken, q,
               averaged, settings, _copy(state))


def _copy(state: State) -> State:
    """A state that can go on by itself; it shares what is never changed in place, arrays and each `Gamma`."""
    memory = {key: [*value] if isinstance(value, list) else value for key, value in state.memory.items()}
    return replace(state, rng=deepcopy(state.rng), elbo=[*state.elbo], norm=[*state.norm], kept=[*state.kept],
                   memory=memory)


def _check(model: Any, start: Gamma, rng: np.random.Generator) -> None:
    for name in ("log_joint", "grad_log_joint"):
        if not callable(getattr(model, name, None)):
            raise ValueError(f"model must have a method {name}(log_theta), got {type(model).__name__}")
    if not isinstance(start, Gamma) or start.shape.ndim != 1:
        raise ValueError(f"start must be a vi_ref.Gamma of shape (D,), got {start!r:.60}")
    try:
        model.grad_log_joint(np.log(start.mean)[None])
    except ValueError as error:
        raise ValueError(f"start must fit the model: {error}") from None


def _stop_if_not_finite(estimated: Any, q: Gamma, t: int) -> None:
    with np.errstate(over="ignore"):                     # Adam squares the gradient
        bad = ~np.isfinite(np.square(estimated.log_shape) + np.square(estimated.log_rate))
    if bad.any():
        d = int(np.argmax(bad))
        raise FloatingPointError(
            f"gradient not finite at step {t + 1}, column {d}, where q has shape {q.shape[d]:.6g} and rate "
            f"{q.rate[d]:.6g}: (log shape, log rate) = ({estimated.log_shape[d]}, {estimated.log_rate[d]})")
    if not np.isfinite(estimated.elbo):
        raise FloatingPointError(f"ELBO not finite at step {t + 1}: {estimated.elbo}")


def _at(chart: type[Rate] | type[Mean], u: Array, t: int) -> Gamma:
    try:
        with np.errstate(over="ignore"):
            return chart.q(u)
    except ValueError as error:
        raise FloatingPointError(f"step {t + 1} is too long: {error}") from None


class _Progress:
    """A line on a terminal twice a second; nothing elsewhere."""

    def __init__(self, n_steps: int):
        self.n_steps, self.shown = n_steps, time.monotonic()
        self.terminal, self.wrote = sys.stderr is not None and sys.stderr.isatty(), False

    def show(self, step: int, elbo: float) -> None:
        """Write where the fit stands, if it is time to."""
        if self.terminal and (time.monotonic() - self.shown > 0.5 or (step == self.n_steps and self.wrote)):
            print(f"\rstep {step} of {self.n_steps}, ELBO {elbo:.2f} ", end="", file=sys.stderr, flush=True)
            self.shown, self.wrote = time.monotonic(), True

    def end(self) -> None:
        """Leave the line as it stands."""
        if self.wrote:
            print(file=sys.stderr, flush=True)

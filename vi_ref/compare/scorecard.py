"""Other libraries held against the truth: the implicit gradient, the functions, their estimates, Adam, a whole fit.

Each library answers through its adapter, ``with_*.py``, in processes of its own; this one is among them. Nothing here
is judged: errors are reported, and a library that fails or does not end is reported as that.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, polygamma

from vi_ref import PoissonGamma, datasets, exact_elbo, gamma_grad, study
from vi_ref.compare import mine
from vi_ref.compare._process import LIBRARIES, adapter, lines_of, machine, missing
from vi_ref.compare.speed import digit_zero, turns
from vi_ref.gamma import Gamma

PRECISIONS = ("float64", "float32")
#: The settings of the tutorial, and this library's.
SETTINGS: dict[str, dict[str, Any]] = {
    "tutorial": {"learning_rate": 0.2, "beta2": 0.999, "schedule": "constant", "coordinates": "rate",
                 "sticking": False},
    "ours": {"learning_rate": 0.2, "beta2": 0.996, "schedule": "cosine", "coordinates": "mean", "sticking": True},
}
ADAM = {"learning_rate": 0.2, "beta1": 0.9, "beta2": 0.995, "epsilon": 1e-8}
#: Shapes at which a library's own draws and their derivatives are looked at, and how many draws.
SHAPES, N_DRAWS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3, 1e5), 20_000
#: Ranges of shapes that an implicit gradient is timed on.
RANGES = {"0.01 to 1": (0.01, 1.0), "1 to 100": (1.0, 100.0), "100 to 10000": (100.0, 1e4)}
_HERE = "vi_ref.compare.scorecard"


def precisions(library: str) -> tuple[str, ...]:
    """Those in which a library computes; this one has float64 alone."""
    return PRECISIONS if library != "vi_ref" else PRECISIONS[:1]


# ---- what is asked of a library, each in its adapter's words ----

def implicit(library: str, precision: str) -> list[dict[str, Any]] | None:
    """Errors on the reference vectors by decade of the shape; None where the library borrows its gradient.

    Rows whose z is subnormal are left out: where such a number is taken for 0, that says nothing of the formulas.
    """
    function = getattr(adapter(library), "dz_dshape", None)
    if function is None:
        return None
    given = mine.points(precision)
    given = given[given["z"] >= np.finfo(precision).tiny]
    found = function(given["alpha"].astype(precision), given["z"].astype(precision))
    return mine.score(found, given, precision)


def own_draws(library: str, precision: str) -> list[dict[str, Any]]:
    """At each of `SHAPES`: the share of draws that are no normal number any more beside its probability, the errors of
    the other draws' derivatives, and the mean derivative of log z, exactly psi'(shape), from log space where there is.
    """
    rows, tiny, ask = [], float(np.finfo(precision).tiny), adapter(library)
    draw, log_draw = (make and make(N_DRAWS, precision) for make in (ask.sampler, getattr(ask, "log_sampler", None)))
    for shape in (float(np.dtype(precision).type(shape)) for shape in SHAPES):
        z, slope = np.asarray(draw(shape, 1), float)
        usable = (z > tiny) & np.isfinite(slope)
        error = np.abs(slope[usable] / gamma_grad.dz_dshape(shape, z[usable]) - 1)
        with np.errstate(all="ignore"):
            log_slope = np.asarray(log_draw(shape, 1), float)[1] if log_draw else slope / z
            mean, sd = float(log_slope.mean()), float(log_slope.std())
        rows.append({"shape": shape, "collapsed": float(np.mean(z <= tiny)), "below_tiny": float(gammainc(shape, tiny)),
                     "not_finite": float(np.mean(~np.isfinite(slope))),
                     "median": float(np.median(error)) if usable.any() else np.nan, "max": float(error.max(initial=0)),
                     "log_slope": mean, "log_slope_error": sd / np.sqrt(N_DRAWS),
                     "log_slope_exact": float(polygamma(1, shape))})
    return rows


def functions(library: str, precision: str) -> dict[str, dict[str, float]]:
    """Largest differences from our values at the same draws, by point: in nats, and as a share of the gradient."""
    model, counts, found = digit_zero(), datasets.digit(0), {}
    evaluate = adapter(library).evaluator(counts, model.prior, precision)
    for point, q in study.points(model).items():
        u = np.log([q.shape, q.rate]).astype(precision)
        theta, *theirs = (np.asarray(x, float) for x in evaluate(u, 0))
        _, *ours = adapter("vi_ref").given(model, Gamma(*np.exp(u.astype(float))), np.log(theta))
        off = [float(np.max(np.abs(t - o))) for t, o in zip(theirs[:3], ours[:3], strict=True)]
        off.append(float(np.linalg.norm(theirs[3] - ours[3]) / np.linalg.norm(ours[3])))
        found[point] = dict(zip(("log_joint", "log_q", "elbo", "gradient"), off, strict=True))
    return found


def estimates(library: str, precision: str, replicates: int) -> dict[str, dict[str, float]]:
    """The gradient of 128 draws, again and again: its mean in standard errors from the exact one, worst of 128 numbers,
    and its variance over the exact one at the optimum, the Fisher information over 128, averaged."""
    model, found = digit_zero(), {}
    evaluate = adapter(library).evaluator(datasets.digit(0), model.prior, precision)
    for point in ("half way", "optimum"):
        q = study.points(model)[point]
        u = np.log([q.shape, q.rate]).astype(precision)
        gradients = np.array([evaluate(u, seed)[4] for seed in range(replicates)], dtype=float)
        q = Gamma(*np.exp(u.astype(float)))
        error = gradients.std(axis=0, ddof=1) / np.sqrt(replicates)
        found[point] = {"off": float(np.max(np.abs(gradients.mean(axis=0) - exact_elbo.gradient(model, q)) / error))}
        if point == "optimum":
            shares = gradients.var(axis=0, ddof=1) / (study.fisher(q) / 128)
            found[point] |= {"log_shape": float(shares[0].mean()), "log_rate": float(shares[1].mean())}
    return found


def adam_gradients(n_steps: int) -> NDArray[np.float64]:
    """Exact on any machine, as they come from whole numbers: noise of six sizes, the last coming one step in fifty."""
    t, d = np.arange(1, n_steps + 1)[:, None], np.arange(6)
    noise = (7919 * t * t + 104729 * d * t + 31 * d) % 2003 / 1024 - 0.75
    noise[:, 5] *= t[:, 0] % 50 == 0
    return noise * np.array([1e-9, 1e-3, 1.0, 30.0, 1e4, 1.0])


def adam(library: str, precision: str) -> float | None:
    """Largest distance over 5000 steps from our path, as a share of the path's reach; None where there is no Adam."""
    theirs = getattr(adapter(library), "adam", None)
    if theirs is None:
        return None
    gradients = adam_gradients(5000)
    path = adapter("vi_ref").adam(gradients, **ADAM)
    off = np.abs(np.asarray(theirs(gradients.astype(precision), **ADAM), float) - path).max(axis=0)
    return float(np.max(off / np.abs(path).max(axis=0)))


def cases(library: str, precision: str) -> dict[str, float]:
    """Issues that users reported, as numbers; the book's chapter says what each is."""
    ask = adapter(library)
    small = np.asarray(ask.beta_sampler(1e-3, N_DRAWS, precision)(1e-3, 1)[0], float)
    slope = np.asarray(ask.beta_sampler(1.5, N_DRAWS, precision)(2.0**16 + 10, 1)[1], float)
    log_draw = getattr(ask, "log_sampler", None)
    least = np.asarray((log_draw or ask.sampler)(1000, precision)(2.5e-37, 1), float)
    return {"beta_at_half": float(np.mean(small == 0.5)), "beta_not_finite": float(np.mean(~np.isfinite(small))),
            "both_below_tiny": float(gammainc(1e-3, np.finfo(precision).tiny) ** 2),
            "beta_slope_zero": float(np.mean(slope == 0)),
            "beta_slope_not_finite": float(np.mean(~np.isfinite(slope))),
            "least_not_finite": float(np.mean(~np.isfinite(least[0]))),
            "least_slope_not_finite": float(np.mean(~np.isfinite(least[1])))}


def sampler_differences(library: str, shape: float = 1.2, n: int = 200_000) -> dict[str, dict[str, float]]:
    """Three ways to d E[log z] / d shape, exactly psi'(shape), with standard errors: JAX's issue 27349.

    The implicit gradient; the difference quotient of the sampler at fixed keys over the draws that keep their accepted
    proposal; and the same over all draws, those that jump to another proposal included.
    """
    h, draw = 1e-2, adapter(library).sampler(n, "float64")
    (z, slope), (up, _), (down, _) = (np.asarray(draw(a, 1), float) for a in (shape, shape + h / 2, shape - h / 2))
    quotient = (np.log(up) - np.log(down)) / h
    path = np.cbrt(z / (shape - 1 / 3))                  # of Marsaglia and Tsang: z = (shape - 1/3) path^3
    kept = np.abs(quotient * z - path**2 * (3 - path) / 2) < 0.1 * (1 + z)
    found = {"exact": {"mean": float(polygamma(1, shape)), "error": 0.0}, "kept": {"share": float(kept.mean())}}
    for name, values in (("implicit", slope / z), ("same proposal", quotient[kept]), ("all", quotient)):
        found[name] = {"mean": float(values.mean()), "error": float(values.std() / np.sqrt(values.size))}
    return found


def library(name: str, precision: str, replicates: int) -> Iterator[tuple[str, Any]]:
    """All of the above for one library in one precision, a result at a time; what is held against ours not for us."""
    for what in (implicit, own_draws, cases) + ((functions, adam) if name != "vi_ref" else ()):
        yield what.__name__, what(name, precision)
    yield "estimates", estimates(name, precision, replicates)
    if name == "JAX" and precision == "float64":
        yield "sampler_differences", sampler_differences(name)


def fits(name: str, precision: str, settings: str, n_steps: int, seeds: int) -> Iterator[dict[str, Any]]:
    """A fit for each seed; the first compiles. Errors are over the pixels that ended finite."""
    model = digit_zero()
    run = adapter(name).fitter(datasets.digit(0), model.prior, precision, n_steps, **SETTINGS[settings])
    for seed in range(seeds):
        began = perf_counter()
        u = np.asarray(run(seed), float)
        yield {"seconds": perf_counter() - began} | errors(model, u)


def errors(model: PoissonGamma, u: NDArray) -> dict[str, Any]:
    """How far log shape and log rate are from the posterior's, over the columns where both are in `Gamma`'s domain."""
    finite = (np.isfinite(u) & (np.abs(u) < np.log(1e100))).all(axis=0)
    result: dict[str, Any] = {"columns": u.shape[1], "finite": int(finite.sum())}
    if finite.any():
        p = Gamma(model.posterior.shape[finite], np.broadcast_to(model.posterior.rate, finite.shape)[finite])
        q = Gamma(*np.exp(u[:, finite]))
        result |= {"kl": float(q.kl(p).sum()), "shape": float(np.max(np.abs(q.shape / p.shape - 1))),
                   "mean": float(np.max(np.abs(q.mean / p.mean - 1)))}
    return result


def times(here: list[str], rounds: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds, turn by turn, of the implicit gradients of 128 draws in 64 columns, by the range of the columns' shapes,
    where smaller draws than 1e-30 count as that; of 8192 gradients of which one has a large shape; of 20 000 draws and
    their derivatives."""
    rng = np.random.default_rng(0)
    for title, (low, high) in RANGES.items():
        shape = np.geomspace(low, high, 64)
        z = np.maximum(rng.standard_gamma(shape, (128, 64)), 1e-30)
        yield f"{title}, 128 x 64", turns(_gradients(here, shape, z), rounds)
    shape = np.ones(8192)
    shape[0] = 1e8
    z = np.r_[1e8 - 1e4, rng.standard_gamma(shape[1:])]
    yield "1, and one of 1e8", turns(_gradients(here, shape, z), min(rounds, 3))
    shape = rng.lognormal(size=N_DRAWS)
    yield "draws", turns({f"{name} {precision}": partial(adapter(name).sampler(N_DRAWS, precision), shape, 0)
                          for name in here for precision in precisions(name)}, rounds)


def _gradients(names: list[str], shape: NDArray, z: NDArray) -> dict[str, Callable[[], Any]]:
    calls = {}
    for name in names:
        function = getattr(adapter(name), "dz_dshape", None)
        for precision in precisions(name) if function else ():
            calls[f"{name} {precision}"] = partial(function, shape.astype(precision), z.astype(precision))
    calls["vi_ref, clear version"] = partial(gamma_grad.dz_dshape, shape, z)
    return calls


# ---- all of it ----

def measure(*, replicates: int, rounds: int, n_steps: int, seeds: int, timeout: float,
            say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """The scorecard of every library that is there; each part in a process that may take `timeout` seconds."""
    def asked(*task: Any) -> tuple[list[tuple[float, Any]], str]:
        say(" ".join(map(str, task)))
        return lines_of(_HERE, *task, timeout=timeout)

    absent, failed = missing(), {}
    for name in (name for name in LIBRARIES if name not in absent):
        if why := asked("load", name)[1]:
            failed[name] = why
    here = [name for name in LIBRARIES if name not in absent and name not in failed]
    lines, why = asked("times", ",".join(here), rounds)
    result: dict[str, Any] = {
        "machine": machine(), "missing": absent,
        "asked": {"replicates": replicates, "rounds": rounds, "n_steps": n_steps, "seeds": seeds, "timeout": timeout},
        "times": dict(value for _, value in lines), "failed": failed | ({"times": why} if why else {}),
        "libraries": {}, "fits": {}}
    for name in here:
        for precision in precisions(name):
            lines, why = asked("library", name, precision, replicates)
            result["libraries"].setdefault(name, {})[precision] = dict(value for _, value in lines)
            if why:
                result["failed"][f"{name}, {precision}"] = why
            for settings in SETTINGS:
                lines, why = asked("fits", name, precision, settings, n_steps, seeds)
                result["fits"].setdefault(name, {}).setdefault(settings, {})[precision] = {
                    "process": lines[0][0] if lines else None, "seeds": [value for _, value in lines], "failed": why}
    return _without_nan(result)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: None takes their place."""
    if isinstance(value, dict):
        return {key: _without_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_without_nan(x) for x in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


#: What a process of its own is asked for.
TASKS: dict[str, Callable[..., Any]] = {
    "load": lambda name: [adapter(name).__name__],
    "times": lambda names, rounds: times(names.split(","), int(rounds)),
    "library": lambda name, precision, replicates: library(name, precision, int(replicates)),
    "fits": lambda name, precision, settings, n, seeds: fits(name, precision, settings, int(n), int(seeds)),
}

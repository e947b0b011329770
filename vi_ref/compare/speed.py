"""How fast: a step, what it scales with, memory, and a whole fit, beside the libraries that are installed.

Contestants take turns in one process, so that a drift of the machine's speed meets all of them; ratios are formed turn
by turn. What must start afresh (one processor or all, memory, a whole program, an empty cache) runs in a process of its
own.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from vi_ref import Gamma, PoissonGamma, datasets, kernels, study
from vi_ref.compare._process import about, adapter, child, machine, missing
from vi_ref.gradients import by_name

#: Of `programs`: what is run, and with which cache of compiled functions.
PROGRAMS = ("ours, warm cache", "ours, empty cache", "JAX float32")
_HERE = "vi_ref.compare.speed"


def digit_zero() -> PoissonGamma:
    """The model of the tutorial: 178 images of 64 counts, and the drawn prior."""
    return PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))


def contestants(model: PoissonGamma, q: Gamma, n_samples: int) -> dict[str, Callable[[], Any]]:
    """One estimate of the ELBO and its gradient, score included, by each library that is there."""
    rng, out = np.random.default_rng(0), {}
    ours, general = kernels.for_model(model, "reparameterized", 1), by_name("reparameterized")
    out["kernel"] = lambda: ours(model, q, n_samples, rng)
    out["general route"] = lambda: general(model, q, n_samples, rng)
    u, absent = np.log([q.shape, q.rate]), missing()
    for library in ("PyTorch", "JAX"):
        if library not in absent:
            out[f"{library} float64"] = partial(adapter(library).estimator(model, n_samples), u)
    return out


def turns(calls: Mapping[str, Callable[[], Any]], rounds: int, least: float = 2e-3) -> dict[str, list[float]]:
    """Seconds a call of each, in each of `rounds` turns; one of less than `least` seconds is repeated and averaged."""
    seconds, repeats = {name: [] for name in calls}, {}
    for name, call in calls.items():
        call()                                           # compiles
        repeats[name] = max(1, int(least / _timed(call, 1)))
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(_timed(call, repeats[name]))
    return seconds


def _timed(call: Callable[[], Any], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def steps(rounds: int, one_processor: bool) -> dict[str, dict[str, list[float]]]:
    """Seconds of an estimate of 128 draws for the digit zero, at the prior, half way and at the posterior.

    JAX takes its turns with the kernel alone: its tenth of a second would leave the others with empty caches.
    """
    if one_processor and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if one_processor and find_spec("torch"):
        import torch

        torch.set_num_threads(1)
    model, seconds = digit_zero(), {}
    for point, q in study.points(model).items():
        calls = contestants(model, q, 128)
        slow = {name: calls.pop(name) for name in ("JAX float64",) if name in calls}
        seconds[point] = turns(calls, rounds)
        if slow:
            seconds[f"{point}, beside JAX"] = turns({"kernel": calls["kernel"], **slow}, rounds)
    return seconds


def scaling(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of the kernel's estimate, on one thread, against the draws S, the columns D and the rows m."""
    def call(S, D, m):
        model = PoissonGamma(Gamma(np.geomspace(0.5, 500, D), 1.0), np.zeros((m, D)))        # m moves no shape
        ours, rng = kernels.for_model(model, "reparameterized", 1), np.random.default_rng(0)
        return lambda: ours(model, model.posterior, S, rng)

    return {
        "S": turns({str(S): call(S, 64, 100) for S in (8, 32, 128, 512, 2048, 8192)}, rounds),
        "D": turns({str(D): call(128, D, 100) for D in (1, 8, 64, 512, 4096)}, rounds),
        "m": turns({str(m): call(128, 64, m) for m in (1, 10, 100, 1000, 10_000)}, rounds),
    }


def threads(rounds: int) -> dict[str, list[float]]:
    """Seconds of an estimate of 4096 draws and 1024 columns, on one thread and on two."""
    model = PoissonGamma(Gamma(np.geomspace(0.5, 500, 1024), 1.0), np.ones((2, 1024)))
    rng = np.random.default_rng(0)
    calls = {str(n): kernels.for_model(model, "reparameterized", n) for n in (1, 2)}
    return turns({n: lambda call=call: call(model, model.posterior, 4096, rng) for n, call in calls.items()}, rounds)


def memory(n_samples: int) -> int | None:
    """Peak memory of a process that fits 64 columns for two steps, in bytes; None where the system does not tell."""
    if find_spec("resource") is None:
        return None
    import resource

    from vi_ref import fit

    model = PoissonGamma(Gamma(np.full(64, 3.0), 1.0), np.ones((2, 64)))
    fit(model, model.prior, n_samples=n_samples, n_steps=2, rng=np.random.default_rng(0), n_threads=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def program(name: str) -> None:
    """The tutorial's 5000 steps from counts to q: a whole program, to be timed from outside."""
    if name == "JAX float32":
        tutorial = {"learning_rate": 0.2, "beta2": 0.999, "schedule": "constant", "coordinates": "rate"}
        adapter("JAX").fitter(datasets.digit(0), digit_zero().prior, "float32", 5000, sticking=False, **tutorial)(0)
    else:
        from vi_ref import Adam, fit

        model = digit_zero()
        fit(model, model.prior, gradient="reparameterized", coordinates="rate", schedule="constant",
            optimizer=Adam(0.2), n_steps=5000, rng=np.random.default_rng(0))


def programs(rounds: int) -> dict[str, list[float]]:
    """Seconds of whole programs, from the start of the process to its end, turn by turn."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS if name.split()[0] not in missing()}
    with tempfile.TemporaryDirectory() as warm:
        child(_HERE, "program", "ours, warm cache", cache=warm)
        for _ in range(rounds):
            for name in seconds:
                with tempfile.TemporaryDirectory() as empty:
                    began = time.perf_counter()
                    child(_HERE, "program", name, cache=empty if "empty" in name else warm)
                    seconds[name].append(time.perf_counter() - began)
    return seconds


def measure(rounds: int, whole: int) -> dict[str, Any]:
    """All of it: `rounds` turns of each step, `whole` of each program."""
    return {
        "machine": machine(),
        "missing": missing(),
        "steps": {which: child(_HERE, "steps", rounds, which) for which in ("one processor", "all processors")},
        "scaling": child(_HERE, "scaling", rounds),
        "threads": child(_HERE, "threads", rounds),
        "memory": {str(n): child(_HERE, "memory", n) for n in (128, 1_000_000)},
        "programs": programs(whole) if whole else {},
    }


def ratio(theirs: Iterable[float], ours: Iterable[float]) -> tuple[float, float, float]:
    """Median of theirs / ours, turn by turn, between its quartiles."""
    low, middle, high = np.quantile(np.divide(list(theirs), list(ours)), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def table(result: Mapping[str, Any]) -> str:
    """The result of `measure` as lines of text."""
    lines = [*about(result["machine"]),
             "medians; ratios are to the first row's time, turn by turn, with quartiles"]
    blocks = {f"a step, 128 x 64, {point}, {which}": seconds for which, points in result["steps"].items()
              for point, seconds in points.items()}
    blocks["a step, 4096 x 1024, by threads"] = result["threads"]
    blocks |= {f"a step by {letter}": seconds for letter, seconds in result["scaling"].items()}
    if result["programs"]:
        blocks["the tutorial's 5000 steps, whole process"] = result["programs"]
    for title, seconds in blocks.items():
        lines += ["", title]
        first = next(iter(seconds.values()))
        for name, values in seconds.items():
            low, middle, high = ratio(values, first)
            lines.append(f"  {name:<20}{1e3 * np.median(values):>12.4g} ms{middle:>10.3g} [{low:.3g}, {high:.3g}]")
    lines += ["", "peak memory of a fit's process, by draws a step"]
    lines += [f"  {n:<20}{size / 2**20:>12.1f} MB" for n, size in result["memory"].items() if size is not None]
    lines += [f"{name} is missing: {command}" for name, command in result["missing"].items()]
    return "\n".join(lines)


#: What a process of its own is asked for.
TASKS: dict[str, Callable[..., Iterable[Any]]] = {
    "steps": lambda rounds, which: [steps(int(rounds), which == "one processor")],
    "scaling": lambda rounds: [scaling(int(rounds))],
    "threads": lambda rounds: [threads(int(rounds))],
    "memory": lambda n: [memory(int(n))],
    "program": lambda name: [program(name)],
}

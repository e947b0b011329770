"""Poisson factorisation beside other libraries: time of a sweep, held-out score against time, memory.

A process of its own for each library, table, seed and turn. All are given the same simulated tables and their true K,
and are scored alike (`vi_ref.compare.held_out`); how each is asked is in `vi_ref.compare.factorizers`. Time is that of
fitting: imports, compilation on a small table and scoring are left out.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from vi_ref.compare import held_out
from vi_ref.compare._process import lines_of, machine, missing
from vi_ref.compare.factorizers import FACTORIZERS

#: Of every table and fit.
N_COMPONENTS = 20
#: What a score may fall short of hpfrec's best, as a share of it.
MARGIN = 0.005
#: From how many sweeps on a fit ends early: where its validation score is `MARGIN` below its best, or half as many
#: sweeps more changed it by less than a hundredth of that.
ENOUGH = 100
_HERE = "vi_ref.compare.factorization"


def shape(n_nonzeros: int) -> tuple[int, int]:
    """Rows and columns of the table with so many non-zeros: 50 of them a row, at a million 1 % of all cells."""
    return max(n_nonzeros // 50, 20), max(round(5 * n_nonzeros**0.5), 20)


# ---- tasks of a process ----

def simulate(folder: str, n_nonzeros: int, seed: int) -> dict[str, Any]:
    """Write a table, split, to a folder; its size, and the scores of the true rates and of rates from totals alone."""
    from vi_ref.poisson_factorization.simulated import power_law

    rng = np.random.default_rng([seed, n_nonzeros])
    counts, activations, components = power_law(*shape(n_nonzeros), N_COMPONENTS, n_nonzeros, rng)
    parts, rows, columns = held_out.split(counts, rng)
    held_out.save(parts, Path(folder))
    by_row, by_column = (parts.train.sum(axis=axis).reshape(-1, 1) for axis in (1, 0))
    return {"rows": rows.size, "columns": columns.size, "nonzeros": int(counts.nnz), "train": int(parts.train.nnz),
            "largest": int(counts.max()), "mean": float(counts.data.mean()),
            "truth": _finite(held_out.score(parts, held_out.TRAIN * activations[rows], components[columns])),
            "totals": _finite(held_out.score(parts, by_row, by_column / by_row.sum()))}


def warm(name: str) -> None:
    """Import a library, and let it compile what it compiles, on a small table."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 1.0, (30, 3)) @ rng.gamma(0.5, 1.0, (3, 25))) + np.eye(30, 25)
    advance = FACTORIZERS[name].start(held_out.csr_array(counts), 2, 0, _processors(2))
    advance(1)
    advance(2)


def sweep(folder: str, name: str, n_threads: int, n: int = 4, least: float = 2.0) -> float:
    """Seconds of one of the first sweeps: what a fit of 1 + n sweeps takes more than one of a single sweep, over n.

    What a fit does once, to start and to look at where it ends, is in both.
    The median of as many pairs of fits as `least` seconds hold, at least one.
    """
    threads, train, found = _processors(n_threads), held_out.load_table(Path(folder), "train"), []
    warm(name)
    began = perf_counter()
    while not found or perf_counter() - began < least:
        short, long = (_timed(FACTORIZERS[name].start(train, N_COMPONENTS, 0, threads), sweeps)[0]
                       for sweeps in (1, 1 + n))
        found.append((long - short) / n)
    return float(np.median(found))


def curve(folder: str, name: str, seed: int, budget: float, n_threads: int) -> Iterator[dict[str, Any]]:
    """Scores after 1, 2, 3, 4, 6 ... sweeps, with the seconds of the fit: as long as the next would stay in the budget.

    All the time spent on a fit counts, its start included. A library that goes on from where it stood has its times
    added, with what going on costs it; of another, each is that of a whole fit.
    """
    library, threads = FACTORIZERS[name], _processors(n_threads)
    parts = held_out.load(Path(folder))
    warm(name)
    advance, n, spent, scores = library.start(parts.train, N_COMPONENTS, seed, threads), 1, 0.0, []
    while True:
        seconds, factors = _timed(advance, n)
        spent = spent + seconds if library.goes_on else seconds
        found = held_out.score(parts, *factors)
        yield {"sweeps": n, "seconds": spent} | _finite(found)
        scores.append(found["floored validation"])
        if 1.5 * spent > budget or settled(n, scores):
            return
        n = max(n + 1, n * 3 // 2)


def settled(n_sweeps: int, scores: list[float]) -> bool:
    """Whether more sweeps are not worth their time, see `ENOUGH`; also where nothing can be scored."""
    if n_sweeps < ENOUGH:
        return False
    last, unit = scores[-1], MARGIN * abs(scores[-1])
    return not np.isfinite(last) or last < max(scores) - unit or abs(last - scores[-2]) < 0.01 * unit


def memory(folder: str, name: str, n_threads: int) -> dict[str, int | None]:
    """Peak bytes of a process that fits for one sweep, and before the fit."""
    train, threads = held_out.load_table(Path(folder), "train"), _processors(n_threads)
    before = _peak()
    FACTORIZERS[name].start(train, N_COMPONENTS, 0, threads)(1)
    return {"before": before, "peak": _peak()}


def _peak() -> int | None:
    """None where the system does not tell. Linux gives a process its parent's ``ru_maxrss``, but a VmHWM of its own."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if find_spec("resource") is None:
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _timed(advance: Callable[[int], Any], n_sweeps: int) -> tuple[float, Any]:
    began = perf_counter()
    factors = advance(n_sweeps)
    return perf_counter() - began, factors


def _processors(n: int) -> int:
    """Keep this process to `n` processors, where the system can; how many it has then."""
    if not hasattr(os, "sched_setaffinity"):
        return min(n, os.cpu_count() or 1)
    ours = sorted(os.sched_getaffinity(0))[:n]
    os.sched_setaffinity(0, ours)
    return len(ours)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN and no infinity: None takes their place."""
    return {key: value if np.isfinite(value) else None for key, value in values.items()}


# ---- all of it ----

def measure(*, sizes: list[int], seeds: int, seconds: float, rounds: int, memory_at: int, timeout: float,
            say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Everything for tables of `sizes` non-zeros: `rounds` turns of a sweep, `seeds` fits of `seconds` per 100 000
    non-zeros on a table each, and peak memory at `memory_at` non-zeros if that is not 0; a part may take `timeout`."""
    needs = {name: (name, library.needs) for name, library in FACTORIZERS.items()}
    result: dict[str, Any] = {
        "machine": machine("scikit-learn", "hpfrec", "poismf"), "missing": missing(needs), "failed": {},
        "asked": {"sizes": sizes, "seeds": seeds, "seconds": seconds, "rounds": rounds, "memory_at": memory_at,
                  "timeout": timeout}, "tables": {}, "sweeps": {}, "curves": {}, "memory": {}}

    def asked(*task: Any) -> list[Any]:
        title = " ".join(str(word) for word in task if not str(word).startswith(tempfile.gettempdir()))
        say(title)
        lines, why = lines_of(_HERE, *task, timeout=timeout)
        if why:
            result["failed"][title] = why
        return [value for _, value in lines]

    here = [name for name in FACTORIZERS if name not in result["missing"] and asked("load", name)]
    for size in sizes:
        for seed in range(max(seeds, 1)):
            with tempfile.TemporaryDirectory() as folder:
                table = asked("simulate", folder, size, seed)
                result["tables"].setdefault(str(size), []).extend(table)
                if table and seed == 0:
                    result["sweeps"][str(size)] = _sweeps(asked, folder, here, rounds)
                for name in here if table and seeds else ():
                    result["curves"].setdefault(str(size), {}).setdefault(name, []).append(
                        asked("curve", folder, name, seed, seconds * size / 1e5, 2))
    if memory_at:
        with tempfile.TemporaryDirectory() as folder:
            if asked("simulate", folder, memory_at, 0):
                result["memory"] = {name: found[0] for name in here if (found := asked("memory", folder, name, 1))}
    return result


def _sweeps(asked: Callable[..., list[Any]], folder: str, names: list[str], rounds: int) -> dict[str, Any]:
    """Seconds of a sweep in each of `rounds` turns, by threads and library; a turn that fails is None."""
    found: dict[str, Any] = {"1": {name: [] for name in names},
                             "2": {name: [] for name in names if FACTORIZERS[name].threads}}
    if (os.cpu_count() or 1) < 2:
        del found["2"]
    for _ in range(rounds):
        for threads, seconds in found.items():
            for name in seconds:
                seconds[name].append(next(iter(asked("sweep", folder, name, threads)), None))
    return found


# ---- what follows from it ----

def best(points: list[Mapping[str, Any]], kind: str = "") -> Mapping[str, Any] | None:
    """The point of a curve with the best validation score; `kind` is "" or "floored "."""
    scored = [point for point in points if point[f"{kind}validation"] is not None]
    return max(scored, key=lambda point: point[f"{kind}validation"], default=None)


def seconds_to(points: list[Mapping[str, Any]], target: float) -> float | None:
    """When a curve's validation score first reaches `target`, on a straight line between its points; or None."""
    before = None
    for point in points:
        score = point["validation"]
        if score is not None and score >= target:
            if before is None or before["validation"] is None:
                return point["seconds"]
            share = (target - before["validation"]) / (score - before["validation"])
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def targets(curves: Mapping[str, list[list[Mapping[str, Any]]]]) -> list[float | None]:
    """For each seed, hpfrec's best validation score less `MARGIN` of it; None where there is none."""
    found = [best(points) for points in curves.get("hpfrec", [])]
    return [None if point is None else point["validation"] - MARGIN * abs(point["validation"]) for point in found]


def slope(seconds: Mapping[str, float]) -> float | None:
    """Least-squares slope of log seconds over log non-zeros, by the number of non-zeros.

    None from less than two, or where a difference of two fits, lost in what they vary by, came out negative.
    """
    if len(seconds) < 2 or min(seconds.values()) <= 0:
        return None
    return float(np.polyfit(np.log([float(size) for size in seconds]), np.log(list(seconds.values())), 1)[0])


#: What a process of its own is asked for.
TASKS: dict[str, Callable[..., Iterable[Any]]] = {
    "load": lambda name: [warm(name) or name],
    "simulate": lambda folder, size, seed: [simulate(folder, int(size), int(seed))],
    "sweep": lambda folder, name, threads: [sweep(folder, name, int(threads))],
    "curve": lambda folder, name, seed, budget, threads: curve(folder, name, int(seed), float(budget), int(threads)),
    "memory": lambda folder, name, threads: [memory(folder, name, int(threads))],
}

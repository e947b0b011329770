"""The scorecard, and the comparison of factorisations, as text."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vi_ref.compare._process import about
from vi_ref.compare.factorization import MARGIN, best, seconds_to, slope, targets
from vi_ref.compare.held_out import FLOOR
from vi_ref.compare.scorecard import N_DRAWS, SETTINGS
from vi_ref.compare.speed import ratio


def table(result: Mapping[str, Any]) -> str:
    """The result of `scorecard.measure` as lines of text."""
    found = result["libraries"]
    lines = [summary(result), "", *_implicit(found), "", *_times(result["times"])]
    lines += ["", "log joint, log q, ELBO and its gradient at the same draws; at the prior, half way, at the optimum:",
              "largest difference from ours, in nats, and as a share of the gradient"]
    for name, of in _each(found, "functions"):
        lines.append(_row(name, ["  ".join(_number(point[key]) for point in of.values())
                                 for key in ("log_joint", "log_q", "elbo", "gradient")], 28))
    lines += ["", "the gradient of 128 draws: its mean, in standard errors from the exact one, worst of 128 numbers,",
              "half way and at the optimum; there its variance over the exact one, in log shape and in log rate"]
    for name, of in _each(found, "estimates"):
        optimum = of["optimum"]
        lines.append(_row(name, map(_number, (of["half way"]["off"], optimum["off"], optimum["log_shape"],
                                              optimum["log_rate"]))))
    lines += ["", "a library's own draws: share at or below the smallest normal number (its probability), share of "
              "derivatives",
              "that are not finite, mean derivative of log z over the exact one; shapes 0.001, 0.01, 0.1"]
    for name, of in _each(found, "own_draws"):
        lines.append(_row(name, [f"{row['collapsed']:.4f} ({row['below_tiny']:.4f}), {_number(row['not_finite'])}, "
                                 + _number(row["log_slope"] and row["log_slope"] / row["log_slope_exact"])
                                 for row in of[:3]], 34))
    lines += ["", "Adam: largest distance from our path in 5000 steps, as a share of its reach"]
    lines += [_row(name, [_number(of)]) for name, of in _each(found, "adam")]
    lines += ["", f"the whole fit, {result['asked']['n_steps']} steps: ms a step once compiled, seconds of a process "
              "with one fit, seeds and pixels that",
              "end finite, and over those pixels KL(q || posterior) in nats and the worst relative error of a mean"]
    for settings in SETTINGS:
        lines.append(f"  settings: {settings}")
        for name, of in result["fits"].items():
            lines += [_row(f"{name} {precision}", _fit(fit, result["asked"]["n_steps"]), 13)
                      for precision, fit in of.get(settings, {}).items()]
    lines += [f"{part} failed: {why}" for part, why in result["failed"].items()]
    lines += [f"{name} is missing: {command}" for name, command in result["missing"].items()]
    return "\n".join(lines)


def summary(result: Mapping[str, Any]) -> str:
    """What matters most of it, a line a library and precision."""
    asked = result["asked"]
    lines = [*about(result["machine"]),
             f"fits of the digit zero, {asked['n_steps']} steps, {asked['seeds']} seeds; KL(q || posterior) in nats, "
             "the worst seed's, over pixels that ended finite", "",
             _row("", ["dz/dalpha", "dz/dalpha", "our", "tutorial's", "tutorial's", "our", "our"], 14),
             _row("", ["worst error", "one value", "step", "finite pixels", "KL", "finite pixels", "KL"], 14)]
    for name, of in result["libraries"].items():
        for precision, found in of.items():
            worst = [row["max"] for row in found.get("implicit") or [] if -2 <= row["decade"] < 4]
            taken = result["times"].get("1 to 100, 128 x 64", {}).get(f"{name} {precision}")
            fits = {settings: result["fits"][name][settings][precision] for settings in SETTINGS}
            absent = "JAX's" if found.get("implicit", ()) is None else "failed"
            cells = [_number(None if None in worst else max(worst)) if worst else absent,
                     f"{1e9 * np.median(taken) / 8192:.3g} ns" if taken else absent,
                     f"{_number(1e3 * step)} ms" if (step := warm(fits["ours"], asked["n_steps"])) else ""]
            for fit in fits.values():
                cells += [fate(fit), ""] if fate(fit) else _fit(fit, asked["n_steps"])[3:5]
            lines.append(_row(f"{name} {precision}", cells, 14))
    return "\n".join(lines)


def fate(fit: Mapping[str, Any]) -> str:
    """What became of a result of `scorecard.fits` that is not complete, or ""."""
    return "" if not fit["failed"] else "does not end" if fit["failed"].startswith("no end") else "failed"


def warm(fit: Mapping[str, Any], n_steps: int) -> float | None:
    """Seconds a step of a result of `scorecard.fits`, once compiled: the fastest seed after the first."""
    later = [seed["seconds"] for seed in fit["seeds"][1:]]
    return min(later) / n_steps if later else None


def factorization(result: Mapping[str, Any]) -> str:
    """The result of `factorization.measure` as lines of text."""
    lines = about(result["machine"])
    for size, tables in result["tables"].items():
        lines += ["", f"simulated counts, {tables[0]['rows']} x {tables[0]['columns']}, {tables[0]['nonzeros']} not 0, "
                  f"{tables[0]['train']} of them in training"]
        lines += [*_sweep_times(result["sweeps"].get(size, {}), tables[0]["train"]),
                  *_held_out(result["curves"].get(size, {}), tables)]
    if len(result["sweeps"]) > 1:
        lines += ["", "time of a sweep against the training table's non-zeros: slope of the logarithms, by threads"]
        lines += [_row(name, map(_number, slopes)) for name, slopes in _slopes(result).items()]
    if result["memory"]:
        lines += ["", f"peak memory of a process that fits {result['asked']['memory_at']} non-zeros on one thread, and "
                  "before the fit, MB"]
        lines += [_row(name, ["none" if of[key] is None else f"{of[key] / 2**20:.0f}" for key in ("peak", "before")])
                  for name, of in result["memory"].items()]
    lines += [f"{part} failed: {why}" for part, why in result["failed"].items()]
    lines += [f"{name} is missing: {command}" for name, command in result["missing"].items()]
    return "\n".join(lines)


def _sweep_times(sweeps: Mapping[str, Any], n_nonzeros: int) -> Iterator[str]:
    yield "seconds a sweep per million non-zeros to fit, median; its ratio to hpfrec's, turn by turn, with quartiles"
    for threads, by_name in sweeps.items():
        for name, turns in by_name.items():
            both = [(a, b) for a, b in zip(turns, by_name.get("hpfrec", []), strict=False) if a and b]
            quartiles = "  {1:.2g} [{0:.2g}, {2:.2g}]".format(*ratio(*zip(*both, strict=True))) if both else ""
            cells = [_number(_median(turns) and 1e6 * _median(turns) / n_nonzeros), quartiles]
            yield _row(f"{name}, {threads} thread{'s' if threads != '1' else ''}", cells)


def _held_out(curves: Mapping[str, Any], tables: list[Mapping[str, Any]]) -> Iterator[str]:
    if not curves:
        return
    yield f"test score in nats a held-out non-zero, after the sweeps that validation finds best, worst of {len(tables)}"
    yield f"seeds: as it is, and of rates mixed with {FLOOR:g} of a constant; there: share of non-zeros given rate 0,"
    yield f"scale, sweeps; seconds of a fit until its validation score is hpfrec's best less {100 * MARGIN:g} %, median"
    yield "of the seeds that get there"
    goals = targets(curves)
    for name, of in curves.items():
        plain, floored = [best(points) for points in of], [best(points, "floored ") for points in of]
        ends = [seconds_to(points, goal) for points, goal in zip(of, goals, strict=False) if goal is not None]
        there = [end for end in ends if end is not None]
        yield _row(name, [_worst(plain, "test"), _worst(floored, "floored test"),
                          _number(max((p["impossible"] for p in floored if p), default=None)),
                          _number(_median([p and p["scale"] for p in floored])),
                          f"{_median([p and p['sweeps'] for p in floored]) or 0:.0f}",
                          f"{_number(_median(there)) if there else 'none':>8} ({len(there)} of {len(ends)})"])
    for title, key in (("the true rates", "truth"), ("totals alone", "totals")):
        points = [table[key] for table in tables]
        yield _row(title, [_worst(points, "test"), _worst(points, "floored test"), "",
                           _number(_median([point["scale"] for point in points]))])


def _slopes(result: Mapping[str, Any]) -> dict[str, list[float | None]]:
    found: dict[str, dict[str, dict[float, float]]] = {}
    for size, by_threads in result["sweeps"].items():
        for threads, by_name in by_threads.items():
            for name, turns in by_name.items():
                if _median(turns):
                    train = result["tables"][size][0]["train"]
                    found.setdefault(name, {}).setdefault(threads, {})[train] = _median(turns)
    return {name: [slope(seconds) for seconds in of.values()] for name, of in found.items()}


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def _worst(points: Iterable[Mapping[str, Any] | None], key: str) -> str:
    values = [-np.inf if point is None or point[key] is None else point[key] for point in points]
    return f"{min(values):.4f}" if values else "none"


def _implicit(found: Mapping[str, Any]) -> Iterator[str]:
    yield "implicit gradient: worst relative error on the reference vectors (how many values are not finite), by shape"
    columns = dict(_each(found, "implicit"))
    yield _row("from", columns, 18)
    by_decade = [{row["decade"]: row for row in rows} for rows in columns.values()]
    for decade in sorted({decade for rows in by_decade for decade in rows}):
        here = [rows.get(decade) for rows in by_decade]
        yield _row(f"{10.0**decade:.0e}", [
            "" if row is None else _number(row["max"]) + (f" ({row['not_finite']})" if row["not_finite"] else "")
            for row in here], 18)
    for name, rows in columns.items():
        worst = max(rows, key=lambda row: np.inf if row["max"] is None else row["max"])
        yield f"  worst of {name}: " + ", ".join(f"{key} {worst[key]!r}" for key in ("alpha", "z", "value", "truth"))


def _times(times: Mapping[str, Any]) -> Iterator[str]:
    yield "time an element, and as a multiple of vi_ref's, turn by turn"
    for title, seconds in times.items():
        yield "  draws with their derivatives" if title == "draws" else f"  implicit gradient, shapes {title}"
        size = N_DRAWS if title == "draws" else 8192
        for name, taken in seconds.items():
            yield _row("  " + name, [f"{1e9 * np.median(taken) / size:.3g} ns",
                                     f"{ratio(taken, seconds['vi_ref float64'])[1]:.3g}"])


def _fit(fit: Mapping[str, Any], n_steps: int) -> list[str]:
    seeds, step = fit["seeds"], warm(fit, n_steps)
    if not seeds:
        return [f"  {fit['failed']}"]
    whole = sum(seed["finite"] == seed["columns"] for seed in seeds)
    worst = [max(np.inf if seed.get(key) is None else seed[key] for seed in seeds) for key in ("kl", "mean")]
    return [_number(step and 1e3 * step), _number(fit["process"]), f"{whole} of {len(seeds)}",
            f"{sum(seed['finite'] for seed in seeds)} of {sum(seed['columns'] for seed in seeds)}",
            *map(_number, worst)] + ([f"  {fit['failed']}"] if fit["failed"] else [])


def _each(libraries: Mapping[str, Any], what: str) -> Iterator[tuple[str, Any]]:
    for name, by_precision in libraries.items():
        for precision, found in by_precision.items():
            if found.get(what) is not None:
                yield f"{name} {precision}", found[what]


def _row(name: str, cells: Any, width: int = 12) -> str:
    return f"  {name:<24}" + "".join(f"{cell:>{width}}" for cell in cells)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"

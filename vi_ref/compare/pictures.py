"""The scorecard and the comparison of factorisations as pictures; a library has the same look in all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vi_ref.compare.report import fate, warm
from vi_ref.compare.scorecard import PRECISIONS
from vi_ref.plots import BLUE, GREEN, GREY, ORANGE, RED, STYLE

#: Of each library: colour and mark.
_LOOKS = {"vi_ref": (BLUE, "o"), "PyTorch": (ORANGE, "s"), "JAX": (RED, "^"), "TFP": (GREEN, "D"),
          "NumPyro": (GREY, "v")}
#: Of each that factorises: colour, mark and dash.
_FACTORIZERS = {"vi_ref": (BLUE, "o", "-"), "hpfrec": (ORANGE, "s", "-"), "NMF": (GREEN, "D", "-"),
                "LDA": (RED, "^", "-"), "poismf tncg": (GREY, "v", "--"), "poismf cg": (GREY, "<", "-."),
                "poismf pg": (GREY, ">", ":")}


def factorization(result: Mapping[str, Any]) -> Figure:
    """Score on held-out counts against seconds of the fit, a line a library and seed, for each size of the table."""
    with rc_context(STYLE):
        sizes = list(result["tables"]) or [""]
        figure = Figure(figsize=(4.5 * len(sizes) + 1.5, 4), layout="constrained")
        for size, axes in zip(sizes, np.atleast_1d(figure.subplots(1, len(sizes))), strict=True):
            _scores(axes, result["curves"].get(size, {}), result["tables"].get(size, []))
            axes.set(title=f"{int(size or 0):,} non-zeros".replace(",", " "), xlabel="seconds of the fit")
        figure.axes[0].set_ylabel("test score, nats a held-out non-zero")
        drawn = {name for of in result["curves"].values() for name in of}
        handles = [Line2D([], [], color=color, marker=mark, ls=dash, ms=4, label=name)
                   for name, (color, mark, dash) in _FACTORIZERS.items() if name in drawn]
        handles += [Line2D([], [], color="black", lw=0.8, ls=dash, label=title)
                    for title, dash in (("the true rates", "-"), ("totals alone", (0, (1, 2))))]
        figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    return figure


def _scores(axes: Axes, curves: Mapping[str, Any], tables: list[Mapping[str, Any]]) -> None:
    """Scores with the floor, so that a rate of 0 ends no line; the range is from the truth to a little below totals."""
    for name, of in curves.items():
        color, mark, dash = _FACTORIZERS[name]
        for points in of:
            scores = np.array([point["floored test"] for point in points], float)             # None becomes NaN
            axes.plot([point["seconds"] for point in points], scores, color=color, marker=mark, ls=dash, ms=3, lw=1)
    for key, dash in (("truth", "-"), ("totals", (0, (1, 2)))):
        for table in tables:
            axes.axhline(table[key]["floored test"], color="black", lw=0.8, ls=dash)
    if tables:
        top = max(table["truth"]["floored test"] for table in tables)
        bottom = min(table["totals"]["floored test"] for table in tables)
        axes.set_ylim(bottom - 0.6 * (top - bottom), top + 0.1 * (top - bottom))
    axes.set_xscale("log")


def scorecard(result: Mapping[str, Any]) -> Figure:
    """Errors of the implicit gradient in both precisions, and the whole fit."""
    with rc_context(STYLE):
        figure = Figure(figsize=(12, 4), layout="constrained")
        axes = figure.subplots(1, 3)
        for precision, place in zip(PRECISIONS, axes, strict=False):
            _errors(place, result, precision)
        _fits(axes[2], result)
    return figure


def errors_by_decade(result: Mapping[str, Any]) -> Figure:
    """Worst and median relative error of each library's implicit gradient on the reference vectors."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        for precision, place in zip(PRECISIONS, figure.subplots(1, 2), strict=True):
            _errors(place, result, precision)
    return figure


def whole_fits(result: Mapping[str, Any]) -> Figure:
    """How far each library's fit ends from the posterior, against the time of a step."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        _fits(figure.subplots(), result)
    return figure


def _errors(axes: Axes, result: Mapping[str, Any], precision: str) -> None:
    unit = float(np.finfo(precision).eps) / 2
    for name, by_precision in result["libraries"].items():
        rows = by_precision.get(precision, {}).get("implicit")
        if rows:
            color, mark = _LOOKS[name]
            shape = [10.0 ** row["decade"] for row in rows]
            worst, median = (np.maximum(np.array([row[key] for row in rows], float), unit / 10)
                             for key in ("max", "median"))                                   # None becomes NaN
            axes.plot(shape, worst, mark + "-", color=color, ms=4, label=name)
            axes.plot(shape, median, ":", color=color)
    axes.axhline(unit, color="black", lw=0.8, ls=(0, (1, 2)))
    axes.annotate("half a unit in the last place", (0.98, unit), xycoords=("axes fraction", "data"), xytext=(0, -4),
                  textcoords="offset points", fontsize=8, ha="right", va="top")
    axes.set_ylim(unit / 100, 10 * axes.get_ylim()[1])
    axes.set(xscale="log", yscale="log", xlabel="shape, by decades",
             ylabel="relative error of $\\partial z/\\partial\\alpha$", title=f"implicit gradient, {precision}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, title="marks: worst\ndots: median", title_fontsize=8)


def _fits(axes: Axes, result: Mapping[str, Any]) -> None:
    n_steps, broken, levels = result["asked"]["n_steps"], [], {}
    for name, by_settings in result["fits"].items():
        color, mark = _LOOKS[name]
        for settings, by_precision in by_settings.items():
            for precision, fit in by_precision.items():
                seconds = warm(fit, n_steps)
                why = fate(fit) or ("not finite" if any(s["finite"] < s["columns"] for s in fit["seeds"])
                                    else "one seed, no time" if seconds is None else "")
                if why:
                    broken.append(f"{name}, {precision}, {settings}: {why}")
                else:
                    levels.setdefault(settings, []).append(np.median([seed["kl"] for seed in fit["seeds"]]))
                    axes.plot(1e3 * seconds, levels[settings][-1], mark, color=color, ms=7,
                              fillstyle="full" if precision == "float64" else "none")
    handles = [Line2D([], [], marker=mark, ls="", color=color, label=name)
               for name, (color, mark) in _LOOKS.items() if name in result["fits"]]
    handles += [Line2D([], [], marker="o", ls="", color="black", fillstyle=fill, label=precision)
                for precision, fill in zip(PRECISIONS, ("full", "none"), strict=True)]
    axes.set(xscale="log", yscale="log", xlabel="milliseconds a step",
             ylabel=f"KL(q || posterior) after {n_steps} steps, nats, median", title="the whole fit of the digit zero")
    axes.legend(handles=handles, fontsize=8, loc="center right")
    for settings, values in levels.items():
        axes.text(0.35, np.median(values), f"settings: {settings}", fontsize=8, ha="center", va="center",
                  transform=axes.get_yaxis_transform())
    if broken:
        axes.text(0.02, 0.5, "\n".join(broken), transform=axes.transAxes, fontsize=7, va="center")

"""The pictures of the studies of Poisson factorisation, in the manner of `plots`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from vi_ref.datasets import IMAGE
from vi_ref.plots import BLUE, GREY, ORANGE, RED, STYLE, _figure, _show

#: What each table is called, and its colour.
_TABLES = {"real": ("real, held out", "black"), "factorised": ("factorised", BLUE),
           "independent": ("independent pixels", ORANGE)}


def strokes(components: ArrayLike, per_row: int = 10) -> Figure:
    """What each component adds to an image, each on its own scale; above it, its share of all ink.

    A component that adds less than a tenth of a count to any pixel is shown as nearly nothing, on a scale up to that.

    Parameters
    ----------
    components : array_like, shape (K, 64)
        As of `study_factorization.strokes`.
    per_row : int
        At least 1.
    """
    components = np.asarray(components)
    n_rows = -(-len(components) // per_row)
    share = components.sum(axis=1) / components.sum()
    with rc_context(STYLE):
        figure = _figure(9, 1.15 * n_rows)
        cells = figure.subplots(n_rows, per_row, squeeze=False).ravel()
        for axes in cells[len(components):]:
            axes.set_axis_off()
        for axes, values, part in zip(cells, components, share, strict=False):
            _show(axes, values, f"{part:.0%}" if part >= 0.01 else "< 1%", high=max(values.max(), 0.1))
    return figure


def zeros_side_by_side(images: Mapping[str, NDArray[np.int64]]) -> Figure:
    """Real zeros above synthetic ones, a line a model.

    Parameters
    ----------
    images : mapping
        Of `study_factorization.generate`.
    """
    with rc_context(STYLE):
        figure = _figure(9, 2.8)
        for line, (name, (title, _)) in zip(figure.subplots(3, len(images["real"]), squeeze=False), _TABLES.items(),
                                            strict=True):
            line[0].set_ylabel(title.replace(" ", "\n"))
            for axes, image in zip(line, images[name], strict=True):
                _show(axes, image, high=16)
    return figure


def correlations(result: Mapping[str, Any], pixels: tuple[int, int] = (26, 53)) -> Figure:
    """How pixels vary together: maps of the correlation with two pixels, and means over all pairs.

    Parameters
    ----------
    result : mapping
        Of `study_factorization.correlations`.
    pixels : tuple of int
    """
    with rc_context(STYLE):
        figure = _figure(9, 3.2)
        left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
        cells = left.subplots(2, 3)
        for line, pixel in zip(cells, pixels, strict=True):
            for axes, (name, (title, _)) in zip(line, _TABLES.items(), strict=True):
                values = np.array(result[name]["matrix"][pixel])
                values[pixel] = np.nan
                image = _show(axes, values, title if pixel == pixels[0] else "", low=-0.8, high=0.8, cmap="RdBu")
                row, column = divmod(pixel, IMAGE[1])
                axes.plot(column, row, "s", color="black", ms=8)
        left.colorbar(image, ax=cells, label="correlation with the black pixel", shrink=0.9)
        axes = right.subplots()
        for place, part in enumerate(("absolute", "positive", "negative")):
            for shift, (name, (title, color)) in enumerate(_TABLES.items()):
                low, middle, high = np.quantile(result[name][part], [0.025, 0.5, 0.975])
                axes.errorbar(place + 0.22 * (shift - 1), middle, [[middle - low], [high - middle]], color=color,
                              fmt="Dos"[shift], ms=6, capsize=4, label=title if place == 0 else None)
        axes.set(xticks=range(3), xticklabels=["absolute value", "positive part", "negative part"], xlim=(-0.5, 2.5),
                 ylim=(0, None), ylabel="mean over all pairs of pixels", title="bars: 95 % of tables of 78 images")
        axes.legend()
    return figure


def recovery(result: Mapping[str, Any]) -> Figure:
    """Cosine of found and true components against the number of rows: median and range over the tables.

    Parameters
    ----------
    result : mapping
        Of `study_recovery.recovery`.
    """
    lines = {"best": (BLUE, "-", "o", "true K, best ELBO of the starts"),
             "worst": (RED, ":", "v", "true K, worst ELBO of the starts"),
             "double": (ORANGE, "--", "s", "2K components, best ELBO")}
    with rc_context(STYLE):
        figure = _figure(9, 3.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        m = np.array(result["size"])
        for name, (color, dash, mark, label) in lines.items():
            values = np.array(result[name])
            left.fill_between(m, values.min(axis=1), values.max(axis=1), color=color, alpha=0.15, lw=0)
            left.plot(m, np.median(values, axis=1), color=color, ls=dash, marker=mark, ms=5, lw=1.8, label=label)
        left.set(ylim=(None, 1.01), ylabel="mean cosine with the true components",
                 title="with enough rows the components are found; one start may miss some")
        left.legend(loc="lower right")
        used = np.array(result["used"])
        right.axhline(result["components"], color=GREY, lw=1.5, label="true K")
        right.fill_between(m, used.min(axis=1), used.max(axis=1), color=ORANGE, alpha=0.2, lw=0)
        right.plot(m, np.median(used, axis=1), color=ORANGE, ls="--", marker="s", ms=5, lw=1.8,
                   label="with over 1 % of the counts")
        right.set(ylim=(0, 2 * result["components"] + 0.5), ylabel="components", title="of 2K, the rest empty out")
        right.legend(loc="lower left")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(m, [str(size) for size in m])
            axes.minorticks_off()
            axes.set_xlabel("rows m")
    return figure


def calibration(result: Mapping[str, Any]) -> Figure:
    """Share of central intervals that hold the true rate, and the ranks of the truth, for mean field and for Gibbs.

    Parameters
    ----------
    result : mapping
        Of `study_recovery.calibration`. Bars: 1.96 standard errors over tables.
    """
    methods = {"mean field": (RED, "o", "mean field"), "gibbs": (BLUE, "s", "posterior, by Gibbs sampling")}
    with rc_context(STYLE):
        figure = _figure(9, 3.4)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.3])
        level = np.array(result["level"])
        left.plot([0.4, 1], [0.4, 1], color=GREY, lw=1)
        right.axhline(0.1, color=GREY, lw=1)
        for shift, (name, (color, mark, label)) in zip((-0.2, 0.2), methods.items(), strict=True):
            of = result[name]
            left.errorbar(level, of["share"], 1.96 * np.array(of["error"]), color=color, fmt=mark, ms=6, capsize=3,
                          label=label)
            right.bar(np.arange(10) + shift, of["rank"], 0.38, yerr=1.96 * np.array(of["rank_error"]), color=color,
                      alpha=0.75 if name == "gibbs" else 1, error_kw={"lw": 1, "capsize": 2}, label=label)
        left.set(xlabel="level of the interval", ylabel="share that holds the true rate", aspect="equal",
                 xlim=(0.4, 1), ylim=(0.4, 1), title="mean field's intervals are too short")
        left.legend(loc="upper left")
        right.set(xlabel="where the true rate lies among the draws, lowest to highest tenth", ylabel="share of rates",
                  xticks=range(10), xticklabels=range(1, 11),
                  title="the truth is too often in the tails of mean field's q")
        right.legend(loc="upper center", ncols=2)
        right.set_ylim(0, 1.25 * max(result["mean field"]["rank"]))
    return figure

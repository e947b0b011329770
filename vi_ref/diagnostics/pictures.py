"""The pictures of the diagnostics, in the manner of `vi_ref.plots`."""

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vi_ref import _validate
from vi_ref.datasets import IMAGE
from vi_ref.diagnostics.calibration import Calibration
from vi_ref.diagnostics.importance import Khat
from vi_ref.diagnostics.predictive import correlation, mean_correlation
from vi_ref.diagnostics.randomised_pit import Pit
from vi_ref.plots import BLUE, ORANGE, RED, STYLE

#: Diverging: both ends dark, so signs are marked as well.
_SIGNED = "PuOr"
_MINUS = "\N{MINUS SIGN}"


def rank_histograms(results: Mapping[str, Calibration]) -> Figure:
    """Histograms of ranks, a panel a method; between the dashed lines all bins lie at once if the method is right.

    Bins outside are red and hatched. The titles hold what the eye does not see: the variance of the normal scores.

    Parameters
    ----------
    results : mapping of str to Calibration
        Title to result, at least one, of equal numbers of simulations and bins.
    """
    _some(results)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(results), 2.7), layout="constrained")
        panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
        for axes, (title, result) in zip(panels, results.items(), strict=True):
            edges = np.linspace(0, result.n_draws + 1, result.counts.size + 1)
            axes.bar(edges[:-1], result.counts, np.diff(edges), align="edge", ec="white", lw=0.5,
                     color=np.where(result.outside, RED, BLUE), hatch=["//" if out else "" for out in result.outside])
            for end in (result.low, result.high):
                axes.axhline(end, color="black", lw=1, ls="--")
            p = f"= {result.tests.p_variance:.1g}" if result.tests.p_variance > 1e-300 else "< 1e-300"
            axes.set(title=f"{title}\nscores' variance {result.tests.variance:.2f}, p {p}",
                     xlabel=f"rank of θ among {result.n_draws} draws", xlim=(0, result.n_draws + 1))
        panels[0].set_ylabel("simulations")
    return figure


def pit_panel(result: Pit, counts: NDArray, replicate: NDArray, level: float = 0.05) -> Figure:
    """What an image model of independent pixels gets wrong: each pixel's dispersion, and the pixels' correlation.

    Parameters
    ----------
    result : Pit
        Of the held-out images, 64 columns.
    counts : ndarray, shape (m, 64)
        The held-out images.
    replicate : ndarray, shape (m, 64)
        As many images made by the model.
    level : float
        Share of false marks among the marked pixels, at most, as expected.
    """
    if result.constant.size != IMAGE[0] * IMAGE[1]:
        raise ValueError(f"result must have {IMAGE[0] * IMAGE[1]} columns, one a pixel, got {result.constant.size}")
    tables = {"real": _validate.counts("counts", counts), "replicated": _validate.counts("replicate", replicate)}
    for name, table in zip(("counts", "replicate"), tables.values(), strict=True):
        if table.ndim != 2 or table.shape[1] != result.constant.size or len(table) < 2:
            raise ValueError(f"{name} must have 64 columns and at least 2 rows, got shape {table.shape}")
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        left, *right = figure.subplots(1, 3)
        reach = np.abs(result.tests.variance_z).max()
        shown = left.imshow(result.tests.variance_z.reshape(IMAGE), cmap=_SIGNED, vmin=-reach, vmax=reach)
        under, over = result.under_dispersed(level), result.over_dispersed(level)
        marks = np.select([under, over, result.constant], [_MINUS, "+", "·"], "")
        for pixel in np.flatnonzero(marks != ""):
            value = abs(result.tests.variance_z[pixel]) / reach
            left.text(pixel % IMAGE[1], pixel // IMAGE[1], marks[pixel], ha="center", va="center",
                      color="white" if value > 0.6 else "black", fontsize=12, weight="bold")
        title = f"pixels: {under.sum()} vary less ({_MINUS}), {over.sum()} more (+)\nthan predicted; · always the same"
        left.set(title=title, xticks=[], yticks=[])
        figure.colorbar(shown, ax=left, label="dispersion, z", shrink=0.8)
        for axes, (title, table) in zip(right, tables.items(), strict=True):
            image = axes.imshow(correlation(table), cmap=_SIGNED, vmin=-1, vmax=1, interpolation="nearest")
            axes.set(title=f"{title}\nmean |correlation| {mean_correlation(table):.3f}",
                     xlabel="pixel", ylabel="pixel")
        figure.colorbar(image, ax=right, label="correlation", shrink=0.8)
    return figure


def khat_picture(results: Mapping[str, Khat]) -> Figure:
    """k-hat of the columns and of all of them together, a row a q, and the thresholds.

    Parameters
    ----------
    results : mapping of str to Khat
        Label to result, at least one; the first's threshold is drawn. Infinite values are drawn at the edges.
    """
    _some(results)
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.42 * len(results)), layout="constrained")
        axes = figure.subplots()
        parts = [(row, result.columns, "o", ORANGE, "one column") for row, result in enumerate(results.values())
                 if result.columns is not None]
        parts += [(row, result.joint, "D", BLUE, "all columns together") for row, result in enumerate(results.values())]
        finite = np.concatenate([np.ravel(part.khat)[np.isfinite(np.ravel(part.khat))] for _, part, *_ in parts])
        low, high = min(finite.min(initial=0), -0.2) - 0.3, max(finite.max(initial=0), 1.0) + 0.3
        labelled = set()
        for row, part, mark, color, label in parts:
            place = np.clip(np.ravel(part.khat), low, high)
            axes.plot(place, np.full(place.size, row), mark, color=color, mec="black", mew=0.5, ms=6, alpha=0.8,
                      clip_on=False, label=None if label in labelled else label)
            labelled.add(label)
        threshold = next(iter(results.values())).joint.threshold
        axes.axvline(threshold, color="black", lw=1, ls="--", label=f"threshold {threshold:.2f}")
        axes.set(yticks=range(len(results)), yticklabels=list(results), xlim=(low, high), xlabel="k-hat",
                 ylim=(len(results) - 0.5, -0.5))
        for end, is_there, side, text in ((low, np.isneginf, "left", f" {_MINUS}∞: no tail"),
                                          (high, np.isposinf, "right", "∞: too few to fit ")):
            if any(is_there(part.khat).any() for _, part, *_ in parts):
                axes.text(end, len(results) - 0.5, text, fontsize=8, va="bottom", ha=side)
        figure.legend(loc="outside right center", fontsize=8)
    return figure


def _some(results: Mapping) -> None:
    if not results:
        raise ValueError("results must hold at least one result, got {}")

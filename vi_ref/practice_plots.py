"""The pictures of the studies of little data and of generation, in the manner of `plots`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vi_ref import study_generation, study_little_data
from vi_ref.gamma import Gamma
from vi_ref.plots import BLUE, GREEN, GREY, ORANGE, RED, STYLE, _figure, _show

#: Of each contestant: colour, dash, mark, and what the legend calls it.
_LINES = {
    "20 zeros": (GREEN, "--", "s", "20 other zeros, as two examples"),
    "ring": (BLUE, "-", "o", "drawn ring, as two examples"),
    "pooled": (ORANGE, "-.", "^", "one prior fitted to all pixels"),
    "flat": (GREY, "-", "", "flat prior"),
    "add 1/2": (RED, ":", "v", "no prior: (total + ½) / m"),
}


def little_data(result: Mapping[str, Any]) -> Figure:
    """Nats per held-out image that each contestant gains on the flat prior, and how often maximum likelihood fails.

    Parameters
    ----------
    result : mapping
        Of `study_little_data.scores`. Bars: 1.96 standard errors of the paired difference, ``"error"`` of
        `study_little_data.differences`.
    """
    with rc_context(STYLE):
        figure = _figure(9, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        m = np.array(result["size"])
        left.axhline(0, color=GREY, lw=1.5, label=_LINES["flat"][3])
        for label, (color, dash, mark, name) in _LINES.items():
            if label != "flat":
                gain = study_little_data.differences(result, label, ["flat"])["flat"]
                left.errorbar(m, gain["mean"], 1.96 * np.array(gain["error"]), color=color, ls=dash, marker=mark, ms=5,
                              lw=1.8, elinewidth=1.2, capsize=2, label=name)
        left.set(ylabel="nats per held-out image above the flat prior",
                 title="a picture is worth most when images are few")
        left.legend(loc="lower right")
        for part, mark, dash, name in (("sets", "o", "-", "training sets with -∞ on any image"),
                                       ("images", "s", "--", "held-out images with -∞")):
            right.plot(m, result["impossible"][part], color="black", ls=dash, marker=mark, ms=4, lw=1.5, label=name)
        right.set(ylim=(-0.03, 1.2), title="maximum likelihood: share with score -∞")
        right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        right.set_yticks(np.linspace(0, 1, 6))
        right.legend(fontsize=8, loc="upper right", borderaxespad=0)
        for axes in (left, right):
            _sizes(axes, m)
    return figure


def real_and_synthetic(real: NDArray[np.int64], synthetic: NDArray[np.int64]) -> Figure:
    """Held-out images of the ten digits above synthetic ones, a column a digit.

    Parameters
    ----------
    real, synthetic : ndarray, shape (10, n, 64)
        As of `study_generation.generate`.
    """
    with rc_context(STYLE):
        n = real.shape[1]
        figure = _figure(9, 0.95 * 2 * n + 0.4)
        for part, title, images in zip(figure.subfigures(2, 1), ("real, held out", "synthetic"), (real, synthetic),
                                       strict=True):
            part.suptitle(title, fontsize=10)
            for column, digit in zip(part.subplots(n, 10, squeeze=False).T, images, strict=True):
                for axes, image in zip(column, digit, strict=True):
                    _show(axes, image, high=16)
    return figure


def variance_sources(result: Mapping[str, Any]) -> Figure:
    """The two sources of predicted variance against m, with how far real images are; and pixel by pixel.

    Parameters
    ----------
    result : mapping
        Of `study_generation.variances`.
    """
    with rc_context(STYLE):
        figure = _figure(9, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        m, noise = np.array(result["size"]), np.array(result["noise"])
        predicted = noise + result["uncertainty"]
        left.fill_between(m, 0, noise, color=BLUE, alpha=0.35, lw=0, label="model: Poisson noise of one image")
        left.fill_between(m, noise, predicted, color=ORANGE, alpha=0.6, lw=0, label="model: uncertainty about θ")
        left.plot(m, predicted, color="black", lw=1)
        left.plot(m, result["error"], color=RED, ls="--", marker="o", ms=4, lw=1.8,
                  label="real images: square distance from the mean")
        left.axhline(result["real"], color=GREY, ls=":", lw=1.5, label="real images: variance")
        left.set(ylim=(0, None), ylabel="variance, summed over the image",
                 title="only the uncertainty about θ goes away")
        left.legend(loc="upper right", fontsize=8)
        _sizes(left, m)
        pixel, real = np.array(result["pixel_predicted"]), np.array(result["pixel_real"])
        ends = [0, 1.08 * max(pixel.max(), real.max())]
        right.plot(ends, ends, color="black", lw=0.8)
        for above, color, mark in ((True, RED, "^"), (False, BLUE, "o")):
            chosen = (real > pixel) == above
            right.plot(pixel[chosen], real[chosen], mark, color=color, ms=5, alpha=0.8, mew=0,
                       label=f"{chosen.sum()} {'above' if above else 'not above'}")
        right.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"predicted variance, m = {m.max()}",
                  ylabel="variance of held-out images", title="each pixel")
        right.legend(fontsize=8, loc="lower right", title="of 64 pixels", title_fontsize=8)
    return figure


def variance_maps(q: Gamma, images: NDArray[np.int64]) -> Figure:
    """The two sources of the variance of a new image, pixel by pixel, beside the variance between real images.

    One scale for all three, white at 0 and black from 20 on; the titles give the sums over the image.

    Parameters
    ----------
    q : Gamma, shape (64,)
        What is known of the rates.
    images : ndarray, shape (m, 64)
        Real images, at least two, that q has not seen.
    """
    noise, uncertainty = study_generation.variance_split(q)
    parts = ((noise, "model: Poisson noise"), (uncertainty, "model: uncertainty about θ"),
             (images.var(axis=0, ddof=1), "between real images"))
    with rc_context(STYLE):
        figure = _figure(8, 2.9)
        axes = figure.subplots(1, 3)
        for one, (values, title) in zip(axes, parts, strict=True):
            image = _show(one, values, f"{title}, {values.sum():.1f}", high=20)
        figure.colorbar(image, ax=axes, label="variance", shrink=0.9)
    return figure


def _sizes(axes: Any, m: NDArray[np.int64]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(m, [str(size) for size in m])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel("training images m")

"""The pictures of the studies of the gradient estimators, in the manner of `plots`.

The same gradient estimator has the same colour, dash and mark in all.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vi_ref import exact_elbo, study
from vi_ref.gamma import Gamma
from vi_ref.plots import BLUE, GREEN, GREY, ORANGE, RED, STYLE
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]

#: Of each label of the studies: colour, dash, mark.
_LINES = {
    "score": (GREY, "-", "x"),
    "score, Rao-Blackwell": (GREY, ":", "x"),
    "score, R.-B., leave one out": (GREY, "--", "x"),
    "G-REP": (ORANGE, "--", "s"),
    "RSVI, B = 0": (RED, "-", "^"),
    "RSVI, B = 1": (RED, "--", "v"),
    "RSVI, B = 3": (RED, "-.", "<"),
    "RSVI, B = 10": (RED, ":", ">"),
    "measure-valued, coupled": (GREEN, "-.", "D"),
    "implicit, entropy exact": (BLUE, ":", "P"),
    "implicit": (BLUE, "-", "o"),
    "reparameterized": (BLUE, "--", "o"),
    "sticking the landing": ("black", "-", "*"),
    "exact": (GREY, (0, (1, 2)), ""),
}

#: Of `study.ESTIMATORS`, those on the map, in the order of the book.
MAPPED = ("score", "score, Rao-Blackwell", "score, R.-B., leave one out", "G-REP", "RSVI, B = 1", "RSVI, B = 10",
          "measure-valued, coupled", "reparameterized", "sticking the landing")
#: The functions of a model that a gradient estimator may call, and what the map calls them.
_ASKED = {"log_joint": "log p", "log_joint_terms": "its terms", "grad_log_joint": "its slope"}


def gradient_noise(study: Mapping[str, Any]) -> Figure:
    """The variance of every gradient estimator: on the digit at three points, and over shapes near the optimum.

    Parameters
    ----------
    study : mapping
        With the results of `study.compare` under ``"digit"`` and of `study.shape_sweep` under ``"shapes"``.
    """
    with rc_context(STYLE):
        figure = _figure(10, 4.6)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        floor = 1e-6
        labels = [label for label, row in study["digit"]["start"].items() if row is not None]
        for (point, rows), mark, color in zip(study["digit"].items(), "o^s", (GREY, ORANGE, BLUE), strict=True):
            variance = np.array([rows[label]["variance"] for label in labels])
            place = np.arange(len(labels))
            seen = variance >= floor
            left.plot(variance[seen], place[seen], mark, color=color, mec="black", mew=0.5, label=point)
            left.plot(np.full(np.sum(~seen), floor), place[~seen], "<", color=color, mec="black", mew=0.5, ms=8)
        left.axvline(1, color="black", lw=0.8, ls=":")
        left.set(xscale="log", yticks=place, yticklabels=labels, xlim=(floor / 3, None),
                 xlabel="mean variance / (F/S); at the left end: below 10⁻⁶", title="the digit zero, 64 columns")
        left.invert_yaxis()
        left.legend(fontsize=8, loc="center left")
        sweep = study["shapes"]
        for label, values in sweep["variance"].items():
            color, dash, mark = _LINES[label]
            value, error = (np.array(part, dtype=float) for part in (values, sweep["error"][label]))
            right.errorbar(sweep["shape"], value, 1.96 * error, color=color, ls=dash, marker=mark, ms=4, lw=1.3,
                           elinewidth=0.8, label=label)
        right.axhline(1, color="black", lw=0.8, ls=":")
        right.set(xscale="log", yscale="log", xlabel="shape", ylabel="variance of one draw's d / d log shape, over F",
                  title="one column, 0.1 sd from the optimum")
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def estimator_map(digit: Mapping[str, Any]) -> Figure:
    """What each gradient estimator asks of the model, its variance on the digit at two points, and its time.

    Parameters
    ----------
    digit : mapping
        Of `study.compare`. Shown are `MAPPED`, and first the exact gradient, which draws nothing.
    """
    start, optimum, times, floor = digit["start"], digit["optimum"], study.relative_times(digit), 1e-6
    with rc_context(STYLE):
        figure = _figure(10, 4.4)
        asked, noise, time = figure.subplots(1, 3, sharey=True, width_ratios=[1, 2.2, 1.5])
        asked.plot(0, 0, "D", color="black")
        for place, label in enumerate(MAPPED, start=1):
            color = _LINES[label][0]
            for function in optimum[label]["asked"]:
                asked.plot(1 + list(_ASKED).index(function), place, "o", color=color, ms=7)
            ends = [max(point[label]["variance"], floor) for point in (start, optimum)]
            noise.plot(ends, [place, place], color=color, lw=1.5)
            noise.plot(ends[0], place, "o", color=color, mfc="white", ms=7)
            noise.plot(ends[1], place, "o" if ends[1] > floor else "<", color=color, ms=8, clip_on=False)
            time.plot(times[label], place, "s", color=color)
            time.text(times[label], place - 0.15, f"{optimum[label]['evaluations']:.0f}", fontsize=8, ha="center",
                      va="bottom")
        noise.text(floor, 0, "  no draws, no variance", fontsize=8, va="center")
        asked.set(xticks=range(len(_ASKED) + 1), xlim=(-0.6, len(_ASKED) + 0.6), title="asks of the model",
                  yticks=range(len(MAPPED) + 1), yticklabels=["exact", *MAPPED])
        asked.set_xticklabels(["closed form", *_ASKED.values()], rotation=35, ha="right")
        noise.axvline(1, color="black", lw=0.8, ls=":")
        noise.set(xscale="log", xlim=(floor, None), title="variance / (F/S): ring at the start, filled at the optimum",
                  xlabel="at the left edge: below 10⁻⁶")
        time.set(xscale="log", xlabel="reparameterized = 1", title="time; number: rows a draw")
        time.invert_yaxis()
    return figure


def naesseth(result: Mapping[str, Any]) -> Figure:
    """Mean square error of one-draw gradients of a Dirichlet-multinomial, after Naesseth et al. (2017), Fig. 4.

    Parameters
    ----------
    result : mapping
        Of `study_dirichlet.naesseth`. Lines: the log joint; marks alone: the published code's constant. A zero,
        which has no place on the axis, is marked on its lower edge.
    """
    with rc_context(STYLE):
        figure = _figure(8, 4.6)
        axes = figure.subplots()
        shape, floor = np.array(result["shape"]), 1e-4
        for label, values in sorted(result["log_joint"].items(), key=lambda item: -item[1]["mean_square"][0]):
            color, dash, mark = _LINES[label]
            square, error = np.array(values["mean_square"]), np.array(values["error"])
            axes.plot(shape, np.maximum(square, floor), color=color, ls=dash, lw=1.5, label=label)
            axes.fill_between(shape, np.maximum(square - 1.96 * error, square / 10), square + 1.96 * error, color=color,
                              alpha=0.2, lw=0)
            published = np.array(result["published"][label]["mean_square"])
            axes.plot(shape[published > 0], published[published > 0], mark, color=color, mfc="none", ms=4)
            for zero in shape[square == 0]:
                axes.plot(zero, floor, "v", color=color, ms=9, clip_on=False, zorder=3)
                axes.text(zero, floor, "    exactly 0", fontsize=8, va="bottom")
        axes.plot([], [], "o", color="black", mfc="none", ms=4, label="marks: constant of\nthe published code")
        axes.axvline(1 + result["first_count"], color="black", lw=0.8, ls=":")
        axes.set(yscale="log", xlabel=r"$\alpha_1$", ylabel=r"mean square error of one draw's d / d$\alpha_1$")
        axes.set_ylim(floor, None)
        axes.text(1 + result["first_count"], axes.get_ylim()[1], " optimum", fontsize=8, va="top")
        figure.legend(loc="outside right center", fontsize=8)
    return figure


def fit_error(result: Mapping[str, Any]) -> Figure:
    """The error of fits by each gradient estimator against what they asked of the model.

    Parameters
    ----------
    result : mapping
        Of `study_fit.errors`. Lines: the median over the seeds, in the legend from the worst to the best at the end;
        bands: the extremes.
    """
    with rc_context(STYLE):
        figure = _figure(8, 4.2)
        axes = figure.subplots()
        for label, fits in sorted(result["fits"].items(), key=lambda item: -item[1]["median"][-1]):
            color, dash, mark = _LINES[label]
            axes.semilogy(fits["rows"], fits["median"], color=color, ls=dash, lw=1.8, marker=mark, ms=5, markevery=5,
                          label=label)
            axes.fill_between(fits["rows"], fits["low"], fits["high"], color=color, alpha=0.15, lw=0)
        axes.set(xlabel="rows of log θ given to the model (the exact gradient: none)",
                 ylabel="KL(q ‖ posterior), nats", xlim=(0, None))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        figure.legend(loc="outside right center", fontsize=8, title="worst to best at the end", title_fontsize=8)
    return figure


#: Of `study.ESTIMATORS`, the four whose clouds are drawn.
CLOUDS = ("score", "G-REP", "reparameterized", "sticking the landing")


def gradient_clouds(model: PoissonGamma, q: Gamma, reach: float, n_samples: int = 4, replicates: int = 200,
                    seed: int = 0) -> Figure:
    """Repeated estimates of the gradient of one column at one q by four gradient estimators, and the exact one.

    Parameters
    ----------
    model : PoissonGamma
        Of one column.
    q : Gamma, shape (1,)
    reach : float
        The axes go from -reach to reach; of what lies beyond, the share is stated.
    n_samples, replicates, seed : int
        Draws an estimate, estimates, and where the random numbers start.
    """
    exact = np.ravel(exact_elbo.gradient(model, q))
    with rc_context(STYLE):
        figure = _figure(6.2, 6.2)
        for axes, label in zip(figure.subplots(2, 2, sharex=True, sharey=True).ravel(), CLOUDS, strict=True):
            rng = np.random.default_rng(seed)
            points = study.replicated(model, q, label, n_samples, replicates, rng)[0][:, :, 0]
            axes.axhline(0, color=GREY, lw=0.5)
            axes.axvline(0, color=GREY, lw=0.5)
            axes.plot(*points.T, ".", color=BLUE, ms=6, alpha=0.5, mew=0)
            axes.plot(*exact, "o", color="black", mfc="none", ms=9, mew=1.4)
            beyond = np.mean(np.abs(points).max(axis=1) > reach)
            axes.set(title=label, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            if beyond:
                axes.text(0.97, 0.03, f"{beyond:.0%} outside", transform=axes.transAxes, ha="right", fontsize=8)
        figure.supxlabel("d / d log shape", fontsize=9)
        figure.supylabel("d / d log rate", fontsize=9)
        figure.suptitle(f"q = Gamma({q.shape[0]:.2f}, {q.rate[0]:.2f}); ring: the exact gradient", fontsize=9)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")

"""The pictures: each function draws one and returns it as a matplotlib Figure.

Lines are told apart by darkness and dash as well as by colour (Okabe & Ito's, safe for
colour blindness); images are darker where there is more.
"""

import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from vi_ref._validate import between, whole
from vi_ref.datasets import IMAGE
from vi_ref.gamma import Gamma
from vi_ref.optimize import Fit
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
#: Of every picture, for matplotlib's `rc_context`.
STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "savefig.dpi": 150, "figure.dpi": 100, "svg.hashsalt": "vi_ref",
}


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure as PNG without the date and version that would make each run differ."""
    with rc_context(STYLE):
        figure.savefig(path, format="png", metadata={"Software": None})


#: In place of the icon font that matplotlib's player loads from a server.
_SYMBOLS = {
    "minus": "-", "plus": "+", "fast-backward": "|\u25c0", "fast-forward": "\u25b6|", "step-backward": "\u276e",
    "step-forward": "\u276f", "play fa-flip-horizontal": "\u25c0", "pause": "\u275a\u275a", "play": "\u25b6",
}


@dataclass(frozen=True)
class Player:
    """A sequence of pictures: a notebook shows it with a slider, and paper three of them.

    Attributes
    ----------
    html : str
        All of them, with the slider.
    alt : str
        What they show, for who cannot see them; the caption on paper.
    """

    html: str = field(repr=False)
    alt: str

    def still(self) -> bytes:
        """The first, the middle and the last, one above the other, as PNG described by `alt`."""
        from matplotlib.image import imread, imsave

        frames = re.findall(r'"data:image/png;base64,([^"]+)"', self.html)
        shown = sorted({0, len(frames) // 2, len(frames) - 1})
        out = BytesIO()
        imsave(out, np.concatenate([imread(BytesIO(a2b_base64(frames[k]))) for k in shown]), format="png",
               metadata={"Software": None, "Description": self.alt})
        return out.getvalue()

    def _repr_html_(self) -> str:
        return self.html

    def _repr_png_(self) -> bytes:
        return self.still()


def player(picture: Callable[[int], Figure], n_frames: int, alt: str, seconds: float = 0.4) -> Player:
    """A sequence of pictures with a slider, as HTML that needs no server and no network; three of them on paper.

    Parameters
    ----------
    picture : callable
        ``picture(k)`` draws the k-th, k = 0 ... n_frames - 1; all of one size.
    n_frames : int
        At least 1.
    alt : str
        What the pictures show, for who cannot see them.
    seconds : float
        How long each is shown, positive.

    Returns
    -------
    Player
        A notebook whose cell ends with it shows it.

    Examples
    --------
    >>> from vi_ref import datasets
    >>> priors = [datasets.picture_prior(datasets.ring(), weight) for weight in (1, 2, 5)]
    >>> shown = player(lambda k: drawn_prior(priors[k]), 3, alt="The drawn zero, trusted more and more.")
    >>> shown.html.count("data:image/png;base64,")
    3
    """
    from matplotlib.animation import HTMLWriter  # slow to import, and few need it

    whole("n_frames", n_frames, 1)
    between("seconds", seconds, 0, np.inf)
    with rc_context(STYLE), TemporaryDirectory() as folder:
        page = Path(folder, "player.html")
        writer = HTMLWriter(fps=1 / seconds, embed_frames=True, default_mode="once")
        for k in range(n_frames):
            figure = picture(k)
            if k == 0:
                writer.setup(figure, page, figure.dpi)
            writer.fig = figure
            writer.grab_frame()
        writer.finish()
        html = page.read_text(encoding="utf-8")
    html = re.sub(r'<link rel="stylesheet"\s+href="https://[^>]*>', "", html)
    html = re.sub(r'<i class="fa fa-([\w -]+)"></i>', lambda icon: _SYMBOLS[icon[1]], html)
    return Player(html.replace("<img id=", f'<img alt="{escape(alt)}" id='), alt)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _show(axes: Axes, values: ArrayLike, title: str = "", low: float | None = 0.0, high: float | None = None,
          cmap: str = "Greys"):
    image = axes.imshow(np.reshape(values, IMAGE), cmap=cmap, vmin=low, vmax=high)
    axes.set(title=title, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.5)
    return image


def _density(axes: Axes, grid: Array, q: Gamma, column: int, **line) -> None:
    one = Gamma(q.shape[column], q.rate[column])
    axes.plot(grid, np.exp(one.log_prob(grid)), **line)


def _reach(*distributions: Gamma, column: int) -> Array:
    """A grid over theta that covers the bulk of column `column` of each distribution."""
    ends = [q.interval(0.998) for q in distributions]
    low, high = min(e[0][column] for e in ends), max(e[1][column] for e in ends)
    return np.linspace(max(low - 0.05 * (high - low), 1e-6), high, 600)


def prior_dialled_down(prior: Gamma, counts: NDArray, sizes: Sequence[int] = (0, 1, 2, 5, 20, 178),
                       pixel: int = 12) -> Figure:
    """The posterior of an image and of one of its pixels as examples accumulate.

    Parameters
    ----------
    prior : Gamma, shape (64,)
    counts : ndarray, shape (m, 64)
    sizes : sequence of int
        How many of the first rows each column of the picture has seen.
    pixel : int
        The pixel whose density is drawn.
    """
    with rc_context(STYLE):
        figure = _figure(max(1.5 * len(sizes), 5), 3.6)
        axes = figure.subplots(2, len(sizes), squeeze=False, height_ratios=[1, 1.1])
        posteriors = [PoissonGamma.from_totals(prior, m, counts[:m].sum(axis=0)).posterior for m in sizes]
        grid = np.linspace(0.01, 20, 800)
        for (above, below), m, q in zip(axes.T, sizes, posteriors, strict=True):
            _show(above, q.mean, f"prior, m = {m}" if m == 0 else f"m = {m}", high=16)
            row, column = divmod(pixel, IMAGE[1])
            above.plot(column, row, "s", mfc="none", mec=RED, ms=8, mew=1.5)
            weight = prior.rate[pixel] / q.rate[pixel]
            _density(below, grid, prior, pixel, color=GREY, ls="--", lw=1, label="prior")
            _density(below, grid, q, pixel, color=BLUE, lw=1.6, label="posterior")
            if m:
                below.axvline(counts[:m, pixel].mean(), color=ORANGE, lw=1, label="average count")
            below.set(title=f"weight of prior {100 * weight:.0f} %", yticks=[], xticks=[0, 10, 20], xlim=(0, 20),
                      ylim=(0, None), xlabel="θ")
        axes[0, 0].set_ylabel("posterior mean")
        axes[1, 0].set_ylabel("density, marked pixel")
        figure.legend(*axes[1, -1].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def elbo_ascent(model: PoissonGamma, fit: Fit, pixel: int, steps: Sequence[int]) -> Figure:
    """q sliding onto the exact posterior at one pixel, beside the ELBO's rise to the log evidence.

    Parameters
    ----------
    model : PoissonGamma
    fit : Fit
        Its trace must hold every one of `steps`.
    pixel : int
    steps : sequence of int
        The moments at which q is drawn, in order; the ELBO is drawn up to twice the last but one.
    """
    with rc_context(STYLE):
        figure = _figure(9, 3.4)
        left, right = figure.subplots(1, 2)
        trace, exact = fit.trace, model.posterior
        moments = [Gamma(trace.shape[k], trace.rate[k]) for k in (list(trace.step).index(s) for s in steps)]
        grid = _reach(exact, *moments[1:], column=pixel)
        for darkness, step, q in zip(np.linspace(0.25, 1, len(steps)), steps, moments, strict=True):
            _density(left, grid, q, pixel, color=BLUE, alpha=darkness, lw=1.6, label=f"q after {step} steps")
        _density(left, grid, exact, pixel, color="black", ls=":", lw=2, label="exact posterior")
        left.set(xlabel="θ at the pixel", ylabel="density", ylim=(0, None), yticks=[],
                 title="q slides onto the posterior")
        left.legend(fontsize=8)
        shown = 2 * steps[-2]
        right.plot(np.arange(shown), trace.elbo[:shown], color=BLUE, lw=1.6, label="ELBO estimate")
        right.axhline(model.log_evidence, color="black", ls=":", lw=2, label="log evidence")
        right.plot(steps[:-1], trace.elbo[list(steps[:-1])], "o", color=BLUE, ms=4)
        right.set(xlabel=f"step (the first {shown} of {len(trace.elbo)})", ylabel="nats",
                  title="the ELBO rises to the log evidence")
        right.legend(fontsize=8, loc="lower right")
    return figure


def examples(counts: NDArray, n: int = 16) -> Figure:
    """The first `n` images of a table of counts, in two rows."""
    with rc_context(STYLE):
        figure = _figure(8, 2.2)
        for axes, image in zip(figure.subplots(2, n // 2).ravel(), counts, strict=False):
            _show(axes, image, high=16)
    return figure


def drawn_prior(prior: Gamma) -> Figure:
    """The prior: expected picture, and the central 90 % interval it leaves each pixel."""
    with rc_context(STYLE):
        figure = _figure(8, 2.7)
        low, high = prior.interval(0.9)
        axes = figure.subplots(1, 3)
        titles = ("expected picture x₀", "5 % quantile", "95 % quantile")
        for one, values, title in zip(axes, (prior.mean, low, high), titles, strict=True):
            image = _show(one, values, title, high=float(high.max()))
        figure.colorbar(image, ax=axes, label="θ, mean intensity", shrink=0.9)
    return figure


def posterior_check(model: PoissonGamma, q: Gamma, pixels: tuple[int, int] = (4, 20)) -> Figure:
    """q over the exact density at two columns; for images, mean, uncertainty and error over all of them.

    Parameters
    ----------
    model : PoissonGamma
    q : Gamma, shape (D,)
        The fit to hold against ``model.posterior``.
    pixels : tuple of int
        Two columns (one may be given twice); the images are drawn when D = 64.
    """
    with rc_context(STYLE):
        exact = model.posterior
        image = q.shape.size == IMAGE[0] * IMAGE[1]
        figure = Figure(figsize=(9, 5.2))                # placed by hand: colour bars need room of their own
        above = figure.add_gridspec(1, 2, left=0.075, right=0.99, bottom=0.58, top=0.94)
        edges = {"left": 0.02, "bottom": 0.03} if image else {"left": 0.08, "bottom": 0.1}
        below = figure.add_gridspec(1, 3 if image else 1, right=0.95, top=0.42, wspace=0.25, **edges)
        for axes, pixel in zip(above.subplots(), pixels, strict=True):
            grid = _reach(exact, q, column=pixel)
            _density(axes, grid, exact, pixel, color="black", lw=5, alpha=0.25, label="exact posterior")
            _density(axes, grid, q, pixel, color=BLUE, lw=1.6, ls="--", label="q, fitted")
            name = "pixel (row {}, column {})".format(*divmod(pixel, IMAGE[1])) if image else f"column {pixel}"
            axes.set(title=name, xlabel="θ", ylabel="density", ylim=(0, None))
        axes.legend()
        errors = [np.abs(getattr(q, name) / getattr(exact, name) - 1) for name in ("shape", "rate")]
        if image:
            floored = np.log10(np.maximum(np.maximum(*errors), 2.0**-53))
            parts = ((q.mean, "mean of θ", 0, None), (q.sd, "uncertainty: sd of θ", 0, None),
                     (floored, "log₁₀ of relative error", -16, 0))
            for axes, (values, title, low, high) in zip(below.subplots(), parts, strict=True):
                figure.colorbar(_show(axes, values, title, low, high), ax=axes, fraction=0.046)
        else:
            axes = below.subplots()
            for error, name, mark in zip(errors, ("shape", "rate"), "o^", strict=True):
                axes.semilogy(np.maximum(error, 2.0**-53), mark, ms=4, label=name)
            axes.set(xlabel="column", ylabel="relative error")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
    return figure


def generated(q: Gamma, counts: NDArray, rng: np.random.Generator, n: int = 8) -> Figure:
    """Real images beside synthetic ones: theta drawn from q, then a Poisson count from each theta."""
    with rc_context(STYLE):
        figure = _figure(9, 2.5)
        synthetic = rng.poisson(q.sample(n, rng))
        halves = {"real": counts, "synthetic": synthetic}
        for part, (title, images) in zip(figure.subfigures(1, 2), halves.items(), strict=True):
            part.suptitle(title)
            for axes, image in zip(part.subplots(2, n // 2).ravel(), images, strict=False):
                _show(axes, image, high=16)
    return figure


def parameter_error(model: PoissonGamma, fits: Mapping[str, Fit]) -> Figure:
    """Worst relative error of shape and rate against the step, on a log scale, a line a fit.

    Parameters
    ----------
    model : PoissonGamma
        Whose posterior is the truth.
    fits : mapping of str to Fit
        Label to fit, in the order of the legend.
    """
    with rc_context(STYLE):
        figure = _figure(8, 4)
        axes = figure.subplots()
        exact = model.posterior
        colors, dashes = (GREY, ORANGE, RED, GREEN, BLUE), ("-", "--", "-.", (0, (1, 1)), "-")
        for (label, fit), color, dash in zip(fits.items(), colors, dashes, strict=False):
            error = np.maximum(np.abs(fit.trace.shape / exact.shape - 1), np.abs(fit.trace.rate / exact.rate - 1))
            error = np.maximum(error.max(axis=1), 2.0**-53)
            axes.semilogy(fit.trace.step, error, color=color, ls=dash, lw=1.8, label=label)
        axes.axhline(2.0**-53, color="black", lw=0.6)
        axes.text(0, 2.0**-53 * 1.5, "rounding", fontsize=8)
        axes.set(xlabel="step", ylabel="worst relative error of shape and rate", ylim=(3e-17, 5))
        figure.legend(loc="outside right upper")
    return figure

"""What a fit says of each column of a table: mean, interval, and whether the fit can be trusted there."""

from collections.abc import Sequence
from csv import writer
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vi_ref._validate import between, generator, whole
from vi_ref.diagnostics import khat
from vi_ref.gamma import Gamma
from vi_ref.plots import BLUE, GREY, ORANGE, STYLE, _figure
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]
_KEYS = ("column", "total", "mean", "sd", "low", "high", "khat")
_HEADS = ("total", "mean", "sd", "from", "to", "k-hat")


def columns(model: PoissonGamma, q: Gamma, names: Sequence[str], rng: np.random.Generator, *, level: float = 0.95,
            n_samples: int = 10_000) -> dict[str, Any]:
    """A summary of each column's rate under q.

    Parameters
    ----------
    model : PoissonGamma
    q : Gamma, shape (D,)
    names : sequence of str
        One a column, all different.
    rng : numpy.random.Generator
    level : float
        Of the central credible intervals, in (0, 1).
    n_samples : int
        Draws of q from which k-hat is estimated, at least 100.

    Returns
    -------
    dict
        ``level``, ``threshold`` and ``joint_khat`` (of all columns together); lists with an entry a column:
        ``column``, ``total``, ``mean``, ``sd``, ``low``, ``high``, ``khat`` (-inf where all weights are
        equal: q is the posterior), ``reliable``.

    Raises
    ------
    ValueError
        If an argument is outside its domain, or q does not fit the model.

    Examples
    --------
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> result = columns(model, model.posterior, ["visits", "defects"], np.random.default_rng(0))
    >>> print(table(result))
                                                 95 % interval
      column        total      mean        sd      from        to     k-hat
      visits            8     3.333     1.054     1.598     5.695      -inf
      defects           1         1    0.5774    0.2062     2.408      -inf
    k-hat is below its threshold of 0.70 in every column; -inf: all weights are equal, q is the posterior
    """
    level, n_samples = between("level", level, 0, 1), whole("n_samples", n_samples, 100)
    if len(names) != model.totals.size or len(set(names)) != len(names):
        raise ValueError(f"names must be {model.totals.size} different ones, one a column, got {list(names)!r:.60}")
    low, high = q.interval(level)
    weights = khat(model, q, n_samples, generator("rng", rng))
    return {"level": level, "threshold": float(weights.joint.threshold), "joint_khat": float(weights.joint.khat),
            "column": list(names), "total": [int(total) for total in model.totals], "mean": q.mean.tolist(),
            "sd": q.sd.tolist(), "low": low.tolist(), "high": high.tolist(), "khat": weights.columns.khat.tolist(),
            "reliable": (weights.columns.khat < weights.columns.threshold).tolist()}


def table(result: dict[str, Any], most: int = 40) -> str:
    """The result of `columns` as text, the first `most` columns of it."""
    rows = list(zip(*(result[key] for key in _KEYS), strict=True))
    shown = rows[:whole("most", most, 1)]
    width = max(9, *(len(row[0]) for row in shown))
    lines = [f"{'':<{width + 36}}{100 * result['level']:g} % interval",
             f"  {'column':<{width}}" + "".join(f"{head:>10}" for head in _HEADS)]
    lines += [f"  {name:<{width}}{total:>10}" + "".join(f"{value:>10.4g}" for value in values) + f"{k:>10.2f}"
              for name, total, *values, k in shown]
    if len(rows) > len(shown):
        lines.append(f"  ... and {len(rows) - len(shown)} more columns")
    doubtful = [name for name, good in zip(result["column"], result["reliable"], strict=True) if not good]
    verdict = f"k-hat is {'NOT ' if doubtful else ''}below its threshold of {result['threshold']:.2f}"
    verdict += " in every column" if not doubtful else (
        f", so that q is not to be trusted, in {len(doubtful)} of {len(rows)} columns: {', '.join(doubtful[:5])}"
        + (", ..." if len(doubtful) > 5 else ""))
    if min(result["khat"]) == -np.inf:
        verdict += "; -inf: all weights are equal, q is the posterior"
    return "\n".join([*lines, verdict])


def csv(result: dict[str, Any]) -> str:
    """The same as lines of comma-separated values under one of names, to all digits."""
    text = StringIO()
    lines = writer(text, lineterminator="\n")
    lines.writerow(_KEYS)
    lines.writerows(zip(*(result[key] for key in _KEYS), strict=True))
    return text.getvalue()


def _label(name: str) -> str:
    """A name of at most 30 letters in a picture, where a dollar is a dollar and begins no formula."""
    return (name if len(name) <= 30 else f"{name[:29]}…").replace("$", r"\$")


def intervals(model: PoissonGamma, q: Gamma, names: Sequence[str], level: float = 0.95) -> Figure:
    """Mean and interval of each column's rate, from the largest down, beside the average count: at most 60 columns."""
    low, high = q.interval(level)
    order = np.argsort(-q.mean, kind="stable")[:60]
    place = np.arange(len(order))
    with rc_context(STYLE):
        figure = _figure(7, max(2.2, 0.8 + 0.2 * len(order)))
        axes = figure.subplots()
        axes.hlines(place, low[order], high[order], color=BLUE, lw=2, label=f"{100 * level:g} % interval")
        axes.plot(q.mean[order], place, "o", color=BLUE, ms=5, label="posterior mean")
        if model.n_observations:
            average = model.totals[order] / model.n_observations
            axes.plot(average, place, "x", color=ORANGE, mew=1.8, label="average count")
        prior = model.prior.mean
        if np.ptp(prior) == 0:
            axes.axvline(prior[0], color=GREY, ls="--", lw=1, label="prior mean")
        axes.set(yticks=place, yticklabels=[_label(names[d]) for d in order], ylim=(len(order) - 0.4, -0.6),
                 xlabel="rate θ, counts an observation", xlim=(0, None))
        figure.legend(loc="outside upper center", ncols=4)
    return figure

"""Naive Bayes with few images a class: ten Poisson-gamma densities against scikit-learn's MultinomialNB.

A class is as probable as any other; an image goes to the one whose density makes it most probable.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vi_ref._validate import whole
from vi_ref.density import PoissonGammaDensity
from vi_ref.plots import BLUE, GREY, ORANGE, STYLE

#: Of each contestant: colour, dash, mark.
_LINES = {
    "pooled empirical Bayes": (BLUE, "-", "o"),
    "weak prior": (ORANGE, "--", "s"),
    "MultinomialNB": (GREY, ":", "^"),
}


def contestants() -> dict[str, Any]:
    """The unfitted models by label: densities, of which each class gets a copy, and one classifier.

    The weak prior is worth a tenth of an image.
    """
    from sklearn.naive_bayes import MultinomialNB  # slow to import

    return dict(zip(_LINES, (PoissonGammaDensity(empirical_bayes="pooled"), PoissonGammaDensity(0.5, 0.1),
                             MultinomialNB(fit_prior=False)), strict=True))


def predict(model: Any, X: NDArray, y: NDArray, new: NDArray) -> NDArray:
    """The class of each new row by a contestant fitted to rows X of classes y."""
    from sklearn.base import clone

    if not isinstance(model, PoissonGammaDensity):
        return clone(model).fit(X, y).predict(new)
    classes = np.unique(y)
    scores = [clone(model).fit(X[y == k]).score_samples(new) for k in classes]
    return classes[np.argmax(scores, axis=0)]


def splits(y: NDArray, sizes: Sequence[int], n_splits: int, seed: int) -> Iterator[list[NDArray[np.bool_]]]:
    """For each split, by size, which rows are learnt from: so many of each class, the smaller among the larger."""
    for split in range(n_splits):
        rng = np.random.default_rng([seed, split])
        rank = np.empty(len(y), dtype=int)
        for k in np.unique(y):
            rank[y == k] = rng.permutation(np.count_nonzero(y == k))
        yield [rank < size for size in sizes]


def accuracies(sizes: Sequence[int] = (1, 2, 5, 10, 50), n_splits: int = 20, seed: int = 0) -> dict[str, Any]:
    """Share of the held-out digit images that each contestant puts in their class, by images a class learnt from.

    Parameters
    ----------
    sizes : sequence of int
        Images a class, each from 1 to 150; all the others are held out.
    n_splits, seed : int
        Random choices of the images, the same for all contestants, and where the random numbers start.

    Returns
    -------
    dict
        ``"sizes"``, ``"n_splits"``, and under ``"accuracy"``, by label, for each size the list over the splits.
    """
    from sklearn.datasets import load_digits  # slow to import

    for size in sizes:
        if whole("sizes", size, 1) > 150:
            raise ValueError(f"sizes must be at most 150, as the rarest digit has 174 images, got {size}")
    X, y = load_digits(return_X_y=True)
    found = {label: [[] for _ in sizes] for label in _LINES}
    for learnt in splits(y, sizes, whole("n_splits", n_splits, 1), seed):
        for k, rows in enumerate(learnt):
            for label, model in contestants().items():
                right = predict(model, X[rows], y[rows], X[~rows]) == y[~rows]
                found[label][k].append(float(right.mean()))
    return {"sizes": list(sizes), "n_splits": n_splits, "accuracy": found}


def table(result: Mapping[str, Any]) -> str:
    """Mean accuracy in percent and the interval that holds nine of ten splits, and the same of the differences."""
    lines = [f"{'images a class':<39}" + "".join(f"{size:>20}" for size in result["sizes"])]
    rows = {label: 100 * np.array(values) for label, values in result["accuracy"].items()}
    against = rows["MultinomialNB"]
    rows |= {f"{label} - MultinomialNB": row - against for label, row in rows.items() if row is not against}
    for label, row in rows.items():
        ends = np.quantile(row, [0.05, 0.95], axis=1).T
        cells = (f"{mean:.1f} ({low:.1f}, {high:.1f})"
                 for mean, (low, high) in zip(row.mean(axis=1), ends, strict=True))
        lines.append(f"{label:<39}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def picture(result: Mapping[str, Any]) -> Figure:
    """Accuracy against images a class, and by how much the densities are better than MultinomialNB on the same images.

    Parameters
    ----------
    result : mapping
        Of `accuracies`. Lines: means over the splits; bars hold nine of ten splits, side by side for legibility.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        rows, sizes = {label: 100 * np.array(v) for label, v in result["accuracy"].items()}, np.array(result["sizes"])
        for (label, (color, dash, mark)), shift in zip(_LINES.items(), (0.96, 1.04, 1.0), strict=True):
            line = {"color": color, "ls": dash, "marker": mark, "ms": 5}
            left.plot(sizes, rows[label].mean(axis=1), label=label, **line)
            better = rows[label] - rows["MultinomialNB"]
            mean, ends = better.mean(axis=1), np.quantile(better, [0.05, 0.95], axis=1)
            right.errorbar(sizes * shift, mean, [mean - ends[0], ends[1] - mean], capsize=3, **line)
        left.set(ylabel="accuracy on all others, %")
        right.set(ylabel="less that of MultinomialNB, points of %")
        left.legend(loc="lower right")
        for axes in (left, right):
            axes.set(xscale="log", xticks=sizes, xlabel="images a class")
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.minorticks_off()
    return figure

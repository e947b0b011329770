"""How good are the images a Poisson-gamma model makes? Their scores, and where the variance of a new pixel comes from.

A new pixel varies for two reasons in the model: a count is noisy about its rate, and the rate is known only so well.
How much one real image differs from another is a third matter, of which the model knows nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vi_ref import _validate, datasets
from vi_ref.gamma import Gamma
from vi_ref.poisson_gamma import PoissonGamma
from vi_ref.study_little_data import predictive_scores

Array = NDArray[np.float64]

#: The prior of every pixel of every digit: half a count of a thousandth of an image.
PRIOR = Gamma(0.5, 1e-3)
SIZES = (1, 2, 5, 10, 20, 50, 100, 150)
_FEWEST = 174                                   # images of the rarest digit


def split(target: int, m: int = 100, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images of a digit, shuffled: the first m to train on, and all others, at least two, held out.

    Raises
    ------
    ValueError
        If there is no such digit, or m is not from 1 to 172.
    """
    m = int(_validate.between("m", _validate.whole("m", m, 1), 1, _FEWEST - 2, "[]"))
    images = datasets.digit(target)
    order = np.random.default_rng([_validate.whole("seed", seed, 0), target]).permutation(len(images))
    return images[order[:m]], images[order[m:]]


def posterior(train: NDArray[np.int64]) -> Gamma:
    """The exact posterior after these images under `PRIOR`."""
    return PoissonGamma(PRIOR, train).posterior


def generate(n: int = 3, m: int = 100, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Real images, held out, and as many synthetic ones of each digit, after m training images of it.

    A synthetic image is a Poisson count of a theta drawn from the posterior, anew for each: a draw from the predictive.

    Returns
    -------
    real, synthetic : ndarray, shape (10, n, 64)
    """
    n = _validate.whole("n", n, 1)
    parts = [split(target, m, seed) for target in range(10)]
    n = int(_validate.between("n", n, 1, _FEWEST - m, "[]"))
    rng = np.random.default_rng(seed)
    synthetic = [rng.poisson(posterior(train).sample(n, rng)) for train, _ in parts]
    return np.array([held_out[:n] for _, held_out in parts]), np.array(synthetic)


def scores(m: int = 100, seed: int = 0) -> dict[str, Any]:
    """Held-out log scores of ten models, one a digit, each after m images of it; nats per image.

    Parameters
    ----------
    m : int
        Training images a digit, from 1 to 172.
    seed : int
        Where the random numbers start.

    Returns
    -------
    dict
        By digit, the held-out images' mean score under their own model, ``"own"``, under one model of all
        10 m training images, ``"all"``, and under the best of the nine other digits' models, ``"other"``, chosen for
        each image; standard errors of ``"own"`` and of the paired differences ``"own_less_all"`` and
        ``"own_less_other"``, under the same names in ``"error"``; and ``"won"``, the share of images with own above
        other. The errors are over held-out images of the models at hand: training is not repeated.
    """
    parts = [split(target, m, seed) for target in range(10)]
    models = [posterior(train) for train, _ in parts]
    of_all = posterior(np.concatenate([train for train, _ in parts]))
    names = ("own", "all", "other", "own_less_all", "own_less_other")
    result: dict[str, Any] = {"m": m, "held_out": [len(held_out) for _, held_out in parts], "won": [],
                              **{name: [] for name in names}, "error": {name: [] for name in names}}
    for target, (_, held_out) in enumerate(parts):
        under = np.array([predictive_scores(q, held_out) for q in models])
        own, other = under[target], np.delete(under, target, axis=0).max(axis=0)
        everyone = predictive_scores(of_all, held_out)
        for name, values in zip(names, (own, everyone, other, own - everyone, own - other), strict=True):
            result[name].append(float(values.mean()))
            result["error"][name].append(float(values.std(ddof=1) / np.sqrt(values.size)))
        result["won"].append(float(np.mean(own > other)))
    return result


def table(result: Mapping[str, Any]) -> str:
    """What `scores` found, a line a digit."""
    lines = [f"nats per held-out image, +- standard error over them; each model after {result['m']} images",
             "digit  held out          own model   less all digits   less best other  own best"]
    for target, held_out in enumerate(result["held_out"]):
        cells = "".join(f"{result[name][target]:>{width}.2f} +- {result['error'][name][target]:<5.2f}"
                        for name, width in (("own", 10), ("own_less_all", 9), ("own_less_other", 9)))
        lines.append(f"{target:>5}{held_out:>10}{cells}{result['won'][target]:>10.0%}")
    share = np.average(result["won"], weights=result["held_out"])
    return "\n".join([*lines, f"own model the best of the ten: {share:.1%} of {sum(result['held_out'])} images"])


def variance_split(q: Gamma) -> tuple[Array, Array]:
    """The two sources of the variance of a new count when theta ~ q = Gamma(A, B), of q's shape each.

    By the law of total variance, book eq. `eq-predictive-variance-split`: Var(x) = E[Var(x | theta)] +
    Var(E[x | theta]) = E[theta] + Var(theta) = A/B + A/B^2. The second is 1/B of the first: a share 1 / (B + 1) of
    all, which falls as images arrive, whatever they hold. The first stays.

    Returns
    -------
    noise, uncertainty : ndarray
        A/B, of a single Poisson count about its rate, and A/B^2, of what is not known of the rate.

    Examples
    --------
    >>> variance_split(Gamma([8.0, 0.5], [4.0, 1.0]))
    (array([2. , 0.5]), array([0.5, 0.5]))
    """
    if not isinstance(q, Gamma):
        raise ValueError(f"q must be a vi_ref.Gamma, got {type(q).__name__}")
    return q.mean, q.variance


def variances(target: int = 0, sizes: Sequence[int] = SIZES, shuffles: int = 20, seed: int = 0) -> dict[str, Any]:
    """Predicted variance of a digit's pixels after m images, by source, against how much real images vary.

    In each shuffle all sizes have the same held-out images, those that the largest of them leaves; all results are
    means over the shuffles, which are those of `split` with seed, seed + 1, ...

    Returns
    -------
    dict
        ``"noise"`` and ``"uncertainty"`` by size, summed over the image, and ``"error"``, the square distance of a
        held-out image from the posterior mean, which is their sum on average if the model is true; ``"real"``, the sum
        of the held-out images' variances. For the largest size, by pixel, ``"pixel_predicted"`` and ``"pixel_real"``;
        and the variance of an image's total ink, ``"ink_predicted"`` and ``"ink_real"``, where pixels
        that vary together show.
    """
    sizes = [_validate.whole("sizes", m, 1) for m in sizes]
    if not sizes:
        raise ValueError("sizes must hold at least one number, got []")
    most, seed = _FEWEST - 2, _validate.whole("seed", seed, 0)
    _validate.require("sizes", f"at most {most}", np.array(sizes), np.array(sizes) <= most)
    found = [_variances(*split(target, max(sizes), seed + k), sizes)
             for k in range(_validate.whole("shuffles", shuffles, 1))]
    means = {name: np.mean([one[name] for one in found], axis=0).tolist() for name in found[0]}
    return {"digit": int(target), "size": sizes, "shuffles": shuffles, **means}


def _variances(train: NDArray[np.int64], held_out: NDArray[np.int64], sizes: Sequence[int]) -> dict[str, Any]:
    models = [posterior(train[:m]) for m in sizes]
    noise, uncertainty = np.array([variance_split(q) for q in models]).swapaxes(0, 1)          # (sizes, D) each
    predicted, real = (noise + uncertainty)[int(np.argmax(sizes))], held_out.var(axis=0, ddof=1)
    return {"noise": noise.sum(axis=1), "uncertainty": uncertainty.sum(axis=1),
            "error": [np.mean(np.sum((held_out - q.mean)**2, axis=1)) for q in models], "real": real.sum(),
            "pixel_predicted": predicted, "pixel_real": real,
            "ink_predicted": predicted.sum(), "ink_real": held_out.sum(axis=1).var(ddof=1)}

"""What Poisson factorisation is worth on digits, against the model of independent pixels.

Factors that look like strokes, synthetic zeros whose pixels vary together, and the log probability of held-out images.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from vi_ref import _validate, study_generation
from vi_ref.diagnostics.predictive import correlation, dispersion
from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization import cavi
from vi_ref.poisson_factorization.cavi import Factorization, Prior
from vi_ref.poisson_factorization.predictive import log_marginal
from vi_ref.study_little_data import predictive_scores
from vi_ref.study_recovery import best_of

Array = NDArray[np.float64]

#: Of digits: activations of an image, and components, most of whose pixels are blank.
PRIORS = Prior(1.0, 1.0), Prior(0.1, 0.1)
COMPONENTS = 10                        #: of one digit; see `choice`


def digit_model(train: ArrayLike, n_components: int = COMPONENTS, n_starts: int = 3, seed: int = 0) -> Factorization:
    """A factorisation of images under `PRIORS`, the best of some starts, the activations' prior learned at the end.

    The prior is learned once, from the finished q, by book eq. `eq-pf-learned`: new activations are then about as
    large and as varied as those of the training images. To learn it in every sweep is another thing, see `choice`.
    """
    train, seed = _validate.counts("train", train), _validate.whole("seed", seed, 0)
    K = _validate.whole("n_components", n_components, 1)
    found = best_of(csr_array(train), K, PRIORS, n_starts, np.random.default_rng([seed, K]))[0]
    return replace(found, rows=replace(found.rows, prior=cavi.learned(found.rows)))


def gains(model: Factorization, train: ArrayLike, held_out: ArrayLike, n_samples: int = 500,
          seed: int = 0, n_sweeps: int = 200) -> tuple[Array, float, Array]:
    """How many nats the factorisation gives each held-out image above independent pixels, exact, after the same images.

    Parameters
    ----------
    model : Factorization
        Of `digit_model`.
    train, held_out : array_like, shape (m, 64), (n, 64)
    n_samples, n_sweeps : int
        Of `log_marginal`: draws of importance sampling, and Gibbs sweeps for its proposal.
    seed : int

    Returns
    -------
    gain : ndarray, shape (n,)
        Importance sampling's estimate of log p is too low on average, so the gain is, too: by about the error^2 / 2.
    error : float
        Mean standard error of an image's estimate. The images share the draws of the components, so that this is also
        a bound on that of the mean.
    khat : ndarray, shape (n,)
    """
    found = log_marginal(csr_array(_validate.counts("held_out", held_out)), model.rows.prior, model.columns, n_samples,
                         np.random.default_rng([_validate.whole("seed", seed, 0), 1]), n_sweeps=n_sweeps)
    independent = predictive_scores(study_generation.posterior(np.asarray(train)), held_out)
    return found.log_p - independent, float(found.standard_error.mean()), found.khat


def choice(sizes: Sequence[int] = (2, 5, 10, 20), n_folds: int = 4, seed: int = 0, target: int = 0) -> dict[str, Any]:
    """How many components a digit takes, by cross-validation within the 100 training images; no others are used.

    Each fold is scored by fits to the others.

    Returns
    -------
    dict
        By size, the mean ``"elbo"`` of the fits, and the mean gain on independent pixels in nats an image, with its
        standard error over the images in ``"error"``: ``"end"``, with the activations' prior learned at the end, and
        ``"always"``, learned in every sweep. In ``"constant"`` is the number of components, a fit, that the latter
        takes for constants: learned shapes above 100, an activation that varies by less than a tenth.
    """
    train, n_folds = study_generation.split(target, seed=seed)[0], _validate.whole("n_folds", n_folds, 2)
    result: dict[str, Any] = {"size": [_validate.whole("sizes", K, 1) for K in sizes], "elbo": [], "end": [],
                              "always": [], "constant": [], "error": {"end": [], "always": []}}
    for K in result["size"]:
        found = [_fold(train, np.arange(len(train)) % n_folds == fold, K, seed) for fold in range(n_folds)]
        for name in ("end", "always"):
            gain = np.concatenate([one[name] for one in found])
            result[name].append(float(gain.mean()))
            result["error"][name].append(float(gain.std(ddof=1) / np.sqrt(gain.size)))
        for name in ("elbo", "constant"):
            result[name].append(float(np.mean([one[name] for one in found])))
    return result


def _fold(images: NDArray[np.int64], out: NDArray[np.bool_], n_components: int, seed: int) -> dict[str, Any]:
    train, model = images[~out], digit_model(images[~out], n_components, 2, seed)
    learning = PRIORS[0]._replace(learned=True), PRIORS[1]
    rng = np.random.default_rng([seed, n_components])
    always = best_of(csr_array(train.astype(float)), n_components, learning, 1, rng)[0]
    return {"end": gains(model, train, images[out], 200, seed, 50)[0], "elbo": model.elbo[-1],
            "always": gains(always, train, images[out], 200, seed, 50)[0],
            "constant": np.sum(always.rows.prior.shape > 100)}


def held_out(n_splits: int = 5, n_components: int = COMPONENTS, target: int = 0, seed: int = 0) -> dict[str, Any]:
    """Nats that factorisation gives a held-out image above independent pixels, 100 training images, several splits.

    Returns
    -------
    dict
        By split, ``"gain"``, its standard error over the held-out images, ``"error"``, which covers other images of the
        same kind but no other training images, the share of images with a gain, ``"won"``, importance sampling's
        standard error ``"sampling"`` and the largest ``"khat"``. ``"mean"`` over the splits has the standard error
        ``"overall"`` by Nadeau and Bengio (2003), s sqrt(1/J + n/m) for J splits into m and n images: it covers other
        training images as well.
    """
    found: dict[str, Any] = {name: [] for name in ("gain", "error", "won", "sampling", "khat")}
    for k in range(_validate.whole("n_splits", n_splits, 2)):
        train, rest = study_generation.split(target, seed=seed + k)
        gain, sampling, khat = gains(digit_model(train, n_components, seed=seed + k), train, rest, seed=seed + k)
        for name, value in (("gain", gain.mean()), ("error", gain.std(ddof=1) / np.sqrt(gain.size)),
                            ("won", np.mean(gain > 0)), ("sampling", sampling), ("khat", khat.max())):
            found[name].append(float(value))
    overall = np.std(found["gain"], ddof=1) * np.sqrt(1 / n_splits + len(rest) / len(train))
    return found | {"held_out": len(rest), "mean": float(np.mean(found["gain"])), "overall": float(overall)}


def ten_digits(n_components: int = 20, n: int = 30, seed: int = 0) -> dict[str, Any]:
    """One factorisation of 100 images of each digit, without their labels, on n others of each.

    Returns
    -------
    dict
        ``"components"`` (K, 64), expected contributions to an image; and mean gains in nats an image with standard
        errors over images: ``"one"``, ``"one_error"`` on one model of independent pixels for all digits, and
        ``"own"``, ``"own_error"`` on ten such models, one a digit, each image scored by that of its label.
    """
    parts = [study_generation.split(digit, seed=seed) for digit in range(10)]
    train, rest = np.concatenate([one for one, _ in parts]), np.concatenate([other[:n] for _, other in parts])
    model = digit_model(train, n_components, n_starts=1, seed=seed)
    one, _, khat = gains(model, train, rest, 500, seed, 100)
    of_all = predictive_scores(study_generation.posterior(train), rest)
    of_own = np.concatenate([predictive_scores(study_generation.posterior(some), other[:n]) for some, other in parts])
    own = one + of_all - of_own
    return {"components": strokes(model).tolist(), "khat": float(np.median(khat)), "images": len(rest),
            "one": float(one.mean()), "one_error": float(one.std(ddof=1) / np.sqrt(one.size)),
            "own": float(own.mean()), "own_error": float(own.std(ddof=1) / np.sqrt(own.size))}


def strokes(model: Factorization) -> Array:
    """What each component adds to an image on average, (K, D), the largest first."""
    contribution = (model.rows.mean.mean(axis=0) * model.columns.mean).T
    return contribution[np.argsort(-contribution.sum(axis=1))]


def synthetic(model: Factorization, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A table of n new images, (n, D): components drawn from q once, activations of each image from their prior."""
    phi, prior = model.columns.q.sample(1, rng)[0], model.rows.prior
    theta = Gamma(np.broadcast_to(prior.shape, phi.shape[1]), prior.rate).sample(n, rng)
    return rng.poisson(theta @ phi.T)


def generate(n: int = 10, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Held-out zeros, ``"real"``, and synthetic ones, ``"factorised"`` and ``"independent"``, (n, 64) each."""
    train, rest = study_generation.split(0, seed=seed)
    rng = np.random.default_rng([seed, 2])
    return {"real": rest[:_validate.whole("n", n, 1)], "factorised": synthetic(digit_model(train, seed=seed), n, rng),
            "independent": rng.poisson(study_generation.posterior(train).sample(n, rng))}


def signed_correlation(table: ArrayLike) -> dict[str, float]:
    """Mean over pairs of columns of the positive and of the negative part of their correlation, and of both."""
    matrix = correlation(np.asarray(table, float))
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return {"absolute": float(np.abs(pairs).mean()), "positive": float(np.maximum(pairs, 0).mean()),
            "negative": float(np.maximum(-pairs, 0).mean())}


def correlations(n_replicates: int = 200, seed: int = 0) -> dict[str, Any]:
    """How pixels vary together: in 78 zeros held out, and in tables of 78 that either model makes.

    The components' weights are independent and their pixels positive, so that given the components
    Cov(x_d, x_e) = sum_k Var(theta_k) phi_dk phi_ek: no two pixels of a synthetic image are negatively correlated. In
    real images they are, as where a stroke is here or there but not at both.

    Returns
    -------
    dict
        For ``"real"``, ``"factorised"`` and ``"independent"``: the parts of `signed_correlation`, mean
        ``"dispersion"`` of pixels and standard deviation ``"ink"`` of the totals of images, a number for the real and
        by replicate for the others; and the correlation ``"matrix"``, (64, 64), of a table of each.
    """
    train, rest = study_generation.split(0, seed=seed)
    model, q, rng = digit_model(train, seed=seed), study_generation.posterior(train), np.random.default_rng([seed, 3])
    n, result = len(rest), {"real": _together(rest)}
    makers = {"factorised": lambda: synthetic(model, n, rng),
              "independent": lambda: rng.poisson(q.sample(1, rng), (n, q.shape.size))}
    for name, make in makers.items():
        found = [_together(make()) for _ in range(_validate.whole("n_replicates", n_replicates, 1))]
        result[name] = {part: [one[part] for one in found] for part in found[0] if part != "matrix"}
        result[name]["matrix"] = found[0]["matrix"]
    return result


def _together(table: NDArray[np.int64]) -> dict[str, Any]:
    table = table.astype(float)
    return {**signed_correlation(table), "dispersion": float(dispersion(table).mean()),
            "ink": float(table.sum(axis=1).std(ddof=1)), "matrix": correlation(table).tolist()}

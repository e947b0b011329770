"""One-draw gradients of a Dirichlet-multinomial: the comparison of Naesseth et al. (2017), Fig. 4, and two more.

q = Dirichlet(alpha) is fitted to counts n of 100 trials over 100 categories under a uniform prior; all but alpha_1 are
at the posterior's 1 + n. A draw is x = z / sum z, of which only z_1 depends on alpha_1.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, polygamma, psi

from vi_ref._validate import positive, whole
from vi_ref.study import draws, mean_square

Array = NDArray[np.float64]

SHAPES = (1.01, 1.05, 1.1, 1.2, 1.35, 1.5, 1.7, 1.9, 2.0, 2.1, 2.4, 2.7, 3.0)
_CORRECTED = {"G-REP": "g_rep", **{f"RSVI, B = {B}": B for B in (0, 1, 3, 10)}}


def published_counts() -> NDArray[np.int64]:
    """The published code's counts, by NumPy's frozen legacy generator: theta ~ Dirichlet(1), then the trials."""
    legacy = np.random.RandomState(0)
    return legacy.multinomial(100, legacy.dirichlet(np.ones(100)))


def gradient(counts: ArrayLike, concentration: ArrayLike) -> Array:
    """d ELBO / d concentration, exact, under a uniform prior: d psi'(alpha) - sum d psi'(sum alpha), d = A - alpha."""
    to_go = 1 + np.asarray(counts) - concentration
    return to_go * polygamma(1, concentration) - to_go.sum() * polygamma(1, np.sum(concentration))


def one_draw(counts: NDArray[np.int64], alpha_1: Array, n: int,
             rng: np.random.Generator) -> Iterator[tuple[str, Array, Array]]:
    """By label, (n, K) each: gradients in alpha_1 for f = sum n_k log x_k, and what a constant in f adds to them.

    All but the last are of E[f], with the gradient of the entropy exact; the score, of the Dirichlet, is
    log x_1 - psi(alpha_1) + psi(sum alpha). Sticking the landing has f - log q in place of f, alpha held:
    (1 + n_1 - alpha_1) log x_1, all others being at the posterior, whose slope in log z_1 is that times 1 - x_1.
    """
    n_1, trials = counts[0], counts.sum()
    known, rest = _others(counts[1:], n, rng)
    sum_alpha = alpha_1 + np.sum(1 + counts[1:])
    entropy = (sum_alpha - counts.size) * polygamma(1, sum_alpha) - (alpha_1 - 1) * polygamma(1, alpha_1)
    for label, path in {**_CORRECTED, "implicit": "implicit"}.items():
        log_z, moved, correction = draws(path, alpha_1, n, rng)
        log_total = np.log(np.exp(log_z) + rest[:, None])
        f, x_1 = known[:, None] + n_1 * log_z - trials * log_total, np.exp(log_z - log_total)
        yield label, (n_1 - trials * x_1) * moved + f * correction + entropy, correction
    score = log_z - log_total - psi(alpha_1) + psi(sum_alpha)           # of the implicit gradient's draws, as the last
    yield "score", f * score + entropy, score
    yield "sticking the landing", (1 + n_1 - alpha_1) * (1 - x_1) * moved, np.zeros_like(x_1)


def naesseth(shapes: Sequence[float] = SHAPES, n: int = 100_000, seed: int = 0) -> dict[str, Any]:
    """Mean square error of `one_draw` gradients about the exact one, by label and alpha_1.

    ``log_joint`` and ``published`` hold by label the ``mean_square`` and its standard error ``error`` by shape, for f
    the log joint as a function of the point on the simplex, and for that without -sum log n_k! over
    the other categories, as in the published code: a constant, it moves no mean but the variance of all that weigh f.
    ``exact`` is the gradient. For B = 0 at shapes up to 4/3 the squares have no variance, as z^(-4/3) has no mean:
    their standard errors say too little. Of each draw all but z_1 is drawn once for all shapes and labels.
    """
    n_k, alpha_1 = published_counts(), positive("shapes", shapes)
    exact = np.array([gradient(n_k, np.append(a, 1 + n_k[1:]))[0] for a in alpha_1])
    result: dict[str, Any] = {"shape": alpha_1.tolist(), "exact": exact.tolist(), "draws": whole("n", n, 2),
                              "first_count": int(n_k[0]), "log_joint": {}, "published": {}}
    of_both = gammaln(n_k.size) + gammaln(1 + n_k.sum())
    constants = {"log_joint": of_both - gammaln(1 + n_k).sum(), "published": of_both - gammaln(1 + n_k[0])}
    for label, gradients, weight in one_draw(n_k, alpha_1, n, np.random.default_rng(seed)):
        for name, constant in constants.items():
            square, error = mean_square(gradients + constant * weight - exact)
            result[name][label] = {"mean_square": square.tolist(), "error": error.tolist()}
    return result


def _others(counts: NDArray[np.int64], n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Of the other z, (n,) each: sum n_k log z_k and sum z."""
    known, rest = np.zeros(n), rng.standard_gamma(np.count_nonzero(counts == 0), n)    # no logarithm of these in f
    for n_k in counts[counts > 0]:
        z = rng.standard_gamma(1 + n_k, n)
        known, rest = known + n_k * np.log(z), rest + z
    return known, rest

"""Does Poisson factorisation find factors again, and is it as sure as it should be? On tables drawn from the model.

Found components are matched with the true ones. What q says of the rates lambda = theta phi^T, which do not depend on
the order of components, is compared with the truth, and so are draws of the posterior itself, by Gibbs sampling.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.special import ndtri

from vi_ref import _validate
from vi_ref.diagnostics.scores import score_tests
from vi_ref.poisson_factorization import cavi
from vi_ref.poisson_factorization.cavi import Factorization, Prior
from vi_ref.poisson_factorization.simulated import sparse_factors

Array = NDArray[np.float64]

#: Of the tables for `recovery`: a row has about 20 counts, in a quarter of 50 columns.
SPARSE = Prior(0.3, 3.0), Prior(0.3, 0.3)
#: Of the tables for `calibration`, of 15 rows, 8 columns and 2 components: a cell has a count of 10 on average.
SMALL = Prior(1.0, 1.0), Prior(1.0, 0.2)
LEVELS = (0.5, 0.8, 0.95)


def best_of(counts: csr_array, n_components: int, priors: tuple[Prior, Prior], n_starts: int,
            rng: np.random.Generator, **options: Any) -> list[Factorization]:
    """Fits from several starts, that of the highest ELBO first.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
    n_components : int
    priors : tuple of Prior
    n_starts : int
        At least 1.
    rng : numpy.random.Generator
    options
        Of `cavi.factorize`; 500 sweeps, a tolerance of 1e-6 and a look every 50 unless given.
    """
    options = {"n_sweeps": 500, "tol": 1e-6, "look_every": 50} | options
    fits = [cavi.factorize(counts, cavi.start(counts, n_components, priors, rng), **options)
            for _ in range(_validate.whole("n_starts", n_starts, 1))]
    return sorted(fits, key=lambda fit: -fit.elbo[-1])


def matched_cosines(components: ArrayLike, truth: ArrayLike) -> Array:
    """Cosine of each true component with the found one that is its own in the best one-to-one match.

    Parameters
    ----------
    components : array_like, shape (D, L)
        At least as many as true ones.
    truth : array_like, shape (D, K)

    Returns
    -------
    ndarray, shape (K,)

    Examples
    --------
    >>> matched_cosines([[0.0, 2.0, 1.0], [5.0, 0.0, 1.0]], np.eye(2)).round(3)
    array([1., 1.])
    """
    found, true = (_validate.real(name, side) for name, side in (("components", components), ("truth", truth)))
    if found.ndim != 2 or true.ndim != 2 or len(found) != len(true) or found.shape[1] < true.shape[1]:
        raise ValueError("components must have truth's rows and at least as many columns, got shapes "
                         f"{found.shape} and {true.shape}")
    cosines = (true / np.linalg.norm(true, axis=0)).T @ (found / np.linalg.norm(found, axis=0))
    return cosines[linear_sum_assignment(cosines, maximize=True)]


def recovery(sizes: Sequence[int] = (20, 60, 200, 600, 2000), n_seeds: int = 4, n_components: int = 4,
             n_starts: int = 3, seed: int = 0) -> dict[str, Any]:
    """How like the true components the found ones are, by the number m of rows, on sparse tables of 50 columns.

    Of each seed there is one table; the sizes are its first m rows. K is known, or taken twice as large.

    Returns
    -------
    dict
        ``"size"``, and by size and seed the mean of `matched_cosines`: ``"best"`` for the highest ELBO of the starts,
        ``"worst"`` for the lowest, ``"double"`` for the highest with 2K components; and ``"used"``, how many of the 2K
        have more than a hundredth of all counts.
    """
    sizes = [_validate.whole("sizes", m, 2) for m in sizes]
    result: dict[str, Any] = {"size": sizes, "components": n_components, "best": [], "worst": [], "double": [],
                              "used": []}
    tables = [sparse_factors(max(sizes), 50, n_components, SPARSE, np.random.default_rng([seed, k]))
              for k in range(_validate.whole("n_seeds", n_seeds, 1))]
    for m in sizes:
        found = [_recovered(table.counts[:m], table.components, n_starts, np.random.default_rng([seed, k, m]))
                 for k, table in enumerate(tables)]
        for name in ("best", "worst", "double", "used"):
            result[name].append([one[name] for one in found])
    return result


def _recovered(counts: csr_array, truth: Array, n_starts: int, rng: np.random.Generator) -> dict[str, float]:
    K, options = truth.shape[1], {"n_sweeps": 150, "tol": 1e-5}
    known, double = (best_of(counts, L, SPARSE, n_starts, rng, **options) for L in (K, 2 * K))
    cosine = {name: float(matched_cosines(fit.columns.mean, truth).mean())
              for name, fit in (("best", known[0]), ("worst", known[-1]), ("double", double[0]))}
    share = double[0].rows.mean.sum(axis=0) * double[0].columns.mean.sum(axis=0)
    return cosine | {"used": int(np.sum(share > 0.01 * share.sum()))}


def gibbs(counts: ArrayLike, n_components: int, priors: tuple[Prior, Prior], n_draws: int, rng: np.random.Generator, *,
          skipped: int = 100, thin: int = 10) -> Array:
    """Draws of the rates lambda from the posteriors of N tables, by Gibbs sampling with each count shared out.

    Given theta and phi a count is shared out among the components multinomially, in proportion to theta_ik phi_dk;
    given the shares all theta, and then all phi, are gamma.

    Parameters
    ----------
    counts : array_like, shape (N, m, D)
    n_components : int
    priors : tuple of Prior
        Of rows and columns, without a spread.
    n_draws : int
    rng : numpy.random.Generator
    skipped, thin : int
        Sweeps before the first draw, and from one to the next: ranks among draws that are not nearly independent are
        too extreme.

    Returns
    -------
    ndarray, shape (n_draws, N, m, D)
    """
    x = _validate.counts("counts", counts).astype(np.int64)
    rows, columns = priors
    theta, phi = (rng.gamma(prior.shape, 1 / np.asarray(prior.rate), (len(x), n, n_components))
                  for prior, n in ((rows, x.shape[1]), (columns, x.shape[2])))
    draws = []
    for sweep in range(skipped + thin * n_draws):
        parts = theta[:, :, None] * phi[:, None]                                   # (N, m, D, K)
        shares = rng.multinomial(x, parts / parts.sum(axis=-1, keepdims=True))
        theta = rng.gamma(rows.shape + shares.sum(axis=2), 1 / (rows.rate + phi.sum(axis=1)[:, None]))
        phi = rng.gamma(columns.shape + shares.sum(axis=1), 1 / (columns.rate + theta.sum(axis=1)[:, None]))
        if sweep >= skipped and (sweep - skipped) % thin == 0:
            draws.append(theta @ phi.swapaxes(1, 2))
    return np.array(draws)


def calibration(n_simulations: int = 200, n_draws: int = 99, seed: int = 0) -> dict[str, Any]:
    """Of rates lambda_id = sum_k theta_ik phi_dk, how often central intervals hold the truth, on tables of the model.

    Intervals are between draws. The truth's rank among n_draws draws, made continuous by a random number, is uniform
    under the posterior itself, whatever the number of draws; an interval of level l is its middle share l.

    Returns
    -------
    dict
        ``"level"``, and for ``"mean field"`` and ``"gibbs"``: ``"share"`` of all rates inside, by level, its standard
        error over tables ``"error"``; ``"rank"`` and ``"rank_error"``, the shares of ranks in ten bins; and of one rate
        a table, which makes them independent, ``"variance"`` and ``"p_variance"`` of normal scores, see `score_tests`.
    """
    N, n_draws = _validate.whole("n_simulations", n_simulations, 2), _validate.whole("n_draws", n_draws, 1)
    rng = np.random.default_rng([_validate.whole("seed", seed, 0), 4])
    tables = [sparse_factors(15, 8, 2, SMALL, rng) for _ in range(N)]
    truth = np.array([table.activations @ table.components.T for table in tables])
    fits = [best_of(table.counts, 2, SMALL, 1, rng, n_sweeps=200, tol=1e-5)[0] for table in tables]
    draws = {"mean field": np.array([rates(fit, n_draws, rng) for fit in fits]).swapaxes(0, 1),
             "gibbs": gibbs(np.array([table.counts.toarray() for table in tables]), 2, SMALL, n_draws, rng)}
    return {"level": list(LEVELS), "tables": N,
            **{name: judged(np.sum(of_each < truth, axis=0), n_draws, rng) for name, of_each in draws.items()}}


def rates(fit: Factorization, n_draws: int, rng: np.random.Generator) -> Array:
    """Draws of lambda = theta phi^T under q, (n_draws, m, D)."""
    return fit.rows.q.sample(n_draws, rng) @ fit.columns.q.sample(n_draws, rng).swapaxes(1, 2)


def judged(ranks: NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """What `calibration` says of the ranks, (N, ...), of true rates among so many draws, the rates of each of N tables.

    A rank is made a number in (0, 1), uniform if the draws are of the posterior, by a random number within its step.
    """
    uniform = ((ranks + rng.random(ranks.shape)) / (n_draws + 1)).reshape(len(ranks), -1)
    parts = [np.abs(2 * uniform - 1) < level for level in LEVELS], [uniform * 10 // 1 == k for k in range(10)]
    (share, error), (rank, rank_error) = (_over_tables(np.mean(part, axis=2)) for part in parts)
    tests = score_tests(ndtri(uniform[:, 0]))
    return {"share": share, "error": error, "rank": rank, "rank_error": rank_error,
            "variance": float(tests.variance), "p_variance": float(tests.p_variance)}


def _over_tables(shares: Array) -> tuple[list[float], list[float]]:
    """Means and their standard errors of rows of shares."""
    return shares.mean(axis=1).tolist(), (shares.std(axis=1, ddof=1) / np.sqrt(shares.shape[1])).tolist()

"""Libraries that factorise a table of counts, a few lines each: what rates the cells of a table (m, D) are given.

Each function takes the table, K, a seed and how many threads, and returns ``advance``: asked for n sweeps in all, it
gives activations (m, K) and components (D, K), whose products are the rates. A fit of NMF and of ours goes on from
where it stood; the others have no way to, so that each answer is a fit of its own. All compute in float64; other
settings are the library's own.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]
Advance = Callable[[int], tuple[Array, Array]]


def ours(train: csr_array, n_components: int, seed: int, n_threads: int) -> Advance:
    """This library's coordinate ascent under the hierarchical prior that hpfrec has; the means of q.

    One start, as the others have. The ELBO is looked at where a fit begins and ends, not on the way.
    """
    from vi_ref.poisson_factorization import PoissonFactorization

    model, done = PoissonFactorization(n_components, prior="hierarchical", n_init=1, tol=0, random_state=seed,
                                       warm_start=True, n_jobs=n_threads), 0

    def advance(n_sweeps):
        nonlocal done
        model.set_params(max_iter=n_sweeps - done, evaluate_every=n_sweeps).fit(train)
        done = n_sweeps
        return model.activation_posterior_.mean, model.component_posterior_.mean
    return advance


def nmf(train: csr_array, n_components: int, seed: int, n_threads: int) -> Advance:
    """scikit-learn's NMF with the Kullback-Leibler loss: the maximum of the Poisson likelihood, by Lee and Seung."""
    from sklearn.decomposition import NMF

    model = NMF(n_components, solver="mu", beta_loss="kullback-leibler", tol=0, random_state=seed)
    activations, done = None, 0

    def advance(n_sweeps):
        nonlocal done, activations
        goes_on = {} if activations is None else {"W": activations, "H": model.components_}
        model.set_params(max_iter=n_sweeps - done, init="custom" if goes_on else None)
        activations, done = model.fit_transform(train, **goes_on), n_sweeps
        return activations, model.components_.T
    return advance


def lda(train: csr_array, n_components: int, seed: int, n_threads: int) -> Advance:
    """scikit-learn's latent Dirichlet allocation: means of the topics, times the rows' totals.

    The rows' parts come from a last pass, which its users pay as well. Its threads are processes.
    """
    from sklearn.decomposition import LatentDirichletAllocation

    totals = np.asarray(train.sum(axis=1)).reshape(-1, 1)

    def advance(n_sweeps):
        model = LatentDirichletAllocation(n_components, max_iter=n_sweeps, random_state=seed, n_jobs=n_threads)
        topics = model.fit_transform(train)
        return totals * topics, (model.components_ / model.components_.sum(axis=1, keepdims=True)).T
    return advance


def hpfrec(train: csr_array, n_components: int, seed: int, n_threads: int) -> Advance:
    """hpfrec's coordinate ascent for hierarchical Poisson factorisation; the means of q."""
    from hpfrec import HPF

    def advance(n_sweeps):
        model = HPF(n_components, maxiter=n_sweeps, check_every=n_sweeps, stop_crit="maxiter", use_float=False,
                    random_seed=seed + 1, ncores=n_threads, verbose=False,                # a seed of 0 means none
                    reindex=False, keep_data=False, produce_dicts=False, keep_all_objs=False)
        model.fit(train.tocoo())
        return model.Theta, model.Beta
    return advance


def poismf(train: csr_array, n_components: int, seed: int, n_threads: int, method: str = "tncg") -> Advance:
    """poismf's penalised maximum of the likelihood, by one of its three methods."""
    from poismf import PoisMF

    def advance(n_sweeps):
        model = PoisMF(n_components, method, niter=n_sweeps, random_state=seed, use_float=False, nthreads=n_threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)       # where it divides 0 by 0, its factors show it
            model.fit(train.tocoo())
        return model.A, model.B
    return advance


class Factorizer(NamedTuple):
    """How a library is asked, modules it needs with pip's names, whether its fits go on, whether it takes threads."""

    start: Callable[[csr_array, int, int, int], Advance]
    needs: dict[str, str]
    goes_on: bool = False
    threads: bool = True


#: All that may take part, by the names in tables.
FACTORIZERS: dict[str, Factorizer] = {
    "vi_ref": Factorizer(ours, {}, goes_on=True),
    "hpfrec": Factorizer(hpfrec, {"hpfrec": "hpfrec"}),
    "NMF": Factorizer(nmf, {}, goes_on=True, threads=False),
    "LDA": Factorizer(lda, {}),
    **{f"poismf {method}": Factorizer(partial(poismf, method=method), {"poismf": "poismf"})
       for method in ("tncg", "cg", "pg")},
}

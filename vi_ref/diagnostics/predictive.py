"""Posterior predictive checks: statistics of held-out rows beside those of tables that the model makes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref._validate import generator, whole
from vi_ref.diagnostics.randomised_pit import held_out
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


def dispersion(table: Array) -> Array:
    """Variance over mean of each column, about 1 for Poisson counts; 1 where all are 0."""
    mean = table.mean(axis=0)
    return np.where(mean > 0, table.var(axis=0, ddof=1) / np.where(mean > 0, mean, 1), 1.0)


def correlation(table: Array) -> Array:
    """Correlation matrix of the columns; 0 with a column that does not vary."""
    centred = table - table.mean(axis=0)
    length = np.sqrt(np.sum(centred**2, axis=0))
    centred /= np.where(length > 0, length, 1)
    return centred.T @ centred


def mean_correlation(table: Array) -> float:
    """Mean absolute correlation over all pairs of columns, those with a column that does not vary counted as 0."""
    pairs = correlation(table)[np.triu_indices(table.shape[1], 1)]
    return float(np.abs(pairs).mean()) if pairs.size else 0.0


#: Of a table (m, D): the statistics of each column, (D,).
STATISTICS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda table: table.mean(axis=0),
    "dispersion": dispersion,
    "zeros": lambda table: np.mean(table == 0, axis=0),
    "maximum": lambda table: table.max(axis=0),
}


@dataclass(frozen=True)
class PredictiveCheck:
    """Statistics of held-out rows and of replicated tables, by name; R replicates."""

    observed: dict[str, Array]      #: (D,) of each of STATISTICS; and "correlation", the mean absolute one, ()
    replicated: dict[str, Array]    #: (R, D); "correlation": (R,)
    p_values: dict[str, Array]      #: (D,) two-sided; "correlation": ()
    overall: dict[str, float]       #: one p-value a statistic, over all columns


def predictive_check(q: Gamma, counts: ArrayLike, n_replicates: int, rng: np.random.Generator) -> PredictiveCheck:
    """Compare held-out rows with tables of as many rows from the model: one theta ~ q a table, then Poisson counts.

    If the model is right and q the posterior, the held-out table and the replicates are exchangeable, so every p-value
    is valid: below a level with that probability at most, however few the replicates. Those of columns are not adjusted
    for their number; see `holm` and `benjamini_hochberg`.

    Parameters
    ----------
    q : Gamma, shape (D,)
        The posterior given other rows, or its approximation.
    counts : array_like, shape (m, D)
        Held-out rows, at least 2; non-negative whole numbers.
    n_replicates : int
        Tables R, at least 1; no p-value is below 1 / (R + 1).
    rng : numpy.random.Generator

    Returns
    -------
    PredictiveCheck
        A p-value of a column is twice the smaller of the shares of the R + 1 tables that lie as high, or as low, as the
        observed: 1 where none differs. `overall` is the share of them in which the sum over columns of
        (statistic - mean)^2 / variance, over the R + 1, is as large. Statistics: mean, variance over mean, share of
        zeros, maximum; and mean absolute correlation between columns.

    Raises
    ------
    ValueError
        If the counts are not such a table, or q does not match, or draws a rate above 2^52.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> theta = np.array([9.0, 2.0]) * rng.gamma(10.0, 0.1, (80, 1))       # rows differ in size, columns together
    >>> check = predictive_check(Gamma([900.0, 200.0], 100.0), rng.poisson(theta), 999, rng)
    >>> {name: round(p, 3) for name, p in check.overall.items()}
    {'mean': 0.908, 'dispersion': 0.001, 'zeros': 0.565, 'maximum': 0.004, 'correlation': 0.002}
    """
    table, n, rng = held_out(q, counts, 2), whole("n_replicates", n_replicates, 1), generator("rng", rng)
    functions = STATISTICS | {"correlation": mean_correlation}
    made = {name: [] for name in functions}
    draws = q.sample(n, rng)
    if draws.max(initial=0) > 2.0**52:
        raise ValueError(f"q must draw rates of at most 2^52, got {draws.max():.6g}")
    for theta in draws:
        replicate = rng.poisson(theta, table.shape).astype(float)
        for name, function in functions.items():
            made[name].append(function(replicate))
    observed = {name: np.asarray(function(table)) for name, function in functions.items()}
    replicated = {name: np.array(values) for name, values in made.items()}
    p_values = {name: _two_sided(observed[name], replicated[name]) for name in functions}
    overall = {name: _overall(observed[name], replicated[name]) for name in STATISTICS}
    return PredictiveCheck(observed, replicated, p_values, overall | {"correlation": float(p_values["correlation"])})


def _two_sided(observed: Array, replicated: Array) -> Array:
    high, low = (1 + np.sum(side, axis=0) for side in (replicated >= observed, replicated <= observed))
    return np.minimum(1, 2 * np.minimum(high, low) / (1 + len(replicated)))


def _overall(observed: Array, replicated: Array) -> float:
    tables = np.concatenate([observed[None], replicated])
    variance = tables.var(axis=0)
    squares = (tables - tables.mean(axis=0)) ** 2 / np.where(variance > 0, variance, 1)
    distance = squares.sum(axis=1)
    return float(np.mean(distance >= distance[0] * (1 - 1e-12)))

"""Sparse tables of counts from known gamma factors, of any size: nothing as large as the table of rates is made."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import coo_array, csr_array

from vi_ref import _validate
from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization.cavi import Prior

Array = NDArray[np.float64]
#: Of the gamma variables: small, so that most entries of a factor are next to nothing.
SHAPE = 0.1
#: Cells that are drawn to learn how many of all hold a count: the number of non-zeros is then off by about a hundredth.
N_PILOT = 50_000
#: The largest mean of the counts that are not 0.
LARGEST_MEAN = 50


class Simulated(NamedTuple):
    """Counts (m, D) and the factors behind them: activations (m, K), components (D, K)."""

    counts: csr_array
    activations: Array
    components: Array


def power_law(n_rows: int, n_columns: int, n_components: int, n_nonzeros: int, rng: np.random.Generator) -> Simulated:
    """Counts as people make them: few columns are popular, few rows are active, and most cells are empty.

    With theta_ik = s r_i g_ik and phi_kd = p_d h_dk, a count is Poisson(sum_k theta_ik phi_kd). All g and h are
    Gamma(0.1, 1), the activity r_i of a row is log-normal with sigma 1, and the popularity p_d of a column is its
    rank, in a random order, to the power of -0.8. The scale s brings the expected number of non-zeros to `n_nonzeros`.

    With a power of -1 a hundredth of 100 000 counts would hold a third of their total, and few cells would decide all.
    With Gamma(0.3, 1) 20 factors could not be learnt from so many: a fit to them foretells no better than totals alone.

    Parameters
    ----------
    n_rows, n_columns, n_components : int
        m, D and K, at least 1.
    n_nonzeros : int
        How many cells are not empty, about; at least 1, and so few that their mean is at most `LARGEST_MEAN`.
    rng : numpy.random.Generator

    Returns
    -------
    Simulated
        The counts are whole numbers held as floats; some rows and columns may have none.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> counts, activations, components = power_law(2000, 500, 8, 20_000, np.random.default_rng(1))
    >>> counts.shape, activations.shape, components.shape
    ((2000, 500), (2000, 8), (500, 8))
    >>> abs(counts.nnz / 20_000 - 1) < 0.03
    True
    """
    m, D, K = (_validate.whole(name, size, 1) for name, size in (
        ("n_rows", n_rows), ("n_columns", n_columns), ("n_components", n_components)))
    _validate.whole("n_nonzeros", n_nonzeros, 1)
    _validate.generator("rng", rng)
    activations = rng.lognormal(0.0, 1.0, (m, 1)) * rng.standard_gamma(SHAPE, (m, K))
    components = rng.permutation(np.arange(1, D + 1.0) ** -0.8)[:, None] * rng.standard_gamma(SHAPE, (D, K))
    activations *= _scale(activations, components, n_nonzeros, rng)
    return Simulated(draw(activations, components, rng), activations, components)


def draw(activations: Array, components: Array, rng: np.random.Generator) -> csr_array:
    """Poisson counts with rates ``activations @ components.T``, (m, D), in time and memory of their sum.

    A factor's counts add up to a Poisson total, whose units fall on rows and columns independently of one another.
    """
    rows, columns = [], []
    for theta, phi in zip(activations.T, components.T, strict=True):
        row, column = _units(theta, phi, rng.poisson(theta.sum() * phi.sum()), rng)
        rows.append(row)
        columns.append(column)
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = len(activations), len(components)
    return coo_array((np.ones(row.size), (row, column)), shape=shape).tocsr()         # adds what falls on the same cell


def _units(theta: Array, phi: Array, total: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Row and column of each of `total` units of one factor: in order of the rows, the columns in a random one."""
    row, column = (np.repeat(np.arange(p.size, dtype=np.int32), rng.multinomial(total, p / p.sum()))
                   for p in (theta, phi))
    return row, rng.permutation(column)


def _scale(activations: Array, components: Array, n_nonzeros: int, rng: np.random.Generator) -> float:
    """The s at which the sum of 1 - e^(-s rate) is `n_nonzeros`, from cells drawn in proportion to their rates."""
    totals = activations.sum(axis=0) * components.sum(axis=0)
    parts = [_units(theta, phi, n, rng) for theta, phi, n in zip(
        activations.T, components.T, rng.multinomial(N_PILOT, totals / totals.sum()), strict=True)]
    row, column = map(np.concatenate, zip(*parts, strict=True))
    rate = np.einsum("nk,nk->n", activations[row], components[column])

    def excess(log_s):
        return totals.sum() * np.mean(-np.expm1(-np.exp(log_s) * rate) / rate) / n_nonzeros - 1

    least = np.log(n_nonzeros / totals.sum())                      # enough if no cell were hit twice
    if excess(least + np.log(LARGEST_MEAN)) < 0:
        raise ValueError(f"n_nonzeros must be so few of {len(activations)} x {len(components)} cells that their mean "
                         f"is at most {LARGEST_MEAN}, got {n_nonzeros}")
    return float(np.exp(brentq(excess, least - 1, least + np.log(LARGEST_MEAN))))


def sparse_factors(n_rows: int, n_columns: int, n_components: int, priors: tuple[Prior, Prior],
                   rng: np.random.Generator) -> Simulated:
    """Factors drawn from their priors, and counts from the factors: a table of which the model is true.

    With shapes well below 1 most entries of a factor are next to nothing. The components are drawn first: with a
    generator in the same state a longer table has the same ones.

    Parameters
    ----------
    n_rows, n_columns, n_components : int
        m, D and K, at least 1.
    priors : tuple of Prior
        Of the rows' side and of the columns', without a spread.
    rng : numpy.random.Generator

    Returns
    -------
    Simulated
        The counts are whole numbers held as floats.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a prior has a spread.

    Examples
    --------
    >>> priors = Prior(0.3, 3.0), Prior(0.3, 0.3)
    >>> counts, activations, components = sparse_factors(1000, 50, 5, priors, np.random.default_rng(0))
    >>> counts.shape, activations.shape, components.shape, round(counts.nnz / 50_000, 2)
    ((1000, 50), (1000, 5), (50, 5), 0.31)
    """
    m, D, K = (_validate.whole(name, size, 1) for name, size in (
        ("n_rows", n_rows), ("n_columns", n_columns), ("n_components", n_components)))
    _validate.generator("rng", rng)
    if any(prior.spread is not None for prior in priors):
        raise ValueError(f"priors must be without a spread, got {[prior.spread for prior in priors]}")
    components, activations = (Gamma(np.broadcast_to(prior.shape, (n, K)), prior.rate).sample(1, rng)[0]
                               for n, prior in ((D, priors[1]), (m, priors[0])))
    return Simulated(draw(activations, components, rng), activations, components)

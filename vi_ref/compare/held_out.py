"""How well a table of rates foretells counts that were held out, every cell at its true weight.

Each non-zero of a table x goes to training, validation or test by chance, whatever its count: with probability 0.8, 0.1
and 0.1. In the training table the others are empty. Were cells held out and not counts, a tenth of the zeros would be
among those of the test; which tenth is never needed, as the mean over all choices has a closed form. With rates
lambda_id = theta_i . phi_d, the test set E, w = 0.1, and Z all cells that are empty in x,

    score = [ sum_E (x log lambda - lambda - log x!) - w sum_Z lambda ] / |E|,
    sum_Z lambda = (sum_i theta_i) . (sum_d phi_d) - sum over the non-zeros of x of lambda,

in nats a count. A count that is not 0 is in E with probability w, and one that is 0 has the weight w: so the terms of a
cell have the mean w E[x log lambda - lambda - log x!], largest where lambda is E[x]. No other rates have a better
expected score than the true ones. (With all zeros at weight 1, a tenth of them would have, or nearly.)

The training table keeps an entry with probability 0.8, so what is fitted to it foretells 0.8 E[x]. Each library's rates
are therefore scaled by one number, the best one on the validation set V:

    s = sum_V x / ( sum_V lambda + w sum_Z lambda ),

near 1/0.8 for a fit and near 1 for the true rates. Rows and columns without a training entry are left out beforehand:
nothing is known of them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, load_npz, save_npz
from scipy.special import gammaln

Array = NDArray[np.float64]
#: Share of the non-zeros that is in the validation set, and in the test set.
HELD_OUT = 0.1
#: Weight of a constant rate in the score of rates that may be 0.
FLOOR = 1e-3


class Split(NamedTuple):
    """Training table, held-out counts, and which cells of the whole table are not empty (as ones): (m, D) each."""

    train: csr_array
    validation: coo_array
    test: coo_array
    nonzero: csr_array


def split(counts: csr_array, rng: np.random.Generator) -> tuple[Split, NDArray, NDArray]:
    """A table (m, D) in parts, and which of its rows and columns they have: those with a training entry."""
    whole = counts.tocoo()
    part = rng.choice(3, size=whole.nnz, p=[1 - 2 * HELD_OUT, HELD_OUT, HELD_OUT])
    rows, columns = (np.unique(axis[part == 0]) for axis in whole.coords)
    tables = [csr_array((whole.data[chosen], [axis[chosen] for axis in whole.coords]), shape=counts.shape)
              for chosen in (part == 0, part == 1, part == 2, part >= 0)]
    train, validation, test, nonzero = (table[rows][:, columns] for table in tables)
    nonzero.data[:] = 1.0
    return Split(train, validation.tocoo(), test.tocoo(), nonzero), rows, columns


def save(parts: Split, folder: Path) -> None:
    """Write a split to a folder, a file a part."""
    for name, table in parts._asdict().items():
        save_npz(folder / f"{name}.npz", table, compressed=False)


def load(folder: Path) -> Split:
    """What `save` wrote."""
    return Split(*(load_table(folder, name) for name in Split._fields))


def load_table(folder: Path, name: str) -> csr_array | coo_array:
    """One part of what `save` wrote."""
    return load_npz(folder / f"{name}.npz")


def score(parts: Split, activations: Array, components: Array) -> dict[str, float]:
    """Scores of the rates ``activations @ components.T`` on the validation and the test set, in nats a count.

    Parameters
    ----------
    parts : Split
    activations, components : ndarray, shapes (m, K) and (D, K)
        Not negative.

    Returns
    -------
    dict
        "validation", "test" and the "scale" s of both; "impossible", the share of the test set's counts whose rate is
        0: with any, the score is -inf. So there are "floored validation" and "floored test" as well, of the scaled
        rates mixed with a constant one in all cells, with weight `FLOOR`. NaN where a factor is not finite.
    """
    keys = ("scale", "validation", "test", "floored validation", "floored test", "impossible")
    if not (np.isfinite(activations).all() and np.isfinite(components).all()):
        return dict.fromkeys(keys, np.nan)
    rates, empty = _rates(parts, activations, components)
    mass = rates[0].sum() + HELD_OUT * empty
    s = parts.validation.data.sum() / mass if mass > 0 else np.inf
    scaled = [(s if mass > 0 else 1.0) * part for part in (*rates, empty)]
    n_empty = np.prod(parts.train.shape) - parts.nonzero.nnz
    constant = parts.validation.data.sum() / (parts.validation.nnz + HELD_OUT * n_empty)
    mixed = [(1 - FLOOR) * part + FLOOR * constant * size for part, size in zip(scaled, (1, 1, n_empty), strict=True)]
    return dict(zip(keys, (float(s), *_scores(parts, *scaled), *_scores(parts, *mixed), float(np.mean(rates[1] == 0))),
                    strict=True))


def _rates(parts: Split, activations: Array, components: Array) -> tuple[list[Array], float]:
    """Rates of the held-out counts, and the sum of the rates of all cells that are empty in the whole table."""
    held_out = [np.einsum("nk,nk->n", activations[table.coords[0]], components[table.coords[1]])
                for table in (parts.validation, parts.test)]
    filled = np.sum(activations * (parts.nonzero @ components))
    return held_out, float(activations.sum(axis=0) @ components.sum(axis=0) - filled)


def _scores(parts: Split, validation: Array, test: Array, empty: float) -> list[float]:
    """The formula above for both sets, from the rates of their counts and the sum over the empty cells."""
    with np.errstate(divide="ignore"):
        return [float((table.data @ np.log(rate) - rate.sum() - HELD_OUT * empty - gammaln(table.data + 1).sum())
                      / table.nnz) for table, rate in ((parts.validation, validation), (parts.test, test))]

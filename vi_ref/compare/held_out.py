"""How well rates foretell counts that were held out, by Poisson thinning: all cells count, each at its true weight.

Each of the x units of a count goes to training, validation or test by chance, with probability 0.8, 0.1 and 0.1. If x
is Poisson(lambda), the shares a + b + c = x have the probability

    e^-lambda lambda^x / x!  x! / (a! b! c!)  0.8^a 0.1^b 0.1^c = p(a; 0.8 lambda) p(b; 0.1 lambda) p(c; 0.1 lambda),

p(.; r) that of a Poisson count with rate r: exactly independent Poisson tables, with 0.8, 0.1 and 0.1 of the rates.
(Were whole counts held out, training would have zeros that no Poisson model of the table expects, and a fit would learn
them.) So rates theta_i . phi_d fitted to the training table foretell the test table x with r_id = w s theta_i . phi_d,
w = 0.1 / 0.8, and their score is its log probability, that of its zeros included:

    [ sum_{x > 0} (x log r - log x!) - w s (sum_i theta_i) . (sum_d phi_d) ] / #{x > 0},

in nats a held-out non-zero. In a cell x log r - r has the mean m log r - r, where m = 0.1 lambda, and is largest at
r = m: no rates have a better expected score than the true ones.

Each library's rates are scaled by one number s, the best one on the validation table x_V, so that none is judged by how
it shrinks them as a whole:

    s = sum x_V / ( w (sum_i theta_i) . (sum_d phi_d) ).

It is 1 for a fit that keeps the training table's total, and for the true rates, but for the noise of the totals. With
it all rates add up to the total of x_V. Rows and columns without a training entry are left out beforehand: nothing is
known of them, and, as the tables are independent, the held-out counts of the others stay Poisson.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, load_npz, save_npz
from scipy.special import gammaln

from vi_ref import _validate

Array = NDArray[np.float64]
#: Of the units of a count, the share for training, and that for validation and for test each.
TRAIN, HELD_OUT = 0.8, 0.1
#: Weight of a constant rate in the score of rates that may be 0.
FLOOR = 1e-3


class Split(NamedTuple):
    """Three independent tables of counts, (m, D) each."""

    train: csr_array
    validation: coo_array
    test: coo_array


def split(counts: csr_array, rng: np.random.Generator) -> tuple[Split, NDArray, NDArray]:
    """A table of whole counts thinned, and which of its rows and columns are left: those with a training entry."""
    whole = counts.tocoo()
    units = _validate.counts("counts", whole.data).astype(np.int64)
    shares = rng.multinomial(units, [TRAIN, HELD_OUT, HELD_OUT]).T.astype(float)
    rows, columns = (np.unique(axis[shares[0] > 0]) for axis in whole.coords)
    train, validation, test = (
        csr_array((share[share > 0], [axis[share > 0] for axis in whole.coords]), shape=counts.shape)[rows][:, columns]
        for share in shares)
    return Split(train, validation.tocoo(), test.tocoo()), rows, columns


def save(parts: Split, folder: Path) -> None:
    """Write a split to a folder, a file a table."""
    for name, table in parts._asdict().items():
        save_npz(folder / f"{name}.npz", table, compressed=False)


def load(folder: Path) -> Split:
    """What `save` wrote."""
    return Split(*(load_table(folder, name) for name in Split._fields))


def load_table(folder: Path, name: str) -> csr_array | coo_array:
    """One table of what `save` wrote."""
    return load_npz(folder / f"{name}.npz")


def score(parts: Split, activations: Array, components: Array) -> dict[str, float]:
    """Scores of the training table's rates ``activations @ components.T`` on the tables held out, in nats a non-zero.

    Parameters
    ----------
    parts : Split
    activations, components : ndarray, shapes (m, K) and (D, K)
        Not negative.

    Returns
    -------
    dict
        "validation", "test" and the "scale" s of both, 0 if all rates are; "impossible", the share of the test table's
        non-zeros whose rate is 0: with any, the score is -inf. So there are "floored validation" and "floored test" as
        well, of the scaled rates mixed with a constant one in all cells, with weight `FLOOR`. NaN where a factor is
        not finite.
    """
    keys = ("scale", "validation", "test", "floored validation", "floored test", "impossible")
    if not (np.isfinite(activations).all() and np.isfinite(components).all()):
        return dict.fromkeys(keys, np.nan)
    total, mass = parts.validation.sum(), HELD_OUT / TRAIN * float(activations.sum(axis=0) @ components.sum(axis=0))
    s, constant = total / mass if mass > 0 else 0.0, total / np.prod(parts.train.shape)
    tables = parts.validation, parts.test
    rates = [s * HELD_OUT / TRAIN * np.einsum("nk,nk->n", activations[table.coords[0]], components[table.coords[1]])
             for table in tables]
    mixed = [(1 - FLOOR) * rate + FLOOR * constant for rate in rates]
    plain = [_score(table, rate, s * mass) for table, rate in zip(tables, rates, strict=True)]
    floored = [_score(table, rate, (1 - FLOOR) * s * mass + FLOOR * total)
               for table, rate in zip(tables, mixed, strict=True)]
    return dict(zip(keys, (float(s), *plain, *floored, float(np.mean(rates[1] == 0))), strict=True))


def _score(table: coo_array, rates: Array, mass: float) -> float:
    """The formula above, from the rates of a table's non-zeros and the sum of those of all its cells."""
    with np.errstate(divide="ignore"):
        return float((table.data @ np.log(rates) - gammaln(table.data + 1).sum() - mass) / table.nnz)

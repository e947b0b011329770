"""The table of the implicit gradient against the clear version, mpmath and the reference vectors."""

import math

import numpy as np
import oracles
import pytest

from vi_ref import gamma_grad, gamma_table, vectors
from vi_ref.gamma_grad_fast import _left_series

RNG = np.random.default_rng(7)
#: What the docstring of the module says, and the clear version's own error, by which it is measured.
TABLE, CLEAR = 1e-14, 4e-15


def scale(shape):
    return shape + 2 / 3 if shape < 1 else shape - 1 / 3


def by_table(shape, w):
    """d log z / d log shape at roots of one shape, as a kernel gets it."""
    w, c = np.asarray(w, dtype=float), np.empty((gamma_table._CELLS, gamma_table._TERMS))
    first, last = (gamma_table.cell_of(end) for end in gamma_table.ends(w))
    gamma_table.polynomials(gamma_table.table(), shape, first, last, c)
    out = np.empty_like(w)
    gamma_table.elasticities(c, first, last, w, out)
    return out


def log_z(shape, w):
    return math.log(scale(shape)) + 3 * np.log(w)


@pytest.mark.parametrize("shape", [1e-100, 1e-8, 0.02, 0.5, 0.999, 1.0, 1.3, 2.49, 2.5, 3.7, 12.0, 250.0, 1e6, 1e100])
def test_every_cell_is_the_clear_version(shape):
    """The log z that the clear version is given rounds by 2^-52 of 1 + |log z|; to that r moves by at most as much."""
    for low in gamma_table._LOW:
        w = low * 2 ** (0.5 * np.append(0.0, RNG.uniform(0, 1 - 1e-9, 500)))
        given = log_z(shape, w)
        truth = shape * gamma_grad.dlogz_dshape(shape, given)
        assert np.all(np.abs(by_table(shape, w) / truth - 1) <= TABLE + CLEAR + 2.0**-52 * (1 + np.abs(given)))


@pytest.mark.parametrize(("shape", "w"), [(0.3, 0.31), (0.3, 3.3), (1.7, 0.5), (1.7, 1.9), (6.0, 0.8), (400.0, 1.05)])
def test_against_mpmath(shape, w):
    truth = oracles.dlogz_dshape(shape, log_z(shape, w)) * oracles.exactly(shape)
    assert float(abs(oracles.exactly(by_table(shape, [w])[0]) / truth - 1)) <= TABLE + 1e-15


def test_random_shapes_and_roots():
    """Shapes over eight decades, roots where the draws are."""
    for shape in 10 ** RNG.uniform(-4, 4, 300):
        w = np.exp(RNG.uniform(math.log(0.298), math.log(3.35), 40))
        truth = shape * gamma_grad.dlogz_dshape(shape, log_z(shape, w))
        np.testing.assert_allclose(by_table(shape, w), truth, rtol=TABLE + CLEAR + 1e-15)


def test_against_every_reference_vector_in_its_domain():
    """From the double nearest to the root: 2^-53 of w are 3 2^-53 of z; to the table's 1e-14 it may add 2e-15."""
    rows = vectors.load(1)
    rows = rows[rows["exact"] == "z"]
    w = np.cbrt(rows["z"] / np.where(rows["alpha"] < 1, rows["alpha"] + 2 / 3, rows["alpha"] - 1 / 3))
    rows, w = (x[(w >= gamma_table._LOW[0]) & (w < gamma_table._HIGH)] for x in (rows, w))
    assert rows.size > 900
    truth = rows["alpha"] * rows["dz_dalpha"] / rows["z"]
    value = np.array([by_table(a, [x])[0] for a, x in zip(rows["alpha"], w, strict=True)])
    assert np.max(np.abs(value / truth - 1)) <= TABLE + 2e-15


@pytest.mark.parametrize("shape", [1e-6, 0.4, 0.97, 1.0, 2.2])
def test_outside_of_the_cells(shape):
    a, m = _left_series(shape)
    for w in (1e-90, 1e-9, 0.05, 0.25, 0.2969, 3.4, 4.5, 30.0):
        given = log_z(shape, w)
        value = gamma_table.outside(shape, scale(shape) * w**3, given, a, m)
        np.testing.assert_allclose(value, shape * gamma_grad.dlogz_dshape(shape, given), rtol=TABLE + CLEAR)


def test_cells_lie_side_by_side_about_one():
    low = gamma_table._LOW
    np.testing.assert_allclose(low[1:] / low[:-1], math.sqrt(2), rtol=1e-15)
    assert low[gamma_table._ONE] * 2**0.25 == pytest.approx(1, rel=1e-15)
    for k, edge in enumerate(low):
        assert gamma_table.cell_of(edge) == k and gamma_table.cell_of(np.nextafter(edge, 0)) == max(k - 1, 0)
    assert gamma_table.cell_of(0.0) == 0 and gamma_table.cell_of(50.0) == gamma_table._CELLS - 1


def test_ends():
    w = RNG.uniform(0, 5, 100)
    assert gamma_table.ends(w) == (w.min(), w.max())

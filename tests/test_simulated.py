"""Simulated tables: Poisson counts with the rates that are given, as many non-zeros as asked for, factors as said."""

import numpy as np
import pytest

from vi_ref.poisson_factorization import simulated

K_ERRORS = 5.0


def test_counts_are_poisson_with_the_rates_given():
    """400 x 50 cells, rates from 0.01 to 60: by tenths of the cells in order of their rates, by row and by column, sums
    are within 5 standard errors; so is the sum of (x - rate)^2 / rate, of mean 1 and variance 2 + 1 / rate a cell."""
    rng = np.random.default_rng(0)
    activations, components = rng.gamma(0.8, 2.0, (400, 3)), rng.gamma(0.8, 1.0, (50, 3))
    counts = simulated.draw(activations, components, rng)
    x, rate = counts.toarray(), activations @ components.T
    assert counts.has_canonical_format and np.all(counts.data >= 1) and x.shape == (400, 50)
    order = np.argsort(rate, axis=None)
    groups = [(x.ravel()[part], rate.ravel()[part]) for part in np.array_split(order, 10)]
    groups += [*zip(x, rate, strict=True), *zip(x.T, rate.T, strict=True)]
    assert all(abs(a.sum() - b.sum()) <= K_ERRORS * np.sqrt(b.sum()) for a, b in groups)
    spread = np.sum((x - rate) ** 2 / rate - 1)
    assert abs(spread) <= K_ERRORS * np.sqrt(np.sum(2 + 1 / rate))


def test_counts_of_cells_are_independent():
    """20 000 rows with the same two rates in two columns, one factor: their covariance is 0 within 5 of its standard
    errors, sqrt(3 * 2 / 20 000), and so is that of neighbouring rows of a column."""
    counts = simulated.draw(np.ones((20_000, 1)), np.array([[3.0], [2.0]]), np.random.default_rng(1)).toarray()
    a, b = (counts - [3.0, 2.0]).T
    assert abs(np.mean(a * b)) <= K_ERRORS * np.sqrt(6 / 20_000)
    assert abs(np.mean(a[1:] * a[:-1])) <= K_ERRORS * np.sqrt(9 / 20_000)


def test_the_total_is_poisson():
    """500 tables with a total rate of 30: the variance within 5 standard errors, 30 sqrt((2 + 1 / 30) / 500) each."""
    rng = np.random.default_rng(2)
    totals = [simulated.draw(np.array([[1.0], [2.0]]), np.array([[4.0], [6.0]]), rng).sum() for _ in range(500)]
    assert abs(np.var(totals) - 30) <= K_ERRORS * 30 * np.sqrt((2 + 1 / 30) / 500)


@pytest.mark.parametrize(("n_rows", "n_columns", "n_components"), [(1000, 400, 20), (300, 3000, 3)])
def test_there_are_as_many_non_zeros_as_asked_for(n_rows, n_columns, n_components):
    """20 000, with a relative standard error of sqrt((c - 1) / N_PILOT) at most from the scale, c <= 4 the mean count,
    and 20 000^(-1/2) of their own: together 0.0105, five times that is allowed. Scales of two tenths more are seen."""
    for seed in range(2):
        found = simulated.power_law(n_rows, n_columns, n_components, 20_000, np.random.default_rng(seed))
        assert found.counts.shape == (n_rows, n_columns) and found.counts.data.mean() < 4
        assert abs(found.counts.nnz / 20_000 - 1) < K_ERRORS * 0.0105
        assert abs(found.counts.sum() / (found.activations.sum(0) @ found.components.sum(0)) - 1) < K_ERRORS / 141


def test_factors_are_as_said():
    """Sums over components have the mean 0.1 K p_d and the variance 0.1 K p_d^2; of their logarithms, those of rows
    are a log-normal's and a gamma's of shape 2: the variance 1 + psi'(2) = 1.645, and fourth
    moments that give it the standard error sqrt((2 * 1.645^2 + psi'''(2)) / 20 000) = 0.0172."""
    _, activations, components = simulated.power_law(20_000, 4000, 20, 100_000, np.random.default_rng(3))
    p = np.arange(1, 4001.0) ** -0.8
    assert abs(components.sum() - 2 * p.sum()) <= K_ERRORS * np.sqrt(2 * np.sum(p**2))
    assert abs(np.log(activations.sum(axis=1)).var() - 1.645) < K_ERRORS * 0.0172
    popular = components.sum(axis=1) > np.quantile(components.sum(axis=1), 0.9)
    assert abs(popular[:2000].mean() - 0.1) < K_ERRORS * np.sqrt(0.09 / 4000)             # in a random order


@pytest.mark.parametrize(("change", "message"), [
    ({"n_rows": 0}, "n_rows must be a whole number of at least 1, got 0"),
    ({"n_columns": 2.5}, "n_columns must be a whole number of at least 1, got 2.5"),
    ({"n_components": -1}, "n_components must be a whole number of at least 1, got -1"),
    ({"n_nonzeros": 0}, "n_nonzeros must be a whole number of at least 1, got 0"),
    ({"n_nonzeros": 900}, "n_nonzeros must be so few of 30 x 40 cells that their mean is at most 50, got 900"),
    ({"rng": 3}, "rng must be a numpy.random.Generator, got 3"),
])
def test_bad_arguments_are_refused(change, message):
    given = {"n_rows": 30, "n_columns": 40, "n_components": 3, "n_nonzeros": 100, "rng": np.random.default_rng(0)}
    with pytest.raises(ValueError, match=f"^{message}$"):
        simulated.power_law(**given | change)

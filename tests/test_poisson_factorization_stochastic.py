"""Stochastic steps: the coordinate update where nothing is left to chance, along the natural gradient, near the fit."""

from dataclasses import replace

import numpy as np
import pytest
from oracles import EPS
from scipy.sparse import csr_array

from vi_ref import Gamma
from vi_ref.coordinates import natural
from vi_ref.poisson_factorization import PoissonFactorization, cavi, stochastic, sweep
from vi_ref.poisson_factorization.cavi import Prior


def table(m=300, D=20, K=3, seed=0):
    rng = np.random.default_rng(seed)
    return csr_array(rng.poisson(rng.gamma(0.3, 3.0, (m, K)) @ rng.gamma(0.3, 1.0, (K, D))).astype(float))


def columns_of(counts, spread=None, K=3):
    rng = np.random.default_rng(1)
    return cavi.side(Prior(0.3, 0.7, spread), 0.3 + rng.gamma(1.0, 2.0, (counts.shape[1], K)),
                     rng.gamma(3.0, 0.5, (counts.shape[1], K)))


@pytest.mark.parametrize("spread", [None, 0.5])
@pytest.mark.parametrize("learned", [False, True])
def test_a_whole_step_on_the_whole_table_is_the_update(spread, learned):
    counts = table(40)
    columns, prior = columns_of(counts, spread), Prior(0.3, 1.2, learned=learned)
    rows, moved, after = stochastic.step(counts, columns, prior, total_rows=40, rho=1.0, n_sweeps=50, tol=1e-3)
    truth = cavi.infer_rows(counts, columns, prior, n_sweeps=50, tol=1e-3)
    np.testing.assert_array_equal(rows.mean, truth.mean)
    updated = cavi.update(counts.T.tocsr(), columns, truth)
    np.testing.assert_allclose(moved.table.shape, updated.table.shape, rtol=2 * EPS)
    np.testing.assert_allclose(moved.table.rate, updated.table.rate, rtol=4 * EPS)
    if spread is not None:
        np.testing.assert_allclose(moved.row_rate.shape, updated.row_rate.shape, rtol=4 * EPS)
        np.testing.assert_allclose(moved.row_rate.rate, updated.row_rate.rate, rtol=20 * EPS)
    if learned:
        # E[theta] and E[log theta] there and back, and Newton's steps: a condition of a few units
        for part in ("shape", "rate"):
            np.testing.assert_allclose(getattr(after, part), getattr(cavi.learned(truth), part), rtol=1e-13)
    else:
        assert after == prior


def test_a_batch_stands_for_the_table_and_the_way_is_cut():
    """Twice the batch is the table, and only a quarter of the way is gone."""
    counts = table(30)
    columns, prior = columns_of(counts, 0.5), Prior(0.3, 1.2)
    whole = stochastic.step(csr_array(np.vstack([counts.toarray()] * 2)), columns, prior, total_rows=60, rho=1.0,
                            n_sweeps=30, tol=1e-3).columns
    part = stochastic.step(counts, columns, prior, total_rows=60, rho=0.25, n_sweeps=30, tol=1e-3).columns
    for name in ("shape", "rate"):
        before, full, moved = (getattr(side.table, name) for side in (columns, whole, part))
        np.testing.assert_allclose(moved, 0.75 * before + 0.25 * full, rtol=1e-13)
    total = part.mean.sum(axis=1)
    np.testing.assert_allclose(part.row_rate.rate, 0.75 * columns.row_rate.rate + 0.25 * (0.5 / 0.7 + total),
                               rtol=1e-13)
    np.testing.assert_allclose(part.row_rate.shape, 0.5 + 3 * 0.3, rtol=1e-13)


# With h = 1e-3 a five-point difference leaves h^4 / 30 of the fifth derivative, some 1e-13 of it, and rounding of an
# ELBO of 1e3: 1e3 EPS / h = 2e-10. The natural gradient divides by shape^2 trigamma - shape >= 0.1 of sizes up to 10.
@pytest.mark.parametrize("spread", [None, 0.5])
def test_the_way_to_go_is_the_natural_gradient(spread):
    counts = table(40)
    columns, prior = columns_of(counts, spread), Prior(0.3, 1.2)
    rows, asked, _ = stochastic.step(counts, columns, prior, total_rows=40, rho=1.0, n_sweeps=50, tol=1e-3)

    def elbo(d, k, part, by):
        arrays = {"shape": columns.table.shape.copy(), "rate": columns.table.rate.copy()}
        arrays[part][d, k] *= np.exp(by)
        return cavi.elbo(counts, rows, replace(columns, table=sweep.table(**arrays)))

    h = 1e-3
    for d, k in ((0, 0), (3, 2), (7, 1), (19, 0)):
        slopes = [(8 * (elbo(d, k, part, h) - elbo(d, k, part, -h)) - elbo(d, k, part, 2 * h)
                   + elbo(d, k, part, -2 * h)) / (12 * h) for part in ("shape", "rate")]
        q = Gamma(columns.table.shape[d, k], columns.table.rate[d, k])
        to_shape, to_rate = natural(q, *slopes)
        assert abs(q.shape * to_shape - (asked.table.shape[d, k] - q.shape)) <= 1e-7 * (1 + asked.table.shape[d, k])
        assert abs(q.rate * to_rate - (asked.table.rate[d, k] - q.rate)) <= 1e-7 * (1 + asked.table.rate[d, k])


def test_a_learned_prior_moves_between_expectations():
    counts = table(40)
    columns, prior = columns_of(counts), Prior(0.3, 1.2, learned=True)
    rows, _, after = stochastic.step(counts, columns, prior, total_rows=40, rho=0.25, n_sweeps=50, tol=1e-3)
    for name in ("mean", "mean_log"):
        before, asked, found = (getattr(Gamma(*np.broadcast_arrays(*p[:2])), name)
                                for p in (prior, cavi.learned(rows), after))
        np.testing.assert_allclose(found, 0.75 * before + 0.25 * asked, rtol=1e-12, atol=1e-12)


# Gaps to the best of three fits of -6e3 nats, in the ELBO with the rows' q at its best: seen 425 to 490 after one pass,
# 34 to 49 after thirty. What is left is the noise of a batch of a quarter, which falls as the steps do.
@pytest.mark.parametrize("prior", ["hierarchical", *(pytest.param(name, marks=pytest.mark.slow)
                                                    for name in ("fixed", "learned"))])
def test_shuffled_batches_end_near_the_fit(prior):
    counts = table(400, seed=3)
    options = {"n_components": 3, "prior": prior, "total_samples": 400, "random_state": 0}
    fit = PoissonFactorization(**options, n_init=3).fit(counts)
    stream, rng, gaps = PoissonFactorization(**options, learning_offset=1.0), np.random.default_rng(5), []
    for n_passes in (1, 29):
        for _ in range(n_passes):
            for batch in np.split(rng.permutation(400), 4):
                stream.partial_fit(counts[batch])
        rows = cavi.infer_rows(counts, stream._columns, stream.activation_prior_, n_sweeps=1000, tol=1e-8)
        gaps.append(fit.elbo_ - cavi.elbo(counts, rows, stream._columns))
    assert gaps[-1] < 0.01 * abs(fit.elbo_) and gaps[-1] < 0.3 * gaps[0]


def test_partial_fit_is_these_steps():
    counts = table(60)
    options = {"n_components": 3, "random_state": 2, "learning_decay": 0.6, "learning_offset": 4.0}
    model = PoissonFactorization(**options).partial_fit(counts[:25]).partial_fit(counts[25:])
    assert (model.n_batch_iter_, model.n_samples_seen_, model.n_iter_) == (2, 60, 0)
    first = PoissonFactorization(**options).partial_fit(counts[:25])
    # the prior expects the first batch's mean, 25 rows of which stand for themselves; then for 60
    expected = 3 * 0.3 / first.activation_prior_.rate * 0.3 / first.component_prior_.rate
    np.testing.assert_allclose(expected, counts[:25].mean(), rtol=1e-13)
    assert first.activation_prior_ == model.activation_prior_ and first.activation_prior_.spread == 1
    second = stochastic.step(counts[25:], first._columns, first.activation_prior_, total_rows=60, rho=6.0**-0.6,
                             n_sweeps=100, tol=1e-3)
    np.testing.assert_array_equal(model.components_, second.columns.mean.T)
    np.testing.assert_array_equal(model.component_posterior_.shape, second.columns.table.shape)
    given = PoissonFactorization(**options, total_samples=1e4).partial_fit(counts[:25])
    start = cavi.start(counts[:25], 3, (first.activation_prior_, first.component_prior_), np.random.default_rng(
        np.random.RandomState(2).randint(0, 2**31 - 1, size=4)))[1]
    truth = stochastic.step(counts[:25], start, first.activation_prior_, total_rows=1e4, rho=5.0**-0.6, n_sweeps=100,
                            tol=1e-3)
    np.testing.assert_array_equal(given.components_, truth.columns.mean.T)


def test_partial_fit_goes_on_from_a_fit():
    counts = table(60)
    model = PoissonFactorization(3, random_state=0).fit(counts)
    columns, prior = model._columns, model.activation_prior_
    model.partial_fit(counts[:20])
    assert (model.n_batch_iter_, model.n_samples_seen_) == (1, 80) and model.n_iter_ > 0
    truth = stochastic.step(counts[:20], columns, prior, total_rows=80, rho=11.0**-0.7, n_sweeps=100, tol=1e-3)
    np.testing.assert_array_equal(model.components_, truth.columns.mean.T)
    assert not {"elbo_", "elbo_trace_", "converged_", "activation_posterior_"} & set(vars(model))
    assert model.fit(counts).n_batch_iter_ == 0 and model.n_samples_seen_ == 60


def test_a_prior_is_learned_from_the_21st_batch_on():
    counts, model = table(30), PoissonFactorization(2, prior="learned", random_state=0)
    for _ in range(20):
        model.partial_fit(counts)
    assert np.ndim(model.activation_prior_.shape) == 0
    assert model.partial_fit(counts).activation_prior_.shape.shape == (2,)
    assert not model.activation_prior_.learned

"""The scikit-learn face of Poisson factorisation: its checks, coordinate ascent by hand, edges, memory and threads."""

import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import EPS
from scipy.stats import betaprime
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_poisson_factorization_cavi import size

from vi_ref import Gamma, poisson_factorization
from vi_ref.poisson_factorization import PoissonFactorization, cavi, marginal, predictive
from vi_ref.poisson_factorization.cavi import Prior

_RNG = np.random.default_rng(90)
COUNTS = _RNG.poisson(_RNG.gamma(0.3, 3.0, (40, 3)) @ _RNG.gamma(0.3, 1.0, (3, 12)))
SMALL = {"n_components": 3, "random_state": 0}


def generator(seed):
    """As the estimator makes it of an int."""
    return np.random.default_rng(np.random.RandomState(seed).randint(0, 2**31 - 1, size=4))


@parametrize_with_checks([
    PoissonFactorization(n_draws=25),
    PoissonFactorization(n_components=2, prior="learned", n_init=1, max_iter=30, n_draws=25),
    PoissonFactorization(n_components=2, prior="fixed", n_init=1, max_iter=30, n_draws=25),
    PoissonFactorization(n_components=2, method="gradient", n_init=1, max_iter=10, n_steps=3, n_draws=25),
])
@pytest.mark.filterwarnings("ignore")                    # scikit-learn skips its array-API check with a warning
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# -- the fit is coordinate ascent ----------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["fixed", "hierarchical"])
def test_fit_is_coordinate_ascent_from_the_start(prior):
    model = PoissonFactorization(**SMALL, prior=prior, spread=0.7, n_init=1, tol=1e-6).fit(COUNTS)
    counts, spread = sp.csr_array(COUNTS.astype(float)), 0.7 if prior == "hierarchical" else None
    level = np.sqrt(COUNTS.mean() / 3)                   # the prior's mean of theta and of phi
    assert np.allclose([model.activation_prior_.rate, model.component_prior_.rate], 0.3 / level, rtol=1e-14)
    assert model.activation_prior_[::2] == model.component_prior_[::2] == (0.3, spread)
    priors = model.activation_prior_, model.component_prior_
    fit = cavi.factorize(counts, cavi.start(counts, 3, priors, generator(0)), n_sweeps=500, tol=1e-6)
    np.testing.assert_array_equal(model.elbo_trace_, fit.elbo)
    np.testing.assert_array_equal(model.components_, fit.columns.mean.T)
    for found, truth in ((model.activation_posterior_, fit.rows.q), (model.component_posterior_, fit.columns.q)):
        assert isinstance(found, Gamma)
        np.testing.assert_array_equal([found.shape, found.rate], [truth.shape, truth.rate])
    assert model.converged_ and model.n_iter_ == fit.n_sweeps and model.elbo_ == fit.elbo[-1]
    assert (model.n_components_, model.n_features_in_, model.n_samples_seen_) == (3, 12, 40)
    assert model.get_feature_names_out().tolist() == [f"poissonfactorization{k}" for k in range(3)]


def test_the_best_of_some_starts_goes_on():
    options = {**SMALL, "tol": 0.0, "prior": "fixed"}
    model = PoissonFactorization(**options, n_init=4, max_iter=33).fit(COUNTS)
    counts, rng = sp.csr_array(COUNTS.astype(float)), generator(0)
    priors = model.activation_prior_, model.component_prior_
    starts = [cavi.start(counts, 3, priors, rng) for _ in range(4)]
    after = [cavi.factorize(counts, start, n_sweeps=20).elbo[-1] for start in starts]
    whole = [cavi.factorize(counts, start, n_sweeps=33).columns.mean.T for start in starts]
    assert len(set(after)) == 4 and np.argmax(after) > 0
    np.testing.assert_array_equal(model.components_, whole[np.argmax(after)])
    assert model.n_iter_ == 33 and model.elbo_trace_.size == 5
    short = PoissonFactorization(**options, n_init=4, max_iter=5).fit(COUNTS)
    assert short.n_iter_ == 5 and short.elbo_trace_.size == 2


def test_a_prior_is_learned_from_the_21st_sweep_on():
    model = PoissonFactorization(**SMALL, prior="learned", n_init=1, tol=1e-9, max_iter=5000).fit(COUNTS)
    early = PoissonFactorization(**SMALL, prior="learned", n_init=1, tol=0.0, max_iter=20).fit(COUNTS)
    fixed = PoissonFactorization(**SMALL, prior="fixed", n_init=1, tol=0.0, max_iter=20).fit(COUNTS)
    assert early.elbo_ == fixed.elbo_ and early.activation_prior_ == fixed.activation_prior_
    assert model.activation_prior_.shape.shape == (3,) and np.ndim(model.component_prior_.shape) == 0
    rows = cavi.side(model.activation_prior_, *(np.array(part) for part in (
        model.activation_posterior_.shape, model.activation_posterior_.rate)))
    again = cavi.learned(rows)
    # the ELBO stands still to 1e-9 of itself; the prior, whose curvature is some 40 times shape, to its square root
    np.testing.assert_allclose(again.shape, model.activation_prior_.shape, rtol=1e-3)
    assert model.elbo_ > PoissonFactorization(**SMALL, prior="fixed", tol=1e-9, max_iter=5000).fit(COUNTS).elbo_ + 1


def test_rates_expect_the_tables_mean_count():
    for given in ({}, {"activation_rate": 0.01}, {"component_rate": 40.0}, {"activation_shape": 2.0,
                                                                           "component_shape": 0.1}):
        model = PoissonFactorization(**SMALL, **given, max_iter=1, tol=0.0).fit(COUNTS)
        means = [prior.shape / prior.rate for prior in (model.activation_prior_, model.component_prior_)]
        np.testing.assert_allclose(3 * means[0] * means[1], COUNTS.mean(), rtol=1e-14)
        if not given or "activation_shape" in given:
            np.testing.assert_allclose(*means, rtol=1e-14)
    both = PoissonFactorization(**SMALL, activation_rate=2.0, component_rate=3.0, max_iter=1, tol=0.0).fit(COUNTS)
    assert both.activation_prior_.rate == 2 and both.component_prior_.rate == 3


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    for prior in ("fixed", "hierarchical", "learned"):
        options = {**SMALL, "prior": prior, "tol": 0.0, "n_init": 1}
        whole = PoissonFactorization(**options, max_iter=60).fit(COUNTS)
        model = PoissonFactorization(**options, max_iter=30, warm_start=True).fit(COUNTS).fit(COUNTS)
        np.testing.assert_array_equal(model.components_, whole.components_)
        assert model.elbo_ == whole.elbo_ and model.n_iter_ == 30
        # another number of rows: theirs are inferred, and the components move on from where they are
        before = model.components_
        model.set_params(max_iter=1).fit(COUNTS[:20])
        assert model.activation_posterior_.shape.shape == (20, 3)
        assert np.corrcoef(model.components_.ravel(), before.ravel())[0, 1] > 0.9
        cold = clone(model).set_params(warm_start=False)
        np.testing.assert_array_equal(cold.fit(COUNTS).fit(COUNTS).components_, clone(cold).fit(COUNTS).components_)
    with pytest.raises(ValueError, match=r"^n_components must be 3 as before for the fit to go on, got 4$"):
        model.set_params(n_components=4).fit(COUNTS)
    with pytest.raises(ValueError, match=r"^X has 5 features, but PoissonFactorization is expecting 12 features"):
        model.set_params(n_components=3).fit(COUNTS[:, :5])


def test_the_gradient_method_goes_on_from_coordinate_ascent():
    options = {**SMALL, "prior": "hierarchical", "n_init": 1}
    model = PoissonFactorization(**options, method="gradient", n_steps=20, n_samples=3).fit(COUNTS)
    begun, rng, counts = PoissonFactorization(**options).fit(COUNTS), generator(0), sp.csr_array(COUNTS.astype(float))
    priors = begun.activation_prior_, begun.component_prior_
    start = cavi.factorize(counts, cavi.start(counts, 3, priors, rng), n_sweeps=500, tol=1e-5)
    fit = marginal.fit_gradient(counts, (start.rows, start.columns), n_steps=20, n_samples=3, rng=rng)
    np.testing.assert_array_equal(model.components_, fit.columns.mean.T)
    np.testing.assert_array_equal(model.activation_posterior_.shape, fit.rows.table.shape)
    np.testing.assert_array_equal(model.elbo_trace_[:-1], fit.elbo)
    assert model.n_iter_ == 20 and model.converged_ and model.elbo_ == model.elbo_trace_[-1]
    # the shares summed out: a bound that is higher by tens of nats here, with 1000 draws' standard error below 1
    assert model.elbo_ > begun.elbo_ + 10


@pytest.mark.parametrize("prior", ["fixed", "hierarchical", "learned"])
def test_the_elbo_never_falls(prior):
    model = PoissonFactorization(**SMALL, prior=prior, evaluate_every=1, tol=0.0, max_iter=200, n_init=2).fit(COUNTS)
    counts = sp.csr_array(COUNTS.astype(float))
    rows = cavi.side(model.activation_prior_, *(np.array(part) for part in (
        model.activation_posterior_.shape, model.activation_posterior_.rate)))
    assert np.diff(model.elbo_trace_).min() >= -8 * EPS * size(counts, rows, model._columns)
    assert model.elbo_trace_[-1] > model.elbo_trace_[0] + 100


def test_it_warns_and_prints_as_asked(capsys):
    with pytest.warns(ConvergenceWarning, match=r"^Maximum number of iterations 7 reached\. Increase it to improve"):
        model = PoissonFactorization(**SMALL, max_iter=7, evaluate_every=5, n_init=1, verbose=1).fit(COUNTS)
    assert not model.converged_ and model.n_iter_ == 7
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"sweep {n}: ELBO {value:.10g}" for n, value in zip((0, 5, 7), model.elbo_trace_, strict=True)]


@pytest.mark.filterwarnings("error")
def test_no_warning_where_it_converges_or_need_not():
    assert PoissonFactorization(**SMALL).fit(COUNTS).converged_
    PoissonFactorization(**SMALL, max_iter=2, tol=0.0).fit(COUNTS)


# -- new rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["fixed", "hierarchical", "learned"])
def test_transform_infers_each_row(prior):
    model = PoissonFactorization(**SMALL, prior=prior, tol=1e-9, max_iter=3000)
    activations = model.fit_transform(COUNTS)
    np.testing.assert_array_equal(activations, model.transform(COUNTS))
    truth = cavi.infer_rows(sp.csr_array(COUNTS.astype(float)), model._columns, model.activation_prior_,
                            n_sweeps=1000, tol=1e-6)
    np.testing.assert_array_equal(activations, truth.mean)
    np.testing.assert_array_equal(model.transform(COUNTS[[5]]), activations[[5]])
    # where the fit has converged, most rows are where it left them; some have a second maximum
    near = np.abs(activations - model.activation_posterior_.mean).max(axis=1) <= 1e-2 * activations.sum(axis=1)
    assert near.mean() > 0.8
    np.testing.assert_array_equal(model.inverse_transform(activations), activations @ model.components_)
    sparse = model.inverse_transform(sp.csr_array(activations))
    np.testing.assert_allclose(sparse, activations @ model.components_, rtol=10 * EPS)


@pytest.mark.parametrize("prior", ["fixed", "hierarchical", "learned"])
def test_scores_are_importance_samplings(prior):
    model = PoissonFactorization(**SMALL, prior=prior, n_draws=50).fit(COUNTS[:30])
    found = model.marginal(COUNTS[30:])
    truth = predictive.log_marginal(sp.csr_array(COUNTS[30:].astype(float)), model.activation_prior_, model._columns,
                                    50, np.random.default_rng(model._seed), n_sweeps=20)
    np.testing.assert_array_equal([found.log_p, found.standard_error, found.khat],
                                  [truth.log_p, truth.standard_error, truth.khat])
    assert found.n_samples == 50
    np.testing.assert_array_equal(model.score_samples(COUNTS[30:]), found.log_p)
    np.testing.assert_array_equal(model.score_samples(COUNTS[[35]]), found.log_p[[5]])
    assert model.score(COUNTS[30:]) == found.log_p.sum()
    again, other = (PoissonFactorization(**SMALL | {"random_state": seed}, prior=prior, n_draws=50).fit(COUNTS[:30])
                    for seed in (0, 1))
    np.testing.assert_array_equal(again.score_samples(COUNTS[30:]), found.log_p)
    assert np.all(other.score_samples(COUNTS[30:]) != found.log_p)


# Moments of a count, rates theta.phi: E = sum_k E theta_k E phi_k, Var = E + sum_k (E theta_k^2 E phi_k^2 - squares);
# independent rows of 2000, columns by 4.5 standard errors, false-failure rate 1e-4. Components shared by all rows of a
# sample would leave their spread in the mean: twenty samples' means, of squares below 48 in all but 4e-4.
def test_samples_have_the_laws_moments():
    shape = np.array([[4.0, 9.0], [2.0, 3.0], [30.0, 1.0]])
    model = PoissonFactorization(2, prior="fixed", max_iter=1, tol=0.0).fit(np.ones((2, 3)))
    model.activation_prior_, model.component_posterior_ = Prior(2.0, 0.5), Gamma(shape, 4.0)
    squares = (model.component_posterior_.mean**2 + model.component_posterior_.variance) * (4.0**2 + 2.0 / 0.5**2)
    mean = (4 * model.component_posterior_.mean).sum(axis=1)
    variance = mean + (squares - (4 * model.component_posterior_.mean) ** 2).sum(axis=1)
    means = np.array([model.sample(100, random_state=seed).mean(axis=0) for seed in range(20)])
    assert np.all(np.abs(means.mean(axis=0) - mean) <= 4.5 * np.sqrt(variance / 2000))
    assert np.all(np.sum((means - mean) ** 2, axis=0) / (variance / 100) < 48)
    assert np.all(np.sum((means - mean) ** 2, axis=0) / (variance / 100) > 5)


# With phi = 1 a row's rate is T / r, T ~ Gamma(2 a, 1) and r ~ Gamma(s, s / b) its own: a beta prime law. Counts of 1e4
# and more are within some percent of it; Kolmogorov's distance exceeds 1.63 / sqrt(n) in one of a hundred samples.
def test_sampled_rows_have_rates_of_their_own():
    model = PoissonFactorization(2, max_iter=1, tol=0.0).fit(np.ones((2, 3)))
    model.activation_prior_ = Prior(1.5, 1e-4, 0.5)
    model.component_posterior_ = Gamma(np.full((1, 2), 1e12), 1e12)
    drawn = model.sample(2000, random_state=0)[:, 0]
    law = betaprime(3.0, 0.5, scale=0.5 / 1e-4)
    seen = np.mean(drawn[:, None] <= law.ppf(np.linspace(0.05, 0.95, 19)), axis=0)
    assert np.max(np.abs(seen - np.linspace(0.05, 0.95, 19))) <= 1.63 / np.sqrt(2000)


def test_samples_of_a_learned_prior_and_their_seeds():
    model = PoissonFactorization(**SMALL, prior="learned").fit(COUNTS)
    drawn = model.sample(500, random_state=0)
    assert drawn.shape == (500, 12) and drawn.dtype == np.int64
    np.testing.assert_array_equal(drawn, model.sample(500, random_state=0))
    assert np.any(drawn != model.sample(500, random_state=1))
    assert model.sample(random_state=np.random.RandomState(0)).shape == (1, 12)
    # total counts a row: the model's own, whose standard error is that of 500 rows
    expected = (model.activation_prior_.shape / model.activation_prior_.rate) @ model.components_.sum(axis=1)
    assert abs(drawn.sum(axis=1).mean() - expected) <= 4 * drawn.sum(axis=1).std() / np.sqrt(500)


# -- tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array, sp.coo_array,
                                       sp.coo_matrix])
def test_sparse_is_dense(container):
    dense, table = PoissonFactorization(**SMALL).fit(COUNTS), container(COUNTS)
    sparse = PoissonFactorization(**SMALL).fit(table)
    np.testing.assert_array_equal(sparse.components_, dense.components_)
    np.testing.assert_array_equal(sparse.transform(table), dense.transform(COUNTS))
    assert np.any(sparse.components_ != PoissonFactorization(**SMALL).fit(container(COUNTS + 1)).components_)


def test_duplicates_wide_indices_and_explicit_zeros_on_a_copy():
    parts = np.array([3.0, 2.0, 0.0, 4.0, 1.0]), np.array([2, 1, 0, 2, 0]), np.array([0, 3, 4, 5])
    for data, indices in (((3.0, 2.0, 0.0, 4.0, 1.0), (1, 1, 0, 2, 0)), ((3.0, 2.0, 0.0, 4.0, 1.0), (2, 1, 0, 2, 0))):
        table = sp.csr_matrix((np.array(data), np.array(indices), parts[2]), shape=(3, 3))
        table.indices, table.indptr = table.indices.astype(np.int64), table.indptr.astype(np.int64)
        before = [array.copy() for array in (table.data, table.indices, table.indptr)]
        dense = table.toarray()
        for array in (table.data, table.indices, table.indptr):
            array.flags.writeable = False
        found, truth = (PoissonFactorization(2, random_state=0).fit(X) for X in (table, dense))
        np.testing.assert_array_equal(found.components_, truth.components_)
        assert np.all(found._table(table, reset=False).data > 0)
        np.testing.assert_array_equal(found.transform(table), truth.transform(dense))
        assert found.marginal(table).log_p.tolist() == truth.marginal(dense).log_p.tolist()
        found.partial_fit(table)
        for array, was in zip((table.data, table.indices, table.indptr), before, strict=True):
            np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize("prior", ["fixed", "hierarchical", "learned"])
@pytest.mark.parametrize("table", [
    np.zeros((4, 3)), np.zeros((1, 1)), [[7]], [[3, 0, 2, 1]], [[3], [0], [2]], np.diag([5, 0, 9]),
    [[1e100, 0], [0, 0]], [[1e-300, 0.25], [0, 1e-5]], np.full((3, 3), 1e5), sp.csr_array((3, 2)),
], ids=lambda table: str(np.shape(table)))
def test_every_table_has_a_fit(table, prior):
    model = PoissonFactorization(4, prior=prior, random_state=0, n_draws=25, max_iter=60, tol=0.0)
    for fit in (model.fit, model.partial_fit):
        fit(table)
        assert np.isfinite(model.components_).all() and np.all(model.components_ > 0)
        assert np.isfinite(model.transform(table)).all() and np.isfinite(model.marginal(table).log_p).all()
    assert np.isfinite(model.fit(table).elbo_trace_).all()


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1)])
def test_very_wide_and_very_tall(shape):
    place = np.arange(0, 1_000_000, 50_000)
    table = sp.coo_array((np.arange(1.0, 21.0), (place * (shape[0] > 1), place * (shape[1] > 1))), shape=shape)
    model = PoissonFactorization(1, n_init=1, max_iter=1, tol=0.0).fit(table)
    assert np.isfinite(model.elbo_) and np.isfinite(model.components_).all()
    rates = model.inverse_transform(model.transform(table.tocsr()[:1]))
    assert np.isfinite(rates).all() and rates.shape == (1, shape[1])


def problems(n, seed):
    """Small tables and options across the decades, each fitted; what is not finite raises."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        m, D, K = rng.integers(1, [9, 9, 9])
        scale = 10 ** rng.uniform(-1, 6)
        table = np.floor(scale * rng.random((m, D)) * (rng.random((m, D)) < rng.random()))
        shapes, spread = np.exp(rng.uniform(np.log(1e-3), np.log(30), 2)), np.exp(rng.uniform(np.log(0.01), np.log(30)))
        rates = [None if rng.random() < 0.7 else float(np.exp(rng.normal(0, 4))) for _ in range(2)]
        model = PoissonFactorization(int(K), prior=("fixed", "hierarchical", "learned")[i % 3], spread=spread,
                                     activation_shape=shapes[0], component_shape=shapes[1], activation_rate=rates[0],
                                     component_rate=rates[1], n_init=1, max_iter=40, tol=0.0, evaluate_every=20,
                                     random_state=i).fit(table)
        trace = model.elbo_trace_
        assert np.isfinite(trace).all() and np.isfinite(model.components_).all(), (i, seed)
        if i % 4 == 0:
            assert np.isfinite(model.transform(table)).all(), (i, seed)
            assert np.isfinite(model.partial_fit(table).components_).all(), (i, seed)
        # of counts' terms each is at most x times some thousands, where a mean logarithm is -1 / shape; of the priors'
        # each at most shape times logarithm: in all 1e4 (total + 1) or so, and eight EPS of it
        assert np.diff(trace).min(initial=0) >= -8e4 * EPS * (table.sum() + np.abs(trace).max() + 1), (i, seed, trace)


def test_random_small_problems():
    problems(100, 91)


@pytest.mark.slow
def test_many_random_small_problems():
    problems(1000, 92)


@pytest.mark.parametrize("prior", ["hierarchical", "learned"])
def test_the_same_bits_on_any_number_of_threads(prior):
    rng = np.random.default_rng(93)
    table = sp.random_array((400, 300), density=0.15, rng=rng, data_sampler=lambda size: rng.integers(1, 9, size) * 1.0,
                            format="csr")
    fits = [PoissonFactorization(**SMALL, prior=prior, max_iter=22, tol=0.0, n_init=1, n_jobs=n).fit(table)
            for n in (1, 2, 3, -1, None)]
    assert fits[0].elbo_trace_.size > 2
    for part in (lambda fit: fit.components_, lambda fit: fit.elbo_trace_, lambda fit: fit.transform(table),
                 lambda fit: fit.partial_fit(table[:200]).components_):
        first, *others = (part(fit) for fit in fits)
        for other in others:
            np.testing.assert_array_equal(other, first)


@pytest.mark.slow
def test_memory_goes_with_the_non_zeros_and_the_factors():
    """200 000 x 100 000: 160 GB if it were made dense. A side's array of K = 3 is 4.8 MB or 2.4 MB."""
    rng = np.random.default_rng(94)
    table = sp.coo_array((1.0 + rng.poisson(2.0, 100_000), (rng.integers(0, 200_000, 100_000),
                                                            rng.integers(0, 100_000, 100_000))),
                         shape=(200_000, 100_000)).tocsr()
    model = PoissonFactorization(**SMALL, n_init=1, max_iter=1, tol=0.0, n_draws=2)
    model.fit(table[:50]).transform(table[:50])                                  # compiles, which is not counted
    tracemalloc.start()
    activations = model.fit(table).transform(table[:20_000])
    model.score_samples(table[:2])
    model.partial_fit(table[:20_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # shapes, rates and scaled gammas of both sides, old and new, 7.2 MB each: 43 MB; the posteriors, 14 MB; ten
    # temporaries of the rows' side, 48 MB; the table twice, 5 MB
    assert peak < 110e6
    assert np.isfinite(activations).all() and np.isfinite(model.components_).all()


# -- scikit-learn's company ----------------------------------------------------------------------------------


def test_grid_search_finds_the_number_of_components():
    rng = np.random.default_rng(95)
    counts = rng.poisson(rng.gamma(0.3, 6.0, (90, 2)) @ rng.gamma(0.3, 2.0, (2, 15)))
    search = GridSearchCV(PoissonFactorization(random_state=0, n_draws=50), {"n_components": [1, 2]}, cv=3).fit(counts)
    scores = search.cv_results_["mean_test_score"]
    # 30 rows a fold, each worse by nats with one component; standard errors are below 0.3 a row
    assert search.best_params_ == {"n_components": 2} and scores[1] > scores[0] + 30
    pipeline = make_pipeline(FunctionTransformer(np.floor), PoissonFactorization(**SMALL))
    np.testing.assert_array_equal(pipeline.fit_transform(COUNTS + 0.5),
                                  PoissonFactorization(**SMALL).fit_transform(COUNTS))


def test_pickle_and_clone():
    model = PoissonFactorization(**SMALL, n_draws=25).fit(COUNTS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(COUNTS), model.transform(COUNTS))
    np.testing.assert_array_equal(again.score_samples(COUNTS), model.score_samples(COUNTS))
    np.testing.assert_array_equal(again.partial_fit(COUNTS).components_, model.partial_fit(COUNTS).components_)
    assert clone(model).get_params() == model.get_params() and not hasattr(clone(model), "components_")


@pytest.mark.filterwarnings("error")
def test_data_frames_in_and_out():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(COUNTS, columns=[f"c{d}" for d in range(12)], index=np.arange(100, 140))
    model = PoissonFactorization(**SMALL).set_output(transform="pandas")
    out = model.fit_transform(frame)
    assert out.columns.tolist() == [f"poissonfactorization{k}" for k in range(3)] and out.index.equals(frame.index)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    np.testing.assert_array_equal(out, PoissonFactorization(**SMALL).fit_transform(COUNTS))
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"c0": "z"}))


def test_import_is_cheap():
    code = ("import sys, vi_ref.poisson_factorization as p; print('sklearn' in sys.modules, dir(p)); "
            "p.PoissonFactorization; print('sklearn' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["False ['PoissonFactorization']", "True"]
    with pytest.raises(AttributeError, match=r"has no attribute 'Factorization'"):
        _ = poisson_factorization.Factorization


# -- bad input -----------------------------------------------------------------------------------------------


def test_what_is_not_fitted_says_so():
    for call in ("transform", "inverse_transform", "score_samples", "score", "marginal"):
        with pytest.raises(NotFittedError, match=r"^This PoissonFactorization instance is not fitted yet"):
            getattr(PoissonFactorization(), call)(COUNTS)
    with pytest.raises(NotFittedError):
        PoissonFactorization().sample()


@pytest.mark.parametrize(("options", "table", "message"), [
    ({}, [[1, -1]], r"Negative values in data passed to PoissonFactorization \(input X\)"),
    ({}, sp.csr_matrix([[1, -1]]), r"Negative values in data passed to PoissonFactorization \(input X\)"),
    ({}, [[1, np.nan]], r"Input X contains NaN"),
    ({}, [[1, np.inf]], r"Input X contains infinity"),
    ({}, [[1, 1e101]], r"X must be at most 1e100 in total, got 1e\+101$"),
    ({}, [1, 2], r"Expected 2D array, got 1D array instead"),
    ({"n_components": 0}, [[1, 2]], r"n_components must be a whole number of at least 1, got 0$"),
    ({"method": "mcmc"}, [[1, 2]], r"method must be one of cavi, gradient, got 'mcmc'$"),
    ({"prior": "flat"}, [[1, 2]], r"prior must be one of fixed, hierarchical, learned, got 'flat'$"),
    ({"activation_shape": 0}, [[1, 2]], r"activation_shape must be in \(0, inf\), got 0$"),
    ({"component_shape": np.inf}, [[1, 2]], r"component_shape must be in \(0, inf\), got inf$"),
    ({"spread": -1}, [[1, 2]], r"spread must be in \(0, inf\), got -1$"),
    ({"activation_rate": 0.0}, [[1, 2]], r"activation_rate, where it is not None, must be in \(0, inf\), got 0.0$"),
    ({"component_rate": "1"}, [[1, 2]], r"component_rate, where it is not None, must be in \(0, inf\), got '1'$"),
    ({"total_samples": 0}, [[1, 2]], r"total_samples, where it is not None, must be in \(0, inf\), got 0$"),
    ({"max_iter": 0}, [[1, 2]], r"max_iter must be a whole number of at least 1, got 0$"),
    ({"evaluate_every": 0}, [[1, 2]], r"evaluate_every must be a whole number of at least 1, got 0$"),
    ({"n_init": 0}, [[1, 2]], r"n_init must be a whole number of at least 1, got 0$"),
    ({"n_samples": 0}, [[1, 2]], r"n_samples must be a whole number of at least 1, got 0$"),
    ({"n_steps": 2.5}, [[1, 2]], r"n_steps must be a whole number of at least 1, got 2.5$"),
    ({"n_draws": 1}, [[1, 2]], r"n_draws must be a whole number of at least 2, got 1$"),
    ({"tol": -1e-3}, [[1, 2]], r"tol must be in \[0, inf\), got -0.001$"),
    ({"learning_decay": 1.1}, [[1, 2]], r"learning_decay must be in \[0, 1\], got 1.1$"),
    ({"learning_offset": -1}, [[1, 2]], r"learning_offset must be in \[0, inf\), got -1$"),
    ({"n_jobs": 0}, [[1, 2]], r"n_jobs must be None or a whole number other than 0, got 0$"),
    ({"n_jobs": 1.5}, [[1, 2]], r"n_jobs must be None or a whole number other than 0, got 1.5$"),
    ({"random_state": "x"}, [[1, 2]], r"'x' cannot be used to seed a numpy.random"),
])
def test_bad_input(options, table, message):
    for call in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=f"^{message}"):
            getattr(PoissonFactorization(**options), call)(table)


def test_bad_input_to_a_fitted_model():
    model = PoissonFactorization(**SMALL).fit(COUNTS)
    for call in (model.partial_fit, model.transform, model.score_samples):
        with pytest.raises(ValueError, match=r"^X has 2 features, but PoissonFactorization is expecting 12 features"):
            call([[1, 2]])
        with pytest.raises(ValueError, match=r"^Negative values in data"):
            call(-1 * np.ones((1, 12)))
    with pytest.raises(ValueError, match=r"^X must have a column for each of 3 components, got 2$"):
        model.inverse_transform([[1, 2]])
    with pytest.raises(ValueError, match=r"^Negative values in data passed to PoissonFactorization.inverse_transform"):
        model.inverse_transform([[1, 2, -3]])
    with pytest.raises(ValueError, match=r"^n_samples must be a whole number of at least 1, got 0$"):
        model.sample(0)
    with pytest.raises(ValueError, match=r"^n_components must be 3 as before for the fit to go on, got 2$"):
        model.set_params(n_components=2).partial_fit(COUNTS)
    model.component_posterior_ = Gamma(np.full((1, 3), 1e30), 1.0)
    with pytest.raises(ValueError, match=r"^sampled rates must be at most 9e18, for counts to be 64-bit integers, got"):
        model.sample(random_state=0)

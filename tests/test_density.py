"""The density estimator: scikit-learn's own checks, streams equal to one pass, sparse equal to dense, exact scores."""

import pickle
import tracemalloc

import mpmath as mp
import numpy as np
import pytest
import scipy.sparse as sp
from oracles import EPS, exactly
from scipy import stats
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from vi_ref import Gamma, PoissonGamma, empirical_bayes, exact_elbo, fit
from vi_ref.density import PoissonGammaDensity
from vi_ref.negative_binomial import log_prob

COUNTS = np.random.default_rng(40).poisson(np.random.default_rng(41).gamma(0.5, 8.0, 6), (30, 6))
PRIOR = {"prior_shape": [0.5, 2.0, 30.0, 1.0, 1.0, 4.0], "prior_rate": 0.7}


@parametrize_with_checks([
    PoissonGammaDensity(),
    PoissonGammaDensity(method="variational", n_samples=4, n_steps=20),
    PoissonGammaDensity(empirical_bayes="strength"),
])
@pytest.mark.filterwarnings("ignore")                    # scikit-learn skips its array-API check with a warning
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
def test_with_a_pooled_prior_only_tables_without_one_fail_scikit_learns_checks():
    """Its tables are mostly uniform numbers, whose totals spread less than Poisson counts."""
    failed = [check for check in check_estimator(PoissonGammaDensity(empirical_bayes="pooled"), on_fail=None,
                                                 on_skip=None) if check["status"] == "failed"]
    for check in failed:
        error, messages = check["exception"], []
        while error is not None:
            messages.append(str(error))
            error = error.__cause__ or error.__context__
        assert "there is no best prior for these totals" in messages[-1], check["check_name"]
    assert 0 < len(failed) < 25


def test_posterior_and_evidence_are_the_models():
    density, model = PoissonGammaDensity(**PRIOR).fit(COUNTS), PoissonGamma(Gamma(*PRIOR.values()), COUNTS)
    for gamma, truth in ((density.prior_, model.prior), (density.posterior_, model.posterior),
                         (density.q_, model.posterior)):
        assert isinstance(gamma, Gamma)
        np.testing.assert_array_equal([gamma.shape, gamma.rate], [truth.shape, truth.rate])
    assert density.log_evidence_ == density.elbo_ == model.log_evidence
    assert (density.n_observations_, density.n_features_in_, density.n_iter_) == (30, 6, 1)
    np.testing.assert_array_equal(density.totals_, COUNTS.sum(axis=0))
    for found, truth in zip(density.credible_interval(0.8), model.posterior.interval(0.8), strict=True):
        np.testing.assert_array_equal(found, truth)


def test_variational_is_fit_from_the_prior():
    density = PoissonGammaDensity(**PRIOR, method="variational", n_samples=16, n_steps=300, random_state=3).fit(COUNTS)
    model, rng = PoissonGamma(Gamma(*PRIOR.values()), COUNTS), np.random.default_rng(
        np.random.RandomState(3).randint(0, 2**31 - 1, size=4))
    q = fit(model, model.prior, n_samples=16, n_steps=300, rng=rng).q
    np.testing.assert_array_equal([density.q_.shape, density.q_.rate], [q.shape, q.rate])
    assert density.elbo_ == exact_elbo.value(model, q) and density.log_evidence_ == model.log_evidence
    assert density.n_iter_ == 300
    # the gap is KL(q || posterior): seen 0.02 after 300 steps of 16 draws, where the prior's is 1347
    gap = density.log_evidence_ - density.elbo_
    assert exact_elbo.rounding(model, q) < gap < 0.1 and q.kl(model.posterior).sum() < 0.1
    again = clone(density).fit(COUNTS)
    np.testing.assert_array_equal(again.q_.shape, q.shape)


# q is the posterior to 1e-10 after `fit`'s default steps, which moves a row's score by less than 1e-7.
def test_variational_scores_as_exact_does():
    scores = [PoissonGammaDensity(**PRIOR, method=method, random_state=0).fit(COUNTS).score_samples(COUNTS)
              for method in ("exact", "variational")]
    np.testing.assert_allclose(*scores, rtol=1e-9)
    assert np.any(scores[0] != scores[1])


@pytest.mark.parametrize("options", [PRIOR, {"empirical_bayes": "pooled"}, {"empirical_bayes": "strength"},
                                     {"method": "variational", "n_samples": 4, "n_steps": 50, "random_state": 1}])
@pytest.mark.parametrize("fraction", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csc_matrix])
def test_any_batches_are_one_pass(options, fraction, container):
    table = np.random.default_rng(8).gamma(np.geomspace(0.2, 20, 6), 2.0, (400, 6))
    table = table if fraction else np.round(table)
    whole = PoissonGammaDensity(**options).fit(table)
    for cuts in ([200], [1, 2, 3, 399], np.arange(10, 400, 10)):
        stream = PoissonGammaDensity(**options)
        for batch in np.split(table, cuts):
            stream.partial_fit(container(batch))
        assert stream.n_observations_ == whole.n_observations_ == 400
        # of at most 401 additions of non-negative numbers, half an EPS each: 4.5e-14; what follows from them keeps it
        np.testing.assert_allclose(stream.totals_, whole.totals_, rtol=0 if not fraction else 1e-12)
        for name in ("prior_", "posterior_"):
            for part in ("shape", "rate"):
                np.testing.assert_allclose(getattr(getattr(stream, name), part), getattr(getattr(whole, name), part),
                                           rtol=1e-12)
        for name in ("log_evidence_", "elbo_"):
            assert abs(getattr(stream, name) / getattr(whole, name) - 1) <= 1e-12
        np.testing.assert_allclose(stream.score_samples(table), whole.score_samples(table), rtol=1e-11)


# Equal fractions round the same way row after row: a million tenths added one by one are off by 1.3e-11, a thousand
# by 60 EPS. In blocks of 1024 rows at most (1024 + 977) / 2 EPS are lost, seen 1.3e-14; between batches the rounding
# is kept, and what is left is that of the last addition.
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_roundings_do_not_pile_up(container):
    whole = PoissonGammaDensity().fit(container(np.full((1_000_000, 2), 0.1)))
    assert abs(exactly(whole.totals_[0]) / (10**6 * exactly(0.1)) - 1) <= 1000 * EPS
    stream, row = PoissonGammaDensity(), container([[0.1, 0.1]])
    for _ in range(1000):
        stream.partial_fit(row)
    assert abs(exactly(stream.totals_[0]) / (1000 * exactly(0.1)) - 1) <= EPS


def test_fit_forgets_and_partial_fit_does_not():
    density = PoissonGammaDensity().fit(COUNTS[:10]).partial_fit(COUNTS[10:])
    assert density.n_observations_ == 30 and density.fit(COUNTS[:5]).n_observations_ == 5


def test_a_partial_fit_that_raises_changes_nothing():
    density = PoissonGammaDensity(empirical_bayes="pooled").fit(COUNTS)
    before = pickle.dumps(density)
    with pytest.raises(ValueError, match="no best prior"):
        density.partial_fit(10_000 - COUNTS.sum(axis=0)[None])                   # all totals are then 10 000
    assert pickle.dumps(density) == before


# The evidence of the table by the chain of its predictions: each row scored by a density that has seen those before.
def test_scores_chain_to_the_evidence():
    density, chain = PoissonGammaDensity(**PRIOR).partial_fit(COUNTS[:1]), 0.0
    for row in COUNTS[1:]:
        chain += density.score(row[None])
        density.partial_fit(row[None])
    first = PoissonGammaDensity(**PRIOR).fit(COUNTS[:1]).log_evidence_
    # the evidence adds up terms of up to A log B and log A!, a few EPS of each, from log gammas below 5000
    assert abs(density.log_evidence_ - first - chain) <= 30 * EPS * gammaln(density.posterior_.shape).sum()


# Each column of a row as in tests/test_negative_binomial.py: 6 EPS of its sizes, and the sum over six.
@pytest.mark.parametrize("scale", [1, 1000])
def test_score_samples_against_mpmath(scale):
    density = PoissonGammaDensity(**PRIOR).fit(scale * COUNTS)
    rows = scale * COUNTS[:5] + np.array([[0.0], [0.5], [1.0], [0.0], [3.25]])
    with mp.workdps(50):
        for row, found in zip(rows, density.score_samples(rows), strict=True):
            truth, size = mp.mpf(0), 0
            for x, A, B in zip(*(map(exactly, v) for v in (row, density.q_.shape, density.q_.rate)), strict=True):
                part = (mp.loggamma(A + x) - mp.loggamma(A) - mp.loggamma(x + 1)
                        - A * mp.log1p(1 / B) - x * mp.log1p(B))
                truth, size = truth + part, size + 1 + abs(part) + abs(x - (A + x) / (B + 1))
            assert abs(exactly(found) - truth) <= 10 * EPS * size
    assert density.score(rows) == density.score_samples(rows).sum()


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array, sp.coo_array])
def test_sparse_is_dense(container):
    dense = PoissonGammaDensity(**PRIOR).fit(COUNTS)
    table = container(COUNTS)
    sparse = PoissonGammaDensity(**PRIOR).fit(table)
    np.testing.assert_array_equal(sparse.totals_, dense.totals_)
    assert abs(sparse.log_evidence_ / dense.log_evidence_ - 1) <= 1e-13
    blank = np.abs(stats.nbinom.logpmf(0, dense.q_.shape, dense.q_.rate / (dense.q_.rate + 1))).sum()
    found, truth = sparse.score_samples(table), dense.score_samples(COUNTS)
    assert np.all(np.abs(found - truth) <= 8 * EPS * (blank + np.abs(truth)))


def test_sparse_with_duplicates_wide_indices_and_explicit_zeros():
    entries, rows, columns = [3.0, 2.0, 0.0, 4.0, 1.0], [0, 0, 1, 1, 2], [1, 1, 0, 2, 0]
    table = sp.csr_matrix((np.array(entries), np.array(columns, dtype=np.int64), np.array([0, 2, 4, 5])), shape=(3, 3))
    table.indices, table.indptr = table.indices.astype(np.int64), table.indptr.astype(np.int64)
    dense = np.array([[0, 5, 0], [0, 0, 4], [1, 0, 0]])
    density, truth = PoissonGammaDensity().fit(table), PoissonGammaDensity().fit(dense)
    assert table.nnz == 5 and rows == [0, 0, 1, 1, 2]                            # the caller's table is as it was
    np.testing.assert_array_equal(density.totals_, [1, 5, 4])
    # twelve numbers below 10
    assert abs(density.log_evidence_ - truth.log_evidence_) <= 100 * EPS
    np.testing.assert_allclose(density.score_samples(table), truth.score_samples(dense), rtol=1e-14)


def test_a_large_sparse_table_is_not_made_dense():
    """20 000 x 50 000: 8 GB if it were; a hundred thousand entries hold 1.6 MB."""
    rng = np.random.default_rng(9)
    entries = 1.0 + rng.poisson(2.0, 100_000)
    table = sp.coo_array((entries, (rng.integers(0, 20_000, 100_000), rng.integers(0, 50_000, 100_000))),
                         shape=(20_000, 50_000)).tocsr()
    PoissonGammaDensity().fit(table[:5]).score_samples(table[:5])                # compiles, which is not counted
    tracemalloc.start()
    for options in ({"prior_shape": 1e-4}, {"empirical_bayes": "pooled"}):
        density = PoissonGammaDensity(**options).fit(table)
        scores = density.score_samples(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    few = np.array([0, 7, 19_999])
    np.testing.assert_allclose(scores[few], density.score_samples(table[few].toarray()), rtol=1e-12)
    assert scores.shape == (20_000,) and np.isfinite(scores).all()


def test_empirical_bayes_is_that_of_the_totals():
    totals = COUNTS.sum(axis=0)
    pooled = PoissonGammaDensity(empirical_bayes="pooled").fit(COUNTS).prior_
    truth = empirical_bayes.pooled(30, totals)
    assert set(pooled.shape) == {float(truth.shape)} and set(pooled.rate) == {float(truth.rate)}
    strength = PoissonGammaDensity(**PRIOR, empirical_bayes="strength").fit(COUNTS)
    picture = np.array(PRIOR["prior_shape"]) / 0.7
    c = empirical_bayes.strength(30, totals, picture)
    np.testing.assert_array_equal([strength.prior_.shape, strength.prior_.rate], [c * picture, [c] * 6])
    # better for the table, too, than the prior that was given
    assert strength.log_evidence_ > PoissonGammaDensity(**PRIOR).fit(COUNTS).log_evidence_ + 1


# Kolmogorov's distance exceeds 1.63 / sqrt(n) = 0.012 in one of a hundred samples, of a discrete law in fewer; three
# columns at one seed: a false failure in 3 %. Rates shared by all rows would leave 0.1 and more.
def test_samples_are_drawn_from_what_is_scored():
    density = PoissonGammaDensity([0.5, 2.0, 30.0], 0.7).fit([[0, 5, 41], [3, 2, 40]])
    drawn = density.sample(20_000, random_state=0)
    assert drawn.shape == (20_000, 3) and drawn.dtype.kind == "i"
    k = np.arange(200)
    for d, (shape, rate) in enumerate(zip(density.q_.shape, density.q_.rate, strict=True)):
        seen = np.cumsum(np.bincount(drawn[:, d], minlength=200)[:200]) / 20_000
        assert np.max(np.abs(seen - np.cumsum(np.exp(log_prob(k, shape, rate))))) <= 1.63 / np.sqrt(20_000)
    np.testing.assert_array_equal(drawn, density.sample(20_000, random_state=0))
    assert np.any(drawn != density.sample(20_000, random_state=1))
    assert density.sample(random_state=np.random.RandomState(0)).shape == (1, 3)


# Means of 2000 rows that each have rates of their own: with shared rates their variance would stay at Var theta.
def test_sampled_rows_have_rates_of_their_own():
    density = PoissonGammaDensity([0.5], 0.01).fit([[4]])
    mean, variance = density.q_.mean[0], density.q_.variance[0] + density.q_.mean[0]       # of one row's count
    means = np.array([density.sample(2000, random_state=seed).mean() for seed in range(20)])
    # of 20 independent normal deviates the sum of squares is below 48 in all but 4e-4; with shared rates it is 20 000
    assert np.sum((means - mean) ** 2) / (variance / 2000) < 48


def test_cross_validation_pipeline_and_grid_search():
    counts = np.random.default_rng(11).poisson(np.random.default_rng(12).gamma(0.3, 20.0, 40), (12, 40))
    scores = cross_val_score(PoissonGammaDensity(), counts, cv=3)
    by_hand = [PoissonGammaDensity().fit(np.delete(counts, test, axis=0)).score(counts[test])
               for test in np.split(np.arange(12), 3)]
    np.testing.assert_array_equal(scores, by_hand)
    search = GridSearchCV(PoissonGammaDensity(), {"prior_rate": [0.01, 0.1, 1.0, 100.0],
                                                  "empirical_bayes": [None, "pooled"]}, cv=3).fit(counts)
    means = dict(zip(map(str, search.cv_results_["params"]), search.cv_results_["mean_test_score"], strict=True))
    assert np.isfinite(list(means.values())).all() and len(set(means.values())) == 5      # pooled ignores the rate
    assert search.best_params_["empirical_bayes"] == "pooled"                             # the data's own law
    pipeline = make_pipeline(FunctionTransformer(np.floor), PoissonGammaDensity(**PRIOR))
    assert pipeline.fit(COUNTS + 0.5).score(COUNTS) == PoissonGammaDensity(**PRIOR).fit(COUNTS).score(COUNTS)
    scaled = make_pipeline(MaxAbsScaler(), PoissonGammaDensity()).fit(sp.csr_matrix(COUNTS))
    assert np.isfinite(scaled.score(sp.csr_matrix(COUNTS)))


def test_pickle_and_clone():
    density = PoissonGammaDensity(**PRIOR).fit(COUNTS)
    again = pickle.loads(pickle.dumps(density))
    np.testing.assert_array_equal(again.score_samples(COUNTS), density.score_samples(COUNTS))
    again.partial_fit(COUNTS)
    assert again.n_observations_ == 60 and density.n_observations_ == 30
    assert clone(density).get_params() == density.get_params() and not hasattr(clone(density), "q_")


@pytest.mark.filterwarnings("error")
def test_columns_of_a_data_frame_keep_their_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(COUNTS, columns=list("abcdef"))
    density = PoissonGammaDensity().fit(frame).partial_fit(frame)
    assert density.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(density.score_samples(frame), PoissonGammaDensity().fit(
        np.vstack([COUNTS, COUNTS])).score_samples(COUNTS))
    with pytest.raises(ValueError, match="feature names"):
        density.score_samples(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("call", ["score_samples", "score"])
def test_what_is_not_fitted_says_so(call):
    with pytest.raises(NotFittedError, match=r"^This PoissonGammaDensity instance is not fitted yet"):
        getattr(PoissonGammaDensity(), call)(COUNTS)
    for other in (lambda d: d.sample(), lambda d: d.credible_interval()):
        with pytest.raises(NotFittedError):
            other(PoissonGammaDensity())


@pytest.mark.parametrize(("options", "table", "message"), [
    ({}, [[1, -1]], r"Negative values in data passed to PoissonGammaDensity \(input X\)"),
    ({}, sp.csr_matrix([[1, -1]]), r"Negative values in data passed to PoissonGammaDensity \(input X\)"),
    ({}, [[1, np.nan]], r"Input X contains NaN"),
    ({}, [[1, np.inf]], r"Input X contains infinity"),
    ({}, [[1, 1e101]], r"X must be at most 1e100, got 1e\+101$"),
    ({}, [1, 2], r"Expected 2D array, got 1D array instead"),
    ({"method": "mcmc"}, [[1, 2]], r"method must be one of exact, variational, got 'mcmc'$"),
    ({"empirical_bayes": "per_column"}, [[1, 2]], r"empirical_bayes must be None, 'pooled' or 'strength', got 'per_colu"
     r"mn': one total a column cannot tell a prior's mean from its strength; .* grows with the shape for ever"),
    ({"empirical_bayes": "all"}, [[1, 2]], r"empirical_bayes, where .* must be one of pooled, strength, got 'all'$"),
    ({"empirical_bayes": "None"}, [[1, 2]], r"empirical_bayes, where .* must be one of pooled, strength, got 'None'$"),
    ({"empirical_bayes": "pooled"}, [[5, 6]], r"there is no best prior for these totals \(n_samples = 1, n_feat"),
    ({"prior_shape": 0}, [[1, 2]], r"prior_shape must be positive and finite, got 0.0$"),
    ({"prior_rate": [1, -2]}, [[1, 2]], r"prior_rate must be positive and finite, got -2.0 at index 1$"),
    ({"prior_rate": [1, 2, 3]}, [[1, 2]], r"prior_rate must be a number or one .* of 2 columns, got shape \(3,\)$"),
    ({"prior_shape": [[1, 2]]}, [[1, 2]], r"prior_shape must be a number or one .* got shape \(1, 2\)$"),
    ({"prior_shape": "1"}, [[1, 2]], r"prior_shape must be an array of real numbers, got '1'$"),
    ({"n_samples": 0}, [[1, 2]], r"n_samples must be a whole number of at least 1, got 0$"),
    ({"n_steps": 2.5}, [[1, 2]], r"n_steps must be a whole number of at least 1, got 2.5$"),
    ({"method": "variational", "random_state": "x"}, [[1, 2]], r"'x' cannot be used to seed a numpy.random"),
])
def test_bad_input(options, table, message):
    for call in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=f"^{message}"):
            getattr(PoissonGammaDensity(**options), call)(table)


def test_bad_input_to_a_fitted_density():
    density = PoissonGammaDensity().fit(COUNTS)
    for call in (density.partial_fit, density.score_samples):
        with pytest.raises(ValueError, match=r"^X has 2 features, but PoissonGammaDensity is expecting 6 features"):
            call([[1, 2]])
        with pytest.raises(ValueError, match=r"^Negative values in data"):
            call(-1 * np.ones((1, 6)))
    with pytest.raises(ValueError, match=r"^level must be in \(0, 1\), got 1$"):
        density.credible_interval(1)
    with pytest.raises(ValueError, match=r"^n_samples must be a whole number of at least 1, got 0$"):
        density.sample(0)
    with pytest.raises(ValueError, match=r"^sampled rates must be at most 9e18, .* got .*e\+(19|20) at index \(0, 1\)"):
        PoissonGammaDensity().fit([[1, 1e20]]).sample(random_state=0)

"""Coordinate ascent against dense NumPy: proportions, updates, the ELBO and its maximum, on any threads."""

from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS, exactly
from scipy.sparse import csr_array
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import poisson

from vi_ref import Gamma
from vi_ref.poisson_factorization import cavi, sweep
from vi_ref.poisson_factorization.cavi import Prior


def problem(seed=0, m=7, D=5, K=3, shape=0.3, spread=None, largest=9):
    """A table with an empty row and column, and two sides at random q."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, largest, (m, D)))
    counts[1], counts[:, 2] = 0, 0
    sides = [cavi.side(Prior(shape * (1 + part), 0.7 + part, spread),
                       np.exp(rng.uniform(np.log(shape), np.log(shape + 9), (n, K))), rng.gamma(3.0, 0.5, (n, K)))
             for part, n in enumerate((m, D))]
    return csr_array(counts.astype(float)), *sides


def proportions(rows, columns):
    """Log sums over the causes, (m, D), and proportions, (m, D, K), all in logarithms."""
    mean_logs = [digamma(side.table.shape) - np.log(side.table.rate) for side in (rows, columns)]
    logs = mean_logs[0][:, None] + mean_logs[1]
    sums = logsumexp(logs, axis=2)
    return sums, np.exp(logs - sums[:, :, None])


def terms(counts, rows, columns):
    """All terms of the ELBO with the shares written out, from E[log p] and -E[log q] as the textbook has them."""
    x, (_, r) = counts.toarray(), proportions(rows, columns)
    sides = rows, columns
    log_theta, log_phi = (digamma(side.table.shape) - np.log(side.table.rate) for side in sides)
    shares = x[:, :, None] * r
    with np.errstate(divide="ignore", invalid="ignore"):
        to_shares = np.where(shares > 0, shares * (log_theta[:, None] + log_phi - np.log(r)), 0.0)
    yield from (to_shares, -gammaln(x + 1), -rows.mean @ columns.mean.T)
    for side, mean_log in zip(sides, (log_theta, log_phi), strict=True):
        (shape, rate), a, s = side.table[:2], side.prior.shape, side.prior.spread
        b, log_b = side.prior.rate, np.log(side.prior.rate)
        if s is not None:
            alpha, beta = side.row_rate.shape, side.row_rate.rate
            b, log_b = (alpha / beta)[:, None], (digamma(alpha) - np.log(beta))[:, None]
            t = s / side.prior.rate
            yield from (s * np.log(t) - gammaln(s) + (s - 1) * log_b[:, 0], -t * b[:, 0])
            yield from (alpha - np.log(beta), gammaln(alpha), (1 - alpha) * digamma(alpha))
        yield from (a * log_b - gammaln(a) + (a - 1) * mean_log, -b * side.mean)
        yield from (shape - np.log(rate), gammaln(shape), (1 - shape) * digamma(shape))


def size(counts, rows, columns):
    """Of the terms that the ELBO is the sum of."""
    return sum(np.abs(term).sum() for term in terms(counts, rows, columns))


# A digamma and a logarithm, each good to an EPS or two of its size, are in the exponent of a proportion. One below
# 1e-158 may be lost, as its product is below 1e-308 where the sum is above 1e-150.
@pytest.mark.parametrize(("shape", "largest"), [(0.3, 9), (1e-3, 9), (1e-5, 9), (20.0, 1e6)])
def test_expected_counts_are_the_proportions_dense(shape, largest):
    for seed in range(5):
        counts, rows, columns = problem(seed, shape=shape, largest=largest)
        sums, r = proportions(rows, columns)
        x = counts.toarray()
        exponent = sum(np.abs(digamma(side.table.shape)).max() + 5 for side in (rows, columns))
        for table, sides, shares in ((counts, (rows, columns), x[:, :, None] * r),
                                     (counts.T.tocsr(), (columns, rows), (x[:, :, None] * r).swapaxes(0, 1))):
            found = sweep.expected_counts(table, *(side.table for side in sides))
            few = 4 * EPS * exponent * shares.sum(axis=1) + 1e-157 * table.sum(axis=1)[:, None]
            assert np.all(np.abs(found - shares.sum(axis=1)) <= few)
            np.testing.assert_allclose(found.sum(axis=1), table.sum(axis=1), rtol=10 * EPS)
        found = sweep.log_sums(counts, rows.table, columns.table)
        factorials = gammaln(x + 1).sum(axis=1)                # at 1e6 log x! has 14 times the size of x: two eps of it
        few = 4 * EPS * (exponent * x.sum(axis=1) + factorials)
        assert np.all(np.abs(found - (x * sums).sum(axis=1) + factorials) <= few)


def test_small_shapes_do_need_logarithms():
    """Some sums of scaled products in the test above, and one that is 0."""
    problems = [problem(seed, shape=1e-5) for seed in range(5)]
    sums = np.concatenate([(rows.table.scaled @ columns.table.scaled.T)[counts.nonzero()]
                           for counts, rows, columns in problems])
    assert np.sum(sums < sweep._LEAST) >= 2 and np.sum(sums > sweep._LEAST) >= 20
    rows, columns = (cavi.side(Prior(1.0, 1.0), np.array(shape), np.ones((1, 2)))
                     for shape in ([[1e-3, 1.0]], [[1.0, 1e-3]]))
    assert (rows.table.scaled @ columns.table.scaled.T).item() == 0
    np.testing.assert_array_equal(sweep.expected_counts(csr_array([[6.0]]), rows.table, columns.table), [[3, 3]])


@pytest.mark.parametrize("n_nonzeros", [1, 63, 64, 65, 300])
def test_rows_longer_than_a_block(n_nonzeros):
    rng = np.random.default_rng(1)
    counts = csr_array(np.pad(1.0 + rng.poisson(2.0, (1, n_nonzeros)), ((0, 0), (3, 0))))
    rows, columns = (cavi.side(Prior(1.0, 1.0), 1e-3 + rng.gamma(1.0, 1.0, (n, 4)), np.ones((n, 4)))
                     for n in counts.shape)
    shares = (counts.toarray()[:, :, None] * proportions(rows, columns)[1]).sum(axis=1)
    np.testing.assert_allclose(sweep.expected_counts(counts, rows.table, columns.table), shares, rtol=1e-12)


@pytest.mark.parametrize("spread", [None, 0.3, 2.0])
@pytest.mark.parametrize("shape", [0.3, 1e-3])
def test_update_is_the_textbooks(spread, shape):
    counts, rows, columns = problem(shape=shape, spread=spread)
    r, x = proportions(rows, columns)[1], counts.toarray()
    for mine, other, table, shares in ((rows, columns, counts, np.einsum("id,idk->ik", x, r)),
                                       (columns, rows, counts.T.tocsr(), np.einsum("id,idk->dk", x, r))):
        found = cavi.update(table, mine, other)
        own = mine.prior.rate if spread is None else mine.row_rate.mean[:, None]
        np.testing.assert_allclose(found.table.shape, mine.prior.shape + shares, rtol=1e-12)
        np.testing.assert_allclose(found.table.rate, own + np.zeros_like(shares) + other.mean.sum(axis=0),
                                   rtol=10 * EPS)
        np.testing.assert_allclose(found.table.total, found.mean.sum(axis=1), rtol=10 * EPS)
        if spread is None:
            assert found.row_rate is None
        else:
            np.testing.assert_allclose(found.row_rate.shape, spread + 3 * mine.prior.shape, rtol=10 * EPS)
            np.testing.assert_allclose(found.row_rate.rate, spread / mine.prior.rate + found.mean.sum(axis=1),
                                       rtol=10 * EPS)


# Of each term a few roundings.
@pytest.mark.parametrize("spread", [None, 0.3, 2.0])
@pytest.mark.parametrize("shape", [0.3, 1e-3, 20.0])
def test_elbo_is_the_sum_of_its_terms(spread, shape):
    for seed in range(5):
        args = problem(seed, shape=shape, spread=spread)
        assert abs(cavi.elbo(*args) - sum(term.sum() for term in terms(*args))) <= 8 * EPS * size(*args)


def test_elbo_is_the_log_likelihood_where_nothing_is_unknown():
    """All gammas of shape 1e6: one cause's bound, less the divergences, is then Poisson's log probability."""
    x = np.array([[3, 0, 7], [1, 2, 0]])
    theta, phi = np.array([[2.0], [0.5]]), np.array([[1.0], [1.5], [3.0]])
    rows, columns = (cavi.side(Prior(1e6, 1e6), np.full_like(mean, 1e6), 1e6 / mean) for mean in (theta, phi))
    found = cavi.elbo(csr_array(x.astype(float)), rows, columns) + cavi.divergence(rows) + cavi.divergence(columns)
    # E[log theta] is below log E[theta] by 1 / (2 shape), in each of 13 counts and for phi too; divergences add up
    # ten terms of 1.4e7, as accurate as these
    assert abs(found - (poisson.logpmf(x, theta @ phi.T).sum() - 13e-6)) <= 10 * EPS * 1.4e7


def test_divergence_is_gammas():
    _, rows, _ = problem(shape=0.05)
    prior = Gamma(np.full((7, 3), rows.prior.shape), rows.prior.rate)
    # the textbook's terms are a few units here
    np.testing.assert_allclose(cavi.divergence(rows), rows.q.kl(prior).sum(), rtol=100 * EPS)


@pytest.mark.parametrize("options", [{}, {"spread": 0.5}, {"shape": 1e-3}, {"shape": 1e-3, "spread": 0.1},
                                     {"largest": 1e6}])
@pytest.mark.parametrize("learned", [False, True])
def test_every_update_raises_the_elbo(options, learned):
    for seed in range(5):
        counts, rows, columns = problem(seed, m=12, D=9, **options)
        rows = replace(rows, prior=rows.prior._replace(learned=learned and "spread" not in options))
        before = cavi.elbo(counts, rows, columns)
        for _ in range(15):
            rows = cavi.update(counts, rows, columns)
            middle = cavi.elbo(counts, rows, columns)
            columns = cavi.update(counts.T.tocsr(), columns, rows)
            after = cavi.elbo(counts, rows, columns)
            few = 8 * EPS * size_with_prior(counts, rows, columns)
            assert middle >= before - few and after >= middle - few
            before = after


def size_with_prior(counts, rows, columns):
    return size(counts, replace(rows, prior=rows.prior._replace(learned=False)), columns)


# A maximum: any of its gammas moved by 1 % loses, by about 1e-4 / 2 times shape or trigamma; none of those is below
# 1e-3 here, against a rounding of 1e-12.
@pytest.mark.parametrize("spread", [None, 0.5])
def test_an_update_is_the_best_of_its_block(spread):
    counts, rows, columns = problem(spread=spread)
    best = cavi.update(counts, rows, columns)
    for _ in range(200):                               # so often that the own rates and the shares agree with it
        best = cavi.update(counts, best, columns)
    top = cavi.elbo(counts, best, columns)
    for part in ("shape", "rate"):
        for place in np.ndindex(best.table.shape.shape):
            for factor in (0.99, 1.01):
                moved = {"shape": best.table.shape.copy(), "rate": best.table.rate.copy()}
                moved[part][place] *= factor
                other = replace(best, table=sweep.table(**moved))
                assert cavi.elbo(counts, other, columns) < top - 1e-9
    if spread is not None:
        for shape, rate in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
            other = replace(best, row_rate=Gamma(best.row_rate.shape * shape, best.row_rate.rate * rate))
            assert cavi.elbo(counts, other, columns) < top - 1e-9


def test_a_learned_prior_is_the_best_for_q():
    counts, rows, columns = problem(m=40, largest=30)
    rows = cavi.update(counts, rows, columns)
    best = replace(rows, prior=cavi.learned(rows))
    assert best.prior.shape.shape == best.prior.rate.shape == (3,)
    top = cavi.elbo(counts, best, columns)
    assert top > cavi.elbo(counts, rows, columns) + 1
    for k in range(3):
        for part in ("shape", "rate"):
            for factor in (0.99, 1.01):
                moved = getattr(best.prior, part).copy()
                moved[k] *= factor
                worse = cavi.elbo(counts, replace(best, prior=best.prior._replace(**{part: moved})), columns)
                # by 1e-4 / 2 of 40 times shape, or shape^2 trigamma, from 0.1 on
                assert worse < top - 1e-4


@pytest.mark.parametrize("exponent", [3, 100])
def test_a_prior_is_learned_from_one_row_of_any_count(exponent):
    """q's one shape, or that of equal rows, is the prior's; log E[theta] - E[log theta] rounds to 0 from 1e16 on."""
    for n in (1, 3):
        mine = cavi.side(Prior(0.3, 1.0), np.full((n, 2), 10.0**exponent), np.full((n, 2), 3.0))
        found = cavi.learned(mine)
        np.testing.assert_allclose(found.shape, 10.0**exponent, rtol=1e-11)
        np.testing.assert_allclose(found.rate, 3.0, rtol=1e-11)


def test_shape_from_against_mpmath():
    gaps = np.geomspace(1e-14, 1e5, 77)
    with mp.workdps(40):
        for gap, found in zip(gaps, cavi.shape_from(gaps), strict=True):
            a = exactly(found)
            # one Newton step from what was found, in log shape: the error relative to the shape
            slope = a * mp.psi(1, a) - 1
            assert abs((mp.log(a) - mp.digamma(a) - exactly(gap)) / slope) <= 16 * EPS


def test_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(2)
    counts = csr_array(np.round(rng.gamma(0.1, 5.0, (83, 41))))
    counts.eliminate_zeros()
    priors = Prior(0.3, 1.0, 0.5), Prior(0.3, 1.0)
    fits = [cavi.factorize(counts, cavi.start(counts, 4, priors, np.random.default_rng(0)), n_sweeps=7, look_every=3,
                           n_threads=n) for n in (1, 2, 3, 8)]
    inferred = [cavi.infer_rows(counts, fit.columns, priors[0], n_sweeps=9, tol=1e-3, n_threads=n)
                for fit, n in zip(fits, (1, 2, 3, 8), strict=True)]
    for fit, rows in zip(fits[1:], inferred[1:], strict=True):
        np.testing.assert_array_equal(fit.elbo, fits[0].elbo)
        np.testing.assert_array_equal(fit.columns.table.shape, fits[0].columns.table.shape)
        np.testing.assert_array_equal(rows.mean, inferred[0].mean)


def test_runs_of_rows_share_the_work_and_leave_none_out():
    ends = np.concatenate([[0], np.cumsum(np.random.default_rng(3).poisson(3.0, 200))])
    for n in (1, 2, 3):
        parts = sweep._equal(ends, n)
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(200))
        assert len(parts) == (4 * n if n > 1 else 1)
        assert max(ends[part.stop] - ends[part.start] for part in parts) <= ends[-1] / len(parts) + 12
    assert sweep._equal(np.zeros(6, int), 2) == [slice(0, 5)]


def test_threads_as_joblib_counts_them(monkeypatch):
    monkeypatch.setattr(sweep.os, "cpu_count", lambda: 8)
    assert [sweep.threads(10**6, n) for n in (None, 1, 3, -1, -2, -20)] == [8, 1, 3, 8, 7, 1]
    assert sweep.threads(100, None) == 1 and sweep.threads(100, 2) == 2


def test_start_reproduces_the_total():
    counts = problem(m=200, D=100)[0]
    rows, columns = cavi.start(counts, 5, (Prior(0.3, 1.0), Prior(0.3, 1.0, 0.5)), np.random.default_rng(0))
    # 200 and 100 rows of noise with sd 0.1: the total is off by less than 1 % and, at two means of 1.01, by 2 % more
    assert abs(rows.mean.sum(axis=0) @ columns.mean.sum(axis=0) / counts.sum() - 1) <= 0.05
    np.testing.assert_allclose(rows.mean.std() / rows.mean.mean(), 0.1, rtol=0.1)
    assert rows.row_rate is None and columns.row_rate.shape.shape == (100,)
    few = counts * (1e-9 / counts.sum())
    rows, columns = cavi.start(few, 5, (Prior(0.3, 1.0), Prior(0.3, 1.0)), np.random.default_rng(0))
    assert abs(rows.mean.sum(axis=0) @ columns.mean.sum(axis=0) / few.sum() - 1) <= 0.05
    empty = cavi.start(csr_array((3, 2)), 2, (Prior(0.3, 1.0), Prior(0.3, 1.0)), np.random.default_rng(0))
    assert all(np.isfinite(side.mean).all() and (side.mean > 0).all() for side in empty)


def test_factorize_looks_and_stops_as_it_says():
    counts, rows, columns = problem(m=30, D=20)
    said = []
    fit = cavi.factorize(counts, (rows, columns), n_sweeps=25, look_every=10, say=lambda *look: said.append(look))
    assert fit.sweeps.tolist() == [0, 10, 20, 25] and fit.n_sweeps == 25 and not fit.converged
    assert said == list(zip(fit.sweeps, fit.elbo, strict=True))
    by_hand = rows, columns
    for _ in range(25):
        by_hand = cavi.update(counts, by_hand[0], by_hand[1]), by_hand[1]
        by_hand = by_hand[0], cavi.update(counts.T.tocsr(), by_hand[1], by_hand[0])
    np.testing.assert_array_equal(fit.rows.mean, by_hand[0].mean)
    assert fit.elbo[-1] == cavi.elbo(counts, *by_hand)
    fit = cavi.factorize(counts, (rows, columns), n_sweeps=1000, look_every=5, tol=1e-4)
    gains = np.diff(fit.elbo) / np.abs(fit.elbo[1:]) / 5
    assert fit.converged and gains[-1] < 1e-4 <= gains[:-1].min() and fit.n_sweeps < 1000


@pytest.mark.parametrize("prior", [Prior(0.3, 1.3), Prior(0.3, 1.3, 0.5),
                                   Prior(np.array([0.3, 1.0, 2.0]), np.array([1.0, 2.0, 0.5]))])
def test_inferred_rows_stand_still_each_by_itself(prior):
    counts, _, columns = problem(m=12, largest=30)
    rows = cavi.infer_rows(counts, columns, prior, n_sweeps=5000, tol=1e-13)
    again = cavi.update(counts, rows, columns)
    # a sweep that moves no mean by more than 1e-13 of the row's; the next moves by less
    assert np.all(np.abs(again.mean - rows.mean) <= 1e-13 * rows.mean.sum(axis=1, keepdims=True) + 4 * EPS * rows.mean)
    for n_sweeps, tol in ((5000, 1e-13), (3, 0.0), (100, 1e-2)):
        rows = cavi.infer_rows(counts, columns, prior, n_sweeps=n_sweeps, tol=tol)
        for i in (0, 1, 5):
            alone = cavi.infer_rows(counts[[i]], columns, prior, n_sweeps=n_sweeps, tol=tol)
            np.testing.assert_array_equal(alone.mean, rows.mean[[i]])
            if prior.spread is not None:
                assert alone.row_rate.rate == rows.row_rate.rate[i]
    # without a count a row's shapes are the prior's
    np.testing.assert_array_equal(rows.table.shape[1], np.zeros(3) + prior.shape)


def test_inferred_rows_do_not_learn():
    counts, rows, columns = problem()
    found = cavi.infer_rows(counts, columns, rows.prior._replace(learned=True), n_sweeps=3, tol=0.0)
    assert found.prior == rows.prior


def test_inferred_rows_find_the_better_end_of_two():
    """Begun at the prior's own shapes, 0.05 and 1, the counts would go to the second cause, 1.6 nats below the end."""
    prior = Prior(np.array([0.05, 1.0]), np.array([0.05, 1.0]))
    columns = cavi.side(Prior(1.0, 1.0), np.array([[2000.0, 100.0]]), np.array([[100.0, 100.0]]))
    counts = csr_array([[9.0]])
    found = cavi.infer_rows(counts, columns, prior, n_sweeps=1000, tol=1e-10)
    best = cavi.side(prior, np.array([[9.05, 1.0]]), np.array([[20.05, 2.0]]))
    worse = cavi.side(prior, np.array([[0.05, 10.0]]), np.array([[20.05, 2.0]]))
    for _ in range(1000):
        best, worse = (cavi.update(counts, side, columns) for side in (best, worse))
    found, best, worse = (cavi.elbo(counts, side, columns) for side in (found, best, worse))
    assert abs(found - best) < 1e-6 and worse < best - 1


def test_counts_and_sides_that_do_not_fit():
    """Compiled code reads what lies beyond an array: no pass may begin."""
    counts, rows, columns = problem()
    for change in (lambda: cavi.update(counts, columns, rows), lambda: cavi.elbo(counts, rows, rows),
                   lambda: sweep.expected_counts(counts[:3], rows.table, columns.table),
                   lambda: cavi.infer_rows(counts[:, :4], columns, Prior(0.3, 1.0), n_sweeps=3, tol=0.0),
                   lambda: sweep.expected_counts(counts, rows.table, problem(K=2)[2].table),
                   lambda: cavi.factorize(counts.T.tocsr(), (rows, columns), n_sweeps=3)):
        with pytest.raises(ValueError, match=r"^rows and columns must be one for each of counts', \(\d, \d\), with"):
            change()
    with pytest.raises(ValueError, match=r"^look_every must be a whole number of at least 1, got 0"):
        cavi.factorize(counts, (rows, columns), n_sweeps=3, look_every=0)
    with pytest.raises(ValueError, match=r"^n_sweeps must be a whole number of at least 0, got -1"):
        cavi.factorize(counts, (rows, columns), n_sweeps=-1)
    with pytest.raises(ValueError, match=r"^n_sweeps must be a whole number of at least 1, got 0"):
        cavi.infer_rows(counts, columns, Prior(0.3, 1.0), n_sweeps=0, tol=0.0)

"""Marginal probabilities of new rows against closed forms, lattices over the unknowns and Laplace transforms."""

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import digamma, gammaln

from vi_ref.datasets import digit
from vi_ref.poisson_factorization import cavi, draws
from vi_ref.poisson_factorization.cavi import Prior, Side
from vi_ref.poisson_factorization.predictive import (
    _from_prior,
    _generators,
    _log_gammas,
    log_marginal,
    posterior_product,
)
from vi_ref.poisson_factorization.sweep import table

KNOWN = 1e14                         # shape of a phi that is known: 1e-7 off, which moves a log probability by 1e-6
PRIOR, OWN = Prior(np.array([1.2, 0.7]), np.array([0.5, 0.8])), Prior(np.array([1.2, 0.7]), 0.6, spread=1.7)
PHI = np.array([[0.6, 0.2], [0.1, 1.1]])


def columns(phi, shape=KNOWN):
    """The columns' side with q of mean `phi`."""
    shapes = np.broadcast_to(np.asarray(shape, float), np.shape(phi)).copy()
    return Side(Prior(1.0, 1.0), table(shapes, shapes / phi))


def lattice(*axes):
    """All points whose coordinates are from the axes, (N, len(axes))."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def on_lattice(x, prior, phi, h=0.25):
    """log p(x | phi) of each row of x, and E log theta and E theta given it, by the trapezoid rule in log theta.

    A row's own rate is one more axis. The rule leaves about e^-(pi^2 / h) = 1e-17, and the square root of that in the
    own rate; at the left ends, of densities that fall like e^(0.7 u), e^(-25 * 0.7) = 3e-8 is cut off, less at others.
    """
    axes = [np.arange(-25, 5, h)] * len(prior.shape)
    if prior.spread is not None:
        axes.append(np.arange(-14, 4, 2 * h))            # e^(-14 * (1.7 + 1.9)), as theta's density falls with it too
    u = lattice(*axes)
    logs, own = u[:, :len(prior.shape)], u[:, len(prior.shape):]
    rate = prior.rate if prior.spread is None else np.exp(own)
    log_p = np.sum(stats.gamma.logpdf(np.exp(logs), prior.shape, scale=1 / rate) + logs, axis=1)
    if prior.spread is not None:
        log_p += stats.gamma.logpdf(np.exp(own), prior.spread, scale=prior.rate / prior.spread)[:, 0] + own[:, 0]
    weight = np.exp(log_p) * h**len(prior.shape) * (2 * h) ** own.shape[1]
    lam = np.exp(logs) @ phi.T
    given = np.stack([weight * np.exp(stats.poisson.logpmf(row, lam).sum(axis=1)) for row in x])
    total = given.sum(axis=1)
    return np.log(total), given @ logs / total[:, None], given @ np.exp(logs) / total[:, None]


# -- the law of a row ----------------------------------------------------------------------------------------


# The trapezoid rule in the log of the rate: e^-(pi^2 / h) and ends of e^-40 and less; sums of 1000 positive numbers,
# each good to a few roundings of logarithms up to 50.
def test_own_rates_are_integrated_out():
    logs, u = np.random.default_rng(71).normal(0, 1.5, (6, 2)), np.arange(-40, 8, 0.05)
    joint = draws.log_prior(OWN, np.broadcast_to(logs[:, None], (6, u.size, 2)), u)
    truth = np.log(np.exp(joint).sum(axis=1) * 0.05)
    np.testing.assert_allclose(draws.log_prior_of_rows(OWN, logs), truth, rtol=0, atol=10 * 50 * EPS)
    np.testing.assert_array_equal(draws.log_prior_of_rows(PRIOR, logs), draws.log_prior(PRIOR, logs, None))


# Given phi and one component the counts are negative multinomial. Four standard errors leave twelve z-tests a
# false-failure rate of 8e-4; a posterior that is the proposal makes weights differ by the prior's share alone.
@pytest.mark.parametrize("phi", [[0.4, 2.0, 0.01], [5.0], [1e-3, 1e3]])
def test_one_known_component_is_negative_multinomial(phi):
    phi, (a, b) = np.array(phi), (1.4, 0.6)
    x = np.random.default_rng(72).poisson(phi * 2, (4, phi.size))
    x[0] = 0
    truth = (gammaln(a + x.sum(axis=1)) - gammaln(a) - gammaln(x + 1).sum(axis=1) + a * np.log(b / (b + phi.sum()))
             + x @ np.log(phi / (b + phi.sum())))
    found = log_marginal(csr_array(x), Prior(a, b), columns(phi[:, None]), 2000, np.random.default_rng(73))
    assert np.all(np.abs(found.log_p - truth) <= 4 * found.standard_error + 1e-5)
    assert found.standard_error.max() < 0.006 and found.n_samples == 2000


# Four standard errors leave 16 z-tests a false-failure rate of 1e-3; an error of 8, 0.1 nats, is sure to show.
@pytest.mark.parametrize("prior", [PRIOR, OWN])
def test_two_known_components_against_a_lattice(prior):
    x = np.array([[0, 0], [3, 0], [0, 5], [9, 14]])
    truth, _, _ = on_lattice(x, prior, PHI)
    found = log_marginal(csr_array(x), prior, columns(PHI), 4000, np.random.default_rng(74))
    assert np.all(np.abs(found.log_p - truth) <= 4 * found.standard_error + 1e-6)
    assert found.standard_error.max() < 0.013


def one_column(x, prior, q):
    """log p(x) for one column with phi ~ q, K components: a Taylor coefficient of products of Tricomi's functions.

    E e^(-s theta phi) = (b d / s)^c U(c, c - a + 1, b d / s) for theta ~ Gamma(a, b) and phi ~ Gamma(c, d).
    """
    def laplace(s):
        value = mp.mpf(1)
        for a, b, c, d in zip(prior.shape, prior.rate, q.shape[0], q.rate[0], strict=True):
            value *= (b * d / s) ** c * mp.hyperu(c, c - a + 1, b * d / s)
        return value

    with mp.workdps(40):
        coefficients = mp.taylor(laplace, 1, max(x))
        return np.array([float(mp.log((-1) ** n * coefficients[n])) for n in x])


# The draws of phi are shared by the rows; each is a z-test of its own, of a false-failure rate of 6e-5.
def test_unknown_phi_against_laplace_transforms():
    side = columns(np.array([[0.8, 2.0]]), [[2.5, 6.0]])
    truth = one_column([0, 1, 6], PRIOR, side.q)
    found = log_marginal(csr_array([[0], [1], [6]]), PRIOR, side, 2000, np.random.default_rng(75))
    assert np.all(np.abs(found.log_p - truth) <= 4 * found.standard_error)
    assert found.standard_error.max() < 0.03


# 200 independent estimates of ten draws each: their mean is known to 3%, and 4 standard errors have a false-failure
# rate of 6e-5; a bias of 8 of them, 0.3, is sure to show.
def test_the_exponential_is_unbiased_at_few_draws():
    side, rng = columns(np.array([[0.8, 2.0]]), [[2.5, 6.0]]), np.random.default_rng(76)
    p = np.array([np.exp(log_marginal(csr_array([[4]]), PRIOR, side, 10, rng, n_sweeps=4, prior_share=0.2).log_p[0])
                  for _ in range(200)])
    ratio = p / np.exp(one_column([4], PRIOR, side.q))
    assert abs(ratio.mean() - 1) <= 4 * ratio.std() / np.sqrt(200)
    assert ratio.std() < 0.5


# Rows are independent given phi, so the errors of their probabilities add up in squares; the rows left out have
# probabilities that sum to 5e-10. The sd of 169 errors over their standard errors is 1 or less, as the numbers of draws
# are fixed: 0.77 to 0.95 of 16 seeds, and known to 5 %. A standard error that is off by sqrt(2) shows.
def test_probabilities_of_all_small_rows_sum_to_one():
    x, prior = lattice(np.arange(13), np.arange(13)), Prior(np.array([2.0, 2.0]), np.array([4.0, 6.0]))
    found = log_marginal(csr_array(x), prior, columns(PHI), 1000, np.random.default_rng(77), n_sweeps=60)
    p, truth = np.exp(found.log_p), on_lattice(x, prior, PHI)[0]
    noise = np.sqrt(np.sum((p * found.standard_error) ** 2))
    assert abs(p.sum() - 1) <= 4 * noise + 1e-9 and noise < 0.005
    assert 0.68 <= np.std((found.log_p - truth) / found.standard_error) <= 1.1


# Given its own rate r a count of one known component is negative binomial. At a spread of 1e-3 many draws of the
# prior overflow; the trapezoid rule in log r leaves e^-(pi^2 / 0.1), and e^(-60 * 1.4) at the left end. From 1e6 on
# r is b, as its relative variance of 1e-6 moves log p by that times a (a + n) at most. Four standard errors leave nine
# z-tests a false-failure rate of 6e-4; differences of log Gamma(1e15) are off by 0.3 and more.
@pytest.mark.parametrize("spread", [1e-3, 1e6, 1e15])
def test_own_rates_of_any_spread(spread):
    x, phi, (a, b) = np.array([0, 1, 7]), 2.0, (1.4, 0.6)
    u = np.arange(-60, 12, 0.1) if spread < 1 else np.zeros(1)
    weight = stats.gamma.pdf(np.exp(u), spread, scale=1 / spread) * np.exp(u) * 0.1 if spread < 1 else np.ones(1)
    truth = np.log(stats.nbinom.pmf(x[:, None], a, b * np.exp(u) / (b * np.exp(u) + phi)) @ weight)
    found = log_marginal(csr_array(x[:, None]), Prior(a, b, spread), columns([[phi]]), 1000, np.random.default_rng(88))
    assert np.all(np.abs(found.log_p - truth) <= 4 * found.standard_error + 2e-5)
    assert found.standard_error.max() < 0.06


# -- the proposal --------------------------------------------------------------------------------------------


# The shares of one component are known, so is its conditional gamma; shape_from's gap is a difference of numbers up to
# 3 that is near 1/(2 shape), and phi is 1e-7 off.
def test_proposal_of_one_known_component_is_its_posterior():
    x = draws.checked(csr_array([[3, 0, 9], [0, 0, 0], [700, 100, 0]]))
    q = posterior_product(x, Prior(1.4, 0.6), columns(np.full((3, 1), 0.5)), 8, np.random.default_rng(78))
    np.testing.assert_allclose(q.rate, np.full((3, 1), 2.1), rtol=1e-6)
    np.testing.assert_allclose(q.shape, 1.4 + np.array([[12], [0], [800]]), rtol=1e-6)


# 400 independent chains of one row: 6 of the standard errors of their mean, for E theta and E log theta of each
# component; an error of 12 of them, 0.3 and less, is sure to show.
@pytest.mark.parametrize("prior", [PRIOR, OWN])
def test_proposal_has_the_posterior_means(prior):
    row = np.array([[4, 3]])
    x = draws.checked(csr_array(np.repeat(row, 400, axis=0)))
    q = posterior_product(x, prior, columns(PHI), 60, np.random.default_rng(79))
    _, mean_log, mean = on_lattice(row, prior, PHI)
    for found, truth in ((q.mean, mean), (digamma(q.shape) - np.log(q.rate), mean_log)):
        standard_error = found.std(axis=0, ddof=1) / np.sqrt(400)
        assert np.all(np.abs(found.mean(axis=0) - truth[0]) <= 6 * standard_error)
        assert standard_error.max() < 0.025


# 20000 draws of each component: 4.5 standard errors of four means, false-failure rate 3e-5; heavy tails have none of
# the mean's variance, so logarithms are compared. E log theta = psi(a) - E log rate, E log rate = psi(s) - log(s / b).
def test_draws_of_the_prior():
    log_rate = digamma(1.7) - np.log(1.7 / 0.6)
    for prior, truth in ((PRIOR, digamma(PRIOR.shape) - np.log(PRIOR.rate)), (OWN, digamma(OWN.shape) - log_rate)):
        logs = _from_prior(prior, (1, 2), 20_000, [np.random.default_rng(80)])[:, 0]
        assert np.all(np.abs(logs.mean(axis=0) - truth) <= 4.5 * logs.std(axis=0) / np.sqrt(20_000))
        together = np.corrcoef(logs.T)[0, 1]             # rows' own rates move the components together
        assert (together > 0.1) == (prior.spread is not None) and (prior.spread or abs(together) < 4.5 / 141)


# -- edges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [Prior(0.5, 1.0), Prior(0.5, 1.0, spread=2.0)])
@pytest.mark.parametrize(("x", "K"), [([[0, 0, 0], [0, 0, 0]], 2), ([[2, 0, 1]], 5), ([[3], [0]], 1), ([[1]], 4)])
def test_empty_rows_one_column_and_many_components(x, K, prior):
    phi = np.random.default_rng(81).gamma(2.0, 0.5, (len(x[0]), K))
    found = log_marginal(csr_array(x), prior, columns(phi), 500, np.random.default_rng(82))
    assert found.log_p.shape == found.standard_error.shape == found.khat.shape == (len(x),)
    assert np.all(found.log_p < 0) and np.all(found.standard_error < 0.1)
    if prior.spread is None:                             # P(no counts) = prod_k (b / (b + Phi_k))^a
        nothing = -0.5 * np.log1p(phi.sum(axis=0)).sum()
        empty = ~np.any(x, axis=1)
        assert np.all(np.abs(found.log_p - nothing)[empty] <= 4 * found.standard_error[empty] + 1e-5)


def test_same_seed_same_bits():
    one, two = (log_marginal(csr_array([[3, 1]]), OWN, columns(PHI), 50, np.random.default_rng(83)) for _ in range(2))
    np.testing.assert_array_equal([one.log_p, one.standard_error, one.khat], [two.log_p, two.standard_error, two.khat])


def test_a_stored_zero_is_none():
    stored = csr_array([[3.0, 1.0]])
    stored.data[1] = 0
    with_zero, without = (log_marginal(x, OWN, columns(PHI), 50, np.random.default_rng(83))
                          for x in (stored, csr_array([[3.0, 0.0]])))
    assert stored.nnz == 2 and with_zero.log_p == without.log_p


@pytest.mark.parametrize(("prior", "phi"), [(PRIOR, PHI), (OWN, PHI), (Prior(1.2, 0.5), PHI[:, :1])])
def test_a_row_has_the_same_draws_whichever_rows_come_with_it(prior, phi):
    x, options = csr_array(np.random.default_rng(85).poisson(3.0, (270, 2))), {"n_sweeps": 12}
    side = columns(phi, 3.0)
    found = log_marginal(x, prior, side, 25, np.random.default_rng(86), **options)
    order = np.random.default_rng(87).permutation(270)[:100]
    part = log_marginal(x[order], prior, side, 25, np.random.default_rng(86), **options)
    for name in ("log_p", "standard_error", "khat"):
        np.testing.assert_array_equal(getattr(part, name), getattr(found, name)[order])
    for i in range(20):
        alone = log_marginal(x[[i]], prior, side, 25, np.random.default_rng(86), **options)
        assert (alone.log_p[0], alone.standard_error[0]) == (found.log_p[i], found.standard_error[i])
    # rows with other counts have draws of theta of their own: log p / expected count would be alike otherwise
    first, second = (_log_gammas_of(row) for row in ([[3, 1]], [[1, 3]]))
    assert np.all(first != second)


def _log_gammas_of(row):
    return _log_gammas(np.ones((1, 2)), 3, _generators(csr_array(row).astype(float), 0))


# One component: the truth is that of one known component above, with fractions or counts beyond integers for x.
@pytest.mark.parametrize("x", [[0.5, 1.25, 0.0], [1e-9, 0.0, 7.75], [2.0**60, 3.0, 0.5]])
def test_fractions_and_huge_counts(x):
    x, phi, (a, b) = np.array(x), np.array([0.4, 2.0, 0.01]), (1.4, 0.6)
    truth = (gammaln(a + x.sum()) - gammaln(a) - gammaln(x + 1).sum() + a * np.log(b / (b + phi.sum()))
             + x @ np.log(phi / (b + phi.sum())))
    size = gammaln(a + x.sum()) + gammaln(x + 1).sum()
    found = log_marginal(csr_array([x]), Prior(a, b), columns(phi[:, None], 1e90), 500, np.random.default_rng(73))
    assert abs(found.log_p[0] - truth) <= 4 * found.standard_error[0] + 1e-5 + 10 * EPS * size
    q = posterior_product(draws.checked(csr_array([x])), Prior(a, b), columns(phi[:, None], 1e90), 8,
                          np.random.default_rng(78))
    # draws of phi that is known still differ by rounding, which no gamma of shape 1e17 would cover
    np.testing.assert_allclose(q.shape, a + x.sum(), rtol=1e-6 if x.sum() < 1e6 else 1)
    np.testing.assert_allclose(q.mean, (a + x.sum()) / (b + phi.sum()), rtol=1e-6)


def test_digits_zero():
    """As in the docstring, of whose 78 images these are 30."""
    rng, prior = np.random.default_rng(84), Prior(1.0, 1.0)
    images = csr_array(rng.permutation(digit(0)).astype(float))
    fitted = cavi.factorize(images[:100], cavi.start(images[:100], 10, (prior, prior), rng), n_sweeps=60)
    found = log_marginal(images[100:130], prior, fitted.columns, 1000, rng)
    # 13 to 18 of 78 were above in three splits: of 30 that is 6 on average, and 12 are three sd more
    assert np.sum(found.khat > 2 / 3) <= 12 and np.median(found.khat) < 0.65
    assert np.median(found.standard_error) < 0.12
    # one component explains less, by 11 to 14 nats an image in three splits
    alone = cavi.factorize(images[:100], cavi.start(images[:100], 1, (prior, prior), rng), n_sweeps=50)
    one = log_marginal(images[100:130], prior, alone.columns, 200, rng, n_sweeps=40)
    assert found.log_p.mean() > one.log_p.mean() + 5


@pytest.mark.parametrize(("change", "message"), [
    ({"counts": np.ones((2, 2))}, r"^counts must be a scipy.sparse.csr_array"),
    ({"counts": csr_array([[1.5, -0.5]])}, r"^counts must be non-negative and finite, got -0.5 at index 1"),
    ({"counts": csr_array([[1, 0, 2]])}, r"^counts must have the 2 columns of the fit, got 3"),
    ({"rows_prior": Prior(1.0, np.ones(3))}, r"^rows_prior's rate must be a number or 2 of them, got shape \(3,\)"),
    ({"n_samples": 1}, r"^n_samples must be a whole number of at least 2, got 1"),
    ({"n_sweeps": 1}, r"^n_sweeps must be a whole number of at least 2, got 1"),
    ({"prior_share": 0.0}, r"^prior_share must be in \(0, 1\), got 0.0"),
    ({"rng": 3}, r"^rng must be a numpy.random.Generator, got 3"),
])
def test_bad_arguments(change, message):
    arguments = {"counts": csr_array([[1, 2]]), "rows_prior": PRIOR, "columns": columns(PHI), "n_samples": 10,
                 "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=message):
        log_marginal(**arguments)

"""The two stopping rules: what they estimate, what they refuse, how often and how far they err; and taking up again."""

import pickle
from functools import partial, wraps

import numpy as np
import pytest
from mpmath import mp

from vi_ref import Adam, Gamma, PoissonExposure, PoissonGamma, datasets, exact_elbo, fit, optimize
from vi_ref.gradients import NAMES, by_name, reparameterized
from vi_ref.stopping import (
    AverageSettles,
    GradientVanishes,
    effective_sample_size,
    estimated_kl,
    kl_of_average,
    split_r_hat,
    vanishes,
)

MODEL = PoissonGamma(Gamma([2.0, 0.5, 9.0], [1.0, 2.0, 0.1]), [[3, 0, 200], [5, 1, 170]])
UNIT = 2.0**-53


def run(model=MODEL, seed=0, **options):
    defaults = {"n_samples": 16, "n_steps": 3000, "schedule": "constant"}
    return fit(model, model.prior, rng=np.random.default_rng(seed), **defaults | options)


def walk(phi, n, seed, columns=()):
    """x_t = phi x_t-1 + a normal step, from its stationary law."""
    steps = np.random.default_rng(seed).standard_normal((n, *columns))
    x = np.empty_like(steps)
    x[0] = steps[0] / np.sqrt(1 - phi**2)
    for t in range(1, n):
        x[t] = phi * x[t - 1] + steps[t]
    return x


# -- what they estimate ------------------------------------------------------------------------------


def test_estimated_kl_is_half_the_gradients_square_by_the_inverse_fisher_information():
    """In (log shape, log rate) the information is not diagonal; solved at 40 digits."""
    q, g = Gamma([1e-3, 0.5, 7.0, 1e5], [1.0, 2.0, 3.0, 4.0]), np.array([[1.0, -2.0, 0.3, 5.0], [0.7, 1.0, -4.0, -4.9]])
    with mp.workdps(40):
        truth = 0
        for a, column in zip(q.shape, g.T, strict=True):
            a, column = mp.mpf(float(a)), mp.matrix(column.tolist())
            solved = mp.lu_solve(mp.matrix([[a**2 * mp.psi(1, a), -a], [-a, a]]), column)
            truth += (column.T * solved)[0] / 2
    # g1 + g2 loses a unit of 10 in 0.1 in the last column, squared twice that; the rest are roundings
    assert estimated_kl(q, *g) == pytest.approx(float(truth), rel=400 * UNIT)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (-1, 1)])
def test_estimated_kl_is_the_divergence_to_second_order(direction):
    """The third order is a share h of the second: halving h halves the relative difference, to h again."""
    exact, off = MODEL.posterior, []
    for h in (1e-2, 5e-3):
        q = Gamma(exact.shape * np.exp(h * direction[0]), exact.rate * np.exp(h * direction[1]))
        off.append(estimated_kl(q, *exact_elbo.gradient(MODEL, q)) / q.kl(exact).sum() - 1)
    assert 1e-4 < abs(off[0]) < 0.1 and off[1] / off[0] == pytest.approx(0.5, abs=0.05)


def test_noise_adds_half_the_trace():
    """At the posterior the full gradient's covariance is F / S: the mean is D / S. 4 standard errors of 2000 estimates
    (6 failures in 1e5 seeds); an error of 7 % would be seen."""
    S, rng, q = 16, np.random.default_rng(0), MODEL.posterior
    estimates = [reparameterized.estimate(MODEL, q, S, rng) for _ in range(2000)]
    values = np.array([estimated_kl(q, e.log_shape, e.log_rate) for e in estimates])
    standard_error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - 3 / S) < 4 * standard_error < 0.07 * 3 / S


def test_split_r_hat_by_hand_and_where_it_tells():
    x = np.array([1.0, 2.0, 4.0, 3.0, 7.0, 8.0])
    within, between = (np.var(x[:3], ddof=1) + np.var(x[3:], ddof=1)) / 2, np.var([x[:3].mean(), x[3:].mean()], ddof=1)
    assert split_r_hat(x) == pytest.approx(np.sqrt(2 / 3 + between / within), rel=8 * UNIT)
    assert split_r_hat(np.append(99.0, x)) == split_r_hat(x)                       # odd: the first is left out
    assert split_r_hat(np.full(9, 0.1)) == 1.0
    assert split_r_hat([0.0, 0.0, 1.0, 1.0]) == np.inf                             # halves that are still, and apart
    assert split_r_hat([9.0, 0.1, 0.1, 0.1, 0.1]) == 1.0                           # what differs is left out
    table = np.random.default_rng(0).standard_normal((50, 2, 3))
    np.testing.assert_array_equal(split_r_hat(table)[1, 2], split_r_hat(table[:, 1, 2]))


def test_split_r_hat_against_arviz():
    """Its R-hat of two sequences, the halves."""
    arviz = pytest.importorskip("arviz")
    x = walk(0.9, 400, 1)
    assert split_r_hat(x) == pytest.approx(float(arviz.rhat(x.reshape(2, 200), method="identity")), rel=1e-12)


def plain_ess(x):
    """The same by its definition: sums of products, a loop over pairs."""
    n, c = len(x), x - x.mean()
    rho = [np.sum(c[:n - k] * c[k:]) / np.sum(c * c) for k in range(n)]
    total, least = 0.0, np.inf
    for k in range(0, n - 1, 2):
        pair = rho[k] + rho[k + 1]
        if pair <= 0:
            break
        least = min(least, pair)
        total += least
    return n / np.clip(-1 + 2 * total, 1 / np.log10(n), n)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.95, -0.6, -0.99])
@pytest.mark.parametrize("n", [4, 5, 37, 400])
def test_effective_sample_size_is_geyers_sum(phi, n):
    x = walk(phi, n, n)
    # the transform rounds each covariance by some units of the variance, n / 2 pairs of them: 1e-10 is far above
    assert effective_sample_size(x) == pytest.approx(plain_ess(x), rel=1e-10)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
def test_effective_sample_size_of_a_walk(phi):
    """Truth N (1 - phi) / (1 + phi). Over 200 other seeds its sd was at most 8 %, its bias 5 %; 5 sd of 20 walks."""
    n = 4000
    values = effective_sample_size(walk(phi, n, 0, columns=(20,)))
    assert values.mean() / (n * (1 - phi) / (1 + phi)) == pytest.approx(1, abs=5 * 0.08 / np.sqrt(20) + 0.05)


def test_effective_sample_size_at_its_ends():
    assert effective_sample_size(np.full(10, 0.1)) == 10
    swing = np.resize([1.0, -1.0], 1000)
    assert effective_sample_size(swing) == pytest.approx(1000 * 3, rel=1e-12)
    assert 1 <= effective_sample_size(np.arange(1000.0)) < 10


@pytest.mark.parametrize("function", [split_r_hat, effective_sample_size])
@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_the_unit_of_the_draws_has_no_part(function, exponent):
    """A power of two leaves every rounding as it is; the squares of these would vanish or overflow."""
    x = walk(0.5, 40, 3, columns=(2,))
    np.testing.assert_array_equal(function(x * 2.0**exponent), function(x))
    np.testing.assert_array_equal(function(x * [1.0, 2.0**exponent]), function(x))


def test_kl_of_average_by_hand():
    draws = np.stack([np.log([[40.0, 2.0], [3.0, 0.1]]) + 0.05 * row for row in walk(0.5, 300, 2, columns=(2, 2))])
    q, nats = kl_of_average(draws)
    mean = draws.mean(axis=0)
    np.testing.assert_allclose(np.log([q.shape, q.mean]), mean, atol=16 * UNIT)
    F = [[a**2 * (float(mp.psi(1, a)) - 1 / a) for a in q.shape], q.shape]
    cost = [F[i][d] * np.var(draws[:, i, d], ddof=1) / plain_ess(draws[:, i, d]) for i, d in np.ndindex(2, 2)]
    assert nats == pytest.approx(sum(cost) / 2 + 2 * np.sqrt(np.sum(np.square(cost)) / 2), rel=1e-9)


def test_the_average_is_within_the_bound_as_often_as_it_should_be():
    """Independent normal iterates about a known u*: mean plus 2 sd of half a chi-square of 6 holds with 96 %; of 300
    trials 300 * 0.04 + 4 sqrt(300 * 0.04 * 0.96) = 26 may break it. At one coordinate the exact share is 95 %."""
    rng, truth, beyond = np.random.default_rng(0), np.log([[40.0, 2.0, 9.0], [3.0, 0.1, 1.0]]), 0
    centre = Gamma(np.exp(truth[0]), np.exp(truth[0] - truth[1]))
    for _ in range(300):
        q, nats = kl_of_average(truth + 0.05 * rng.standard_normal((200, 2, 3)))
        beyond += q.kl(centre).sum() > nats
    assert beyond <= 26


@pytest.mark.parametrize("draws, message", [
    ([1.0, 2.0, 3.0], r"draws must be at least 4, one a row, got shape \(3,\)"),
    (1.0, r"draws must be at least 4, one a row, got shape \(\)"),
    ([1.0, 2.0, np.nan, 3.0], "draws must be finite, got nan at index 2"),
    (["a"] * 4, "draws must be an array of real numbers"),
])
@pytest.mark.parametrize("function", [split_r_hat, effective_sample_size])
def test_bad_draws_are_refused(function, draws, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        function(draws)


# -- the rules ---------------------------------------------------------------------------------------


def test_which_gradients_lose_their_noise_where_q_is_the_posterior():
    """By measuring: at the posterior the estimates of those that vanish are rounding, the others' are not."""
    q, rng = MODEL.posterior, np.random.default_rng(0)
    assert vanishes(by_name("exact")) and vanishes("exact") and vanishes(lambda *_: None) is None
    options = {"score_function": [{}, {"baseline": "leave_one_out"}, {"baseline": "control_variate"},
                                  {"rao_blackwell": True}]}
    for name in NAMES:
        for chosen in options.get(name, [{}]):
            gradient = partial(by_name(name), **chosen)
            e = gradient(MODEL, q, 8, rng)
            assert vanishes(gradient) == (estimated_kl(q, e.log_shape, e.log_rate) < 1e-18), (name, chosen)
            assert chosen or vanishes(name) == vanishes(by_name(name)) == vanishes(gradient)


def test_a_function_that_is_not_ours_is_not_taken_for_one_that_is():
    def score_function(*_):
        raise AssertionError

    for name in NAMES:
        for function in (score_function, wraps(by_name(name))(score_function)):         # that says it is of our module
            assert vanishes(function) is None
            for rule in (GradientVanishes(), AverageSettles()):
                rule.suits(function)


@pytest.mark.parametrize("rule, gradient, message", [
    (GradientVanishes(), "reparameterized", "GradientVanishes must have .* got reparameterized; for this one take A"),
    (GradientVanishes(), by_name("score_function"), "GradientVanishes must have .* got score_function; "),
    (AverageSettles(), "sticking_the_landing", "AverageSettles must have .* got sticking_the_landing, under which R"),
    (AverageSettles(), partial(by_name("score_function"), baseline="leave_one_out"), "AverageSettles must .* score_f"),
])
def test_a_rule_refuses_a_gradient_that_it_does_not_suit(rule, gradient, message):
    with pytest.raises(ValueError, match=f"^stopping by {message}"):
        run(gradient=gradient, stopping=rule)


@pytest.mark.parametrize("options, message", [
    ({"schedule": "cosine"}, "stopping must be None under the schedule cosine, which runs to its end, got GradientVan"),
    ({"average": 0.5}, "average must be 0 with a stopping rule, which chooses by itself, got 0.5"),
    ({"stopping": "auto"}, "stopping must be a rule of vi_ref.stopping or None, got 'auto'"),
])
def test_a_rule_refuses_a_schedule_that_it_does_not_suit(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        run(**{"stopping": GradientVanishes()} | options)


@pytest.mark.parametrize("rule, arguments, message", [
    (GradientVanishes, {"nats": 0.0}, r"nats must be in \(0, inf\), got 0.0"),
    (GradientVanishes, {"steps": 0}, "steps must be a whole number of at least 1, got 0"),
    (AverageSettles, {"nats": np.nan}, r"nats must be in \(0, inf\), got nan"),
    (AverageSettles, {"r_hat": 1.0}, r"r_hat must be in \(1, inf\), got 1.0"),
    (AverageSettles, {"ess": 0}, r"ess must be in \(0, inf\), got 0"),
    (AverageSettles, {"every": 3}, "every must be a whole number of at least 4, got 3"),
])
def test_bad_rules_are_refused(rule, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        rule(**arguments)


def test_a_vanishing_gradient_stops_the_fit_at_the_q_it_was_made_at():
    result = run(stopping=GradientVanishes(1e-8, steps=7), keep_every=1)
    assert result.converged and result.n_steps < 500 and result.averaged is None
    assert result.reason.startswith(f"converged after {result.n_steps} of 3000 steps: estimated KL to the optimum ")
    assert result.q.kl(MODEL.posterior).sum() < 1e-8
    np.testing.assert_array_equal([result.q.shape, result.q.rate], [result.trace.shape[-1], result.trace.rate[-1]])
    assert result.last is result.q and result.trace.elbo.size == result.n_steps == result.trace.step[-1]
    # the same steps with no rule; the last seven estimates, the one after the last step among them, are below 1e-8
    plain = run(n_steps=result.n_steps + 1, keep_every=1)
    np.testing.assert_array_equal(plain.trace.shape[:-1], result.trace.shape)
    rng, small = np.random.default_rng(0), []
    for a, b in zip(result.trace.shape, result.trace.rate, strict=True):
        e = optimize.kernels.for_model(MODEL, "sticking_the_landing", 1)(MODEL, Gamma(a, b), 16, rng)
        small.append(estimated_kl(Gamma(a, b), e.log_shape, e.log_rate) < 1e-8)
    assert all(small[-7:]) and not any(all(small[t:t + 7]) for t in range(len(small) - 7))


def test_r_hat_alone_misleads():
    """At a constant rate sticking the landing arrives, is thrown back, and later halves agree all the while."""
    model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
    result = run(model, n_samples=128, n_steps=2500, keep_every=1)
    kl = np.array([Gamma(a, b).kl(model.posterior).sum() for a, b in
                   zip(result.trace.shape, result.trace.rate, strict=True)])
    first = kl.argmin()
    later = np.stack([np.log(result.trace.shape), np.log(result.trace.shape / result.trace.rate)], axis=1)[first + 500:]
    assert kl.min() < 1e-6 and kl[first:].max() > 1 and split_r_hat(later).max() < 1.02
    stopped = run(model, n_samples=128, stopping=GradientVanishes())
    assert stopped.converged and stopped.n_steps < 600 and stopped.q.kl(model.posterior).sum() < 1e-4


def test_an_average_that_settles_stops_the_fit():
    result = run(gradient="reparameterized", stopping=AverageSettles(1e-2))
    assert result.converged and result.n_steps % 100 == 0 and result.n_steps < 3000
    assert result.reason.startswith(f"converged after {result.n_steps} of 3000 steps: average of ")
    assert result.q is result.averaged and result.q.kl(MODEL.posterior).sum() < 1e-2
    kept = result.state.memory["draws"]
    later = np.array(kept[len(kept) // 2:])
    np.testing.assert_array_equal(result.q.shape, kl_of_average(later)[0].shape)
    seen = split_r_hat(later).max(), effective_sample_size(later).min(), kl_of_average(later)[1]
    assert seen == tuple(result.state.memory[name] for name in ("r_hat", "ess", "nats"))
    assert seen[0] < 1.1 and seen[1] >= 20 and seen[2] <= 1e-2
    np.testing.assert_array_equal(np.log([result.last.shape, result.last.mean]), kept[-1])
    assert result.last.kl(MODEL.posterior).sum() > 4 * result.q.kl(MODEL.posterior).sum()


def test_looks_become_rarer_as_the_fit_grows_long(monkeypatch):
    """Each looks at half of all iterates: at a fixed distance the time of a fit would grow with its square."""
    looks = []
    monkeypatch.setattr(AverageSettles, "_look", lambda self, draws: looks.append(len(draws)) or (2.0, 0.0, np.inf))
    run(gradient="reparameterized", stopping=AverageSettles(every=10), n_steps=200, n_samples=1)
    assert looks[:-1] == [*range(10, 101, 10), 110, 130, 150, 170, 190]             # the last is the verdict's


@pytest.mark.parametrize("rule", [AverageSettles(1e-2, r_hat=1.0001), AverageSettles(1e-2, ess=1e5),
                                  AverageSettles(1e-9)])
def test_each_part_of_the_rule_holds_the_fit_back(rule):
    result = run(gradient="reparameterized", stopping=rule, n_steps=1500)
    assert result.converged is False and result.reason.startswith("all 1500 steps were taken, ")


def test_where_no_rule_holds_the_fit_says_so():
    """No product of gammas is the posterior of rate and exposures: noise stays, 0.05 nats at best of 16 draws."""
    model = PoissonExposure(Gamma(2.0, 1.0), Gamma(4.0, [2.0, 4 / 3, 4.0]), [4, 7, 1])
    result = run(model, stopping=GradientVanishes(1e-3), n_steps=1000)
    assert result.converged is False and result.reason.startswith("all 1000 steps were taken, estimated KL to the opt")
    assert run(model, n_samples=256, stopping=GradientVanishes(0.1), n_steps=100).converged     # asked for more than it
    early = run(gradient="reparameterized", stopping=AverageSettles(), n_steps=60)
    assert early.converged is False and early.averaged is None and early.q is early.last
    assert "R-hat of the later half" in early.reason
    assert run(n_steps=3).converged is None


@pytest.mark.slow
@pytest.mark.parametrize("rule, options, steps, seeds, false", [
    (GradientVanishes(1e-6), {}, 2000, 100, 0),
    (GradientVanishes(1e-2), {"n_samples": 2}, 2000, 100, 0),
    (AverageSettles(1e-2), {"gradient": "reparameterized"}, 4000, 100, 0),
    (AverageSettles(1e-3), {"gradient": "reparameterized", "n_samples": 4, "optimizer": Adam(0.02)}, 20000, 25, 0),
    (AverageSettles(1e-3), {"gradient": "reparameterized", "n_samples": 4, "optimizer": Adam(0.2)}, 20000, 6, 6),
])
def test_false_stops_over_many_seeds(rule, options, steps, seeds, false):
    """A false stop is one further from the posterior than the rule was asked for. None in 100 seeds means below 3 %
    with 95 % confidence; up to 2 are let pass. With the last setting the iterates wander about a point beside the
    optimum, which the rule cannot see and its docstring says: there the error is held below 4 times what was asked."""
    results = [run(seed=seed, stopping=rule, n_steps=steps, **options) for seed in range(seeds)]
    stopped = np.array([result.converged for result in results])
    error = np.array([result.q.kl(MODEL.posterior).sum() for result in results])[stopped] / rule.nats
    print(f"{rule}: {stopped.sum()} stopped after {np.median([r.n_steps for r in results]):.0f} steps, "
          f"{(error > 1).sum()} false, error / nats median {np.median(error):.2g}, worst {error.max():.2g}")
    assert stopped.sum() >= 0.95 * seeds and abs((error > 1).sum() - false) <= 2 and error.max() < 4


# -- taking up again ---------------------------------------------------------------------------------


def assert_same_bits(one, other):
    for a, b in zip(vars(one.trace).values(), vars(other.trace).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("q", "last"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal([a.shape, a.rate], [b.shape, b.rate])
    assert (one.reason, one.converged, one.n_steps) == (other.reason, other.converged, other.n_steps)


@pytest.mark.parametrize("options", [
    {"schedule": "cosine", "average": 0.8},
    {"schedule": "cosine", "coordinates": "rate", "natural_gradient": True},
    {"gradient": "reparameterized", "stopping": AverageSettles(0.1, every=20), "optimizer": Adam(0.2)},
    {"stopping": GradientVanishes(1e-10), "n_samples": 64},
])
@pytest.mark.parametrize("pause", [1, 37, 200])
def test_a_fit_taken_up_again_is_one_fit_bit_for_bit(options, pause):
    options = {"n_steps": 400, "keep_every": 50} | options
    half = run(pause_after=pause, **options)
    before = pickle.dumps(half)
    whole = run(**options)
    assert_same_bits(optimize.resume(MODEL, pickle.loads(before)), whole)
    for _ in range(2):
        assert_same_bits(optimize.resume(MODEL, half), whole)                       # and once more: half is as it was
    assert half.n_steps <= pause and pickle.dumps(half) == before
    assert not half.state.q.shape.flags.writeable                                   # a `Gamma` like any other
    if half.n_steps == pause:
        assert half.reason.startswith(f"paused after {pause} of 400 steps")


def test_what_the_caller_draws_after_a_pause_has_no_part():
    rng = np.random.default_rng(0)
    half = fit(MODEL, MODEL.prior, rng=rng, n_samples=16, n_steps=30, pause_after=10)
    rng.standard_normal(100)
    assert_same_bits(optimize.resume(MODEL, half), run(n_steps=30, schedule="cosine"))


def test_more_steps_than_were_planned():
    assert_same_bits(optimize.resume(MODEL, run(n_steps=30, keep_every=7), n_steps=45), run(n_steps=45, keep_every=7))
    half = optimize.resume(MODEL, run(n_steps=100, pause_after=30, schedule="cosine"), n_steps=60)
    assert half.n_steps == 60 and half.reason == "paused after 60 of 100 steps"
    assert_same_bits(optimize.resume(MODEL, half), run(n_steps=100, schedule="cosine"))


@pytest.mark.parametrize("arguments, message", [
    ((MODEL, "a fit"), "earlier must be a Fit, got str"),
    ((MODEL, run(stopping=GradientVanishes(1.0))), "earlier must be a fit whose stopping rule has not held, but: c"),
    ((MODEL, run(n_steps=9), 8), "n_steps must be a whole number of at least 9, got 8"),
    ((MODEL, run(n_steps=9, schedule="cosine"), 10), "n_steps must be at most the 9 that were planned, as the sch"),
    ((MODEL, run(n_steps=9, average=0.5), 10), "n_steps must be at most the 9 that were planned, as .* average 0.5"),
    ((PoissonGamma(Gamma(1.0, 1.0), [[1]]), run(n_steps=9)), "start must fit the model"),
])
def test_what_cannot_be_taken_up_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        optimize.resume(*arguments)


def test_a_pause_must_be_a_number_of_steps():
    with pytest.raises(ValueError, match="pause_after must be a whole number of at least 1, got 0"):
        run(pause_after=0)

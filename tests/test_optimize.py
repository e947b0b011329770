"""The fit: its coordinates, schedules, averaging, trace and errors, and where it lands."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
from mpmath import mp
from scipy.optimize import root
from scipy.special import gammaln, psi

from vi_ref import Adam, Gamma, PoissonGamma, exact_elbo, fit, optimize
from vi_ref.gradients import NAMES, by_name
from vi_ref.gradients._paths import Estimate

MODEL = PoissonGamma(Gamma([2.0, 0.5, 9.0], [1.0, 2.0, 0.1]), [[3, 0, 200], [5, 1, 170]])
CHARTS = pytest.mark.parametrize("coordinates", ["rate", "mean"])
UNIT = 2.0**-53


class Contract:
    """Hands on two methods of a model and nothing else."""

    __slots__ = ("grad_log_joint", "log_joint")

    def __init__(self, model):
        self.log_joint, self.grad_log_joint = model.log_joint, model.grad_log_joint


def run(model=MODEL, start=MODEL.prior, seed=0, **options):
    return fit(model, start, rng=np.random.default_rng(seed), **{"n_samples": 16, "n_steps": 40} | options)


def constant(*gradient):
    """A gradient estimator that always says the same."""
    return lambda *_: Estimate(0.0, *np.array(gradient, dtype=float))


def assert_same_bits(one, other):
    for a, b in zip(vars(one.trace).values(), vars(other.trace).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal([one.q.shape, one.q.rate], [other.q.shape, other.q.rate])


@pytest.mark.parametrize("gradient", ["reparameterized", "sticking_the_landing"])
@CHARTS
def test_a_model_needs_the_contract_alone_and_a_seed_gives_the_same_bits(gradient, coordinates):
    options = {"gradient": by_name(gradient), "coordinates": coordinates, "average": 0.5, "keep_every": 7}
    first = run(**options)
    assert_same_bits(first, run(Contract(MODEL), **options))
    assert_same_bits(first, run(**options))
    assert np.all(first.q.shape != run(seed=1, **options).q.shape)


@CHARTS
def test_coordinates_there_and_back(coordinates):
    chart = optimize.COORDINATES[coordinates]
    q = Gamma([1e-3, 0.5, 7.0, 1e5], [1e-2, 30.0, 1.0, 1e4])
    u = chart.of(q)
    there_and_back = chart.q(u)
    # log rounds u by |u| <= 12 half ulps, which exp makes relative; the rate of "mean" adds two such numbers.
    for value, truth in ((there_and_back.shape, q.shape), (there_and_back.rate, q.rate)):
        np.testing.assert_allclose(value, truth, rtol=40 * UNIT)
    second = np.log(q.rate) if coordinates == "rate" else np.log(q.shape / q.rate)
    np.testing.assert_allclose(u, [np.log(q.shape), second], rtol=4 * UNIT)


@CHARTS
def test_gradient_in_the_coordinates_against_finite_differences_of_the_elbo(coordinates):
    chart, h = optimize.COORDINATES[coordinates], 2e-3
    q = Gamma([3.0, 0.7, 40.0], [1.5, 2.0, 0.2])
    u = chart.of(q)
    ours = chart.gradient(*exact_elbo.gradient(MODEL, q))

    def difference(i, h):
        """Five-point rule: error h^4 f''''' / 30 and 1.5 roundings of f over h."""
        e = np.zeros_like(u)
        e[i] = h
        f = [exact_elbo.value(MODEL, chart.q(u + k * e)) for k in (-2, -1, 1, 2)]
        return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)

    # Doubling h multiplies the truncation by 16, so that their difference is 15 times that of h;
    # moving u by its own rounding, 4 units, is within the rounding of f.
    rounding = exact_elbo.rounding(MODEL, q) + 16 * UNIT * np.abs(ours).max()
    for i in np.ndindex(u.shape):
        once, twice = difference(i, h), difference(i, 2 * h)
        budget = abs(twice - once) / 8 + 4 * rounding / h
        assert abs(ours[i] - once) <= budget < 1e-6 * np.abs(ours).max()


@CHARTS
def test_natural_gradient_is_the_gradient_by_the_inverse_fisher_information_in_the_coordinates(coordinates):
    """F in the chart is J^T F J, J the derivative of (log shape, log rate) in it; solved at 40 digits."""
    q, g = Gamma([1e-3, 0.5, 7.0, 1e5], [1.0, 2.0, 3.0, 4.0]), np.array([[1.0, -2.0, 0.3, 5.0], [0.7, 1.0, -4.0, -4.9]])
    chart = optimize.COORDINATES[coordinates]
    ours = chart.move(*optimize.natural(q, *g))
    J = np.array([[1, 0], [0, 1] if coordinates == "rate" else [1, -1]])
    for d, (a, column) in enumerate(zip(q.shape, ours.T, strict=True)):
        with mp.workdps(40):
            a = mp.mpf(float(a))
            fisher = mp.matrix(J.T.tolist()) * mp.matrix([[a**2 * mp.psi(1, a), -a], [-a, a]]) * mp.matrix(J.tolist())
            truth = mp.lu_solve(fisher, mp.matrix(chart.gradient(*g)[:, d].tolist()))
            off = max(abs(mp.mpf(float(x)) - t) for x, t in zip(column, truth, strict=True))
            # log_shape + log_rate loses at most a unit of their sizes, 16 units cover the rest; the solution's size
            # is that of g over the least eigenvalue, at most 2/a + what (g1 + g2) / det leaves
            size = sum(abs(x) for x in g[:, d]) / (a**2 * mp.psi(1, a) - a) + abs(g[1, d]) / a
            assert off <= 16 * UNIT * size


@CHARTS
def test_a_small_natural_step_is_the_same_change_of_q_in_both_coordinates(coordinates):
    chart, q, eps = optimize.COORDINATES[coordinates], MODEL.prior, 1e-7
    to_shape, to_rate = optimize.natural(q, *exact_elbo.gradient(MODEL, q))
    np.testing.assert_allclose(to_shape, MODEL.posterior.shape / q.shape - 1, rtol=1e-12)
    np.testing.assert_allclose(to_rate, MODEL.posterior.rate / q.rate - 1, rtol=1e-12)
    moved = chart.q(chart.of(q) + eps * chart.move(to_shape, to_rate))     # second order: (eps * 100)^2 = 1e-10
    np.testing.assert_allclose(np.log(moved.shape / q.shape), eps * to_shape, atol=1e-14, rtol=1e-6)
    np.testing.assert_allclose(np.log(moved.rate / q.rate), eps * to_rate, atol=1e-14, rtol=1e-6)


@CHARTS
def test_a_fit_by_natural_gradients_lands(coordinates):
    q = run(n_steps=1500, natural_gradient=True, coordinates=coordinates).q
    np.testing.assert_allclose(q.shape, MODEL.posterior.shape, rtol=1e-9)
    np.testing.assert_allclose(q.rate, MODEL.posterior.rate, rtol=1e-9)
    assert np.any(q.shape != run(n_steps=1500, coordinates=coordinates).q.shape)


@pytest.mark.parametrize("schedule, shares", [("constant", (1, 1, 1, 1)), ("cosine", (1, (2 + 2**0.5) / 4, 0.5, 0))])
@CHARTS
def test_steps_go_uphill_by_the_schedules_share_of_the_learning_rate(schedule, shares, coordinates):
    share = optimize.SCHEDULES[schedule]
    assert [share(t, 40) for t in (0, 10, 20, 40)] == pytest.approx(shares, abs=2 * UNIT)
    chart, sign = optimize.COORDINATES[coordinates], np.array([[1, -1, 1], [1, -1, -1]])
    # Under a constant gradient Adam moves by its sign times the rate: m^ = g and v^ = g^2 up to the rounding of
    # 1 - beta2^t >= 5e-3, a relative 4 units / 5e-3. The gradient is given in (log shape, log rate).
    log_shape, log_rate = sign if coordinates == "rate" else np.array([sign[0] + sign[1], -sign[1]])
    options = {"schedule": schedule, "coordinates": coordinates, "keep_every": 1}
    options["optimizer"] = Adam(0.2, beta2=0.995, epsilon=1e-30)
    trace = run(gradient=constant(log_shape, log_rate), **options).trace
    u = np.array([chart.of(Gamma(a, b)) for a, b in zip(trace.shape, trace.rate, strict=True)])
    expected = 0.2 * np.array([share(t, 40) for t in range(40)])[:, None, None] * sign
    np.testing.assert_allclose(np.diff(u, axis=0), expected, atol=1000 * UNIT)


@CHARTS
def test_averaging_is_the_mean_of_the_last_iterates_in_the_coordinates(coordinates):
    chart = optimize.COORDINATES[coordinates]
    result = run(coordinates=coordinates, average=0.25, keep_every=1)
    last = [chart.of(Gamma(a, b)) for a, b in zip(result.trace.shape[-10:], result.trace.rate[-10:], strict=True)]
    np.testing.assert_allclose(chart.of(result.q), np.mean(last, axis=0), atol=100 * UNIT)    # 10 additions of |u| < 8
    assert np.all(result.q.shape != result.trace.shape[-1])
    np.testing.assert_array_equal(run(coordinates=coordinates).q.shape, result.trace.shape[-1])   # 0: the last one


def test_trace():
    result = run(n_steps=10, keep_every=4)
    trace = result.trace
    assert trace.elbo.shape == trace.gradient_norm.shape == (10,) and trace.shape.shape == trace.rate.shape == (4, 3)
    np.testing.assert_array_equal(trace.step, [0, 4, 8, 10])
    np.testing.assert_array_equal([trace.shape[0], trace.rate[0]], [MODEL.prior.shape, MODEL.prior.rate])
    np.testing.assert_array_equal([trace.shape[-1], trace.rate[-1]], [result.q.shape, result.q.rate])
    np.testing.assert_array_equal(run(n_steps=8, keep_every=4).trace.step, [0, 4, 8])
    assert result.reason == "all 10 steps were taken"
    exact = run(n_steps=3, keep_every=1, gradient="exact").trace
    for t, q in enumerate(map(Gamma, exact.shape[:3], exact.rate[:3])):
        assert exact.elbo[t] == pytest.approx(exact_elbo.value(MODEL, q), rel=1e-13)     # q went through log and exp
    norm = np.linalg.norm(exact_elbo.gradient(MODEL, MODEL.prior))
    assert exact.gradient_norm[0] == pytest.approx(norm, rel=8 * UNIT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_a_gradient_that_is_not_finite_stops_the_fit_and_says_where(value, row):
    calls = []

    def third_is_bad(*_):
        calls.append(0)
        gradient = np.zeros((2, 3))
        gradient[row, 2] = value if len(calls) == 3 else 0
        return Estimate(0.0, *gradient)

    with pytest.raises(FloatingPointError, match=r"not finite at step 3, column 2, .* shape 9 and rate 0\.1: "):
        run(gradient=third_is_bad)
    assert len(calls) == 3


# e^400 is a number and e^800 is not; at fixed mean e^400 with a mean of e^-400 asks for a rate of e^800 at once.
@pytest.mark.parametrize("coordinates, step", [("rate", 1), ("mean", 1)])
@pytest.mark.parametrize("uphill", [1, -1])
def test_a_step_out_of_the_positive_numbers_stops_the_fit_and_says_where(coordinates, step, uphill):
    up = constant(*np.full((2, 3), uphill))
    with pytest.raises(FloatingPointError, match=f"step {step} is too long"):
        run(gradient=up, optimizer=Adam(400.0), schedule="constant", coordinates=coordinates)


@pytest.mark.parametrize("argument, value, message", [
    ("n_samples", 0, "n_samples must be a whole number of at least 1, got 0"),
    ("n_steps", 0, "n_steps must be a whole number of at least 1, got 0"),
    ("n_steps", 2.5, "n_steps must be a whole number of at least 1, got 2.5"),
    ("keep_every", 0, "keep_every must be a whole number of at least 1, got 0"),
    ("average", 1.0, r"average must be in \[0, 1\), got 1.0"),
    ("average", math.nan, r"average must be in \[0, 1\), got nan"),
    ("natural_gradient", "yes", "natural_gradient must be True or False, got 'yes'"),
    ("gradient", "autograd", f"gradient must be one of {', '.join(NAMES)}, got 'autograd'"),
    ("schedule", "linear", "schedule must be one of constant, cosine, got 'linear'"),
    ("coordinates", "log", "coordinates must be one of rate, mean, got 'log'"),
    ("optimizer", 0.2, "optimizer must be a vi_ref.Adam, got float"),
    ("rng", 0, r"rng must be a numpy.random.Generator, got 0"),
    ("rng", np.random, r"rng must be a numpy.random.Generator, got <module"),
    ("model", SimpleNamespace(log_joint=abs), r"model must have a method grad_log_joint\(log_theta\), got SimpleName"),
    ("model", SimpleNamespace(grad_log_joint=abs, log_joint=3), r"model must have a method log_joint\(log_theta\)"),
    ("start", Gamma(1.0, 1.0), r"start must be a vi_ref.Gamma of shape \(D,\), got Gamma"),
    ("start", Gamma(np.ones((2, 3)), 1.0), r"start must be a vi_ref.Gamma of shape \(D,\)"),
    ("start", ([1.0], [1.0]), r"start must be a vi_ref.Gamma of shape \(D,\), got \(\["),
])
def test_bad_input_is_named(argument, value, message):
    good = {"model": MODEL, "start": MODEL.prior, "rng": np.random.default_rng(0)} | {argument: value}
    with pytest.raises(ValueError, match=f"^{message}"):
        fit(**good)


def test_threads_are_the_kernels_and_looked_at_for_every_gradient(monkeypatch):
    asked = []
    monkeypatch.setattr(optimize.kernels, "for_model", lambda *arguments: asked.append(arguments))
    run(n_steps=1, n_threads=3)
    assert asked == [(MODEL, "sticking_the_landing", 3)]
    with pytest.raises(ValueError, match=r"^n_threads must be a whole number of at least 1, got 0$"):
        run(gradient="exact", n_threads=0)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_start_of_another_dimension_is_refused(columns):
    with pytest.raises(ValueError):
        run(start=Gamma(np.ones(columns), 1.0))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_for_terminals(monkeypatch, capsys):
    clock = iter(range(10**6))                                       # each look at the clock is a second later
    monkeypatch.setattr("vi_ref.optimize.time", SimpleNamespace(monotonic=lambda: next(clock)))
    run(n_steps=3)
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    run(n_steps=3)
    lines = terminal.getvalue()
    assert lines.startswith("\rstep 1 of 3, ELBO -") and "\rstep 3 of 3" in lines and lines.count("\n") == 1
    monkeypatch.setattr("vi_ref.optimize.time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr("sys.stderr", quick := Terminal())
    run(n_steps=3)
    assert quick.getvalue() == ""                                    # done before there was anything to say


# The gradient vanishes with the distance, so only rounding stays: of u, |log| < 6, some ulps. Not so in "rate",
# where shape and rate of the third column, 379 and 2.1, have to move together: an error of 3e-7 is left there.
@pytest.mark.parametrize("seed", range(3))
def test_sticking_the_landing_lands_on_the_posterior(seed):
    q = run(n_steps=3000, n_samples=128, seed=seed).q
    np.testing.assert_allclose(q.shape, MODEL.posterior.shape, rtol=1e-12)
    np.testing.assert_allclose(q.rate, MODEL.posterior.rate, rtol=1e-12)
    rate = run(n_steps=3000, n_samples=32, seed=seed, coordinates="rate").q
    assert 1e-12 < np.abs(rate.shape / MODEL.posterior.shape - 1).max() < 1e-4


class LogNormalRate:
    """Counts of total 7 over 2 observations with log theta ~ N(0, 1): no conjugate posterior."""

    def log_joint(self, log_theta):
        return (7 * log_theta - 2 * np.exp(log_theta) - log_theta**2 / 2)[:, 0]

    def grad_log_joint(self, log_theta):
        return 7 - 2 * np.exp(log_theta) - log_theta


def test_a_model_without_a_closed_form_lands_on_the_best_gamma():
    x = np.arange(-25, 6, 0.01)[:, None]

    def elbo_gradient(u):
        """E[(log joint - log q) score] by the trapezoidal rule in log theta."""
        shape, scaled = np.exp(u[0]), x[:, 0] + u[1]
        log_q = shape * scaled - np.exp(scaled) - gammaln(shape)
        weighted = 0.01 * np.exp(log_q) * (LogNormalRate().log_joint(x) - log_q)
        return [weighted @ (shape * (scaled - psi(shape))), weighted @ (shape - np.exp(scaled))]

    best = root(elbo_gradient, np.log([7.0, 2.0]), tol=1e-13)
    assert best.success
    # Over 20 other seeds the fits' sd in log shape and log rate was 3e-4 and the largest error 9e-4;
    # q stays apart from the posterior, so its gradient keeps some noise. 3e-3 is ten such sd.
    q = run(LogNormalRate(), Gamma([1.0], [1.0]), n_steps=1000, n_samples=128, average=0.5).q
    np.testing.assert_allclose(np.log([q.shape[0], q.rate[0]]), best.x, atol=3e-3)


def test_a_start_that_does_not_fit_the_model_is_refused():
    model = PoissonGamma(Gamma(2.0, 1.0), [[3], [5]])
    with pytest.raises(ValueError, match=r"start must fit the model: .* the model's 1 columns, got shape \(1, 2\)"):
        fit(model, Gamma([1.0, 1.0], 1.0), rng=np.random.default_rng(0))


def test_an_elbo_that_is_not_finite_stops_the_fit():
    class Model:
        def log_joint(self, log_theta):
            return np.full(len(log_theta), np.nan)

        def grad_log_joint(self, log_theta):
            return 1 - np.exp(log_theta)

    with pytest.raises(FloatingPointError, match="ELBO not finite at step 1"):
        fit(Model(), Gamma([1.0], 1.0), rng=np.random.default_rng(0))


def test_a_model_that_writes_into_its_argument_is_stopped():
    class Model:
        def log_joint(self, log_theta):
            return (log_theta - np.exp(log_theta)).sum(axis=1)

        def grad_log_joint(self, log_theta):
            return 1 - np.exp(log_theta, out=log_theta)

    with pytest.raises(ValueError, match="read-only"):
        fit(Model(), Gamma([1.0], 1.0), rng=np.random.default_rng(0), n_steps=2)

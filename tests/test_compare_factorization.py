"""The comparison of factorisations: every cell at its true weight, libraries asked rightly, figures that follow.

Tests with other libraries are skipped by name where one is missing.
"""

import json
import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array, csr_array
from scipy.stats import poisson

from vi_ref import poisson_factorization
from vi_ref.__main__ import main
from vi_ref.compare import _process, factorization, factorizers, held_out, pictures, report
from vi_ref.poisson_factorization import simulated

K_ERRORS = 5.0
PEERS = ("hpfrec", "poismf tncg", "poismf cg", "poismf pg")


@pytest.fixture(scope="module")
def table():
    """A simulated table in parts, and factors of the true rates of its training table."""
    rng = np.random.default_rng(5)
    counts, activations, components = simulated.power_law(1000, 400, 20, 20_000, rng)
    parts, rows, columns = held_out.split(counts, rng)
    return parts, held_out.TRAIN * activations[rows], components[columns]


def small():
    """12 x 9 counts in parts, with factors that are not the true ones."""
    rng = np.random.default_rng(3)
    rates = rng.gamma(0.5, 1.0, (12, 2)) @ rng.gamma(0.5, 2.0, (2, 9))
    parts, *_ = held_out.split(csr_array(rng.poisson(rates).astype(float)), rng)
    return parts, rng.gamma(1.0, 1.0, (parts.train.shape[0], 3)), rng.gamma(1.0, 1.0, (parts.train.shape[1], 3))


# ---- the score ----

def test_a_score_is_that_of_all_cells_one_by_one():
    """Against scipy's log probabilities of all cells of a dense table, and a search for the scale: its minimum is flat,
    so that the scale has half the digits. Sums of 100 terms are good to 1e-12."""
    parts, activations, components = small()
    rate, tables = activations @ components.T / 8, {"validation": parts.validation, "test": parts.test}
    assert all(table.nnz >= 5 and table.nnz < table.sum() and table.nnz < rate.size - 20 for table in tables.values())

    def dense(name, rates):
        return poisson.logpmf(tables[name].toarray(), rates).sum() / tables[name].nnz

    found = held_out.score(parts, activations, components)
    s = np.exp(minimize_scalar(lambda log_s: -dense("validation", np.exp(log_s) * rate), tol=1e-10).x)
    assert found["scale"] == pytest.approx(s, rel=1e-6) and found["impossible"] == 0
    mixed = 0.999 * found["scale"] * rate + 0.001 * parts.validation.toarray().mean()
    for name in tables:
        assert found[name] == pytest.approx(dense(name, found["scale"] * rate), rel=1e-12)
        assert found[f"floored {name}"] == pytest.approx(dense(name, mixed), rel=1e-12)


def test_a_split_shares_out_the_units():
    """Each table's total within 5 standard errors of a binomial's, and so are the held-out units of the cells with
    several: were whole counts dealt out, the tables would share no cell."""
    counts = simulated.power_law(1000, 400, 20, 20_000, np.random.default_rng(6)).counts
    parts, rows, columns = held_out.split(counts, np.random.default_rng(7))
    whole = counts[rows][:, columns]
    assert abs(parts.train + parts.validation + parts.test - whole).nnz == 0
    for table, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert np.all(table.data >= 1) and np.all(table.data == np.floor(table.data))
        large = whole.toarray() >= 4
        for n, units in ((counts.sum(), table.sum()), (whole.toarray()[large].sum(), table.toarray()[large].sum())):
            assert abs(units - share * n) < K_ERRORS * np.sqrt(share * (1 - share) * n)
    assert np.all(parts.train.sum(axis=1) > 0) and np.all(parts.train.sum(axis=0) > 0)
    left_out = np.setdiff1d(np.arange(1000), rows)
    assert left_out.size and counts[left_out].nnz < 5 * left_out.size                # the emptiest rows alone


def test_the_tables_of_a_split_are_independent():
    """40 000 counts with rate 3: means 2.4, 0.3, 0.3, and covariances of 0 within 5 standard errors, which are
    sqrt(product of the rates / 40 000). Counts that all are 3 have -3 * 0.8 * 0.1 between training and test: 57 errors.
    The chance that one of the six is beyond 5 is 3e-6."""
    rng, rates, n = np.random.default_rng(8), np.array([2.4, 0.3, 0.3]), 40_000
    parts, rows, _ = held_out.split(csr_array(np.append(rng.poisson(3.0, n - 1), 99.0).reshape(-1, 50)), rng)
    assert rows.size == n // 50
    x = np.array([table.toarray().ravel()[:-1] for table in parts]).T - rates
    assert np.all(np.abs(x.mean(axis=0)) < K_ERRORS * np.sqrt(rates / n))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.mean(x[:, i] * x[:, j])) < K_ERRORS * np.sqrt(rates[i] * rates[j] / n)


def test_only_whole_counts_are_split():
    with pytest.raises(ValueError, match=r"^counts must be non-negative whole numbers, got 0.5 at index 1$"):
        held_out.split(csr_array([[1.0, 0.5]]), np.random.default_rng(0))


def test_the_scale_is_1_but_for_the_noise_of_the_totals(table):
    """For the true rates the noise is that of the validation table's total alone; for rates that keep the training
    table's total, that of both."""
    parts, activations, components = table
    v, t = parts.validation.sum(), parts.train.sum()
    assert abs(held_out.score(parts, activations, components)["scale"] - 1) < K_ERRORS / np.sqrt(v) < 0.1
    by_row, by_column = parts.train.sum(axis=1)[:, None], parts.train.sum(axis=0)[:, None]
    kept = held_out.score(parts, by_row / t, by_column)["scale"]
    assert kept == pytest.approx(8 * v / t, rel=1e-12) and abs(kept - 1) < K_ERRORS * np.sqrt(1 / v + 1 / t)


def test_a_constant_loses_to_totals_and_totals_to_the_truth(table):
    """By more than 0.6 nats each; a score of 2000 counts has a standard error of 0.05."""
    parts, activations, components = table
    truth = held_out.score(parts, activations, components)
    totals = held_out.score(parts, parts.train.sum(axis=1)[:, None], parts.train.sum(axis=0)[:, None])
    constant = held_out.score(parts, np.ones((parts.train.shape[0], 1)), np.ones((parts.train.shape[1], 1)))
    for kind in ("validation", "test", "floored validation", "floored test"):
        assert truth[kind] > totals[kind] + 0.6 > constant[kind] + 1.2
    shuffled = held_out.score(parts, activations, np.random.default_rng(0).permutation(components))
    assert shuffled["test"] < constant["test"]


def test_no_other_rates_have_a_better_expected_score():
    """Exactly: but for log x! a score is linear in the counts, so that the mean over tables is that of the mean table.
    Non-zeros are counted the same for all rates."""
    rng = np.random.default_rng(4)
    activations, components = rng.gamma(0.5, 1.0, (30, 2)), rng.gamma(0.5, 1.0, (20, 2))
    mean = coo_array(activations @ components.T / 8)
    parts = held_out.Split(csr_array(8 * mean), mean, mean)
    true = held_out.score(parts, activations, components)
    assert true["scale"] == pytest.approx(1, rel=1e-12)
    for _ in range(20):
        other = activations * rng.lognormal(0, 0.1, activations.shape)
        assert held_out.score(parts, other, components)["test"] < true["test"]


def test_no_library_gains_by_the_size_of_its_rates(table):
    parts, activations, components = table
    plain, tiny = held_out.score(parts, activations, components), held_out.score(parts, 1e-9 * activations, components)
    assert tiny.pop("scale") == pytest.approx(1e9 * plain.pop("scale"), rel=1e-12)
    assert tiny == pytest.approx(plain, rel=1e-12)


def test_a_rate_of_zero_where_there_is_a_count_is_infinitely_bad():
    parts, activations, components = small()
    row = parts.test.coords[0][0]
    of_row = float(np.mean(parts.test.coords[0] == row))
    found = held_out.score(parts, np.where(np.arange(len(activations))[:, None] == row, 0, activations), components)
    assert found["test"] == -np.inf and found["impossible"] == of_row and np.isfinite(found["floored test"])
    nothing = held_out.score(parts, 0 * activations, components)
    constant = held_out.score(parts, np.ones_like(activations), np.ones_like(components))
    assert nothing["test"] == nothing["validation"] == -np.inf and nothing["impossible"] == 1
    assert nothing["floored validation"] < constant["floored validation"] - 2
    assert np.isnan([*held_out.score(parts, np.nan * activations, components).values()]).all()


# ---- the libraries ----

def library(name):
    """A library of the table, or the test is skipped."""
    for module in factorizers.FACTORIZERS[name].needs:
        pytest.importorskip(module)
    if name == "vi_ref" and not hasattr(poisson_factorization, "PoissonFactorization"):
        pytest.skip("there is no vi_ref.poisson_factorization.PoissonFactorization")
    return factorizers.FACTORIZERS[name]


def blocks():
    """80 x 60 counts with rate 2 in two blocks and 0.02 outside of them."""
    first, second = (np.arange(n) < n // 2 for n in (80, 60))
    inside = first[:, None] == second
    return csr_array(np.random.default_rng(0).poisson(np.where(inside, 2.0, 0.02)).astype(float)), inside


@pytest.mark.parametrize("name", ["vi_ref", "hpfrec", "NMF", "LDA"])
def test_each_library_finds_two_blocks(name):
    """A multiplicative update keeps the table's total, and so does LDA by construction, to rounding; posterior means of
    coordinate ascent come near: the prior's rates take a few hundredths."""
    train, inside = blocks()
    activations, components = library(name).start(train, 2, 0, 1)(60)
    assert activations.shape == (80, 2) and components.shape == (60, 2)
    rates = activations @ components.T
    assert rates.min() >= 0 and abs(rates[inside].mean() - 2) < 0.2 and rates[~inside].mean() < 0.1
    assert rates.sum() == pytest.approx(train.sum(), rel=1e-9 if name in ("NMF", "LDA") else 0.05)


@pytest.mark.parametrize("name", ["vi_ref", "hpfrec", "NMF", "LDA", *PEERS[1:]])
def test_sweeps_in_parts_are_those_of_one_fit(name):
    """Where a fit goes on, up to rounding; where each is a fit of its own, to the bit. Another seed is another fit, but
    NMF starts from a decomposition that hardly depends on it."""
    start, goes_on = library(name)[0], library(name).goes_on
    train, _ = blocks()
    advance = start(train, 3, 4, 1)
    assert advance(2)[0].dtype == np.float64
    parts, whole = advance(5), start(train, 3, 4, 1)(5)
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9 if goes_on else 0, atol=1e-12 if goes_on else 0)
    one = start(train, 3, 4, 1)(1)
    assert not np.allclose(one[1], parts[1], rtol=1e-6)
    assert not np.array_equal(start(train, 3, 5, 1)(5)[1], whole[1])


def test_ours_is_asked_for_what_is_left_of_the_sweeps(monkeypatch):
    asked = []

    class Fake:
        def __init__(self, n_components, **options):
            asked.append((n_components, options))
            self.activation_posterior_ = SimpleNamespace(mean="activations")
            self.component_posterior_ = SimpleNamespace(mean="components")

        def set_params(self, max_iter, evaluate_every):
            asked.append((max_iter, evaluate_every >= max_iter))
            return self

        def fit(self, train):
            asked.append(train)

    monkeypatch.setattr(poisson_factorization, "PoissonFactorization", Fake, raising=False)
    advance = factorizers.ours("table", 7, 3, 2)
    assert advance(2) == advance(9) == ("activations", "components")
    options = {"prior": "hierarchical", "n_init": 1, "tol": 0, "random_state": 3, "warm_start": True, "n_jobs": 2}
    assert asked == [(7, options), (2, True), "table", (7, True), "table"]


# ---- what is measured ----

@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A library that takes a second and two a sweep and gives rates of 1, on a small table in a folder."""
    parts, activations, components = small()
    held_out.save(parts, tmp_path)
    asked = []

    def start(train, n_components, seed, n_threads, goes_on):
        asked.append((n_components, seed, n_threads))
        assert abs(train - parts.train).nnz == 0
        done = [0]

        def advance(n_sweeps):
            new, done[0] = n_sweeps - done[0] * goes_on, n_sweeps
            return 1 + 2 * new, (activations * n_sweeps, components)
        return advance

    def timed(advance, n_sweeps):
        return advance(n_sweeps)

    monkeypatch.setattr(factorization, "FACTORIZERS", {
        name: factorizers.Factorizer(partial(start, goes_on=name == "goes on"), {}, goes_on=name == "goes on")
        for name in ("goes on", "refits")})
    monkeypatch.setattr(factorization, "_timed", timed)
    monkeypatch.setattr(factorization, "warm", lambda name: None)
    monkeypatch.setattr(factorization, "_processors", lambda n: n)
    return SimpleNamespace(folder=str(tmp_path), parts=parts, factors=(activations, components), asked=asked)


def test_a_curve_has_the_times_and_scores_of_ever_longer_fits(fake):
    points = [*factorization.TASKS["curve"](fake.folder, "refits", "3", "30.0", "2")]
    assert [(point["sweeps"], point["seconds"]) for point in points] == [
        (1, 3), (2, 5), (3, 7), (4, 9), (6, 13), (9, 19), (13, 27)]          # 1.5 times 27 is beyond 30, 19 is not
    assert {key: points[-1][key] for key in ("validation", "test")} == pytest.approx(
        {key: held_out.score(fake.parts, *fake.factors)[key] for key in ("validation", "test")}, rel=1e-12)
    points = [*factorization.TASKS["curve"](fake.folder, "goes on", "3", "30.0", "2")]
    assert [point["seconds"] for point in points] == [3, 6, 9, 12, 17, 24]           # a second each time, for a start
    assert fake.asked == [(20, 3, 2)] * 2


def test_a_sweep_is_what_it_adds_to_a_fit(fake):
    assert factorization.sweep(fake.folder, "refits", 1, least=0) == 2.0
    assert fake.asked == [(20, 0, 1)] * 2


def test_a_fit_ends_where_more_sweeps_are_not_worth_their_time():
    settled = factorization.settled
    assert not settled(99, [-3.0, -3.0]) and settled(100, [-3.0, -3.0])
    assert not settled(100, [-3.0, -2.999]) and settled(100, [-3.0, -2.9999]) and settled(100, [-3.0, -3.0001])
    assert settled(100, [-3.0, -3.01, -3.02]) and not settled(100, [-3.0, -3.014]) and settled(100, [-3.0, np.nan])


def test_what_follows_from_curves():
    def points(*scores):
        return [{"sweeps": n, "seconds": 10.0 * n, "validation": score} for n, score in enumerate(scores, start=1)]

    curve = points(-4.0, -3.0, -2.0, -2.5, None)
    assert factorization.best(curve)["sweeps"] == 3 and factorization.best(points(None)) is None
    assert factorization.seconds_to(curve, -2.25) == 27.5 and factorization.seconds_to(curve, -5.0) == 10.0
    assert factorization.seconds_to(curve, -1.9) is None and factorization.seconds_to(points(None, -2.0), -3.0) == 20.0
    assert factorization.targets({"hpfrec": [curve, points(None)], "NMF": [curve]}) == [-2.01, None]
    assert factorization.targets({"NMF": [curve]}) == []
    assert factorization.slope({1000: 2.0, 10_000: 20.0, 100_000: 200.0}) == pytest.approx(1)
    assert factorization.slope({1000: 2.0, 4000: 4.0}) == pytest.approx(0.5)
    assert factorization.slope({1000: 2.0}) is factorization.slope({1000: -0.1, 4000: 4.0}) is None


def test_a_process_of_its_own_is_measured(tmp_path, monkeypatch):
    """A fit that fills 64 MB, as the command starts it; half a gigabyte of this process is not its."""
    held_out.save(small()[0], tmp_path)
    (tmp_path / "filling.py").write_text("""if True:
        import numpy as np
        from vi_ref.compare.factorization import FACTORIZERS, TASKS
        from vi_ref.compare.factorizers import Factorizer
        FACTORIZERS["filling"] = Factorizer(lambda *asked: lambda n_sweeps: np.ones(2**23), {})
    """)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    held = np.ones(2**26)
    [(_, found)], why = _process.lines_of("filling", "memory", tmp_path, "filling", 1)
    assert why == "" and (found["peak"] is None or 2**24 < found["before"] < found["peak"] - 2**25 < held.nbytes / 2)


def test_a_simulated_table_is_written_with_what_is_known_of_it(tmp_path):
    """The true rates are those of training: their scale is 1 within 5 standard errors, and not 0.8."""
    [found] = factorization.TASKS["simulate"](str(tmp_path), "10000", "1")
    parts = held_out.load(tmp_path)
    assert parts.train.shape == (found["rows"], found["columns"]) and parts.train.nnz == found["train"]
    assert factorization.shape(10_000) == (200, 500) and abs(found["nonzeros"] / 10_000 - 1) < 0.1
    assert found["truth"]["test"] > found["totals"]["test"] + 0.3
    assert abs(found["truth"]["scale"] - 1) < K_ERRORS / np.sqrt(parts.validation.sum()) < 0.15
    assert isinstance(parts.validation.data[0], float) and parts.test.format == "coo"


# ---- the whole ----

def fake_lines(asked, broken=()):
    """What processes would answer, in the place of `lines_of`."""
    score = {"scale": 1.25, "validation": -3.0, "test": -3.1, "floored validation": -3.0, "floored test": -3.1,
             "impossible": 0.0}

    def lines_of(module, task, *arguments, timeout):
        asked.append((task, *arguments, timeout))
        if (task, arguments[0]) in broken:
            return [], "ImportError: broken"
        if task == "curve":
            end = 4.0 if arguments[1] == "hpfrec" else 2.0
            return [(0.0, score | {"sweeps": n, "seconds": end * share, "validation": -3 - 1 / n,
                                   "floored validation": -3 - 1 / n,
                                   "impossible": 0.25 if arguments[1] == "LDA" else 0.0,
                                   "test": None if arguments[1] == "LDA" else -3 - 1.2 / n})
                    for n, share in ((1, 0.25), (10, 1.0))], ""
        answers = {"load": "loaded", "sweep": 0.3 if arguments[1:2] == ("hpfrec",) else 0.1,
                   "memory": {"before": 2**27, "peak": 3 * 2**27},
                   "simulate": {"rows": 90, "columns": 80, "nonzeros": 1000, "train": 800, "largest": 9, "mean": 1.5,
                                "truth": score | {"floored test": -2.5}, "totals": score | {"floored test": -4.0}}}
        return [(0.0, answers[task])], ""
    return lines_of


@pytest.fixture
def measured(monkeypatch):
    asked = []
    monkeypatch.setattr(factorization, "missing", lambda needs: {
        name: _process.missing({name: (name, {"absent": "absent"})})[name] for name in PEERS[1:]})
    monkeypatch.setattr(factorization, "lines_of", fake_lines(asked, {("load", "vi_ref")}))
    monkeypatch.setattr(factorization.os, "cpu_count", lambda: 2)
    result = factorization.measure(sizes=[1000, 10_000], seeds=2, seconds=6.0, rounds=3, memory_at=5000, timeout=9.0)
    return asked, result


def test_everything_that_is_there_is_measured(measured):
    asked, result = measured
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["missing"] == dict.fromkeys(PEERS[1:], "python -m pip install absent")
    assert result["failed"] == {"load vi_ref": "ImportError: broken"}
    assert {name: len(of) for name, of in result["curves"]["1000"].items()} == {"hpfrec": 2, "NMF": 2, "LDA": 2}
    assert result["sweeps"]["10000"] == {"1": {"hpfrec": [0.3] * 3, "NMF": [0.1] * 3, "LDA": [0.1] * 3},
                                         "2": {"hpfrec": [0.3] * 3, "LDA": [0.1] * 3}}
    budgets = {task[4] for task in asked if task[0] == "curve"}
    assert budgets == {0.06, 0.6} and {task[-1] for task in asked} == {9.0}
    assert [len(tables) for tables in result["tables"].values()] == [2, 2] and list(result["memory"]) == [
        "hpfrec", "NMF", "LDA"]


def test_what_is_missing_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(_process, "find_spec", lambda name: None)
    monkeypatch.setattr(factorization, "lines_of", fake_lines([]))
    found = factorization.measure(sizes=[1000], seeds=0, seconds=6.0, rounds=1, memory_at=0, timeout=9.0)
    assert found["missing"] == {"hpfrec": "python -m pip install hpfrec"} | dict.fromkeys(
        PEERS[1:], "python -m pip install poismf")
    assert found["curves"] == {} and found["failed"] == {} and list(found["sweeps"]["1000"]["1"]) == [
        "vi_ref", "NMF", "LDA"]
    assert "hpfrec is missing: python -m pip install hpfrec" in report.factorization(found)


def test_the_table_says_what_was_measured(measured):
    lines = [line.split() for line in report.factorization(measured[1]).splitlines()]
    assert ["hpfrec,", "1", "thread", "3.8e+02", "1", "[1,", "1]"] in lines               # 0.3 s of 800 counts
    assert ["NMF,", "1", "thread", "1.2e+02", "0.33", "[0.33,", "0.33]"] in lines
    assert ["hpfrec", "-3.1200", "-3.1000", "0", "1.2", "10", "3.9", "(2", "of", "2)"] in lines
    # reaches -3.1 * 1.005 = -3.1155 of -4 to -3.1 in 0.5 to 2 s
    assert ["NMF", "-3.1200", "-3.1000", "0", "1.2", "10", "2", "(2", "of", "2)"] in lines
    assert ["LDA", "-inf", "-3.1000", "0.25", "1.2", "10", "2", "(2", "of", "2)"] in lines
    assert ["the", "true", "rates", "-3.1000", "-2.5000", "1.2"] in lines
    assert ["hpfrec", "384", "128"] in lines and ["poismf", "cg", "is", "missing:", "python", "-m", "pip", "install",
                                                  "absent"] in lines
    assert ["load", "vi_ref", "failed:", "ImportError:", "broken"] in lines


def test_the_picture_has_a_line_for_each_library_and_seed(measured):
    figure = pictures.factorization(measured[1])
    assert len(figure.axes) == 2
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() != "None"]
    assert len(lines) == 6 and list(lines[0].get_xdata()) == [1.0, 4.0] and list(lines[0].get_ydata()) == [-3.1, -3.1]
    low, high = figure.axes[0].get_ylim()
    assert low < -4 and -2.5 < high < -2.2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hpfrec", "NMF", "LDA", "the true rates", "totals alone"]


def test_the_command_writes_what_was_measured_and_says_where(measured, tmp_path, monkeypatch, capsys):
    asked, result = [], measured[1]
    monkeypatch.setattr(pictures, "factorization", lambda given: Figure(figsize=(1, 1)) if given is result else None)
    monkeypatch.setattr(factorization, "measure", lambda say, **kw: (asked.append(kw), say("a part"), result)[2])
    code = main(["compare", "factorization", *"--nonzeros 1e4 2000 --seeds 2 --seconds 1.5 --rounds 1 --memory 8e6 "
                 "--timeout 50 --out".split(), str(tmp_path)])
    out, err = capsys.readouterr()
    name = f"factorization-{result['machine']['date']}.json"
    assert code == 1 and sorted(p.name for p in tmp_path.iterdir()) == [name, "factorization.png"]  # a library failed
    assert json.loads((tmp_path / name).read_text()) == result and report.factorization(result) in out
    assert err == "measuring: a part\n" and out.endswith(f"factorization.png and {name} are in {tmp_path}\n")
    assert asked == [{"sizes": [10_000, 2000], "seeds": 2, "seconds": 1.5, "rounds": 1, "memory_at": 8_000_000,
                      "timeout": 50.0}]
    monkeypatch.setattr(factorization, "measure", lambda say, **kw: (asked.append(kw), result | {"failed": {}})[1])
    monkeypatch.setattr(pictures, "factorization", lambda given: Figure(figsize=(1, 1)))
    assert main(["compare", "factorization", "--out", str(tmp_path)]) == 0
    assert asked[1] == {"sizes": [100_000], "seeds": 3, "seconds": 20.0, "rounds": 3, "memory_at": 0, "timeout": 600.0}


@pytest.mark.parametrize(("arguments", "reason"), [
    (["factorization", "--nonzeros", "1e5", "999"], "--nonzeros must be a whole number of at least 1000, got 999"),
    (["factorization", "--nonzeros", "2000.5"], "--nonzeros must be a whole number of at least 1000, got 2000.5"),
    (["factorization", "--nonzeros", "inf"], "--nonzeros must be a whole number of at least 1000, got inf"),
    (["factorization", "--seeds", "-1"], "--seeds must be a whole number of at least 0, got -1"),
    (["factorization", "--rounds", "0"], "--rounds must be a whole number of at least 1, got 0"),
    (["factorization", "--seconds", "0"], "--seconds must be in (0, 1e+06), got 0.0"),
    (["factorization", "--memory", "0.5"], "--memory must be a whole number of at least 0, got 0.5"),
    (["factorization", "--steps", "3"], "--steps must be left out with factorization, got 3"),
    (["--nonzeros", "1e5"], "--nonzeros must be left out with the scorecard, got [100000.0]"),
    (["--speed", "--memory", "3"], "--memory must be left out with --speed, got 3.0"),
    (["factorization", "--speed"], "not allowed with argument"),
    (["factorisation"], "invalid choice: 'factorisation'"),
])
def test_the_command_refuses_bad_options_before_it_measures(arguments, reason, monkeypatch, capsys):
    monkeypatch.setattr(factorization, "measure", None)
    try:
        code = main(["compare", *arguments])
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2 and reason in err and err.count("\n") == 1

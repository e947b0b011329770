"""The comparison of speed: what it times is what it says, turn by turn; with and without the other libraries."""

import json
import time

import numpy as np
import pytest

from vi_ref import Gamma, exact_elbo, study
from vi_ref.__main__ import main
from vi_ref.compare import speed
from vi_ref.compare._process import machine

K_ERRORS = 5.0


def test_turns_are_taken_in_turn_and_short_calls_repeated():
    order = []
    calls = {"short": lambda: order.append("s"), "long": lambda: (order.append("l"), time.sleep(0.03))}
    seconds = speed.turns(calls, 3, least=0.01)
    text = "".join(order).lstrip("s").removeprefix("ll")                  # the first two calls compile and calibrate
    assert [len(run) for run in text.split("l")[1:-1]] == [len(text.split("l")[0])] * 2 and text.count("l") == 3
    assert min(seconds["long"]) >= 0.03 > max(seconds["short"]) and len(seconds["short"]) == 3


def test_ratio_is_formed_turn_by_turn():
    assert speed.ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == (2.0, 2.0, 2.5)


def test_every_contestant_estimates_the_same():
    """The digit's 64 columns, 128 draws: 200 estimates each see a bias of 5 / sqrt(200) = 0.35 of an estimate's sd."""
    model = speed.digit_zero()
    q = study.points(model)["half way"]
    calls = speed.contestants(model, q, 128)
    assert list(calls)[:2] == ["kernel", "general route"]
    calls.pop("JAX float64", None)                                       # slow, and its key is always the same
    if "PyTorch float64" in calls:
        pytest.importorskip("torch").manual_seed(0)
    exact, value = np.array(exact_elbo.gradient(model, q)), exact_elbo.value(model, q)
    for name, call in calls.items():
        values = [call() for _ in range(200)]
        elbo = np.array([float(v[0]) for v in values])
        gradient = np.array([np.asarray(v[1:] if len(v) == 3 else v[1]).reshape(2, -1) for v in values])
        for got, truth in ((elbo, value), (gradient, exact)):
            error = got.std(axis=0, ddof=1) / np.sqrt(200)
            assert np.all(np.abs(got.mean(axis=0) - truth) <= (K_ERRORS + 1e-6) * error), name


def test_jax_estimates_the_same():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    from vi_ref.compare import with_jax

    model = speed.digit_zero()
    model = type(model).from_totals(Gamma(model.prior.shape[:6], 2.0), 178, model.totals[:6])
    q = study.points(model)["half way"]
    elbo, gradient = with_jax.estimator(model, 20_000)(np.log([q.shape, q.rate]), jax.random.key(1))
    # one estimate of 20 000 draws, whose sd those of the general route tell
    from vi_ref.gradients import reparameterized

    again = [reparameterized.estimate(model, q, 2000, np.random.default_rng(k)) for k in range(40)]
    sd = np.std([[e.log_shape, e.log_rate] for e in again], axis=0) / np.sqrt(10)
    assert np.all(np.abs(np.asarray(gradient) - np.array(exact_elbo.gradient(model, q))) <= K_ERRORS * 1.2 * sd)
    sd = np.std([e.elbo for e in again]) / np.sqrt(10)
    assert abs(float(elbo) - exact_elbo.value(model, q)) <= K_ERRORS * 1.2 * sd


def test_without_other_libraries_two_contestants_are_left(monkeypatch):
    monkeypatch.setattr(speed, "missing", lambda: {"PyTorch": "", "JAX": ""})
    assert list(speed.contestants(speed.digit_zero(), speed.digit_zero().prior, 4)) == ["kernel", "general route"]


def test_the_command_prints_and_writes_what_was_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "missing", lambda: {"JAX": "python -m pip install jax optax"})
    children = {"steps": {"start": {"kernel": [1e-3, 2e-3, 3e-3], "PyTorch float64": [1e-2, 2e-2, 6e-2]}},
                "scaling": {"S": {"8": [1e-3] * 3, "16": [2e-3] * 3}}, "threads": {"1": [0.2] * 3, "2": [0.1] * 3},
                "memory": 3 * 2**20}
    asked = []
    monkeypatch.setattr(speed, "child", lambda _, *task, **__: (asked.append(task), children.get(task[0]))[1])
    assert main(["compare", "--speed", "--rounds", "3", "--whole", "2", "--out", str(tmp_path)]) == 0
    file = tmp_path / f"speed-{machine()['date']}.json"
    result, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == [file.name] and speed.table(result) in printed
    assert "PyTorch float64               20 ms        10 [10, 15]" in printed
    assert "JAX is missing: python -m pip install jax optax" in printed and "3.0 MB" in printed
    assert result["machine"]["versions"]["numpy"] == np.__version__ and result["machine"]["cpu"]
    assert {name: len(seconds) for name, seconds in result["programs"].items()} == {
        "ours, warm cache": 2, "ours, empty cache": 2}
    assert ("program", "ours, empty cache") in asked and ("steps", 3, "all processors") in asked


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--speed", "--rounds", "0"], "--rounds must be a whole number of at least 1, got 0"),
    (["--speed", "--whole", "-1"], "--whole must be a whole number of at least 0, got -1"),
    (["--speed", "--out", "{file}"], "--out must be a folder that can be written"),
])
def test_the_command_refuses_bad_options_in_one_line(tmp_path, capsys, arguments, reason):
    (tmp_path / "file").write_text("")
    try:
        code = main(["compare", *(a.format(file=tmp_path / "file") for a in arguments)])
    except SystemExit as stop:
        code = stop.code
    stderr = capsys.readouterr().err
    assert code == 2 and reason in stderr and stderr.count("\n") == 1


def test_memory_is_measured():
    pytest.importorskip("resource")
    assert 2**24 < speed.memory(8) < 2**34
    assert speed.child("vi_ref.compare.speed", "memory", 8) > 2**24


def test_a_child_that_fails_is_reported_in_a_line():
    with pytest.raises(RuntimeError, match=r"memory no_number: .*invalid literal"):
        speed.child("vi_ref.compare.speed", "memory", "no_number")

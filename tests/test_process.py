"""Tasks in processes of their own: what they print stays with them, and what goes wrong is one line."""

import sys

import pytest

from vi_ref.compare import _process

FAKE = '''
import sys, time, warnings

def counts(n):
    print("chatter")
    for k in range(int(n)):
        warnings.warn("a warning of the library")
        print("more", file=sys.stderr)
        yield {"k": k}

def raises():
    yield 1
    raise ZeroDivisionError("no result\\non two lines")

def dies():
    yield 1
    sys.exit(7)

def hangs():
    yield 1
    time.sleep(600)

def interrupts():
    print('{"at": "the start"}')
    print("progress 100%", end="", flush=True)
    yield 1

TASKS = {f.__name__: f for f in (counts, raises, dies, hangs, interrupts)}
'''


@pytest.fixture(autouse=True)
def fake_module(tmp_path, monkeypatch):
    (tmp_path / "fake_tasks.py").write_text(FAKE)
    monkeypatch.chdir(tmp_path)


def test_results_come_in_their_order_with_their_times_and_nothing_leaks(capfd):
    lines, why = _process.lines_of("fake_tasks", "counts", 3)
    assert [value for _, value in lines] == [{"k": 0}, {"k": 1}, {"k": 2}] and why == ""
    times = [at for at, _ in lines]
    assert 0 < times[0] <= times[1] <= times[2] < 60
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("task", "reason"), [
    ("raises", "ZeroDivisionError: no result on two lines"), ("dies", "exit code 7"),
    ("hangs", "no end after 3 seconds"),
    ("absent", "KeyError: 'absent'"),
])
def test_what_goes_wrong_is_one_line_and_what_came_before_is_kept(task, reason):
    lines, why = _process.lines_of("fake_tasks", task, timeout=3)
    assert why == reason and [value for _, value in lines] == ([] if task == "absent" else [1])


def test_a_child_gives_its_last_value_or_raises_in_a_line():
    assert _process.child("fake_tasks", "counts", 2) == {"k": 1}
    with pytest.raises(RuntimeError, match=r"^dies: exit code 7$"):
        _process.child("fake_tasks", "dies")


def test_what_is_missing_is_named_with_the_command_that_brings_it(monkeypatch):
    absent = ("optax", "tensorflow_probability")
    monkeypatch.setattr(_process, "find_spec", lambda name: None if name in absent else sys.__spec__)
    assert _process.missing() == {
        "JAX": "python -m pip install optax", "TFP": "python -m pip install tfp-nightly optax",
        "NumPyro": "python -m pip install optax"}
    monkeypatch.setattr(_process, "find_spec", lambda name: None)
    assert list(_process.missing()) == ["PyTorch", "JAX", "TFP", "NumPyro"]
    monkeypatch.setattr(_process, "find_spec", lambda name: sys.__spec__)
    assert _process.missing() == {}


def test_the_machine_is_described():
    about = _process.about(_process.machine())
    assert len(about) == 2 and f"Python {sys.version.split()[0]}" in about[1] and "numpy" in about[1]


def test_what_a_library_prints_is_no_result():
    lines, why = _process.lines_of("fake_tasks", "interrupts")
    assert [value for _, value in lines] == [1] and why == ""


def test_a_folder_of_a_librarys_name_is_not_the_library(tmp_path):
    (tmp_path / "no_such_library").mkdir()
    sys.path.insert(0, str(tmp_path))
    try:
        assert not _process._there("no_such_library") and _process._there("numpy")
    finally:
        sys.path.remove(str(tmp_path))

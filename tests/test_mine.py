"""Scoring a gradient that is not ours: a right one passes, and each way to be wrong is one clear line."""

import json

import numpy as np
import pytest

from vi_ref import gamma_grad, vectors
from vi_ref.__main__ import main
from vi_ref.compare import mine

LIBRARY = '''
import sys, time, warnings
import numpy as np
from vi_ref import gamma_grad, gamma_grad_fast

right = gamma_grad.dz_dshape

def in_float32(alpha, z):
    assert alpha.dtype == z.dtype == np.float32
    return gamma_grad.dz_dshape(alpha, z).astype(np.float32)

def noisy(alpha, z):
    print("chatter")
    warnings.warn("a warning of the library")
    print("more", file=sys.stderr)
    return right(alpha, z)

def wrong_above_100(alpha, z):
    return right(alpha, z) * np.where(alpha > 100, 1 + 1e-9, 1)

def one_nan(alpha, z):
    value = right(alpha, z)
    value[np.argmax(alpha > 3)] = np.nan
    return value

def wrong_shape(alpha, z):
    return right(alpha, z)[:-1]

def wrong_type(alpha, z):
    return right(alpha, z).astype(np.float32)

def of_objects(alpha, z):
    return right(alpha, z).astype(object)

def raises(alpha, z):
    raise ZeroDivisionError("no gradient\\non two lines")

def dies(alpha, z):
    sys.exit(7)

def hangs(alpha, z):
    time.sleep(600)
'''


@pytest.fixture
def score(tmp_path, monkeypatch, capsys):
    """Exit code, standard output and standard error of the command for one function of the library above."""
    (tmp_path / "fake_library.py").write_text(LIBRARY)
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        code = main(["compare", "--mine", f"fake_library:{name}" if ":" not in name else name, *options])
        return code, *capsys.readouterr()

    return run


def test_a_right_gradient_passes_and_its_chatter_stays_with_it(score):
    code, out, err = score("noisy", "--tolerance", "4e-15")
    assert code == 0 and err == "" and "chatter" not in out and "warning" not in out and "BEYOND" not in out
    assert out.endswith("fake_library:noisy, float64: within 4e-15 at every point\n")
    assert out.count("\n") == 2 + len({int(np.floor(np.log10(a))) for a in mine.points("float64")["alpha"]})


def test_a_right_gradient_in_single_precision(score):
    code, out, err = score("in_float32", "--precision", "float32", "--tolerance", "7e-8")     # 2^-24, and our 4e-15
    assert code == 0 and err == "" and "float32: within 7e-08" in out


def test_a_wrong_gradient_is_flagged_where_it_is_wrong(score, tmp_path):
    """A billionth too large above alpha = 100, in the default tolerance of 1e-12; the decade 10 to 100 ends at 100."""
    code, out, _ = score("wrong_above_100", "--out", str(tmp_path / "out"))
    lines = out.splitlines()
    flagged = [float(line.split()[0]) for line in lines if line.endswith("BEYOND")]
    decades = [float(line.split()[0]) for line in lines[1:-1]]
    assert code == 1 and flagged == [k for k in decades if k >= 100] and len(flagged) > 5
    assert lines[-1].endswith(f":wrong_above_100, float64: beyond 1e-12 in {len(flagged)} of {len(decades)} decades")
    result = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert result["function"] == "fake_library:wrong_above_100" and result["tolerance"] == 1e-12
    for row in result["decades"]:
        assert row["max"] == pytest.approx(1e-9, rel=1e-4) if row["decade"] >= 2 else row["max"] < 4e-15
    assert sum(row["points"] for row in result["decades"]) == np.sum(vectors.load()["exact"] == "z")


def test_a_number_that_is_not_finite_is_counted_and_fails_any_tolerance(score, tmp_path):
    code, out, _ = score("one_nan", "--tolerance", "1e9", "--out", str(tmp_path / "out"))
    assert code == 1 and "beyond 1e+09 in 1 of" in out
    rows = json.loads((tmp_path / "out" / "mine.json").read_text())["decades"]
    assert [row["decade"] for row in rows if row["not_finite"] == 1] == [0]
    assert [row["max"] is None for row in rows] == [row["decade"] == 0 for row in rows]
    assert all(row["median"] < 1e-15 for row in rows)


def test_the_score_in_numbers_done_by_hand():
    table = mine.points("float64")
    found = table["dz_dalpha"].copy()
    k = np.flatnonzero((table["alpha"] >= 1) & (table["alpha"] < 10))[7]
    found[k] *= 1.25
    rows = {row["decade"]: row for row in mine.score(found, table, "float64")}
    assert rows[0]["max"] == pytest.approx(0.25, rel=1e-14) and rows[0]["median"] <= 2.0**-53
    assert (rows[0]["alpha"], rows[0]["z"]) == (table["alpha"][k], table["z"][k])
    assert rows[0]["value"] == 1.25 * rows[0]["truth"]
    assert rows[1]["max"] <= 2.0**-53                                     # of a truth read as a double
    assert mine.beyond(list(rows.values()), 0.24) == [rows[0]] and not mine.beyond(list(rows.values()), 0.26)


def test_the_rest_of_a_truth_counts():
    """A truth read as a double is off by its rest, which is up to 2^-53 of it, and by no more."""
    table = mine.points("float64")
    rows = mine.score(table["dz_dalpha"].copy(), table, "float64")
    rest = np.abs(table["dz_dalpha_rest"]) / table["dz_dalpha"]
    assert max(row["max"] for row in rows) == rest[table["dz_dalpha"] > 1e-300].max() > 1e-16


@pytest.mark.parametrize(("name", "options", "line"), [
    ("wrong_shape", [], "fake_library:wrong_shape must return an array of shape (2040,) and type float64, got shape "
                        "(2039,) and type float64"),
    ("wrong_type", [], "and type float64, got shape (2040,) and type float32"),
    ("of_objects", [], "fake_library:of_objects failed: ValueError: Object arrays cannot be saved"),
    ("raises", [], "fake_library:raises failed: ZeroDivisionError: no gradient on two lines"),
    ("dies", [], "fake_library:dies failed: exit code 7"),
    ("hangs", ["--timeout", "3"], "fake_library:hangs took longer than 3 seconds"),
    ("absent", [], "fake_library:absent failed: AttributeError: module 'fake_library' has no attribute 'absent'"),
    ("no_library:f", [], "no_library:f failed: ModuleNotFoundError: No module named 'no_library'"),
])
def test_what_is_no_gradient_is_said_in_one_line(score, name, options, line):
    code, out, err = score(name, *options)
    assert code == 1 and out == "" and line in err and err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--mine", "library"], "--mine must be MODULE:FUNCTION, got library"),
    (["--mine", "a:b", "--tolerance", "0"], "--tolerance must be in (0, inf), got 0.0"),
    (["--mine", "a:b", "--timeout", "-1"], "--timeout must be in (0, 1e+06), got -1.0"),
    (["--mine", "a:b", "--precision", "float16"], "--precision must be one of float64, float32, got 'float16'"),
    (["--mine", "a:b", "--speed"], "not allowed with"),
])
def test_bad_options_are_refused_in_one_line(capsys, arguments, reason):
    try:
        code = main(["compare", *arguments])
    except SystemExit as stop:
        code = stop.code
    stderr = capsys.readouterr().err
    assert code == 2 and reason in stderr and stderr.count("\n") == 1


def test_ours_is_scored_too(capsys):
    assert main(["compare", "--mine", "vi_ref.gamma_grad:dz_dshape", "--tolerance", "4e-15"]) == 0
    assert gamma_grad.dz_dshape.__name__ in capsys.readouterr().out

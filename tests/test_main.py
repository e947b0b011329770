"""The command line: what it writes, how it judges, how it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vi_ref import PoissonGamma, datasets
from vi_ref.__main__ import LIMITS, SETTINGS, chosen_model, judge, main, parser
from vi_ref._command import read_table
from vi_ref.gradients import NAMES

QUICK = ["--steps", "3", "--n-samples", "2"]


def test_the_default_settings():
    """The tutorial's: full gradient, rate coordinates, constant 0.2; ours: mean, cosine, beta2 0.996."""
    common = {"learning_rate": 0.2, "n_samples": 128, "steps": 5000}
    assert SETTINGS["tutorial"] == common | {
        "gradient": "reparameterized", "coordinates": "rate", "schedule": "constant", "beta2": 0.999}
    for name in ("reparameterized", "sticking_the_landing"):
        assert SETTINGS[name] == common | {
            "gradient": name, "coordinates": "mean", "schedule": "cosine", "beta2": 0.996}


def test_result_and_pictures_are_written(tmp_path, capsys):
    assert main([*QUICK, "--out", str(tmp_path)]) == 0
    assert "reported, not judged" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
    assert result["posterior"] == {"shape": model.posterior.shape.tolist(), "rate": model.posterior.rate.tolist()}
    assert result["prior"]["shape"] == model.prior.shape.tolist()
    assert list(result["fits"]) == list(SETTINGS)
    for fit in result["fits"].values():
        assert len(fit["q"]["shape"]) == 64
        assert fit["settings"]["steps"] == 3
        assert fit["cross_check"]["shape"]["max"] > 0.1          # three steps do not reach the posterior
    assert result["seed"] == 0 and "numpy" in result["versions"] and result["passed"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "convergence.png", "generated.png", "posterior.png", "prior.png", "result.json"]


def test_judge_fails_a_fit_beyond_its_limit():
    part = {"max": 0.0, "median": 0.0}
    good = {name: dict.fromkeys(("shape", "rate", "mean", "sd"), part) for name in LIMITS}
    assert judge(good)[0]
    for name, limit in LIMITS.items():
        for where in ("shape", "rate", "mean", "sd"):
            bad = good | {name: good[name] | {where: {"max": 1.01 * limit, "median": 0.0}}}
            passed, line = judge(bad)
            assert not passed and f"{name} BEYOND" in line


def test_a_judged_run_that_misses_exits_with_1(tmp_path, monkeypatch):
    short = {name: settings | {"steps": 2, "n_samples": 2} for name, settings in SETTINGS.items()}
    monkeypatch.setattr("vi_ref.__main__.SETTINGS", short)
    assert main(["--out", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "result.json").read_text())["passed"] is False


@pytest.mark.parametrize("option", [["--pooled"], ["--prior-rate", "2"], ["--digit", "1"], ["--seed", "1"]])
def test_another_model_or_seed_is_not_judged(tmp_path, monkeypatch, option):
    short = {name: settings | {"steps": 2, "n_samples": 2} for name, settings in SETTINGS.items()}
    monkeypatch.setattr("vi_ref.__main__.SETTINGS", short)
    assert main([*option, "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["judged"] is False


@pytest.mark.parametrize("header", ["", "visits,defects\n"])
def test_own_counts_from_csv(tmp_path, header):
    table = tmp_path / "table.csv"
    table.write_text(header + "3,0\n5,1\n")
    out = tmp_path / "out"
    assert main(["fit", "--counts", str(table), "--prior-shape", "2", "--gradient", "exact", "--steps", "2000",
                 "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert list(result["fits"]) == ["exact"]
    assert result["posterior"] == {"shape": [10.0, 3.0], "rate": [3.0, 3.0]}
    assert result["fits"]["exact"]["cross_check"]["shape"]["max"] < 1e-9


def test_own_counts_and_prior_from_npy(tmp_path):
    np.save(tmp_path / "table.npy", np.array([[3, 0, 1], [5, 1, 1]]))
    (tmp_path / "shape.csv").write_text("1,2,3\n")
    assert main([*QUICK, "--counts", str(tmp_path / "table.npy"), "--prior-shape", str(tmp_path / "shape.csv"),
                 "--prior-rate", "4", "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["prior"] == {"shape": [1.0, 2.0, 3.0], "rate": [4.0, 4.0, 4.0]}


@pytest.mark.parametrize(("content", "names"), [
    ("a,b\n1,2\n", ["a", "b"]),
    ("\ufeffa,b\r\n1,2\r\n", ["a", "b"]),
    ('"a, in kg", "say ""b"""\n1,2\n', ["a, in kg", 'say "b"']),
    ("o', b c \n1,2\n", ["o'", "b c"]),
    ('"two\nlines",b\n1,2\n', ["two lines", "b"]),
    ("18-24,25+\n1,2\n", ["18-24", "25+"]),
    ("1,2\n", None),
])
def test_names_are_read_as_spreadsheets_write_them(tmp_path, content, names):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8", newline="")
    found, values = read_table(tmp_path / "t.csv")
    assert found == names and values.tolist() == [[1.0, 2.0]]


def test_a_prior_for_other_columns_is_refused(tmp_path, capsys):
    """The same names in another order would give each column the prior of another."""
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "p.csv").write_text("b,a\n3,4\n")
    arguments = ["--counts", str(tmp_path / "t.csv"), "--prior-shape", str(tmp_path / "p.csv")]
    assert_refused(arguments, "--prior-shape must name the columns as --counts does, a, b, got b, a", capsys)
    (tmp_path / "p.csv").write_text("a,b\n3,4\n")
    options = parser().parse_args(arguments)
    assert chosen_model(options)[0].prior.shape.tolist() == [3.0, 4.0]
    (tmp_path / "p.csv").write_text("shape\n3\n4\n")                # a column of them
    assert chosen_model(options)[0].prior.shape.tolist() == [3.0, 4.0]


BAD_TABLES = {
    "ragged": ("1,2\n3\n", "number of columns changed"),
    "words": ("1,2\n3,many\n", "many"),
    "empty": ("", "at least one of each"),
    "header only": ("a,b\n", "at least one of each"),
    "negative": ("1,2\n3,-4\n", "non-negative whole numbers, got -4.0 at index (1, 1)"),
    "fraction": ("1,2.5\n", "non-negative whole numbers, got 2.5 at index (0, 1)"),
    "nan": ("1,nan\n", "non-negative whole numbers, got nan at index (0, 1)"),
    "a gap in the first line": ("NA,NA\n5,1\n", "NA"),
    "a gap in small letters": ("n/a,null\n5,1\n", "n/a"),
    "numbers with commas in quotes": ('"1,000","2,000"\n5,1\n', "1"),
    "numbers in single quotes": ("'3','0'\n5,1\n", "3"),
    "a quote that does not end": ('"a,b\n5,1\n', "unexpected end of data"),
    "quoted numbers": ('"3","0"\n5,1\n', "3"),
    "semicolons": ("3;0\n5;1\n", "3;0"),
    "too large": ("1e300\n", "at most 2^53"),
    "infinite": ("1,inf\n", "non-negative whole numbers, got inf at index (0, 1)"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_refused_in_one_line(tmp_path, capsys, name):
    content, reason = BAD_TABLES[name]
    (tmp_path / "table.csv").write_text(content)
    assert_refused(["--counts", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out")], reason, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--steps", "0"], "--steps must be a whole number of at least 1, got 0"),
    (["--n-samples", "0"], "--n-samples must be a whole number of at least 1, got 0"),
    (["--n-samples", "many"], "--n-samples"),
    (["--learning-rate", "-1"], "--learning-rate must be in (0, inf), got -1.0"),
    (["--learning-rate", "nan"], "--learning-rate must be in (0, inf), got nan"),
    (["--gradient", "magic"], f"--gradient must be one of {', '.join(NAMES)}, got 'magic'"),
    (["--schedule", "magic"], "--schedule must be one of constant, cosine"),
    (["--coordinates", "magic"], "--coordinates must be one of rate, mean"),
    (["--seed", "-1"], "--seed must be a whole number of at least 0, got -1"),
    (["--digit", "10"], "from 0 to 9, got 10"),
    (["--digit", "-1"], "at least 0, got -1"),
    (["--digit", "1", "--counts", "x.csv"], "exclude each other"),
    (["--counts", "missing.csv"], "missing.csv"),
    (["--counts", "table.xls"], "must end in .csv or .npy"),
    (["--prior-shape", "0"], "--prior-shape must be positive and finite, got 0.0"),
    (["--prior-rate", "-2"], "--prior-rate must be positive and finite, got -2.0"),
    (["--prior-rate", "nan"], "--prior-rate must be positive and finite, got nan"),
    (["--prior-rate", "missing.npy"], "missing.npy"),
    (["--frobnicate"], "--frobnicate"),
])
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.xls").write_text("1,2\n")
    assert_refused(arguments, reason, capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["table.xls"]


def test_the_tutorials_prior_with_zeros_names_its_first_pixel(tmp_path, capsys):
    picture = 2 * datasets.ring()
    picture[[5, 9]] = 0
    np.save(tmp_path / "a.npy", picture)
    reason = "--prior-shape must be positive and finite, got 0.0 at index 5"
    assert_refused(["--prior-shape", str(tmp_path / "a.npy")], reason, capsys)


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    assert_refused([*QUICK, "--out", out], "--out must be a folder that can be written", capsys)


def test_a_fit_that_leaves_the_positive_numbers_is_reported_in_one_line(tmp_path, capsys):
    assert_refused([*QUICK, "--learning-rate", "1e6", "--out", str(tmp_path / "new")], "step 1 is too long", capsys)
    assert list(tmp_path.iterdir()) == []


def test_help_explains_each_option():
    for action in parser()._actions:
        assert action.help and "\n" not in action.help


def assert_refused(arguments, reason, capsys):
    """Exit code 2, one line on stderr, no traceback."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    stderr = capsys.readouterr().err
    assert code == 2
    assert reason in stderr
    assert stderr.count("\n") == 1 and stderr.endswith("\n")


def test_an_earlier_runs_pictures_do_not_stay_beside_a_new_result(tmp_path):
    out = tmp_path / "out"
    assert main([*QUICK, "--out", str(out)]) == 0
    (out / "mine.txt").write_text("")
    (tmp_path / "t.csv").write_text("3\n")
    assert main([*QUICK, "--counts", str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "convergence.png", "intervals.png", "mine.txt", "posterior.png", "result.json", "summary.csv"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_refused(tmp_path, capsys, content):
    (tmp_path / "t.npy").write_bytes(content)
    assert_refused(["--counts", str(tmp_path / "t.npy")], "t.npy: ", capsys)


def test_an_archive_of_arrays_is_refused(tmp_path, capsys):
    with open(tmp_path / "t.npy", "wb") as file:
        np.savez(file, a=np.ones((2, 2)))
    assert_refused(["--counts", str(tmp_path / "t.npy")], "must hold one array, got several in an archive", capsys)


def test_a_table_of_no_dimension_is_refused(tmp_path, capsys):
    np.save(tmp_path / "t.npy", np.array(5))
    reason = "must be a table of observations by columns, got shape ()"
    assert_refused(["--counts", str(tmp_path / "t.npy")], reason, capsys)


def test_a_folder_in_the_way_of_a_picture_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "posterior.png").mkdir()
    assert_refused([*QUICK, "--out", str(tmp_path)], "posterior.png", capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.png"]


def test_the_first_fit_is_not_charged_with_compiling(tmp_path, monkeypatch):
    """Both pathwise gradients have run before it, with more than one draw: one alone takes another route."""
    calls = []
    monkeypatch.setattr("vi_ref.__main__.fit", lambda *_, **options: calls.append(options))
    monkeypatch.setattr("vi_ref.__main__.run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*QUICK, "--out", str(tmp_path)])
    assert {call["gradient"] for call in calls} == {"reparameterized", "sticking_the_landing"}
    assert all(call["n_samples"] >= 2 for call in calls)


def test_interrupting_leaves_one_line_and_exit_code_130(tmp_path):
    code = ("import runpy, sys, vi_ref.plots; sys.argv = ['vi_ref']\n"
            "def stop(*_, **__): raise KeyboardInterrupt\n"
            "import vi_ref.optimize as o; o.fit = stop\n"
            "runpy.run_module('vi_ref', run_name='__main__')")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                         env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
    assert run.returncode == 130 and run.stderr.strip() == "vi_ref: interrupted"

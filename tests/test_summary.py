"""The summary of a table of counts: its numbers, its words, its picture, and the command that makes it."""

import csv
import io
import json

import numpy as np
import pytest

from vi_ref import Gamma, PoissonGamma, datasets, plots, summary
from vi_ref.__main__ import main
from vi_ref.diagnostics import khat

MODEL = PoissonGamma(Gamma(2.0, 1.0), [[3, 0, 7], [5, 1, 9]])
NAMES = ["visits", "de,{fects}", '"third" of all']


def of(q, **options):
    return summary.columns(MODEL, q, NAMES, np.random.default_rng(0), **options)


def test_each_column_has_its_moments_interval_and_khat():
    q = Gamma(3 * MODEL.posterior.shape, 2.5 * MODEL.posterior.rate)
    result = of(q, level=0.8, n_samples=2000)
    assert result["column"] == NAMES and result["total"] == [8, 1, 16] and result["level"] == 0.8
    low, high = q.interval(0.8)
    for key, value in {"mean": q.mean, "sd": q.sd, "low": low, "high": high}.items():
        assert result[key] == value.tolist()
    weights = khat(MODEL, q, 2000, np.random.default_rng(0))
    assert result["khat"] == weights.columns.khat.tolist() and result["joint_khat"] == weights.joint.khat
    assert result["threshold"] == pytest.approx(1 - 1 / np.log10(2000), rel=1e-15)
    assert result["reliable"] == [k < result["threshold"] for k in result["khat"]]


def test_the_words_name_the_columns_that_are_not_to_be_trusted():
    """k of q three times as narrow is 1 - 1/9: of 1e4 draws k-hat has an sd of 0.1, the threshold is 0.7."""
    A, B = MODEL.posterior.shape, MODEL.posterior.rate
    factor = np.array([1.0, 9.0, 1.0])
    text = summary.table(of(Gamma(factor * A, factor * B)))
    assert text.splitlines()[-1] == ("k-hat is NOT below its threshold of 0.70, so that q is not to be trusted, in 1 "
                                     "of 3 columns: de,{fects}; -inf: all weights are equal, q is the posterior")
    assert summary.table(of(Gamma(1.1 * A, 1.1 * B))).endswith("in every column")           # none is the posterior
    good = summary.table(of(MODEL.posterior)).splitlines()
    assert good[-1].startswith("k-hat is below its threshold of 0.70 in every column")
    assert "95 % interval" in good[0] and len(good) == 6
    assert [line.index(x) for line, x in zip(good[2:5], NAMES, strict=True)] == [2, 2, 2]


def test_many_columns_are_cut_short_in_words_and_not_in_the_file():
    model = PoissonGamma(Gamma(2.0, 1.0), np.ones((2, 50)))
    result = summary.columns(model, model.posterior, [f"c{d}" for d in range(50)], np.random.default_rng(0))
    assert "... and 10 more columns" in summary.table(result) and "c49" not in summary.table(result)
    assert summary.csv(result).count("\n") == 51


def test_the_file_reads_back_to_the_same_numbers():
    result = of(Gamma(3 * MODEL.posterior.shape, 2.5 * MODEL.posterior.rate))
    rows = list(csv.DictReader(io.StringIO(summary.csv(result))))
    assert [row["column"] for row in rows] == NAMES
    for key in ("total", "mean", "sd", "low", "high", "khat"):
        assert [float(row[key]) for row in rows] == result[key]


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "a"]])
def test_names_must_be_one_a_column_and_different(names):
    with pytest.raises(ValueError, match=r"^names must be 3 different ones, one a column, got \['a', 'b'"):
        summary.columns(MODEL, MODEL.posterior, names, np.random.default_rng(0))


def test_the_picture_shows_the_intervals_from_the_largest_down():
    axes = summary.intervals(MODEL, MODEL.posterior, NAMES).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['"third" of all', "visits", "de,{fects}"]
    segments = np.array(axes.collections[0].get_segments())[:, :, 0]
    low, high = MODEL.posterior.interval(0.95)
    np.testing.assert_allclose(segments, np.stack([low, high], axis=1)[[2, 0, 1]], rtol=1e-12)
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), np.array([8, 4, 0.5]))
    assert [line.get_label() for line in axes.lines] == ["posterior mean", "average count", "prior mean"]
    other = PoissonGamma(Gamma([1.0, 2.0], 1.0), [[1, 2]])                       # no one mean to draw
    assert len(summary.intervals(other, other.posterior, ["a", "b"]).axes[0].lines) == 2
    many = PoissonGamma(Gamma(np.ones(99), 1.0), np.ones((1, 99)))
    assert len(summary.intervals(many, many.posterior, [str(d) for d in range(99)]).axes[0].get_yticklabels()) == 60


def test_any_name_can_be_drawn(tmp_path):
    """A dollar begins no formula, and a long name leaves room for the axes."""
    names = [r"$\bad{$", "US$", "long " * 20]
    figure = summary.intervals(MODEL, MODEL.posterior, names)
    plots.save(figure, tmp_path / "names.png")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "long long long long long long…"[:29] + "…", r"\$\bad{\$", r"US\$"]
    assert figure.axes[0].get_position().width > 0.5


def test_the_command_writes_them(tmp_path, capsys):
    corps, counts = datasets.horse_kicks()
    table = tmp_path / "kicks.csv"
    table.write_text("\n".join([",".join(corps), *(",".join(map(str, row)) for row in counts)]))
    assert main(["fit", "--counts", str(table), "--pooled", "--steps", "2000", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "prior Gamma(shape 15.9494, rate 22.7849)" in printed and "k-hat is below its threshold" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "convergence.png", "intervals.png", "posterior.png", "result.json", "summary.csv"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "summary.csv").read_text())))
    exact = json.loads((tmp_path / "out" / "result.json").read_text())["posterior"]
    assert [row["column"] for row in rows] == corps
    mean = np.divide(exact["shape"], exact["rate"])
    np.testing.assert_allclose([float(row["mean"]) for row in rows], mean, rtol=1e-6)    # 2000 steps: 1e-9 or so


@pytest.mark.parametrize("content, options, reason", [
    ("a,a\n1,2\n", [], "the first line must name each of 2 columns, no two alike, got 'a, a'"),
    ("a\n1,2\n", [], "the first line must name each of 2 columns"),
    ("a,b\n1,2\n1,3\n", ["--pooled", "--prior-rate", "2"], "--pooled and --prior-rate exclude each other"),
    ("a,b\n2,2\n2,2\n", ["--pooled"], "no best prior"),
])
def test_the_command_refuses_in_one_line(tmp_path, capsys, content, options, reason):
    (tmp_path / "t.csv").write_text(content)
    assert main(["fit", "--counts", str(tmp_path / "t.csv"), *options, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert reason in printed and printed.count("\n") == 1 and not (tmp_path / "out").exists()

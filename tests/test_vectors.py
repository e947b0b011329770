"""The reference vectors: frozen, made as they say, complete, and the clear version held against every row."""

import csv
import hashlib
import random
import re
from decimal import Decimal, localcontext
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from oracles import EPS

from vi_ref import gamma_grad, gamma_grad_fast
from vi_ref.gamma_grad import dlogz_dshape, dp_dshape, dz_dshape
from vi_ref.vectors import generate, load

WORST, WORST_FAST = 4e-15, 2e-15
SHA256 = {
    "float64": "f85df518c5c20169304ec8d5fe896214ad2f89b8aea369582d005f0927f99ae0",
    "float32": "400ac16929919f4cbb2f7458182718b48c379ed58fbfc604ee46dfce330f8606",
}
TRUTHS = generate.COLUMNS[8:14]
PRECISIONS = pytest.mark.parametrize("precision", ["float64", "float32"])


@cache
def lines(precision):
    return generate.FILES[precision].read_text(encoding="ascii").splitlines()


@cache
def rows(precision):
    return list(csv.DictReader(lines(precision)))


class InThisProcess:
    @staticmethod
    def map(function, items, chunksize):
        return list(map(function, items))


@PRECISIONS
def test_never_edited(precision):
    assert hashlib.sha256(generate.FILES[precision].read_bytes()).hexdigest() == SHA256[precision]


@PRECISIONS
def test_rows_made_again_have_the_same_text(precision):
    points = {line: generate.read_point(line) for line in lines(precision)[1:]}
    quick = [line for line, point in points.items() if point.alpha < 1e7]       # above, a row takes up to seconds
    for line in random.Random(3).sample(quick, 12):
        text, region, digits = generate.row(points[line], precision)
        assert text == line and region == line.split(",")[7] and digits >= 30


def test_points_found_again():
    there = {generate.read_point(line) for line in lines("float64")[1:]}
    for task in generate.drawn("float64")[::200] + generate.decades("float64")[::20]:
        assert generate.rounded_point(task[0], generate.quantile(*task), "float64") in there


def test_check_sees_one_wrong_digit(monkeypatch, tmp_path, capsys):
    good = lines("float64")[1]
    for name, line in {"good": good, "bad": good[:-1] + str((int(good[-1]) + 1) % 10)}.items():
        monkeypatch.setitem(generate.FILES, "float64", tmp_path / name)
        (tmp_path / name).write_text(f"{lines('float64')[0]}\n{line}\n", encoding="ascii")
        assert generate.check("float64", 1, InThisProcess) == (name == "good")
    assert "1 of 1 rows are the same" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["p", "q", "zp", "h", "dh", "r"])
def test_no_row_is_written_where_the_methods_differ(monkeypatch, field):
    series, point = generate.series, generate.Point(2.5, "z", 3.0)
    off = lambda *x: (truth := series(*x))._replace(**{field: getattr(truth, field) * (1 + mp.mpf("1e-29"))})  # noqa: E731
    monkeypatch.setattr(generate, "series", off)
    with pytest.raises(ArithmeticError, match=r"agree to 29\.0 digits"):
        generate.row(point, "float64")


def test_truths_at_shape_one_by_the_exponential_integral():
    ones = [row for row in rows("float64") if row["alpha"] == "1.0"]
    assert len(ones) >= 10
    with mp.workdps(60):
        for row in ones:
            z = mp.mpf(float.fromhex(row["z_hex"]))
            dz = mp.exp(z) * mp.e1(z) + mp.log(z) + mp.euler
            values = -mp.expm1(-z), mp.exp(-z), -mp.exp(-z) * dz, dz, dz / z
            assert [generate.decimal(value) for value in values] == [row[name] for name in TRUTHS[:5]]


@PRECISIONS
def test_inputs_are_the_numbers_they_say(precision):
    for row in rows(precision):
        assert row["exact"] in ("z", "log_z") and (row["z"] == "") == (row["exact"] == "log_z")
        for name in ("alpha", "z", "log_z"):
            assert not row[name] or row[name] == repr(float.fromhex(row[f"{name}_hex"]))
        with mp.workdps(40):
            if row["z"]:
                assert float(row["log_z"]) == generate.nearest(mp.log(mp.mpf(float(row["z"]))), precision)
            else:
                assert generate.nearest(mp.exp(mp.mpf(float(row["log_z"]))), precision) == 0
        if precision == "float32":
            inputs = [float(row[name]) for name in ("alpha", "z", "log_z") if row[name]]
            assert inputs == np.float32(inputs).tolist()


@PRECISIONS
def test_truths_have_25_digits_and_belong_together(precision):
    for row in rows(precision):
        empty = {name for name, cell in row.items() if not cell}
        assert empty == (set() if row["z"] else {"z_hex", "z", "dz_dalpha", "cond_dz_alpha", "cond_dz_z"})
        assert all(re.fullmatch(r"-?\d\.\d{24}e[+-]\d+", row[name]) for name in set(TRUTHS) - empty)
        assert all(re.fullmatch(r"\d\.\d{4}e[+-]\d+", row[name]) for name in set(generate.COLUMNS[14:]) - empty)
        with localcontext(prec=60):
            p, q, dp, _, dlogz, _ = (Decimal(row[name] or "nan") for name in TRUTHS)
            assert abs(p + q - 1) <= Decimal("1e-24") and dp < 0 < dlogz
            if row["z"]:
                z = Decimal(float(row["z"]))
                assert abs(z * dlogz / Decimal(row["dz_dalpha"]) - 1) <= Decimal("2e-24")
            else:
                assert row["dlogz_dalpha"] == row["dlogz_dalpha_at_log_z"]


@PRECISIONS
def test_only_dp_is_ill_conditioned(precision):
    table = load(1, precision)
    for name in ("cond_dz_alpha", "cond_dz_z", "cond_dlogz_alpha", "cond_dlogz_z"):
        assert np.nanmax(table[name]) <= 1
    assert 7e5 < table["cond_dp_z"].max() < 9e5


@pytest.mark.parametrize(("precision", "at_least"), [("float64", 2000), ("float32", 500)])
def test_the_domain_is_covered(precision, at_least):
    table = load(1, precision)
    assert table.size >= at_least and len(set(lines(precision))) == table.size + 1
    ends = [float(np.dtype(precision).type(end)) for end in (1e-8, 1e10)]
    assert [table["alpha"].min(), table["alpha"].max()] == ends
    names, counts = np.unique(table["region"], return_counts=True)
    assert names.tolist() == ["large", "left", "right"] and counts.min() > 100
    for decade in range(-8, 10):
        part = table[(table["alpha"] >= ends[0]) & (np.floor(np.log10(table["alpha"]) + 1e-7) == decade)]
        assert part["p_lower"].min() < 2e-15 and part["q_upper"].min() < 2e-15
        assert np.count_nonzero((part["p_lower"] > 0.05) & (part["q_upper"] > 0.05)) >= 5
    assert np.count_nonzero(table["exact"] == "log_z") > 100
    info, z = np.finfo(precision), table["z"][table["exact"] == "z"]
    assert {float(info.smallest_subnormal), float(info.smallest_normal)} <= {*z}


@PRECISIONS
def test_edges_are_there_with_an_ulp_to_both_sides(precision):
    points, number = {(row["alpha"], row["z"]) for row in load(1, precision)}, np.dtype(precision).type
    beside = lambda x: [float(np.nextafter(number(x), number(to))) for to in (0, x, np.inf)]  # noqa: E731
    with mp.workdps(40):
        edges = [(a, a * mp.exp(mp.mpf(x))) for a in [*beside(12), 64.0] for x in (-1.2, 1.2)]
        edges += [(a, a * mp.exp(mp.mpf(x))) for a in [*beside(32), 200.0] for x in (-0.7, 0.7)]
        edges += [(a, mp.exp(mp.digamma(mp.mpf(a) + 1))) for a in (float(number(f"1e{k}")) for k in range(-8, 10))]
        assert {(a, v) for a, z in edges for v in beside(generate.nearest(z, precision))} <= points


def relative(value, table, name):
    return np.abs((value - table[name]) - table[f"{name}_rest"]) / np.abs(table[name])


@PRECISIONS
def test_clear_version_dz_and_dlogz(precision):
    table = load(1, precision)
    assert relative(dlogz_dshape(table["alpha"], table["log_z"]), table, "dlogz_dalpha_at_log_z").max() <= WORST
    table = table[table["exact"] == "z"]
    assert relative(dz_dshape(table["alpha"], table["z"]), table, "dz_dalpha").max() <= WORST


def test_clear_versions_docstring_states_the_errors_measured():
    """Each row of its table holds over both files, and is at most three times what is seen there."""
    stated = dict(re.findall(r"^(large|left|right) .* (\S+e-\d+)$", gamma_grad.__doc__, re.M))
    tables = [load(1, precision) for precision in ("float64", "float32")]
    for region, bound in stated.items():
        worst = 0.0
        for table in (table[table["region"] == region] for table in tables):
            in_z = table[table["exact"] == "z"]
            worst = max(worst, relative(dz_dshape(in_z["alpha"], in_z["z"]), in_z, "dz_dalpha").max(),
                        relative(dlogz_dshape(table["alpha"], table["log_z"]), table, "dlogz_dalpha_at_log_z").max())
        assert worst <= float(bound) <= 3 * worst
    assert sorted(stated) == ["large", "left", "right"]


@PRECISIONS
def test_fast_version(precision):
    """Row by row as one shape with two equal draws, which is what sends it past the clear version."""
    table = load(1, precision)
    value = [gamma_grad_fast.dlogz_dshape(a, [v, v])[0] for a, v in table[["alpha", "log_z"]]]
    assert relative(np.array(value), table, "dlogz_dalpha_at_log_z").max() <= WORST_FAST
    table = table[table["exact"] == "z"]
    value = [gamma_grad_fast.dz_dshape(a, [v, v])[0] for a, v in table[["alpha", "z"]]]
    assert relative(np.array(value), table, "dz_dalpha").max() <= WORST_FAST


@PRECISIONS
def test_clear_version_dp(precision):
    table = load(1, precision)
    table = table[table["exact"] == "z"]
    log_zp = np.log(-table["dp_dalpha"] / table["dlogz_dalpha"])
    error = relative(dp_dshape(table["alpha"], table["z"]), table, "dp_dalpha")
    assert np.all(error <= WORST + 4 * EPS * (1 + np.abs(log_zp)))


@PRECISIONS
def test_load_gives_the_file(precision):
    table = load(version=1, precision=precision)
    assert table.size == len(rows(precision)) and set(generate.COLUMNS[3:]) <= set(table.dtype.names)
    for name in ("exact", "region"):
        assert table[name].tolist() == [row[name] for row in rows(precision)]
    for name in {*generate.COLUMNS[3:]} - {"exact", "region"}:
        np.testing.assert_array_equal(table[name], [float(row[name] or "nan") for row in rows(precision)])
    with localcontext(prec=60):
        for row, loaded in zip(rows(precision), table, strict=True):
            for name in (name for name in TRUTHS if row[name]):
                double, rest = (Decimal(float(loaded[field])) for field in (name, f"{name}_rest"))
                left = abs(double + rest - Decimal(row[name]))
                assert left <= abs(double) * Decimal("1.3e-32") + Decimal("1e-320")  # 2^-53 of 2^-53, and underflow


@pytest.mark.parametrize(("arguments", "message"), [
    ({"version": 2}, "version must be one of 1, got 2"),
    ({"version": "v1"}, "version must be one of 1, got 'v1'"),
    ({"precision": "float16"}, "precision must be one of float32, float64, got 'float16'"),
    ({"precision": np.float32}, "precision must be one of float32, float64, got <class 'numpy.float32'>"),
])
def test_load_bad_input(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(**arguments)


def test_readme_names_every_column_and_counts_the_rows():
    readme = (generate.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in generate.COLUMNS)
    for precision, path in generate.FILES.items():
        table = load(1, precision)
        underflowing = np.count_nonzero(table["exact"] == "log_z")
        assert re.search(rf"\| `{path.name}` \| .* \| {table.size} \| {underflowing} \|", readme)

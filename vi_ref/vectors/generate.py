"""Writes the reference vectors of the gamma's implicit gradient, every row by two independent methods.

With h = d log z / dalpha = -(dP/dalpha) / (z p), a row follows from P, z p, h, dh/dalpha and
r = psi(alpha) - log z. Each method finds these five:

======================  ===============================================================================
method                  how
======================  ===============================================================================
`series`                P = z^a e^-z sum_n z^n / Gamma(a + 1 + n) (DLMF 8.11.4) and its derivatives in
                        a, summed in integers that stand for multiples of a power of two
`quadrature`            moments of log t under t^(a-1) e^-t below z or above it, and over all t, by the
                        trapezoidal rule: nothing but exp and log is evaluated
======================  ===============================================================================

The series takes log Gamma and psi from mpmath, the quadrature has them as integrals of its own. A row is
written when the two agree to 30 digits in P, Q and all derivatives and print the same text.

Needs mpmath and NumPy. From the project's folder::

    python -m vi_ref.vectors.generate --write       # writes both files beside this module, in minutes
    python -m vi_ref.vectors.generate --check 20    # recomputes 20 rows of each, seeded, and compares
"""

import argparse
import os
import random
import sys
import time
from decimal import Decimal
from functools import cache, lru_cache, partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np
from mpmath import mpf

FOLDER = Path(__file__).resolve().parent
FILES = {"float64": FOLDER / "gamma_grad_v1.csv", "float32": FOLDER / "gamma_grad_float32_v1.csv"}
COLUMNS = ("alpha_hex", "z_hex", "log_z_hex", "alpha", "z", "log_z", "exact", "region",
           "p_lower", "q_upper", "dp_dalpha", "dz_dalpha", "dlogz_dalpha", "dlogz_dalpha_at_log_z",
           "cond_dp_alpha", "cond_dp_z", "cond_dz_alpha", "cond_dz_z",
           "cond_dlogz_alpha", "cond_dlogz_z", "cond_dlogz_log_z")
AGREE = 30                                               # digits that the two methods must share
_WORKING = 80                                            # digits at which a row is worked out
_DRAWN = {"float64": 2000, "float32": 400}               # points drawn at random; the special ones come on top
_DTYPE = {"float64": np.float64, "float32": np.float32}


class Point(NamedTuple):
    """An input: alpha, which of z and log z is exact ("z" or "log_z"), and its value."""

    alpha: float
    exact: str
    value: float


class Truth(NamedTuple):
    """P, Q = 1 - P, the density z p of log z, h = d log z / dalpha, dh/dalpha and r = psi(alpha) - log z."""

    p: mpf
    q: mpf
    zp: mpf
    h: mpf
    dh: mpf
    r: mpf


def series(alpha: mpf, log_z: mpf) -> Truth:
    """P = z p / a sum t_n and h = (1/a) sum t_n g_n, with t_n = z^n / (a+1)_n, g_n = psi(a+1+n) - log z.

    In a, t_n changes by -t_n (g_n - g_0) and g_n by psi'(a+1+n). Right of the mode h is
    what the sum leaves of terms as large as 1/Q: the bits that this costs are
    added. A quarter of the bits guards against rounding.
    """
    z = mp.exp(log_z)
    lost = z - alpha - alpha * mp.log(z / alpha) if z > alpha else 0
    bits = (200 if alpha > 1e4 else 320) + int(1.5 * lost)
    with mp.workprec(bits + 64):
        z, r = mp.exp(log_z), mp.digamma(alpha) - log_z
        a, fixed_z, first, slope = (int(mp.ldexp(x, bits)) for x in (alpha, z, r + 1 / alpha, mp.psi(1, alpha + 1)))
        one, square, least = 1 << bits, 1 << 2 * bits, 1 << bits // 4
        term, gap, sum_t, sum_h, sum_dh = one, first, 0, 0, 0
        while term > least:
            sum_t += term
            sum_h += term * gap
            sum_dh += term * (slope - ((gap - first) * gap >> bits))
            a += one
            reciprocal = square // a
            term = term * fixed_z * reciprocal >> 2 * bits
            gap += reciprocal
            slope -= reciprocal * reciprocal >> bits
        zp = mp.exp(alpha * log_z - z - mp.loggamma(alpha))
        p, h = zp * mp.ldexp(sum_t, -bits) / alpha, mp.ldexp(sum_h, -2 * bits) / alpha
        return Truth(p, 1 - p, zp, h, (mp.ldexp(sum_dh, -2 * bits) - h) / alpha, r)


def step(truth: Truth, alpha: mpf, log_z: mpf, delta: mpf, orders: int = 12) -> mpf:
    """The value of h at log z + delta from that at log z: Taylor's series of dh/dlog z = r - (alpha - z) h."""
    z, h = mp.exp(log_z), [truth.h]
    for k in range(orders):
        growth = z * sum(h[k - j] / mp.factorial(j) for j in range(k + 1))
        h.append(((truth.r if k == 0 else -1 if k == 1 else 0) - alpha * h[k] + growth) / (k + 1))
    return sum(coefficient * delta**k for k, coefficient in enumerate(h))


@cache
def _nodes(level: int, prec: int) -> list[tuple[mpf, mpf]]:
    """u and du/dv of u = exp(v - e^-v) for the v that halving the step to 2^-level adds."""
    with mp.workprec(prec):
        steps = range(-6 << level, 30 << level)
        vs = [mp.ldexp(j, -level) for j in steps if level == 3 or j % 2]
        return [(mp.exp(v - mp.exp(-v)), mp.exp(v - mp.exp(-v)) * (1 + mp.exp(-v))) for v in vs]


def moments(alpha: mpf, z: mpf, sign: int) -> list[mpf]:
    """The integrals of s^k exp(sign alpha s - z (e^(sign s) - 1)) over s > 0 for k = 0, 1, 2.

    With t = z e^(sign s) they are moments of |log(t / z)| under t^alpha e^-t dt/t,
    above z (sign 1) or below it (sign -1), over the density at z. The rule's error
    squares when its step is halved: it stops where the last halving changed less
    than the root of what is asked.
    """
    width = 1 / max(mpf(1), mp.sqrt(z), abs(alpha - z))
    sums, level, enough = [mpf(0)] * 3, 3, mpf(10) ** (-0.45 * mp.mp.dps)
    while True:
        before = [2 * x for x in sums]
        for u, slope in _nodes(level, mp.mp.prec):
            s = width * u
            exponent = sign * alpha * s - z * (mp.exp(sign * s) - 1)
            if exponent < -250:
                break
            value = slope * mp.exp(exponent)
            sums = [sums[0] + value, sums[1] + value * s, sums[2] + value * s * s]
        if all(abs(x - y) <= enough * x for x, y in zip(sums, before, strict=True)):
            return [mp.ldexp(width * x, -level) for x in sums]
        level += 1


@lru_cache(maxsize=8)
def _whole(alpha: mpf) -> tuple[mpf, mpf, mpf, mpf]:
    """Gamma(alpha) / (c^alpha e^-c), psi(alpha) - log c and psi'(alpha), and the c they are counted from."""
    c = max(alpha, mpf(1))
    below, above = moments(alpha, c, -1), moments(alpha, c, 1)
    total, mean = below[0] + above[0], (above[1] - below[1]) / (below[0] + above[0])
    return total, mean, (above[2] + below[2]) / total - mean**2, c


def quadrature(alpha: mpf, log_z: mpf) -> Truth:
    """The same from integrals.

    With I_k the moments on the side away from the mode, dP/dalpha and its
    derivative in alpha are found under the integral sign: h = I_1 - sign r I_0.
    """
    z = mp.exp(log_z)
    total, mean, trigamma, c = _whole(alpha)
    sign = 1 if z > c else -1
    i = moments(alpha, z, sign)
    zp = mp.exp(alpha * (log_z - mp.log(c)) - z + c) / total
    r, tail = mean + mp.log(c) - log_z, zp * i[0]
    h, dh = i[1] - sign * r * i[0], sign * (i[2] - trigamma * i[0]) - r * i[1]
    return Truth(*((1 - tail, tail) if sign > 0 else (tail, 1 - tail)), zp, h, dh, r)


def nearest(x: mpf, precision: str) -> float:
    """The number of a precision that is nearest to x."""
    with mp.workprec({"float64": 53, "float32": 24}[precision]):
        return float(_DTYPE[precision](float(+x)))


def region(alpha: mpf, log_z: mpf) -> str:
    """The regime of ``vi_ref.gamma_grad`` that the exact point belongs to."""
    if alpha >= 12 and abs(log_z - mp.log(alpha)) <= mpf(1.2):
        return "large"
    return "left" if log_z <= mp.digamma(alpha + 1) else "right"


def decimal(x: mpf | None, digits: int = 25) -> str:
    """Significant digits, rounded correctly; nothing for None."""
    return "" if x is None else f"{Decimal(mp.nstr(x, 70)):.{digits - 1}e}"


def row(point: Point, precision: str) -> tuple[str, str, float]:
    """A line of the file, its region, and the digits to which the two methods agree there."""
    with mp.workdps(_WORKING):
        alpha, value = mpf(point.alpha), mpf(point.value)
        z, log_z = (value, mp.log(value)) if point.exact == "z" else (None, value)
        rounded = nearest(log_z, precision)
        first, second = series(alpha, log_z), quadrature(alpha, log_z)
        shifted = step(first, alpha, log_z, rounded - log_z), quadrature(alpha, mpf(rounded)).h
        digits = min(agreement(x, y) for x, y in zip((*first, shifted[0]), (*second, shifted[1]), strict=True))
        texts = [_tail(alpha, z, log_z, *methods) for methods in zip((first, second), shifted, strict=True)]
        if digits < AGREE or texts[0] != texts[1]:
            raise ArithmeticError(f"the methods agree to {digits:.1f} digits at {point}: {texts}")
        inputs = [point.alpha, None if z is None else point.value, rounded]
        cells = ["" if x is None else form(x) for form in (float.hex, repr) for x in inputs]
        where = region(alpha, log_z)
        return ",".join([*cells, point.exact, where, *texts[0]]), where, digits


def _tail(alpha: mpf, z: mpf | None, log_z: mpf, truth: Truth, at_log_z: mpf) -> list[str]:
    """The truths and condition numbers of a row, book eq. `eq-condition`, of dP, dz and dlogz."""
    p, q, zp, h, dh, r = truth
    exp = mp.exp(log_z)
    in_alpha, in_z = alpha * dh / h, r / h - (alpha - exp)
    truths = p, q, -zp * h, None if z is None else z * h, h, at_log_z
    conditions = (in_alpha - alpha * r, in_z + alpha - exp, None if z is None else in_alpha,
                  None if z is None else in_z + 1, in_alpha, in_z, in_z * log_z)
    return [*map(decimal, truths), *(decimal(x if x is None else abs(x), 5) for x in conditions)]


def agreement(x: mpf, y: mpf) -> float:
    """The number of digits that x and y share, at most 99."""
    return 99.0 if x == y else min(99.0, -float(mp.log10(abs(x / y - 1))))


def quantile(alpha: float, tail: float, upper: bool) -> mpf:
    """The log of the z with P = tail, or Q = tail if upper, by Newton's method on the tail's logarithm.

    Log-concave tails: from outside, where the start is, it comes in without overshooting.
    """
    with mp.workdps(30):
        alpha, tail = mpf(alpha), mpf(tail)
        c, log_gamma = max(alpha, mpf(1)), mp.loggamma(alpha)
        log_tail = lambda y, i: alpha * y - mp.exp(y) - log_gamma + mp.log(i)  # noqa: E731
        if upper and mp.log(tail) > log_tail(mp.log(c), moments(alpha, c, 1)[0]):
            upper, tail = False, 1 - tail
        sign, target, move = 1 if upper else -1, mp.log(tail), mpf(1)
        y = mp.log(c + 10 * mp.sqrt(c) + 60) if upper else (target + mp.loggamma(alpha + 1)) / alpha
        while abs(move) > 1e-9 * min(1, 1 / mp.sqrt(alpha)) * max(1, abs(y)):
            i = moments(alpha, mp.exp(y), sign)[0]
            move = sign * i * (log_tail(y, i) - target)
            y += move
        return y


def rounded_point(alpha: float, log_z: mpf, precision: str) -> Point:
    """A point with z exact in the precision, or log z where z underflows to 0."""
    with mp.workdps(30):
        z = nearest(mp.exp(log_z), precision)
        return Point(alpha, "z", z) if z > 0 else Point(alpha, "log_z", nearest(log_z, precision))


def drawn(precision: str) -> list[tuple[float, float, bool]]:
    """Alphas stratified in the log over 1e-8 ... 1e10, tails over 1e-15 ... 1/2; every fifth in [0.05, 0.5]."""
    rng, n = random.Random(20190624), _DRAWN[precision]
    with mp.workdps(30):
        power = lambda x: mpf(10) ** mpf(x)  # noqa: E731
        alphas = [nearest(power(-8 + mpf(18) * (i + mpf(rng.random())) / n), precision) for i in range(n)]
        depths = [(1.3 if i % 5 == 0 else 15.0, mpf(rng.random())) for i in range(n)]
        tails = [float(power(-u * depth - (1 - u) * mp.log10(2))) for depth, u in depths]
        return [(alpha, tail, rng.random() < 0.5) for alpha, tail in zip(alphas, tails, strict=True)]


def decades(precision: str) -> list[tuple[float, float, bool]]:
    """Every power of ten at fixed quantiles in both tails."""
    alphas = [nearest(mpf(float(f"1e{k}")), precision) for k in range(-8, 11)]
    tails = [(t, upper) for t in (1e-15, 1e-8, 1e-3, 0.1) for upper in (False, True)]
    return [(alpha, *tail) for alpha in alphas for tail in [*tails, (0.5, False)]]


def edges(precision: str) -> list[Point]:
    """Alpha = 12 and |log(z / alpha)| = 1.2, 32 and 0.7, log z = psi(alpha + 1), with an ulp to both sides."""
    dtype = _DTYPE[precision]
    beside = lambda x: [float(np.nextafter(dtype(x), dtype(to))) for to in (0, x, np.inf)]  # noqa: E731
    wide, narrow = [16, 20, 32, 64], [40, 64, 100, 200]
    if precision == "float64":
        wide, narrow = [*wide, 100, 300, 500], [*narrow, 500, 1000, 2000]
    with mp.workdps(30):
        relative = [(alpha, x) for alpha in beside(12) + beside(32) for x in (-1.2, -0.7, -0.3, 0.0, 0.3, 0.7, 1.2)]
        relative += [(alpha, x) for alpha in wide for x in (-1.2, 1.2)]
        relative += [(alpha, x) for alpha in narrow for x in (-0.7, 0.7)]
        places = [(float(alpha), alpha * mp.exp(mpf(x))) for alpha, x in relative]
        modes = [nearest(mpf(f"{m}e{k}"), precision) for k in range(-8, 10) for m in (1, 3)]
        places += [(alpha, mp.exp(mp.digamma(mpf(alpha) + 1))) for alpha in modes]
        return [Point(alpha, "z", v) for alpha, z in places for v in beside(nearest(z, precision))]


def underflow(precision: str) -> list[Point]:
    """The smallest z, subnormal and normal, and log z beyond them."""
    info = np.finfo(_DTYPE[precision])
    least, normal = float(info.smallest_subnormal), float(info.smallest_normal)
    zs = [least, 2 * least, 1e6 * least, normal - least, normal]
    with mp.workdps(30):
        logs = [nearest(k * mp.log(mpf(least)) - 1, precision) for k in (1, mpf("1.1"), 2)]
    alphas = [nearest(mpf(x), precision) for x in ("1e-8", "1e-5", "1e-3", "0.01", "0.02")]
    return [Point(a, *x) for a in alphas for x in [*(("z", z) for z in zs), *(("log_z", y) for y in logs)]]


def _found(task: tuple[float, float, bool], precision: str) -> Point:
    return rounded_point(task[0], quantile(*task), precision)


def write(precision: str, pool: Pool) -> None:
    """Choose the points of one file, work them out and write it."""
    began = time.monotonic()
    found = pool.map(partial(_found, precision=precision), [*drawn(precision), *decades(precision)], chunksize=8)
    log = lambda p: p.value if p.exact == "log_z" else float(mp.log(p.value))  # noqa: E731
    points = sorted({*found, *edges(precision), *underflow(precision)}, key=lambda p: (p.alpha, log(p), p.value))
    results = pool.map(partial(row, precision=precision), points[::-1], chunksize=1)[::-1]
    lines = [",".join(COLUMNS), *(line for line, _, _ in results)]
    FILES[precision].write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))
    for name in ("left", "right", "large"):
        digits = [agreed for _, where, agreed in results if where == name]
        print(f"{precision} {name:5}: {len(digits):4} rows, agreeing to {min(digits):.1f} digits or more")
    print(f"{precision}: {len(points)} rows in {time.monotonic() - began:.0f} s")


def read_point(line: str) -> Point:
    """The input of a line of the file."""
    alpha, z, log_z, _, _, _, exact, *_ = line.split(",")
    return Point(float.fromhex(alpha), exact, float.fromhex(z if exact == "z" else log_z))


def check(precision: str, n: int, pool: Pool) -> bool:
    """Whether a seeded sample of n rows, worked out again from their inputs, has the text it has in the file."""
    lines = random.Random(n).sample(FILES[precision].read_text(encoding="ascii").splitlines()[1:], n)
    results = pool.map(partial(row, precision=precision), map(read_point, lines), chunksize=1)
    wrong = [line for line, (text, _, _) in zip(lines, results, strict=True) if line != text]
    print(f"{precision}: {n - len(wrong)} of {n} rows are the same", *wrong, sep="\n")
    return not wrong


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    p = argparse.ArgumentParser(prog="python -m vi_ref.vectors.generate", description=__doc__.split("\n")[0])
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--check", type=int, metavar="N", help="recompute N rows of each file and compare")
    which.add_argument("--write", action="store_true", help="make the files anew; a released one is never edited")
    return p


def main(arguments: list[str] | None = None) -> int:
    """The command: see the module's docstring."""
    n = parser().parse_args(arguments).check
    with Pool(os.cpu_count()) as pool:
        if n is not None:
            return 0 if all([check(precision, n, pool) for precision in FILES]) else 1
        for precision in FILES:
            write(precision, pool)
    return 0


if __name__ == "__main__":
    sys.exit(main())

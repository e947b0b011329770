"""``python -m vi_ref compare``: the speed of this library beside others, or the score of an implicit gradient."""

import argparse
from pathlib import Path

import numpy as np

from vi_ref import _validate
from vi_ref._command import Parser, refuse, versions, writable, write
from vi_ref.compare import mine, speed


def parser() -> Parser:
    """The options of ``python -m vi_ref compare``."""
    p = Parser(prog="python -m vi_ref compare", description=(
        "Time this library beside PyTorch and JAX where they are installed, or score an implicit gradient of the gamma "
        "against the reference vectors."))
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--speed", action="store_true", help="time a step of the fit, what it scales with, its memory "
                       "and, if asked, the tutorial's whole fit; two minutes by default; what is missing is named")
    which.add_argument("--mine", metavar="MODULE:FUNCTION", help="score (alpha, z) -> dz/dalpha, arrays in, array out; "
                       "exit 1 where a decade of alpha is off by more than --tolerance")
    p.add_argument("--rounds", type=int, default=25, metavar="N", help="of --speed: turns that the contestants take "
                   "(default 25)")
    p.add_argument("--whole", type=int, default=0, metavar="N", help="of --speed: turns of whole programs: JAX's takes "
                   "minutes (default 0: none)")
    p.add_argument("--precision", default="float64", metavar="NAME", help="of --mine: float64 (default) or float32, "
                   "what the function is given and must return")
    p.add_argument("--tolerance", type=float, metavar="E", help="of --mine: the relative error that is let pass "
                   "(default 1e-12, or 1e-5 in float32)")
    p.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of --mine: how long the function "
                   "may take, its import included (default 60)")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder for the result, speed-DATE.json or mine.json "
                   "(default: results with --speed, none with --mine)")
    return p


def compare(argv: list[str]) -> int:
    """Run the command: 0 if all is well, 1 if a measurement fails or a score is too far off, 2 for bad input."""
    options = parser().parse_args(argv)
    return _speed(options) if options.speed else _mine(options)


def _speed(options: argparse.Namespace) -> int:
    file, out = f"speed-{speed.machine()['date']}.json", options.out or Path("results")
    try:
        rounds = _validate.whole("--rounds", options.rounds, 1)
        whole = _validate.whole("--whole", options.whole, 0)
        writable(out, (file,))
    except (ValueError, OSError) as error:
        return refuse(error)
    try:
        result = speed.measure(rounds, whole)
        write(out, {}, result, (file,))
    except (RuntimeError, OSError) as error:
        refuse(error)
        return 1
    print(speed.table(result))
    print(f"{file} is in {out}")
    return 0


def _mine(options: argparse.Namespace) -> int:
    try:
        precision = _validate.one_of("--precision", options.precision, tuple(mine.TOLERANCES))
        tolerance = mine.TOLERANCES[precision] if options.tolerance is None else options.tolerance
        tolerance = _validate.between("--tolerance", tolerance, 0, np.inf)
        timeout = _validate.between("--timeout", options.timeout, 0, np.inf)
        module, _, name = options.mine.partition(":")
        if not (module and name.isidentifier()):
            raise ValueError(f"--mine must be MODULE:FUNCTION, got {options.mine}")
        if options.out is not None:
            writable(options.out, ("mine.json",))
    except (ValueError, OSError) as error:
        return refuse(error)
    try:
        rows = mine.score(mine.values(options.mine, precision, timeout), precision)
        if options.out is not None:
            finite = [{k: v if np.isfinite(v) else None for k, v in row.items()} for row in rows]
            write(options.out, {}, {"function": options.mine, "precision": precision, "tolerance": tolerance,
                                    "decades": finite, "versions": versions()}, ("mine.json",))
    except (ValueError, OSError) as error:
        refuse(error)
        return 1
    failed = mine.beyond(rows, tolerance)
    print(mine.table(rows, tolerance))
    print(f"{options.mine}, {precision}: {'beyond' if failed else 'within'} {tolerance:g}"
          + (f" in {len(failed)} of {len(rows)} decades" if failed else " at every point"))
    return 1 if failed else 0

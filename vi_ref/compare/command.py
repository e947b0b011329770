"""``python -m vi_ref compare``: other libraries held against the truth, timed, or an implicit gradient scored."""

import argparse
import sys
from pathlib import Path

import numpy as np

from vi_ref import _validate
from vi_ref._command import Parser, refuse, versions, writable, write
from vi_ref.compare import mine, report, scorecard, speed
from vi_ref.compare._process import machine


def parser() -> Parser:
    """The options of ``python -m vi_ref compare``."""
    p = Parser(prog="python -m vi_ref compare", description=(
        "Hold JAX, PyTorch, TensorFlow Probability and NumPyro, those that are installed, against reference values and "
        "the exact posterior: a scorecard. Or time this library beside them; or score an implicit gradient of yours."))
    which = p.add_mutually_exclusive_group()
    which.add_argument("--speed", action="store_true", help="time a step of the fit, what it scales with, its memory "
                       "and, if asked, the tutorial's whole fit, beside PyTorch and JAX; two minutes by default")
    which.add_argument("--mine", metavar="MODULE:FUNCTION", help="score (alpha, z) -> dz/dalpha, arrays in, array out; "
                       "exit 1 where a decade of alpha is off by more than --tolerance")
    p.add_argument("--steps", type=int, default=200, metavar="T", help="of the scorecard: steps of a whole fit "
                   "(default 200: with all four libraries it then takes ten minutes)")
    p.add_argument("--seeds", type=int, default=2, metavar="N", help="of the scorecard: fits with the same settings, "
                   "the first with compilation (default 2)")
    p.add_argument("--replicates", type=int, default=50, metavar="N", help="of the scorecard: estimates of the "
                   "gradient (default 50)")
    p.add_argument("--rounds", type=int, metavar="N", help="of the scorecard and --speed: turns that the contestants "
                   "take (default 5 and 25)")
    p.add_argument("--whole", type=int, default=0, metavar="N", help="of --speed: turns of whole programs: JAX's takes "
                   "minutes (default 0: none)")
    p.add_argument("--precision", default="float64", metavar="NAME", help="of --mine: float64 (default) or float32, "
                   "what the function is given and must return")
    p.add_argument("--tolerance", type=float, metavar="E", help="of --mine: the relative error that is let pass "
                   "(default 1e-12, or 1e-5 in float32)")
    p.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the function of --mine may take, its "
                   "import included (default 60), or each part of the scorecard (default 600)")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder for the result: scorecard-DATE.json and "
                   "scorecard.png, speed-DATE.json, or mine.json (default: results; with --mine none)")
    return p


def compare(argv: list[str]) -> int:
    """Run the command: 0 if all is well, 1 if a measurement fails or a score is too far off, 2 for bad input."""
    options = parser().parse_args(argv)
    return _speed(options) if options.speed else _mine(options) if options.mine is not None else _scorecard(options)


def _scorecard(options: argparse.Namespace) -> int:
    files, out = ("scorecard.png", f"scorecard-{machine()['date']}.json"), options.out or Path("results")
    try:
        asked = {"replicates": _validate.whole("--replicates", options.replicates, 2),
                 "rounds": _validate.whole("--rounds", 5 if options.rounds is None else options.rounds, 1),
                 "n_steps": _validate.whole("--steps", options.steps, 1),
                 "seeds": _validate.whole("--seeds", options.seeds, 1),
                 "timeout": _validate.between("--timeout", 600.0 if options.timeout is None else options.timeout, 0,
                                               np.inf)}
        writable(out, files)
    except (ValueError, OSError) as error:
        return refuse(error)
    result = scorecard.measure(**asked, say=lambda part: print(f"measuring: {part}", file=sys.stderr, flush=True))
    print(report.table(result))
    from vi_ref.compare import pictures

    try:
        write(out, {files[0]: pictures.scorecard(result)}, result, files)
    except OSError as error:
        refuse(error)
        return 1
    print(f"{' and '.join(files)} are in {out}")
    return 1 if "vi_ref" not in result["libraries"] or result["failed"] else 0


def _speed(options: argparse.Namespace) -> int:
    file, out = f"speed-{machine()['date']}.json", options.out or Path("results")
    try:
        rounds = _validate.whole("--rounds", 25 if options.rounds is None else options.rounds, 1)
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
        timeout = _validate.between("--timeout", 60.0 if options.timeout is None else options.timeout, 0,
                                    np.inf)
        module, _, name = options.mine.partition(":")
        if not (module and name.isidentifier()):
            raise ValueError(f"--mine must be MODULE:FUNCTION, got {options.mine}")
        if options.out is not None:
            writable(options.out, ("mine.json",))
    except (ValueError, OSError) as error:
        return refuse(error)
    try:
        found = mine.values(options.mine, precision, timeout)
        rows = mine.score(found, mine.points(precision), precision)
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

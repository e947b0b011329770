"""``python -m vi_ref compare``: other libraries held against the truth, timed, or an implicit gradient scored."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vi_ref import _validate
from vi_ref._command import Parser, refuse, versions, writable, write
from vi_ref.compare import factorization, mine, report, scorecard, speed
from vi_ref.compare._process import machine


def parser() -> Parser:
    """The options of ``python -m vi_ref compare``."""
    p = Parser(prog="python -m vi_ref compare", description=(
        "Hold JAX, PyTorch, TensorFlow Probability and NumPyro, those that are installed, against reference values and "
        "the exact posterior: a scorecard. Or time this library beside them; or score an implicit gradient of yours. "
        "Or factorise tables of counts beside scikit-learn, hpfrec and poismf."))
    which = p.add_mutually_exclusive_group()
    which.add_argument("--speed", action="store_true", help="time a step of the fit, what it scales with, its memory "
                       "and, if asked, the tutorial's whole fit, beside PyTorch and JAX; two minutes by default")
    which.add_argument("factorization", nargs="?", choices=["factorization"], help="Poisson factorisation of simulated "
                       "tables by each library: time of a sweep, held-out score against time, memory; a quarter "
                       "of an hour by default")
    which.add_argument("--mine", metavar="MODULE:FUNCTION", help="score (alpha, z) -> dz/dalpha, arrays in, array out; "
                       "exit 1 where a decade of alpha is off by more than --tolerance")
    p.add_argument("--steps", type=int, metavar="T", help="of the scorecard: steps of a whole fit "
                   "(default 200: with all four libraries it then takes a quarter of an hour)")
    p.add_argument("--seeds", type=int, metavar="N", help="of the scorecard: fits with the same settings, "
                   "the first with compilation (default 2); of factorization: tables, and a fit of each (default 3; 0: "
                   "only sweeps are timed)")
    p.add_argument("--replicates", type=int, metavar="N", help="of the scorecard: estimates of the "
                   "gradient (default 50)")
    p.add_argument("--rounds", type=int, metavar="N", help="of the scorecard, --speed and factorization: turns that "
                   "the contestants take (default 5, 25 and 3)")
    p.add_argument("--whole", type=int, metavar="N", help="of --speed: turns of whole programs: JAX's takes "
                   "minutes (default 0: none)")
    p.add_argument("--precision", metavar="NAME", help="of --mine: float64 (default) or float32, "
                   "what the function is given and must return")
    p.add_argument("--tolerance", type=float, metavar="E", help="of --mine: the relative error that is let pass "
                   "(default 1e-12, or 1e-5 in float32)")
    p.add_argument("--nonzeros", type=float, nargs="+", metavar="N", help="of factorization: how many cells of each "
                   "table are not empty (default 1e5)")
    p.add_argument("--seconds", type=float, metavar="S", help="of factorization: how long a fit may take per 100 000 "
                   "non-zeros (default 20)")
    p.add_argument("--memory", type=float, metavar="N", help="of factorization: non-zeros of the table at which peak "
                   "memory is measured (default 0: not at all)")
    p.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the function of --mine may take, its "
                   "import included (default 60), or each part of the scorecard (default 200) or of factorization "
                   "(default 600)")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder for the result: scorecard-DATE.json and "
                   "scorecard.png, speed-DATE.json, factorization-DATE.json and factorization.png, or mine.json "
                   "(default: results; with --mine none)")
    return p


#: Which commands have which options, all of them None by default.
_MODES = {"steps": ("the scorecard",), "seeds": ("the scorecard", "factorization"), "replicates": ("the scorecard",),
          "rounds": ("the scorecard", "--speed", "factorization"), "whole": ("--speed",),
          "timeout": ("the scorecard", "--mine", "factorization"), "precision": ("--mine",), "tolerance": ("--mine",),
          "nonzeros": ("factorization",), "seconds": ("factorization",), "memory": ("factorization",)}


def compare(argv: list[str]) -> int:
    """Run the command: 0 if all is well, 1 if a measurement fails or a score is too far off, 2 for bad input.

    A fit of the scorecard that fails or does not end is a result like another: it is reported, and no failure.
    """
    options = parser().parse_args(argv)
    which = ("--speed" if options.speed else "--mine" if options.mine is not None
             else options.factorization or "the scorecard")
    for name, modes in _MODES.items():
        if getattr(options, name) is not None and which not in modes:
            return refuse(ValueError(f"--{name} must be left out with {which}, got {getattr(options, name)}"))
    return {"--speed": _speed, "--mine": _mine, "factorization": _factorization}.get(which, _scorecard)(options)


def _scorecard(options: argparse.Namespace) -> int:
    files, out = ("scorecard.png", f"scorecard-{machine()['date']}.json"), options.out or Path("results")
    try:
        asked = {"replicates": _validate.whole("--replicates", _or(options.replicates, 50), 2),
                 "rounds": _validate.whole("--rounds", _or(options.rounds, 5), 1),
                 "n_steps": _validate.whole("--steps", _or(options.steps, 200), 1),
                 "seeds": _validate.whole("--seeds", _or(options.seeds, 2), 1),
                 "timeout": _validate.between("--timeout", _or(options.timeout, 200.0), 0, 1e6)}
        writable(out, files)
    except (ValueError, OSError) as error:
        return refuse(error)
    result = scorecard.measure(**asked, say=lambda part: print(f"measuring: {part}", file=sys.stderr, flush=True))
    from vi_ref.compare import pictures

    try:
        write(out, {}, result, files)                # the numbers first: they took longest
        write(out, {files[0]: pictures.scorecard(result)}, result, files)
    except OSError as error:
        refuse(error)
        return 1
    print(report.table(result))
    print(f"{' and '.join(files)} are in {out}")
    return 1 if result["failed"] else 0


def _speed(options: argparse.Namespace) -> int:
    file, out = f"speed-{machine()['date']}.json", options.out or Path("results")
    try:
        rounds = _validate.whole("--rounds", _or(options.rounds, 25), 1)
        whole = _validate.whole("--whole", _or(options.whole, 0), 0)
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


def _factorization(options: argparse.Namespace) -> int:
    files, out = ("factorization.png", f"factorization-{machine()['date']}.json"), options.out or Path("results")
    try:
        asked = {"sizes": [_validate.whole("--nonzeros", _whole(n), 1000) for n in _or(options.nonzeros, [1e5])],
                 "seeds": _validate.whole("--seeds", _or(options.seeds, 3), 0),
                 "seconds": _validate.between("--seconds", _or(options.seconds, 20.0), 0, 1e6),
                 "rounds": _validate.whole("--rounds", _or(options.rounds, 3), 1),
                 "memory_at": _validate.whole("--memory", _whole(_or(options.memory, 0)), 0),
                 "timeout": _validate.between("--timeout", _or(options.timeout, 600.0), 0, 1e6)}
        writable(out, files)
    except (ValueError, OSError) as error:
        return refuse(error)
    result = factorization.measure(**asked, say=lambda part: print(f"measuring: {part}", file=sys.stderr, flush=True))
    from vi_ref.compare import pictures

    try:
        write(out, {}, result, files)                # the numbers first: they took longest
        write(out, {files[0]: pictures.factorization(result)}, result, files)
    except OSError as error:
        refuse(error)
        return 1
    print(report.factorization(result))
    print(f"{' and '.join(files)} are in {out}")
    return 1 if result["failed"] else 0


def _mine(options: argparse.Namespace) -> int:
    try:
        precision = _validate.one_of("--precision", _or(options.precision, "float64"), tuple(mine.TOLERANCES))
        tolerance = _or(options.tolerance, mine.TOLERANCES[precision])
        tolerance = _validate.between("--tolerance", tolerance, 0, np.inf)
        timeout = _validate.between("--timeout", _or(options.timeout, 60.0), 0, 1e6)
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


def _whole(number: float) -> float:
    """1e6 as an int, and what is no whole number as it is."""
    return int(number) if float(number).is_integer() else number


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given

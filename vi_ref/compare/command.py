"""``python -m vi_ref compare --speed``."""

from pathlib import Path

from vi_ref import _validate
from vi_ref._command import Parser, refuse, writable, write
from vi_ref.compare import speed


def parser() -> Parser:
    """The options of ``python -m vi_ref compare``."""
    p = Parser(prog="python -m vi_ref compare", description=(
        "Time a step of the fit, what it scales with, its memory and the tutorial's whole fit, beside PyTorch and JAX "
        "where they are installed. Two minutes by default; what is missing is named."))
    p.add_argument("--speed", action="store_true", required=True, help="measure speed, the one comparison there is")
    p.add_argument("--rounds", type=int, default=25, metavar="N", help="turns that the contestants take (default 25)")
    p.add_argument("--whole", type=int, default=0, metavar="N", help="turns of whole programs: JAX's takes minutes "
                   "(default 0: none)")
    p.add_argument("--out", type=Path, default=Path("results"), metavar="DIR",
                   help="folder for speed-DATE.json (default results)")
    return p


def compare(argv: list[str]) -> int:
    """Run the command; 0 if all is well, 2 for bad input, 1 if a measurement failed."""
    options = parser().parse_args(argv)
    file = f"speed-{speed.machine()['date']}.json"
    try:
        rounds = _validate.whole("--rounds", options.rounds, 1)
        whole = _validate.whole("--whole", options.whole, 0)
        writable(options.out, (file,))
    except (ValueError, OSError) as error:
        return refuse(error)
    try:
        result = speed.measure(rounds, whole)
        write(options.out, {}, result, (file,))
    except (RuntimeError, OSError) as error:
        refuse(error)
        return 1
    print(speed.table(result))
    print(f"{file} is in {options.out}")
    return 0

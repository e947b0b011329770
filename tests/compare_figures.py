"""Compare freshly made figures with the committed ones: ``compare_figures.py COMMITTED FRESH``.

Pictures may differ by an RMS of 3 grey levels of 255, which leaves room for another processor's
rounding and another FreeType's edges. The four-changes figure shows trajectories that Adam throws
back at moments decided by rounding: a start moved by one ulp changes it by 20 levels, so it gets
30, and its numbers are compared instead. Tables must have the same words; numbers may differ
where both are below 1e-9, the rounding of a fit that reached the posterior, and otherwise by a
factor of 3.
"""

import re
import sys
from pathlib import Path

from matplotlib.testing.compare import compare_images

RMS = {"07_four_changes.png": 30.0}
_NUMBER = re.compile(r"-?\d+\.\d+e[+-]\d+")


def tables_differ(committed: str, fresh: str) -> bool:
    if _NUMBER.sub("#", committed).split() != _NUMBER.sub("#", fresh).split():
        return True
    pairs = zip(map(float, _NUMBER.findall(committed)), map(float, _NUMBER.findall(fresh)), strict=True)
    return any(max(abs(a), abs(b)) > 1e-9 and not 1 / 3 < a / b < 3 for a, b in pairs)


def main(committed: Path, fresh: Path) -> int:
    problems = []
    for path in sorted(committed.glob("*.png")) + sorted(committed.glob("*.txt")):
        other = fresh / path.name
        if not other.exists():
            problems.append(f"{path.name}: not made again")
        elif path.suffix == ".png":
            problems += filter(None, [compare_images(str(path), str(other), RMS.get(path.name, 3.0))])
        elif tables_differ(path.read_text(encoding="utf-8"), other.read_text(encoding="utf-8")):
            problems.append(f"{path.name}: numbers differ")
    extra = {p.name for p in fresh.glob("*.png") if "failed-diff" not in p.name} - {p.name for p in committed.iterdir()}
    problems += [f"{name}: made but not committed" for name in sorted(extra)]
    print("\n".join(problems) or "all figures agree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

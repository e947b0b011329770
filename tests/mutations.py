"""Break each term of each formula, one at a time, and see a test go red: ``python tests/mutations.py [WORD]``.

Each entry is a source edit and the test that must fail for it. With a word, only the
entries whose file or test holds that word are tried.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# file, fragment that occurs in it once, what to put in its place, test that must go red
MUTATIONS = [
]


def survives(mutation: tuple[str, str, str, str]) -> str | None:
    """A line that says what went wrong, or None if the test went red as it must."""
    file, old, new, test = mutation
    with tempfile.TemporaryDirectory() as folder:
        for part in ("vi_ref", "tests", "figures"):
            shutil.copytree(ROOT / part, Path(folder, part), ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("setup.cfg", "README.md"):
            shutil.copy(ROOT / part, folder)
        source = Path(folder, file).read_text(encoding="utf-8")
        if source.count(old) != 1:
            return f"{file}: {old!r} occurs {source.count(old)} times, not once"
        Path(folder, file).write_text(source.replace(old, new), encoding="utf-8")
        run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
                             cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": folder})
        if run.returncode == 1 and " failed" in run.stdout:
            return None
        return f"{file}: {old!r} -> {new!r} left {test} with exit code {run.returncode}\n{run.stdout[-500:]}"


def main(word: str = "") -> int:
    """Try every mutation, two at a time."""
    chosen = [m for m in MUTATIONS if word in m[0] or word in m[3]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(survives, chosen) if problem]
    print("\n".join(problems) or f"each of {len(chosen)} mutations turned its test red")
    return 1 if problems or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

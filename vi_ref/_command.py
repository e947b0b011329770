"""What the commands share: options, refusals in a line, and results that are written whole or not at all."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vi_ref import __version__


class Parser(argparse.ArgumentParser):
    """A parser that refuses what it does not know in one line."""

    def error(self, message):
        """Say what is wrong and end with exit code 2."""
        self.exit(2, f"vi_ref: {' '.join(message.split())}\n")


def refuse(error: Exception) -> int:
    """Say in one line what was wrong; the exit code for it."""
    print(f"vi_ref: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def writable(out: Path, files: tuple[str, ...]) -> None:
    """Raise unless `files` can be written to a folder `out`, which is not made yet."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        for name in files:
            if (out / name).is_dir():
                raise IsADirectoryError(None, f"{name} in it is a folder")
    except OSError as error:
        raise ValueError(f"--out must be a folder that can be written, got {out}: {error.strerror}") from None


def write(out: Path, figures: Mapping[str, Any], result: Mapping[str, Any], files: tuple[str, ...]) -> None:
    """All files or none: they are made in a folder beside, then moved into place; `result` as the last of `files`."""
    from vi_ref.plots import save

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
        for name, figure in figures.items():
            save(figure, os.path.join(folder, name))
        Path(folder, files[-1]).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for name in (*figures, files[-1]):
            os.replace(os.path.join(folder, name), out / name)
    for name in {*files} - {*figures, files[-1]}:        # an earlier run's pictures would not belong to this result
        (out / name).unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of Python, this package and the libraries it runs on."""
    libraries = ("numpy", "scipy", "numba", "scikit-learn", "matplotlib")
    return {"vi_ref": __version__, "python": platform.python_version(), **{name: version(name) for name in libraries}}

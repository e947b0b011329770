"""What the commands share: options, refusals in a line, and results that are written whole or not at all."""

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

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
    """All files or none: they are made in a folder beside, then moved into place; `result` as the last of `files`.

    `figures` are figures, or text.
    """
    from vi_ref.plots import save

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as folder:
        for name, figure in figures.items():
            if isinstance(figure, str):
                Path(folder, name).write_text(figure, encoding="utf-8")
            else:
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


def read_table(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Names of the columns, if there are any, and numbers from a .csv or .npy file."""
    try:
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as file:
                values = np.load(file, allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise ValueError("must hold one array, got several in an archive")
            return None, values
        if path.suffix.lower() != ".csv":
            raise ValueError("must end in .csv or .npy")
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, skipinitialspace=True, strict=True)
            fields = next(lines, [])
        named = bool(fields) and all(map(_is_name, fields))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)              # an empty file is refused as a table
            values = np.loadtxt(path, delimiter=",", ndmin=2, skiprows=lines.line_num if named else 0,
                                encoding="utf-8-sig", comments=None)
        return [" ".join(field.split()) for field in fields] if named else None, values
    except (ValueError, EOFError, csv.Error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from None


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_name(field: str) -> bool:
    """Whether a field of the first line reads as a column's name, not as a number, a gap or another separator."""
    text = field.strip().strip("\"'")
    gap = text.upper() in ("", "NA", "N/A", "NULL")
    return not (gap or is_number(text.replace(",", "")) or ";" in text or "\t" in text)

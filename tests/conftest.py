"""Numba's disk cache misses a change in a called function of another file: key it by all sources."""

import hashlib
import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent / "vi_ref"


def _keyed_by_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(_PACKAGE.rglob("*.py")):
        digest.update(source.relative_to(_PACKAGE).as_posix().encode() + b"\0" + source.read_bytes())
    return str(Path(tempfile.gettempdir()) / f"vi_ref-numba-{digest.hexdigest()[:16]}")


# tests/mutations.py names a folder of its own: a mutation of a file without kernels can share compiled ones.
os.environ["NUMBA_CACHE_DIR"] = os.environ.get("VI_REF_MUTATION_CACHE") or _keyed_by_sources()

"""Numba's disk cache misses a change in a called function of another file: key it by all sources."""

import hashlib
import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent / "vi_ref"
_digest = hashlib.sha256()
for _source in sorted(_PACKAGE.rglob("*.py")):
    _digest.update(_source.relative_to(_PACKAGE).as_posix().encode() + b"\0" + _source.read_bytes())
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"vi_ref-numba-{_digest.hexdigest()[:16]}")

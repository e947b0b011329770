"""Numba's decorators, with a disk cache that notices a change in any compiled function of the package.

Numba keeps a compiled function until its own file changes, and would go on with the old version of what it calls in
another. Here the stamp of each is the hash of all files that hold compiled functions. Where no cache can be written, or
a release of Numba keeps the stamp elsewhere, nothing is cached.
"""

import hashlib
from collections.abc import Callable
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numba


@cache
def stamp() -> str:
    """Hash of the sources that hold compiled functions, those that name this module, and of this one."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if path == Path(__file__) or b"vi_ref._compiled" in source:
            digest.update(path.name.encode() + b"\0" + source)
    return digest.hexdigest()


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``numba.njit``, cached, without Python's lock and its division by zero; with or without options."""
    if function is None:
        return partial(njit, **options)
    return _cached(partial(numba.njit, error_model="numpy", nogil=True, **options), attrgetter("_cache"), function)


def vectorize(function: Callable[..., Any]) -> Any:
    """``numba.vectorize``, cached: a NumPy ufunc, compiled at its first call."""
    return _cached(numba.vectorize, attrgetter("_dispatcher.cache"), function)


def _cached(decorator: Callable[..., Any], cache_of: Callable[[Any], Any], function: Callable[..., Any]) -> Any:
    try:
        compiled = decorator(cache=True)(function)       # a RuntimeError where there is no folder to write to
        index = cache_of(compiled)._cache_file
        _ = index._source_stamp                          # Numba's own: time and size of the function's file
        index._source_stamp = stamp()
    except (AttributeError, RuntimeError):
        return decorator()(function)
    return compiled

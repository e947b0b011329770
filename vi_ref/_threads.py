"""Threads for compiled code that releases Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Part, Result = TypeVar("Part"), TypeVar("Result")


def spread(work: Callable[[Part], Result], parts: Sequence[Part], n_threads: int) -> list[Result]:
    """``work(part)`` for each part, in order; on this thread alone if one is enough."""
    if min(len(parts), n_threads) <= 1:
        return [work(part) for part in parts]
    return list(_pool(os.getpid(), n_threads).map(work, parts))


@cache
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    """Threads that stay, as starting them costs more than a small part; none survive a fork, hence `process`."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix=f"vi_ref-{process}")

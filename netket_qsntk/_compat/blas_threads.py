"""BLAS on the calling thread alone, for code with threads of its own.

OpenBLAS makes callers on several threads wait for each other's helpers: two threads decompose 256 × 256 matrices four
times slower with them than without.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    # Kept: to look for libraries takes milliseconds.
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Products and decompositions of NumPy on the calling thread alone.

    The number of threads belongs to the process: it comes back when the last of nested or concurrent contexts ends.

    Yields:
        Whether it is so; False where no BLAS is found whose threads can be set.
    """
    global _inside, _limit
    controls = _blas()
    if not controls.info():
        yield False
        return
    with _lock:
        if not _inside:
            _limit = controls.limit(limits=1)
        _inside += 1
    try:
        yield True
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limit.restore_original_limits()

"""BLAS on the calling thread alone, for code with threads of its own.

OpenBLAS makes callers on several threads wait for each other's helpers: two threads decompose 256 × 256 matrices four
times slower with them than without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    # Kept: to look for libraries takes milliseconds.
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Products and decompositions of NumPy on the calling thread alone.

    The number of threads belongs to the process, and one thread of it has the say: where another one has it at the
    moment, nothing changes.

    Yields:
        Whether a BLAS was found whose threads can be set.
    """
    controls = _blas()
    if not controls.info():
        yield False
        return
    with controls.limit(limits=1):
        yield True

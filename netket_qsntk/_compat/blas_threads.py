"""The number of threads of the OpenBLAS inside NumPy's wheels, which NumPy itself does not give access to."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

_NAMES = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)
_lock = threading.Lock()
_inside: list[int] = []


@lru_cache(maxsize=1)
def _controls() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The functions that read and set the number, None where NumPy has another BLAS."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for get, put in _NAMES:
                if hasattr(library, get) and hasattr(library, put):
                    return getattr(library, get), getattr(library, put)
    return None


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Products and decompositions of NumPy on the calling thread alone, for code with threads of its own.

    OpenBLAS makes callers on several threads wait for each other's helpers: two threads decompose 256 × 256
    matrices four times slower with them than without. The number belongs to the process and comes back when the last
    of nested or concurrent contexts ends.

    Yields:
        Whether it is so; False where the BLAS is not one whose threads are known how to set.
    """
    controls = _controls()
    if controls is None:
        yield False
        return
    get, put = controls
    with _lock:
        _inside.append(int(get()))
        put(1)
    try:
        yield True
    finally:
        with _lock:
            # The first entry is what was there before any of them.
            before = _inside[0]
            _inside.pop()
            if not _inside:
                put(before)

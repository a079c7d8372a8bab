"""Members of an ensemble spread over the processor's cores."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from netket_qsntk._compat.cpu.blas_threads import one_blas_thread

# Numbers that a core works on at a time: 2^16 complex ones are 1 MB, within its level-2 cache.
_NUMBERS = 2**16


def in_threads(
    work: Callable[[slice], np.ndarray], n_members: int, numbers_each: int
) -> np.ndarray:
    """``work(rows)`` for slices that make up all members, put together in their order.

    Matrices of a member are too small for several threads to share; members are not. Each slice is a
    few members whose numbers stay in a cache, and BLAS keeps to the thread that calls it.

    Args:
        work: From a slice of members to an array with one row for each; releases the interpreter's
            lock most of the time, as NumPy does.
        n_members: Number of members.
        numbers_each: Amplitudes of one member.

    Example:
        >>> in_threads(lambda rows: np.arange(10)[rows] ** 2, 10, 2**15)
        array([ 0,  1,  4,  9, 16, 25, 36, 49, 64, 81])
    """
    size = max(1, _NUMBERS // numbers_each)
    slices = [slice(i, min(i + size, n_members)) for i in range(0, n_members, size)]
    threads = min(os.cpu_count() or 1, len(slices))
    if threads < 2:
        return np.concatenate([work(rows) for rows in slices or [slice(0, 0)]])
    with one_blas_thread() as alone:
        if not alone:
            return np.concatenate([work(rows) for rows in slices])
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(work, slices)))

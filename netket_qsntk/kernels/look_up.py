"""Kernels of lattice configurations from a table, in one pass over memory.

The entry of a pair of configurations stands in a table at an index that is an inner product of integers. XLA and
NumPy make the matrix of indices and go through memory again for each table; the compiled loop below keeps a row's
indices in the level-1 cache and writes both matrices, so that a pair of kernels costs little more than first writing
its memory: on two cores 44 ms for 4096² entries of both, of which 25 ms are that. (Stores that go past the caches are
slower here: fresh pages have just been zeroed, and are in cache.)
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

# Columns whose indices stay in the level-1 cache.
_COLUMNS = 2048


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    left: Any, right: Any, first_table: Any, second_table: Any, first: Any, second: Any
) -> None:
    """first[i, j], second[i, j] = the tables at left[i]·right[:, j]; indices are exact in float32."""
    index = np.empty(_COLUMNS, np.float32)
    for i in range(left.shape[0]):
        for start in range(0, right.shape[1], _COLUMNS):
            size = min(_COLUMNS, right.shape[1] - start)
            index[:size] = 0.0
            for k in range(left.shape[1]):
                a = left[i, k]
                row = right[k, start : start + size]
                for j in range(size):
                    index[j] += a * row[j]
            one, two = first[i, start : start + size], second[i, start : start + size]
            for j in range(size):
                at = np.int32(index[j])
                one[j] = first_table[at]
                two[j] = second_table[at]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_one(left: Any, right: Any, table: Any, out: Any) -> None:
    """out[i, j] = the table at left[i]·right[:, j]."""
    index = np.empty(_COLUMNS, np.float32)
    for i in range(left.shape[0]):
        for start in range(0, right.shape[1], _COLUMNS):
            size = min(_COLUMNS, right.shape[1] - start)
            index[:size] = 0.0
            for k in range(left.shape[1]):
                a = left[i, k]
                row = right[k, start : start + size]
                for j in range(size):
                    index[j] += a * row[j]
            one = out[i, start : start + size]
            for j in range(size):
                one[j] = table[np.int32(index[j])]


def fill(
    left: np.ndarray,
    right: np.ndarray,
    tables: Sequence[np.ndarray],
    out: Sequence[np.ndarray],
) -> None:
    """Write tables[k][left @ rightᵀ] to out[k].

    Args:
        left: (n, d) numbers whose products with those of ``right`` are indices within the tables, exact in float32.
        right: (m, d).
        tables: One or two vectors float64.
        out: As many arrays (n, m) float64.
    """
    left = np.ascontiguousarray(left, np.float32)
    across = np.ascontiguousarray(right.T, np.float32)
    loop = _fill_one if len(tables) == 1 else _fill
    in_parts(lambda rows: loop(left[rows], across, *tables, *(t[rows] for t in out)), len(left))


def in_parts(work: Callable[[slice], None], n: int) -> None:
    """``work(rows)`` for slices that make up the n rows, on as many threads as there are processors."""
    threads = max(1, min(os.cpu_count() or 1, n // 64))
    edges = np.linspace(0, n, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, itertools.starmap(slice, itertools.pairwise(edges))))

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

import numba
import numpy as np

from netket_qsntk._compat.cpu.switch import compiled

# Columns whose indices stay in the level-1 cache.
_COLUMNS = 2048
# Entries whose indices NumPy makes at a time.
_ENTRIES = 2**20


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _indices(
    left: np.ndarray,
    right: np.ndarray,
    start: int,
    size: int,
    entries: int,
    index: np.ndarray,
    places: np.ndarray,
) -> bool:
    """Write left·right[:, start : start + size] to places, by way of index; whether all are places of the table."""
    index[:size] = 0.0
    for k in range(left.shape[0]):
        a = left[k]
        row = right[k, start : start + size]
        for j in range(size):
            index[j] += a * row[j]
    # A sign bit remains from a number below zero or above the last: whole numbers are compared several at a time,
    # minima of floating-point numbers, with their nan, one by one.
    last, outside = np.int32(entries - 1), np.int32(0)
    for j in range(size):
        at = np.int32(index[j])
        places[j] = at
        outside |= np.int32(at | np.int32(last - at))
    return bool(outside >= 0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_two(
    left: np.ndarray,
    right: np.ndarray,
    first_table: np.ndarray,
    second_table: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> bool:
    """first[i, j], second[i, j] = the tables at left[i]·right[:, j]; indices are exact in float32."""
    index, places = np.empty(_COLUMNS, np.float32), np.empty(_COLUMNS, np.int32)
    for i in range(left.shape[0]):
        for start in range(0, right.shape[1], _COLUMNS):
            size = min(_COLUMNS, right.shape[1] - start)
            if not _indices(left[i], right, start, size, first_table.size, index, places):
                return False
            one, two = first[i, start : start + size], second[i, start : start + size]
            for j in range(size):
                at = places[j]
                one[j] = first_table[at]
                two[j] = second_table[at]
    return True


# By itself: one loop over tables, for one or two, takes a tenth longer for two.
@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_one(left: np.ndarray, right: np.ndarray, table: np.ndarray, out: np.ndarray) -> bool:
    """out[i, j] = the table at left[i]·right[:, j]."""
    index, places = np.empty(_COLUMNS, np.float32), np.empty(_COLUMNS, np.int32)
    for i in range(left.shape[0]):
        for start in range(0, right.shape[1], _COLUMNS):
            size = min(_COLUMNS, right.shape[1] - start)
            if not _indices(left[i], right, start, size, table.size, index, places):
                return False
            one = out[i, start : start + size]
            for j in range(size):
                one[j] = table[places[j]]
    return True


def _fill_by_numpy(
    left: np.ndarray, right: np.ndarray, tables: Sequence[np.ndarray], out: Sequence[np.ndarray]
) -> bool:
    rows = max(1, _ENTRIES // max(1, right.shape[1]))
    for start in range(0, len(left), rows):
        here = slice(start, start + rows)
        index = (left[here] @ right).astype(np.int64)
        if index.size and (index.min() < 0 or index.max() >= len(tables[0])):
            return False
        for table, target in zip(tables, out, strict=True):
            target[here] = table[index]
    return True


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
        tables: One or two vectors float64, equally long.
        out: As many arrays (n, m) float64.

    Raises:
        IndexError: A product is no place of the tables.
    """
    left = np.ascontiguousarray(left, np.float32)
    across = np.ascontiguousarray(right.T, np.float32)
    shape = len(left), across.shape[1]
    if left.shape[1] != across.shape[0] or any(t.shape != shape for t in out):
        raise IndexError(f"{left.shape} rows, {right.shape} columns and {[t.shape for t in out]}")
    if len({len(table) for table in tables}) != 1:
        raise IndexError(f"tables of {[len(table) for table in tables]} entries")
    if not compiled():
        inside = [_fill_by_numpy(left, across, tables, out)]
    else:
        loop = _fill_one if len(tables) == 1 else _fill_two
        inside = _in_parts(
            lambda rows: loop(left[rows], across, *tables, *(t[rows] for t in out)), len(left)
        )
    if not all(inside):
        raise IndexError(f"inner products beyond a table of {len(tables[0])} entries")


def _in_parts(work: Callable[[slice], bool], n: int) -> list[bool]:
    """``work(rows)`` for slices that make up the n rows, on as many threads as there are processors."""
    threads = max(1, min(os.cpu_count() or 1, n // 64))
    edges = np.linspace(0, n, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, itertools.starmap(slice, itertools.pairwise(edges))))


def aligned(n: int, m: int) -> np.ndarray:
    """An uninitialised (n, m) float64 array on the 64-byte boundary that lets JAX alias it on a CPU."""
    raw = np.empty(8 * n * m + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 8 * n * m].view(np.float64).reshape(n, m)

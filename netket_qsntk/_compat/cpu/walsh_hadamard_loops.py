"""Loops of the compiled Walsh-Hadamard transform, and the C function through which XLA calls them.

Imported by its users in :mod:`netket_qsntk._compat.cpu` alone, and late: numba compiles them at import
(once; the machine code is cached beside this file or in the user's cache directory).
"""

from typing import Any

import numba
import numpy as np
from numba.core import types

from netket_qsntk._compat.cpu.xla_frame import (
    ARGUMENTS,
    DATA,
    DIMENSIONS,
    DTYPES,
    RANK,
    RESULTS,
    WORDS,
    compiled,
    is_array,
    is_call,
    metadata_answered,
    pointer,
    words,
)

# Numbers of a block that stays in the level-2 cache while all of its passes run.
BLOCK = 2**14


@compiled
def first_three(x: np.ndarray, y: np.ndarray) -> None:
    """Passes 1, 2 and 4, from x into y."""
    for i in range(0, x.size, 8):
        a0, a1 = x[i] + x[i + 1], x[i] - x[i + 1]
        a2, a3 = x[i + 2] + x[i + 3], x[i + 2] - x[i + 3]
        a4, a5 = x[i + 4] + x[i + 5], x[i + 4] - x[i + 5]
        a6, a7 = x[i + 6] + x[i + 7], x[i + 6] - x[i + 7]
        b0, b1, b2, b3 = a0 + a2, a1 + a3, a0 - a2, a1 - a3
        b4, b5, b6, b7 = a4 + a6, a5 + a7, a4 - a6, a5 - a7
        y[i], y[i + 1], y[i + 2], y[i + 3] = b0 + b4, b1 + b5, b2 + b6, b3 + b7
        y[i + 4], y[i + 5], y[i + 6], y[i + 7] = b0 - b4, b1 - b5, b2 - b6, b3 - b7


@compiled
def one_pass(y: np.ndarray, h: int) -> None:
    """Pass h."""
    for start in range(0, y.size, 2 * h):
        u, v = y[start : start + h], y[start + h : start + 2 * h]
        for i in range(h):
            u[i], v[i] = u[i] + v[i], u[i] - v[i]


@compiled
def two_passes(y: np.ndarray, h: int) -> None:
    """Passes h and 2h, reading and writing once."""
    for start in range(0, y.size, 4 * h):
        u, v = y[start : start + h], y[start + h : start + 2 * h]
        w, z = y[start + 2 * h : start + 3 * h], y[start + 3 * h : start + 4 * h]
        for i in range(h):
            a, b = u[i] + v[i], u[i] - v[i]
            c, d = w[i] + z[i], w[i] - z[i]
            u[i], v[i], w[i], z[i] = a + c, b + d, a - c, b - d


@compiled
def later_passes(y: np.ndarray, h: int) -> None:
    """Pass h and all later ones."""
    while 4 * h <= y.size:
        two_passes(y, h)
        h *= 4
    if 2 * h <= y.size:
        one_pass(y, h)


@compiled
def _transform(x: np.ndarray, y: np.ndarray) -> None:
    block = min(x.size, BLOCK)
    for start in range(0, x.size, block):
        first_three(x[start : start + block], y[start : start + block])
        later_passes(y[start : start + block], 8)
    later_passes(y, block)


def _handler(dtype: Any, size: int) -> Any:
    code = DTYPES[dtype.name]

    @numba.cfunc(types.int64(types.voidptr), cache=True)
    def call(address: Any) -> int:
        """XLA_FFI_Handler: transforms the last axis of its one argument into its one result."""
        frame = numba.carray(address, WORDS, np.int64)
        if metadata_answered(frame):
            return 0
        # What is not laid out as expected is left alone: the trial run of `available` then finds no transform.
        if not is_call(frame, 1, 1):
            return 0
        buffer = words(words(frame[ARGUMENTS], 1)[0], 6)
        written = words(words(frame[RESULTS], 1)[0], 6)
        if not (is_array(buffer, code) and is_array(written, code)):
            return 0
        result, last = written[DATA], buffer[RANK] - 1
        shape = words(buffer[DIMENSIONS], last + 1)
        n, rows = shape[last], 1
        if n < 8 or n & (n - 1) != 0:
            return 0
        for axis in range(last):
            rows *= shape[axis]
        for row in range(rows):
            offset = row * n * size
            _transform(
                numba.carray(pointer(buffer[DATA] + offset), n, dtype),
                numba.carray(pointer(result + offset), n, dtype),
            )
        return 0

    return call


HANDLERS = {"float64": _handler(types.float64, 8), "float32": _handler(types.float32, 4)}

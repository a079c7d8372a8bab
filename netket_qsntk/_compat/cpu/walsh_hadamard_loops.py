"""Loops of the compiled Walsh-Hadamard transform, and the C function through which XLA calls them.

Imported by its users in :mod:`netket_qsntk._compat.cpu` alone, and late: numba compiles them at import
(once; the machine code is cached beside this file or in the user's cache directory).
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

# Numbers of a block that stays in the level-2 cache while all of its passes run.
BLOCK = 2**14

# Positions, in 8-byte words, within XLA_FFI_CallFrame, XLA_FFI_Buffer and XLA_FFI_Metadata.
_EXTENSION, _ARGUMENTS, _RESULTS = 1, 9, 14
_COUNT, _RESULT_COUNT, _FRAME_WORDS = 7, 12, 15
_DTYPE, _DATA, _RANK, _DIMENSIONS = 2, 3, 4, 5
_DTYPES = {"float32": 11, "float64": 12}
_EXTENSION_TYPE, _METADATA, _VERSION = 1, 3, 3
_IS_METADATA = 1
_API_VERSION = 1 << 32  # two 32-bit integers: major 0, minor 1

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)


@intrinsic
def _to_pointer(context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


pointer: Any = _to_pointer


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


@compiled
def words(address: int, count: int) -> Any:
    """``count`` 64-bit integers at an address."""
    return numba.carray(pointer(address), count, np.int64)


@compiled
def metadata_answered(frame: Any) -> bool:
    """Whether XLA asked for the version of the interface; it has its answer then."""
    if frame[_EXTENSION] == 0:
        return False
    extension = words(frame[_EXTENSION], 4)
    if extension[_EXTENSION_TYPE] & 0xFFFFFFFF != _IS_METADATA:
        return False
    words(extension[_METADATA], 4)[_VERSION] = _API_VERSION
    return True


def _handler(dtype: Any, size: int) -> Any:
    code = _DTYPES[dtype.name]

    @numba.cfunc(types.int64(types.voidptr), cache=True)
    def call(address: Any) -> int:
        """XLA_FFI_Handler: transforms the last axis of its one argument into its one result."""
        frame = numba.carray(address, 15, np.int64)
        if metadata_answered(frame):
            return 0
        # What is not laid out as expected is left alone: the trial run of `available` then finds no transform.
        if frame[0] < 8 * _FRAME_WORDS or frame[_COUNT] != 1 or frame[_RESULT_COUNT] != 1:
            return 0
        source = words(frame[_ARGUMENTS], 1)[0]
        target = words(frame[_RESULTS], 1)[0]
        buffer = words(source, 6)
        written = words(target, 6)
        for described in (buffer, written):
            if described[0] < 48 or described[_DTYPE] & 0xFFFFFFFF != code or described[_RANK] < 1:
                return 0
        result, last = written[_DATA], buffer[_RANK] - 1
        shape = words(buffer[_DIMENSIONS], last + 1)
        n, rows = shape[last], 1
        if n < 8 or n & (n - 1) != 0:
            return 0
        for axis in range(last):
            rows *= shape[axis]
        for row in range(rows):
            offset = row * n * size
            _transform(
                numba.carray(pointer(buffer[_DATA] + offset), n, dtype),
                numba.carray(pointer(result + offset), n, dtype),
            )
        return 0

    return call


HANDLERS = {"float64": _handler(types.float64, 8), "float32": _handler(types.float32, 4)}

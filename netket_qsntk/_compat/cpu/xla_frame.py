"""What XLA hands to a foreign function, as loops compiled by numba read it.

The interface is a C structure of fixed layout (``jax.ffi.include_dir()``, xla/ffi/api/c_api.h).
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

# Positions, in 8-byte words, within XLA_FFI_CallFrame, XLA_FFI_Buffer and XLA_FFI_Metadata.
WORDS, ARGUMENTS, RESULTS = 15, 9, 14
_EXTENSION, _COUNT, _RESULT_COUNT = 1, 7, 12
DATA, RANK, DIMENSIONS = 3, 4, 5
_DTYPE, _BUFFER_BYTES = 2, 48
_EXTENSION_TYPE, _METADATA, _VERSION = 1, 3, 3
_IS_METADATA = 1
_API_VERSION = 1 << 32  # two 32-bit integers: major 0, minor 1

# XLA's numbers of element types.
DTYPES = {"float32": 11, "float64": 12}

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)


@intrinsic
def _to_pointer(context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


pointer: Any = _to_pointer


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


@compiled
def is_call(frame: Any, arguments: int, results: int) -> bool:
    """Whether a frame has the layout known here, and so many arguments and results."""
    known = frame[0] >= 8 * WORDS
    return known and frame[_COUNT] == arguments and frame[_RESULT_COUNT] == results


@compiled
def is_array(buffer: Any, code: int) -> bool:
    """Whether a buffer (6 words) is an array, no scalar, of these elements."""
    known = buffer[0] >= _BUFFER_BYTES and buffer[RANK] >= 1
    return known and buffer[_DTYPE] & 0xFFFFFFFF == code

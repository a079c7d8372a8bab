"""Loops of the compiled solver of (T + λ)a = b for a kernel of the Hamming distance, and its C function for XLA.

Imported by :mod:`netket_qsntk._compat.cpu.hamming_solver` alone, and late, as the loops of the transform are.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types

from netket_qsntk._compat.cpu.walsh_hadamard_loops import BLOCK, first_three, later_passes
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

# Positions counted within so many lowest bits come from a table that stays in the level-1 cache.
_LOW = 8
_N_ARGUMENTS, _N_RESULTS, _FLOAT64 = 6, 3, DTYPES["float64"]
_sums = numba.njit(
    error_model="numpy", nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}
)


@compiled
def _first_three_of_product(x: Any, factor: Any, y: Any) -> None:
    """Passes 1, 2 and 4 of factor · x, into y."""
    for i in range(0, x.size, 8):
        x0, x1, x2, x3 = (
            factor[i] * x[i],
            factor[i + 1] * x[i + 1],
            factor[i + 2] * x[i + 2],
            factor[i + 3] * x[i + 3],
        )
        x4, x5, x6, x7 = (
            factor[i + 4] * x[i + 4],
            factor[i + 5] * x[i + 5],
            factor[i + 6] * x[i + 6],
            factor[i + 7] * x[i + 7],
        )
        a0, a1, a2, a3 = x0 + x1, x0 - x1, x2 + x3, x2 - x3
        a4, a5, a6, a7 = x4 + x5, x4 - x5, x6 + x7, x6 - x7
        b0, b1, b2, b3 = a0 + a2, a1 + a3, a0 - a2, a1 - a3
        b4, b5, b6, b7 = a4 + a6, a5 + a7, a4 - a6, a5 - a7
        y[i], y[i + 1], y[i + 2], y[i + 3] = b0 + b4, b1 + b5, b2 + b6, b3 + b7
        y[i + 4], y[i + 5], y[i + 6], y[i + 7] = b0 - b4, b1 - b5, b2 - b6, b3 - b7


@compiled
def _table(levels: Any) -> Any:
    """λ/2^d of subsets whose high bits count w and whose low bits are j: (w, j)."""
    d = levels.size - 1
    low = min(_LOW, d)
    table = np.empty((d - low + 1, 2**low))
    for j in range(2**low):
        count, rest = 0, j
        while rest:
            count += rest & 1
            rest >>= 1
        for w in range(d - low + 1):
            table[w, j] = levels[w + count] / 2**d
    return table


@compiled
def _weigh(y: Any, table: Any) -> None:
    """Every parity times its λ/2^d."""
    width = table.shape[1]
    for k in range(y.size // width):
        count, rest = 0, k
        while rest:
            count += rest & 1
            rest >>= 1
        part, row = y[k * width : (k + 1) * width], table[count]
        for j in range(width):
            part[j] *= row[j]


@compiled
def _after(y: Any, factor: Any, root: Any, p: Any) -> Any:
    """The passes within one block, then y · factor, and its sums with √p and with p."""
    first_three(y, y)
    later_passes(y, 8)
    return _closed(y, factor, root, p)


@_sums
def _closed(y: Any, factor: Any, root: Any, p: Any) -> Any:
    mean = curvature = 0.0
    for i in range(y.size):
        y[i] *= factor[i]
        mean += root[i] * y[i]
        curvature += p[i] * y[i]
    return mean, curvature


@compiled
def _image(p: Any, factor: Any, root: Any, table: Any, z: Any) -> Any:
    """z = factor · Θ(factor · p), and its sums with √p and with p."""
    block = min(p.size, BLOCK)
    for start in range(0, p.size, block):
        here = slice(start, start + block)
        _first_three_of_product(p[here], factor[here], z[here])
        later_passes(z[here], 8)
    later_passes(z, block)
    _weigh(z, table)
    later_passes(z, block)
    mean = curvature = 0.0
    for start in range(0, p.size, block):
        here = slice(start, start + block)
        m, c = _after(z[here], factor[here], root[here], p[here])
        mean, curvature = mean + m, curvature + c
    return mean, curvature


@_sums
def _advance(
    x: Any, r: Any, p: Any, z: Any, root: Any, ahead: float, mean: float, shift: float
) -> float:
    """One step along p: x and r move, and ‖r‖² comes back."""
    square = 0.0
    for i in range(x.size):
        x[i] += ahead * p[i]
        r[i] -= ahead * (z[i] - mean * root[i] + shift * p[i])
        square += r[i] * r[i]
    return square


@_sums
def _left(b: Any, x: Any, z: Any, root: Any, mean: float, shift: float, r: Any) -> float:
    """r = b - (T + λ)x, and ‖r‖²."""
    square = 0.0
    for i in range(b.size):
        r[i] = b[i] - (z[i] - mean * root[i] + shift * x[i])
        square += r[i] * r[i]
    return square


@_sums
def _turn(p: Any, r: Any, turn: float) -> None:
    for i in range(p.size):
        p[i] = r[i] + turn * p[i]


@_sums
def _square(v: Any) -> float:
    total = 0.0
    for i in range(v.size):
        total += v[i] * v[i]
    return total


@compiled
def solve(
    b: Any,
    start: Any,
    root: Any,
    factor: Any,
    levels: Any,
    numbers: Any,
    x: Any,
    info: Any,
    work: Any,
) -> None:
    """Conjugate gradients for one wave function.

    Args:
        b: (parts, n).
        start: First guess, likewise.
        root: √p (n,).
        factor: m (n,).
        levels: λ_0, …, λ_d of Θ.
        numbers: λ, the tolerance, the largest number of products.
        x: Becomes the solution.
        info: Becomes the number of products and the relative residual.
        work: (3, parts, n): memory that XLA keeps from step to step.
    """
    shift, most = numbers[0], int(numbers[2])
    parts = b.shape[0]
    table = _table(levels)
    z, r, p, means = work[0], work[1], work[2], np.empty(parts)
    size = bound = length = 0.0
    for k in range(parts):
        size += _square(b[k])
        x[k] = start[k]
        mean, _ = _image(x[k], factor, root, table, z[k])
        length += _left(b[k], x[k], z[k], root, mean, shift, r[k])
        p[k] = r[k]
    bound = numbers[1] ** 2 * size
    square, steps = length, 1
    while square > bound and steps < most:
        curvature = shift * length
        for k in range(parts):
            means[k], along = _image(p[k], factor, root, table, z[k])
            curvature += along
        # A direction without curvature (λ = 0 and a null mode) is left where it is.
        if not curvature > 0:
            steps = most
            break
        ahead, last = square / curvature, square
        square = 0.0
        for k in range(parts):
            square += _advance(x[k], r[k], p[k], z[k], root, ahead, means[k], shift)
        turn = square / last
        for k in range(parts):
            _turn(p[k], r[k], turn)
        # ⟨p, p⟩ follows from r being orthogonal to the last direction.
        length = square + turn**2 * length
        steps += 1
    info[0], info[1] = steps, np.sqrt(square / size) if size > 0 else np.sqrt(square)


@compiled
def _dimension(buffer: Any, from_end: int) -> int:
    return words(buffer[DIMENSIONS], buffer[RANK])[buffer[RANK] - from_end]


@numba.cfunc(types.int64(types.voidptr), cache=True)
def handler(address: Any) -> int:
    """XLA_FFI_Handler of :func:`solve` for (…, parts, n), (…, parts, n), (…, n), (…, n), (…, d + 1), (…, 3)."""
    frame = numba.carray(address, WORDS, np.int64)
    if metadata_answered(frame):
        return 0
    # What is not laid out as expected is left alone: the trial run then finds no solution.
    if not is_call(frame, _N_ARGUMENTS, _N_RESULTS):
        return 0
    sources, targets = words(frame[ARGUMENTS], _N_ARGUMENTS), words(frame[RESULTS], _N_RESULTS)
    for i in range(_N_ARGUMENTS + _N_RESULTS):
        at = sources[i] if i < _N_ARGUMENTS else targets[i - _N_ARGUMENTS]
        if not is_array(words(at, 6), _FLOAT64):
            return 0
    given, roots = words(sources[0], 6), words(sources[2], 6)
    n, parts = _dimension(given, 1), _dimension(given, 2)
    d = _dimension(words(sources[4], 6), 1) - 1
    rows, rank = 1, roots[RANK] - 1
    for axis in range(rank):
        rows *= words(roots[DIMENSIONS], rank + 1)[axis]
    b, start = given[DATA], words(sources[1], 6)[DATA]
    root, factor = roots[DATA], words(sources[3], 6)[DATA]
    levels, numbers = words(sources[4], 6)[DATA], words(sources[5], 6)[DATA]
    x, info, work = (
        words(targets[0], 6)[DATA],
        words(targets[1], 6)[DATA],
        words(targets[2], 6)[DATA],
    )
    for row in range(rows):
        both, one = 8 * row * parts * n, 8 * row * n
        solve(
            numba.carray(pointer(b + both), (parts, n), np.float64),
            numba.carray(pointer(start + both), (parts, n), np.float64),
            numba.carray(pointer(root + one), n, np.float64),
            numba.carray(pointer(factor + one), n, np.float64),
            numba.carray(pointer(levels + 8 * row * (d + 1)), d + 1, np.float64),
            numba.carray(pointer(numbers + 24 * row), 3, np.float64),
            numba.carray(pointer(x + both), (parts, n), np.float64),
            numba.carray(pointer(info + 16 * row), 2, np.float64),
            numba.carray(pointer(work + 3 * both), (3, parts, n), np.float64),
        )
    return 0

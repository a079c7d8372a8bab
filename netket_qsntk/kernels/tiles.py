"""Kernel matrices from tiles: half of the work where x = y, and no temporary of full size."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from netket.utils.types import PyTree

from netket_qsntk.progress import track

Part = tuple[int, int]
"""(α, β) of Θ_αβ, the parts of ψ counted from 0."""
Tile = Callable[[PyTree, PyTree, tuple[Part, ...]], dict[Part, Array]]
Operand = Callable[[int], PyTree]


@partial(jax.jit, static_argnames=("tile", "mirror"), donate_argnames="out")
def _fill(
    out: dict[Part, Array],
    left: PyTree,
    right: PyTree,
    i: int,
    j: int,
    *,
    tile: Tile,
    mirror: bool,
) -> dict[Part, Array]:
    parts = tuple(out)
    transposed = tuple((b, a) for a, b in parts) if mirror else ()
    blocks = tile(left, right, tuple(dict.fromkeys(parts + transposed)))
    for a, b in parts:
        matrix = lax.dynamic_update_slice(out[a, b], blocks[a, b], (i, j))
        if mirror:
            matrix = lax.dynamic_update_slice(matrix, blocks[b, a].T, (j, i))
        out[a, b] = matrix
    return out


def assemble(
    tile: Tile,
    left: Operand,
    right: Operand | None,
    shape: tuple[int, int],
    parts: tuple[Part, ...],
    *,
    chunk: int,
    dtype: DTypeLike,
) -> dict[Part, Array]:
    """Θ_αβ of this shape for each (α, β) of ``parts``, tile by tile.

    Args:
        tile: ``tile(operand of x, operand of y, parts)`` gives these parts between two chunks of
            configurations; hashable and jittable.
        left: The operand of the ``chunk`` configurations of x that begin at a given one. Called once for
            each chunk.
        right: Likewise for y, called for each pair of chunks. None stands for y = x: then
            Θ_αβ(y, x) = Θ_βα(x, y)ᵀ, and only tiles on and above the diagonal are computed.
        shape: (n, m).
        parts: The Θ_αβ wanted.
        chunk: Configurations in a chunk (or all, if they are fewer).
        dtype: Of the kernels.
    """
    out = {part: jnp.zeros(shape, dtype) for part in parts}
    symmetric = right is None
    pairs = [
        (i, j)
        for i in starts(shape[0], chunk)
        for j in starts(shape[1], chunk)
        if i <= j or not symmetric
    ]
    row, own = None, None
    for i, j in track(pairs, "kernel", unit="tile"):
        if i != row:
            # Once a row, so that the bar does not run ahead of the device.
            row, own, out = i, left(i), jax.block_until_ready(out)
        same = symmetric and i == j
        other = own if same else (left if right is None else right)(j)
        out = _fill(out, own, other, i, j, tile=tile, mirror=symmetric and not same)
    return out


def starts(n: int, chunk: int) -> list[int]:
    """Where the chunks of n configurations begin.

    The last one overlaps the one before it, so that all have one shape and compile once.
    """
    return [min(i, max(0, n - chunk)) for i in range(0, n, chunk)]


def balanced_chunk(n: int) -> int:
    """Configurations in a tile: an eighth of them, but enough for efficient products."""
    largest = max(256, -(-n // 8))
    return -(-n // -(-n // largest)) if n else 1

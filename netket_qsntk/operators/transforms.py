"""Products of one-site matrices applied to vectors over a product basis, the Walsh-Hadamard transform among them."""

import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk._compat.cpu import walsh_hadamard as native
from netket_qsntk.errors import OperatorShapeError

# Sites are merged until their matrices have about this many rows: few passes over the vector, and products that
# run at full speed. Larger groups cost more arithmetic than they save passes.
_GROUP = 16


def grouped(dimensions: Sequence[int]) -> list[slice]:
    """Runs of neighbouring sites whose joint dimension is at most 16 (or one site)."""
    groups, start = [], 0
    for stop in range(1, len(dimensions) + 1):
        if stop == len(dimensions) or math.prod(dimensions[start : stop + 1]) > _GROUP:
            groups.append(slice(start, stop))
            start = stop
    return groups


def apply_on_axis(matrix: Array, x: Array, before: int) -> Array:
    """``matrix`` on one factor of the last axis of x, seen as (before, q, after): same shape as x."""
    q = matrix.shape[0]
    after = x.shape[-1] // (before * q)
    outer = math.prod(x.shape[:-1]) * before
    # Three forms of the same product, each the one that BLAS-like kernels read without a transposed copy.
    if after == 1:
        y = x.reshape(outer, q) @ matrix.T
    elif outer == 1:
        y = matrix @ x.reshape(q, after)
    else:
        stacked = jnp.broadcast_to(matrix, (outer, q, q))
        y = jax.lax.dot_general(stacked, x.reshape(outer, q, after), (((2,), (1,)), ((0,), (0,))))
    return y.reshape(x.shape)


def apply_factors(matrices: Sequence[Array], x: Array) -> Array:
    r"""(M₁ ⊗ M₂ ⊗ …) x along the last axis, without forming the product.

    Args:
        matrices: Square matrices, the first for the slowest index.
        x: (…, q₁ q₂ …).

    Returns:
        Same shape. Cost: q₁ + q₂ + … multiplications for each entry.

    Raises:
        OperatorShapeError: The last axis is not q₁ q₂ ….

    Example:
        >>> import jax.numpy as jnp
        >>> flip = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> apply_factors([jnp.eye(2), flip], jnp.array([1.0, 2.0, 3.0, 4.0])).tolist()
        [2.0, 1.0, 4.0, 3.0]
    """
    size = math.prod(len(m) for m in matrices)
    if x.shape[-1] != size:
        raise OperatorShapeError(
            f"The factors act on vectors of length {size}, got shape {x.shape}."
        )
    before = 1
    for matrix in matrices:
        x = apply_on_axis(matrix, x, before)
        before *= matrix.shape[0]
    return x


@lru_cache(maxsize=8)
def hadamard(d: int) -> np.ndarray:
    """The Hadamard matrix (-1)^{|i & j|} of d spins, (2^d, 2^d)."""
    i = np.arange(2**d)
    return 1.0 - 2.0 * (np.bitwise_count(i[:, None] & i) & 1)


def _by_products(x: Array) -> Array:
    d = x.shape[-1].bit_length() - 1
    groups = [group.stop - group.start for group in grouped([2] * d)]
    return apply_factors([jnp.asarray(hadamard(k), x.dtype) for k in groups], x)


def walsh_hadamard(x: Array) -> Array:
    r"""The unnormalised Walsh-Hadamard transform along the last axis.

    .. math:: y_S = \sum_x (-1)^{|S \& x|}\, x_x

    the coefficients on parities of subsets S of d spins. Applied twice it multiplies by 2^d. On the CPU it is
    compiled code (:mod:`netket_qsntk._compat.cpu.walsh_hadamard`); elsewhere, and where that is missing, products
    with small Hadamard matrices.

    Args:
        x: (…, 2^d), float32 or float64.

    Returns:
        Same shape and dtype.

    Raises:
        OperatorShapeError: The last axis is not a power of two.

    Example:
        >>> import jax.numpy as jnp
        >>> walsh_hadamard(jnp.array([1.0, 0.0, 0.0, 1.0])).tolist()
        [2.0, 0.0, 0.0, 2.0]
    """
    n = x.shape[-1]
    if n & (n - 1) or n == 0:
        raise OperatorShapeError(
            f"A Walsh-Hadamard transform needs 2^d numbers along the last axis, got shape {x.shape}."
        )
    if n == 1:
        return x
    if n < 64 or x.dtype not in (jnp.float32, jnp.float64) or not native.available():
        return _by_products(x)
    return jax.lax.platform_dependent(x, cpu=native.transform, default=_by_products)

"""Numbers that are known now, and those that JAX knows only when a compiled program runs."""

from typing import cast

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

__all__ = ["is_traced", "on_host", "same_structure"]


def is_traced(tree: object) -> bool:
    """Whether a leaf is a JAX tracer."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def same_structure(one: object, two: object) -> bool:
    """Whether two pytrees differ in their leaves alone."""
    kind: object = jax.tree.structure(one)
    return kind == jax.tree.structure(two)


def on_host(x: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """Known numbers as a NumPy array, for which nothing has to be compiled; a tracer, of ``dtype``, as it is.

    Returns:
        An array of the shape of ``x``. Its type says JAX, whose operations a NumPy array shares.

    Example:
        >>> import jax.numpy as jnp
        >>> on_host(jnp.arange(3), float)
        array([0., 1., 2.])
    """
    if isinstance(x, jax.core.Tracer):
        return x if dtype is None else x.astype(dtype)
    return cast(Array, np.asarray(x, dtype))

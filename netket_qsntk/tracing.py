"""Numbers that are known now, and those that JAX knows only when a compiled program runs."""

from collections.abc import Callable
from typing import cast

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from netket.utils.types import PyTree

__all__ = ["is_hashable", "is_traced", "on_host", "same_structure", "side_by_side"]


def is_traced(tree: object) -> bool:
    """Whether a leaf is a JAX tracer."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_hashable(value: object) -> bool:
    """Whether JAX can tell compiled programs apart by it."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


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
        >>> on_host(jnp.arange(3), float).tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(x, jax.core.Tracer):
        return x if dtype is None else x.astype(dtype)
    return cast(Array, np.asarray(x, dtype))


def side_by_side(function: Callable[..., PyTree], size: int, *one: PyTree) -> int | None:
    """How many configurations :func:`jax.lax.map` is to differentiate at a time; None for one after the other.

    On CPUs XLA has no fast program for derivatives of convolutions by each of several configurations, which become
    convolutions in groups: sixteen at a time took forty times as long as one after the other.

    Args:
        function: Of one configuration.
        size: For any other function.
        one: Arguments of ``function``, of which shapes are enough.

    Example:
        >>> import jax.numpy as jnp
        >>> side_by_side(jnp.sin, 64, 0.0)
        64
    """
    if size == 1:
        return None
    if jax.default_backend() != "cpu":
        return size
    return None if "conv_general_dilated" in str(jax.make_jaxpr(function)(*one)) else size

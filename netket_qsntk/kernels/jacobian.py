"""Jacobians of ψ with respect to real coordinates of its parameters, for any model.

Complex parameters count as two real ones, Re θ and Im θ. The Jacobian of a chunk of configurations is n × P
numbers for each part of ψ; the kernel is built from pairs of chunks, so that 2 · 2 · chunk · P numbers are the
most that is held.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

Psi = Callable[[Any, Array], Array]


def _to_real(parameters: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Real leaves, and the function that makes the original pytree of them again."""
    leaves, treedef = jax.tree.flatten(parameters)
    complex_leaf = [jnp.iscomplexobj(leaf) for leaf in leaves]
    real = [
        (leaf.real, leaf.imag) if c else leaf for leaf, c in zip(leaves, complex_leaf, strict=True)
    ]

    def restore(real: Any) -> Any:
        return treedef.unflatten(
            [jax.lax.complex(*r) if c else r for r, c in zip(real, complex_leaf, strict=True)]
        )

    return real, restore


@partial(jax.jit, static_argnums=0)
def jacobian(psi: Psi, parameters: Any, x: Array) -> Array:
    """(2, n, P): derivatives of Re ψ and Im ψ at configurations x (n, sites)."""
    real, restore = _to_real(parameters)
    flat, unravel = ravel_pytree(real)

    def parts(flat: Array, x1: Array) -> Array:
        value = psi(restore(unravel(flat)), x1[None])[0]
        return jnp.stack([value.real, value.imag])

    return jnp.moveaxis(jax.vmap(jax.jacrev(parts), in_axes=(None, 0))(flat, x), 1, 0)


def kernel_blocks(psi: Psi, parameters: Any, x: Array, y: Array | None, chunk: int) -> Array:
    """(2, 2, n, m): Σᵢ ∂ᵢψ_a(x) ∂ᵢψ_b(y), from Jacobians of at most ``chunk`` rows of x and of y at a time."""
    right = x if y is None else y
    rows = []
    for i in range(0, len(x), chunk):
        left = jacobian(psi, parameters, x[i : i + chunk])
        blocks = []
        for j in range(0, len(right), chunk):
            if y is None and j < i:
                blocks.append(
                    jnp.moveaxis(rows[j // chunk][:, :, :, i : i + chunk], (0, 3), (1, 2))
                )
                continue
            same = y is None and i == j
            other = left if same else jacobian(psi, parameters, right[j : j + chunk])
            blocks.append(jnp.einsum("anp,bmp->abnm", left, other))
        rows.append(jnp.concatenate(blocks, axis=-1))
    return jnp.concatenate(rows, axis=2)

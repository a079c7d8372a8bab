"""Kernels from Jacobians of ψ with respect to real coordinates of its parameters, for any model.

Complex parameters count as two real ones, Re θ and Im θ. Two ways: the whole Jacobians, n × P numbers for
each part of ψ and one matrix product; or pairs of chunks of them, of which only two are held at a time and
which are computed again for every pair.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from netket_qsntk.kernels.tiles import Operand, Part, assemble

# Configurations differentiated at a time: their activations and gradients stay near the cache.
_BATCH = 64


def real_coordinates(parameters: Any) -> int:
    """P, the number of parameters with complex ones counted twice."""
    return sum(
        leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in jax.tree.leaves(parameters)
    )


def is_complex(psi: Any, parameters: Any, x: Array) -> bool:
    """Whether ψ has an imaginary part, by its dtype."""
    return bool(jnp.issubdtype(jax.eval_shape(psi, parameters, x[:1]).dtype, jnp.complexfloating))


@jax.jit
def jacobian(psi: Any, parameters: Any, x: Array) -> Array:
    """(n, k, P): derivatives of Re ψ and, if ψ is complex (k = 2), Im ψ at configurations x (n, sites).

    ``psi`` is a pytree, as :class:`~netket_qsntk.wavefunction.PureWaveFunction` has it.
    """
    leaves = jax.tree.leaves(parameters)
    treedef: Any = jax.tree.structure(parameters)
    complex_leaf = [jnp.iscomplexobj(leaf) for leaf in leaves]
    real = [
        (leaf.real, leaf.imag) if c else leaf for leaf, c in zip(leaves, complex_leaf, strict=True)
    ]
    flat, unravel = ravel_pytree(real)

    def parts(flat: Array, x1: Array) -> Array:
        restored = [
            lax.complex(*r) if c else r for r, c in zip(unravel(flat), complex_leaf, strict=True)
        ]
        value = psi(treedef.unflatten(restored), x1[None])[0]
        return jnp.stack([value.real, value.imag] if jnp.iscomplexobj(value) else [value])

    return lax.map(lambda x1: jax.jacrev(parts)(flat, x1), x, batch_size=min(_BATCH, len(x)))


def _tile(left: Array, right: Array, parts: tuple[Part, ...]) -> dict[Part, Array]:
    n, k, size = left.shape
    product = left.reshape(-1, size) @ right.reshape(-1, size).T
    product = product.reshape(n, k, len(right), k)
    return {(a, b): product[:, a, :, b] for a, b in parts}


def jacobian_blocks(
    psi: Any,
    parameters: Any,
    x: Array,
    y: Array | None,
    *,
    parts: tuple[Part, ...],
    chunk: int,
    keep: bool,
) -> dict[Part, Array]:
    """Θ_αβ (n, m) for each (α, β) of ``parts``; ``y=None`` stands for y = x.

    Args:
        psi: (parameters, x) -> ψ, a pytree.
        parameters: Of ψ.
        x: Configurations (n, sites).
        y: Configurations (m, sites).
        parts: The Θ_αβ wanted.
        chunk: Configurations differentiated at a time, on each side.
        keep: Whether to keep every Jacobian (n + m rows), or two chunks of them at a time.
    """
    shape = (len(x), len(x if y is None else y))

    def operand(states: Array) -> Operand:
        def compute(i: int) -> Array:
            return jacobian(psi, parameters, states[i : i + chunk])

        return cache(compute) if keep else compute

    dtype = jax.eval_shape(jacobian, psi, parameters, x[:1]).dtype
    right = None if y is None else operand(y)
    return assemble(_tile, operand(x), right, shape, parts, chunk=chunk, dtype=dtype)

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


Jacobian = list[list[Array]]
"""For each part of ψ and each leaf of real coordinates, (n, size of the leaf).

Leaves stay apart: to join them costs more than to differentiate, and products add up over them all the same.
"""


@jax.jit
def jacobian(psi: Any, parameters: Any, x: Array) -> Jacobian:
    """Derivatives of Re ψ and, if ψ is complex, Im ψ at configurations x (n, sites).

    ``psi`` is a pytree, as :class:`~netket_qsntk.wavefunction.PureWaveFunction` has it.
    """
    leaves = jax.tree.leaves(parameters)
    treedef: Any = jax.tree.structure(parameters)
    complex_leaf = [jnp.iscomplexobj(leaf) for leaf in leaves]
    real = [
        (leaf.real, leaf.imag) if c else leaf for leaf, c in zip(leaves, complex_leaf, strict=True)
    ]

    def parts(real: Any, x1: Array) -> list[Array]:
        restored = [lax.complex(*r) if c else r for r, c in zip(real, complex_leaf, strict=True)]
        value = psi(treedef.unflatten(restored), x1[None])[0]
        return [value.real, value.imag] if jnp.iscomplexobj(value) else [value]

    def rows(x1: Array) -> Jacobian:
        values, pullback = jax.vjp(lambda r: parts(r, x1), real)
        units = [
            [jnp.ones_like(v) * (i == k) for i, v in enumerate(values)] for k in range(len(values))
        ]
        return [[leaf.ravel() for leaf in jax.tree.leaves(pullback(unit))] for unit in units]

    return lax.map(rows, x, batch_size=min(_BATCH, len(x)))


def _tile(left: Jacobian, right: Jacobian, parts: tuple[Part, ...]) -> dict[Part, Array]:
    # Zero of their own dtype: a float64 one would promote what single precision gives.
    zero = jnp.zeros((), left[0][0].dtype)
    return {
        (a, b): sum((u @ v.T for u, v in zip(left[a], right[b], strict=True)), start=zero)
        for a, b in parts
    }


def jacobian_blocks(
    psi: Any,
    parameters: Any,
    x: Array,
    y: Array | None,
    *,
    parts: tuple[Part, ...],
    chunk: int,
    keep: bool,
    show_progress: bool = True,
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
        show_progress: Whether a bar counts the tiles.
    """
    shape = (len(x), len(x if y is None else y))

    def operand(states: Array) -> Operand:
        def compute(i: int) -> Jacobian:
            return jacobian(psi, parameters, states[i : i + chunk])

        return cache(compute) if keep else compute

    dtype = jnp.result_type(*jax.tree.leaves(jax.eval_shape(jacobian, psi, parameters, x[:1])))
    right = None if y is None else operand(y)
    return assemble(
        _tile,
        operand(x),
        right,
        shape,
        parts,
        chunk=chunk,
        dtype=dtype,
        show_progress=show_progress,
    )

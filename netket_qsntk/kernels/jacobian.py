"""Kernels from Jacobians of ψ with respect to real coordinates of its parameters, for any model.

Complex parameters count as two real ones, Re θ and Im θ. Two ways: the whole Jacobians, n × P numbers for
each part of ψ and one matrix product; or pairs of chunks of them, of which only two are held at a time and
which are computed again for every pair.
"""

from functools import cache, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from netket.utils.types import PyTree

from netket_qsntk.errors import NonFiniteError
from netket_qsntk.kernels.tiles import Operand, Part, assemble
from netket_qsntk.tracing import side_by_side
from netket_qsntk.wavefunction import Psi

# Configurations differentiated at a time: their activations and gradients stay near the cache.
_BATCH = 64


def real_coordinates(parameters: PyTree) -> int:
    """P, the number of parameters with complex ones counted twice."""
    return sum(
        leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in jax.tree.leaves(parameters)
    )


def is_complex(psi: Psi, parameters: PyTree, x: Array) -> bool:
    """Whether ψ has an imaginary part, by its dtype."""
    return bool(jnp.issubdtype(jax.eval_shape(psi, parameters, x[:1]).dtype, jnp.complexfloating))


Jacobian = list[list[Array]]
"""For each part of ψ and each leaf of real coordinates, (n, size of the leaf).

Leaves stay apart: to join them costs more than to differentiate, and products add up over them all the same.
"""


@jax.jit
def jacobian(psi: Psi, parameters: PyTree, x: Array) -> Jacobian:
    """Derivatives of Re ψ and, if ψ is complex, Im ψ at configurations x (n, sites).

    ``psi`` is a pytree, as :class:`~netket_qsntk.wavefunction.PureWaveFunction` has it.
    """
    leaves = jax.tree.leaves(parameters)
    treedef: PyTree = jax.tree.structure(parameters)
    complex_leaf = [jnp.iscomplexobj(leaf) for leaf in leaves]
    real = [
        (leaf.real, leaf.imag) if c else leaf for leaf, c in zip(leaves, complex_leaf, strict=True)
    ]

    def parts(real: PyTree, x1: Array) -> list[Array]:
        restored = [lax.complex(*r) if c else r for r, c in zip(real, complex_leaf, strict=True)]
        value = psi(treedef.unflatten(restored), x1[None])[0]
        return [value.real, value.imag] if jnp.iscomplexobj(value) else [value]

    def rows(x1: Array) -> Jacobian:
        values, pullback = jax.vjp(lambda r: parts(r, x1), real)
        units = [
            [jnp.ones_like(v) * (i == k) for i, v in enumerate(values)] for k in range(len(values))
        ]
        return [[leaf.ravel() for leaf in jax.tree.leaves(pullback(unit))] for unit in units]

    one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    return lax.map(rows, x, batch_size=side_by_side(parts, min(_BATCH, len(x)), real, one))


def finite_jacobian(psi: Psi, parameters: PyTree, x: Array) -> Jacobian:
    r"""The same where log ψ has no derivative because ψ is exactly zero.

    There ψ · ∂ log ψ is 0 · ∞ and the derivative of ψ is the limit: the average over parameters a little to both
    sides along a random direction, of which ψ · ∂ log ψ = ∂ψ has the digits. Where ψ is zero on both sides too, it
    is zero.

    Raises:
        NonFiniteError: The derivative is not finite where ψ is not zero.
    """
    rows = jacobian(psi, parameters, x)
    if isinstance(x, jax.core.Tracer):
        return rows  # whoever traces looks at the result
    bad = ~np.asarray(_finite_rows(rows))
    if not bad.any():
        return rows
    sides = [jacobian(psi, p, x) for p in _neighbours(parameters)]
    zero = np.all([np.asarray(psi(p, x)) == 0 for p in _neighbours(parameters)], axis=0)
    found: Jacobian = jax.tree.map(lambda a, b: (a + b) / 2, *sides)
    use, nothing = jnp.asarray(bad)[:, None], jnp.asarray(zero)[:, None]
    rows = jax.tree.map(
        lambda old, new: jnp.where(use, jnp.where(nothing, 0.0, new), old).astype(old.dtype),
        rows,
        found,
    )
    left = ~np.asarray(_finite_rows(rows))
    if left.any() or np.any(np.asarray(psi(parameters, x))[bad] != 0):
        raise NonFiniteError(
            f"The derivative of ψ is infinite or no number at {int((left | bad).sum())} of {len(x)} configurations, "
            f"such as {np.asarray(x)[int(np.argmax(left | bad))].tolist()}. If log ψ is beyond the range of exp, "
            "subtract a constant from it: kernels scale with |ψ|²."
        )
    return rows


def _neighbours(parameters: PyTree) -> list[PyTree]:
    """Parameters a square root of rounding to both sides along a random direction."""
    leaves, treedef = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(0), max(1, len(leaves)))
    moves = [
        jnp.sqrt(jnp.finfo(leaf.dtype).eps)
        * jnp.maximum(1.0, jnp.max(jnp.abs(leaf), initial=0.0))
        * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return [
        jax.tree.unflatten(
            treedef, [(p + s * m).astype(p.dtype) for p, m in zip(leaves, moves, strict=True)]
        )
        for s in (1, -1)
    ]


@jax.jit
def _finite_rows(rows: Jacobian) -> Array:
    return reduce(jnp.logical_and, (jnp.isfinite(leaf).all(-1) for leaf in jax.tree.leaves(rows)))


def _tile(left: Jacobian, right: Jacobian, parts: tuple[Part, ...]) -> dict[Part, Array]:
    return {
        (a, b): reduce(jnp.add, (u @ v.T for u, v in zip(left[a], right[b], strict=True)))
        for a, b in parts
    }


def jacobian_blocks(
    psi: Psi,
    parameters: PyTree,
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
        def compute(i: int) -> Jacobian:
            return finite_jacobian(psi, parameters, states[i : i + chunk])

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
    )

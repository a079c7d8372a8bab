"""Products of matrices whose rows lie in parts on the devices."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec

from netket_qsntk.parallel.mesh import AXIS, Shares, map_shared, mesh, n_devices


def on_parts(apply: Callable[[Array], Array], v: Array) -> Array:
    """A real linear map of a real or complex vector or columns, without complex copies of its matrix."""
    if v.ndim == 2 and v.shape[1] == 0:  # XLA compiles no product without columns
        return apply(jnp.zeros((len(v), 1), v.dtype))[:, :0]
    if not jnp.iscomplexobj(v):
        return apply(v)
    columns = v[:, None] if v.ndim == 1 else v
    k = columns.shape[1]
    both = apply(jnp.concatenate([columns.real, columns.imag], axis=1))
    out = lax.complex(both[:, :k], both[:, k:])
    return out[:, 0] if v.ndim == 1 else out


@jax.jit
def rows_times(rows: Array, v: Array) -> Array:
    """A v in parts."""
    return map_shared(jnp.matmul, rows, v)


def mapped(function: Callable[..., Array], *rows: Array, whole: bool = False) -> Array:
    """``function`` on the devices' parts of the rows; the result in parts, or whole on each."""
    part = PartitionSpec(AXIS)
    return jax.shard_map(
        function,
        mesh=mesh(),
        in_specs=(part,) * len(rows),
        out_specs=PartitionSpec() if whole else part,
        check_vma=False,
    )(*rows)


@jax.jit
def transpose_times(rows: Array, v: Array) -> Array:
    """Aᵀ v, whole on each device; v lies in parts."""
    return mapped(lambda a, b: lax.psum(a.T @ b, AXIS), rows, v, whole=True)


@jax.jit
def product(a: Array, b: Array) -> Array:
    """A B in parts: the parts of B go round the devices."""
    p = n_devices()
    each = b.shape[0] // p

    def part(a: Array, b: Array) -> Array:
        me = lax.axis_index(AXIS)
        a = jnp.pad(a, ((0, 0), (0, p * each - a.shape[1])))

        def add(i: int, total: Array, b: Array) -> Array:
            columns = lax.dynamic_slice_in_dim(a, (me - i) % p * each, each, axis=1)
            return total + columns @ b

        def step(i: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
            total, b = state
            return add(i, total, b), pass_on(b, p)

        start = jnp.zeros((a.shape[0], b.shape[1]), a.dtype), b
        total, b = lax.fori_loop(0, p - 1, step, start)
        return add(p - 1, total, b)

    return mapped(part, a, b)


@jax.jit
def transposed_product(a: Array, b: Array) -> Array:
    """Aᵀ B in parts: the sums go round the devices."""
    p = n_devices()
    each = Shares(a.shape[1], p).each

    def part(a: Array, b: Array) -> Array:
        me = lax.axis_index(AXIS)
        a = jnp.pad(a, ((0, 0), (0, p * each - a.shape[1])))

        def add(i: int, total: Array) -> Array:
            columns = lax.dynamic_slice_in_dim(a, (me - i - 1) % p * each, each, axis=1)
            return total + columns.T @ b

        start = jnp.zeros((each, b.shape[1]), a.dtype)
        total = lax.fori_loop(0, p - 1, lambda i, total: pass_on(add(i, total), p), start)
        return add(p - 1, total)

    return mapped(part, a, b)


def pass_on(x: Array, p: int) -> Array:
    """To the next of p devices."""
    return lax.ppermute(x, AXIS, [(i, (i + 1) % p) for i in range(p)])


@partial(jax.jit, static_argnums=1)
def transposed_rows(rows: Array, n: int) -> Array:
    """Aᵀ in parts: each device sends (p - 1)/p of its own."""
    p = n_devices()
    missing = Shares(rows.shape[1], p).padded - rows.shape[1]

    def part(a: Array) -> Array:
        pieces = jnp.pad(a, ((0, 0), (0, missing)))
        return lax.all_to_all(pieces, AXIS, split_axis=1, concat_axis=0, tiled=True).T[:, :n]

    return mapped(part, rows)


@jax.jit
def diagonal_of(rows: Array) -> Array:
    """Entries (i, i) in parts, zero beyond the columns."""

    def part(a: Array) -> Array:
        i = jnp.arange(a.shape[0])
        column = lax.axis_index(AXIS) * a.shape[0] + i
        return jnp.where(
            column < a.shape[1], a[i, jnp.minimum(column, a.shape[1] - 1)], jnp.zeros((), a.dtype)
        )

    return mapped(part, rows)


@jax.jit
def dots_of_rows(a: Array, b: Array) -> Array:
    """Σ_j A_ij B_ij in parts."""
    return mapped(lambda a, b: jnp.einsum("ij,ij->i", a, b), a, b)


@jax.jit
def dots_of_columns(a: Array, b: Array) -> Array:
    """Σ_i A_ij B_ij, whole on each device."""
    return mapped(lambda a, b: lax.psum(jnp.einsum("ij,ij->j", a, b), AXIS), a, b, whole=True)

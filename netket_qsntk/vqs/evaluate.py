"""Evaluating many networks on many configurations within bounded memory, as one compiled program.

Members are taken one after the other and configurations in rows of chunks, inside one XLA program: the hidden
layers of a chunk stay in the processor's cache, which a wide network's whole batch (rows × width numbers) does
not. One pass over memory costs as much as the products of a network with few inputs.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.parallel.mesh import map_members
from netket_qsntk.wavefunction import Psi

# Hidden numbers in a chunk: 2¹⁹ doubles are 4 MB.
_CHUNK_NUMBERS = 2**19


def rows_per_chunk(parameters: PyTree, n_members: int, n_inputs: int, n_rows: int) -> int:
    """A chunk size for which rows × (parameters of one member)/(inputs) numbers fit the cache."""
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters)) / max(1, n_members)
    rows = max(32, int(_CHUNK_NUMBERS * max(1, n_inputs) / max(1.0, size)))
    chunks = -(-max(1, n_rows) // rows)
    return -(-max(1, n_rows) // chunks)  # chunks of equal length: little padding


def chunked(x: Array, rows: int) -> tuple[Array, Array]:
    """x (n, …) as (chunks, rows, …), the last chunk padded with copies of row 0; and weights 1 or 0 of the rows."""
    n = len(x)
    chunks = -(-n // rows)
    padding = chunks * rows - n
    padded = jnp.concatenate([x, jnp.broadcast_to(x[:1], (padding, *x.shape[1:]))])
    weights = jnp.arange(chunks * rows) < n
    return padded.reshape(chunks, rows, *x.shape[1:]), weights.reshape(chunks, rows)


def amplitudes(psi: Psi, parameters: PyTree, x: Array, rows: int) -> Array:
    """ψ of one network at configurations x (n, sites): (n,). A network never sees an empty batch."""
    if not len(x):
        one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        return jnp.zeros(0, jax.eval_shape(psi, parameters, one).dtype)
    if rows >= len(x):
        return psi(parameters, x)
    chunks, _ = chunked(x, rows)
    return jax.lax.map(partial(psi, parameters), chunks).reshape(-1)[: len(x)]


@partial(jax.jit, static_argnums=3)  # ψ is a pytree: equal models share one program
def member_amplitudes(psi: Psi, parameters: PyTree, x: Array, rows: int) -> Array:
    """ψ (or log ψ) of every member at configurations x (n, sites): (members, n).

    The leaves of ``psi`` and of ``parameters`` are stacked: one entry a member.
    """
    return map_members(lambda m, x: amplitudes(m[0], m[1], x, rows), (psi, parameters), x)

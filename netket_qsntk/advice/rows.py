"""log ψ, local energies and their derivatives on a batch: whole Jacobians, or chunk by chunk.

Complex parameters count as two real ones; a complex log ψ gives two rows for each configuration, its real and its
imaginary part, a real one gives one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from netket.utils.types import PyTree

from netket_qsntk.tracing import side_by_side

__all__ = ["Rows", "derivative_rows", "energies", "real_view", "values"]

LogPsi = Callable[[Any, Array], Array]

# Evaluations of the network that run side by side.
_SIDE_BY_SIDE = 256


class Rows(NamedTuple):
    """Rows of two Jacobians, (n, parts, P): of log ψ, and of the local energies (None without a Hamiltonian)."""

    log_psi: Array
    energy: Array | None


def real_view(parameters: PyTree) -> tuple[Array, Callable[[Array], Any]]:
    """Real coordinates of parameters as one vector, and the way back.

    Example:
        >>> import jax.numpy as jnp
        >>> vector, back = real_view({"w": jnp.array([1 + 2j])})
        >>> vector.tolist(), back(vector)["w"].tolist()
        ([1.0, 2.0], [(1+2j)])
    """
    leaves, treedef = jax.tree.flatten(parameters)
    is_complex = [jnp.iscomplexobj(leaf) for leaf in leaves]
    split = [
        (leaf.real, leaf.imag) if c else leaf for leaf, c in zip(leaves, is_complex, strict=True)
    ]
    vector, unravel = ravel_pytree(split)

    def back(v: Array) -> Any:
        parts = unravel(v)
        joined = [lax.complex(*p) if c else p for p, c in zip(parts, is_complex, strict=True)]
        return jax.tree.unflatten(treedef, joined)

    return vector, back


def _parts(value: Array, n: int) -> list[Array]:
    return [value.real, value.imag][:n]


def _local_energy(log_psi: LogPsi, p: PyTree, x: Array, connected: Array, elements: Array) -> Array:
    """E_loc of one configuration x (sites,)."""
    log = log_psi(p, jnp.concatenate([x[None], connected]))
    return jnp.sum(elements * jnp.exp(log[1:] - log[0]))


def _batch_size(n: int, evaluations: int) -> int:
    return max(1, min(n, _SIDE_BY_SIDE // max(1, evaluations)))


@jax.jit
def values(log_psi: LogPsi, parameters: PyTree, x: Array) -> Array:
    """log ψ (n,)."""
    return log_psi(parameters, x)


@jax.jit
def energies(
    log_psi: LogPsi, parameters: PyTree, x: Array, connected: Array, elements: Array
) -> Array:
    """Local energies (n,) from connected configurations (n, k, sites)."""

    def one(data: tuple[Array, Array, Array]) -> Array:
        return _local_energy(log_psi, parameters, *data)

    size = _batch_size(len(x), connected.shape[1])
    return lax.map(one, (x, connected, elements), batch_size=size)


@partial(jax.jit, static_argnames="parts")
def derivative_rows(
    log_psi: LogPsi,
    parameters: PyTree,
    x: Array,
    connected: Array | None,
    elements: Array | None,
    *,
    parts: int,
) -> Rows:
    """Both Jacobians on configurations x (n, sites), in the precision of the parameters.

    Args:
        log_psi: (parameters, x) -> log ψ, a pytree.
        parameters: Of log ψ.
        x: (n, sites).
        connected: (n, k, sites), or None for no local energies.
        elements: (n, k).
        parts: 2 for the real and imaginary parts, 1 for the real part alone.
    """
    vector, back = real_view(parameters)

    def of_log(v: Array, x1: Array) -> list[Array]:
        return _parts(log_psi(back(v), x1[None])[0], parts)

    def of_energy(v: Array, x1: Array, connected: Array, elements: Array) -> list[Array]:
        return _parts(_local_energy(log_psi, back(v), x1, connected, elements), parts)

    def gradients(function: Callable[..., list[Array]], *data: Array) -> Array:
        value, pullback = jax.vjp(lambda v: function(v, *data), vector)
        units = [[jnp.full_like(w, i == k) for i, w in enumerate(value)] for k in range(len(value))]
        return jnp.stack([pullback(unit)[0] for unit in units])

    def one(data: tuple[Array, ...]) -> Rows:
        first = gradients(of_log, data[0])
        return Rows(first, gradients(of_energy, *data) if len(data) > 1 else None)

    data = (x,) if connected is None or elements is None else (x, connected, elements)
    size = _batch_size(len(x), 1 if connected is None else parts * (1 + connected.shape[1]))
    shape = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    return lax.map(one, data, batch_size=side_by_side(of_log, size, vector, shape))

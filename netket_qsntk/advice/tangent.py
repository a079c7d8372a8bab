r"""The tangent space of log ψ on a batch, and the second variation of the energy in it.

With p the weights, C = 1 - 1pᵀ, D = diag(√p) and J, K the Jacobians of log ψ and of the local energies:

- T = D C J Jᵀ Cᵀ D, the kernel of NetKet's ``VMC_SR(use_ntk=True)``, shares its eigenvalues with S = Jᵀ Cᵀ D² C J;
- the gradient of the energy is Jᵀ Cᵀ D · 2D(E_loc - E);
- with the kernel frozen, a change δf = J δθ of log ψ changes p by 2p Re(C δf) and E_loc by K δθ, so the gradient by

  .. math:: G\,\delta\theta,\quad G = 2 J^T C^T D \cdot D C\,[2 (E_{loc} - E)\,\mathrm{Re}(C J) + K].

G is the second variation of the energy in function space. The Hessian in parameter space has one term more,
2 Re⟨(E_loc - E)* ∂²f⟩: it lives in directions that log ψ does not see, where S⁻¹ would magnify it, and natural
gradient descent, whose S moves along with it, does not feel it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from netket.utils.types import PyTree

from netket_qsntk.advice.batch import Batch, Connections
from netket_qsntk.advice.rows import LogPsi, Rows, derivative_rows, energies, real_view, values

__all__ = ["Tangent", "tangent"]


@dataclass(frozen=True)
class Tangent:
    """Products of the two Jacobians on one batch, centred and weighted.

    Attributes:
        log_psi: (n,).
        local_energies: (n,), or None.
        force: 2√p(E_loc - E), (n·parts,), or None.
        size: Real parameters P.
        parts: Rows of a configuration.
        rows: D C J, (n·parts, P), or None where it does not fit.
        kernel: T, (n·parts, n·parts), or None where there are fewer parameters than rows.
        moved: D C [2(E_loc - E) Re(C J) + K], or None where it does not fit or no energy was asked for.
        mixed: The same times Jᵀ Cᵀ D, where ``moved`` itself is not kept.
        column: ‖∂f/∂θ_i‖² of each real parameter on the batch, centred, (P,).
        epsilon: Machine epsilon of the Jacobians.
    """

    log_psi: np.ndarray
    local_energies: np.ndarray | None
    force: np.ndarray | None
    size: int
    parts: int
    rows: Array | None
    kernel: np.ndarray | None
    moved: Array | None
    mixed: np.ndarray | None
    column: np.ndarray
    epsilon: float


def tangent(
    log_psi: LogPsi,
    parameters: PyTree,
    batch: Batch,
    connections: Connections | None,
    *,
    parts: int,
    memory: int,
) -> Tangent:
    """Both Jacobians and what is made of them.

    Args:
        log_psi: (parameters, x) -> log ψ, a pytree.
        parameters: Of log ψ.
        batch: n configurations.
        connections: Rows of the Hamiltonian there; None for the kernel alone.
        parts: 2 with the imaginary part of log ψ, 1 without.
        memory: Bytes that Jacobians may take; beyond, they are computed in chunks, again for each pair of chunks.
    """
    vector, _ = real_view(parameters)
    n, size, itemsize = len(batch), vector.size, vector.dtype.itemsize
    log = np.asarray(values(log_psi, parameters, batch.x))
    local = (
        None
        if connections is None
        else _local_energies(log_psi, parameters, log, batch, connections)
    )
    p = jnp.asarray(batch.weights, vector.dtype)
    excess = None if local is None else local - batch.weights @ local
    force = None if excess is None else _rows_of(2 * np.sqrt(batch.weights) * excess, parts)
    epsilon = float(np.finfo(vector.dtype).eps)
    held = (1 if connections is None else 2) * n * parts * size * itemsize
    if held <= memory or (connections is not None and connections.matrix is not None):
        first, second = _whole(log_psi, parameters, log, batch, connections, parts)
        centred = first - jnp.tensordot(p, first, 1)
        moved = None if second is None else _finish(_moved(second, centred, excess), p)
        rows = _finish(centred, p)
        kernel = mixed = None
        if size >= n * parts:
            kernel = np.asarray(rows @ rows.T, dtype=float)
            mixed = None if moved is None else np.asarray(moved @ rows.T, dtype=float)
        column = np.asarray(jnp.sum(rows**2, 0), dtype=float)
        return Tangent(log, local, force, size, parts, rows, kernel, moved, mixed, column, epsilon)
    # Four chunks are held: both Jacobians as they come, and as they are weighted.
    chunk = max(1, int(memory // (4 * parts * size * itemsize)))
    kernel, mixed, column = _tiles(
        log_psi, parameters, batch, connections, excess, parts, chunk, vector.dtype
    )
    return Tangent(log, local, force, size, parts, None, kernel, None, mixed, column, epsilon)


def _rows_of(complex_values: np.ndarray, parts: int) -> np.ndarray:
    """(n,) -> (n·parts,), real and imaginary part of each side by side."""
    return np.stack([complex_values.real, complex_values.imag][:parts], axis=1).reshape(-1)


def _local_energies(
    log_psi: LogPsi, parameters: PyTree, log: np.ndarray, batch: Batch, connections: Connections
) -> np.ndarray:
    if connections.matrix is not None:
        return np.asarray(_similar(connections.matrix, log).sum(1)).reshape(-1)
    return np.asarray(energies(log_psi, parameters, batch.x, connections.x, connections.elements))


def _similar(matrix: Any, log: np.ndarray) -> Any:
    """⟨x|H|x'⟩ψ(x')/ψ(x), sparse."""
    coo = matrix.tocoo()
    data = coo.data * np.exp(log[coo.col] - log[coo.row])
    return type(coo)((data, (coo.row, coo.col)), shape=coo.shape).tocsr()


def _whole(
    log_psi: LogPsi,
    parameters: PyTree,
    log: np.ndarray,
    batch: Batch,
    connections: Connections | None,
    parts: int,
) -> tuple[Array, Array | None]:
    """J and K, (n, parts, P) each."""
    if connections is None or connections.matrix is None:
        connected = None if connections is None else connections.x
        elements = None if connections is None else connections.elements
        rows = derivative_rows(log_psi, parameters, batch.x, connected, elements, parts=parts)
        return rows.log_psi, rows.energy
    first = derivative_rows(log_psi, parameters, batch.x, None, None, parts=parts).log_psi
    # dE_loc(x) = Σ_x' H ψ(x')/ψ(x) (J(x') - J(x)): connected configurations are rows of J themselves.
    similar = _similar(connections.matrix, log)
    j = np.asarray(first)
    flat = j[:, 0] + 1j * j[:, 1] if parts == 2 else j[:, 0]
    k = similar @ flat - np.asarray(similar.sum(1)).reshape(-1, 1) * flat
    return first, jnp.asarray(np.stack([k.real, k.imag][:parts], axis=1))


@jax.jit
def _moved(second: Array, centred: Array, excess: Array) -> Array:
    """2(E_loc - E) Re(C J) + K, (n, parts, P)."""
    factor = jnp.stack([excess.real, excess.imag][: second.shape[1]], axis=1).astype(second.dtype)
    return 2 * factor[:, :, None] * centred[:, :1] + second


@jax.jit
def _finish(rows: Array, p: Array) -> Array:
    """D C times rows: (n, parts, P) -> (n·parts, P)."""
    p = p.astype(rows.dtype)
    centred = rows - jnp.tensordot(p, rows, 1)
    return (jnp.sqrt(p)[:, None, None] * centred).reshape(-1, rows.shape[-1])


@jax.jit
def _weighted(
    rows: Rows, mean: Array, p: Array, excess: Array | None
) -> tuple[Array, Array | None]:
    """D C J and D [2(E_loc - E) Re(C J) + K] of some configurations, (n·parts, P) each."""
    left = rows.log_psi - mean
    scale = jnp.sqrt(p)[:, None, None]
    a = (scale * left).reshape(-1, left.shape[-1])
    if rows.energy is None or excess is None:
        return a, None
    return a, (scale * _moved(rows.energy, left, excess)).reshape(a.shape)


def _tiles(
    log_psi: LogPsi,
    parameters: PyTree,
    batch: Batch,
    connections: Connections | None,
    excess: np.ndarray | None,
    parts: int,
    chunk: int,
    dtype: DTypeLike,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """T, the mixed product and the norms of columns, from pairs of chunks of ``chunk`` configurations."""
    n, p = len(batch), jnp.asarray(batch.weights, dtype)
    starts = range(0, n, chunk)

    def rows(i: int, with_energy: bool) -> Rows:
        part = slice(i, i + chunk)
        connected = elements = None
        if with_energy and connections is not None and connections.x is not None:
            connected, elements = connections.x[part], connections.elements[part]  # type: ignore[index]
        return derivative_rows(log_psi, parameters, batch.x[part], connected, elements, parts=parts)

    # The mean first: taken off row by row, so that nothing cancels in the products.
    mean = sum(jnp.tensordot(p[i : i + chunk], rows(i, False).log_psi, 1) for i in starts)
    kernel = np.zeros((n * parts, n * parts))
    mixed = None if connections is None else np.zeros_like(kernel)
    column = np.zeros(0)
    for i in starts:
        some = None if mixed is None or excess is None else excess[i : i + chunk]
        a, b = _weighted(rows(i, mixed is not None), mean, p[i : i + chunk], some)
        column = (column if column.size else 0) + np.asarray(jnp.sum(a**2, 0), dtype=float)
        here = slice(i * parts, i * parts + len(a))
        for j in starts:
            if b is None and j > i:
                continue
            right = a if j == i else _weighted(rows(j, False), mean, p[j : j + chunk], None)[0]
            there = slice(j * parts, j * parts + len(right))
            kernel[here, there] = np.asarray(a @ right.T)
            kernel[there, here] = kernel[here, there].T
            if mixed is not None and b is not None:
                mixed[here, there] = np.asarray(b @ right.T)
    if mixed is not None:
        root = np.sqrt(batch.weights)
        by_site = mixed.reshape(n, parts, -1)
        mixed = (by_site - root[:, None, None] * np.tensordot(root, by_site, 1)).reshape(
            mixed.shape
        )
    return kernel, mixed, column

"""Dense linear algebra of the closed form, by whichever library is faster on the device.

On the CPU NumPy's BLAS and LAPACK take about two thirds of XLA's time for large float64 matrices and half of it where
the result is symmetric; elsewhere everything stays on the device. Where there are several devices, kernels and all
that has their size lie in rows on them (:class:`~netket_qsntk.parallel.SharedMatrix`), and every function here takes
and gives such matrices too.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.parallel import SharedMatrix, n_devices
from netket_qsntk.parallel import eigh as shared_eigh

Matrix = Array | SharedMatrix

# Column panels of a symmetric product: with p of them (p + 1)/2p of the operations remain.
_PANELS = 4


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def kernel_matrices(kernel: Any, x: Any, y: Any = None) -> tuple[Any, Any]:
    """(NNGP, NTK) between x and y: arrays, or in rows where there are several devices."""
    return kernel.both(x, y) if n_devices() == 1 else SharedMatrix.of_kernel(kernel, x, y)


def eigh(matrix: Matrix) -> tuple[Array, Any]:
    """Eigenvalues in increasing order and eigenvectors of a positive semidefinite matrix."""
    if isinstance(matrix, SharedMatrix):
        return shared_eigh(matrix)
    if not _on_cpu():
        values, vectors = jnp.linalg.eigh(matrix)
        return values, vectors
    eigenvalues, eigenvectors = np.linalg.eigh(np.asarray(matrix))
    return jnp.asarray(eigenvalues), jnp.asarray(eigenvectors)


def matmul(a: Any, b: Any) -> Any:
    """a b."""
    if isinstance(a, SharedMatrix):
        return a @ b
    return jnp.asarray(np.asarray(a) @ np.asarray(b)) if _on_cpu() else a @ b


def matmul_transposed(a: Any, b: Any) -> Any:
    """a bᵀ."""
    return a @ transpose(b)


def transpose(a: Any) -> Any:
    """aᵀ."""
    return a.transposed() if isinstance(a, SharedMatrix) else a.T


def gram(a: Any) -> Any:
    """aᵀa, half the operations of a general product on the CPU."""
    if isinstance(a, SharedMatrix):
        return a.T @ a
    if not _on_cpu():
        return a.T @ a
    left = np.asarray(a)
    return jnp.asarray(left.T @ left)


def congruence(v: Any, matrix: Any) -> Any:
    """vᵀ M v for symmetric M."""
    if isinstance(v, SharedMatrix):
        return v.T @ (matrix @ v)
    if not _on_cpu():
        return v.T @ (matrix @ v)
    left = np.asarray(v)
    right = np.asarray(matrix) @ left
    edges = np.linspace(0, right.shape[1], _PANELS + 1).astype(int)
    out = np.empty((right.shape[1],) * 2, right.dtype)
    for start, end in itertools.pairwise(edges):
        out[start:end, start:] = left[:, start:end].T @ right[:, start:]
        out[end:, start:end] = out[start:end, end:].T
    return jnp.asarray(out)


def diagonal(matrix: Any) -> Array:
    """Its diagonal."""
    return matrix.diagonal()


def row_dots(a: Any, b: Any) -> Array:
    """Σ_j a_ij b_ij."""
    return a.row_dots(b) if isinstance(a, SharedMatrix) else jnp.einsum("ij,ij->i", a, b)


def column_dots(a: Any, b: Any) -> Array:
    """Σ_i a_ij b_ij."""
    return a.column_dots(b) if isinstance(a, SharedMatrix) else jnp.einsum("ij,ij->j", a, b)


def whole(matrix: Any) -> Array:
    """The matrix as one array; with a warning that gives the size, if it was in parts."""
    return matrix.gather() if isinstance(matrix, SharedMatrix) else matrix


def quadratic_form(nodes: Array, matrix: Any, coefficients: Array) -> Array:
    """(c·N) M (c·N)ᵀ for each row c of the coefficients: (t,) for N (k, n) and c (t, k)."""
    return _small_form(nodes @ (matrix @ nodes.T), coefficients)


@jax.jit
def _small_form(small: Array, coefficients: Array) -> Array:
    return jnp.einsum("tk,kl,tl->t", coefficients, small, coefficients, optimize="optimal")

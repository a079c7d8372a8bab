"""Dense linear algebra of the closed form, by whichever library is faster on the device.

On the CPU NumPy's BLAS and LAPACK take about two thirds of XLA's time for large float64 matrices and half of it where
the result is symmetric; elsewhere everything stays on the device.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Column panels of a symmetric product: with p of them (p + 1)/2p of the operations remain.
_PANELS = 4


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues in increasing order and eigenvectors of a symmetric matrix."""
    if not _on_cpu():
        values, vectors = jnp.linalg.eigh(matrix)
        return values, vectors
    eigenvalues, eigenvectors = np.linalg.eigh(np.asarray(matrix))
    return jnp.asarray(eigenvalues), jnp.asarray(eigenvectors)


def matmul(a: Array, b: Array) -> Array:
    """a b."""
    return jnp.asarray(np.asarray(a) @ np.asarray(b)) if _on_cpu() else a @ b


def gram(a: Array) -> Array:
    """aᵀa, half the operations of a general product on the CPU."""
    if not _on_cpu():
        return a.T @ a
    left = np.asarray(a)
    return jnp.asarray(left.T @ left)


def congruence(v: Array, matrix: Array) -> Array:
    """vᵀ M v for symmetric M."""
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

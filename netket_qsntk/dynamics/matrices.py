"""Dense linear algebra of the closed form, by whichever library is faster where the matrices lie.

On a single CPU everything is NumPy: its BLAS and LAPACK take about two thirds of XLA's time for large float64
matrices, half of it where the result is symmetric, and nothing is compiled before the first answer. On an accelerator
everything stays on it. Where there are several devices, kernels and all that has their size lie in rows on them
(:class:`~netket_qsntk.parallel.SharedMatrix`), and every function here takes and gives such matrices too.
"""

import itertools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.parallel import SharedMatrix, n_devices
from netket_qsntk.parallel import eigh as shared_eigh
from netket_qsntk.parallel.shared_matrix import Transposed

Vector = np.ndarray | Array
Matrix = np.ndarray | Array | SharedMatrix

# Column panels of a symmetric product: with p of them (p + 1)/2p of the operations remain.
_PANELS = 4


def vector(x: ArrayLike) -> Vector:
    """Numbers where the matrices lie."""
    on_host = jax.default_backend() == "cpu" and n_devices() == 1
    return np.asarray(x) if on_host else jnp.asarray(x)


def kernel_matrices(
    kernel: InfiniteWidthKernel, x: ArrayLike, y: ArrayLike | None = None
) -> tuple[Matrix, Matrix]:
    """(NNGP, NTK) between x and y."""
    if n_devices() > 1:
        return SharedMatrix.of_kernel(kernel, x, y)
    nngp, ntk = kernel.both(x, y)
    return vector(nngp), vector(ntk)


def eigh(matrix: Matrix) -> tuple[np.ndarray, Matrix]:
    """Eigenvalues in increasing order, and eigenvectors, of a positive semidefinite matrix."""
    if isinstance(matrix, np.ndarray):
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    if isinstance(matrix, SharedMatrix):
        shared_values, shared_vectors = shared_eigh(matrix)
        return np.asarray(shared_values), shared_vectors
    found = jnp.linalg.eigh(matrix)
    return np.asarray(found[0]), found[1]


def product(a: Matrix | Transposed, b: PyTree) -> PyTree:
    """a b, one of them perhaps complex: the other is then not copied to complex numbers."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if np.iscomplexobj(a) and not np.iscomplexobj(b):
            return a.real @ b + 1j * (a.imag @ b)
        if np.iscomplexobj(b) and not np.iscomplexobj(a):
            return a @ b.real + 1j * (a @ b.imag)
    return a @ b


def congruence(v: Matrix, matrix: Matrix) -> Matrix:
    """vᵀ M v for symmetric M."""
    if not isinstance(v, np.ndarray):
        return v.T @ (matrix @ v)
    right = np.asarray(matrix) @ v
    edges = np.linspace(0, right.shape[1], _PANELS + 1).astype(int)
    out = np.empty((right.shape[1],) * 2, right.dtype)
    for start, end in itertools.pairwise(edges):
        out[start:end, start:] = v[:, start:end].T @ right[:, start:]
        out[end:, start:end] = out[start:end, end:].T
    return out


def transpose(a: Matrix) -> Matrix:
    """aᵀ."""
    return a.transposed() if isinstance(a, SharedMatrix) else a.T


def row_dots(a: Matrix, b: Matrix) -> Vector:
    """Σ_j a_ij b_ij."""
    if isinstance(a, SharedMatrix):
        return a.row_dots(cast(SharedMatrix, b))
    return (np if isinstance(a, np.ndarray) else jnp).einsum("ij,ij->i", a, b)


def column_dots(a: Matrix, b: Matrix) -> Vector:
    """Σ_i a_ij b_ij."""
    if isinstance(a, SharedMatrix):
        return a.column_dots(cast(SharedMatrix, b))
    return (np if isinstance(a, np.ndarray) else jnp).einsum("ij,ij->j", a, b)


def whole(matrix: Matrix) -> Array:
    """The matrix as one array; with a warning that gives the size, if it was in parts."""
    return jnp.asarray(matrix.gather() if isinstance(matrix, SharedMatrix) else matrix)


def quadratic_form(nodes: Vector, matrix: Matrix, coefficients: np.ndarray) -> np.ndarray:
    """(c·N) M (c·N)ᵀ for each row c of the coefficients: (t,) for N (k, n) and c (t, k)."""
    small = np.asarray(nodes @ (matrix @ nodes.T))
    return np.einsum("tk,tk->t", coefficients @ small, coefficients)

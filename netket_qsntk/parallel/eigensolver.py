"""Eigenvalues and eigenvectors of a matrix in rows on many devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from netket_qsntk._compat.coordination import of_first_process, rows_on_host
from netket_qsntk._compat.jaxmg import distributed_eigh
from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.parallel.mesh import AXIS, mesh
from netket_qsntk.parallel.shared_matrix import SharedMatrix, warn_of_gathering


def eigh(matrix: SharedMatrix) -> tuple[Array, SharedMatrix]:
    """Eigenvalues (n,) in increasing order, and eigenvectors in rows, of a positive semidefinite matrix in rows.

    Where jaxmg (1.4.1 or later) is installed and each process has one GPU, NVIDIA's distributed solver works on the
    parts. Elsewhere each process gathers the matrix, 8n² bytes, and the first one decomposes it, about five times
    that while LAPACK works: all devices then have rows of the same eigenvectors, whatever processors they are on.

    Raises:
        OperatorShapeError: The matrix is not square.

    Warns:
        GatheredMatrixWarning: It is gathered; the message gives the size.
    """
    n, m = matrix.shape
    if n != m:
        raise OperatorShapeError(f"eigh needs a square matrix, got shape {matrix.shape}.")
    distributed = distributed_eigh()
    if distributed is None:
        warn_of_gathering(matrix.shape, matrix.dtype.itemsize, "by each process")
        return _gathered(matrix)
    missing = matrix.rows.shape[0] - n
    # The solver wants a square of padded rows. A negative diagonal puts the modes of the filling below all others.
    top = jnp.max(matrix.diagonal())
    below = -jnp.where(top > 0, top, 1.0)
    values, vectors = distributed(_filled(matrix.rows, below, n))
    return values[missing:], SharedMatrix(_kept(vectors, missing, n), n)


def _gathered(matrix: SharedMatrix) -> tuple[Array, SharedMatrix]:
    n = matrix.shape[0]
    whole = rows_on_host(matrix.rows)

    def decompose() -> tuple[np.ndarray, np.ndarray]:
        if jax.default_backend() == "cpu":
            return np.linalg.eigh(whole[:n])
        values, vectors = jnp.linalg.eigh(jnp.asarray(whole[:n]))
        return np.asarray(values), np.asarray(vectors)

    values, vectors = of_first_process(decompose, ((n,), (n, n)), whole.dtype)
    return jnp.asarray(values), SharedMatrix.of_rows(lambda rows: vectors[rows], (n, n))


def _row_numbers(rows: Array) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, rows.shape, 0)


@jax.jit
def _filled(rows: Array, below: Array, n: int) -> Array:
    """(padded, n) as (padded, padded), with ``below`` on the diagonal of the filling."""
    square = jnp.pad(rows, ((0, 0), (0, rows.shape[0] - rows.shape[1])))
    i, j = _row_numbers(square), jax.lax.broadcasted_iota(jnp.int32, square.shape, 1)
    filled = jnp.where((i == j) & (i >= n), below, square)
    # The solver reads the layout off the array.
    return jax.lax.with_sharding_constraint(filled, NamedSharding(mesh(), PartitionSpec(AXIS)))


def _kept(vectors: Array, missing: int, n: int) -> Array:
    """The modes that are not of the filling, and zeros in its rows."""
    kept = vectors[:, missing:]
    return jnp.where(_row_numbers(kept) < n, kept, 0.0)

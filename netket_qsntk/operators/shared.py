"""A kernel held as a matrix in rows on many devices."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators.base import KernelOperator, is_nonnegative
from netket_qsntk.operators.dense_matrix import Dense
from netket_qsntk.parallel import SharedMatrix, n_devices


class Shared(KernelOperator):
    """A kernel as the matrix of its entries, in equal parts of rows on the devices: 8nm/devices bytes each.

    Products are exact, and whole on every device: a vector of n numbers is collected for each.

    Args:
        matrix: A :class:`~netket_qsntk.parallel.SharedMatrix` (n, m).
        symmetric: Whether rows and columns are the same batch.
        positive: Whether it is known to be positive semidefinite.
        reason: Why it was chosen, for ``repr``.

    Raises:
        OperatorShapeError: It is called symmetric and not square.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> shared = kernel.operator(x, hint="shared")
        >>> bool(jnp.allclose(shared.matvec(jnp.ones(16)), kernel.ntk(x).sum(1)))
        True
    """

    matrix: SharedMatrix
    symmetric: bool = eqx.field(static=True)
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __init__(
        self,
        matrix: SharedMatrix,
        *,
        symmetric: bool = False,
        positive: bool = False,
        reason: str = "",
    ) -> None:
        if symmetric and matrix.shape[0] != matrix.shape[1]:
            raise OperatorShapeError(f"A matrix of shape {matrix.shape} cannot be symmetric.")
        self.matrix, self.symmetric = matrix, symmetric
        self.positive, self.reason = positive and symmetric, reason

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.matrix.shape

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the matrix."""
        return self.matrix.dtype

    def _product(self, v: Array) -> Array:
        columns = v.reshape(-1, self.shape[1]).T
        return (self.matrix @ columns).T.reshape(*v.shape[:-1], self.shape[0])

    def as_matrix(self) -> Array:
        """The whole matrix on every device, with a warning that gives its size."""
        return self.matrix.gather()

    def diagonal(self) -> Array:
        """Its diagonal."""
        return self.matrix.diagonal()

    def transpose(self) -> "Shared":
        """The transposed matrix in rows; itself if symmetric."""
        return self if self.symmetric else Shared(self.matrix.transposed(), reason=self.reason)

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Dense:
        """The block of some rows and columns, on one device."""
        rows = np.asarray(rows)
        columns = rows if columns is None else np.asarray(columns)
        unit = jnp.zeros((self.shape[1], len(columns)), self.dtype)
        unit = unit.at[columns, np.arange(len(columns))].set(1)
        block = (self.matrix @ unit)[rows]
        symmetric = self.symmetric and columns is rows
        return Dense(block, symmetric=symmetric, positive=self.positive, reason=self.reason)

    def scaled(self, factor: ArrayLike) -> "Shared":
        """``factor`` times the matrix."""
        return self._with(factor * self.matrix, self.positive and is_nonnegative(factor))

    def _plus(self, other: KernelOperator) -> "Shared | None":
        if not isinstance(other, Shared):
            return None
        return Shared(
            self.matrix + other.matrix,
            symmetric=self.symmetric and other.symmetric,
            positive=self.positive and other.positive,
            reason=self.reason,
        )

    def _with(self, matrix: SharedMatrix, positive: bool) -> "Shared":
        return Shared(matrix, symmetric=self.symmetric, positive=positive, reason=self.reason)

    def _describe(self) -> str:
        return f"rows on {n_devices()} devices, {jnp.dtype(self.dtype).name}"


def stored(matrix: ArrayLike, **properties: Any) -> KernelOperator:
    """A matrix as an operator where it lies: :class:`Shared` in parts, :class:`Dense` elsewhere."""
    return (Shared if isinstance(matrix, SharedMatrix) else Dense)(matrix, **properties)

r"""A matrix whose rows lie on many devices, none of which has it whole.

With p devices each holds n/p rows. A product of two such matrices, A B, needs every row of B on every device in turn:
the parts of B go round in a ring, one step for each product of a part of A with them, so that a device holds two
parts and sends (p - 1)/p of B. In AᵀB it is the sums that go round. A product with a few whole vectors sends those
instead. Rows that fill up the last parts are zeros, which no product notices.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk._units import human_bytes
from netket_qsntk.alert import alert
from netket_qsntk.errors import GatheredMatrixWarning, InvalidModelError, OperatorShapeError
from netket_qsntk.parallel.mesh import (
    collect,
    n_devices,
    rows_from_host,
)
from netket_qsntk.parallel.part_products import (
    diagonal_of,
    dots_of_columns,
    dots_of_rows,
    mapped,
    on_parts,
    product,
    rows_times,
    transpose_times,
    transposed_product,
    transposed_rows,
)


@jax.tree_util.register_pytree_node_class
class SharedMatrix:
    """A real matrix (n, m) in rows on the devices: 8nm/devices bytes each in float64.

    ``A @ v`` and ``A.T @ v`` with whole vectors (m,) or columns (m, k), real or complex, are whole on every device;
    ``A @ B`` and ``A.T @ B`` with another such matrix are such matrices, as are ``A + B``, ``A * B`` entry by entry
    and ``A * w`` with a number or a whole (m,) that multiplies columns.

    Args:
        rows: (padded n, m) in parts, filled up with zeros, as :func:`rows_from_host` gives them.
        n: Number of rows without the filling.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> _, ntk = qs.parallel.SharedMatrix.of_kernel(kernel, x)
        >>> bool(jnp.allclose(ntk @ jnp.ones(16), kernel.ntk(x).sum(1)))
        True
    """

    ndim = 2

    def __init__(self, rows: Array, n: int) -> None:
        self.rows = rows
        self.shape = (n, rows.shape[1])

    def tree_flatten(self) -> tuple[tuple[Array], int]:
        """For JAX: the rows, and how many they are."""
        return (self.rows,), self.shape[0]

    @classmethod
    def tree_unflatten(cls, n: int, children: tuple[Array]) -> "SharedMatrix":
        """For JAX."""
        new = object.__new__(cls)
        (new.rows,) = children
        try:
            new.shape = (n, new.rows.shape[-1])
        except AttributeError:  # JAX rebuilds trees with other things in the place of arrays
            new.shape = (n, 0)
        return new

    @classmethod
    def of_kernel(
        cls, kernel: Any, x: ArrayLike, y: ArrayLike | None = None
    ) -> tuple["SharedMatrix", "SharedMatrix"]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites); every process computes its own rows.

        Raises:
            InvalidModelError: A kernel of a complex character.
        """
        x = np.asarray(x)
        columns = x if y is None else np.asarray(y)
        n, m = len(x), len(columns)
        known: dict[int, Any] = {}

        def part(which: int, here: slice) -> Any:
            # Both kernels come in one pass: the other is kept until it is asked for.
            if here.start not in known:
                both = list(map(np.asarray, kernel.both(x[here], columns)))
                if any(np.iscomplexobj(matrix) for matrix in both):
                    raise InvalidModelError(
                        "SharedMatrix holds real matrices, and those of a kernel of a complex character are none: "
                        "kernel.qsntk(x) has their real and imaginary parts, whole."
                    )
                known[here.start] = both
            pair = known[here.start]
            found, pair[which] = pair[which], None
            return found

        nngp, ntk = (rows_from_host(partial(part, which), n, (m,), np.float64) for which in (0, 1))
        return cls(nngp, n), cls(ntk, n)

    @classmethod
    def of_rows(cls, rows: Callable[[slice], np.ndarray], shape: tuple[int, int]) -> "SharedMatrix":
        """From a function that gives the rows of a slice, (length, m) float64, on the host."""
        return cls(rows_from_host(rows, shape[0], (shape[1],), np.float64), shape[0])

    @classmethod
    def by_rows(
        cls, function: Callable[..., Array], n: int, *matrices: "SharedMatrix"
    ) -> "SharedMatrix":
        """The matrix of n rows whose part on each device is ``function`` of the parts there of other matrices."""
        run = jax.jit(lambda *rows: mapped(function, *rows))
        return cls(run(*(matrix.rows for matrix in matrices)), n)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the entries."""
        return self.rows.dtype

    @property
    def nbytes(self) -> int:
        """Bytes on all devices together."""
        return int(self.rows.nbytes)

    @property
    def T(self) -> "Transposed":
        """The transpose, for products: ``A.T @ b``."""
        return Transposed(self)

    def matvec(self, v: ArrayLike) -> Array:
        """The product with a vector (m,) or k columns (m, k), real or complex: whole on every device.

        Raises:
            OperatorShapeError: The first axis is not m.
        """
        v = self._columns(v, self.shape[1], "A matrix")
        return on_parts(lambda u: collect(rows_times(self.rows, u), self.shape[0]), v)

    def rmatvec(self, v: ArrayLike) -> Array:
        """The product of the transpose with a vector (n,) or k columns (n, k): whole on every device.

        Raises:
            OperatorShapeError: The first axis is not n.
        """
        v = self._columns(v, self.shape[0], "The transpose of a matrix")
        missing = self.rows.shape[0] - len(v)
        padded = jnp.pad(v, ((0, missing), *((0, 0),) * (v.ndim - 1)))
        return on_parts(lambda u: transpose_times(self.rows, u), padded)

    def _columns(self, v: ArrayLike, length: int, what: str) -> Array:
        v = jnp.asarray(v)
        if v.ndim not in (1, 2) or v.shape[0] != length:
            raise OperatorShapeError(
                f"{what} of shape {self.shape} multiplies ({length},) or ({length}, k), got {v.shape}."
            )
        return v

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, SharedMatrix):
            return self.matvec(other)
        if self.shape[1] != other.shape[0]:
            raise OperatorShapeError(
                f"Matrices of shapes {self.shape} and {other.shape} have no product."
            )
        return SharedMatrix(product(self.rows, other.rows), self.shape[0])

    def __rmatmul__(self, other: object) -> Array:
        return self.rmatvec(jnp.asarray(other).T).T

    def __add__(self, other: Any) -> "SharedMatrix":
        self._same(other)
        return SharedMatrix(self.rows + other.rows, self.shape[0])

    def __sub__(self, other: Any) -> "SharedMatrix":
        return self + -1.0 * other

    def __mul__(self, other: Any) -> "SharedMatrix":
        if isinstance(other, SharedMatrix):
            self._same(other)
            return SharedMatrix(self.rows * other.rows, self.shape[0])
        return SharedMatrix(self.rows * other, self.shape[0])

    __rmul__ = __mul__

    def _same(self, other: object) -> None:
        if not isinstance(other, SharedMatrix) or other.shape != self.shape:
            raise OperatorShapeError(
                f"Entry by entry {self!r} goes with a matrix shared out alike, got {other!r}."
            )

    def transposed(self) -> "SharedMatrix":
        """The transpose in rows: each device sends (p - 1)/p of its part."""
        return SharedMatrix(transposed_rows(self.rows, self.shape[0]), self.shape[1])

    def diagonal(self) -> Array:
        """Entries (i, i), whole on every device: (min(n, m),)."""
        return collect(diagonal_of(self.rows), min(self.shape))

    def row_dots(self, other: "SharedMatrix") -> Array:
        """Σ_j A_ij B_ij, whole on every device: (n,)."""
        self._same(other)
        return collect(dots_of_rows(self.rows, other.rows), self.shape[0])

    def column_dots(self, other: "SharedMatrix") -> Array:
        """Σ_i A_ij B_ij, whole on every device: (m,)."""
        self._same(other)
        return dots_of_columns(self.rows, other.rows)

    def gather(self) -> Array:
        """The whole matrix on every device.

        Warns:
            GatheredMatrixWarning: There is more than one device; the message gives the size.
        """
        warn_of_gathering(self.shape, self.rows.dtype.itemsize, "on each device")
        return collect(self.rows, self.shape[0])

    def __repr__(self) -> str:
        n, m = self.shape
        return f"SharedMatrix({n} × {m}, {self.rows.dtype.name}, rows on {n_devices()} devices)"


class Transposed:
    """Aᵀ of a :class:`SharedMatrix`, for products."""

    ndim = 2

    def __init__(self, matrix: SharedMatrix) -> None:
        self.T = matrix
        self.shape = matrix.shape[::-1]

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, SharedMatrix):
            return self.T.rmatvec(other)
        if self.shape[1] != other.shape[0]:
            raise OperatorShapeError(
                f"Matrices of shapes {self.shape} and {other.shape} have no product."
            )
        return SharedMatrix(transposed_product(self.T.rows, other.rows), self.shape[0])

    def __rmatmul__(self, other: object) -> Array:
        return self.T.matvec(jnp.asarray(other).T).T


def warn_of_gathering(shape: tuple[int, int], itemsize: int, where: str) -> None:
    """Say how large a matrix in parts is that is made whole."""
    if n_devices() > 1:
        size = human_bytes(shape[0] * shape[1] * itemsize)
        alert(
            f"A matrix of shape {shape} is gathered {where}: {size} that lay on {n_devices()} devices.",
            GatheredMatrixWarning,
        )

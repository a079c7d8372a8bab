"""A kernel matrix whose rows lie on many devices, none of which has it whole."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from netket_qsntk.alert import alert
from netket_qsntk.errors import GatheredMatrixWarning, OperatorShapeError
from netket_qsntk.parallel.mesh import AXIS, collect, map_shared, mesh, n_devices, rows_from_host


class SharedMatrix:
    """A matrix (n, m) in rows on the devices: 8nm/devices bytes each in float64.

    Args:
        rows: (padded n, m) in parts, filled up with zeros, as :func:`rows_from_host` gives them.
        n: Number of rows without the filling.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> _, ntk = qs.parallel.SharedMatrix.of_kernel(kernel, x)
        >>> bool(jnp.allclose(ntk.matvec(jnp.ones(16)), kernel.ntk(x).sum(1)))
        True
    """

    def __init__(self, rows: Array, n: int) -> None:
        self.rows = rows
        self.shape = (n, rows.shape[1])

    @classmethod
    def of_kernel(cls, kernel: Any, x: Any, y: Any = None) -> tuple["SharedMatrix", "SharedMatrix"]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites); every process computes its own rows."""
        x = np.asarray(x)
        columns = x if y is None else np.asarray(y)
        n, m = len(x), len(columns)
        known: dict[int, Any] = {}

        def part(which: int, here: slice) -> Any:
            # Both kernels come in one pass: the other is kept until it is asked for.
            if here.start not in known:
                known[here.start] = list(map(np.asarray, kernel.both(x[here], columns)))
            pair = known[here.start]
            found, pair[which] = pair[which], None
            return found

        nngp, ntk = (rows_from_host(partial(part, which), n, (m,), np.float64) for which in (0, 1))
        return cls(nngp, n), cls(ntk, n)

    def matvec(self, v: Any) -> Array:
        """The product with a vector (m,) or k columns (m, k): whole on every device.

        Raises:
            OperatorShapeError: The first axis is not m.
        """
        v = self._columns(v, self.shape[1], "A matrix")
        return collect(_rows_times(self.rows, v), self.shape[0])

    def rmatvec(self, v: Any) -> Array:
        """The product of the transpose with a vector (n,) or k columns (n, k): whole on every device.

        Raises:
            OperatorShapeError: The first axis is not n.
        """
        v = self._columns(v, self.shape[0], "The transpose of a matrix")
        missing = self.rows.shape[0] - len(v)
        padded = jnp.pad(v, ((0, missing), *((0, 0),) * (v.ndim - 1)))
        return _transpose_times(self.rows, padded)

    def _columns(self, v: Any, length: int, what: str) -> Array:
        v = jnp.asarray(v)
        if v.ndim not in (1, 2) or v.shape[0] != length:
            raise OperatorShapeError(
                f"{what} of shape {self.shape} multiplies ({length},) or ({length}, k), got {v.shape}."
            )
        return v

    def gather(self) -> Array:
        """The whole matrix on every device.

        Warns:
            GatheredMatrixWarning: There is more than one device; the message gives the size.
        """
        if n_devices() > 1:
            size = self.shape[0] * self.shape[1] * self.rows.dtype.itemsize
            alert(
                f"A matrix of shape {self.shape} is gathered: {size / 1e9:.3g} GB on each of {n_devices()} devices.",
                GatheredMatrixWarning,
            )
        return collect(self.rows, self.shape[0])

    def __repr__(self) -> str:
        n, m = self.shape
        return f"SharedMatrix({n} × {m}, {self.rows.dtype.name}, rows on {n_devices()} devices)"


@jax.jit
def _rows_times(rows: Array, v: Array) -> Array:
    return map_shared(jnp.matmul, rows, v)


@jax.jit
def _transpose_times(rows: Array, v: Array) -> Array:
    part = PartitionSpec(AXIS)
    return jax.shard_map(
        lambda a, b: jax.lax.psum(a.T @ b, AXIS),
        mesh=mesh(),
        in_specs=(part, part),
        out_specs=PartitionSpec(),
    )(rows, v)

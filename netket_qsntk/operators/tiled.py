"""Kernels without structure, evaluated as they are needed and never stored."""

from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import StructureError
from netket_qsntk.operators.base import KernelOperator, is_nonnegative
from netket_qsntk.operators.dense_matrix import times
from netket_qsntk.parallel.mesh import collect, map_shared, n_devices, rows_from_host, share


class EntriesFunction(Protocol):
    """Entries of a kernel, as they are asked for."""

    def __call__(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Between configurations (n, sites) and (m, sites): (n, m)."""
        ...

    def diagonal(self, x: ArrayLike) -> Array:
        """At (x, x): (n,)."""
        ...


# Entries of a block: 64 MB, so that memory stays small and each block is still a large product.
_BLOCK = 2**23


class Tiled(KernelOperator):
    """A kernel between two batches, in blocks of rows made on the fly.

    A product costs n m evaluations of the kernel; memory is that of one block. Called directly, it takes the
    kernel's fastest path (for lattice inputs a table on the host), and several devices share the rows out; inside
    ``jax.jit`` the kernel is traced.

    Args:
        entries: ``entries(x, y) -> (n, m)`` and ``entries.diagonal(x) -> (n,)`` on configurations (n, sites), (m,
            sites): a pytree, such as :class:`netket_qsntk.kernels.Entries` of a kernel.
        x: Rows: configurations (n, sites).
        y: Columns, (m, sites); None for the same batch as the rows.
        block: Rows evaluated at a time; None chooses about 8 million entries.
        scale: A factor.
        positive: Whether it is known to be positive semidefinite.
        reason: Why it was chosen, for ``repr``.

    Raises:
        StructureError: ``block`` is not positive.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> tiles = qs.operators.Tiled(qs.kernels.Entries(kernel, "ntk"), x, block=5)
        >>> bool(jnp.allclose(tiles.matvec(jnp.ones(16)), kernel.ntk(x).sum(1)))
        True
    """

    x: Array
    y: Array | None
    scale: Array
    entries: EntriesFunction
    block: int = eqx.field(static=True)
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __init__(
        self,
        entries: EntriesFunction,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        block: int | None = None,
        scale: ArrayLike = 1.0,
        positive: bool = False,
        reason: str = "",
    ) -> None:
        if block is not None and block < 1:
            raise StructureError(f"block={block}: expected a positive number of rows, or None.")
        self.entries = entries
        self.x = jnp.asarray(x)
        self.y = None if y is None else jnp.asarray(y)
        self.scale = jnp.asarray(scale, float)
        self.block = min(len(self.x), block or max(1, _BLOCK // max(1, len(self._columns)))) or 1
        self.positive = positive and y is None
        self.reason = reason

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.x.shape[0], self._columns.shape[0]

    @property
    def dtype(self) -> DTypeLike:
        """float64; float32 where JAX's 64-bit mode is off."""
        return self.scale.dtype

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns are the same batch."""
        return self.y is None

    @property
    def _columns(self) -> Array:
        return self.x if self.y is None else self.y

    def _apply(self, v: Array) -> Array:
        # The blocks are made on the host, from tables.
        return self._product(v)

    def _product(self, v: Array) -> Array:
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((self, v))):
            return self.scale * self._traced(self.x, v)
        product = self._direct(np.asarray(self.x), v) if n_devices() == 1 else self._shared(v)
        return self.scale * product

    def _direct(self, x: np.ndarray, v: Array) -> Array:
        y = np.asarray(self._columns)
        starts = range(0, len(x), self.block)
        return jnp.concatenate(
            [_times(self.entries(x[i : i + self.block], y), v) for i in starts], axis=-1
        )

    def _shared(self, v: Array) -> Array:
        """Each device, or on CPUs each process, makes its own rows."""
        n, columns = self.shape[0], v.reshape(-1, self.shape[1])
        if jax.default_backend() == "cpu":
            x = np.asarray(self.x)
            parts = rows_from_host(
                lambda rows: np.asarray(self._direct(x[rows], columns)).T,
                n,
                columns.shape[:1],
                self.dtype,
            )
        else:
            parts = map_shared(lambda x, v: self._traced(x, v).T, share(self.x), columns)
        return collect(parts, n).T.reshape(*v.shape[:-1], n)

    def _traced(self, x: Array, v: Array) -> Array:
        n, y = len(x), self._columns
        blocks = -(-n // self.block)
        padded = jnp.pad(x, ((0, blocks * self.block - n), (0, 0)), mode="edge")
        rows = padded.reshape(blocks, self.block, -1)
        parts = jax.lax.map(lambda tile: times(self.entries(tile, y), v), rows)
        joined = jnp.moveaxis(parts, 0, -2)
        return joined.reshape(*v.shape[:-1], blocks * self.block)[..., :n]

    def as_matrix(self) -> Array:
        """The whole matrix, evaluated at once."""
        return self.scale * self.entries(self.x, self.y)

    def diagonal(self) -> Array:
        """K(x, x) without the matrix; between two batches, one pair at a time."""
        if self.symmetric:
            return self.scale * self.entries.diagonal(self.x)
        n = min(self.shape)
        pairs = jax.lax.map(
            lambda pair: self.entries(pair[0][None], pair[1][None])[0, 0],
            (self.x[:n], self._columns[:n]),
        )
        return self.scale * pairs

    def transpose(self) -> "Tiled":
        """Rows and columns exchanged."""
        return self if self.symmetric else self._with(x=self._columns, y=self.x)

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> "Tiled":
        """The block of some rows and columns."""
        same = self.symmetric and columns is None
        chosen = jnp.asarray(rows if columns is None else columns)
        return self._with(
            x=self.x[jnp.asarray(rows)],
            y=None if same else self._columns[chosen],
            positive=self.positive and same,
        )

    def scaled(self, factor: ArrayLike) -> "Tiled":
        """``factor`` times this."""
        return self._with(
            scale=factor * self.scale, positive=self.positive and is_nonnegative(factor)
        )

    def _with(self, **changes: Any) -> "Tiled":
        names = ("x", "y", "scale", "positive", "reason")
        new = {name: vars(self)[name] for name in names} | changes
        return Tiled(self.entries, new.pop("x"), new.pop("y"), **new)

    def _describe(self) -> str:
        return f"{self.entries!r} in blocks of {self.block} rows"


_times = jax.jit(times)

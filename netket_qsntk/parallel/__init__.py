r"""Work shared out over devices and processes.

One notion serves everything: the leading axis of an array is shared out over workers, each computes its part, and the
parts are collected.

- Workers are the devices of NetKet's mesh, axis ``"S"``, of one process or of many (``jax.distributed``).
- :class:`Shares` says who has which part of n things. A size that the workers do not divide is filled up with
  repetitions of the first thing; what belongs to them is cut off when parts are collected.
- :func:`share` lays an array out, :func:`map_shared` computes on parts, :func:`collect` puts the result on every
  worker, :func:`rows_from_host` lays out rows that each process computes by itself (kernels by look-up).
- :class:`SharedMatrix` keeps a kernel in rows on the devices; products with vectors and with other such matrices
  leave it there, :func:`eigh` too where it can. ``gather()`` makes it whole, with a warning that gives the size.
- :func:`netket_qsntk.operators.walsh_hadamard` of a vector in parts leaves it there: local on the low bits, an
  exchange over the others.
- :func:`estimate` says what a job needs on each device before it starts.
- :mod:`mpi` shares the same axes out over MPI ranks, where ``jax.distributed`` is not to be had;
  :mod:`processes` checks and guards runs of several processes.

Where there are several devices this happens by itself: members of ensembles in evaluation and training; rows of
kernels in :class:`~netket_qsntk.dynamics.LinearDynamics`, :class:`~netket_qsntk.dynamics.LinearizedDynamics`,
:class:`~netket_qsntk.dynamics.Posterior` and the drivers on top of them, and in the stored and tiled operators that
``kernel.operator`` makes. Functions that return a matrix by contract (``kernel.ntk``,
``empirical``, ``InfiniteState.covariance``) give it whole: the rows of the same are
:meth:`SharedMatrix.of_kernel` and :meth:`~netket_qsntk.kernels.EmpiricalKernel.shared`. Where there is one device,
nothing is shared out and every path is the ordinary one.
"""

from netket_qsntk.parallel import mpi, processes
from netket_qsntk.parallel.eigensolver import eigh
from netket_qsntk.parallel.memory import Estimate, estimate
from netket_qsntk.parallel.mesh import (
    Shares,
    collect,
    map_members,
    map_shared,
    mesh,
    n_devices,
    rows_from_host,
    share,
)
from netket_qsntk.parallel.shared_matrix import SharedMatrix

__all__ = [
    "Estimate",
    "SharedMatrix",
    "Shares",
    "collect",
    "eigh",
    "estimate",
    "map_members",
    "map_shared",
    "mesh",
    "mpi",
    "n_devices",
    "processes",
    "rows_from_host",
    "share",
]

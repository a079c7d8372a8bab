"""Work shared out over devices, processes and MPI ranks."""

from netket_qsntk.parallel import mpi, processes

__all__ = ["mpi", "processes"]

"""Runs of several processes through ``jax.distributed``: started right, in step, and ended together."""

import os
import sys
from types import TracebackType
from typing import NamedTuple

import jax

from netket_qsntk._compat.coordination import wait_for_all
from netket_qsntk.errors import LonelyCollectiveError, ProcessesError
from netket_qsntk.parallel.mpi import current

# What launchers say about the number of processes: djaxrun, Open MPI, Slurm, MPICH.
_LAUNCHERS = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "PMI_SIZE")


class Processes(NamedTuple):
    """This process among all."""

    number: int
    total: int


def check() -> Processes:
    """This process's number and how many there are; an error if they do not know of one another.

    Importing NetKet (or this package) makes JAX choose its devices, after which processes can no longer be
    joined. So a script of several processes begins with::

        import jax
        jax.distributed.initialize()   # before NetKet; nothing else is needed under djaxrun, Slurm or mpirun
        import netket_qsntk as qs
        me = qs.parallel.processes.check()

    From then on an uncaught exception in this process ends it at once, without waiting for the others, so that
    JAX's coordination service can end those: after ``heartbeat_timeout_seconds`` of
    ``jax.distributed.initialize`` at most (100 by default), also when a process is killed.

    Raises:
        ProcessesError: A launcher started several processes and ``jax.distributed`` was not initialised.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.parallel.processes.check().total
        1
    """
    if jax.distributed.is_initialized():
        if jax.process_count() > 1:
            sys.excepthook = _end_at_once
        return Processes(jax.process_index(), jax.process_count())
    if current() is None:
        for name in _LAUNCHERS:
            if os.environ.get(name, "1") not in ("", "0", "1"):
                raise ProcessesError(
                    f"{name}={os.environ[name]}, but each process is on its own: NetKet was imported before they "
                    "were joined. Begin the script with `import jax; jax.distributed.initialize()`, before "
                    "NetKet; or, under mpirun, use `with qs.parallel.mpi.ranks():`."
                )
    return Processes(0, 1)


def together(name: str, *, timeout: float = 600.0) -> None:
    """Wait until every process has come here: the guard before a step with collectives.

    A collective that one process alone enters (``vs.expect`` under ``if jax.process_index() == 0``) waits for
    ever. Here it waits ``timeout`` seconds and says so.

    Args:
        name: Of the step, in the message.
        timeout: In seconds.

    Raises:
        LonelyCollectiveError: Not all came.
    """
    if jax.process_count() > 1 and not wait_for_all(name, timeout):
        raise LonelyCollectiveError(
            f"Process {jax.process_index()} of {jax.process_count()} waited {timeout:g} s at {name!r} for the "
            "others: every process must make the same calls in the same order. Keep "
            "`if jax.process_index() == 0:` to printing and saving."
        )


def _end_at_once(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.__excepthook__(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    # A regular exit would first wait for all processes to shut down, and those wait for this one's collectives.
    os._exit(1)

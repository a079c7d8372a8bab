"""Code written for the CPU: compiled loops and BLAS threads, behind one switch.

- :mod:`~netket_qsntk._compat.cpu.walsh_hadamard`: the transform as a loop that XLA calls;
- :mod:`~netket_qsntk._compat.cpu.hamming_solver`: linear systems of stochastic reconfiguration on a whole basis;
- :mod:`~netket_qsntk._compat.cpu.look_up`: kernels from tables in one pass over memory;
- :mod:`~netket_qsntk._compat.cpu.blas_threads`: BLAS on the calling thread alone.

Each has a slower form in NumPy or XLA that computes the same. ``NETKET_QSNTK_COMPILED=0`` in the environment, read
when the package is imported, takes that form everywhere.
"""

from netket_qsntk._compat.cpu.switch import compiled

__all__ = ["compiled"]

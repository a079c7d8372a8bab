"""Ensembles of networks and their infinite-width limit, as NetKet variational states."""

from netket_qsntk.vqs import expectation as _expectation  # noqa: F401  registers nk.vqs.expect
from netket_qsntk.vqs import local_energies as _local_energies  # noqa: F401  registers nk.vqs.mc.get_local_kernel
from netket_qsntk.vqs import saving as _saving  # noqa: F401  what nqxpack calls by name
from netket_qsntk.vqs.ensemble import EnsembleState
from netket_qsntk.vqs.infinite import InfiniteState

__all__ = ["EnsembleState", "InfiniteState"]

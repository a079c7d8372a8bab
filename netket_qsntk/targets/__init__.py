"""Targets: the wave functions that networks are trained on, with their train/test splits.

- :class:`Target`: amplitudes of unit norm over the whole basis; :meth:`Target.from_state` makes one
  of any NetKet state, :meth:`Target.split` gives a training and a test :class:`Dataset`.
- :func:`quench`, :func:`ground_state`: exact time evolution and exact diagonalisation.
- :func:`tfim`, :func:`hubbard`, :func:`tfim_quench`, :func:`hubbard_quench`: the Hamiltonians and
  the targets of arXiv:2112.00723.
- :func:`all_states`, :func:`check_summable`: the basis, in the one order used everywhere.
"""

from netket_qsntk.targets.basis import all_states, check_summable
from netket_qsntk.targets.dataset import Dataset
from netket_qsntk.targets.diagonalization import ground_state
from netket_qsntk.targets.evolution import quench
from netket_qsntk.targets.paper import hubbard, hubbard_quench, tfim, tfim_quench
from netket_qsntk.targets.target import Target

__all__ = [
    "Dataset",
    "Target",
    "quench",
    "ground_state",
    "tfim",
    "hubbard",
    "tfim_quench",
    "hubbard_quench",
    "all_states",
    "check_summable",
]

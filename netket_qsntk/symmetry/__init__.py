"""Lattice symmetry of networks and kernels: groups with a character, orbits, and the sectors they leave.

Everything takes a NetKet permutation group (``graph.translation_group()``, ``graph.space_group()``, …) and the
character of one of its irreducible representations.
"""

from netket_qsntk.symmetry.burnside import multiplicities
from netket_qsntk.symmetry.distinct import distinct
from netket_qsntk.symmetry.projection import Projection, projection

__all__ = ["Projection", "distinct", "multiplicities", "projection"]

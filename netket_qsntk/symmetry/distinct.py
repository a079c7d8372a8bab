"""Configurations of spins, one of each orbit."""

import numpy as np
from jax.typing import ArrayLike
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.symmetry import orbits
from netket_qsntk.symmetry.projection import Projection, SpinFlip, projection


def distinct(
    x: ArrayLike, group: PermutationGroup | Projection | None = None, *, spin_flip: SpinFlip = None
) -> np.ndarray:
    """Indices of the first of each set of configurations that are images of one another.

    Args:
        x: Configurations (n, sites) of two local states.
        group: A NetKet permutation group of the sites; None leaves out repeated configurations alone.
        spin_flip: ±1 if the flip of all spins counts as a symmetry too.

    Returns:
        Indices in increasing order. Told apart by hashes of 64 bits: two different orbits are mistaken for one with a
        probability of |G| n²/2⁶⁴.

    Raises:
        InvalidConfigurationsError: More than two local states, or no array (n, sites).
        SymmetryError: A group of another lattice.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> len(qs.symmetry.distinct(x, nk.graph.Chain(4).translation_group(), spin_flip=1))
        4
    """
    x = np.asarray(x)
    values = np.unique(x)
    if x.ndim != 2 or len(values) > 2:
        raise InvalidConfigurationsError(
            f"distinct takes configurations (n, sites) of two local states, got shape {x.shape} with "
            f"{len(values)} different values."
        )
    symmetry = (
        None
        if group is None and spin_flip is None
        else projection(group, spin_flip=spin_flip, sites=x.shape[1])
    )
    return orbits.distinct(x == values[-1], symmetry)

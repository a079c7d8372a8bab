"""How many symmetric functions there are at each level of a kernel: Burnside's lemma."""

from collections import Counter
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import SymmetryError
from netket_qsntk.symmetry.projection import Projection, SpinFlip, projection


def multiplicities(
    group: PermutationGroup | Projection | None,
    d: int,
    character: ArrayLike | None = None,
    *,
    n_up: int | None = None,
    spin_flip: SpinFlip = None,
) -> np.ndarray:
    r"""Number of independent symmetric functions at each level of a kernel of the Hamming distance on d spins.

    Permutations of sites and the spin flip leave the Hamming distance alone: the eigenvalues λ_w of such a kernel
    stay, and of the C(d, w) parities of w spins those combinations remain that transform as the character says,

    .. math:: m_w = \chi(1)\,|G|^{-1} \sum_g \chi(g)^*\, s_g^w\, \#\{S : |S| = w,\ gS = S\}.

    In a sector of fixed magnetisation (Johnson scheme) level j holds C(d, j) - C(d, j - 1) functions; there the
    trace of a permutation is that on subsets of j sites less that on j - 1, and the flip, which keeps the sector
    with half of the spins up, is (-1)^j.

    Args:
        group: A NetKet permutation group of the d sites; None for the identity alone.
        d: Number of spins.
        character: χ(g) of an irreducible representation, (|G|,); None for χ = 1.
        n_up: Number of spins up; None for all 2^d configurations.
        spin_flip: ±1 adds the flip of all spins with that eigenvalue.

    Returns:
        (d + 1,) float64, or (min(n_up, d - n_up) + 1,) in a sector; whole numbers, exact up to 2⁵³ each. They sum to
        the dimension of the symmetric space.

    Raises:
        SymmetryError: The group acts on another number of sites, the character does not fit, or the flip leaves
            the sector.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> ring = nk.graph.Chain(6).translation_group()
        >>> qs.symmetry.multiplicities(ring, 6).tolist()  # necklaces of 6 beads
        [1.0, 1.0, 3.0, 4.0, 3.0, 1.0, 1.0]
        >>> qs.symmetry.multiplicities(ring, 6, n_up=3).tolist()
        [1.0, 0.0, 2.0, 1.0]
    """
    symmetry = projection(group, character, spin_flip=spin_flip, sites=d)
    if n_up is not None and not 0 <= n_up <= d:
        raise SymmetryError(f"n_up={n_up}: expected a number of spins up from 0 to {d}.")
    if n_up is not None and symmetry.spin_flip and 2 * n_up != d:
        raise SymmetryError(
            f"The spin flip leads out of the sector with {n_up} of {d} spins up: leave it out, or take {d / 2:g}."
        )
    levels = (d if n_up is None else min(n_up, d - n_up)) + 1
    totals: list[Any] = [0] * levels
    for (cycles, sign), chi in _classes(symmetry).items():
        fixed = _fixed_subsets(cycles)
        for w in range(levels):
            count = fixed[w] - (fixed[w - 1] if n_up is not None and w else 0)
            totals[w] += chi * (count if sign > 0 or w % 2 == 0 else -count)
    scale = symmetry.order
    return np.array([_whole(total, symmetry.dimension, scale) for total in totals])


def _classes(symmetry: Projection) -> "Counter[tuple[tuple[int, ...], int]]":
    """Σ χ(g)* over the elements of one cycle type (lengths of cycles, sign): whole numbers stay whole."""
    totals: Counter[tuple[tuple[int, ...], int]] = Counter()
    chi = np.asarray(symmetry.characters)
    whole = symmetry.is_real and np.array_equal(chi, np.rint(chi))
    for move, sign, value in symmetry.elements():
        totals[_cycle_type(move), sign] += round(value.real) if whole else np.conj(value)
    return totals


def _cycle_type(permutation: np.ndarray) -> tuple[int, ...]:
    seen, lengths = np.zeros(len(permutation), bool), []
    for start in range(len(permutation)):
        length, at = 0, start
        while not seen[at]:
            seen[at] = True
            length, at = length + 1, int(permutation[at])
        if length:
            lengths.append(length)
    return tuple(sorted(lengths))


def _fixed_subsets(cycles: tuple[int, ...]) -> list[int]:
    """Subsets of w sites that the permutation maps to themselves: coefficients of Π (1 + t^length)."""
    counts = [1] + [0] * sum(cycles)
    for length in cycles:
        for w in range(len(counts) - 1, length - 1, -1):
            counts[w] += counts[w - length]
    return counts


def _whole(total: Any, dimension: int, order: int) -> float:
    if isinstance(total, int):
        return float(dimension * total // order)
    value = dimension * float(np.real(total)) / order
    return float(round(value)) if abs(value) < 2**50 else value

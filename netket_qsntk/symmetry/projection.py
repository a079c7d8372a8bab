"""A permutation group with a character, and the spin flip, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils import HashableArray
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import SymmetryError

SpinFlip = Literal[1, -1] | None

# Elements of the group at which a character is compared with its convolution by itself.
_TRIED = 24


@dataclass(frozen=True)
class Projection:
    r"""The symmetries g of a system and a character χ of theirs: :math:`|G|^{-1}\sum_g \chi(g)^*\, g`.

    An element permutes the sites, (g x)_i = x_{p_g(i)}, and may then flip all spins. Equal projections hash alike, so
    that programs compiled for one serve the other. Built by :func:`projection`.

    Attributes:
        permutations: p_g of the permutations, (n, d) integers: NetKet's ``group.to_array()``.
        characters: χ of the permutations, (n,) real, or complex for momenta other than 0 and π.
        dimension: χ(1), the dimension of the representation.
        spin_flip: Eigenvalue ±1 of the flip, where it belongs to the group: then |G| = 2n.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> ring = nk.graph.Chain(6)
        >>> qs.symmetry.projection(ring.translation_group(), spin_flip=1)
        Projection(12 elements on 6 sites, character 1, spin flip 1)
    """

    permutations: HashableArray
    characters: HashableArray
    dimension: int
    spin_flip: SpinFlip = None

    @property
    def sites(self) -> int:
        """Sites the group acts on."""
        return self.permutations.shape[1]

    @property
    def order(self) -> int:
        """|G|, the flip included."""
        return self.permutations.shape[0] * (1 if self.spin_flip is None else 2)

    @property
    def is_trivial(self) -> bool:
        """χ = 1 for every element."""
        return self.spin_flip != -1 and bool(np.all(np.asarray(self.characters) == 1))

    @property
    def is_real(self) -> bool:
        """χ is real, so that real functions stay real."""
        return not np.iscomplexobj(np.asarray(self.characters))

    @property
    def weights(self) -> np.ndarray:
        """χ(g)* of the permutations, over their number: (n,)."""
        return np.conj(np.asarray(self.characters)) / self.permutations.shape[0]

    def elements(self) -> Iterator[tuple[np.ndarray, int, complex]]:
        """(p_g, sign, χ(g)) of each element: the sign is -1 where all spins are flipped."""
        for sign in (1,) if self.spin_flip is None else (1, -1):
            for move, chi in zip(
                np.asarray(self.permutations), np.asarray(self.characters), strict=True
            ):
                yield move, sign, chi if sign > 0 else self.spin_flip * chi

    def images(self, x: ArrayLike) -> Array:
        """g x of configurations (…, d) for every element: (|G|, …, d). The flip changes signs, as of spins ±1."""
        moved = jnp.moveaxis(
            jnp.take(jnp.asarray(x), np.asarray(self.permutations), axis=-1), -2, 0
        )
        return moved if self.spin_flip is None else jnp.concatenate([moved, -moved])

    def check(self, sites: int, what: str) -> None:
        """Raise :class:`SymmetryError` unless ``what`` has as many sites as the group moves."""
        if sites != self.sites:
            raise SymmetryError(
                f"{what} has {sites} sites, but the symmetry group moves {self.sites}. Give the group of the same "
                "lattice, for instance graph.translation_group() of the Hamiltonian's graph."
            )

    def __repr__(self) -> str:
        size = f"{self.order} elements on {self.sites} sites"
        chi = np.asarray(self.characters)
        kind = "1" if np.all(chi == 1) else "real" if self.is_real else "complex"
        if self.dimension > 1:
            kind += f" of dimension {self.dimension}"
        flip = "" if self.spin_flip is None else f", spin flip {self.spin_flip}"
        return f"Projection({size}, character {kind}{flip})"


def projection(
    group: "PermutationGroup | Projection | None",
    character: ArrayLike | None = None,
    *,
    spin_flip: SpinFlip = None,
    sites: int | None = None,
) -> Projection:
    """A NetKet permutation group and a character as a :class:`Projection`, checked.

    Args:
        group: For instance ``graph.space_group()``; None is the identity alone (then ``sites`` is needed). A
            Projection is returned as it is.
        character: χ(g) of one irreducible representation, (|G|,) in the group's order: a row of
            ``group.character_table()``, ``graph.space_group().space_group_irreps(π, 0)[0]``, …; None is χ = 1.
        spin_flip: ±1 adds the flip of all spins with that eigenvalue; None leaves it out.
        sites: Number of sites expected, where that is known.

    Raises:
        SymmetryError: A group of another number of sites, characters of another length, characters that are
            those of no irreducible representation, elements that do not form a group.

    Example:
        >>> import numpy as np, netket as nk, netket_qsntk as qs
        >>> group = nk.graph.Chain(4).translation_group()
        >>> qs.symmetry.projection(group, np.exp(0.5j * np.pi * np.arange(4)))
        Projection(4 elements on 4 sites, character complex)
    """
    if isinstance(group, Projection):
        if character is not None or spin_flip is not None:
            raise SymmetryError(
                "A Projection has its character already: give character and spin_flip where it is made."
            )
        if sites is not None:
            group.check(sites, "The system")
        return group
    moves = _permutations(group, sites)
    chi = _characters(character, len(moves))
    dimension = _check_representation(moves, chi)
    if spin_flip not in (None, 1, -1):
        raise SymmetryError(f"spin_flip={spin_flip!r}: expected 1 or -1, or None for no flip.")
    made = Projection(HashableArray(moves), HashableArray(chi), dimension, spin_flip)
    if sites is not None:
        made.check(sites, "The system")
    return made


def _permutations(group: PermutationGroup | None, sites: int | None) -> np.ndarray:
    if group is None:
        if sites is None:
            raise SymmetryError(
                "group=None is the identity alone, of which the number of sites is not known: give sites=…"
            )
        return np.arange(sites, dtype=np.int32)[None]
    if not isinstance(group, PermutationGroup):
        raise SymmetryError(
            f"group is a {type(group).__name__}: expected a NetKet permutation group, such as "
            "graph.translation_group(), graph.space_group() or nk.utils.group.PermutationGroup(...)."
        )
    return np.asarray(group.to_array(), np.int32)


def _characters(character: ArrayLike | None, order: int) -> np.ndarray:
    if character is None:
        return np.ones(order)
    chi = np.asarray(character)
    if chi.shape != (order,):
        raise SymmetryError(
            f"character has shape {chi.shape}: expected one number for each of the group's {order} elements, such "
            "as a row of group.character_table(), or None for the trivial representation."
        )
    if not np.all(np.isfinite(chi)):
        raise SymmetryError("character has entries that are not finite.")
    chi = chi.astype(complex)
    # Roots of unity come with rounding from trigonometric functions and eigensolvers.
    chi = np.where(np.abs(chi - np.round(chi)) < 1e-9, np.round(chi), chi)
    return chi.real.copy() if np.all(np.abs(chi.imag) < 1e-9) else chi


def _check_representation(moves: np.ndarray, chi: np.ndarray) -> int:
    """χ(1), after a comparison of χ with its convolution by itself at some elements."""
    place: dict[bytes, int] = {}
    for index, row in enumerate(moves):
        place.setdefault(row.tobytes(), index)
    order, identity = len(moves), np.arange(moves.shape[1], dtype=moves.dtype).tobytes()
    if identity not in place:
        raise SymmetryError("The permutations given hold no identity: they form no group.")
    dimension = chi[place[identity]]
    whole = round(float(np.real(dimension)))
    if whole < 1 or abs(dimension - whole) > 1e-6:
        raise SymmetryError(
            f"The character of the identity is {dimension}: expected the dimension of the representation, 1, 2, …"
        )
    inverse = np.argsort(moves, axis=1).astype(moves.dtype)
    tried = np.unique(np.linspace(0, order - 1, min(order, _TRIED)).astype(int))
    for u in tried:
        # g⁻¹u acts by x -> x[p_u][p_{g⁻¹}]; Σ_g χ(g) χ(g⁻¹u) = |G| χ(u)/χ(1) for irreducible characters alone.
        products = moves[u][inverse]
        try:
            at = [place[row.tobytes()] for row in products.astype(moves.dtype)]
        except KeyError:
            raise SymmetryError(
                "The permutations given are not closed under multiplication: they form no group."
            ) from None
        if abs(chi @ chi[at] - order * chi[u] / dimension) > 1e-6 * order:
            raise SymmetryError(
                "The numbers given are the character of no irreducible representation of this group (their "
                "convolution with themselves is not |G|/χ(1) times them). Take a row of group.character_table()."
            )
    return whole

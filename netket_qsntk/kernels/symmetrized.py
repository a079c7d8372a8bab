"""Kernels of networks projected on a representation of a lattice's symmetry group."""

import equinox as eqx
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.arguments import Which, check_configurations, check_which
from netket_qsntk.kernels.base import InfiniteWidthKernel, KernelModule
from netket_qsntk.kernels.group_sums import (
    group_diagonals,
    group_sums,
    hamming_table,
    two_states,
)
from netket_qsntk.operators import KernelOperator, Projected
from netket_qsntk.operators.choose import Hint
from netket_qsntk.symmetry.projection import Projection, SpinFlip, projection

# Entries beyond which a kernel is not stored, and spins up to which vectors over the basis are.
_ENTRIES, _SPINS = 2**24, 24


class SymmetrizedKernel(KernelModule):
    r"""The kernel of a projected network, :math:`k_G(x, y) = |G|^{-1} \sum_g \chi(g)^*\, k(x, g y)`.

    That is for kernels with k(gx, gy) = k(x, y). Of others, such as those of patches that the group turns into other
    ones, both arguments are projected: :math:`\chi(1)|G|^{-2}\sum_{gg'}\chi(g)\chi(g')^* k(gx, g'y)`.
    Made by :func:`symmetrized`; :mod:`netket_qsntk.kernels.group_sums` says how the sums are done. For complex
    characters the matrices are complex and Hermitian.

    Attributes:
        kernel: k.
        symmetry: The group and its character.
    """

    kernel: InfiniteWidthKernel
    symmetry: Projection = eqx.field(static=True)

    def __init__(self, kernel: InfiniteWidthKernel, symmetry: Projection) -> None:
        self.kernel = kernel
        self.symmetry = symmetry
        self.n_parts = kernel.n_parts
        self.trainable = kernel.trainable

    @property
    def is_real(self) -> bool:
        """Whether the character is real."""
        return self.symmetry.is_real and self.kernel.is_real

    @property
    def mean_follows_norm(self) -> bool:
        """Whether that of the kernel does."""
        return self.kernel.mean_follows_norm

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m)."""
        nngp, ntk = self._sums(x, y, ("nngp", "ntk"))
        return nngp, ntk

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of the two kernels between x (n, sites) and y (m, sites): (n, m)."""
        return self._sums(x, y, (check_which(which),))[0]

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K_G(x, x), Θ_G(x, x)) for each configuration, which depend on how symmetric it is: two arrays (n,)."""
        found = self._checked(x, "x")
        nngp, ntk = group_diagonals(self.kernel, self.symmetry, found, ("nngp", "ntk"))
        return nngp, ntk

    def operator(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        which: Which = "ntk",
        hint: Hint | None = None,
    ) -> KernelOperator:
        """As for every kernel; of many spins transforms and a projection, :class:`~netket_qsntk.operators.Projected`.

        That is for kernels of the Hamming distance and real one-dimensional characters, beyond 2²⁴ entries.
        """
        x = self._checked(x, "x")
        columns = x if y is None else self._checked(y, "y")
        simple = self.symmetry.is_real and self.symmetry.dimension == 1
        if hint is None and simple and x.shape[1] <= _SPINS and len(x) * len(columns) > _ENTRIES:
            states = two_states(x, columns, symmetry=self.symmetry)
            table = (
                None if states is None else hamming_table(self.kernel, states, x.shape[1], which)
            )
            if states is not None and states[0] == -states[1] and table is not None:
                return Projected.of(
                    table, self.symmetry, np.asarray(x), None if y is None else np.asarray(y),
                    positive=True, reason="the projection commutes with a kernel of the Hamming distance",
                )  # fmt: skip
        return super().operator(x, y, which=which, hint=hint)

    def _checked(self, x: ArrayLike, name: str) -> Array:
        found = check_configurations(x, name)
        self.symmetry.check(found.shape[1], name)
        return found

    def _sums(
        self, rows: ArrayLike, columns: ArrayLike | None, which: tuple[Which, ...]
    ) -> tuple[Array, ...]:
        x = self._checked(rows, "x")
        y = x if columns is None else self._checked(columns, "y")
        return group_sums(self.kernel, self.symmetry, x, y, which)

    @property
    def description(self) -> str:
        """The architecture and the group."""
        return f"{self.kernel.description}, {self.symmetry!r}"

    def __repr__(self) -> str:
        return f"SymmetrizedKernel({self.kernel!r}, {self.symmetry!r})"


def symmetrized(
    kernel: InfiniteWidthKernel,
    group: PermutationGroup | Projection,
    character: ArrayLike | None = None,
    *,
    spin_flip: SpinFlip = None,
) -> SymmetrizedKernel:
    r"""The kernel averaged over a symmetry group with a character: that of the projected network.

    .. math:: k_G(x, y) = |G|^{-1} \sum_g \chi(g)^*\, k(x, g y)

    The same for K and Θ. A kernel of the Hamming distance keeps its levels: over the basis the eigenvalues are
    λ_w/χ(1), with the multiplicities of :func:`netket_qsntk.symmetry.multiplicities`. The projected network itself is
    f_G(x) = |G|⁻¹ Σ_g χ(g) f(g x) for one-dimensional representations; for others its kernel is k_G/χ(1).

    Args:
        kernel: Any infinite-width kernel.
        group: A NetKet permutation group, (g x)_i = x_{g⁻¹(i)} as NetKet applies it.
        character: χ(g) of an irreducible representation, (|G|,) in the group's order; None is χ = 1.
        spin_flip: ±1 adds the flip of all spins, with that eigenvalue.

    Raises:
        SymmetryError: The group or the character does not fit.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> ring = nk.graph.Chain(8)
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), activation="erf"))
        >>> symmetric = qs.kernels.symmetrized(kernel, ring.space_group(), spin_flip=1)
        >>> x = nk.hilbert.Spin(0.5, 8).all_states()
        >>> symmetric.ntk(x[:3], x).shape
        (3, 256)
    """
    if not isinstance(kernel, InfiniteWidthKernel):
        raise InvalidModelError(
            f"symmetrized takes a kernel, got a {type(kernel).__name__}: qs.kernels.infinite_width(model) makes one."
        )
    return SymmetrizedKernel(kernel, projection(group, character, spin_flip=spin_flip))

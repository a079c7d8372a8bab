"""Kernels of networks projected on a representation of a lattice's symmetry group."""

from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import InvalidModelError, SymmetryError
from netket_qsntk.kernels import patterns
from netket_qsntk.kernels.arguments import check_configurations
from netket_qsntk.kernels.base import InfiniteWidthKernel, KernelModule
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.operators import HammingTable, KernelOperator, Projected
from netket_qsntk.operators.choose import Hint
from netket_qsntk.symmetry.orbits import folded, orbit_sums, orbit_words, words
from netket_qsntk.symmetry.projection import Projection, SpinFlip, projection
from netket_qsntk.tracing import is_traced

Which = Literal["ntk", "nngp"]

# Pairs of configurations and group elements summed in one piece.
_PAIRS = 2**26
# Entries beyond which a kernel is not stored, and spins up to which vectors over the basis are.
_ENTRIES, _SPINS = 2**24, 24
# Elements at which the invariance of a kernel is looked at, and evaluations that project both arguments at most.
_TRIED, _MOST = 24, 2**14


class SymmetrizedKernel(KernelModule):
    r"""The kernel of a projected network, :math:`k_G(x, y) = |G|^{-1} \sum_g \chi(g)^*\, k(x, g y)`.

    That is for kernels with k(gx, gy) = k(x, y). Of others, such as those of patches that the group turns into other
    ones, both arguments are projected: :math:`\chi(1)|G|^{-2}\sum_{gg'}\chi(g)\chi(g')^* k(gx, g'y)`.
    Made by :func:`symmetrized`. Where k is a function of the Hamming distance of spins, the sum is over bits and
    tables (:mod:`netket_qsntk.symmetry.orbits`); otherwise k is evaluated |G| times. For complex characters
    the matrices are complex and Hermitian.

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

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m)."""
        nngp, ntk = self._sums(x, y, ("nngp", "ntk"))
        return nngp, ntk

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of the two kernels between x (n, sites) and y (m, sites): (n, m)."""
        return self._sums(x, y, (which,))[0]

    def nngp(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Covariance of each projected part: (n, m)."""
        return self.matrix(x, y, "nngp")

    def ntk(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Neural tangent kernel of each projected part: (n, m)."""
        return self.matrix(x, y, "ntk")

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K_G(x, x), Θ_G(x, x)) for each configuration, which depend on how symmetric it is: two arrays (n,)."""
        x = self._checked(x, "x")

        def at(row: Array) -> tuple[Array, Array]:
            nngp, ntk = self.both(row[None], row[None])
            return jnp.real(nngp[0, 0]), jnp.real(ntk[0, 0])

        return jax.lax.map(at, jnp.asarray(x), batch_size=64)

    def qsntk(self, x: ArrayLike, y: ArrayLike | None = None) -> QSNTK:
        """The quantum-state NTK: for a complex character ψ₁ and ψ₂ mix, Θ₁₁ = Θ₂₂ = Re Θ_G, Θ₁₂ = -Im Θ_G.

        (Half of each for one real network, whose projection is complex.)
        """
        ntk = self.ntk(x, y)
        if not jnp.iscomplexobj(ntk):
            zero = jnp.zeros_like(ntk)
            return QSNTK(theta_11=ntk, theta_22=ntk if self.n_parts == 2 else zero, theta_12=zero)
        half = ntk if self.n_parts == 2 else ntk / 2
        return QSNTK(theta_11=half.real, theta_22=half.real, theta_12=-half.imag)

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
            states = two_states(x, columns)
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
        states = two_states(x, y)
        if states is not None:
            tables = [hamming_table(self.kernel, states, x.shape[1], w) for w in which]
            found = [t for t in tables if t is not None]
            if len(found) == len(which):
                middle = (states[0] + states[1]) / 2
                table = jnp.stack([folded(t, self.symmetry) for t in found])
                up = [jnp.asarray(t) > middle for t in (x, y)]
                return tuple(_by_bits(self.symmetry, *up, table))
        local = None if states is None else self._by_patterns(x, y, which, states)
        return self._one_by_one(x, y, which) if local is None else local

    def _by_patterns(
        self, x: Array, y: Array, which: tuple[Which, ...], states: tuple[float, float]
    ) -> tuple[Array, ...] | None:
        """Patches by counts of patterns, and what is added to them by bits; None where that is not possible."""
        parts, rest = patterns.parted(self.kernel)
        counted = patterns.counted(parts, self.symmetry)
        if counted is None or is_traced(y):
            return None
        middle = (states[0] + states[1]) / 2
        up = np.asarray(y) > middle
        found = [patterns.columns(parts, self.symmetry, up, states, w) for w in which]
        counts = counted.counts(jnp.asarray(x) > middle, len(found[0]))
        values = [counts @ jnp.asarray(column) for column in found]
        if rest is not None:
            others = SymmetrizedKernel(rest, self.symmetry)._sums(x, y, which)
            values = [one + other for one, other in zip(values, others, strict=True)]
        return tuple(values)

    def _one_by_one(self, x: Array, y: Array, which: tuple[Which, ...]) -> tuple[Array, ...]:
        if not self._is_invariant(x):
            return self._both_sides(x, y, which)
        return self._over_columns(x, y, which)

    def _over_columns(self, x: Array, y: Array, which: tuple[Which, ...]) -> tuple[Array, ...]:
        """|G|⁻¹ Σ_g χ(g)* k(x, gy), element by element."""
        order, totals = self.symmetry.order, [jnp.zeros(())] * len(which)
        for move, sign, chi in self.symmetry.elements():
            image = y[:, move] if sign > 0 else -y[:, move]
            pair = dict(zip(("nngp", "ntk"), self.kernel.both(x, image), strict=True))
            totals = [
                total + pair[w] * (np.conj(chi) / order)
                for total, w in zip(totals, which, strict=True)
            ]
        return tuple(totals)

    def _is_invariant(self, x: Array) -> bool:
        """Whether k(gx, gy) = k(x, y), at random configurations and elements; assumed of traced numbers."""
        if is_traced(self.kernel):
            return True
        rng = np.random.default_rng(0)
        values = np.array([-1.0, 1.0]) if is_traced(x) else np.unique(np.asarray(x))
        one, two = rng.choice(values, size=(2, 3, x.shape[1]))
        elements = list(self.symmetry.elements())
        tried = rng.permutation(len(elements))[:_TRIED]
        with jax.ensure_compile_time_eval():
            here = np.asarray(self.kernel.ntk(one, two))
            for at in tried:
                move, sign, _ = elements[at]
                there = np.asarray(self.kernel.ntk(sign * one[:, move], sign * two[:, move]))
                if np.abs(here - there).max() > 1e-9 * np.abs(here).max():
                    return False
        return True

    def _both_sides(self, x: Array, y: Array, which: tuple[Which, ...]) -> tuple[Array, ...]:
        order = self.symmetry.order
        if order**2 > _MOST:
            raise SymmetryError(
                f"{self.kernel!r} is not invariant under the group, and both arguments would be projected by "
                f"{order}² evaluations: use a smaller group, or patches of a shape that the group keeps."
            )
        totals: list[Array] = [jnp.zeros(())] * len(which)
        for move, sign, chi in self.symmetry.elements():
            rows = x[:, move] if sign > 0 else -x[:, move]
            factor = chi * self.symmetry.dimension / order
            found = self._over_columns(rows, y, which)
            totals = [total + one * factor for total, one in zip(totals, found, strict=True)]
        return tuple(totals)

    @property
    def description(self) -> str:
        """The architecture and the group."""
        return f"{self.kernel.description}, {self.symmetry!r}"

    def __repr__(self) -> str:
        return f"SymmetrizedKernel({self.kernel!r}, {self.symmetry!r})"


@partial(jax.jit, static_argnums=0)
def _by_bits(symmetry: Projection, x: Array, y: Array, tables: Array) -> list[Array]:
    orbits = orbit_words(y, symmetry)
    weights = (
        None
        if symmetry.is_trivial or np.all(symmetry.weights == symmetry.weights[0])
        else symmetry.weights
    )
    rows = max(1, _PAIRS // (orbits.shape[0] * orbits.shape[2]))
    bits = words(x)
    pieces = []
    for start in range(0, x.shape[0], rows):
        here = bits[:, start : start + rows]
        pieces.append([orbit_sums(here, orbits, table, weights) for table in tables])
    return [jnp.concatenate(column) for column in zip(*pieces, strict=True)]


def two_states(*batches: ArrayLike) -> tuple[float, float] | None:
    """The two values that the sites of configurations take, larger first; None for more. Traced ones are spins ±1."""
    known = [np.unique(np.asarray(t)) for t in batches if not is_traced(t)]
    values = np.unique(np.concatenate(known or [np.array([-1, 1])]))
    if len(values) == 1 and values[0]:
        return abs(float(values[0])), -abs(float(values[0]))
    return (float(values[1]), float(values[0])) if len(values) == 2 else None


def hamming_table(
    kernel: InfiniteWidthKernel, states: tuple[float, float], d: int, which: Which
) -> Array | None:
    """k(0), …, k(d) if the kernel depends on the number of sites in which configurations differ alone, else None."""
    ends = np.repeat(np.array(states)[:, None], d, axis=1)
    found = kernel.structure(ends, which=which)
    if isinstance(found, HammingTable) and found.sitewise and found.d == d:
        return found.values
    return None


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

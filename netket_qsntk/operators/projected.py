"""Kernels of the Hamming distance projected on a symmetric sector: one projection more for each product."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.basis_index import BasisIndex, spin_index
from netket_qsntk.operators.hypercube import Hypercube
from netket_qsntk.operators.linear_map import is_nonnegative
from netket_qsntk.symmetry.projection import Projection


class Orbits(eqx.Module):
    """A real one-dimensional representation on the basis of d spins: (Pf)(x) = s(x) mean of s(y) f(y) over x's orbit.

    Attributes:
        label: Number of each state's orbit, (2^d,).
        sign: s: ±1, or 0 where no function of the sector lives, (2^d,).
        weight: One over the size of the orbit, (2^d,).
    """

    label: Array
    sign: Array
    weight: Array

    @classmethod
    def of(cls, symmetry: Projection) -> "Orbits":
        """The orbits of all 2^d states, in |G| 2^d d operations."""
        d = symmetry.sites
        own = np.arange(2**d)
        bits = (own[:, None] >> np.arange(d)[::-1]) & 1
        powers = 2 ** np.arange(d, dtype=np.int64)[::-1]

        def images() -> Any:
            for move, sign, chi in symmetry.elements():
                moved = bits[:, move] @ powers
                yield (moved if sign > 0 else 2**d - 1 - moved), float(np.real(chi))

        first, signs = own.copy(), np.ones(2**d)
        for image, chi in images():
            lower = image < first
            first, signs = np.where(lower, image, first), np.where(lower, chi, signs)
        for image, chi in images():
            signs = np.where((image == first) & (signs != chi), 0.0, signs)
        _, label, counts = np.unique(first, return_inverse=True, return_counts=True)
        # One state of an orbit that is lost loses it: all of them do, their stabilisers being conjugate.
        return cls(jnp.asarray(label), jnp.asarray(signs), jnp.asarray(1 / counts[label]))

    def project(self, f: Array) -> Array:
        """P f for vectors over the basis (…, 2^d)."""
        size = self.label.shape[0]
        flat = (f * self.sign).reshape(-1, size)
        sums = jax.vmap(lambda v: jax.ops.segment_sum(v, self.label, size))(flat)
        return (sums[:, self.label] * self.weight * self.sign).reshape(f.shape)


class Projected(KernelOperator):
    r"""The kernel |G|⁻¹ Σ_g χ(g) k(x, gy) of a Hamming kernel k between batches of ±1 spins: products in O(d 2^d).

    Scatter, project, transform, scale, transform, gather: the projection commutes with the kernel. For real
    one-dimensional characters.

    Attributes:
        whole: k on the whole basis.
        orbits: The sector.
        rows: Positions of the rows.
        columns: Those of the columns; None for the same batch.
        positive: Whether it is known to be positive semidefinite.
        reason: Why it was chosen, for ``repr``.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(10))
        >>> ring = nk.graph.Chain(13).translation_group()
        >>> x = nk.hilbert.Spin(0.5, 13).all_states()
        >>> operator = qs.kernels.symmetrized(kernel, ring).operator(x)
        >>> type(operator).__name__, operator.matvec(jnp.ones(8192)).shape
        ('Projected', (8192,))
    """

    whole: Hypercube
    orbits: Orbits
    rows: BasisIndex
    columns: BasisIndex | None
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        symmetry: Projection,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        positive: bool = False,
        reason: str = "",
    ) -> "Projected":
        """The operator between ±1 spins x (n, d) and y (m, d), of k(0), …, k(d) and a group with its character."""
        size = 2 ** np.shape(x)[1]
        rows = BasisIndex(spin_index(x), size)
        columns = None if y is None else BasisIndex(spin_index(y), size)
        orbits = Orbits.of(symmetry)
        return cls(Hypercube(values), orbits, rows, columns, positive and y is None, reason)

    @property
    def _columns(self) -> BasisIndex:
        return self.rows if self.columns is None else self.columns

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.rows), len(self._columns)

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the arithmetic."""
        return self.whole.dtype

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns are the same batch."""
        return self.columns is None

    def _product(self, v: Array) -> Array:
        projected = self.orbits.project(self._columns.scatter(v))
        flat = projected.reshape(-1, projected.shape[-1])
        return self.rows.gather(jax.vmap(self.whole.matvec)(flat).reshape(projected.shape))

    def as_matrix(self) -> Array:
        """All entries, column after column."""
        return self._product(jnp.eye(self.shape[1], dtype=self.dtype)).T

    def diagonal(self) -> Array:
        """Entries between the ith row and the ith column, from as many products."""
        n = min(self.shape)
        units = jnp.arange(n)

        def at(i: Array) -> Array:
            return self._product(jnp.zeros(self.shape[1], self.dtype).at[i].set(1.0))[i]

        return jax.lax.map(at, units)

    def transpose(self) -> "Projected":
        """Rows and columns exchanged."""
        return self if self.symmetric else self._with(self._columns, self.rows, False)

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> "Projected":
        """The block of some rows and columns."""
        same = self.symmetric and columns is None
        taken = self._columns.take(rows if columns is None else columns)
        return self._with(self.rows.take(rows), None if same else taken, self.positive and same)

    def scaled(self, factor: ArrayLike) -> "Projected":
        """``factor`` times this."""
        made = self._with(self.rows, self.columns, self.positive and is_nonnegative(factor))
        return eqx.tree_at(lambda t: t.whole, made, self.whole.scaled(factor))

    def _with(self, rows: BasisIndex, columns: BasisIndex | None, positive: bool) -> "Projected":
        return Projected(self.whole, self.orbits, rows, columns, positive, self.reason)

    def _describe(self) -> str:
        states = f"{self.orbits.label.shape[0]} configurations of {self.whole.n_spins} spins"
        return f"function of the Hamming distance, projected on a symmetric sector, {states}"

"""Kernels of the Hamming distance between ±1 spins, by Walsh-Hadamard transforms."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.hamming import hamming_levels, hamming_values, krawtchouk
from netket_qsntk.operators.base import KernelOperator, is_nonnegative
from netket_qsntk.operators.basis_index import BasisIndex, spin_index
from netket_qsntk.operators.decomposition import (
    Eigendecomposition,
    ParityModes,
    parity_weights,
)
from netket_qsntk.operators.exchange import hamming_product, in_parts
from netket_qsntk.operators.on_basis import OnBasis
from netket_qsntk.operators.transforms import walsh_hadamard
from netket_qsntk.parallel.mesh import n_devices


class Hypercube(OnBasis):
    r"""A kernel k(distance(x, y)) between batches of ±1 spins: d + 1 numbers, products in O(d 2^d).

    Over the whole basis the parities of subsets of spins diagonalise it, with the eigenvalue
    λ_w = Σ_h k(h) K_h(w) for C(d, w) subsets of w spins (K_h: Krawtchouk polynomials). On a batch a product is
    scatter, transform, scale, transform, gather. A sector of fixed magnetisation is a batch. A vector over the whole
    basis that lies in parts on several devices (``qs.parallel.share``) stays in parts.

    Args:
        values: k(0), …, k(d).
        x: Rows: configurations (n, d) of ±1 (any two values of opposite sign), a :class:`BasisIndex`, or None for
            the whole basis in the order of ``nk.hilbert.Spin(1/2, d).all_states()``.
        y: Columns; None for the same batch as the rows.
        dtype: float64 (None) or float32 for the arithmetic.
        levels: The eigenvalues λ_0, …, λ_d over the whole basis, where they are known; computed if None.
        positive: Whether it is known to be positive semidefinite.
        reason: Why it was chosen, for ``repr``.

    Raises:
        StructureError: The configurations are not (n, d) spins, or d > 30.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> x = nk.hilbert.Spin(0.5, 3, total_sz=-0.5).all_states()
        >>> kernel = qs.operators.Hypercube([4.0, 3.0, 2.0, 1.0], x)
        >>> kernel.matvec(jnp.array([1.0, 0.0, 0.0])).tolist()
        [4.0, 2.0, 2.0]
        >>> qs.operators.Hypercube([4.0, 3.0, 2.0, 1.0]).eigh().levels()[0].tolist()
        [20.0, 4.0, 0.0, 0.0]
    """

    values: Array
    levels: Array
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __init__(
        self,
        values: ArrayLike,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        dtype: DTypeLike | None = None,
        levels: ArrayLike | None = None,
        positive: bool = False,
        reason: str = "",
    ) -> None:
        shape = np.shape(values)
        if len(shape) != 1 or not 2 <= shape[0] <= 31:
            raise StructureError(
                f"Hypercube takes k(0), …, k(d) for 1 to 30 spins, got values of shape {shape}; past 30 a vector "
                "over the basis does not fit into memory: use Tiled."
            )
        d = shape[0] - 1
        if levels is None:
            # Exact where the numbers are known, as they are not under jax.grad and jax.vmap.
            traced = isinstance(values, jax.core.Tracer)
            levels = values @ krawtchouk(d) if traced else hamming_levels(values)
        dtype = float if dtype is None else dtype
        self.values, self.levels = jnp.asarray(values, dtype), jnp.asarray(levels, dtype)
        self.rows = _index(x, d)
        self.columns = None if y is None else _index(y, d)
        self.positive = positive and y is None
        self.reason = reason

    @property
    def n_spins(self) -> int:
        """d."""
        return self.values.shape[0] - 1

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the arithmetic."""
        return self.values.dtype

    def _product(self, v: Array) -> Array:
        modes = walsh_hadamard(self._columns.scatter(v))
        levels = (self.levels / self.rows.size)[parity_weights(self.n_spins)]
        return self.rows.gather(walsh_hadamard(jnp.broadcast_to(levels, modes.shape) * modes))

    def _apply(self, v: Array) -> Array:
        whole = self.rows.is_whole_basis and self._columns.is_whole_basis
        if whole and in_parts(v) and n_devices() > 1:
            return hamming_product(self.levels, v)
        return super()._apply(v)

    def as_matrix(self) -> Array:
        """Entries k(popcount(i xor j)), looked up: exact."""
        i, j = (b.positions.astype(jnp.uint32) for b in (self.rows, self._columns))
        distance = jax.lax.population_count(i[:, None] ^ j[None, :])
        return self.values[distance.astype(jnp.int32)]

    def diagonal(self) -> Array:
        """k(0), or k of the distances between the ith row and the ith column."""
        n = min(self.shape)
        if self.symmetric:
            return jnp.full(n, self.values[0])
        i, j = (b.positions[:n].astype(jnp.uint32) for b in (self.rows, self._columns))
        return self.values[jax.lax.population_count(i ^ j).astype(jnp.int32)]

    def scaled(self, factor: ArrayLike) -> "Hypercube":
        """``factor`` times this."""
        return self._with(
            values=factor * self.values,
            levels=factor * self.levels,
            positive=self.positive and is_nonnegative(factor),
        )

    def add_diagonal(self, value: ArrayLike) -> KernelOperator:
        """This plus ``value`` times the identity: k(0) grows, unless a configuration comes twice."""
        if not (self.symmetric and self.rows.distinct):
            return super().add_diagonal(value)
        return self._with(
            values=self.values.at[0].add(value),
            levels=self.levels + value,
            positive=self.positive and is_nonnegative(value),
        )

    def map_spectrum(self, function: Callable[[Array], Array]) -> "Hypercube":
        r"""f of the kernel over the *whole basis*, then restricted to the same rows and columns.

        On the whole basis that is f(A) itself: its square root draws samples of the process, its (pseudo-)inverse
        solves. On a batch f(A_full) restricted is not f of the restriction; the inverse of the whole, restricted,
        is a preconditioner.

        Args:
            function: From the d + 1 eigenvalues λ_w to as many values.
        """
        levels = function(self.levels)
        return self._with(values=hamming_values(levels), levels=levels, positive=False)

    def preconditioner(self, *, cutoff: float = 1e-12) -> "Hypercube":
        """The inverse over the whole basis, restricted to the batch: an approximate inverse for iterations.

        Eigenvalues below ``cutoff`` · λ_max count as that much, so that it stays positive definite; those that are
        rounding (:mod:`netket_qsntk.spectral`) as λ_max: the operator has nothing there, and noise is not magnified.
        """
        if not self.symmetric:
            raise OperatorShapeError(
                f"Only an operator with the same rows and columns has a preconditioner; {self!r} is a block."
            )
        top = jnp.max(self.levels)
        rounding = 16 * self.rows.size * jnp.finfo(self.dtype).eps * jnp.abs(self.values[0])

        def inverse(levels: Array) -> Array:
            return 1 / jnp.where(levels > rounding, jnp.maximum(levels, cutoff * top), top)

        return self.map_spectrum(inverse)._with(positive=True)

    @property
    def has_cheap_spectrum(self) -> bool:
        """Whether :meth:`eigh` holds here."""
        return self.symmetric and self.rows.is_whole_basis

    def eigh(self) -> Eigendecomposition:
        """Exact on the whole basis: eigenvalues λ_w, modes by one transform.

        Raises:
            StructureError: The batch is a part of the basis, or the block is between two batches.
        """
        if self.has_cheap_spectrum:
            return self.basis_modes()
        return super().eigh()

    def basis_modes(self) -> ParityModes:
        """Modes of the whole basis around the batch: superpositions by ``from_modes`` are given on the batch.

        With independent coefficients of variance λ their covariance is this operator, which is how functions are
        drawn on any batch.
        """
        if not self.symmetric:
            raise OperatorShapeError(
                f"{self!r} is a block between two batches and has no modes: take kernel.operator(x) of one batch."
            )
        return ParityModes(level_values=self.levels, rows=self.rows)

    def _plus(self, other: KernelOperator) -> KernelOperator | None:
        if not isinstance(other, Hypercube) or other.n_spins != self.n_spins:
            return None
        if self.symmetric != other.symmetric or not (
            self.rows.is_same_as(other.rows) and self._columns.is_same_as(other._columns)
        ):
            return None
        return self._with(
            values=self.values + other.values,
            levels=self.levels + other.levels,
            positive=self.positive and other.positive,
        )

    def _with(self, **changes: Any) -> "Hypercube":
        new = {name: vars(self)[name] for name in ("values", "levels", "rows", "columns")}
        new |= {"positive": self.positive, "reason": self.reason, "dtype": self.dtype} | changes
        return Hypercube(new.pop("values"), new.pop("rows"), new.pop("columns"), **new)

    def _describe(self) -> str:
        size = 2**self.n_spins
        if self.symmetric and self.rows.is_whole_basis:
            what = f"whole basis of {self.n_spins} spins"
        else:
            what = f"batch of the 2^{self.n_spins} = {size} configurations of {self.n_spins} spins"
        return f"function of the Hamming distance, {what}, {jnp.dtype(self.dtype).name}"


def _index(x: "ArrayLike | BasisIndex | None", d: int) -> BasisIndex:
    if x is None:
        return BasisIndex(None, 2**d)
    if isinstance(x, BasisIndex):
        return x
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != d:
        raise StructureError(
            f"{d + 1} values k(0), …, k({d}) belong to configurations (n, {d}), got shape {x.shape}."
        )
    if x.size and not np.all(np.abs(x) == np.abs(x.flat[0])):
        raise StructureError(
            "Hypercube takes spins of two opposite values such as ±1; a kernel of other local states is a "
            "Kronecker product or none (Tiled)."
        )
    return BasisIndex(spin_index(x), 2**d)

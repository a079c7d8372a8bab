"""Exact eigendecompositions, stored or implicit, behind one interface."""

import abc
from collections.abc import Callable
from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.hamming import hamming_values, multiplicities
from netket_qsntk.operators.basis_index import BasisIndex
from netket_qsntk.operators.transforms import apply_factors, walsh_hadamard


class Eigendecomposition(eqx.Module):
    """A = U diag(λ) Uᵀ for a symmetric operator A on n configurations, U orthogonal and perhaps never stored."""

    @property
    @abc.abstractmethod
    def eigenvalues(self) -> Array:
        """λ of each mode, (n,), in the order of the modes (not sorted)."""

    @abc.abstractmethod
    def levels(self) -> tuple[Array, Array]:
        """The eigenvalues without the repetitions known from symmetry, and how often each comes."""

    @abc.abstractmethod
    def to_modes(self, v: Array) -> Array:
        """Uᵀv along the last axis: (…, n) -> (…, n)."""

    @abc.abstractmethod
    def from_modes(self, c: Array) -> Array:
        """U c along the last axis: (…, n) -> (…, n)."""

    @abc.abstractmethod
    def by_level(self, values: Array) -> Array:
        """Sums of numbers on modes (…, n) over those of each level: (…, levels)."""

    @abc.abstractmethod
    def on_modes(self, values: Array) -> Array:
        """Numbers on levels (…, levels) as numbers on modes (…, n)."""

    def level_weights(self, v: Array) -> Array:
        """Σ |Uᵀv|² over the modes of each level, (…, levels): all that ‖f(A)v‖ needs, for any f."""
        return self.by_level(jnp.abs(self.to_modes(v)) ** 2)

    def level_products(self, u: Array, v: Array) -> Array:
        """Σ (Uᵀu)* (Uᵀv) over the modes of each level, (…, levels)."""
        return self.by_level(jnp.conj(self.to_modes(u)) * self.to_modes(v))

    def apply(
        self, function: Callable[[Array], Array] | Callable[[Array], np.ndarray], v: Array
    ) -> Array:
        """f(A)v along the last axis of v: (…, n), or (times, …, n) for a function with several values.

        Args:
            function: From eigenvalues (levels,) to (levels,), or to (times, levels) for many functions at once.
            v: (…, n), real or complex.
        """
        modes = self.to_modes(v)
        values = self.on_modes(jnp.asarray(function(self.levels()[0])))
        if values.ndim > 1:
            values = values.reshape(*values.shape[:-1], *([1] * (modes.ndim - 1)), values.shape[-1])
        return self.from_modes(values * modes)


class BasisModes(Eigendecomposition):
    """Modes of a whole product basis, seen on the configurations ``rows`` of it."""

    rows: eqx.AbstractVar[BasisIndex]

    @abc.abstractmethod
    def is_common_with(self, other: "BasisModes") -> bool:
        """Whether these modes are those of another operator, level for level."""

    @abc.abstractmethod
    def diagonal_of(self, values: Array) -> Array:
        """The diagonal of U diag(values) Uᵀ on the rows: (…, levels) -> (…, n)."""

    @abc.abstractmethod
    def matrix_of(self, values: Array) -> Array:
        """U diag(values) Uᵀ on the rows: (levels,) -> (n, n)."""


class StoredModes(Eigendecomposition):
    """Eigenvalues and eigenvectors as arrays."""

    values: Array
    vectors: Array

    @property
    def eigenvalues(self) -> Array:
        """Ascending, (n,)."""
        return self.values

    def levels(self) -> tuple[Array, Array]:
        """The eigenvalues, each once."""
        return self.values, jnp.ones_like(self.values)

    def to_modes(self, v: Array) -> Array:
        """Uᵀv."""
        return v @ self.vectors

    def from_modes(self, c: Array) -> Array:
        """U c."""
        return c @ self.vectors.T

    def by_level(self, values: Array) -> Array:
        """Each mode is a level."""
        return values

    def on_modes(self, values: Array) -> Array:
        """Each level is a mode."""
        return values


class ParityModes(BasisModes):
    """Functions of the Hamming distance on the whole basis: the modes are the parities of subsets of spins.

    The mode of subset S is number S, its bits the spins; its eigenvalue is that of its weight |S|.
    """

    level_values: Array
    rows: BasisIndex

    @property
    def eigenvalues(self) -> Array:
        """(2^d,)."""
        return self.on_modes(self.level_values)

    def levels(self) -> tuple[Array, Array]:
        """λ_w and C(d, w) for w = 0, …, d."""
        return self.level_values, jnp.asarray(multiplicities(self.level_values.shape[0] - 1))

    def to_modes(self, v: Array) -> Array:
        """Normalised parities of v."""
        return _real(walsh_hadamard, self.rows.scatter(v)) / self.rows.size**0.5

    def from_modes(self, c: Array) -> Array:
        """Their superposition."""
        return self.rows.gather(_real(walsh_hadamard, c)) / self.rows.size**0.5

    def by_level(self, values: Array) -> Array:
        """Sums over the parities of w spins: (…, d + 1)."""
        d = self.level_values.shape[0] - 1
        flat = values.reshape(-1, values.shape[-1])
        sums = jnp.zeros((flat.shape[0], d + 1), flat.dtype).at[:, parity_weights(d)].add(flat)
        return sums.reshape(*values.shape[:-1], d + 1)

    def on_modes(self, values: Array) -> Array:
        """Of parity S the number of level |S|."""
        return values[..., parity_weights(self.level_values.shape[0] - 1)]

    def is_common_with(self, other: BasisModes) -> bool:
        """Parities of as many spins, on the same rows."""
        return isinstance(other, ParityModes) and self.rows.is_same_as(other.rows)

    def diagonal_of(self, values: Array) -> Array:
        """The same for every configuration: parities are ±1."""
        counts = self.levels()[1]
        mean = values @ counts / self.rows.size
        return jnp.broadcast_to(mean[..., None], (*mean.shape, len(self.rows)))

    def matrix_of(self, values: Array) -> Array:
        """A function of the Hamming distance."""
        index = self.rows.positions.astype(jnp.uint32)
        distance = jax.lax.population_count(index[:, None] ^ index[None, :])
        return jnp.asarray(hamming_values(values))[distance.astype(jnp.int32)]


class ProductModes(BasisModes):
    """Kronecker products on the whole basis: the modes are products of one-site modes."""

    factor_values: tuple[Array, ...]
    factor_vectors: tuple[Array, ...]
    rows: BasisIndex

    @property
    def eigenvalues(self) -> Array:
        """(q₁ q₂ …,)."""
        return reduce(lambda a, b: (a[:, None] * b).ravel(), self.factor_values)

    def levels(self) -> tuple[Array, Array]:
        """The eigenvalues, each once."""
        values = self.eigenvalues
        return values, jnp.ones_like(values)

    def to_modes(self, v: Array) -> Array:
        """Uᵀv, factor by factor."""
        matrices = [u.T for u in self.factor_vectors]
        return _real(lambda x: apply_factors(matrices, x), self.rows.scatter(v))

    def from_modes(self, c: Array) -> Array:
        """U c, factor by factor."""
        return self.rows.gather(_real(lambda x: apply_factors(self.factor_vectors, x), c))

    def by_level(self, values: Array) -> Array:
        """Each mode is a level."""
        return values

    def on_modes(self, values: Array) -> Array:
        """Each level is a mode."""
        return values

    def is_common_with(self, other: BasisModes) -> bool:
        """The same one-site modes up to rounding and signs, on the same rows."""
        if not isinstance(other, ProductModes) or not self.rows.is_same_as(other.rows):
            return False
        pairs = zip(self.factor_vectors, other.factor_vectors, strict=False)
        return len(self.factor_vectors) == len(other.factor_vectors) and all(
            a.shape == b.shape and bool(jnp.allclose(jnp.abs(a.T @ b), jnp.eye(len(a)), atol=1e-12))
            for a, b in pairs
        )

    def diagonal_of(self, values: Array) -> Array:
        """Squares of the modes, factor by factor."""
        return self.rows.gather(apply_factors([u**2 for u in self.factor_vectors], values))

    def matrix_of(self, values: Array) -> Array:
        """By transforms of the configurations' unit vectors."""
        return self.from_modes(values * self.to_modes(jnp.eye(len(self.rows))))


def parity_weights(d: int) -> Array:
    """|S| for S = 0, …, 2^d - 1."""
    return jax.lax.population_count(jnp.arange(2**d, dtype=jnp.uint32)).astype(jnp.int32)


def _real(transform: Callable[[Array], Array], v: Array) -> Array:
    """A real linear map on a real or complex array."""
    if not jnp.iscomplexobj(v):
        return transform(v)
    parts = transform(jnp.stack([v.real, v.imag]))
    return parts[0] + 1j * parts[1]

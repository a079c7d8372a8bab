"""Exact eigendecompositions, stored or implicit, behind one interface."""

import abc
from collections.abc import Callable
from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.hamming import multiplicities
from netket_qsntk.operators.basis import BasisIndex
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
    def level_weights(self, v: Array) -> Array:
        """Σ |Uᵀv|² over the modes of each level, (…, levels): all that ‖f(A)v‖ needs, for any f."""

    def apply(self, function: Callable[[Array], Array], v: Array) -> Array:
        """f(A)v along the last axis of v: (…, n), or (times, …, n) for a function with several values.

        Args:
            function: From eigenvalues (levels,) to (levels,), or to (times, levels) for many functions at once.
            v: (…, n), real or complex.
        """
        modes = self.to_modes(v)
        values = self._on_modes(function(self.levels()[0]))
        if values.ndim > 1:
            values = values.reshape(*values.shape[:-1], *([1] * (modes.ndim - 1)), values.shape[-1])
        return self.from_modes(values * modes)

    @abc.abstractmethod
    def _on_modes(self, values: Array) -> Array:
        """Values on levels (…, levels) as values on modes (…, n)."""


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

    def level_weights(self, v: Array) -> Array:
        """|Uᵀv|²."""
        return jnp.abs(self.to_modes(v)) ** 2

    def _on_modes(self, values: Array) -> Array:
        return values


class ParityModes(Eigendecomposition):
    """Functions of the Hamming distance on the whole basis: the modes are the parities of subsets of spins.

    The mode of subset S is number S, its bits the spins; its eigenvalue is that of its weight |S|.
    """

    level_values: Array
    rows: BasisIndex

    @property
    def eigenvalues(self) -> Array:
        """(2^d,)."""
        return self._on_modes(self.level_values)

    def levels(self) -> tuple[Array, Array]:
        """λ_w and C(d, w) for w = 0, …, d."""
        return self.level_values, jnp.asarray(multiplicities(self.level_values.shape[0] - 1))

    def to_modes(self, v: Array) -> Array:
        """Normalised parities of v."""
        return _real(walsh_hadamard, self.rows.scatter(v)) / self.rows.size**0.5

    def from_modes(self, c: Array) -> Array:
        """Their superposition."""
        return self.rows.gather(_real(walsh_hadamard, c)) / self.rows.size**0.5

    def level_weights(self, v: Array) -> Array:
        """The weight of v on parities of w spins, (…, d + 1)."""
        weights = jnp.abs(self.to_modes(v)) ** 2
        d = self.level_values.shape[0] - 1
        flat = weights.reshape(-1, weights.shape[-1])
        sums = jnp.zeros((flat.shape[0], d + 1), flat.dtype).at[:, parity_weights(d)].add(flat)
        return sums.reshape(*weights.shape[:-1], d + 1)

    def _on_modes(self, values: Array) -> Array:
        return values[..., parity_weights(self.level_values.shape[0] - 1)]


class ProductModes(Eigendecomposition):
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

    def level_weights(self, v: Array) -> Array:
        """|Uᵀv|²."""
        return jnp.abs(self.to_modes(v)) ** 2

    def _on_modes(self, values: Array) -> Array:
        return values


def parity_weights(d: int) -> Array:
    """|S| for S = 0, …, 2^d - 1."""
    return jax.lax.population_count(jnp.arange(2**d, dtype=jnp.uint32)).astype(jnp.int32)


def _real(transform: Callable[[Array], Array], v: Array) -> Array:
    """A real linear map on a real or complex array."""
    if not jnp.iscomplexobj(v):
        return transform(v)
    parts = transform(jnp.stack([v.real, v.imag]))
    return parts[0] + 1j * parts[1]

r"""Gaussian ensembles of wave functions, by the structure of their covariance.

A zero-mean Gaussian ψ is known from Γ(x, y) = E[ψ(x) ψ*(y)] and C(x, y) = E[ψ(x) ψ(y)], its
*relation*. It is *proper* (circular) when C = 0. For independent real and imaginary parts with
covariances K₁ and K₂, Γ = K₁ + K₂ and C = K₁ - K₂; so equal parts are proper with Γ = 2K, and a
real ψ has Γ = C = K₁.
"""

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk._units import human_bytes
from netket_qsntk.entanglement.covariances import ROUNDING, hermitian, parts_of
from netket_qsntk.entanglement.product_ensemble import ProductEnsemble, ProductKernel
from netket_qsntk.errors import EnsembleError, SystemTooLargeError

__all__ = [
    "DenseEnsemble",
    "GaussianEnsemble",
    "HammingEnsemble",
    "ProductEnsemble",
    "ProductKernel",
]


class HammingEnsemble:
    """Gaussian ensemble of functions of the Hamming distance on ±1 spins (every WideMLP).

    Args:
        covariance: Γ at the distances 0, …, d: d + 1 real numbers.
        relation: C likewise; None means proper.

    Example:
        >>> HammingEnsemble.from_parts([1.0, 0.5, 0.25], None).n_sites
        2
    """

    covariance: np.ndarray
    relation: np.ndarray | None = None

    def __init__(self, covariance: ArrayLike, relation: ArrayLike | None = None):
        if any(np.iscomplexobj(np.asarray(k)) for k in (covariance, relation)):
            raise EnsembleError(
                "A function of the Hamming distance is the same both ways, and so real: HammingEnsemble got complex "
                "numbers. A covariance with a phase is a DenseEnsemble(covariance, hilbert)."
            )
        gamma = np.asarray(covariance, dtype=np.float64)
        if gamma.ndim != 1 or gamma.size < 3 or not np.all(np.isfinite(gamma)) or gamma[0] <= 0:
            raise EnsembleError(
                f"HammingEnsemble got an array of shape {gamma.shape}; expected the d + 1 finite "
                "values Γ(0), …, Γ(d) for d >= 2 spins, with Γ(0) > 0."
            )
        c = None if relation is None else np.asarray(relation, dtype=np.float64)
        if c is not None and c.shape != gamma.shape:
            raise EnsembleError(
                f"covariance has shape {gamma.shape} and relation {c.shape}; expected the same."
            )
        self.covariance = gamma
        self.relation = c if c is not None and np.any(c) else None

    @classmethod
    def from_parts(cls, real: ArrayLike, imag: ArrayLike | None = None) -> "HammingEnsemble":
        """Independent parts with these covariances; ``imag=None`` is a real wave function."""
        k1, k2 = parts_of(real, imag)
        return cls(k1 + k2, k1 - k2)

    def __repr__(self) -> str:
        kind = "proper" if self.is_proper else "improper"
        return f"HammingEnsemble({kind}, {self.n_sites} sites, function of the Hamming distance)"

    @property
    def is_proper(self) -> bool:
        """True when E ψψ = 0."""
        return self.relation is None

    @property
    def kernels(self) -> tuple[np.ndarray, ...]:
        """(Γ,) of a proper ensemble, (K₁, K₂) of another."""
        if self.relation is None:
            return (self.covariance,)
        return ((self.covariance + self.relation) / 2, (self.covariance - self.relation) / 2)

    @property
    def n_sites(self) -> int:
        """Number of spins."""
        return len(self.covariance) - 1


class DenseEnsemble:
    """Gaussian ensemble given by whole matrices, on any Hilbert space that can be listed.

    Args:
        covariance: Γ, (n_states, n_states) Hermitian, in the order of ``hilbert.all_states()``.
        hilbert: NetKet's space of the wave functions, constrained or not.
        relation: C, (n_states, n_states) symmetric; None means proper.

    Example:
        >>> import netket as nk
        >>> DenseEnsemble(np.eye(6), nk.hilbert.Spin(0.5, 4, total_sz=0)).n_sites
        4
    """

    covariance: np.ndarray
    hilbert: DiscreteHilbert
    relation: np.ndarray | None = None

    def __init__(
        self,
        covariance: ArrayLike,
        hilbert: DiscreteHilbert,
        relation: ArrayLike | None = None,
    ):
        gamma = hermitian(covariance, "the covariance")
        if not hilbert.is_indexable:
            raise SystemTooLargeError(
                f"{hilbert} has too many basis states for a covariance matrix. annealed_renyi and "
                "normalized_purity take kernels with structure at any number of sites: a "
                "ProductEnsemble (CosNet, GaussNet) or a HammingEnsemble (WideMLP on spins)."
            )
        if gamma.shape[0] != hilbert.n_states:
            raise EnsembleError(
                f"the covariance has shape {gamma.shape}; {hilbert} has {hilbert.n_states} basis "
                "states."
            )
        c = None if relation is None else np.asarray(relation)
        if c is not None and (
            c.shape != gamma.shape or np.max(np.abs(c - c.T)) > ROUNDING * np.max(np.abs(gamma))
        ):
            raise EnsembleError(
                f"the relation has shape {c.shape}; expected a symmetric matrix of shape "
                f"{gamma.shape}."
            )
        self.covariance = gamma
        self.hilbert = hilbert
        self.relation = c if c is not None and np.any(c) else None

    @classmethod
    def from_parts(
        cls, real: ArrayLike, imag: ArrayLike | None, hilbert: DiscreteHilbert
    ) -> "DenseEnsemble":
        """Independent parts with these covariances; ``imag=None`` is a real wave function."""
        k1, k2 = parts_of(real, imag)
        return cls(k1 + k2, hilbert, k1 - k2)

    def __repr__(self) -> str:
        kind = "proper" if self.is_proper else "improper"
        memory = human_bytes(self.covariance.nbytes)
        return (
            f"DenseEnsemble({kind}, {self.hilbert}, {len(self.covariance)} states, memory={memory})"
        )

    @property
    def is_proper(self) -> bool:
        """True when E ψψ = 0."""
        return self.relation is None

    @property
    def n_sites(self) -> int:
        """Number of sites (modes, for fermions)."""
        return self.hilbert.size


GaussianEnsemble = ProductEnsemble | HammingEnsemble | DenseEnsemble

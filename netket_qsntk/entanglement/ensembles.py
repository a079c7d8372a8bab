r"""Gaussian ensembles of wave functions, by the structure of their covariance.

A zero-mean Gaussian ψ is known from Γ(x, y) = E[ψ(x) ψ*(y)] and C(x, y) = E[ψ(x) ψ(y)], its
*relation*. It is *proper* (circular) when C = 0. For independent real and imaginary parts with
covariances K₁ and K₂, Γ = K₁ + K₂ and C = K₁ - K₂; so equal parts are proper with Γ = 2K, and a
real ψ has Γ = C = K₁.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import EnsembleError, SystemTooLargeError

_ROUNDING = 1e-10


def _hermitian(matrix: ArrayLike, what: str) -> np.ndarray:
    m = np.asarray(matrix)
    # Without a copy where none is needed: equal sites are recognised by being one array.
    m = m.astype(np.complex128 if np.iscomplexobj(m) else np.float64, copy=False)
    if m.ndim != 2 or m.shape[0] != m.shape[1]:
        raise EnsembleError(f"{what} has shape {m.shape}; expected a square matrix.")
    size = np.max(np.abs(m), initial=0.0)
    if not (np.isfinite(size) and size > 0):
        raise EnsembleError(f"{what} has entries that are not finite, or is zero.")
    if np.max(np.abs(m - m.conj().T)) > _ROUNDING * size:
        raise EnsembleError(f"{what} is not Hermitian: it is not the covariance of anything.")
    return m


def check_positive(eigenvalues: np.ndarray, what: str) -> np.ndarray:
    """Eigenvalues without rounding below zero; :class:`EnsembleError` where it is no rounding."""
    top = np.max(eigenvalues)
    if np.min(eigenvalues) < -_ROUNDING * top:
        raise EnsembleError(
            f"{what} has a negative eigenvalue, {np.min(eigenvalues):.3e} (largest: {top:.3e}): "
            "it is not the covariance of anything."
        )
    return np.maximum(eigenvalues, 0.0)


class ProductKernel:
    """A Kronecker product over sites, scale · κ₁ ⊗ κ₂ ⊗ … (CosNet and GaussNet at infinite width).

    Args:
        sites: One Hermitian positive matrix for each site, rows in the order of the hilbert space's
            ``local_states``; or one matrix for all, with ``n_sites``.
        n_sites: Number of sites, when ``sites`` is one matrix.
        scale: Prefactor, > 0.

    Example:
        >>> import numpy as np
        >>> ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=200).n_sites
        200
    """

    sites: tuple[np.ndarray, ...]
    n_sites: int
    scale: float = 1.0

    def __init__(
        self,
        sites: ArrayLike | Sequence[ArrayLike],
        n_sites: int | None = None,
        *,
        scale: float = 1.0,
    ):
        if n_sites is not None:
            matrix = _hermitian(sites, "the one-site matrix")  # type: ignore[arg-type]
            matrices = (matrix,) * n_sites
        else:
            if np.ndim(sites[0]) != 2:  # type: ignore[index]
                raise EnsembleError(
                    "ProductKernel got one matrix and no number of sites; call "
                    "ProductKernel(matrix, n_sites=12)."
                )
            matrices = tuple(
                _hermitian(site, f"site {i}")
                for i, site in enumerate(sites)  # type: ignore[arg-type]
            )
        if not 0 < scale < np.inf:
            raise EnsembleError(f"scale={scale!r}: expected a finite number > 0.")
        self.sites = matrices
        self.n_sites = len(matrices)
        self.scale = float(scale)
        for kappa, _ in self.distinct(range(self.n_sites)):
            check_positive(np.linalg.eigvalsh(kappa), "a one-site matrix")

    def distinct(self, sites: Iterable[int]) -> list[tuple[np.ndarray, int]]:
        """The different matrices on these sites and how many sites have each."""
        matrices = {id(kappa): kappa for kappa in self.sites}
        counts = Counter(id(self.sites[i]) for i in sites)
        return [(matrices[key], count) for key, count in counts.items()]

    def __repr__(self) -> str:
        kinds = len(self.distinct(range(self.n_sites)))
        largest = max(len(kappa) for kappa in self.sites)
        return (
            f"ProductKernel({self.n_sites} sites, {kinds} different, local dimension {largest}, "
            f"scale={self.scale:.6g})"
        )

    @property
    def log_trace(self) -> float:
        """log Tr of the whole product."""
        factors = self.distinct(range(self.n_sites))
        return math.log(self.scale) + sum(n * math.log(np.trace(m).real) for m, n in factors)


@dataclass(frozen=True, eq=False)
class ProductEnsemble:
    """Gaussian ensemble whose covariances are Kronecker products over sites.

    ``ProductEnsemble(gamma)`` is proper with E ψψ* = ``gamma``; :meth:`from_parts` takes the
    covariances of the real and the imaginary part.

    Example:
        >>> kappa = ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=6)
        >>> ProductEnsemble.from_parts(kappa, kappa).is_proper
        True
        >>> ProductEnsemble.from_parts(kappa).is_proper  # a real wave function
        False
    """

    covariance: ProductKernel | None
    parts: tuple[ProductKernel, ...] = field(default=())

    @classmethod
    def from_parts(
        cls, real: ProductKernel, imag: ProductKernel | None = None
    ) -> "ProductEnsemble":
        """Independent parts with these covariances; ``imag=None`` is a real wave function."""
        parts = (real,) if imag is None else (real, imag)
        if any(np.iscomplexobj(kappa) for part in parts for kappa in part.sites):
            raise EnsembleError("The covariances of real and imaginary parts are real matrices.")
        if imag is None:
            return cls(None, parts)
        shapes = [[kappa.shape for kappa in part.sites] for part in parts]
        if shapes[0] != shapes[1]:
            raise EnsembleError(
                "The two parts have different numbers of sites or local dimensions."
            )
        if real.scale == imag.scale and all(
            a is b or np.array_equal(a, b) for a, b in zip(real.sites, imag.sites, strict=True)
        ):
            return cls(ProductKernel(real.sites, scale=2 * real.scale))
        return cls(None, parts)

    def __repr__(self) -> str:
        kind = "proper" if self.is_proper else "improper"
        return f"ProductEnsemble({kind}, {', '.join(map(repr, self.kernels))})"

    @property
    def is_proper(self) -> bool:
        """True when E ψψ = 0."""
        return self.covariance is not None

    @property
    def kernels(self) -> tuple[ProductKernel, ...]:
        """(Γ,) of a proper ensemble, the covariances of the parts of another."""
        return self.parts if self.covariance is None else (self.covariance,)

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return self.kernels[0].n_sites


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
        k1 = np.asarray(real, dtype=np.float64)
        k2 = np.zeros_like(k1) if imag is None else np.asarray(imag, dtype=np.float64)
        if k1.shape != k2.shape:
            raise EnsembleError(
                f"real has shape {k1.shape} and imag {k2.shape}; expected the same."
            )
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
        gamma = _hermitian(covariance, "the covariance")
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
            c.shape != gamma.shape or np.max(np.abs(c - c.T)) > _ROUNDING * np.max(np.abs(gamma))
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
        k1 = np.asarray(real, dtype=np.float64)
        k2 = np.zeros_like(k1) if imag is None else np.asarray(imag, dtype=np.float64)
        if k1.shape != k2.shape:
            raise EnsembleError(
                f"real has shape {k1.shape} and imag {k2.shape}; expected the same."
            )
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

"""Gaussian ensembles whose covariances are Kronecker products over sites."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.entanglement.covariances import check_positive, hermitian
from netket_qsntk.errors import EnsembleError


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
            matrix = hermitian(sites, "the one-site matrix")  # type: ignore[arg-type]
            matrices = (matrix,) * n_sites
        else:
            if np.ndim(sites[0]) != 2:  # type: ignore[index]
                raise EnsembleError(
                    "ProductKernel got one matrix and no number of sites; call "
                    "ProductKernel(matrix, n_sites=12)."
                )
            matrices = tuple(
                hermitian(site, f"site {i}")
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
            raise EnsembleError(
                "The covariances of real and imaginary parts are real matrices, got complex ones. A complex "
                "covariance E ψψ* goes in as it is: ProductEnsemble(covariance)."
            )
        if imag is None:
            return cls(None, parts)
        shapes = [[kappa.shape for kappa in part.sites] for part in parts]
        if shapes[0] != shapes[1]:
            raise EnsembleError(
                f"The two parts have different numbers of sites or local dimensions: {shapes[0]} and {shapes[1]}."
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

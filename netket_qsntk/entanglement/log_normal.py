r"""Log-normal ensembles of wave functions: log ψ = r + f with a Gaussian f.

Networks that output log ψ are e^f of the Gaussian process that networks of ψ are. With
Γ(x, y) = E[f(x) f*(y)] and C(x, y) = E[f(x) f(y)] every moment of ψ = e^f is the exponential of a sum of two-point
functions,

.. math:: E \prod_k \psi(x_k)\,\psi^*(y_k) = \exp \sum_{kl} \Big[\Gamma(x_k, y_l)
    + \tfrac12 C(x_k, x_l) + \tfrac12 C^*(y_k, y_l)\Big] ,

where independent parts of covariances K₁ and K₂ have Γ = K₁ + K₂ and C = K₁ - K₂.
"""

from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.errors import EnsembleError


@dataclass(frozen=True, eq=False)
class LogNormalEnsemble:
    r"""Wave functions ψ = e^{r + f}, f drawn from a Gaussian ensemble and r fixed.

    Args:
        fields: The Gaussian ensemble of f = f₁ + i f₂ in its cheapest structure. f₁ is the logarithm of the modulus,
            f₂ the phase; equal parts make ``fields`` proper.
        reference: r(x) on the whole basis, (n_states,), real or complex; None means zero. It needs a
            :class:`DenseEnsemble`.

    Raises:
        EnsembleError: A product kernel with entries that are not positive numbers; a reference of the wrong length,
            or beside a structure that it breaks.

    Example:
        >>> phase = 0.3 * 0.5 ** np.arange(201.0)
        >>> ensemble = LogNormalEnsemble(HammingEnsemble.from_parts(phase, phase))
        >>> from netket_qsntk.entanglement import annealed_renyi
        >>> round(annealed_renyi(ensemble, range(100), 2), 6)
        1.2
    """

    fields: GaussianEnsemble
    reference: np.ndarray | None = None

    def __post_init__(self) -> None:
        if isinstance(self.fields, ProductEnsemble) and any(
            np.iscomplexobj(kappa) or not np.all(kappa > 0)
            for kernel in self.fields.kernels
            for kappa in kernel.sites
        ):
            raise EnsembleError(
                "The one-site matrices of a log-normal product ensemble are positive numbers, as they are for CosNet "
                "and GaussNet; give any other covariance as a DenseEnsemble."
            )
        if self.reference is None:
            return
        if not isinstance(self.fields, DenseEnsemble):
            raise EnsembleError(
                f"A reference breaks the structure of a {type(self.fields).__name__}; give the covariance as a "
                "DenseEnsemble, as ensemble(model, hilbert) does."
            )
        r = np.asarray(self.reference)
        states = len(self.fields.covariance)
        if r.shape != (states,) or np.any(np.isnan(r) | (r.real == np.inf)):
            raise EnsembleError(
                f"the reference has shape {r.shape}; expected log ψ on the {states} basis states, without nan."
            )
        object.__setattr__(self, "reference", r)

    @classmethod
    def hamming(cls, log_modulus: ArrayLike, phase: ArrayLike | None = None) -> "LogNormalEnsemble":
        """From the covariances K₁(0), …, K₁(d) of f₁ and K₂ of f₂ (None: real, positive ψ).

        Example:
            >>> LogNormalEnsemble.hamming([0.2, 0.1, 0.0], [1.0, 0.5, 0.3]).n_sites
            2
        """
        return cls(HammingEnsemble.from_parts(log_modulus, phase))

    @classmethod
    def product(
        cls, log_modulus: ProductKernel, phase: ProductKernel | None = None
    ) -> "LogNormalEnsemble":
        """From Kronecker products K₁ and K₂ (None: real, positive ψ)."""
        return cls(ProductEnsemble.from_parts(log_modulus, phase))

    @classmethod
    def dense(
        cls,
        log_modulus: ArrayLike,
        phase: ArrayLike | None,
        hilbert: DiscreteHilbert,
        *,
        reference: np.ndarray | None = None,
    ) -> "LogNormalEnsemble":
        """From matrices K₁ and K₂ (None: real, positive ψ) over the basis of any space."""
        return cls(DenseEnsemble.from_parts(log_modulus, phase, hilbert), reference)

    @property
    def n_sites(self) -> int:
        """Number of sites (modes, for fermions)."""
        return self.fields.n_sites

    @property
    def has_fixed_modulus(self) -> bool:
        """Whether |ψ| is one function for all networks but for a common factor: Cov f₁ is constant."""
        fields = self.fields
        if isinstance(fields, ProductEnsemble):
            return all(np.ptp(kappa) == 0 for kappa in fields.kernels[0].sites)
        if isinstance(fields, DenseEnsemble):
            relation = 0.0 if fields.relation is None else fields.relation.real
            k = (fields.covariance.real + relation) / 2
        else:
            k = fields.kernels[0]
        # What f₁ varies by less than the rounding of the whole covariance is no variation.
        return bool(np.ptp(k) <= 1e-14 * np.max(np.abs(fields.covariance)))

    def __repr__(self) -> str:
        reference = "" if self.reference is None else ", with a reference"
        return f"LogNormalEnsemble(log ψ = {self.fields!r}{reference})"

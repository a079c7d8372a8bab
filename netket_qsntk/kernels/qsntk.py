r"""The quantum-state NTK: real blocks and the complex kernels made of them (arXiv:2112.00723, Eqs. 6-12)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import InvalidConfigurationsError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class QSNTK:
    r"""The quantum-state neural tangent kernel between configurations x (n) and y (m).

    Held as the three real kernels of the parts of ψ = ψ₁ + iψ₂, each (n, m):
    :math:`\Theta_{ab}(x, y) = \sum_i \partial_i\psi_a(x)\,\partial_i\psi_b(y)`, complex parameters counted
    as two real ones. For x ≠ y the block Θ₂₁(x, y) is another array; ``theta_21=None`` stands for Θ₁₂ᵀ, its
    value when x and y are the same.

    Attributes:
        theta_11: Θ₁₁ (n, m).
        theta_22: Θ₂₂ (n, m).
        theta_12: Θ₁₂ (n, m), the mixing kernel.
        theta_21: Θ₂₁ (n, m), or None.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> one = jnp.eye(2)
        >>> k = qs.kernels.QSNTK(theta_11=one, theta_22=one, theta_12=0 * one)
        >>> k.omega.shape, k.is_decoupled()
        ((4, 4), True)
    """

    theta_11: Array
    theta_22: Array
    theta_12: Array
    theta_21: Array | None = None

    @property
    def _theta_21(self) -> Array:
        if self.theta_21 is not None:
            return self.theta_21
        n, m = self.theta_12.shape
        if n != m:
            raise InvalidConfigurationsError(
                f"QSNTK of blocks ({n}, {m}) without theta_21: only for y = x is it the transpose of "
                "theta_12; give QSNTK(..., theta_21=...)."
            )
        return self.theta_12.T

    @property
    def theta(self) -> Array:
        """Θ = Θ₁₁ - Θ₂₂ + i(Θ₁₂ + Θ₂₁): (n, m) complex, symmetric for x = y (Eq. 7, S10)."""
        return self.theta_11 - self.theta_22 + 1j * (self.theta_12 + self._theta_21)

    @property
    def phi(self) -> Array:
        """Φ = Θ₁₁ + Θ₂₂ - i(Θ₁₂ - Θ₂₁): (n, m) complex, Hermitian for x = y (Eq. 7, S11)."""
        return self.theta_11 + self.theta_22 - 1j * (self.theta_12 - self._theta_21)

    @property
    def omega(self) -> Array:
        """Ω = [[Θ, Φ], [Φ*, Θ*]]: (2n, 2m) complex, acting on (∂L/∂ψ, ∂L/∂ψ*) (Eq. 8)."""
        theta, phi = self.theta, self.phi
        return jnp.block([[theta, phi], [phi.conj(), theta.conj()]])

    @property
    def omega_ri(self) -> Array:
        """Ω_RI = [[Θ₁₁, Θ₁₂], [Θ₂₁, Θ₂₂]]: (2n, 2m) real, acting on (∂L/∂ψ₁, ∂L/∂ψ₂) (S6)."""
        return jnp.block([[self.theta_11, self.theta_12], [self._theta_21, self.theta_22]])

    @staticmethod
    def rotation(n: int) -> Array:
        """R = [[1, i], [1, -i]] ⊗ 1: (2n, 2n) complex, from (∂ψ₁, ∂ψ₂) to (∂ψ, ∂ψ*); Ω = R Ω_RI Rᵀ (S5-S6)."""
        return jnp.kron(jnp.array([[1, 1j], [1, -1j]]), jnp.eye(n))

    def is_decoupled(self, tol: float = 1e-10) -> bool:
        """Whether max|Θ₁₂| <= tol · max(|Θ₁₁|, |Θ₂₂|): the parts then train independently."""
        scale = max(_largest(self.theta_11), _largest(self.theta_22))
        mixing = max(_largest(self.theta_12), _largest(self._theta_21))
        return mixing <= tol * scale

    def __repr__(self) -> str:
        try:
            shape = self.theta_11.shape
        except (
            AttributeError
        ):  # a tree that JAX rebuilt with something else in the place of its arrays
            shape = None
        if shape is None or isinstance(self.theta_12, jax.core.Tracer):
            return f"QSNTK(theta_11={self.theta_11!r})"
        held = human_bytes(sum(leaf.nbytes for leaf in jax.tree.leaves(self)))
        return (
            f"QSNTK(configurations={tuple(shape)}, decoupled={self.is_decoupled()}, memory={held})"
        )


def _largest(block: object) -> float:
    # Blocks in rows on many devices are pytrees of their rows.
    return max(float(jnp.max(jnp.abs(leaf), initial=0.0)) for leaf in jax.tree.leaves(block))


def each_part(ntk: Array, n_parts: int) -> Array:
    """Θ of ψ₁ as of ψ₂ after a projection with a complex character: both share the kernel of one real network."""
    return ntk if n_parts == 2 else ntk / 2

"""The one way in which functions are drawn from a covariance."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.decomposition import Eigendecomposition

# Without structure the NNGP kernel of up to this many configurations is diagonalised to draw from it.
_LARGEST_STORED = 2**13


def draw(modes: Eigendecomposition, noise: ArrayLike) -> Array:
    r"""White noise times a square root of a covariance: U √λ ξ in its eigenbasis.

    Parities cost one Walsh-Hadamard transform, products over sites a small matrix a site, stored eigenvectors a
    product with a matrix; see :mod:`netket_qsntk.operators.decomposition`.

    Args:
        modes: The eigendecomposition of the covariance; eigenvalues that rounding made negative count as zero.
        noise: (…, modes), independent of mean zero and variance one, real or complex.

    Returns:
        (…, configurations), of covariance U λ Uᵀ.

    Example:
        >>> import jax, netket_qsntk as qs
        >>> modes = qs.operators.Hypercube([1.0, 0.5, 0.25]).eigh()
        >>> draw(modes, jax.random.normal(jax.random.key(0), (1000, 4))).shape
        (1000, 4)
    """
    return modes.from_modes(jnp.sqrt(jnp.maximum(modes.eigenvalues, 0.0)) * jnp.asarray(noise))


def initial_modes(nngp: KernelOperator, *, largest: int = _LARGEST_STORED) -> Eigendecomposition:
    """Modes whose superpositions with coefficients of variance λ are functions of this covariance.

    Args:
        nngp: The covariance as an operator.
        largest: Number of configurations up to which a matrix without structure is diagonalised.

    Raises:
        SystemTooLargeError: It has no structure on its configurations, and there are too many to diagonalise it.
    """
    modes = nngp.basis_modes()
    if modes is not None:
        return modes
    if nngp.has_cheap_spectrum or nngp.shape[0] <= largest:
        return nngp.eigh()
    raise SystemTooLargeError(
        f"Initial functions are drawn on all {nngp.shape[0]} configurations, and {nngp!r} has no spectrum to draw "
        "them with. Use configurations of ±1 (any batch of them), or CosNet or GaussNet on any local dimension."
    )

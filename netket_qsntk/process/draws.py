"""The one way in which functions are drawn from a covariance."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.operators.decomposition import Eigendecomposition


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

"""Wave functions drawn from an infinite ensemble after training: from its moments, or trained one by one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from netket.hilbert import DiscreteHilbert

from netket_qsntk.alert import once
from netket_qsntk.dynamics import LinearDynamics
from netket_qsntk.progress import track


def root_of(covariance: Array) -> Array:
    """A matrix R with R Rᵀ = ``covariance`` (n, n); eigenvalues that rounding made negative count as zero."""
    values, vectors = np.linalg.eigh(np.asarray(covariance))
    return jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def around(mean: Array, root: Array, n_members: int, key: Array, *, n_parts: int) -> Array:
    """Gaussian wave functions (n_members, n) about their mean, each part with covariance R Rᵀ.

    Example:
        >>> around(jnp.zeros(4), jnp.eye(4), 3, jax.random.key(0), n_parts=2).shape
        (3, 4)
    """
    parts = jax.random.normal(key, (n_parts, n_members, len(root))) @ root.T
    if n_parts == 1:
        return jnp.real(mean) + parts[0]
    return mean + jax.lax.complex(parts[0], parts[1])


def trained_by_products(
    dynamics: LinearDynamics, steps: float, initial: Array, hilbert: DiscreteHilbert
) -> Array:
    """Initial functions on the whole basis (n_members, n_states) after so many steps, trained one by one."""
    x = hilbert.all_states()
    train = hilbert.states_to_numbers(dynamics.train.states)
    counted = track(initial, "training", show=dynamics.show_progress, unit="draw")
    with once():
        psi = jnp.stack([dynamics.trained(steps, x, f[train], f) for f in counted])
    return psi if dynamics.kernel.n_parts == 2 else psi.real

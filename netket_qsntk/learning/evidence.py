"""The marginal likelihood of a training set under the initial networks, averaged over training sets."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.learning.coherent import Clusters, log_determinant, solve
from netket_qsntk.learning.curve import clusters, effective_ridge, effective_sizes, is_paired
from netket_qsntk.learning.levels import Levels, check_levels
from netket_qsntk.learning.requests import check_power, check_ridge, check_sizes

__all__ = ["log_evidence"]


def log_evidence(
    levels: Levels,
    power: ArrayLike,
    n_train: ArrayLike,
    *,
    ridge: float | Array = 0.0,
    scale: Literal["fixed", "best"] = "fixed",
) -> Array:
    r"""Average of log p(ψ_B), the density of n amplitudes under the Gaussian process of the initial networks.

    .. math:: \log p = -\tfrac12 \psi_B^\dagger (K_{BB} + \delta)^{-1} \psi_B
        - \tfrac{1}{2} n_{parts} \left[\log\det(K_{BB} + \delta) + n \log 2\pi\right]

    Averaged over training sets the first term is Σ_w N P_w/(λ_w + κ), and log det is the functional whose stationary
    point the coherent potential κ is (:mod:`netket_qsntk.learning.coherent`). The architecture, the σ or the ridge
    that make it largest are the most plausible ones (type-II maximum likelihood), for any number of sites.

    Args:
        levels: From :func:`netket_qsntk.learning.levels`; the NNGP's are used.
        power: P_w of the target, (levels,).
        n_train: Sizes n of the training set, between 0 and N.
        ridge: Variance δ of noise on the amplitudes.
        scale: ``"best"`` multiplies the NNGP by the factor with the largest evidence at each size (the ridge by the
            same), so that shapes are compared and not sizes of σ.

    Returns:
        (sizes,) float64, differentiable in the levels, the powers and the ridge; nan where κ was not found.

    Raises:
        NoLevelsError: ``levels`` are none: :func:`netket_qsntk.learning.levels` makes them.
        InvalidTrainingError: Sizes that are not between 0 and N, a ridge that is negative or infinite, another scale.
        TargetPowerError: Powers that do not fit the levels.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> power = qs.learning.target_power(qs.learning.ising_quench(100, J=-1.0, time=0.05))
        >>> def evidence(model):
        ...     kernel = qs.kernels.infinite_width(model)
        ...     levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        ...     return float(qs.learning.log_evidence(levels, power, [2000], scale="best")[0])
        >>> smooth, rough = (evidence(qs.models.CosNet(1, 1.0, s)) for s in (0.5, 5.0))
        >>> smooth > rough
        True
    """
    check_levels(levels, "log_evidence")
    if scale not in ("fixed", "best"):
        raise InvalidTrainingError(f"scale={scale!r}: expected 'fixed' or 'best'.")
    given = check_power(levels, power)
    sizes = check_sizes(levels, n_train)
    check_ridge(ridge)
    order = np.argsort(sizes)
    found = _evidence(
        levels,
        given,
        jnp.asarray(sizes[order]),
        jnp.asarray(ridge, float),
        is_paired(levels),
        scale == "best",
    )
    return found[np.argsort(order)]


@partial(jax.jit, static_argnums=(4, 5))
def _evidence(
    levels: Levels, power: Array, sizes: Array, ridge: Array, pairs: bool, best: bool
) -> Array:
    prior = Levels(
        levels.nngp_eigenvalues,
        levels.nngp_eigenvalues,
        levels.multiplicities,
        levels.n_states,
        levels.parities,
    )
    kernel: Clusters = clusters(prior, pairs)
    n, delta = effective_sizes(prior, sizes), effective_ridge(prior, ridge)
    log_kappa, residual = solve(kernel, n, delta)

    def at(u: Array, m: Array) -> Array:
        own = jnp.exp(u) @ kernel.members
        fit = jnp.sum(power / (kernel.spectrum + own))
        count = levels.n_parts * m
        volume = levels.n_parts * log_determinant(u, kernel, m, delta)
        if best:
            # Under a factor s the fit falls as 1/s and log det grows by n log s: the best s is fit/(n n_parts).
            return -0.5 * (count * (1 + jnp.log(fit / count) + jnp.log(2 * jnp.pi)) + volume)
        return -0.5 * (fit + volume + count * jnp.log(2 * jnp.pi))

    return jnp.where(residual < 1e-8, jax.vmap(at)(log_kappa, n), jnp.nan)

"""What a batch size allows: learning rates that stay stable, and levels that can be learned."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.alert import alert
from netket_qsntk.errors import InvalidTrainingError, NotConvergedWarning
from netket_qsntk.learning.coherent import Clusters, level_transfer, solve
from netket_qsntk.learning.curve import clusters, effective_ridge, is_paired
from netket_qsntk.learning.levels import Levels, check_levels
from netket_qsntk.learning.requests import check_batch, check_ridge

__all__ = ["max_stochastic_rate", "minsr_map", "noise_of_batch", "samples_needed", "sgd_map"]

Method = Literal["sgd", "minsr"]

# A share is reached where it is met to this, after bisection.
_NEAR = 1e-3


def max_stochastic_rate(
    levels: Levels,
    batch_size: int,
    *,
    method: Method = "sgd",
    ridge: float = 0.0,
    replace: bool = True,
) -> float:
    r"""The largest learning rate at which the average loss of training on b samples a step stays finite.

    For gradient descent the root of

    .. math:: \sum_w \frac{m_w\, \eta\mu_w/b}{1 - \eta\mu_w(1 - 1/b)} = 1,

    between b/k(x,x) for few samples and the limit N/λ_max of the whole basis for many.

    Args:
        levels: From :func:`netket_qsntk.learning.levels`.
        batch_size: b.
        method: ``"sgd"`` or ``"minsr"``; the rates of minSR are at most 2.
        ridge: δ of minSR.
        replace: For SGD, whether samples may repeat within a batch.

    Raises:
        NoLevelsError: ``levels`` are none: :func:`netket_qsntk.learning.levels` makes them.
        InvalidTrainingError: A batch size or ridge out of range, or another method.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 8))
        >>> rates = [qs.learning.max_stochastic_rate(levels, b) for b in (1, 16, 10**6)]
        >>> [f"{rate / rates[2]:.2f}" for rate in rates]
        ['0.20', '0.97', '1.00']
    """
    check_levels(levels, "max_stochastic_rate")
    check_batch(levels, batch_size, method, replace)
    check_ridge(ridge)
    if method == "sgd":
        spectrum, counts = np.asarray(levels.spectrum), levels.multiplicities
        noise = noise_of_batch(levels, batch_size, replace)
        if noise == 0:
            return float(1 / spectrum.max())
        # The sum exceeds that of its numerators, and has its first pole where the largest level's denominator is 0.
        high = 1 / (noise * (counts * spectrum).sum())
        if noise < 1:
            high = min(high, 1 / (spectrum.max() * (1 - noise)))

        def excess(rate: float) -> float:
            gain = rate * spectrum
            return float((counts * gain * noise / (1 - gain * (1 - noise))).sum() - 1)

        return _bisect(excess, float(high))
    b, delta = jnp.asarray(float(batch_size)), jnp.asarray(float(ridge))
    pairs = is_paired(levels)

    def growth(rate: float) -> float:
        step = np.asarray(minsr_map(levels, jnp.asarray(rate), b, delta, pairs)[0])
        return (
            float(np.abs(np.linalg.eigvals(step)).max() - 1 - 1e-12)
            if np.isfinite(step).all()
            else np.nan
        )

    return 2.0 if not growth(2.0 - 1e-9) > 0 else _bisect(growth, 2.0)


def samples_needed(levels: Levels, *, share: float = 0.5, ridge: float = 0.0) -> np.ndarray:
    """Samples at which each level is learned by this share: ℓ_w = λ_w/(λ_w + κ) = ``share``.

    For minSR that many samples a step make correlations of weight w learnable; for supervised training that many
    training configurations.

    Args:
        levels: From :func:`netket_qsntk.learning.levels`.
        share: Of the level's power that is predicted, between 0 and 1.
        ridge: δ.

    Raises:
        NoLevelsError: ``levels`` are none: :func:`netket_qsntk.learning.levels` makes them.
        InvalidTrainingError: A share that is not between 0 and 1, or a ridge that is negative or infinite.

    Returns:
        (levels,) float64; N where all other configurations do not suffice, for levels that are zero for example.

    Warns:
        NotConvergedWarning: The coherent potential was not found on the way; those levels are nan.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        >>> [f"{n:.2g}" for n in qs.learning.samples_needed(levels)[:3]]
        ['5.1', '1.2e+02', '4.7e+03']
    """
    check_levels(levels, "samples_needed")
    if not 0 < share < 1:
        raise InvalidTrainingError(f"share={share!r}: expected a number between 0 and 1.")
    check_ridge(ridge)
    n_states = levels.n_states
    kernel, delta = (
        clusters(levels, is_paired(levels)),
        effective_ridge(levels, jnp.asarray(float(ridge))),
    )
    top = levels.n_functions
    low, high = np.full(len(levels), np.log(1e-3)), np.full(len(levels), np.log(top))
    for _ in range(60):
        middle = (low + high) / 2
        learned = _shares(kernel, jnp.asarray(np.exp(middle)), delta)
        enough = np.asarray(learned).diagonal() >= share
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    above, below = (
        np.asarray(_shares(kernel, jnp.asarray(np.exp(ends)), delta)).diagonal()
        for ends in (high, low)
    )
    never = (high == np.log(top)) & (below < share)
    lost = ~(np.abs(above - share) < _NEAR) & ~never
    # Different configurations under a symmetry, as configurations drawn.
    orbit, found = n_states / top, np.exp(high)
    if orbit > 1:
        found = -n_states * np.expm1(np.log1p(-np.minimum(found / top, 1 - 1e-15)) / orbit)
    if lost.any():
        alert(
            f"The coherent potential was not found on the way to {lost.sum()} of {len(levels)} levels: their samples "
            "are nan. A ridge helps.",
            NotConvergedWarning,
        )
    return np.where(lost, np.nan, np.minimum(found, n_states))


@jax.jit
def _shares(kernel: Clusters, sizes: Array, ridge: Array) -> Array:
    log_kappa, _ = solve(kernel, sizes, ridge)
    own = jnp.exp(log_kappa) @ kernel.members
    return kernel.spectrum / (kernel.spectrum + own)


def noise_of_batch(levels: Levels, batch_size: int, replace: bool) -> float:
    """1/b, or (N - b)/(b(N - 1)) where the samples of a batch are distinct."""
    n = levels.n_states
    return 1 / batch_size if replace else max((n - batch_size) / (batch_size * (n - 1)), 0.0)


@jax.jit
def sgd_map(levels: Levels, rate: Array, noise: float) -> Array:
    """The map of powers (levels, levels) of one step."""
    gain = 2 * rate * levels.spectrum
    diagonal = (1 - gain) ** 2 - noise * gain**2
    added = noise * gain**2 * levels.multiplicities
    return jnp.diag(diagonal) + added[:, None]


@partial(jax.jit, static_argnums=4)
def minsr_map(
    levels: Levels, rate: Array, b: Array, ridge: Array, pairs: bool
) -> tuple[Array, Array]:
    """The map of powers of one step of minSR, and the residual of its coherent potential."""
    kernel, delta = clusters(levels, pairs), effective_ridge(levels, ridge)
    log_kappa, residual = solve(kernel, b[None], delta)
    after = level_transfer(log_kappa[0], kernel, b, delta)
    kappa = jnp.exp(log_kappa[0]) @ kernel.members
    left = kappa / (kernel.spectrum + kappa)
    # The error is (1 - η) of the old one and η of what regression on the batch leaves of it.
    crossed = (1 - rate) ** 2 + 2 * rate * (1 - rate) * left
    return jnp.diag(crossed) + rate**2 * after, residual[0]


def _bisect(excess: Callable[[float], float], high: float) -> float:
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2

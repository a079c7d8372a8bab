"""Training on new samples at every step, in closed form: what noise does to each level."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from netket_qsntk.alert import alert
from netket_qsntk.errors import (
    InvalidTrainingError,
    NotConvergedWarning,
    TargetPowerError,
    UnstableLearningRateWarning,
)
from netket_qsntk.learning.coherent import level_transfer, solve
from netket_qsntk.learning.curve import clusters, effective_ridge, is_paired
from netket_qsntk.learning.levels import Levels

__all__ = ["StochasticCurve", "max_stochastic_rate", "samples_needed", "stochastic_curve"]

Method = Literal["sgd", "minsr"]

# Steps are counted in binary; infinitely many are 2^62.
_BITS = 62
_CONVERGED = 1e-8


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class StochasticCurve:
    """Average losses over the whole basis while training on new samples at every step.

    Attributes:
        steps: (steps,).
        L_mu: Loss of the ensemble's mean and what the samples' noise makes of it, (steps,).
        L_gamma: The same for the fluctuations between initial networks, (steps,).
        powers: S_w, power of the error in each level, (steps, levels).
        max_rate: Largest learning rate at which the average loss stays finite.
        method: ``"sgd"`` or ``"minsr"``.
    """

    steps: Array
    L_mu: Array
    L_gamma: Array
    powers: Array
    max_rate: float = field(metadata={"static": True})
    method: str = field(metadata={"static": True})

    @property
    def total(self) -> Array:
        """L_μ + L_γ: (steps,)."""
        return self.L_mu + self.L_gamma

    def __repr__(self) -> str:
        return (
            f"StochasticCurve({self.method}, {len(self.steps)} steps, largest stable learning rate "
            f"{self.max_rate:.4g})"
        )


def stochastic_curve(
    levels: Levels,
    power: ArrayLike,
    steps: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    method: Method = "sgd",
    ridge: float = 0.0,
    replace: bool = True,
) -> StochasticCurve:
    r"""Average losses of training on b uniform samples a step, new ones at every step.

    S_w is the power of the error ψ - ψ_T in level w, μ_w = λ_w/N. For minibatch gradient descent of the mean square
    error

    .. math:: S_w \leftarrow (1 - 2\eta\mu_w)^2 S_w
        + \frac{4\eta^2\mu_w^2}{b}\Big(m_w \sum_v S_v - S_w\Big)

    exactly, because the square of a parity is 1. For minSR, f ← f - ηΘ(·, B)(Θ_BB + δ)⁻¹(ψ - ψ_T)_B,

    .. math:: S_w \leftarrow (1 - \eta\ell_w)^2 S_w + \eta^2 m_w \ell_w^2 \mathcal E/b,\qquad
        \mathcal E = \frac{b}{b - \sum m\ell^2} \sum_v (1-\ell_v)^2 S_v

    with ℓ_w = λ_w/(λ_w + κ) at n = b, for small fractions; here the coherent potential of
    :func:`~netket_qsntk.learning.learning_curve` (pairs where there are pairs) gives the same map at any fraction.

    Args:
        levels: From :func:`netket_qsntk.learning.levels`.
        power: P_w of the target, (levels,).
        steps: Numbers of steps, any integers, ∞ included.
        learning_rate: η.
        batch_size: b.
        method: ``"sgd"``, or ``"minsr"`` (kernel regression of the error on every batch; NetKet's shift λ on the
            kernel over b is δ = bλ).
        ridge: δ of minSR.
        replace: For SGD, whether samples may repeat within a batch (independent ones do); without, the noise is
            (N - b)/(N - 1) times smaller. The samples of minSR are distinct.

    Returns:
        The curve. Initial networks are drawn from the NNGP (``L_gamma``); a network that starts at 0 has ``L_mu``.

    Raises:
        InvalidTrainingError: A batch size, rate or ridge out of range.
        TargetPowerError: Powers that do not fit the levels.

    Warns:
        UnstableLearningRateWarning: The average loss grows without bound at this rate.
        NotConvergedWarning: minSR's coherent potential was not found; the losses are nan.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        >>> power = qs.learning.target_power(qs.learning.ising_quench(100, J=-1.0, time=0.05))
        >>> curve = qs.learning.stochastic_curve(
        ...     levels, power, [0, 100, 10_000], learning_rate=5.0, batch_size=64)
        >>> bool(curve.L_mu[2] < curve.L_mu[1] < curve.L_mu[0])
        True
    """
    steps = np.atleast_1d(np.asarray(steps, dtype=float))
    _check(levels, power, steps, learning_rate, batch_size, method, ridge)
    given = jnp.asarray(np.asarray(power)) if isinstance(power, np.ndarray) else jnp.asarray(power)
    starts = jnp.stack([given, levels.n_parts * levels.multiplicities * levels.nngp_spectrum])
    noise = _noise(levels, batch_size, replace)
    pairs = is_paired(levels)
    b, delta = jnp.asarray(float(batch_size)), jnp.asarray(float(ridge))
    rate = jnp.asarray(learning_rate, float)
    if method == "sgd":
        step = _sgd(levels, rate, noise)
    else:
        step, residual = _minsr(levels, rate, b, delta, pairs)
        if not float(residual) < _CONVERGED:
            alert(
                f"The coherent potential of {batch_size} samples was not found (residual {float(residual):.1e}): "
                "the losses are nan. A ridge helps.",
                NotConvergedWarning,
            )
            step = step * jnp.nan
    largest = max_stochastic_rate(levels, batch_size, method=method, ridge=ridge, replace=replace)
    if float(rate) > largest * (1 + 1e-12):
        alert(
            f"learning_rate={learning_rate:.4g} is beyond {largest:.4g}, up to which the average loss of batches of "
            f"{batch_size} stays finite.",
            UnstableLearningRateWarning,
        )
    counts = np.where(np.isfinite(steps), steps, 2.0**_BITS).astype(np.uint64)
    powers = _advanced(step, starts, jnp.asarray(counts))
    sums = powers.sum(-1)
    return StochasticCurve(
        jnp.asarray(steps), sums[:, 0], sums[:, 1], powers.sum(1), largest, method
    )


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

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 8))
        >>> rates = [qs.learning.max_stochastic_rate(levels, b) for b in (1, 16, 10**6)]
        >>> [f"{rate / rates[2]:.2f}" for rate in rates]
        ['0.20', '0.97', '1.00']
    """
    if method == "sgd":
        spectrum, counts = np.asarray(levels.spectrum), levels.multiplicities
        noise = _noise(levels, batch_size, replace)
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
        step = np.asarray(_minsr(levels, jnp.asarray(rate), b, delta, pairs)[0])
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

    Returns:
        (levels,) float64; N where all other configurations do not suffice, for levels that are zero for example.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        >>> [f"{n:.2g}" for n in qs.learning.samples_needed(levels)[:3]]
        ['5.1', '1.2e+02', '4.7e+03']
    """
    if not 0 < share < 1:
        raise InvalidTrainingError(f"share={share!r}: expected a number between 0 and 1.")
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
    # Different configurations under a symmetry, as configurations drawn.
    orbit, found = n_states / top, np.exp(high)
    if orbit > 1:
        found = -n_states * np.expm1(np.log1p(-np.minimum(found / top, 1 - 1e-15)) / orbit)
    return np.minimum(found, n_states)


@jax.jit
def _shares(kernel: Any, sizes: Array, ridge: Array) -> Array:
    log_kappa, _ = solve(kernel, sizes, ridge)
    own = jnp.exp(log_kappa) @ kernel.members
    return kernel.spectrum / (kernel.spectrum + own)


def _noise(levels: Levels, batch_size: int, replace: bool) -> float:
    n = levels.n_states
    return 1 / batch_size if replace else max((n - batch_size) / (batch_size * (n - 1)), 0.0)


@jax.jit
def _sgd(levels: Levels, rate: Array, noise: float) -> Array:
    """The map of powers (levels, levels) of one step."""
    gain = 2 * rate * levels.spectrum
    diagonal = (1 - gain) ** 2 - noise * gain**2
    added = noise * gain**2 * levels.multiplicities
    return jnp.diag(diagonal) + added[:, None]


@partial(jax.jit, static_argnums=4)
def _minsr(levels: Levels, rate: Array, b: Array, ridge: Array, pairs: bool) -> tuple[Array, Array]:
    kernel, delta = clusters(levels, pairs), effective_ridge(levels, ridge)
    log_kappa, residual = solve(kernel, b[None], delta)
    after = level_transfer(log_kappa[0], kernel, b, delta)
    kappa = jnp.exp(log_kappa[0]) @ kernel.members
    left = kappa / (kernel.spectrum + kappa)
    # The error is (1 - η) of the old one and η of what regression on the batch leaves of it.
    crossed = (1 - rate) ** 2 + 2 * rate * (1 - rate) * left
    return jnp.diag(crossed) + rate**2 * after, residual[0]


@jax.jit
def _advanced(step: Array, starts: Array, counts: Array) -> Array:
    """Powers after so many steps of each start: (steps, starts, levels)."""
    state = jnp.broadcast_to(starts, (counts.shape[0], *starts.shape))

    def double(carry: tuple[Array, Array], bit: Array) -> tuple[tuple[Array, Array], None]:
        state, power = carry
        moved = state @ power.T
        taken = ((counts >> bit) & jnp.uint64(1)).astype(bool)
        return (jnp.where(taken[:, None, None], moved, state), power @ power), None

    (state, _), _ = jax.lax.scan(double, (state, step), jnp.arange(_BITS + 1, dtype=jnp.uint64))
    return state


def _bisect(excess: Any, high: float) -> float:
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2


def _check(
    levels: Levels,
    power: Any,
    steps: np.ndarray,
    rate: Any,
    batch_size: Any,
    method: str,
    ridge: float,
) -> None:
    if method not in ("sgd", "minsr"):
        raise InvalidTrainingError(f"method={method!r}: expected 'sgd' or 'minsr'.")
    if np.shape(power) != (len(levels),):
        raise TargetPowerError(f"power has shape {np.shape(power)}: expected ({len(levels)},).")
    if not (np.all(steps >= 0) and np.all(np.isinf(steps) | (steps == np.rint(steps)))):
        raise InvalidTrainingError("steps: expected whole numbers >= 0, or ∞.")
    if not float(rate) > 0 or not float(ridge) >= 0:
        raise InvalidTrainingError(
            f"learning_rate={rate!r}, ridge={ridge!r}: expected a positive number, and one >= 0."
        )
    most = levels.n_states if method == "minsr" else np.inf
    if not (batch_size >= 1 and batch_size < most):
        raise InvalidTrainingError(
            f"batch_size={batch_size!r}: expected a number from 1 up, below {most:g}."
        )

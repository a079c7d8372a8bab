"""Training on new samples at every step, in closed form: what noise does to each level."""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from netket_qsntk.alert import alert
from netket_qsntk.errors import (
    InvalidTrainingError,
    NotConvergedWarning,
    UnstableLearningRateWarning,
)
from netket_qsntk.learning.batch_sizes import (
    max_stochastic_rate,
    minsr_map,
    noise_of_batch,
    sgd_map,
)
from netket_qsntk.learning.curve import is_paired
from netket_qsntk.learning.levels import Levels, check_levels
from netket_qsntk.learning.requests import check_batch, check_power, check_rate, check_ridge

__all__ = ["StochasticCurve", "stochastic_curve"]

Method = Literal["sgd", "minsr"]

# Steps are counted in binary; 2^62 and more are infinitely many.
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
        NoLevelsError: ``levels`` are none: :func:`netket_qsntk.learning.levels` makes them.
        InvalidTrainingError: Steps, a batch size, rate or ridge out of range, or another method.
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
    check_levels(levels, "stochastic_curve")
    steps = np.atleast_1d(np.asarray(steps, dtype=float))
    if not (np.all(steps >= 0) and np.all(np.isinf(steps) | (steps == np.rint(steps)))):
        raise InvalidTrainingError(f"steps={steps}: expected whole numbers >= 0, or ∞.")
    given = check_power(levels, power)
    check_rate(learning_rate)
    check_ridge(ridge)
    check_batch(levels, batch_size, method, replace)
    starts = jnp.stack([given, levels.n_parts * levels.multiplicities * levels.nngp_spectrum])
    noise = noise_of_batch(levels, batch_size, replace)
    pairs = is_paired(levels)
    b, delta = jnp.asarray(float(batch_size)), jnp.asarray(float(ridge))
    rate = jnp.asarray(learning_rate, float)
    if method == "sgd":
        step = sgd_map(levels, rate, noise)
    else:
        step, residual = minsr_map(levels, rate, b, delta, pairs)
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
    counts = np.minimum(steps, 2.0**_BITS).astype(np.uint64)
    powers = _advanced(step, starts, jnp.asarray(counts))
    sums = powers.sum(-1)
    return StochasticCurve(
        jnp.asarray(steps), sums[:, 0], sums[:, 1], powers.sum(1), largest, method
    )


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

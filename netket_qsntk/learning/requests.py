"""What is asked of a curve: powers, sizes, ridges and batches, each refused by name where no training has it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from netket_qsntk.errors import InvalidTrainingError, TargetPowerError
from netket_qsntk.learning.levels import Levels
from netket_qsntk.learning.power import TargetPower

__all__ = ["check_batch", "check_power", "check_rate", "check_ridge", "check_sizes"]

# Powers below zero by this share of the largest are rounding.
_ROUNDING = 1e-9


def check_power(levels: Levels, power: ArrayLike) -> Array:
    """The powers as JAX's float64, (levels,); TargetPowerError unless they are those of a target in these levels."""
    if np.shape(power) != (len(levels),):
        raise TargetPowerError(
            f"power has shape {np.shape(power)}, and {levels!r}: expected one number for each level, from "
            "qs.learning.target_power of a target on the same Hilbert space."
        )
    if isinstance(power, TargetPower) and power.n_states not in (levels.n_states, None):
        raise TargetPowerError(
            f"power is of a target on {power.n_states:g} configurations, and {levels!r} are of {levels.n_states:g}: "
            "take the target and the levels on the same Hilbert space."
        )
    if isinstance(power, jax.core.Tracer):
        return jnp.asarray(power, float)
    given = np.asarray(power)  # JAX takes no subclass
    if np.iscomplexobj(given) or not (
        np.all(np.isfinite(given)) and given.min() >= -_ROUNDING * given.max()
    ):
        raise TargetPowerError(
            "power: expected mean squares, finite numbers >= 0, as qs.learning.target_power(target) gives them."
        )
    return jnp.asarray(given, float)


def check_sizes(levels: Levels, n_train: ArrayLike) -> np.ndarray:
    """Sizes of the training set as float64, (sizes,), between 0 and N; InvalidTrainingError otherwise."""
    sizes = np.atleast_1d(np.asarray(n_train, dtype=float))
    n = levels.n_states
    if not (sizes.size and sizes.ndim == 1 and np.all((sizes > 0) & (sizes < n))):
        raise InvalidTrainingError(
            f"n_train={sizes}: expected numbers above 0 and below the {n:g} configurations, some of which must stay "
            "unseen."
        )
    return sizes


def check_ridge(ridge: float | Array) -> None:
    """Raise InvalidTrainingError unless the ridge is a number >= 0, and finite."""
    if not isinstance(ridge, jax.core.Tracer) and not (np.ndim(ridge) == 0 and 0 <= ridge < np.inf):
        raise InvalidTrainingError(f"ridge={ridge!r}: expected one finite number >= 0.")


def check_rate(rate: float | Array) -> None:
    """Raise InvalidTrainingError unless the learning rate is a number > 0, and finite."""
    if not (np.ndim(rate) == 0 and 0 < rate < np.inf):
        raise InvalidTrainingError(f"learning_rate={rate!r}: expected one finite number > 0.")


def check_batch(levels: Levels, batch_size: float, method: str, replace: bool) -> None:
    """Raise InvalidTrainingError unless there are batches of this size, for a method that there is."""
    if method not in ("sgd", "minsr"):
        raise InvalidTrainingError(f"method={method!r}: expected 'sgd' or 'minsr'.")
    n = levels.n_states
    if not (np.ndim(batch_size) == 0 and 1 <= batch_size < np.inf):
        raise InvalidTrainingError(f"batch_size={batch_size!r}: expected a number from 1 up.")
    if method == "minsr" and batch_size >= n:
        raise InvalidTrainingError(
            f"batch_size={batch_size!r}: the samples of minSR are distinct, expected fewer than all {n:g} "
            "configurations."
        )
    if not replace and batch_size > n:
        raise InvalidTrainingError(
            f"batch_size={batch_size!r} without replacement: there are {n:g} configurations. With replace=True "
            "samples may repeat."
        )

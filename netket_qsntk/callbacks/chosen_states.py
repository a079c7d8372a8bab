"""The configurations on which the kernel of a run is watched."""

import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array

from netket_qsntk.advice.batch import present_samples
from netket_qsntk.driver import QSNTKDriver
from netket_qsntk.driver.base import SupervisedDriver

__all__ = ["chosen_states", "draws_samples"]


def draws_samples(driver: nk.driver.AbstractDriver) -> bool:
    """Whether a driver of this package samples its configurations."""
    return isinstance(driver, QSNTKDriver) and driver.sampling is not None


def chosen_states(driver: nk.driver.AbstractDriver, n_samples: int, seed: int) -> Array:
    """Up to ``n_samples`` configurations (m, sites): a driver's own, samples of an MCState, else a draw from |ψ|².

    Args:
        driver: Any NetKet driver.
        n_samples: At most.
        seed: Of the draw.
    """
    if isinstance(driver, QSNTKDriver) and draws_samples(driver):
        return jnp.asarray(driver.configurations(n_samples))
    if isinstance(driver, SupervisedDriver):
        return jnp.asarray(driver.train.states[:n_samples])
    state = driver.state
    if isinstance(state, nk.vqs.MCState):
        return present_samples(state, n_samples)
    states = np.asarray(state.hilbert.all_states())
    weight = np.abs(np.asarray(state.to_array())) ** 2
    size = min(n_samples, int(np.count_nonzero(weight)))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(states), size, replace=False, p=weight / weight.sum())
    return jnp.asarray(states[np.sort(chosen)])

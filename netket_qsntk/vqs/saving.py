"""Reading ensembles and infinite-width states from nqxpack's files; :mod:`netket_qsntk.vqs.assets` writes them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.vqs.assets import read_arrays
from netket_qsntk.vqs.ensemble import EnsembleState
from netket_qsntk.vqs.infinite import InfiniteState


class SavedTraining:
    """Mean and covariance of one part of ψ on the whole basis, in the place of the dynamics that led to them.

    The ensemble is the same. Draws come from its covariance: where the dynamics trained them one by one, the same
    seed gives others.
    """

    def __init__(self, mean: Array, part: Array) -> None:
        self._moments = mean, part

    def moments(self, step: float, x: ArrayLike) -> tuple[Array, Array]:
        """The saved numbers: for ``x`` the whole basis, at the number of steps that they were saved with."""
        return self._moments

    def mean(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """The first of them, as one row."""
        return self._moments[0][None]


def load_ensemble(**fields: PyTree) -> EnsembleState:
    """The ensemble of a file that nqxpack is reading."""
    return EnsembleState(variables=jax.tree.map(jnp.asarray, read_arrays()), **fields)


def load_infinite(*, steps: float, **fields: PyTree) -> InfiniteState:
    """The infinite-width state of a file that nqxpack is reading."""
    state = InfiniteState(**fields)
    if steps:
        saved = read_arrays()
        moments = [jnp.asarray(saved[name]) for name in ("mean", "part")]
        state.set_training(SavedTraining(*moments), steps)
    return state

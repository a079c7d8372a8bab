"""How ensembles and infinite-width states are written to and read from nqxpack's files.

nqxpack asks an object for ``__to_json__`` and calls what the answer names under ``_target_`` when it reads the file.
Arrays go into the file as binary assets. nqxpack itself is needed only then.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jax import Array

from netket_qsntk.vqs.ensemble import EnsembleState
from netket_qsntk.vqs.infinite import InfiniteState

_ASSET = "state.msgpack"


class SavedTraining:
    """Mean and covariance of one part of ψ on the whole basis, in the place of the dynamics that led to them."""

    def __init__(self, mean: Array, part: Array) -> None:
        self._moments = mean, part

    def moments(self, steps: Any, x: Array) -> tuple[Array, Array]:
        """The saved numbers: for ``x`` the whole basis, at the number of steps that they were saved with."""
        return self._moments

    def mean(self, steps: Any, x: Array) -> Array:
        """The first of them, as one row."""
        return self._moments[0][None]


def ensemble_to_json(state: EnsembleState) -> dict[str, Any]:
    """What :func:`load_ensemble` needs."""
    _assets().write_msgpack(
        _ASSET, serialization.to_state_dict(jax.tree.map(np.asarray, state.variables))
    )
    return {
        "_target_": f"{__name__}.{load_ensemble.__name__}",
        "hilbert": state.hilbert,
        "model": state.model,
        "n_members": state.n_members,
        "chunk_size": state.chunk_size,
    }


def load_ensemble(**fields: Any) -> EnsembleState:
    """The ensemble of a file that nqxpack is reading."""
    variables = jax.tree.map(jnp.asarray, _assets().read_msgpack(_ASSET))
    return EnsembleState(variables=variables, **fields)


def infinite_to_json(state: InfiniteState) -> dict[str, Any]:
    """What :func:`load_infinite` needs: of a trained ensemble its moments, n_states² numbers."""
    if state.steps:
        moments = {name: np.asarray(state._moments()[name]) for name in ("mean", "part")}
        _assets().write_msgpack(_ASSET, moments)
    return {
        "_target_": f"{__name__}.{load_infinite.__name__}",
        "hilbert": state.hilbert,
        "model": state.model,
        "trainable": state.kernel.trainable,
        "n_draws": state.n_draws,
        "seed": state.seed,
        "chunk_size": state.chunk_size,
        "steps": state.steps,
    }


def load_infinite(*, steps: float, **fields: Any) -> InfiniteState:
    """The infinite-width state of a file that nqxpack is reading."""
    state = InfiniteState(**fields)
    if steps:
        saved = _assets().read_msgpack(_ASSET)
        moments = [jnp.asarray(saved[name]) for name in ("mean", "part")]
        state.set_training(SavedTraining(*moments), steps)
    return state


def _assets() -> Any:
    from nqxpack.registry import current_context

    return current_context().asset_manager

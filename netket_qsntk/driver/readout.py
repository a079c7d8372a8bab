"""Training of the readout layer alone: which parameters that is, and the network as a function of them."""

import jax.numpy as jnp
from flax import traverse_util
from jax import Array
from jax.tree_util import Partial
from netket.utils.types import PyTree

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.wavefunction import Psi, PureWaveFunction

Flat = dict[tuple[str, ...], Array]


def split_readout(parameters: PyTree, model: PyTree) -> tuple[Flat, Flat]:
    """Parameters of layers called ``readout``, and all others, as flat dictionaries.

    Raises:
        InvalidTrainingError: The model has no such layer.
    """
    flat = traverse_util.flatten_dict(parameters)
    readout = {path: leaf for path, leaf in flat.items() if "readout" in path}
    if not readout:
        raise InvalidTrainingError(
            f"trainable='readout': {type(model).__name__} has no parameters called 'readout'. Use "
            "trainable='all', or QSNTKDriver with optax.masked to choose parameters of this model."
        )
    return readout, {path: leaf for path, leaf in flat.items() if path not in readout}


def keep_readout(gradient: PyTree) -> PyTree:
    """The gradient with zeros for all parameters but the readout's."""
    flat = traverse_util.flatten_dict(gradient)
    kept = {p: leaf if "readout" in p else jnp.zeros_like(leaf) for p, leaf in flat.items()}
    return traverse_util.unflatten_dict(kept)


def with_readout_of(new: PyTree, old: PyTree) -> PyTree:
    """Old parameters with the readout's of the new ones."""
    flat = traverse_util.flatten_dict(new)
    kept = traverse_util.flatten_dict(old)
    return traverse_util.unflatten_dict({p: flat[p] if "readout" in p else kept[p] for p in kept})


def of_readout(network: PureWaveFunction) -> PureWaveFunction:
    """The same wave function as a function of its readout parameters alone."""
    readout, rest = split_readout(network.parameters, network.model)
    return PureWaveFunction(Partial(_psi_of_readout, network.psi, _pairs(rest)), _pairs(readout))


def _pairs(flat: Flat) -> dict[str, Array]:
    return {"/".join(path): leaf for path, leaf in flat.items()}


def _psi_of_readout(psi: Psi, rest: dict[str, Array], readout: dict[str, Array], x: Array) -> Array:
    return psi(traverse_util.unflatten_dict({**rest, **readout}, sep="/"), x)

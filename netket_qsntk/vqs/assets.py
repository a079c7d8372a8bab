"""What ensembles and infinite-width states write to nqxpack's files.

nqxpack asks an object for ``__to_json__`` and calls what the answer names under ``_target_`` when it reads the file
(:mod:`netket_qsntk.vqs.saving`). Arrays go into the file as binary assets. nqxpack itself is needed only then.
"""

import importlib

import jax
import numpy as np
from flax import serialization
from netket.utils.types import PyTree

_ASSET = "state.msgpack"
_READERS = "netket_qsntk.vqs.saving"


def to_json(reader: str, arrays: PyTree | None, **fields: object) -> dict[str, object]:
    """The answer to ``__to_json__``: a function of :mod:`netket_qsntk.vqs.saving` and its arguments.

    Args:
        reader: Name of the function.
        arrays: Pytree to be written beside them, or None.
        fields: What the function is called with.
    """
    if arrays is not None:
        numbers = serialization.to_state_dict(jax.tree.map(np.asarray, arrays))
        _manager().write_msgpack(_ASSET, numbers)
    return {"_target_": f"{_READERS}.{reader}", **fields}


def read_arrays() -> PyTree:
    """The pytree of the file that nqxpack is reading."""
    return _manager().read_msgpack(_ASSET)


def _manager() -> PyTree:
    return importlib.import_module("nqxpack.registry").current_context().asset_manager

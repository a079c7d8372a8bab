"""What callers hand to kernels, checked: configurations, and the words for which kernel and which parameters."""

from typing import Literal, cast

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import InvalidConfigurationsError, StructureError

Trainable = Literal["all", "readout"]
Which = Literal["ntk", "nngp"]


def check_configurations(x: ArrayLike, name: str = "x") -> Array:
    """``x`` if it is an array of shape (n, sites); an error that says what to do otherwise."""
    if not isinstance(x, (np.ndarray, Array)):
        x = jnp.asarray(x)
    if x.ndim != 2:
        hint = " (one configuration? use x[None, :])" if x.ndim == 1 else ""
        raise InvalidConfigurationsError(
            f"{name} has shape {tuple(x.shape)}: expected (n, sites){hint}; "
            "for instance hilbert.all_states()."
        )
    return cast(Array, x)


def check_which(which: str) -> Which:
    """``which`` if it names a kernel."""
    if which not in ("ntk", "nngp"):
        raise StructureError(f"which={which!r}: expected 'ntk' or 'nngp'.")
    return which  # type: ignore[return-value]

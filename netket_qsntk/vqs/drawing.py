"""Networks drawn from the initial distribution of a model, whatever framework it is written in."""

from collections.abc import Hashable
from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_states import Taken, Wrapped, drawn_again, identity, take
from netket_qsntk.errors import EnsembleError, NotANetworkError


def take_model(model: object, key: Array) -> Taken:
    """The model as NetKet takes it; of a function that makes modules, the first member's.

    Args:
        model: A module, or a function from a JAX key to one.
        key: What members are drawn from.

    Raises:
        NotANetworkError: It is neither.
    """
    taken = take(model)
    if taken is None and callable(model):
        taken = take(model(jax.random.fold_in(key, 0)))
    if taken is None:
        raise NotANetworkError(
            f"Expected a module of flax or equinox, or a function of a JAX key that makes one, got "
            f"{type(model).__name__}; of functions, nk.vqs.FullSumState(hilbert, apply_fun=…, variables=…) takes "
            "one at a time."
        )
    return taken


def draw_variables(
    model: object, hilbert: nk.hilbert.AbstractHilbert, key: Array, n_members: int
) -> PyTree:
    """Variables of independent networks, stacked: member i depends on the key and i only.

    Raises:
        EnsembleError: The model holds its parameters, and how to draw others is not known.
    """
    taken = take(model)
    if taken is not None and taken.variables is None:
        keys = jnp.stack([jax.random.fold_in(key, i) for i in range(n_members)])
        x = hilbert.random_state(key, 1, dtype=float)
        return _initialise(taken.wrapped, keys, x)
    drawn = [_draw_one(model, jax.random.fold_in(key, i)) for i in range(n_members)]
    same_as = take_model(model, key)
    if any(_architecture(one) != _architecture(same_as) for one in drawn):
        raise EnsembleError(
            f"{same_as.kind.__name__} made anew has another structure than the one given: all members of an ensemble "
            "are of one architecture. Give a function of a JAX key that makes one: "
            f"EnsembleState(hilbert, lambda key: {same_as.kind.__name__}(…), n_members)."
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.variables for one in drawn))


def _architecture(taken: Taken) -> tuple[Hashable, PyTree]:
    return identity(taken.wrapped), jax.tree.map(jnp.shape, taken.variables)


def _draw_one(model: object, key: Array) -> Taken:
    if callable(model) and take(model) is None:
        made = model(key)
    else:
        made = drawn_again(model, key)
    taken = None if made is None else take(made)
    if taken is None or taken.variables is None:
        name = type(model).__name__
        raise EnsembleError(
            f"{name} holds one set of parameters, and how to draw others is not known: its constructor wants more "
            "than a random key. Give a function of a JAX key that makes one: "
            f"EnsembleState(hilbert, lambda key: {name}(…), n_members)."
        )
    return taken


@partial(jax.jit, static_argnums=0)
def _initialise(model: Wrapped, keys: Array, x: Array) -> PyTree:
    return jax.lax.map(lambda key: model.init({"params": key}, x), keys)

"""What is restored must be of the kind that it is restored into."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.errors import CheckpointError, QSNTKError
from netket_qsntk.tracing import same_structure


def restored(template: PyTree, saved: PyTree, into: str) -> PyTree:
    """``saved``, a state dictionary, in the structure of ``template``.

    Flax itself compares names and not shapes.

    Args:
        template: A pytree of arrays.
        saved: What :func:`flax.serialization.to_state_dict` gave of one like it.
        into: What is restored, for the message.

    Raises:
        CheckpointError: Names or shapes are others.
    """
    try:
        new = serialization.from_state_dict(template, saved)
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"The checkpoint is of another model than {into}: {error}") from error
    check_alike(template, new, into, CheckpointError)
    return new


def check_alike(old: PyTree, new: PyTree, what: str, error: type[QSNTKError]) -> None:
    """Raise ``error`` unless two pytrees of one structure have leaves of the same shapes."""
    if same_structure(old, new):
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        if all(np.shape(one) == np.shape(two) for one, two in pairs):
            return
    before, after = (
        {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (old, new))
    )
    other = [name for name in before if after.get(name) != before[name]]
    if other:
        name = other[0]
        raise error(
            f"Shapes that do not fit into {what}: {name} is {before[name]} there, and {after.get(name)} came"
            f"{f' ({len(other)} leaves in all)' if len(other) > 1 else ''}."
        )


def without_keys(tree: PyTree) -> PyTree:
    """The pytree with the numbers of random keys in their place: what a file can hold."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def with_keys(template: PyTree, plain: PyTree) -> PyTree:
    """The inverse of :func:`without_keys`, as JAX arrays."""

    def one(old: Array, new: ArrayLike) -> Array:
        if not _is_key(old):
            return jnp.asarray(new)
        return jax.random.wrap_key_data(jnp.asarray(new), impl=jax.random.key_impl(old))

    return jax.tree.map(one, template, plain)


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


class Setting:
    """Numbers and names that a checkpoint must share with what it is restored into.

    A field of a driver: saved with it, and compared, not restored.

    Example:
        >>> from flax import serialization
        >>> from netket_qsntk.vqs.checkpoint import Setting
        >>> saved = serialization.to_bytes(Setting(n_train=8))
        >>> serialization.from_bytes(Setting(n_train=8), saved)
        Setting(n_train=8)
    """

    def __init__(self, **facts: int | float | str) -> None:
        self.facts = facts

    def __repr__(self) -> str:
        return f"Setting({', '.join(f'{k}={v!r}' for k, v in self.facts.items())})"


def _to_state_dict(setting: Setting) -> dict[str, int | float | str]:
    return dict(setting.facts)


def _from_state_dict(setting: Setting, saved: dict[str, int | float | str]) -> Setting:
    other = {k: v for k, v in saved.items() if k in setting.facts and setting.facts[k] != v}
    if other:
        here = {k: setting.facts[k] for k in other}
        raise CheckpointError(
            f"The checkpoint is of a run with {_listed(other)}, this one has {_listed(here)}. Make the driver as it "
            "was when it was saved."
        )
    return setting


def _listed(facts: dict[str, int | float | str]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items())


serialization.register_serialization_state(Setting, _to_state_dict, _from_state_dict)

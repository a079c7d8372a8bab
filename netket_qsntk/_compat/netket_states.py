"""How a NetKet state applies its network, and how NetKet takes in a module of any framework.

NetKet keeps the function in a private attribute, wrapped so that one configuration works too, and modules of nnx and
equinox in wrappers that look like flax linen's.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Protocol

import jax
import netket as nk
import numpy as np
from flax import errors, linen, nnx
from jax import Array
from netket.utils import HashablePartial, model_frameworks
from netket.utils.types import PyTree

from netket_qsntk._compat.attributes import held
from netket_qsntk.tracing import is_hashable


class Wrapped(Protocol):
    """A network as NetKet holds it: without parameters."""

    def apply(
        self, variables: PyTree, x: Array, *, method: str | None = None
    ) -> Array | tuple[Array, PyTree]:
        """The output at configurations x (n, sites)."""

    def init(self, keys: dict[str, Array], x: Array) -> PyTree:
        """Variables drawn anew."""


ApplyFun = Callable[..., Array | tuple[Array, PyTree]]


@dataclass(frozen=True, eq=False)
class Applied:
    """``function(variables, x)`` of one network.

    Two are equal, also as static arguments of :func:`jax.jit`, where they apply equal modules.

    Args:
        function: ``function(variables, x, …)`` = log ψ (n,), as the state applies it.
        method: A method of the module to call in the place of ``__call__``.
        mutable: Collections that flax may update on the way; what they become is dropped.
        identity: What equality is decided by.
    """

    function: ApplyFun
    identity: Hashable
    method: str | None = None
    mutable: bool | tuple[str, ...] = False

    def __call__(self, variables: PyTree, x: Array) -> Array:
        options: dict[str, object] = {} if self.method is None else {"method": self.method}
        if self.mutable is not False:
            options["mutable"] = True if self.mutable is True else list(self.mutable)
        out = self.function(variables, x, **options)
        return out[0] if isinstance(out, tuple) else out

    @property
    def _key(self) -> Hashable:
        return self.identity, self.method, self.mutable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Applied) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@dataclass(frozen=True)
class Taken:
    """A user's module as NetKet takes it in.

    Attributes:
        wrapped: The network without its parameters.
        kind: The class that the user wrote.
        variables: Those that the module itself holds (nnx, equinox), else None.
        module: The flax linen module, where it is one.
    """

    wrapped: Wrapped
    kind: type
    variables: PyTree | None = None
    module: linen.Module | None = None

    def has(self, method: str) -> bool:
        """Whether the user's class defines this method."""
        return callable(held(self.kind, method))

    def applied(self, method: str | None = None) -> Applied:
        """The module as a function of its variables and x."""
        return Applied(self.wrapped.apply, (identity(self.wrapped), "apply"), method)

    def unwrapped(self, variables: PyTree) -> object:
        """A module of the user's framework with these variables in it, where it holds its own."""
        if self.module is not None or self.variables is None:
            return self.wrapped
        return _framework(self.wrapped, self.kind).unwrap(self.wrapped, variables)


def take(model: object) -> Taken | None:
    """A module of flax (linen, nnx), equinox, haiku or ``jax.example_libraries.stax``; None if it is none."""
    framework = model_frameworks.identify_framework(model)
    variables, wrapped = framework.wrap(model)
    if not callable(held(wrapped, "apply")):
        return None
    module = wrapped if isinstance(wrapped, linen.Module) else None
    if module is not None:
        variables = None  # what a bound module holds is no set of parameters to start from
    return Taken(wrapped, framework.wrapped_model_class(wrapped), variables, module)


def taken_from(state: nk.vqs.VariationalState) -> Taken | None:
    """The module of a NetKet state, as the state holds it; None where it was made from a function."""
    framework = held(state, "_model_framework")
    wrapped = held(state, "_model")
    if framework is None or wrapped is None:
        return None
    module = wrapped if isinstance(wrapped, linen.Module) else None
    return Taken(wrapped, framework.wrapped_model_class(wrapped), None, module)


def applied_by(state: nk.vqs.VariationalState) -> Applied | None:
    """What gives the state its log ψ; None where it has no such function."""
    function = held(state, "_apply_fun")
    if function is None:
        return None
    taken, inner = taken_from(state), _without_scalars(function)
    if taken is not None and _applies(inner, taken.wrapped):
        applied = taken.applied()
    else:
        applied = applied_function(inner)
    return _with_collections(applied, state)


def applied_function(function: ApplyFun) -> Applied:
    """A user's own ``function(variables, x)``."""
    return Applied(function, _hashable(function))


def identity(wrapped: Wrapped) -> Hashable:
    """Equal for networks that are equal: NetKet's wrappers compare by the object."""
    graph = vars(wrapped).get("graphdef") if not isinstance(wrapped, linen.Module) else None
    if isinstance(graph, nnx.GraphDef):
        return graph
    fields = {} if isinstance(wrapped, linen.Module) else vars(wrapped)
    if set(fields) == {"static_module", "params_treedef"}:  # equinox
        leaves, structure = jax.tree.flatten(fields["static_module"])
        key = (tuple(leaves), structure, fields["params_treedef"])
        return key if is_hashable(key) else id(wrapped)
    return _hashable(wrapped)


def drawn_again(model: object, key: Array) -> object | None:
    """A new nnx or equinox module of the same class, or None if its constructor wants more than a random key.

    Args:
        model: The module, which holds its parameters.
        key: A JAX key.
    """
    arguments = list(signature(type(model).__init__).parameters.values())[1:]
    wanted = [
        p
        for p in arguments
        if p.default is Parameter.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(wanted) != 1 or wanted[0].kind is Parameter.POSITIONAL_ONLY:
        return None
    given = nnx.Rngs(key) if isinstance(model, nnx.Module) else key
    try:
        new = type(model)(**{wanted[0].name: given})
    except (TypeError, ValueError, AttributeError):
        return None  # its one argument was something else
    return new


def _framework(wrapped: Wrapped, kind: type) -> model_frameworks.base.ModuleFramework:
    """The framework of NetKet's that made this wrapper."""
    for framework in model_frameworks.base.registered_frameworks:
        if type(wrapped).__module__ == framework.__module__:
            return framework
    return model_frameworks.base.UnknownFramework


def _without_scalars(function: ApplyFun) -> ApplyFun:
    """The function below the one that lets a single configuration through: ours are always (n, sites)."""
    while isinstance(function, HashablePartial) and function.func.__name__ == "maybe_scalar_fun":
        function = function.args[0]
    return function


def _applies(function: ApplyFun, wrapped: Wrapped) -> bool:
    """Whether it is what NetKet makes of a module: the module's own ``apply``."""
    return (
        isinstance(function, HashablePartial)
        and function.func.__module__.startswith("netket.vqs")
        and len(function.args) == 1
        and function.args[0] is wrapped
    )


def _with_collections(applied: Applied, state: nk.vqs.VariationalState) -> Applied:
    """The function with its mutable collections, where flax refuses to evaluate it without."""
    if state.mutable is False or state.mutable is None:
        return applied
    x = jax.ShapeDtypeStruct((2, state.hilbert.size), np.float64)
    try:
        jax.eval_shape(applied, state.variables, x)
    except errors.ModifyScopeVariableError:
        mutable = state.mutable
        names = mutable if mutable is True else tuple(np.atleast_1d(mutable).tolist())
        return Applied(applied.function, applied.identity, applied.method, names)
    return applied


def _hashable(value: object) -> Hashable:
    if isinstance(value, partial) and not isinstance(value, HashablePartial):
        return id(value)
    return value if isinstance(value, Hashable) and is_hashable(value) else id(value)

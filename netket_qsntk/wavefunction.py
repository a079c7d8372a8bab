"""A wave function as a pure function of its parameters, whatever it came from.

NetKet states and models give log ψ; kernels and losses here are of ψ. This is the one place that turns
the first into the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax import Array

from netket_qsntk.errors import NotANetworkError

Psi = Callable[[Any, Array], Array]


@dataclass(frozen=True)
class PureWaveFunction:
    """ψ as ``psi(parameters, x)``.

    Attributes:
        psi: (parameters, (n, sites)) -> (n,), real or complex amplitudes. A pytree: pass it to a jitted
            function as it is, and equal models share one compilation.
        parameters: The pytree of trained parameters.
        model: The flax linen module behind it, or None.
        log_psi: log ψ, called alike; safe where ψ itself would overflow.
    """

    psi: Psi
    parameters: Any
    model: Any = None
    log_psi: Psi | None = None


@partial(jax.tree_util.register_dataclass, data_fields=["rest"], meta_fields=["function"])
@dataclass(frozen=True, eq=False)
class _Bound:
    """``function(rest, parameters, x)`` with its first argument given: a pytree, and hashable.

    Without arrays in ``rest`` two that wrap equal models are equal, also as static arguments of
    :func:`jax.jit`.
    """

    function: Callable[[Any, Any, Array], Array]
    rest: Any

    def __call__(self, parameters: Any, x: Array) -> Array:
        return self.function(self.rest, parameters, x)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Bound) or jax.tree.leaves((self.rest, other.rest)):
            return self is other
        return self.function == other.function

    def __hash__(self) -> int:
        return id(self) if jax.tree.leaves(self.rest) else hash(self.function)


@dataclass(frozen=True)
class _LinenPsi:
    module: Any
    log: bool = False

    def __call__(self, rest: dict[str, Any], parameters: Any, x: Array) -> Array:
        variables = {"params": parameters, **rest}
        if self.log:
            return self.module.apply(variables, x)
        if callable(getattr(type(self.module), "psi", None)):
            return self.module.apply(variables, x, method="psi")
        return jnp.exp(self.module.apply(variables, x))


@dataclass(frozen=True)
class _NnxPsi:
    graph: Any
    log: bool = False

    def __call__(self, rest: Any, parameters: Any, x: Array) -> Array:
        module = nnx.merge(self.graph, parameters, rest)
        if self.log:
            return module(x)
        return module.psi(x) if callable(getattr(module, "psi", None)) else jnp.exp(module(x))


@dataclass(frozen=True)
class _FunctionPsi:
    log_psi: Callable[[Any, Array], Array]
    log: bool = False

    def __call__(self, rest: dict[str, Any], parameters: Any, x: Array) -> Array:
        value = self.log_psi({"params": parameters, **rest}, x)
        return value if self.log else jnp.exp(value)


def psi_function(model: Any, model_state: Any = None, *, log: bool = False) -> Psi:
    """``psi(parameters, x)`` of a flax module: its own ``psi`` method, or exp of its log ψ.

    Args:
        model: A linen or an nnx module (an nnx module's own parameters are not used).
        model_state: Variables that are not trained, as NetKet states hold them.
        log: Give log ψ instead.

    Raises:
        NotANetworkError: It is not a flax module.
    """
    if isinstance(model, nnx.Module):
        graph, state = nnx.split(model)
        _, rest = nnx.split_state(state, nnx.Param, ...)
        return _Bound(_NnxPsi(graph, log), nnx.to_pure_dict(rest))
    if isinstance(model, linen.Module) and model.scope is not None:
        model = model.unbind()[0]
    if not callable(getattr(model, "apply", None)):
        raise NotANetworkError(
            f"Expected a flax linen or nnx module, got {type(model).__name__}; pass a pair (apply_fun, "
            "variables) with apply_fun(variables, x) = log ψ(x) instead."
        )
    return _Bound(_LinenPsi(model, log), dict(model_state or {}))


def pure_wavefunction(state: Any) -> PureWaveFunction:
    """The wave function of a NetKet variational state, or of a pair (apply_fun, variables).

    Args:
        state: Anything with ``model``, ``parameters`` and ``model_state`` (FullSumState, MCState), or
            ``(apply_fun, variables)`` with ``apply_fun(variables, x)`` = log ψ(x), as NetKet's.

    Raises:
        NotANetworkError: It is neither.

    Example:
        >>> import netket as nk
        >>> from netket_qsntk.wavefunction import pure_wavefunction
        >>> vs = nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 3), nk.models.RBM())
        >>> wavefunction = pure_wavefunction(vs)
        >>> wavefunction.psi(wavefunction.parameters, vs.hilbert.all_states()).shape
        (8,)
    """
    if isinstance(state, tuple) and len(state) == 2 and callable(state[0]):
        apply_fun, variables = state
        rest = dict(variables)
        parameters = rest.pop("params", {})
        psi, log_psi = (_Bound(_FunctionPsi(apply_fun, log), rest) for log in (False, True))
        return PureWaveFunction(psi, parameters, log_psi=log_psi)
    if getattr(state, "n_members", None) is not None:
        raise NotANetworkError(
            f"{type(state).__name__} holds {state.n_members} networks; pass one of them, "
            "state.get_state(i)."
        )
    if all(hasattr(state, name) for name in ("model", "parameters", "model_state")):
        model = state.model
        of_model, log_of_model = (
            psi_function(model, state.model_state, log=log) for log in (False, True)
        )
        known = model if isinstance(model, linen.Module) and model.scope is None else None
        return PureWaveFunction(of_model, state.parameters, known, log_of_model)
    raise NotANetworkError(
        f"Expected a NetKet variational state or (apply_fun, variables), got {type(state).__name__}."
    )

"""A wave function as a pure function of its parameters, whatever it came from.

NetKet states and models give log ψ; kernels and losses here are of ψ. This is the one place that turns
the first into the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx
from jax import Array
from jax.tree_util import Partial

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
    """

    psi: Psi
    parameters: Any
    model: Any = None


@dataclass(frozen=True)
class _LinenPsi:
    module: Any

    def __call__(self, rest: dict[str, Any], parameters: Any, x: Array) -> Array:
        variables = {"params": parameters, **rest}
        if callable(getattr(type(self.module), "psi", None)):
            return self.module.apply(variables, x, method="psi")
        return jnp.exp(self.module.apply(variables, x))


@dataclass(frozen=True)
class _NnxPsi:
    graph: Any

    def __call__(self, rest: Any, parameters: Any, x: Array) -> Array:
        module = nnx.merge(self.graph, parameters, rest)
        return module.psi(x) if callable(getattr(module, "psi", None)) else jnp.exp(module(x))


@dataclass(frozen=True)
class _FunctionPsi:
    log_psi: Callable[[Any, Array], Array]

    def __call__(self, rest: dict[str, Any], parameters: Any, x: Array) -> Array:
        return jnp.exp(self.log_psi({"params": parameters, **rest}, x))


def psi_function(model: Any, model_state: Any = None) -> Psi:
    """``psi(parameters, x)`` of a flax module: its own ``psi`` method, or exp of its log ψ.

    Args:
        model: A linen or an nnx module (an nnx module's own parameters are not used).
        model_state: Variables that are not trained, as NetKet states hold them.

    Raises:
        NotANetworkError: It is not a flax module.
    """
    if isinstance(model, nnx.Module):
        graph, _, rest = nnx.split(model, nnx.Param, ...)
        return Partial(_NnxPsi(graph), nnx.to_pure_dict(rest))
    if isinstance(model, linen.Module) and model.scope is not None:
        model = model.unbind()[0]
    if not callable(getattr(model, "apply", None)):
        raise NotANetworkError(
            f"Expected a flax linen or nnx module, got {type(model).__name__}; pass a pair (apply_fun, "
            "variables) with apply_fun(variables, x) = log ψ(x) instead."
        )
    return Partial(_LinenPsi(model), dict(model_state or {}))


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
        return PureWaveFunction(Partial(_FunctionPsi(apply_fun), rest), parameters)
    if getattr(state, "n_members", None) is not None:
        raise NotANetworkError(
            f"{type(state).__name__} holds {state.n_members} networks; pass one of them, "
            "state.get_state(i)."
        )
    if all(hasattr(state, name) for name in ("model", "parameters", "model_state")):
        model = state.model
        psi = psi_function(model, state.model_state)
        known = model if isinstance(model, linen.Module) and model.scope is None else None
        return PureWaveFunction(psi, state.parameters, known)
    raise NotANetworkError(
        f"Expected a NetKet variational state or (apply_fun, variables), got {type(state).__name__}."
    )

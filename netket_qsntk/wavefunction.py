"""A wave function as a pure function of its parameters, whatever it came from.

NetKet states and models give log ψ; kernels and losses here are of ψ. This is the one place that turns the
first into the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from netket_qsntk.errors import NotANetworkError


@dataclass(frozen=True)
class PureWaveFunction:
    """ψ as ``psi(parameters, x)``.

    Attributes:
        psi: (parameters, (n, sites)) -> (n,), real or complex amplitudes.
        parameters: The pytree of trained parameters.
        model: The module behind it, or None.
    """

    psi: Callable[[Any, Array], Array]
    parameters: Any
    model: Any = None


def psi_function(model: Any, model_state: Any = None) -> Callable[[Any, Array], Array]:
    """``psi(parameters, x)`` of a flax module: its own ``psi`` method, or exp of its log ψ."""
    rest = dict(model_state or {})
    if callable(getattr(type(model), "psi", None)):

        def psi(parameters: Any, x: Array) -> Array:
            return model.apply({"params": parameters, **rest}, x, method="psi")

    else:

        def psi(parameters: Any, x: Array) -> Array:
            return jnp.exp(model.apply({"params": parameters, **rest}, x))

    return psi


def pure_wavefunction(state: Any) -> PureWaveFunction:
    """The wave function of a NetKet variational state, or of a pair (apply_fun, variables).

    Args:
        state: Anything with ``model``, ``parameters`` and ``model_state`` (FullSumState, MCState), or
            ``(apply_fun, variables)`` with ``apply_fun(variables, x)`` = log ψ(x), as NetKet's.

    Raises:
        NotANetworkError: It is neither.
    """
    if isinstance(state, tuple) and len(state) == 2 and callable(state[0]):
        apply_fun, variables = state
        variables = dict(variables)
        parameters = variables.pop("params", {})

        def psi(parameters: Any, x: Array) -> Array:
            return jnp.exp(apply_fun({"params": parameters, **variables}, x))

        return PureWaveFunction(psi, parameters)
    if getattr(state, "n_members", None) is not None:
        raise NotANetworkError(
            f"{type(state).__name__} holds {state.n_members} networks; pass one of them, state.get_state(i)."
        )
    if all(hasattr(state, name) for name in ("model", "parameters", "model_state")):
        psi = psi_function(state.model, state.model_state)
        return PureWaveFunction(psi, state.parameters, state.model)
    raise NotANetworkError(
        f"Expected a NetKet variational state or (apply_fun, variables), got {type(state).__name__}."
    )

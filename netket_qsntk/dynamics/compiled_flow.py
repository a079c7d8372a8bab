"""The compiled steps of a function-space flow.

The flow itself, with its loss and optimiser, is a static argument: equal calls of one flow share a program. Its
operator and the target's amplitudes are traced.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.text import summary


class FlowState(NamedTuple):
    """Where gradient descent stands, for one wave function or with a leading axis of members."""

    psi: Array
    """Ψ = Ψ₀ + Θα on the configurations of the loss: (…, n)."""
    alpha: Array
    """α, what the optimiser moves: (…, n)."""
    optimizer: Any
    """What the optimiser remembers."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


def _of_members(function: Any, *stacked: Any) -> Any:
    """``function`` of one member, or of all in turn."""
    first = jax.tree.leaves(stacked)[0]
    if first.ndim == 1:
        return function(*stacked)
    return jax.lax.map(lambda one: function(*one), stacked)


def _several(
    flow: Any, operator: Any, amplitudes: Any, state: FlowState, n_steps: Any
) -> FlowState:
    def one(_: Any, state: FlowState) -> FlowState:
        return flow._moved(operator, state, flow._gradient(state.psi, amplitudes))

    return jax.lax.fori_loop(0, n_steps, one, state)


@partial(jax.jit, static_argnums=0)
def descend(
    flow: Any, operator: Any, amplitudes: Any, state: FlowState, gaps: Array
) -> tuple[FlowState, Array]:
    """The last state, and ψ after each of consecutive numbers of steps."""

    def several(state: FlowState, gap: Array) -> tuple[FlowState, Array]:
        state = _several(flow, operator, amplitudes, state, gap)
        return state, state.psi

    return jax.lax.scan(several, state, gaps)


@partial(jax.jit, static_argnums=0)
def advance(flow: Any, operator: Any, amplitudes: Any, state: FlowState, n_steps: Any) -> FlowState:
    """``n_steps`` steps of one wave function or of many."""
    return _of_members(lambda s: _several(flow, operator, amplitudes, s, n_steps), state)


@partial(jax.jit, static_argnums=0)
def step(flow: Any, operator: Any, state: FlowState, gradient: Array) -> FlowState:
    """One step of one wave function or of many along a gradient."""
    return _of_members(lambda s, g: flow._moved(operator, s, g), state, gradient)


@partial(jax.jit, static_argnums=0)
def evaluate(flow: Any, psi: Array, amplitudes: Any) -> tuple[Array, Array]:
    """L and its gradient, of one wave function or of many."""

    def one(psi: Array) -> tuple[Array, Array]:
        return flow.loss.value(psi, amplitudes), flow._gradient(psi, amplitudes)

    return _of_members(one, psi)


@partial(jax.jit, static_argnums=0)
def values(flow: Any, psi: Array, amplitudes: Any) -> Array:
    """L of wave functions (k, n) in turn: (k,)."""
    return jax.lax.map(lambda one: flow.loss.value(one, amplitudes), psi)


@partial(jax.jit, static_argnums=0)
def largest_curvature(flow: Any, operator: Any, psi: Array, start: Array, n_products: int) -> Array:
    """The largest modulus of an eigenvalue of Θ ∂g/∂ψ, by power iteration."""

    def gradient(psi: Array) -> Array:
        return flow._gradient(psi, flow._amplitudes)

    def one(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        v = carry[0] / jnp.linalg.norm(carry[0])
        moved = operator.product(jax.jvp(gradient, (psi,), (v,))[1])
        return moved, jnp.linalg.norm(moved)

    return jax.lax.fori_loop(0, n_products, one, (start, jnp.ones(())))[1]


def split(psi: Array) -> Array:
    """Real vectors (parts, …) of a real or complex one."""
    return jnp.stack([psi.real, psi.imag]) if jnp.iscomplexobj(psi) else psi[None]


def join(parts: Array, is_complex: bool) -> Array:
    """The vector of such parts."""
    return jax.lax.complex(parts[0], parts[1]) if is_complex else parts[0]

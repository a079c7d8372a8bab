"""The compiled steps of a function-space flow.

All that a step reads is one pytree, :class:`Descent`: flows of one kind share a program, whatever their kernels,
targets and rates, and no program keeps one of them alive.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from netket_qsntk.dynamics.optimizers import AffineStep
from netket_qsntk.losses import Loss
from netket_qsntk.operators import KernelOperator
from netket_qsntk.readout import FixedReadout
from netket_qsntk.text import summary

Result = TypeVar("Result")


class FlowState(NamedTuple):
    """Where gradient descent stands, for one wave function or with a leading axis of members."""

    psi: Array
    """Ψ = Ψ₀ + Θα on the configurations of the loss: (…, n)."""
    alpha: Array
    """α, what the optimiser moves: (…, n)."""
    optimizer: optax.OptState
    """What the optimiser remembers."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


class Mover(eqx.Module):
    """A linear optimiser of α, real or complex (whose parts are different coordinates)."""

    @abc.abstractmethod
    def init(self, alpha: Array) -> optax.OptState:
        """What is remembered at the start."""

    @abc.abstractmethod
    def update(
        self, gradient: Array, alpha: Array, memory: optax.OptState
    ) -> tuple[Array, optax.OptState]:
        """The change of α, and what is remembered then."""

    @staticmethod
    def of(optimizer: optax.GradientTransformation) -> "Mover":
        """As numbers where its steps are alike."""
        step = AffineStep.of(optimizer)
        if step is None:
            return _AsItIs(optimizer)
        change = step.from_state - jnp.eye(len(step.from_gradient))
        return _Affine(jnp.asarray(change), jnp.asarray(step.from_gradient))


class _Affine(Mover):
    """Steps that are all alike: change of (α, memory) = from_state (α, memory) + from_gradient g."""

    from_state: Array
    from_gradient: Array

    def init(self, alpha: Array) -> Array:
        return jnp.zeros((len(self.from_gradient) - 1, *alpha.shape), alpha.dtype)

    def update(self, gradient: Array, alpha: Array, memory: Array) -> tuple[Array, Array]:
        z = jnp.concatenate([alpha[None], memory])
        change = jnp.tensordot(self.from_state, z, 1) + jnp.multiply.outer(
            self.from_gradient, gradient
        )
        return change[0], memory + change[1:]


class _AsItIs(Mover):
    """Steps that change with time (schedules): one program for each optimiser."""

    optimizer: optax.GradientTransformation = eqx.field(static=True)

    def init(self, alpha: Array) -> optax.OptState:
        return self.optimizer.init(split(alpha))

    def update(
        self, gradient: Array, alpha: Array, memory: optax.OptState
    ) -> tuple[Array, optax.OptState]:
        update, memory = self.optimizer.update(split(gradient), memory, split(alpha))
        return join(update, jnp.iscomplexobj(alpha)), memory


class Descent(eqx.Module):
    """Loss, kernel, target's amplitudes and optimiser of a flow."""

    loss: Loss
    operator: KernelOperator
    amplitudes: Array | None
    mover: Mover
    readout: FixedReadout | None = None
    """What is moved, if it is not ψ: functions f take the place of ψ everywhere."""

    def value(self, psi: Array) -> Array:
        """L."""
        if self.readout is None:
            return self.loss.value(psi, self.amplitudes)
        return self.loss.value_of_f(self.readout, psi, self.amplitudes)

    def gradient(self, psi: Array) -> Array:
        """∂L/∂ψ₁ + i ∂L/∂ψ₂ (its real part for real ψ), or that of f."""
        if self.readout is None:
            gradient = self.loss.gradient(psi, self.amplitudes)
        else:
            _, gradient = self.loss.value_and_f_gradient(self.readout, psi, self.amplitudes)
        return gradient if jnp.iscomplexobj(psi) else gradient.real

    def start(self, psi: Array) -> FlowState:
        """Before the first step."""
        alpha = jnp.zeros_like(psi)
        return FlowState(psi, alpha, self.mover.init(alpha))

    def moved(self, state: FlowState, gradient: Array) -> FlowState:
        """One step along a gradient."""
        psi, alpha, memory = state
        update, memory = self.mover.update(gradient, alpha, memory)
        return FlowState(psi + self.operator.product(update), alpha + update, memory)

    def several(self, state: FlowState, n_steps: Array) -> FlowState:
        """So many steps."""
        return jax.lax.fori_loop(
            0, n_steps, lambda _, s: self.moved(s, self.gradient(s.psi)), state
        )


def _of_members(function: Callable[..., Result], *stacked: FlowState | Array) -> Result:
    """``function`` of one member, or of all in turn."""
    first = jax.tree.leaves(stacked)[0]
    if first.ndim == 1:
        return function(*stacked)
    return jax.lax.map(lambda one: function(*one), stacked)


@jax.jit
def descend(flow: Descent, state: FlowState, gaps: Array) -> tuple[FlowState, Array]:
    """The last state, and ψ after each of consecutive numbers of steps."""

    def several(state: FlowState, gap: Array) -> tuple[FlowState, Array]:
        state = flow.several(state, gap)
        return state, state.psi

    return jax.lax.scan(several, state, gaps)


@jax.jit
def advance(flow: Descent, state: FlowState, n_steps: Array) -> FlowState:
    """``n_steps`` steps of one wave function or of many."""
    return _of_members(lambda s: flow.several(s, n_steps), state)


@jax.jit
def step(flow: Descent, state: FlowState, gradient: Array) -> FlowState:
    """One step of one wave function or of many along a gradient."""
    return _of_members(flow.moved, state, gradient)


@jax.jit
def evaluate(flow: Descent, psi: Array) -> tuple[Array, Array]:
    """L and its gradient, of one wave function or of many."""

    def one(psi: Array) -> tuple[Array, Array]:
        return flow.value(psi), flow.gradient(psi)

    return _of_members(one, psi)


@jax.jit
def values(flow: Descent, psi: Array) -> Array:
    """L of wave functions (k, n) in turn: (k,)."""
    return jax.lax.map(flow.value, psi)


@jax.jit
def largest_curvature(flow: Descent, psi: Array, start: Array, n_products: int) -> Array:
    """The largest modulus of an eigenvalue of Θ ∂g/∂ψ, by power iteration."""

    def one(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        v = carry[0] / jnp.linalg.norm(carry[0])
        moved = flow.operator.product(jax.jvp(flow.gradient, (psi,), (v,))[1])
        return moved, jnp.linalg.norm(moved)

    return jax.lax.fori_loop(0, n_products, one, (start, jnp.ones(())))[1]


class _Parts(NamedTuple):
    real: Array
    imag: Array


def in_parts(flow: Descent) -> Descent:
    """The flow with complex numbers in parts, for an integrator that warns of complex ones."""
    return jax.tree.map(lambda t: _Parts(t.real, t.imag) if jnp.iscomplexobj(t) else t, flow)


def velocity(t: Array, y: Array, args: tuple[Descent, Array]) -> Array:
    """dψ/dτ of the parts of ψ, for a flow in parts and its rate."""
    parts, rate = args
    flow = jax.tree.map(
        lambda t: jax.lax.complex(*t) if isinstance(t, _Parts) else t,
        parts,
        is_leaf=lambda t: isinstance(t, _Parts),
    )
    return split(-rate * flow.operator.product(flow.gradient(join(y, len(y) == 2))))


def split(psi: Array) -> Array:
    """Real vectors (parts, …) of a real or complex one."""
    return jnp.stack([psi.real, psi.imag]) if jnp.iscomplexobj(psi) else psi[None]


def join(parts: Array, is_complex: bool) -> Array:
    """The vector of such parts."""
    return jax.lax.complex(parts[0], parts[1]) if is_complex else parts[0]

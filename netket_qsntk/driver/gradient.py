"""Value and gradient of a loss for every member of an ensemble, as one compiled program in bounded memory.

Networks are differentiated in what they compute, ψ or log ψ. A loss that does not depend on the norm sees ψ relative
to its largest amplitude, so that log ψ may be of any size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.losses import Loss
from netket_qsntk.parallel.mesh import map_members
from netket_qsntk.vqs.evaluate import amplitudes, chunked
from netket_qsntk.vqs.members import scaled
from netket_qsntk.wavefunction import Psi


def pull_back(
    function: Psi,
    parameters: PyTree,
    x: Array,
    aux: Array,
    cotangent: Callable[[Array, Array], Array],
    rows: int,
) -> tuple[Array, PyTree]:
    """ψ (n,) and Σ_x cotangent_x ∂ψ(x)/∂θ, chunk by chunk; ``cotangent`` sees a chunk of ψ and of aux.

    Of a ``function`` that is log ψ, the same with log ψ for ψ.
    """

    def one(x: Array, aux: Array, weight: Array | float) -> tuple[Array, PyTree]:
        value, vjp = jax.vjp(lambda p: function(p, x), parameters)
        # JAX pulls back with the conjugate convention: conj(∂L/∂ψ₁ + i∂L/∂ψ₂) gives ∂L/∂Re θ - i∂L/∂Im θ.
        pulled = (weight * cotangent(value, aux)).conj()
        real = not jnp.iscomplexobj(value)
        (gradient,) = vjp((pulled.real if real else pulled).astype(value.dtype))
        return value, gradient

    if rows >= len(x):
        value, gradient = one(x, aux, 1.0)
    else:
        (xs, weights), (auxs, _) = chunked(x, rows), chunked(aux, rows)

        def add(total: PyTree, chunk: tuple[Array, Array, Array]) -> tuple[PyTree, Array]:
            value, gradient = one(*chunk)
            return jax.tree.map(jnp.add, total, gradient), value

        zero = jax.tree.map(jnp.zeros_like, parameters)
        gradient, values = jax.lax.scan(add, zero, (xs, auxs, weights))
        value = values.reshape(-1)[: len(x)]
    return value, jax.tree.map(jnp.conj, gradient)


def seen_by(loss: Loss, values: Array, is_log: bool) -> Array:
    """The amplitudes (…, n) that a loss is given, of values of ψ or log ψ (…, n)."""
    if not is_log:
        return values
    return scaled(values, True)[0] if loss.scale_invariant else jnp.exp(values)


def value_gradient(
    loss: Loss, values: Array, target: Array, is_log: bool, n: int | None = None
) -> Array:
    """∂L/∂ψ₁ + i∂L/∂ψ₂ (m,), or the same for log ψ: with ∂ψ/∂log ψ = ψ it is ψ* times the first."""
    psi = seen_by(loss, values, is_log)
    gradient = loss.gradient(psi, target) if n is None else loss.gradient(psi, target, n)
    return psi.conj() * gradient if is_log else gradient


@partial(jax.jit, static_argnums=(2, 3))
def losses_and_gradients(
    networks: tuple[Psi, PyTree], loss: Loss, is_log: bool, rows: int, x: Array, target: Array
) -> tuple[Array, Array, PyTree]:
    """(L (members,), values (members, n), ∂L/∂θ stacked) at configurations x (n, sites).

    Args:
        networks: (what they compute, parameters), both stacked over members: equal models share one program.
        loss: A pytree too.
        is_log: Whether they compute log ψ.
        rows: Configurations evaluated at once.
        x: Configurations.
        target: Amplitudes of the target there.
    """

    def member(network: tuple[Psi, PyTree], x: Array, target: Array) -> tuple[Array, Array, PyTree]:
        function, p = network
        if loss.is_local:
            n = len(x)
            values, gradient = pull_back(
                function, p, x, target, lambda v, t: value_gradient(loss, v, t, is_log, n), rows
            )
        else:
            whole = value_gradient(loss, amplitudes(function, p, x, rows), target, is_log)
            values, gradient = pull_back(function, p, x, whole, lambda _, w: w, rows)
        return loss.value(seen_by(loss, values, is_log), target), values, gradient

    return map_members(member, networks, x, target)


@partial(jax.jit, static_argnums=1)
def losses(loss: Loss, is_log: bool, values: Array, target: Array) -> Array:
    """L of each member from values of ψ or log ψ (members, n): (members,)."""
    return jax.vmap(lambda v: loss.value(seen_by(loss, v, is_log), target))(values)


@jax.jit
def fidelities(train: Array, test: Array, target_train: Array, target_test: Array) -> Array:
    """|⟨ψ_T|ψ⟩|²/⟨ψ|ψ⟩ of each member from ψ (members, n) on two sets that make up the basis."""
    overlap = train @ target_train.conj() + test @ target_test.conj()
    norm = jnp.sum(jnp.abs(train) ** 2, -1) + jnp.sum(jnp.abs(test) ** 2, -1)
    return jnp.abs(overlap) ** 2 / norm


@partial(jax.jit, static_argnums=0)
def fidelities_of_values(is_log: bool, values: Array, target: Array) -> Array:
    """The same from values of ψ or log ψ on the whole basis (members, n), with a target of any norm (n,)."""
    psi, _ = scaled(values, is_log)
    weight = jnp.sum(jnp.abs(psi) ** 2, -1) * jnp.sum(jnp.abs(target) ** 2)
    return jnp.abs(psi @ target.conj()) ** 2 / weight


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["function", "loss", "x", "target"],
    meta_fields=["is_log", "rows"],
)
@dataclass(frozen=True)
class Objective:
    """The loss of one network as a function of its parameters, for optimisers that ask for it."""

    function: Psi
    loss: Loss
    x: Array
    target: Array
    is_log: bool
    rows: int

    def __call__(self, parameters: PyTree) -> Array:
        """L: a scalar."""
        values = amplitudes(self.function, parameters, self.x, self.rows)
        return self.loss.value(seen_by(self.loss, values, self.is_log), self.target)

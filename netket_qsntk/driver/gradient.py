"""Value and gradient of a loss for every member of an ensemble, as one compiled program in bounded memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.losses import Loss
from netket_qsntk.parallel.mesh import map_members
from netket_qsntk.vqs.evaluate import Psi, amplitudes, chunked


def pull_back(
    psi: Psi,
    parameters: Any,
    x: Array,
    aux: Array,
    cotangent: Callable[[Array, Array], Array],
    rows: int,
) -> tuple[Array, Any]:
    """ψ (n,) and Σ_x cotangent_x ∂ψ(x)/∂θ, chunk by chunk; ``cotangent`` sees a chunk of ψ and of aux."""

    def one(x: Array, aux: Array, weight: Array | float) -> tuple[Array, Any]:
        value, vjp = jax.vjp(lambda p: psi(p, x), parameters)
        # JAX pulls back with the conjugate convention: conj(∂L/∂ψ₁ + i∂L/∂ψ₂) gives ∂L/∂Re θ - i∂L/∂Im θ.
        pulled = (weight * cotangent(value, aux)).conj()
        real = not jnp.iscomplexobj(value)
        (gradient,) = vjp((pulled.real if real else pulled).astype(value.dtype))
        return value, gradient

    if rows >= len(x):
        value, gradient = one(x, aux, 1.0)
    else:
        (xs, weights), (auxs, _) = chunked(x, rows), chunked(aux, rows)

        def add(total: Any, chunk: tuple[Array, Array, Array]) -> tuple[Any, Array]:
            value, gradient = one(*chunk)
            return jax.tree.map(jnp.add, total, gradient), value

        zero = jax.tree.map(jnp.zeros_like, parameters)
        gradient, values = jax.lax.scan(add, zero, (xs, auxs, weights))
        value = values.reshape(-1)[: len(x)]
    return value, jax.tree.map(jnp.conj, gradient)


@partial(
    jax.jit, static_argnums=2
)  # ψ and the loss are pytrees: equal models and kinds share one program
def losses_and_gradients(
    psi: Psi, loss: Loss, rows: int, parameters: Any, x: Array, target: Array
) -> tuple[Array, Array, Any]:
    """(L (members,), ψ (members, n), ∂L/∂θ stacked) for stacked parameters and configurations x (n, sites)."""

    def member(p: Any, x: Array, target: Array) -> tuple[Array, Array, Any]:
        if loss.is_local:
            n = len(x)
            value, gradient = pull_back(
                psi, p, x, target, lambda v, t: loss.gradient(v, t, n), rows
            )
        else:
            whole = loss.gradient(amplitudes(psi, p, x, rows), target)
            value, gradient = pull_back(psi, p, x, whole, lambda _, w: w, rows)
        return loss.value(value, target), value, gradient

    return map_members(member, parameters, x, target)


@jax.jit
def fidelities(train: Array, test: Array, target_train: Array, target_test: Array) -> Array:
    """|⟨ψ_T|ψ⟩|²/⟨ψ|ψ⟩ of each member from ψ (members, n) on two sets that make up the basis."""
    overlap = train @ target_train.conj() + test @ target_test.conj()
    norm = jnp.sum(jnp.abs(train) ** 2, -1) + jnp.sum(jnp.abs(test) ** 2, -1)
    return jnp.abs(overlap) ** 2 / norm

"""Training of ψ₀ + J(θ - θ₀) in parameter space, for any NetKet state: the oracle of linearised training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def amplitudes(state, variables):
    """ψ on the whole basis: the model's own ``psi``, or exp of its log ψ."""
    x = state.hilbert.all_states()
    if hasattr(type(state.model), "psi"):
        return state.model.apply(variables, x, method="psi") + 0j
    return jnp.exp(state.model.apply(variables, x)) + 0j


def train_linearization(states, target, train, optimizer, n_steps):
    """ψ_t (states, n_steps + 1, n_states) of the linearisation around the parameters each state has now.

    The gradient of the loss is JAX's own, through ``jax.jvp``; the optimiser acts on the displacement of the
    parameters. All states have one model.
    """
    state = states[0]
    goal = jnp.asarray(target.amplitudes)[train]

    @jax.jit
    def trajectory(start):
        def linearized(displacement):
            psi, change = jax.jvp(
                lambda p: amplitudes(state, {"params": p, **state.model_state}),
                (start,),
                (displacement,),
            )
            return psi + change

        def loss(displacement):
            psi = linearized(displacement)
            return jnp.mean(jnp.abs(psi[train] - goal) ** 2), psi

        def step(carry, _):
            displacement, memory = carry
            (_, psi), gradient = jax.value_and_grad(loss, has_aux=True)(displacement)
            # JAX gives the conjugate of the steepest ascent for complex parameters.
            gradient = jax.tree.map(jnp.conj, gradient)
            update, memory = optimizer.update(gradient, memory, displacement)
            return (optax.apply_updates(displacement, update), memory), psi

        displacement = jax.tree.map(jnp.zeros_like, start)
        carry = displacement, optimizer.init(displacement)
        return jax.lax.scan(step, carry, length=n_steps + 1)[1]

    return np.stack([trajectory(s.parameters) for s in states])

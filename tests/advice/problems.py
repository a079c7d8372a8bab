"""Small systems whose answers are known."""

from functools import cache

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen

HILBERT = nk.hilbert.Spin(0.5, 6)
RING = nk.graph.Chain(6)
ISING = nk.operator.IsingJax(HILBERT, RING, h=1.0, J=-1.0)


class Table(linen.Module):
    """log ψ(x) = θ_x + i φ_x: linear in its parameters, a complete tangent space."""

    with_phase: bool = False
    scale: float = 0.0

    @linen.compact
    def __call__(self, x):
        draw = linen.initializers.normal(self.scale)
        bits = jnp.asarray((x + 1) / 2, int)
        index = bits @ (2 ** jnp.arange(x.shape[-1]))
        value = self.param("amplitude", draw, (2 ** x.shape[-1],), float)[index]
        if self.with_phase:
            value = value + 1j * self.param("phase", draw, (2 ** x.shape[-1],), float)[index]
        return value


@cache
def spectrum():
    return np.linalg.eigh(ISING.to_dense().real)


def ground_state_table():
    """A FullSumState whose table holds the exact ground state of the ring."""
    state = nk.vqs.FullSumState(HILBERT, Table())
    psi = np.abs(spectrum()[1][:, 0])
    index = np.asarray((HILBERT.all_states() + 1) / 2, int) @ (2 ** np.arange(6))
    table = np.zeros(64)
    table[index] = np.log(psi)
    state.parameters = {"amplitude": jnp.asarray(table)}
    return state


def energy(state, operator=ISING):
    """⟨H⟩ as a function of parameters, by the dense matrix."""
    x = jnp.asarray(state.hilbert.all_states())
    matrix = jnp.asarray(operator.to_dense())

    def value(parameters):
        log = state.model.apply({"params": parameters}, x)
        psi = jnp.exp(log - jnp.max(log.real))
        return (jnp.vdot(psi, matrix @ psi) / jnp.vdot(psi, psi)).real

    return value


def hessian(state, operator=ISING):
    flat, back = jax.flatten_util.ravel_pytree(state.parameters)
    return jax.hessian(lambda v: energy(state, operator)(back(v)))(flat)


class Field(linen.Module):
    """log ψ = θ Σ x: independent spins."""

    size: float

    @linen.compact
    def __call__(self, x):
        theta = self.param("theta", linen.initializers.constant(self.size), (), float)
        return theta * jnp.sum(x, -1)

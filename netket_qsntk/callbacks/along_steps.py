"""Changes of the loss and of the function along steps of a run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_drivers import loss_name
from netket_qsntk.vqs import EnsembleState, InfiniteState
from netket_qsntk.wavefunction import Psi, PureWaveFunction

__all__ = [
    "directional_derivative",
    "logged_loss",
    "members",
    "prediction_error",
    "push_forward",
    "square_norm",
]


def members(state: nk.vqs.VariationalState) -> int | None:
    """Number of networks of an ensemble, None for a state of one."""
    return state.n_members if isinstance(state, EnsembleState | InfiniteState) else None


def prediction_error(function: PureWaveFunction, x: Array, before: PyTree, centred: bool) -> float:
    """Relative error of the linearisation at earlier parameters about the present function on x; log ψ is centred."""
    change = jax.tree.map(jnp.subtract, function.parameters, before)
    line = push_forward(function.psi, before, change, x)
    moved = function.psi(function.parameters, x) - function.psi(before, x)
    if centred:
        line, moved = line - jnp.mean(line), moved - jnp.mean(moved)
    size = float(jnp.linalg.norm(moved))
    return float(jnp.linalg.norm(moved - line)) / size if size > 0 else 0.0


def square_norm(direction: PyTree) -> float:
    """‖direction‖² in parameter space."""
    return float(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(direction)))


@jax.jit
def push_forward(psi: Psi, parameters: PyTree, update: PyTree, x: Array) -> Array:
    """J times a direction in parameter space, (n,) complex."""
    update = jax.tree.map(lambda u, p: u.astype(p.dtype), update, parameters)
    return jax.jvp(lambda p: psi(p, x) + 0j, (parameters,), (update,))[1]


def logged_loss(driver: nk.driver.AbstractDriver, log_data: dict[str, object]) -> float | None:
    """The minimised quantity as it was logged, or the first ``Stats`` of a driver that names none."""
    named = log_data.get(loss_name(driver) or "")
    for value in (named, *log_data.values()):
        if isinstance(value, nk.stats.Stats):
            return float(np.real(value.mean))
    return None


def directional_derivative(
    driver: nk.driver.AbstractDriver, gradient: PyTree
) -> Callable[[PyTree], float] | None:
    """Function of new parameters: first-order change of the loss from the present ones; None if unknown."""
    if gradient is None:
        return None
    start = jax.tree.map(jnp.array, driver.state.parameters)
    # NetKet's convention and ours: ∂L/∂Re θ + i ∂L/∂Im θ for a complex parameter.
    number = members(driver.state) or 1

    def change(parameters: PyTree) -> float:
        total = 0.0
        for g, new, old in zip(*map(jax.tree.leaves, (gradient, parameters, start)), strict=True):
            total += float(jnp.sum(jnp.conj(g) * (new - old)).real)
        return total / number

    return change

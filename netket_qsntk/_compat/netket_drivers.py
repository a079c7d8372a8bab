"""What NetKet's drivers computed in this step, which they keep in private attributes.

A callback's hook is given the driver, but NetKet 3.23 has no public name for the update, the gradient of the
loss, its name in the log or the Hamiltonian of a driver.
"""

from collections.abc import Callable

import jax.numpy as jnp
import netket as nk
import plum
from netket._src.callbacks import auto_chunk_size
from netket.utils.types import PyTree

from netket_qsntk._compat.attributes import held
from netket_qsntk.tracing import same_structure


def update_direction(driver: nk.driver.AbstractDriver) -> PyTree:
    """The pytree that the optimiser is about to be given; None for a driver that takes no such step (TDVP)."""
    update = held(driver, "_dp")
    return update if same_structure(update, driver.state.parameters) else None


def loss_gradient(driver: nk.driver.AbstractDriver) -> PyTree:
    """The gradient of the loss in NetKet's convention, or None where a driver has none to give.

    For VMC it was computed on the way. VMC_SR solves for the natural gradient directly: the plain one costs one
    more estimate.
    """
    gradient = held(driver, "_loss_grad")
    if gradient is not None:
        return gradient
    hamiltonian = held(driver, "_ham")
    if isinstance(driver, nk.driver.VMC_SR) and hamiltonian is not None:
        return driver.state.expect_and_grad(hamiltonian)[1]
    return None


def loss_name(driver: object) -> str | None:
    """The key under which a driver logs what it minimises."""
    return held(driver, "_loss_name")


def refuse_chunk_tuning(kind: type) -> Callable[[Callable], Callable]:
    """Register what ``nk.callbacks.AutoChunkSize`` is told of drivers of this kind."""

    def register(refuse: Callable) -> Callable:
        signature = plum.Signature(kind)
        auto_chunk_size.get_forward_operator.register(refuse, signature=signature)
        return refuse

    return register


def hamiltonian_of(driver: nk.driver.AbstractDriver) -> nk.operator.AbstractOperator | None:
    """The operator whose expectation value a driver minimises, or None."""
    if not isinstance(driver, nk.driver.VMC | nk.driver.VMC_SR):
        return None
    return driver._ham


def diag_shift_of(driver: nk.driver.AbstractDriver) -> float | None:
    """λ of natural gradient descent at this step, None for other steps."""
    if isinstance(driver, nk.driver.VMC_SR):
        shift = driver.diag_shift
    elif isinstance(driver, nk.driver.VMC) and is_plain_sr(driver.preconditioner):
        shift = driver.preconditioner.diag_shift
    else:
        return None
    return float(shift(driver.step_count) if callable(shift) else shift)


def is_plain_sr(preconditioner: object) -> bool:
    """Whether it is SR with the same shift of every parameter."""
    return isinstance(preconditioner, nk.optimizer.SR) and preconditioner.diag_scale is None


def is_gradient_or_sr(driver: nk.driver.AbstractDriver) -> bool:
    """Whether the optimiser is given the gradient itself, or SR's solution with one shift for all parameters."""
    if not isinstance(driver, nk.driver.VMC):
        return isinstance(driver, nk.driver.VMC_SR)
    own = driver.preconditioner
    return own is nk.optimizer.identity_preconditioner or is_plain_sr(own)


def next_change(driver: nk.driver.AbstractDriver, update: PyTree) -> PyTree:
    """What the optimiser would add to the parameters for this update; its state is left alone."""
    state = held(driver, "_optimizer_state")
    if update is None or state is None:
        return None
    return driver.optimizer.update(update, state, driver.state.parameters)[0]


def rewind(
    driver: nk.driver.AbstractDriver, parameters: PyTree, optimizer_state: PyTree, momentum: PyTree
) -> None:
    """Put a driver back where it was: parameters, optimiser and what SR remembers of old updates."""
    driver.state.parameters = parameters
    driver._optimizer_state = optimizer_state
    if momentum is not None:
        driver._old_updates = momentum


def memory_of(driver: nk.driver.AbstractDriver) -> tuple[PyTree, PyTree]:
    """What :func:`rewind` wants back: the optimiser's state and old updates."""
    return held(driver, "_optimizer_state"), held(driver, "_old_updates")


def loss_stats(driver: nk.driver.AbstractDriver) -> nk.stats.Stats | None:
    """Statistics of the loss of the step that was just computed, before they are logged."""
    return held(driver, "_loss_stats")


def injected_rate(driver: nk.driver.AbstractDriver) -> float | None:
    """The learning rate of an optimiser made by ``optax.inject_hyperparams``, None for others."""
    state = held(driver, "_optimizer_state")
    rate = (held(state, "hyperparams") or {}).get("learning_rate")
    return None if rate is None else float(rate)


def inject_rate(driver: nk.driver.AbstractDriver, rate: float) -> None:
    """Change it, from the next update on."""
    held = driver._optimizer_state.hyperparams
    held["learning_rate"] = jnp.full_like(held["learning_rate"], rate)

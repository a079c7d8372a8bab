"""What NetKet's drivers computed in this step, which they keep in private attributes.

A callback's hook is given the driver, but NetKet 3.23 has no public name for the update, the gradient of the
loss, its name in the log or the Hamiltonian of a driver.
"""

from collections.abc import Callable
from typing import Any

import jax
import netket as nk
import plum
from netket._src.callbacks import auto_chunk_size


def update_direction(driver: Any) -> Any:
    """The pytree that the optimiser is about to be given; None for a driver that takes no such step (TDVP)."""
    update = getattr(driver, "_dp", None)
    shapes: list[Any] = [jax.tree.structure(t) for t in (update, driver.state.parameters)]
    same = shapes[0] == shapes[1]
    return update if same else None


def loss_gradient(driver: Any) -> Any:
    """The gradient of the loss in NetKet's convention, or None where a driver has none to give.

    For VMC it was computed on the way. VMC_SR solves for the natural gradient directly: the plain one costs one
    more estimate.
    """
    gradient = getattr(driver, "_loss_grad", None)
    if gradient is not None:
        return gradient
    hamiltonian = getattr(driver, "_ham", None)
    if isinstance(driver, nk.driver.VMC_SR) and hamiltonian is not None:
        return driver.state.expect_and_grad(hamiltonian)[1]
    return None


def loss_name(driver: Any) -> str | None:
    """The key under which a driver logs what it minimises."""
    return getattr(driver, "_loss_name", None)


def refuse_chunk_tuning(kind: type) -> Callable[[Callable], Callable]:
    """Register what ``nk.callbacks.AutoChunkSize`` is told of drivers of this kind."""

    def register(refuse: Callable) -> Callable:
        signature = plum.Signature(kind)
        auto_chunk_size.get_forward_operator.register(refuse, signature=signature)
        return refuse

    return register

"""Settings of a natural-gradient flow: numbers or schedules, and which combinations make sense."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from netket.operator import DiscreteOperator

from netket_qsntk.errors import InvalidTrainingError, SystemTooLargeError
from netket_qsntk.losses import Energy, Loss
from netket_qsntk.targets import check_summable

Schedule = float | Callable[[int], Any]

# What a schedule may give at most; zero at least.
_UPPER = {"learning_rate": np.inf, "diag_shift": np.inf, "momentum": 1.0}

# Basis states at most: vectors of 32 MB.
_LARGEST = 2**22


def summable_loss(hamiltonian: DiscreteOperator) -> tuple[Loss, int]:
    """The loss, and the number of basis states that it sums over."""
    try:
        loss = hamiltonian if isinstance(hamiltonian, Loss) else Energy(hamiltonian)
        hilbert = loss.hilbert or loss.target.hilbert
        return loss, check_summable(hilbert, task="NaturalGradientFlow", max_states=_LARGEST)
    except SystemTooLargeError as error:
        raise SystemTooLargeError(
            f"{error} Or train the infinitely wide network on samples: qs.models.InfiniteWidth(network, centres) "
            "in an MCState, with NetKet's own VMC_SR."
        ) from None


def at_step(name: str, value: Schedule | None, step: int) -> Array:
    """A setting at one step; None is 0.

    Raises:
        InvalidTrainingError: A schedule leaves the range of the setting.
    """
    given = value(step) if callable(value) else value
    number = jnp.asarray(0.0 if given is None else given, float)
    if callable(value) and not 0 <= float(number) <= _UPPER[name]:
        limit = f"from 0 to {_UPPER[name]:g}" if np.isfinite(_UPPER[name]) else ">= 0"
        raise InvalidTrainingError(
            f"The schedule of {name} gives {float(number):.4g} at step {step}: expected a number {limit}."
        )
    return number


def table(name: str, value: Schedule | None, steps: int) -> Array:
    """A setting at every step, or one number for all."""
    if not callable(value):
        return at_step(name, value, 0)[None]
    return jnp.asarray([float(at_step(name, value, t)) for t in range(max(1, int(steps)))])


def said(value: Schedule | None) -> str:
    """A setting in few characters."""
    return "a schedule" if callable(value) else str(value)


def check(
    loss: Loss,
    *,
    learning_rate: Any,
    diag_shift: Any,
    momentum: Any,
    flow: bool,
    propagation: str,
    mode: str | None,
    solver: str,
) -> None:
    """Raise :class:`InvalidTrainingError` for numbers out of range and options that contradict one another."""
    for name, value, allowed in (
        ("mode", mode, (None, "real", "complex")),
        ("propagation", propagation, ("imag", "real")),
        ("solver", solver, ("auto", "dense", "products")),
    ):
        if value not in allowed:
            raise InvalidTrainingError(f"{name}={value!r}: expected one of {allowed}.")
    rate, shift = learning_rate, diag_shift
    if not callable(rate) and not (np.isfinite(rate) and rate > 0):
        raise InvalidTrainingError(f"learning_rate={rate!r}: expected a number > 0, or a schedule.")
    if shift is not None and not callable(shift) and not (np.isfinite(shift) and shift >= 0):
        raise InvalidTrainingError(
            f"diag_shift={shift!r}: expected a number >= 0, a schedule, or None for gradient descent. A negative "
            "shift makes T + λ indefinite."
        )
    if momentum is not None and not callable(momentum) and not 0 <= momentum <= 1:
        raise InvalidTrainingError(
            f"momentum={momentum!r}: expected a number from 0 to 1, or None."
        )
    if momentum is not None and (shift is None or flow):
        raise InvalidTrainingError(
            "momentum is SPRING's, for steps of SR (diag_shift=λ): give optax.sgd(η, momentum=…) to a driver for "
            "gradient descent with momentum; flows have none."
        )
    if flow and any(callable(v) for v in (rate, shift)):
        raise InvalidTrainingError(
            "A flow has constant settings: give numbers instead of schedules."
        )
    if not loss.scale_invariant:
        raise InvalidTrainingError(
            f"{type(loss).__name__} depends on the norm of ψ, which the geometry of SR does not see: use an "
            "energy, an infidelity or tomography, or FunctionSpaceFlow for this loss."
        )

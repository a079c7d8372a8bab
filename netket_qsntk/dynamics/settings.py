"""From what a user says about the optimiser to a :class:`~netket_qsntk.dynamics.response.Response`."""

from typing import Literal

import jax
import optax

from netket_qsntk.alert import alert, once
from netket_qsntk.dynamics.optimizers import check_linear, constant_rate
from netket_qsntk.dynamics.response import (
    GradientDescent,
    GradientFlow,
    Response,
    optimizer_response,
)
from netket_qsntk.errors import (
    InvalidTrainingError,
    SinglePrecisionWarning,
    UnstableLearningRateWarning,
)
from netket_qsntk.spectral import limit_tolerance

Mode = Literal["gd", "flow"]


# One warning a process: the setting belongs to the process.
_issued: set[type[Warning]] = set()


def check_precision() -> None:
    """Warn, once, if JAX computes in float32."""
    if jax.config.read("jax_enable_x64"):
        return
    with once(_issued):
        alert(
            "JAX's 64-bit mode is off: training is solved in float32, where modes of the kernel below about "
            "n·1e-7 of the largest are rounding and do not train. Leave JAX_ENABLE_X64 unset, or call "
            "jax.config.update('jax_enable_x64', True) before the first array is made.",
            SinglePrecisionWarning,
        )


def make_response(
    n_train: int,
    learning_rate: float | None,
    optimizer: optax.GradientTransformation | None,
    mode: Mode,
) -> Response:
    """The response of the modes to gradient descent (``"gd"``), gradient flow (``"flow"``) or an optimiser.

    Raises:
        InvalidTrainingError: Both or neither of learning_rate and optimizer, an unknown mode, or a flow of an
            optimiser that is not plain gradient descent.
        NonLinearOptimizerError: An optimiser without a closed form.
    """
    check_precision()
    if mode not in ("gd", "flow"):
        raise InvalidTrainingError(f"mode={mode!r}: expected 'gd' or 'flow'.")
    if (learning_rate is None) == (optimizer is None):
        raise InvalidTrainingError(
            "Expected exactly one of learning_rate=η and optimizer=optax.sgd(η, …), got "
            + ("neither." if optimizer is None else "both.")
        )
    if optimizer is not None:
        check_linear(optimizer)
        learning_rate = constant_rate(optimizer)
        if learning_rate is None:
            if mode == "flow":
                raise InvalidTrainingError(
                    "mode='flow' is the continuous-time limit of plain gradient descent: give learning_rate=η "
                    "or optax.sgd(η) with constant η, or use mode='gd'."
                )
            return optimizer_response(optimizer, n_train)
    if learning_rate is None or not learning_rate > 0:
        raise InvalidTrainingError(f"learning_rate={learning_rate}: expected a number > 0.")
    rate = 2 * learning_rate / n_train
    return GradientFlow(rate) if mode == "flow" else GradientDescent(rate)


def warn_if_unstable(response: Response, largest_eigenvalue: float, n_train: int) -> None:
    """Warn, with the limit, when the top mode of the kernel grows instead of decaying; not at the limit itself."""
    growth = response.growth(largest_eigenvalue)
    if growth is None or growth <= 1 + limit_tolerance():
        return
    margin = response.stability_margin(largest_eigenvalue)
    limit = f"{margin:.4g} times the present one"
    if isinstance(response, GradientDescent):
        limit = f"η = {margin * response.rate * n_train / 2:.6g}, {limit}"
    alert(
        f"The learning rate is beyond the stability limit ({limit}): the loss will diverge. "
        "qs.kernels.max_learning_rate(kernel, states) gives the limit of plain gradient descent.",
        UnstableLearningRateWarning,
    )

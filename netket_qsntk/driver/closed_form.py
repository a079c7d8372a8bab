"""Drivers that know the whole curve: ``run`` reads it out step by step, ``predict`` gives it at once."""

from collections.abc import Callable
from typing import Any, cast

import jax
import netket as nk
import numpy as np
import optax
from netket.utils import struct
from netket.utils.types import PyTree
from numpy.typing import ArrayLike

from netket_qsntk.driver.base import SupervisedDriver
from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses import Loss
from netket_qsntk.targets import Target
from netket_qsntk.vqs import EnsembleState

_FIRST_BLOCK, _LARGEST_BLOCK = 32, 4096

Numbers = np.ndarray | tuple[np.ndarray, np.ndarray]
"""An array (steps,), or the means and errors of such an array."""
Curve = dict[str, Numbers]
"""Logged key -> numbers at given steps."""


class CurveReader:
    """Single steps of a curve that is computed in blocks, which grow as it is read on.

    Args:
        predict: The numbers at given steps.
    """

    def __init__(self, predict: Callable[[np.ndarray], Curve]) -> None:
        self._predict = predict
        self._start, self._stop = 0, 0
        self._values: Curve = {}

    def at(self, step: int, members: int = 1) -> dict[str, nk.stats.Stats]:
        """The numbers of one step, of so many members."""
        if not self._start <= step < self._stop:
            size = _FIRST_BLOCK
            if self._values and step == self._stop:
                size = min(_LARGEST_BLOCK, 4 * (self._stop - self._start))
            self._values = self._predict(np.arange(step, step + size, dtype=float))
            self._start, self._stop = step, step + size
        i = step - self._start
        out = {}
        for key, value in self._values.items():
            mean, error = value if isinstance(value, tuple) else (value, None)
            sigma = 0.0 if error is None else float(error[i])
            out[key] = nk.stats.Stats(
                mean=float(mean[i]), error_of_mean=sigma, variance=members * sigma**2
            )
        return out


class ClosedFormDriver(SupervisedDriver):
    """Base of :class:`LinearizedDriver` and :class:`InfiniteWidthDriver`: the optimiser cannot be exchanged.

    A subclass gives :meth:`_predict`, the logged numbers at given steps, and :meth:`_now`, those of this step.
    """

    _solved_with: optax.GradientTransformation = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Target | nk.vqs.VariationalState | nk.operator.AbstractOperator | Loss,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        **options: Any,
    ) -> None:
        super().__init__(target, optimizer, variational_state=variational_state, **options)
        if self.batch_size is not None and not self._takes_batches():
            raise InvalidTrainingError(
                f"{type(self).__name__} is for the whole training set only, got batch_size={self.batch_size}. "
                "Use batch_size=None, or train with QSNTKDriver."
            )
        self._solved_with = optimizer

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optax optimiser whose curve this is; it cannot be exchanged."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optax.GradientTransformation) -> None:
        if "_solved_with" in self.__dict__:
            raise InvalidTrainingError(
                f"{type(self).__name__} has solved the training with its optimiser. Build another driver for "
                "another optimiser."
            )
        self._optimizer, self._optimizer_state = optimizer, cast(PyTree, ())

    def _takes_batches(self) -> bool:
        """Whether minibatches are predicted."""
        return False

    def _predict(self, steps: np.ndarray) -> Curve:
        """The logged numbers at given steps."""
        raise TypeError(f"{type(self).__name__} does not define _predict.")

    def _now(self) -> dict[str, nk.stats.Stats]:
        """The logged numbers of this step."""
        raise TypeError(f"{type(self).__name__} does not define _now.")

    def predict(self, steps: ArrayLike) -> dict[str, np.ndarray]:
        """What ``run`` would log at these steps, without a run.

        Args:
            steps: Numbers of optimiser steps, any array; ∞ allowed. Losses at step t are those after t updates.

        Returns:
            For each logged key an array (steps,); standard errors over members under ``key/error`` where there are
            members, and ``steps`` itself.

        Raises:
            InvalidTrainingError: A step is negative or not a number.
            InvalidTrainingError: ∞ for an optimiser whose steps change with time.
        """
        steps = np.atleast_1d(np.asarray(steps, dtype=float))
        out = {"steps": steps}
        values = self._predict(steps)
        for key, value in {self._loss_name: values["loss/train"], **values}.items():
            if isinstance(value, tuple):
                out[key], out[f"{key}/error"] = (np.asarray(v) for v in value)
            else:
                out[key] = np.asarray(value)
        return out

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, PyTree]:
        """The training loss of this step; no parameter moves."""
        return self._now()["loss/train"], self._dp

    def update_parameters(self, dp: PyTree) -> None:
        """Nothing to update: the curve is known."""

    def _log_additional_data(self, log_dict: dict[str, object]) -> None:
        super()._log_additional_data(log_dict)
        evaluate = self.step_count % self.evaluate_every == 0
        for key, value in self._now().items():
            if evaluate or key.startswith("loss/train"):
                log_dict[key] = value


def check_optimizer(
    optimizer: optax.GradientTransformation, state: nk.vqs.VariationalState
) -> None:
    """Raise unless the optimiser has a closed form, also where it looks at names and shapes of parameters.

    Raises:
        NonLinearOptimizerError: It has none.
    """
    parameters = state.parameters
    if not jax.tree.leaves(parameters):
        parameters = None
    elif isinstance(state, EnsembleState):  # those of one network
        parameters = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), parameters
        )
    check_linear(optimizer, parameters)

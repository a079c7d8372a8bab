"""Drivers that know the whole curve: ``run`` reads it out step by step, ``predict`` gives it at once."""

from typing import Any

import jax
import netket as nk
import numpy as np
import optax
from netket.utils import struct

from netket_qsntk.driver.base import SupervisedDriver
from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses import MSE

_FIRST_BLOCK, _LARGEST_BLOCK = 32, 4096


class ClosedFormDriver(SupervisedDriver):
    """Base of :class:`LinearizedDriver` and :class:`InfiniteWidthDriver`.

    A subclass gives :meth:`_predict`: the logged numbers at given steps. Curves are computed in blocks of steps
    that grow as the run goes on.
    """

    _block: Any = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        **options: Any,
    ) -> None:
        check_linear(optimizer, _one_network(variational_state))
        state = self._own_state(variational_state, options)
        super().__init__(target, optimizer, variational_state=state, **options)
        self._check_loss()
        if self.batch_size is not None:
            raise InvalidTrainingError(
                f"{type(self).__name__} is for the whole training set only, got batch_size={self.batch_size}. "
                "Use batch_size=None, or train with QSNTKDriver."
            )
        self._block = None

    def _check_loss(self) -> None:
        """Raise unless this driver can train on the loss."""
        if not isinstance(self.loss, MSE):
            raise InvalidTrainingError(
                f"{type(self).__name__} solves the mean square error; training on {type(self.loss).__name__} is "
                "not linear in function space. Use loss='mse', or train with QSNTKDriver or InfiniteWidthDriver."
            )

    def _own_state(
        self, state: nk.vqs.VariationalState, options: dict[str, Any]
    ) -> nk.vqs.VariationalState:
        """The state of this driver, made from the one it was given."""
        return state

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optax optimiser whose curve this is; it cannot be exchanged."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optax.GradientTransformation) -> None:
        if self._ready:
            raise InvalidTrainingError(
                f"{type(self).__name__} has solved the training with its optimiser. Build another driver for "
                "another optimiser."
            )
        nothing: Any = ()
        self._optimizer, self._optimizer_state = optimizer, nothing

    @property
    def _ready(self) -> bool:
        return "_block" in self.__dict__

    def _predict(self, steps: np.ndarray) -> dict[str, Any]:
        """Logged key -> array (steps,), or (mean, error) of such arrays."""
        raise TypeError(f"{type(self).__name__} does not define _predict.")

    def predict(self, steps: Any) -> dict[str, Any]:
        """What ``run`` would log at these steps, without a run.

        Args:
            steps: Numbers of optimiser steps, any array; ∞ allowed. Losses at step t are those after t updates.

        Returns:
            For each logged key an array (steps,); standard errors over members under ``key/error`` where there are
            members, and ``steps`` itself.

        Raises:
            InvalidTrainingError: A step is negative or not a number.
            UndefinedLimitError: ∞ for an optimiser whose steps change with time.
        """
        steps = np.atleast_1d(np.asarray(steps, dtype=float))
        out: dict[str, Any] = {"steps": steps}
        values = self._predict(steps)
        for key, value in {self._loss_name: values["loss/train"], **values}.items():
            if isinstance(value, tuple):
                out[key], out[f"{key}/error"] = (np.asarray(v) for v in value)
            else:
                out[key] = np.asarray(value)
        return out

    def _now(self) -> dict[str, Any]:
        step = self.step_count
        if self._block is None or not self._block[0] <= step < self._block[1]:
            size = _FIRST_BLOCK
            if self._block is not None and step == self._block[1]:
                size = min(_LARGEST_BLOCK, 4 * (self._block[1] - self._block[0]))
            self._block = (
                step,
                step + size,
                self._predict(np.arange(step, step + size, dtype=float)),
            )
        start, _, values = self._block
        i = step - start
        out = {}
        for key, value in values.items():
            mean, error = value if isinstance(value, tuple) else (value, None)
            sigma = 0.0 if error is None else float(error[i])
            members = self._members()
            out[key] = nk.stats.Stats(
                mean=float(mean[i]), error_of_mean=sigma, variance=members * sigma**2
            )
        return out

    def _members(self) -> int:
        return getattr(self.state, "n_members", None) or 1

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, Any]:
        """The training loss of this step; no parameter moves."""
        return self._now()["loss/train"], self._dp

    def update_parameters(self, dp: Any) -> None:
        """Nothing to update: the curve is known."""

    def _log_additional_data(self, log_dict: dict[str, Any]) -> None:
        super()._log_additional_data(log_dict)
        evaluate = self.step_count % self.evaluate_every == 0
        for key, value in self._now().items():
            if evaluate or key.startswith("loss/train"):
                log_dict[key] = value


def _one_network(state: Any) -> Any:
    """Parameters of one network of the state, in name and shape; None where it has none."""
    parameters = state.parameters
    if not jax.tree.leaves(parameters):
        return None
    if getattr(state, "n_members", None) is None:
        return parameters
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), parameters)

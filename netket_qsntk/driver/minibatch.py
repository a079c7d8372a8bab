"""The engine of minibatch training at infinite width: drawn networks on the batches of the finite drivers."""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import netket as nk
from jax import Array

from netket_qsntk.driver.function_space import FunctionSpaceEngine
from netket_qsntk.dynamics.compiled_flow import FlowState
from netket_qsntk.vqs import EnsembleState


class MinibatchEngine(FunctionSpaceEngine):
    """Steps f ← f - ηΘ(·, B_t) ∂L_{B_t}/∂f of drawn initial functions on given batches B_t.

    The batches are those that :class:`~netket_qsntk.driver.QSNTKDriver` takes with the same seed, so that curves of
    finite networks lie on the predicted ones, step by step, and scatter as the drawn wave functions do. What is
    averaged over batches as well is :func:`netket_qsntk.learning.stochastic_curve`.

    Args:
        batch: Step -> numbers of the batch in the training set.
        options: See :class:`~netket_qsntk.driver.function_space.FunctionSpaceEngine`.
    """

    def __init__(self, *options: Any, batch: Callable[[int], Array | None]) -> None:
        super().__init__(*options)
        self._batch = batch

    def evaluate(
        self, step: int, state: EnsembleState, *, full: bool
    ) -> tuple[dict[str, nk.stats.Stats], dict[str, Array]]:
        """The numbers of a step, over the whole training set, and the gradient of the batch's loss."""
        numbers, gradient = super().evaluate(step, state, full=full)
        whole = gradient[self._table.key]
        on_train = self._of_batch(step, self._on_train(whole))
        if not self._is_whole:
            on_train = jnp.zeros_like(whole).at[:, self._indices[0]].set(on_train)
        return numbers, {self._table.key: on_train}

    def _follow(self, start: FlowState, steps: list[int]) -> Iterator[FlowState]:
        here, at = start, 0
        for step in steps:
            while at < step:
                gradient = self._of_batch(at, self.dynamics.evaluate(here.psi)[1])
                here, at = self.dynamics.step(here, gradient), at + 1
            yield here

    def _of_batch(self, step: int, gradient: Array) -> Array:
        """From the gradient of the mean over the training set to that over the batch."""
        index = self._batch(step)
        if index is None:
            return gradient
        n = gradient.shape[-1]
        weights = jnp.zeros(n).at[index].set(n / len(index))
        return gradient * weights

    def __repr__(self) -> str:
        return f"minibatches in {super().__repr__()}"

"""What a way of summing gives a driver at each step, and what it is asked."""

from typing import NamedTuple, Protocol

import netket as nk
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.driver.gradient import Objective
from netket_qsntk.driver.importance import SampledObjective
from netket_qsntk.losses import Loss
from netket_qsntk.targets import Target
from netket_qsntk.vqs.members import Members


class Evaluation(NamedTuple):
    """Of one step.

    Attributes:
        loss: The training loss.
        values: Of every member, (members,).
        gradient: Stacked over members.
        logged: Key -> what is logged besides.
        objective: The loss as a function of the parameters, or None where there is none.
    """

    loss: nk.stats.Stats
    values: Array
    gradient: PyTree
    logged: dict[str, nk.stats.Stats]
    objective: Objective | SampledObjective | None


class Training(Protocol):
    """What a way of summing looks at in its driver."""

    state: nk.vqs.VariationalState
    loss: Loss
    target: Target | None
    evaluate_every: int
    train: PyTree
    test: PyTree
    _pool: PyTree

    @property
    def _sampled_target(self) -> Target | nk.vqs.VariationalState | None:
        """What target samples are drawn from now."""

    @property
    def step_count(self) -> int:
        """Updates so far."""

    @property
    def n_train(self) -> int:
        """Size of the training set."""

    def batch(self, step: int) -> Array | None:
        """The minibatch of a step."""


class Summation(Protocol):
    """A way to sum over configurations: over the whole basis, or over samples."""

    def describe(self) -> tuple[str, ...]:
        """For the driver's ``repr``."""

    def evaluate(self, driver: Training, members: Members) -> Evaluation:
        """Loss, gradient and what is logged at this step."""

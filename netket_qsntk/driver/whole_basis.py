"""Losses over a training set and fidelities over the whole basis, all sums exact."""

import jax.numpy as jnp

from netket_qsntk.driver.evaluation import Evaluation, Training
from netket_qsntk.driver.gradient import (
    Objective,
    fidelities_of_values,
    losses,
    losses_and_gradients,
)
from netket_qsntk.parallel.mpi import over_ranks
from netket_qsntk.targets import Dataset
from netket_qsntk.vqs.members import Members, over_members


class WholeBasis:
    """Training on a part of the basis, or all of it, and evaluation on all of it.

    Args:
        train: The training set.
        test: The rest of the basis; empty if there is none.
    """

    def __init__(self, train: Dataset, test: Dataset) -> None:
        self.train, self.test = (
            (jnp.asarray(data.states), jnp.asarray(data.amplitudes)) for data in (train, test)
        )

    def describe(self) -> tuple[str, ...]:
        """Nothing: sums are exact."""
        return ()

    def evaluate(self, driver: Training, members: Members) -> Evaluation:
        """The loss of this step's minibatch with its gradient, and at times everything that is logged."""
        (x, target), (x_test, target_test) = self.train, self.test
        index = driver.batch(driver.step_count)
        x_b, target_b = (x, target) if index is None else (x[index], target[index])
        loss, is_log = driver.loss, members.is_log
        rows = members.rows(len(x), x.shape[-1])
        values, found, gradient = over_ranks(
            lambda m: losses_and_gradients(m, loss, is_log, rows, x_b, target_b),
            (members.computed, members.parameters),
        )
        of_step, logged = over_members(values), {}
        if index is None:
            logged["loss/train"] = of_step
        if driver.step_count % driver.evaluate_every == 0:
            if index is not None:
                found = members.computed_at(x)
                logged["loss/train"] = over_members(losses(loss, is_log, found, target))
            rest = members.computed_at(x_test)
            if len(x_test):
                logged["loss/test"] = over_members(losses(loss, is_log, rest, target_test))
            if driver.target is not None:
                both = [jnp.concatenate(p, axis=-1) for p in ((found, rest), (target, target_test))]
                logged["fidelity"] = over_members(fidelities_of_values(is_log, *both))
        objective = None
        if members.is_real:
            objective = Objective(members.computed, loss, x_b, target_b, is_log, rows)
        return Evaluation(of_step, values, gradient, logged, objective)

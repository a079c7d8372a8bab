"""The engine of the infinite-width limit of other losses: drawn initial wave functions, step by step."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax import Array

from netket_qsntk.driver.closed_form import Curve
from netket_qsntk.driver.function_table import MemberTable
from netket_qsntk.driver.gradient import fidelities, fidelities_of_values
from netket_qsntk.dynamics import FunctionSpaceFlow
from netket_qsntk.dynamics.compiled_flow import FlowState
from netket_qsntk.dynamics.flow import check_steps
from netket_qsntk.dynamics.solution import Data
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.losses import Loss
from netket_qsntk.targets import Target
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.members import over_members

Memory = tuple[Array, optax.OptState, Array]
"""α, what the optimiser remembers, and the initial functions on the whole basis."""


class FunctionSpaceEngine:
    """Takes the steps of :class:`~netket_qsntk.dynamics.FunctionSpaceFlow` with many wave functions.

    It moves the functions f of networks; ψ is f itself where the table has no readout.

    Args:
        kernel: The infinite-width kernel.
        table: How the driver's state holds f.
        loss: What is minimised.
        target: For the fidelity, or None.
        data: Training and test set.
        indices: Their numbers in the basis.
        optimizer: A linear optimiser.
        show_progress: Whether bars count steps.
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        table: MemberTable,
        loss: Loss,
        target: Target | None,
        data: tuple[Data, Data],
        indices: tuple[np.ndarray, np.ndarray],
        optimizer: optax.GradientTransformation,
        show_progress: bool,
    ) -> None:
        train, test = data
        self._table, self._loss, self._target = table, loss, target
        self._train, self._test = train, test
        self._indices, self._is_whole = indices, not len(test.states)
        self.dynamics = FunctionSpaceFlow(
            kernel,
            loss,
            None if loss.whole_basis else train.states,
            None if target is None else train.amplitudes,
            optimizer=optimizer,
            readout=table.readout,
            show_progress=show_progress,
        )
        self._readouts = tuple(table.at(data.states) for data in (train, test))
        self._cross = None if self._is_whole else kernel.operator(test.states, train.states)

    def start(self, state: EnsembleState, initial: Array | None) -> Memory:
        """What is remembered before the first step."""
        initial = jnp.asarray(initial)
        start = self.dynamics.start(self._on_train(initial))
        return start.alpha, start.optimizer, initial

    def evaluate(
        self, step: int, state: EnsembleState, *, full: bool
    ) -> tuple[dict[str, nk.stats.Stats], dict[str, Array]]:
        """The numbers of a step, and ∂L/∂f on the whole basis (zero where nothing is trained)."""
        whole = self._table.functions(state)
        f = self._on_train(whole)
        losses, gradient = self.dynamics.evaluate(f)
        numbers = {"loss/train": losses}
        if full:
            numbers = self._numbers(losses, f, whole[:, self._indices[1]])
        if not self._is_whole:
            gradient = jnp.zeros_like(whole).at[:, self._indices[0]].set(gradient)
        stats = {key: over_members(value) for key, value in numbers.items()}
        return stats, {self._table.key: gradient}

    def step(
        self, step: int, state: EnsembleState, memory: Memory, gradient: dict[str, Array]
    ) -> Memory:
        """One step of every wave function."""
        alpha, optimizer, initial = memory
        here = FlowState(self._on_train(self._table.functions(state)), alpha, optimizer)
        moved = self.dynamics.step(here, self._on_train(gradient[self._table.key]))
        whole = moved.psi
        if not self._is_whole:
            train, test = self._indices
            there = self._on_test(initial, moved.alpha)
            whole = jnp.zeros_like(initial).at[:, train].set(moved.psi).at[:, test].set(there)
        self._table.set_functions(state, whole)
        return moved.alpha, moved.optimizer, initial

    def predict(self, steps: np.ndarray, memory: Memory) -> Curve:
        """The numbers of any finite steps, from the initial functions."""
        wanted, place = np.unique(steps, return_inverse=True)
        initial, rows = memory[2], []
        start = self.dynamics.start(self._on_train(initial))
        for state in self._follow(start, check_steps(wanted).astype(int).tolist()):
            losses, _ = self.dynamics.evaluate(state.psi)
            rows.append(self._numbers(losses, state.psi, self._on_test(initial, state.alpha)))
        out: Curve = {}
        for key in rows[0]:
            stats = [over_members(row[key]) for row in rows]
            mean, error = np.array([[s.mean, s.error_of_mean] for s in stats]).T
            out[key] = mean[place], error[place]
        return out

    def _follow(self, start: FlowState, steps: list[int]) -> Iterator[FlowState]:
        """The states after increasing numbers of steps."""
        return self.dynamics.follow(start, steps)

    def _on_train(self, f: Array) -> Array:
        return f if self._is_whole else f[:, self._indices[0]]

    def _on_test(self, initial: Array, alpha: Array) -> Array:
        """f = f₀ + Θα where nothing was trained: (members, n_test)."""
        there = initial[:, self._indices[1]]
        return there if self._cross is None else there + self._cross.product(alpha)

    def _numbers(self, losses: Array, f: Array, f_test: Array) -> dict[str, Array]:
        """Logged key -> values of the members."""
        (on_train, on_test), loss = self._readouts, self._loss
        out = {"loss/train": losses}
        if not self._is_whole:
            amplitudes = jnp.asarray(self._test.amplitudes)
            out["loss/test"] = jax.vmap(lambda v: loss.value_of_f(on_test, v, amplitudes))(f_test)
        if self._target is not None:
            both = [jnp.asarray(data.amplitudes) for data in (self._train, self._test)]
            if self._table.readout is None:
                out["fidelity"] = fidelities(f, f_test, *both)
            else:
                log_psi = [on_train.log_psi(f), on_test.log_psi(f_test)]
                values, target = jnp.concatenate(log_psi, axis=-1), jnp.concatenate(both)
                out["fidelity"] = fidelities_of_values(True, values, target)
        return out

    def __repr__(self) -> str:
        return (
            f"function space ({type(self.dynamics.operator).__name__}), mode={self.dynamics.mode!r}"
        )

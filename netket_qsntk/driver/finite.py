"""Training of finite networks on a target."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import optax
from netket.utils import struct

from netket_qsntk.driver.base import SupervisedDriver
from netket_qsntk.driver.draws import is_summable
from netket_qsntk.driver.gradient import fidelities, losses_and_gradients
from netket_qsntk.driver.preconditioned import check_preconditioner, precondition
from netket_qsntk.driver.readout import keep_readout, split_readout
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.parallel.mpi import over_ranks
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.evaluate import Psi, member_amplitudes, rows_per_chunk
from netket_qsntk.vqs.members import over_members
from netket_qsntk.wavefunction import psi_function, pure_wavefunction

# The driver that stands in where the basis is not summed over: its module, which knows this one, puts it here.
_SAMPLED: list[type["QSNTKDriver"]] = []


def where_sampled(driver: type["QSNTKDriver"]) -> type["QSNTKDriver"]:
    """Make this driver the one that :class:`QSNTKDriver` becomes where losses are estimated from samples."""
    _SAMPLED[:] = [driver]
    return driver


class QSNTKDriver(SupervisedDriver):
    r"""Supervised training of finite networks toward a target wave function.

    Minimises L = (1/|B|) Σ_B |ψ - ψ_T|² (or another loss) by an optax optimiser,
    θ ← θ - η (∂L/∂Re θ + i ∂L/∂Im θ). All members of an ensemble take their steps in one compiled program; a
    single network is an ensemble of one.

    Takes an :class:`~netket_qsntk.vqs.EnsembleState`, or a NetKet ``FullSumState`` or ``MCState`` with any
    NetKet model. Every optax optimiser works. Arguments, logged keys:
    :class:`~netket_qsntk.driver.base.SupervisedDriver`. Where the basis can be summed over the training set is a
    part of it and nothing is sampled; where it cannot, or with ``sampling``, losses are those of the whole basis,
    estimated from samples: :class:`~netket_qsntk.driver.sampled.SampledDriver`, whose options are the last three.

    Args:
        preconditioner: Called as ``preconditioner(state, gradient, step)`` like that of NetKet's VMC, for instance
            ``nk.optimizer.SR(diag_shift=0.01)``; its solution takes the gradient's place. For one network, not
            for an ensemble. The gradient is the whole one, ∂L/∂Re θ + i ∂L/∂Im θ.
        sampling: ``"target"``, ``"state"`` or ``"both"``: train on samples of |φ|², of |ψ|², or of both. None: only
            if the basis is too large to sum over.
        n_samples: Samples a step from a state that is not an MCState.
        control_variate: See :mod:`netket_qsntk.driver.overlap`.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(32, 1.0, 2.0), n_members=3, seed=0)
        >>> driver = qs.driver.QSNTKDriver(
        ...     target, optax.sgd(0.5), variational_state=vs, n_train=12, seed=1)
        >>> log = nk.logging.RuntimeLog()
        >>> _ = driver.run(5, out=log, show_progress=False)
        >>> loss = log.data["loss/train"].Mean
        >>> bool(loss[-1] < loss[0])
        True
    """

    _initial: Any = struct.field(pytree_node=True, serialize=True)
    _psi: Psi = struct.field(pytree_node=False, serialize=False)
    _step: Any = struct.field(pytree_node=False, serialize=False)
    _rows: int = struct.field(pytree_node=False, serialize=False)
    _data: Any = struct.field(pytree_node=False, serialize=False)
    _evaluation: Any = struct.field(pytree_node=False, serialize=False)
    _loss_grad: Any = struct.field(pytree_node=False, serialize=False)
    preconditioner: Any = struct.field(pytree_node=False, serialize=False)

    def __new__(
        cls, target: Any = None, *args: Any, sampling: str | None = None, **options: Any
    ) -> Any:
        """A :class:`~netket_qsntk.driver.sampled.SampledDriver` where the whole basis is not summed over."""
        # Copies, as a checkpoint makes them, come without arguments.
        summed = target is None or is_summable(target)
        if cls is QSNTKDriver and (sampling is not None or not summed):
            cls = _SAMPLED[0]
        return super().__new__(cls)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        preconditioner: Any = None,
        sampling: str | None = None,
        n_samples: int | None = None,
        control_variate: float | str | None = -0.5,
        **options: Any,
    ) -> None:
        if sampling is None and n_samples is not None:
            raise InvalidTrainingError(
                f"n_samples={n_samples} without sampling: this basis is summed over. Use sampling='target', "
                "'state' or 'both', or n_train for the size of the training set."
            )
        state = variational_state
        ensemble = isinstance(state, EnsembleState)
        self._psi = psi_function(state.model) if ensemble else pure_wavefunction(state).psi
        self._initial = jax.tree.map(jnp.array, state.parameters)
        super().__init__(target, optimizer, variational_state=state, **options)
        self._rows = getattr(state, "chunk_size", None) or rows_per_chunk(
            state.parameters, state.n_members if ensemble else 1, state.hilbert.size, self.n_train
        )
        if self.trainable == "readout":
            split_readout(state.parameters, state.model)
        check_preconditioner(preconditioner, state, self.trainable)
        self.preconditioner = preconditioner
        self._data = self._arrays()
        self._evaluation, self._loss_grad = {}, None

    def _arrays(self) -> Any:
        """The training and the test set as JAX arrays."""
        return [
            jnp.asarray(part)
            for data in (self.train, self.test)
            for part in (data.states, data.amplitudes)
        ]

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optax optimiser; a new one takes over from the present parameters with a fresh state."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optax.GradientTransformation) -> None:
        self._optimizer = optimizer
        ensemble = isinstance(self.state, EnsembleState)
        self._step = _per_member(optimizer) if ensemble else optimizer
        displacement = jax.tree.map(jnp.subtract, self.state.parameters, self._initial)
        self._optimizer_state = self._step.init(displacement)

    @property
    def _stacked(self) -> Any:
        """Parameters with a leading axis of members."""
        if isinstance(self.state, EnsembleState):
            return self.state.parameters
        return jax.tree.map(lambda leaf: leaf[None], self.state.parameters)

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, Any]:
        """The training loss of this step (mean over members) and the gradients."""
        x, target, x_test, target_test = self._data
        parameters = self._stacked
        index = self.batch(self.step_count)
        x_b, target_b = (x, target) if index is None else (x[index], target[index])
        losses, psi, gradient = over_ranks(
            lambda p: losses_and_gradients(self._psi, self.loss, self._rows, p, x_b, target_b),
            parameters,
        )
        self._evaluation = {}
        if index is None:
            self._evaluation["loss/train"] = over_members(losses)
        if self.step_count % self.evaluate_every == 0:
            if index is not None:
                psi = self._amplitudes(x)
                self._evaluation["loss/train"] = over_members(
                    jax.vmap(lambda p: self.loss.value(p, target))(psi)
                )
            psi_test = self._amplitudes(x_test)
            if len(self.test):
                self._evaluation["loss/test"] = over_members(
                    jax.vmap(lambda p: self.loss.value(p, target_test))(psi_test)
                )
            if self.target is not None:
                self._evaluation["fidelity"] = over_members(
                    fidelities(psi, psi_test, target, target_test)
                )
        return over_members(losses), self._direction(gradient)

    def _amplitudes(self, x: Any) -> Any:
        return over_ranks(lambda p: member_amplitudes(self._psi, p, x, self._rows), self._stacked)

    def _direction(self, gradient: Any) -> Any:
        """What the optimiser is given, from the gradients stacked over members."""
        if self.trainable == "readout":
            gradient = keep_readout(gradient)
        if not isinstance(self.state, EnsembleState):
            gradient = jax.tree.map(lambda leaf: leaf[0], gradient)
        self._loss_grad = gradient
        if self.preconditioner is None:
            return gradient
        return precondition(self.preconditioner, self.state, gradient, self.step_count)

    def reset_step(self, hard: bool = False) -> None:
        """An MCState is sampled anew where a preconditioner looks at its samples."""
        if self.preconditioner is not None and isinstance(self.state, nk.vqs.MCState):
            nk.driver.AbstractOptimizationDriver.reset_step(self, hard)

    def update_parameters(self, dp: Any) -> None:
        """One optimiser step."""
        parameters, self._optimizer_state = _update(
            self._step.update, dp, self._optimizer_state, self.state.parameters, self._initial
        )
        self.state.parameters = parameters

    def _log_additional_data(self, log_dict: dict[str, Any]) -> None:
        super()._log_additional_data(log_dict)
        log_dict.update(self._evaluation)

    def __repr__(self) -> str:
        return self._summary(f"loss={type(self.loss).__name__}", f"n_train={self.n_train}")


def _per_member(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser acting on each member by itself: norms and counters are those of one network."""
    return optax.GradientTransformation(
        jax.vmap(optimizer.init), lambda g, s, p=None: jax.vmap(optimizer.update)(g, s, p)
    )


@partial(jax.jit, static_argnums=0)
def _update(
    update: Any, gradient: Any, state: Any, parameters: Any, initial: Any
) -> tuple[Any, Any]:
    displacement = jax.tree.map(jnp.subtract, parameters, initial)
    updates, state = update(gradient, state, displacement)
    return optax.apply_updates(parameters, updates), state

"""Training of finite networks on a target."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax import Array
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk.driver.base import SupervisedDriver, target_and_loss
from netket_qsntk.driver.drawn_configurations import decorrelate, is_summable, snapshot
from netket_qsntk.driver.evaluation import Evaluation, Summation
from netket_qsntk.driver.preconditioned import Preconditioner, check_preconditioner, precondition
from netket_qsntk.driver.readout import keep_readout, split_readout, with_readout_of
from netket_qsntk.driver.sampled import Samples
from netket_qsntk.driver.steps import Known, decays_toward_start, initial_state, step
from netket_qsntk.driver.whole_basis import WholeBasis
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses import Loss
from netket_qsntk.targets import Target
from netket_qsntk.vqs.members import Members


class QSNTKDriver(SupervisedDriver):
    r"""Supervised training of finite networks toward a target wave function.

    Minimises L = (1/|B|) Σ_B |ψ - ψ_T|² (or another loss) by an optax optimiser,
    θ ← θ - η (∂L/∂Re θ + i ∂L/∂Im θ). All members of an ensemble take their steps in one compiled program; a
    single network is an ensemble of one.

    Takes an :class:`~netket_qsntk.vqs.EnsembleState`, or a NetKet ``FullSumState`` or ``MCState`` with a model of any
    framework, or none (``apply_fun``). Arguments, logged keys: :class:`~netket_qsntk.driver.base.SupervisedDriver`.
    Where the basis can be summed over the training set is a part of it and nothing is sampled; where it cannot, or
    with ``sampling``, losses are those of the whole basis, estimated from samples
    (:class:`~netket_qsntk.driver.sampled.Samples`, whose options are the last three). ``repr`` tells which.

    Every optax optimiser works. It sees the parameters, as in a loop by hand; one that reads them for weight decay
    sees displacements from the initial parameters, as in the closed forms: its decay pulls toward the initial
    networks. ``value``, ``grad`` and ``value_fn`` are there for line searches and the like.

    Args:
        preconditioner: Called as ``preconditioner(state, gradient, step)`` like that of NetKet's VMC, for instance
            ``nk.optimizer.SR(diag_shift=0.01)``; its solution takes the gradient's place. For one network, not
            for an ensemble. The gradient is the whole one, ∂L/∂Re θ + i ∂L/∂Im θ.
        sampling: ``"target"``, ``"state"`` or ``"both"``: train on samples of |φ|², of |ψ|², or of both. None: only
            if the basis is too large to sum over.
        n_samples: Samples a step from a state that is not an MCState.
        control_variate: See :mod:`netket_qsntk.driver.overlap`.

    Raises:
        NonFiniteError: In the run, a gradient with numbers that are none; the parameters are left as they are.
        BatchDependentError: Amplitudes depend on what they are evaluated with.

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

    summation: Summation = struct.field(pytree_node=False, serialize=False)
    preconditioner: Preconditioner | None = struct.field(pytree_node=False, serialize=False)
    _initial: PyTree = struct.field(pytree_node=True, serialize=True)
    _many: bool = struct.field(pytree_node=False, serialize=False)
    _anchored: bool = struct.field(pytree_node=False, serialize=False)
    _pool: PyTree = struct.field(pytree_node=False, serialize=True)
    _target_state: nk.vqs.MCState | None = struct.field(pytree_node=False, serialize=True)
    _evaluation: Evaluation | None = struct.field(pytree_node=False, serialize=False)
    _loss_grad: PyTree = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Target | nk.vqs.VariationalState | nk.operator.AbstractOperator | Loss,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        preconditioner: Preconditioner | None = None,
        sampling: str | None = None,
        n_samples: int | None = None,
        control_variate: float | str | None = -0.5,
        loss: str | Loss = "mse",
        seed: int = 0,
        **options: PyTree,
    ) -> None:
        state, members = variational_state, Members.of(variational_state)
        sampled = sampling is not None or not is_summable(target)
        if not sampled and n_samples is not None:
            raise InvalidTrainingError(
                f"n_samples={n_samples} without sampling: this basis is summed over. Use sampling='target', "
                "'state' or 'both', or n_train for the size of the training set."
            )
        self._initial, self._many = jax.tree.map(jnp.array, state.parameters), members.many
        self._pool = self._target_state = None
        samples = None
        if sampled:
            target, loss = target_and_loss(target, loss)
            samples = Samples(
                target, members, loss, sampling, n_samples, control_variate, seed,
                options.get("n_train"),
            )  # fmt: skip
            loss, self.summation = samples.loss, samples
        super().__init__(
            target, optimizer, variational_state=state, loss=loss, seed=seed, **options
        )
        if samples is None:
            self.summation = WholeBasis(self.train, self.test)
        else:
            decorrelate(self.target, state)
            self._target_state = self.target if isinstance(self.target, nk.vqs.MCState) else None
            samples.prepare(self, members)
        if self.trainable == "readout":
            split_readout(state.parameters, members.model)
        check_preconditioner(preconditioner, members, self.trainable)
        self.preconditioner = preconditioner
        self._evaluation, self._loss_grad = None, None

    @property
    def _samples(self) -> Samples | None:
        """The way of summing, where it is by samples."""
        chosen = vars(self).get("summation")
        return chosen if isinstance(chosen, Samples) else None

    @property
    def sampling(self) -> str | None:
        """Of what the configurations are drawn; None where the basis is summed over."""
        return None if self._samples is None else self._samples.sampling

    @property
    def _sampled_target(self) -> Target | nk.vqs.VariationalState | None:
        # A checkpoint brings another MCState, whose chains go on where the saved ones were.
        return self.target if self._target_state is None else self._target_state

    def configurations(self, n: int) -> Array | np.ndarray:
        """``n`` configurations (n, sites) of the kind that this driver trains on."""
        if self._samples is None:
            return self.train.states[:n]
        return self._samples.configurations(self, n)

    def _own_target(self, target: Target | nk.vqs.VariationalState) -> PyTree:
        return super()._own_target(target) if self._samples is None else snapshot(target)

    def _set_training_set(self, target: PyTree, n_train: int | None, seed: int) -> int:
        if self._samples is None:
            return super()._set_training_set(target, n_train, seed)
        nothing: PyTree = None
        self.train = self.test = self._indices = nothing
        self._pool = self._samples.pool(target, n_train)
        return self.n_train

    @property
    def n_train(self) -> int:
        """Number of configurations that are trained on: of the set, or drawn at each step."""
        if self._samples is None:
            return super().n_train
        return self._samples.n_samples if self._pool is None else len(self._pool["states"])

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optax optimiser; a new one takes over from the present parameters with a fresh state."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optax.GradientTransformation) -> None:
        self._optimizer = optimizer
        one = Members.of(self.state)[0].parameters
        self._anchored = decays_toward_start(optimizer, one)
        seen = self.state.parameters
        if self._anchored:
            seen = jax.tree.map(jnp.subtract, seen, self._initial)
        self._optimizer_state = initial_state(optimizer, seen, self._many)

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, PyTree]:
        """The training loss of this step (mean over members) and the gradients."""
        members = Members.of(self.state)
        self._evaluation = found = self.summation.evaluate(self, members)
        gradient = keep_readout(found.gradient) if self.trainable == "readout" else found.gradient
        self._loss_grad = members.unstack(gradient)
        if self.preconditioner is None:
            return found.loss, self._loss_grad
        return found.loss, precondition(
            self.preconditioner, self.state, self._loss_grad, self.step_count
        )

    def reset_step(self, hard: bool = False) -> None:
        """New samples, where they come from Markov chains and are looked at."""
        looked_at = self.preconditioner is not None or self._samples is not None
        if looked_at and isinstance(self.state, nk.vqs.MCState):
            nk.driver.AbstractOptimizationDriver.reset_step(self, hard)
        if self._target_state is not None:
            if hard:
                self._target_state.reset_hard()
            else:
                self._target_state.reset()

    def update_parameters(self, dp: PyTree) -> None:
        """One optimiser step.

        Raises:
            NonFiniteError: ``dp`` has numbers that are infinite or none; the parameters are not touched.
        """
        found = self._evaluation
        if found is None:
            raise InvalidTrainingError(
                "update_parameters(dp) before compute_loss_and_update(): use run() or advance()."
            )
        parameters, self._optimizer_state = step(
            self._optimizer,
            self._many,
            dp,
            self._optimizer_state,
            self.state.parameters,
            self._initial if self._anchored else None,
            Known(found.values, self._loss_grad, found.objective),
        )
        if self.trainable == "readout":
            parameters = with_readout_of(parameters, self.state.parameters)
        self.state.parameters = parameters

    def _log_additional_data(self, log_dict: dict[str, PyTree]) -> None:
        super()._log_additional_data(log_dict)
        if self._evaluation is not None:
            log_dict.update(self._evaluation.logged)
            self.warn_of_no_numbers(self._evaluation.logged)

    def __repr__(self) -> str:
        size = () if self._samples is not None else (f"n_train={self.n_train}",)
        chosen = vars(self).get("summation")
        how = () if chosen is None else chosen.describe()
        return self._summary(f"loss={type(self.loss).__name__}", *size, *how)

"""The infinite-width limit as a driver."""

from numbers import Integral
from typing import Any, cast

import netket as nk
import numpy as np
import optax
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk.driver.base import target_and_loss
from netket_qsntk.driver.closed_form import ClosedFormDriver, Curve, check_optimizer
from netket_qsntk.driver.function_space import FunctionSpaceEngine
from netket_qsntk.driver.function_table import MemberTable
from netket_qsntk.driver.gaussian_engine import GaussianEngine
from netket_qsntk.driver.minibatch import MinibatchEngine
from netket_qsntk.dynamics import FunctionSpaceFlow, LinearDynamics
from netket_qsntk.dynamics.linear import Solver, check_solver
from netket_qsntk.errors import InvalidTrainingError, UnknownKernelError
from netket_qsntk.losses import MSE, Loss
from netket_qsntk.progress import showing
from netket_qsntk.targets import Target
from netket_qsntk.vqs import EnsembleState, InfiniteState

_N_MEMBERS = 8


class InfiniteWidthDriver(ClosedFormDriver):
    r"""Curves of infinitely wide networks, averaged over all initialisations (arXiv:2112.00723, Eqs. 14-18).

    Drop-in for :class:`~netket_qsntk.driver.QSNTKDriver`: same arguments, same ``run``, same logged keys; of an
    ensemble it takes the model and the Hilbert space. Logged besides: ``loss/train/mean_part`` (L_μ),
    ``loss/train/variance_part`` (L_γ), and the same of the test set. ``fidelity`` is
    E|⟨ψ_T|ψ⟩|²/E⟨ψ|ψ⟩, a ratio of averages.

    ``driver.state`` is an :class:`~netket_qsntk.vqs.InfiniteState` that holds the trained ensemble.

    That is for the mean square error. Energies, infidelities and tomography (``loss=…``, or a Hermitian operator or a
    loss in the place of the target) are not linear in ψ: initial wave functions are drawn from the Gaussian process,
    and each takes the steps of an infinitely wide network, ψ ← ψ - ηΘ ∂L/∂ψ for plain gradient descent
    (:class:`~netket_qsntk.dynamics.FunctionSpaceFlow`; arXiv:2112.00723, Eqs. 8-10). With an energy this is
    infinite-width VMC with exact sums over the basis. Logged are means and standard errors over the drawn wave
    functions, and ``driver.state`` is an :class:`~netket_qsntk.vqs.EnsembleState` whose parameters are their
    amplitudes on the whole basis. The state that was given is left alone; finite networks in it are only counted.

    Networks of log ψ, and those with a reference, are not linear in what they train whatever the loss: initial
    functions f are drawn, ψ = e^{r + f}, and f ← f - ηΘ ∂L/∂f; the parameters of ``driver.state`` are then log ψ.

    With ``batch_size`` the mean square error is trained likewise, on the batches that
    :class:`~netket_qsntk.driver.QSNTKDriver` takes with the same seed: curves of finite networks lie on the predicted
    mean and scatter as the drawn wave functions do. Averages over batches, and what a batch size costs, are
    :func:`netket_qsntk.learning.stochastic_curve`.

    Which of these it is is the field ``engine``, shown in ``repr``.

    Args:
        solver: Of the mean square error: ``"auto"``, or as for :class:`~netket_qsntk.dynamics.LinearDynamics`; by
            products L_γ, and so the losses, have standard errors.
        n_members: Wave functions to draw for other losses; None takes the number of networks of an ensemble, and 8
            otherwise.
        show_progress: Whether what comes before ``run``, and ``predict``, show bars.

    Raises:
        NonLinearOptimizerError: The optimiser has no closed form.
        UnknownKernelError: The model has no known infinite-width kernel.
        InvalidTrainingError: Minibatches of other losses than the mean square error; a solver for what is not solved
            in closed form; an unknown solver; members for what is, or a number of members that is none.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, 1.0, 2.0))
        >>> driver = qs.driver.InfiniteWidthDriver(
        ...     target, optax.sgd(0.5), variational_state=vs, n_train=12, seed=1)
        >>> curve = driver.predict([0, 100, jnp.inf])
        >>> bool(curve["loss/test"][0] > curve["loss/test"][2])
        True
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> driver = qs.driver.InfiniteWidthDriver(
        ...     H, optax.sgd(0.3), variational_state=vs, n_members=4, seed=0)
        >>> _ = driver.run(500, show_progress=False)
        >>> exact = nk.exact.lanczos_ed(H)[0]
        >>> bool(driver.state.expect(H).mean < 0.99 * exact)
        True
    """

    engine: GaussianEngine | FunctionSpaceEngine = struct.field(pytree_node=False, serialize=False)
    _evaluation: dict[str, nk.stats.Stats] = struct.field(pytree_node=False, serialize=False)
    _show_progress: bool = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Target | nk.vqs.VariationalState | nk.operator.AbstractOperator | Loss,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        loss: str | Loss = "mse",
        solver: Solver = "auto",
        n_members: int | None = None,
        show_progress: bool = True,
        **options: object,
    ) -> None:
        check_solver(solver)
        check_optimizer(optimizer, variational_state)
        goal, minimised = target_and_loss(target, loss)
        infinite = _infinite_state(variational_state, options)
        table = MemberTable(infinite.process)
        is_linear = (
            self._solves(minimised) and table.readout is None and not _is_minibatch(goal, options)
        )
        initial = None
        if is_linear:
            if n_members is not None:
                raise InvalidTrainingError(
                    f"n_members={n_members}: for the mean square error the average over all initialisations is "
                    "exact. Leave n_members out; it counts drawn wave functions for other losses."
                )
        else:
            if solver != "auto":
                raise InvalidTrainingError(
                    f"solver={solver!r} is for the mean square error of networks of ψ on a whole training set, which "
                    "is solved; all else is integrated step by step. Leave solver out."
                )
            count = _number_of_members(n_members, variational_state)
            initial = infinite.process.sample(count, cast(int, options.get("seed", 0)))
        super().__init__(
            minimised if goal is None else goal,
            optimizer,
            variational_state=infinite if initial is None else table.state(initial),
            loss="mse" if goal is None else minimised,
            **options,
        )
        self._show_progress, self._evaluation = show_progress, {}
        options_of_engine = (
            infinite.kernel,
            table,
            self.loss,
            self.target,
            (self.train, self.test),
            self._indices,
            optimizer,
            show_progress,
        )
        if self.batch_size is not None:
            self.engine = MinibatchEngine(*options_of_engine, batch=self.batch)
        elif initial is None:
            self.engine = GaussianEngine(
                LinearDynamics(
                    infinite.kernel,
                    self.train,
                    optimizer=optimizer,
                    solver=solver,
                    show_progress=show_progress,
                ),
                self.test,
            )
        else:
            self.engine = FunctionSpaceEngine(*options_of_engine)
        self._optimizer_state = self.engine.start(self.state, initial)

    def _takes_batches(self) -> bool:
        return type(self.loss) is MSE

    def _solves(self, loss: str | Loss) -> bool:
        """Whether training on this loss is solved, not integrated for drawn wave functions."""
        # A subclass may be any loss.
        return type(loss) is MSE or (isinstance(loss, str) and loss == "mse")

    @property
    def dynamics(self) -> LinearDynamics | FunctionSpaceFlow:
        """What the engine solves or integrates."""
        return self.engine.dynamics

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, PyTree]:
        """The training loss of this step, and what the engine needs for the next one."""
        full = self.step_count % self.evaluate_every == 0
        with showing(self._show_progress):
            self._evaluation, gradient = self.engine.evaluate(
                self.step_count, self.state, full=full
            )
        return self._evaluation["loss/train"], gradient

    def update_parameters(self, dp: PyTree) -> None:
        """The state becomes the ensemble after one more step."""
        self._optimizer_state = self.engine.step(
            self.step_count, self.state, self._optimizer_state, dp
        )

    def _now(self) -> dict[str, nk.stats.Stats]:
        return self._evaluation

    def _predict(self, steps: np.ndarray) -> Curve:
        with showing(self._show_progress):
            return self.engine.predict(steps, self._optimizer_state)

    def __repr__(self) -> str:
        return self._summary(
            f"loss={type(self.loss).__name__}", f"n_train={self.n_train}", f"engine={self.engine!r}"
        )


class FunctionSpaceDriver(InfiniteWidthDriver):
    """The same for drawn wave functions whatever the loss: the mean square error is integrated, too.

    Args and errors are those of :class:`InfiniteWidthDriver`.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, 0.2, 2.0))
        >>> options = {"variational_state": vs, "n_members": 8}
        >>> drawn = qs.driver.FunctionSpaceDriver(target, optax.sgd(0.5), **options)
        >>> exact = qs.driver.InfiniteWidthDriver(target, optax.sgd(0.5), variational_state=vs)
        >>> ratio = drawn.predict(20)["loss/train"] / exact.predict(20)["loss/train"]
        >>> bool(0.5 < ratio[0] < 2)
        True
    """

    def _solves(self, loss: str | Loss) -> bool:
        return False


def _is_minibatch(goal: Target | nk.vqs.VariationalState | None, options: dict[str, Any]) -> bool:
    """Whether the batches are smaller than the training set."""
    size, n_train = options.get("batch_size"), options.get("n_train")
    if size is None or goal is None:
        return False
    return bool(size != (goal.hilbert.n_states if n_train is None else n_train))


def _infinite_state(state: nk.vqs.VariationalState, options: dict[str, Any]) -> InfiniteState:
    """The untrained ensemble of a state's model; its ``trainable`` goes into the options."""
    if not isinstance(state, InfiniteState):
        try:
            model = state.model
        except AttributeError:
            model = None
        if model is None:
            raise UnknownKernelError(
                f"{type(state).__name__} has no model to take to infinite width: build it from one of "
                "qs.models, or pass qs.vqs.InfiniteState(hilbert, model)."
            )
        return InfiniteState(state.hilbert, model, trainable=options.get("trainable", "all"))
    if state.steps:
        raise InvalidTrainingError(
            f"{state!r} is trained already, and the closed form starts from the initial ensemble. Pass a new "
            "qs.vqs.InfiniteState(hilbert, model), or go on with the driver that trained this one."
        )
    if options.setdefault("trainable", state.kernel.trainable) != state.kernel.trainable:
        raise InvalidTrainingError(
            f"trainable={options['trainable']!r}, but the state has a kernel for "
            f"{state.kernel.trainable!r}: give trainable to qs.vqs.InfiniteState."
        )
    return state


def _number_of_members(n_members: int | None, state: nk.vqs.VariationalState) -> int:
    """How many wave functions to draw."""
    if n_members is None:
        n_members = state.n_members if isinstance(state, EnsembleState) else _N_MEMBERS
    if not isinstance(n_members, Integral) or isinstance(n_members, bool) or n_members < 1:
        raise InvalidTrainingError(f"n_members={n_members!r}: expected an integer >= 1.")
    return int(n_members)

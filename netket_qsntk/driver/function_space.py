"""The infinite-width limit of training on losses that are not quadratic, for drawn initial wave functions."""

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax import Array
from netket.utils import struct

from netket_qsntk.driver.gradient import fidelities
from netket_qsntk.driver.infinite import InfiniteWidthDriver
from netket_qsntk.dynamics import FunctionSpaceFlow
from netket_qsntk.dynamics.compiled_flow import FlowState
from netket_qsntk.dynamics.flow import check_steps
from netket_qsntk.dynamics.linear import Solver
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.losses import Loss
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.members import over_members

_N_MEMBERS = 8


class FunctionSpaceDriver(InfiniteWidthDriver):
    r"""What :class:`~netket_qsntk.driver.InfiniteWidthDriver` becomes for losses other than the mean square error.

    Initial wave functions are drawn from the Gaussian process, and each takes the steps of an infinitely wide
    network, ψ ← ψ - ηΘ ∂L/∂ψ for plain gradient descent (:class:`~netket_qsntk.dynamics.FunctionSpaceFlow`;
    arXiv:2112.00723, Eqs. 8-10). With an energy this is infinite-width VMC with exact sums over the basis.

    Same arguments, same ``run``, same logged keys as :class:`~netket_qsntk.driver.QSNTKDriver` with the same loss:
    means and standard errors over the drawn wave functions. The Hilbert space and the model are those of the state
    that is given, which is left alone; finite networks in it are not looked at, only counted.

    ``driver.state`` is an :class:`~netket_qsntk.vqs.EnsembleState` of the trained wave functions, whose parameters
    are their amplitudes on the whole basis: ``driver.state.expect(operator)``, ``driver.state.get_state(i)``.

    Args:
        n_members: Wave functions to draw; None takes the number of networks of an ensemble, and 8 otherwise.
        seed: Of these draws, and of the training split.

    Raises:
        NonLinearOptimizerError: The optimiser cannot be followed in function space.
        UnknownKernelError: The model has no known infinite-width kernel.
        InvalidTrainingError: Minibatches, a solver, or a number of members that is none.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, 1.0, 2.0))
        >>> driver = qs.driver.InfiniteWidthDriver(
        ...     H, optax.sgd(0.3), variational_state=vs, n_members=4, seed=0)
        >>> _ = driver.run(500, show_progress=False)
        >>> exact = nk.exact.lanczos_ed(H)[0]
        >>> bool(abs(driver.state.expect(H).mean - exact) < 1e-2)
        True
    """

    _kernel: InfiniteWidthKernel = struct.field(pytree_node=False, serialize=False)
    _cross: Any = struct.field(pytree_node=False, serialize=False)
    _evaluation: Any = struct.field(pytree_node=False, serialize=False)
    _initial: Any = struct.field(pytree_node=True, serialize=True)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        solver: Solver = "auto",
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        if solver != "auto":
            raise InvalidTrainingError(
                f"solver={solver!r} is for the mean square error, whose training is solved; other losses are "
                "integrated step by step. Leave solver out."
            )
        # What the closed form would do with the state and the loss is replaced below.
        super(InfiniteWidthDriver, self).__init__(
            target, optimizer, variational_state=variational_state, **options
        )
        whole, x = not len(self.test), self.train.states
        self.dynamics = FunctionSpaceFlow(
            self._kernel,
            self.loss,
            None if self.loss.whole_basis else x,
            None if self.target is None else self.train.amplitudes,
            optimizer=optimizer,
            show_progress=show_progress,
        )
        self._cross = None if whole else self._kernel.operator(self.test.states, x)
        start = self.dynamics.start(self._on_train(self._initial))
        self._optimizer_state = start.alpha, start.optimizer
        self._evaluation = {}

    def _check_loss(self) -> None:
        if not isinstance(self.loss, Loss):
            raise InvalidTrainingError(f"loss={self.loss!r}: expected an object of qs.losses.")

    def _own_state(self, state: Any, options: dict[str, Any]) -> Any:
        n_members = options.pop("n_members", None)
        if n_members is None:
            n_members = getattr(state, "n_members", None) or _N_MEMBERS
        if not isinstance(n_members, Integral) or isinstance(n_members, bool) or n_members < 1:
            raise InvalidTrainingError(f"n_members={n_members!r}: expected an integer >= 1.")
        infinite = super()._own_state(state, options)
        self._kernel = infinite.kernel
        self._initial = infinite.sample(int(n_members), options.get("seed", 0))
        return EnsembleState.from_amplitudes(state.hilbert, self._initial)

    def _on_train(self, psi: Array) -> Array:
        return psi if not len(self.test) else psi[:, self._indices[0]]

    def _on_test(self, alpha: Array) -> Array:
        """ψ = ψ₀ + Θα where nothing was trained: (members, n_test)."""
        initial = self._initial[:, self._indices[1]]
        return initial if self._cross is None else initial + self._cross.product(alpha)

    @property
    def _flow_state(self) -> FlowState:
        alpha, memory = self._optimizer_state
        return FlowState(self._on_train(self.state.parameters["amplitudes"]), alpha, memory)

    def _numbers(self, losses: Array, psi: Array, psi_test: Array) -> dict[str, Array]:
        """Logged key -> values of the members, but for the training loss."""
        out = {"loss/train": losses}
        if len(self.test):
            amplitudes = jnp.asarray(self.test.amplitudes)
            out["loss/test"] = jax.vmap(lambda p: self.loss.value(p, amplitudes))(psi_test)
        if self.target is not None:
            both = [jnp.asarray(data.amplitudes) for data in (self.train, self.test)]
            out["fidelity"] = fidelities(psi, psi_test, *both)
        return out

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, Any]:
        """The training loss of this step, and ∂L/∂ψ on the whole basis (zero where nothing is trained)."""
        whole = self.state.parameters["amplitudes"]
        psi = self._on_train(whole)
        losses, gradient = self.dynamics.evaluate(psi)
        if self.step_count % self.evaluate_every == 0:
            numbers = self._numbers(losses, psi, whole[:, self._indices[1]])
        else:
            numbers = {"loss/train": losses}
        self._evaluation = {key: over_members(value) for key, value in numbers.items()}
        if len(self.test):
            gradient = jnp.zeros_like(whole).at[:, self._indices[0]].set(gradient)
        return self._evaluation["loss/train"], {"amplitudes": gradient}

    def update_parameters(self, dp: Any) -> None:
        """One step of every wave function."""
        moved = self.dynamics.step(self._flow_state, self._on_train(dp["amplitudes"]))
        self._optimizer_state = moved.alpha, moved.optimizer
        self.state.parameters = {"amplitudes": self._whole(moved)}

    def _whole(self, state: FlowState) -> Array:
        """ψ on the whole basis: (members, n_states)."""
        if not len(self.test):
            return state.psi
        train, test = self._indices
        whole = jnp.zeros_like(self._initial)
        return whole.at[:, train].set(state.psi).at[:, test].set(self._on_test(state.alpha))

    def _now(self) -> dict[str, Any]:
        return self._evaluation

    def _predict(self, steps: np.ndarray) -> dict[str, Any]:
        wanted, place = np.unique(steps, return_inverse=True)
        start, rows = self.dynamics.start(self._on_train(self._initial)), []
        for state in self.dynamics.follow(start, check_steps(wanted).astype(int).tolist()):
            losses, _ = self.dynamics.evaluate(state.psi)
            rows.append(self._numbers(losses, state.psi, self._on_test(state.alpha)))
        out = {}
        for key in rows[0]:
            stats = [over_members(row[key]) for row in rows]
            mean, error = np.array([[s.mean, s.error_of_mean] for s in stats]).T
            out[key] = mean[place], error[place]
        return out

    def __repr__(self) -> str:
        return self._summary(f"loss={type(self.loss).__name__}", f"n_train={self.n_train}")

"""The infinite-width limit, trained in closed form."""

from typing import Any

import netket as nk
import numpy as np
import optax
from netket.utils import struct

from netket_qsntk.driver.base import target_and_loss
from netket_qsntk.driver.closed_form import ClosedFormDriver
from netket_qsntk.dynamics import LinearDynamics, Losses
from netket_qsntk.dynamics.linear import Solver
from netket_qsntk.errors import InvalidTrainingError, UnknownKernelError
from netket_qsntk.losses import MSE
from netket_qsntk.vqs import InfiniteState


class InfiniteWidthDriver(ClosedFormDriver):
    r"""Curves of infinitely wide networks, averaged over all initialisations (arXiv:2112.00723, Eqs. 14-18).

    Drop-in for :class:`~netket_qsntk.driver.QSNTKDriver`: same arguments, same ``run``, same logged keys; of an
    ensemble it takes the model and the Hilbert space. Logged besides: ``loss/train/mean_part`` (L_μ),
    ``loss/train/variance_part`` (L_γ), and the same of the test set. ``fidelity`` is
    E|⟨ψ_T|ψ⟩|²/E⟨ψ|ψ⟩, a ratio of averages.

    ``driver.state`` is an :class:`~netket_qsntk.vqs.InfiniteState` that holds the trained ensemble.

    That is for the mean square error. Energies, infidelities and tomography (``loss=…``, or a Hermitian operator or a
    loss in the place of the target) are not linear in ψ, and their infinite-width limit is integrated for drawn
    initial wave functions: the driver is then a :class:`~netket_qsntk.driver.FunctionSpaceDriver`.

    Args:
        solver: Of the mean square error: ``"dense"``, ``"products"`` (no stored kernel; L_γ, and so the losses, then
            have standard errors, except where the training set is a whole basis of spins), or ``"auto"`` by the size
            of the training set; see :class:`~netket_qsntk.dynamics.LinearDynamics`.
        show_progress: Whether what comes before ``run``, and ``predict``, show bars.

    Raises:
        NonLinearOptimizerError: The optimiser has no closed form.
        UnknownKernelError: The model has no known infinite-width kernel.
        InvalidTrainingError: Minibatches, or an unknown solver.

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
    """

    dynamics: Any = struct.field(pytree_node=False, serialize=False)

    def __new__(cls, target: Any = None, *args: Any, loss: Any = "mse", **options: Any) -> Any:
        """A :class:`~netket_qsntk.driver.FunctionSpaceDriver` where the loss is not the mean square error."""
        if cls is InfiniteWidthDriver:
            loss = target_and_loss(target, loss)[1]
            if not (isinstance(loss, MSE) or (isinstance(loss, str) and loss == "mse")):
                from netket_qsntk.driver.function_space import (
                    FunctionSpaceDriver,
                )  # it is a subclass

                cls = FunctionSpaceDriver
        return super().__new__(cls)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        solver: Solver = "auto",
        n_members: None = None,
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        if n_members is not None:
            raise InvalidTrainingError(
                f"n_members={n_members}: for the mean square error the average over all initialisations is exact. "
                "Leave n_members out; it counts drawn wave functions for other losses."
            )
        super().__init__(target, optimizer, variational_state=variational_state, **options)
        self.dynamics = LinearDynamics(
            self.state.kernel,
            self.train,
            optimizer=optimizer,
            solver=solver,
            show_progress=show_progress,
        )
        self.state.set_training(self.dynamics, 0)

    def _own_state(self, state: Any, options: dict[str, Any]) -> InfiniteState:
        if not isinstance(state, InfiniteState):
            if getattr(state, "model", None) is None:
                raise UnknownKernelError(
                    f"{type(state).__name__} has no model to take to infinite width: build it from one of "
                    "qs.models, or pass qs.vqs.InfiniteState(hilbert, model)."
                )
            return InfiniteState(
                state.hilbert, state.model, trainable=options.get("trainable", "all")
            )
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

    def _predict(self, steps: np.ndarray) -> dict[str, Any]:
        curves = self.dynamics.curves(steps, self.test)
        out: dict[str, Any] = {}
        for name, losses in (("train", curves.train), ("test", curves.test)):
            if name == "train" or len(self.test):
                out |= _with_errors(f"loss/{name}", losses)
        out["fidelity"] = np.asarray(curves.fidelity)
        return out

    def update_parameters(self, dp: Any) -> None:
        """The state becomes the ensemble after one more step."""
        self.state.set_training(self.dynamics, self.step_count + 1)

    def __repr__(self) -> str:
        return self._summary(f"n_train={self.n_train}")


def _with_errors(key: str, losses: Losses) -> dict[str, Any]:
    """The loss and its two parts, with errors where they are estimated."""
    numbers = {
        key: (losses.total, np.hypot(losses.L_mu_error, losses.L_gamma_error)),
        f"{key}/mean_part": (losses.L_mu, losses.L_mu_error),
        f"{key}/variance_part": (losses.L_gamma, losses.L_gamma_error),
    }
    return {
        name: (np.asarray(mean), np.asarray(error)) if np.ndim(error) else np.asarray(mean)
        for name, (mean, error) in numbers.items()
    }

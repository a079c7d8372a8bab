"""The infinite-width limit, trained in closed form."""

from typing import Any

import netket as nk
import numpy as np
import optax
from netket.utils import struct

from netket_qsntk.driver.closed_form import ClosedFormDriver
from netket_qsntk.dynamics import LinearDynamics
from netket_qsntk.errors import InvalidTrainingError, UnknownKernelError
from netket_qsntk.vqs import InfiniteState


class InfiniteWidthDriver(ClosedFormDriver):
    r"""Curves of infinitely wide networks, averaged over all initialisations (arXiv:2112.00723, Eqs. 14-18).

    Drop-in for :class:`~netket_qsntk.driver.QSNTKDriver`: same arguments, same ``run``, same logged keys; of an
    ensemble it takes the model and the Hilbert space. Logged besides: ``loss/train/mean_part`` (L_μ),
    ``loss/train/variance_part`` (L_γ), and the same of the test set. ``fidelity`` is
    E|⟨ψ_T|ψ⟩|²/E⟨ψ|ψ⟩, a ratio of averages.

    ``driver.state`` is an :class:`~netket_qsntk.vqs.InfiniteState` that holds the trained ensemble.

    Raises:
        NonLinearOptimizerError: The optimiser has no closed form.
        UnknownKernelError: The model has no known infinite-width kernel.
        InvalidTrainingError: A loss other than ``"mse"``, or minibatches.

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

    dynamics: LinearDynamics = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        **options: Any,
    ) -> None:
        super().__init__(target, optimizer, variational_state=variational_state, **options)
        self.dynamics = LinearDynamics(self.state.kernel, self.train, optimizer=optimizer)
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
                out[f"loss/{name}"] = np.asarray(losses.total)
                out[f"loss/{name}/mean_part"] = np.asarray(losses.L_mu)
                out[f"loss/{name}/variance_part"] = np.asarray(losses.L_gamma)
        out["fidelity"] = np.asarray(curves.fidelity)
        return out

    def update_parameters(self, dp: Any) -> None:
        """The state becomes the ensemble after one more step."""
        self.state.set_training(self.dynamics, self.step_count + 1)

    def __repr__(self) -> str:
        return f"InfiniteWidthDriver(step_count={self.step_count}, n_train={self.n_train}, state={self.state!r})"

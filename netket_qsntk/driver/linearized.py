"""The linearisation of given networks, trained in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from netket.utils import struct

from netket_qsntk.alert import once
from netket_qsntk.driver.closed_form import (
    ClosedFormDriver,
    Curve,
    CurveReader,
    check_optimizer,
)
from netket_qsntk.driver.readout import of_readout
from netket_qsntk.dynamics import LinearizedDynamics
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import EmpiricalKernel
from netket_qsntk.losses import MSE
from netket_qsntk.progress import showing, track
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.members import Members


class LinearizedDriver(ClosedFormDriver):
    r"""Curves of the networks' linearisation around their present parameters (arXiv:2112.00723, Eqs. 11-13).

    Drop-in for :class:`~netket_qsntk.driver.QSNTKDriver`: same arguments, same ``run``, same logged keys. For
    every member the kernel of that network is diagonalised once; its whole curve follows. What differs from
    training is the change of the kernel on the way: wide networks stay close, narrow ones do not.

    The parameters of the state are not touched. Optimisers: optax.sgd with any schedule, momentum, Nesterov and
    weight decay; for others the linearised model has no closed form.

    Args:
        show_progress: Whether a bar counts the networks that are diagonalised before ``run``.

    Raises:
        NonLinearOptimizerError: The optimiser has no closed form.
        InvalidTrainingError: A loss other than ``"mse"``, or minibatches.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(32, 1.0, 2.0), n_members=3, seed=0)
        >>> driver = qs.driver.LinearizedDriver(
        ...     target, optax.sgd(0.5), variational_state=vs, n_train=12, seed=1)
        >>> curve = driver.predict([0, 10, jnp.inf])
        >>> curve["loss/train"].shape, bool(curve["loss/train"][2] < 1e-12)
        ((3,), True)
    """

    _solved: Any = struct.field(pytree_node=False, serialize=False)
    _reader: Any = struct.field(pytree_node=False, serialize=False)
    _show_progress: bool = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        check_optimizer(optimizer, variational_state)
        super().__init__(target, optimizer, variational_state=variational_state, **options)
        if not isinstance(self.loss, MSE):
            raise InvalidTrainingError(
                f"LinearizedDriver solves the mean square error; training on {type(self.loss).__name__} is not "
                "linear in function space. Use loss='mse', or train with QSNTKDriver or InfiniteWidthDriver."
            )
        self._show_progress, self._solved = show_progress, (None, [])
        self._dynamics  # noqa: B018  errors and warnings come now, not in the run

    @property
    def _dynamics(self) -> list[LinearizedDynamics]:
        # A checkpoint brings another state object, with other parameters perhaps.
        state, dynamics = self._solved
        if state is not self.state:
            with showing(self._show_progress), once():
                dynamics = [
                    LinearizedDynamics(kernel, self.train, self.test, optimizer=self.optimizer)
                    for kernel in track(self._kernels(), "linearisation", unit="network")
                ]
            self._solved, self._reader = (self.state, dynamics), CurveReader(self._predict)
        return dynamics

    def _kernels(self) -> list[EmpiricalKernel]:
        networks = list(Members.of(self.state))
        if self.trainable == "readout":
            networks = [of_readout(network) for network in networks]
        return [EmpiricalKernel(n) for n in networks]

    def _now(self) -> dict[str, nk.stats.Stats]:
        members = len(
            self._dynamics
        )  # after a checkpoint these are other networks, with another reader
        return self._reader.at(self.step_count, members)

    def linearized_state(self) -> EnsembleState:
        """The linearised networks after ``step_count`` steps, as an ensemble of tables of amplitudes.

        ``run(obs=...)`` evaluates observables on it: ``driver.state`` stays at the initial networks.
        """
        order = np.argsort(np.concatenate(self._indices))
        targets = [jnp.asarray(data.amplitudes) for data in (self.train, self.test)]
        psi = []
        for dynamics in self._dynamics:
            errors = dynamics.error(self.step_count)
            parts = [e[0] + t for e, t in zip(errors, targets, strict=True)]
            psi.append(jnp.concatenate(parts)[order])
        return EnsembleState.from_amplitudes(self.state.hilbert, jnp.stack(psi))

    def estimate(self, observables: Any, fullsum: bool = False) -> Any:
        """Expectation values of a pytree of observables over the linearised networks at this step."""
        return jax.tree.map(
            self.linearized_state().expect,
            observables,
            is_leaf=lambda leaf: isinstance(leaf, nk.observable.AbstractObservable),
        )

    def _predict(self, steps: np.ndarray) -> Curve:
        curves = [dynamics.curves(steps) for dynamics in self._dynamics]
        out: Curve = {}
        for key, name in (("loss/train", "train"), ("loss/test", "test"), ("fidelity", "fidelity")):
            if key == "loss/test" and not len(self.test):
                continue
            values = np.stack([np.asarray(curve._asdict()[name]) for curve in curves])
            m = len(values)
            error = values.std(0, ddof=1) / np.sqrt(m) if m > 1 else np.zeros(len(steps))
            out[key] = values.mean(0), error
        return out

    def __repr__(self) -> str:
        return self._summary(f"n_train={self.n_train}")

"""The linearisation of given networks, trained in closed form."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk.alert import once
from netket_qsntk.driver.closed_form import (
    ClosedFormDriver,
    Curve,
    CurveReader,
    check_optimizer,
)
from netket_qsntk.driver.function_table import table_state
from netket_qsntk.driver.readout import of_readout
from netket_qsntk.dynamics import LinearizedDynamics
from netket_qsntk.dynamics.natural_gradient_linearized import LinearizedNaturalGradient
from netket_qsntk.dynamics.natural_gradient_settings import Schedule
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import EmpiricalKernel
from netket_qsntk.losses import MSE, Infidelity, Loss
from netket_qsntk.progress import showing, track
from netket_qsntk.targets import Target
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.members import Members
from netket_qsntk.wavefunction import PureWaveFunction

# How one network is solved.
Linearized = LinearizedDynamics | LinearizedNaturalGradient
Solved = TypeVar("Solved", LinearizedDynamics, LinearizedNaturalGradient)
Asked = tuple[nk.vqs.VariationalState | None, list[Linearized]]


class LinearizedDriver(ClosedFormDriver):
    r"""Curves of the networks' linearisation around their present parameters (arXiv:2112.00723, Eqs. 11-13).

    Drop-in for :class:`~netket_qsntk.driver.QSNTKDriver`: same arguments, same ``run``, same logged keys. For
    every member the kernel of that network is diagonalised once; its whole curve follows. What differs from
    training is the change of the kernel on the way: wide networks stay close, narrow ones do not.

    The parameters of the state are not touched. Optimisers: optax.sgd with any schedule, momentum, Nesterov and
    weight decay; for others the linearised model has no closed form.

    That is for the mean square error. With an energy (a Hermitian operator in the place of the target), an infidelity
    or tomography the same frozen kernel is followed step by step, by gradient descent or, with ``diag_shift``, by
    NetKet's SR (:class:`~netket_qsntk.dynamics.NaturalGradientFlow`); networks of log ψ are linearised in log ψ.

    Args:
        diag_shift: λ of SR, or a schedule; None is gradient descent.
        momentum: μ of SPRING, or a schedule.
        show_progress: Whether a bar counts the networks that are diagonalised before ``run``.

    Raises:
        NonLinearOptimizerError: The optimiser has no closed form.
        InvalidTrainingError: Minibatches; SR of the mean square error; other losses on a part of the basis, or of
            the readout layer alone.

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

    _sr: tuple[Schedule | None, Schedule | None] = struct.field(pytree_node=False, serialize=False)
    _solved: Asked = struct.field(pytree_node=False, serialize=False)
    _reader: CurveReader = struct.field(pytree_node=False, serialize=False)
    _show_progress: bool = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Target | nk.vqs.VariationalState | nk.operator.AbstractOperator | Loss,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        diag_shift: Schedule | None = None,
        momentum: Schedule | None = None,
        show_progress: bool = True,
        **options: object,
    ) -> None:
        check_optimizer(optimizer, variational_state)
        super().__init__(target, optimizer, variational_state=variational_state, **options)
        self._sr = diag_shift, momentum
        self._check_steps()
        self._show_progress, self._solved = show_progress, (None, [])
        self._dynamics  # noqa: B018  errors and warnings come now, not in the run

    @property
    def _is_solved(self) -> bool:
        """Whether training is linear in ψ, and solved in closed form."""
        return type(self.loss) is MSE  # a subclass may be any loss

    def _check_steps(self) -> None:
        if self._is_solved:
            if self._sr != (None, None):
                raise InvalidTrainingError(
                    f"diag_shift={self._sr[0]}, momentum={self._sr[1]}: SR is for losses that do not depend on the "
                    "norm of ψ. Leave them out for loss='mse', or give an energy or loss='infidelity'."
                )
            return
        if len(self.test) or self.trainable != "all":
            raise InvalidTrainingError(
                f"LinearizedDriver with {type(self.loss).__name__}: expected the whole basis and all parameters, got "
                f"n_train={self.n_train} and trainable={self.trainable!r}. Use n_train=None and trainable='all', "
                "loss='mse', or train with QSNTKDriver."
            )

    @property
    def _dynamics(self) -> list[Linearized]:
        # A checkpoint brings another state object, with other parameters perhaps.
        state, dynamics = self._solved
        if state is not self.state:
            with showing(self._show_progress), once():
                dynamics = [
                    self._linearized(network)
                    for network in track(self._networks(), "linearisation", unit="network")
                ]
            self._solved, self._reader = (self.state, dynamics), CurveReader(self._predict)
        return dynamics

    def _of(self, kind: type[Solved]) -> list[Solved]:
        return [dynamics for dynamics in self._dynamics if isinstance(dynamics, kind)]

    def _networks(self) -> list[PureWaveFunction]:
        networks = list(Members.of(self.state))
        if self.trainable == "readout":
            networks = [of_readout(network) for network in networks]
        return networks

    def _linearized(self, network: PureWaveFunction) -> Linearized:
        if self._is_solved:
            kernel = EmpiricalKernel(network)
            return LinearizedDynamics(kernel, self.train, self.test, optimizer=self.optimizer)
        shift, momentum = self._sr
        return LinearizedNaturalGradient(
            network, self.loss, optimizer=self.optimizer, diag_shift=shift, momentum=momentum
        )

    def _now(self) -> dict[str, nk.stats.Stats]:
        members = len(
            self._dynamics
        )  # after a checkpoint these are other networks, with another reader
        return self._reader.at(self.step_count, members)

    def linearized_state(self) -> EnsembleState:
        """The linearised networks after ``step_count`` steps, as an ensemble of tables of amplitudes.

        ``run(obs=...)`` evaluates observables on it: ``driver.state`` stays at the initial networks.
        """
        if not self._is_solved:
            log_psi = jnp.stack(
                [d.log_psi(self.step_count) for d in self._of(LinearizedNaturalGradient)]
            )
            return table_state(self.state.hilbert, log_psi)
        order = np.argsort(np.concatenate(self._indices))
        targets = [jnp.asarray(data.amplitudes) for data in (self.train, self.test)]
        psi = []
        for dynamics in self._of(LinearizedDynamics):
            errors = dynamics.error(self.step_count)
            parts = [e[0] + t for e, t in zip(errors, targets, strict=True)]
            psi.append(jnp.concatenate(parts)[order])
        return EnsembleState.from_amplitudes(self.state.hilbert, jnp.stack(psi))

    def estimate(self, observables: PyTree, fullsum: bool = False) -> PyTree:
        """Expectation values of a pytree of observables over the linearised networks at this step."""
        return jax.tree.map(
            self.linearized_state().expect,
            observables,
            is_leaf=lambda leaf: isinstance(leaf, nk.observable.AbstractObservable),
        )

    def _predict(self, steps: np.ndarray) -> Curve:
        if not self._is_solved:
            steps = check_finite(steps)
            values = np.stack([d.losses(steps) for d in self._of(LinearizedNaturalGradient)])
            out: Curve = {"loss/train": _over_members(values)}
            if self.target is not None and type(self.loss) is Infidelity:
                out["fidelity"] = _over_members(1 - values)
            return out
        curves = [dynamics.curves(steps) for dynamics in self._of(LinearizedDynamics)]
        out = {}
        for key, name in (("loss/train", "train"), ("loss/test", "test"), ("fidelity", "fidelity")):
            if key == "loss/test" and not len(self.test):
                continue
            values = np.stack([np.asarray(curve._asdict()[name]) for curve in curves])
            out[key] = _over_members(values)
        return out

    def __repr__(self) -> str:
        return self._summary(f"n_train={self.n_train}")


def check_finite(steps: np.ndarray) -> np.ndarray:
    """Steps of a training that has no closed form.

    Raises:
        InvalidTrainingError: One of them is infinite.
    """
    if not np.isfinite(steps).all():
        raise InvalidTrainingError(
            f"steps={steps}: the energy is not linear in ψ, and its training has no closed form at ∞. Give "
            "finite steps."
        )
    return steps


def _over_members(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors (steps,) of (members, steps)."""
    m = len(values)
    error = values.std(0, ddof=1) / np.sqrt(m) if m > 1 else np.zeros(values.shape[1])
    return values.mean(0), error

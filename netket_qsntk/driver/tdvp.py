"""NetKet's TDVP of infinitely wide networks: its integrators, stopping times and logs, our equation of motion."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.experimental.driver.tdvp_common import odefun
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk._compat.signatures import ConstructorSignature
from netket_qsntk.driver.function_table import (
    check_hilbert,
    initial_log_psi,
    stats_of,
    table_state,
)
from netket_qsntk.dynamics import NaturalGradientFlow
from netket_qsntk.dynamics.flow import check_steps
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import infinite_width
from netket_qsntk.losses import Energy
from netket_qsntk.process import readout_of
from netket_qsntk.vqs import EnsembleState, InfiniteState


class InfiniteWidthTDVP(nk.experimental.TDVP):
    r"""NetKet's ``TDVP`` of an infinitely wide network, with sums over the basis.

    .. math:: \frac{df}{dt} = -\Theta C^T D\,(T + \lambda)^{-1} D\, i(E_{loc} - E)

    in real time, without the i in imaginary time (:class:`~netket_qsntk.dynamics.NaturalGradientFlow`). For λ → 0 and
    a positive definite kernel this is Schrödinger's equation. Same arguments, ``run``, stopping times and logged
    keys as ``nk.experimental.TDVP``; it starts where :class:`~netket_qsntk.driver.InfiniteWidthVMC` does, and
    ``driver.state`` holds log ψ on the basis.

    Args:
        operator: A Hermitian operator, or a function of time that gives one.
        variational_state: Where to start: networks with a phase for real time (``parts="independent"``).
        ode_solver: One of ``nk.experimental.dynamics``.
        t0: Initial time.
        propagation_type: ``"real"`` or ``"imag"``.
        qgt: None, or one with a shift, as in ``nk.optimizer.qgt.QGTJacobianDense(diag_shift=λ)``, whose λ is taken.
        linear_solver, linear_solver_restart: How NetKet computes; taken, and not used.
        error_norm: ``"euclidean"``, ``"maximum"`` or a function, of changes of log ψ on the basis.
        diag_shift: λ; None takes that of ``qgt``, or 0: modes of T below rounding then do not move.
        n_members, seed, options: As for :class:`~netket_qsntk.driver.InfiniteWidthVMC`.

    Raises:
        InvalidTrainingError: Real time for a network without a phase, or ``error_norm="qgt"``.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(3), h=1.0)
        >>> net = qs.models.CosNet(32, 0.3, 2.0, output="log_psi")
        >>> vs = nk.vqs.FullSumState(hi, net, seed=0)
        >>> driver = qs.driver.InfiniteWidthTDVP(H, vs, nk.experimental.dynamics.RK4(dt=0.01))
        >>> energy = driver.state.expect(H).mean
        >>> _ = driver.run(0.1, show_progress=False)
        >>> bool(abs(driver.state.expect(H).mean - energy) < 1e-6)
        True
    """

    __signature__ = ConstructorSignature()

    _flow: NaturalGradientFlow = struct.field(pytree_node=False, serialize=False)
    _initial: Array = struct.field(pytree_node=False, serialize=False)
    _hamiltonian: nk.operator.AbstractOperator = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        operator: nk.operator.AbstractOperator | Callable[[float], nk.operator.AbstractOperator],
        variational_state: nk.vqs.VariationalState,
        ode_solver: nk.experimental.dynamics.AbstractSolver,
        *,
        t0: float = 0.0,
        propagation_type: str = "real",
        qgt: object = None,
        linear_solver: object = nk.optimizer.solver.pinv_smooth,
        linear_solver_restart: bool = False,
        error_norm: str | Callable[[PyTree], float] = "euclidean",
        diag_shift: float | None = None,
        n_members: int | None = None,
        seed: int | Array = 0,
        **options: Any,
    ) -> None:
        if isinstance(error_norm, str) and error_norm == "qgt":
            raise InvalidTrainingError(
                "error_norm='qgt' measures parameters, of which an infinitely wide network has none: use 'euclidean' "
                "or 'maximum', of log ψ on the basis."
            )
        if propagation_type not in ("real", "imag"):
            raise InvalidTrainingError(
                f"propagation_type={propagation_type!r}: expected 'real' or 'imag'."
            )
        # Operators can be called as well, on vectors.
        fixed = isinstance(operator, nk.operator.AbstractOperator)
        first = operator if fixed else operator(t0)
        check_hilbert(first, variational_state)
        state = variational_state
        if isinstance(state, InfiniteState):
            kernel, readout = state.kernel, state.process.readout
        else:
            kernel, readout = infinite_width(state.model), readout_of(state.model)
        self._hamiltonian = first
        self._flow = NaturalGradientFlow(
            kernel,
            first,
            # NetKet's imaginary time has forces without the factor 2 of its gradients.
            learning_rate=1.0 if propagation_type == "real" else 0.5,
            diag_shift=_shift_of(qgt) if diag_shift is None else diag_shift,
            propagation="real" if propagation_type == "real" else "imag",
            flow=True,
            readout=readout,
            **options,
        )
        self._initial = initial_log_psi(state, n_members, seed)
        f = self._flow.functions(self._initial)
        super().__init__(
            operator,
            table_state(state.hilbert, self._flow.log_psi(f)),
            ode_solver,
            t0=t0,
            propagation_type=propagation_type,
            linear_solver=linear_solver,
            linear_solver_restart=linear_solver_restart,
            error_norm=error_norm,
        )

    @property
    def flow(self) -> NaturalGradientFlow:
        """The equations of this run."""
        return self._flow

    def predict(self, times: ArrayLike) -> dict[str, np.ndarray]:
        """The energy at increasing times after ``t0``, without a run, for an operator that does not change.

        Returns:
            ``t`` and ``Generator`` (times,); ``Generator/error`` for several wave functions.

        Raises:
            InvalidTrainingError: Times before t0 or not increasing, or a generator that depends on time.
        """
        if self.generator(self.t0) is not self.generator(self.t0 + 1.0):
            raise InvalidTrainingError(
                "predict is for a Hamiltonian that does not depend on time: use run."
            )
        times = np.atleast_1d(np.asarray(times, float))
        energies = self._flow.energies(self._initial, check_steps(times - self.t0))
        stats = [stats_of(e, 0.0) for e in energies]
        out = {"t": times, "Generator": np.array([s.mean for s in stats])}
        if energies.ndim == 2:
            out["Generator/error"] = np.array([s.error_of_mean for s in stats])
        return out

    def equation_of_motion(self, state: nk.vqs.VariationalState, t: ArrayLike, w: PyTree) -> PyTree:
        """d log ψ/dt at a time and a table of log ψ, as NetKet's integrators ask for it."""
        state.parameters = w
        log_psi = w["logstate"]
        hamiltonian = self.generator(t)
        if hamiltonian is not self._hamiltonian:
            self._hamiltonian = hamiltonian
            problem = self._flow.problem
            self._flow.problem = eqx.tree_at(lambda p: p.loss, problem, Energy(hamiltonian))
        place = self._flow.start(log_psi)
        step = self._flow.direction(place)
        self._loss_stats = stats_of(step.value, step.variance)
        moved = -float(self._flow.learning_rate) * step.place.image  # type: ignore[arg-type]
        velocity = moved if self._flow.readout.is_log else moved / place.f
        self._dw = {"logstate": jnp.asarray(velocity, log_psi.dtype)}
        return self._dw


def _shift_of(qgt: object) -> float:
    """λ of a geometric tensor that was asked for, or 0."""
    if qgt is None:
        return 0.0
    if not isinstance(qgt, partial):
        raise InvalidTrainingError(
            f"qgt={qgt!r}: there is one geometric tensor here, and of yours its shift alone is used. Give "
            "diag_shift=λ, or nk.optimizer.qgt.QGTJacobianDense(diag_shift=λ)."
        )
    if qgt.keywords.get("diag_scale") is not None:
        raise InvalidTrainingError(
            f"qgt with diag_scale={qgt.keywords['diag_scale']!r} shifts each parameter by its own variance, and an "
            "infinitely wide network has no parameters: give diag_shift=λ."
        )
    return float(qgt.keywords.get("diag_shift", 0.0) or 0.0)


@odefun.dispatch
def _equation_of_one(
    state: nk.vqs.MCState | nk.vqs.FullSumState,
    driver: InfiniteWidthTDVP,
    t: ArrayLike,
    w: PyTree,
    *,
    stage: int = 0,
) -> PyTree:
    return driver.equation_of_motion(state, t, w)


@odefun.dispatch
def _equation_of_members(
    state: EnsembleState, driver: InfiniteWidthTDVP, t: ArrayLike, w: PyTree, *, stage: int = 0
) -> PyTree:
    return driver.equation_of_motion(state, t, w)

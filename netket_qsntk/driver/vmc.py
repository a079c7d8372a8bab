"""NetKet's VMC and VMC_SR of infinitely wide networks: the same constructors, the run predicted."""

from typing import Any, Literal

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from netket.operator import DiscreteOperator
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
from netket_qsntk.dynamics.natural_gradient_linearized import optimized
from netket_qsntk.dynamics.natural_gradient_settings import Schedule
from netket_qsntk.dynamics.natural_gradient_step import Place
from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel, infinite_width
from netket_qsntk.process import readout_of
from netket_qsntk.readout import Readout
from netket_qsntk.vqs import InfiniteState


class FunctionSpaceVMC(nk.driver.AbstractOptimizationDriver):
    """What :class:`InfiniteWidthVMC` and its kin share: log ψ on the whole basis, moved along Θα.

    A step finds the direction α of the flow; the optimiser acts on α, and f = f₀ + Θα: optimisers that are linear and
    treat parameters alike do to a network with a fixed kernel exactly that. ``driver.state`` holds log ψ on the basis
    (a ``FullSumState`` of one network, an :class:`~netket_qsntk.vqs.EnsembleState` of members or draws); the state
    that was given is left alone.

    Logged is ``Energy``: exact, with the variance of H, for one network; mean and standard error over several.
    """

    __signature__ = ConstructorSignature()

    _flow: NaturalGradientFlow = struct.field(pytree_node=False, serialize=False)
    _start: Array = struct.field(pytree_node=False, serialize=False)
    # Saved with a checkpoint: f and its displacement, the last direction with its image (momentum), a first guess.
    _place: Place = struct.field(pytree_node=True, serialize=True)
    _displacement: Array = struct.field(pytree_node=True, serialize=True)

    def __init__(
        self,
        hamiltonian: DiscreteOperator,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        diag_shift: Schedule | None,
        momentum: Schedule | None = None,
        mode: Literal["real", "complex"] | None = None,
        n_members: int | None = None,
        seed: int | Array = 0,
        **options: Any,
    ) -> None:
        check_hilbert(hamiltonian, variational_state)
        kernel, readout = self._kernel_and_readout(variational_state)
        self._flow = NaturalGradientFlow(
            kernel,
            hamiltonian,
            learning_rate=1.0,
            diag_shift=diag_shift,
            momentum=momentum,
            mode=mode,
            readout=readout,
            **options,
        )
        self._start = initial_log_psi(variational_state, n_members, seed)
        self._place = self._flow.start(self._start)
        self._displacement = jnp.zeros_like(self._place.f)
        state = table_state(variational_state.hilbert, self._flow.log_psi(self._place.f))
        super().__init__(state, optimizer, minimized_quantity_name="Energy")

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The optax optimiser of α; a new one takes over from the present place with a fresh state.

        Raises:
            NonLinearOptimizerError: It cannot be followed in function space.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: optax.GradientTransformation) -> None:
        check_linear(optimizer)
        self._optimizer = optimizer
        # It sees α, which is complex where f is.
        self._optimizer_state = optimizer.init({"logstate": self._displacement})

    def _kernel_and_readout(
        self, state: nk.vqs.VariationalState
    ) -> tuple[InfiniteWidthKernel, Readout]:
        """The kernel that moves the functions of a state, and what these are."""
        if isinstance(state, InfiniteState):
            return state.kernel, state.process.readout
        return infinite_width(state.model), readout_of(state.model)

    @property
    def flow(self) -> NaturalGradientFlow:
        """The equations of this run: ``flow.late_rate()``, ``flow.run(log_psi_0, steps)``."""
        return self._flow

    @property
    def energy(self) -> nk.stats.Stats:
        """The energy of the last step, as NetKet's drivers have it."""
        return self._loss_stats

    def reset_step(self, hard: bool = False) -> None:
        """Nothing is sampled."""

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, PyTree]:
        """The energy, and the direction α (…, n_states)."""
        step = self._flow.direction(self._place, self.step_count)
        self._place = step.place
        self._loss_stats = stats_of(step.value, step.variance)
        return self._loss_stats, {"logstate": step.place.alpha}

    def update_parameters(self, dp: PyTree) -> None:
        """One step of the optimiser on α; log ψ follows by Θ."""
        update, self._optimizer_state = self.optimizer.update(
            dp, self._optimizer_state, {"logstate": self._displacement}
        )
        moved = update["logstate"]
        self._place = self._place._replace(f=self._place.f + self._flow.apply(moved))
        self._displacement = self._displacement + moved
        self.state.parameters = {"logstate": self._flow.log_psi(self._place.f)}

    def predict(self, steps: ArrayLike) -> dict[str, np.ndarray]:
        """What a run from the start with the present optimiser would log at these steps, without a run.

        Args:
            steps: Numbers of optimiser steps, increasing. The energy at step t is that after t updates.

        Returns:
            ``steps``, ``Energy`` and ``Energy/variance`` (of H for one network, over members for several), each
            (steps,); ``Energy/error`` for several.

        Raises:
            InvalidTrainingError: Steps not finite, negative, or not in increasing order.
        """
        wanted = check_steps(steps).astype(int)
        run = optimized(self._flow, self._flow.start(self._start), self.optimizer)
        last = int(max(wanted, default=-1))
        found = {
            t: stats_of(step.value, step.variance)
            for t, (step, _) in zip(range(last + 1), run, strict=False)
            if t in wanted
        }
        stats = [found[t] for t in wanted]
        out = {
            "steps": np.asarray(wanted, float),
            "Energy": np.array([s.mean for s in stats]),
            "Energy/variance": np.array([s.variance for s in stats]),
        }
        if self._place.f.ndim == 2:
            out["Energy/error"] = np.array([s.error_of_mean for s in stats])
        return out

    def __repr__(self) -> str:
        members = 1 if self._place.f.ndim == 1 else len(self._place.f)
        return f"{type(self).__name__}(step_count={self.step_count}, n_members={members}, {self._flow!r})"


class InfiniteWidthVMC(FunctionSpaceVMC):
    r"""NetKet's ``VMC`` of an infinitely wide network, with sums over the basis: f ← f - ηΘ 2p(E_loc - E).

    Same arguments, same ``run``, same logged keys as ``nk.driver.VMC``. Given a finite state (``FullSumState`` or
    ``MCState``) it starts from *that* network's initial function, and only the kernel is the limit; given an
    :class:`~netket_qsntk.vqs.EnsembleState` from its members, given an :class:`~netket_qsntk.vqs.InfiniteState` from
    draws.

    Args:
        hamiltonian: A Hermitian NetKet operator.
        optimizer: A linear optax optimiser: sgd with any schedule, momentum, Nesterov; others have no closed form in
            function space.
        variational_state: Where to start, with a model whose infinite-width kernel is known: those of
            :mod:`netket_qsntk.models`, and NetKet's MLP, RBM, RBMModPhase and Jastrow.
        preconditioner: None, or ``nk.optimizer.SR(diag_shift=λ)``, which is :class:`InfiniteWidthVMC_SR`.
        n_members: Wave functions drawn from an InfiniteState; None is 8.
        seed: Of the draws.
        options: ``solver``, ``tolerance``, ``max_products`` of :class:`~netket_qsntk.dynamics.NaturalGradientFlow`.

    Raises:
        NonLinearOptimizerError: The optimiser cannot be followed in function space.
        UnknownKernelError: The model has no known infinite-width kernel, or none at all.
        HilbertMismatchError: Operator and state live on different spaces.
        SystemTooLargeError: The basis cannot be listed.
        AmplitudesError: A network of log ψ with a zero amplitude.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> net = qs.models.WideMLP(
        ...     widths=(64,), activation="erf", sigma_b=0.3, output="log_psi", parts="real")
        >>> vs = nk.vqs.FullSumState(hi, net, seed=0)
        >>> driver = qs.driver.InfiniteWidthVMC(H, optax.sgd(0.1), variational_state=vs)
        >>> log = nk.logging.RuntimeLog()
        >>> _ = driver.run(20, out=log, show_progress=False)
        >>> bool(abs(log["Energy"]["Mean"][-1] - driver.predict([19])["Energy"][0]) < 1e-12)
        True
    """

    def __init__(
        self,
        hamiltonian: DiscreteOperator,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        preconditioner: object = None,
        n_members: int | None = None,
        seed: int | Array = 0,
        **options: Any,
    ) -> None:
        shift = None
        if isinstance(preconditioner, nk.optimizer.SR):
            if preconditioner.diag_scale is not None:
                raise InvalidTrainingError(
                    f"SR(diag_scale={preconditioner.diag_scale!r}) shifts each parameter by its own variance, and an "
                    "infinitely wide network has no parameters: use nk.optimizer.SR(diag_shift=λ)."
                )
            shift = preconditioner.diag_shift
        elif preconditioner is not None:
            raise InvalidTrainingError(
                f"preconditioner={preconditioner!r}: expected None or nk.optimizer.SR(diag_shift=…). Others are "
                "defined by parameters, of which an infinitely wide network has none."
            )
        super().__init__(
            hamiltonian,
            optimizer,
            variational_state=variational_state,
            diag_shift=shift,
            n_members=n_members,
            seed=seed,
            **options,
        )


class InfiniteWidthVMC_SR(FunctionSpaceVMC):
    r"""NetKet's ``VMC_SR`` of an infinitely wide network, with sums over the basis.

    f ← f - ηΘCᵀDa with a = (T + λ)⁻¹ 2D(E_loc - E) (:class:`~netket_qsntk.dynamics.NaturalGradientFlow`). Same
    arguments, same ``run``, same logged keys as ``nk.driver.VMC_SR``; where it starts is said at
    :class:`InfiniteWidthVMC`. SR leaves the regime where the kernel stays fixed sooner than gradient descent: see
    what :class:`~netket_qsntk.callbacks.NTKDiagnostics` measures of the drift in a finite network.

    Args:
        hamiltonian: A Hermitian NetKet operator.
        optimizer: ``optax.sgd`` (or another linear optimiser).
        diag_shift: λ, or a schedule.
        proj_reg: No effect: the sums are centred exactly.
        momentum: μ of SPRING, or a schedule.
        variational_state: Where to start.
        mode: ``"real"``, ``"complex"``, or None for what the network's parts say.
        linear_solver, chunk_size_bwd, use_ntk, on_the_fly: How NetKet computes; taken, and not used.
        n_members, seed, options: As for :class:`InfiniteWidthVMC`.

    Raises:
        InvalidTrainingError: λ < 0, or a momentum outside of 0 to 1.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> net = qs.models.WideMLP(
        ...     widths=(64,), activation="erf", sigma_b=0.3, output="log_psi", parts="real")
        >>> vs = qs.vqs.InfiniteState(hi, net)
        >>> driver = qs.driver.InfiniteWidthVMC_SR(
        ...     H, optax.sgd(0.05), variational_state=vs, diag_shift=1e-3, n_members=3)
        >>> curve = driver.predict([0, 60])
        >>> bool(curve["Energy"][1] - nk.exact.lanczos_ed(H)[0] < 1e-2)
        True
    """

    def __init__(
        self,
        hamiltonian: DiscreteOperator,
        optimizer: optax.GradientTransformation,
        *,
        diag_shift: Schedule,
        variational_state: nk.vqs.VariationalState,
        proj_reg: object = None,
        momentum: Schedule | None = None,
        linear_solver: object = None,
        chunk_size_bwd: int | None = None,
        mode: Literal["real", "complex"] | None = None,
        use_ntk: bool | None = None,
        on_the_fly: bool | None = None,
        n_members: int | None = None,
        seed: int | Array = 0,
        **options: Any,
    ) -> None:
        super().__init__(
            hamiltonian,
            optimizer,
            variational_state=variational_state,
            diag_shift=diag_shift,
            momentum=momentum,
            mode=mode,
            n_members=n_members,
            seed=seed,
            **options,
        )

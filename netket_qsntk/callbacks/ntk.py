"""The neural tangent kernel of a network while it trains, in any NetKet driver's log."""

from collections.abc import Callable
from numbers import Integral
from typing import Literal

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_drivers import loss_gradient, update_direction
from netket_qsntk._compat.signatures import ConstructorSignature
from netket_qsntk.advice.batch import present_samples
from netket_qsntk.alert import alert, once
from netket_qsntk.callbacks.along_steps import (
    directional_derivative,
    logged_loss,
    members,
    prediction_error,
    push_forward,
    square_norm,
)
from netket_qsntk.callbacks.chosen_states import chosen_states, draws_samples
from netket_qsntk.callbacks.energy_modes import energy_keys, gradient_of_sr
from netket_qsntk.callbacks.kernel_summary import kernel_within, summarise
from netket_qsntk.driver.base import SupervisedDriver
from netket_qsntk.errors import InvalidTrainingError, NonFiniteError, NotANumberWarning
from netket_qsntk.text import summary
from netket_qsntk.vqs import InfiniteState
from netket_qsntk.wavefunction import PureWaveFunction, pure_wavefunction


class NTKDiagnostics(nk.callbacks.AbstractCallback):
    r"""Logs the spectrum of the QS-NTK, its drift and how the training uses it, every few steps.

    On a batch of m configurations it computes Ω_RI (2m × 2m; Θ₁₁ alone, m × m, where the function is real) and
    logs, under ``ntk/``:

    - ``largest_eigenvalue``, ``smallest_eigenvalue``, ``condition_number`` (of the eigenvalues above rounding),
      ``effective_rank`` (exponential of the entropy of the normalised eigenvalues);
    - ``drift``: ‖Ω_t - Ω_0‖/‖Ω_0‖ (Frobenius), Ω_0 at the start of the run. Small: lazy training, the
      kernel at the start predicts the run. Of order one: features are learned;
    - ``alignment``: the share of the change of the function that this update makes, ‖J dθ‖² on the batch, in the
      ``n_modes`` top modes;
    - ``gradient_alignment``: the share of the loss gradient, ‖∇L‖² in parameter space, that lies in the same modes
      uᵢ = Jᵀvᵢ/√λᵢ, that is Σ (vᵢ·J∇L)²/λᵢ / ‖∇L‖², where the driver has a gradient to give;
    - ``decoupling_error``: ‖Θ₁₂‖/√(‖Θ₁₁‖‖Θ₂₂‖), 0 if the parts of the function train apart or one is constant;
    - ``sharpness``: 2λ_max/m, the curvature of the mean square error; gradient descent is stable while
      η · sharpness < 2 (kernel of ψ only);
    - ``prediction_error``: ‖f_t - f_s - J_s(θ_t - θ_s)‖/‖f_t - f_s‖ on the batch, s the evaluation before: how
      wrong the kernel frozen at s was about the steps since (0: lazy; order one: useless);
    - one step later, ``predicted_decrease`` of the loss, -Re⟨∇L, Δθ⟩ to first order, and ``realised_decrease``,
      where the driver has a gradient to give (VMC, VMC_SR, QSNTKDriver).

    With drivers of an energy and a discrete Hamiltonian, from present samples (:mod:`netket_qsntk.advice`):

    - ``edge``: distance to the edge of stability for the driver's own optimiser, rate and diag_shift, 1 at the edge
      and above 1 stable: its largest stable curvature (2/η for sgd, more with momentum) over µ_max, the largest
      eigenvalue of (S+λ)⁻¹G, G the second variation of the energy; for optimisers that are not linear (adam) and
      preconditioners other than SR with a diag_shift along the step itself;
    - ``sr_trained_modes``: Σ s/(s+λ), the effective number of modes that SR trains (from all samples where the
      driver's solver returns its eigenvalues), and with ``eigenvalues`` the filter ``sr_filter`` itself;
    - ``signal_to_noise`` of the energy's force on all modes together, ``resolved_modes``, those whose own force
      stands above its noise, and with ``eigenvalues`` ``mode_signal_to_noise`` (samples only);
    - ``effective_samples``: independent samples that the chains are worth; over a whole basis 1/Σp².

    A run that continues one (the same driver, at the step where this callback left it) goes on; others start afresh.

    The kernel is that of ψ where this package's drivers sum over the basis and of log ψ otherwise: sampled
    configurations carry the weight |ψ|², and J_logψ = J_ψ/ψ does not depend on the norm of ψ.

    Cost of one evaluation: the Jacobian of m configurations (m backward passes for each part of the function),
    2(2m)²P operations for the kernel with P parameters and about 10(2m)³ for its eigendecomposition, with m for 2m
    where the function is real; for the energy keys the Jacobian of m local energies and as many operations again;
    with VMC_SR one product with S. With the defaults 1 to 8 % of a VMC run (``benchmarks/diagnostics.py``).

    Args:
        every: Steps between evaluations.
        n_samples: Configurations in the batch.
        batch: ``"fixed"``: chosen at the start of the first run (samples of an MCState, training configurations of
            our drivers, a draw from |ψ|² for other states); ``"sampled"``: the present samples of an MCState each
            time; or an array (m, sites).
        of: ``"psi"``, ``"log_psi"``, or None for the choice above.
        n_modes: Modes counted as top in ``alignment``; a cluster of equal eigenvalues goes in whole.
        eigenvalues: Whether to log all of them too, largest first, as an array under ``ntk/eigenvalues``.
        member: Member looked at when the state is an ensemble.
        seed: Of the draw from |ψ|².
        energy_modes: Whether to look at the energy where the driver has one.
        memory: Bytes that Jacobians may take; beyond, they are computed in chunks, again for each pair of chunks.

    Raises:
        InvalidTrainingError: An option out of range.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0)
        >>> driver = nk.driver.VMC(H, nk.optimizer.Sgd(0.05), variational_state=vs)
        >>> log = nk.logging.RuntimeLog()
        >>> diagnostics = qs.callbacks.NTKDiagnostics(every=5, n_samples=16)
        >>> _ = driver.run(11, out=log, callback=diagnostics, show_progress=False)
        >>> log.data["ntk/drift"].iters
        array([ 0,  5, 10])
    """

    __signature__ = ConstructorSignature()

    every: int = struct.field(pytree_node=False, serialize=False)
    n_samples: int = struct.field(pytree_node=False, serialize=False)
    batch: Literal["fixed", "sampled"] | ArrayLike = struct.field(
        pytree_node=False, serialize=False
    )
    of: str | None = struct.field(pytree_node=False, serialize=False)
    n_modes: int = struct.field(pytree_node=False, serialize=False)
    eigenvalues: bool = struct.field(pytree_node=False, serialize=False)
    member: int = struct.field(pytree_node=False, serialize=False)
    seed: int = struct.field(pytree_node=False, serialize=False)
    energy_modes: bool = struct.field(pytree_node=False, serialize=False)
    memory: int = struct.field(pytree_node=False, serialize=False)
    _asked: str | None = struct.field(pytree_node=False, serialize=False)
    _left: tuple[int, int] | None = struct.field(pytree_node=False, serialize=False)
    _before: PyTree = struct.field(pytree_node=False, serialize=False)
    _x: Array | None = struct.field(pytree_node=False, serialize=False)
    _initial: PyTree = struct.field(pytree_node=False, serialize=False)
    _omega_0: Array | None = struct.field(pytree_node=False, serialize=False)
    _warned: set[type[Warning]] = struct.field(pytree_node=False, serialize=False)
    _pending: tuple[float, Callable[[PyTree], float]] | None = struct.field(
        pytree_node=False, serialize=False
    )

    def __init__(
        self,
        every: int = 20,
        n_samples: int = 128,
        *,
        batch: Literal["fixed", "sampled"] | ArrayLike = "fixed",
        of: Literal["psi", "log_psi"] | None = None,
        n_modes: int = 5,
        eigenvalues: bool = False,
        member: int = 0,
        seed: int = 0,
        energy_modes: bool = True,
        memory: int = 2**30,
    ) -> None:
        super().__init__()
        if not (isinstance(every, Integral) and every >= 1):
            raise InvalidTrainingError(f"every={every!r}: expected an integer >= 1.")
        if of not in (None, "psi", "log_psi"):
            raise InvalidTrainingError(f"of={of!r}: expected 'psi', 'log_psi' or None.")
        if isinstance(batch, str) and batch not in ("fixed", "sampled"):
            raise InvalidTrainingError(
                f"batch={batch!r}: expected 'fixed', 'sampled' or an array (m, sites)."
            )
        self.every, self.n_samples, self.batch = every, n_samples, batch
        self.of, self.n_modes, self.member, self.seed = of, n_modes, member, seed
        self.eigenvalues, self.energy_modes, self.memory = eigenvalues, energy_modes, memory
        self._asked, self._left = of, None
        self._forget()

    @property
    def callback_order(self) -> int:
        """Before the loggers (10), so that they see what this adds."""
        return 5

    def _forget(self) -> None:
        """As before any run."""
        self.of = self._asked
        self._x = None if isinstance(self.batch, str) else jnp.asarray(self.batch)
        self._initial = self._omega_0 = self._pending = self._before = None
        self._warned = set()

    def on_run_start(self, step: int, driver: nk.driver.AbstractDriver) -> None:
        """Choose the batch and remember the kernel of the start, unless this run continues the last one."""
        if self._left != (id(driver), step):
            self._forget()
        if self.of is None:
            sums = isinstance(driver, SupervisedDriver) and not draws_samples(driver)
            self.of = "psi" if sums else "log_psi"
        if isinstance(driver.state, InfiniteState):
            raise InvalidTrainingError(
                "An infinitely wide network has one kernel, qs.kernels.infinite_width(model), which training does "
                "not change. Look at it with qs.kernels.spectrum(kernel, states); NTKDiagnostics is for networks."
            )
        if isinstance(self.batch, str) and self.batch == "sampled":
            if not isinstance(driver.state, nk.vqs.MCState):
                raise InvalidTrainingError(
                    f"batch='sampled' needs an MCState, got {type(driver.state).__name__}: use 'fixed'."
                )
        elif self._x is None:
            self._x = chosen_states(driver, self.n_samples, self.seed)
        if self._initial is None:
            self._initial = jax.tree.map(jnp.array, self._function(driver).parameters)

    def on_run_end(self, step: int, driver: nk.driver.AbstractDriver) -> None:
        """Remember where the run was left."""
        self._left = (id(driver), driver.step_count)

    def before_parameter_update(
        self, step: int, log_data: dict[str, object], driver: nk.driver.AbstractDriver
    ) -> None:
        """Evaluate and log, every so many steps; settle the prediction of the step before."""
        loss = logged_loss(driver, log_data)
        if self._pending is not None:
            loss_before, derivative = self._pending
            self._pending = None
            if loss is not None:
                log_data["ntk/predicted_decrease"] = -derivative(driver.state.parameters)
                log_data["ntk/realised_decrease"] = float(np.real(loss_before - loss))
        if step % self.every:
            return
        with once(self._warned):
            try:
                self._evaluate(driver, log_data, loss)
            except NonFiniteError as error:
                # A run that has diverged ends where its driver ends it.
                alert(
                    f"ntk/ keys are left out from step {step} on, while the network is not finite: {error} The run "
                    "has diverged; lower the learning rate (qs.advise says how far).",
                    NotANumberWarning,
                )

    def _evaluate(
        self, driver: nk.driver.AbstractDriver, log_data: dict[str, object], loss: float | None
    ) -> None:
        """Everything that is read off the present parameters."""
        function = self._function(driver)
        x = self._x
        if x is None:
            x = present_samples(driver.state, self.n_samples)
            self._omega_0 = None
        kernel = kernel_within(function, x, self.memory)
        if not bool(jnp.isfinite(kernel.omega_ri).all()):
            raise NonFiniteError("The kernel is beyond the range of numbers.")
        if self._omega_0 is None:
            start = PureWaveFunction(function.psi, self._initial, function.model)
            self._omega_0 = kernel_within(start, x, self.memory).omega_ri
        update = update_direction(driver)
        gradient = gradient_of_sr(driver, update)
        if gradient is None:
            gradient = loss_gradient(driver)
        velocity = self._push(update, driver, function, x)
        # Plain gradient descent is given the gradient itself.
        slope = velocity if gradient is update else self._push(gradient, driver, function, x)
        size = 0.0 if gradient is None else square_norm(self._of_member(gradient, driver))
        summary = summarise(kernel, self._omega_0, velocity, slope, size, self.n_modes)
        if self.of == "psi":
            summary["sharpness"] = 2 * summary["largest_eigenvalue"] / len(x)
        if self._before is not None:
            x_before, parameters_before = self._before
            summary["prediction_error"] = prediction_error(
                function, x_before, parameters_before, centred=self.of == "log_psi"
            )
        if self.energy_modes and members(driver.state) is None:
            summary |= energy_keys(
                driver, update, self.n_samples, self.memory, self.seed, self.eigenvalues
            )
        if not self.eigenvalues:
            del summary["eigenvalues"]
        self._before = x, jax.tree.map(jnp.array, function.parameters)
        log_data.update({f"ntk/{name}": value for name, value in summary.items()})
        if loss is not None:
            change = directional_derivative(driver, gradient)
            self._pending = None if change is None else (loss, change)

    def __repr__(self) -> str:
        names = ["every", "n_samples", "batch", "of", "n_modes"]
        return summary(self, names + ["member"] * (self.member != 0))

    def _function(self, driver: nk.driver.AbstractDriver) -> PureWaveFunction:
        state = driver.state
        if members(state) is not None:
            state = state.get_state(self.member)
        wavefunction = pure_wavefunction(state)
        if self.of == "psi":
            return wavefunction
        return PureWaveFunction(wavefunction.log_psi, wavefunction.parameters)

    def _push(
        self,
        direction: PyTree,
        driver: nk.driver.AbstractDriver,
        function: PureWaveFunction,
        x: Array,
    ) -> Array | None:
        """J times a direction in parameter space: (m,)."""
        if direction is None:
            return None
        own = self._of_member(direction, driver)
        return push_forward(function.psi, function.parameters, own, x)

    def _of_member(self, direction: PyTree, driver: nk.driver.AbstractDriver) -> PyTree:
        if members(driver.state) is None:
            return direction
        return jax.tree.map(lambda leaf: leaf[self.member], direction)

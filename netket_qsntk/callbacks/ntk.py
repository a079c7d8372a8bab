"""The neural tangent kernel of a network while it trains, in any NetKet driver's log."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.utils import struct

from netket_qsntk import spectral
from netket_qsntk._compat.netket_drivers import loss_gradient, loss_name, update_direction
from netket_qsntk.driver import QSNTKDriver
from netket_qsntk.driver.base import SupervisedDriver
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import QSNTK, EmpiricalKernel
from netket_qsntk.text import summary
from netket_qsntk.vqs import InfiniteState
from netket_qsntk.vqs.members import Members
from netket_qsntk.wavefunction import PureWaveFunction


class NTKDiagnostics(nk.callbacks.AbstractCallback):
    r"""Logs the spectrum of the QS-NTK, its drift and how the training uses it, every few steps.

    On a batch of m configurations it computes Ω_RI (2m × 2m; Θ₁₁ alone, m × m, where the function is real) and
    logs, under ``ntk/``:

    - ``largest_eigenvalue``, ``smallest_eigenvalue``, ``condition_number`` (of the eigenvalues above rounding),
      ``effective_rank`` (exponential of the entropy of the normalised eigenvalues);
    - ``drift``: ‖Ω_t - Ω_0‖/‖Ω_0‖ (Frobenius), Ω_0 at the start of the first run. Small: lazy training, the
      kernel at the start predicts the run. Of order one: features are learned;
    - ``alignment``: the share of the change of the function that this update makes, ‖J dθ‖² on the batch, in the
      ``n_modes`` top modes;
    - ``gradient_alignment``: the share of the loss gradient, ‖∇L‖² in parameter space, that lies in the same modes
      uᵢ = Jᵀvᵢ/√λᵢ, that is Σ (vᵢ·J∇L)²/λᵢ / ‖∇L‖², where the driver has a gradient to give;
    - ``decoupling_error``: ‖Θ₁₂‖/√(‖Θ₁₁‖‖Θ₂₂‖), zero if the parts of the function train apart (0 if one part
      is constant);
    - ``sharpness``: 2λ_max/m, the curvature of the mean square error; gradient descent is stable while
      η · sharpness < 2 (kernel of ψ only);
    - one step after each of these, ``predicted_decrease`` of the loss, -Re⟨∇L, Δθ⟩ to first order, and
      ``realised_decrease``, where the driver has a gradient to give (VMC, VMC_SR, QSNTKDriver).

    The kernel is that of ψ where this package's drivers sum over the basis and of log ψ otherwise: sampled
    configurations carry the weight |ψ|², and J_logψ = J_ψ/ψ does not depend on the norm of ψ.

    Cost of one evaluation: the Jacobian of m configurations (m backward passes for each part of the function),
    2(2m)²P operations for the kernel with P parameters and about 10(2m)³ for its eigendecomposition, with m for
    2m where the function is real; with VMC_SR one more estimate of the energy gradient; ``sampled`` batches need
    the kernel at the initial parameters too. With the defaults this is below a tenth of a VMC run with a
    thousand samples (``examples/vmc_diagnostics.py`` measures it).

    Args:
        every: Steps between evaluations.
        n_samples: Configurations in the batch.
        batch: ``"fixed"``: chosen at the start of the first run (samples of an MCState, training configurations of
            our drivers, a draw from |ψ|² for other states); ``"sampled"``: the present samples of an MCState each
            time; or an array (m, sites).
        of: ``"psi"``, ``"log_psi"``, or None for the choice above.
        n_modes: Modes counted as top in ``alignment``.
        eigenvalues: Whether to log all of them too, largest first, as an array under ``ntk/eigenvalues``.
        member: Member looked at when the state is an ensemble.
        seed: Of the draw from |ψ|².

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

    every: int = struct.field(pytree_node=False, serialize=False)
    n_samples: int = struct.field(pytree_node=False, serialize=False)
    batch: Any = struct.field(pytree_node=False, serialize=False)
    of: str | None = struct.field(pytree_node=False, serialize=False)
    n_modes: int = struct.field(pytree_node=False, serialize=False)
    eigenvalues: bool = struct.field(pytree_node=False, serialize=False)
    member: int = struct.field(pytree_node=False, serialize=False)
    seed: int = struct.field(pytree_node=False, serialize=False)
    _x: Any = struct.field(pytree_node=False, serialize=False)
    _initial: Any = struct.field(pytree_node=False, serialize=False)
    _omega_0: Any = struct.field(pytree_node=False, serialize=False)
    _pending: Any = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        every: int = 20,
        n_samples: int = 128,
        *,
        batch: Literal["fixed", "sampled"] | Any = "fixed",
        of: Literal["psi", "log_psi"] | None = None,
        n_modes: int = 5,
        eigenvalues: bool = False,
        member: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (isinstance(every, int) and every >= 1):
            raise InvalidTrainingError(f"every={every!r}: expected an integer >= 1.")
        if of not in (None, "psi", "log_psi"):
            raise InvalidTrainingError(f"of={of!r}: expected 'psi', 'log_psi' or None.")
        if isinstance(batch, str) and batch not in ("fixed", "sampled"):
            raise InvalidTrainingError(
                f"batch={batch!r}: expected 'fixed', 'sampled' or an array (m, sites)."
            )
        self.every, self.n_samples, self.batch = every, n_samples, batch
        self.of, self.n_modes, self.member, self.seed = of, n_modes, member, seed
        self.eigenvalues = eigenvalues
        self._x = None if isinstance(batch, str) else jnp.asarray(batch)
        self._initial = self._omega_0 = self._pending = None

    @property
    def callback_order(self) -> int:
        """Before the loggers (10), so that they see what this adds."""
        return 5

    def on_run_start(self, step: int, driver: Any) -> None:
        """Choose the batch and remember the kernel of the start, once."""
        if self.of is None:
            sums = isinstance(driver, SupervisedDriver) and not _samples(driver)
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
            self._x = self._choose(driver)
        if self._initial is None:
            self._initial = jax.tree.map(jnp.array, self._function(driver).parameters)

    def before_parameter_update(self, step: int, log_data: dict[str, Any], driver: Any) -> None:
        """Evaluate and log, every so many steps; settle the prediction of the step before."""
        loss = _loss(driver, log_data)
        if self._pending is not None:
            loss_before, derivative = self._pending
            self._pending = None
            if loss is not None:
                log_data["ntk/predicted_decrease"] = -derivative(driver.state.parameters)
                log_data["ntk/realised_decrease"] = float(np.real(loss_before - loss))
        if step % self.every:
            return
        function = self._function(driver)
        x = self._x
        if x is None:
            x = _spread(driver.state, self.n_samples)
            self._omega_0 = None
        # The driver has a bar of its own.
        kernel = EmpiricalKernel(function, show_progress=False).qsntk(x)
        if self._omega_0 is None:
            start = PureWaveFunction(function.psi, self._initial, function.model)
            self._omega_0 = EmpiricalKernel(start, show_progress=False).qsntk(x).omega_ri
        update, gradient = update_direction(driver), loss_gradient(driver)
        velocity = self._push(update, driver, function, x)
        # Plain gradient descent is given the gradient itself.
        slope = velocity if gradient is update else self._push(gradient, driver, function, x)
        size = 0.0 if gradient is None else _square_norm(self._of_member(gradient, driver))
        summary = summarise(kernel, self._omega_0, velocity, slope, size, self.n_modes)
        if self.of == "psi":
            summary["sharpness"] = 2 * summary["largest_eigenvalue"] / len(x)
        if not self.eigenvalues:
            del summary["eigenvalues"]
        log_data.update({f"ntk/{name}": value for name, value in summary.items()})
        if loss is not None:
            change = _directional_derivative(driver, gradient)
            self._pending = None if change is None else (loss, change)

    def __repr__(self) -> str:
        names = ["every", "n_samples", "batch", "of", "n_modes"]
        return summary(self, names + ["member"] * (self.member != 0))

    def _function(self, driver: Any) -> PureWaveFunction:
        members = Members.of(driver.state)
        wavefunction = members[self.member if members.many else 0]
        if self.of == "psi":
            return wavefunction
        return PureWaveFunction(wavefunction.log_psi, wavefunction.parameters)

    def _choose(self, driver: Any) -> Array:
        if _samples(driver):
            return driver.configurations(self.n_samples)
        if isinstance(driver, SupervisedDriver):
            return jnp.asarray(driver.train.states[: self.n_samples])
        state = driver.state
        if isinstance(state, nk.vqs.MCState):
            return _spread(state, self.n_samples)
        states = np.asarray(state.hilbert.all_states())
        weight = np.abs(np.asarray(state.to_array())) ** 2
        size = min(self.n_samples, int(np.count_nonzero(weight)))
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(len(states), size, replace=False, p=weight / weight.sum())
        return jnp.asarray(states[np.sort(chosen)])

    def _push(
        self, direction: Any, driver: Any, function: PureWaveFunction, x: Array
    ) -> Array | None:
        """J times a direction in parameter space: (m,)."""
        if direction is None:
            return None
        own = self._of_member(direction, driver)
        return _push_forward(function.psi, function.parameters, own, x)

    def _of_member(self, direction: Any, driver: Any) -> Any:
        if getattr(driver.state, "n_members", None) is None:
            return direction
        return jax.tree.map(lambda leaf: leaf[self.member], direction)


def summarise(
    kernel: QSNTK,
    start: Array,
    velocity: Array | None,
    slope: Array | None,
    size: float,
    n_modes: int,
) -> dict[str, Any]:
    """What is logged of one kernel (m configurations).

    Args:
        kernel: At the present parameters.
        start: Ω_RI at the initial ones.
        velocity: J dθ of the update, (m,), or None.
        slope: J∇L, (m,), or None.
        size: ‖∇L‖².
        n_modes: Modes counted as top.
    """
    omega = kernel.omega_ri
    is_real = not np.any(kernel.theta_22)
    eigenvalues, vectors = np.linalg.eigh(np.asarray(kernel.theta_11 if is_real else omega))
    top = eigenvalues[-1]
    live = eigenvalues[eigenvalues > spectral.floor_of(eigenvalues)]
    norm = [float(jnp.linalg.norm(t)) for t in (kernel.theta_11, kernel.theta_22, kernel.theta_12)]
    product = np.sqrt(norm[0] * norm[1])
    out = {
        "largest_eigenvalue": float(top),
        "smallest_eigenvalue": float(max(eigenvalues[0], 0.0)),
        "condition_number": spectral.condition_number(live),
        "effective_rank": spectral.effective_rank(eigenvalues),
        "drift": float(jnp.linalg.norm(omega - start) / jnp.linalg.norm(start)),
        "decoupling_error": norm[2] / product if product > 0 else 0.0,
        "eigenvalues": eigenvalues[::-1],
    }
    if velocity is not None:
        components = _components(vectors, velocity)
        total = components.sum()
        out["alignment"] = float(components[-n_modes:].sum() / total) if total > 0 else 0.0
    if slope is not None:
        live_top = live[-n_modes:]
        along = _components(vectors, slope)[len(eigenvalues) - len(live_top) :] / live_top
        out["gradient_alignment"] = float(along.sum() / size) if size > 0 else 0.0
    return out


def _components(vectors: np.ndarray, change: Array) -> np.ndarray:
    """Squared components along the modes of a change of the function, (m,) complex."""
    is_real = len(vectors) == len(change)
    parts = [np.real(change)] if is_real else [np.real(change), np.imag(change)]
    return (vectors.T @ np.concatenate(parts)) ** 2


def _square_norm(direction: Any) -> float:
    return float(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(direction)))


@jax.jit
def _push_forward(psi: Any, parameters: Any, update: Any, x: Array) -> Array:
    update = jax.tree.map(lambda u, p: u.astype(p.dtype), update, parameters)
    return jax.jvp(lambda p: psi(p, x) + 0j, (parameters,), (update,))[1]


def _spread(state: nk.vqs.MCState, n: int) -> Array:
    """n of the state's samples from all of its chains, evenly: those of one chain resemble one another."""
    samples = state.samples.reshape(-1, state.hilbert.size)
    rows = np.linspace(0, len(samples) - 1, min(n, len(samples))).astype(int)
    return jnp.array(samples[rows])


def _loss(driver: Any, log_data: dict[str, Any]) -> float | None:
    """The minimised quantity as it was logged, or the first ``Stats`` of a driver that names none."""
    named = log_data.get(loss_name(driver) or "")
    for value in (named, *log_data.values()):
        if isinstance(value, nk.stats.Stats):
            return float(np.real(value.mean))
    return None


def _directional_derivative(driver: Any, gradient: Any) -> Any:
    """Function of new parameters: first-order change of the loss from the present ones; None if unknown."""
    if gradient is None:
        return None
    start = jax.tree.map(jnp.array, driver.state.parameters)
    # NetKet's convention and ours: ∂L/∂Re θ + i ∂L/∂Im θ for a complex parameter.
    members = getattr(driver.state, "n_members", None) or 1

    def change(parameters: Any) -> float:
        total = 0.0
        for g, new, old in zip(*map(jax.tree.leaves, (gradient, parameters, start)), strict=True):
            total += float(jnp.sum(jnp.conj(g) * (new - old)).real)
        return total / members

    return change


def _samples(driver: Any) -> bool:
    return isinstance(driver, QSNTKDriver) and driver.sampling is not None

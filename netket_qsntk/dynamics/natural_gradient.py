r"""VMC, stochastic reconfiguration and TDVP of infinitely wide networks, in function space."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.alert import alert
from netket_qsntk.dynamics import natural_gradient_step as steps
from netket_qsntk.dynamics.flow import check_steps
from netket_qsntk.dynamics.natural_gradient_kernel import LARGEST_DENSE, UsedKernel
from netket_qsntk.dynamics.natural_gradient_rate import late_rate
from netket_qsntk.dynamics.natural_gradient_settings import (
    Schedule,
    at_step,
    check,
    said,
    summable_loss,
    table,
)
from netket_qsntk.dynamics.natural_gradient_step import Place, Problem, Step
from netket_qsntk.dynamics.natural_gradient_time import integrate
from netket_qsntk.dynamics.settings import check_precision
from netket_qsntk.errors import (
    AmplitudesError,
    InvalidTrainingError,
    NotConvergedWarning,
)
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.losses import Energy, Loss
from netket_qsntk.operators import KernelOperator
from netket_qsntk.readout import Readout
from netket_qsntk.targets import check_summable


class NaturalGradientFlow:
    r"""An infinitely wide network trained as NetKet's VMC, VMC_SR and TDVP train it, with sums over the basis.

    With log ψ = r + f₁ + if₂, p = |ψ|²/⟨ψ|ψ⟩, D = diag(√p), C = 1 - 1pᵀ and the tangent kernel Θ of each part,

    .. math:: f \leftarrow f - \eta\,\Theta C^T D\,a,\qquad
        a = (T + \lambda)^{-1}\, 2D(E_{loc} - E),\qquad T = D C\,\Theta\,C^T D:

    stochastic reconfiguration (S. Sorella, PRL 80, 4558 (1998)) in the space of configurations (A. Chen, M. Heyl,
    arXiv:2302.01941), for a kernel that does not change. The real part of the right side moves f₁, the imaginary part
    f₂. ``diag_shift=None`` is gradient descent, f ← f - ηΘ 2p(E_loc - E). With ``momentum=μ`` it is SPRING
    (G. Goldshlager, N. Abrahamsen, L. Lin, arXiv:2401.10190), as NetKet's: a = (T + λ)⁻¹(2D(E_loc - E) - μDCv_old),
    v = ΘCᵀDa + μ v_old, f ← f - ηv. ``propagation="real"`` replaces E_loc - E by i(E_loc - E), without the factor 2.

    For networks of ψ itself (``readout``) the derivative of log ψ takes the place of 1 in D C. Losses that do not
    depend on the norm (infidelity, tomography) take the place of the energy with the same T. Everything is computed
    from ψ/‖ψ‖ and phases: amplitudes may span hundreds of e-folds, and vanish.

    Args:
        kernel: An infinite-width kernel, or an array: Θ (n_states, n_states) of each part, or the joint kernel
            (2 n_states, 2 n_states) of (f₁, f₂).
        hamiltonian: A Hermitian NetKet operator, or a loss of :mod:`netket_qsntk.losses`.
        learning_rate: η, or a function of the step. For flows a number that scales time.
        diag_shift: λ >= 0 or a function of the step; None is gradient descent. With 0, modes of T below rounding do
            not move.
        momentum: μ of SPRING, or a function of the step.
        mode: ``"complex"``: the whole log ψ follows; ``"real"``: its real part. None: as the kernel's parts say.
        propagation: ``"imag"`` minimises; ``"real"`` is real time (TDVP).
        flow: Follow df/dτ = -ηΘCᵀDa (Dormand-Prince, adaptive) instead of steps: ``steps`` are then times.
        readout: What f is; log ψ = f if None.
        solver: ``"dense"`` (n² numbers, n³/3 operations a step), ``"products"`` (conjugate gradients, one product
            with Θ an iteration), or ``"auto"`` by structure and size.
        tolerance: Relative residual of the linear systems by products, and relative error of flows.
        max_products: Products in one linear system at most.

    Raises:
        InvalidTrainingError: Numbers out of range, or options that contradict one another.
        HamiltonianError: Not a Hermitian operator on a discrete space.
        SystemTooLargeError: The basis cannot be listed.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> net = qs.models.WideMLP(
        ...     widths=(1,), activation="erf", sigma_b=0.3, output="log_psi", parts="real")
        >>> flow = qs.dynamics.NaturalGradientFlow(
        ...     qs.kernels.infinite_width(net), H, learning_rate=0.05, diag_shift=1e-3)
        >>> energies = flow.energies(jnp.zeros(16), [0, 100])
        >>> round(float(energies[0]), 12), bool(energies[1] - nk.exact.lanczos_ed(H)[0] < 1e-3)
        (-4.0, True)
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel | Array | np.ndarray,
        hamiltonian: nk.operator.AbstractOperator | Loss,
        *,
        learning_rate: Schedule,
        diag_shift: Schedule | None,
        momentum: Schedule | None = None,
        mode: Literal["real", "complex"] | None = None,
        propagation: Literal["imag", "real"] = "imag",
        flow: bool = False,
        readout: Readout | None = None,
        solver: Literal["auto", "dense", "products"] = "auto",
        tolerance: float = 1e-8,
        max_products: int = 2000,
    ) -> None:
        check_precision()
        self.loss, _ = summable_loss(hamiltonian)
        self.kernel = kernel
        self.learning_rate, self.diag_shift, self.momentum = learning_rate, diag_shift, momentum
        self.flow, self.propagation = flow, propagation
        self.readout = Readout("log_psi") if readout is None else readout
        check(
            self.loss,
            learning_rate=learning_rate,
            diag_shift=diag_shift,
            momentum=momentum,
            flow=flow,
            propagation=propagation,
            mode=mode,
            solver=solver,
        )
        hilbert = self.loss.hilbert or self.loss.target.hilbert
        self.states = np.asarray(hilbert.all_states())
        used = UsedKernel.of(kernel, self.states, solver, diag_shift is None)
        n_parts = used.n_parts
        real = n_parts == 1 or mode == "real"
        if propagation == "real" and real:
            raise InvalidTrainingError(
                "Real-time evolution turns phases, and this network has none: use parts='independent' (or 'shared') "
                "and mode=None."
            )
        if mode == "real" and n_parts == 2 and not self.readout.is_log:
            raise InvalidTrainingError(
                "mode='real' of a network of ψ with two parts would leave its phase to chance: use mode=None, "
                "parts='real', or output='log_psi'."
            )
        method: steps.Method = "products"
        if diag_shift is None:
            method = "gradient"
        elif used.is_stored:
            # A shift that may be zero needs the eigenvectors.
            method = "cholesky" if not callable(diag_shift) and diag_shift > 0 else "eigenvectors"
        amplitudes = None
        if not self.loss.whole_basis:
            amplitudes = jnp.asarray(self.loss.target.amplitudes)
        self.n_parts = n_parts
        self.problem = Problem(
            used.theta,
            self.loss,
            self.readout.at(self.states),
            amplitudes,
            jnp.asarray(tolerance),
            method,
            real,
            used.joint,
            propagation == "real",
            max_products,
        )

    def functions(self, log_psi: ArrayLike) -> Array:
        """f (…, n) of initial log ψ (…, n) in ``hilbert.all_states()`` order: real for real networks of log ψ.

        Raises:
            AmplitudesError: Another shape, numbers that are not finite, or a network of log ψ with a zero amplitude.
        """
        log_psi = jnp.asarray(log_psi)
        n = len(self.states)
        if log_psi.ndim not in (1, 2) or log_psi.shape[-1] != n:
            raise AmplitudesError(
                f"log_psi_0 has shape {log_psi.shape}: expected ({n},) or (members, {n}), log ψ in the order of "
                "hilbert.all_states()."
            )
        size = log_psi.real
        broken = jnp.isnan(log_psi) | (size == jnp.inf)
        wrong = broken | (size == -jnp.inf) if self.readout.is_log else broken
        if bool(wrong.any()):
            raise AmplitudesError(
                f"log_psi_0 has {int(wrong.sum())} amplitudes that are zero or not finite. A network of log ψ has "
                "none: start from one, or give readout=qs.readout.Readout('psi') for networks of ψ."
            )
        f = self.problem.readout.functions(log_psi)
        if self.n_parts == 2:
            return f.astype(jnp.result_type(f.dtype, jnp.complex64))
        if not jnp.iscomplexobj(f):
            return f
        if self.readout.is_log:
            # A phase that the reference does not explain stays as it is.
            return f if bool(jnp.max(jnp.abs(f.imag)) > 1e-10) else f.real
        if bool(jnp.max(jnp.abs(f.imag)) > 1e-8 * jnp.max(jnp.abs(f))):
            raise AmplitudesError(
                "log_psi_0 is not a real function times the reference, as networks with parts='real' are."
            )
        return f.real

    def start(self, log_psi_0: ArrayLike) -> Place:
        """The place of an initial log ψ, of one wave function (n,) or of members (members, n)."""
        return steps.start(self.functions(log_psi_0))

    def log_psi(self, f: Any) -> Array:
        """Log ψ of functions f (…, n)."""
        return self.problem.readout.log_psi(jnp.asarray(f))

    def direction(self, places: Place, step: int = 0) -> Step:
        """The direction of one wave function or of members at a step: L, its variance, α and Θα."""
        shift = at_step("diag_shift", self.diag_shift, step)
        momentum = at_step("momentum", self.momentum, step)
        return steps.directions(self.problem, places, shift, momentum)

    def apply(self, alpha: Array) -> Array:
        """Θα for α (…, n)."""
        return steps.images(self.problem, jnp.asarray(alpha))

    def run(self, log_psi_0: ArrayLike, steps: ArrayLike) -> Array:
        """Log ψ after each of the given numbers of steps: (steps, n), or (steps, members, n) for (members, n).

        Real where log ψ is. For flows the numbers are times.

        Raises:
            InvalidTrainingError: Steps not finite, negative, or not in increasing order.
            AmplitudesError: See :meth:`functions`.
        """
        return self.log_psi(self._trajectory(log_psi_0, steps))

    def energies(self, log_psi_0: ArrayLike, steps: ArrayLike) -> Array:
        """L after each of the given numbers of steps: (steps,), or (steps, members)."""
        return self.evaluate(self._trajectory(log_psi_0, steps))[0]

    def evaluate(self, f: Array) -> tuple[Array, Array]:
        """L and ⟨H²⟩ - ⟨H⟩² of functions f (…, n): two arrays (…)."""
        return steps.evaluations(self.problem, f)

    def late_rate(self) -> float:
        r"""r of the late decay E - E₀ ~ e^{-4ηrt} for small η: the gap for λ → 0, less with regularisation.

        The smallest non-zero eigenvalue of (H - E₀)^½ T(T+λ)⁻¹ (H - E₀)^½ at the ground state (T itself for gradient
        descent), over all directions: a start that shares a symmetry with the ground state may end faster. A step
        multiplies E - E₀ by (1 - 2ηr)², so the exponent that a run shows is -log(1 - 2ηr)/(2η), more than r for steps
        that are not small. Kernels that are not positive definite may keep the ground state out of reach; E then
        decays to another limit.

        Raises:
            InvalidTrainingError: Momentum, schedules, real time, or a loss that is not an energy.
            DegenerateGroundStateError: There are several ground states.
            SystemTooLargeError: More than 2^13 states.
        """
        shift, energy = self.diag_shift, self.loss
        if not isinstance(energy, Energy) or self.propagation == "real":
            raise InvalidTrainingError(
                f"late_rate is for energies that are minimised, got {type(energy).__name__} with "
                f"propagation={self.propagation!r}."
            )
        if callable(shift) or self.momentum is not None:
            raise InvalidTrainingError(
                "late_rate has a formula for constant diag_shift without momentum: measure the rate of a run instead."
            )
        check_summable(energy.hilbert, task="late_rate", max_states=LARGEST_DENSE)
        problem = self.problem
        if isinstance(problem.theta, KernelOperator):
            problem = jax.tree.map(lambda x: x, problem)
            object.__setattr__(problem, "theta", problem.theta.as_matrix())
        return late_rate(problem, energy, shift)

    def _trajectory(self, log_psi_0: ArrayLike, given: ArrayLike) -> Array:
        places, wanted = self.start(log_psi_0), check_steps(given)
        if self.flow:
            shift = at_step("diag_shift", self.diag_shift, 0)
            rate = at_step("learning_rate", self.learning_rate, 0)
            return integrate(self.problem, places.f, wanted, shift, rate)
        wanted = wanted.astype(int)
        named = {name: vars(self)[name] for name in ("learning_rate", "diag_shift", "momentum")}
        settings = [table(name, value, wanted[-1]) for name, value in named.items()]
        gaps = jnp.asarray(np.diff(wanted, prepend=0))
        last, kept, _ = steps.follow(self.problem, places, gaps, jnp.zeros((), int), *settings)
        self._warn(last)
        return kept

    def _warn(self, last: Place) -> None:
        if self.problem.method != "products":
            return
        step = self.direction(last)
        residual = float(jnp.max(step.residual))
        if residual > 2 * float(self.problem.tolerance):
            alert(
                f"The last linear system was left with a relative residual of {residual:.1e}, not "
                f"{float(self.problem.tolerance):.1e}: use a larger diag_shift, max_products or tolerance.",
                NotConvergedWarning,
            )

    def __repr__(self) -> str:
        settings = ("learning_rate", "diag_shift", "momentum")
        values = (self.learning_rate, self.diag_shift, self.momentum)
        said_all = ", ".join(f"{n}={said(v)}" for n, v in zip(settings, values, strict=True))
        return (
            f"NaturalGradientFlow({self.loss!r}, method={self.problem.method!r}, {said_all}, "
            f"n_states={len(self.states)})"
        )

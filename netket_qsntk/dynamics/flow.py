r"""Training on any loss, in function space: the kernel alone moves ψ (arXiv:2112.00723, Eqs. 8-10)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from tqdm import tqdm

from netket_qsntk.dynamics import compiled_flow as compiled
from netket_qsntk.dynamics.compiled_flow import FlowState
from netket_qsntk.dynamics.meter import following
from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.dynamics.settings import check_precision
from netket_qsntk.errors import AmplitudesError, InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.kernels.base import check_real
from netket_qsntk.losses import Loss
from netket_qsntk.progress import bar, showing
from netket_qsntk.readout import Readout

# Programs that a run is divided into, to see how far it is.
_PARTS = 32


class FunctionSpaceFlow:
    r"""An infinitely wide network trained on a loss that need not be quadratic.

    With g = ∂L/∂ψ₁ + i ∂L/∂ψ₂ and the real kernel Θ of each part,

    .. math:: \frac{d\psi}{d\tau} = -\eta\,\Theta\, g(\psi) \quad (\text{flow}),\qquad
        \psi_{t+1} = \psi_t - \eta\,\Theta\, g(\psi_t) \quad (\text{gradient descent}),

    or Ψ_t = Ψ₀ + Θα_t with a linear optimiser acting on α. For the mean square error this is
    :class:`~netket_qsntk.dynamics.LinearDynamics`; for the energy it is infinite-width VMC. The equation is not
    linear, so an ensemble is a set of drawn initial functions that are evolved one by one.

    One step costs one derivative of the loss and one product with the kernel: O(sites · 2^sites) on a whole basis
    of spins, where Θ is never stored.

    Args:
        kernel: An infinite-width kernel; its operator on ``states`` is chosen by structure.
        loss: An object of :mod:`netket_qsntk.losses`.
        states: Configurations (n, sites) that the loss is evaluated on; None takes the whole basis of the loss's
            Hilbert space.
        amplitudes: The target's amplitudes on ``states``, for losses that need them; None takes the target's own
            on the whole basis.
        learning_rate: η of plain gradient descent or of its flow.
        optimizer: Instead, a linear optax transformation (``mode="gd"``).
        mode: ``"gd"`` or ``"flow"``.
        tolerance: Relative tolerance of the adaptive integrator of the flow; absolute is a thousandth of it times
            the largest initial amplitude.
        stiff: Integrate implicitly (Kvaernø 5, dense Jacobian: for n up to about a thousand). Explicit steps
            (Dormand-Prince 5) are limited to about 3/(η λ_max ‖∂g‖).
        readout: What the networks' functions f are, as ``model.readout``. f then moves along Θ ∂L/∂f, and log ψ takes
            the place of ψ in :meth:`run` and :meth:`losses`, f in the other methods. None: f is ψ.
        show_progress: Whether a bar counts the steps.

    Raises:
        InvalidTrainingError: Not one of rate and optimiser, a flow with an optimiser, states without amplitudes.
        AmplitudesError: Initial functions that are not finite (from the methods).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> loss = qs.losses.Energy(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, 1.0, 2.0))
        >>> flow = qs.dynamics.FunctionSpaceFlow(vs.kernel, loss, learning_rate=0.2)
        >>> energies = flow.losses(vs.sample(2, seed=0), [0, 100])
        >>> energies.shape, bool((energies[1] < energies[0]).all())
        ((2, 2), True)
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        loss: Loss,
        states: ArrayLike | None = None,
        amplitudes: ArrayLike | None = None,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: str = "gd",
        tolerance: float = 1e-8,
        stiff: bool = False,
        readout: Readout | None = None,
        show_progress: bool = True,
    ) -> None:
        if mode not in ("gd", "flow"):
            raise InvalidTrainingError(f"mode={mode!r}: expected 'gd' or 'flow'.")
        if (learning_rate is None) == (optimizer is None):
            raise InvalidTrainingError(
                "Expected exactly one of learning_rate=η and optimizer=optax.sgd(η, …), got "
                + ("neither." if optimizer is None else "both.")
            )
        if optimizer is None:
            rate = float(learning_rate or 0.0)
            if not rate > 0:
                raise InvalidTrainingError(f"learning_rate={learning_rate}: expected a number > 0.")
            optimizer = optax.sgd(rate)
        elif mode == "flow":
            raise InvalidTrainingError(
                "mode='flow' is the limit of plain gradient descent: give learning_rate=η instead of an optimizer."
            )
        check_linear(optimizer)
        check_precision()
        whole = states is None
        if states is None:
            hilbert = loss.target.hilbert if loss.hilbert is None else loss.hilbert
            states = hilbert.all_states()
        elif loss.whole_basis:
            raise InvalidTrainingError(
                f"{type(loss).__name__} needs ψ on the whole basis: leave states=None."
            )
        if amplitudes is None and not loss.whole_basis:
            if not whole:
                raise InvalidTrainingError(
                    "Give the target's amplitudes on these states, as in train.states, train.amplitudes."
                )
            amplitudes = loss.target.amplitudes
        check_real(kernel, "FunctionSpaceFlow")
        self.kernel, self.loss, self.mode = kernel, loss, mode
        self.learning_rate = float(learning_rate or 0.0)
        self.tolerance, self.stiff = tolerance, stiff
        self.show_progress = show_progress
        self.operator = kernel.operator(states)
        amplitudes = None if amplitudes is None else jnp.asarray(amplitudes)
        self.readout = readout
        fixed = None if readout is None else readout.at(states)
        mover = compiled.Mover.of(optimizer)
        self._flow = compiled.Descent(loss, self.operator, amplitudes, mover, fixed)

    def losses(self, initial: ArrayLike, steps: ArrayLike) -> Array:
        """L at given steps: (steps,) for ψ₀ (n,), (steps, members) for ψ₀ (members, n)."""
        psi = self._trajectory(self.functions(initial), steps)
        return compiled.values(self._flow, psi.reshape(-1, psi.shape[-1])).reshape(psi.shape[:-1])

    def functions(self, initial: ArrayLike) -> Array:
        """f (…, n) of initial log ψ, real for networks with one part; ψ itself without a readout.

        Raises:
            AmplitudesError: log ψ of a network of log ψ that is not finite, or a phase that real networks with this
                reference do not have.
        """
        given, fixed = jnp.asarray(initial), self._flow.readout
        if fixed is None:
            return given
        f = fixed.functions(given)
        if not bool(jnp.isfinite(f).all()):
            raise AmplitudesError(
                "Initial log ψ that are not finite: networks of log ψ have no zero amplitudes. Networks of ψ take "
                "readout=qs.readout.Readout('psi', reference)."
            )
        if self.kernel.n_parts == 2:
            return f.astype(jnp.result_type(f.dtype, jnp.complex64))
        if jnp.iscomplexobj(f) and bool(jnp.max(jnp.abs(f.imag)) > 1e-8 * jnp.max(jnp.abs(f))):
            raise AmplitudesError(
                "The initial state is not a real function with this reference, as networks with parts='real' give."
            )
        return f.real

    def run(self, initial: ArrayLike, steps: ArrayLike) -> Array:
        """ψ at given steps (or times): (steps, n) for ψ₀ (n,), (steps, members, n) for ψ₀ (members, n).

        Real ψ₀ stays real: those are networks with ψ₂ = 0. With a readout these are log ψ.

        Raises:
            InvalidTrainingError: Steps not finite, negative, or not in increasing order.
            AmplitudesError: See :meth:`functions`.
        """
        f = self._trajectory(self.functions(initial), steps)
        return f if self._flow.readout is None else self._flow.readout.log_psi(f)

    def _trajectory(self, initial: Array, steps: ArrayLike) -> Array:
        steps = check_steps(steps)
        members = initial.reshape(-1, initial.shape[-1])
        if self.mode == "gd":
            steps = steps.astype(int)
            evolve, total, unit = self._descend, len(members) * steps[-1], "step"
        else:
            evolve, total, unit = self._integrate, 100 * len(members), "%"
        with showing(self.show_progress), bar(total, "training", unit=unit) as done:
            psi = [evolve(member, steps, done) for member in members]
        return psi[0] if initial.ndim == 1 else jnp.stack(psi, axis=1)

    def start(self, initial: ArrayLike) -> FlowState:
        """Gradient descent before its first step, from ψ₀ (n,) or (members, n)."""
        psi = jnp.asarray(initial)
        return self._flow.start(psi) if psi.ndim == 1 else jax.vmap(self._flow.start)(psi)

    def evaluate(self, psi: Array) -> tuple[Array, Array]:
        """L and ∂L/∂ψ₁ + i ∂L/∂ψ₂ (its real part for real ψ), for ψ (n,) or (members, n)."""
        return compiled.evaluate(self._flow, psi)

    def step(self, state: FlowState, gradient: Array) -> FlowState:
        """One step of the optimiser along a gradient (…, n) of :meth:`evaluate`."""
        return compiled.step(self._flow, state, gradient)

    def advance(self, state: FlowState, n_steps: int) -> FlowState:
        """``n_steps`` steps of gradient descent."""
        return compiled.advance(self._flow, state, jnp.asarray(n_steps))

    def follow(self, state: FlowState, steps: Sequence[int]) -> Iterator[FlowState]:
        """Gradient descent from a state at step 0: the states at increasing numbers of steps, one by one."""
        last = int(max(steps, default=0))
        part, at = max(1, -(-last // _PARTS)), 0
        with showing(self.show_progress), bar(last, "training", unit="step") as done:
            for step in steps:
                while at < step:
                    count = min(part, int(step) - at)
                    state, at = jax.block_until_ready(self.advance(state, count)), at + count
                    done.update(count)
                yield state

    def max_learning_rate(self, psi: ArrayLike, n_products: int = 60) -> float:
        r"""The largest η for which plain gradient descent near ψ (n,) does not overshoot.

        It is 2/ρ with ρ the largest modulus of an eigenvalue of Θ ∂g/∂ψ, by power iteration (an estimate from
        below of ρ, mostly to a few per cent). For losses that do not depend on the norm of ψ it is proportional
        to ⟨ψ|ψ⟩, and descent beyond it lengthens ψ until it is stable.
        """
        psi = jnp.asarray(psi)
        key = jax.random.key(0)
        start = jax.random.normal(key, psi.shape, psi.dtype)
        return float(2 / compiled.largest_curvature(self._flow, psi, start, n_products))

    def _descend(self, initial: Array, steps: np.ndarray, done: tqdm) -> Array:
        stops = np.union1d(steps, np.linspace(0, steps[-1], _PARTS + 1).astype(int))
        wanted = np.isin(stops, steps)
        gaps = np.diff(stops, prepend=0)
        # Parts of equal length are one compiled program; steps that fill the last one up do nothing.
        length = -(-len(gaps) // _PARTS)
        gaps = np.pad(gaps, (0, -len(gaps) % length))
        state, kept = self.start(initial), []
        for i in range(0, len(gaps), length):
            part = gaps[i : i + length]
            state, psi = compiled.descend(self._flow, state, jnp.asarray(part))
            here = wanted[i : i + length]
            if here.any():
                kept.append(psi if here.sum() == length else psi[np.flatnonzero(here)])
            jax.block_until_ready(state.psi)
            done.update(int(part.sum()))
        run, distinct = jnp.concatenate(kept), stops[wanted]
        return run if len(distinct) == len(steps) else run[np.searchsorted(distinct, steps)]

    def _integrate(self, initial: Array, steps: np.ndarray, done: tqdm) -> Array:
        import diffrax  # late: half a second that only a flow needs

        if steps[-1] == 0:
            return jnp.broadcast_to(initial, (len(steps), *initial.shape))
        # Numbers are arrays, and ψ real vectors (diffrax warns of complex ones): one program serves all.
        tolerance, scale = jnp.asarray(self.tolerance), jnp.max(jnp.abs(initial))
        with following(done) as meter:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(cast(Callable[..., Any], compiled.velocity)),
                diffrax.Kvaerno5() if self.stiff else diffrax.Dopri5(),
                t0=jnp.zeros(()),
                t1=jnp.asarray(steps[-1]),
                dt0=None,
                y0=compiled.split(initial),
                args=(compiled.in_parts(self._flow), jnp.asarray(self.learning_rate)),
                saveat=diffrax.SaveAt(ts=jnp.asarray(steps)),
                stepsize_controller=diffrax.PIDController(
                    rtol=tolerance, atol=1e-3 * tolerance * scale
                ),
                max_steps=None,
                progress_meter=meter,
            )
        return jax.vmap(partial(compiled.join, is_complex=jnp.iscomplexobj(initial)))(solution.ys)

    def __repr__(self) -> str:
        return f"FunctionSpaceFlow({self.loss!r}, mode={self.mode!r}, {self.operator!r})"


def check_steps(steps: ArrayLike) -> np.ndarray:
    """Steps as an array.

    Raises:
        InvalidTrainingError: Steps not finite, negative, or not in increasing order.
    """
    steps = np.atleast_1d(np.asarray(steps, dtype=float))
    if not np.all(np.isfinite(steps)) or np.any(steps < 0) or np.any(np.diff(steps) < 0):
        raise InvalidTrainingError(
            f"steps={steps}: expected finite, increasing numbers >= 0 (a non-linear flow has no closed form "
            "at ∞)."
        )
    return steps

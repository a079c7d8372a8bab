r"""Training on any loss, in function space: the kernel alone moves ψ (arXiv:2112.00723, Eqs. 8-10)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.losses import Loss


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
        states: Any = None,
        amplitudes: Any = None,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: str = "gd",
        tolerance: float = 1e-8,
        stiff: bool = False,
    ) -> None:
        if mode not in ("gd", "flow"):
            raise InvalidTrainingError(f"mode={mode!r}: expected 'gd' or 'flow'.")
        if (learning_rate is None) == (optimizer is None):
            raise InvalidTrainingError(
                "Expected exactly one of learning_rate=η and optimizer=optax.sgd(η, …)."
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
        whole = states is None
        if whole:
            hilbert = getattr(loss, "hilbert", None) or loss.target.hilbert
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
        self.kernel, self.loss, self.mode = kernel, loss, mode
        self.learning_rate, self.optimizer = float(learning_rate or 0.0), optimizer
        self.tolerance, self.stiff = tolerance, stiff
        self.operator = kernel.operator(states)
        self._amplitudes = None if amplitudes is None else jnp.asarray(amplitudes)

    def losses(self, initial: Any, steps: Any) -> Array:
        """L at given steps: (steps,) for ψ₀ (n,), (steps, members) for ψ₀ (members, n)."""
        psi = self.run(initial, steps)
        value = partial(self.loss.value, amplitudes=self._amplitudes)
        return jnp.stack([value(p) if p.ndim == 1 else jax.lax.map(value, p) for p in psi])

    def run(self, initial: Any, steps: Any) -> Array:
        """ψ at given steps (or times): (steps, n) for ψ₀ (n,), (steps, members, n) for ψ₀ (members, n).

        Real ψ₀ stays real: those are networks with ψ₂ = 0.

        Raises:
            InvalidTrainingError: Steps not finite, negative, or not in increasing order.
        """
        initial = jnp.asarray(initial)
        steps = np.atleast_1d(np.asarray(steps, dtype=float))
        if not np.all(np.isfinite(steps)) or steps[0] < 0 or np.any(np.diff(steps) < 0):
            raise InvalidTrainingError(
                f"steps={steps}: expected finite, increasing numbers >= 0 (a non-linear flow has no closed form "
                "at ∞)."
            )
        evolve = self._descend if self.mode == "gd" else self._integrate
        if initial.ndim == 1:
            return evolve(initial, steps)
        return jnp.stack([evolve(psi, steps) for psi in initial], axis=1)

    def _gradient(self, psi: Array) -> Array:
        gradient = self.loss.gradient(psi, self._amplitudes)
        return gradient if jnp.iscomplexobj(psi) else gradient.real

    def _descend(self, initial: Array, steps: np.ndarray) -> Array:
        gaps = jnp.asarray(np.diff(steps.astype(int), prepend=0))
        return _descend(self, self.operator, initial, gaps)

    def _integrate(self, initial: Array, steps: np.ndarray) -> Array:
        import diffrax  # late: half a second that only a flow needs

        scale = float(jnp.max(jnp.abs(initial)))
        is_complex = jnp.iscomplexobj(initial)

        def velocity(t: Any, y: Array, operator: Any) -> Array:
            return _split(
                -self.learning_rate * operator.product(self._gradient(_join(y, is_complex)))
            )

        if steps[-1] == 0:
            return jnp.broadcast_to(initial, (len(steps), *initial.shape))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Kvaerno5() if self.stiff else diffrax.Dopri5(),
            t0=0.0,
            t1=float(steps[-1]),
            dt0=None,
            y0=_split(initial),
            args=self.operator,
            saveat=diffrax.SaveAt(ts=jnp.asarray(steps)),
            stepsize_controller=diffrax.PIDController(
                rtol=self.tolerance, atol=1e-3 * self.tolerance * scale
            ),
            max_steps=None,
        )
        return jax.vmap(partial(_join, is_complex=is_complex))(solution.ys)

    def __repr__(self) -> str:
        return f"FunctionSpaceFlow({self.loss!r}, mode={self.mode!r}, {self.operator!r})"


@partial(jax.jit, static_argnums=0)
def _descend(flow: FunctionSpaceFlow, operator: Any, initial: Array, gaps: Array) -> Array:
    """ψ after each of consecutive numbers of steps, by the optimiser acting on α in Ψ = Ψ₀ + Θα."""

    def one(_: Any, carry: tuple[Array, Any, Array]) -> tuple[Array, Any, Array]:
        alpha, state, psi = carry
        # The optimiser sees real vectors: real and imaginary part are different coordinates.
        gradient = flow._gradient(psi)
        update, state = flow.optimizer.update(_split(gradient), state, _split(alpha))
        update = _join(update, jnp.iscomplexobj(alpha))
        return alpha + update, state, psi + operator.product(update)

    def several(carry: tuple[Array, Any, Array], gap: Array) -> tuple[Any, Array]:
        carry = jax.lax.fori_loop(0, gap, one, carry)
        return carry, carry[2]

    alpha = jnp.zeros_like(initial)
    carry = (alpha, flow.optimizer.init(_split(alpha)), initial)
    return jax.lax.scan(several, carry, gaps)[1]


def _split(psi: Array) -> Array:
    return jnp.stack([psi.real, psi.imag]) if jnp.iscomplexobj(psi) else psi[None]


def _join(parts: Array, is_complex: bool) -> Array:
    return jax.lax.complex(parts[0], parts[1]) if is_complex else parts[0]

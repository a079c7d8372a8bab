"""Which optimisers act on function space: optax transformations that are linear and treat coordinates alike.

For these the parameters stay θ₀ + Jᵀα and the transformation can be applied to α instead
(Ψ_t = Ψ₀ + Θ α_t). sgd with any schedule, momentum, Nesterov and weight decay are; adam, rmsprop, clipping,
sign, noise and per-parameter rates are not. optax has no flag for it, so it is tested by what they do.

Throughout the package the ``params`` an optimiser sees are the displacement θ - θ₀: weight decay pulls toward
the initial network, not toward zero (zero is not a point of function space).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from numpy.typing import ArrayLike

from netket_qsntk import spectral
from netket_qsntk.errors import NonLinearOptimizerError

# Steps of a trial, more where nothing moves: schedules may begin late.
_STEPS = (5, 30, 130)
# Sizes of gradients and states at which a step must be the same linear function: clipping and signs are not.
_SIZES = (1e-4, 1.0, 1e4)


class _Trial:
    """An optimiser run from zero on given gradients (steps, size) that do not depend on the position."""

    def __init__(self, optimizer: optax.GradientTransformation, like: optax.Params) -> None:
        zeros = jax.tree.map(lambda p: jnp.zeros(tuple(min(2, n) for n in p.shape)), like)
        self.start, self.unravel = ravel_pytree(zeros)
        self.optimizer, self.update = optimizer, optimizer.update

    def __call__(self, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions after each step, (steps, size), and the numbers in the last state."""
        position, out = self.start, []
        state = self.optimizer.init(self.unravel(position))
        for gradient in gradients:
            update, state = self.update(
                self.unravel(jnp.asarray(gradient)), state, self.unravel(position)
            )
            position = position + ravel_pytree(update)[0]
            out.append(np.asarray(position))
        leaves = [
            leaf for leaf in map(jnp.asarray, jax.tree.leaves(state)) if leaf.dtype.kind == "f"
        ]
        return np.stack(out), np.asarray(ravel_pytree(leaves)[0])


def check_linear(optimizer: optax.GradientTransformation, like: optax.Params | None = None) -> None:
    """Raise unless the optimiser is linear and commutes with rotations of parameter space.

    Tested on random gradients over several steps: f(0) = 0, f(g + ch) = f(g) + c f(h) with c = 10⁶ (in float32 what
    its digits allow, 800), f(Qg) = Q f(g).

    Args:
        optimizer: The optax transformation.
        like: Parameters (of one network) whose names and ranks it may look at; None is a plain vector.

    Raises:
        NonLinearOptimizerError: Says what fails and what to use instead.

    Example:
        >>> import optax
        >>> from netket_qsntk.dynamics.optimizers import check_linear
        >>> check_linear(optax.sgd(0.1, momentum=0.9, nesterov=True))
    """
    run = _Trial(optimizer, jnp.zeros((2, 2, 2)) if like is None else like)
    size, eps = len(run.start), float(jnp.finfo(run.start.dtype).eps)
    large = min(1e6, 1e-4 / eps)
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    try:
        for steps in _STEPS:
            g, h = rng.normal(size=(2, steps, size))
            (f_0, s_0), (f_g, s_g), (f_h, s_h) = run(0 * g), run(g), run(h)
            if f_g.any():
                break
            run.update = jax.jit(optimizer.update)  # for many steps
        mixed, s_mixed = run(g + large * h)
        small, rotated = run(1e-6 * g)[0], run(g @ q)[0]
    except Exception as error:
        raise NonLinearOptimizerError(
            "This optimiser could not be applied to plain gradients of all parameters alike "
            f"({type(error).__name__}: {error}). Closed-form dynamics needs optax.sgd (with any schedule, "
            "momentum, nesterov, weight decay); QSNTKDriver takes others."
        ) from error
    scale = np.abs(f_g).max() + np.abs(f_h).max()
    linear = (
        bool(np.all(np.isfinite(mixed)))
        and np.abs(f_0).max() == 0
        and np.abs(mixed - f_g - large * f_h).max() <= 1e-3 * scale
        and np.abs(small - 1e-6 * f_g).max() <= 1e-12 * scale
    )
    if linear and scale == 0 and s_0.size:
        # A schedule that has not begun moves nothing; what the optimiser remembers tells.
        change = s_mixed - s_0 - (s_g - s_0) - large * (s_h - s_0)
        linear = np.abs(change).max() <= 1e-3 * (np.abs(s_g).max() + np.abs(s_h).max())
    alike = np.abs(rotated - f_g @ q).max() <= max(1e-8, 100 * eps) * scale
    if not (linear and alike):
        reason = "is not linear in the gradient" if not linear else "treats parameters differently"
        raise NonLinearOptimizerError(
            f"This optimiser {reason}, so the linearised model has no closed form in function space. Use "
            "optax.sgd (with any schedule, momentum, nesterov, weight decay), or train with QSNTKDriver, which "
            "takes every optimiser."
        )


def constant_rate(optimizer: optax.GradientTransformation) -> float | None:
    """η if the optimiser is plain gradient descent with a constant rate (no state, no decay), else None."""
    if jax.tree.leaves(optimizer.init(jnp.zeros(1))):
        return None
    step = AffineStep.of(optimizer)
    if step is None or step.from_position[0] != 1.0:
        return None
    return -float(step.from_gradient[0])


class AffineStep(NamedTuple):
    """One step of a time-invariant optimiser on z = (α, state): z' = from_state z + from_gradient · g."""

    from_state: np.ndarray
    from_gradient: np.ndarray

    @classmethod
    def of(cls, optimizer: optax.GradientTransformation) -> "AffineStep | None":
        """The step, or None if steps differ (a counter, a schedule) or are not linear in gradient and state."""
        zero = jnp.zeros(1)
        leaves, treedef = jax.tree.flatten(optimizer.init(zero))
        for leaf in leaves:
            if leaf.shape != (1,) or not jnp.issubdtype(leaf.dtype, jnp.floating):
                return None

        def step(z: np.ndarray, gradient: float) -> np.ndarray:
            state = jax.tree.unflatten(treedef, [jnp.asarray(t)[None] for t in z[1:]])
            position = jnp.asarray(z[:1])
            update, state = optimizer.update(jnp.asarray([gradient]), state, position)
            new = position + update, *jax.tree.leaves(state)
            return np.concatenate([np.asarray(t) for t in new])

        k = 1 + len(leaves)
        columns = [step(row, 0.0) for row in np.eye(k)]
        found = cls(np.stack(columns, axis=1), step(np.zeros(k), 1.0))
        sample, eps = np.random.default_rng(0).normal(size=k + 1), float(jnp.finfo(zero.dtype).eps)
        for size in _SIZES:
            z, gradient = size * sample[:k], float(size * sample[k])
            expected = found.from_state @ z + found.from_gradient * gradient
            if not np.allclose(step(z, gradient), expected, rtol=0, atol=1e3 * eps * size):
                return None
        return found

    @property
    def from_position(self) -> np.ndarray:
        """How the present position enters: the first column of ``from_state``."""
        return self.from_state[:, 0]

    def matrix(self, z: ArrayLike) -> np.ndarray:
        """The homogeneous step on modes with 2λ/|B| = z: (…, k, k)."""
        z = np.asarray(z, dtype=float)
        gain = np.zeros((*z.shape, *self.from_state.shape))
        gain[..., :, 0] = z[..., None] * self.from_gradient
        return self.from_state + gain

    def homogeneous(self, eigenvalues: np.ndarray, scale: float) -> np.ndarray:
        """The step from zero target error, as a matrix on (z, 1): (modes, k + 1, k + 1)."""
        k = len(self.from_gradient)
        out = np.zeros((len(eigenvalues), k + 1, k + 1))
        out[:, :k, :k] = self.matrix(scale * eigenvalues)
        out[:, :k, k] = scale * self.from_gradient
        out[:, k, k] = 1
        return out

    def radius(self, z: float) -> float:
        """Largest |eigenvalue| of the step on the mode z."""
        return float(np.abs(np.linalg.eigvals(self.matrix(z))).max())

    def limit(self, eigenvalues: np.ndarray, scale: float) -> np.ndarray:
        """a_∞ = -α_∞ of each mode; 0 for modes with λ = 0, infinite for modes that diverge.

        The fixed point where every part of the state decays. At the stability limit one part of it changes its sign
        for ever: the limit is then that of even steps (:mod:`netket_qsntk.spectral`).
        """
        out = np.zeros(len(eigenvalues))
        for i in np.flatnonzero(eigenvalues > 0):
            step = self.matrix(scale * eigenvalues[i])
            factors, modes = np.linalg.eig(step)
            if np.abs(factors).max() > 1 + spectral.limit_tolerance():
                out[i] = np.inf
                continue
            fixed = np.linalg.solve(np.eye(len(step)) - step, scale * self.from_gradient)
            alternating = np.abs(factors + 1) <= spectral.limit_tolerance()
            kept = (modes * alternating) @ np.linalg.solve(modes, fixed) if alternating.any() else 0
            out[i] = -np.real(fixed - kept)[0]
        return out


class ScheduledRun:
    """A linear optimiser on modes from their start, step by step; it can be asked to go on.

    Args:
        optimizer: The optax transformation.
        scale: 2/|B|.
        eigenvalues: λ of the modes.
    """

    def __init__(
        self, optimizer: optax.GradientTransformation, scale: float, eigenvalues: np.ndarray
    ) -> None:
        self.time, self.eigenvalues = 0, eigenvalues
        values = jnp.asarray(eigenvalues)
        start = jnp.zeros_like(values)
        self._carry = start, optimizer.init(start)

        def one(_: int, carry: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
            alpha, state = carry
            gradient = scale * (1 + values * alpha)
            update, state = optimizer.update(gradient, state, alpha)
            return alpha + update, state

        def several(
            carry: tuple[Array, optax.OptState], gap: Array
        ) -> tuple[tuple[Array, optax.OptState], Array]:
            carry = jax.lax.fori_loop(0, gap, one, carry)
            return carry, carry[0]

        # Compiled for this run: the program goes when the run goes.
        self._advance = jax.jit(lambda carry, gaps: jax.lax.scan(several, carry, gaps))

    def advance(self, times: np.ndarray) -> np.ndarray:
        """a = -α after increasing numbers of steps, the first not before :attr:`time`: (times, modes)."""
        gaps = np.diff(times, prepend=self.time)
        self._carry, alpha = self._advance(self._carry, jnp.asarray(gaps))
        self.time = int(times[-1])
        return -np.asarray(alpha)

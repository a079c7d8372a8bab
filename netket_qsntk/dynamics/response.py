r"""How a unit of error in one mode of the kernel decays in training.

A linear optimiser that treats every coordinate alike commutes with rotations of parameter space, so in the
eigenbasis of Θ_BB each mode trains by itself: its residual after t steps is r_t(λ) and the function moves by
Θ_xB V a_t(Λ) Vᵀ(ψ_T - ψ₀), with r_t(λ) = 1 - λ a_t(λ). A :class:`Response` knows r and a. For the loss
L = (1/|B|) Σ |ψ - ψ_T|² and s = 2η/|B|:

- gradient descent: r_t = (1 - sλ)^t,
- gradient flow: r_τ = e^{-sλτ},
- any other such optax transformation: its own recursion, run on the modes.
"""

import abc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from netket_qsntk import spectral
from netket_qsntk.dynamics.optimizers import AffineStep, affine_step
from netket_qsntk.errors import UndefinedLimitError


class Response(abc.ABC):
    """Residual and displacement of modes with eigenvalues λ >= 0 at given steps."""

    @abc.abstractmethod
    def curves(self, steps: Array, eigenvalues: Array) -> tuple[Array, Array]:
        """(r, a), each (steps, modes). Steps are finite or ∞; λ = 0 never trains, also at ∞."""

    def square_sums(self, steps: Array, eigenvalues: Array, weights: Array) -> Array:
        """Σ_i r_t(λ_i)² weights_i: (steps, k) for weights (modes, k)."""
        r, _ = self.curves(steps, eigenvalues)
        return (r * r) @ weights

    @abc.abstractmethod
    def growth(self, eigenvalue: float) -> float | None:
        """|r_{t+1}/r_t| at late t: above 1 the mode diverges. None where steps are not alike (schedules)."""

    def stability_margin(self, largest_eigenvalue: float) -> float:
        """The factor by which the learning rate may grow before the top mode stops to decay; ∞ if it never does."""

        def decays(factor: float) -> bool:
            growth = self.growth(factor * largest_eigenvalue)
            return growth is None or growth <= 1

        low, high = 0.0, 1.0
        while decays(high):
            if high > 1e12:
                return np.inf
            low, high = high, 2 * high
        while high - low > 1e-15 * high:
            middle = (low + high) / 2
            if middle in (low, high):
                break
            low, high = (middle, high) if decays(middle) else (low, middle)
        return low


class Geometric(Response):
    """r_t = r₁^t: each step multiplies a mode's error by the same factor."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    @abc.abstractmethod
    def first(self, eigenvalues: Array) -> tuple[Array, Array]:
        """(log|r₁|, whether r₁ < 0), the logarithm as accurate for slow modes as for fast ones."""

    def when(self, steps: Array) -> Array:
        """The times that count, of times asked for."""
        return steps

    def curves(self, steps: Array, eigenvalues: Array) -> tuple[Array, Array]:
        """(r, a) at given times."""
        settled = self.settled(eigenvalues)
        return _curves(self.when(steps), self.rate, eigenvalues, settled, *self.first(eigenvalues))

    def square_sums(self, steps: Array, eigenvalues: Array, weights: Array) -> Array:
        """Σ_i r_t(λ_i)² weights_i, from one exponential a term."""
        settled = self.settled(eigenvalues)
        log_first = self.first(eigenvalues)[0]
        return _square_sums(self.when(steps), eigenvalues, settled, log_first, weights)

    def settled(self, eigenvalues: Array) -> Array:
        """Which modes are at ∞ where they started: those at the stability limit (:mod:`netket_qsntk.spectral`)."""
        return jnp.zeros(eigenvalues.shape, bool)


@jax.jit
def _curves(
    steps: Array,
    rate: float,
    eigenvalues: Array,
    settled: Array,
    log_first: Array,
    negative: Array,
) -> tuple[Array, Array]:
    t, values = steps[:, None], eigenvalues[None, :]
    trains = values > 0
    log_r = _log_residuals(steps, eigenvalues, settled, log_first)
    r, one_minus_r = jnp.exp(log_r), -jnp.expm1(log_r)
    odd = jnp.where(jnp.isinf(t), 0.0, t % 2) == 1
    flips = negative[None, :] & odd
    r, one_minus_r = jnp.where(flips, -r, r), jnp.where(flips, 1 + r, one_minus_r)
    # A null mode moves at constant speed and never saturates; at ∞ its part of the answer is left at 0.
    linear = jnp.where(jnp.isinf(t), 0.0, rate * t)
    return r, jnp.where(trains, one_minus_r / jnp.where(trains, values, 1.0), linear)


@jax.jit
def _square_sums(
    steps: Array, eigenvalues: Array, settled: Array, log_first: Array, weights: Array
) -> Array:
    return jnp.exp(2 * _log_residuals(steps, eigenvalues, settled, log_first)) @ weights


def _log_residuals(steps: Array, eigenvalues: Array, settled: Array, log_first: Array) -> Array:
    """log|r_t(λ)|: (steps, modes)."""
    t = steps[:, None]
    stays = (eigenvalues <= 0) | (jnp.isinf(t) & settled)
    return jnp.where(stays, 0.0, t * log_first)


class GradientFlow(Geometric):
    """Continuous time: r = e^{-sλτ}."""

    def first(self, eigenvalues: Array) -> tuple[Array, Array]:
        """(-sλ, never)."""
        return -self.rate * eigenvalues, jnp.zeros(eigenvalues.shape, bool)

    def growth(self, eigenvalue: float) -> float:
        """Always below 1: the flow is stable."""
        return float(np.exp(-self.rate * eigenvalue))


class GradientDescent(Geometric):
    """Full-batch gradient descent with a constant rate: r = (1 - sλ)^t."""

    def first(self, eigenvalues: Array) -> tuple[Array, Array]:
        """(log|1 - sλ|, sλ > 1)."""
        log, negative = spectral.log_factors(self.rate * np.asarray(eigenvalues))
        return jnp.asarray(log), jnp.asarray(negative)

    def settled(self, eigenvalues: Array) -> Array:
        """sλ = 2."""
        return jnp.asarray(spectral.at_limit(self.rate * np.asarray(eigenvalues)))

    def when(self, steps: Array) -> Array:
        """Of a fractional number of steps the completed ones count."""
        return jnp.floor(steps)

    def growth(self, eigenvalue: float) -> float:
        """|1 - sλ|."""
        return abs(1 - self.rate * eigenvalue)


class OptimizerResponse(Response):
    """Any optax transformation that passed :func:`netket_qsntk.dynamics.optimizers.check_linear`."""

    def __init__(self, optimizer: optax.GradientTransformation, n_train: int) -> None:
        self.optimizer = optimizer
        self.scale = 2 / n_train
        self.step: AffineStep | None = affine_step(optimizer)

    def curves(self, steps: Array, eigenvalues: Array) -> tuple[Array, Array]:
        """(r, a) after completed steps: the optimiser's own recursion on the modes; ∞ by its fixed point."""
        asked = np.asarray(steps)
        finite = np.isfinite(asked)
        times, where = np.unique(asked[finite].astype(int), return_inverse=True)
        a = np.zeros((len(asked), len(eigenvalues)))
        if finite.any():
            gaps = jnp.asarray(np.diff(times, prepend=0))
            a[finite] = np.asarray(_run(self.optimizer, self.scale, gaps, eigenvalues))[where]
        if not finite.all():
            if self.step is None:
                raise UndefinedLimitError(
                    "The limit of infinitely many steps is not defined for an optimiser with a schedule: "
                    "use finite steps, or a constant learning rate."
                )
            a[~finite] = self.step.limit(np.asarray(eigenvalues), self.scale)
        displacement = jnp.asarray(a)
        return 1 - eigenvalues[None, :] * displacement, displacement

    def growth(self, eigenvalue: float) -> float | None:
        """Spectral radius of one step on this mode; None for schedules, whose steps are not alike."""
        return None if self.step is None else self.step.radius(eigenvalue * self.scale)


@partial(jax.jit, static_argnums=(0, 1))
def _run(
    optimizer: optax.GradientTransformation, scale: float, gaps: Array, eigenvalues: Array
) -> Array:
    """a after each of consecutive numbers of steps ``gaps``: (len(gaps), modes)."""

    def one(_: Any, carry: tuple[Array, Any]) -> tuple[Array, Any]:
        alpha, state = carry
        gradient = scale * (1 + eigenvalues * alpha)
        update, state = optimizer.update(gradient, state, alpha)
        return alpha + update, state

    def several(carry: tuple[Array, Any], gap: Array) -> tuple[tuple[Array, Any], Array]:
        carry = jax.lax.fori_loop(0, gap, one, carry)
        return carry, carry[0]

    start = jnp.zeros_like(eigenvalues)
    return -jax.lax.scan(several, (start, optimizer.init(start)), gaps)[1]

"""A step tried before it is made: how far log ψ moves, and how far from a straight line."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.advice.batch import Batch
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.rows import LogPsi, real_view, values

__all__ = ["TrialStep", "direction", "largest_step", "try_step"]

# log ψ may change by this much from one configuration to another in one step: |ψ|² then by e².
_LARGEST_CHANGE = 1.0
# A change of that standard deviation, normally distributed, leaves a fidelity of 1/e. Less than this, and ψ has moved
# to configurations that had no weight before, where the standard deviation over |ψ|² sees nothing.
_LEAST_OVERLAP = float(np.exp(-2.0))


@dataclass(frozen=True)
class TrialStep:
    """What one step of a given length does to log ψ on a batch.

    Attributes:
        learning_rate: η.
        change: Standard deviation over |ψ|² of the change of log ψ.
        linear: The same of its linear part, η‖Jδ‖.
        nonlinearity: ‖f(θ-ηδ) - f(θ) + ηJδ‖/‖ηJδ‖, centred: small where the kernel stands still over the step.
        overlap: Fidelity of ψ before and after, estimated on the batch.
    """

    learning_rate: float
    change: float
    linear: float
    nonlinearity: float
    overlap: float

    @property
    def keeps_state(self) -> bool:
        """Whether log ψ changes by order one at most, and ψ keeps a fair overlap with itself."""
        return bool(
            np.isfinite(self.change)
            and self.change <= _LARGEST_CHANGE
            and self.overlap >= _LEAST_OVERLAP
        )

    @property
    def steps_to_leave(self) -> float:
        """Steps in which log ψ changes by order one from a flat start, where it is quadratic in the parameters.

        There log ψ ~ f₀(1 + a)^(2t) after t steps, so that the first one changes it by f₀(2a + a²): a is twice the
        nonlinearity, f₀ the linear part over 2a.

        Example:
            >>> step = TrialStep(0.1, change=3e-4, linear=2e-4, nonlinearity=0.5, overlap=1.0)
            >>> round(step.steps_to_leave, 1)  # doubled parameters in each step, 10⁻⁴ to 1
            6.6
        """
        growth = 2 * self.nonlinearity
        if not (np.isfinite(growth) and growth > 0 and self.linear > 0):
            return 1.0
        start = self.linear / (2 * growth)
        return float(max(1.0, -np.log(min(start, 1.0)) / (2 * np.log1p(growth))))


@jax.jit
def _pull_back(log_psi: LogPsi, parameters: PyTree, x: Array, cotangent: Array) -> Array:
    """Σ_x Re(cotangent* ∂f(x)) in real coordinates."""
    vector, back = real_view(parameters)
    value, vjp = jax.vjp(lambda v: log_psi(back(v), x), vector)
    weight = jnp.conj(cotangent) if jnp.iscomplexobj(value) else cotangent.real
    return vjp(weight.astype(value.dtype))[0]


def direction(
    log_psi: LogPsi,
    parameters: PyTree,
    batch: Batch,
    modes: TangentModes,
    parts: int,
    diag_shift: float | None,
) -> tuple[Array, np.ndarray]:
    """The step of SR (None: of gradient descent) for rate one: δ in real coordinates, and DCJδ on the batch."""
    if modes.force is None:
        raise ValueError(
            "These modes were made without a Hamiltonian and have no force: there is no step to try."
        )
    filtered = modes.force / (1.0 if diag_shift is None else modes.eigenvalues + diag_shift)
    a = (modes.vectors @ filtered).reshape(len(batch), parts)
    cotangent = np.sqrt(batch.weights) * (a[:, 0] + (1j * a[:, 1] if parts == 2 else 0))
    # Cᵀ: the centring acts from the other side.
    cotangent = cotangent - batch.weights * cotangent.sum()
    moved = modes.vectors @ (modes.eigenvalues * filtered)
    return _pull_back(log_psi, parameters, batch.x, jnp.asarray(cotangent)), moved


def try_step(
    log_psi: LogPsi,
    parameters: PyTree,
    batch: Batch,
    step: Array,
    moved: np.ndarray,
    learning_rate: float,
) -> TrialStep:
    """Evaluate log ψ at θ - ηδ."""
    vector, back = real_view(parameters)
    before = np.asarray(values(log_psi, parameters, batch.x))
    there = back((vector - learning_rate * step).astype(vector.dtype))
    change = np.asarray(values(log_psi, there, batch.x)) - before
    p = batch.weights
    centred = change - p @ change
    parts = len(moved) // len(batch)
    rows = np.stack([centred.real, centred.imag][:parts], axis=1) * np.sqrt(p)[:, None]
    line = learning_rate * moved
    size = float(np.linalg.norm(line))
    shifted = np.exp(change - change.real.max())
    overlap = float(abs(p @ shifted) ** 2 / (p @ np.abs(shifted) ** 2))
    deviation = float(np.linalg.norm(rows.reshape(-1) + line))
    return TrialStep(
        learning_rate,
        float(np.linalg.norm(rows)),
        size,
        deviation / size if size > 0 else 0.0,
        overlap,
    )


def largest_step(
    attempt: Callable[[float], TrialStep], start: float, halvings: int = 12, bisections: int = 3
) -> float:
    """Largest rate up to ``start`` at which log ψ changes by order one at most, and ψ keeps an overlap with itself.

    Found by halves, then by bisection in the logarithm: to 9 % with three of them.
    """

    def allowed(rate: float) -> bool:
        return attempt(rate).keeps_state

    if allowed(start):
        return start
    high = start
    low = high / 2
    for _ in range(halvings):
        if allowed(low):
            break
        low, high = low / 2, low
    else:
        return low
    for _ in range(bisections):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low

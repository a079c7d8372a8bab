r"""The eigenmodes of a training kernel and their training in time.

Everything a curve needs is a function of time through the displacements a_t(λ_i) of the n modes. As functions of
t these n curves span a space of a few dozen dimensions (they are exponentials with rates on one interval), so a
curve of T steps is evaluated on a basis of k of them: T·n exponentials once, then products of cost T·k·m instead
of T·n·m. The compression is checked against the curves themselves and widened until it holds to 1e-13.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.dynamics.response import Response
from netket_qsntk.errors import InvalidTrainingError

_TOLERANCE = 1e-13
_STEPS_AT_ONCE = 2048


class TimeBasis(NamedTuple):
    """a = coefficients @ nodes: (steps, k) and (k, modes)."""

    coefficients: Array
    nodes: Array


def _eigh(matrix: Array) -> tuple[Array, Array]:
    if jax.default_backend() != "cpu":
        values, vectors = jnp.linalg.eigh(matrix)
        return values, vectors
    # On the CPU NumPy's divide-and-conquer is 1.5 times faster than XLA's.
    eigenvalues, eigenvectors = np.linalg.eigh(np.asarray(matrix))
    return jnp.asarray(eigenvalues), jnp.asarray(eigenvectors)


class Modes:
    """Eigendecomposition Θ_BB = V Λ Vᵀ and the response of its modes.

    Eigenvalues below n · eps · λ_max are rounding, not kernel: they are set to 0, and such modes do not train.

    Args:
        matrix: Θ_BB, (n, n) symmetric positive semidefinite.
        response: How modes train.
    """

    def __init__(self, matrix: Array, response: Response) -> None:
        self.response = response
        eigenvalues, self.vectors = _eigh(matrix)
        top = jnp.maximum(eigenvalues[-1], 0.0)
        self.floor = float(len(eigenvalues) * jnp.finfo(eigenvalues.dtype).eps * top)
        self.eigenvalues = jnp.where(eigenvalues > self.floor, eigenvalues, 0.0)

    @property
    def rank(self) -> int:
        """Number of modes that train."""
        return int(jnp.count_nonzero(self.eigenvalues))

    def project(self, v: Array) -> Array:
        """Vᵀv: components along the modes."""
        return self.vectors.T @ v

    def evaluate(self, steps: Any, weights: Array) -> tuple[Array, Array]:
        """In one pass: Σ_i r_t(λ_i)² weights_i (steps, k) for weights (n, k), and a_t(λ_i) (steps, n)."""
        steps = as_steps(steps)
        norms, displacements = [], []
        for part in _parts(steps):
            r, a = self.response.curves(part, self.eigenvalues)
            norms.append(_square_sum(r, weights))
            displacements.append(a)
        return jnp.concatenate(norms), jnp.concatenate(displacements)

    def displacements(self, steps: Any) -> Array:
        """a_t(λ_i): (steps, n)."""
        parts = _parts(as_steps(steps))
        return jnp.concatenate([self.response.curves(p, self.eigenvalues)[1] for p in parts])

    def time_basis(self, displacements: Array) -> TimeBasis:
        """Displacements (steps, n) on a short basis; as they are where nothing is gained."""
        a = displacements
        # Θ_xB v_i is at most √(Θ_xx λ_i): with √λ the error is measured where it acts.
        weight = jnp.sqrt(self.eigenvalues)
        k = 64
        while k < min(a.shape) // 2:
            basis, error = _range(a, weight, k)
            if error <= _TOLERANCE:
                return TimeBasis(basis, basis.T @ a)
            k *= 2
        if a.shape[0] <= a.shape[1]:
            return TimeBasis(jnp.eye(a.shape[0]), a)
        return TimeBasis(a, jnp.eye(a.shape[1]))


def as_steps(steps: Any) -> Array:
    """Steps as a float64 vector; ∞ allowed.

    Raises:
        InvalidTrainingError: A step is negative or not a number.
    """
    steps = jnp.atleast_1d(jnp.asarray(steps, jnp.float64)).ravel()
    if not isinstance(steps, jax.core.Tracer) and not bool(jnp.all(steps >= 0)):
        raise InvalidTrainingError(
            f"steps={np.asarray(steps)}: expected numbers >= 0 (∞ allowed), counted from the initial networks."
        )
    return steps


def _parts(steps: Array) -> list[Array]:
    return [steps[i : i + _STEPS_AT_ONCE] for i in range(0, len(steps), _STEPS_AT_ONCE)]


@jax.jit
def _square_sum(r: Array, weights: Array) -> Array:
    return (r * r) @ weights


@partial(jax.jit, static_argnums=2)
def _range(a: Array, weight: Array, k: int) -> tuple[Array, Array]:
    """Orthonormal basis (T, k) of the columns of a·diag(weight) by a random sketch, and its relative error."""
    probes = jax.random.normal(jax.random.key(0), (a.shape[1], k + 8), a.dtype)
    sketch = a @ (weight[:, None] * probes)
    basis = jnp.linalg.qr(sketch[:, :k])[0]
    rest = sketch[:, k:] - basis @ (basis.T @ sketch[:, k:])
    scale = jnp.linalg.norm(sketch[:, k:])
    return basis, jnp.linalg.norm(rest) / jnp.where(scale > 0, scale, 1.0)

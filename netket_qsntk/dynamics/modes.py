r"""The eigenmodes of a training kernel and their training in time.

Everything a curve needs is a function of time through the displacements a_t(λ_i) of the n modes. As functions of
t these n curves span a space of a few dozen dimensions (they are exponentials with rates on one interval), so k of
the modes, chosen by a pivoted QR decomposition of the curves at a few hundred of the steps, give all others as
fixed combinations (an interpolative decomposition: Cheng, Gimbutas, Martinsson, Rokhlin, SIAM J. Sci. Comput. 26,
1389 (2005)). A curve of T steps then costs T·k exponentials and products of T·k·m operations instead of T·n·m. The
combination is checked at steps it has not seen, and refined until it holds to 3e-13.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from netket_qsntk import spectral
from netket_qsntk.dynamics.dense import eigh
from netket_qsntk.dynamics.response import Response
from netket_qsntk.errors import InvalidTrainingError

_TOLERANCE = 3e-13
_STEPS_AT_ONCE = 2048
_SAMPLES = 512  # with fewer steps than twice these a basis in time gains little


class TimeBasis(NamedTuple):
    """a = coefficients @ nodes: (steps, k) and (k, modes)."""

    coefficients: Array
    nodes: Array

    def square_distance(self, nodes: Array, target: Array) -> Array:
        """Σ_x |c_t·nodes_x - target_x|² at each step: (steps,) for nodes (k, m) and target (m,).

        Lengths do not change under a rotation of x: a QR decomposition leaves k + 1 of the m coordinates.
        """
        r = jnp.concatenate([nodes, target[None]]).T
        if len(r) > r.shape[1]:
            r = jnp.linalg.qr(r, mode="r")
        return _square_distance(self.coefficients, r[:, :-1].T, r[:, -1])


class Modes:
    """Eigendecomposition Θ_BB = V Λ Vᵀ and the response of its modes.

    Eigenvalues below n · eps · λ_max are rounding, not kernel: they are set to 0, and such modes do not train.

    Args:
        matrix: Θ_BB, (n, n) symmetric positive semidefinite.
        response: How modes train.
    """

    def __init__(self, matrix: Array, response: Response) -> None:
        self.response = response
        eigenvalues, self.vectors = eigh(matrix)
        self.floor = spectral.floor_of(eigenvalues)
        self.eigenvalues = jnp.asarray(spectral.without_rounding(eigenvalues))

    @property
    def rank(self) -> int:
        """Number of modes that train."""
        return int(jnp.count_nonzero(self.eigenvalues))

    def project(self, v: Array) -> Array:
        """Vᵀv: components along the modes."""
        return self.vectors.T @ v

    def square_sums(self, steps: Any, weights: Array) -> Array:
        """Σ_i r_t(λ_i)² weights_i: (steps, k) for weights (n, k)."""
        parts = _parts(as_steps(steps))
        return jnp.concatenate(
            [self.response.square_sums(p, self.eigenvalues, weights) for p in parts]
        )

    def displacements(self, steps: Any) -> Array:
        """a_t(λ_i): (steps, n)."""
        parts = _parts(as_steps(steps))
        return jnp.concatenate([self.response.curves(p, self.eigenvalues)[1] for p in parts])

    def time_basis(self, steps: Any) -> TimeBasis:
        """Displacements at given steps on a short basis; as they are where nothing is gained."""
        steps = as_steps(steps)
        # Θ_xB v_i is at most √(Θ_xx λ_i): with √λ the error is measured where it acts, and null modes drop out.
        weight = np.sqrt(np.asarray(self.eigenvalues))
        wanted = np.unique(np.asarray(steps))
        n_samples = _SAMPLES
        while 2 * n_samples < len(wanted):
            sample = np.asarray(self.displacements(_spread(wanted, n_samples))) * weight
            chosen, combination = _interpolative(sample)
            if 2 * len(chosen) > len(weight):
                break
            unseen = np.random.default_rng(0).choice(wanted, 32, replace=False)
            check = np.asarray(self.displacements(unseen)) * weight
            error = np.linalg.norm(check - check[:, chosen] @ combination)
            if error <= _TOLERANCE * np.linalg.norm(check):
                scale = np.where(weight > 0, weight, np.inf)
                nodes = jnp.asarray(weight[chosen, None] * combination / scale)
                return TimeBasis(self._displacements_of(chosen, steps), nodes)
            n_samples *= 2
        a = self.displacements(steps)
        if a.shape[0] <= a.shape[1]:
            return TimeBasis(jnp.eye(a.shape[0]), a)
        return TimeBasis(a, jnp.eye(a.shape[1]))

    def _displacements_of(self, chosen: np.ndarray, steps: Array) -> Array:
        few = self.eigenvalues[jnp.asarray(chosen)]
        return jnp.concatenate([self.response.curves(p, few)[1] for p in _parts(steps)])


def as_steps(steps: Any) -> Array:
    """Steps as a float64 vector; ∞ allowed.

    Raises:
        InvalidTrainingError: A step is negative or not a number.
    """
    steps = jnp.atleast_1d(jnp.asarray(steps, float)).ravel()
    if not isinstance(steps, jax.core.Tracer) and not bool(jnp.all(steps >= 0)):
        raise InvalidTrainingError(
            f"steps={np.asarray(steps)}: expected numbers >= 0 (∞ allowed), counted from the initial networks."
        )
    return steps


def _parts(steps: Array) -> list[Array]:
    return [steps[i : i + _STEPS_AT_ONCE] for i in range(0, len(steps), _STEPS_AT_ONCE)]


@jax.jit
def _square_distance(coefficients: Array, nodes: Array, target: Array) -> Array:
    error = coefficients @ nodes - target[None, :]
    return jnp.sum(jnp.abs(error) ** 2, axis=-1)


def _spread(steps: np.ndarray, n: int) -> np.ndarray:
    """About n of the sorted steps: evenly by number and by logarithm, each with its successor.

    The successor tells the modes whose sign alternates from the others.
    """
    finite = steps[np.isfinite(steps)]
    late = np.geomspace(max(finite[0], 1.0), max(finite[-1], 1.0), n // 4)
    even = np.linspace(0, len(steps) - 1, n // 4).astype(int)
    at = np.concatenate([np.searchsorted(finite, late), even])
    at = np.concatenate([at, at + 1, [len(steps) - 1]])
    return steps[np.unique(np.minimum(at, len(steps) - 1))]


def _interpolative(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k chosen columns, (k, n) combinations of them) that give all columns to rounding."""
    n_samples = len(curves)
    size = 96
    while True:
        sketch = curves
        if size < n_samples:
            sketch = np.random.default_rng(1).standard_normal((size, n_samples)) @ curves
        r, order = scipy.linalg.qr(sketch, mode="r", pivoting=True)
        diagonal = np.abs(np.diag(r))
        k = int(np.count_nonzero(diagonal > _TOLERANCE / 100 * diagonal[0]))
        if k + 8 <= size or size >= n_samples:
            break
        size *= 2
    combination = np.empty((k, curves.shape[1]))
    combination[:, order[:k]] = np.eye(k)
    combination[:, order[k:]] = scipy.linalg.solve_triangular(r[:k, :k], r[:k, k:])
    return order[:k], combination

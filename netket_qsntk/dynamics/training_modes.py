r"""The eigenmodes of a training kernel and their training in time.

Everything a curve needs is a function of time through the displacements a_t(λ_i) of the n modes. As functions of
t these n curves span a space of a few dozen dimensions (they are exponentials with rates on one interval), so k of
the modes give all others as fixed combinations: an interpolative decomposition of the curves at a few hundred of the
steps (Cheng, Gimbutas, Martinsson, Rokhlin, SIAM J. Sci. Comput. 26, 1389 (2005), by SciPy). A curve of T steps then
costs T·k exponentials and products of T·k·m operations instead of T·n·m. The combination is checked at steps it has
not seen, and refined until it holds to 3e-13.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.linalg import interpolative

from netket_qsntk import spectral
from netket_qsntk.dynamics.matrices import Matrix, Vector, eigh, product, vector
from netket_qsntk.dynamics.response import Response
from netket_qsntk.errors import InvalidTrainingError

_TOLERANCE = 3e-13
_SAMPLES = 512  # with fewer steps than twice these a basis in time gains little


class TimeBasis(NamedTuple):
    """a = coefficients @ nodes: (steps, k) and (k, modes)."""

    coefficients: np.ndarray
    nodes: Vector

    def square_distance(self, nodes: Vector, target: Vector) -> np.ndarray:
        """Σ_x |c_t·nodes_x - target_x|² at each step: (steps,) for nodes (k, m) and target (m,).

        Lengths do not change under a rotation of x: a QR decomposition leaves k + 1 of the m coordinates.
        """
        r = np.concatenate([np.asarray(nodes), np.asarray(target)[None]]).T
        if len(r) > r.shape[1]:
            r = np.asarray(np.linalg.qr(r, mode="r"))
        error = self.coefficients @ r[:, :-1].T - r[:, -1]
        return np.sum(np.abs(error) ** 2, axis=-1)


class Modes:
    """Eigendecomposition Θ_BB = V Λ Vᵀ and the response of its modes.

    Eigenvalues below the rounding floor (:mod:`netket_qsntk.spectral`) are set to 0, and such modes do not train.

    Args:
        matrix: Θ_BB, (n, n) symmetric positive semidefinite.
        response: How modes train.
    """

    def __init__(self, matrix: Matrix, response: Response) -> None:
        self.response = response
        eigenvalues, self.vectors = eigh(matrix)
        self.floor = spectral.floor_of(eigenvalues)
        self.eigenvalues = spectral.without_rounding(eigenvalues)

    @property
    def rank(self) -> int:
        """Number of modes that train."""
        return int(np.count_nonzero(self.eigenvalues))

    def project(self, v: ArrayLike) -> Vector:
        """Vᵀv: components along the modes."""
        return product(self.vectors.T, vector(v))

    def square_sums(self, steps: ArrayLike, weights: ArrayLike) -> np.ndarray:
        """Σ_i r_t(λ_i)² weights_i: (steps, k) for weights (n, k)."""
        return self.response.square_sums(as_steps(steps), self.eigenvalues, weights)

    def displacements(self, steps: ArrayLike) -> Vector:
        """a_t(λ_i): (steps, n)."""
        return vector(self.response.displacements(as_steps(steps), self.eigenvalues))

    def time_basis(self, steps: ArrayLike) -> TimeBasis:
        """Displacements at given steps on a short basis; as they are where nothing is gained."""
        steps = as_steps(steps)
        # Θ_xB v_i is at most √(Θ_xx λ_i): with √λ the error is measured where it acts, and null modes drop out.
        weight = np.sqrt(self.eigenvalues)
        wanted = np.unique(steps)
        n_samples = _SAMPLES
        while 2 * n_samples < len(wanted):
            sample = self._at(_spread(wanted, n_samples)) * weight
            k, order, rest = interpolative.interp_decomp(sample, _TOLERANCE / 100, rng=0)
            if 2 * k > len(weight):
                break
            chosen = order[:k]
            combination = interpolative.reconstruct_interp_matrix(order, rest)
            unseen = np.random.default_rng(0).choice(wanted, 32, replace=False)
            check = self._at(unseen) * weight
            error = np.linalg.norm(check - check[:, chosen] @ combination)
            if error <= _TOLERANCE * np.linalg.norm(check):
                scale = np.where(weight > 0, weight, np.inf)
                few = self.response.displacements(steps, self.eigenvalues[chosen])
                return TimeBasis(few, vector(weight[chosen, None] * combination / scale))
            n_samples *= 2
        a = self._at(steps)
        if a.shape[0] <= a.shape[1]:
            return TimeBasis(np.eye(a.shape[0]), vector(a))
        return TimeBasis(a, vector(np.eye(a.shape[1])))

    def _at(self, steps: np.ndarray) -> np.ndarray:
        return self.response.displacements(steps, self.eigenvalues)


def as_steps(steps: ArrayLike) -> np.ndarray:
    """Steps as a float64 vector; ∞ allowed.

    Raises:
        InvalidTrainingError: A step is negative or not a number.
    """
    out = np.atleast_1d(np.asarray(steps, float)).ravel()
    if not np.all(out >= 0):
        raise InvalidTrainingError(
            f"steps={out}: expected numbers >= 0 (∞ allowed), counted from the initial networks."
        )
    return out


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

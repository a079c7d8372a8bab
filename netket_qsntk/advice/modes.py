"""Modes of the tangent kernel on samples: how well each is known, and where training them turns unstable."""

from dataclasses import dataclass

import numpy as np

from netket_qsntk.advice.batch import Batch
from netket_qsntk.advice.tangent import Tangent

__all__ = ["TangentModes", "clusters", "tangent_modes", "whole_clusters"]


@dataclass(frozen=True)
class TangentModes:
    r"""Eigenmodes of T (and of S), largest first, and the energy in them.

    Attributes:
        eigenvalues: s (r,), those above rounding.
        vectors: Eigenvectors of T, (n·parts, r); in parameter space the modes are Jᵀ Cᵀ D u/√s.
        force: u·2D(E_loc - E), (r,): the gradient of the energy along a mode is √s times it; None without energies.
        error: Standard error of each force with the samples of one step, (r,); zero where nothing is sampled.
        residual: ‖2D(E_loc - E)‖², four times the variance of the energy.
        curvature: Second variation of the energy between modes in parameter space, (r, r) symmetric; None without
            energies.
        excited: ⟨δψ|H - E|δψ⟩ between modes as unit vectors in function space, (r, r); None without energies.
        trace: tr T.
        epsilon: Machine epsilon of the Jacobians.
        n_samples: Samples that ``error`` stands for; None for none.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    force: np.ndarray | None
    error: np.ndarray | None
    residual: float
    curvature: np.ndarray | None
    excited: np.ndarray | None
    trace: float
    epsilon: float
    n_samples: int | None

    def __repr__(self) -> str:
        energies = "without" if self.force is None else "with"
        return (
            f"TangentModes({len(self.eigenvalues)} modes, trace={self.trace:.6g}, {energies} energies, "
            f"n_samples={self.n_samples})"
        )

    def filter(self, diag_shift: float) -> np.ndarray:
        """s/(s + λ), (r,): the share of the exact imaginary-time step that SR takes along each mode.

        Example:
            >>> import numpy as np
            >>> from netket_qsntk.advice.modes import TangentModes
            >>> none = np.zeros((2, 0))
            >>> modes = TangentModes(np.array([1, 0.01]), none, None, None, 0.0, None, None, 1.01, 1e-16, None)
            >>> modes.filter(0.01).round(3).tolist()
            [0.99, 0.5]
        """
        return self.eigenvalues / (self.eigenvalues + diag_shift)

    def trained(self, diag_shift: float) -> float:
        """Effective number of modes that SR trains, Σ s/(s + λ)."""
        return float(self.filter(diag_shift).sum())

    @property
    def signal_to_noise(self) -> np.ndarray | None:
        """|force|/error of each mode, (r,), its own noise taken off: √max(0, (φ/ε)² - 1); infinite without noise."""
        if self.force is None or self.error is None:
            return None
        noise = np.where(self.error > 0, self.error, 1.0)
        squared = (self.force / noise) ** 2
        return np.where(self.error > 0, np.sqrt(np.maximum(squared - 1, 0)), np.inf)

    @property
    def unreachable(self) -> float:
        """Share of the local energies' variance that no change of parameters can remove to first order."""
        if self.force is None or self.residual <= 0:
            return 0.0
        return float(np.clip(1 - np.sum(self.force**2) / self.residual, 0, 1))

    def share(self, diag_shift: float) -> float:
        """Share of ‖2D(E_loc - E)‖² that a step with this shift follows, Σ φ² s/(s+λ) over all of it."""
        if self.force is None or self.residual <= 0:
            return 0.0
        return float(self.filter(diag_shift) @ self.force**2 / self.residual)

    def rates(self, diag_shift: float | None) -> np.ndarray | None:
        """Eigenvalues of (S+λ)⁻¹ G (None: of G), ascending: a step multiplies such a mode's error by 1 - ηµ."""
        if self.curvature is None or not len(self.eigenvalues):
            return None
        if diag_shift is None:
            return np.linalg.eigvalsh(self.curvature)
        scale = 1 / np.sqrt(self.eigenvalues + diag_shift)
        return np.linalg.eigvalsh(scale[:, None] * self.curvature * scale)

    def max_learning_rate(self, diag_shift: float | None = None) -> float:
        """2/µ_max: the largest stable rate of SR with this shift (None: of gradient descent); ∞ without energies."""
        rates = self.rates(diag_shift)
        return float(2 / rates[-1]) if rates is not None and rates[-1] > 0 else float("inf")

    def late_rate(self, diag_shift: float | None = None, *, resolved: float = 0.0) -> float:
        """r = µ_min/2, µ_min the smallest positive rate: E - E₀ falls as e^(-4ηrt) at the end of a run.

        Args:
            diag_shift: λ, None for gradient descent.
            resolved: Rates below this share of the largest are taken for zero.
        """
        rates = self.rates(diag_shift)
        if rates is None:
            return float("nan")
        positive = rates[rates > max(resolved, 1e-9) * abs(rates[-1])]
        return float(positive[0] / 2) if positive.size else 0.0

    def newton_step(self, diag_shift: float) -> tuple[float, float]:
        """(‖δθ‖, energy gained) of the step to the minimum of the second variation, g the gradient.

        Where the energy curves downward its curvature is taken positive, and a thousandth of the largest at least.
        """
        if self.curvature is None or self.force is None:
            return float("nan"), float("nan")
        gradient = np.sqrt(self.eigenvalues) * self.force
        scale = 1 / np.sqrt(self.eigenvalues + diag_shift)
        rates, vectors = np.linalg.eigh(scale[:, None] * self.curvature * scale)
        if not rates.size:
            return 0.0, 0.0
        bounded = np.maximum(np.abs(rates), 1e-3 * np.abs(rates).max())
        along = vectors.T @ (scale * gradient)
        step = scale * (vectors @ (along / bounded))
        return float(np.linalg.norm(step)), float(0.5 * np.sum(along**2 / bounded))


def tangent_modes(tangent: Tangent, batch: Batch) -> TangentModes:
    """The eigendecomposition, on whichever side is the smaller one."""
    force = tangent.force
    n = len(batch) * tangent.parts
    if tangent.kernel is None:
        rows = np.asarray(tangent.rows, dtype=float)
        values, v = np.linalg.eigh(rows.T @ rows)
        order, kept = _above_rounding(values, n, tangent.epsilon)
        s, v = values[order][kept], v[:, order][:, kept]
        u = rows @ v / np.sqrt(s)
        moved = None if tangent.moved is None else np.asarray(tangent.moved, dtype=float) @ v
        trace = float(values.sum())
    else:
        values, u = np.linalg.eigh(tangent.kernel)
        order, kept = _above_rounding(values, n, tangent.epsilon)
        s, u = values[order][kept], u[:, order][:, kept]
        moved = None if tangent.mixed is None else tangent.mixed @ u / np.sqrt(s)
        trace = float(np.trace(tangent.kernel))
    curvature = excited = None
    if moved is not None:
        one_sided = 2 * np.sqrt(s)[:, None] * (u.T @ moved)
        # Equal to its transpose on infinitely many samples. On few, the row of the smaller eigenvalue is the one with
        # the smaller variance: it carries the factor √s.
        lower = np.tril(one_sided)
        curvature = lower + np.tril(one_sided, -1).T
        excited = curvature / (2 * np.sqrt(np.outer(s, s))) - _along_the_curve(u, tangent, batch)
    along = error = None
    residual = 0.0
    if force is not None:
        along = u.T @ force
        residual = float(force @ force)
        error = _standard_error(u, force, along, batch, tangent.parts)
    return TangentModes(
        s, u, along, error, residual, curvature, excited, trace, tangent.epsilon, batch.n_samples
    )


def _along_the_curve(u: np.ndarray, tangent: Tangent, batch: Batch) -> np.ndarray:
    """Re⟨(E_loc-E)* δf²⟩: what the second variation along log ψ has more than the one along ψ, as e^f has f²/2."""
    local = np.asarray(tangent.local_energies)
    excess = local - batch.weights @ local
    parts = u.reshape(len(batch), tangent.parts, -1)
    conjugate = parts[:, 0] - (1j * parts[:, 1] if tangent.parts == 2 else 0)
    return np.real(conjugate.T @ (excess[:, None] * conjugate))


def _above_rounding(values: np.ndarray, n: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values)[::-1]
    floor = max(n, len(values)) * epsilon * max(float(values.max(initial=0.0)), 0.0)
    return order, values[order] > floor


def _standard_error(
    u: np.ndarray, force: np.ndarray, along: np.ndarray, batch: Batch, parts: int
) -> np.ndarray:
    """Of the force along each mode with the samples of one step (Schmitt & Heyl, arXiv:1912.08828)."""
    if batch.n_samples is None:
        return np.zeros(len(along))
    terms = (u * force[:, None]).reshape(len(batch), parts, -1).sum(1)
    variance = np.sum(terms**2 / batch.weights[:, None], 0) - along**2
    return np.sqrt(np.maximum(variance, 0) * batch.autocorrelation / batch.n_samples)


def clusters(eigenvalues: np.ndarray, epsilon: float = 2.2e-16) -> np.ndarray:
    """Ends of the clusters of equal eigenvalues (descending): after how many modes a cut divides none.

    Eigenvalues are equal within 1e-6 of themselves and ten times the rounding floor: eigenvectors of closer ones
    are arbitrary, and so is a share of some of them.

    Example:
        >>> import numpy as np
        >>> clusters(np.array([4.0, 2.0, 2.0, 1.0])).tolist()
        [1, 3, 4]
    """
    values = np.asarray(eigenvalues, dtype=float)
    if not values.size:
        return np.zeros(0, int)
    tolerance = 1e-6 * np.abs(values[1:]) + 10 * len(values) * epsilon * np.abs(values).max()
    ends = np.nonzero(values[:-1] - values[1:] > tolerance)[0] + 1
    return np.append(ends, len(values))


def whole_clusters(eigenvalues: np.ndarray, n_modes: int, epsilon: float = 2.2e-16) -> int:
    """The least number of modes, from n_modes on, that divides no cluster of equal eigenvalues.

    Example:
        >>> import numpy as np
        >>> [whole_clusters(np.array([4.0, 2.0, 2.0, 1.0]), k) for k in (1, 2, 3, 9)]
        [1, 3, 3, 4]
    """
    ends = clusters(eigenvalues, epsilon)
    after = ends[ends >= n_modes]
    return int(after[0]) if after.size else len(eigenvalues)

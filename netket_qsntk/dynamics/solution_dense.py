"""Training by one eigendecomposition of the stored kernel."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics.matrices import (
    column_dots,
    congruence,
    kernel_matrices,
    product,
    quadratic_form,
    row_dots,
    transpose,
    vector,
    whole,
)
from netket_qsntk.dynamics.response import Response
from netket_qsntk.dynamics.solution import Curves, Data, Losses, Solution, averages
from netket_qsntk.dynamics.training_modes import Modes, TimeBasis
from netket_qsntk.kernels import InfiniteWidthKernel


class DenseSolution(Solution):
    """From Θ_BB = VΛVᵀ and VᵀK_BB V, for any kernel (see :class:`~netket_qsntk.dynamics.LinearDynamics`).

    One eigendecomposition (about 10|B|³ operations, 16|B|² bytes) serves both parts, all steps and all losses; a data
    set of m configurations then costs 4m|B|² + 4|B|³ once, and T steps a few products of width T.
    """

    stores_matrices = True

    def __init__(
        self, kernel: InfiniteWidthKernel, train: Data, response: Response, reason: str = ""
    ) -> None:
        self.kernel, self.train, self.reason = kernel, train, reason
        nngp, ntk = kernel_matrices(kernel, train.states)
        self.modes = Modes(ntk, response)
        del ntk
        self.largest = float(self.modes.eigenvalues[-1])
        self._nngp_modes = congruence(self.modes.vectors, nngp)
        amplitudes = np.asarray(train.amplitudes)
        self._amplitude_modes = self.modes.project(amplitudes)
        self._target_modes, self._unreachable = self._amplitude_modes, 0.0
        if kernel.n_parts == 1:  # real ψ: the imaginary part of the target is out of reach
            self._target_modes = self._amplitude_modes.real
            self._unreachable = float(np.sum(amplitudes.imag**2))
        self._known: list[_Elsewhere] = []

    @property
    def rank(self) -> int:
        """Number of eigenvalues above the floor of rounding."""
        return self.modes.rank

    def mean(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """μ_x = Θ_xB V a_t Vᵀ ψ_T."""
        _, ntk = kernel_matrices(self.kernel, x, self.train.states)
        g = ntk @ self.modes.vectors
        moved = self.modes.displacements(steps) * self._target_modes[None, :]
        return jnp.asarray(product(moved, g.T)) + 0j

    def variance(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """K_xx - 2 A_x K_Bx + A_x K_BB A_xᵀ, times the number of parts."""
        nngp, ntk = kernel_matrices(self.kernel, x, self.train.states)
        g, h = ntk @ self.modes.vectors, nngp @ self.modes.vectors
        k_xx = self.kernel.nngp_diagonal(x)
        rows = []
        for a in self.modes.displacements(steps):
            ga = g * a
            moved = row_dots(ga, ga @ self._nngp_modes + -2 * h)
            rows.append(self.kernel.n_parts * jnp.maximum(k_xx + moved, 0.0))
        return jnp.stack(rows)

    def moments(self, step: float, x: ArrayLike) -> tuple[Array, Array]:
        """The mean, and the same with all pairs of configurations."""
        nngp, ntk = kernel_matrices(self.kernel, x, self.train.states)
        a = self.modes.displacements(step)[0]
        moved = (ntk @ self.modes.vectors) * a
        cross = moved @ transpose(nngp @ self.modes.vectors)
        change: Any = (moved @ self._nngp_modes) @ transpose(moved)
        change = change + -1 * cross + -1 * transpose(cross)
        prior, _ = kernel_matrices(self.kernel, x)
        return jnp.asarray(product(moved, self._target_modes)) + 0j, whole(prior + change)

    def trained(self, step: float, x: ArrayLike, on_train: ArrayLike, on_x: ArrayLike) -> Array:
        """f_x + A_x (ψ_T - f_B)."""
        _, ntk = kernel_matrices(self.kernel, x, self.train.states)
        distance = np.asarray(self.train.amplitudes) - np.asarray(on_train)
        if self.kernel.n_parts == 1:
            distance = distance.real
        a = self.modes.displacements(step)[0]
        change = product(self.modes.vectors, a * self.modes.project(distance))
        return jnp.asarray(on_x) + jnp.asarray(product(ntk, change))

    def losses(self, steps: np.ndarray, data: Data) -> Losses:
        """From sums over modes on the training set, and over a short basis in time elsewhere."""
        if data is self.train:
            return averages(self._train_sums(steps), data)
        return averages(self._elsewhere(data).sums(self.modes.time_basis(steps)), data)

    def curves(self, steps: np.ndarray, test: Data) -> Curves:
        """Losses and fidelity from the same sums."""
        basis, elsewhere = self.modes.time_basis(steps), self._elsewhere(test)
        here, there = self._train_sums(steps), elsewhere.sums(basis)
        overlap, variance = elsewhere.overlap(basis)
        unit = sum(np.vdot(data.amplitudes, data.amplitudes).real for data in (self.train, test))
        # E|ψ - ψ_T|² = E⟨ψ|ψ⟩ + ⟨ψ_T|ψ_T⟩ - 2 Re E⟨ψ_T|ψ⟩
        norm = here.total + there.total - unit + 2 * overlap.real
        fidelity = (np.abs(overlap) ** 2 + variance) / (norm * unit)
        return Curves(averages(here, self.train), averages(there, test), fidelity)

    def _train_sums(self, steps: np.ndarray) -> Losses:
        prior = self.kernel.n_parts * np.asarray(self._nngp_modes.diagonal())
        weights = np.stack([np.abs(np.asarray(self._target_modes)) ** 2, prior], axis=1)
        sums = self.modes.square_sums(steps, weights)
        return Losses(sums[:, 0] + self._unreachable, sums[:, 1])

    def _elsewhere(self, data: Data) -> "_Elsewhere":
        for known in self._known:
            if known.data is data:
                return known
        self._known = [_Elsewhere(self, data), *self._known[:1]]
        return self._known[0]

    def __repr__(self) -> str:
        return f"eigendecomposition of {len(self.modes.eigenvalues)} modes"


class _Elsewhere:
    """Sums over another set X, from Θ_XB V and the variance's quadratic form in a_t summed over X."""

    def __init__(self, solution: DenseSolution, data: Data) -> None:
        s = self._solution = solution
        self.data = data
        v = s.modes.vectors
        nngp, ntk = kernel_matrices(s.kernel, data.states, s.train.states)
        self._g, h = ntk @ v, nngp @ v
        del nngp, ntk
        self._amplitudes = vector(data.amplitudes)
        self._prior = float(np.sum(np.asarray(s.kernel.nngp_diagonal(data.states))))
        self._cross = column_dots(self._g, h)
        self._quadratic = (self._g.T @ self._g) * s._nngp_modes
        self._h_overlap = product(h.T, self._amplitudes)

    def sums(self, basis: TimeBasis) -> Losses:
        """n L_μ and n L_γ, n the size of X."""
        s = self._solution
        nodes = product(basis.nodes * s._target_modes[None, :], self._g.T)
        l_mu = basis.square_distance(nodes, self._amplitudes)
        moved = quadratic_form(basis.nodes, self._quadratic, basis.coefficients)
        linear = basis.coefficients @ np.asarray(basis.nodes @ self._cross)
        l_gamma = s.kernel.n_parts * np.maximum(self._prior - 2 * linear + moved, 0.0)
        return Losses(l_mu, l_gamma)

    def overlap(self, basis: TimeBasis) -> tuple[np.ndarray, np.ndarray]:
        """(E⟨ψ_T|ψ⟩, Var⟨ψ_T|ψ⟩), ψ_T on B and X together: complex and real (steps,)."""
        s = self._solution
        c, w = s._amplitude_modes, self._amplitudes
        shift = s.modes.eigenvalues * c + product(self._g.T, w)
        reached = product(basis.nodes, s._target_modes * shift.conj())
        mean = basis.coefficients @ np.asarray(reached)
        # ⟨ψ_T|γ⟩ = w·f_X + (V u)·f_B with u = c - a·shift, conjugated: a Gaussian linear form of f.
        kv, hw = s._nngp_modes, self._h_overlap
        kvc = product(kv, c)
        prior = _quadratic_mean(s.kernel, np.asarray(self.data.states), w)
        constant = prior + float(2 * (c.conj() @ hw).real + (c.conj() @ kvc).real)
        linear = -2 * np.asarray(basis.nodes @ ((shift.conj() * (hw + kvc)).real))
        moved = sum(
            quadratic_form(basis.nodes * part[None, :], kv, basis.coefficients)
            for part in (shift.real, shift.imag)
        )
        variance = constant + basis.coefficients @ linear + moved
        return mean, s.kernel.n_parts * np.maximum(variance, 0.0)


def _quadratic_mean(kernel: InfiniteWidthKernel, x: np.ndarray, w: ArrayLike) -> float:
    """w† K(x, x) w, some rows of K at a time."""
    w, total = np.asarray(w), 0.0
    for i in range(0, len(x), 2048):
        rows = vector(kernel.nngp(x[i : i + 2048], x))
        total += float(np.vdot(w[i : i + 2048], np.asarray(product(rows, vector(w)))).real)
    return total

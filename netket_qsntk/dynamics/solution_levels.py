"""Training on a whole basis where Θ and K share known modes: nothing is diagonalised, and nothing is stored."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk import spectral
from netket_qsntk.dynamics.response import Response
from netket_qsntk.dynamics.solution import Curves, Data, Losses, NoData, Solution, averages
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.operators import BasisModes, Hypercube, KernelOperator, Kronecker

# Numbers of vectors over the basis that are transformed together.
_AT_ONCE = 2**24


class LevelSolution(Solution):
    r"""On a whole basis whose kernels are diagonal in known modes: parities of spins, or products of one-site modes.

    With levels λ_w of Θ and ν_w of K (d + 1 of each for functions of the Hamming distance of d spins),

    .. math:: \mu = U (1 - r_t(\lambda))\, U^T \psi_T,\qquad \operatorname{Cov} f = U r_t(\lambda)^2 \nu\, U^T

    for each part. Losses and fidelity are sums over levels, from one transform of the target; amplitudes cost one
    transform for each step.

    Raises:
        StructureError: Only from methods that are given configurations outside of the basis.
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Data,
        response: Response,
        operators: tuple[KernelOperator, BasisModes, BasisModes],
        reason: str = "",
    ) -> None:
        self.kernel, self.train, self.response, self.reason = kernel, train, response, reason
        self._operator, self._modes, prior = operators
        levels, counts = (np.asarray(t) for t in self._modes.levels())
        floor = spectral.floor_of_levels(levels, counts)
        self.levels, self.counts = np.where(levels > floor, levels, 0.0), counts
        self.prior = np.maximum(np.asarray(prior.levels()[0]), 0.0)
        self.largest = float(self.levels.max())
        self._amplitudes = np.asarray(train.amplitudes)
        parts = np.stack([self._amplitudes.real, self._amplitudes.imag])
        self._weights = self._level_products(parts, parts)

    @classmethod
    def find(
        cls, kernel: InfiniteWidthKernel, train: Data, response: Response
    ) -> "LevelSolution | str":
        """The solution, or why there is none."""
        theta = kernel.operator(train.states)
        if not isinstance(theta, Hypercube | Kronecker) or not theta.has_cheap_spectrum:
            return "the training set is no whole basis on which the kernel has known modes"
        nngp = kernel.operator(train.states, which="nngp")
        if not isinstance(nngp, Hypercube | Kronecker) or not nngp.has_cheap_spectrum:
            return "the NNGP has no known modes on the training set"
        modes, prior = theta.basis_modes(), nngp.basis_modes()
        if not modes.is_common_with(prior):
            return "NTK and NNGP have different modes"
        reason = f"NTK and NNGP have common modes on the training set: {theta.reason}"
        return cls(kernel, train, response, (theta, modes, prior), reason)

    @property
    def rank(self) -> int:
        """Number of modes whose level is no rounding (:func:`netket_qsntk.spectral.floor_of_levels`)."""
        return int(self.counts[self.levels > 0].sum())

    @property
    def eigenvalues(self) -> Array:
        """Of every mode, zero where they are rounding: (n,)."""
        return self._modes.on_modes(jnp.asarray(self.levels))

    def mean(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """U (1 - r) Uᵀ ψ_T at x."""
        psi = self._amplitudes if self.kernel.n_parts == 2 else self._amplitudes.real
        return self._moved(steps, x, psi) + 0j

    def variance(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """The diagonal of U r² ν Uᵀ, times the number of parts."""
        r = self.response.residuals(steps, self.levels)
        return self.kernel.n_parts * self._at(x).diagonal_of(jnp.asarray(r**2 * self.prior))

    def moments(self, step: float, x: ArrayLike) -> tuple[Array, Array]:
        """The mean, and U r² ν Uᵀ between the configurations."""
        r = self.response.residuals(step, self.levels)[0]
        covariance = self._at(x).matrix_of(jnp.asarray(r**2 * self.prior))
        return self.mean(np.array([step]), x)[0], covariance

    def trained(self, step: float, x: ArrayLike, on_train: ArrayLike, on_x: ArrayLike) -> Array:
        """f + U (1 - r) Uᵀ (ψ_T - f)."""
        distance = self._amplitudes - np.asarray(on_train)
        if self.kernel.n_parts == 1:
            distance = distance.real
        return jnp.asarray(on_x) + self._moved(np.array([step]), x, distance)[0]

    def losses(self, steps: np.ndarray, data: Data) -> Losses:
        """Sums over levels on the training set, over amplitudes elsewhere."""
        if data is self.train:
            return self.curves(steps, NoData.like(data)).train
        return averages(self._elsewhere(steps, data), data)

    def curves(self, steps: np.ndarray, test: Data) -> Curves:
        """All from r_t at the levels."""
        r = self.response.residuals(steps, self.levels)
        parts = self.kernel.n_parts
        trained = sum(self._weights[:parts])
        left = float(sum((w.sum() for w in self._weights[parts:]), start=0.0))
        here = Losses(r**2 @ trained + left, parts * r**2 @ (self.counts * self.prior))
        there = here if test is self.train else self._elsewhere(steps, test)
        # ψ_T on both sets is one vector u over the basis: ⟨u|μ⟩ = Σ (1 - r) ⟨u|ψ_T⟩ over levels, spread by K.
        psi, total = self._amplitudes, self._amplitudes
        if len(test.states):
            others = self._at(test.states).rows.scatter(jnp.asarray(test.amplitudes))
            total = psi + np.asarray(self._modes.rows.gather(others))
        reached = psi if parts == 2 else psi.real
        products = self._level_products(total, np.stack([reached, total]))
        overlap = (1 - r) @ products[0]
        spread = parts * r**2 @ (self.prior * products[1].real)
        unit = float(np.vdot(psi, psi).real + np.vdot(test.amplitudes, test.amplitudes).real)
        norm = here.total + there.total - unit + 2 * overlap.real
        fidelity = (np.abs(overlap) ** 2 + spread) / (norm * unit)
        return Curves(averages(here, self.train), averages(there, test), fidelity)

    def _elsewhere(self, steps: np.ndarray, data: Data) -> Losses:
        """n L_μ and n L_γ on another data set, amplitude by amplitude."""
        if not len(data.states):
            return Losses(np.zeros(len(steps)), np.zeros(len(steps)))
        size, psi = max(1, _AT_ONCE // len(self._amplitudes)), np.asarray(data.amplitudes)
        some = (steps[i : i + size] for i in range(0, len(steps), size))
        l_mu = [
            np.sum(np.abs(np.asarray(self.mean(here, data.states)) - psi) ** 2, axis=-1)
            for here in some
        ]
        l_gamma = self.variance(steps, data.states).sum(-1)
        return Losses(np.concatenate(l_mu), np.asarray(l_gamma))

    def _moved(self, steps: np.ndarray, x: ArrayLike, v: np.ndarray) -> Array:
        """U (1 - r) Uᵀ v at x: (steps, n)."""
        lost = 1 - self.response.residuals(steps, self.levels)
        modes = self._modes.to_modes(jnp.asarray(v))
        return self._at(x).from_modes(self._modes.on_modes(jnp.asarray(lost)) * modes)

    def _at(self, x: ArrayLike) -> BasisModes:
        """The modes at other configurations of the same basis."""
        if x is self.train.states:
            return self._modes
        if np.shape(x)[0]:
            hint: Literal["hypercube", "kronecker"] = (
                "hypercube" if isinstance(self._operator, Hypercube) else "kronecker"
            )
            rows = self.kernel.operator(x, self.train.states, hint=hint).rows
        else:
            rows = self._modes.rows.take(np.zeros(0, int))
        return eqx.tree_at(lambda modes: modes.rows, self._modes, rows, is_leaf=_is_none)

    def _level_products(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Σ (Uᵀu)* (Uᵀv) over the modes of each level: (…, levels)."""
        return np.asarray(_level_products(self._modes, jnp.asarray(u), jnp.asarray(v)))

    def __repr__(self) -> str:
        return f"{len(self.levels)} levels of {len(self._amplitudes)} modes, nothing diagonalised"


@eqx.filter_jit
def _level_products(modes: BasisModes, u: Array, v: Array) -> Array:
    return modes.level_products(u, v)


def _is_none(leaf: object) -> bool:
    return leaf is None

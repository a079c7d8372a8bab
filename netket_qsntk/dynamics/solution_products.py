"""Training by products with the kernel, which is never stored."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics.residuals import ProductEngine, Residuals
from netket_qsntk.dynamics.response import Response
from netket_qsntk.dynamics.solution import Curves, Data, Losses, NoData, Solution
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.progress import track

# Configurations whose columns of the kernel are worked on together.
_COLUMNS = 16


@dataclass
class Estimates:
    """How accurate what is iterated or drawn shall be.

    Attributes:
        n_draws: Random initial functions for L_γ.
        seed: Of these draws.
        tolerance: Relative error of mean residuals; a thousand times more is allowed to those of draws, whose
            statistical error is larger.
        max_products: Largest Krylov space.
    """

    n_draws: int = 16
    seed: int = 0
    tolerance: float = 1e-9
    max_products: int = 300


class ProductSolution(Solution):
    """From Krylov spaces of Θ_BB (:class:`~netket_qsntk.dynamics.residuals.ProductEngine`).

    L_γ comes from random initial functions and carries a standard error, as L_μ carries the estimated error of its
    Krylov space. Variances of single configurations cost a Krylov space for each.
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Data,
        response: Response,
        estimates: Estimates,
        reason: str = "",
    ) -> None:
        self.kernel, self.train, self.reason = kernel, train, reason
        self.response, self.estimates = response, estimates
        self.engine = ProductEngine(kernel, train, response, estimates.max_products)
        self.largest = self.engine.largest

    @property
    def rank(self) -> None:
        """Not known."""
        return

    @property
    def _tolerance(self) -> float:
        # No Krylov space is exact beyond rounding.
        return max(self.estimates.tolerance, 8 * float(jnp.finfo(self.engine.operator.dtype).eps))

    def mean(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """Θ_xB a_t(Θ_BB) ψ_T."""
        return self.engine.displaced(steps, x, self.train.amplitudes, self._tolerance)

    def variance(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """K_xx - 2 w·K_Bx + w·K_BB w with w = a_t(Θ_BB) Θ_Bx, some configurations at a time."""
        x = np.asarray(x)
        nngp = self.kernel.operator(self.train.states, which="nngp")
        prior = np.asarray(self.kernel.nngp_diagonal(x))
        out = np.empty((len(steps), len(prior)))
        finite = np.isfinite(steps)
        for i in track(range(0, len(prior), _COLUMNS), "variance", unit="part"):
            k, v = (
                jnp.asarray(t) for t in self.kernel.both(self.train.states, x[i : i + _COLUMNS])
            )
            here = slice(i, i + _COLUMNS)
            if finite.any():
                krylov = self.engine.krylov(steps[finite], v, self._tolerance)
                c = self.engine.coefficients(krylov, steps[finite])
                form = krylov.gram(krylov.image(nngp))
                linear = np.einsum("tkm,km->tk", c, krylov.overlap(k))
                out[finite, here] = (
                    np.einsum("tkm,kml,tkl->tk", c, form, c, optimize=True) - 2 * linear
                )
            if not finite.all():
                w = self.engine.limit(v, self._tolerance)[0]
                out[~finite, here] = jnp.sum(w * (nngp.matvec(w) - 2 * k), axis=0)
        return self.kernel.n_parts * jnp.maximum(prior + out, 0.0)

    def moments(self, step: float, x: ArrayLike) -> tuple[Array, Array]:
        """The mean, and the covariance between all pairs of configurations."""
        nngp = self.kernel.operator(self.train.states, which="nngp")
        k, v = (jnp.asarray(t) for t in self.kernel.both(self.train.states, x))
        starts = range(0, k.shape[1], _COLUMNS)
        parts = [
            self._dual(step, v[:, i : i + _COLUMNS])
            for i in track(starts, "covariance", unit="part")
        ]
        w = jnp.concatenate(parts, axis=1)
        cross = w.T @ k
        covariance = jnp.asarray(self.kernel.nngp(x)) + w.T @ nngp.matvec(w) - cross - cross.T
        return self.mean(np.array([step]), x)[0], covariance

    def _dual(self, step: float, v: Array) -> Array:
        """a_t(Θ_BB) v for columns v."""
        if np.isinf(step):
            return self.engine.limit(v, self._tolerance)[0]
        steps = np.array([step])
        krylov = self.engine.krylov(steps, v, self._tolerance)
        return krylov.combine(self.engine.coefficients(krylov, steps))[0]

    def trained(self, step: float, x: ArrayLike, on_train: ArrayLike, on_x: ArrayLike) -> Array:
        """f_x + A_x (ψ_T - f_B)."""
        distance = jnp.asarray(self.train.amplitudes) - jnp.asarray(on_train)
        steps = np.array([step])
        return jnp.asarray(on_x) + self.engine.displaced(steps, x, distance, self._tolerance)[0]

    def losses(self, steps: np.ndarray, data: Data) -> Losses:
        """L_μ and L_γ with their errors."""
        if data is self.train:
            return self.curves(steps, NoData.like(data)).train
        return self.curves(steps, data).test

    def curves(self, steps: np.ndarray, test: Data) -> Curves:
        """Mean by its residual, fluctuations by those of draws."""
        psi = [np.asarray(d.amplitudes) for d in (self.train, test)]
        parts = [tuple(jnp.asarray(z.real if p == 0 else z.imag) for z in psi) for p in range(2)]
        trained = range(self.kernel.n_parts)
        means = [
            self.engine.residuals(steps, parts[p][0], parts[p][1], test, self._tolerance)
            for p in trained
        ]
        untrained = [
            np.array([np.vdot(z, z) for z in parts[p]]) for p in range(2) if p not in trained
        ]
        constant = sum(untrained, start=np.zeros(2))
        l_mu = (
            sum((m.on_train for m in means), start=constant[0]),
            sum((m.on_test for m in means), start=constant[1]),
        )
        # The error of a norm ‖e‖ by δ is one of ‖e‖² by 2‖e‖δ + δ².
        error = sum(2 * np.sqrt(m.on_train) * m.error + m.error**2 for m in means)
        draws = self._fluctuations(steps, test)
        sizes = (len(self.train.states), len(test.states) or np.nan)
        scale = self.kernel.n_parts
        l_gamma = [
            _mean_and_error([f.on_train for f in draws]),
            _mean_and_error([f.on_test for f in draws]),
        ]
        losses = [
            Losses(mu / n, scale * mean / n, error / n, scale * sem / n)
            for mu, (mean, sem), n in zip(l_mu, l_gamma, sizes, strict=True)
        ]
        unit = sum(np.vdot(z, z).real for z in psi)
        missed = sum(phase * m.overlap for phase, m in zip((1.0, 1j), means, strict=False))
        if scale == 1:
            missed = missed + 1j * sum(np.vdot(z, z.imag + 0j) for z in psi)
        overlap = unit - missed
        spread = scale * _mean_and_error([np.abs(f.overlap) ** 2 for f in draws])[0]
        distance = l_mu[0] + l_mu[1] + scale * (l_gamma[0][0] + l_gamma[1][0])
        norm = distance - unit + 2 * overlap.real
        return Curves(losses[0], losses[1], (np.abs(overlap) ** 2 + spread) / (norm * unit))

    def _fluctuations(self, steps: np.ndarray, test: Data) -> list[Residuals]:
        n, tolerance = self.estimates.n_draws, min(1e-4, 1e3 * self._tolerance)
        draws = self.engine.draws(n, jax.random.key(self.estimates.seed), test)
        counted = track(draws, "draws", total=n, unit="draw")
        return [
            self.engine.residuals(steps, here, there, test, tolerance) for here, there in counted
        ]

    def __repr__(self) -> str:
        return f"products alone ({type(self.engine.operator).__name__}), n_draws={self.estimates.n_draws}"


def _mean_and_error(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    stacked = np.stack(values)
    count = len(values)
    error = np.std(stacked, axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.nan * stacked[0]
    return np.mean(stacked, axis=0), error

r"""Training of an infinitely wide network when its kernel is too large to store: products alone.

With r = r_t(Θ_BB) and A = Θ_xB a_t(Θ_BB), the mean error of a run that starts from f and heads for ψ_T is
f_x - A f_B on a test set and r f_B on the training set; the same two expressions with ψ_T in place of f give the
mean, and with a drawn f the fluctuations. So one function of a pair (vector on B, vector on X) is all there is.
It is computed for all steps at once from one Krylov space of Θ_BB (some tens of products for 10⁴ steps) and the
image of its basis in X.

At ∞ modes in the range of Θ_BB are learned and null modes stay where they were. Conjugate residuals with a
preconditioner find the answer where all of the vector is in that range; where it is not, or where the limit is not
the inverse (weight decay, a mode at the stability limit), the Krylov space does, and an answer that it has not
reached is an error.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics.response import Response
from netket_qsntk.dynamics.solution import Data
from netket_qsntk.errors import NotConvergedError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.operators import (
    KernelOperator,
    Krylov,
    conjugate_residuals,
    lanczos,
    largest_eigenvalue,
)
from netket_qsntk.process import draw, initial_modes

_INFINITY = np.array([np.inf])


class Residuals(NamedTuple):
    """What a curve needs of one real vector's residual e at given steps, each (steps,)."""

    on_train: np.ndarray
    """Σ_B e²."""
    on_test: np.ndarray
    """Σ_X e²."""
    overlap: np.ndarray
    """ψ_T† e over B and X, complex."""
    error: np.ndarray
    """Estimated error of the norm of e on B."""


class ProductEngine:
    """Residuals at any steps from products with Θ_BB and Θ_XB.

    Args:
        kernel: The infinite-width kernel.
        train: Training set; its operator's structure is chosen by the kernel.
        response: How modes train.
        max_products: Largest Krylov space; its memory is that many vectors on B and on X.
    """

    def __init__(
        self, kernel: InfiniteWidthKernel, train: Data, response: Response, max_products: int
    ) -> None:
        self.kernel, self.train, self.response = kernel, train, response
        self.max_products = max_products
        self.operator = kernel.operator(train.states)
        self.largest = largest_eigenvalue(self.operator)[0]
        self._known: list[tuple[Data, KernelOperator]] = []

    def cross(self, data: Data) -> KernelOperator:
        """Θ_XB of a data set; kept for the last two."""
        for known, operator in self._known:
            if known is data:
                return operator
        made = self.kernel.operator(data.states, self.train.states)
        self._known = [(data, made), *self._known[:1]]
        return made

    def residuals(
        self, steps: np.ndarray, on_train: Array, on_test: Array, test: Data, tolerance: float
    ) -> Residuals:
        """Residuals of a real vector (v on B, w on X) at steps (finite ones and ∞).

        Args:
            steps: (steps,).
            on_train: v.
            on_test: w.
            test: X.
            tolerance: Wanted error norm relative to v.
        """
        finite = np.isfinite(steps)
        targets = jnp.asarray(self.train.amplitudes), jnp.asarray(test.amplitudes)
        cross = self.cross(test) if len(test.states) else None
        nothing = np.zeros(len(steps))
        out = Residuals(nothing.copy(), nothing.copy(), nothing.astype(complex), nothing.copy())
        if finite.any():
            krylov = self.krylov(steps[finite], on_train, tolerance)
            found = self._finite(krylov, steps[finite], on_test, cross, targets)
            for all_steps, here in zip(out, found, strict=True):
                all_steps[finite] = here
        if not finite.all():
            limit = self._limit(on_train, on_test, cross, targets, tolerance)
            for all_steps, at_infinity in zip(out, limit, strict=True):
                all_steps[~finite] = at_infinity
        return out

    def displaced(
        self, steps: np.ndarray, x: ArrayLike, amplitudes: ArrayLike, tolerance: float
    ) -> Array:
        """A v at configurations x, v on B: (steps, n), complex."""
        cross = self.kernel.operator(x, self.train.states)
        amplitudes = jnp.asarray(amplitudes)
        parts = [amplitudes.real, amplitudes.imag][: self.kernel.n_parts]
        moved = [self._displaced(steps, part, cross, tolerance) for part in parts]
        return moved[0] + 1j * moved[1] if len(moved) == 2 else moved[0] + 0j

    def _displaced(
        self, steps: np.ndarray, v: Array, cross: KernelOperator, tolerance: float
    ) -> Array:
        finite = np.isfinite(steps)
        out = jnp.zeros((len(steps), cross.shape[0]))
        if finite.any():
            krylov = self.krylov(steps[finite], v, tolerance)
            moved = krylov.image(cross).combine(self.coefficients(krylov, steps[finite]))
            out = out.at[finite].set(moved)
        if not finite.all():
            out = out.at[~finite].set(cross.matvec(self.limit(v, tolerance)[0]))
        return out

    def krylov(self, steps: np.ndarray, v: Array, tolerance: float) -> Krylov:
        """The Krylov space of v (or of each of its columns) in which r_t(Θ)v is that accurate at finite steps."""
        # Late steps are the hard ones; a few in between guard against schedules that end slowly.
        probe = np.unique(steps[np.linspace(0, len(steps) - 1, 4).astype(int)])
        size = np.linalg.norm(np.asarray(v), axis=0)

        def reached(krylov: Krylov) -> bool:
            return bool(np.all(self.error(krylov, probe) <= tolerance * size))

        return lanczos(self.operator, v, max_steps=self.max_products, until=reached)

    def error(self, krylov: Krylov, steps: np.ndarray) -> np.ndarray:
        """Estimated error norm of r_t(Θ)v: (steps,), or (steps, columns)."""
        return krylov.error(lambda e: self.response.residuals(steps, e))

    def coefficients(self, krylov: Krylov, steps: np.ndarray) -> np.ndarray:
        """Components of a_t(Θ)v on the Krylov basis: (steps, k, m)."""
        return krylov.coefficients(lambda e: self.response.displacements(steps, e))

    def _finite(
        self,
        krylov: Krylov,
        steps: np.ndarray,
        w: Array,
        cross: KernelOperator | None,
        targets: tuple[Array, Array],
    ) -> Residuals:
        r = krylov.coefficients(lambda e: self.response.residuals(steps, e))[:, 0]
        overlap = r @ _complex_overlap(krylov, targets[0]).conj()
        on_test = np.zeros(len(steps))
        if cross is not None:
            a = self.coefficients(krylov, steps)[:, 0]
            image = krylov.image(cross)
            gram, along = image.gram()[0], image.overlap(w)[0]
            square = np.einsum("tk,tk->t", a @ gram, a)
            on_test = np.maximum(float(jnp.vdot(w, w)) - 2 * a @ along + square, 0.0)
            start = complex(jnp.vdot(targets[1], w))
            overlap = overlap + start - a @ _complex_overlap(image, targets[1]).conj()
        return Residuals(np.sum(r**2, axis=-1), on_test, overlap, self.error(krylov, steps))

    def limit(self, v: Array, tolerance: float) -> tuple[Array, float]:
        """a_∞(Θ)v for a vector or columns, and the largest error norm of r_∞(Θ)v.

        Raises:
            NotConvergedError: Neither iteration reached it.
            InvalidTrainingError: The optimiser has a schedule.
        """
        size = np.linalg.norm(np.asarray(v), axis=0)
        # Modes of every size end at zero error: the limit is the inverse.
        values = self.largest * np.array([1.0, 1e-3, 1e-6])
        if np.all(np.abs(self.response.residuals(_INFINITY, values)) < 1e-9):
            found = conjugate_residuals(
                self.operator,
                v,
                preconditioner=self.operator.preconditioner(),
                tol=tolerance,
                warn=False,
            )
            if found.converged:
                return found.value, float(np.max(found.residual * size))
        most = min(self.operator.shape[0], self.max_products)

        def reached(krylov: Krylov) -> bool:
            return bool(np.all(self.error(krylov, _INFINITY)[0] <= tolerance * size))

        krylov = lanczos(self.operator, v, max_steps=most, until=reached)
        error = float(np.max(self.error(krylov, _INFINITY)))
        if not (krylov.is_exhausted or krylov.steps == self.operator.shape[0] or reached(krylov)):
            raise NotConvergedError(
                f"The limit of infinitely many steps was not reached by {krylov.steps} products: the kernel is "
                f"singular to working precision on these {self.operator.shape[0]} configurations, and the part of "
                f"the target that never trains is known to {error:.1e} only. Use finite steps, solver='dense', more "
                f"than max_products={self.max_products}, or a tolerance above {tolerance:g}."
            )
        return krylov.apply(lambda e: self.response.displacements(_INFINITY, e))[0], error

    def _limit(
        self,
        v: Array,
        w: Array,
        cross: KernelOperator | None,
        targets: tuple[Array, Array],
        tolerance: float,
    ) -> tuple[float, float, complex, float]:
        alpha, error = self.limit(v, tolerance)
        here = v - self.operator.matvec(alpha)
        on_test, overlap = 0.0, complex(jnp.vdot(targets[0], here + 0j))
        if cross is not None:
            there = w - cross.matvec(alpha)
            on_test = float(jnp.vdot(there, there))
            overlap += complex(jnp.vdot(targets[1], there + 0j))
        return float(jnp.vdot(here, here)), on_test, overlap, error

    def draws(self, n_draws: int, key: Array, test: Data) -> Iterator[tuple[Array, Array]]:
        """Initial functions (on B, on X) with covariance K, made from random signs in the eigenbasis of K."""
        x = np.concatenate([np.asarray(self.train.states), np.asarray(test.states)])
        basis = initial_modes(self.kernel.operator(x, which="nngp"))
        n = len(self.train.states)
        for i in range(n_draws):
            values = basis.eigenvalues
            signs = jax.random.rademacher(jax.random.fold_in(key, i), values.shape, values.dtype)
            f = draw(basis, signs)
            yield f[:n], f[n:]


def _complex_overlap(krylov: Krylov, target: Array) -> np.ndarray:
    """Qᵀψ_T for a complex target: (m,)."""
    return krylov.overlap(target.real)[0] + 1j * krylov.overlap(target.imag)[0]

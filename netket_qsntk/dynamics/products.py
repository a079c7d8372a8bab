r"""Training of an infinitely wide network when its kernel is too large to store: products alone.

With r = r_t(Θ_BB) and A = Θ_xB a_t(Θ_BB), the mean error of a run that starts from f and heads for ψ_T is
f_x - A f_B on a test set and r f_B on the training set; the same two expressions with ψ_T in place of f give the
mean, and with a drawn f the fluctuations. So one function of a pair (vector on B, vector on X) is all there is.
It is computed for all steps at once from one Krylov space of Θ_BB (some tens of products for 10⁴ steps) and the
image of its basis in X.

L_γ is the expectation of a quadratic form of f ~ N(0, K), estimated from draws with random signs instead of normal
numbers in the eigenbasis of K: the diagonal of the form in that basis, which is nearly all of it, is then exact
(Hutchinson's estimator), and a few draws give small error bars.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk import operators
from netket_qsntk.dynamics.modes import as_steps
from netket_qsntk.dynamics.response import Response
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.process import draw, initial_modes


class Residuals(NamedTuple):
    """What a curve needs of one real vector's residual e at given steps, each (steps,)."""

    on_train: Array
    """Σ_B e²."""
    on_test: Array
    """Σ_X e²."""
    overlap: Array
    """ψ_T† e over B and X, complex."""
    error: Array
    """Estimated error of the norm of e on B."""


class ProductEngine:
    """Residuals at any steps from products with Θ_BB and Θ_XB.

    Args:
        kernel: The infinite-width kernel.
        train: Training set; its operator's structure is chosen by the kernel.
        response: How modes train.
        tolerance: Wanted error norm of residuals relative to the vector they start from.
        max_products: Largest Krylov space; its memory is that many vectors on B and on X.
        show_progress: Whether bars count the products.
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Any,
        response: Response,
        *,
        tolerance: float = 1e-9,
        max_products: int = 300,
        show_progress: bool = True,
    ) -> None:
        self.kernel, self.train, self.response = kernel, train, response
        self.operator = kernel.operator(train.states)
        # No Krylov space is exact beyond rounding.
        rounding = 8 * float(jnp.finfo(self.operator.dtype).eps)
        self.tolerance, self.max_products = max(tolerance, rounding), max_products
        self.show_progress = show_progress
        self.largest = operators.largest_eigenvalue(self.operator, show_progress=show_progress)[0]
        self._known: list[tuple[Any, Any]] = []

    def cross(self, data: Any) -> Any:
        """Θ_XB of a data set; kept for the last two."""
        for known, operator in self._known:
            if known is data:
                return operator
        made = self.kernel.operator(data.states, self.train.states)
        self._known = [(data, made), *self._known[:1]]
        return made

    def residuals(self, steps: Any, on_train: Array, on_test: Array, test: Any) -> Residuals:
        """Residuals of a real vector (v on B, w on X) at steps (finite ones and ∞)."""
        steps = np.asarray(as_steps(steps))
        finite = np.isfinite(steps)
        targets = jnp.asarray(self.train.amplitudes), jnp.asarray(test.amplitudes)
        cross = self.cross(test) if len(test.states) else None
        parts = []
        if finite.any():
            parts.append(self._finite(steps[finite], on_train, on_test, cross, targets))
        if not finite.all():
            count = int((~finite).sum())
            limit = self._limit(on_train, on_test, cross, targets)
            parts.append(Residuals(*(jnp.broadcast_to(x, (count,)) for x in limit)))
        order = np.argsort(np.concatenate([np.flatnonzero(finite), np.flatnonzero(~finite)]))
        return Residuals(*(jnp.concatenate(x)[order] for x in zip(*parts, strict=True)))

    def displaced(self, steps: Any, x: Any, amplitudes: Any = None) -> Array:
        """A v at configurations x, v on B (ψ_T if None, for the mean): (steps, n), complex."""
        steps = np.asarray(as_steps(steps))
        cross = self.kernel.operator(x, self.train.states)
        amplitudes = jnp.asarray(self.train.amplitudes if amplitudes is None else amplitudes)
        parts = [amplitudes.real, amplitudes.imag][: self.kernel.n_parts]
        moved = [self._displaced(steps, part, cross) for part in parts]
        return moved[0] + 1j * moved[1] if len(moved) == 2 else moved[0] + 0j

    def _displaced(self, steps: np.ndarray, v: Array, cross: Any) -> Array:
        finite = np.isfinite(steps)
        out = jnp.zeros((len(steps), cross.shape[0]))
        if finite.any():
            krylov = self._krylov(steps[finite], v)
            out = out.at[finite].set(
                krylov.image(cross).combine(self._coefficients(krylov, steps[finite])[1])
            )
        if not finite.all():
            out = out.at[~finite].set(cross.matvec(self._solve(v)))
        return out

    def _krylov(self, steps: np.ndarray, v: Array) -> Any:
        # Late steps are the hard ones; a few in between guard against schedules that end slowly.
        probe = np.unique(steps[np.linspace(0, len(steps) - 1, 4).astype(int)])
        size = float(jnp.linalg.norm(v))

        def reached(krylov: Any) -> bool:
            error = krylov.error(lambda e: self.response.curves(jnp.asarray(probe), e)[0])
            return bool(jnp.max(error) <= self.tolerance * size)

        return operators.lanczos(
            self.operator,
            v,
            max_steps=self.max_products,
            until=reached,
            show_progress=self.show_progress,
        )

    def _coefficients(self, krylov: Any, steps: np.ndarray) -> tuple[Array, Array]:
        """Components of r_t(Θ)v and a_t(Θ)v on the Krylov basis, each (steps, 1, m)."""
        times = jnp.asarray(steps)
        return (
            krylov.coefficients(lambda e: self.response.curves(times, e)[0]),
            krylov.coefficients(lambda e: self.response.curves(times, e)[1]),
        )

    def _finite(
        self, steps: np.ndarray, v: Array, w: Array, cross: Any, targets: tuple[Array, Array]
    ) -> Residuals:
        krylov = self._krylov(steps, v)
        r, a = (c[:, 0] for c in self._coefficients(krylov, steps))
        times = jnp.asarray(steps)
        error = krylov.error(lambda e: self.response.curves(times, e)[0])
        overlap = r @ _complex_overlap(krylov, targets[0]).conj()
        on_test = jnp.zeros(len(steps))
        if cross is not None:
            image = krylov.image(cross)
            gram, along = image.gram()[0], image.overlap(w)[0]
            square = jnp.einsum("tk,kl,tl->t", a, gram, a, optimize="optimal")
            on_test = jnp.maximum(jnp.vdot(w, w) - 2 * a @ along + square, 0.0)
            overlap = (
                overlap + jnp.vdot(targets[1], w) - a @ _complex_overlap(image, targets[1]).conj()
            )
        return Residuals(jnp.sum(r**2, axis=-1), on_test, overlap, error)

    def _solve(self, v: Array) -> Array:
        make = getattr(self.operator, "preconditioner", None)
        solution = operators.conjugate_residuals(
            self.operator,
            v,
            preconditioner=None if make is None else make(),
            tol=self.tolerance,
            show_progress=self.show_progress,
        )
        return solution.value

    def _limit(self, v: Array, w: Array, cross: Any, targets: tuple[Array, Array]) -> Residuals:
        alpha = self._solve(v)
        here = v - self.operator.matvec(alpha)
        on_test, overlap = jnp.zeros(()), jnp.vdot(targets[0], here + 0j)
        if cross is not None:
            there = w - cross.matvec(alpha)
            on_test, overlap = jnp.vdot(there, there), overlap + jnp.vdot(targets[1], there + 0j)
        norm = jnp.linalg.norm(here)
        return Residuals(norm**2, on_test, overlap, norm)

    def draws(self, n_draws: int, key: Array, test: Any) -> Iterator[tuple[Array, Array]]:
        """Initial functions (on B, on X) with covariance K, made from random signs in the eigenbasis of K."""
        x = np.concatenate([np.asarray(self.train.states), np.asarray(test.states)])
        basis = initial_modes(self.kernel.operator(x, which="nngp"))
        n = len(self.train.states)
        for i in range(n_draws):
            values = basis.eigenvalues
            f = draw(
                basis, jax.random.rademacher(jax.random.fold_in(key, i), values.shape, values.dtype)
            )
            yield f[:n], f[n:]


def _complex_overlap(krylov: Any, target: Array) -> Array:
    """Qᵀψ_T for a complex target: (m,)."""
    return krylov.overlap(target.real)[0] + 1j * krylov.overlap(target.imag)[0]

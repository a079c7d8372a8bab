"""LinearDynamics past the sizes at which a kernel can be stored."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from netket_qsntk.alert import once
from netket_qsntk.dynamics.linear import Curves, LinearDynamics, Losses
from netket_qsntk.dynamics.modes import as_steps
from netket_qsntk.dynamics.products import ProductEngine, Residuals
from netket_qsntk.dynamics.settings import Mode, make_response, warn_if_unstable
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.progress import track


class ProductDynamics(LinearDynamics):
    """:class:`~netket_qsntk.dynamics.LinearDynamics` by products with the kernel, which is never stored.

    Made by ``LinearDynamics(…, solver="products")``, and by itself for large training sets. Same methods, same
    numbers (to 1e-8 where both run); what differs:

    - L_γ comes from ``n_draws`` random initial functions and carries a standard error, as L_μ carries the estimated
      error of its Krylov space; both are fields of :class:`~netket_qsntk.dynamics.Losses`. Where the training set
      is the whole basis and kernel and covariance share their modes, nothing is estimated and nothing iterated;
    - at ∞ it solves by conjugate residuals. A singular kernel leaves a residual, and a warning gives its size.

    Args:
        kernel, train, learning_rate, optimizer, mode: As for ``LinearDynamics``.
        n_draws: Random initial functions for L_γ.
        seed: Of these draws.
        tolerance: Relative error of mean residuals; a thousand times more is allowed to those of draws, whose
            statistical error is larger.
        max_products: Largest Krylov space.
        show_progress: Whether bars count products and draws.
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Any,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: Mode = "gd",
        solver: str = "products",
        n_draws: int = 16,
        seed: int = 0,
        tolerance: float = 1e-9,
        max_products: int = 300,
        show_progress: bool = True,
    ) -> None:
        self.kernel, self.train = kernel, train
        n = len(train.states)
        self.response = make_response(n, learning_rate, optimizer, mode)
        self.engine = ProductEngine(
            kernel,
            train,
            self.response,
            tolerance=tolerance,
            max_products=max_products,
            show_progress=show_progress,
        )
        self.show_progress = show_progress
        self.n_draws, self._key = n_draws, jax.random.key(seed)
        warn_if_unstable(self.response, self.engine.largest, n)

    def mean(self, steps: Any, x: Any) -> Array:
        """μ_x: (steps, n) complex."""
        with once():
            return self.engine.displaced(steps, x)

    def variance(self, steps: Any, x: Any) -> Array:
        """Not to be had from few draws for each configuration; see ``losses`` for its average.

        Raises:
            SystemTooLargeError: Always.
        """
        raise SystemTooLargeError(
            "The variance at single configurations needs the stored kernel; losses(steps, data).L_gamma is its "
            "average. For small training sets use LinearDynamics(…, solver='dense')."
        )

    def moments(self, steps: float, x: Any) -> tuple[Array, Array]:
        """Not without storing the covariance.

        Raises:
            SystemTooLargeError: Always.
        """
        raise SystemTooLargeError(
            f"The covariance between {len(x)} configurations needs the stored kernel: use mean(steps, x), or "
            "LinearDynamics(…, solver='dense') for small training sets."
        )

    def trained(self, step: float, x: Any, on_train: Any, on_x: Any) -> Array:
        """One network that starts from a function (its values on the training set and on x): (n,) complex."""
        distance = jnp.asarray(self.train.amplitudes) - jnp.asarray(on_train)
        return jnp.asarray(on_x) + self.engine.displaced([step], x, distance)[0]

    def losses(self, steps: Any, data: Any) -> Losses:
        """L_μ and L_γ with their errors, on ``train`` or another data set."""
        train = data is self.train
        test = _Empty(self.train) if train else data
        curves = self.curves(steps, test)
        return curves.train if train else curves.test

    def curves(self, steps: Any, test: Any) -> Curves:
        """Losses on both sets, and the fidelity over both together (they must be the whole basis)."""
        steps = as_steps(steps)
        exact = self._exact(steps) if not len(test.states) else None
        if exact is not None:
            return exact
        with once():
            return self._estimated(steps, test)

    def _estimated(self, steps: Array, test: Any) -> Curves:
        psi = [jnp.asarray(d.amplitudes) for d in (self.train, test)]
        trained = range(self.kernel.n_parts)
        parts = [tuple(z.real if p == 0 else z.imag for z in psi) for p in range(2)]
        means = [self.engine.residuals(steps, parts[p][0], parts[p][1], test) for p in trained]
        untrained = [
            jnp.array([jnp.vdot(z, z) for z in parts[p]]) for p in range(2) if p not in trained
        ]
        constant = sum(untrained, start=jnp.zeros(2))
        l_mu = [
            sum((getattr(m, name) for m in means), start=constant[i])
            for i, name in enumerate(("on_train", "on_test"))
        ]
        # The error of a norm ‖e‖ by δ is one of ‖e‖² by 2‖e‖δ + δ².
        error = sum(2 * jnp.sqrt(m.on_train) * m.error + m.error**2 for m in means)
        fluctuations = self._fluctuations(steps, test)
        sizes = [len(self.train.states), len(test.states) or jnp.nan]
        scale = self.kernel.n_parts
        losses, distance = [], l_mu[0] + l_mu[1]
        for i, name in enumerate(("on_train", "on_test")):
            mean, sem = _mean_and_error([getattr(f, name) for f in fluctuations])
            distance = distance + scale * mean
            losses.append(
                Losses(
                    l_mu[i] / sizes[i],
                    scale * mean / sizes[i],
                    error / sizes[i],
                    scale * sem / sizes[i],
                )
            )
        unit = sum(jnp.vdot(z, z).real for z in psi)
        phases = (1.0, 1j)
        missed = jnp.zeros(len(steps), complex)
        for p, m in zip(trained, means, strict=True):
            missed = missed + phases[p] * m.overlap
        if len(trained) == 1:
            missed = missed + 1j * sum(jnp.vdot(z, z.imag + 0j) for z in psi)
        overlap = unit - missed
        spread = scale * _mean_and_error([jnp.abs(f.overlap) ** 2 for f in fluctuations])[0]
        norm = distance - unit + 2 * overlap.real
        return Curves(losses[0], losses[1], (jnp.abs(overlap) ** 2 + spread) / (norm * unit))

    def _fluctuations(self, steps: Array, test: Any) -> list[Residuals]:
        strict = self.engine.tolerance
        self.engine.tolerance = min(1e-4, 1e3 * strict)
        try:
            draws = self.engine.draws(self.n_draws, self._key, test)
            counted = track(
                draws, "draws", total=self.n_draws, show=self.show_progress, unit="draw"
            )
            return [self.engine.residuals(steps, here, there, test) for here, there in counted]
        finally:
            self.engine.tolerance = strict

    def _exact(self, steps: Array) -> Curves | None:
        """The whole basis as training set, with modes common to Θ and K: levels instead of vectors."""
        theta = self.engine.operator
        covariance = self.kernel.operator(self.train.states, which="nngp")
        if not (theta.has_cheap_spectrum and covariance.has_cheap_spectrum):
            return None
        theta_modes, nngp_modes = theta.eigh(), covariance.eigh()
        if type(theta_modes) is not type(nngp_modes):
            return None
        values, counts = theta_modes.levels()
        prior = nngp_modes.levels()[0]
        if values.shape != prior.shape:
            return None
        r = self.response.curves(steps, jnp.maximum(values, 0.0))[0]
        psi = jnp.asarray(self.train.amplitudes)
        weights = [theta_modes.level_weights(part) for part in (psi.real, psi.imag)]
        trained = sum(weights[: self.kernel.n_parts])
        left = sum((w.sum() for w in weights[self.kernel.n_parts :]), start=jnp.zeros(()))
        l_mu = (r**2) @ trained + left
        l_gamma = self.kernel.n_parts * (r**2) @ (counts * prior)
        unit = jnp.vdot(psi, psi).real
        # ⟨ψ_T|μ⟩ = Σ (1 - r)|ψ_T|² on the trained parts, and its spread is that of K on |ψ_T|².
        overlap = (1 - r) @ trained
        if self.kernel.n_parts == 1:
            overlap = overlap - 1j * (
                psi.imag @ psi.real - r @ _level_products(theta_modes, psi.imag, psi.real)
            )
        spread = self.kernel.n_parts * (r**2) @ (prior * sum(weights))
        norm = l_mu + l_gamma - unit + 2 * overlap.real
        n = len(psi)
        nothing = jnp.full_like(l_mu, jnp.nan)
        return Curves(
            Losses(l_mu / n, l_gamma / n),
            Losses(nothing, nothing),
            (jnp.abs(overlap) ** 2 + spread) / (norm * unit),
        )

    def __repr__(self) -> str:
        return (
            f"ProductDynamics(n_train={len(self.train.states)}, n_draws={self.n_draws}, "
            f"response={type(self.response).__name__}, {self.engine.operator!r})"
        )


class _Empty:
    """No configurations: the test set of a run on the whole basis."""

    def __init__(self, like: Any) -> None:
        self.states = like.states[:0]
        self.amplitudes = like.amplitudes[:0]


def _mean_and_error(values: list[Array]) -> tuple[Array, Array]:
    stacked = jnp.stack(values)
    count = len(values)
    error = jnp.std(stacked, axis=0, ddof=1) / np.sqrt(count) if count > 1 else jnp.nan * stacked[0]
    return jnp.mean(stacked, axis=0), error


def _level_products(modes: Any, u: Array, v: Array) -> Array:
    """Σ (Uᵀu)(Uᵀv) over the modes of each level, by polarisation."""
    return (modes.level_weights(u + v) - modes.level_weights(u - v)) / 4

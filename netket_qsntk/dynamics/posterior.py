r"""Bayesian training: the Gaussian process conditioned on the target's amplitudes."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from netket_qsntk import operators
from netket_qsntk.alert import once
from netket_qsntk.dynamics.dense import kernel_matrices
from netket_qsntk.dynamics.linear import LARGEST_DENSE, Solver
from netket_qsntk.dynamics.modes import Modes
from netket_qsntk.dynamics.response import GradientFlow
from netket_qsntk.dynamics.settings import check_precision
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.operators.shared import stored
from netket_qsntk.progress import track

# Columns that are solved for together, without a stored kernel.
_COLUMNS = 16


class Posterior:
    r"""NNGP posterior given ψ_T on the training set.

    .. math:: \mu_x = K_{xB}(K_{BB} + \sigma^2)^{-1}\psi_T,\qquad
        C_{xy} = K_{xy} - K_{xB}(K_{BB} + \sigma^2)^{-1}K_{By}

    for each part of ψ. It is what an infinitely wide network gives when only its readout is trained to the end,
    averaged over initialisations: averages of the variance over many configurations of a large basis are
    L_γ at ∞ of :class:`~netket_qsntk.dynamics.LinearDynamics` with ``trainable="readout"``. Null modes of K_BB
    (to rounding) are not inverted: the mean leaves that part of the target out.

    Args:
        kernel: The infinite-width kernel; its NNGP is used.
        train: Training set with ``states`` and ``amplitudes``.
        noise: Variance σ² of independent noise on the observed amplitudes, for each part.
        solver: ``"dense"``: one eigendecomposition, for any number of configurations; ``"products"``: conjugate
            residuals with the kernel's operator, which is never stored: one solution for the mean and one for
            each configuration of the variance; ``"auto"``: dense up to 12,000 training configurations.
        tolerance: Relative residual of the solutions by products.
        show_progress: Whether bars count products, and the parts of a variance.

    Warns:
        NotConvergedWarning: Without noise, a kernel that is singular to working precision, or more products needed.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> train, test = target.split(n_train=12, seed=0)
        >>> posterior = qs.dynamics.Posterior(
        ...     qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0)), train)
        >>> posterior.mean(test.states).shape, bool((posterior.variance(test.states) >= 0).all())
        ((4,), True)
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Any,
        *,
        noise: float = 0.0,
        solver: Solver = "auto",
        tolerance: float = 1e-10,
        show_progress: bool = True,
    ) -> None:
        if not noise >= 0:
            raise InvalidTrainingError(f"noise={noise}: expected a variance >= 0.")
        if solver not in ("auto", "dense", "products"):
            raise InvalidTrainingError(
                f"solver={solver!r}: expected 'auto', 'dense' or 'products'."
            )
        check_precision()
        self.kernel, self.train, self.noise = kernel, train, noise
        self.show_progress = show_progress
        large = solver == "products" or (solver == "auto" and len(train.states) > LARGEST_DENSE)
        self._inverse: Any = (
            _Products(kernel, train, noise, tolerance, show_progress)
            if large
            else _Stored(kernel, train, noise)
        )
        amplitudes = jnp.asarray(train.amplitudes)
        self._weights = self._inverse(amplitudes if kernel.n_parts == 2 else amplitudes.real)

    def mean(self, x: Any) -> Array:
        """Posterior mean of ψ at configurations x (n, sites): (n,), complex for complex ψ."""
        return self._inverse.cross(x).matvec(self._weights)

    def variance(self, x: Any) -> Array:
        """E|ψ_x - μ_x|² at x, both parts added: (n,)."""
        with once():
            parts = [jnp.sum(c * s, axis=0) for c, s in self._solved(x)]
        reduction = jnp.concatenate(parts) if parts else jnp.zeros(0)
        return self.kernel.n_parts * jnp.maximum(self.kernel.nngp_diagonal(x) - reduction, 0.0)

    def covariance(self, x: Any) -> Array:
        """Posterior covariance of one part of ψ between configurations x: (n, n)."""
        cross = self._inverse.cross(x)
        with once():
            parts = [cross.matvec(s) for _, s in self._solved(x)]
        return self.kernel.nngp(x) - jnp.concatenate(parts, axis=1)

    def _solved(self, x: Any) -> Any:
        """Pairs K_Bx and (K_BB + σ²)⁻¹ K_Bx, some columns at a time."""
        starts = range(0, len(x), self._inverse.columns)
        for start in track(starts, "posterior", show=self.show_progress, unit="part"):
            columns = self.kernel.nngp(self.train.states, x[start : start + self._inverse.columns])
            yield columns, self._inverse(columns)

    def __repr__(self) -> str:
        return (
            f"Posterior({self.kernel!r}, n_train={len(self.train.states)}, noise={self.noise}, "
            f"{self._inverse!r})"
        )


class _Stored:
    """(K_BB + σ²)⁻¹ from the eigendecomposition of K_BB."""

    columns = 4096

    def __init__(self, kernel: InfiniteWidthKernel, train: Any, noise: float) -> None:
        self._kernel, self._train = kernel, train
        modes = Modes(kernel_matrices(kernel, train.states)[0], GradientFlow(1.0))
        values = modes.eigenvalues + noise
        self._vectors = modes.vectors
        self._values = jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1), 0)

    def __call__(self, b: Array) -> Array:
        scale = self._values if b.ndim == 1 else self._values[:, None]
        return self._vectors @ (scale * (self._vectors.T @ b))

    def cross(self, x: Any) -> operators.KernelOperator:
        """K_xB, stored."""
        nngp, _ = kernel_matrices(self._kernel, x, self._train.states)
        return stored(nngp)

    def __repr__(self) -> str:
        return "eigendecomposition"


class _Products:
    """(K_BB + σ²)⁻¹ by conjugate residuals."""

    columns = _COLUMNS

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Any,
        noise: float,
        tolerance: float,
        show_progress: bool,
    ) -> None:
        self._kernel, self._train, self._tolerance = kernel, train, tolerance
        self._show_progress = show_progress
        self._operator = kernel.operator(train.states, which="nngp")
        if noise:
            self._operator = self._operator.add_diagonal(noise)
        make = getattr(self._operator, "preconditioner", None)
        self._preconditioner = None if make is None else make()

    def __call__(self, b: Array) -> Array:
        return operators.conjugate_residuals(
            self._operator,
            b,
            preconditioner=self._preconditioner,
            tol=self._tolerance,
            show_progress=self._show_progress,
        ).value

    def cross(self, x: Any) -> operators.KernelOperator:
        """K_xB as a product."""
        return self._kernel.operator(x, self._train.states, which="nngp")

    def __repr__(self) -> str:
        return repr(self._operator)

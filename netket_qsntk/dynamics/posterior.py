r"""Bayesian training: the Gaussian process conditioned on the target's amplitudes."""

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.alert import once
from netket_qsntk.dynamics.linear import LARGEST_DENSE, Solver, check_solver
from netket_qsntk.dynamics.matrices import kernel_matrices, product, vector
from netket_qsntk.dynamics.response import GradientFlow
from netket_qsntk.dynamics.settings import check_precision
from netket_qsntk.dynamics.solution import Data
from netket_qsntk.dynamics.training_modes import Modes
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.kernels.base import check_real
from netket_qsntk.operators import Hypercube, KernelOperator, Kronecker, conjugate_residuals
from netket_qsntk.operators.shared import stored
from netket_qsntk.progress import showing, track
from netket_qsntk.spectral import floor_of_levels

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
        solver: ``"levels"``: known modes of a whole basis; ``"dense"``: one eigendecomposition, for any number of
            configurations; ``"products"``: conjugate residuals with the kernel's operator, which is never stored: one
            solution for the mean and one for each configuration of the variance; ``"auto"``: levels where there are,
            else dense up to 12,000 training configurations.
        tolerance: Relative residual of the solutions by products.
        show_progress: Whether bars count products, and the parts of a variance.

    Raises:
        InvalidTrainingError: A negative noise, or ``solver="levels"`` where no modes are known.

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
        train: Data,
        *,
        noise: float = 0.0,
        solver: Solver = "auto",
        tolerance: float = 1e-10,
        show_progress: bool = True,
    ) -> None:
        if not noise >= 0:
            raise InvalidTrainingError(f"noise={noise}: expected a variance >= 0.")
        check_solver(solver)
        check_precision()
        check_real(kernel, "Posterior")
        self.kernel, self.train, self.noise = kernel, train, noise
        self.show_progress = show_progress
        with self._quietly():
            self._inverse = _inverse(kernel, train, noise, solver, tolerance)
            amplitudes = jnp.asarray(train.amplitudes)
            self._weights = self._inverse(amplitudes if kernel.n_parts == 2 else amplitudes.real)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Bars as asked for, and one warning for each cause."""
        with showing(self.show_progress), once():
            yield

    def mean(self, x: np.ndarray) -> Array:
        """Posterior mean of ψ at configurations x (n, sites): (n,), complex for complex ψ."""
        return self._inverse.cross(x).matvec(self._weights)

    def variance(self, x: np.ndarray) -> Array:
        """E|ψ_x - μ_x|² at x, both parts added: (n,)."""
        with self._quietly():
            parts = [jnp.sum(c * s, axis=0) for c, s in self._solved(x)]
        reduction = jnp.concatenate(parts) if parts else jnp.zeros(0)
        return self.kernel.n_parts * jnp.maximum(self.kernel.nngp_diagonal(x) - reduction, 0.0)

    def covariance(self, x: np.ndarray) -> Array:
        """Posterior covariance of one part of ψ between configurations x: (n, n)."""
        cross = self._inverse.cross(x)
        with self._quietly():
            parts = [cross.matvec(s) for _, s in self._solved(x)]
        return self.kernel.nngp(x) - jnp.concatenate(parts, axis=1)

    def _solved(self, x: np.ndarray) -> Iterator[tuple[Array, Array]]:
        """Pairs K_Bx and (K_BB + σ²)⁻¹ K_Bx, some columns at a time."""
        starts = range(0, len(x), self._inverse.columns)
        for start in track(starts, "posterior", unit="part"):
            columns = self.kernel.nngp(self.train.states, x[start : start + self._inverse.columns])
            yield columns, self._inverse(columns)

    def __repr__(self) -> str:
        return (
            f"Posterior({self.kernel!r}, n_train={len(self.train.states)}, noise={self.noise}, "
            f"{self._inverse!r})"
        )


class _Inverse(abc.ABC):
    """(K_BB + σ²)⁻¹, null modes of K_BB left out where there is no noise."""

    columns = 4096
    """Right-hand sides that are solved for together."""

    def __init__(self, kernel: InfiniteWidthKernel, train: Data) -> None:
        self._kernel, self._train = kernel, train

    @abc.abstractmethod
    def __call__(self, b: Array) -> Array:
        """Of a vector (n,) or columns (n, k)."""

    def cross(self, x: np.ndarray) -> KernelOperator:
        """K_xB as a product."""
        return self._kernel.operator(x, self._train.states, which="nngp")


class _Stored(_Inverse):
    """From the eigendecomposition of K_BB."""

    def __init__(self, kernel: InfiniteWidthKernel, train: Data, noise: float) -> None:
        super().__init__(kernel, train)
        modes = Modes(kernel_matrices(kernel, train.states)[0], GradientFlow(1.0))
        self._vectors, self._values = modes.vectors, _reciprocal(modes.eigenvalues + noise)

    def __call__(self, b: Array) -> Array:
        scale = self._values if b.ndim == 1 else self._values[:, None]
        projected = product(self._vectors.T, vector(b))
        return jnp.asarray(product(self._vectors, scale * projected))

    def cross(self, x: np.ndarray) -> KernelOperator:
        """K_xB, stored."""
        return stored(cast(Array, kernel_matrices(self._kernel, x, self._train.states)[0]))

    def __repr__(self) -> str:
        return "eigendecomposition"


class _Levels(_Inverse):
    """From known modes on a whole basis."""

    columns = _COLUMNS

    def __init__(
        self, kernel: InfiniteWidthKernel, train: Data, noise: float, operator: KernelOperator
    ) -> None:
        super().__init__(kernel, train)
        self._modes, self._operator = operator.eigh(), operator
        levels, counts = (np.asarray(t) for t in self._modes.levels())
        known = np.where(levels > floor_of_levels(levels, counts), levels, 0.0)
        self._values = _reciprocal(known + noise)

    def __call__(self, b: Array) -> Array:
        return self._modes.apply(lambda _: self._values, b.T).T

    def __repr__(self) -> str:
        return f"known modes of {self._operator!r}"


class _Products(_Inverse):
    """By conjugate residuals."""

    columns = _COLUMNS

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Data,
        noise: float,
        tolerance: float,
        operator: KernelOperator,
    ) -> None:
        super().__init__(kernel, train)
        self._tolerance = tolerance
        self._operator = operator.add_diagonal(noise) if noise else operator
        self._preconditioner = self._operator.preconditioner()

    def __call__(self, b: Array) -> Array:
        return conjugate_residuals(
            self._operator, b, preconditioner=self._preconditioner, tol=self._tolerance
        ).value

    def __repr__(self) -> str:
        return repr(self._operator)


def _inverse(
    kernel: InfiniteWidthKernel, train: Data, noise: float, solver: Solver, tolerance: float
) -> _Inverse:
    """The way of solving for a structure and a size."""
    large = len(train.states) > LARGEST_DENSE
    if solver == "dense":
        return _Stored(kernel, train, noise)
    operator = kernel.operator(train.states, which="nngp")
    if isinstance(operator, Hypercube | Kronecker) and operator.has_cheap_spectrum:
        return _Levels(kernel, train, noise, operator)
    if solver == "levels":
        raise InvalidTrainingError(
            f"solver='levels': the modes of {operator!r} are not known. Use solver='auto'."
        )
    if solver == "products" or large:
        return _Products(kernel, train, noise, tolerance, operator)
    del operator  # it may hold the matrix
    return _Stored(kernel, train, noise)


def _reciprocal(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, 1 / np.where(values > 0, values, 1), 0)

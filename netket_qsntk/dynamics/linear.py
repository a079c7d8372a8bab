r"""Training of an infinitely wide network on a quantum state: linear, Gaussian, exact at every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.alert import once
from netket_qsntk.dynamics.response import Response
from netket_qsntk.dynamics.settings import Mode, make_response, warn_if_unstable
from netket_qsntk.dynamics.solution import Curves, Data, Losses, Solution
from netket_qsntk.dynamics.solution_dense import DenseSolution
from netket_qsntk.dynamics.solution_levels import LevelSolution
from netket_qsntk.dynamics.solution_products import Estimates, ProductSolution
from netket_qsntk.dynamics.training_modes import Modes, as_steps
from netket_qsntk.errors import InvalidTrainingError, SystemTooLargeError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.kernels.base import check_real
from netket_qsntk.progress import showing

Solver = Literal["auto", "levels", "dense", "products"]
SOLVERS: tuple[Solver, ...] = ("auto", "levels", "dense", "products")

# The dense solution holds three n × n matrices: 3.5 GB at this size.
LARGEST_DENSE = 12_000


class LinearDynamics:
    r"""Full-batch training of an infinitely wide network toward a target, solved (Eqs. 13-18).

    For the loss L = (1/|B|) Σ_B |ψ - ψ_T|², with Θ_BB = VΛVᵀ and displacements a_t(λ) = (1 - r_t(λ))/λ, where
    r_t = (1 - 2ηλ/|B|)^t for gradient descent and e^{-2ηλt/|B|} for its flow, the trained ensemble is a Gaussian
    process ψ(t) = μ(t) + γ(t) with

    .. math:: \mu_x = A_x \psi_{T},\quad
        \operatorname{Var}\gamma_x = K_{xx} - 2A_xK_{Bx} + A_xK_{BB}A_x^T,\quad A_x = \Theta_{xB}V a_t V^T

    for each part; complex ψ has twice that variance. How that is solved is the field ``solution``, chosen by
    structure and size and shown in ``repr``:

    - *levels*: on a whole basis where kernel and covariance share known modes (functions of the Hamming distance on
      all configurations of d spins: d + 1 levels) nothing is diagonalised and nothing is stored, at any size;
    - *dense*: one eigendecomposition (about 10|B|³ operations, 16|B|² bytes) serves both parts, all steps and all
      losses; a data set of m configurations then costs 4m|B|² + 4|B|³ once, and T steps a few products of width T;
    - *products*: Krylov spaces of a kernel that is never stored. L_γ comes from ``n_draws`` random initial functions
      and carries a standard error, as L_μ carries the estimated error of its Krylov space; both are fields of
      :class:`Losses`. Same numbers as dense, to 1e-8 where both run.

    Args:
        kernel: The infinite-width kernel, from :func:`netket_qsntk.kernels.infinite_width`.
        train: Training set B with ``states`` (|B|, sites) and ``amplitudes`` (|B|,), from ``target.split``.
        learning_rate: η of plain gradient descent (or of its flow).
        optimizer: Instead, any optax transformation that is linear and treats all parameters alike; weight decay
            then pulls toward the initial network.
        mode: ``"gd"``: steps are optimiser steps, as a finite network takes them; ``"flow"``: continuous time.
        solver: ``"levels"``, ``"dense"`` or ``"products"``; ``"products"`` takes levels where there are. ``"auto"``:
            levels where there are, else dense up to 12,000 training configurations, else products.
        n_draws: Random initial functions for L_γ, where it is estimated.
        seed: Of these draws.
        tolerance: Relative error of what is iterated.
        max_products: Largest Krylov space.
        show_progress: Whether bars count products and draws; an eigendecomposition is a single call, which cannot
            tell how far it is.

    Steps may be any array, ``jnp.inf`` included. Modes whose eigenvalue is zero to rounding never train; at ∞
    the answer leaves their part of the target unlearned. A mode exactly at the stability limit stays where it
    started (:mod:`netket_qsntk.spectral`).

    Raises:
        NonLinearOptimizerError, InvalidTrainingError: See :mod:`netket_qsntk.dynamics.settings`; an unknown solver,
            or levels where there are none.
        NotConvergedError: At ∞, by products: the kernel is singular, and what never trains was not found.

    Warns:
        UnstableLearningRateWarning: The learning rate is beyond |B|/λ_max.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> train, test = target.split(n_train=12, seed=0)
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        >>> eta = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
        >>> dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=eta)
        >>> losses = dynamics.losses(jnp.array([0, 100, jnp.inf]), train)
        >>> bool(losses.total[0] > losses.total[1] > losses.total[2])
        True
    """

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Data,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: Mode = "gd",
        solver: Solver = "auto",
        n_draws: int = 16,
        seed: int = 0,
        tolerance: float = 1e-9,
        max_products: int = 300,
        show_progress: bool = True,
    ) -> None:
        check_solver(solver)
        check_real(kernel, "LinearDynamics")
        self.kernel, self.train, self.show_progress = kernel, train, show_progress
        self.response = make_response(len(train.states), learning_rate, optimizer, mode)
        self.estimates = Estimates(n_draws, seed, tolerance, max_products)
        with self._quietly():
            self.solution = _solve(kernel, train, self.response, solver, self.estimates)
        warn_if_unstable(self.response, self.solution.largest, len(train.states))

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Bars as asked for, and one warning for each cause."""
        with showing(self.show_progress), once():
            yield

    @property
    def n_draws(self) -> int:
        """Random initial functions for L_γ, where it is estimated."""
        return self.estimates.n_draws

    @n_draws.setter
    def n_draws(self, n_draws: int) -> None:
        self.estimates.n_draws = n_draws

    @property
    def rank(self) -> int | None:
        """Number of modes that train; None where only products are known."""
        return self.solution.rank

    @property
    def modes(self) -> Modes | LevelSolution:
        """What knows the ``eigenvalues`` of Θ_BB, zero where they are rounding, and their ``rank``.

        Raises:
            SystemTooLargeError: Only products are known.
        """
        if isinstance(self.solution, DenseSolution):
            return self.solution.modes
        if isinstance(self.solution, LevelSolution):
            return self.solution
        raise SystemTooLargeError(
            f"The modes are not known where training is solved by {self.solution!r}: use solver='dense'."
        )

    def mean(self, steps: ArrayLike, x: ArrayLike) -> Array:
        """μ_x: (steps, n) complex, at configurations x (n, sites)."""
        with self._quietly():
            return jnp.asarray(self.solution.mean(as_steps(steps), x))

    def variance(self, steps: ArrayLike, x: ArrayLike) -> Array:
        """E|γ_x|²: (steps, n) real, both parts of ψ added. By products each configuration costs a Krylov space."""
        with self._quietly():
            return jnp.asarray(self.solution.variance(as_steps(steps), x))

    def moments(self, steps: float, x: ArrayLike) -> tuple[Array, Array]:
        """(E[ψ], covariance of one part of ψ) at one step, between configurations x: (n,) and (n, n)."""
        (step,) = as_steps(steps)
        with self._quietly():
            mean, covariance = self.solution.moments(float(step), x)
        return jnp.asarray(mean), jnp.asarray(covariance)

    def trained(self, step: float, x: ArrayLike, on_train: ArrayLike, on_x: ArrayLike) -> Array:
        """One network that starts from a function (its values on the training set and on x): (n,) complex."""
        with self._quietly():
            return jnp.asarray(self.solution.trained(float(step), x, on_train, on_x))

    def losses(self, steps: ArrayLike, data: Data) -> Losses:
        """L_μ, L_γ and their sum at given steps on a data set (``train`` itself, or any other).

        Averages over an empty set are nan.
        """
        with self._quietly():
            found = self.solution.losses(as_steps(steps), data)
        return Losses(*map(jnp.asarray, found))

    def curves(self, steps: ArrayLike, test: Data) -> Curves:
        """Losses on the training set and on ``test``, and the fidelity, at given steps.

        ``test`` holds the configurations of the basis that are not in the training set: both together make the
        sums over the basis in the fidelity.
        """
        with self._quietly():
            train, there, fidelity = self.solution.curves(as_steps(steps), test)
        here, elsewhere = (Losses(*map(jnp.asarray, losses)) for losses in (train, there))
        return Curves(here, elsewhere, jnp.asarray(fidelity))

    def __repr__(self) -> str:
        rank = "" if self.rank is None else f", rank={self.rank}"
        return (
            f"LinearDynamics({self.kernel.description}, n_train={len(self.train.states)}{rank}, "
            f"response={type(self.response).__name__}, solution={self.solution!r}, because "
            f"{self.solution.reason})"
        )


def check_solver(solver: str) -> None:
    """Raise unless there is such a solver."""
    if solver not in SOLVERS:
        raise InvalidTrainingError(
            f"solver={solver!r}: expected 'auto', 'levels', 'dense' or 'products'."
        )


def _solve(
    kernel: InfiniteWidthKernel,
    train: Data,
    response: Response,
    solver: Solver,
    estimates: Estimates,
) -> Solution:
    """The way of solving for a structure and a size."""
    n, why_not = len(train.states), ""
    if solver != "dense":
        levels = LevelSolution.find(kernel, train, response)
        if not isinstance(levels, str):
            return levels
        why_not = levels
        if solver == "levels":
            raise InvalidTrainingError(f"solver='levels': {why_not}. Use solver='auto'.")
    if solver == "products":
        return ProductSolution(kernel, train, response, estimates, "it was asked for")
    if solver == "dense":
        return DenseSolution(kernel, train, response, "it was asked for")
    if n <= LARGEST_DENSE:
        return DenseSolution(kernel, train, response, why_not)
    reason = f"{n} configurations are more than {LARGEST_DENSE}, and {why_not}"
    return ProductSolution(kernel, train, response, estimates, reason)

r"""Training of an infinitely wide network on a quantum state: linear, Gaussian, exact at every time."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from netket_qsntk.dynamics.dense import (
    column_dots,
    congruence,
    diagonal,
    gram,
    kernel_matrices,
    matmul,
    matmul_transposed,
    quadratic_form,
    row_dots,
    transpose,
    whole,
)
from netket_qsntk.dynamics.modes import Modes, TimeBasis
from netket_qsntk.dynamics.settings import Mode, make_response, warn_if_unstable
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.text import summary

Solver = Literal["auto", "dense", "products"]

# The dense solution holds three n × n matrices: 3.5 GB at this size.
LARGEST_DENSE = 12_000


class Losses(NamedTuple):
    """Average losses of the ensemble at given steps, each (steps,) (arXiv:2112.00723, Eqs. 16-18)."""

    L_mu: Array
    """Of the mean: (1/n) Σ_x |μ_x - ψ_T(x)|²."""
    L_gamma: Array
    """Of the fluctuations: (1/n) Σ_x E|γ_x|²."""
    L_mu_error: Array | float = 0.0
    """Estimated error of L_μ; 0 where it is exact to rounding."""
    L_gamma_error: Array | float = 0.0
    """Standard error of L_γ over random draws; 0 where it is exact."""

    @property
    def total(self) -> Array:
        """E[L] = L_μ + L_γ."""
        return self.L_mu + self.L_gamma

    def __repr__(self) -> str:
        return summary(self, self._fields)


class Curves(NamedTuple):
    """A whole training run of the ensemble, each (steps,)."""

    train: Losses
    test: Losses
    fidelity: Array
    """E|⟨ψ_T|ψ⟩|² / E⟨ψ|ψ⟩ over the whole basis: the ratio of averages, not the average ratio."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


class LinearDynamics:
    r"""Full-batch training of an infinitely wide network toward a target, solved (Eqs. 13-18).

    For the loss L = (1/|B|) Σ_B |ψ - ψ_T|², with Θ_BB = VΛVᵀ and displacements a_t(λ) = (1 - r_t(λ))/λ, where
    r_t = (1 - 2ηλ/|B|)^t for gradient descent and e^{-2ηλt/|B|} for its flow, the trained ensemble is a Gaussian
    process ψ(t) = μ(t) + γ(t) with

    .. math:: \mu_x = A_x \psi_{T},\quad
        \operatorname{Var}\gamma_x = K_{xx} - 2A_xK_{Bx} + A_xK_{BB}A_x^T,\quad A_x = \Theta_{xB}V a_t V^T

    for each part; complex ψ has twice that variance. One eigendecomposition (about 10|B|³ operations,
    16|B|² bytes) serves both parts, all steps and all losses; a data set of m configurations then costs
    4m|B|² + 4|B|³ once, and T steps a few products of width T.

    Args:
        kernel: The infinite-width kernel, from :func:`netket_qsntk.kernels.infinite_width`.
        train: Training set B with ``states`` (|B|, sites) and ``amplitudes`` (|B|,), from ``target.split``.
        learning_rate: η of plain gradient descent (or of its flow).
        optimizer: Instead, any optax transformation that is linear and treats all parameters alike; weight decay
            then pulls toward the initial network.
        mode: ``"gd"``: steps are optimiser steps, as a finite network takes them; ``"flow"``: continuous time.
        solver: ``"dense"``: the eigendecomposition above; ``"products"``: nothing but products with the kernel
            (:class:`~netket_qsntk.dynamics.ProductDynamics`, whose options can be given here); ``"auto"``: dense
            up to 12,000 training configurations.
        show_progress: Whether bars count the products of a solution by products; the dense one is a single
            decomposition, which cannot tell how far it is.

    Steps may be any array, ``jnp.inf`` included. Modes whose eigenvalue is zero to rounding never train; at ∞
    the answer leaves their part of the target unlearned.

    Raises:
        NonLinearOptimizerError, InvalidTrainingError: See :mod:`netket_qsntk.dynamics.settings`.

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

    def __new__(
        cls, kernel: InfiniteWidthKernel, train: Any, *, solver: Solver = "auto", **options: Any
    ) -> "LinearDynamics":
        """The dense solution, or for large training sets the one that stores no kernel."""
        if solver not in ("auto", "dense", "products"):
            raise InvalidTrainingError(
                f"solver={solver!r}: expected 'auto', 'dense' or 'products'."
            )
        if solver == "products" or (solver == "auto" and len(train.states) > LARGEST_DENSE):
            from netket_qsntk.dynamics.large import ProductDynamics  # late: it is a subclass

            cls = ProductDynamics
        return super().__new__(cls)

    def __init__(
        self,
        kernel: InfiniteWidthKernel,
        train: Any,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: Mode = "gd",
        solver: Solver = "auto",
        show_progress: bool = True,
    ) -> None:
        self.kernel = kernel
        self.train = train
        n = len(train.states)
        response = make_response(n, learning_rate, optimizer, mode)
        nngp, ntk = kernel_matrices(kernel, train.states)
        self.modes = Modes(ntk, response)
        del ntk
        warn_if_unstable(response, float(self.modes.eigenvalues[-1]), n)
        self._nngp_modes = congruence(self.modes.vectors, nngp)
        amplitudes = jnp.asarray(train.amplitudes)
        self._amplitude_modes = self.modes.project(amplitudes)
        self._target_modes, self._unreachable = self._amplitude_modes, jnp.zeros(())
        if kernel.n_parts == 1:  # real ψ: the imaginary part of the target is out of reach
            self._target_modes = self._amplitude_modes.real
            self._unreachable = jnp.sum(amplitudes.imag**2)
        self._known: list[_Elsewhere] = []

    def mean(self, steps: Any, x: Any) -> Array:
        """μ_x: (steps, n) complex, at configurations x (n, sites)."""
        _, ntk = kernel_matrices(self.kernel, x, self.train.states)
        g = ntk @ self.modes.vectors
        return (self.modes.displacements(steps) * self._target_modes[None, :]) @ g.T + 0j

    def variance(self, steps: Any, x: Any) -> Array:
        """E|γ_x|²: (steps, n) real, both parts of ψ added."""
        nngp, ntk = kernel_matrices(self.kernel, x, self.train.states)
        g, h = ntk @ self.modes.vectors, nngp @ self.modes.vectors
        k_xx = self.kernel.nngp_diagonal(x)
        rows = []
        for a in self.modes.displacements(steps):
            ga = g * a
            moved = row_dots(ga, ga @ self._nngp_modes - 2 * h)
            rows.append(self.kernel.n_parts * jnp.maximum(k_xx + moved, 0.0))
        return jnp.stack(rows)

    def moments(self, steps: float, x: Any) -> tuple[Array, Array]:
        """(E[ψ], covariance of one part of ψ) at one step, between configurations x: (n,) and (n, n)."""
        nngp, ntk = kernel_matrices(self.kernel, x, self.train.states)
        a = self.modes.displacements(steps)[0]
        moved = (ntk @ self.modes.vectors) * a
        cross = matmul_transposed(moved, nngp @ self.modes.vectors)
        change = matmul_transposed(moved @ self._nngp_modes, moved) - cross - transpose(cross)
        prior, _ = kernel_matrices(self.kernel, x)
        return moved @ self._target_modes + 0j, whole(prior + change)

    def losses(self, steps: Any, data: Any) -> Losses:
        """L_μ, L_γ and their sum at given steps on a data set (``train`` itself, or any other).

        Averages over an empty set are nan.
        """
        if data is self.train:
            sums = self.modes.square_sums(steps, self._train_weights())
            return self._averages(self._train_sums(sums), data)
        basis = self.modes.time_basis(steps)
        return self._averages(self._elsewhere(data).sums(basis), data)

    def curves(self, steps: Any, test: Any) -> Curves:
        """Losses on the training set and on ``test``, and the fidelity, at given steps.

        ``test`` holds the configurations of the basis that are not in the training set: both together make the
        sums over the basis in the fidelity.
        """
        sums = self.modes.square_sums(steps, self._train_weights())
        basis = self.modes.time_basis(steps)
        elsewhere = self._elsewhere(test)
        here, there = self._train_sums(sums), elsewhere.sums(basis)
        overlap, variance = elsewhere.overlap(basis)
        # E|ψ - ψ_T|² = E⟨ψ|ψ⟩ + 1 - 2 Re E⟨ψ_T|ψ⟩
        norm = here.total + there.total - 1 + 2 * overlap.real
        fidelity = (jnp.abs(overlap) ** 2 + variance) / norm
        return Curves(self._averages(here, self.train), self._averages(there, test), fidelity)

    def _train_weights(self) -> Array:
        prior = self.kernel.n_parts * diagonal(self._nngp_modes)
        return jnp.stack([jnp.abs(self._target_modes) ** 2, prior], axis=1)

    def _train_sums(self, sums: Array) -> Losses:
        return Losses(sums[:, 0] + self._unreachable, sums[:, 1])

    @staticmethod
    def _averages(sums: Losses, data: Any) -> Losses:
        n = len(data.states) or jnp.nan
        return Losses(sums.L_mu / n, sums.L_gamma / n)

    def _elsewhere(self, data: Any) -> "_Elsewhere":
        for known in self._known:
            if known.data is data:
                return known
        self._known = [_Elsewhere(self, data), *self._known[:1]]
        return self._known[0]

    def __repr__(self) -> str:
        return (
            f"LinearDynamics({self.kernel!r}, n_train={len(self.train.states)}, rank={self.modes.rank}, "
            f"response={type(self.modes.response).__name__})"
        )


class _Elsewhere:
    """Sums over another set X, from Θ_XB V and the variance's quadratic form in a_t summed over X."""

    def __init__(self, dynamics: LinearDynamics, data: Any) -> None:
        d = self._dynamics = dynamics
        self.data = data
        v = d.modes.vectors
        nngp, ntk = kernel_matrices(d.kernel, data.states, d.train.states)
        self._g, h = matmul(ntk, v), matmul(nngp, v)
        del nngp, ntk
        self._amplitudes = jnp.asarray(data.amplitudes)
        self._prior = d.kernel.nngp_diagonal(data.states).sum()
        self._cross = column_dots(self._g, h)
        self._quadratic = gram(self._g) * d._nngp_modes
        self._h_overlap = h.T @ self._amplitudes

    def sums(self, basis: TimeBasis) -> Losses:
        """n L_μ and n L_γ, n the size of X."""
        d = self._dynamics
        nodes = (basis.nodes * d._target_modes[None, :]) @ self._g.T
        l_mu = basis.square_distance(nodes, self._amplitudes)
        moved = quadratic_form(basis.nodes, self._quadratic, basis.coefficients)
        linear = basis.coefficients @ (basis.nodes @ self._cross)
        l_gamma = d.kernel.n_parts * jnp.maximum(self._prior - 2 * linear + moved, 0.0)
        return Losses(l_mu, l_gamma)

    def overlap(self, basis: TimeBasis) -> tuple[Array, Array]:
        """(E⟨ψ_T|ψ⟩, Var⟨ψ_T|ψ⟩), ψ_T on B and X together: complex and real (steps,)."""
        d = self._dynamics
        c, w = d._amplitude_modes, self._amplitudes
        shift = d.modes.eigenvalues * c + self._g.T @ w
        mean = basis.coefficients @ (basis.nodes @ (d._target_modes * shift.conj()))
        # ⟨ψ_T|γ⟩ = w·f_X + (V u)·f_B with u = c - a·shift, conjugated: a Gaussian linear form of f.
        prior = _quadratic_mean(d.kernel, self.data.states, w)
        kv, hw = d._nngp_modes, self._h_overlap
        constant = prior + 2 * jnp.vdot(c, hw).real + jnp.vdot(c, kv @ c).real
        linear = -2 * (basis.nodes @ ((shift.conj() * (hw + kv @ c)).real))
        moved = sum(
            quadratic_form(basis.nodes * part[None, :], kv, basis.coefficients)
            for part in (shift.real, shift.imag)
        )
        variance = constant + basis.coefficients @ linear + moved
        return mean, d.kernel.n_parts * jnp.maximum(variance, 0.0)


def _quadratic_mean(kernel: InfiniteWidthKernel, x: Any, w: Array) -> Array:
    """w† K(x, x) w, some rows of K at a time."""
    rows = range(0, len(x), 2048)
    return sum(
        (jnp.vdot(w[i : i + 2048], kernel.nngp(x[i : i + 2048], x) @ w).real for i in rows),
        start=jnp.zeros(()),
    )

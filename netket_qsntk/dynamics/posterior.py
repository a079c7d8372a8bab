r"""Bayesian training: the Gaussian process conditioned on the target's amplitudes."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from netket_qsntk.dynamics.modes import Modes
from netket_qsntk.dynamics.response import GradientFlow
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel


class Posterior:
    r"""NNGP posterior given ψ_T on the training set.

    .. math:: \mu_x = K_{xB}(K_{BB} + \sigma^2)^{-1}\psi_T,\qquad
        C_{xy} = K_{xy} - K_{xB}(K_{BB} + \sigma^2)^{-1}K_{By}

    for each part of ψ. It is what an infinitely wide network gives when only its readout is trained to the end,
    averaged over initialisations. Null modes of K_BB (to rounding) are not inverted.

    Args:
        kernel: The infinite-width kernel; its NNGP is used.
        train: Training set with ``states`` and ``amplitudes``.
        noise: Variance σ² of independent noise on the observed amplitudes, for each part.

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

    def __init__(self, kernel: InfiniteWidthKernel, train: Any, *, noise: float = 0.0) -> None:
        if not noise >= 0:
            raise InvalidTrainingError(f"noise={noise}: expected a variance >= 0.")
        self.kernel, self.train, self.noise = kernel, train, noise
        self._modes = Modes(kernel.nngp(train.states), GradientFlow(1.0))
        eigenvalues = self._modes.eigenvalues + noise
        self._inverse = jnp.where(
            eigenvalues > 0, 1 / jnp.where(eigenvalues > 0, eigenvalues, 1), 0
        )
        amplitudes = jnp.asarray(train.amplitudes)
        self._target = self._modes.project(amplitudes if kernel.n_parts == 2 else amplitudes.real)

    def _cross(self, x: Any) -> Array:
        return self.kernel.nngp(x, self.train.states) @ self._modes.vectors

    def mean(self, x: Any) -> Array:
        """Posterior mean of ψ at configurations x (n, sites): (n,), complex for complex ψ."""
        return self._cross(x) @ (self._inverse * self._target)

    def variance(self, x: Any) -> Array:
        """E|ψ_x - μ_x|² at x, both parts added: (n,)."""
        reduction = jnp.square(self._cross(x)) @ self._inverse
        return self.kernel.n_parts * jnp.maximum(self.kernel.nngp_diagonal(x) - reduction, 0.0)

    def covariance(self, x: Any) -> Array:
        """Posterior covariance of one part of ψ between configurations x: (n, n)."""
        cross = self._cross(x)
        return self.kernel.nngp(x) - (cross * self._inverse) @ cross.T

    def __repr__(self) -> str:
        return f"Posterior({self.kernel!r}, n_train={len(self.train.states)}, noise={self.noise})"

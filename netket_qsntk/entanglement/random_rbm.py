r"""Random restricted Boltzmann machines of finite width, whose averages are closed forms too.

RBMs with independent complex Gaussian weights are the random network states of Sun, Nebabu, Han, Flynn and Qi,
`Phys. Rev. B 106, 115138 (2022) <https://arxiv.org/abs/2203.00020>`_. Their inputs θ are circular, so that with M
units and σ = σ_w every average is a power,

.. math:: E \prod_{k=1}^n \psi(x_k)\,\psi^*(y_k)
    = \Big[2^{-2n} \sum_{\tau\tau'=\pm1} e^{\sigma^2 \sum_{kl} \tau_k \tau'_l\, x_k\cdot y_l/d}\Big]^M .

At weak coupling and many units log ψ is Gaussian with equal parts of covariance (M σ⁴/4)(x·y/d)²: a point of the
diagram of :func:`~netket_qsntk.entanglement.entropy_density`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from netket_qsntk.entanglement.occupations import log_binomials
from netket_qsntk.entanglement.orders import check_log_base
from netket_qsntk.entanglement.partition import check_partition
from netket_qsntk.entanglement.saddle import EntropyDensity, check_fraction
from netket_qsntk.entanglement.two_replicas import peaks_of_one, peaks_of_two
from netket_qsntk.errors import EnsembleError


@dataclass(frozen=True)
class RandomRBM:
    r"""ψ(x) = Π_j cosh(Σ_i W_ij x_i) of d spins ±1 and density · d hidden units, W_ij complex with E|W_ij|² = σ_w²/d.

    NetKet's ``RBM(alpha=density, param_dtype=complex)`` without biases, its kernel drawn with that variance.

    Args:
        density: Hidden units for each spin, > 0.
        sigma_w: σ_w > 0.

    Raises:
        EnsembleError: Numbers that are not positive and finite.

    Example:
        >>> rbm = RandomRBM(density=2.0, sigma_w=0.6)
        >>> round(rbm.annealed_renyi(200, range(100)) / 200, 4), round(rbm.entropy_density().value, 4)
        (0.0769, 0.076)
    """

    density: float
    sigma_w: float

    def __post_init__(self) -> None:
        for name, value in (("density", self.density), ("sigma_w", self.sigma_w)):
            if not 0 < value < np.inf:
                raise EnsembleError(f"{name}={value!r}: expected a positive finite number.")

    @property
    def variance(self) -> float:
        """Variance of log|ψ|, and of the phase, for each spin: density · σ_w⁴/4 at weak coupling."""
        return self.density * self.sigma_w**4 / 4

    def annealed_renyi(
        self, n_sites: int, partition: Sequence[int], *, log_base: float = math.e
    ) -> float:
        """-log(E Tr ρ̃² / E (Tr ρ̃)²) of ``n_sites`` spins, exact at their number of hidden units.

        Args:
            n_sites: d.
            partition: Sites of A.
            log_base: Base of the logarithm; e gives nats.

        Raises:
            PartitionError: See :func:`check_partition`.
            EnsembleError: density · d is no whole number of units.
        """
        check_log_base(log_base)
        d = n_sites
        d_a = len(check_partition(partition, d))
        units = round(self.density * d)
        if not math.isclose(units, self.density * d, rel_tol=1e-9) or units < 1:
            raise EnsembleError(
                f"density={self.density} makes {self.density * d} hidden units of {d} spins; expected a whole number."
            )
        r, s = np.arange(d_a + 1)[:, None] / d, np.arange(d - d_a + 1) / d
        ways = log_binomials(d_a)[:, None] + log_binomials(d - d_a)
        moment = logsumexp(ways + units * self._log_unit(r, s))
        norm = logsumexp(log_binomials(d) + units * self._log_unit(0.0, np.arange(d + 1) / d))
        return float(norm - moment) / math.log(log_base)

    def entropy_density(self, fraction: float = 0.5) -> EntropyDensity:
        """The annealed Rényi-2 entropy for each spin of infinitely many, as for log-normal ensembles.

        Args:
            fraction: Share α of the spins in A.

        Raises:
            EnsembleError: A fraction outside (0, 1).
        """
        check_fraction(fraction)
        norm = peaks_of_one(lambda x: self.density * self._log_unit(0.0, x))
        moment = peaks_of_two(
            lambda x, y: self.density * self._log_unit(fraction * x, (1 - fraction) * y), fraction
        )
        return EntropyDensity.of_two(moment, norm, fraction)

    def _log_unit(self, r: np.ndarray | float, s: np.ndarray | float) -> np.ndarray:
        """log of the average of one unit over two replicas that differ in shares r and s of all spins."""
        a, b = (np.abs(2 * self.sigma_w**2 * (1 - 2 * np.asarray(h))) for h in (r, s))
        # log(1/2 + cosh(a) cosh(b)/2), without overflow.
        return np.asarray(
            np.logaddexp(
                0.0, a + b + np.log1p(np.exp(-2 * a)) + np.log1p(np.exp(-2 * b)) - math.log(4)
            )
            - math.log(2)
        )

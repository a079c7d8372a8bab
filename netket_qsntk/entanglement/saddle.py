r"""Infinitely many spins: entropy densities of log-normal ensembles from saddle points.

With variances of log|ψ| and of the phase that grow with the number of spins, Var f₁ = d v₁ and Var f₂ = d v₂, and a
kernel that is a function of the overlap, K(x, y)/K(x, x) = κ(1 - 2h/d) as for every network of these models,
log E Tr ρ̃ⁿ is d times the largest value of

.. math:: \sum_{P} \big[\alpha\, s(p^A) + (1-\alpha)\, s(p^B)\big] + \text{exponent}(\text{mean distances}),

s the entropy of a distribution over replica patterns. Variances that do not grow leave an entropy that does not grow
either: an area law. The other extreme is the volume law of random states, α ln 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from netket_qsntk.entanglement.ensembles import HammingEnsemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.mean_field import saddles
from netket_qsntk.entanglement.orders import check_replicas
from netket_qsntk.entanglement.overlap_kernel import (
    OverlapKernel,
    OverlapSource,
    kernel_profile,
    overlap_kernel,
)
from netket_qsntk.entanglement.overlap_sampling import Joint, potential_of
from netket_qsntk.entanglement.replica_sums import moment_terms, norm_terms
from netket_qsntk.entanglement.replicas import site_classes
from netket_qsntk.entanglement.two_replicas import Peak, peaks_of_one, peaks_of_two
from netket_qsntk.errors import EnsembleError

# Densities below this are rounding of the saddle point.
_AREA = 1e-7


@dataclass(frozen=True, eq=False)
class EntropyDensity:
    """What :func:`entropy_density` finds.

    Attributes:
        value: Annealed Rényi entropy for each spin of the whole system, in nats.
        law: ``"area"`` (the density is zero) or ``"volume"``.
        maximum: The density of the largest entropy, min(α, 1 - α) ln 2.
        distances_a: Mean distance of each pair of replicas in A, as a fraction of its sites, (n, n); 1/2 is unlike.
        distances_b: Likewise in B.
        competitors: The log sums of other local maxima less that of the largest, for each spin; a first-order
            transition is where one of them reaches zero.
    """

    value: float
    law: str
    maximum: float
    distances_a: np.ndarray
    distances_b: np.ndarray
    competitors: np.ndarray

    @classmethod
    def of_two(cls, moment: list[Peak], norm: list[Peak], fraction: float) -> "EntropyDensity":
        """From the maxima of sums over two replicas, the largest first."""
        maxima = [
            Maximum(p.value, (_matrix([0, p.x, 0], 2), _matrix([0, p.y, 0], 2))) for p in moment
        ]
        return cls.of_maxima(maxima, norm[0].value, fraction, 2)

    @classmethod
    def of_maxima(
        cls, moment: list["Maximum"], norm: float, fraction: float, n: int
    ) -> "EntropyDensity":
        """From the maxima of the sum over n replicas, the largest first, and that of the norm."""
        value = max((norm - moment[0].log_sum) / (n - 1), 0.0)
        return cls(
            value=value,
            law="volume" if value > _AREA else "area",
            maximum=float(min(fraction, 1 - fraction) * np.log(2)),
            distances_a=moment[0].distances[0],
            distances_b=moment[0].distances[1],
            competitors=np.array([s.log_sum - moment[0].log_sum for s in moment[1:]]),
        )

    def __repr__(self) -> str:
        return f"EntropyDensity({self.value:.6g} of at most {self.maximum:.6g}, {self.law} law)"


class Maximum(NamedTuple):
    """One local maximum of a sum over n replicas."""

    log_sum: float
    """Its logarithm for each spin."""
    distances: tuple[np.ndarray, np.ndarray]
    """Mean distances of the replicas in A and in B, (n, n)."""


def extensive_ensemble(
    kernel: OverlapSource, n_sites: int, *, log_modulus: float, phase: float
) -> LogNormalEnsemble:
    """The log-normal ensemble of d spins whose log|ψ| and phase have variances d · ``log_modulus`` and d · ``phase``.

    Args:
        kernel: As in :func:`kernel_profile`.
        n_sites: d.
        log_modulus: Variance of log|ψ| for each spin, >= 0.
        phase: Variance of the phase for each spin, >= 0.

    Example:
        >>> extensive_ensemble(lambda c: c**2, 100, log_modulus=0.0, phase=0.2).n_sites
        100
    """
    _check(log_modulus, phase)
    profile = n_sites * kernel_profile(kernel, n_sites)
    return LogNormalEnsemble.hamming(log_modulus * profile, phase * profile)


def entropy_density(
    kernel: OverlapSource, *, log_modulus: float, phase: float, fraction: float = 0.5, n: int = 2
) -> EntropyDensity:
    r"""Annealed Rényi entropy for each spin of infinitely many, normalised as the ratio of moments.

    The limit of ``annealed_renyi(extensive_ensemble(kernel, d, …), …)/d``, approached as 1/d.

    Args:
        kernel: A model or kernel of inner products (depth enters through its layer recursion), or a function of the
            overlap in [-1, 1]; its scale does not matter.
        log_modulus: Variance of log|ψ| for each spin.
        phase: Variance of the phase for each spin.
        fraction: Share α of the spins in A.
        n: 2, …, 6. At n = 2 the whole square of overlaps is looked at; from n = 3 on maxima are found from many
            guesses (fewer at 5 and 6).

    Raises:
        EnsembleError: Variances that are negative or both zero, a fraction outside (0, 1), another kind of kernel.

    Example:
        >>> entropy_density(lambda c: c**8, log_modulus=0.0, phase=2.0).law
        'volume'
        >>> entropy_density(lambda c: c, log_modulus=0.1, phase=0.0).law
        'area'
    """
    n = check_replicas(n)
    _check(log_modulus, phase)
    check_fraction(fraction)
    kappa = overlap_kernel(kernel)
    if n == 2:
        return _of_two(kappa, log_modulus, phase, fraction)
    return _of_many(kappa, log_modulus, phase, fraction, n)


def _of_two(
    kappa: OverlapKernel, log_modulus: float, phase: float, fraction: float
) -> EntropyDensity:
    def at(h: np.ndarray) -> np.ndarray:
        return kappa(1 - 2 * h)

    def exponent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        in_a, in_b = fraction * x, (1 - fraction) * y
        single, both = at(in_a) + at(in_b), at(in_a + in_b)
        return np.asarray(2 * log_modulus * (1 + both + single) - 2 * phase * (1 + both - single))

    norm = peaks_of_one(lambda x: 4 * log_modulus * (1 + at(x)))
    return EntropyDensity.of_two(peaks_of_two(exponent, fraction), norm, fraction)


def _of_many(
    kappa: OverlapKernel, log_modulus: float, phase: float, fraction: float, n: int
) -> EntropyDensity:
    """By self-consistent fields from many guesses."""
    gamma, relation = log_modulus + phase, log_modulus - phase
    a, b, f, g = (np.array(column) for column in zip(*moment_terms(n), strict=True))
    column, h = (np.array(c) for c in zip(*norm_terms(n), strict=True))
    (classes,) = site_classes(HammingEnsemble(np.ones(3)), range(1), n)
    shares = (fraction, 1 - fraction)
    parts = [[classes._replace(n_sites=share)] for share in shares]

    def joint(columns: tuple[np.ndarray, ...], factors: np.ndarray) -> Joint:
        return Joint(
            lambda x: kappa(1 - 2 * x), lambda x: -2 * kappa.slope(1 - 2 * x), columns, factors
        )

    moments = joint((a.astype(int), b.astype(int)), f * gamma + g * relation)
    norms = joint((column.astype(int),), h * (gamma + relation))
    found = saddles(parts, potential_of([moments]), n, alike=-1.0)
    whole = [[classes._replace(n_sites=1.0)]]
    norm = saddles(whole, potential_of([norms]), n, alike=-1.0)[0].log_sum
    maxima = [
        Maximum(s.log_sum, (_matrix(s.sums[0] / shares[0], n), _matrix(s.sums[1] / shares[1], n)))
        for s in found
    ]
    return EntropyDensity.of_maxima(maxima, norm, fraction, n)


def _matrix(sums: np.ndarray | Sequence[float], n: int) -> np.ndarray:
    matrix = np.zeros((n, n))
    upper = np.triu_indices(n)
    matrix[upper] = sums
    return matrix + np.triu(matrix, 1).T


def check_fraction(fraction: float) -> None:
    """Refuse anything but a share of the spins in (0, 1)."""
    if not 0 < fraction < 1:
        raise EnsembleError(
            f"fraction={fraction!r}: expected a share of the spins in A, in (0, 1)."
        )


def _check(log_modulus: float, phase: float) -> None:
    for name, value in (("log_modulus", log_modulus), ("phase", phase)):
        if not 0 <= value < np.inf:
            raise EnsembleError(
                f"{name}={value!r}: expected a variance for each spin, finite and >= 0."
            )
    if log_modulus == phase == 0:
        raise EnsembleError(
            "log_modulus and phase are both zero: every wave function is one constant."
        )

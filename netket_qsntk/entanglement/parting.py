r"""Where annealed averages of a random network's weights stop describing typical networks."""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load when first used
from scipy.special import logsumexp

from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.occupations import log_binomials
from netket_qsntk.entanglement.orders import check_whole
from netket_qsntk.entanglement.replica_sums import norm_exponent
from netket_qsntk.entanglement.replicas import fillings, site_classes
from netket_qsntk.errors import EnsembleError

# An average of Σ|ψ|^{2n} whose standard deviation over networks is its mean has parted from the typical one.
_PARTED = math.log(2)


@dataclass(frozen=True, eq=False)
class Parting:
    """Where annealed and typical participation part: what :func:`parting` finds.

    Attributes:
        order: n.
        log_fluctuation: log(E Z²/(E Z)²) of Z = Σ_x |ψ|^{2n}, common factors left out: zero where it averages itself.
        parted: Whether that is beyond log 2, a standard deviation over networks as large as the mean.
        scale: The factor on the covariance at which it reaches log 2; inf where it never does.
        freezing_scale: The factor at which the annealed entropy of the dominating configurations vanishes: no network
            can follow the annealed average beyond. The typical network freezes between the two.
        log_overlaps: log of the weight of each Hamming distance between two replicas of |ψ|^{2n}, normalised,
            (d + 1,); None for kernels that are no function of it.
    """

    order: int
    log_fluctuation: float
    parted: bool
    scale: float
    freezing_scale: float
    log_overlaps: np.ndarray | None

    def __repr__(self) -> str:
        return (
            f"Parting(order={self.order}, parted={self.parted}, log_fluctuation={self.log_fluctuation:.4g}, "
            f"scale={self.scale:.4g}, freezing_scale={self.freezing_scale:.4g})"
        )


def parting(ensemble: LogNormalEnsemble, n: int = 2) -> Parting:
    r"""The point at which annealed averages of the participation of order n stop describing typical networks.

    Two replicas of the weights |ψ|^{2n} of one network are at a distance h with weight

    .. math:: 2^{-d}\,\binom dh\, e^{4n^2 [K_1(h) - \bar K_1]} ,

    whose sum is E Z²/(E Z)²; K̄₁, the mean over all pairs, is the variance of a common factor of a network, which
    cancels from p. While the weight sits at d/2 the sum is one and Z averages itself. It grows with the scale of K₁
    until the replicas are found at small distances: on the same few configurations.

    Args:
        ensemble: A log-normal ensemble; only the covariance of log|ψ| matters.
        n: Order, 1, 2, 3, …; 1 is the norm itself.

    Raises:
        EnsembleError: A Gaussian ensemble.
        EntropyOrderError: ``n`` is no whole number >= 1.

    Example:
        >>> parting(LogNormalEnsemble.hamming(0.02 * 0.9 ** np.arange(101))).parted
        False
    """
    if not isinstance(ensemble, LogNormalEnsemble):
        raise EnsembleError(
            "parting is a question to log-normal ensembles: |ψ|² of Gaussian ones has fluctuations of order one only."
        )
    n = check_whole(n, "parting")
    fluctuation = _Fluctuation(ensemble, n)
    now = fluctuation(1.0)
    if fluctuation.own <= 0:
        return Parting(n, now, False, math.inf, math.inf, fluctuation.log_overlaps)
    freezing = fluctuation.log_states / (2 * n**2 * fluctuation.own)
    high = freezing
    while fluctuation(high) < _PARTED and high < 1e6 * freezing:
        high *= 2
    scale = math.inf
    if fluctuation(high) >= _PARTED:
        scale = float(
            scipy.optimize.brentq(lambda s: fluctuation(s) - _PARTED, 0.0, high, xtol=1e-12 * high)
        )
    return Parting(n, now, now > _PARTED, scale, freezing, fluctuation.log_overlaps)


class _Fluctuation:
    """log E Z²/(E Z)² of Z = Σ|ψ|^{2n} as a function of the scale of the covariance."""

    def __init__(self, ensemble: LogNormalEnsemble, n: int) -> None:
        fields = ensemble.fields
        if isinstance(fields, DenseEnsemble):
            relation = 0.0 if fields.relation is None else fields.relation.real
            k = (fields.covariance.real + relation) / 2
            weight = np.zeros(len(k)) if ensemble.reference is None else ensemble.reference.real
            single = 2 * n * weight - logsumexp(2 * n * weight)
            self.log_weights = (single[:, None] + single).ravel()
            own = np.diag(k)
            exponent = (own[:, None] + own + 2 * k).ravel()
            self.own = float(np.exp(single) @ own)
            self.single = np.diag(k), single
        else:
            two = fillings(site_classes(fields, range(fields.n_sites), 2), 2, merge=False)
            one = fillings(site_classes(fields, range(fields.n_sites), 1), 1, merge=False)
            single = one.log_multiplicity - logsumexp(one.log_multiplicity)
            self.log_weights = two.log_multiplicity - logsumexp(two.log_multiplicity)
            # Σ f_kl (Γ + C) = 2 Σ_kl K₁.
            exponent = norm_exponent(fields, two.sums, 2) / 2
            diagonal = norm_exponent(fields, one.sums, 1) / 2
            self.single = diagonal, single
            self.own = float(np.exp(single) @ diagonal)
        pair_mean = float(np.exp(self.log_weights) @ exponent) / 2 - self.own
        self.factor = 2 * n**2
        self.exponent = exponent
        self.common = pair_mean
        self.own -= self.common
        self.log_states = log_states(fields)
        self.log_overlaps = None
        if isinstance(fields, HammingEnsemble):
            k = fields.covariance if fields.is_proper else 2 * fields.kernels[0]
            logs = log_binomials(fields.n_sites) + 2 * n**2 * k
            self.log_overlaps = logs - logsumexp(logs)

    def __call__(self, scale: float) -> float:
        diagonal, single = self.single
        second = logsumexp(self.log_weights + self.factor * scale * self.exponent)
        first = logsumexp(single + self.factor * scale * diagonal)
        return float(second - 2 * first - 2 * self.factor * scale * self.common)


def log_states(fields: HammingEnsemble | ProductEnsemble | DenseEnsemble) -> float:
    """log of the number of configurations."""
    if isinstance(fields, HammingEnsemble):
        return fields.n_sites * math.log(2)
    if isinstance(fields, DenseEnsemble):
        return math.log(len(fields.covariance))
    return float(sum(math.log(len(kappa)) for kappa in fields.kernels[0].sites))

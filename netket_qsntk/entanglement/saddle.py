r"""Infinitely many spins: entropy densities of log-normal ensembles from saddle points.

With variances of log|ψ| and of the phase that grow with the number of spins, Var f₁ = d v₁ and Var f₂ = d v₂, and a
kernel that is a function of the overlap, K(x, y)/K(x, x) = κ(1 - 2h/d) as for every network of these models,
log E Tr ρ̃ⁿ is d times the largest value of

.. math:: \sum_{P} \big[\alpha\, s(p^A) + (1-\alpha)\, s(p^B)\big] + \text{exponent}(\text{mean distances}),

s the entropy of a distribution over replica patterns. Variances that do not grow leave an entropy that does not grow
either: an area law. The other extreme is the volume law of random states, α ln 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import netket as nk
import numpy as np

from netket_qsntk.entanglement.ensembles import HammingEnsemble
from netket_qsntk.entanglement.from_models import ensemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.mean_field import saddles
from netket_qsntk.entanglement.overlap_sampling import (
    Joint,
    moment_joints,
    norm_joints,
    potential_of,
)
from netket_qsntk.entanglement.replicas import site_classes
from netket_qsntk.entanglement.wick import check_replicas
from netket_qsntk.errors import EnsembleError
from netket_qsntk.kernels import DotProductKernel, infinite_width

# Distances at which the kernel is looked at; between them it is a spline in the angle.
_POINTS = 400
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
        competitors: The other saddle points' log sums less that of the largest, for each spin; a first-order
            transition is where one of them reaches zero.
    """

    value: float
    law: str
    maximum: float
    distances_a: np.ndarray
    distances_b: np.ndarray
    competitors: np.ndarray

    def __repr__(self) -> str:
        return f"EntropyDensity({self.value:.6g} of at most {self.maximum:.6g}, {self.law} law)"


def kernel_profile(kernel: Any, n_sites: int = _POINTS) -> np.ndarray:
    """κ at the distances 0, …, d: the NNGP between spins over its value at distance zero, (d + 1,).

    Args:
        kernel: A model or kernel of inner products, or a function of the overlap c = 1 - 2h/d in [-1, 1].
        n_sites: d.

    Raises:
        EnsembleError: The kernel is no function of the Hamming distance.

    Example:
        >>> kernel_profile(lambda c: c**2, 4).tolist()
        [1.0, 0.25, 0.0, 0.25, 1.0]
    """
    overlaps = 1 - 2 * np.arange(n_sites + 1) / n_sites
    if isinstance(kernel, Callable) and not _is_model(kernel):  # type: ignore[arg-type]
        table = np.asarray(kernel(overlaps), dtype=float)
    else:
        found = ensemble(infinite_width(kernel), nk.hilbert.Spin(0.5, int(n_sites)))
        if isinstance(found, HammingEnsemble):
            table = found.covariance
        elif isinstance(infinite_width(kernel), DotProductKernel):
            x = np.where(np.arange(n_sites) < np.arange(n_sites + 1)[:, None], -1.0, 1.0)
            table = np.asarray(infinite_width(kernel).nngp(x[:1], x)[0])
        else:
            raise EnsembleError(f"{kernel!r} is no function of the Hamming distance between spins.")
    if table.shape != overlaps.shape or not np.all(np.isfinite(table)) or table[0] <= 0:
        raise EnsembleError(
            f"kernel_profile: expected finite values at {len(overlaps)} overlaps, positive at overlap one, got shape "
            f"{table.shape}."
        )
    return np.asarray(table / table[0])


def _is_model(kernel: Any) -> bool:
    try:
        infinite_width(kernel)
    except TypeError:
        return False
    return True


def extensive_ensemble(
    kernel: Any, n_sites: int, *, log_modulus: float, phase: float
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
    kernel: Any, *, log_modulus: float, phase: float, fraction: float = 0.5, n: int = 2
) -> EntropyDensity:
    r"""Annealed Rényi entropy for each spin of infinitely many, normalised as the ratio of moments.

    The limit of ``annealed_renyi(extensive_ensemble(kernel, d, …), …)/d``, approached as 1/d.

    Args:
        kernel: A model or kernel of inner products (depth enters through its layer recursion), or a function of the
            overlap in [-1, 1]; its scale does not matter.
        log_modulus: Variance of log|ψ| for each spin.
        phase: Variance of the phase for each spin.
        fraction: Share α of the spins in A.
        n: 2, …, 6; orders 5 and 6 start from fewer guesses.

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
    if not 0 < fraction < 1:
        raise EnsembleError(
            f"fraction={fraction!r}: expected a share of the spins in A, in (0, 1)."
        )
    profile = kernel_profile(kernel)
    fields = HammingEnsemble.from_parts(log_modulus * profile, phase * profile)
    (classes,) = site_classes(fields, range(_POINTS), n)
    parts = [[classes._replace(n_sites=share)] for share in (fraction, 1 - fraction)]
    whole = [[classes._replace(n_sites=1.0)]]
    moment = saddles(parts, potential_of(_per_site(moment_joints(fields, n))), n, alike=-1.0)
    norm = saddles(whole, potential_of(_per_site(norm_joints(fields, n))), n, alike=-1.0)
    value = max((norm[0].log_sum - moment[0].log_sum) / (n - 1), 0.0)
    shares = (fraction, 1 - fraction)
    distances = [_matrix(s / share, n) for s, share in zip(moment[0].sums, shares, strict=True)]
    return EntropyDensity(
        value=value,
        law="volume" if value > _AREA else "area",
        maximum=float(min(shares) * np.log(2)),
        distances_a=distances[0],
        distances_b=distances[1],
        competitors=np.array([s.log_sum - moment[0].log_sum for s in moment[1:]]),
    )


def _per_site(joints: list[Joint]) -> list[Joint]:
    """Functions of the fraction of differing spins in the place of their number."""

    def moved(joint: Joint) -> Joint:
        return Joint(
            lambda x: joint.value(_POINTS * x),
            lambda x: _POINTS * joint.slope(_POINTS * x),
            joint.columns,
            joint.factors,
        )

    return [moved(joint) for joint in joints]


def _matrix(sums: np.ndarray, n: int) -> np.ndarray:
    matrix = np.zeros((n, n))
    upper = np.triu_indices(n)
    matrix[upper] = sums
    return matrix + np.triu(matrix, 1).T


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

"""Moments of log-normal ensembles from drawn overlaps, where there are too many to sum."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load when first used
from scipy.special import logsumexp

from netket_qsntk.alert import alert
from netket_qsntk.entanglement.ensembles import DenseEnsemble, HammingEnsemble, ProductEnsemble
from netket_qsntk.entanglement.estimate import Estimate
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.mean_field import Potential, Saddle, saddles
from netket_qsntk.entanglement.orders import check_log_base, check_replicas
from netket_qsntk.entanglement.partition import check_partition
from netket_qsntk.entanglement.replica_sums import moment_terms, norm_terms
from netket_qsntk.entanglement.replicas import SiteClasses, pairs, site_classes
from netket_qsntk.errors import EnsembleError, NotConvergedWarning
from netket_qsntk.process import check_count

# Saddle points whose share is below e^-20 are left out.
_LEFT_OUT = 20.0


def sampled_renyi(
    ensemble: LogNormalEnsemble,
    partition: Sequence[int],
    n: int = 2,
    *,
    n_samples: int = 20_000,
    seed: int = 0,
    log_base: float = math.e,
) -> Estimate:
    r"""Annealed Rényi entropy of a log-normal ensemble, with the overlaps of the replicas drawn.

    What :func:`annealed_renyi` with ``normalization="ratio"`` sums, for orders and sizes at which it cannot: sites
    are spread over the classes of replica patterns at random, with the probabilities of the saddle points, and
    weighted. The weights fluctuate little where the saddle points are good, at any number of sites.

    Args:
        ensemble: A log-normal ensemble of a Hamming or product kernel.
        partition: Sites of A.
        n: 2, 3, 4, 5 or 6.
        n_samples: Draws for the moment and for the norm, each.
        seed: Seed of NumPy's generator.
        log_base: Base of the logarithm; e gives nats.

    Returns:
        The entropy as an :class:`Estimate`.

    Raises:
        EnsembleError: A Gaussian ensemble, a dense covariance, or fewer than two draws.

    Example:
        >>> k = 0.3 * 0.9 ** np.arange(101)
        >>> ensemble = LogNormalEnsemble.hamming(k, k)
        >>> entropy = sampled_renyi(ensemble, range(50), 4)
        >>> 0 < entropy < 1, entropy.error_of_mean < 0.01
        (True, True)
    """
    check_log_base(log_base)
    sites = check_partition(partition, ensemble.n_sites)
    n = check_replicas(n)
    if not isinstance(ensemble, LogNormalEnsemble) or isinstance(ensemble.fields, DenseEnsemble):
        raise EnsembleError(
            f"sampled_renyi takes a LogNormalEnsemble of a Hamming or product kernel, got {ensemble!r}; "
            "annealed_renyi takes the others."
        )
    check_count(n_samples, "n_samples", least=2)
    rng = np.random.default_rng(seed)
    rest = [i for i in range(ensemble.n_sites) if i not in set(sites)]
    fields = ensemble.fields
    moment = _sampled(fields, [sites, rest], n, moment_joints(fields, n), n_samples, rng)
    norm = _sampled(fields, [range(ensemble.n_sites)], n, norm_joints(fields, n), n_samples, rng)
    unit = (1 - n) * math.log(log_base)
    error = math.hypot(moment.error_of_mean, norm.error_of_mean)
    return Estimate((moment.mean - norm.mean) / unit, error / abs(unit))


@dataclass(frozen=True, eq=False)
class Joint:
    """One function of a sum over parts, added up over pairs: Σ_t f_t G(Σ_parts S[column_t])."""

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    columns: tuple[np.ndarray, ...]
    factors: np.ndarray


def moment_joints(fields: HammingEnsemble | ProductEnsemble, n: int) -> list[Joint]:
    """The exponent of Tr ρ̃ⁿ in terms of the sums over A and over B."""
    a, b, f, g = (np.array(column) for column in zip(*moment_terms(n), strict=True))
    return _joints(fields, n, (a.astype(int), b.astype(int)), f, g)


def norm_joints(fields: HammingEnsemble | ProductEnsemble, n: int) -> list[Joint]:
    """The exponent of (Tr ρ̃)ⁿ."""
    column, factor = (np.array(c) for c in zip(*norm_terms(n), strict=True))
    return _joints(fields, n, (column.astype(int),), factor, factor)


def _joints(
    fields: HammingEnsemble | ProductEnsemble,
    n: int,
    columns: tuple[np.ndarray, ...],
    f: np.ndarray,
    g: np.ndarray,
) -> list[Joint]:
    if isinstance(fields, HammingEnsemble):
        tables = [(fields.covariance, f)]
        if fields.relation is not None:
            tables.append((fields.relation, g))
        return [Joint(*on_distances(table), columns, factors) for table, factors in tables]
    signs = (0.0,) if fields.is_proper else (1.0, -1.0)
    joints = []
    for number, (sign, kernel) in enumerate(zip(signs, fields.kernels, strict=False)):

        def value(x: np.ndarray, scale: float = kernel.scale) -> np.ndarray:
            return scale * np.exp(x)

        moved = tuple(column + number * len(pairs(n)) for column in columns)
        joints.append(Joint(value, value, moved, f + sign * g))
    return joints


def on_distances(
    table: np.ndarray,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """A function of 0 … d through d + 1 values, and its slope: exact at whole distances."""
    d = len(table) - 1
    # In the angle of the overlap, cos θ = 1 - 2h/d, kernels of networks are smooth and even at both ends.
    angle = np.arccos(np.clip(1 - 2 * np.arange(d + 1) / d, -1, 1))
    spline = scipy.interpolate.CubicSpline(angle, table, bc_type="clamped")
    slope = spline.derivative()

    def at(h: np.ndarray) -> np.ndarray:
        return np.arccos(np.clip(1 - 2 * h / d, -1 + 1e-8, 1 - 1e-8))

    def value(h: np.ndarray) -> np.ndarray:
        return np.asarray(spline(np.arccos(np.clip(1 - 2 * h / d, -1, 1))))

    def derivative(h: np.ndarray) -> np.ndarray:
        theta = at(h)
        return np.asarray(slope(theta) * 2 / d / np.sin(theta))

    return value, derivative


def total(joints: Sequence[Joint], sums: Sequence[np.ndarray]) -> np.ndarray:
    """The exponent at the sums of each part, (…, columns) each."""
    return sum(
        (
            joint.value(
                np.sum([part[..., c] for part, c in zip(sums, joint.columns, strict=True)], axis=0)
            )
            @ joint.factors
            for joint in joints
        ),
        np.zeros(()),
    )


def potential_of(joints: Sequence[Joint]) -> Potential:
    """The exponent and its gradient with respect to the sums of each part."""

    def potential(sums: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        gradients = [np.zeros_like(part) for part in sums]
        for joint in joints:
            x = sum(part[:, c] for part, c in zip(sums, joint.columns, strict=True))
            slopes = joint.factors * joint.slope(np.asarray(x))
            for gradient, columns in zip(gradients, joint.columns, strict=True):
                gradient += slopes @ (columns[:, None] == np.arange(gradient.shape[1]))
        return total(joints, sums), gradients

    return potential


def _sampled(
    fields: HammingEnsemble | ProductEnsemble,
    sites: Sequence[Sequence[int]],
    n: int,
    joints: list[Joint],
    n_samples: int,
    rng: np.random.Generator,
) -> Estimate:
    """log of the sum, and its error."""
    hamming = isinstance(fields, HammingEnsemble)
    parts = [site_classes(fields, part, n) for part in sites]
    found = saddles(parts, potential_of(joints), n, alike=-1.0 if hamming else 1.0)
    chosen = [s for s in found if s.log_sum > found[0].log_sum - _LEFT_OUT]
    shares = np.exp([s.log_sum - found[0].log_sum for s in chosen])
    shares = shares / shares.sum()
    drawn = [
        _draw(parts, saddle, int(number), rng)
        for saddle, number in zip(chosen, rng.multinomial(n_samples, shares), strict=True)
    ]
    sums = [np.concatenate([one[i] for one in drawn]) for i in range(len(parts))]
    exact = [np.rint(s) for s in sums] if hamming else sums
    proposal = logsumexp(
        [np.log(w) + s.log_weight(parts, sums) for w, s in zip(shares, chosen, strict=True)], axis=0
    )
    logs = total(joints, exact) - proposal
    top = np.max(logs)
    weights = np.exp(logs - top)
    mean = weights.mean()
    error = weights.std(ddof=1) / math.sqrt(len(weights)) / mean
    if error > 0.1:
        alert(
            f"sampled_renyi: {n_samples} drawn overlaps give the moment of order {n} to {error:.0%} only; take more "
            "(n_samples), or a smaller order.",
            NotConvergedWarning,
        )
    return Estimate(top + math.log(mean), error)


def _draw(
    parts: Sequence[Sequence[SiteClasses]], saddle: Saddle, number: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Sums of ``number`` arrangements drawn from a saddle point, for each part."""
    result = []
    for kinds, field in zip(parts, saddle.fields, strict=True):
        sums = np.zeros((number, kinds[0].sums.shape[1]))
        for kind in kinds:
            logs = kind.log_multiplicity + kind.sums @ field
            p = np.exp(logs - logsumexp(logs))
            sums += rng.multinomial(int(kind.n_sites), p / p.sum(), size=number) @ kind.sums
        result.append(sums)
    return result

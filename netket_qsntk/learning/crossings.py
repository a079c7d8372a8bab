r"""What the coherent potential leaves out: the first corrections, by clusters that are met twice.

The coherent potential adds all paths on which the visits to a cluster are nested, and leaves out those on which
they cross. With T the scattering matrix of one cluster in the medium (⟨T⟩ = 0 at the coherent potential) and G its
resolvent (Λ + κ)⁻¹, the first of these in the average of log det(Λ + V) are

.. math:: \sum_{C<C'} \langle \log\det(1 - T_C G_{CC'} T_{C'} G_{C'C}) \rangle

for two clusters, exactly, and for rings of three or more, each visited twice (M = ⟨TT⟩ G∘G between clusters),

.. math:: \tfrac12 \mathrm{tr}\big[\log(1-M) + M + \tfrac12 M^2\big] - \tfrac12 \mathrm{tr}\, \frac{M^3}{1-M} .

(In the second term the path runs round the ring forwards and then backwards, turning at one of its clusters.) That
is for configurations seen independently of one another; that n is fixed takes ½ n(1 - φ) ∂²⟨log det⟩/∂n² away. The
first is large where the resolvent between neighbouring configurations is, as for smooth kernels; the second is about
one over the number of functions that are half learned. All these matrices are functions of the distance, so that the
kernel's levels are theirs. The derivative by a level's eigenvalue is the correction of the resolvent there, and its
derivative under λ -> λ/(1 + tλ) that of the losses. What is left out has more crossings, and is smaller where these
corrections are small.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from netket_qsntk.learning.coherent import Clusters
from netket_qsntk.learning.schemes import Scheme

__all__ = ["corrections"]

# Of the derivatives: an imaginary step, which needs no difference, and a step of tκ with an error of its square.
_IMAGINARY = 1e-40
_STEP = 1e-3
# Newton steps with a fixed Jacobian, each of which gains a factor of _STEP.
_REFINED = 6


class _Problem(NamedTuple):
    """Arrays in NumPy; sizes along the first axis of ``both`` and ``one``."""

    spectrum: np.ndarray
    counts: np.ndarray
    members: np.ndarray
    n_states: float
    both: np.ndarray
    """N p₂ for each size: both configurations of a cluster are seen; N φ for single ones."""
    one: np.ndarray
    """N p₁: a given one alone is."""
    slopes: tuple[np.ndarray, np.ndarray]
    """Their derivatives by n."""
    bend: float
    """Second derivative of N p₂; that of N p₁ is its negative."""
    ridge: float
    table: np.ndarray
    """P_i(j), (relations, levels)."""
    spherical: np.ndarray
    """P_i(j)/P_i(0)."""
    valencies: np.ndarray
    """Configurations at each distance; 0 within a cluster."""


def corrections(
    log_kappa: ArrayLike,
    clusters: Clusters,
    sizes: ArrayLike,
    ridge: float,
    scheme: Scheme,
    weights: ArrayLike,
) -> np.ndarray:
    """What pairs and rings add to the error over the basis, for each size and each set of powers.

    Args:
        log_kappa: Coherent potentials, (sizes, sectors).
        clusters: Levels and their sectors.
        sizes: (sizes,).
        ridge: δ.
        scheme: The configurations, on which the clusters are single ones or pairs at the largest distance.
        weights: Powers, (powers, levels).

    Returns:
        (2, sizes, powers): of pairs, of rings; nan where rounding hides them.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _corrections(
            log_kappa, _problem(clusters, np.asarray(sizes, float), ridge, scheme), weights
        )


def _corrections(log_kappa: ArrayLike, problem: _Problem, weights: ArrayLike) -> np.ndarray:
    u = np.asarray(log_kappa, float)
    jacobian = np.stack(
        [
            _conditions(u + 1j * _IMAGINARY * row, problem.spectrum, problem).imag / _IMAGINARY
            for row in np.eye(u.shape[1])
        ],
        axis=-1,
    )
    inverse = np.linalg.inv(jacobian)
    mu, counts = problem.spectrum, problem.counts

    def slope(direction: np.ndarray, base: np.ndarray) -> np.ndarray:
        moved = base + 1j * _IMAGINARY * direction
        return _crossings(moved, u, inverse, problem).imag / _IMAGINARY

    still, found = np.broadcast_to(mu, (len(u), len(mu))), []
    for power in np.asarray(weights, float):
        share = np.where(counts > 0, power / np.where(counts > 0, counts, 1.0), 0.0)
        change = -2 * slope(share * mu, still)
        # Potentials may differ by many orders: the levels of each sector are moved on its own scale.
        for member, own in zip(problem.members, np.exp(u).T, strict=True):
            step = (_STEP / own)[:, None] * member
            ends = [slope(share, mu / (1 + s * step * mu)) for s in (1, -1)]
            change = change + (ends[0] - ends[1]) * own / (2 * _STEP)
        found.append(change)
    return np.stack(found, axis=-1)


def _problem(clusters: Clusters, sizes: np.ndarray, ridge: float, scheme: Scheme) -> _Problem:
    total, sectors = float(clusters.n_states), clusters.n_sectors
    both, one, bend = sizes, np.zeros_like(sizes), 0.0
    slopes = np.ones_like(sizes), np.zeros_like(sizes)
    if sectors == 2:
        both, one = sizes * (sizes - 1) / (total - 1), sizes * (total - sizes) / (total - 1)
        slopes, bend = (
            ((2 * sizes - 1) / (total - 1), (total - 2 * sizes) / (total - 1)),
            2 / (total - 1),
        )
    table = np.array(scheme.table, dtype=float)
    valencies = table[:, 0].copy()
    spherical = table / valencies[:, None]
    valencies[[0, -1] if sectors == 2 else [0]] = 0
    return _Problem(
        np.asarray(clusters.spectrum, float),
        np.asarray(clusters.multiplicities, float),
        np.asarray(clusters.members, float),
        total,
        both,
        one,
        slopes,
        bend,
        ridge,
        table,
        spherical,
        valencies,
    )


def _medium(u: np.ndarray, spectrum: np.ndarray, p: _Problem) -> tuple[np.ndarray, ...]:
    """κ, Σ mμ/(μ + κ) level by level (sizes, sectors, levels), and the unlearned shares (sizes, sectors)."""
    kappa = np.exp(u)
    weights = p.members * p.counts
    below = spectrum[:, None, :] + kappa[:, :, None]
    learned = weights * (spectrum[:, None, :] / below)
    share = len(p.members) / p.n_states
    return kappa, learned, share * (weights * (kappa[:, :, None] / below)).sum(-1)


def _conditions(u: np.ndarray, spectrum: np.ndarray, p: _Problem) -> np.ndarray:
    """Those of :func:`netket_qsntk.learning.coherent.conditions`, for complex levels."""
    spectrum = np.broadcast_to(spectrum, (len(u), spectrum.shape[-1]))
    kappa, learned, left = _medium(u, spectrum, p)
    delta = len(p.members) * kappa * learned.sum(-1) / left
    mean = delta.mean(1, keepdims=True)
    right = p.both[:, None] / (p.ridge + delta) + p.one[:, None] / (p.ridge + mean)
    return np.log(left / kappa) - np.log(right)


def _crossings(spectrum: np.ndarray, u: np.ndarray, inverse: np.ndarray, p: _Problem) -> np.ndarray:
    """Both corrections of ⟨log det⟩ at these levels (sizes, levels) and their coherent potential: (2, sizes)."""
    u = u.astype(complex)
    for _ in range(_REFINED):
        u = u - np.einsum("nst,nt->ns", inverse, _conditions(u, spectrum, p))
    kappa, learned, left = _medium(u, spectrum, p)
    sectors, total = len(p.members), p.n_states
    local = left / kappa
    # Of (Λ + κ)⁻¹ = (1 - Λ(Λ + κ)⁻¹)/κ the unit matrix has nothing between clusters.
    between = -(sectors / total) * (learned @ p.spherical.T) / left[..., None]
    between = between * (p.valencies > 0)
    t = _scattering(kappa, local, p)
    even = between[:, 0]
    odd = between[:, 1] if sectors == 2 else np.zeros_like(even)
    here = 1.0 / sectors * (p.valencies > 0)
    bonds = [(product * here) @ p.table for product in (even**2, odd**2, even * odd)]
    pairs = _pairs(t, even, odd, p.valencies * total / (2 * sectors**2))
    fixed = _fixed_number((kappa, learned, left), spectrum, p)
    return np.stack([pairs, _rings(t, bonds, p) + fixed])


def _fixed_number(medium: tuple[np.ndarray, ...], spectrum: np.ndarray, p: _Problem) -> np.ndarray:
    """-½ n(1 - φ) d²⟨log det⟩/dn², (sizes,): what the number of independent configurations varies is taken out.

    ⟨log det⟩ is stationary in κ: its derivative by n is that of the clusters' probabilities alone.
    """
    kappa, learned, left = medium
    sectors, number = len(p.members), learned.sum(-1)
    below = spectrum[:, None, :] + kappa[:, :, None]
    half = (learned * (kappa[:, :, None] / below)).sum(-1)
    delta = sectors * kappa * number / left
    change = delta * (1 - half / number - (sectors / p.n_states) * half / left)
    mean = delta.mean(1, keepdims=True)
    alike, apart = 1 / (p.ridge + delta), 1 / (p.ridge + mean)
    both, one = p.both[:, None], p.one[:, None]
    right = both * alike + one * apart
    coupling = one[:, :, None] * (apart**2)[:, :, None] * change[:, None, :] / sectors
    own = (sectors / p.n_states) * half / left - 1 + both * alike**2 * change / right
    jacobian = coupling / right[:, :, None] + own[:, :, None] * np.eye(sectors)
    more = [s[:, None] for s in p.slopes]
    moved = np.linalg.solve(jacobian, ((more[0] * alike + more[1] * apart) / right)[..., None])[
        ..., 0
    ]
    by_u = change / sectors * (more[0] * alike + more[1] * apart)
    explicit = p.bend * (np.log(p.ridge + delta).mean(1) - np.log(p.ridge + mean[:, 0]))
    n = p.both + p.one
    return -0.5 * n * (1 - n / p.n_states) * (explicit + (by_u * moved).sum(1))


class _Scattering(NamedTuple):
    """Scattering matrices of one cluster in units of 1/g, (sizes, cases)."""

    probability: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    mixed: np.ndarray


def _scattering(kappa: np.ndarray, local: np.ndarray, p: _Problem) -> _Scattering:
    ridge, total = p.ridge / p.n_states, p.n_states
    seen = 1 / (1 + 1 / (local * (ridge - kappa)))
    ones = np.ones(len(kappa), complex)
    zero = 0 * ones
    if len(p.members) == 1:
        share = p.both / total
        matrix = np.stack([seen[:, 0], ones], 1)
        none = np.zeros_like(matrix)
        return _Scattering(np.stack([share, 1 - share], 1), matrix, none, none)
    free = 1 / local
    strength = 1 / (2 * (ridge - kappa.mean(1)) + free.sum(1))
    even, odd = (1 - strength * free[:, s] for s in (0, 1))
    mixed = -strength * np.sqrt(free.prod(1))
    both, one = p.both / total, p.one / total
    return _Scattering(
        np.stack([both, one, one, 1 - both - 2 * one], 1),
        np.stack([seen[:, 0], even, even, ones], 1),
        np.stack([seen[:, 1], odd, odd, ones], 1),
        np.stack([zero, mixed, -mixed, zero], 1),
    )


def _pairs(t: _Scattering, even: np.ndarray, odd: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ over pairs of clusters of ⟨log det(1 - T G T' G)⟩: (sizes,)."""

    def between(one: np.ndarray, bond: np.ndarray) -> np.ndarray:
        return one[:, :, None, None] * one[:, None, :, None] * bond[:, None, None, :]

    trace = between(t.even, even**2) + between(t.odd, odd**2) + 2 * between(t.mixed, even * odd)
    determinant = between(t.even * t.odd - t.mixed**2, (even * odd) ** 2)
    logs = np.log1p(determinant - trace)
    return np.einsum("na,nb,h,nabh->n", t.probability, t.probability, weights, logs)


def _ring(x: np.ndarray) -> np.ndarray:
    """½ [log(1 - x) + x + x²/2]."""
    small = np.abs(x) < 1e-3
    safe = np.where(small, 0.5, x)
    series = -(x**3) * (1 / 3 + x * (1 / 4 + x * (1 / 5 + x / 6)))
    return 0.5 * np.where(small, series, np.log1p(-safe) + safe + safe**2 / 2)


def _rings(t: _Scattering, bonds: list[np.ndarray], p: _Problem) -> np.ndarray:
    """Rings of three clusters and more: (sizes,).

    Two ladders that mix on even levels (even with even, odd with odd functions), and one of each on odd levels.
    """

    def average(product: np.ndarray) -> np.ndarray:
        return (t.probability * product).sum(1)[:, None]

    a, b, c = (average(product) for product in (t.even**2, t.mixed**2, t.odd**2))
    crossed = average(t.even * t.odd)
    x, y, z = bonds
    if len(p.members) == 1:
        ladder = a * x
        return (p.counts * (_ring(ladder) - 0.5 * ladder**3 / (1 - ladder))).sum(1)
    m = _matrix(a * x, b * y, b * x, c * y)
    trace, determinant = np.trace(m, axis1=-2, axis2=-1), (a * c - b**2) * x * y
    root = np.sqrt(trace**2 - 4 * determinant)
    adjugate = _matrix(1 - c * y, b * y, b * x, 1 - a * x)
    turn = _matrix(a * x, crossed * y, crossed * x, c * y)
    turned = np.trace(turn @ m @ m @ adjugate, axis1=-2, axis2=-1) / (1 - trace + determinant)
    even = _ring((trace + root) / 2) + _ring((trace - root) / 2) - 0.5 * turned
    plus, minus = z * (crossed + b), z * (crossed - b)
    odd = _ring(plus) + _ring(minus) - b * z * plus**2 / (1 - plus)
    return (p.counts * (p.members[0] * even + p.members[1] * odd)).sum(1)


def _matrix(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], -2)

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
kernel's levels are theirs. The second derivative by the inverse eigenvalues, once by a level's and once by all
together, is the correction of the losses: the first is that of the level's resolvent, the other takes its square.
What is left out has more crossings, and is smaller where these corrections are small.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.learning.coherent import (
    Clusters,
    cavities,
    conditions,
    degrees,
    pair_counts,
    solved,
)
from netket_qsntk.learning.schemes import Scheme

__all__ = ["corrections"]

# Newton steps with a fixed Jacobian, each of which gains a factor of _STEP and an order of exact derivatives.
_REFINED = 5
# Of the second derivative, in units of each sector's κ: the error is its square.
_STEP = 1e-3
# Where 1 - x is so near 1 that a series is more accurate than the logarithm, and its last term.
_SMALL = 0.01
_LAST = 6


class _Distances(NamedTuple):
    """Constants of a scheme whose clusters are single configurations, or pairs at the largest distance."""

    table: np.ndarray
    """P_i(j), (relations, levels)."""
    spherical: np.ndarray
    """P_i(j)/P_i(0)."""
    valencies: np.ndarray
    """Configurations at each distance; 0 within a cluster."""


def corrections(
    log_kappa: Array,
    clusters: Clusters,
    n: Array,
    ridge: Array,
    scheme: Scheme,
    weights: Array,
) -> Array:
    """What pairs and rings add to the mean square error over the basis, for each set of powers.

    Args:
        log_kappa: Coherent potential, (sectors,).
        clusters: Levels and their sectors.
        n: Size of the training set.
        ridge: δ.
        scheme: The configurations.
        weights: Powers, (powers, levels).

    Returns:
        (powers, 2): of pairs, of rings.
    """
    distances = _distances(scheme, clusters.n_sectors)
    start = jax.lax.stop_gradient(log_kappa)
    fixed, size, still = jax.lax.stop_gradient((clusters, n, ridge))
    jacobian = jax.jacfwd(lambda t: conditions(t, fixed, size, still))(start)
    mu, counts = clusters.spectrum, clusters.multiplicities

    def crossings(spectrum: Array) -> Array:
        moved = clusters._replace(spectrum=spectrum)

        def refine(u: Array, _: None) -> tuple[Array, None]:
            return u - solved(jacobian, conditions(u, moved, n, ridge)), None

        u, _ = jax.lax.scan(refine, start, length=_REFINED)
        return _crossings(jnp.exp(u), moved, n, ridge, distances)

    kappa = jnp.exp(start)
    shifts = _STEP * clusters.members / kappa[:, None]
    shifts = jnp.concatenate([jnp.zeros((1, len(mu))), shifts, 2 * shifts])

    def change(power: Array) -> Array:
        share = jnp.where(counts > 0, power / jnp.where(counts > 0, counts, 1.0), 0.0)

        def slope(shift: Array) -> Array:
            below = 1 / (1 + shift * mu)
            return jax.jvp(crossings, (mu * below,), (share * below**2,))[1]

        slopes = jax.vmap(slope)(shifts)
        near, far = slopes[1:].reshape(2, len(kappa), -1)
        return jnp.sum(kappa[:, None] * (4 * near - far - 3 * slopes[0]), axis=0) / (2 * _STEP)

    return jax.vmap(change)(weights)


def _distances(scheme: Scheme, sectors: int) -> _Distances:
    table = np.array(scheme.table, dtype=float)
    valencies = table[:, 0].copy()
    spherical = table / valencies[:, None]
    valencies[[0, -1] if sectors == 2 else [0]] = 0
    return _Distances(table, spherical, valencies)


def _crossings(
    kappa: Array, clusters: Clusters, n: Array, ridge: Array, distances: _Distances
) -> Array:
    """Both corrections of ⟨log det⟩ at these levels and their coherent potential: (2,)."""
    sectors, total = clusters.n_sectors, clusters.n_states
    delta, left = cavities(clusters, kappa)
    below = clusters.spectrum + kappa[:, None]
    learned = clusters.members * clusters.multiplicities * (clusters.spectrum / below)
    outside = distances.valencies > 0
    # Of (Λ + κ)⁻¹ = (1 - Λ(Λ + κ)⁻¹)/κ the unit matrix has nothing between clusters.
    between = -(sectors / total) * (learned @ distances.spherical.T) / left[:, None] * outside
    even = between[0]
    odd = between[1] if sectors == 2 else jnp.zeros_like(even)
    bonds = tuple(
        (product * outside / sectors) @ distances.table for product in (even**2, odd**2, even * odd)
    )
    t = _scattering(kappa, left / kappa, clusters, n, ridge)
    pairs = _pairs(t, even, odd, jnp.asarray(distances.valencies) * (total / (2 * sectors**2)))
    fixed = _fixed_number(kappa, delta, left, clusters, n, ridge)
    return jnp.stack([pairs, _rings(t, bonds, clusters) + fixed])


def _fixed_number(
    kappa: Array, delta: Array, left: Array, clusters: Clusters, n: Array, ridge: Array
) -> Array:
    """-½ n(1 - φ) d²⟨log det⟩/dn²: what the number of independent configurations varies is taken out.

    ⟨log det⟩ is stationary in κ: its derivative by n is that of the clusters' probabilities alone.
    """
    sectors, total = clusters.n_sectors, clusters.n_states
    number, _ = degrees(clusters, kappa)
    below = clusters.spectrum + kappa[:, None]
    weights = clusters.members * clusters.multiplicities
    half = jnp.sum(weights * clusters.spectrum * kappa[:, None] / below**2, axis=1)
    change = delta * (1 - half / number - (sectors / total) * half / left)
    alike, apart = 1 / (ridge + delta), 1 / (ridge + jnp.mean(delta))
    both, one = pair_counts(clusters, n)
    by_both, by_one, bend = jnp.ones(()), jnp.zeros(()), jnp.zeros(())
    if sectors == 2:
        by_both, by_one = (2 * n - 1) / (total - 1), (total - 2 * n) / (total - 1)
        bend = 2 / (total - 1)
    right = both * alike + one * apart
    own = (sectors / total) * half / left - 1 + both * alike**2 * change / right
    coupling = one * apart**2 * change[None, :] / sectors
    jacobian = coupling / right[:, None] + own[:, None] * jnp.eye(sectors)
    slopes = by_both * alike + by_one * apart
    moved = solved(jacobian, slopes / right)
    explicit = bend * (jnp.mean(jnp.log(ridge + delta)) - jnp.log(ridge + jnp.mean(delta)))
    return -0.5 * n * (1 - n / total) * (explicit + jnp.sum(change / sectors * slopes * moved))


class _Scattering(NamedTuple):
    """Scattering matrices of one cluster in units of 1/g, (cases,)."""

    probability: Array
    even: Array
    odd: Array
    mixed: Array


def _scattering(
    kappa: Array, local: Array, clusters: Clusters, n: Array, ridge: Array
) -> _Scattering:
    total = clusters.n_states
    above = local * (ridge / total - kappa)
    seen = above / (1 + above)
    both, one = (count / total for count in pair_counts(clusters, n))
    if clusters.n_sectors == 1:
        matrix = jnp.stack([seen[0], jnp.ones(())])
        none = jnp.zeros(2)
        return _Scattering(jnp.stack([both, 1 - both]), matrix, none, none)
    free = 1 / local
    strength = 1 / (2 * (ridge / total - jnp.mean(kappa)) + jnp.sum(free))
    even, odd = (1 - strength * free[s] for s in (0, 1))
    mixed = -strength * jnp.sqrt(free[0] * free[1])
    zero, unit = jnp.zeros(()), jnp.ones(())
    return _Scattering(
        jnp.stack([both, one, one, 1 - both - 2 * one]),
        jnp.stack([seen[0], even, even, unit]),
        jnp.stack([seen[1], odd, odd, unit]),
        jnp.stack([zero, mixed, -mixed, zero]),
    )


def _pairs(t: _Scattering, even: Array, odd: Array, weights: Array) -> Array:
    """Σ over pairs of clusters of ⟨log det(1 - T G T' G)⟩."""

    def between(one: Array, bond: Array) -> Array:
        return one[:, None, None] * one[None, :, None] * bond

    trace = between(t.even, even**2) + between(t.odd, odd**2) + 2 * between(t.mixed, even * odd)
    determinant = between(t.even * t.odd - t.mixed**2, (even * odd) ** 2)
    logs = jnp.log1p(determinant - trace)
    return jnp.einsum("a,b,h,abh->", t.probability, t.probability, weights, logs)


def _ring(trace: Array, determinant: Array) -> Array:
    """½ tr[log(1 - M) + M + M²/2] from the trace and the determinant of a 2 × 2 matrix M."""
    square = trace**2 - 2 * determinant
    small = jnp.maximum(jnp.abs(trace) ** 2, jnp.abs(determinant)) < _SMALL**2
    powers, series = (trace, square), jnp.zeros_like(trace)
    for k in range(3, _LAST + 1):
        powers = powers[1], trace * powers[1] - determinant * powers[0]
        series = series - powers[1] / k
    change = jnp.where(small, 0.5, determinant - trace)
    return 0.5 * jnp.where(small, series, jnp.log1p(change) + trace + square / 2)


def _rings(t: _Scattering, bonds: tuple[Array, ...], clusters: Clusters) -> Array:
    """Rings of three clusters and more.

    Two ladders that mix on even levels (even with even, odd with odd functions), M = [[ax, by], [bx, cy]], which turn
    with [[ax, fy], [fx, cy]]; and one of each on odd levels. By Cayley and Hamilton M²/(1 - M) is a multiple of M
    less one of the unit matrix.
    """
    a, b, c, f = (
        jnp.sum(t.probability * product)
        for product in (t.even**2, t.mixed**2, t.odd**2, t.even * t.odd)
    )
    x, y, z = bonds
    counts = clusters.multiplicities
    if clusters.n_sectors == 1:
        ladder = a * x
        turning = _ring(ladder, jnp.zeros_like(x)) - 0.5 * ladder**3 / (1 - ladder)
        return jnp.sum(counts * turning)
    trace, determinant = a * x + c * y, (a * c - b**2) * x * y
    met = trace**2 - 2 * (a * c - b * f) * x * y
    turned = (trace - determinant) * met - determinant * trace
    plus, minus = z * (f + b), z * (f - b)
    zero = jnp.zeros_like(x)
    kinds = jnp.stack([trace, plus, minus]), jnp.stack([determinant, zero, zero])
    even, *odd = _ring(*kinds)
    even = even - 0.5 * turned / (1 - trace + determinant)
    single = odd[0] + odd[1] - b * z * plus**2 / (1 - plus)
    return jnp.sum(counts * (clusters.members[0] * even + clusters.members[1] * single))

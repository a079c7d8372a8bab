r"""The coherent potential: what random training sets do to a kernel, on average, as one or two numbers.

Regression with the kernel matrix Λ on a random part of N configurations leaves the error V(V + Λ)⁻¹ψ, V diagonal: the
ridge δ on what was seen and ∞ on what was not. On average V acts like a constant κ, or, where the kernel tells even
from odd functions, like one constant for each (a cluster of the two configurations x, -x: what is seen of one says
half of the other). The conditions, with g_s = (2/N) Σ_{w∈s} m_w/(λ_w + κ_s), Δ_s = 1/g_s - κ_s and the probabilities
that both of a pair are seen (p₂), or a given one alone (p₁), are

.. math:: g_s = \frac{p_2}{\delta + \Delta_s} + \frac{p_1}{\delta + (\Delta_e + \Delta_o)/2},\qquad s = e, o

(the average of the clusters' resolvents (V + Δ)⁻¹ is g). Single configurations give g = φ/(δ + Δ), which for a small
fraction φ is the eigenlearning equation n = Σ m_w λ_w/(λ_w + κ) + δN/κ of Simon et al. (arXiv:2110.03922).

Everything here is divided by N where it would be as large (μ = λ/N, κ/N), written without differences of nearly equal
numbers, and so holds for 2^100 configurations as for 2^8.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

__all__ = [
    "Clusters",
    "cavities",
    "conditions",
    "degrees",
    "level_transfer",
    "log_determinant",
    "pair_counts",
    "solve",
    "solved",
    "transfer",
]

_NEWTON = 100
_HALVINGS = 30
_BISECTIONS = 200
_DECADES = 25
# Newton's residual at which nothing else is tried.
_SOLVED = 1e-10


class Clusters(NamedTuple):
    """Levels sorted into the sectors that have a coherent potential each.

    One sector for single configurations, two (even, odd) for pairs.
    """

    spectrum: Array
    """(levels,) μ_w = λ_w/N."""
    multiplicities: Array
    """(levels,) m_w."""
    members: Array
    """(sectors, levels), 1 where the level belongs to the sector and 0 where not."""
    n_states: Array
    """N."""

    @property
    def n_sectors(self) -> int:
        """1 or 2."""
        return self.members.shape[0]


def degrees(clusters: Clusters, kappa: Array) -> tuple[Array, Array]:
    """D_s = Σ m μ/(μ + κ_s), learned functions in each sector, and the unlearned share 1 - D_s/N_s of each."""
    weights = clusters.members * clusters.multiplicities
    share = clusters.n_sectors / clusters.n_states
    below = clusters.spectrum + kappa[:, None]
    learned = jnp.sum(weights * (clusters.spectrum / below), axis=1)
    left = share * jnp.sum(weights * (kappa[:, None] / below), axis=1)
    return learned, left


def cavities(clusters: Clusters, kappa: Array) -> tuple[Array, Array]:
    """Δ_s, the variance of a cluster's mode given all others at this potential, and the unlearned shares."""
    learned, left = degrees(clusters, kappa)
    return clusters.n_sectors * kappa * learned / left, left


def pair_counts(clusters: Clusters, n: Array) -> tuple[Array, Array]:
    """N p₂ and N p₁ for n of N drawn without replacement; for single configurations N φ and 0."""
    if clusters.n_sectors == 1:
        return n, jnp.zeros_like(n)
    others = clusters.n_states - 1
    return n * ((n - 1) / others), n * ((clusters.n_states - n) / others)


def conditions(log_kappa: Array, clusters: Clusters, n: Array, ridge: Array) -> Array:
    """log of the left over the right side of the conditions, for each sector: 0 at the coherent potential."""
    kappa = jnp.exp(log_kappa)
    delta, left = cavities(clusters, kappa)
    both, one = pair_counts(clusters, n)
    right = both / (ridge + delta) + one / (ridge + jnp.mean(delta))
    return jnp.log(left / kappa) - jnp.log(right)


def _single(clusters: Clusters, n: Array, ridge: Array) -> Array:
    """log κ of single configurations, by bisection: D(κ) + δ(1 - D/N)/κ falls from above n to 0."""
    whole = clusters._replace(members=jnp.ones((1, len(clusters.spectrum))))
    top = jnp.sum(clusters.spectrum * clusters.multiplicities) + ridge
    high = jnp.log(top) - jnp.log(n) + 1.0
    low = high - 230.0

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        kappa = jnp.exp(middle)[None]
        learned, left = degrees(whole, kappa)
        above = learned[0] + ridge * left[0] / kappa[0] > n
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    return jnp.full((clusters.n_sectors,), (low + high) / 2)


def _newton(start: Array, clusters: Clusters, n: Array, ridge: Array) -> tuple[Array, Array]:
    """Damped Newton steps in log κ: the solution, and the largest residual left."""
    function = partial(conditions, clusters=clusters, n=n, ridge=ridge)
    jacobian = jax.jacfwd(function)

    def size(u: Array) -> Array:
        residual = function(u)
        return jnp.where(jnp.all(jnp.isfinite(residual)), jnp.max(jnp.abs(residual)), jnp.inf)

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, now, count, _ = state
        move = -solved(jacobian(u), function(u))
        move = move * jnp.minimum(1.0, 4.0 / (jnp.max(jnp.abs(move)) + 1e-300))

        def shorter(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            return pair[0] / 2, pair[1] + 1

        def too_long(pair: tuple[Array, Array]) -> Array:
            return (size(u + pair[0] * move) > (1 - pair[0] / 4) * now) & (pair[1] < _HALVINGS)

        fraction, _ = jax.lax.while_loop(too_long, shorter, (jnp.ones(()), jnp.zeros((), int)))
        new = u + fraction * move
        then = size(new)
        better = then < now
        return jnp.where(better, new, u), jnp.where(better, then, now), count + 1, ~better

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        _, now, count, stuck = state
        return (now > 0) & (count < _NEWTON) & ~stuck

    first = (start, size(start), jnp.zeros((), int), jnp.zeros((), bool))
    u, left, _, _ = jax.lax.while_loop(unfinished, step, first)
    return u, left


def _better(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """The pair of a solution and its residual whose residual is smaller."""
    better = other[1] < one[1]
    return jnp.where(better, other[0], one[0]), jnp.where(better, other[1], one[1])


def _from_large_ridges(clusters: Clusters, n: Array, ridge: Array) -> tuple[Array, Array]:
    """Continuation from a ridge that drowns all levels: to potentials as small as a singular kernel's ridge."""
    top = jnp.sum(clusters.spectrum * clusters.multiplicities)

    def lower(u: Array, power: Array) -> tuple[Array, None]:
        return _newton(u, clusters, n, ridge + top * 10.0**power)[0], None

    start = _single(clusters, n, ridge + 10 * top)
    u, _ = jax.lax.scan(lower, start, jnp.linspace(1.0, -_DECADES, 4 * _DECADES))
    return _newton(u, clusters, n, ridge)


def solved(matrix: Array, right: Array) -> Array:
    """Solution of one or two linear equations, without LAPACK: it is called in loops."""
    if matrix.shape[0] == 1:
        return right / matrix[0]
    (a, b), (c, d) = matrix
    return jnp.stack([d * right[0] - b * right[1], a * right[1] - c * right[0]]) / (a * d - b * c)


def solve(clusters: Clusters, sizes: Array, ridge: Array) -> tuple[Array, Array]:
    """The coherent potentials at increasing sizes of the training set, by continuation in the size.

    Args:
        clusters: Levels and their sectors.
        sizes: (sizes,) increasing, between 0 and N.
        ridge: δ >= 0, added to the diagonal of the kernel on the training set.

    Returns:
        log κ_s/N, (sizes, sectors), differentiable in the levels and the ridge (twice), and the residual of the
        conditions at each size, (sizes,), for the caller to judge.
    """
    fixed, still = jax.lax.stop_gradient((clusters, ridge))

    def following(before: Array, n: Array) -> tuple[Array, tuple[Array, Array]]:
        alone = _newton(_single(fixed, n, still), fixed, n, still)
        onward = _newton(before, fixed, n, still)
        best = _better(alone, onward)
        slowly = partial(_from_large_ridges, clusters=fixed, n=n, ridge=still)
        u, left = jax.lax.cond(best[1] < _SOLVED, lambda: best, lambda: _better(best, slowly()))
        return u, (u, left)

    start = _single(fixed, sizes[0], still)
    _, (found, residuals) = jax.lax.scan(following, start, sizes)
    found = jax.lax.stop_gradient(found)

    def polished(u: Array, n: Array) -> Array:
        # Newton steps with a fixed Jacobian at the solution: they move nothing but the derivatives.
        jacobian = jax.jacfwd(lambda t: conditions(t, fixed, n, still))(u)
        for _ in range(2):
            u = u - solved(jacobian, conditions(u, clusters, n, ridge))
        return u

    return jax.vmap(polished)(found, sizes), residuals


def transfer(log_kappa: Array, clusters: Clusters, n: Array, ridge: Array) -> tuple[Array, Array]:
    r"""Mean square errors for a unit of power in each level, over the whole basis and on what was seen.

    With t added to the inverse kernel, and κ̇ = dκ/dt at t = 0,

    .. math:: q_w = \left(\frac{\kappa}{\lambda_w + \kappa}\right)^2\left(1 - \frac{\dot\kappa}{\kappa^2}\right),
        \qquad q^B_w = \frac{\delta^2}{(\lambda_w + \kappa)^2} \frac{d\kappa}{d\delta}

    Returns:
        (q, q^B), each (levels,): Σ_w q_w P_w is the error per configuration of the basis, Σ_w q^B_w P_w the part of
        it that lies on the training set.
    """
    kappa = jnp.exp(log_kappa)
    jacobian = jax.jacfwd(lambda u: conditions(u, clusters, n, ridge))(log_kappa)

    def bent(t: Array) -> Array:
        moved = clusters._replace(spectrum=clusters.spectrum / (1 + t * clusters.spectrum))
        return conditions(log_kappa, moved, n, ridge)

    zero = jnp.zeros(())
    by_t = jax.jvp(bent, (zero,), (jnp.ones(()),))[1]
    by_ridge = jax.jvp(
        lambda r: conditions(log_kappa, clusters, n, r), (ridge,), (jnp.ones_like(ridge),)
    )[1]
    # dκ/dt = κ d(log κ)/dt, in units of κ²; dκ/dδ in units of 1/N.
    drift = -solved(jacobian, by_t) / kappa
    response = -solved(jacobian, by_ridge) * kappa * clusters.n_states
    unlearned = kappa[:, None] / (clusters.spectrum + kappa[:, None])
    seen = ridge / (clusters.n_states * (clusters.spectrum + kappa[:, None]))
    basis = clusters.members * unlearned**2 * (1 - drift[:, None])
    return basis.sum(0), (clusters.members * seen**2 * response[:, None]).sum(0)


def log_determinant(log_kappa: Array, clusters: Clusters, n: Array, ridge: Array) -> Array:
    """Average of log det(Λ_BB + δ), stationary in κ: clusters in the medium, and the medium, each counted once."""
    kappa = jnp.exp(log_kappa)
    delta, left = cavities(clusters, kappa)
    own = kappa @ clusters.members
    medium = jnp.sum(clusters.multiplicities * jnp.log1p(clusters.spectrum / own))
    learned, _ = degrees(clusters, kappa)
    share = clusters.n_sectors / clusters.n_states
    # log(1 - e) of the unlearned share, from e itself where that is small.
    empty = jnp.sum(jnp.where(left > 0.5, jnp.log1p(-share * learned), jnp.log(left))) / share
    both, one = pair_counts(clusters, n)
    seen = both * jnp.sum(jnp.log(ridge + delta)) / clusters.n_sectors
    return medium + empty + seen + one * jnp.log(ridge + jnp.mean(delta))


def level_transfer(log_kappa: Array, clusters: Clusters, n: Array, ridge: Array) -> Array:
    """Where the error of a unit of power in each level lies: M[v, w], mean square in level v; Σ_v M = q."""
    kappa = jnp.exp(log_kappa)
    jacobian = jax.jacfwd(lambda u: conditions(u, clusters, n, ridge))(log_kappa)

    def bent(spectrum: Array) -> Array:
        return conditions(log_kappa, clusters._replace(spectrum=spectrum), n, ridge)

    by_level = -jax.jacrev(bent)(clusters.spectrum) * clusters.spectrum**2
    drift = jax.vmap(lambda column: -solved(jacobian, column), 1, 1)(by_level) / kappa[:, None]
    unlearned = (kappa @ clusters.members) / (clusters.spectrum + kappa @ clusters.members)
    own = clusters.members.T @ drift
    return (jnp.eye(len(clusters.spectrum)) - own.T) * unlearned**2

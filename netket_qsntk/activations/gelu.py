r"""The dual of the exact gelu, φ(z) = z Φ(z) = z/2 + z erf(z/√2)/2, at any variance.

With :math:`R^2 = 1 + a + b`, :math:`r^2 = R^2 + ab - c^2`, :math:`\kappa = 1/(1+a) + 1/(1+b)` (two integrations by
parts on the bivariate orthant probability):

.. math:: \tau = \frac c4 + \frac{c}{2\pi}\arctan\frac cr + \frac{ab - c^2 + \kappa c^2}{2\pi r},\qquad
    \dot\tau = \frac14 + \frac1{2\pi}\arctan\frac cr + \frac{c}{2\pi r}\Big(\kappa + \frac1{r^2}\Big)

Variances grow by σ_w²/2 a layer, and at large ones gelu is relu up to a relative (variance)^{-3/2}: what tells the
two apart, and what is left of τ at antipodal inputs, is computed as such.
"""

import jax.numpy as jnp
from jax import Array

from netket_qsntk.activations.pair import Pair, ratio, square_root

_TURN = 2 * jnp.pi


def _arctangent_excess(t: Array) -> Array:
    """t - arctan t for t >= 0."""
    small = jnp.where(t < 0.15, t, 0.0)
    t2 = small * small
    series = jnp.zeros_like(t)
    for n in range(19, 1, -2):
        series = 1 / n - t2 * series
    return jnp.where(t < 0.15, small * t2 * series, t - jnp.arctan(t))


def _variance(a: Array) -> tuple[Array, Array]:
    """(τ(a, a, a), its relative distance from a/2)."""
    root = jnp.sqrt(1 + 2 * a)
    value = a / 4 + a / _TURN * jnp.arctan2(a, root) + a * a / (jnp.pi * (1 + a) * root)
    large = jnp.where(a > 1, a, 1.0)
    t = jnp.sqrt(1 + 2 * large) / large
    defect = (1 + 3 * large) / (large * (1 + large) * jnp.sqrt(1 + 2 * large))
    defect = (defect - _arctangent_excess(t)) / jnp.pi
    return value, jnp.where(a > 1, defect, 1 - ratio(2 * value, a))


def _parallel(a: Array, b: Array, q: Array) -> tuple[Array, Array]:
    """(τ(a, b, √ab), its relative distance from √ab/2), q = √ab."""
    product, big = (1 + a) * (1 + b), jnp.sqrt(1 + (a + b))
    value = (
        q / 4 + q / _TURN * jnp.arctan2(q, big) + q * q * (2 + (a + b)) / (product * big * _TURN)
    )
    large = jnp.where(q > 1, q, 1.0)
    a, b = jnp.where(q > 1, a, 1.0), jnp.where(q > 1, b, 1.0)
    product, big = (1 + a) * (1 + b), jnp.sqrt(1 + (a + b))
    defect = (1 + 2 * (a + b) + (a * a + b * b) + a * b) / (large * big * product)
    defect = (defect - _arctangent_excess(big / large)) / jnp.pi
    return value, jnp.where(q > 1, defect, 1 - ratio(2 * value, q))


def even_part(p: Pair) -> tuple[Array, Array]:
    """τ and τ̇ of z erf(z/√2)/2, the even part of gelu."""
    root = jnp.sqrt(1 + (p.a + p.b) + p.determinant)
    kappa = 1 / (1 + p.a) + 1 / (1 + p.b)
    angle = jnp.arctan2(p.c, root)
    tau = (p.c * angle + (p.determinant + p.c * p.c * kappa) / root) / _TURN
    return tau, (angle + p.c * (kappa + 1 / (root * root)) / root) / _TURN


def gelu(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = z Φ(z)."""
    obtuse = p.c < 0
    k = jnp.where(obtuse, -p.c, p.c)
    q = square_root(p.a * p.b)
    big = jnp.sqrt(1 + (p.a + p.b))
    root = jnp.sqrt(1 + (p.a + p.b) + p.determinant)
    kappa = 1 / (1 + p.a) + 1 / (1 + p.b)
    even, _ = even_part(p)
    # At obtuse angles the linear and the even part cancel: written as what remains.
    t = ratio(root, k)
    remains = k * _arctangent_excess(t) + (1 - root * root * kappa) / root
    c = jnp.where(obtuse & (k > root), remains / _TURN, p.c / 4 + even)
    orthant = jnp.arctan2(root, -p.c) / _TURN
    slope = orthant + p.c * (kappa + 1 / (root * root)) / (_TURN * root)

    (a, less_a), (b, less_b) = _variance(p.a), _variance(p.b)
    together, less = _parallel(p.a, p.b, q)
    # τ(a, b, √ab) - τ(a, b, c) for c >= 0.
    step = ratio(p.determinant, q + k)
    rise = p.determinant * ((1 + p.a) * (1 + p.b))
    turn = jnp.arctan2(ratio(rise, q * root + k * big), big * root + q * k)
    bend = p.a * p.b * kappa / (big * (big + root)) - 1 + kappa
    drop = step * jnp.arctan2(q, big) + k * turn + p.determinant / root * bend
    drop = jnp.maximum(step / 4 + drop / _TURN, 0.0)
    apart = ratio(p.a - p.b, square_root(p.a) + square_root(p.b)) ** 2 / 4
    apart = jnp.maximum(apart - (p.a * less_a + p.b * less_b - 2 * q * less) / 4, 0.0)
    between = 2 * less - (less_a + less_b) + less_a * less_b - less * less
    between = jnp.where(p.a == p.b, 0.0, jnp.maximum(p.a * p.b / 4 * between, 0.0))
    gap = jnp.where(obtuse, (a + b) / 2 - c, jnp.where(p.a == p.b, 0.0, apart) + drop)
    determinant = jnp.where(
        obtuse, jnp.maximum(a * b - c * c, 0.0), between + drop * (together + c)
    )
    return Pair(a, b, c, gap, determinant), slope

r"""Duals in closed form: relu, erf, sin, cos, exp(-z²) and the identity.

Each carries the gap and the determinant of its outputs without taking differences of nearly equal numbers. For the
functions of the error function that is done by way of the parallel pair (√a z, √b z), whose covariance is
:math:`\sqrt{ab}`:

    gap = [gap of the parallel pair] + [τ(a, b, √ab) - τ(a, b, |c|)],

two terms that are not negative, each in closed form (an odd φ at c < 0 has no cancellation to avoid).

Sources: Cho & Saul (2009) for relu; Williams (1997) for erf; the rest follows from Gaussian integrals.
"""

import jax.numpy as jnp
from jax import Array

from netket_qsntk.activations.pair import Pair, ratio, square_root


def identity(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = z."""
    return p, jnp.ones_like(p.c)


def _sine_excess(q: Array, angle: Array, sine: Array, cosine: Array) -> Array:
    """q(sin t - t cos t) for t in [0, π], given t, q sin t and q cos t."""
    # The difference loses t² of its digits when written so; its series does not.
    t2 = angle * angle
    series = 1 / 45360 - t2 * (1 / 3991680 - t2 / 518918400)
    series = q * angle * t2 * (1 / 3 - t2 * (1 / 30 - t2 * (1 / 840 - t2 * series)))
    return jnp.where(angle < 0.25, series, sine - angle * cosine)


def relu(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = max(z, 0)."""
    # θ is the angle between u and v: q cos θ = c, q sin θ = √determinant.
    q, sine = square_root(p.a * p.b), square_root(p.determinant)
    along = jnp.where(q == 0, 1.0, p.c)
    theta, rest = jnp.arctan2(sine, along), jnp.arctan2(sine, -along)  # rest = π - θ
    obtuse = p.c < 0
    tau = jnp.where(obtuse, _sine_excess(q, rest, sine, -p.c), sine + rest * p.c) / (2 * jnp.pi)
    # q - 2τ = q(1 - cos θ) - q(sin θ - θ cos θ)/π, both small together at small angles.
    positive = jnp.where(obtuse | (q == 0), 1.0, q + p.c)
    versine = jnp.where(obtuse, q - p.c, p.determinant / positive)
    defect = versine - _sine_excess(q, theta, sine, p.c) / jnp.pi
    difference = ratio(p.a - p.b, square_root(p.a) + square_root(p.b))
    gap = difference**2 / 4 + defect / 2
    return Pair(p.a / 2, p.b / 2, tau, gap, defect * (q + 2 * tau) / 4), rest / (2 * jnp.pi)


def _halves(p: Pair) -> tuple[Array, Array]:
    """(E[(u - v)²]/2, E[(u + v)²]/2); the second, a + b - gap, from the determinant where the first is larger."""
    square = p.determinant + ((p.a - p.b) / 2) ** 2
    return p.gap, jnp.where(p.c < 0, ratio(square, p.gap), p.a + p.b - p.gap)


def _between_norms(p: Pair) -> Array:
    """(e^{-a} - e^{-b})²/2."""
    # By the larger and the smaller: the same to the last bit in either order.
    return (jnp.exp(-jnp.minimum(p.a, p.b)) * jnp.expm1(-jnp.abs(p.a - p.b))) ** 2 / 2


def sin(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = sin z: τ = e^{-(a+b)/2} sinh c."""
    minus, plus = _halves(p)
    near, far = jnp.exp(-minus), jnp.exp(-plus)
    a, b = -jnp.expm1(-2 * p.a) / 2, -jnp.expm1(-2 * p.b) / 2
    positive = p.c > 0
    size = jnp.expm1(-2 * jnp.where(positive, p.c, -p.c))
    c = jnp.where(positive, -near * size, far * size) / 2
    norms = _between_norms(p)
    gap = jnp.maximum(-jnp.expm1(-minus) * (1 + far) - norms, 0.0) / 2
    total = jnp.maximum(-jnp.expm1(-plus) * (1 + near) - norms, 0.0) / 2
    determinant = jnp.maximum(gap * total - ((a - b) / 2) ** 2, 0.0)
    return Pair(a, b, c, gap, determinant), (near + far) / 2


def cos(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = cos z: τ = e^{-(a+b)/2} cosh c."""
    minus, plus = _halves(p)
    near, far = jnp.exp(-minus), jnp.exp(-plus)
    a, b = (1 + jnp.exp(-2 * p.a)) / 2, (1 + jnp.exp(-2 * p.b)) / 2
    norms = _between_norms(p)
    gap = (jnp.expm1(-minus) * jnp.expm1(-plus) + norms) / 2
    determinant = jnp.maximum(gap * (a + b - gap) - ((a - b) / 2) ** 2, 0.0)
    slope = sin(p)[0].c
    return Pair(a, b, (near + far) / 2, gap, determinant), slope


def erf(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = erf z: τ = (2/π) asin(2c/√((1 + 2a)(1 + 2b)))."""
    k = jnp.where(p.c < 0, -p.c, p.c)
    parallel = square_root(p.a * p.b)
    r = jnp.sqrt(1 + 2 * (p.a + p.b))
    root = jnp.sqrt(1 + 2 * (p.a + p.b) + 4 * p.determinant)
    p_a, p_b = jnp.sqrt(1 + 4 * p.a), jnp.sqrt(1 + 4 * p.b)
    scale = 2 / jnp.pi
    a, b = scale * jnp.arctan2(2 * p.a, p_a), scale * jnp.arctan2(2 * p.b, p_b)
    c, together = scale * jnp.arctan2(2 * p.c, root), scale * jnp.arctan2(2 * parallel, r)
    # The angle between the asin of the parallel pair and that of this one, as one arctangent.
    rise = 2 * p.determinant * ((1 + 2 * p.a) * (1 + 2 * p.b))
    drop = scale * jnp.arctan2(ratio(rise, parallel * root + k * r), r * root + 4 * parallel * k)
    # Of the parallel pair: asin(2a/(1 + 2a)) = 2 atan √(1 + 4a) - π/2.
    total, product = p_a + p_b, p_a * p_b
    squared = (4 * (p.a - p.b) / total) ** 2  # (p_a - p_b)²
    less = (4 * (p.a + p.b) + 16 * p.a * p.b) / (product + 1)  # product - 1
    up = squared * ((product + 1) ** 2 + squared) / 4
    apart = scale * jnp.arctan2(
        ratio(up, less * r + 2 * parallel * total), total * r + 2 * parallel * less
    )
    gap = jnp.where(p.c < 0, (a + b) / 2 - c, apart + drop)
    between = jnp.maximum(apart * ((a + b) / 2 + together) - ((a - b) / 2) ** 2, 0.0)
    determinant = between + drop * (together + jnp.where(p.c < 0, -c, c))
    return Pair(a, b, c, gap, determinant), 4 / (jnp.pi * root)


def gaussian(p: Pair) -> tuple[Pair, Array]:
    """φ(z) = exp(-z²): τ = ((1 + 2a)(1 + 2b) - 4c²)^(-1/2)."""
    r2 = 1 + 2 * (p.a + p.b)
    r, root = jnp.sqrt(r2), jnp.sqrt(r2 + 4 * p.determinant)
    p_a, p_b = jnp.sqrt(1 + 4 * p.a), jnp.sqrt(1 + 4 * p.b)
    total, product = p_a + p_b, p_a * p_b
    squared = (4 * (p.a - p.b) / total) ** 2  # (p_a - p_b)²
    drop = 4 * p.determinant / (r * root * (r + root))
    apart = squared * (total**2 + 2 * product) / (4 * product * r * (total * r + 2 * product))
    determinant = squared / (2 * product * r2) + drop * (1 / r + 1 / root)
    moments = Pair(1 / p_a, 1 / p_b, 1 / root, apart + drop, determinant)
    return moments, 4 * p.c / root**3

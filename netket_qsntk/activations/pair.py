"""Second moments of two Gaussian variables, in the form that keeps their digits through the layers."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Pair(NamedTuple):
    """Second moments of (u, v); arrays that broadcast against one another.

    Two of the five are redundant. Equal, antipodal and parallel configurations have a gap or a determinant
    that a + b - 2c and ab - c² no longer hold in floating point. The angle of the relu kernel is a square root
    of them (an error of 1e-16 would be 1e-8 in the NTK), and where variances grow from layer to layer an error of
    1e-16 ab in the determinant is larger than everything it is added to.
    """

    a: Array
    """E[u²]"""
    b: Array
    """E[v²]"""
    c: Array
    """E[uv]"""
    gap: Array
    """(a + b)/2 - c = E[(u - v)²]/2"""
    determinant: Array
    """ab - c²"""

    @classmethod
    def of(cls, a: Array, b: Array, c: Array) -> "Pair":
        """From the three moments; exact where their sums and products are, as on lattices."""
        return cls(a, b, c, jnp.maximum((a + b) / 2 - c, 0.0), jnp.maximum(a * b - c * c, 0.0))

    @classmethod
    def equal(cls, a: Array) -> "Pair":
        """u = v with variance a."""
        zero = jnp.zeros_like(a)
        return cls(a, a, a, zero, zero)

    def affine(self, weight: Array | float, bias: Array | float) -> "Pair":
        """Moments of (√weight·u + w, √weight·v + w) with w ~ N(0, bias) independent of both."""
        a, b, c = (weight * t + bias for t in self[:3])
        gap = weight * self.gap
        return Pair(a, b, c, gap, weight * weight * self.determinant + 2 * bias * gap)


Dual = Callable[[Pair], tuple[Pair, Array]]
"""``dual(moments of (u, v)) -> (moments of (φ(u), φ(v)), E[φ'(u)φ'(v)])``"""


def square_root(x: Array) -> Array:
    """√x for x >= 0, with derivative 0 at 0: a moment that vanishes identically has no derivative there."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def ratio(x: Array, y: Array) -> Array:
    """x/y, and 0 where y = 0."""
    return jnp.where(y == 0, 0.0, x / jnp.where(y == 0, 1.0, y))

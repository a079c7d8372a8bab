r"""Duals of functions that become straight lines far out, at a cost that does not grow with the variance.

tanh, sigmoid, silu, softplus, mish and their like are

.. math:: \phi(z) = \beta + \alpha z + A\, z\,\mathrm{erf}(z/\sqrt2) + B\,\mathrm{erf}(z/\sqrt2) + \psi(z)

with ψ(z) → 0 exponentially on both sides. Between the four far fields every expectation has a closed form; given u,
that of a far field at v has one too, so that ψ with a far field is an integral over one variable; and ψ with ψ is one
over a square of fixed size. By the trapezoidal rule each needs a number of nodes that the width and the
analyticity of ψ alone decide: inputs of any size, layers of any σ, share one rule, and one compiled program.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf

from netket_qsntk.activations.gelu import even_part
from netket_qsntk.activations.pair import Pair, ratio, square_root
from netket_qsntk.activations.trapezoid import (
    REACH,
    Function,
    Values,
    in_batches,
    moments_of_outputs,
    of_finer,
    on_grids,
    with_slope,
)

_DENSITY = float(np.sqrt(2 / np.pi))
# Where ψ may end, and the nodes that may cover it.
_RANGES = (8.0, 12.0, 16.0, 20.0, 28.0, 36.0, 48.0)
NODES = (48, 64, 80, 96, 112, 128, 144, 160, 192, 256, 320)
# ψ beyond its range, and the change from one rule to a much finer one, relative to the largest |ψ|.
_TAIL = 1e-13
_CONVERGED = 3e-13
_FINE = 4001
# Nodes for each unit of √a where u is a multiple of v: the far field of u is a step of width √(b/a) in v.
_STEEP = 24
# Where √a is not known.
_UNKNOWN = 4096


@dataclass(frozen=True)
class FarField:
    """β + αz + A z erf(z/√2) + B erf(z/√2), to which φ comes exponentially close beyond ``range``."""

    constant: float
    linear: float
    bent: float
    step: float
    range: float

    def value(self, z: Array) -> Array:
        """The far field at z."""
        e = erf(z * np.sqrt(0.5))
        return self.constant + self.linear * z + (self.bent * z + self.step) * e

    def covariance(self, p: Pair) -> Values:
        """E of the far fields of u and v, and of their derivatives."""
        one_a, one_b = 1 + p.a, 1 + p.b
        root = jnp.sqrt(1 + (p.a + p.b) + p.determinant)
        even, even_slope = even_part(p)
        mean_a, mean_b = _DENSITY / jnp.sqrt(one_a), _DENSITY / jnp.sqrt(one_b)
        value = (
            self.constant**2
            + self.linear**2 * p.c
            + 4 * self.bent**2 * even
            + self.step**2 * 2 / jnp.pi * jnp.arctan2(p.c, root)
            + self.constant * self.bent * (p.a * mean_a + p.b * mean_b)
            + self.linear * self.step * p.c * (mean_a + mean_b)
        )
        slope = (
            self.linear**2
            + 4 * self.bent**2 * even_slope
            + self.step**2 * 2 / (jnp.pi * root)
            + self.linear * self.step * (mean_a + mean_b)
        )
        return value, slope

    def given(self, mean: Array, variance: Array) -> Values:
        """E of the far field of v ~ N(mean, variance), and of its derivative."""
        one = 1 + variance
        e, density = (
            erf(mean / jnp.sqrt(2 * one)),
            _DENSITY * jnp.exp(-mean * mean / (2 * one)) / jnp.sqrt(one),
        )
        value = self.constant + self.linear * mean + self.step * e
        value = value + self.bent * (mean * e + variance * density)
        slope = self.linear + self.step * density + self.bent * (e + mean / one * density)
        return value, slope


def _nodes(nodes: int, dtype: jnp.dtype) -> Values:
    """Positions in [0, 1] and weights of the trapezoidal rule."""
    weights = np.full(nodes, 1 / (nodes - 1))
    weights[[0, -1]] /= 2
    return jnp.asarray(np.linspace(0, 1, nodes), dtype), jnp.asarray(weights, dtype)


def _normal(z: Array) -> Array:
    return jnp.exp(-z * z / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class NearField:
    """Dual of a function with straight far fields.

    Attributes:
        function: φ, elementwise and differentiable by JAX.
        far: What it is far out.
        nodes: Nodes in each direction of the square.
        fine: Nodes of the integral of ψ(v) with the far field of u, which is as steep in v as √(a/b).
        mirrored: Whether φ is odd or even: u > 0 is then half of the integral.
    """

    function: Function
    far: FarField
    nodes: int
    fine: int
    mirrored: bool

    def up_to(self, deviation: float) -> "NearField":
        """The same with as many nodes as variables of this standard deviation need."""
        # Inputs that do not reach the end of the near field need a part of its nodes.
        needed = self.nodes * min(1.0, REACH * deviation / self.far.range)
        return replace(
            self,
            nodes=next(n for n in NODES if n >= needed),
            fine=max(256, 1 << math.ceil(math.log2(_STEEP * deviation))),
        )

    def __call__(self, p: Pair) -> tuple[Pair, Array]:
        """The moments of (φ(u), φ(v)) and τ̇."""
        return moments_of_outputs(self._tau, p)

    def _rest(self, z: Array) -> Values:
        """ψ and ψ'."""
        return with_slope(lambda t: self.function(t) - self.far.value(t), z)

    def _tau(self, p: Pair) -> Values:
        far, far_slope = self.far.covariance(p)
        near, near_slope = in_batches(self._integrate, p)
        return far + near, far_slope + near_slope

    def _integrate(self, moments: tuple[Array, Array, Array]) -> Values:
        """E[ψ(u)φ(v)] + E[far(u)ψ(v)]."""
        std, along, across = moments
        t, w = _nodes(self.nodes, std.dtype)

        def reach(deviation: Array) -> Array:
            return jnp.minimum(REACH, self.far.range / jnp.maximum(deviation, self.far.range / 16))

        def add(total: Values, node: Values) -> tuple[Values, None]:
            t1, w1 = node
            z1 = reach(std) * (2 * t1 - 1)
            weight = w1 * 2 * reach(std) * _normal(z1)
            mean = along * z1
            value, slope = self.far.given(mean, across**2)
            # The part of v = mean + across·y in which both ψ and the Gaussian differ from zero.
            width = jnp.maximum(across, self.far.range * 1e-30)
            low, high = (
                jnp.clip((s * self.far.range - mean) / width, -REACH, REACH) for s in (-1, 1)
            )
            y = low[:, None] + (high - low)[:, None] * t[None, :]
            weights = (high - low)[:, None] * w[None, :] * _normal(y)
            rest_v, rest_slope_v = self._rest(mean[:, None] + across[:, None] * y)
            value = value + jnp.sum(weights * rest_v, -1)
            slope = slope + jnp.sum(weights * rest_slope_v, -1)
            rest_u, rest_slope_u = self._rest(std * z1)
            return (
                total[0] + weight * rest_u * value,
                total[1] + weight * rest_slope_u * slope,
            ), None

        # ψ(v) with the far field of u: v first, u given v.
        std_v = square_root(along**2 + across**2)
        places, shares = _nodes(self.fine, std.dtype)
        z = reach(std_v)[:, None] * (2 * places[None, :] - 1)
        weights = 2 * reach(std_v)[:, None] * shares[None, :] * _normal(z)
        rest, rest_slope = self._rest(std_v[:, None] * z)
        share = std * ratio(along, std_v)
        variance = (std * ratio(across, std_v)) ** 2
        variance = jnp.where(std_v == 0, std**2, variance)
        value, slope = self.far.given(share[:, None] * z, variance[:, None])
        start = jnp.sum(weights * rest * value, -1), jnp.sum(weights * rest_slope * slope, -1)
        if self.mirrored:
            half, weights = _nodes(self.nodes // 2 + 1, std.dtype)
            return jax.lax.scan(add, start, ((1 + half) / 2, weights))[0]
        return jax.lax.scan(add, start, (t, w))[0]


@lru_cache(maxsize=64)
def near_field(function: Function) -> NearField | None:
    """The dual of φ through its far fields; None if it has none, or is not smooth enough between them."""
    far = _far_field(function)
    return None if far is None else _smooth_enough(function, far)


def _far_field(function: Function) -> FarField | None:
    """What φ is beyond the first of the ranges from where on it is two straight lines."""
    lines = np.linspace(1, 3, 33)
    values, slopes = on_grids(function, [s * r * lines for r in _RANGES for s in (-1, 1)])
    eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)
    for i, reach in enumerate(_RANGES):
        sides, slope = values[2 * i : 2 * i + 2], slopes[2 * i : 2 * i + 2]
        if not (np.isfinite(sides).all() and np.isfinite(slope).all()):
            return None
        z = np.stack([-reach * lines, reach * lines])
        linear = np.asarray([t[-1] for t in slope])
        ends = np.asarray([t[-1] for t in sides]) - linear * z[:, -1]
        distance = np.abs(sides - ends[:, None] - linear[:, None] * z).max()
        if distance < max(_TAIL, 16 * eps) * max(1.0, np.abs(sides).max()):
            (low, high), (left, right) = ends.tolist(), linear.tolist()
            return FarField(
                constant=(low + high) / 2,
                linear=(left + right) / 2,
                bent=(right - left) / 2,
                step=(high - low) / 2,
                range=reach,
            )
    return None


def _smooth_enough(function: Function, far: FarField) -> NearField | None:
    """With the fewest nodes that integrate ψ² and ψ'² to rounding."""
    grids = [np.linspace(-far.range, far.range, n) for n in (*NODES, _FINE)]
    values, slopes = on_grids(lambda z: function(z) - far.value(z), grids)
    found = []
    for z, value, slope in zip(grids, values, slopes, strict=True):
        weights = np.stack([np.exp(-(z**2) / 8), np.exp(-((z - 0.3) ** 2)), np.ones_like(z)])
        found.append(np.stack([weights @ value**2, weights @ slope**2]) * (z[1] - z[0]))
    rest = values[-1]
    rounding = _TAIL * max(1.0, np.abs(rest).max())
    even = far.linear == far.step == 0 and np.abs(rest - rest[::-1]).max() < rounding
    odd = far.constant == far.bent == 0 and np.abs(rest + rest[::-1]).max() < rounding
    eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)
    tolerance = max(_CONVERGED, 100 * eps) * max(1.0, np.abs(found[-1]).max())
    errors = [np.abs(integrals - found[-1]).max() for integrals in found[:-1]]
    accurate = of_finer(errors) < tolerance
    if not accurate.any():
        return None
    return NearField(function, far, NODES[int(np.argmax(accurate))], _UNKNOWN, bool(even or odd))

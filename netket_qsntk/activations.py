r"""Activations and their dual kernels.

For (u, v) jointly Gaussian with zero mean, variances a, b and covariance c, the dual of an activation φ is
:math:`\tau(a, b, c) = E[\phi(u)\phi(v)]` and its derivative :math:`\dot\tau = E[\phi'(u)\phi'(v)] = \partial\tau/\partial c`
(Price's theorem). They are the steps of the layer recursion of the NNGP and the NTK.

A pair of configurations is carried as four numbers, :class:`Pair`, of which one is redundant: the *gap*
(a + b)/2 - c. Near-equal configurations have a tiny gap that a + b - 2c no longer holds in floating point, and
the angle of the relu kernel is its square root: an error of 1e-16 in the gap would be 1e-8 in the NTK.

Sources: Cho & Saul (2009) for relu; Williams (1997) for erf; the rest follows from Gaussian integrals
(gelu: two integrations by parts on the bivariate orthant probability).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.errors import InvalidModelError


class Pair(NamedTuple):
    """Second moments of (u, v); arrays that broadcast against one another."""

    a: Array
    """E[u²]"""
    b: Array
    """E[v²]"""
    c: Array
    """E[uv]"""
    gap: Array
    """(a + b)/2 - c = E[(u - v)²]/2"""

    @property
    def determinant(self) -> Array:
        """ab - c² without the cancellation at u = v."""
        value = self.gap * (self.a + self.b - self.gap) - ((self.a - self.b) / 2) ** 2
        return jnp.maximum(value, 0.0)


Dual = Callable[[Pair], tuple[Pair, Array]]


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its dual: ``dual(pair) -> (moments of (φ(u), φ(v)), τ̇)``."""

    name: str
    function: Callable[[Array], Array]
    dual: Dual


def _smooth(tau: Callable[[Pair], tuple[Array, Array]]) -> Dual:
    """Dual of an activation without kinks: its own gap needs no more than a difference."""

    def dual(p: Pair) -> tuple[Pair, Array]:
        zero = jnp.zeros_like(p.a)
        a, _ = tau(Pair(p.a, p.a, p.a, zero))
        b, _ = tau(Pair(p.b, p.b, p.b, jnp.zeros_like(p.b)))
        c, derivative = tau(p)
        gap = jnp.where(p.gap == 0, 0.0, jnp.maximum((a + b) / 2 - c, 0.0))
        return Pair(a, b, c, gap), derivative

    return dual


def _relu(p: Pair) -> tuple[Pair, Array]:
    # With q = √(ab) and θ the angle between u and v, q sin²(θ/2) = (q - c)/2 and q cos²(θ/2) = (q + c)/2.
    q = jnp.sqrt(p.a * p.b)
    minus = jnp.maximum(p.gap - (jnp.sqrt(p.a) - jnp.sqrt(p.b)) ** 2 / 2, 0.0)
    plus = jnp.maximum(q + p.c, 0.0)
    theta = 2 * jnp.arctan2(jnp.sqrt(minus), jnp.sqrt(plus))
    rest = 2 * jnp.arctan2(jnp.sqrt(plus), jnp.sqrt(minus))  # π - θ, accurate near antipodes
    root = jnp.sqrt(minus * plus)
    c = (root + rest * p.c) / (2 * jnp.pi)
    # sin θ - θ cos θ loses θ² of its digits when written so; its series does not.
    t2 = theta * theta
    series = q * theta * t2 * (1 / 3 - t2 * (1 / 30 - t2 * (1 / 840 - t2 * (1 / 45360 - t2 / 3991680))))
    arc = jnp.where(theta < 0.1, series, root - theta * p.c)
    # The norm difference enters the gap directly, the angle only through `arc`.
    gap = jnp.maximum(p.gap / 2 - arc / (2 * jnp.pi), 0.0)
    return Pair(p.a / 2, p.b / 2, c, gap), rest / (2 * jnp.pi)


def _identity(p: Pair) -> tuple[Pair, Array]:
    return p, jnp.ones_like(p.c)


def _erf(p: Pair) -> tuple[Array, Array]:
    root = jnp.sqrt(1 + 2 * (p.a + p.b) + 4 * p.determinant)
    return 2 / jnp.pi * jnp.arctan2(2 * p.c, root), 4 / (jnp.pi * root)


def _sin(p: Pair) -> tuple[Array, Array]:
    s = p.a + p.b - p.gap
    near = jnp.exp(-jnp.where(p.c > 0, p.gap, s))  # the larger of the two exponentials
    odd = -near * jnp.expm1(-2 * jnp.abs(p.c)) / 2
    return jnp.sign(p.c) * odd, (jnp.exp(-p.gap) + jnp.exp(-s)) / 2


def _cos(p: Pair) -> tuple[Array, Array]:
    odd, even = _sin(p)
    return even, odd


def _gaussian(p: Pair) -> tuple[Array, Array]:
    det = 1 + 2 * (p.a + p.b) + 4 * p.determinant
    return 1 / jnp.sqrt(det), 4 * p.c / det**1.5


def _gelu(p: Pair) -> tuple[Array, Array]:
    det = 1 + p.a + p.b + p.determinant
    root = jnp.sqrt(det)
    orthant = 0.25 + jnp.arctan2(p.c, root) / (2 * jnp.pi)
    slope = 1 / (1 + p.a) + 1 / (1 + p.b) - 1  # 1 - a/(1+a) - b/(1+b)
    poly = p.c**2 * slope + p.a * p.b
    tau = p.c * orthant + poly / (2 * jnp.pi * root)
    derivative = orthant + (p.c + 2 * p.c * slope + poly * p.c / det) / (2 * jnp.pi * root)
    return tau, derivative


def quadrature(function: Callable[[Array], Array], nodes: int = 192) -> Dual:
    r"""Dual of any smooth activation by the trapezoidal rule on the plane of two independent normals.

    On the real line the trapezoidal rule converges geometrically for functions that are analytic in a strip:
    with h = 2·8.7/nodes the error is about e^{-2π d/h}, d the distance of the singularities of
    φ(√a z) from the real axis. For tanh, d = π/(2√a): with 192 nodes full accuracy up to a = 15.
    Gauss-Hermite quadrature with as many nodes converges like e^{-c√nodes} only.

    Args:
        function: The activation, elementwise and differentiable by JAX.
        nodes: Nodes in each direction; the cost is nodes² evaluations for each different kernel value.
    """
    z = np.linspace(-8.7, 8.7, nodes)
    w = np.exp(-(z**2) / 2)
    w /= w.sum()
    grad = jnp.vectorize(jax.grad(lambda t: function(t).astype(t.dtype)))

    def tau(p: Pair) -> tuple[Array, Array]:
        std = jnp.sqrt(p.a)
        slope = jnp.where(p.a > 0, p.c / jnp.where(p.a > 0, std, 1.0), 0.0)
        rest = jnp.sqrt(jnp.where(p.a > 0, p.determinant / jnp.where(p.a > 0, p.a, 1.0), p.b))
        inner_z, inner_w = jnp.asarray(z), jnp.asarray(w)

        def add(total: tuple[Array, Array], node: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            z1, w1 = node
            u = std * z1
            v = (slope * z1)[..., None] + rest[..., None] * inner_z
            value = w1 * function(u) * (function(v) @ inner_w)
            derivative = w1 * grad(u) * (grad(v) @ inner_w)
            return (total[0] + value, total[1] + derivative), None

        shape = jnp.broadcast_shapes(p.a.shape, p.b.shape, p.c.shape)
        zero = jnp.zeros(shape)
        std, slope, rest = (jnp.broadcast_to(t, shape) for t in (std, slope, rest))
        (value, derivative), _ = jax.lax.scan(add, (zero, zero), (inner_z, inner_w))
        return value, derivative

    return _smooth(tau)


def _exact_gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gauss(x: Array) -> Array:
    return jnp.exp(-(x * x))


_ACTIVATIONS = {
    "relu": Activation("relu", jax.nn.relu, _relu),
    "erf": Activation("erf", jax.scipy.special.erf, _smooth(_erf)),
    "tanh": Activation("tanh", jnp.tanh, quadrature(jnp.tanh)),
    "gelu": Activation("gelu", _exact_gelu, _smooth(_gelu)),
    "sin": Activation("sin", jnp.sin, _smooth(_sin)),
    "cos": Activation("cos", jnp.cos, _smooth(_cos)),
    "gaussian": Activation("gaussian", _gauss, _smooth(_gaussian)),
    "identity": Activation("identity", lambda x: x, _identity),
}


@lru_cache(maxsize=64)
def _by_quadrature(function: Callable[[Array], Array]) -> Activation:
    return Activation(getattr(function, "__name__", repr(function)), function, quadrature(function))


def activation(name: str | Callable[[Array], Array]) -> Activation:
    """The activation of that name, or any JAX function with its dual by quadrature.

    Raises:
        InvalidModelError: The name is not known.

    Example:
        >>> from netket_qsntk.activations import Pair, activation
        >>> import jax.numpy as jnp
        >>> one, zero = jnp.ones(()), jnp.zeros(())
        >>> moments, derivative = activation("relu").dual(Pair(one, one, one, zero))
        >>> float(moments.c), float(derivative)
        (0.5, 0.5)
    """
    if callable(name):
        return _by_quadrature(name)
    if name not in _ACTIVATIONS:
        raise InvalidModelError(
            f"activation={name!r} is not known: expected one of {', '.join(_ACTIVATIONS)}, or a JAX function."
        )
    return _ACTIVATIONS[name]

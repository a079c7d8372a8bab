r"""Activations and their dual kernels.

For (u, v) jointly Gaussian with zero mean, variances a, b and covariance c, the dual of an activation
φ is :math:`\tau(a, b, c) = E[\phi(u)\phi(v)]` and its derivative
:math:`\dot\tau = E[\phi'(u)\phi'(v)] = \partial\tau/\partial c` (Price's theorem). They are the steps of
the layer recursion of the NNGP and the NTK.

Sources: Cho & Saul (2009) for relu; Williams (1997) for erf; the rest follows from Gaussian integrals
(gelu: two integrations by parts on the bivariate orthant probability).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.alert import alert
from netket_qsntk.errors import InaccurateKernelWarning, InvalidModelError


class Pair(NamedTuple):
    """Second moments of (u, v); arrays that broadcast against one another.

    Two of the five are redundant. Equal, antipodal and parallel configurations have a gap or a determinant
    that a + b - 2c and ab - c² no longer hold in floating point, and the angle of the relu kernel is
    a square root of them: an error of 1e-16 would be 1e-8 in the NTK.
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

    def affine(self, weight: float, bias: float) -> "Pair":
        """Moments of (√weight·u + w, √weight·v + w) with w ~ N(0, bias) independent of both."""
        a, b, c = (weight * t + bias for t in self[:3])
        gap = weight * self.gap
        return Pair(a, b, c, gap, weight**2 * self.determinant + 2 * bias * gap)


Dual = Callable[[Pair], tuple[Pair, Array]]


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its dual: ``dual(pair) -> (moments of (φ(u), φ(v)), τ̇)``.

    Attributes:
        name: What it is called in options.
        function: φ, elementwise.
        dual: See above.
        density: Of a dual by quadrature, the nodes needed for each unit of √a; None for a closed form.
    """

    name: str
    function: Callable[[Array], Array]
    dual: Dual
    density: float | None = None

    def resolved(self, deviation: float) -> "Activation":
        """The same activation with a dual that is accurate for inputs of this standard deviation."""
        if self.density is None:
            return self
        nodes = max(40, math.ceil(self.density * deviation))
        return replace(self, dual=_checked_quadrature(self.function, nodes, deviation))

    def __repr__(self) -> str:
        return f"Activation({self.name})"


def _smooth(tau: Callable[[Pair], tuple[Array, Array]]) -> Dual:
    """Dual of an activation without kinks: its gap and determinant need no more than differences."""

    def dual(p: Pair) -> tuple[Pair, Array]:
        zeros = jnp.zeros_like(p.a), jnp.zeros_like(p.b)  # the shapes of a and b, not of the pair
        a, _ = tau(Pair(p.a, p.a, p.a, zeros[0], zeros[0]))
        b, _ = tau(Pair(p.b, p.b, p.b, zeros[1], zeros[1]))
        c, derivative = tau(p)
        return Pair.of(a, b, c), derivative

    return dual


def _sine_excess(q: Array, angle: Array, sine: Array, cosine: Array) -> Array:
    """q(sin t - t cos t) for t in [0, π], given t, q sin t and q cos t."""
    # The difference loses t² of its digits when written so; its series does not.
    t2 = angle * angle
    series = 1 / 45360 - t2 * (1 / 3991680 - t2 / 518918400)
    series = q * angle * t2 * (1 / 3 - t2 * (1 / 30 - t2 * (1 / 840 - t2 * series)))
    return jnp.where(angle < 0.25, series, sine - angle * cosine)


def _root(x: Array) -> Array:
    """√x with derivative 0 at 0: determinants vanish where configurations are parallel, whatever the σ."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def _relu(p: Pair) -> tuple[Pair, Array]:
    # θ is the angle between u and v: q cos θ = c, q sin θ = √determinant.
    q, sine = jnp.sqrt(p.a * p.b), _root(p.determinant)
    theta, rest = jnp.arctan2(sine, p.c), jnp.arctan2(sine, -p.c)  # rest = π - θ
    obtuse = p.c < 0
    tau = jnp.where(obtuse, _sine_excess(q, rest, sine, -p.c), sine + rest * p.c) / (2 * jnp.pi)
    # q - 2τ = q(1 - cos θ) - q(sin θ - θ cos θ)/π, both small together at small angles.
    positive = jnp.where(obtuse | (q == 0), 1.0, q + p.c)
    versine = jnp.where(obtuse, q - p.c, p.determinant / positive)
    defect = versine - _sine_excess(q, theta, sine, p.c) / jnp.pi
    norms = jnp.sqrt(p.a) + jnp.sqrt(p.b)
    difference = (p.a - p.b) / jnp.where(norms == 0, 1.0, norms)
    gap = difference**2 / 4 + defect / 2
    return Pair(p.a / 2, p.b / 2, tau, gap, defect * (q + 2 * tau) / 4), rest / (2 * jnp.pi)


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


# Kernel values that one quadrature pass holds: its table of values times nodes stays in cache.
_BATCH = 1024


def quadrature(function: Callable[[Array], Array], nodes: int = 192) -> Dual:
    r"""Dual of any smooth activation by the trapezoidal rule on the plane of two independent normals.

    On the real line the trapezoidal rule converges geometrically for functions that are analytic in a
    strip: with h = 2·8.7/nodes the error is about e^{-2π s/h}, s the distance of the singularities of
    φ(√a z) from the real axis. For tanh, s = π/(2√a): 80√a nodes are enough for float64. Gauss-Hermite
    quadrature converges like e^{-c√nodes} only.

    Args:
        function: The activation, elementwise and differentiable by JAX.
        nodes: Nodes in each direction; the cost is nodes² evaluations for each different kernel value.
    """
    grid = np.linspace(-8.7, 8.7, nodes)
    gauss = np.exp(-(grid**2) / 2)
    gauss /= gauss.sum()

    def both(t: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (t,), (jnp.ones_like(t),))

    def batch(moments: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        std, slope, rest = moments
        z, w = jnp.asarray(grid), jnp.asarray(gauss)

        def add(
            total: tuple[Array, Array], node: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], None]:
            z1, w1 = node
            value_u, slope_u = both(std * z1)
            value_v, slope_v = both((slope * z1)[:, None] + rest[:, None] * z[None, :])
            value = total[0] + w1 * value_u * (value_v @ w)
            return (value, total[1] + w1 * slope_u * (slope_v @ w)), None

        zero = jnp.zeros_like(std)
        return jax.lax.scan(add, (zero, zero), (z, w))[0]

    def tau(p: Pair) -> tuple[Array, Array]:
        # u = √a z₁ and v = (c/√a) z₁ + √(determinant/a) z₂.
        safe = jnp.where(p.a > 0, p.a, 1.0)
        slope = jnp.where(p.a > 0, p.c / jnp.sqrt(safe), 0.0)
        rest = _root(jnp.where(p.a > 0, p.determinant / safe, p.b))
        moments = jnp.broadcast_arrays(jnp.sqrt(p.a), slope, rest)
        flat = tuple(t.ravel() for t in moments)
        size = min(_BATCH, flat[0].size)
        padding = -flat[0].size % max(1, size)
        if not size:
            return moments[0], moments[0]
        batches = tuple(jnp.pad(t, (0, padding)).reshape(-1, size) for t in flat)
        value, derivative = jax.lax.map(batch, batches)
        shape, count = moments[0].shape, flat[0].size
        return value.ravel()[:count].reshape(shape), derivative.ravel()[:count].reshape(shape)

    return _smooth(tau)


@lru_cache(maxsize=128)
def _checked_quadrature(function: Callable[[Array], Array], nodes: int, deviation: float) -> Dual:
    """:func:`quadrature`, with a warning if a finer rule gives something else."""
    dual = quadrature(function, nodes)
    with jax.ensure_compile_time_eval():
        a = jnp.asarray(deviation**2)
        pair = Pair.of(a, a, a * jnp.asarray([0.5, 1.0]))
        (coarse, slope), (fine, fine_slope) = dual(pair), quadrature(function, 4 * nodes // 3)(pair)
        tiny = jnp.finfo(fine.c.dtype).tiny
        error = max(
            float(jnp.max(jnp.abs(s - t)) / jnp.maximum(jnp.max(jnp.abs(t)), tiny))
            for s, t in ((coarse.c, fine.c), (slope, fine_slope))
        )
    if not error < 1e-10:
        alert(
            f"The kernel of activation {getattr(function, '__name__', function)!r} by quadrature has a "
            f"relative error of about {error:.0e}: it is not smooth, or not finite, at inputs of "
            f"standard deviation {deviation:.2g}. Closed forms are known for "
            f"{', '.join(name for name, act in _ACTIVATIONS.items() if act.density is None)}.",
            InaccurateKernelWarning,
        )
    return dual


def _exact_gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gauss(x: Array) -> Array:
    return jnp.exp(-(x * x))


_ACTIVATIONS = {
    "relu": Activation("relu", jax.nn.relu, _relu),
    "erf": Activation("erf", jax.scipy.special.erf, _smooth(_erf)),
    "tanh": Activation("tanh", jnp.tanh, quadrature(jnp.tanh), density=80.0),
    "gelu": Activation("gelu", _exact_gelu, _smooth(_gelu)),
    "sin": Activation("sin", jnp.sin, _smooth(_sin)),
    "cos": Activation("cos", jnp.cos, _smooth(_cos)),
    "gaussian": Activation("gaussian", _gauss, _smooth(_gaussian)),
    "identity": Activation("identity", lambda x: x, _identity),
}


@lru_cache(maxsize=64)
def _of_function(function: Callable[[Array], Array]) -> Activation:
    for known in _ACTIVATIONS.values():
        if known.function is function:
            return known
    name = getattr(function, "__name__", repr(function))
    return Activation(name, function, quadrature(function), density=160.0)


def activation(name: str | Callable[[Array], Array]) -> Activation:
    """The activation of that name, or any smooth JAX function with its dual by quadrature.

    Args:
        name: One of ``"relu", "erf", "tanh", "gelu", "sin", "cos", "gaussian", "identity"``, or an
            elementwise function; ``jax.nn.relu``, ``jnp.tanh``, … stand for their names.

    Raises:
        InvalidModelError: The name is not known.

    Example:
        >>> from netket_qsntk.activations import Pair, activation
        >>> import jax.numpy as jnp
        >>> one = jnp.ones(())
        >>> moments, derivative = activation("relu").dual(Pair.of(one, one, one))
        >>> float(moments.c), float(derivative)
        (0.5, 0.5)
    """
    if callable(name):
        return _of_function(name)
    if name not in _ACTIVATIONS:
        raise InvalidModelError(
            f"activation={name!r} is not known: expected one of {', '.join(_ACTIVATIONS)}, or a JAX "
            "function."
        )
    return _ACTIVATIONS[name]

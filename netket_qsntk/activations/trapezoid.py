r"""Duals of any elementwise function by the trapezoidal rule.

On the real line the rule converges geometrically for functions that are analytic in a strip: with step h (in units of
the standard deviation √a) the error is about e^{-2π s/h}, s = y/√a, y the distance of the singularities of φ from
the real axis. Gauss-Hermite quadrature converges like e^{-c√nodes} only. The nodes needed grow as √a therefore, and
with them the cost, as a: functions that become straight lines far out go through
:mod:`netket_qsntk.activations.near_field`, whose cost does not depend on a.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.activations.pair import Pair, ratio, square_root

Function = Callable[[Array], Array]
Values = tuple[Array, Array]

# Standard deviations beyond which a Gaussian is zero in float64.
REACH = 8.7
# Kernel values that one pass holds: its table of values times nodes stays in cache.
_BATCH = 1024
# Differences below this fraction of what was subtracted are rounding.
_ROUNDING = 8


def with_slope(function: Function, z: Array) -> Values:
    """(φ(z), φ'(z)), elementwise."""
    return jax.jvp(function, (z,), (jnp.ones_like(z),))


@lru_cache(maxsize=64)
def _compiled(function: Function) -> Callable[[Array], Values]:
    return jax.jit(partial(with_slope, function))


def on_grids(
    function: Function, grids: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """φ and φ' on several grids of numbers, by one compiled program, also while something else is being traced."""
    with jax.ensure_compile_time_eval():
        z = jnp.asarray(np.concatenate(grids), float)
        ends = np.cumsum([len(grid) for grid in grids])[:-1]
        value, slope = _compiled(function)(z)
        found = [np.split(np.asarray(t, float), ends) for t in (value, slope)]
    return found[0], found[1]


def of_finer(errors: Sequence[float] | np.ndarray) -> np.ndarray:
    """The largest error of each rule and of all finer ones, which follow it: one alone may be right by chance."""
    return np.maximum.accumulate(np.asarray(errors)[::-1])[::-1]


def is_mirrored(values: np.ndarray) -> bool:
    """Whether a function is odd or even to rounding, by its values on a grid symmetric about zero."""
    if not np.isfinite(values).all():
        return False
    away = min(np.abs(values - values[::-1]).max(), np.abs(values + values[::-1]).max())
    return bool(away <= 2 * _ROUNDING * np.finfo(float).eps * np.abs(values).max())


def in_batches(
    integrate: Callable[[tuple[Array, Array, Array]], Values], p: Pair
) -> tuple[Array, Array]:
    """``integrate(√a, c/√a, √(determinant/a))`` for each entry of a pair, with u the variable of larger variance.

    u = √a z₁ and v = (c/√a) z₁ + √(determinant/a) z₂; which of the two comes first does not depend on their order, so
    that matrices are symmetric to the last bit.
    """
    a, b = jnp.maximum(p.a, p.b), jnp.minimum(p.a, p.b)
    std = square_root(a)
    moments = jnp.broadcast_arrays(
        std, ratio(p.c, std), jnp.where(a > 0, square_root(ratio(p.determinant, a)), 0 * b)
    )
    shape, count = moments[0].shape, moments[0].size
    if not count:
        return moments[0], moments[0]
    size = min(_BATCH, count)
    batches = tuple(jnp.pad(t.ravel(), (0, -count % size)).reshape(-1, size) for t in moments)
    values = jax.lax.map(integrate, batches)
    value, slope = (t.ravel()[:count].reshape(shape) for t in values)
    return value, slope


def moments_of_outputs(tau: Callable[[Pair], Values], p: Pair) -> tuple[Pair, Array]:
    """The moments of (φ(u), φ(v)) as differences of τ, with those that are below rounding set to zero.

    Where u = v the outputs are equal to the last bit.
    """
    # One pass over all three: a program holds the loop once.
    parts = [Pair(*jnp.broadcast_arrays(*t)) for t in (Pair.equal(p.a), Pair.equal(p.b), p)]
    ends = np.cumsum([t.c.size for t in parts])[:-1]
    together = (jnp.concatenate([t.ravel() for t in column]) for column in zip(*parts, strict=True))
    values, slopes = (jnp.split(t, ends) for t in tau(Pair(*together)))
    a, b, c = (t.reshape(part.c.shape) for t, part in zip(values, parts, strict=True))
    slope = slopes[-1].reshape(c.shape)
    same = (p.gap == 0) & (p.a == p.b)
    c = jnp.where(same, a, c)
    eps = _ROUNDING * jnp.finfo(c.dtype).eps
    gap, mean, difference = (a + b) / 2 - c, (a + b) / 2, (a - b) / 2
    # ab - c² as (mean - c)(mean + c) - difference², each factor without cancellation of its own.
    determinant = gap * (mean + c) - difference**2
    gap = jnp.where(same | (gap < eps * mean), 0.0, gap)
    determinant = jnp.where(same | (determinant < eps * a * b), 0.0, determinant)
    return Pair(a, b, c, gap, determinant), slope


@dataclass(frozen=True)
class Trapezoid:
    """Dual of a smooth function on the plane of two independent normals.

    Attributes:
        function: φ, elementwise and differentiable by JAX.
        nodes: Nodes in each direction; the cost is nodes² evaluations for each different kernel value.
        mirrored: Whether φ is odd or even: u > 0 is then half of the integral.
        limit: The largest standard deviation it is meant for; beyond there are no numbers.
    """

    function: Function
    nodes: int
    mirrored: bool = False
    limit: float = math.inf

    def __call__(self, p: Pair) -> tuple[Pair, Array]:
        """The moments of (φ(u), φ(v)) and τ̇."""
        return moments_of_outputs(self._tau, p)

    def _tau(self, p: Pair) -> Values:
        return in_batches(self._integrate, p)

    def _integrate(self, moments: tuple[Array, Array, Array]) -> Values:
        std, along, across = moments
        grid = np.linspace(-REACH, REACH, self.nodes)
        gauss = np.exp(-(grid**2) / 2)
        gauss = gauss / gauss.sum()
        z, w = (jnp.asarray(t, std.dtype) for t in (grid, gauss))
        outer = z, w
        if self.mirrored:
            # The node at zero, which an odd number of them has, stands on both sides.
            twice = np.where(grid == 0, gauss, 2 * gauss)
            half = self.nodes // 2
            outer = z[half:], jnp.asarray(twice[half:], std.dtype)

        def add(total: Values, node: Values) -> tuple[Values, None]:
            z1, w1 = node
            value_u, slope_u = with_slope(self.function, std * z1)
            value_v, slope_v = with_slope(
                self.function, (along * z1)[:, None] + across[:, None] * z[None, :]
            )
            value = total[0] + w1 * value_u * (value_v @ w)
            return (value, total[1] + w1 * slope_u * (slope_v @ w)), None

        zero = jnp.where(std <= self.limit * (1 + 1e-9), 0.0, jnp.nan).astype(std.dtype)
        return jax.lax.scan(add, (zero, zero), outer)[0]

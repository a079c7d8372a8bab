"""Association schemes: the configurations on which kernels that see distances alone have levels.

All configurations of d spins are the Hamming scheme, those with a fixed number up the Johnson scheme. Both have a
table of integers P_i(j), the eigenvalue of "all pairs at distance i" on level j, that diagonalises every function of
the distance at once.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.hamming import krawtchouk_integers

__all__ = ["Scheme", "hamming_scheme", "johnson_scheme", "spectrum"]

# A level this many times its rounding error is one.
_CLEAR = 64


class Scheme(NamedTuple):
    """A set of configurations with distances, and its levels; hashable."""

    name: str
    """What a user calls it."""
    n_states: int
    """N, exactly."""
    distances: tuple[int, ...]
    """Hamming distances that occur, one for each relation i."""
    table: tuple[tuple[int, ...], ...]
    """P_i(j), [relation][level], exactly."""
    multiplicities: tuple[int, ...]
    """m_j, exactly."""
    parities: tuple[int, ...]
    """Of each level under the flip of all spins: 1 or -1; 0 where the flip leaves the set."""

    @property
    def valencies(self) -> tuple[int, ...]:
        """Number of configurations at each distance from a given one."""
        return tuple(row[0] for row in self.table)


@lru_cache(maxsize=64)
def hamming_scheme(d: int) -> Scheme:
    """All configurations of d two-valued sites; the levels are the parities of w sites.

    Example:
        >>> hamming_scheme(2).table
        ((1, 1, 1), (2, 0, -2), (1, -1, 1))
    """
    weights = range(d + 1)
    return Scheme(
        name=f"all configurations of {d} spins",
        n_states=2**d,
        distances=tuple(weights),
        table=krawtchouk_integers(d),
        multiplicities=tuple(math.comb(d, w) for w in weights),
        parities=tuple((-1) ** w for w in weights),
    )


@lru_cache(maxsize=64)
def johnson_scheme(d: int, up: int) -> Scheme:
    r"""Configurations of d two-valued sites with ``up`` of them in one state; level j has total spin d/2 - j.

    With m the smaller number and n = d - m the larger, m_j = C(d,j) - C(d,j-1) and

    .. math:: E_i(j) = \sum_l (-1)^{i-l} \binom{m-l}{i-l}\binom{m-j}{l}\binom{n-j+l}{l}\qquad
        (0 \le i, j \le m)

    the eigenvalue of all pairs at Hamming distance 2i (P. Delsarte, Philips Res. Rep. Suppl. 10 (1973)).

    Example:
        >>> johnson_scheme(4, 2).table, johnson_scheme(4, 2).multiplicities
        (((1, 1, 1), (4, 0, -2), (1, -1, 1)), (1, 3, 2))
    """
    m = min(up, d - up)
    comb = math.comb

    def eigenvalue(i: int, j: int) -> int:
        return sum(
            (-1) ** (i - k) * comb(m - j, k) * comb(m - k, i - k) * comb(d - m + k - j, k)
            for k in range(i + 1)
        )

    half = 2 * m == d
    return Scheme(
        name=f"configurations of {d} spins with {up} up",
        n_states=comb(d, m),
        distances=tuple(2 * i for i in range(m + 1)),
        table=tuple(tuple(eigenvalue(i, j) for j in range(m + 1)) for i in range(m + 1)),
        multiplicities=tuple(comb(d, j) - (comb(d, j - 1) if j else 0) for j in range(m + 1)),
        parities=tuple((-1) ** j if half else 0 for j in range(m + 1)),
    )


@lru_cache(maxsize=64)
def _averages(scheme: Scheme) -> np.ndarray:
    """P_i(j)/N in float64, (levels, relations)."""
    table = np.array([[Fraction(p, scheme.n_states) for p in row] for row in scheme.table])
    return table.T.astype(float)


def spectrum(values: Array | np.ndarray, scheme: Scheme) -> Array:
    r"""μ_j = (1/N) Σ_i k_i P_i(j): the levels of the matrix k(distance) over the number of configurations.

    The terms are huge and of both signs, and the small levels are what is left of them: they are added in exact
    integers, and what remains is the rounding of k itself, ε Σ_i |k_i P_i(j)|/N. At 100 spins that is more than the
    levels in the middle *are*. From the first level of each parity on that is not clearly above it, all are replaced
    by their common average, whose sum the diagonal k(0) and the antipode k(d) give to full accuracy; an average of
    rounding errors alone is 0.

    Args:
        values: (relations,) k at each distance of the scheme; may be traced.
        scheme: The configurations.

    Returns:
        (levels,) float64, not negative for a positive kernel; differentiable in ``values``.
    """
    values = jnp.asarray(values)
    exact = _exact(values, scheme)
    eps = float(jnp.finfo(values.dtype).eps)
    table = _averages(scheme)
    fixed = jax.lax.stop_gradient(values)
    rounding = eps * (jnp.abs(fixed) @ jnp.abs(table).T)
    drowned = jax.lax.stop_gradient(exact) < _CLEAR * rounding
    multiplicities = jnp.asarray(np.array(scheme.multiplicities, dtype=float))
    out = exact
    for parity in sorted(set(scheme.parities)):
        member = jnp.asarray(np.array(scheme.parities) == parity)
        which = member & (jnp.cumsum(member & drowned) > 0)
        whole = values[0] if parity == 0 else (values[0] + parity * values[-1]) / 2
        power = whole - jnp.sum(jnp.where(member & ~which, multiplicities * exact, 0.0))
        number = jnp.sum(jnp.where(which, multiplicities, 0.0))
        real = jax.lax.stop_gradient(power) > _CLEAR * eps * jnp.abs(fixed[0])
        average = jnp.where(real, power / jnp.maximum(number, 1.0), 0.0)
        out = jnp.where(which, average, out)
    return out


@jax.custom_jvp
def _linear(values: Array, table: Array, exact: Array) -> Array:
    return exact


@_linear.defjvp
def _linear_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    values, table, exact = primals
    return _linear(values, table, exact), table @ tangents[0]


def _exact(values: Array, scheme: Scheme) -> Array:
    def by_integers(numbers: np.ndarray) -> np.ndarray:
        ratios = [float(k).as_integer_ratio() for k in np.asarray(numbers, dtype=float)]
        common = max(denominator for _, denominator in ratios)
        integers = [numerator * (common // denominator) for numerator, denominator in ratios]
        whole = common * scheme.n_states
        columns = zip(*scheme.table, strict=True)
        sums = [sum(k * p for k, p in zip(integers, column, strict=True)) for column in columns]
        return np.array([total / whole for total in sums], dtype=numbers.dtype)

    fixed = jax.lax.stop_gradient(values)
    if isinstance(fixed, jax.core.Tracer):
        shape = jax.ShapeDtypeStruct((len(scheme.multiplicities),), fixed.dtype)
        exact = jax.pure_callback(by_integers, shape, fixed, vmap_method="sequential")
    else:
        exact = jnp.asarray(by_integers(np.asarray(fixed)))
    return _linear(values, jnp.asarray(_averages(scheme), values.dtype), exact)

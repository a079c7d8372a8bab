"""Kernels that depend on inner products of encoded inputs alone, evaluated as few times as possible.

K(x, y) = k(x·x, y·y, x·y). Configurations of lattice models are (half-)integers, so these inner products
take a few dozen different values: on ±1 spins x·y has d + 1. The formula is then evaluated on that table, and
the n × m matrix is an integer product and a look-up (:mod:`netket_qsntk.kernels.look_up`): it costs little more than
writing it to memory. Cost: 2nmd integer operations and 16 nm bytes for the pair of kernels.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.activations import Pair
from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels import look_up
from netket_qsntk.kernels.base import InfiniteWidthKernel, Trainable, check_configurations
from netket_qsntk.kernels.tiles import starts
from netket_qsntk.parallel.mpi import over_ranks

# Integer products are done in float32, exact up to 2²⁴.
_EXACT = 2**24
# Entries of a tile evaluated at once.
_TILE = 2**18
# Coordinates that one fused loop over pairs of real inputs goes through.
_COORDINATES = 32


class Formula(Protocol):
    """(NNGP, NTK) as functions of the input length d and the inner products; elementwise, hashable."""

    def __call__(self, d: int, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) at these inner products, of the shape of ``pair.c``."""
        ...


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(formula: Formula, d: int, pair: Pair) -> tuple[Array, Array]:
    nngp, ntk = formula(d, pair)
    return jnp.broadcast_to(nngp, pair.c.shape), jnp.broadcast_to(ntk, pair.c.shape)


def _pair(x: Array, y: Array) -> Pair:
    """Inner products of rows, with |x - y|² and the determinant as sums of squares.

    The determinant is |x|²|y - (x·y/x·x) x|². Neither loses its digits where configurations are nearly
    equal, antipodal or parallel, as differences of inner products do. One fused loop over the pairs goes
    through the coordinates, as fast as a matrix product for the lengths that inputs have.
    """
    xx, yy = jnp.sum(x * x, -1)[:, None], jnp.sum(y * y, -1)[None, :]
    xy = x @ y.T
    ratio = xy / jnp.where(xx == 0, 1.0, xx)

    def add(total: tuple[Array, Array], coordinates: tuple[Array, Array]) -> tuple[Any, None]:
        gap, rest = total
        for xk, yk in zip(*coordinates, strict=True):
            gap = gap + (xk[:, None] - yk[None, :]) ** 2
            rest = rest + (yk[None, :] - ratio * xk[:, None]) ** 2
        return (gap, rest), None

    total = jnp.zeros_like(xy), jnp.zeros_like(xy)
    d = x.shape[-1]
    if d <= _COORDINATES:
        total, _ = add(total, (x.T, y.T))
    else:
        padded = (jnp.pad(t.T, ((0, -d % _COORDINATES), (0, 0))) for t in (x, y))
        left, right = (t.reshape(-1, _COORDINATES, t.shape[-1]) for t in padded)
        total, _ = jax.lax.scan(add, total, (left, right))
    return Pair(xx, yy, xy, total[0] / 2, xx * total[1])


@partial(jax.jit, static_argnums=0)
def _gram(formula: Formula, x: Array, y: Array) -> tuple[Array, Array]:
    return _evaluate(formula, x.shape[-1], _pair(x, y))


class DotProductKernel(InfiniteWidthKernel):
    """Infinite-width kernel k(x·x, y·y, x·y) of encoded configurations.

    Args:
        formula: ``formula(d, pair) -> (nngp, ntk)``, elementwise in the inner products
            (:class:`netket_qsntk.activations.Pair` of x·x, y·y, x·y, their gap and determinant), jittable
            and hashable.
        model: The model it belongs to, for ``repr``; None where there is none.
        encode: Configurations (n, sites) to real vectors (n, d); None takes them as they are.
        n_parts: 2 for complex ψ, 1 for real ψ.
        trainable: What the NTK was made for.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(10,), parts="real"))
        >>> nngp, ntk = kernel.both(nk.hilbert.Spin(0.5, 3).all_states())
        >>> nngp.shape
        (8, 8)
    """

    def __init__(
        self,
        formula: Formula,
        *,
        model: Any = None,
        encode: Callable[[Array], Array] | None = None,
        n_parts: int = 2,
        trainable: Trainable = "all",
    ) -> None:
        self.formula = formula
        self.model = model
        self.n_parts = n_parts
        self.trainable = trainable
        self._encode = encode

    def encode(self, x: Any) -> Any:
        """Real vectors (n, d) in float64: a NumPy array, or a tracer under a JAX transformation."""
        if self._encode is not None:
            x = self._encode(jnp.asarray(x))
        if isinstance(x, jax.core.Tracer):
            return x.astype(float)
        return np.asarray(x, dtype=np.float64)

    def values(self, d: int, xx: Any, yy: Any, xy: Any) -> tuple[Array, Array]:
        """(NNGP, NTK) at given inner products of encoded inputs of length d, elementwise.

        Full accuracy where x·x + y·y - 2x·y and x·x y·y - (x·y)² are exact, as for (half-)integer inputs.
        """
        xx, yy, xy = (jnp.asarray(t, float) for t in (xx, yy, xy))
        xy = jnp.broadcast_to(xy, jnp.broadcast_shapes(xx.shape, yy.shape, xy.shape))
        return _evaluate(self.formula, d, Pair.of(xx, yy, xy))

    def both(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m)."""
        u = self.encode(check_configurations(x))
        v = u if y is None else self.encode(check_configurations(y, "y"))
        if u.shape[-1] != v.shape[-1]:
            raise InvalidConfigurationsError(
                f"x and y are encoded as vectors of length {u.shape[-1]} and {v.shape[-1]}: expected "
                "configurations of one system, (n, sites) and (m, sites)."
            )
        if isinstance(u, jax.core.Tracer) or isinstance(v, jax.core.Tracer):
            return _gram(self.formula, u, v)
        return over_ranks(lambda rows: self._matrices(rows, v), u)

    def _matrices(self, u: np.ndarray, v: np.ndarray) -> tuple[Array, Array]:
        scale = _lattice_scale(u, v)
        out = _aligned(len(u), len(v)), _aligned(len(u), len(v))
        if scale:
            self._look_up(np.rint(scale * u), np.rint(scale * v), scale, out)
        else:
            self._direct(u, v, out)
        # Aliased, not copied: nobody else holds these buffers.
        return jax.device_put(out[0], may_alias=True), jax.device_put(out[1], may_alias=True)

    def diagonals(self, x: Any) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)) for each configuration: two arrays (n,), without the matrices."""
        u = self.encode(check_configurations(x))
        norms = (u * u).sum(-1)
        return self.values(u.shape[-1], norms, norms, norms)

    def _look_up(
        self, u: np.ndarray, v: np.ndarray, scale: int, out: tuple[np.ndarray, np.ndarray]
    ) -> None:
        (norms_u, row), (norms_v, column) = (
            np.unique((t * t).sum(-1), return_inverse=True) for t in (u, v)
        )
        bound = np.floor(np.sqrt(norms_u.max() * norms_v.max()) + 0.5)
        dots = np.arange(-bound, bound + 1)
        grid = np.sqrt(np.outer(norms_u, norms_v))[..., None]
        s2 = float(scale * scale)
        tables = [
            np.asarray(t).ravel()
            for t in self.values(
                u.shape[-1],
                norms_u[:, None, None] / s2,
                norms_v[None, :, None] / s2,
                # Entries beyond Cauchy-Schwarz are never looked up; the formula must not see them.
                np.clip(dots, -grid, grid) / s2,
            )
        ]
        offset_u = (row * (len(norms_v) * len(dots)) + bound).astype(np.float32)
        offset_v = (column * len(dots)).astype(np.float32)
        # One extra coordinate on each side adds the offsets within the product.
        left = np.column_stack([u, offset_u, np.ones(len(u))]).astype(np.float32)
        right = np.column_stack([v, np.ones(len(v)), offset_v]).astype(np.float32)
        look_up.fill(left, right, (tables[0], tables[1]), out)

    def _direct(self, u: np.ndarray, v: np.ndarray, out: tuple[np.ndarray, np.ndarray]) -> None:
        """By the formula at every pair; where x is y, at those on and above the diagonal, in square tiles."""
        symmetric = u is v
        rows = max(1, math.isqrt(_TILE) if symmetric else _TILE // max(1, len(v)))
        right = jnp.asarray(v)
        for i in starts(len(u), rows):
            here = slice(i, i + rows)
            for j in starts(len(v), rows) if symmetric else [0]:
                if symmetric and j < i:
                    continue
                there = slice(j, j + rows) if symmetric else slice(None)
                values = _gram(self.formula, jnp.asarray(u[here]), right[there])
                for value, target in zip(values, out, strict=True):
                    target[here, there] = value
                    if symmetric and j > i:
                        target[there, here] = np.asarray(value).T

    def __repr__(self) -> str:
        what = repr(self.formula if self.model is None else self.model)
        return self._summary(what, "function of x·x, y·y, x·y")


def _lattice_scale(u: np.ndarray, v: np.ndarray) -> int:
    """1 for integers, 2 for half-integers, 0 for other entries or ones too large for float32 products."""
    if not (u.size and v.size):
        return 0
    largest = max(np.abs(u).max(initial=0.0), np.abs(v).max(initial=0.0))
    for scale in (1, 2):
        values = 2 * u.shape[-1] * (scale * largest) ** 2 + 1
        if all(np.array_equal(np.rint(scale * t), scale * t) for t in (u, v)):
            # The table index itself must be exact too.
            classes = [len(np.unique((t * t).sum(-1))) for t in (u, v)]
            return scale if values * classes[0] * classes[1] < _EXACT else 0
    return 0


def _aligned(n: int, m: int) -> np.ndarray:
    """An uninitialised (n, m) float64 array on the 64-byte boundary that lets JAX alias it on a CPU."""
    raw = np.empty(8 * n * m + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 8 * n * m].view(np.float64).reshape(n, m)

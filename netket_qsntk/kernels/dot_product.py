"""Kernels that depend on inner products of encoded inputs alone, evaluated as few times as possible.

K(x, y) = k(x·x, y·y, x·y). Configurations of lattice models are (half-)integers, so these inner products take a few
dozen different values: on ±1 spins x·y has d + 1. The formula is then evaluated on that table, and the n × m matrix
is an integer product and a look-up (:mod:`netket_qsntk._compat.cpu.look_up`): it costs little more than writing it to
memory. Cost: 2nmd integer operations and 16 nm bytes for the pair of kernels.
"""

import math
from collections.abc import Callable
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk._compat.cpu import look_up
from netket_qsntk.activations import Pair
from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels.arguments import Trainable, Which, check_configurations, check_which
from netket_qsntk.kernels.base import InfiniteWidthKernel, KernelModule
from netket_qsntk.kernels.formula import (
    Added,
    Encoding,
    Formula,
    Given,
    Wanted,
    dimension,
    evaluate,
    gram,
    known_pair,
    same_encoding,
)
from netket_qsntk.kernels.tiles import starts
from netket_qsntk.parallel.mpi import over_ranks
from netket_qsntk.tracing import is_traced, on_host

_BOTH: Wanted = ("nngp", "ntk")

_EXACT = 2**24  # integer products are done in float32, exact up to here
# Tables of up to this size cost nothing worth saving: both kernels are evaluated at once.
_SMALL = 2**12
_FEWEST = 16  # values of a table that programs are made for
_TILE = 2**18  # entries of a tile evaluated at once


class DotProductKernel(KernelModule):
    """Infinite-width kernel k(x·x, y·y, x·y) of encoded configurations.

    Args:
        formula: ``formula(d, pair) -> (nngp, ntk)``, elementwise in the inner products
            (:class:`netket_qsntk.activations.Pair` of x·x, y·y, x·y, their gap and determinant), and jittable. A
            :class:`Formula` has its numbers as leaves; those of any other (hashable) function are constants.
        model: The model it belongs to, for ``repr``; None where the formula says it.
        encode: Configurations (n, sites) to real vectors (n, d), a function or a callable pytree; None takes them as
            they are.
        n_parts: 2 for complex ψ, 1 for real ψ.
        trainable: What the NTK was made for.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(10,), parts="real"))
        >>> nngp, ntk = kernel.both(nk.hilbert.Spin(0.5, 3).all_states())
        >>> nngp.shape
        (8, 8)
    """

    formula: Formula
    encoding: Callable[[Array], Array]
    label: str | None = eqx.field(static=True)

    def __init__(
        self,
        formula: Callable[[int, Pair], tuple[Array, Array]],
        *,
        model: object = None,
        encode: Callable[[Array], Array] | None = None,
        n_parts: int = 2,
        trainable: Trainable = "all",
    ) -> None:
        self.formula = formula if isinstance(formula, Formula) else Given(formula)
        self.encoding = encode if isinstance(encode, eqx.Module) else Encoding(encode)
        self.label = None if model is None else repr(model)
        self.n_parts = n_parts
        self.trainable = trainable

    def encode(self, x: ArrayLike) -> Array:
        """Real vectors (n, d) in float64: a NumPy array, or a tracer under a JAX transformation."""
        return on_host(self.encoding(cast(Array, x)), float)

    def coordinates(self, x: ArrayLike) -> Array:
        """The encoded configurations."""
        return self.encode(x)

    def values(self, d: int, xx: ArrayLike, yy: ArrayLike, xy: ArrayLike) -> tuple[Array, Array]:
        """(NNGP, NTK) at given inner products of encoded inputs of length d, elementwise.

        Full accuracy where x·x + y·y - 2x·y and x·x y·y - (x·y)² are exact, as for (half-)integer inputs.
        """
        nngp, ntk = (jnp.asarray(t) for t in self._values(d, xx, yy, xy, _BOTH))
        return nngp, ntk

    def _values(
        self, d: int, xx: ArrayLike, yy: ArrayLike, xy: ArrayLike, wanted: Wanted
    ) -> tuple[Array, ...]:
        """Of known numbers NumPy arrays, computed at a few lengths only, so that all sizes share a few programs."""
        if is_traced((xx, yy, xy)):
            a, b, c = (jnp.asarray(t, float) for t in (xx, yy, xy))
            c = jnp.broadcast_to(c, jnp.broadcast_shapes(a.shape, b.shape, c.shape))
            formula = self._for_inputs(d, a, b)
            return evaluate(formula, dimension(formula, d), Pair.of(a, b, c), wanted)
        left, right, inner = (np.asarray(t, float) for t in (xx, yy, xy))
        shape = np.broadcast_shapes(left.shape, right.shape, inner.shape)
        formula = self._for_inputs(d, left, right)
        inner = np.atleast_1d(np.broadcast_to(inner, shape))
        n = inner.shape[-1]
        padding = max(_FEWEST, 1 << max(n - 1, 0).bit_length()) - n
        moments = (
            np.pad(t, [(0, 0)] * (t.ndim - 1) + [(0, padding)], mode="edge" if n else "constant")
            if t.ndim and t.shape[-1] == n
            else t
            for t in (left, right, inner)
        )
        # One program for tables, whatever is wanted of them.
        evaluated = _BOTH if inner.size <= _SMALL else wanted
        found = evaluate(formula, dimension(formula, d), known_pair(*moments), evaluated)
        found = tuple(found[evaluated.index(which)] for which in wanted)
        return tuple(on_host(t)[..., :n].reshape(shape) for t in found)

    def _for_inputs(self, d: int, *squares: ArrayLike) -> Formula:
        known = [np.asarray(t) for t in squares if not is_traced(t)]
        largest = max((float(t.max(initial=0.0)) for t in known), default=0.0)
        return self.formula.for_inputs(largest / d) if known else self.formula

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m)."""
        nngp, ntk = self._between(x, y, _BOTH)
        return nngp, ntk

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of them alone, at half of the memory."""
        return self._between(x, y, (check_which(which),))[0]

    def _between(self, x: ArrayLike, y: ArrayLike | None, wanted: Wanted) -> tuple[Array, ...]:
        u = self.encode(check_configurations(x))
        v = u if y is None else self.encode(check_configurations(y, "y"))
        if u.shape[-1] != v.shape[-1]:
            raise InvalidConfigurationsError(
                f"x and y are encoded as vectors of length {u.shape[-1]} and {v.shape[-1]}: expected "
                "configurations of one system, (n, sites) and (m, sites)."
            )
        if is_traced((u, v)):
            return gram(self.formula, dimension(self.formula, u.shape[-1]), u, v, wanted)
        rows, columns = np.asarray(u), np.asarray(v)
        if is_traced(self.formula):
            return self._matrices(rows, columns, wanted)
        return over_ranks(lambda own: self._matrices(own, columns, wanted), rows)

    def of_coordinates(self, u: ArrayLike, v: ArrayLike, which: Which) -> Array:
        """Entries between encoded configurations."""
        return self._matrices(np.asarray(u, float), np.asarray(v, float), (which,))[0]

    def _matrices(self, u: np.ndarray, v: np.ndarray, wanted: Wanted) -> tuple[Array, ...]:
        scale = _lattice_scale(u, v)
        if is_traced(self.formula):
            if scale:
                left, right, tables = self._tables(
                    np.rint(scale * u), np.rint(scale * v), scale, wanted
                )
                at = np.rint(left @ right.T).astype(np.int32)
                return tuple(table[at] for table in tables)
            formula = self._for_inputs(u.shape[-1], (u * u).sum(-1), (v * v).sum(-1))
            d = dimension(formula, u.shape[-1])
            return gram(formula, d, jnp.asarray(u), jnp.asarray(v), wanted)
        out = tuple(look_up.aligned(len(u), len(v)) for _ in wanted)
        with jax.ensure_compile_time_eval():
            if scale:
                places = np.rint(scale * u), np.rint(scale * v)
                left, right, tables = self._tables(*places, scale, wanted)
                look_up.fill(left, right, [np.asarray(t) for t in tables], out)
            else:
                self._direct(u, v, wanted, out)
            # Aliased, not copied: nobody else holds these buffers.
            return tuple(jax.device_put(t, may_alias=True) for t in out)

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)) for each configuration: two arrays (n,), without the matrices."""
        nngp, ntk = self._diagonals(x, _BOTH)
        return nngp, ntk

    def diagonal(self, x: ArrayLike, which: Which = "ntk") -> Array:
        """One of them alone."""
        return self._diagonals(x, (check_which(which),))[0]

    def _diagonals(self, x: ArrayLike, wanted: Wanted) -> tuple[Array, ...]:
        u = self.encode(check_configurations(x))
        norms = (u * u).sum(-1)
        if is_traced(norms):
            return self._values(u.shape[-1], norms, norms, norms, wanted)
        few, where = np.unique(norms, return_inverse=True)
        found = self._values(u.shape[-1], few, few, few, wanted)
        return tuple(jnp.asarray(t[where]) for t in found)

    def _tables(
        self, u: np.ndarray, v: np.ndarray, scale: int, wanted: Wanted
    ) -> tuple[np.ndarray, np.ndarray, list[Array]]:
        """Rows and columns whose inner products are places in tables of the kernels; u and v hold integers."""
        (norms_u, row), (norms_v, column) = (
            np.unique((t * t).sum(-1), return_inverse=True) for t in (u, v)
        )
        bound = np.floor(np.sqrt(norms_u.max() * norms_v.max()) + 0.5)
        step = _spacing(u, v)
        first = (float(u[0] @ v[0]) + bound) % step - bound
        dots = np.arange(first, bound + 1, step)
        grid = np.sqrt(np.outer(norms_u, norms_v))[..., None]
        s2 = float(scale * scale)
        tables = self._values(
            u.shape[-1],
            norms_u[:, None, None] / s2,
            norms_v[None, :, None] / s2,
            # Entries beyond Cauchy-Schwarz are never looked up; the formula must not see them.
            np.clip(dots, -grid, grid) / s2,
            wanted,
        )
        if np.array_equal(norms_u, norms_v):
            # One value for (x, y) and (y, x), whatever the formula's rounding makes of their order.
            upper = (np.arange(len(norms_u))[:, None] <= np.arange(len(norms_u)))[..., None]
            where = jnp.where if is_traced(tables) else np.where
            tables = tuple(on_host(where(upper, t, t.swapaxes(0, 1))) for t in tables)
        offset_u = (row * (len(norms_v) * len(dots)) - first / step).astype(np.float32)
        offset_v = (column * len(dots)).astype(np.float32)
        # One extra coordinate on each side adds the offsets within the product.
        left = np.column_stack([u / step, offset_u, np.ones(len(u))]).astype(np.float32)
        right = np.column_stack([v, np.ones(len(v)), offset_v]).astype(np.float32)
        return left, right, [table.ravel() for table in tables]

    def _direct(
        self, u: np.ndarray, v: np.ndarray, wanted: Wanted, out: tuple[np.ndarray, ...]
    ) -> None:
        """By the formula at every pair; where x is y, at those on and above the diagonal, in square tiles."""
        symmetric = u is v
        rows = max(1, math.isqrt(_TILE) if symmetric else _TILE // max(1, len(v)))
        right = jnp.asarray(v)
        formula = self._for_inputs(u.shape[-1], (u * u).sum(-1), (v * v).sum(-1))
        d = dimension(formula, u.shape[-1])
        for i in starts(len(u), rows):
            here = slice(i, i + rows)
            for j in starts(len(v), rows) if symmetric else [0]:
                if symmetric and j < i:
                    continue
                there = slice(j, j + rows) if symmetric else slice(None)
                values = gram(formula, d, jnp.asarray(u[here]), right[there], wanted)
                for value, target in zip(map(np.asarray, values), out, strict=True):
                    if symmetric and j == i:
                        value = np.triu(value) + np.triu(value, 1).T
                    target[here, there] = value
                    if symmetric and j > i:
                        target[there, here] = value.T

    def _plus(self, other: InfiniteWidthKernel) -> "InfiniteWidthKernel | None":
        """One formula of the same inputs, looked up in one pass."""
        if type(other) is not type(self) or not same_encoding(self.encoding, other.encoding):
            return None
        return eqx.tree_at(lambda k: k.formula, self, Added((self.formula, other.formula)))

    @property
    def description(self) -> str:
        """The architecture, with the encoding if it is a module of its own."""
        architecture = self.label or repr(self.formula)
        return (
            architecture
            if isinstance(self.encoding, Encoding)
            else f"{architecture} of {self.encoding!r}"
        )

    def __repr__(self) -> str:
        return self._summary(self.description, "function of x·x, y·y, x·y")


def _spacing(u: np.ndarray, v: np.ndarray) -> int:
    """What inner products of rows of integers differ by multiples of: 2 for odd ones, as spins are, 4 for even."""
    odd = [np.abs(t - 2 * np.rint(t / 2)) for t in (u, v)]
    if all(t.all() for t in odd):
        return 2
    return 1 if any(t.any() for t in odd) else 4


def _lattice_scale(u: np.ndarray, v: np.ndarray) -> int:
    """1 for integers, 2 for half-integers, 0 for other entries or ones too large for float32 products."""
    if not (u.size and v.size):
        return 0
    largest = max(np.abs(u).max(initial=0.0), np.abs(v).max(initial=0.0))
    for scale in (1, 2):
        values = 2 * u.shape[-1] * (scale * largest) ** 2 + 1
        if all(np.array_equal(np.rint(scale * t), scale * t) for t in (u, v)):
            # The table index itself must be exact too, and the table no larger than what is looked up in it.
            classes = [len(np.unique((t * t).sum(-1))) for t in (u, v)]
            entries = values * classes[0] * classes[1]
            return scale if entries < min(_EXACT, max(_SMALL, len(u) * len(v))) else 0
    return 0

"""The two kernels of a network as functions of inner products of its inputs."""

import abc
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.activations import Pair
from netket_qsntk.kernels.arguments import Which
from netket_qsntk.tracing import is_traced, same_structure

Wanted = tuple[Which, ...]
_SLOT = {"nngp": 0, "ntk": 1}
# Coordinates that one fused loop over pairs of real inputs goes through.
_COORDINATES = 32


class Formula(eqx.Module):
    """(NNGP, NTK) as functions of the input length d and the inner products: elementwise, with σ as leaves."""

    @abc.abstractmethod
    def __call__(self, d: ArrayLike, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) at these inner products, of the shape of ``pair.c``."""

    def for_inputs(self, largest: float) -> "Formula":
        """The same, accurate for inputs with x·x/d up to ``largest`` (quadratures follow their inputs)."""
        return self


@runtime_checkable
class FollowsInputs(Protocol):
    """A function with quadratures that follow the size of its inputs."""

    def for_inputs(self, largest: float) -> Callable[[int, Pair], tuple[Array, Array]]:
        """The same, accurate for inputs with x·x/d up to ``largest``."""
        ...


class Given(Formula):
    """A function from elsewhere; its numbers are compile-time constants, and so is d."""

    function: Callable[[int, Pair], tuple[Array, Array]] = eqx.field(static=True)

    def __call__(self, d: ArrayLike, pair: Pair) -> tuple[Array, Array]:
        """What the function gives."""
        return self.function(cast(int, d), pair)

    def for_inputs(self, largest: float) -> Formula:
        """The same, see :class:`Formula`, where the function has such a method."""
        if not isinstance(self.function, FollowsInputs):
            return self
        return Given(self.function.for_inputs(largest))

    def __repr__(self) -> str:
        return repr(self.function)


class Added(Formula):
    """The sum of two formulas of the same inputs."""

    terms: tuple[Formula, Formula]

    def __call__(self, d: ArrayLike, pair: Pair) -> tuple[Array, Array]:
        """Sums of both kernels."""
        (k, t), (l, s) = (term(d, pair) for term in self.terms)
        return k + l, t + s

    def for_inputs(self, largest: float) -> Formula:
        """Both, see :class:`Formula`."""
        return Added((self.terms[0].for_inputs(largest), self.terms[1].for_inputs(largest)))

    def __repr__(self) -> str:
        return f"{self.terms[0]!r} + {self.terms[1]!r}"


class Encoding(eqx.Module):
    """Configurations to real vectors, by a function or as they are."""

    function: Callable[[Array], Array] | None = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """(n, sites) -> (n, d)."""
        return x if self.function is None else self.function(jnp.asarray(x))


def same_encoding(one: object, two: object) -> bool:
    """Whether two encodings are known to be the same function."""
    return same_structure(one, two) and all(
        a is b or (not is_traced((a, b)) and np.array_equal(a, b))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


@eqx.filter_jit
def evaluate(formula: Formula, d: ArrayLike, pair: Pair, wanted: Wanted) -> tuple[Array, ...]:
    """The kernels wanted, each of the shape of ``pair.c``."""
    values = formula(d, pair)
    return tuple(jnp.broadcast_to(values[_SLOT[which]], pair.c.shape) for which in wanted)


def pair_of_rows(x: Array, y: Array) -> Pair:
    """Inner products of rows, with |x - y|² and the determinant as sums of squares.

    The determinant is |x|²|y - (x·y/x·x) x|². Neither loses its digits where configurations are nearly
    equal, antipodal or parallel, as differences of inner products do. One fused loop over the pairs goes
    through the coordinates, as fast as a matrix product for the lengths that inputs have.
    """
    xx, yy = jnp.sum(x * x, -1)[:, None], jnp.sum(y * y, -1)[None, :]
    xy = x @ y.T
    ratio = xy / jnp.where(xx == 0, 1.0, xx)

    def add(
        total: tuple[Array, Array], coordinates: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
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


def known_pair(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Pair:
    """``Pair.of`` on the host: a compiled ab - c² may be fused, and is then not zero where it is."""
    gap, determinant = np.maximum((a + b) / 2 - c, 0.0), np.maximum(a * b - c * c, 0.0)
    return Pair(*(cast(Array, t) for t in (a, b, c, gap, determinant)))


@eqx.filter_jit
def gram(formula: Formula, d: ArrayLike, x: Array, y: Array, wanted: Wanted) -> tuple[Array, ...]:
    """The kernels wanted between rows x (n, d) and y (m, d): (n, m) each."""
    return evaluate(formula, d, pair_of_rows(x, y), wanted)


def dimension(formula: Formula, d: int) -> ArrayLike:
    """d, traced where that lets systems of all sizes share a program."""
    return d if isinstance(formula, Given) else np.asarray(float(d))

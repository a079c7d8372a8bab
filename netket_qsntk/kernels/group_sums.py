r"""Sums of a kernel over a symmetry group, :math:`|G|^{-1} \sum_g \chi(g)^*\, k(x, g y)`, by whichever way is fast.

Where k is a function of the Hamming distance of two local states the sum is over bits and tables
(:mod:`netket_qsntk.symmetry.orbits`), for patches over counts of patterns (:mod:`netket_qsntk.kernels.patterns`);
otherwise k is evaluated |G| times. Configurations that are known only when a program runs are looked at then.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import SymmetryError
from netket_qsntk.kernels import patterns
from netket_qsntk.kernels.arguments import Which
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.operators import HammingTable
from netket_qsntk.symmetry.orbits import folded, orbit_sums, orbit_words, words
from netket_qsntk.symmetry.projection import Projection
from netket_qsntk.tracing import is_traced

States = tuple[float, float]
Sums = tuple[Array, ...]
Wanted = tuple[Which, ...]

# Pairs of configurations and group elements summed in one piece.
_PAIRS = 2**26
# Elements at which the invariance of a kernel is looked at, and evaluations that project both arguments at most.
_TRIED, _MOST = 24, 2**14


def two_states(*batches: ArrayLike, symmetry: Projection | None = None) -> States | None:
    """The two values that the sites of known configurations take, larger first; None for others.

    Of configurations that are not known they are ±1, if they are two at all: :func:`among` tells. A spin flip changes
    signs, so that with one they are opposite or none.
    """
    known = [np.unique(np.asarray(t)) for t in batches if not is_traced(t)]
    values = np.unique(np.concatenate(known or [np.array([-1, 1])]))
    if len(values) == 1 and values[0]:
        return abs(float(values[0])), -abs(float(values[0]))
    flipped = symmetry is not None and symmetry.spin_flip is not None
    if len(values) != 2 or (flipped and values[0] != -values[1]):
        return None
    return float(values[1]), float(values[0])


def among(states: States, x: Array) -> Array:
    """Whether all sites of configurations take one of two values: a boolean, traced or not."""
    return jnp.all((x == states[0]) | (x == states[1]))


def hamming_table(
    kernel: InfiniteWidthKernel, states: States, d: int, which: Which
) -> Array | None:
    """k(0), …, k(d) if the kernel depends on the number of sites in which configurations differ alone, else None."""
    ends = np.repeat(np.array(states)[:, None], d, axis=1)
    found = kernel.structure(ends, which=which)
    if isinstance(found, HammingTable) and found.sitewise and found.d == d:
        return found.values
    return None


def group_sums(
    kernel: InfiniteWidthKernel, symmetry: Projection, x: Array, y: Array, which: Wanted
) -> Sums:
    """The sums for each kernel wanted, between configurations x (n, sites) and y (m, sites): arrays (n, m)."""
    states = two_states(x, y, symmetry=symmetry)
    quick = None if states is None else _quick(kernel, symmetry, x, y, which, states)
    unknown = [t for t in (x, y) if is_traced(t)]
    if quick is None or states is None:
        return _one_by_one(kernel, symmetry, x, y, which)
    if not unknown:
        return quick()
    kinds = [t.dtype for t in jax.eval_shape(quick)]

    def slow() -> Sums:
        found = _one_by_one(kernel, symmetry, x, y, which)
        return tuple(t.astype(kind) for t, kind in zip(found, kinds, strict=True))

    here = jnp.all(jnp.stack([among(states, t) for t in unknown]))
    return jax.lax.cond(here, quick, slow)


def group_diagonals(
    kernel: InfiniteWidthKernel, symmetry: Projection, x: Array, which: Wanted
) -> Sums:
    """The sums at (x, x) for each configuration (n, sites): arrays (n,), without the matrices."""
    if not x.shape[0]:
        return (jnp.zeros(0),) * len(which)
    states = None if is_traced(x) else two_states(x, symmetry=symmetry)
    if states is not None:
        tables = _tables(kernel, symmetry, x.shape[1], which, states)
        if tables is None:
            counted = _counts(kernel, symmetry, x, x, which, states)
            if counted is not None:
                counts, columns, rest = counted
                own = tuple(jnp.einsum("ij,ji->i", counts, column) for column in columns)
                return _with_rest(own, rest, lambda k: group_diagonals(k, symmetry, x, which))

    def at(row: Array) -> Sums:
        row = row[None]
        if states is None:
            sums = group_sums if is_traced(x) else _one_by_one
            return tuple(t[0, 0] for t in sums(kernel, symmetry, row, row, which))
        if tables is None:
            return tuple(t[0, 0] for t in _one_by_one(kernel, symmetry, row, row, which))
        up = row > sum(states) / 2
        return tuple(t[0, 0] for t in _by_bits(symmetry, up, up, tables))

    return tuple(map(jnp.real, jax.lax.map(at, jnp.asarray(x), batch_size=64)))


def _quick(
    kernel: InfiniteWidthKernel,
    symmetry: Projection,
    x: Array,
    y: Array,
    which: Wanted,
    states: States,
) -> Callable[[], Sums] | None:
    """The sums by bits or by patterns, for configurations of two local states; None where neither is possible."""
    tables = _tables(kernel, symmetry, x.shape[1], which, states)
    if tables is not None:
        up = [jnp.asarray(t) > sum(states) / 2 for t in (x, y)]
        return lambda: tuple(_by_bits(symmetry, *up, tables))
    counted = _counts(kernel, symmetry, x, y, which, states)
    if counted is None:
        return None
    counts, columns, rest = counted

    def by_patterns() -> Sums:
        own = tuple(counts @ column for column in columns)
        return _with_rest(own, rest, lambda k: group_sums(k, symmetry, x, y, which))

    return by_patterns


def _tables(
    kernel: InfiniteWidthKernel, symmetry: Projection, d: int, which: Wanted, states: States
) -> Array | None:
    tables = [hamming_table(kernel, states, d, w) for w in which]
    found = [t for t in tables if t is not None]
    if len(found) < len(which):
        return None
    return jnp.stack([folded(t, symmetry) for t in found])


def _counts(
    kernel: InfiniteWidthKernel,
    symmetry: Projection,
    x: Array,
    y: Array,
    which: Wanted,
    states: States,
) -> tuple[Array, list[Array], InfiniteWidthKernel | None] | None:
    """Counts of patterns in x, what they are multiplied by for y, and the part of the kernel without patches."""
    parts, rest = patterns.parted(kernel)
    counted = patterns.counted(parts, symmetry)
    if counted is None or is_traced(y):
        return None
    middle = sum(states) / 2
    up = np.asarray(y) > middle
    found = [patterns.columns(parts, symmetry, up, states, w) for w in which]
    counts = counted.counts(jnp.asarray(x) > middle, len(found[0]))
    return counts, [jnp.asarray(column) for column in found], rest


def _with_rest(
    own: Sums, rest: InfiniteWidthKernel | None, sums: Callable[[InfiniteWidthKernel], Sums]
) -> Sums:
    """Sums of the patches of a kernel and, where there is one, of the part without patches."""
    if rest is None:
        return own
    return tuple(one + other for one, other in zip(own, sums(rest), strict=True))


@partial(jax.jit, static_argnums=0)
def _by_bits(symmetry: Projection, x: Array, y: Array, tables: Array) -> list[Array]:
    orbits = orbit_words(y, symmetry)
    weights = (
        None
        if symmetry.is_trivial or np.all(symmetry.weights == symmetry.weights[0])
        else symmetry.weights
    )
    rows = max(1, _PAIRS // max(1, orbits.shape[0] * orbits.shape[2]))
    bits = words(x)
    pieces = []
    for start in range(0, max(1, x.shape[0]), rows):
        here = bits[:, start : start + rows]
        pieces.append([orbit_sums(here, orbits, table, weights) for table in tables])
    return [jnp.concatenate(column) for column in zip(*pieces, strict=True)]


def _one_by_one(
    kernel: InfiniteWidthKernel, symmetry: Projection, x: Array, y: Array, which: Wanted
) -> Sums:
    if not _is_invariant(kernel, symmetry, x):
        return _both_sides(kernel, symmetry, x, y, which)
    return _over_columns(kernel, symmetry, x, y, which)


def _over_columns(
    kernel: InfiniteWidthKernel, symmetry: Projection, x: Array, y: Array, which: Wanted
) -> Sums:
    """|G|⁻¹ Σ_g χ(g)* k(x, gy), element by element."""

    def values(image: Array) -> Sums:
        if len(which) == 1:
            return (kernel.matrix(x, image, which[0]),)
        pair = dict(zip(("nngp", "ntk"), kernel.both(x, image), strict=True))
        return tuple(pair[w] for w in which)

    if is_traced((x, y)):
        return _scanned(symmetry, jnp.asarray(y), values)
    totals: list[Array] = [jnp.zeros(())] * len(which)
    for move, sign, chi in symmetry.elements():
        found = values(y[:, move] if sign > 0 else -y[:, move])
        factor = np.conj(chi) / symmetry.order
        totals = [total + one * factor for total, one in zip(totals, found, strict=True)]
    return tuple(totals)


def _scanned(symmetry: Projection, y: Array, values: Callable[[Array], Sums]) -> Sums:
    """The same as one loop, which is compiled once whatever the order of the group."""
    moves, signs, chis = (np.stack(column) for column in zip(*symmetry.elements(), strict=True))
    factors = np.conj(chis) / symmetry.order
    shapes = jax.eval_shape(values, y)
    start = tuple(
        jnp.zeros(t.shape, jnp.result_type(t.dtype, jnp.asarray(factors).dtype)) for t in shapes
    )

    def add(totals: Sums, element: tuple[Array, Array, Array]) -> tuple[Sums, None]:
        move, sign, factor = element
        found = values(y[:, move] * sign.astype(y.dtype))
        return tuple(t + one * factor for t, one in zip(totals, found, strict=True)), None

    elements = jnp.asarray(moves), jnp.asarray(signs), jnp.asarray(factors)
    return jax.lax.scan(add, start, elements)[0]


def _is_invariant(kernel: InfiniteWidthKernel, symmetry: Projection, x: Array) -> bool:
    """Whether k(gx, gy) = k(x, y), at random configurations and elements; assumed of traced numbers."""
    if is_traced(kernel):
        return True
    rng = np.random.default_rng(0)
    values = np.array([-1.0, 1.0]) if is_traced(x) or not x.size else np.unique(np.asarray(x))
    one, two = rng.choice(values, size=(2, 3, x.shape[1]))
    elements = list(symmetry.elements())
    tried = rng.permutation(len(elements))[:_TRIED]
    with jax.ensure_compile_time_eval():
        here = np.asarray(kernel.ntk(one, two))
        for at in tried:
            move, sign, _ = elements[at]
            there = np.asarray(kernel.ntk(sign * one[:, move], sign * two[:, move]))
            if np.abs(here - there).max() > 1e-9 * np.abs(here).max():
                return False
    return True


def _both_sides(
    kernel: InfiniteWidthKernel, symmetry: Projection, x: Array, y: Array, which: Wanted
) -> Sums:
    """χ(1)|G|⁻² Σ_gg' χ(g)χ(g')* k(gx, g'y), for kernels that the group does not leave alone."""
    order = symmetry.order
    if order**2 > _MOST:
        raise SymmetryError(
            f"{kernel!r} is not invariant under the group, and both arguments would be projected by {order}² "
            "evaluations: use a smaller group, or patches of a shape that the group keeps."
        )
    totals: list[Array] = [jnp.zeros(())] * len(which)
    for move, sign, chi in symmetry.elements():
        rows = x[:, move] if sign > 0 else -x[:, move]
        factor = chi * symmetry.dimension / order
        found = _over_columns(kernel, symmetry, rows, y, which)
        totals = [total + one * factor for total, one in zip(totals, found, strict=True)]
    return tuple(totals)

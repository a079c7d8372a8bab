"""Sums over orbits of configurations of spins, by bits: no inner products, and no copy of a matrix for each element.

A configuration of d spins is ⌈d/32⌉ words. The Hamming distance is the number of bits of an exclusive or, the kernel
of a pair a look-up in d + 1 numbers, and XLA makes one loop of distance, look-up and sum for each element of the
group: n × M × |G| pairs cost 1-2 ns each on one core and nothing is stored but the (n, M) sums and M|G|⌈d/32⌉ words.
The flip of all spins costs nothing: k(h) ± k(d - h) is another table.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.symmetry.projection import Projection

_BITS = 32


def words(up: ArrayLike) -> Array:
    """Booleans (…, d) as words of 32 bits: (⌈d/32⌉, …) uint32."""
    up = jnp.asarray(up)
    d = up.shape[-1]
    bits = jnp.pad(up, [(0, 0)] * (up.ndim - 1) + [(0, -d % _BITS)]).astype(jnp.uint32)
    bits = bits.reshape(*up.shape[:-1], -(-d // _BITS), _BITS) << jnp.arange(
        _BITS, dtype=jnp.uint32
    )
    return jnp.moveaxis(bits.sum(-1, dtype=jnp.uint32), -1, 0)


def orbit_words(up: ArrayLike, symmetry: Projection | None) -> Array:
    """Words of the images of M configurations under the permutations of a group: (permutations, ⌈d/32⌉, M)."""
    up = jnp.asarray(up)
    if symmetry is None:
        return words(up)[None]
    return jnp.moveaxis(words(jnp.take(up, np.asarray(symmetry.permutations), axis=-1)), 2, 0)


def folded(table: Array, symmetry: Projection | None) -> Array:
    """The table k(0), …, k(d) with the flip of all spins projected: ½[k(h) ± k(d - h)], or as it is."""
    if symmetry is None or symmetry.spin_flip is None:
        return table
    return (table + symmetry.spin_flip * table[..., ::-1]) / 2


def distances(x: Array, y: Array) -> Array:
    """Hamming distances between n and M configurations, from their words (⌈d/32⌉, n) and (⌈d/32⌉, M): int32."""
    total = jnp.zeros((), jnp.int32)
    for one, other in zip(x, y, strict=True):
        total = total + jax.lax.population_count(one[:, None] ^ other[None]).astype(jnp.int32)
    return total


def look_up(table: Array, h: Array) -> Array:
    """table[h] for distances known to be in range."""
    return table.at[h].get(mode="promise_in_bounds")


@jax.jit
def orbit_sums(x: Array, orbits: Array, table: Array, weights: ArrayLike | None = None) -> Array:
    """Σ_g weights_g table[distance(x, g y)]: (n, M).

    One permutation after the other: the sums of all pairs stay in cache, and XLA vectorises over them.

    Args:
        x: Words of n configurations, (⌈d/32⌉, n).
        orbits: Words of M orbits, (permutations, ⌈d/32⌉, M).
        table: k(0), …, k(d), the flip folded in.
        weights: One number for each permutation; None is one over their number.
    """
    if weights is None:
        weights = jnp.full(orbits.shape[0], 1 / orbits.shape[0], table.dtype)

    def add(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
        y, weight = image
        return total + weight * look_up(table, distances(x, y)), None

    kind = jnp.result_type(table, weights)
    # A zero made of x, so that it lies on devices as x does.
    start = jnp.zeros((x.shape[1], orbits.shape[2]), kind) + (x[0] & 0).astype(kind)[:, None]
    return jax.lax.scan(add, start, (orbits, jnp.asarray(weights)))[0]


def orbit_keys(up: ArrayLike, symmetry: Projection | None, seed: int = 0) -> np.ndarray:
    """A number for each of n configurations that is the same for all images under the group: (n,) uint64.

    The smallest of the images' random linear hashes modulo 2⁶⁴; two different orbits share it with probability
    |G| n²/2⁶⁴.
    """
    bits = np.asarray(up)
    d = bits.shape[-1]
    numbers: np.ndarray = np.random.default_rng(seed).integers(1, 2**64, size=(d,), dtype=np.uint64)
    if symmetry is None:
        return (bits * numbers).sum(-1, dtype=np.uint64)
    # Σ_i x_{p(i)} r_i = Σ_j x_j r_{p⁻¹(j)}.
    moved = numbers[np.argsort(np.asarray(symmetry.permutations), axis=1)]
    keys = np.empty(len(bits), np.uint64)
    total = numbers.sum(dtype=np.uint64)
    for i, row in enumerate(bits):
        hashes = moved[:, row.astype(bool)].sum(-1, dtype=np.uint64)
        keys[i] = hashes.min()
        if symmetry.spin_flip is not None:
            keys[i] = min(keys[i], (total - hashes).min())
    return keys


def distinct(up: ArrayLike, symmetry: Projection | None) -> np.ndarray:
    """Indices of the first configuration of each orbit among n, in their order."""
    first = np.unique(orbit_keys(up, symmetry), return_index=True)[1]
    return np.sort(first)

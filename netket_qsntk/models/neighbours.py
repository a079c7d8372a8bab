"""log ψ of an infinitely wide network at all neighbours of a configuration, by tables and two matrix products.

The neighbours of x differ from it on one site or on two. Where the kernel is a table k(h) of the Hamming distance,
the distance to a centre y (an image of one, under a symmetry group) changes by u_i = x_i y_i = ±1 with site i, and

    k(h + u_i)       = k(h) + s₁(h) + u_i d₁(h),                     s₁, d₁ = ½[k(h+1) ± k(h-1)] - (k(h), 0)
    k(h + u_i + u_j) = k(h) + (1 + u_i u_j) s₂(h) + (u_i + u_j) d₂(h),  s₂ = ½{½[k(h+2) + k(h-2)] - k(h)},
                                                                     d₂ = ¼[k(h+2) - k(h-2)].

So sums over centres c with weights w_c for every site and pair are the products (w_c d₁(h_c)) · y_ci and
(w_c s₂(h_c)) · y_ci y_cj of matrices (samples × centres) and (centres × sites or pairs): one look-up of the distances
for all neighbours, where evaluating the model takes one for each. Differences of log ψ are summed, not the values:
they keep their digits.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.symmetry.orbits import distances, look_up

# Entries of one matrix (samples × images of centres), which stays in cache.
_ENTRIES = 2**18


def unpacked(words: Array, d: int) -> Array:
    """±1 for each site from words (W, …): (…, d) float; +1 where the bit is set."""
    bits = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & jnp.uint32(1)
    bits = jnp.moveaxis(bits, 0, -2)
    return 2.0 * bits.reshape(*bits.shape[:-2], -1)[..., :d].astype(float) - 1.0


def _tables(table: Array) -> Array:
    """s₁, d₁, s₂, d₂ at h = 0, …, d: (4, d + 1). Entries beyond the ends have no weight: any number stands there."""
    k = jnp.pad(table, 2, mode="edge")
    here, n = k[2:-2], len(k)
    one = k[3 : n - 1], k[1 : n - 3]
    two = k[4:n], k[: n - 4]
    return jnp.stack(
        [
            (one[0] + one[1]) / 2 - here,
            (one[0] - one[1]) / 2,
            ((two[0] + two[1]) / 2 - here) / 2,
            (two[0] - two[1]) / 4,
        ]
    )


def differences(
    centres: dict[str, Array], weights: Array, bits: Array, flips: Array, pairs: Array
) -> tuple[Array, Array]:
    """f(x') - f(x) for x' = x with one site changed, or two.

    Args:
        centres: The module's variables: words of the images of M centres, (permutations, W, M), and the table.
        weights: Θ_YY^{-1/2} θ, (M, parts).
        bits: Words of n configurations, (W, n).
        flips: Sites (F,).
        pairs: Pairs of sites (P, 2).

    Returns:
        (n, F, parts) and (n, P, parts).
    """
    orbits, table = centres["orbits"], centres["table"]
    d, (images, n_words, _), n = len(table) - 1, orbits.shape, bits.shape[1]
    factor = centres.get("weights", jnp.full(images, 1 / images, table.dtype))
    w = (factor[:, None, None] * weights[None]).reshape(-1, weights.shape[1])
    flat = orbits.swapaxes(0, 1).reshape(n_words, -1)
    size = min(flat.shape[1], max(32, _ENTRIES // max(n, 1)))
    missing = -flat.shape[1] % size
    flat = jnp.pad(flat, ((0, 0), (0, missing))).reshape(n_words, -1, size).swapaxes(0, 1)
    w = jnp.pad(w, ((0, missing), (0, 0))).reshape(-1, size, w.shape[1])
    x = unpacked(bits, d).astype(table.dtype)
    tables = _tables(table)
    one, two = flips.shape[0] > 0, pairs.shape[0] > 0

    def add(total: PyTree, block: tuple[Array, Array]) -> tuple[Any, None]:
        words, v = block
        y = unpacked(words, d).astype(table.dtype)
        h = distances(bits, words)
        total = dict(total)
        for p in range(v.shape[1]):
            c = v[:, p]
            if one:
                total["s1"] = total["s1"].at[:, p].add(look_up(tables[0], h) @ c)
                d1 = look_up(tables[1], h) @ (y * c[:, None])
                total["d1"] = total["d1"].at[:, p].add(d1)
            if two:
                s2, both = look_up(tables[2], h), y[:, pairs[:, 0]] * y[:, pairs[:, 1]]
                d2 = look_up(tables[3], h) @ (y * c[:, None])
                total["s2"] = total["s2"].at[:, p].add(s2 @ c)
                total["d2"] = total["d2"].at[:, p].add(d2)
                total["pair"] = total["pair"].at[:, p].add(s2 @ (both * c[:, None]))
        return total, None

    parts = w.shape[2]
    shapes: dict[str, tuple[int, ...]] = {}
    if one:
        shapes |= {"s1": (n, parts), "d1": (n, parts, d)}
    if two:
        shapes |= {"s2": (n, parts), "d2": (n, parts, d), "pair": (n, parts, pairs.shape[0])}
    # Zeros made of the samples, so that they lie on devices as these do.
    zero = (x[:, :1] * 0)[:, 0]
    start = {
        k: jnp.broadcast_to(zero.reshape(-1, *[1] * (len(s) - 1)), s) for k, s in shapes.items()
    }
    total, _ = jax.lax.scan(add, start, (flat, w))
    empty = jnp.zeros((n, 0, parts), table.dtype)
    changes = [empty, empty]
    if one:
        at = total["s1"][:, :, None] + x[:, None, flips] * total["d1"][:, :, flips]
        changes[0] = at.swapaxes(1, 2)
    if two:
        i, j = pairs[:, 0], pairs[:, 1]
        at = total["s2"][:, :, None] + (x[:, i] * x[:, j])[:, None] * total["pair"]
        at = at + x[:, None, i] * total["d2"][:, :, i] + x[:, None, j] * total["d2"][:, :, j]
        changes[1] = at.swapaxes(1, 2)
    return changes[0], changes[1]

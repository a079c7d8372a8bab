"""log ψ of an infinitely wide network of patches at all neighbours of a configuration, by the patterns that change.

Where the kernel counts patterns (:mod:`netket_qsntk.kernels.patterns`), log ψ is a sum of one number for each place,
and a changed site meets only the places that hold it: of P pairs of all sites a share 2/d, of patches of s sites at
every place s. The differences are sums over these, where evaluating the model looks at all places for each neighbour.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.kernels.patterns import Patterns
from netket_qsntk.symmetry.orbits import look_up


class ChangedPlaces(NamedTuple):
    """The places whose patterns a change of one or two sites changes, a pytree.

    Attributes:
        places: (changes, K), filled up with places that stay as they are.
        sites: Sites of each change, (changes, 2); of one site alone twice the same.
        steps: What bit 1 of these sites counts in the patterns' numbers, (changes, 2, K) integers.
    """

    places: Array
    sites: Array
    steps: Array


def changed_places(powers: ArrayLike, flips: ArrayLike, pairs: ArrayLike) -> ChangedPlaces:
    """The places that F flips and P pairs of sites change.

    Args:
        powers: What each site counts at each place, (sites, R): of the centres' variables.
        flips: Sites (F,).
        pairs: Pairs of sites (P, 2).
    """
    counted = np.rint(np.asarray(powers)).astype(np.int32)
    alone = np.asarray(flips, np.int32)
    sites = np.concatenate(
        [np.stack([alone, alone], axis=1), np.asarray(pairs, np.int32).reshape(-1, 2)]
    )
    found = [np.flatnonzero(counted[list(pair)].any(axis=0)) for pair in sites]
    longest = max(map(len, found), default=0)
    places = np.zeros((len(sites), longest), np.int32)
    steps = np.zeros((len(sites), 2, longest), np.int32)
    for at, (pair, held) in enumerate(zip(sites, found, strict=True)):
        places[at, : len(held)] = held
        steps[at, :, : len(held)] = counted[pair][:, held]
    steps[: len(alone), 1] = 0
    return ChangedPlaces(jnp.asarray(places), jnp.asarray(sites), jnp.asarray(steps))


def pattern_differences(
    patterns: Patterns, values: Array, up: Array, changed: ChangedPlaces
) -> Array:
    """f(x') - f(x) for every change: (n, F + P, parts).

    Args:
        patterns: Where patterns are looked for.
        values: What each pattern adds to f, (patterns, parts).
        up: n configurations as booleans, (n, sites).
        changed: The places of each change.
    """
    numbers = patterns.numbers(up).T
    # What a site's bit does when it turns: from 1 to 0 it takes its share away.
    turn = jnp.where(up.T, -1, 1).astype(numbers.dtype)
    shares = jnp.asarray(patterns.shares)

    def of(change: ChangedPlaces) -> Array:
        before = numbers[change.places]
        move = jnp.einsum("sk,sn->kn", change.steps.astype(numbers.dtype), turn[change.sites])
        weight = shares[change.places]
        by_part = [weight @ (look_up(v, before + move) - look_up(v, before)) for v in values.T]
        return jnp.stack(by_part, axis=-1)

    if not changed.places.shape[0]:
        return jnp.zeros((len(up), 0, values.shape[1]), values.dtype)
    return jnp.moveaxis(jax.lax.map(of, changed), 0, 1)

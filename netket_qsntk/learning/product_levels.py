"""Levels of kernels that are products over sites with any number of states."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.errors import NoLevelsError
from netket_qsntk.learning.tables import SiteTable

__all__ = ["occupations", "product_levels", "site_functions"]

# Levels: C(d + q - 1, q - 1) sets of occupations.
_MOST_LEVELS = 200_000


def occupations(d: int, q: int) -> np.ndarray:
    """How many of d sites are in each of q functions: (levels, q), the first function's number falling.

    Example:
        >>> occupations(2, 2).tolist()
        [[2, 0], [1, 1], [0, 2]]
    """
    number = math.comb(d + q - 1, q - 1)
    if number > _MOST_LEVELS:
        raise NoLevelsError(
            f"{d} sites of {q} states have {number} levels: expected at most {_MOST_LEVELS}."
        )

    def compositions(left: int, parts: int) -> Iterator[tuple[int, ...]]:
        if parts == 1:
            yield (left,)
            return
        for first in range(left, -1, -1):
            for rest in compositions(left - first, parts - 1):
                yield (first, *rest)

    return np.array(list(compositions(d, q)))


def site_functions(table: SiteTable) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (q,), largest first, and eigenvectors (q, q) of one site's factor of the NTK."""
    values, vectors = np.linalg.eigh(np.asarray(table.ntk))
    return values[::-1], vectors[:, ::-1]


def product_levels(table: SiteTable) -> tuple[Array, Array, np.ndarray, float, np.ndarray]:
    """Eigenvalues of NTK and NNGP, multiplicities, number of states, and parities (none)."""
    values, vectors = site_functions(table)
    q = len(values)
    nngp = vectors.T @ np.asarray(table.nngp) @ vectors
    if np.abs(nngp - np.diag(np.diag(nngp))).max() > 1e-9 * np.abs(nngp).max():
        raise NoLevelsError(
            "NNGP and NTK have different functions on a site, and no common levels. With "
            "qs.kernels.infinite_width(model, trainable='readout') one is a multiple of the other."
        )
    numbers = occupations(table.d, q)
    logs = [math.lgamma(n + 1) for n in range(table.d + 1)]
    counts = np.exp(logs[table.d] - np.array(logs)[numbers].sum(1))
    counts = np.where(counts < 2**50, np.rint(counts), counts)

    def powers(one: np.ndarray) -> Array:
        return jnp.asarray(np.prod(np.maximum(one, 0.0) ** numbers, axis=1))

    return (
        powers(values),
        powers(np.diag(nngp)),
        counts,
        float(q) ** table.d,
        np.zeros(len(numbers), int),
    )

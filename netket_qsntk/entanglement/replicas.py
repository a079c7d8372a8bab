r"""Replicas of one part of the system, by what the covariance sees of them.

n configurations a_1, …, a_n of m sites are known to a covariance by sums over sites: the Hamming distances of the
pairs, or Σ_i log κ_i(a_k, a_l) for a product over sites. On one site there are q^n patterns, and those with the same
numbers for all pairs form a class; how many sites show which class says everything. There are
C(m + c - 1, c - 1) ways to spread m sites over c classes, each with a multinomial coefficient.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from netket_qsntk.entanglement.ensembles import HammingEnsemble, ProductEnsemble
from netket_qsntk.entanglement.occupations import occupations
from netket_qsntk.errors import SystemTooLargeError

# Ways to fill the classes that are listed at once.
MAX_FILLINGS = 2**23


class SiteClasses(NamedTuple):
    """What n replicas can look like on each of some equal sites."""

    n_sites: float
    """Number of sites; a fraction of them in the limit of many."""
    log_multiplicity: np.ndarray
    """log of how many of the q^n patterns are in each class, (c,)."""
    sums: np.ndarray
    """What one site of each class adds to the sum of each pair of replicas, (c, kernels · pairs)."""


class Fillings(NamedTuple):
    """All arrangements of n replicas on some sites, those with the same sums together."""

    log_multiplicity: np.ndarray
    """log of how many arrangements, (s,)."""
    sums: np.ndarray
    """Their sums for each pair of replicas, (s, kernels · pairs)."""


@lru_cache
def pairs(n: int) -> tuple[tuple[int, int], ...]:
    """Pairs (k, l) of replicas with k ≤ l, in the order of the columns of ``sums``."""
    return tuple(combinations_with_replacement(range(n), 2))


def site_classes(
    fields: HammingEnsemble | ProductEnsemble, sites: Sequence[int], n: int
) -> list[SiteClasses]:
    """The classes of n replicas on these sites, for each kind of site."""
    if isinstance(fields, HammingEnsemble):
        return [_classes([1.0 - np.eye(2)], len(sites), n)]
    kinds: Counter[tuple[bytes, ...]] = Counter()
    matrices: dict[tuple[bytes, ...], list[np.ndarray]] = {}
    for i in sites:
        on_site = [kernel.sites[i] for kernel in fields.kernels]
        # Sites are of one kind by their numbers, whichever arrays hold them.
        key = tuple(np.round(kappa, 14).tobytes() for kappa in on_site)
        kinds[key] += 1
        matrices[key] = [np.log(kappa) for kappa in on_site]
    return [_classes(matrices[key], count, n) for key, count in kinds.items()]


def _classes(tables: list[np.ndarray], count: int, n: int) -> SiteClasses:
    q = len(tables[0])
    patterns = np.array(list(product(range(q), repeat=n)))
    first, second = np.array(pairs(n)).T
    every = np.concatenate([t[patterns[:, first], patterns[:, second]] for t in tables], axis=1)
    # Numbers that agree to rounding are one class; sums of logarithms of the same factors may not be equal.
    _, which, many = np.unique(
        np.round(every, 12) + 0.0, axis=0, return_index=True, return_counts=True
    )
    return SiteClasses(count, np.log(many), every[which])


def fillings(kinds: Sequence[SiteClasses], n: int, *, merge: bool = True) -> Fillings:
    """All ways to fill the classes with the sites.

    Args:
        kinds: The classes of each kind of site.
        n: Number of replicas.
        merge: Put those with the same sums together.

    Raises:
        SystemTooLargeError: More than 2**23 ways.
    """
    number = math.prod(math.comb(int(k.n_sites) + len(k.sums) - 1, len(k.sums) - 1) for k in kinds)
    if number > MAX_FILLINGS:
        raise SystemTooLargeError(
            f"{n} replicas of {sum(k.n_sites for k in kinds)} sites overlap in {number:.3g} ways, more than the "
            f"{MAX_FILLINGS} that are summed. Take fewer sites or a smaller n, or sampled_renyi, which draws the "
            "overlaps and gives an error."
        )
    log_multiplicity, sums = np.zeros(1), np.zeros((1, kinds[0].sums.shape[1]))
    for kind in kinds:
        filled = occupations(int(kind.n_sites), len(kind.sums))
        ways = gammaln(kind.n_sites + 1) - gammaln(filled + 1).sum(axis=1)
        ways = ways + filled @ kind.log_multiplicity
        log_multiplicity = np.add.outer(log_multiplicity, ways).ravel()
        sums = (sums[:, None] + filled @ kind.sums).reshape(-1, sums.shape[1])
    found = Fillings(log_multiplicity, sums)
    return merged(found, n) if merge else found


def _canonical(sums: np.ndarray, n: int) -> np.ndarray:
    """Of each row the smallest among its images under rotations and reflections of the replicas."""
    number = {pair: i for i, pair in enumerate(pairs(n))}
    blocks = sums.reshape(len(sums), -1, len(number))
    best = sums
    for sign in (1, -1):
        for shift in range(n):
            moved = [
                number[min(p, q), max(p, q)]
                for p, q in (((sign * k + shift) % n, (sign * m + shift) % n) for k, m in pairs(n))
            ]
            image = blocks[:, :, moved].reshape(sums.shape)
            # Lexicographic comparison at the first column where the two differ.
            different = np.abs(image - best) > 1e-9
            where = np.argmax(different, axis=1)
            row = np.arange(len(sums))
            smaller = different[row, where] & (image[row, where] < best[row, where])
            best = np.where(smaller[:, None], image, best)
    return best


def merged(found: Fillings, n: int, *, cyclic: bool = False) -> Fillings:
    """One filling for all that have the same sums.

    Args:
        found: The fillings.
        n: Number of replicas.
        cyclic: One for those that differ by a rotation or reflection of the replicas as well. A sum over two parts
            may do so in one of them.
    """
    log_multiplicity, sums = found
    if cyclic:
        sums = _canonical(sums, n)
    _, which, inverse = np.unique(
        np.round(sums, 9) + 0.0, axis=0, return_index=True, return_inverse=True
    )
    total = np.full(len(which), -np.inf)
    np.logaddexp.at(total, inverse.reshape(-1), log_multiplicity)
    return Fillings(total, sums[which])

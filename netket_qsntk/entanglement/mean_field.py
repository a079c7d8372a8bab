r"""Saddle points of sums over overlaps: how n replicas arrange themselves on many sites.

A sum over the ways to spread sites over classes (:mod:`netket_qsntk.entanglement.replicas`), weighted by e^{F(S)}
with F a function of the sums S alone, is dominated by distributions over the classes that a field g = ∂F/∂S makes:

.. math:: p_c \propto m_c\, e^{g\cdot v_c}, \qquad S = \sum_{\text{sites}} \sum_c p_c v_c .

Several may hold; each is a way in which replicas are alike, and the largest e^{entropy + F} is the phase.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import logsumexp, softmax

from netket_qsntk.entanglement.replicas import SiteClasses, pairs

# F (rows,) and its gradient for each part (rows, columns), at the sums of each part (rows, columns).
Potential = Callable[[list[np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]

_STEPS = 3000
_TOLERANCE = 1e-11
# Steps so short that the sum does not grow beyond rounding.
_SMALLEST = 1e-7
# Steps after which starts that have met go on as one.
_MEETINGS = (20, 50, 100, 200, 500)


@dataclass(frozen=True, eq=False)
class Saddle:
    """One self-consistent distribution.

    Attributes:
        fields: g of each part.
        sums: S of each part.
        log_sum: entropy + F, the logarithm of the sum to leading order.
    """

    fields: list[np.ndarray]
    sums: list[np.ndarray]
    log_sum: float

    def log_weight(
        self, parts: Sequence[Sequence[SiteClasses]], sums: list[np.ndarray]
    ) -> np.ndarray:
        """log Π p_c/m_c of arrangements with these sums, (s, …) for each part."""
        total = np.zeros(len(sums[0]))
        for kinds, field, here in zip(parts, self.fields, sums, strict=True):
            total += here @ field - _log_norm(kinds, field)
        return total


def saddles(
    parts: Sequence[Sequence[SiteClasses]], potential: Potential, n: int, *, alike: float
) -> list[Saddle]:
    """Different saddle points, the largest first.

    Iterated from fields that make replicas of a block alike or opposite, for every way to divide them (n < 5).

    Args:
        parts: The classes of each kind of site of each part; ``n_sites`` may be a fraction.
        potential: F and its gradients.
        n: Number of replicas.
        alike: Direction in which the sum of a pair grows as its replicas become alike, +1 or -1.
    """
    kept = _starts(parts, n, alike)
    sums = _sums(parts, kept)
    exponent, wanted = potential(sums)
    best = _log_sums(parts, kept, sums, exponent)
    step = np.ones((len(best), 1))
    change = np.full(len(best), np.inf)
    for number in range(_STEPS):
        moves = [w - f for w, f in zip(wanted, kept, strict=True)]
        change = np.max([np.max(np.abs(m), axis=1) for m in moves], axis=0)
        size = np.max([np.max(np.abs(f), axis=1) for f in kept], axis=0)
        if np.all((change < _TOLERANCE * np.maximum(1.0, size)) | (step[:, 0] < _SMALLEST)):
            break
        # Towards the wanted fields the sum grows, if the step is short enough.
        fields = [f + step * m for f, m in zip(kept, moves, strict=True)]
        reached = _sums(parts, fields)
        exponent, slopes = potential(reached)
        total = _log_sums(parts, fields, reached, exponent)
        better = (total >= best - 1e-13 * np.maximum(1.0, np.abs(best)))[:, None]
        kept = [np.where(better, a, b) for a, b in zip(fields, kept, strict=True)]
        sums = [np.where(better, a, b) for a, b in zip(reached, sums, strict=True)]
        wanted = [np.where(better, a, b) for a, b in zip(slopes, wanted, strict=True)]
        best = np.where(better[:, 0], total, best)
        step = np.where(better, np.minimum(1.0, 1.2 * step), 0.5 * step)
        if number in _MEETINGS:
            # Many starts have come to the same point.
            rows = np.unique(np.round(np.hstack(kept), 5), axis=0, return_index=True)[1]
            kept, sums, wanted = ([part[rows] for part in all_] for all_ in (kept, sums, wanted))
            best, step, change = best[rows], step[rows], change[rows]
    found: list[Saddle] = []
    for i in np.argsort(-best):
        here = [part[i] for part in sums]
        known = any(
            abs(best[i] - old.log_sum) < 1e-6 * max(1.0, abs(old.log_sum))
            and all(np.allclose(a, b, atol=1e-4) for a, b in zip(here, old.sums, strict=True))
            for old in found
        )
        if not known:
            found.append(Saddle([field[i] for field in kept], here, float(best[i])))
    return found


def _log_sums(
    parts: Sequence[Sequence[SiteClasses]],
    fields: list[np.ndarray],
    sums: list[np.ndarray],
    exponent: np.ndarray,
) -> np.ndarray:
    """entropy + F, for each row of fields."""
    total = np.array(exponent)
    for kinds, field, here in zip(parts, fields, sums, strict=True):
        total += _log_norm(kinds, field) - np.sum(field * here, axis=1)
    return total


def _log_norm(kinds: Sequence[SiteClasses], field: np.ndarray) -> np.ndarray:
    """Σ over sites of log Σ_c m_c e^{g·v_c}, for each row of fields."""
    logs = (k.n_sites * logsumexp(k.log_multiplicity + field @ k.sums.T, axis=-1) for k in kinds)
    return np.asarray(sum(logs))


def _sums(parts: Sequence[Sequence[SiteClasses]], fields: list[np.ndarray]) -> list[np.ndarray]:
    return [
        np.asarray(
            sum(
                k.n_sites * (softmax(k.log_multiplicity + field @ k.sums.T, axis=-1) @ k.sums)
                for k in kinds
            )
        )
        for kinds, field in zip(parts, fields, strict=True)
    ]


def _starts(parts: Sequence[Sequence[SiteClasses]], n: int, alike: float) -> list[np.ndarray]:
    """Fields for all choices of blocks and signs in each part: one row for each."""
    choices = [
        [
            20.0 * alike * signs[k] * signs[m] * (k != m and block[k] == block[m])
            for k, m in pairs(n)
        ]
        for block, signs in _arrangements(n)
    ]
    rows = np.array(list(product(range(len(choices)), repeat=len(parts))))
    columns = [kinds[0].sums.shape[1] // len(pairs(n)) for kinds in parts]
    return [
        np.tile(np.array(choices)[rows[:, i]], (1, repeated)) for i, repeated in enumerate(columns)
    ]


def _arrangements(n: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Block numbers and signs of n replicas, different ones; of n > 4 replicas signs in one block only."""
    together = (0,) * n
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    for block in _partitions(n) if n < 5 else _few_partitions(n):
        for signs in product((1, -1), repeat=n):
            if block != together and n > 4 and -1 in signs:
                continue
            # The first replica of each block has the sign +1.
            if all(signs[block.index(b)] == 1 for b in block):
                single = tuple(
                    s if block.count(b) > 1 else 1 for s, b in zip(signs, block, strict=True)
                )
                found[block, single] = None
    return list(found)


def _partitions(n: int) -> list[tuple[int, ...]]:
    """Block numbers of n replicas, for every way to divide them."""
    found: list[tuple[int, ...]] = [(0,)]
    for _ in range(n - 1):
        found = [(*p, i) for p in found for i in range(max(p) + 2)]
    return found


def _few_partitions(n: int) -> list[tuple[int, ...]]:
    """All alike, all different, or neighbours alike, from an even or an odd number on."""
    neighbours = [tuple(((k + shift) % n) // 2 for k in range(n)) for shift in (0, 1)]
    return [(0,) * n, tuple(range(n)), *neighbours]

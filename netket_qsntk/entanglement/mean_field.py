r"""Saddle points of sums over overlaps: how n replicas arrange themselves on many sites.

A sum over the ways to spread sites over classes (:mod:`netket_qsntk.entanglement.replicas`), weighted by e^{F(S)}
with F a function of the sums S alone, is dominated by distributions over the classes that a field g = ∂F/∂S makes:

.. math:: p_c \propto m_c\, e^{g\cdot v_c}, \qquad S = \sum_{\text{sites}} \sum_c p_c v_c .

Several may hold; each is a way in which replicas are alike, and the largest e^{entropy + F} is the phase.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import logsumexp

from netket_qsntk.entanglement.replicas import SiteClasses, pairs

# F and its gradient for each part, at the sums of each part.
Potential = Callable[[list[np.ndarray]], tuple[float, list[np.ndarray]]]

_STEPS = 4000
_TOLERANCE = 1e-11


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
            norm = sum(k.count * logsumexp(k.log_multiplicity + k.sums @ field) for k in kinds)
            total += here @ field - norm
        return total


def saddles(
    parts: Sequence[Sequence[SiteClasses]], potential: Potential, n: int, *, alike: float
) -> list[Saddle]:
    """Different saddle points, the largest first.

    Args:
        parts: The classes of each kind of site of each part; ``count`` may be a fraction.
        potential: F and its gradients.
        n: Number of replicas.
        alike: Direction in which the sum of a pair grows as its replicas become alike, +1 or -1.
    """
    found: list[Saddle] = []
    for start in _starts(parts, n, alike):
        new = _iterate(parts, potential, start)
        if new is not None and not any(
            abs(new.log_sum - old.log_sum) < 1e-7 * max(1.0, abs(old.log_sum))
            and all(np.allclose(a, b, atol=1e-4) for a, b in zip(new.sums, old.sums, strict=True))
            for old in found
        ):
            found.append(new)
    return sorted(found, key=lambda saddle: -saddle.log_sum)


def _iterate(
    parts: Sequence[Sequence[SiteClasses]], potential: Potential, fields: list[np.ndarray]
) -> Saddle | None:
    step, sums = 1.0, _sums(parts, fields)
    last = np.inf
    for _ in range(_STEPS):
        value, wanted = potential(sums)
        change = max(
            float(np.max(np.abs(w - f), initial=0.0)) for w, f in zip(wanted, fields, strict=True)
        )
        if change > last:
            step = max(0.5 * step, 0.02)
        last = change
        fields = [f + step * (w - f) for w, f in zip(wanted, fields, strict=True)]
        sums = _sums(parts, fields)
        if change < _TOLERANCE * max(1.0, max(float(np.max(np.abs(f))) for f in fields)):
            break
    else:
        if last > 1e-5:
            return None
    value, wanted = potential(sums)
    entropy = 0.0
    for kinds, field, total in zip(parts, fields, sums, strict=True):
        entropy += sum(k.count * logsumexp(k.log_multiplicity + k.sums @ field) for k in kinds)
        entropy -= float(field @ total)
    return Saddle(fields, sums, float(value + entropy))


def _sums(parts: Sequence[Sequence[SiteClasses]], fields: list[np.ndarray]) -> list[np.ndarray]:
    totals = []
    for kinds, field in zip(parts, fields, strict=True):
        total = np.zeros(kinds[0].sums.shape[1])
        for kind in kinds:
            logs = kind.log_multiplicity + kind.sums @ field
            total += kind.count * (np.exp(logs - logsumexp(logs)) @ kind.sums)
        totals.append(total)
    return totals


def _starts(
    parts: Sequence[Sequence[SiteClasses]], n: int, alike: float
) -> Iterator[list[np.ndarray]]:
    """Fields that make replicas of one block alike, for different blocks in each part."""
    blocks = _partitions(n) if n < 5 else _few_partitions(n)
    columns = [kinds[0].sums.shape[1] // len(pairs(n)) for kinds in parts]
    for choice in product(blocks, repeat=len(parts)):
        yield [
            np.tile(
                [20.0 * alike * (k != m and block[k] == block[m]) for k, m in pairs(n)], repeated
            )
            for block, repeated in zip(choice, columns, strict=True)
        ]


def _partitions(n: int) -> list[tuple[int, ...]]:
    """Block numbers of n replicas, for every way to divide them."""
    found = [(0,)]
    for _ in range(n - 1):
        found = [(*p, i) for p in found for i in range(max(p) + 2)]
    return found


def _few_partitions(n: int) -> list[tuple[int, ...]]:
    """All alike, all different, or neighbours alike, from an even or an odd number on."""
    neighbours = [tuple(((k + shift) % n) // 2 for k in range(n)) for shift in (0, 1)]
    return [(0,) * n, tuple(range(n)), *neighbours]

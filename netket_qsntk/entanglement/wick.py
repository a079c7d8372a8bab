r"""Wick's theorem for Tr ρ̃ⁿ: which contractions there are, and the index loops of each.

.. math:: \mathrm{Tr}\,\tilde\rho_A^n
    = \sum_{a, b} \prod_{k=0}^{n-1} \psi(a_k, b_k)\, \psi^*(a_{k+1}, b_k)

Field k < n is ψ(a_k, b_k), field n + k is ψ*(a_{k+1}, b_k). A contraction pairs the 2n fields;
each pair is a covariance E ψψ*, or, when the ensemble is improper, E ψψ or E ψ*ψ*. An index a_k
is shared by ψ_k and ψ*_{k-1}, b_k by ψ_k and ψ*_k, so every contraction is a product of closed
loops of covariances in A and in B.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations, product

Pair = tuple[int, int]
Graph = tuple[tuple[int, int, bool], ...]


@dataclass(frozen=True)
class Contraction:
    """One pairing of the 2n fields and its multiplicity under rotation of the replicas.

    Attributes:
        n: Number of replicas.
        pairs: The n pairs of fields, each with the smaller number first.
        weight: How many pairings have the same value because they are rotations of this one.
    """

    n: int
    pairs: tuple[Pair, ...]
    weight: int

    def kind(self, pair: int) -> str:
        """``"covariance"`` (ψψ*), ``"relation"`` (ψψ) or ``"conjugate"`` (ψ*ψ*)."""
        first, second = self.pairs[pair]
        if second < self.n:
            return "relation"
        return "conjugate" if first >= self.n else "covariance"

    def labels(self, field: int) -> tuple[int, int]:
        """Indices (a, b) that a field carries."""
        k = field % self.n
        return (k if field < self.n else (k + 1) % self.n, k)

    @cached_property
    def loops(self) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
        """Loops in A and loops in B, each a cyclic sequence of pair numbers."""
        return self._loops(shift=1), self._loops(shift=0)

    def _loops(self, shift: int) -> tuple[tuple[int, ...], ...]:
        n = self.n

        def partner(field: int) -> int:
            """The other field with the same index: ψ_k and ψ*_{k-shift}."""
            return n + (field - shift) % n if field < n else (field + shift) % n

        pair_of = {field: i for i, pair in enumerate(self.pairs) for field in pair}
        unseen, loops = set(range(n)), []
        while unseen:
            loop, field = [], self.pairs[min(unseen)][0]
            while (number := pair_of[field]) in unseen:
                unseen.remove(number)
                loop.append(number)
                first, second = self.pairs[number]
                field = partner(second if field == first else first)
            loops.append(tuple(loop))
        return tuple(loops)


@lru_cache
def contractions(n: int, *, proper: bool) -> tuple[Contraction, ...]:
    """All contractions of Tr ρ̃ⁿ up to rotation of the replicas.

    Args:
        n: Number of replicas.
        proper: True when E ψψ = 0, so that only the n! pairings of ψ with ψ* survive; False for all
            (2n-1)!! pairings.

    Example:
        >>> sum(c.weight for c in contractions(3, proper=True))
        6
        >>> sum(c.weight for c in contractions(3, proper=False))
        15
    """
    pairings: Iterator[tuple[Pair, ...]]
    if proper:
        pairings = (tuple((k, n + image[k]) for k in range(n)) for image in permutations(range(n)))
    else:
        pairings = _pairings(tuple(range(2 * n)))
    weights: Counter[tuple[Pair, ...]] = Counter()
    for pairs in pairings:
        weights[min(_rotated(pairs, n, r) for r in range(n))] += 1
    return tuple(Contraction(n, pairs, weight) for pairs, weight in weights.items())


def _pairings(fields: tuple[int, ...]) -> Iterator[tuple[Pair, ...]]:
    if not fields:
        yield ()
        return
    first, rest = fields[0], fields[1:]
    for i, second in enumerate(rest):
        for others in _pairings(rest[:i] + rest[i + 1 :]):
            yield ((first, second), *others)


def _rotated(pairs: tuple[Pair, ...], n: int, by: int) -> tuple[Pair, ...]:
    def move(field: int) -> int:
        return (field + by) % n + (n if field >= n else 0)

    rotated = ((move(p), move(q)) for p, q in pairs)
    return tuple(sorted((p, q) if p < q else (q, p) for p, q in rotated))


@lru_cache
def loop_graphs(n: int, *, proper: bool) -> tuple[tuple[Graph, int], ...]:
    """Contractions as bipartite graphs, for covariances that are diagonal in a product basis.

    There an index is constant along a loop, so a contraction is known from which A-loop and which
    B-loop each pair lies on: edges (A-loop, B-loop, is a relation). Equal graphs are merged.

    Returns:
        Pairs (graph, weight); the weights sum to n! or (2n-1)!!.
    """
    weights: Counter[Graph] = Counter()
    for contraction in contractions(n, proper=proper):
        a_loops, b_loops = contraction.loops
        a_of = {pair: i for i, loop in enumerate(a_loops) for pair in loop}
        b_of = {pair: i for i, loop in enumerate(b_loops) for pair in loop}
        edges = [
            (a_of[pair], b_of[pair], contraction.kind(pair) != "covariance") for pair in range(n)
        ]
        weights[_canonical(edges, a_loops, b_loops)] += contraction.weight
    return tuple(weights.items())


def _canonical(
    edges: list[tuple[int, int, bool]],
    a_loops: tuple[tuple[int, ...], ...],
    b_loops: tuple[tuple[int, ...], ...],
) -> Graph:
    """The smallest relabelling of a graph whose loops are numbered by increasing length."""
    return min(
        tuple(sorted((a[i], b[j], relation) for i, j, relation in edges))
        for a, b in product(_numberings(a_loops), _numberings(b_loops))
    )


def _numberings(loops: tuple[tuple[int, ...], ...]) -> Iterator[dict[int, int]]:
    by_length: dict[int, list[int]] = {}
    for i, loop in enumerate(loops):
        by_length.setdefault(len(loop), []).append(i)
    groups = [by_length[length] for length in sorted(by_length)]
    for orders in product(*(permutations(group) for group in groups)):
        yield {old: new for new, old in enumerate(i for order in orders for i in order)}

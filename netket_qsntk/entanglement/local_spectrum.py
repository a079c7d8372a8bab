"""Covariances that are diagonal in a product basis: a spectrum stands for the matrix.

A Hamming function is diagonal in the Walsh basis, a Kronecker product in the eigenbases of its
factors. Both bases are products over sites, so turning ψ into them changes no entropy, and there
every component of ψ is an independent Gaussian whose variance depends on a class s of A's index
and a class t of B's. With classes by multiplicity, traces over 2^d states are sums over a few
hundred numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netket_qsntk.entanglement.wick import Graph, loop_graphs


@dataclass(frozen=True, eq=False)
class LocalSpectrum:
    """Variances of independent Gaussians, by class of A's index and of B's, with Tr Γ = 1.

    Attributes:
        multiplicity_a: How many indices of A are in each class, (S,), as floats.
        multiplicity_b: Likewise for B, (T,).
        tables: (Γ,) for a proper ensemble, (K₁,) or (K₁, K₂) for another; each (S, T).
        proper: Whether E ψψ = 0.
        missing_a: For each table, what Σ_t m_b x lacks of the exact partial trace, because
            eigenvalues below the rounding of the largest were set to zero, (S,).
        missing_b: Likewise for Σ_s m_a x, (T,).
        missing_trace: What Σ_st m_a m_b x, over all tables, lacks of one.
        log_trace: log of the Tr Γ that was divided out.
    """

    multiplicity_a: np.ndarray
    multiplicity_b: np.ndarray
    tables: tuple[np.ndarray, ...]
    proper: bool
    missing_a: tuple[np.ndarray | float, ...]
    missing_b: tuple[np.ndarray | float, ...]
    missing_trace: float
    log_trace: float = 0.0

    @property
    def _rate(self) -> float:
        """exp(-t ψ†ψ) turns x into x/(1 + rate·t·x)."""
        return 1.0 if self.proper else 2.0

    def power_sums(self, n: int) -> list[float]:
        """For m = 1, …, n, Tr Γᵐ of a proper ensemble, Σ Tr (2K)ᵐ/2 over parts of another."""
        a, b = self.multiplicity_a, self.multiplicity_b
        total = [1.0]
        for m in range(2, n + 1):
            # One power stays with the multiplicities: they overflow where the products do not.
            terms = (np.sum(weighted(x, a, b) * (self._rate * x) ** (m - 1)) for x in self.tables)
            total.append(float(sum(terms)))
        return total

    def log_determinant(self, t: float) -> float:
        """log E exp(-t ψ†ψ), negated."""
        a, b = self.multiplicity_a, self.multiplicity_b
        y = [self._rate * t * x for x in self.tables]
        # log1p(y)/y is harmless where y is too small to be weighted by itself.
        total = sum(
            np.sum(weighted(x, a, b) * t * np.where(z > 0, np.log1p(z) / np.where(z > 0, z, 1), 1))
            for x, z in zip(self.tables, y, strict=True)
        )
        return float(total + t * self.missing_trace)

    def tilted(self, t: float) -> "LocalSpectrum":
        """The Gaussian ensemble with density multiplied by exp(-t ψ†ψ); its trace is not one."""
        return replace(self, tables=tuple(x / (1 + self._rate * t * x) for x in self.tables))

    def moment(self, n: int) -> float:
        """E Tr ρ̃ⁿ, for n from 2 to 6."""
        sign = (1.0, -1.0)
        a, b = self.multiplicity_a, self.multiplicity_b
        covariance = sum(self.tables)
        relation = sum(s * x for s, x in zip(sign, self.tables, strict=False))
        tables = (covariance, relation)
        marginals = []
        for k, x in enumerate(tables):
            missing_a = sum(s**k * m for s, m in zip(sign, self.missing_a, strict=False))
            missing_b = sum(s**k * m for s, m in zip(sign, self.missing_b, strict=False))
            marginals.append((x @ b + missing_a, a @ x + missing_b))
        return sum(
            weight * _contract(graph, (a, b), tables, marginals)
            for graph, weight in loop_graphs(n, proper=self.proper)
        )


def weighted(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """m_a x m_b, in the order that neither overflows nor underflows."""
    return x * a[:, None] * b


def _contract(
    graph: Graph,
    multiplicities: tuple[np.ndarray, np.ndarray],
    tables: Sequence[Any],
    marginals: Sequence[tuple[Any, Any]],
) -> float:
    """Σ over the classes of all loops of Π multiplicities · Π table entries."""
    degree: dict[tuple[int, int], int] = {}
    for i, j, _ in graph:
        for loop in ((0, i), (1, j)):
            degree[loop] = degree.get(loop, 0) + 1
    vectors: dict[tuple[int, int], Any] = {}
    matrices: dict[tuple[int, int], Any] = {}
    for i, j, relation in graph:
        # A loop with one pair on it is a partial trace, and those are known exactly.
        if degree[0, i] == 1:
            vectors[1, j] = vectors.get((1, j), 1.0) * marginals[relation][1]
        elif degree[1, j] == 1:
            vectors[0, i] = vectors.get((0, i), 1.0) * marginals[relation][0]
        else:
            matrices[i, j] = matrices.get((i, j), 1.0) * tables[relation]
    operands: list[Any] = []
    loops = [loop for loop, d in degree.items() if d > 1]
    for side, k in loops:
        weight = multiplicities[side]
        if (side, k) in vectors:
            operands += [weight * vectors[side, k], [loops.index((side, k))]]
        else:
            edge = next(e for e in matrices if e[side] == k)
            matrices[edge] = matrices[edge] * (weight[:, None] if side == 0 else weight)
    for (i, j), matrix in matrices.items():
        operands += [matrix, [loops.index((0, i)), loops.index((1, j))]]
    return float(np.einsum(*operands, [], optimize="optimal" if len(operands) > 2 else False))

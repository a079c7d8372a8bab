"""Contractions of covariances held as whole matrices, on any bipartition of any Hilbert space."""

from functools import lru_cache
from typing import Any

import numpy as np
import opt_einsum

from netket_qsntk.entanglement.ensembles import DenseEnsemble
from netket_qsntk.entanglement.partition import Bipartition, bipartition
from netket_qsntk.entanglement.wick import contractions
from netket_qsntk.errors import SystemTooLargeError

_MAX_BYTES = 2**31
_TRACES = {"": "abcd->abcd", "A": "abac->bc", "B": "abcb->ac", "AB": "abab->"}


def four_index(matrix: np.ndarray, cut: Bipartition) -> np.ndarray:
    """A matrix over basis states as M[a, b, a', b'], with exchange signs, zero elsewhere."""
    if matrix.itemsize * np.prod(cut.shape, dtype=float) ** 2 > _MAX_BYTES:
        raise SystemTooLargeError(
            f"A covariance over a {cut.shape[0]} × {cut.shape[1]} bipartition does not fit in "
            "memory. Kernels of WideMLP on spins fit as a HammingEnsemble, of CosNet and "
            "GaussNet as a ProductEnsemble."
        )
    if cut.signs is not None:
        matrix = cut.signs[:, None] * matrix * cut.signs
    index = cut.rows * cut.shape[1] + cut.columns
    dimension = cut.shape[0] * cut.shape[1]
    table = np.zeros((dimension, dimension), matrix.dtype)
    table[np.ix_(index, index)] = matrix
    return table.reshape(cut.shape * 2)


def dense_moment(ensemble: DenseEnsemble, sites: tuple[int, ...], n: int) -> float:
    """E Tr ρ̃ⁿ, by contracting n matrices for each class of pairings."""
    cut = bipartition(ensemble.hilbert, sites)
    gamma = four_index(ensemble.covariance, cut)
    c = None if ensemble.relation is None else four_index(ensemble.relation, cut)
    return moment_of_tables(gamma, c, n)


def moment_of_tables(gamma: np.ndarray, c: np.ndarray | None, n: int) -> float:
    """E Tr ρ̃ⁿ from Γ[a, b, a', b'] and C[a, b, a', b'] (None: proper)."""
    tables: dict[str, Any] = {"covariance": gamma, "relation": c}
    if c is not None:
        tables["conjugate"] = c.conj()
    traced: dict[tuple[str, str], np.ndarray] = {}
    total = 0.0
    for weight, sources, legs, path in _plan(n, c is None, gamma.shape[:2], gamma.itemsize):
        operands: list[Any] = []
        for source, indices in zip(sources, legs, strict=True):
            operands += [_table(tables, traced, *source), indices]
        total += weight * float(np.real(opt_einsum.contract(*operands, [], optimize=path)))
    return total


def _table(
    tables: dict[str, Any], traced: dict[tuple[str, str], np.ndarray], kind: str, trace: str
) -> np.ndarray:
    """Γ, C or C* with the indices of A, of B, of both or of neither traced."""
    if (kind, trace) not in traced:
        traced[kind, trace] = np.einsum(_TRACES[trace], tables[kind])
    return traced[kind, trace]


@lru_cache(maxsize=64)
def _plan(
    n: int, proper: bool, shape: tuple[int, int], itemsize: int
) -> tuple[tuple[int, list[tuple[str, str]], list[list[int]], Any], ...]:
    """For each contraction: weight, tables, their indices, and the order to multiply in."""
    plan = []
    for contraction in contractions(n, proper=proper):
        sources, legs, sizes = [], [], []
        for pair, (first, second) in enumerate(contraction.pairs):
            (a, b), (a2, b2) = contraction.labels(first), contraction.labels(second)
            trace = ("A" if a == a2 else "") + ("B" if b == b2 else "")
            sources.append((contraction.kind(pair), trace))
            # Indices of B are numbered after those of A; in Γ(x, y) = E ψ(x)ψ*(y) the field ψ
            # comes first.
            kept = {"": (0, 1, 2, 3), "A": (1, 3), "B": (0, 2), "AB": ()}[trace]
            every = (a, n + b, a2, n + b2)
            legs.append([every[i] for i in kept])
            sizes.append(tuple((shape * 2)[i] for i in kept))
        arguments = [
            x
            for size, indices in zip(sizes, legs, strict=True)
            for x in (np.broadcast_to(0.0, size), indices)
        ]
        path, info = opt_einsum.contract_path(*arguments, [], optimize="optimal")
        largest = itemsize * int(info.largest_intermediate)
        if largest > _MAX_BYTES:
            raise SystemTooLargeError(
                f"A contraction of n={n} covariances over a {shape[0]} × {shape[1]} bipartition "
                f"needs an intermediate of {largest / 2**30:.0f} GiB. Use a smaller n or system, "
                "a HammingEnsemble or ProductEnsemble where the kernel is one, or average over "
                "ensemble draws."
            )
        plan.append((contraction.weight, sources, legs, path))
    return tuple(plan)


def real_spectrum(ensemble: DenseEnsemble) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of the covariance of the real vector behind ψ.

    For a proper ensemble those of Γ itself, whose real vector repeats each eigenvalue halved; for
    another, those of the covariance of (Re ψ, Im ψ), [[Re(Γ + C), Im(C - Γ)], [Im(C + Γ), Re(Γ -
    C)]]/2.
    """
    gamma, c = ensemble.covariance, ensemble.relation
    if c is None:
        return np.linalg.eigh(gamma)
    plus, minus = gamma + c, gamma - c
    stacked = np.block([[plus.real, -minus.imag], [plus.imag, minus.real]]) / 2
    return np.linalg.eigh(stacked)

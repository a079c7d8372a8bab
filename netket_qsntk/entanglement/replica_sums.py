r"""Moments of log-normal ensembles as sums over the overlaps of replicas.

.. math:: E\,\mathrm{Tr}\,\tilde\rho_A^n = \sum_{a, b} E \prod_{k} \psi(a_k, b_k)\, \psi^*(a_{k+1}, b_k)

has an exponent that knows the configurations by the sums over sites of :mod:`~netket_qsntk.entanglement.replicas`
alone. Each of its terms joins a pair of replicas in A with a pair in B.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from netket_qsntk.entanglement.cliques import dense_log_moment, dense_log_norm
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.replicas import Fillings, fillings, merged, pairs, site_classes
from netket_qsntk.errors import SystemTooLargeError

# Terms of a double sum over A and B: a minute.
_MAX_TERMS = 2**28
# Numbers held at a time.
_CHUNK = 2**21

Structured = HammingEnsemble | ProductEnsemble
Term = tuple[int, int, float, float]


@lru_cache
def moment_terms(n: int) -> tuple[Term, ...]:
    """The exponent of Tr ρ̃ⁿ: (pair in A, pair in B, factor of Γ, factor of C) for each term."""
    number = {pair: i for i, pair in enumerate(pairs(n))}

    def pair(k: int, m: int) -> int:
        k, m = k % n, m % n
        return number[min(k, m), max(k, m)]

    gamma: Counter[tuple[int, int]] = Counter()
    relation: Counter[tuple[int, int]] = Counter()
    for k in range(n):
        for m in range(n):
            gamma[pair(k, m + 1), pair(k, m)] += 1
            relation[pair(k, m), pair(k, m)] += 0.5  # type: ignore[assignment]
            relation[pair(k + 1, m + 1), pair(k, m)] += 0.5  # type: ignore[assignment]
    return tuple((a, b, gamma[a, b], relation[a, b]) for a, b in sorted({*gamma, *relation}))


@lru_cache
def norm_terms(n: int) -> tuple[tuple[int, float], ...]:
    """The exponent of (Tr ρ̃)ⁿ: (pair of replicas of the whole system, factor of Γ and of C)."""
    return tuple((i, 1.0 if k == m else 2.0) for i, (k, m) in enumerate(pairs(n)))


def log_normal_moment(ensemble: LogNormalEnsemble, sites: tuple[int, ...], n: int) -> float:
    """log E Tr ρ̃ⁿ of a log-normal ensemble.

    Raises:
        SystemTooLargeError: The replicas overlap in too many ways.
    """
    fields = ensemble.fields
    if isinstance(fields, DenseEnsemble):
        return dense_log_moment(fields, ensemble.reference, sites, n)
    rest = [i for i in range(fields.n_sites) if i not in set(sites)]
    kinds = [site_classes(fields, part, n) for part in (sites, rest)]
    a, b = (fillings(part, n, merge=n > 3) for part in kinds)
    if isinstance(fields, HammingEnsemble) and fields.is_proper and n == 3:
        return three_replicas(fields.covariance, a, b)
    a = merged(a, n, cyclic=True)
    number = float(len(a.sums)) * len(b.sums)
    if number > _MAX_TERMS:
        raise SystemTooLargeError(
            f"{n} replicas on {len(sites)} and {len(rest)} sites overlap in {number:.2g} ways, too many to sum. "
            "sampled_renyi draws the overlaps, at any number of sites and with an error."
        )
    if isinstance(fields, HammingEnsemble):
        exponent = _hamming_exponent(fields, a, b, n)
    else:
        exponent = _product_exponent(fields, a, b, n)
    rows = max(1, _CHUNK // len(b.sums))
    logs = []
    for start in range(0, len(a.sums), rows):
        chunk = slice(start, start + rows)
        logs.append(
            _log_sum(exponent(chunk) + a.log_multiplicity[chunk, None] + b.log_multiplicity)
        )
    return float(np.logaddexp.reduce(logs))


def log_normal_norm(ensemble: LogNormalEnsemble, n: int) -> float:
    """log E ⟨ψ|ψ⟩ⁿ of a log-normal ensemble.

    Raises:
        SystemTooLargeError: The replicas overlap in too many ways.
    """
    fields = ensemble.fields
    if isinstance(fields, DenseEnsemble):
        return dense_log_norm(fields, ensemble.reference, n)
    every = fillings(site_classes(fields, range(fields.n_sites), n), n, merge=False)
    return _log_sum(every.log_multiplicity + norm_exponent(fields, every.sums, n))


def norm_exponent(fields: Structured, sums: np.ndarray, n: int) -> np.ndarray:
    """log E Π_k |ψ(x_k)|² for replicas with these sums, (s,)."""
    factors = np.array([factor for _, factor in norm_terms(n)])
    total = np.zeros(len(sums))
    if isinstance(fields, HammingEnsemble):
        # |ψ|² = e^{2 f₁}: Γ + C = 2 K₁.
        table = fields.covariance if fields.is_proper else 2 * fields.kernels[0]
        return np.asarray(table[np.rint(sums).astype(int)] @ factors)
    for kernel, (weight, part) in enumerate(_parts(fields)):
        block = sums[:, kernel * len(factors) : (kernel + 1) * len(factors)]
        total += (1 + weight) * part.scale * (np.exp(block) @ factors)
    return total


def _parts(fields: ProductEnsemble) -> list[tuple[float, ProductKernel]]:
    """The kernels that Γ is the sum of, each with the sign it has in C."""
    signs = (0.0,) if fields.is_proper else (1.0, -1.0)
    return list(zip(signs, fields.kernels, strict=False))


def _hamming_exponent(
    fields: HammingEnsemble, a: Fillings, b: Fillings, n: int
) -> Callable[[slice], np.ndarray]:
    in_a, in_b = (np.rint(part.sums).astype(np.int64) for part in (a, b))
    largest = int(in_b.max(initial=0))
    relation = np.zeros_like(fields.covariance) if fields.relation is None else fields.relation
    distances = np.add.outer(np.arange(int(in_a.max(initial=0)) + 1), np.arange(largest + 1))
    gamma, c = fields.covariance[distances], relation[distances]

    def exponent(chunk: slice) -> np.ndarray:
        total = np.zeros((len(in_a[chunk]), len(in_b)))
        for j in range(in_b.shape[1]):
            # All terms that meet this pair of B, by the distance in B.
            rows = sum(
                (f * gamma + g * c)[in_a[chunk, i]] for i, k, f, g in moment_terms(n) if k == j
            )
            if np.ndim(rows):
                total += rows[:, in_b[:, j]]
        return total

    return exponent


def _product_exponent(
    fields: ProductEnsemble, a: Fillings, b: Fillings, n: int
) -> Callable[[slice], np.ndarray]:
    columns = len(pairs(n))
    left, right = np.exp(a.sums), np.exp(b.sums)
    # The exponent is bilinear in the products over A and over B.
    form = np.zeros((left.shape[1], right.shape[1]))
    for kernel, (sign, part) in enumerate(_parts(fields)):
        for i, j, f, g in moment_terms(n):
            form[kernel * columns + i, kernel * columns + j] += part.scale * (f + sign * g)
    right = form @ right.T

    def exponent(chunk: slice) -> np.ndarray:
        return np.asarray(left[chunk] @ right)

    return exponent


def three_replicas(gamma: np.ndarray, a: Fillings, b: Fillings) -> float:
    """log E Tr ρ̃³ of equal parts: each distance in A meets one in B, so the sum is a tensor contraction.

    (d_A + 1)³ (d_B + 1) operations instead of the product of the numbers of fillings.
    """
    sizes = [int(np.rint(part.sums.max())) + 1 for part in (a, b)]
    apart = [i for i, (k, m) in enumerate(pairs(3)) if k != m]
    terms = [(i, j, f) for i, j, f, _ in moment_terms(3) if f]
    tables = []
    for side, part in enumerate((a, b)):
        distances = np.rint(part.sums).astype(int)
        logs = part.log_multiplicity.copy()
        for term in terms:
            if term[1 - side] not in apart:
                logs = logs + term[2] * gamma[distances[:, term[side]]]
        table = np.full((sizes[side],) * 3, -np.inf)
        table[tuple(distances[:, apart].T)] = logs
        tables.append(table)
    partner = {i: (j, f) for i, j, f in terms if i in apart and j in apart}
    distance = np.add.outer(np.arange(sizes[0]), np.arange(sizes[1]))
    carried = tables[0]
    for i in apart:
        # The first axis goes, and that of its partner in B comes last.
        carried = _log_product(np.moveaxis(carried, 0, -1), partner[i][1] * gamma[distance])
    order = np.argsort([partner[i][0] for i in apart])
    return _log_sum((carried.transpose(order) + tables[1]).ravel())


def _log_product(logs: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """log of exp(logs) @ exp(matrix), without overflow."""
    finite = logs[np.isfinite(logs)]
    top = np.max(logs, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    shift = np.max(matrix, axis=0)
    with np.errstate(divide="ignore"):
        if np.ptp(finite) + np.ptp(matrix) < 600:
            return np.asarray(np.log(np.exp(logs - top) @ np.exp(matrix - shift)) + top + shift)
        columns = [np.logaddexp.reduce(logs + column, axis=-1) for column in matrix.T]
    return np.stack(columns, axis=-1)


def _log_sum(logs: np.ndarray) -> float:
    top = np.max(logs)
    return float(top + np.log(np.sum(np.exp(logs - top)))) if np.isfinite(top) else float(top)

r"""Moments of log-normal ensembles over a whole basis: sums over n configurations that all meet each other."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netket_qsntk.entanglement.dense_moments import four_index
from netket_qsntk.entanglement.ensembles import DenseEnsemble
from netket_qsntk.entanglement.partition import bipartition
from netket_qsntk.errors import SystemTooLargeError

# Terms of a sum over n configurations: minutes.
_MAX_TERMS = 2**34


def clique_sum(
    matrices: Mapping[tuple[int, int], np.ndarray], weights: Sequence[np.ndarray]
) -> complex:
    r"""Σ over (x_0, …, x_{n-1}) of Π_k w_k(x_k) Π_{k<l} M_kl(x_k, x_l), up to n = 3 by products of matrices.

    Example:
        >>> ones = np.ones((2, 2))
        >>> complex(clique_sum({(0, 1): ones, (0, 2): ones, (1, 2): ones}, [np.ones(2)] * 3)).real
        8.0
    """
    n = len(weights)
    if n == 1:
        return complex(np.sum(weights[0]))
    if n == 2:
        return complex(weights[0] @ matrices[0, 1] @ weights[1])
    if n == 3:
        left = (weights[0][:, None] * matrices[0, 1] * weights[1]) @ matrices[1, 2]
        return complex(np.sum(left * matrices[0, 2] * weights[2]))
    rest = {(k - 1, m - 1): matrix for (k, m), matrix in matrices.items() if k > 0}
    total = 0.0 + 0.0j
    for x, weight in enumerate(weights[0]):
        if weight != 0:
            meeting = [w * matrices[0, k + 1][x] for k, w in enumerate(weights[1:])]
            total += weight * clique_sum(rest, meeting)
    return total


def dense_log_moment(
    fields: DenseEnsemble, reference: np.ndarray | None, sites: tuple[int, ...], n: int
) -> float:
    """log E Tr ρ̃ⁿ of ψ = e^{r + f}, for covariances of f held as matrices: (d_A d_B)ⁿ terms."""
    cut = bipartition(fields.hilbert, sites)
    _check(len(fields.covariance), n)
    # exp(f) meets the signs of fermions, f does not.
    plain = replace(cut, signs=None)
    gamma = four_index(fields.covariance, plain)
    relation = None if fields.relation is None else four_index(fields.relation, plain)
    amplitude = np.zeros(cut.shape, complex)
    amplitude[cut.rows, cut.columns] = 1.0 if cut.signs is None else cut.signs
    offset = 0.0
    if reference is not None:
        offset = float(np.max(reference.real))
        amplitude[cut.rows, cut.columns] *= np.exp(reference - offset)
    if cut.shape[0] > cut.shape[1]:
        # The purities of the two parts are equal: list the tuples of the smaller one.
        amplitude, gamma = amplitude.T, gamma.transpose(1, 0, 3, 2)
        relation = None if relation is None else relation.transpose(1, 0, 3, 2)
    tops, values = [], []
    for a, weight in _necklaces(len(amplitude), n):
        top, value = _given_a(a, gamma, relation, amplitude)
        tops.append(top)
        values.append(weight * value)
    highest = max(tops)
    return float(
        np.log(np.sum(np.array(values) * np.exp(np.array(tops) - highest)))
        + highest
        + 2 * n * offset
    )


def _necklaces(states: int, n: int) -> "itertools.chain[tuple[tuple[int, ...], int]]":
    """Tuples of n states up to rotation, each with the number of its rotations."""

    def of(a: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
        rotations = {a[k:] + a[:k] for k in range(n)}
        return [(a, len(rotations))] if a == min(rotations) else []

    return itertools.chain.from_iterable(map(of, itertools.product(range(states), repeat=n)))


def _given_a(
    a: tuple[int, ...], gamma: np.ndarray, relation: np.ndarray | None, amplitude: np.ndarray
) -> tuple[float, float]:
    """The sum over B for given configurations of A: (logarithm divided out, what is left)."""
    n = len(a)
    form: dict[tuple[int, int], np.ndarray] = {}
    for k in range(n):
        for m in range(n):
            a_k, a_m, next_k, next_m = a[k], a[m], a[(k + 1) % n], a[(m + 1) % n]
            block = gamma[a_k, :, next_m, :]
            if relation is not None:
                block = block + 0.5 * relation[a_k, :, a_m, :]
                block = block + 0.5 * relation[next_k, :, next_m, :].conj()
            form[k, m] = block
    top, weights, matrices = 0.0, [], {}
    for k in range(n):
        exponent = np.diagonal(form[k, k])
        allowed = amplitude[a[k]] * amplitude[a[(k + 1) % n]].conj()
        highest = float(np.max(exponent.real, where=allowed != 0, initial=-np.inf))
        if highest == -np.inf:
            return 0.0, 0.0
        with np.errstate(over="ignore"):
            weights.append(np.where(allowed != 0, allowed * np.exp(exponent - highest), 0.0))
        top += highest
        for m in range(k + 1, n):
            joint = form[k, m] + form[m, k].T
            highest = float(np.max(joint.real))
            matrices[k, m] = np.exp(joint - highest)
            top += highest
    return top, clique_sum(matrices, weights).real


def dense_log_norm(fields: DenseEnsemble, reference: np.ndarray | None, n: int) -> float:
    """log E ⟨ψ|ψ⟩ⁿ, for covariances of f held as matrices."""
    _check(len(fields.covariance), n)
    form = fields.covariance.real + (0.0 if fields.relation is None else fields.relation.real)
    exponent = np.diagonal(form).copy()
    if reference is not None:
        exponent += 2 * reference.real
    own, joint = float(np.max(exponent)), 2 * float(np.max(form))
    matrices = dict.fromkeys(itertools.combinations(range(n), 2), np.exp(2 * form - joint))
    total = clique_sum(matrices, [np.exp(exponent - own)] * n).real
    return float(np.log(total) + n * own + n * (n - 1) / 2 * joint)


def _check(states: int, n: int) -> None:
    if float(states) ** n > _MAX_TERMS:
        raise SystemTooLargeError(
            f"{n} replicas of {states} basis states are {float(states) ** n:.2g} terms of a moment. Kernels of the "
            "Hamming distance and products over sites need far fewer; otherwise average over draws: "
            "EnsembleEntropy(…, average='annealed') of an InfiniteState or EnsembleState."
        )

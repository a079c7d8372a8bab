"""Contractions of Kronecker products: each is a product over sites of traces of small matrices."""

import math
from collections import Counter
from functools import reduce
from itertools import product

import numpy as np

from netket_qsntk.entanglement.ensembles import ProductEnsemble, ProductKernel
from netket_qsntk.entanglement.wick import Contraction, contractions


def product_log_moment(ensemble: ProductEnsemble, sites: tuple[int, ...], n: int) -> float:
    """log E Tr ρ̃ⁿ, at any number of sites."""
    rest = tuple(sorted(set(range(ensemble.n_sites)) - set(sites)))
    if ensemble.covariance is not None:
        return _proper(ensemble.covariance, sites, rest, n)
    return _improper(ensemble.parts, sites, rest, n)


def product_power_ratios(ensemble: ProductEnsemble, n: int) -> list[float]:
    """The power sums of :meth:`LocalSpectrum.power_sums`, in units of Tr Γ."""
    kernels = ensemble.kernels
    log_trace = np.logaddexp.reduce([kernel.log_trace for kernel in kernels])
    rate = 1.0 if ensemble.is_proper else 2.0
    ratios = []
    for m in range(1, n + 1):
        logs = [
            m * np.log(kernel.scale) + _log_power_traces(kernel, range(kernel.n_sites), m)
            for kernel in kernels
        ]
        ratios.append(float(sum(rate ** (m - 1) * np.exp(x - m * log_trace) for x in logs)))
    return ratios


def _log_power_traces(kernel: ProductKernel, sites: "range | tuple[int, ...]", m: int) -> float:
    """Σ over sites of log Tr κᵐ."""
    return sum(
        count * math.log(np.sum(np.maximum(np.linalg.eigvalsh(kappa), 0) ** m))
        for kappa, count in kernel.distinct(sites)
    )


def _proper(kernel: ProductKernel, sites: tuple[int, ...], rest: tuple[int, ...], n: int) -> float:
    in_a, in_b = (
        [_log_power_traces(kernel, part, m) for m in range(1, n + 1)] for part in (sites, rest)
    )
    terms: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for contraction in contractions(n, proper=True):
        lengths = tuple(tuple(sorted(map(len, loops))) for loops in contraction.loops)
        terms[lengths[0], lengths[1]] += contraction.weight
    logs = [
        np.log(weight) + sum(in_a[m - 1] for m in a_loops) + sum(in_b[m - 1] for m in b_loops)
        for (a_loops, b_loops), weight in terms.items()
    ]
    return float(np.logaddexp.reduce(logs) + n * np.log(kernel.scale))


def _improper(
    parts: tuple[ProductKernel, ...], sites: tuple[int, ...], rest: tuple[int, ...], n: int
) -> float:
    # Every pair of fields belongs to one of the parts: a row of labels for each way to choose them.
    labels = np.array(list(product(range(len(parts)), repeat=n)))
    log_scales = np.log([part.scale for part in parts])[labels].sum(axis=1)
    tables = [_word_traces(parts, part, n) for part in (sites, rest)]
    logs, signs = [], []
    for contraction in contractions(n, proper=False):
        log, sign = log_scales + np.log(contraction.weight), _relation_signs(contraction, labels)
        for (log_traces, trace_signs), loops in zip(tables, contraction.loops, strict=True):
            for loop in loops:
                word = 2 ** len(loop) + labels[:, loop] @ 2 ** np.arange(len(loop))
                log, sign = log + log_traces[word], sign * trace_signs[word]
        logs.append(log)
        signs.append(sign)
    every = np.concatenate(logs)
    top = np.max(every)
    return float(top + np.log(np.sum(np.concatenate(signs) * np.exp(every - top))))


def _relation_signs(contraction: Contraction, labels: np.ndarray) -> np.ndarray:
    """(-1) for each pair ψψ or ψ*ψ* of imaginary parts, i² = (-i)² = -1."""
    related = [contraction.kind(pair) != "covariance" for pair in range(contraction.n)]
    return 1.0 - 2.0 * (labels[:, related].sum(axis=1) % 2)


def _word_traces(
    parts: tuple[ProductKernel, ...], sites: tuple[int, ...], n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Σ over sites of log|Tr κ_{l₁} κ_{l₂} …| and the product of signs, for each word l.

    The word l is number 2^len + Σ l_i 2^i.
    """
    distinct = Counter(tuple(id(part.sites[i]) for part in parts) for i in sites)
    matrices = {id(kappa): kappa for part in parts for kappa in part.sites}
    logs, signs = np.zeros(2 ** (n + 1)), np.ones(2 ** (n + 1))
    for length in range(1, n + 1):
        for letters in product(range(len(parts)), repeat=length):
            word = 2**length + sum(letter << i for i, letter in enumerate(letters))
            for key, count in distinct.items():
                trace = np.trace(reduce(np.matmul, (matrices[key[letter]] for letter in letters)))
                with np.errstate(divide="ignore"):
                    logs[word] += count * np.log(np.abs(trace))
                signs[word] *= np.sign(trace) ** count
    return logs, signs

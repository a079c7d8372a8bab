"""Kernel regression and parities by brute force."""

import numpy as np


def parities(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal parities as columns, in the order of bits, and their weights."""
    x = np.arange(2**d)
    signs = 1.0 - 2.0 * (np.bitwise_count(x[:, None] & x) & 1)
    return signs / np.sqrt(2**d), np.bitwise_count(x)


def regression(
    ntk: np.ndarray, functions: np.ndarray, n: int, seed: int, ridge: float = 0.0
) -> np.ndarray:
    """Residuals (unseen configurations, functions) of kernel regression on n random ones: modes above rounding."""
    order = np.random.default_rng(seed).permutation(len(ntk))
    seen, unseen = order[:n], order[n:]
    values, vectors = np.linalg.eigh(ntk[np.ix_(seen, seen)] + ridge * np.eye(n))
    kept = values > n * np.finfo(float).eps * values[-1]
    inverse = np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    weights = vectors @ (inverse[:, None] * (vectors.T @ functions[seen]))
    return functions[unseen] - ntk[np.ix_(unseen, seen)] @ weights


def unit_errors(
    ntk: np.ndarray,
    functions: np.ndarray,
    level: np.ndarray,
    n: int,
    draws: int,
    ridge: float = 0.0,
) -> np.ndarray:
    """Error on unseen configurations for a unit of power in each level, one row for each draw.

    ``functions`` are orthonormal eigenvectors of the kernel as columns, ``level`` their levels. Averaged over
    training sets the error is the sum of these times the powers, whatever the target.
    """
    size = len(ntk)
    rows = []
    for seed in range(draws):
        squares = (regression(ntk, functions, n, seed, ridge) ** 2).sum(0) * size / (size - n)
        rows.append(np.bincount(level, squares) / np.bincount(level))
    return np.array(rows)

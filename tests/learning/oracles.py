"""Kernel regression and parities by brute force."""

import numpy as np
import scipy.linalg

import netket_qsntk as qs


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


def unit_errors_of_the_unseen(eigenvalues: np.ndarray, d: int, n: int, draws: int) -> np.ndarray:
    """:func:`unit_errors` for parities and a kernel of the Hamming distance, by matrices between unseen ones alone.

    With M the inverse kernel over the whole basis a parity f of level λ leaves (M_UU)⁻¹ f_U/λ, and the sum of the
    squares over a level is tr[(M_UU)⁻² P_UU]/λ² with its projector P: M and P are functions of the distance.
    """
    weights = [np.poly1d([1, 1]) ** (d - h) * np.poly1d([-1, 1]) ** h for h in range(d + 1)]
    levels = np.array([p.coeffs[::-1] for p in weights])  # K_w(h), (distances, levels)
    inverse = levels @ (1 / eigenvalues) / 2**d
    rows = []
    for seed in range(draws):
        unseen = np.random.default_rng(seed).permutation(2**d)[n:]
        distances = np.bitwise_count(unseen[:, None] ^ unseen)
        left = _inverse(inverse[distances])
        sums = np.bincount(distances.ravel(), (left @ left).ravel(), d + 1)
        rows.append(sums @ levels / (levels[0] * eigenvalues**2) / (2**d - n))
    return np.array(rows)


class Splits:
    """Losses at infinite time for many training sets of one target, without a diagonalisation for any.

    With M the inverse of the kernel over the whole basis, regression on what was seen leaves (M_UU)⁻¹(M f)_U of a
    function f on the unseen U, by the inverse of a block matrix. For small training sets regression is cheaper.
    """

    def __init__(self, kernel: qs.kernels.InfiniteWidthKernel, target: qs.targets.Target) -> None:
        self.target, self.n_parts = target, kernel.n_parts
        states = np.asarray(target.hilbert.all_states())
        self.nngp, self.ntk = (np.asarray(t) for t in kernel.both(states))
        self.inverse = _inverse(self.ntk)
        self.psi = self.inverse @ target.amplitudes
        self.spread = self.inverse @ self.nngp @ self.inverse

    def losses(self, n: int, seed: int) -> tuple[float, float]:
        """L_μ and L_γ on what ``target.split(n, seed)`` leaves unseen."""
        seen, unseen = self.target.split_indices(n, seed)
        if n < len(self.psi) / 2:
            return self._by_regression(seen, unseen)
        block = _inverse(self.inverse[np.ix_(unseen, unseen)])
        spread = np.sum((block @ self.spread[np.ix_(unseen, unseen)]) * block)
        return (
            float(np.mean(np.abs(block @ self.psi[unseen]) ** 2)),
            float(self.n_parts * spread / len(unseen)),
        )

    def _by_regression(self, seen: np.ndarray, unseen: np.ndarray) -> tuple[float, float]:
        weights = _inverse(self.ntk[np.ix_(seen, seen)]) @ self.ntk[np.ix_(seen, unseen)]
        psi = self.target.amplitudes
        errors = np.abs(psi[unseen] - psi[seen] @ weights) ** 2
        known = self.nngp[np.ix_(seen, seen)] @ weights - 2 * self.nngp[np.ix_(seen, unseen)]
        spread = np.diag(self.nngp)[unseen] + np.sum(weights * known, axis=0)
        return float(errors.mean()), float(self.n_parts * spread.mean())


def _inverse(matrix: np.ndarray) -> np.ndarray:
    factor = scipy.linalg.cho_factor(matrix, lower=True)
    return scipy.linalg.cho_solve(factor, np.eye(len(matrix)))

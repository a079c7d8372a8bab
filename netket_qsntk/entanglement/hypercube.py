"""Functions of the Hamming distance on d spins, and transforms that act site by site."""

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from scipy.special import gammaln

# Sites are transformed in groups of this many amplitudes: one BLAS product instead of four passes.
_GROUP = 16


def log_binomials(d: int) -> np.ndarray:
    """log C(d, w) for w = 0, …, d."""
    w = np.arange(d + 1)
    return gammaln(d + 1) - gammaln(w + 1) - gammaln(d - w + 1)


@lru_cache(maxsize=16)
def krawtchouk(d: int) -> np.ndarray:
    """Normalised Krawtchouk polynomials, the mean of a parity of w spins at Hamming distance h.

    κ[w, h] = K_w(h) / C(d, w), |κ| <= 1, symmetric, from (d - w) κ_{w+1} = (d - 2h) κ_w - w
    κ_{w-1}.

    Returns:
        (d + 1, d + 1) float64, read-only.

    Example:
        >>> krawtchouk(2)
        array([[ 1.,  1.,  1.],
               [ 1.,  0., -1.],
               [ 1., -1.,  1.]])
    """
    h = np.arange(d + 1)
    table = np.empty((d + 1, d + 1))
    table[0] = 1.0
    table[1] = 1 - 2 * h / d
    # Upward in w for the lower half; the upper half follows from κ_{d-w}(h) = (-1)^h κ_w(h).
    for w in range(1, d // 2):
        table[w + 1] = ((d - 2 * h) * table[w] - w * table[w - 1]) / (d - w)
    sign = 1.0 - 2.0 * (h % 2)
    for w in range(d // 2 + 1, d + 1):
        table[w] = sign * table[d - w]
    table.flags.writeable = False
    return table


def hamming_spectrum(values: np.ndarray) -> np.ndarray:
    r"""Eigenvalues of a function of the Hamming distance, over 2^d.

    .. math:: \lambda_w/2^d = 2^{-d} \sum_h \binom dh k(h)\, K_w(h)/\binom dw

    is an average of k with weights of modulus at most one, so its error is a few ulps of max|k|.
    The eigenvalue belongs to the C(d, w) parities of w spins; Σ_w C(d, w) λ_w/2^d = k(0).

    Args:
        values: k(0), …, k(d).

    Returns:
        (d + 1,) float64.

    Example:
        >>> hamming_spectrum(np.array([1.0, 0.5, 0.25]))
        array([0.5625, 0.1875, 0.0625])
    """
    d = len(values) - 1
    weights = np.exp(log_binomials(d) - d * np.log(2))
    return krawtchouk(d) @ (weights * values)


def apply_site_matrices(matrices: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """(M₁ ⊗ M₂ ⊗ …) applied to each row of x, without forming the product.

    Args:
        matrices: One square matrix for each site, the first for the slowest index.
        x: (members, q₁ q₂ …).

    Returns:
        (members, q₁ q₂ …). Cost: 16 multiplications for each entry and about four sites.

    Example:
        >>> hadamard = np.array([[1, 1], [1, -1]])
        >>> apply_site_matrices([hadamard] * 2, np.array([[1.0, 0.0, 0.0, 1.0]]))
        array([[2., 0., 0., 2.]])
    """
    groups: list[list[np.ndarray]] = []
    for matrix in matrices:
        if groups and np.prod([len(m) for m in groups[-1]]) * len(matrix) <= _GROUP:
            groups[-1].append(matrix)
        else:
            groups.append([matrix])
    shape = x.shape
    # Each step sends the leading axis to the end, so that after the last one they are back in
    # order.
    for group in groups:
        factor = reduce(np.kron, group)
        x = x.reshape(shape[0], len(factor), -1).swapaxes(1, 2) @ factor.T
    return np.ascontiguousarray(x).reshape(shape)

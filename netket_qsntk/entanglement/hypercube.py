"""Binomials, and transforms that act site by site."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from scipy.special import gammaln

# Sites are transformed in groups of this many amplitudes: one BLAS product instead of four passes.
_GROUP = 16


def log_binomials(d: int) -> np.ndarray:
    """log C(d, w) for w = 0, …, d."""
    w = np.arange(d + 1)
    return gammaln(d + 1) - gammaln(w + 1) - gammaln(d - w + 1)


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

"""Counting: binomials, and ways to spread equal sites over classes."""

import numpy as np
from scipy.special import gammaln


def log_binomials(d: int) -> np.ndarray:
    """log C(d, w) for w = 0, …, d."""
    w = np.arange(d + 1)
    return np.asarray(gammaln(d + 1) - gammaln(w + 1) - gammaln(d - w + 1))


def occupations(count: int, classes: int) -> np.ndarray:
    """All ways to put ``count`` sites into ``classes`` classes, in lexicographic order.

    Returns:
        (C(count + classes - 1, classes - 1), classes) integers, each row adding up to ``count``.

    Example:
        >>> occupations(2, 2).tolist()
        [[0, 2], [1, 1], [2, 0]]
    """
    rows, left = np.zeros((1, 0), dtype=np.int64), np.array([count])
    for _ in range(classes - 1):
        choices = left + 1
        parent = np.repeat(np.arange(len(left)), choices)
        first = np.cumsum(choices) - choices
        here = np.arange(len(parent)) - first[parent]
        rows, left = np.column_stack([rows[parent], here]), left[parent] - here
    return np.column_stack([rows, left])

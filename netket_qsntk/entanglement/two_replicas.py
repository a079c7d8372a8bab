r"""The largest terms of sums over two replicas of infinitely many spins, by looking everywhere.

Two replicas are known by the share of spins in which they differ, x in A and y in B, and their sum over
configurations is e^{d Φ} of

.. math:: \Phi(x, y) = \ln 2 + \alpha\,s(x) + (1-\alpha)\,s(y) + F(x, y), \qquad s(x) = -x\ln x - (1-x)\ln(1-x) .

All terms are positive, so that the limit of the logarithm is the largest Φ and nothing else. Every local maximum on
a grid over the whole square is followed into ever finer grids. The grid is even in x and also in logit x, where
maxima near the edges (replicas that are nearly alike or opposite) are as wide as the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr

# F at arrays of x and of y that broadcast against each other.
Exponent = Callable[[np.ndarray, np.ndarray], np.ndarray]

_EVEN = np.linspace(0.0, 1.0, 129)[1:-1]
_EDGES = 1 / (1 + np.exp(-np.linspace(-30.0, -4.0, 53)))
_GRID = np.unique(np.concatenate([[0.0], _EDGES, _EVEN, 1 - _EDGES, [1.0]]))
# Points of a finer grid on each side, and how many times it shrinks by a factor of three.
_FINE, _ROUNDS = 6, 18
# Maxima beyond these are too small to be competitors of anything.
_FOLLOWED = 16


@dataclass(frozen=True)
class Peak:
    """A local maximum of Φ."""

    x: float
    y: float
    value: float


def peaks_of_two(exponent: Exponent, fraction: float) -> list[Peak]:
    """Local maxima of Φ over the square, the largest first.

    Args:
        exponent: F for each spin.
        fraction: α.
    """

    def phi(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        spread = fraction * _entropy(x) + (1 - fraction) * _entropy(y)
        return np.asarray(np.log(2) + spread + exponent(x, y))

    return _peaks(phi, _GRID, _GRID)


def peaks_of_one(exponent: Callable[[np.ndarray], np.ndarray]) -> list[Peak]:
    """The same for one distance x of the whole system: maxima of ln 2 + s(x) + F(x)."""

    def phi(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(2) + _entropy(x) + exponent(x) + y)

    return _peaks(phi, _GRID, np.zeros(1))


def _peaks(phi: Exponent, in_x: np.ndarray, in_y: np.ndarray) -> list[Peak]:
    table = phi(in_x[:, None], in_y[None, :])
    rows, columns = np.nonzero(_is_peak(table))
    order = np.argsort(-table[rows, columns])[:_FOLLOWED]
    i, j = rows[order], columns[order]
    x, y = in_x[i], in_y[j]
    wide = [
        np.stack([grid[np.maximum(k - 1, 0)], grid[np.minimum(k + 1, len(grid) - 1)]])
        for grid, k in ((in_x, i), (in_y, j))
    ]
    best = table[i, j]
    for _ in range(_ROUNDS):
        xs, ys = (_between(low_high, middle) for low_high, middle in zip(wide, (x, y), strict=True))
        values = phi(xs[:, :, None], ys[:, None, :]).reshape(len(xs), -1)
        at = np.argmax(values, axis=1)
        row, (a, b) = np.arange(len(xs)), np.unravel_index(at, (xs.shape[1], ys.shape[1]))
        better = values[row, at] > best
        x, y = np.where(better, xs[row, a], x), np.where(better, ys[row, b], y)
        best = np.maximum(best, values[row, at])
        wide = [
            np.stack([c - (c - w[0]) / 3, c + (w[1] - c) / 3])
            for c, w in zip((x, y), wide, strict=True)
        ]
    found: list[Peak] = []
    for k in np.argsort(-best):
        if all(abs(x[k] - p.x) + abs(y[k] - p.y) > 1e-5 for p in found):
            found.append(Peak(float(x[k]), float(y[k]), float(best[k])))
    return found


def _entropy(x: np.ndarray) -> np.ndarray:
    return np.asarray(entr(x) + entr(1 - x))


def _is_peak(table: np.ndarray) -> np.ndarray:
    """Where no neighbour is larger."""
    padded = np.pad(table, 1, constant_values=-np.inf)
    m, n = table.shape
    peak = np.ones_like(table, dtype=bool)
    for a in range(3):
        for b in range(3):
            peak &= table >= padded[a : a + m, b : b + n]
    return peak


def _between(low_high: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Points from the lower neighbour through the middle to the upper one, (peaks, points)."""
    share = np.linspace(0.0, 1.0, _FINE + 1)
    below = low_high[0][:, None] + (middle - low_high[0])[:, None] * share
    above = middle[:, None] + (low_high[1] - middle)[:, None] * share[1:]
    return np.concatenate([below, above], axis=1)

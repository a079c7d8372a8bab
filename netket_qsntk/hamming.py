"""Functions of the Hamming distance on d spins and their Walsh-Hadamard spectrum."""

import math
from functools import lru_cache

import numpy as np
from jax import Array
from jax.typing import ArrayLike


@lru_cache(maxsize=64)
def krawtchouk_integers(d: int) -> tuple[tuple[int, ...], ...]:
    """K_w(h) = Σ_j (-1)^j C(h, j) C(d - h, w - j) for w, h = 0, …, d, as exact integers.

    The sum of a parity of w spins over the sphere of radius w, or of all parities of weight w at distance h.
    """
    rows = [[1] * (d + 1)]
    if d:
        rows.append([d - 2 * h for h in range(d + 1)])
    for w in range(1, d):
        pairs = zip(rows[w], rows[w - 1], strict=True)
        # (w + 1) K_{w+1} = (d - 2h) K_w - (d - w + 1) K_{w-1}
        rows.append(
            [((d - 2 * h) * a - (d - w + 1) * b) // (w + 1) for h, (a, b) in enumerate(pairs)]
        )
    return tuple(tuple(row) for row in rows)


def krawtchouk(d: int) -> np.ndarray:
    """K_w(h) of :func:`krawtchouk_integers` at [w, h], (d + 1, d + 1) float64."""
    return np.array(krawtchouk_integers(d), float)


def multiplicities(d: int) -> np.ndarray:
    """C(d, w) for w = 0, …, d: float64, exact up to d = 56."""
    return np.array([float(math.comb(d, w)) for w in range(d + 1)])


def hamming_levels(values: ArrayLike) -> np.ndarray:
    r"""Eigenvalues of the matrix k(distance(x, y)) over all 2^d configurations.

    .. math:: \lambda_w = \sum_{h=0}^d k(h)\, K_h(w)

    with Krawtchouk polynomials K; the eigenvectors are the C(d, w) parities of w spins. The terms are huge and of
    both signs, and the small eigenvalues are what is left of them: the sum is done in exact integer arithmetic on
    the binary numbers k(h), and rounded once. What remains is the rounding of k itself, eps Σ_h |k(h) K_h(w)|,
    which for the middle levels is far below eps λ_max, the limit of an eigensolver on the matrix.

    Args:
        values: k(0), …, k(d).

    Returns:
        (d + 1,) float64.

    Example:
        >>> hamming_levels([1.0, 0.5, 0.25]).tolist()
        [2.25, 0.75, 0.25]
    """
    totals, common = _exact_levels(values)
    return np.array([total / common for total in totals])


def hamming_spectrum(values: ArrayLike) -> np.ndarray:
    r"""The same over 2^d, the average of k with weights of modulus at most one: for any number of spins.

    Σ_w C(d, w) λ_w/2^d = k(0).

    Args:
        values: k(0), …, k(d).

    Returns:
        (d + 1,) float64.

    Example:
        >>> hamming_spectrum([1.0, 0.5, 0.25])
        array([0.5625, 0.1875, 0.0625])
    """
    totals, common = _exact_levels(values)
    return np.array([total / (common << (len(totals) - 1)) for total in totals])


def _exact_levels(values: ArrayLike) -> tuple[list[int], int]:
    """Integers λ_w c, and c, a power of two."""
    ratios = [float(k).as_integer_ratio() for k in np.asarray(values, dtype=np.float64)]
    common = max(denominator for _, denominator in ratios)
    integers = [numerator * (common // denominator) for numerator, denominator in ratios]
    table = krawtchouk_integers(len(ratios) - 1)
    d = len(ratios) - 1
    return [sum(k * table[h][w] for h, k in enumerate(integers)) for w in range(d + 1)], common


@lru_cache(maxsize=64)
def mean_parities(d: int) -> np.ndarray:
    """2^{-d} K_w(h), (d + 1, d + 1): k(h) = Σ_w mean_parities[w, h] λ_w inverts :func:`hamming_levels`."""
    table = np.array([[k / 2**d for k in row] for row in krawtchouk_integers(d)])
    table.flags.writeable = False
    return table


def hamming_values(levels: Array | np.ndarray) -> Array | np.ndarray:
    """k(0), …, k(d) of the matrix whose eigenvalues are ``levels``; NumPy or JAX, (…, d + 1)."""
    return levels @ mean_parities(levels.shape[-1] - 1)

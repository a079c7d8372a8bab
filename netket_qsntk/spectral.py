r"""What the eigenvalues of a kernel say: which are rounding, how many count, which modes decay.

One definition for the whole package, on host arrays of eigenvalues λ (levels with their multiplicities, or modes):

- *Rounding floor*: n ε λ_max, n the number of modes and ε that of the dtype: the error of an eigenvalue by LAPACK's
  bound. Eigenvalues at or below it cannot be told from zero: their modes never train.
  Where a structure gives the eigenvalues, and no LAPACK, they are known better, to a few ε tr Θ
  (:func:`floor_of_levels`): n times less where one mode has most of the trace.
- *Mode factor*: gradient descent with rate η on L = (1/|B|) Σ |ψ - ψ_T|² multiplies the residual of a mode by
  1 - z a step, z = 2ηλ/|B| (arXiv:2112.00723, Eq. 13, in this package's convention). It decays for 0 < z < 2.
- *At the limit* z = 2 a residual changes its sign for ever. η is mostly computed from the same λ_max, so rounding
  would decide on which side of the limit a mode is: factors within :func:`limit_tolerance` of -1 are exactly there.
  Such a mode does not decay: its loss stays what it was, and its limit at ∞ is that of even steps, where it started.
"""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

__all__ = [
    "at_limit",
    "condition_number",
    "decay_rates",
    "effective_rank",
    "floor_of",
    "floor_of_levels",
    "learning_rate_limit",
    "limit_tolerance",
    "log_factors",
    "rank",
    "rounding_floor",
    "without_rounding",
]


def rounding_floor(largest: float, n: int, dtype: DTypeLike = float) -> float:
    """n ε |λ_max|: eigenvalues of an n × n kernel at or below it are rounding.

    Example:
        >>> rounding_floor(2.0, 1000)
        4.440892098500626e-13
    """
    return float(n * np.finfo(dtype).eps * abs(largest))


def floor_of(eigenvalues: ArrayLike, n: int | None = None) -> float:
    """The rounding floor of eigenvalues in any order.

    Args:
        eigenvalues: (k,), float64 or float32.
        n: Number of modes where each eigenvalue stands for many; None for k.
    """
    values = np.asarray(eigenvalues)
    if not values.size:
        return 0.0
    return rounding_floor(np.abs(values).max(), len(values) if n is None else n, values.dtype)


def floor_of_levels(levels: ArrayLike, counts: ArrayLike) -> float:
    """16 ε tr Θ: the rounding error of eigenvalues that a structure gives without a diagonalisation.

    Entries k(x, y) are known to a few ε k(0), and a level is a sum of n of them with weights of modulus one at most.

    Args:
        levels: (k,).
        counts: How often each comes.

    Example:
        >>> floor_of_levels(np.array([2.25, 0.75, 0.25]), np.array([1, 2, 1]))
        1.4210854715202004e-14
    """
    values = np.asarray(levels)
    return float(16 * np.finfo(values.dtype).eps * np.abs(values) @ np.asarray(counts))


def without_rounding(eigenvalues: ArrayLike, n: int | None = None) -> np.ndarray:
    """The eigenvalues, those that cannot be told from zero (and negative ones) set to zero.

    Example:
        >>> without_rounding(np.array([1.0, 1e-3, 1e-17, -1e-18])).tolist()
        [1.0, 0.001, 0.0, 0.0]
    """
    values = np.asarray(eigenvalues)
    return np.where(values > floor_of(values, n), values, np.zeros((), values.dtype))


def rank(eigenvalues: ArrayLike, *, rtol: float = 0.0, counts: ArrayLike | None = None) -> int:
    """Number of modes above the rounding floor and above ``rtol`` · λ_max.

    Args:
        eigenvalues: (k,).
        rtol: A threshold of one's own, relative to the largest.
        counts: How often each eigenvalue comes; None for once.
    """
    values = np.asarray(eigenvalues)
    if not values.size:
        return 0
    counts = np.ones(len(values), int) if counts is None else np.asarray(counts)
    threshold = max(rtol * values.max(), floor_of(values, int(counts.sum())))
    return int(counts[values > threshold].sum())


def effective_rank(eigenvalues: ArrayLike) -> float:
    """e^H, H the Shannon entropy of λ/Σλ over the modes above the floor (Roy & Vetterli, 2007); 1 without any.

    Example:
        >>> round(effective_rank(np.array([1.0, 1.0, 0.0])), 12)
        2.0
    """
    live = without_rounding(eigenvalues)
    live = live[live > 0]
    if not live.size:
        return 1.0
    share = live / live.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def condition_number(eigenvalues: ArrayLike) -> float:
    """λ_max/λ_min, infinite where λ_min cannot be told from zero."""
    values = np.asarray(eigenvalues)
    smallest = float(values.min())
    return float(values.max()) / smallest if smallest > floor_of(values) else float("inf")


def learning_rate_limit(largest: float, n_states: int) -> float:
    """|B|/λ_max: the learning rate at which gradient descent on the mean square error stops to decay.

    Example:
        >>> learning_rate_limit(4.0, 10), learning_rate_limit(0.0, 10)
        (2.5, inf)
    """
    return n_states / largest if largest > 0 else float("inf")


def limit_tolerance(dtype: DTypeLike = float) -> float:
    """How near to one a factor is taken to be one: 1e-10, in float32 1e-5."""
    return 1e-10 if np.finfo(dtype).eps < 1e-12 else 1e-5


def log_factors(z: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(log|1 - z|, z > 1): the mode factors, with all digits for slow modes.

    A factor of zero has the logarithm of the smallest number.

    Example:
        >>> log, negative = log_factors(np.array([1e-20, 1.5]))
        >>> log.tolist(), negative.tolist()
        ([-1e-20, -0.6931471805599453], [False, True])
    """
    z = np.asarray(z)
    far = np.log(np.maximum(np.abs(1 - z), np.finfo(z.dtype).tiny))
    return np.where(z > 0.5, far, np.log1p(-np.minimum(z, 0.5))), z > 1


def at_limit(z: ArrayLike) -> np.ndarray:
    """Whether the factor 1 - z is -1 within the tolerance.

    Example:
        >>> at_limit(np.array([1e-20, 1.5, 2 - 1e-14, 2.0, 2 + 1e-14])).tolist()
        [False, False, True, True, True]
    """
    z = np.asarray(z)
    return np.abs(z - 2) <= limit_tolerance(z.dtype)


def decay_rates(z: ArrayLike) -> np.ndarray:
    """-log|1 - z|, the loss of a logarithm of the residual a step: 0 at the limit, negative beyond it.

    Example:
        >>> decay_rates(np.array([0.0, 2 - 1e-14, 3.0])).tolist()
        [0.0, 0.0, -0.6931471805599453]
    """
    z = np.asarray(z)
    return np.where(at_limit(z), 0.0, -log_factors(z)[0]) + 0.0

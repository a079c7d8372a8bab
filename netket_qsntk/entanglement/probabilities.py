"""Entropies of probabilities, such as Schmidt spectra."""

import math

import numpy as np
from jax.typing import ArrayLike
from scipy.special import xlogy

from netket_qsntk.entanglement.orders import check_log_base, check_order
from netket_qsntk.errors import AmplitudesError, EntropyOrderError

# Rounding of probabilities in single precision.
_ROUNDED = 1e-5


def renyi_entropy(
    probabilities: ArrayLike, n: float = 1.0, *, log_base: float = math.e
) -> np.ndarray:
    r"""Rényi entropies :math:`S_n = \log(\sum_i p_i^n)/(1-n)` of spectra.

    n = 1 is the von Neumann entropy, n = ∞ the min-entropy -log max p. Close to n = 1 the sum is
    taken as 1 + Σ p (p^{n-1} - 1), so nothing is lost to the small denominator.

    Args:
        probabilities: (…, rank), each row of sum 1.
        n: Order, > 0, ``math.inf`` included.
        log_base: Base of the logarithm; e gives nats, 2 gives bits.

    Returns:
        Entropies of shape (…).

    Raises:
        AmplitudesError: Rows that are no probabilities: negative, or of another sum than 1.
        EntropyOrderError: n is not > 0, or ``log_base`` is not > 0 or is 1.

    Example:
        >>> float(renyi_entropy([0.5, 0.5], 2, log_base=2))
        1.0
    """
    check_order(n)
    check_log_base(log_base)
    p = _probabilities(probabilities)
    if n == 1:
        nats = -np.sum(xlogy(p, p), axis=-1)
    elif math.isinf(n):
        nats = -np.log(np.max(p, axis=-1))
    elif n < 2:
        nats = np.log1p(_power_excess(p, n)) / (1 - n)
    else:
        # Scaled by the largest p: at large n the sum itself underflows.
        top = np.max(p, axis=-1, keepdims=True)
        nats = (n * np.log(top[..., 0]) + np.log(np.sum((p / top) ** n, axis=-1))) / (1 - n)
    return np.maximum(nats, 0.0) / math.log(log_base)


def tsallis_entropy(probabilities: ArrayLike, q: float = 1.0) -> np.ndarray:
    r"""Tsallis entropies :math:`(\sum_i p_i^q - 1)/(1-q)` of spectra.

    q = 1 is the von Neumann entropy in nats.

    Args:
        probabilities: (…, rank), each row of sum 1.
        q: Order, finite and > 0.

    Returns:
        Entropies of shape (…).

    Raises:
        AmplitudesError: Rows that are no probabilities: negative, or of another sum than 1.
        EntropyOrderError: q is not finite and > 0.

    Example:
        >>> float(tsallis_entropy([0.5, 0.5], 2))
        0.5
    """
    check_order(q)
    if math.isinf(q):
        raise EntropyOrderError("The Tsallis entropy tends to zero at q=inf; ask for a finite q.")
    p = _probabilities(probabilities)
    if q == 1:
        return renyi_entropy(p, 1)
    return np.maximum(_power_excess(p, q) / (1 - q), 0.0)


def _probabilities(given: ArrayLike) -> np.ndarray:
    """Spectra (…, rank) as float64, without rounding below zero."""
    p = np.asarray(given, dtype=np.float64)
    if p.ndim == 0 or not (np.all(p > -_ROUNDED) and np.all(np.abs(p.sum(-1) - 1) < _ROUNDED)):
        sums = "a number" if p.ndim == 0 else f"rows of sum {np.unique(p.sum(-1))[:3].tolist()}"
        raise AmplitudesError(
            f"Spectra are probabilities (…, rank), each row of sum 1, got {sums}. Of amplitudes "
            "entanglement_spectrum(amplitudes, hilbert, partition) gives them; of singular values s they are "
            "s**2 / sum(s**2)."
        )
    return np.maximum(p, 0.0)


def _power_excess(p: np.ndarray, n: float) -> np.ndarray:
    """Σ pⁿ - 1 for rows of sum 1, accurate when n is near 1."""
    positive = p > 0
    logs = np.log(np.where(positive, p, 1.0))
    return np.sum(np.where(positive, p * np.expm1((n - 1) * logs), 0.0), axis=-1)

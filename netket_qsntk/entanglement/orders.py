"""Orders of entropies and moments, and bases of logarithms: which there are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netket_qsntk.errors import EntropyOrderError

# Largest order of sums over contractions of replicas.
MAX_ORDER = 6


def check_order(n: Any) -> None:
    """Raise :class:`EntropyOrderError` unless ``n`` is a number > 0."""
    if not (np.isscalar(n) and np.isreal(n) and not np.iscomplexobj(n) and n > 0):  # type: ignore[operator]
        raise EntropyOrderError(
            f"entropy of order {n!r}: expected one number > 0 (1 is von Neumann, math.inf the "
            "min-entropy)."
        )


def orders_of(n: float | Sequence[float]) -> list[Any]:
    """One order or several, as a list of numbers > 0.

    Raises:
        EntropyOrderError: None, or something else among them.

    Example:
        >>> orders_of(2), orders_of(np.array([0.5, np.inf]))
        ([2], [0.5, inf])
    """
    # Arrays of any library and of no dimension are numbers too.
    orders = np.atleast_1d(np.asarray(n, dtype=object))
    if orders.ndim > 1 or not orders.size:
        raise EntropyOrderError(f"n={n!r}: expected one order or a list of them, as in n=[1, 2].")
    for order in orders:
        check_order(order)
    return list(orders)


def check_log_base(log_base: float) -> None:
    """Raise :class:`EntropyOrderError` unless ``log_base`` is a number > 0 other than 1."""
    if not (0 < log_base < math.inf and log_base != 1):
        raise EntropyOrderError(f"log_base={log_base!r}: expected a number > 0 other than 1.")


def check_replicas(n: Any) -> int:
    """``n`` as an int, or :class:`EntropyOrderError` unless it is one of 2, …, 6."""
    if np.ndim(n) == 0 and n == 1:
        raise EntropyOrderError(
            "n=1 is a pole of log(Tr ρⁿ)/(1-n), and Tr ρ = 1 tells nothing: the annealed average "
            "exists for n >= 2. For the von Neumann entropy average "
            "entropies(sample_wavefunctions(ensemble, …), …, n=1) over members."
        )
    if np.ndim(n) or n not in range(2, MAX_ORDER + 1):
        raise EntropyOrderError(
            f"n={n!r}: sums over contractions are done for the integers 2, …, {MAX_ORDER}, one at a time. For "
            "other orders average over draws: entropies(sample_wavefunctions(ensemble, …), …, "
            "n=n)."
        )
    return int(n)


def check_whole(n: object, what: str, *, least: int = 1) -> int:
    """``n`` as an int, or :class:`EntropyOrderError` unless it is a whole number of at least ``least``.

    Args:
        n: An order.
        what: What it is the order of, for the message.
        least: The smallest there is.

    Example:
        >>> check_whole(3.0, "moment of the norm")
        3
    """
    known = isinstance(n, int | float | np.integer | np.floating) and not isinstance(n, bool)
    if not known or not math.isfinite(n) or n != int(n) or n < least:  # type: ignore[arg-type, call-overload, operator]
        raise EntropyOrderError(f"{what} of order n={n!r}: expected a whole number >= {least}.")
    return int(n)  # type: ignore[call-overload, no-any-return]

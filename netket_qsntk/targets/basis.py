"""The basis of a Hilbert space: its size, its order, and whether it can be summed over."""

import netket as nk
import numpy as np

from netket_qsntk.errors import SystemTooLargeError

__all__ = ["MAX_STATES", "all_states", "check_summable"]

MAX_STATES = 2**26
"""Most basis states that are summed over: complex128 amplitudes of them take 1 GiB."""

_AT_ONCE = 2**20


def check_summable(
    hilbert: nk.hilbert.AbstractHilbert, *, task: str, max_states: int = MAX_STATES
) -> int:
    """Number of basis states, if a sum over all of them is feasible.

    Args:
        hilbert: The Hilbert space.
        task: What wants to sum, to begin the message with.
        max_states: Most basis states allowed.

    Returns:
        ``hilbert.n_states``.

    Raises:
        SystemTooLargeError: More than `max_states` states, or a space that has no finite basis.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> qs.targets.check_summable(nk.hilbert.Spin(0.5, 12), task="The fidelity")
        4096
    """
    indexable = isinstance(hilbert, nk.hilbert.DiscreteHilbert) and hilbert.is_indexable
    if indexable and hilbert.n_states <= max_states:
        return int(hilbert.n_states)
    came = f"{hilbert.n_states} of them" if indexable else "too many to number"
    raise SystemTooLargeError(
        f"{task} sums over all basis states: expected at most {max_states}, got {came} on "
        f"{hilbert}. Use fewer sites or a sector (total_sz=…, n_fermions_per_spin=…), or sample: "
        "nk.vqs.MCState as the state, qs.driver.QSNTKDriver to train it."
    )


def all_states(hilbert: nk.hilbert.DiscreteHilbert) -> np.ndarray:
    """All configurations as a NumPy array, in the order of every target's amplitudes.

    Args:
        hilbert: An indexable Hilbert space.

    Returns:
        Array (n_states, sites) in NetKet's order and dtype (int8 for spins and fermions).

    Raises:
        SystemTooLargeError: The basis is too large.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> qs.targets.all_states(nk.hilbert.Spin(0.5, 2)).tolist()
        [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    """
    n_states = check_summable(hilbert, task="all_states(hilbert)")
    if n_states <= _AT_ONCE:
        return np.asarray(hilbert.all_states())
    # NetKet's intermediate integers take eight times the memory of the states themselves.
    parts = (
        np.asarray(hilbert.numbers_to_states(np.arange(i, min(i + _AT_ONCE, n_states))))
        for i in range(0, n_states, _AT_ONCE)
    )
    first = next(parts)
    states = np.empty((n_states, hilbert.size), first.dtype)
    states[: len(first)] = first
    filled = len(first)
    for part in parts:
        states[filled : filled + len(part)] = part
        filled += len(part)
    return states

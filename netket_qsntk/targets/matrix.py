"""Matrix elements of NetKet operators, with a plain error where an operator leads out of its Hilbert space."""

import jax
import netket as nk
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from netket_qsntk.errors import HamiltonianError

__all__ = ["check_sector", "sparse_matrix"]

_AT_ONCE = 2**14
_CHECKED = 2**16


def sparse_matrix(operator: nk.operator.DiscreteOperator) -> sp.csr_matrix:
    """⟨x|O|y⟩ in the order of ``hilbert.all_states()``.

    Raises:
        HamiltonianError: It leads out of the sector that the Hilbert space is.

    Example:
        >>> import netket as nk
        >>> from netket_qsntk.targets.matrix import sparse_matrix
        >>> sparse_matrix(nk.operator.spin.sigmaz(nk.hilbert.Spin(0.5, 1), 0)).diagonal().tolist()
        [1.0, -1.0]
    """
    if operator.hilbert.n_states <= _CHECKED:
        check_sector(operator)
    try:
        return sp.csr_matrix(operator.to_sparse())
    except (RuntimeError, ValueError, KeyError) as error:
        check_sector(operator)
        raise HamiltonianError(
            f"The matrix of {_name(operator)} on {operator.hilbert} could not be made: {error}"
        ) from error


def check_sector(operator: nk.operator.DiscreteOperator) -> None:
    """Raise :class:`HamiltonianError` if some ⟨x'|O|x⟩ ≠ 0 leads from a state x of the space to x' outside of it."""
    hilbert = operator.hilbert
    if not hilbert.constrained:
        return
    for start in range(0, hilbert.n_states, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, hilbert.n_states))
        x = np.asarray(hilbert.numbers_to_states(numbers))
        connected, elements = (np.asarray(a) for a in operator.get_conn_padded(x))
        outside = (elements != 0) & ~inside(hilbert, connected)
        if outside.any():
            i, k = np.argwhere(outside)[0]
            raise HamiltonianError(
                f"{_name(operator)} leads out of {hilbert}: from {x[i].tolist()} to {connected[i, k].tolist()} with "
                f"element {elements[i, k]:.6g}. Build state and operator on the space without the constraint, or "
                "take an operator that conserves it."
            )


def inside(hilbert: nk.hilbert.DiscreteHilbert, x: ArrayLike) -> np.ndarray:
    """Whether configurations x (…, sites) keep the constraints of the space: (…) bool."""
    x = np.asarray(x)
    kept = np.ones(x.shape[:-1], bool)
    parts = hilbert.subspaces if isinstance(hilbert, nk.hilbert.TensorHilbert) else (hilbert,)
    start = 0
    for part in parts:
        own = x[..., start : start + part.size]
        # NetKet's spaces of one factor have a constraint or None; others have no such word.
        constraint = part.constraint if isinstance(part, nk.hilbert.HomogeneousHilbert) else None
        if constraint is not None:
            flat = jax.numpy.asarray(own.reshape(-1, part.size))
            kept &= np.asarray(constraint(flat)).reshape(kept.shape)
        start += part.size
    return kept


def _name(operator: nk.operator.DiscreteOperator) -> str:
    return type(operator).__name__

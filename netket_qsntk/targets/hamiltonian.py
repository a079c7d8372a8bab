"""A NetKet operator as the sparse Hermitian matrix that exact methods need."""

import netket as nk
import numpy as np
import scipy.sparse as sp

from netket_qsntk.errors import HamiltonianError
from netket_qsntk.targets.basis import check_summable
from netket_qsntk.targets.matrix import sparse_matrix

__all__ = ["hermitian_matrix"]

# A lattice Hamiltonian has a few tens of elements a row, 16 or 24 bytes each: about 1 GiB here.
_MAX_STATES = 2**21


def hermitian_matrix(hamiltonian: nk.operator.AbstractOperator) -> sp.csr_matrix:
    """The matrix ⟨x|H|y⟩ in the order of ``hilbert.all_states()``.

    Args:
        hamiltonian: A NetKet operator on an indexable Hilbert space: ``Ising``, ``LocalOperator``,
            ``FermiHubbardJax``, ``FermionOperator2nd``, or any other with ``to_sparse()``.

    Returns:
        Sparse matrix (n_states, n_states), float64 where all elements are real and complex128
        where they are not.

    Raises:
        HamiltonianError: No operator, elements that are not finite, or not Hermitian (to 1e-10 of
            its largest element).
        SystemTooLargeError: More than 2²¹ basis states.

    Example:
        >>> import netket as nk
        >>> from netket_qsntk.targets.hamiltonian import hermitian_matrix
        >>> hi = nk.hilbert.Spin(0.5, 1)
        >>> hermitian_matrix(nk.operator.spin.sigmax(hi, 0)).toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if not isinstance(hamiltonian, nk.operator.DiscreteOperator):
        raise HamiltonianError(
            "expected a NetKet operator on a discrete Hilbert space, got "
            f"{type(hamiltonian).__name__}. Try nk.operator.Ising(hilbert, graph, h=0.1, J=-1.0)."
        )
    check_summable(
        hamiltonian.hilbert, task="The sparse Hamiltonian matrix", max_states=_MAX_STATES
    )
    matrix = sparse_matrix(hamiltonian)
    if not np.isfinite(matrix.data).all():
        raise HamiltonianError(f"{hamiltonian} has matrix elements that are not finite numbers.")
    if np.iscomplexobj(matrix) and not matrix.data.imag.any():
        matrix = matrix.real
    matrix = matrix.astype(np.complex128 if np.iscomplexobj(matrix) else np.float64)
    largest = abs(matrix).max()
    deviation = abs(matrix - matrix.conj().T).max()
    if deviation > 1e-10 * largest:
        raise HamiltonianError(
            f"expected a Hermitian operator, got {hamiltonian}, which differs from its adjoint by "
            f"up to {deviation:.2g} (largest element {largest:.2g}). Try (H + H.H) / 2."
        )
    return matrix

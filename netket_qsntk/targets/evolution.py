"""Targets by exact time evolution after a quench."""

import netket as nk
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import ArrayLike
from scipy.sparse.linalg import expm_multiply

from netket_qsntk.errors import AmplitudesError, HamiltonianError, HilbertMismatchError
from netket_qsntk.progress import showing
from netket_qsntk.targets.basis import MAX_STATES
from netket_qsntk.targets.chebyshev import evolve
from netket_qsntk.targets.hamiltonian import hermitian_matrix
from netket_qsntk.targets.pauli import PauliHamiltonian, pauli_hamiltonian
from netket_qsntk.targets.target import Target

__all__ = ["quench"]

# Largest basis on which the matrix of a sum of Pauli strings is stored all the same.
_LARGEST_STORED = 2**16

# Largest basis that is diagonalised: 0.5 GB while LAPACK works.
_LARGEST_DIAGONALISED = 2**12


def quench(
    hamiltonian: nk.operator.AbstractOperator,
    initial: str | Target | ArrayLike | nk.vqs.VariationalState,
    time: float,
    *,
    show_progress: bool = True,
) -> Target:
    r"""The state :math:`|\psi_T\rangle = e^{-iHt} |\psi_0\rangle`, evolved exactly.

    The targets of arXiv:2112.00723 are of this kind (below Eq. 20). The exponential acts on the
    vector, to the accuracy of float64; no matrix exponential is formed. Up to 2¹⁶ states, and for
    Hamiltonians that are no sums of Pauli strings up to 2²¹, it is a truncated Taylor series with
    scaling of the sparse matrix (Al-Mohy & Higham, SIAM J. Sci. Comput. 33, 488 (2011)), whose cost
    grows with time; where a diagonalisation takes fewer operations (late times of up to 2¹² states),
    it is that. For spins beyond, H is never stored: Pauli strings and a Chebyshev series
    (:func:`netket_qsntk.targets.chebyshev.evolve`), with eleven real vectors in memory (1.5 GB for
    24 spins) and a few hundred products.

    Args:
        hamiltonian: Hermitian NetKet operator H, for instance ``nk.operator.Ising`` or
            ``nk.operator.FermiHubbardJax``.
        initial: The state at time 0: ``"plus"``, every spin in the +1 eigenstate of σx; a
            :class:`Target`; amplitudes (n_states,); or a NetKet state.
        time: t, in units of 1/energy with ħ = 1; negative times evolve backwards.
        show_progress: Whether a bar counts the products with a Hamiltonian that is not stored.

    Returns:
        The evolved state on ``hamiltonian.hilbert``.

    Raises:
        HamiltonianError: `hamiltonian` is no Hermitian NetKet operator, or `time` no finite number.
        AmplitudesError: `initial` is a word other than ``"plus"``, or ``"plus"`` is asked for on
            a space that is not a product of two-level sites.
        HilbertMismatchError: `initial` is on another Hilbert space than `hamiltonian`.
        AmplitudesError: Amplitudes of the wrong length, all zero, or not finite.
        SystemTooLargeError: The basis is too large for the sparse matrix, and the Hamiltonian no
            sum of Pauli strings.

    Example:
        >>> import netket as nk, numpy as np, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=0.1, J=-1.0)
        >>> target = qs.targets.quench(H, initial="plus", time=2.1)
        >>> back = qs.targets.quench(H, initial=target, time=-2.1)
        >>> bool(np.allclose(back.amplitudes, 0.25, atol=1e-12))
        True
    """
    if not np.isrealobj(time) or np.ndim(time) != 0 or not np.isfinite(time):
        raise HamiltonianError(f"quench(time={time!r}): expected a finite real number, as in 2.1.")
    time = float(time)
    strings = _strings_of_a_large_system(hamiltonian)
    if strings is not None:
        start = _initial_target(hamiltonian.hilbert, initial)
        with showing(show_progress):
            evolved = evolve(strings, start.amplitudes, time)
        return Target(start.hilbert, evolved)
    matrix = hermitian_matrix(hamiltonian)
    start = _initial_target(hamiltonian.hilbert, initial)
    return Target(start.hilbert, _evolved(matrix, start.amplitudes, time))


def _evolved(matrix: sp.csr_matrix, psi: np.ndarray, time: float) -> np.ndarray:
    """e^{-iHt} ψ, by whichever way takes fewer operations."""
    n = matrix.shape[0]
    # Al-Mohy & Higham take 55 products for each 9.9 of the norm of Ht without its mean, SciPy some overhead for each.
    # An operation of a sparse product takes about ten times as long as one of LAPACK's.
    shifted = matrix - (matrix.diagonal().sum() / n) * sp.eye_array(n, format="csr")
    products = 55 / 9.9 * abs(time) * float(abs(shifted).sum(axis=0).max())
    series = products * (40 * matrix.nnz + 2e5)
    if n > _LARGEST_DIAGONALISED or 10 * n**3 * (4 if np.iscomplexobj(matrix) else 1) > series:
        return expm_multiply(-1j * time * matrix, psi)
    energies, modes = scipy.linalg.eigh(matrix.toarray(), driver="evd", overwrite_a=True)
    phases = np.exp(-1j * time * energies)
    return modes @ (phases * (modes.conj().T @ psi))


def _strings_of_a_large_system(
    hamiltonian: nk.operator.AbstractOperator,
) -> PauliHamiltonian | None:
    """The Pauli strings of a Hamiltonian whose matrix is better not stored, if it has them."""
    if not isinstance(hamiltonian, nk.operator.AbstractOperator):
        return None
    hilbert = hamiltonian.hilbert
    if not isinstance(hilbert, nk.hilbert.DiscreteHilbert) or not hilbert.is_indexable:
        return None
    if not _LARGEST_STORED < hilbert.n_states <= MAX_STATES:
        return None
    return pauli_hamiltonian(hamiltonian)


def _initial_target(
    hilbert: nk.hilbert.DiscreteHilbert,
    initial: str | Target | ArrayLike | nk.vqs.VariationalState,
) -> Target:
    if isinstance(initial, str):
        return _plus(hilbert, initial)
    if not isinstance(initial, Target):
        if not isinstance(initial, nk.vqs.VariationalState):
            return Target(hilbert, initial)
        initial = Target.from_state(initial)
    if initial.hilbert != hilbert:
        raise HilbertMismatchError(
            f"quench(hamiltonian, initial): the Hamiltonian acts on {hilbert}, the initial state "
            f"lives on {initial.hilbert}. Build both on the same Hilbert space."
        )
    return initial


def _plus(hilbert: nk.hilbert.DiscreteHilbert, word: str) -> Target:
    if word != "plus":
        raise AmplitudesError(
            f'quench(initial={word!r}): expected "plus", a Target, an array of amplitudes or a '
            "NetKet state."
        )
    if hilbert.constrained or any(size != 2 for size in hilbert.shape):
        raise AmplitudesError(
            'quench(initial="plus"): |+…+⟩ needs two free levels on every site, as on '
            f"nk.hilbert.Spin(0.5, n), got {hilbert}. Give a Target or amplitudes instead, such as "
            "initial=qs.targets.ground_state(hamiltonian_before)."
        )
    return Target(hilbert, np.ones(hilbert.n_states))

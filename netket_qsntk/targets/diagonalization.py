"""Targets by exact diagonalisation."""

from collections.abc import Callable

import netket as nk
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh
from tqdm import tqdm

from netket_qsntk.errors import DegenerateGroundStateError
from netket_qsntk.progress import bar
from netket_qsntk.targets.hamiltonian import hermitian_matrix
from netket_qsntk.targets.target import Target

__all__ = ["ground_state"]

# Up to here LAPACK is as fast as Lanczos.
_DENSE_STATES = 512


def ground_state(
    hamiltonian: nk.operator.AbstractOperator,
    *,
    degeneracy_tol: float = 1e-8,
    show_progress: bool = True,
) -> Target:
    r"""The unique eigenvector of lowest energy, :math:`H|\psi_T\rangle = E_0|\psi_T\rangle`.

    The phase is fixed so that the amplitude of largest modulus, the first in basis order among
    those equal to 1e-6, is real and positive; a real Hamiltonian so gives a real target.

    Degeneracy is tested by a second diagonalisation with the first vector shifted out of the way,
    which finds an equal eigenvalue reliably where a single Lanczos run can miss it. The error of
    the amplitudes is about ε ‖H‖/(E₁ - E₀), ε the float64 precision.

    Args:
        hamiltonian: Hermitian NetKet operator H, for instance ``nk.operator.Ising`` or
            ``nk.operator.FermiHubbardJax``.
        degeneracy_tol: The gap E₁ - E₀ below which the ground state counts as degenerate, as a
            fraction of the norm ‖H‖₁ (the largest absolute column sum, a bound of the energies).
        show_progress: Whether a bar counts the products with H, whose number is not known beforehand.

    Returns:
        The ground state on ``hamiltonian.hilbert``.

    Raises:
        DegenerateGroundStateError: The gap is smaller than ``degeneracy_tol · ‖H‖₁``.
        HamiltonianError: `hamiltonian` is no Hermitian NetKet operator.
        SystemTooLargeError: The basis is too large for the sparse matrix.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 6)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(6), h=2.0, J=-1.0)
        >>> target = qs.targets.ground_state(H)
        >>> psi = target.amplitudes
        >>> round(float((psi.conj() @ (H.to_sparse() @ psi)).real), 6)
        -12.769389
    """
    matrix = hermitian_matrix(hamiltonian)
    norm = float(abs(matrix).sum(axis=0).max())
    with bar(None, "ground state", show=show_progress, unit="product") as products:
        energies, vector = _lowest_pair(matrix, norm, products)
    gap = energies[1] - energies[0]
    if gap <= degeneracy_tol * norm:
        raise DegenerateGroundStateError(
            f"ground_state({hamiltonian}): expected one ground state, but the gap between the two "
            f"lowest energies, {energies[0]:.10g} and {energies[1]:.10g}, is {gap:.2g} (threshold "
            f"{degeneracy_tol:g} of ‖H‖₁ = {norm:.4g}). Lift the degeneracy with a small field, "
            "choose a sector (nk.hilbert.Spin(0.5, n, total_sz=0), n_fermions_per_spin=…), or "
            "choose one of the states yourself: qs.targets.Target(hilbert, amplitudes)."
        )
    return Target(hamiltonian.hilbert, _fix_phase(vector))


def _lowest_pair(
    matrix: sp.csr_matrix, norm: float, products: tqdm
) -> tuple[tuple[float, float], np.ndarray]:
    """The two lowest eigenvalues (+∞ for one that is not there) and the lowest eigenvector."""
    n_states = matrix.shape[0]
    if n_states == 1:
        return (float(matrix[0, 0].real), np.inf), np.ones(1)
    if n_states <= _DENSE_STATES:
        values, vectors = scipy.linalg.eigh(matrix.toarray(), subset_by_index=[0, 1])
        return (float(values[0]), float(values[1])), vectors[:, 0]

    rng = np.random.default_rng(0)

    def lowest(product: Callable[[np.ndarray], np.ndarray]) -> tuple[float, np.ndarray]:
        def counted(x: np.ndarray) -> np.ndarray:
            products.update()
            return product(x.ravel())

        operator = LinearOperator(matrix.shape, matvec=counted, dtype=matrix.dtype)
        start = rng.normal(size=n_states).astype(matrix.dtype)
        values, vectors = eigsh(operator, k=1, which="SA", v0=start)
        return float(values[0]), vectors[:, 0]

    energy, vector = lowest(lambda x: matrix @ x)

    def without_ground_state(x: np.ndarray) -> np.ndarray:
        return matrix @ x + (2.0 * norm * np.vdot(vector, x)) * vector

    return (energy, lowest(without_ground_state)[0]), vector


def _fix_phase(vector: np.ndarray) -> np.ndarray:
    moduli = np.abs(vector)
    pivot = vector[np.argmax(moduli > (1 - 1e-6) * moduli.max())]
    return vector * (pivot.conj() / abs(pivot))

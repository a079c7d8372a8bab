"""The paper's Hamiltonians and exact targets against dense matrices built from scratch."""

from functools import cache, partial, reduce
from itertools import product

import netket as nk
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from netket_qsntk import targets
from netket_qsntk.errors import (
    AmplitudesError,
    DegenerateGroundStateError,
    HamiltonianError,
    HilbertMismatchError,
    InitialStateError,
    SystemTooLargeError,
)
from netket_qsntk.targets.hamiltonian import hermitian_matrix

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])


def bonds(rows: int, columns: int, *, pbc: bool) -> list[tuple[int, int]]:
    """Nearest neighbours of a rectangle, sites numbered along a row (of `columns`) first."""
    pairs = set()
    for r, c in product(range(rows), range(columns)):
        for r2, c2 in ((r + 1, c), (r, c + 1)):
            if pbc or (r2 < rows and c2 < columns):
                pair = sorted((r * columns + c, (r2 % rows) * columns + c2 % columns))
                pairs.add(tuple(pair))
    return sorted(pairs)


def embedded(matrix: np.ndarray, site: int, n_sites: int) -> sp.csr_matrix:
    left, right = sp.eye(2**site), sp.eye(2 ** (n_sites - site - 1))
    return sp.kron(sp.kron(left, sp.csr_matrix(matrix), "csr"), right, "csr")


def tfim_by_paulis(rows: int, columns: int, field: float, *, pbc: bool) -> np.ndarray:
    n = rows * columns
    z = [embedded(Z, i, n) for i in range(n)]
    interaction = sum(z[i] @ z[j] for i, j in bonds(rows, columns, pbc=pbc))
    # The basis of the Kronecker product has σz = +1 first and the first site slowest.
    return -(interaction + field * sum(embedded(X, i, n) for i in range(n))).toarray()


def kronecker_order(hilbert: nk.hilbert.DiscreteHilbert) -> np.ndarray:
    """Index into a Kronecker product of each NetKet spin configuration."""
    down = (np.asarray(hilbert.all_states()) == -1).astype(int)
    return down @ (2 ** np.arange(hilbert.size)[::-1])


@cache
def annihilators(n_modes: int) -> list[sp.csr_matrix]:
    """Jordan-Wigner: c_i = Z ⊗ … ⊗ Z ⊗ a ⊗ 1 ⊗ … ⊗ 1, a|1⟩ = |0⟩."""
    sign, lower, one = (sp.csr_matrix(m) for m in (Z, [[0, 1], [0, 0]], np.eye(2)))
    kron = partial(sp.kron, format="csr")  # other formats store the zeros
    return [reduce(kron, [sign] * i + [lower] + [one] * (n_modes - i - 1)) for i in range(n_modes)]


def hubbard_by_jordan_wigner(rows: int, columns: int, U: float, *, pbc: bool) -> sp.csr_matrix:
    """On all 4^n states: modes 0…n-1 have sz = -1, modes n…2n-1 have sz = +1."""
    n = rows * columns
    c = annihilators(2 * n)
    matrix = sp.csr_matrix((4**n, 4**n))
    for (i, j), spin in product(bonds(rows, columns, pbc=pbc), (0, n)):
        hop = c[i + spin].T @ c[j + spin]
        matrix = matrix - (hop + hop.T)
    for i in range(n):
        matrix = matrix + U * (c[i].T @ c[i]) @ (c[i + n].T @ c[i + n])
    return matrix


def occupation_order(hilbert: nk.hilbert.DiscreteHilbert) -> np.ndarray:
    occupations = np.asarray(hilbert.all_states()).astype(int)
    return occupations @ (2 ** np.arange(hilbert.size)[::-1])


def evolved(matrix: np.ndarray, psi: np.ndarray, time: float) -> np.ndarray:
    energies, vectors = np.linalg.eigh(matrix)
    return vectors @ (np.exp(-1j * energies * time) * (vectors.conj().T @ psi))


@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (3, 3)])
def test_tfim_is_eq_19(rows, columns, pbc):
    hamiltonian = targets.tfim(extent=(rows, columns), field=0.37, pbc=pbc)
    index = kronecker_order(hamiltonian.hilbert)
    expected = tfim_by_paulis(rows, columns, 0.37, pbc=pbc)[np.ix_(index, index)]
    assert_allclose(hermitian_matrix(hamiltonian).toarray(), expected, atol=1e-14)


def test_tfim_default_is_the_example_of_the_readme():
    graph = nk.graph.Grid([3, 4], pbc=True)
    written_out = nk.operator.Ising(nk.hilbert.Spin(0.5, 12), graph, h=0.1, J=-1.0)
    assert abs(hermitian_matrix(targets.tfim()) - hermitian_matrix(written_out)).max() == 0.0
    assert len(bonds(3, 4, pbc=True)) == graph.n_edges == 24


@pytest.mark.thorough
@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("order", [2, 3])
def test_hubbard_is_eq_20_in_both_orders(order, pbc):
    hamiltonian = targets.hubbard(
        3.3, extent=(2, 3), order=order, n_fermions_per_spin=(2, 1), pbc=pbc
    )
    index = occupation_order(hamiltonian.hilbert)
    expected = hubbard_by_jordan_wigner(6 // order, order, 3.3, pbc=pbc)[np.ix_(index, index)]
    assert abs(hermitian_matrix(hamiltonian) - expected).max() < 1e-14


@pytest.mark.thorough
@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("order", [3, 4])
def test_hubbard_on_3x4_sites_is_eq_20(order, pbc):
    # Hops of one spin commute with the parity of the other, so that the Jordan-Wigner matrices of
    # 12 modes, restricted to two particles, are all that is needed.
    rows = 12 // order
    c = annihilators(12)
    hilbert = nk.hilbert.SpinOrbitalFermions(12, s=1 / 2, n_fermions_per_spin=(2, 2))
    states = np.asarray(hilbert.all_states()).astype(int)
    bit = 2 ** np.arange(12)[::-1]
    down, up = states[:, :12] @ bit, states[:, 12:] @ bit
    sector = np.unique(down)
    hops = sum(c[i].T @ c[j] for i, j in bonds(rows, order, pbc=pbc))
    hops = -(hops + hops.T)[np.ix_(sector, sector)]
    one = sp.eye(len(sector))
    doubly_occupied = (states[:, :12] * states[:, 12:]).sum(axis=1)
    index = np.searchsorted(sector, down) * len(sector) + np.searchsorted(sector, up)
    kinetic = (sp.kron(hops, one) + sp.kron(one, hops)).tocsr()[np.ix_(index, index)]
    expected = kinetic + sp.diags(8.0 * doubly_occupied)
    hamiltonian = targets.hubbard(8.0, order=order, pbc=pbc)
    assert hamiltonian.hilbert == hilbert
    assert abs(hermitian_matrix(hamiltonian) - expected).max() < 1e-14


@pytest.mark.thorough
@pytest.mark.parametrize("pbc", [False, True])
def test_tfim_quench_is_the_exponential_of_the_dense_matrix(pbc):
    target = targets.tfim_quench(extent=(3, 3), field=0.3, time=2.1, pbc=pbc)
    matrix = tfim_by_paulis(3, 3, 0.3, pbc=pbc)
    expected = evolved(matrix, np.full(512, 512**-0.5), 2.1)
    assert_allclose(target.amplitudes, expected[kronecker_order(target.hilbert)], atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize(("order", "pbc"), [(2, False), (3, False), (3, True)])
def test_hubbard_quench_is_ground_state_then_exponential(order, pbc):
    target = targets.hubbard_quench(extent=(2, 3), order=order, n_fermions_per_spin=(2, 2), pbc=pbc)
    index = occupation_order(target.hilbert)

    def dense(U: float) -> np.ndarray:
        full = hubbard_by_jordan_wigner(6 // order, order, U, pbc=pbc)
        return full[np.ix_(index, index)].toarray()

    start = np.linalg.eigh(dense(4.0))[1][:, 0]
    start *= np.sign(start[np.argmax(np.abs(start) > 0.999999 * np.abs(start).max())])
    assert_allclose(target.amplitudes, evolved(dense(8.0), start, 2.1), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tfim", "hubbard"])
def test_targets_of_the_paper_against_full_diagonalisation(model):
    if model == "tfim":
        target, matrix = targets.tfim_quench(), hermitian_matrix(targets.tfim()).toarray()
        start = np.full(4096, 1 / 64)
    else:
        target, matrix = targets.hubbard_quench(), hermitian_matrix(targets.hubbard(8.0)).toarray()
        start = np.linalg.eigh(hermitian_matrix(targets.hubbard(4.0)).toarray())[1][:, 0]
        start *= np.sign(start[np.argmax(np.abs(start) > 0.999999 * np.abs(start).max())])
    assert_allclose(target.amplitudes, evolved(matrix, start, 2.1), atol=1e-12)


def test_quench_conserves_energy_and_undoes_itself():
    hamiltonian = targets.tfim(extent=(2, 4), field=0.8)
    matrix = hermitian_matrix(hamiltonian)
    forth = targets.quench(hamiltonian, "plus", 3.0)
    back = targets.quench(hamiltonian, forth, -3.0)
    energy = np.vdot(forth.amplitudes, matrix @ forth.amplitudes)
    assert_allclose(energy, -8 * 0.8, atol=1e-12)  # ⟨+…+|H|+…+⟩ = -field · sites
    assert_allclose(back.amplitudes, 256**-0.5, atol=1e-12)


def test_initial_states_of_every_kind_agree():
    hilbert = nk.hilbert.Spin(0.5, 4)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(4), h=0.5, J=-1.0)
    state = nk.vqs.FullSumState(hilbert, nk.models.RBM(alpha=1, param_dtype=complex), seed=3)
    amplitudes = 7.0 * state.to_array()
    results = [
        targets.quench(hamiltonian, initial, 1.3).amplitudes
        for initial in (state, amplitudes, targets.Target(hilbert, amplitudes))
    ]
    expected = evolved(hermitian_matrix(hamiltonian).toarray(), state.to_array(), 1.3)
    for result in results:
        assert_allclose(result, expected, atol=1e-12)


@pytest.mark.thorough
def test_ground_state_is_the_lowest_eigenvector_dense_and_sparse(monkeypatch):
    hamiltonian = targets.tfim(extent=(3, 3), field=2.5)
    _, vectors = np.linalg.eigh(tfim_by_paulis(3, 3, 2.5, pbc=True))
    expected = np.abs(vectors[kronecker_order(hamiltonian.hilbert), 0])  # Perron-Frobenius
    dense = targets.ground_state(hamiltonian).amplitudes
    monkeypatch.setattr("netket_qsntk.targets.diagonalization._DENSE_STATES", 16)
    sparse = targets.ground_state(hamiltonian).amplitudes
    assert_allclose(dense, expected, atol=1e-12)
    assert_allclose(sparse, expected, atol=1e-12)


@pytest.mark.thorough
def test_ground_state_of_a_complex_hamiltonian():
    hilbert = nk.hilbert.Spin(0.5, 3)
    hamiltonian = sum(
        nk.operator.spin.sigmay(hilbert, i) @ nk.operator.spin.sigmaz(hilbert, (i + 1) % 3)
        - (0.7 + 0.1 * i) * nk.operator.spin.sigmax(hilbert, i)
        for i in range(3)
    )
    y, z, x = ([embedded(p, i, 3) for i in range(3)] for p in (Y, Z, X))
    matrix = sum(y[i] @ z[(i + 1) % 3] - (0.7 + 0.1 * i) * x[i] for i in range(3)).toarray()
    vector = np.linalg.eigh(matrix)[1][kronecker_order(hilbert), 0]
    psi = targets.ground_state(hamiltonian).amplitudes
    assert_allclose(abs(np.vdot(vector, psi)), 1.0, atol=1e-12)
    largest = psi[np.argmax(np.abs(psi))]
    assert largest.real > 0
    assert abs(largest.imag) < 1e-14


@pytest.mark.thorough
@pytest.mark.parametrize("dense_states", [4096, 16])
def test_degenerate_ground_states_are_an_error_with_the_gap(monkeypatch, dense_states):
    monkeypatch.setattr("netket_qsntk.targets.diagonalization._DENSE_STATES", dense_states)
    with pytest.raises(DegenerateGroundStateError, match=r"gap .* is \S+ .*small field.*total_sz"):
        targets.ground_state(targets.tfim(extent=(2, 4), field=0.0))
    # Two electrons on a ring of six: one at k = 0, the other at ±2π/6, exactly twofold.
    hilbert = nk.hilbert.SpinOrbitalFermions(6, n_fermions=2)
    c, cdag = nk.operator.fermion.destroy, nk.operator.fermion.create
    ring = sum(
        -(cdag(hilbert, i) @ c(hilbert, (i + 1) % 6) + cdag(hilbert, (i + 1) % 6) @ c(hilbert, i))
        for i in range(6)
    )
    with pytest.raises(DegenerateGroundStateError, match="gap"):
        targets.ground_state(ring)


@pytest.mark.thorough
def test_fermion_operators_of_every_class_give_one_target():
    hubbard = targets.hubbard(2.0, extent=(2, 2), order=2, n_fermions_per_spin=(1, 1))
    hilbert = hubbard.hilbert
    c, cdag, n = (getattr(nk.operator.fermion, name) for name in ("destroy", "create", "number"))
    summed = sum(2.0 * n(hilbert, i, -1) @ n(hilbert, i, 1) for i in range(4))
    for (i, j), sz in product(bonds(2, 2, pbc=False), (-1, 1)):
        summed = summed - cdag(hilbert, i, sz) @ c(hilbert, j, sz)
        summed = summed - cdag(hilbert, j, sz) @ c(hilbert, i, sz)
    start = np.arange(1.0, 17.0)
    expected = targets.quench(hubbard, start, 0.9).amplitudes
    for operator in (summed, summed.collect(), summed.to_numba_operator()):
        assert_allclose(targets.quench(operator, start, 0.9).amplitudes, expected, atol=1e-13)
        assert_allclose(
            targets.ground_state(operator).amplitudes,
            targets.ground_state(hubbard).amplitudes,
            atol=1e-12,
        )


@pytest.mark.thorough
def test_bad_input_of_a_quench_is_named():
    hilbert = nk.hilbert.Spin(0.5, 4)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(4), h=0.5, J=-1.0)
    fermions = targets.hubbard(2.0, extent=(2, 2), order=2, n_fermions_per_spin=(1, 1))
    with pytest.raises(InitialStateError, match="'minus'.*expected \"plus\""):
        targets.quench(hamiltonian, "minus", 1.0)
    with pytest.raises(InitialStateError, match=r"ground_state\(hamiltonian_before\)"):
        targets.quench(fermions, "plus", 1.0)
    with pytest.raises(HilbertMismatchError, match=r"N=4.*N=3"):
        targets.quench(hamiltonian, targets.Target(nk.hilbert.Spin(0.5, 3), np.ones(8)), 1.0)
    with pytest.raises(AmplitudesError, match=r"16 finite numbers.*\(15,\)"):
        targets.quench(hamiltonian, np.ones(15), 1.0)
    for time in (np.inf, 1j, [1.0]):
        with pytest.raises(HamiltonianError, match="finite real number"):
            targets.quench(hamiltonian, "plus", time)
    with pytest.raises(HamiltonianError, match="ndarray.*nk.operator.Ising"):
        targets.quench(np.eye(16), "plus", 1.0)
    with pytest.raises(HamiltonianError, match=r"Hermitian.*\(H \+ H.H\) / 2"):
        targets.quench(nk.operator.spin.sigmap(hilbert, 0), "plus", 1.0)
    with pytest.raises(HamiltonianError, match="order equal"):
        targets.hubbard(4.0, order=5)


def test_a_basis_too_large_to_sum_over_says_what_to_use():
    large = nk.hilbert.Spin(0.5, 24)
    hamiltonian = nk.operator.Ising(large, nk.graph.Chain(24), h=0.5, J=-1.0)
    with pytest.raises(SystemTooLargeError, match="16777216 of them.*MCState"):
        targets.ground_state(hamiltonian)
    larger = nk.operator.Ising(nk.hilbert.Spin(0.5, 28), nk.graph.Chain(28), h=0.5, J=-1.0)
    with pytest.raises(SystemTooLargeError, match="268435456 of them.*MCState"):
        targets.quench(larger, "plus", 1.0)


@pytest.mark.parametrize("time", [0.3, -300.0])
def test_late_times_by_diagonalisation_are_the_steps_of_early_ones(time, monkeypatch):
    hi = nk.hilbert.Spin(0.5, 4)
    hamiltonian = nk.operator.Ising(hi, nk.graph.Chain(4), h=0.7)
    hamiltonian = hamiltonian + 0.3 * nk.operator.spin.sigmay(hi, 0)
    found = targets.quench(hamiltonian, initial="plus", time=time)
    monkeypatch.setattr("netket_qsntk.targets.evolution._LARGEST_DIAGONALISED", 0)
    series = targets.quench(hamiltonian, initial="plus", time=time)
    np.testing.assert_allclose(found.amplitudes, series.amplitudes, atol=1e-11)

"""Targets of many spins: Hamiltonians as Pauli strings and their Chebyshev evolution, without any matrix."""

import netket as nk
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import jv

from netket_qsntk import targets
from netket_qsntk.errors import HamiltonianError, SystemTooLargeError
from netket_qsntk.targets.chebyshev import chebyshev_terms, evolve
from netket_qsntk.targets.hamiltonian import hermitian_matrix
from netket_qsntk.targets.pauli import pauli_hamiltonian

HI = nk.hilbert.Spin(0.5, 6)
RING = nk.graph.Chain(6)


def with_currents():
    """Three-body terms, fields along all axes, odd numbers of σy: a complex matrix."""
    strings = ["XYZIII", "IYIIII", "IIYYYI", "ZIIIIX", "XIXIXI", "IZZZII", "YIIXIZ", "IIIIII"]
    return nk.operator.PauliStringsJax(HI, strings, [0.3, -0.7, 0.4, 1.1, 0.9, -0.2, 0.6, 2.5])


HAMILTONIANS = {
    "ising": lambda: nk.operator.Ising(HI, RING, h=0.7, J=-1.0),
    "heisenberg": lambda: nk.operator.Heisenberg(HI, RING),
    "local": lambda: sum(
        (0.2 + 0.1 * i) * nk.operator.spin.sigmay(HI, i) @ nk.operator.spin.sigmay(HI, (i + 1) % 6)
        - 0.5 * nk.operator.spin.sigmaz(HI, i)
        for i in range(6)
    ),
    "complex": with_currents,
}


def random_state(n, seed=0):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=n) + 1j * rng.normal(size=n)
    return psi / np.linalg.norm(psi)


@pytest.fixture(params=HAMILTONIANS, scope="module")
def hamiltonian(request):
    return HAMILTONIANS[request.param]()


@pytest.mark.thorough
def test_products_are_those_of_the_sparse_matrix(hamiltonian):
    matrix, strings = hermitian_matrix(hamiltonian), pauli_hamiltonian(hamiltonian)
    psi = random_state(64)
    assert_allclose(strings.matvec(psi), matrix @ psi, atol=1e-14)
    assert_allclose(strings.matvec(psi.real), matrix @ psi.real, atol=1e-14)
    # Real matrices keep real vectors real: half of the work.
    assert np.iscomplexobj(strings.matvec(psi.real)) == np.iscomplexobj(matrix)


@pytest.mark.thorough
def test_bounds_hold_the_spectrum(hamiltonian):
    energies = np.linalg.eigvalsh(hermitian_matrix(hamiltonian).toarray())
    low, high = pauli_hamiltonian(hamiltonian).bounds
    assert low <= energies[0] + 1e-12
    assert high >= energies[-1] - 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("time", [0.0, -0.4, 2.1, 40.0])
def test_evolution_is_the_exponential_of_the_dense_matrix(hamiltonian, time):
    energies, vectors = np.linalg.eigh(hermitian_matrix(hamiltonian).toarray())
    for psi in (random_state(64), np.full(64, 0.125)):
        expected = vectors @ (np.exp(-1j * energies * time) * (vectors.conj().T @ psi))
        assert_allclose(evolve(pauli_hamiltonian(hamiltonian), psi, time), expected, atol=1e-12)


@pytest.mark.thorough
def test_evolution_agrees_with_the_sparse_one_on_12_spins():
    target = targets.tfim_quench(extent=(3, 4), time=2.1)
    strings = pauli_hamiltonian(targets.tfim(extent=(3, 4)))
    assert_allclose(evolve(strings, np.full(4096, 1 / 64), 2.1), target.amplitudes, atol=1e-12)


def test_a_quench_of_18_free_spins_is_a_product_state():
    n, time = 18, 1.7
    hilbert = nk.hilbert.Spin(0.5, n)
    rng = np.random.default_rng(3)
    fields = rng.normal(size=(n, 2))
    one = np.eye(n, dtype=int)
    strings = ["".join("IX"[k] for k in row) for row in one]
    strings += ["".join("IZ"[k] for k in row) for row in one]
    free = nk.operator.PauliStringsJax(hilbert, strings, fields.T.ravel())
    target = targets.quench(free, initial="plus", time=time)
    expected = np.ones(1)
    for x, z in fields:
        size = np.hypot(x, z)
        turn = np.cos(size * time) * np.eye(2) - 1j * np.sin(size * time) / size * np.array(
            [[z, x], [x, -z]]
        )
        expected = np.kron(expected, turn @ np.full(2, 0.5**0.5))
    assert_allclose(target.amplitudes, expected, atol=1e-12)


@pytest.mark.thorough
def test_norm_and_energy_are_conserved_and_time_runs_backwards_on_17_spins():
    hilbert = nk.hilbert.Spin(0.5, 17)
    strings = pauli_hamiltonian(nk.operator.Heisenberg(hilbert, nk.graph.Chain(17)))
    psi = random_state(2**17)
    later = evolve(strings, psi, 0.6)
    assert abs(np.linalg.norm(later) - 1) < 1e-12
    energy = [np.vdot(state, strings.matvec(state)).real for state in (psi, later)]
    assert_allclose(energy[1], energy[0], atol=1e-11)
    assert_allclose(evolve(strings, later, -0.6), psi, atol=1e-13)
    assert np.abs(later - psi).max() > 1e-4


@pytest.mark.parametrize("z", [0.1, 5.0, 120.0, 3000.0])
def test_the_series_is_cut_where_the_rest_is_small_and_not_later(z):
    terms = chebyshev_terms(z, tolerance=1e-12)
    rest = 2 * np.abs(jv(np.arange(len(terms) - 1, len(terms) + 400), z))
    assert rest[1:].sum() <= 1e-12 < rest.sum()


def test_what_has_no_strings_on_the_whole_basis_takes_the_matrix():
    sector = nk.hilbert.Spin(0.5, 6, total_sz=0)
    assert pauli_hamiltonian(nk.operator.Heisenberg(sector, RING)) is None
    assert pauli_hamiltonian(nk.operator.Ising(nk.hilbert.Fock(1, 6), RING, h=1.0)) is None
    fermions = nk.hilbert.SpinOrbitalFermions(3, s=0.5)
    assert pauli_hamiltonian(nk.operator.fermion.number(fermions, 0, 1)) is None
    large = nk.hilbert.Spin(0.5, 24, total_sz=0)
    with pytest.raises(SystemTooLargeError):
        targets.quench(nk.operator.Heisenberg(large, nk.graph.Chain(24)), np.ones(1), 1.0)


def test_an_operator_that_is_not_hermitian_is_named():
    with pytest.raises(HamiltonianError, match="Hermitian"):
        pauli_hamiltonian(nk.operator.PauliStringsJax(HI, ["XIIIII"], [1.0j]))


def test_all_states_in_pieces_are_netkets(monkeypatch):
    expected = np.asarray(HI.all_states())
    monkeypatch.setattr("netket_qsntk.targets.basis._AT_ONCE", 24)
    assert np.array_equal(targets.all_states(HI), expected)
    assert targets.all_states(HI).dtype == expected.dtype

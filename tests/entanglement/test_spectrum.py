"""Entropies of given wave functions, against density matrices and against free fermions."""

import math

import netket as nk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netket_qsntk.entanglement import (
    entanglement_spectrum,
    entropies,
    fermion_modes,
    purity,
    renyi_entropy,
    tsallis_entropy,
)
from netket_qsntk.errors import AmplitudesError, EntropyOrderError, PartitionError
from tests.entanglement.oracles import density_matrix_spectrum

SPACES = {
    "spins": (nk.hilbert.Spin(0.5, 6), (0, 3, 5)),
    "contiguous": (nk.hilbert.Spin(0.5, 6), (0, 1)),
    "fixed magnetisation": (nk.hilbert.Spin(0.5, 6, total_sz=0), (1, 2, 5)),
    "spin one": (nk.hilbert.Spin(1, 4), (1, 2)),
    "bosons at fixed number": (nk.hilbert.Fock(2, 5, n_particles=4), (0, 2)),
    "mixed": (nk.hilbert.Spin(0.5, 2) * nk.hilbert.Fock(2, 2), (1, 3)),
}


def random_states(hilbert, members, *, real=False, seed=0):
    rng = np.random.default_rng(seed)
    psi = rng.standard_normal((members, hilbert.n_states))
    return psi if real else psi + 1j * rng.standard_normal(psi.shape)


@pytest.mark.thorough
@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("name", SPACES)
def test_entropies_equal_those_of_the_density_matrix(name, real):
    hilbert, sites = SPACES[name]
    psi = random_states(hilbert, 3, real=real)
    orders = [0.5, 1, 2, 3.5, math.inf]
    ours = entropies(psi, hilbert, sites, n=orders)
    states = np.asarray(hilbert.all_states())
    for member in range(3):
        p = density_matrix_spectrum(psi[member], states, sites)
        p = p[p > 1e-14]
        direct = [
            math.log(np.sum(p**0.5)) / 0.5,
            -np.sum(p * np.log(p)),
            -math.log(np.sum(p**2)),
            math.log(np.sum(p**3.5)) / -2.5,
            -math.log(p.max()),
        ]
        np.testing.assert_allclose(ours[member], direct, rtol=0, atol=1e-12)
    # The order 2 alone takes another way, without a decomposition.
    np.testing.assert_allclose(entropies(psi, hilbert, sites, n=2), ours[:, 2], atol=1e-13)
    np.testing.assert_allclose(purity(psi, hilbert, sites), np.exp(-ours[:, 2]), atol=1e-13)


@pytest.mark.thorough
def test_the_spectrum_is_a_sorted_distribution_of_full_rank():
    hilbert, sites = SPACES["fixed magnetisation"]
    p = entanglement_spectrum(random_states(hilbert, 5), hilbert, sites)
    assert p.shape == (5, 8)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-15)
    assert np.all(np.diff(p, axis=-1) <= 0)


def test_both_sides_of_a_cut_have_the_same_entropy():
    hilbert = SPACES["spins"][0]
    psi = random_states(hilbert, 4)
    a = entropies(psi, hilbert, [5, 0], n=[1, 2])
    np.testing.assert_allclose(a, entropies(psi, hilbert, [1, 2, 3, 4], n=[1, 2]), atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("sites", [(0, 1), (0, 2), (1, 3)])
def test_free_fermions_have_the_entropy_of_their_correlation_matrix(sites):
    # Peschel: S = -Σ ν ln ν + (1-ν) ln(1-ν) over eigenvalues ν of ⟨c†_i c_j⟩ on A. Lattice sites
    # of NetKet's spin-ordered modes are never contiguous, so a wrong exchange sign shows.
    n_sites, fillings = 4, (2, 1)
    rng = np.random.default_rng(3)
    hopping = rng.standard_normal((n_sites, n_sites)) + 1j * rng.standard_normal((n_sites, n_sites))
    orbitals = np.linalg.eigh(hopping + hopping.conj().T)[1]
    hilbert = nk.hilbert.SpinOrbitalFermions(n_sites, s=1 / 2, n_fermions_per_spin=fillings)
    psi = []
    for n in np.asarray(hilbert.all_states()):
        parts = [np.flatnonzero(n[:n_sites]), np.flatnonzero(n[n_sites:])]
        psi.append(np.prod([np.linalg.det(orbitals[occ][:, : len(occ)]) for occ in parts]))
    expected = 0.0
    for filling in fillings:
        filled = orbitals[:, :filling]
        nu = np.linalg.eigvalsh((filled @ filled.conj().T)[np.ix_(sites, sites)])
        nu = nu[(nu > 1e-13) & (nu < 1 - 1e-13)]
        expected -= np.sum(nu * np.log(nu) + (1 - nu) * np.log(1 - nu))
    ours = entropies(np.array(psi), hilbert, fermion_modes(hilbert, sites))
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_without_exchange_signs_the_fermionic_entropy_would_differ():
    hilbert = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2)
    psi = random_states(hilbert, 1)[0]
    spins = nk.hilbert.Spin(0.5, 6)
    sites = fermion_modes(hilbert, [1])
    assert abs(entropies(psi, hilbert, sites) - entropies(psi, spins, sites)) > 1e-3


def test_known_states():
    hilbert = nk.hilbert.Spin(0.5, 4)
    product = np.ones(16)
    ghz = np.zeros(16)
    ghz[[0, -1]] = 1e-200  # the norm is of no importance, even where its square underflows
    assert entropies(product, hilbert, [1, 2]) == pytest.approx(0, abs=1e-14)
    assert entropies(ghz, hilbert, [1, 2], log_base=2) == pytest.approx(1, abs=1e-14)
    assert entropies(ghz, hilbert, [1, 2], kind="tsallis", n=3) == pytest.approx((1 - 0.25) / 2)


@given(
    st.lists(st.floats(1e-6, 1), min_size=2, max_size=8),
    st.floats(0.05, 60),
    st.floats(1e-12, 20),
)
@settings(max_examples=60, deadline=None)
def test_renyi_entropies_fall_with_the_order_and_stay_in_bounds(weights, n, step):
    p = np.array(weights) / np.sum(weights)
    low, high = renyi_entropy(p, n), renyi_entropy(p, n + step)
    assert 0 <= high <= low + 1e-12
    assert low <= math.log(len(p)) + 1e-12


def test_orders_close_to_one_are_continuous():
    p = np.array([0.7, 0.2, 0.1, 0.0])
    for kind in (renyi_entropy, tsallis_entropy):
        slope = (kind(p, 1 + 1e-3) - kind(p, 1 - 1e-3)) / 2e-3
        for step in (1e-7, -1e-9, 1e-13):
            np.testing.assert_allclose(kind(p, 1 + step), kind(p, 1) + slope * step, atol=1e-13)


def test_very_large_orders_tend_to_the_min_entropy():
    p = np.array([0.4, 0.4, 0.2])
    np.testing.assert_allclose(renyi_entropy(p, 1e6), renyi_entropy(p, math.inf), atol=2e-6)


@pytest.mark.parametrize("order", [0, -1, math.nan, "2", None])
def test_orders_that_are_not_positive_numbers_are_refused(order):
    with pytest.raises(EntropyOrderError, match="expected one number > 0"):
        renyi_entropy([0.5, 0.5], order)


def test_bad_amplitudes_are_refused():
    hilbert = nk.hilbert.Spin(0.5, 3)
    with pytest.raises(AmplitudesError, match=r"shape \(7,\); expected \(…, 8\)"):
        entropies(np.ones(7), hilbert, [0])
    with pytest.raises(AmplitudesError, match="all zero"):
        entropies(np.zeros((2, 8)), hilbert, [0])
    with pytest.raises(AmplitudesError, match="nan or inf"):
        entropies(np.full(8, np.nan), hilbert, [0])
    with pytest.raises(PartitionError):
        entropies(np.ones(8), hilbert, [])
    with pytest.raises(EntropyOrderError, match="kind"):
        entropies(np.ones(8), hilbert, [0], kind="shannon")
    with pytest.raises(EntropyOrderError, match="log_base"):
        entropies(np.ones(8), hilbert, [0], log_base=1)
    with pytest.raises(EntropyOrderError, match="finite q"):
        tsallis_entropy([1.0], math.inf)


@pytest.mark.parametrize("n", [1, 2, 3, 4, [2, 3, 4], [0.5, math.inf]])
@pytest.mark.parametrize("scale", [1e-150, 1e-60, 1e-32, 1e32, 1e45, 1e60, 1e150])
def test_amplitudes_of_any_size_have_the_same_entropies(scale, n):
    hilbert = nk.hilbert.Spin(0.5, 4)
    psi = random_states(hilbert, 3)
    expected = entropies(psi, hilbert, [0, 2], n=n)
    np.testing.assert_allclose(entropies(scale * psi, hilbert, [0, 2], n=n), expected, rtol=1e-12)

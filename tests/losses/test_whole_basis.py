"""Energy and tomography: values against dense matrices, gradients against finite differences."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import HamiltonianError, InvalidConfigurationsError
from netket_qsntk.losses import energy as energy_module

HI = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=0.5, n_fermions_per_spin=(1, 1))
ISING = nk.operator.Ising(HI, nk.graph.Chain(4), h=0.7)
HUBBARD = nk.operator.FermiHubbardJax(FERMIONS, t=1.0, U=2.0, graph=nk.graph.Chain(3))
HEISENBERG = nk.operator.Heisenberg(nk.hilbert.Spin(0.5, 4, total_sz=0), nk.graph.Chain(4))


def psi_for(hilbert, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(2, hilbert.n_states)).T @ [1, 1j])


def finite_difference(loss, psi, direction, h=1e-6):
    return (loss.value(psi + h * direction) - loss.value(psi - h * direction)) / (2 * h)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hamiltonian", [ISING, HUBBARD, HEISENBERG], ids=["ising", "hubbard", "sz0"]
)
def test_energy_is_the_rayleigh_quotient_of_the_dense_matrix(hamiltonian):
    psi = psi_for(hamiltonian.hilbert)
    dense = hamiltonian.to_dense()
    expected = np.vdot(psi, dense @ psi).real / np.vdot(psi, psi).real
    assert qs.losses.Energy(hamiltonian).value(psi) == pytest.approx(expected, rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("hamiltonian", "by_strings"),
    [(ISING, True), (HUBBARD, False), (HEISENBERG.to_jax_operator(), False)],
    ids=["ising", "hubbard", "sz0"],
)
def test_products_that_store_nothing_equal_stored_ones(hamiltonian, by_strings, monkeypatch):
    psi = psi_for(hamiltonian.hilbert)
    stored = qs.losses.Energy(hamiltonian).apply(psi)
    monkeypatch.setattr(energy_module, "_STORED", 1)
    monkeypatch.setattr(energy_module, "_BY_STRINGS", 1)
    monkeypatch.setattr(energy_module, "_CHUNK", 5)  # divides no basis size here but 15
    energy = qs.losses.Energy(hamiltonian)
    assert (energy._strings is not None) == by_strings
    np.testing.assert_allclose(energy.apply(psi), stored, atol=1e-12)


def shots(n_shots=1000):
    target = qs.targets.Target(HI, psi_for(HI, 5))
    bases = ["ZZZZ", "XXXX", "XYZX"]
    return target, [qs.losses.measure(target, b, n_shots, seed=i) for i, b in enumerate(bases)]


@pytest.mark.parametrize(
    "loss",
    [qs.losses.Energy(ISING), qs.losses.Tomography(HI, shots()[1])],
    ids=["energy", "tomography"],
)
def test_gradient_is_the_derivative_with_respect_to_both_parts(loss):
    psi, direction = psi_for(HI, 1), psi_for(HI, 2)
    slope = float(jnp.vdot(loss.gradient(psi), direction).real)
    assert slope == pytest.approx(float(finite_difference(loss, psi, direction)), rel=1e-6)


@pytest.mark.parametrize("loss", [qs.losses.Energy(ISING), qs.losses.Tomography(HI, shots()[1])])
def test_norm_and_phase_do_not_matter(loss):
    psi = psi_for(HI, 1)
    assert float(loss.value(psi * (2 - 3j))) == pytest.approx(float(loss.value(psi)), rel=1e-12)
    assert abs(jnp.vdot(loss.gradient(psi), psi)) < 1e-12


def test_rotations_are_those_of_the_pauli_eigenvectors():
    paulis = {"X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": [[1, 0], [0, -1]]}
    rng = np.random.default_rng(0)
    psi = rng.normal(size=(2, 8)).T @ [1, 1j]
    basis = "XYZ"
    rotated = np.asarray(qs.losses.rotate(jnp.asarray(psi), basis))
    for site, letter in enumerate(basis):
        factors = [np.array(paulis[letter]) if i == site else np.eye(2) for i in range(3)]
        operator = np.kron(np.kron(factors[0], factors[1]), factors[2])
        signs = nk.hilbert.Spin(0.5, 3).all_states()[:, site]
        assert np.vdot(psi, operator @ psi).real == pytest.approx(
            np.sum(signs * np.abs(rotated) ** 2)
        )
    back = qs.losses.rotate(jnp.asarray(rotated), basis, adjoint=True)
    np.testing.assert_allclose(back, psi, atol=1e-14)


def test_likelihood_at_the_true_state_is_the_cross_entropy_of_exact_probabilities():
    target, measurements = shots(200_000)
    loss = qs.losses.Tomography(HI, measurements)
    entropies = []
    for m in measurements:
        p = np.abs(np.asarray(qs.losses.rotate(jnp.asarray(target.amplitudes), m.basis))) ** 2
        entropies.append(-np.sum(p * np.log(p)))
    assert loss.value(target.amplitudes) == pytest.approx(np.mean(entropies), abs=0.01)


def test_bad_measurements_and_hamiltonians_are_named():
    with pytest.raises(InvalidConfigurationsError, match="4 letters"):
        qs.losses.measure(qs.targets.Target(HI, np.ones(16)), "XX", 5, seed=0)
    with pytest.raises(InvalidConfigurationsError, match="outcomes"):
        qs.losses.Tomography(HI, [qs.losses.Measurement("XXXX", np.ones((2, 3)), np.ones(2))])
    with pytest.raises(InvalidConfigurationsError, match="zero"):
        qs.losses.Tomography(HI, [qs.losses.Measurement("XXXX", np.ones((1, 4)), np.zeros(1))])
    with pytest.raises(InvalidConfigurationsError, match="without constraint"):
        qs.losses.Tomography(FERMIONS, [qs.losses.Measurement("XXX", np.ones((1, 3)), np.ones(1))])
    with pytest.raises(HamiltonianError, match="Hermitian"):
        qs.losses.Energy(nk.operator.spin.sigmap(HI, 0))

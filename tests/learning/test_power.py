"""Powers of targets against projections on the levels' functions."""

from itertools import pairwise

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

from .oracles import parities

E = qs.errors


def random_target(hilbert, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, hilbert.n_states))
    return qs.targets.Target(hilbert, values[0] + 1j * values[1])


def from_eigenvectors(target, kernel, levels):
    """Powers by the projections on the eigenspaces of the kernel matrix."""
    values, vectors = np.linalg.eigh(kernel.ntk(np.asarray(target.hilbert.all_states())))
    squares = np.abs(vectors.T @ target.amplitudes) ** 2 / target.n_states
    place = np.argmin(np.abs(values[:, None] - np.asarray(levels.eigenvalues)), axis=1)
    return np.bincount(place, squares, minlength=len(levels))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert",
    [
        nk.hilbert.Spin(0.5, 6),
        nk.hilbert.Spin(0.5, 8, total_sz=0),
        nk.hilbert.Spin(0.5, 7, total_sz=0.5),
    ],
    ids=["all", "half filling", "sector"],
)
def test_powers_are_those_in_the_eigenspaces(hilbert) -> None:
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(4,), sigma_w=1.4, sigma_b=0.4))
    target = random_target(hilbert)
    power = qs.learning.target_power(target)
    exact = from_eigenvectors(target, kernel, qs.learning.levels(kernel, hilbert))
    np.testing.assert_allclose(power, exact, rtol=1e-10)
    np.testing.assert_allclose(power.sum(), 1 / hilbert.n_states)
    np.testing.assert_allclose(power.participation, 1 / np.sum(np.abs(target.amplitudes) ** 4))


@pytest.mark.thorough
def test_powers_on_sites_of_three_states_need_the_levels() -> None:
    hilbert = nk.hilbert.Spin(1, 4)
    kernel = qs.kernels.infinite_width(qs.models.CosNet(4, 1.0, 1.5), trainable="readout")
    levels, target = qs.learning.levels(kernel, hilbert), random_target(hilbert)
    power = qs.learning.target_power(target, levels=levels)
    np.testing.assert_allclose(power, from_eigenvectors(target, kernel, levels), rtol=1e-8)
    with pytest.raises(E.TargetPowerError, match="levels="):
        qs.learning.target_power(target)


def test_powers_of_log_psi_with_a_reference() -> None:
    hilbert = nk.hilbert.Spin(0.5, 5)
    target = random_target(hilbert)
    functions, weights = parities(5)
    bits = (np.asarray(hilbert.all_states()) == 1) @ (1 << np.arange(5))
    reference = qs.readout.Readout("log_psi", lambda x: 0.5 * x.sum(-1) + 0j)
    for readout, shift in (("log_psi", 0.0), (reference, 0.5 * hilbert.all_states().sum(-1))):
        log_psi = np.zeros(32, complex)
        log_psi[bits] = np.log(target.amplitudes) - shift
        exact = np.bincount(weights, np.abs(functions.T @ log_psi) ** 2) / 32
        np.testing.assert_allclose(qs.learning.target_power(target, readout=readout), exact)
    with pytest.raises(E.TargetPowerError, match="zero"):
        qs.learning.target_power(qs.targets.Target(hilbert, np.arange(32.0)), readout="log_psi")


@pytest.mark.parametrize("pbc", [True, False])
def test_chains_have_the_powers_of_their_exact_states(pbc) -> None:
    d = 7
    hilbert = nk.hilbert.Spin(0.5, d)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(d, pbc=pbc), h=0.0, J=-1.2)
    exact = qs.targets.quench(hamiltonian, initial="plus", time=0.4)
    chain = qs.learning.ising_quench(d, J=-1.2, time=0.4, pbc=pbc)
    overlap = np.vdot(exact.amplitudes, np.exp(chain.log_psi(hilbert.all_states())))
    assert abs(abs(overlap) - 1) < 1e-12
    one, other = qs.learning.target_power(exact), qs.learning.target_power(chain)
    np.testing.assert_allclose(other, one, atol=1e-17)
    np.testing.assert_allclose(other.participation, one.participation)


def test_random_matrix_products_and_product_states() -> None:
    rng, d = np.random.default_rng(1), 6
    hilbert = nk.hilbert.Spin(0.5, d)
    bonds = [1, 2, 4, 3, 2, 2, 1]
    tensors = [
        rng.normal(size=(2, a, b)) + 1j * rng.normal(size=(2, a, b)) for a, b in pairwise(bonds)
    ]
    sites = rng.normal(size=(d, 2))
    for chain in (qs.learning.ChainState(tensors), qs.learning.product_state(sites)):
        psi = np.exp(chain.log_psi(hilbert.all_states()))
        np.testing.assert_allclose(np.linalg.norm(psi), 1.0)
        exact = qs.learning.target_power(qs.targets.Target(hilbert, psi))
        np.testing.assert_allclose(qs.learning.target_power(chain), exact, atol=1e-17)


def test_powers_at_a_hundred_sites_are_those_of_independent_sites() -> None:
    angle, d = 0.3, 100
    power = qs.learning.product_state([[np.cos(angle), np.sin(angle)]] * d).powers() * 2.0**d
    odd = (np.cos(angle) - np.sin(angle)) ** 2 / 2
    mean = (np.arange(d + 1) * power).sum()
    np.testing.assert_allclose([power.sum(), mean], [1.0, d * odd], rtol=1e-12)


def test_a_target_without_the_symmetry_is_refused() -> None:
    hilbert, group = nk.hilbert.Spin(0.5, 6), nk.graph.Chain(6).translation_group()
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(6), h=0.7)
    ground = qs.targets.ground_state(hamiltonian)
    np.testing.assert_array_equal(
        qs.learning.target_power(ground, group=group), qs.learning.target_power(ground)
    )
    with pytest.raises(E.SymmetryError, match="norm"):
        qs.learning.target_power(random_target(hilbert), group=group)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert", [nk.hilbert.Spin(0.5, 7), nk.hilbert.Spin(0.5, 8, total_sz=1)], ids=["all", "sector"]
)
def test_long_transforms_go_in_pieces(hilbert, monkeypatch) -> None:
    target = random_target(hilbert)
    whole = qs.learning.target_power(target)
    monkeypatch.setattr("netket_qsntk.learning.power._WHOLE", 4)
    np.testing.assert_allclose(qs.learning.target_power(target), whole, rtol=1e-12)


@pytest.mark.slow
def test_powers_of_a_sector_of_thirty_two_sites() -> None:
    # One spin up: a plane wave is orthogonal to the constant, and all of it has total spin d/2 - 1.
    hilbert = nk.hilbert.Spin(0.5, 32, total_sz=-15)
    sites = (np.asarray(hilbert.all_states()) == 1).argmax(1)
    power = qs.learning.target_power(qs.targets.Target(hilbert, np.cos(2 * np.pi * sites / 32)))
    np.testing.assert_allclose(power * 32, [0, 1], atol=1e-12)


def uneven(x):
    """Three local states that no reflection maps to one another."""
    return jnp.where(x > 1, 3.0, jnp.where(x < -1, -1.0, 0.4))


@pytest.mark.thorough
def test_powers_on_sites_are_in_the_order_of_their_states() -> None:
    hilbert = nk.hilbert.Spin(1, 2)
    model = qs.models.CosNet(1, 1.0, 1.0, encoding=uneven)
    kernel = qs.kernels.infinite_width(model, trainable="readout")
    levels = qs.learning.levels(kernel, hilbert)
    target = qs.targets.Target(hilbert, np.random.default_rng(0).normal(size=9))
    power = qs.learning.target_power(target, levels=levels)
    values, vectors = np.linalg.eigh(np.asarray(kernel.ntk(hilbert.all_states())))
    components = np.abs(vectors.T @ target.amplitudes) ** 2 / 9
    for value, found in zip(np.asarray(levels.eigenvalues), power, strict=True):
        expected = components[np.isclose(values, value, rtol=1e-8)].sum()
        np.testing.assert_allclose(found, expected, rtol=1e-8)

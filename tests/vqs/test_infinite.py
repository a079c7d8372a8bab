"""InfiniteState: a Gaussian process as a NetKet state."""

import copy

import netket as nk
import numpy as np
import pytest
from flax import serialization
from netket.operator.fermion import create, destroy

import netket_qsntk as qs

SPINS = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))


def spins(parts="independent"):
    return qs.vqs.InfiniteState(SPINS, qs.models.CosNet(1, 1.0, 2.0, parts=parts))


def fermions():
    model = qs.models.WideMLP(
        widths=(1,), activation="erf", sigma_b=0.2, encoding=qs.encodings.fermion_sites
    )
    return qs.vqs.InfiniteState(FERMIONS, model)


def trained(state, steps=20):
    rng = np.random.default_rng(0)
    amplitudes = rng.normal(size=(2, state.hilbert.n_states))
    target = qs.targets.Target(state.hilbert, amplitudes[0] + 1j * amplitudes[1])
    train, _ = target.split(2 * state.hilbert.n_states // 3, seed=1)
    dynamics = qs.dynamics.LinearDynamics(state.kernel, train, learning_rate=0.2)
    state.set_training(dynamics, steps)
    return state, dynamics


STATES = {
    "spins": spins,
    "fermions": fermions,
    "real ψ": lambda: spins("real"),
    "trained spins": lambda: trained(spins())[0],
    "trained fermions": lambda: trained(fermions())[0],
    "trained real ψ": lambda: trained(spins("real"))[0],
}


@pytest.mark.thorough
@pytest.mark.parametrize("make", [spins, fermions])
def test_before_training_the_covariance_is_that_of_both_parts(make):
    state = make()
    k = np.asarray(state.kernel.nngp(state.hilbert.all_states()))
    np.testing.assert_allclose(state.covariance, 2 * k, rtol=1e-14)
    assert not np.any(state.mean)
    assert state.steps == 0
    np.testing.assert_allclose(spins("real").covariance, np.asarray(spins().covariance) / 2)


@pytest.mark.parametrize("parts", ["independent", "real"])
def test_after_training_moments_are_those_of_the_dynamics(parts):
    state, dynamics = trained(spins(parts))
    x = SPINS.all_states()
    np.testing.assert_allclose(state.mean, dynamics.mean([20], x)[0], atol=1e-13)
    np.testing.assert_allclose(np.diag(state.covariance), dynamics.variance([20], x)[0], atol=1e-13)
    array = state.to_array()
    np.testing.assert_allclose(array, state.mean / np.linalg.norm(state.mean), atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("name", STATES)
def test_samples_have_mean_and_covariance_and_no_preferred_phase(name):
    state, members = STATES[name](), 4000
    psi = np.asarray(state.sample(members, seed=1))
    assert psi.shape == (members, state.hilbert.n_states)
    assert np.iscomplexobj(psi) == ("real" not in name)
    rest = (
        psi - np.asarray(state.mean)[None, :]
        if np.iscomplexobj(psi)
        else psi - np.asarray(state.mean.real)
    )

    def worst(samples, expected):
        error = np.maximum(samples.std(0), 1e-12) / np.sqrt(members)
        return np.max(np.abs(samples.mean(0) - expected) / error)

    few = slice(0, 4)
    products = rest[:, few, None] * rest[:, None, few].conj()
    assert worst(products, np.asarray(state.covariance)[few, few]) < 4
    assert worst(rest, 0) < 4.5
    if np.iscomplexobj(psi):
        assert worst(rest[:, few, None] * rest[:, None, few], 0) < 4


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["spins", "trained spins", "trained fermions", "trained real ψ"])
def test_expectations_are_ratios_of_averages_over_samples(name):
    state, members = STATES[name](), 4000
    if state.hilbert is SPINS:
        operators = [
            nk.operator.Ising(SPINS, nk.graph.Chain(4), h=0.7),
            nk.operator.spin.sigmay(SPINS, 1) @ nk.operator.spin.sigmaz(SPINS, 2),
            nk.operator.spin.sigmap(SPINS, 0),
        ]
    else:
        hopping = create(FERMIONS, 0, -1) @ destroy(FERMIONS, 1, -1)
        operators = [hopping, hopping + hopping.H]
    psi = np.asarray(state.sample(members, seed=2))
    norms = np.sum(np.abs(psi) ** 2, axis=1)
    for operator in operators:
        stats = state.expect(operator)
        values = np.einsum("mx,xy,my->m", psi.conj(), operator.to_dense(), psi)
        assert np.isrealobj(stats.mean) == operator.is_hermitian
        gap = values - stats.mean * norms  # of mean zero if the ratio is right
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(members) + 1e-12
        assert stats.error_of_mean == 0


def test_a_seed_gives_the_same_samples_again():
    state = spins()
    np.testing.assert_array_equal(state.sample(3, seed=5), state.sample(3, seed=5))
    assert np.any(state.sample(3, seed=5) != state.sample(3, seed=6))


def test_a_checkpoint_remembers_how_far_training_was():
    state, dynamics = trained(spins())
    saved = serialization.to_bytes(state)
    fresh = spins()
    fresh.set_training(dynamics, 0)
    restored = serialization.from_bytes(fresh, saved)
    assert restored.steps == 20
    assert fresh.steps == 0
    np.testing.assert_array_equal(restored.mean, state.mean)
    assert not np.any(fresh.mean)
    with pytest.raises(qs.errors.InvalidEnsembleError, match="InfiniteWidthDriver"):
        serialization.from_bytes(spins(), saved)
    assert serialization.from_bytes(spins(), serialization.to_bytes(spins())).steps == 0


def test_wrong_requests_are_named():
    state = spins()
    with pytest.raises(qs.errors.UndefinedAmplitudesError, match="sample"):
        state.to_array()
    assert not np.any(state.to_array(normalize=False))
    with pytest.raises(qs.errors.InvalidEnsembleError, match="positive integer"):
        state.sample(0)
    with pytest.raises(qs.errors.HilbertMismatchError, match="same Hilbert space"):
        state.expect(nk.operator.spin.sigmax(nk.hilbert.Spin(0.5, 3), 0))
    with pytest.raises(qs.errors.UnsupportedObservableError, match="EnsembleState"):
        state.expect(nk.observable.VarianceObservable(nk.operator.spin.sigmax(SPINS, 0)))
    with pytest.raises(qs.errors.UnknownKernelError):
        qs.vqs.InfiniteState(SPINS, nk.models.RBM(param_dtype=complex))
    big = qs.vqs.InfiniteState(nk.hilbert.Spin(0.5, 40), qs.models.CosNet(1))
    with pytest.raises(qs.errors.SystemTooLargeError, match="sums over all basis states.*MCState"):
        big.expect(nk.operator.spin.sigmax(big.hilbert, 0))


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
def test_samples_trained_by_products_are_initial_samples_after_gradient_descent(parts):
    state = spins(parts)
    rng = np.random.default_rng(0)
    amplitudes = rng.normal(size=(2, 16))
    target = qs.targets.Target(SPINS, amplitudes[0] + 1j * amplitudes[1])
    train, _ = target.split(10, seed=1)
    index = target.split_indices(10, 1)[0]
    psi = np.asarray(state.sample(3, seed=4))
    goal = train.amplitudes if parts == "independent" else train.amplitudes.real
    theta = np.asarray(state.kernel.ntk(SPINS.all_states(), train.states))
    for _ in range(20):
        psi = psi - 2 * 0.2 / 10 * (psi[:, index] - goal) @ theta.T
    dynamics = qs.dynamics.LinearDynamics(state.kernel, train, learning_rate=0.2, solver="products")
    state.set_training(dynamics, 20)
    found = state.sample(3, seed=4)
    assert np.iscomplexobj(found) == (parts == "independent")
    np.testing.assert_allclose(found, psi, atol=1e-9)


@pytest.mark.thorough
def test_a_sector_of_fixed_magnetisation_is_drawn_on_the_hypercube_around_it():
    sector = nk.hilbert.Spin(0.5, 14, total_sz=0)
    state = qs.vqs.InfiniteState(sector, qs.models.CosNet(1, 1.0, 2.0, parts="real"))
    psi = np.asarray(state.sample(200, seed=0))
    assert psi.shape == (200, 3432)
    rows = [0, 1, 700, 3431]
    expected = np.asarray(state.kernel.nngp(np.asarray(sector.all_states())[rows]))
    found = psi[:, rows].T @ psi[:, rows] / 200
    # The variance of a product of two normal numbers is K_xx K_yy + K_xy².
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 200)
    assert np.all(np.abs(found - expected) < 4 * error)


def test_training_a_copy_leaves_the_original_alone():
    hilbert = nk.hilbert.Spin(0.5, 4)
    state = qs.vqs.InfiniteState(hilbert, qs.models.CosNet(1, sigma_w=1.5))
    before = np.array(state.covariance)
    trained = copy.copy(state)
    train, _ = qs.targets.Target(hilbert, np.arange(1.0, 17.0)).split(8, seed=0)
    trained.set_training(qs.dynamics.LinearDynamics(state.kernel, train, learning_rate=0.1), 100)
    assert np.abs(trained.covariance - before).max() > 0.1
    np.testing.assert_array_equal(state.covariance, before)
    np.testing.assert_array_equal(state.mean, 0)


def test_a_state_without_a_seed_gives_the_same_number_again():
    hilbert = nk.hilbert.Spin(0.5, 3)
    model = qs.models.CosNet(1, output="log_psi")
    state = qs.vqs.InfiniteState(hilbert, model, seed=None, n_draws=4)
    flip = nk.operator.spin.sigmax(hilbert, 0)
    assert state.expect(flip).mean == state.expect(flip).mean
    assert state.seed != qs.vqs.InfiniteState(hilbert, model, seed=None).seed

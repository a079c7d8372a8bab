"""Ensembles and infinite-width states come back from nqxpack's files as they were saved."""

import netket as nk
import nqxpack
import numpy as np
import optax
import pytest

import netket_qsntk as qs

HILBERTS = {
    "spins": (nk.hilbert.Spin(0.5, 4), None),
    "fermions": (
        nk.hilbert.SpinOrbitalFermions(2, s=1 / 2, n_fermions_per_spin=(1, 1)),
        qs.encodings.fermion_sites,
    ),
}


def saved_and_loaded(state, folder):
    nqxpack.save(state, folder / "state.nk")
    return nqxpack.load(folder / "state.nk")


@pytest.fixture(params=HILBERTS)
def system(request):
    hilbert, encoding = HILBERTS[request.param]
    return hilbert, qs.models.WideMLP(widths=(6,), sigma_b=0.3, encoding=encoding)


@pytest.mark.thorough
def test_an_ensemble_comes_back(system, tmp_path):
    state = qs.vqs.EnsembleState(*system, n_members=3, seed=2, chunk_size=4)
    loaded = saved_and_loaded(state, tmp_path)
    assert isinstance(loaded, qs.vqs.EnsembleState)
    assert (loaded.n_members, loaded.chunk_size, loaded.model) == (3, 4, state.model)
    np.testing.assert_array_equal(loaded.to_array(), state.to_array())
    np.testing.assert_array_equal(loaded.get_state(2).to_array(), state.get_state(2).to_array())


@pytest.mark.thorough
def test_an_infinite_state_comes_back_trained_and_untrained(system, tmp_path):
    state = qs.vqs.InfiniteState(*system, trainable="readout")
    loaded = saved_and_loaded(state, tmp_path)
    assert loaded.kernel.trainable == "readout"
    np.testing.assert_array_equal(loaded.covariance, state.covariance)

    rng = np.random.default_rng(0)
    target = qs.targets.Target(state.hilbert, rng.normal(size=state.hilbert.n_states) + 0.5j)
    driver = qs.driver.InfiniteWidthDriver(target, optax.sgd(0.1), variational_state=state)
    driver.run(4, show_progress=False)
    trained = saved_and_loaded(driver.state, tmp_path)
    assert trained.steps == driver.state.steps == 4
    np.testing.assert_array_equal(trained.mean, driver.state.mean)
    np.testing.assert_array_equal(trained.covariance, driver.state.covariance)
    # A seed gives other draws where training was by products, of the same ensemble.
    again = saved_and_loaded(trained, tmp_path)
    np.testing.assert_array_equal(trained.sample(2, seed=1), again.sample(2, seed=1))
    for ensemble in (trained, driver.state):
        gaps = np.asarray(ensemble.sample(300, seed=1)) - np.asarray(trained.mean)
        spread = np.sqrt(np.diag(trained.covariance).real)
        assert np.max(np.abs(gaps.mean(0)) / spread) < 5 / np.sqrt(300)
        np.testing.assert_allclose(np.mean(np.abs(gaps) ** 2, 0), spread**2, rtol=0.5)
    assert np.linalg.norm(trained.mean) > 0

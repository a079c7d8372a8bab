"""Sampled training: large bases, targets of any kind, reproducible runs, and errors that help."""

import flax.serialization
import jax
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import HilbertMismatchError, InvalidTrainingError, PoorOverlapWarning
from tests.driver.problems import CHAIN, HILBERT, ISING, ensemble, full_sum, logged, random_target

LARGE = nk.hilbert.Spin(0.5, 30)
COMPLEX = nk.models.RBM(param_dtype=complex)


def chains(hilbert=HILBERT, model=COMPLEX, seed=0, n_samples=256):
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=32)
    return nk.vqs.MCState(sampler, model, n_samples=n_samples, n_discard_per_chain=10, seed=seed)


def disturbed(state, seed, scale=0.1):
    """The same kind of state, with noise on its parameters."""
    leaves, structure = jax.tree.flatten(state.parameters)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noisy = [
        p + scale * jax.random.normal(k, p.shape, p.dtype)
        for p, k in zip(leaves, keys, strict=True)
    ]
    other = chains(state.hilbert, state.model, seed=seed)
    other.parameters = jax.tree.unflatten(structure, noisy)
    return other


@pytest.mark.thorough
@pytest.mark.parametrize(("loss", "sampling"), [("infidelity", "both"), ("mse", "target")])
def test_a_state_of_thirty_spins_learns_another(loss, sampling):
    target = disturbed(chains(LARGE), 1)
    driver = qs.driver.QSNTKDriver(
        target, optax.adam(0.01), variational_state=disturbed(target, 2, 0.03), loss=loss
    )
    assert driver.sampling == sampling
    data = logged(driver, 60)
    loss, fidelity = data["Loss"], data["fidelity"]
    assert np.mean(loss.Mean[-5:]) < 0.3 * loss.Mean[0]
    assert fidelity.Mean[-1] > fidelity.Mean[0]
    assert np.all((loss.Sigma > 0) & np.isfinite(loss.Sigma))


@pytest.mark.thorough
def test_markov_chains_and_exact_sums_agree_on_the_infidelity():
    target, state = (disturbed(chains(), seed, 0.3) for seed in (1, 2))
    psi, phi = state.to_array(), target.to_array()
    exact = 1 - abs(np.vdot(phi, psi)) ** 2
    for sampling in ("both", "target", "state"):
        driver = qs.driver.QSNTKDriver(
            target, optax.sgd(0.0), variational_state=state, loss="infidelity", sampling=sampling
        )
        loss = logged(driver, 30)["Loss"]
        error = np.sqrt(np.sum(loss.Sigma**2)) / 30
        assert abs(np.mean(loss.Mean) - exact) < 4.5 * error, sampling
        assert error < 0.1 * exact


@pytest.mark.thorough
def test_the_exact_infidelity_of_complex_states_is_that_of_vdot():
    state = full_sum(COMPLEX)
    target = random_target(seed=3)
    for sampled in (state, chains()):
        sampled.variables = state.variables
        driver = qs.driver.QSNTKDriver(
            target, optax.sgd(0.1), variational_state=sampled, loss="infidelity"
        )
        expected = 1 - abs(np.vdot(target.amplitudes, state.to_array())) ** 2
        assert driver.compute_loss_and_update()[0].mean == pytest.approx(expected, abs=1e-13)
    own = qs.targets.Target.from_state(state)
    driver = qs.driver.QSNTKDriver(own, optax.sgd(0.1), variational_state=state, loss="infidelity")
    assert abs(driver.compute_loss_and_update()[0].mean) < 1e-13


@pytest.mark.thorough
def test_a_target_evolved_by_netket_is_taken_as_it_then_is():
    evolved = disturbed(chains(n_samples=1024), 1, 0.2)
    tdvp = nk.experimental.driver.TDVP(
        ISING,
        evolved,
        nk.experimental.dynamics.Euler(dt=0.02),
        qgt=nk.optimizer.qgt.QGTJacobianDense(holomorphic=True, diag_shift=1e-3),
    )
    before = evolved.to_array()
    tdvp.run(0.04, show_progress=False)
    after = evolved.to_array()
    state = full_sum(COMPLEX)
    options = {"variational_state": state, "loss": "infidelity"}
    exact = qs.driver.QSNTKDriver(evolved, optax.sgd(0.1), **options)
    sampled = qs.driver.QSNTKDriver(
        evolved, optax.sgd(0.1), sampling="both", n_samples=4000, **options
    )
    tdvp.run(0.04, show_progress=False)  # the drivers' targets stay
    value = exact.compute_loss_and_update()[0].mean
    assert value == pytest.approx(1 - abs(np.vdot(after, state.to_array())) ** 2, abs=1e-12)
    assert abs(value - (1 - abs(np.vdot(before, state.to_array())) ** 2)) > 1e-4
    estimate = sampled.compute_loss_and_update()[0]
    assert abs(estimate.mean - value) < 4.5 * estimate.error_of_mean


@pytest.mark.thorough
def test_a_training_set_drawn_once_is_split_into_minibatches():
    options = {"sampling": "target", "n_train": 300, "batch_size": 50, "evaluate_every": 3}
    driver = qs.driver.QSNTKDriver(
        random_target(), optax.sgd(1e-3), variational_state=ensemble(), seed=2, **options
    )
    epoch = np.concatenate([driver.batch(i) for i in range(6)])
    assert sorted(epoch) == list(range(300))
    assert not np.array_equal(driver.batch(0), driver.batch(6))
    data = logged(driver, 7)
    assert data["loss/test"].iters.tolist() == [0, 3, 6]
    assert "loss/train" not in data
    weights = np.bincount(HILBERT.states_to_numbers(driver.configurations(300)), minlength=16) / 300
    expected = np.abs(driver.target.amplitudes) ** 2
    assert np.all(np.abs(weights - expected) < 4.5 * np.sqrt(expected / 300))


@pytest.mark.thorough
@pytest.mark.parametrize("case", ["independent draws", "drawn once"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(case):
    def driver(seed=1):
        if case == "drawn once":
            target, options = chains(seed=seed), {"n_train": 200, "batch_size": 40}
            options["sampling"] = "target"
        else:
            target, options = random_target(), {"loss": "infidelity", "sampling": "both"}
        state = full_sum(nk.models.RBM(param_dtype=complex))
        return qs.driver.QSNTKDriver(target, optax.adam(0.01), variational_state=state, **options)

    whole = driver()
    expected = logged(whole, 6)["Loss"].Mean
    first = driver()
    start = logged(first, 3)["Loss"].Mean
    # The new driver's own training set is another one, until the checkpoint brings the old.
    second = flax.serialization.from_bytes(driver(2), flax.serialization.to_bytes(first))
    rest = logged(second, 3)["Loss"].Mean
    np.testing.assert_allclose(np.concatenate([start, rest]), expected, rtol=1e-10)


@pytest.mark.thorough
def test_a_checkpoint_holds_the_chains_of_the_target():
    def driver(seed):
        options = {"variational_state": full_sum(COMPLEX), "loss": "infidelity", "sampling": "both"}
        return qs.driver.QSNTKDriver(chains(seed=seed), optax.sgd(0.1), **options)

    first = driver(1)
    first.run(2, show_progress=False)
    second = flax.serialization.from_bytes(driver(2), flax.serialization.to_bytes(first))
    assert np.array_equal(second._sampled_target.samples, first._sampled_target.samples)
    assert not np.array_equal(second._sampled_target.samples, driver(2)._sampled_target.samples)


@pytest.mark.thorough
def test_states_made_with_one_seed_are_sampled_independently():
    target, state = chains(seed=3), chains(seed=3)
    assert np.array_equal(target.samples, state.samples)
    driver = qs.driver.QSNTKDriver(
        target, optax.sgd(0.1), variational_state=state, loss="infidelity", sampling="both"
    )
    driver.reset_step()
    assert not np.array_equal(driver._sampled_target.samples, state.samples)
    assert np.array_equal(target.samples, chains(seed=3).samples)


@pytest.mark.thorough
def test_states_that_do_not_overlap_are_reported():
    up, down = (chains(n_samples=64) for _ in range(2))
    for state, sign in ((up, 4.0), (down, -4.0)):
        state.parameters = {**state.parameters, "visible_bias": sign * np.ones(4, complex)}
    driver = qs.driver.QSNTKDriver(
        up, optax.sgd(0.1), variational_state=down, loss="infidelity", sampling="both"
    )
    with pytest.warns(PoorOverlapWarning, match="more samples"):
        driver.compute_loss_and_update()


@pytest.mark.thorough
def test_diagnostics_look_at_the_samples():
    state = disturbed(chains(LARGE), 2)
    driver = qs.driver.QSNTKDriver(
        chains(LARGE), optax.sgd(0.01), variational_state=state, loss="infidelity"
    )
    data = logged(driver, 3, callback=qs.callbacks.NTKDiagnostics(every=1, n_samples=32))
    assert np.all(np.isfinite(data["ntk/drift"].values))
    assert "ntk/sharpness" not in data


@pytest.mark.thorough
def test_options_that_do_not_go_together_are_refused():
    target, state = random_target(), full_sum(COMPLEX)

    def make(**options):
        return qs.driver.QSNTKDriver(
            target, optax.sgd(0.1), **{"variational_state": state, **options}
        )

    for message, options in {
        "expected one of": {"sampling": "all"},
        "'both' is for the infidelity": {"sampling": "both"},
        "all members share": {"sampling": "state", "variational_state": ensemble()},
        "cannot be drawn once": {"sampling": "state", "n_train": 10},
        "n_samples=1": {"sampling": "target", "n_samples": 1},
        "without sampling": {"n_samples": 100},
        "control_variate='large'": {"sampling": "target", "control_variate": "large"},
        "cannot be sampled": {"sampling": "target", "loss": qs.losses.Energy(ISING)},
        "another target": {"sampling": "target", "loss": qs.losses.MSE(random_target(seed=9))},
        "n_train=1": {"sampling": "target", "n_train": 1},
        "batch_size=600": {"sampling": "target", "n_train": 500, "batch_size": 600},
    }.items():
        with pytest.raises(InvalidTrainingError, match=message):
            make(**options)
    with pytest.raises(InvalidTrainingError, match="one wave function"):
        qs.driver.QSNTKDriver(
            ensemble(), optax.sgd(0.1), variational_state=state, sampling="target"
        )
    with pytest.raises(HilbertMismatchError):
        qs.driver.QSNTKDriver(chains(LARGE), optax.sgd(0.1), variational_state=state)
    assert CHAIN.n_nodes == HILBERT.size

"""Whatever a finite driver logs or does to parameters is right, or an error or a warning says why it is not."""

import copy
import warnings

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import serialization

import netket_qsntk as qs
from netket_qsntk.driver.steps import decays_toward_start

HI = nk.hilbert.Spin(0.5, 4)
H = nk.operator.Ising(HI, nk.graph.Chain(4), h=0.7)
TARGET = qs.targets.ground_state(H)
RBM = nk.models.RBM()


class Shifted(nn.Module):
    """An RBM with another norm."""

    shift: float

    @nn.compact
    def __call__(self, x):
        return nk.models.RBM(param_dtype=complex)(x) + self.shift


class Flattening(nn.Module):
    """A convolution that takes no empty batch."""

    @nn.compact
    def __call__(self, x):
        z = nn.Conv(2, (3,), padding="CIRCULAR", param_dtype=float)(x.astype(float)[..., None])
        return nn.Dense(1, param_dtype=float)(nn.relu(z).reshape((z.shape[0], -1)))[..., 0]


def full(model=RBM, seed=0):
    return nk.vqs.FullSumState(HI, model, seed=seed)


def train(first, state, n_steps=2, optimizer=None, **options):
    log = nk.logging.RuntimeLog()
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    driver = qs.driver.QSNTKDriver(first, optimizer, variational_state=state, **options)
    driver.run(n_steps, out=log, show_progress=False)
    return log.data, driver


@pytest.mark.thorough
@pytest.mark.parametrize("first", [TARGET, H], ids=["infidelity", "energy"])
def test_losses_that_know_no_norm_do_not_depend_on_it(first):
    options = {"loss": "infidelity"} if first is TARGET else {}
    runs = [train(first, full(Shifted(c)), **options)[0] for c in (0.0, 800.0, -800.0)]
    for data in runs[1:]:
        for key in set(runs[0]) - {"wallclock"}:
            np.testing.assert_allclose(data[key].Mean, runs[0][key].Mean, rtol=1e-8)


@pytest.mark.thorough
def test_ensembles_of_any_norm_have_expectations_and_entropies():
    entropy = qs.observable.EntanglementEntropy(HI, [0, 1], n=2)
    plain, large = (qs.vqs.EnsembleState(HI, Shifted(c), 2, seed=0) for c in (0.0, 800.0))
    for observable in (H, entropy):
        assert large.expect(observable).mean == pytest.approx(plain.expect(observable).mean)
    alone = large.get_state(0).expect(entropy).mean
    assert alone == pytest.approx(plain.get_state(0).expect(entropy).mean)
    np.testing.assert_allclose(large.log_value(HI.all_states()).real.mean(), 800, atol=1)
    with pytest.raises(qs.errors.AmplitudesError, match="normalize=True"):
        large.to_array(normalize=False)


@pytest.mark.thorough
def test_a_gradient_that_is_no_number_does_not_reach_the_parameters():
    state = full(Shifted(800.0))
    before = state.parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", qs.errors.NotANumberWarning)
        with pytest.raises(qs.errors.NonFiniteError, match="before this step"):
            train(TARGET, state)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(state.parameters), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.thorough
@pytest.mark.parametrize("state", ["one", "ensemble"])
def test_networks_never_see_an_empty_batch(state):
    vs = full(Flattening()) if state == "one" else qs.vqs.EnsembleState(HI, Flattening(), 2, seed=0)
    data, _ = train(TARGET, vs)
    assert np.all(np.isfinite(data["fidelity"].Mean))


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["mse", "infidelity"])
def test_the_fidelity_is_that_over_the_whole_basis_whatever_is_sampled(loss):
    amplitudes = np.zeros(16)
    amplitudes[[0, 15]] = 1  # samples of this see two configurations
    cat = qs.targets.Target(HI, amplitudes)
    state = full()
    _, driver = train(cat, state, sampling="target", n_samples=64, n_train=8, loss=loss)
    exact = abs(np.vdot(cat.amplitudes, state.to_array())) ** 2
    driver.run(1, out=(log := nk.logging.RuntimeLog()), show_progress=False)
    assert log.data["fidelity"].Mean[0] == pytest.approx(exact, abs=1e-12)


@pytest.mark.thorough
def test_a_fidelity_that_nobody_can_know_is_not_logged_and_said():
    hilbert = nk.hilbert.Spin(0.5, 40)
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=4)
    target = nk.vqs.MCState(sampler, RBM, n_samples=16, seed=0)
    ensemble = qs.vqs.EnsembleState(hilbert, RBM, 2, seed=1)
    with pytest.warns(qs.errors.PoorOverlapWarning, match="fidelity/on_samples"):
        driver = qs.driver.QSNTKDriver(target, optax.sgd(0.1), variational_state=ensemble)
    log = nk.logging.RuntimeLog()
    driver.run(1, out=log, show_progress=False)
    assert "fidelity" not in log.data
    assert "fidelity/on_samples" in log.data


OPTIMIZERS = {
    "fromage": optax.fromage(0.01),
    "lars": optax.lars(0.1),
    "lamb": optax.lamb(0.01, weight_decay=0.1),
    "adafactor": optax.adafactor(0.01),
    "lbfgs": optax.lbfgs(),
    "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
    "polyak": optax.polyak_sgd(),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_that_ask_for_parameters_or_values_train_as_by_hand(name):
    optimizer, state, reference = OPTIMIZERS[name], full(), full()
    x, psi_t = jnp.asarray(HI.all_states()), jnp.asarray(TARGET.amplitudes)

    def loss(parameters):
        psi = jnp.exp(RBM.apply({"params": parameters}, x))
        return jnp.mean(jnp.abs(psi - psi_t) ** 2)

    parameters = reference.parameters
    memory = optimizer.init(parameters)
    for _ in range(3):
        value, gradient = jax.value_and_grad(loss)(parameters)
        known = {"value": value, "grad": gradient, "value_fn": loss}
        update = optax.with_extra_args_support(optimizer).update
        step, memory = update(gradient, memory, parameters, **known)
        parameters = optax.apply_updates(parameters, step)
    train(TARGET, state, 3, optimizer)
    for got, wanted in zip(
        jax.tree.leaves(state.parameters), jax.tree.leaves(parameters), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.thorough
def test_weight_decay_pulls_toward_the_start_and_scaled_steps_do_not():
    like = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(4)}
    decays = (
        optax.adamw(0.1),
        optax.chain(optax.clip_by_global_norm(0.5), optax.add_decayed_weights(0.1), optax.sgd(0.1)),
    )
    assert all(decays_toward_start(optimizer, like) for optimizer in decays)
    assert not any(decays_toward_start(optimizer, like) for optimizer in OPTIMIZERS.values())
    assert not decays_toward_start(optax.adam(0.1), like)
    # Nothing moves for some steps: what does then tells.
    late = optax.join_schedules([optax.constant_schedule(0.0), optax.constant_schedule(0.1)], [9])
    for wait in (lambda make: make(late), lambda make: optax.MultiSteps(make(0.1), 4)):
        assert decays_toward_start(wait(optax.adamw), like)
        assert not decays_toward_start(wait(optax.lamb), like)


@pytest.mark.thorough
def test_an_optimizer_that_asks_for_more_than_there_is_is_refused_by_name():
    complex_state = full(nk.models.RBM(param_dtype=complex))
    with pytest.raises(qs.errors.InvalidTrainingError, match="value_fn"):
        train(TARGET, complex_state, optimizer=optax.lbfgs())


@pytest.mark.thorough
def test_checkpoints_of_another_run_are_refused():
    def driver(n_members, n_train, seed=1):
        state = qs.vqs.EnsembleState(HI, qs.models.CosNet(8), n_members, seed=0)
        options = {"variational_state": state, "n_train": n_train, "seed": seed}
        return qs.driver.QSNTKDriver(TARGET, optax.sgd(0.1), **options)

    saved = serialization.to_bytes(driver(3, 8))
    serialization.from_bytes(driver(3, 8), saved)
    for other, names in (
        (driver(3, 12), "n_train=8.*n_train=12"),
        (driver(3, 8, seed=2), "split="),
        (driver(5, 8), "5"),
    ):
        with pytest.raises(qs.errors.CheckpointError, match=names):
            serialization.from_bytes(other, saved)


@pytest.mark.thorough
def test_a_driver_is_what_its_name_says_and_copies():
    for options in ({}, {"sampling": "target"}):
        driver = qs.driver.QSNTKDriver(TARGET, optax.sgd(0.1), variational_state=full(), **options)
        assert type(driver) is qs.driver.QSNTKDriver
        assert ("sampling='target'" in repr(driver)) == bool(options)
        again = copy.deepcopy(driver)
        again.run(1, show_progress=False)
        assert (again.step_count, driver.step_count) == (1, 0)


def test_the_callback_that_tunes_chunks_is_refused_by_name():
    driver = qs.driver.QSNTKDriver(TARGET, optax.sgd(0.1), variational_state=full())
    with pytest.raises(qs.errors.InvalidTrainingError, match="AutoChunkSize"):
        driver.run(1, callback=nk.callbacks.AutoChunkSize(), show_progress=False)


@pytest.mark.thorough
def test_operators_that_leave_the_sector_are_named():
    sector = nk.hilbert.Spin(0.5, 4, total_sz=0)
    ising = nk.operator.Ising(sector, nk.graph.Chain(4), h=0.8)
    ensemble = qs.vqs.EnsembleState(sector, RBM, 2, seed=0)
    calls = (
        lambda: ensemble.expect(ising),
        lambda: qs.targets.ground_state(ising),
        lambda: qs.losses.Energy(ising),
    )
    for call in calls:
        with pytest.raises(qs.errors.HamiltonianError, match=r"Ising.* leads out of .*total_sz"):
            call()

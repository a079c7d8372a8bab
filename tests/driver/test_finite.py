"""QSNTKDriver against hand-written training."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from tests.driver.problems import HILBERT, N_TRAIN, TARGET, ensemble, full_sum, logged, make
from tests.linearization import amplitudes

N_STEPS = 8


def train_by_hand(state, optimizer, n_steps, batches=None, loss="mse"):
    """Losses on the training and the test set and the fidelity, before each step; the last parameters."""
    train, test = TARGET.split_indices(N_TRAIN, 1)
    goal = jnp.asarray(TARGET.amplitudes)

    def mse(psi, index):
        return jnp.mean(jnp.abs(psi[index] - goal[index]) ** 2)

    def infidelity(psi, index):
        a, b = psi[index], goal[index]
        return 1 - jnp.abs(jnp.vdot(b, a)) ** 2 / (jnp.vdot(a, a) * jnp.vdot(b, b)).real

    value = {"mse": mse, "infidelity": infidelity}[loss]

    @jax.jit
    def one(p, displacement, memory, index):
        psi = amplitudes(state, {"params": p, **state.model_state})
        fidelity = jnp.abs(jnp.vdot(goal, psi)) ** 2 / jnp.vdot(psi, psi).real
        numbers = value(psi, index), value(psi, train), value(psi, test), fidelity

        def objective(q):
            return value(amplitudes(state, {"params": q, **state.model_state}), index)

        gradient = jax.tree.map(jnp.conj, jax.grad(objective)(p))
        update, memory = optimizer.update(gradient, memory, displacement)
        return (
            numbers,
            optax.apply_updates(p, update),
            optax.apply_updates(displacement, update),
            memory,
        )

    p = state.parameters
    displacement = jax.tree.map(jnp.zeros_like, p)
    memory = optimizer.init(displacement)
    rows = []
    for t in range(n_steps):
        index = train if batches is None else train[np.asarray(batches(t))]
        numbers, p, displacement, memory = one(p, displacement, memory, index)
        rows.append(numbers)
    return dict(
        zip(("Loss", "loss/train", "loss/test", "fidelity"), np.array(rows).T, strict=True)
    ), p


def same_parameters(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12), a, b)


OPTIMIZERS = {
    "sgd": optax.sgd(0.3),
    "adam": optax.adam(1e-2),
    "decay, clipping, momentum": optax.chain(
        optax.clip_by_global_norm(0.5), optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9)
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_ensemble_is_its_members_trained_separately_by_hand(name):
    vs = ensemble()
    members = [vs.get_state(i) for i in range(vs.n_members)]
    data = logged(make("finite", OPTIMIZERS[name], vs), N_STEPS)
    by_hand = [train_by_hand(state, OPTIMIZERS[name], N_STEPS) for state in members]
    for key in by_hand[0][0]:
        values = np.stack([numbers[key] for numbers, _ in by_hand])
        np.testing.assert_allclose(data[key].Mean, values.mean(0), rtol=1e-10, err_msg=key)
        error = values.std(0, ddof=1) / np.sqrt(len(members))
        np.testing.assert_allclose(data[key].Sigma, error, rtol=1e-8, err_msg=key)
        np.testing.assert_allclose(data[key].Variance, values.var(0, ddof=1), rtol=1e-8)
    for i, (_, parameters) in enumerate(by_hand):
        same_parameters(vs.get_state(i).parameters, parameters)


MODELS = {
    "complex parameters": nk.models.RBM(alpha=1, param_dtype=complex),
    "real ψ": nk.models.RBM(alpha=1),
    "shared": qs.models.CosNet(8, 1.0, 2.0, parts="shared"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["mse", "infidelity"])
@pytest.mark.parametrize("name", MODELS)
def test_a_single_state_is_trained_as_by_hand(name, loss):
    state = full_sum(MODELS[name])
    numbers, parameters = train_by_hand(state, optax.sgd(0.1), N_STEPS, loss=loss)
    data = logged(make("finite", optax.sgd(0.1), state, loss=loss), N_STEPS)
    for key, values in numbers.items():
        np.testing.assert_allclose(data[key].Mean, values, rtol=1e-9, atol=1e-13, err_msg=key)
        assert not np.any(data[key].Sigma)
    same_parameters(state.parameters, parameters)


@pytest.mark.thorough
def test_a_sampled_state_is_trained_on_the_same_training_set():
    model = MODELS["complex parameters"]
    full = full_sum(model)
    sampled = nk.vqs.MCState(
        nk.sampler.MetropolisLocal(HILBERT), model, n_samples=16, variables=full.variables
    )
    ours, theirs = (logged(make("finite", state=state), 3) for state in (sampled, full))
    np.testing.assert_allclose(ours["Loss"].Mean, theirs["Loss"].Mean, rtol=1e-12)
    same_parameters(sampled.parameters, full.parameters)


@pytest.mark.thorough
def test_chunks_do_not_change_the_result():
    whole, chunked = ensemble(), ensemble()
    chunked.chunk_size = 3
    a, b = (logged(make("finite", state=vs, loss="infidelity"), 3) for vs in (whole, chunked))
    for key in ("Loss", "loss/test", "fidelity"):
        np.testing.assert_allclose(a[key].Mean, b[key].Mean, rtol=1e-12)
    same_parameters(whole.parameters, chunked.parameters)


@pytest.mark.thorough
def test_minibatches_are_trained_as_by_hand_and_are_fixed_by_seed_and_step():
    vs = ensemble(n_members=1)
    state = vs.get_state(0)
    driver = make("finite", state=vs, batch_size=4, evaluate_every=3)
    batches = [np.asarray(driver.batch(t)) for t in range(2 * (N_TRAIN // 4))]
    again = make("finite", batch_size=4)
    for t, batch in enumerate(batches):
        np.testing.assert_array_equal(batch, again.batch(t))
        assert len(set(batch.tolist())) == 4
    for epoch in (batches[:2], batches[2:]):  # 10 = 2·4 + 2: two are left out of each epoch
        assert len({*epoch[0].tolist(), *epoch[1].tolist()}) == 8
    assert {*batches[0].tolist()} != {*batches[2].tolist()}
    other = make("finite", batch_size=4, seed=2)
    assert {*batches[0].tolist()} != {*np.asarray(other.batch(0)).tolist()}

    numbers, parameters = train_by_hand(state, optax.sgd(0.3), N_STEPS, batches=driver.batch)
    data = logged(driver, N_STEPS)
    np.testing.assert_allclose(data["Loss"].Mean, numbers["Loss"], rtol=1e-10)
    for key in ("loss/train", "loss/test", "fidelity"):
        np.testing.assert_array_equal(data[key].iters, [0, 3, 6])
        np.testing.assert_allclose(data[key].Mean, numbers[key][[0, 3, 6]], rtol=1e-10)
    same_parameters(vs.get_state(0).parameters, parameters)


@pytest.mark.thorough
def test_training_the_readout_leaves_every_other_parameter_alone():
    vs = ensemble()
    before = jax.tree.map(np.array, vs.parameters)
    optimizer = optax.chain(optax.add_decayed_weights(0.5), optax.adam(0.1))
    data = logged(make("finite", optimizer, vs, trainable="readout"), 5)
    assert data["Loss"].Mean[-1] < data["Loss"].Mean[0]
    for part in ("real", "imag"):
        for name, leaf in before[part]["hidden"].items():
            np.testing.assert_array_equal(vs.parameters[part]["hidden"][name], leaf)
        moved = vs.parameters[part]["readout"]["kernel"] - before[part]["readout"]["kernel"]
        assert np.all(np.abs(moved) > 0)


@pytest.mark.thorough
def test_a_new_optimizer_takes_over_with_a_fresh_state():
    vs = ensemble()
    driver = make("finite", optax.sgd(0.3, momentum=0.9), vs)
    logged(driver, 2)
    middle = [vs.get_state(i) for i in range(3)]
    driver.optimizer = OPTIMIZERS["decay, clipping, momentum"]
    assert driver.optimizer is OPTIMIZERS["decay, clipping, momentum"]
    driver.optimizer = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    logged(driver, 1)
    for i, state in enumerate(middle):  # each member is clipped by itself
        step = jax.tree.map(jnp.subtract, vs.get_state(i).parameters, state.parameters)
        assert float(optax.tree.norm(step)) == pytest.approx(1e-3)


@pytest.mark.thorough
def test_an_energy_is_minimised_over_the_whole_basis():
    hamiltonian = nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=0.7)
    state = full_sum(MODELS["complex parameters"])
    reference = full_sum(MODELS["complex parameters"])
    loss = qs.losses.Energy(hamiltonian)
    driver = make("finite", optax.sgd(0.01), state, loss=loss, n_train=None)
    data = logged(driver, 3)
    for i in range(3):
        energy, gradient = reference.expect_and_grad(hamiltonian)
        assert data["Loss"].Mean[i] == pytest.approx(float(energy.mean.real), rel=1e-10)
        reference.parameters = jax.tree.map(
            lambda p, g: p - 0.01 * g, reference.parameters, gradient
        )
    same_parameters(state.parameters, reference.parameters)

"""LinearizedDriver against gradient steps on the parameters of the same networks, linearised."""

import jax
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from tests.driver.problems import (
    FERMIONS,
    HILBERT,
    ISING,
    N_TRAIN,
    TARGET,
    ensemble,
    full_sum,
    logged,
    make,
    random_target,
)
from tests.linearization import train_linearization

N_STEPS = 12
MOMENTUM = optax.sgd(0.2, momentum=0.7)


def expected(states, target, n_train, optimizer, n_steps=N_STEPS):
    """Logged key -> (mean, standard error) over members, and ψ (members, steps, N), by brute force."""
    train, test = target.split_indices(n_train, 1)
    psi = train_linearization(states, target, train, optimizer, n_steps)
    squares = np.abs(psi - target.amplitudes) ** 2
    values = {
        "loss/train": squares[..., train].mean(-1),
        "loss/test": squares[..., test].mean(-1),
        "fidelity": np.abs(psi @ target.amplitudes.conj()) ** 2 / np.sum(np.abs(psi) ** 2, -1),
    }
    values["Loss"] = values["loss/train"]
    m = len(states)
    return {
        key: (v.mean(0), v.std(0, ddof=1) / np.sqrt(m) if m > 1 else 0 * v[0])
        for key, v in values.items()
    }, psi


def check(data, brute, steps=slice(0, N_STEPS)):
    for key, (mean, error) in brute.items():
        np.testing.assert_allclose(data[key].Mean, mean[steps], rtol=1e-8, err_msg=key)
        np.testing.assert_allclose(
            data[key].Sigma, error[steps], rtol=1e-8, atol=1e-15, err_msg=key
        )


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "shared"])
def test_an_ensemble_equals_its_members_linearised_by_brute_force(parts):
    vs = ensemble(parts=parts)
    driver = make("linearized", MOMENTUM, vs)
    members = [vs.get_state(i) for i in range(vs.n_members)]
    brute, _ = expected(members, TARGET, N_TRAIN, MOMENTUM)
    check(logged(driver, N_STEPS), brute)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "hilbert"),
    [
        (nk.models.RBM(alpha=1, param_dtype=complex), HILBERT),
        (nk.models.RBM(alpha=1), FERMIONS),
        (nk.models.RBMModPhase(alpha=1), HILBERT),
    ],
    ids=["complex RBM", "real RBM on fermions", "RBM with phase"],
)
def test_netket_models_equal_their_brute_force_linearisation(model, hilbert):
    target = random_target(hilbert)
    n_train = N_TRAIN if hilbert is HILBERT else 3
    state = full_sum(model, hilbert)
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1e-2))
    driver = qs.driver.LinearizedDriver(
        target, optimizer, variational_state=state, n_train=n_train, seed=1
    )
    brute, _ = expected([state], target, n_train, optimizer)
    check(logged(driver, N_STEPS), brute)


@pytest.mark.thorough
def test_training_the_readout_alone_is_training_with_a_mask():
    vs = ensemble(parts="shared")
    driver = make("linearized", optax.sgd(0.3), vs, trainable="readout")

    def hidden(parameters):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "readout" not in str(path), parameters
        )

    masked = optax.chain(optax.sgd(0.3), optax.masked(optax.set_to_zero(), hidden))
    members = [vs.get_state(i) for i in range(vs.n_members)]
    brute, _ = expected(members, TARGET, N_TRAIN, masked)
    check(logged(driver, N_STEPS), brute)
    everything = make("linearized", optax.sgd(0.3), vs).predict([N_STEPS])
    assert abs(everything["Loss"][0] / brute["Loss"][0][-1] - 1) > 1e-3


@pytest.mark.thorough
def test_observables_are_those_of_the_linearised_networks():
    vs = ensemble()
    before = jax.tree.map(np.array, vs.parameters)
    driver = make("linearized", MOMENTUM, vs)
    members = [vs.get_state(i) for i in range(vs.n_members)]
    _, psi = expected(members, TARGET, N_TRAIN, MOMENTUM)
    data = logged(driver, N_STEPS, obs={"energy": ISING})
    dense = ISING.to_dense()
    norm = np.sum(np.abs(psi) ** 2, -1)
    energies = np.einsum("mtx,xy,mty->mt", psi.conj(), dense, psi).real / norm
    np.testing.assert_allclose(data["energy"].Mean, energies.mean(0)[:N_STEPS], rtol=1e-8)
    state = driver.linearized_state()
    np.testing.assert_allclose(state.to_array(normalize=False), psi[:, N_STEPS], atol=1e-10)
    jax.tree.map(np.testing.assert_array_equal, before, vs.parameters)

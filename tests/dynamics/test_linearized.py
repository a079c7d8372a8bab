"""LinearizedDynamics against gradient steps on the parameters of the linearised network."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from tests.dynamics.oracles import FERMIONS, LINEAR, SPINS, encoding, random_target
from tests.linearization import train_linearization

N_STEPS = 30
STEPS = np.array([0, 1, 2, 3, 30])


def rbm(hilbert, dtype):
    return nk.vqs.FullSumState(hilbert, nk.models.RBM(alpha=1, param_dtype=dtype), seed=3)


def ours(hilbert, parts, activation="erf"):
    model = qs.models.WideMLP(
        widths=(5,), activation=activation, sigma_b=0.3, parts=parts, encoding=encoding(hilbert)
    )
    return nk.vqs.FullSumState(hilbert, model, seed=3)


STATES = {
    "independent": lambda: ours(SPINS, "independent"),
    "shared": lambda: ours(SPINS, "shared"),
    "real": lambda: ours(SPINS, "real"),
    "fermions": lambda: ours(FERMIONS, "shared"),
    "complex parameters": lambda: rbm(SPINS, complex),
    "real RBM": lambda: rbm(FERMIONS, float),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "whole"), [*((name, False) for name in STATES), ("shared", True), ("real RBM", True)]
)
def test_curves_are_those_of_training_the_linearization(name, whole):
    state = STATES[name]()
    target = random_target(state.hilbert)
    n_train = state.hilbert.n_states if whole else 2 * state.hilbert.n_states // 3
    train, test = target.split(n_train, seed=1)
    index = np.concatenate(target.split_indices(n_train, seed=1))
    kernel = qs.kernels.EmpiricalKernel(state)
    rate = 0.6 * qs.kernels.max_learning_rate(kernel, train.states)
    optimizer = LINEAR["momentum"](rate)
    psi = train_linearization([state], target, index[:n_train], optimizer, N_STEPS)[0, STEPS]
    error = (psi - target.amplitudes)[:, index]
    dynamics = qs.dynamics.LinearizedDynamics(kernel, train, test, optimizer=optimizer)
    for found, expected in zip(
        dynamics.error(STEPS), (error[:, :n_train], error[:, n_train:]), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-10)
    curves = dynamics.curves(STEPS)
    squares = np.abs(error) ** 2
    np.testing.assert_allclose(curves.train, squares[:, :n_train].mean(1), atol=1e-10)
    if whole:
        assert np.isnan(curves.test).all()
    else:
        np.testing.assert_allclose(curves.test, squares[:, n_train:].mean(1), atol=1e-10)
    overlap = np.abs(psi @ target.amplitudes.conj()) ** 2
    np.testing.assert_allclose(curves.fidelity, overlap / np.sum(np.abs(psi) ** 2, 1), atol=1e-10)


@pytest.mark.thorough
def test_parts_that_mix_only_between_training_and_test_set_are_not_taken_apart():
    """Θ₁₂ vanishes on the training set alone: ψ₂ of the test set moves with ψ₁ all the same."""

    def log_psi(variables, x):
        a, b = variables["params"]["theta"]
        return jnp.log(jnp.where(x[:, 0] > 0, a + 0j, b + 1j * a))

    parameters = {"theta": jnp.array([0.3, 0.8])}
    kernel = qs.kernels.EmpiricalKernel((log_psi, {"params": parameters}))
    x = SPINS.all_states()
    seen = np.asarray(x[:, 0]) > 0
    target = random_target(SPINS)
    train, test = (qs.targets.Dataset(x[s], target.amplitudes[s]) for s in (seen, ~seen))
    assert kernel.qsntk(train.states).is_decoupled()
    dynamics = qs.dynamics.LinearizedDynamics(kernel, train, test, learning_rate=0.1)
    # The only gradient is that of θ₀, -2·mean Re(ψ_T - θ₀), and ψ₂ = θ₀ on the test set.
    theta = 0.3 + 0.2 * np.mean(train.amplitudes.real - 0.3)
    error = dynamics.error([1])[1][0]
    np.testing.assert_allclose(error, 0.8 + 1j * theta - test.amplitudes, atol=1e-12)


@pytest.mark.thorough
def test_a_network_that_does_not_depend_on_its_parameters_stays():
    def log_psi(variables, x):
        return 0 * x @ variables["params"]["w"] + 0j

    kernel = qs.kernels.EmpiricalKernel((log_psi, {"params": {"w": np.ones(4)}}))
    target = random_target(SPINS)
    train, test = target.split(10, seed=1)
    dynamics = qs.dynamics.LinearizedDynamics(kernel, train, test, learning_rate=0.1)
    curves = dynamics.curves([0, 5, np.inf])
    expected = np.mean(np.abs(1 - train.amplitudes) ** 2)
    np.testing.assert_allclose(curves.train, 3 * [expected], rtol=1e-14)
    np.testing.assert_allclose(dynamics.error([4])[1][0], 1 - test.amplitudes, rtol=1e-14)

"""LinearizedDriver predicts the next steps of any NetKet model, up to the square of the learning rate."""

import jax
import netket as nk
import numpy as np
import optax
import pytest
from flax import nnx

import netket_qsntk as qs
from tests.driver.problems import FERMIONS, HILBERT, N_TRAIN, logged, random_target


class Nnx(nnx.Module):
    """A complex log ψ in flax's other module system."""

    def __init__(self, sites, *, rngs):
        self.hidden = nnx.Linear(sites, 6, rngs=rngs, param_dtype=float)
        self.out = nnx.Linear(6, 2, rngs=rngs, param_dtype=float)

    def __call__(self, x):
        re, im = jax.numpy.moveaxis(self.out(jax.numpy.tanh(self.hidden(x.astype(float)))), -1, 0)
        return re + 1j * im


MODELS = {
    "RBM": lambda hilbert: nk.models.RBM(),
    "RBMModPhase": lambda hilbert: nk.models.RBMModPhase(),
    "complex parameters": lambda hilbert: nk.models.RBM(param_dtype=complex),
    "nnx": lambda hilbert: Nnx(hilbert.size, rngs=nnx.Rngs(0)),
}
STEPS = 4


def curves(state, target, rate, optimizer):
    """Logged training loss, test loss and fidelity of both drivers: (2, keys, steps)."""
    keys = ("loss/train", "loss/test", "fidelity")
    options = {"n_train": N_TRAIN if len(target.amplitudes) > N_TRAIN else 3, "seed": 1}
    predicted = qs.driver.LinearizedDriver(
        target, optimizer(rate), variational_state=state, **options
    ).predict(np.arange(STEPS))
    initial = jax.tree.map(np.array, state.parameters)
    driver = qs.driver.QSNTKDriver(target, optimizer(rate), variational_state=state, **options)
    data = logged(driver, STEPS)
    state.parameters = initial
    return np.array([[predicted[k] for k in keys], [data[k].Mean for k in keys]])


@pytest.mark.thorough
@pytest.mark.parametrize("hilbert", [HILBERT, FERMIONS], ids=["spins", "fermions"])
@pytest.mark.parametrize("name", MODELS)
def test_the_error_of_the_prediction_falls_like_the_square_of_the_learning_rate(name, hilbert):
    state = nk.vqs.FullSumState(hilbert, MODELS[name](hilbert), seed=3)
    target = random_target(hilbert)
    error = {}
    for rate in (2e-3, 1e-3):
        predicted, trained = curves(state, target, rate, optax.sgd)
        error[rate] = np.abs(predicted - trained)
        np.testing.assert_allclose(predicted[:, 0], trained[:, 0], rtol=1e-12)
    moved = np.abs(trained[:, -1] - trained[:, 0])
    assert np.all(error[1e-3][:, -1] < 0.05 * moved)
    ratio = error[2e-3][:, 1:] / error[1e-3][:, 1:]
    assert np.all((ratio > 3.4) & (ratio < 4.6)), ratio


@pytest.mark.thorough
def test_momentum_and_schedules_are_followed_too():
    state = nk.vqs.FullSumState(HILBERT, nk.models.RBMModPhase(), seed=3)

    def optimizer(rate):
        return optax.sgd(optax.exponential_decay(rate, 1, 0.7), momentum=0.5, nesterov=True)

    error = []
    for rate in (2e-3, 1e-3):
        predicted, trained = curves(state, random_target(), rate, optimizer)
        error.append(np.abs(predicted - trained)[:, 1:])
    ratio = error[0] / error[1]
    assert np.all((ratio > 3.4) & (ratio < 4.6)), ratio

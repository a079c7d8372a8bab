"""Minibatch training at infinite width against finite networks and against a loop by hand."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 6)
TARGET = qs.targets.quench(
    nk.operator.Ising(HI, nk.graph.Chain(6), h=0.5), initial="plus", time=0.8
)
OPTIONS = {"n_train": 40, "batch_size": 8, "seed": 3}


def model(width):
    return qs.models.WideMLP(widths=(width,), activation="erf", sigma_w=0.7, sigma_b=0.3)


def driver(rate=2.0, **options):
    state = qs.vqs.InfiniteState(HI, model(1))
    return qs.driver.InfiniteWidthDriver(
        TARGET, optax.sgd(rate), variational_state=state, **(OPTIONS | {"n_members": 6} | options)
    )


@pytest.mark.thorough
def test_steps_are_those_taken_by_hand_on_the_drivers_batches() -> None:
    d = driver()
    psi = np.asarray(d.state.parameters["amplitudes"])
    train, test = TARGET.split_indices(40, 3)
    ntk = np.asarray(qs.kernels.infinite_width(model(1)).ntk(HI.all_states()))
    for step in range(12):
        batch = train[np.asarray(d.batch(step))]
        error = psi[:, batch] - TARGET.amplitudes[batch]
        psi = psi - 2.0 * (2 / 8) * error @ ntk[batch]
    predicted = d.predict([0, 12])
    log = nk.logging.RuntimeLog()
    d.run(12, out=log, show_progress=False)
    np.testing.assert_allclose(d.state.parameters["amplitudes"], psi, atol=1e-12)
    for key, rows in (("loss/train", train), ("loss/test", test)):
        losses = np.mean(np.abs(psi[:, rows] - TARGET.amplitudes[rows]) ** 2, axis=1)
        np.testing.assert_allclose(predicted[key][1], losses.mean(), rtol=1e-10)
    np.testing.assert_allclose(log.data["loss/test"].Mean[0], predicted["loss/test"][0])


@pytest.mark.thorough
def test_wide_networks_with_the_same_seed_follow_the_prediction() -> None:
    state = qs.vqs.EnsembleState(HI, model(4096), n_members=4, seed=0)
    finite = qs.driver.QSNTKDriver(TARGET, optax.sgd(2.0), variational_state=state, **OPTIONS)
    log = nk.logging.RuntimeLog()
    finite.run(41, out=log, show_progress=False)
    curve = driver(n_members=64).predict(np.arange(41))
    found = log.data["loss/test"]
    error = np.hypot(found.Sigma, curve["loss/test/error"])
    off = np.abs(found.Mean - curve["loss/test"])
    assert np.all(off < 4 * error + 0.05 * curve["loss/test"])


@pytest.mark.thorough
def test_a_batch_of_the_whole_set_is_solved_and_other_losses_have_none() -> None:
    assert "closed form" in repr(driver(batch_size=40, n_members=None))
    assert "minibatches" in repr(driver())
    with pytest.raises(qs.errors.InvalidTrainingError, match="batch_size"):
        driver(loss="infidelity")
    assert jnp.isfinite(driver().predict([3])["loss/train"]).all()

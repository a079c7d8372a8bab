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


BATCHES = 16
"""Sequences of batches, and independent ensembles with them."""
STEPS = np.arange(0, 25, 6)
COSINES = 0.1, 2.0
"""σ_a, σ_w: the mean of the initial networks, zero, and their spread leave losses of the same size."""


def jackknife(statistic, *curves):
    """A statistic of curves (sequences of batches, …), and its standard error."""
    rest = [statistic(*(np.delete(c, s, 0) for c in curves)) for s in range(BATCHES)]
    return statistic(*curves), np.sqrt((BATCHES - 1) * np.var(rest, axis=0))


def between_batches(curve, members):
    """Variance between sequences of batches of the loss that is averaged over infinitely many networks."""
    return curve[:, 0].var(0, ddof=1) - curve[:, 1].mean(0) / members


def of_one_network(curve, members):
    """Variance of the loss of one network, over sequences of batches and initial networks."""
    return between_batches(curve, members) + curve[:, 1].mean(0)


@pytest.mark.slow
def test_networks_have_the_predicted_mean_and_spread_over_batches() -> None:
    members, drawn = 16, 64
    kernel = qs.kernels.infinite_width(qs.models.CosNet(1, *COSINES))
    known = qs.learning.levels(kernel, HI)
    rate = 0.5 * qs.learning.max_stochastic_rate(known, 4)

    def of_networks(seed):
        state = qs.vqs.EnsembleState(
            HI, qs.models.CosNet(4096, *COSINES), n_members=members, seed=seed
        )
        finite = qs.driver.QSNTKDriver(
            TARGET, optax.sgd(rate), variational_state=state, batch_size=4, seed=seed,
            evaluate_every=6,
        )  # fmt: skip
        log = nk.logging.RuntimeLog()
        finite.run(25, out=log, show_progress=False)
        return log.data["loss/train"].Mean, log.data["loss/train"].Variance

    def predicted(seed, **options):
        state = qs.vqs.InfiniteState(HI, qs.models.CosNet(1, *COSINES))
        infinite = qs.driver.InfiniteWidthDriver(
            TARGET, optax.sgd(rate), variational_state=state, seed=seed, **options
        )
        curve = infinite.predict(STEPS)
        return curve["loss/train"], drawn * curve.get("loss/train/error", np.zeros(5)) ** 2

    seeds = range(BATCHES)
    found = np.array([of_networks(s) for s in seeds])
    theory = np.array([predicted(s, batch_size=4, n_members=drawn) for s in seeds])

    ratio, error = jackknife(lambda f, t: f[:, 0].mean(0) / t[:, 0].mean(0), found, theory)
    assert np.all(np.abs(ratio - 1) < 4 * error)
    assert np.all(error < 0.03)
    whole, _ = predicted(0)
    assert np.all(np.abs(found[:, 0].mean(0) / whole - 1)[1:] > 0.08 + 4 * error[1:])

    # From the first batch on: before, all sequences have the same networks.
    found, theory = found[..., 1:], theory[..., 1:]
    ratio, error = jackknife(
        lambda f, t: between_batches(f, members) / between_batches(t, drawn), found, theory
    )
    assert np.all(np.abs(ratio - 1) < 4 * error)
    assert np.all(error < 0.4)
    ratio, error = jackknife(
        lambda f, t: of_one_network(f, members) / of_one_network(t, drawn), found, theory
    )
    # Sixteen numbers tell their error badly: it is no less than that of the variance of Gaussian numbers.
    error = np.maximum(error, np.sqrt(2 / (BATCHES * members)))
    assert np.all(np.abs(ratio - 1) < 4 * error)
    assert np.all(error < 0.2)
    # Batch by batch: what one sequence does to networks is what it does to the prediction.
    for f, t in zip(found[:, 0].T, theory[:, 0].T, strict=True):
        assert np.corrcoef(f, t)[0, 1] > 0.75

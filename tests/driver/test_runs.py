"""What the three drivers have in common as NetKet drivers."""

import json

import jax
import netket as nk
import numpy as np
import optax
import pytest
from flax import serialization

import netket_qsntk as qs
from tests.driver.problems import (
    DRIVERS,
    HILBERT,
    ISING,
    KEYS,
    N_TRAIN,
    TARGET,
    ensemble,
    full_sum,
    logged,
    make,
)

MOMENTUM = optax.sgd(0.2, momentum=0.8)


def numbers(data):
    """Means and errors of all statistics in a log."""
    return {
        (key, what): np.asarray(getattr(history, what))
        for key, history in data.items()
        if key not in ("wallclock", "diagnostics")
        for what in ("Mean", "Sigma", "Variance")
    }


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], err_msg=str(key), **tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_all_log_the_same_keys_and_types_at_the_same_steps_to_every_logger(kind, tmp_path):
    driver = make(kind, MOMENTUM, evaluate_every=2)
    runtime, file = nk.logging.RuntimeLog(), nk.logging.JsonLog(str(tmp_path / "log"))
    driver.run(5, out=(runtime, file), show_progress=False)
    for key in KEYS:
        history = runtime.data[key]
        assert isinstance(history, nk.utils.History)
        every = key in ("Loss", "loss/train")
        np.testing.assert_array_equal(history.iters, range(5) if every else [0, 2, 4])
        for part in ("Mean", "Sigma", "Variance"):
            assert getattr(history, part).dtype == np.float64
    np.testing.assert_array_equal(runtime.data["Loss"].Mean, runtime.data["loss/train"].Mean)
    more = {"loss/train/mean_part", "loss/train/variance_part", "loss/test/mean_part"}
    more.add("loss/test/variance_part")
    expected = {*KEYS, "wallclock"} | (more if kind == "infinite" else set())
    assert set(runtime.data) == expected
    saved = json.loads((tmp_path / "log.log").read_text())
    assert saved["Loss"]["Mean"] == pytest.approx(runtime.data["Loss"].Mean.tolist())


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["linearized", "infinite"])
def test_predict_gives_what_run_logs_at_any_steps(kind):
    driver = make(kind, MOMENTUM)
    curve = driver.predict([39, 0, 7, np.inf])  # beyond the first block of a run
    data = logged(driver, 40)
    np.testing.assert_array_equal(curve["steps"], [39, 0, 7, np.inf])
    for key in set(data) - {"wallclock"}:
        np.testing.assert_allclose(curve[key][:3], data[key].Mean[[39, 0, 7]], rtol=1e-9)
        if kind == "linearized":
            error = curve[f"{key}/error"][:3]
            np.testing.assert_allclose(error, data[key].Sigma[[39, 0, 7]], rtol=1e-7)
        assert curve[key].shape == (4,)
    np.testing.assert_allclose(curve["loss/train"][3], 0, atol=1e-10)
    if kind == "infinite":
        for name in ("train", "test"):
            parts = curve[f"loss/{name}/mean_part"] + curve[f"loss/{name}/variance_part"]
            np.testing.assert_allclose(parts, curve[f"loss/{name}"], rtol=1e-14)


@pytest.mark.thorough
@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("kind", DRIVERS)
def test_two_runs_are_one_and_a_checkpoint_continues_identically(kind, batch_size):
    if batch_size and kind != "finite":
        pytest.skip("closed forms are for the whole training set")
    options = {"optimizer": MOMENTUM, "batch_size": batch_size}
    obs = {"energy": ISING}
    whole = numbers(logged(make(kind, **options), 7, obs=obs))
    driver = make(kind, **options)
    log = nk.logging.RuntimeLog()
    driver.run(3, out=log, obs=obs, show_progress=False)
    saved = serialization.to_bytes(driver)
    driver.run(4, out=log, obs=obs, show_progress=False)
    np.testing.assert_array_equal(log.data["Loss"].iters, range(7))
    assert_same(numbers(log.data), whole, rtol=1e-9, atol=1e-12)

    fresh = make(kind, state=ensemble(seed=99), **options)  # other networks, until it is restored
    restored = serialization.from_bytes(fresh, saved)
    assert restored.step_count == 3
    rest = logged(restored, 4, obs=obs)
    np.testing.assert_array_equal(rest["Loss"].iters, range(3, 7))
    assert_same(numbers(rest), {k: v[3:] for k, v in whole.items()}, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        restored.state.to_array(normalize=False),
        driver.state.to_array(normalize=False),
        rtol=1e-10,
        atol=1e-13,
    )


class Recorder(nk.callbacks.AbstractCallback, mutable=True):
    """Counts the hooks and optionally fails."""

    calls: list = nk.utils.struct.field(pytree_node=False, serialize=False)
    fail_at: int | None = nk.utils.struct.field(pytree_node=False, serialize=False)

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def before_parameter_update(self, step, log_data, driver):
        self.calls.append((step, float(log_data["Loss"].mean)))
        log_data["diagnostics"] = {"twice": 2 * float(log_data["Loss"].mean)}
        if step == self.fail_at:
            raise RuntimeError("stop here")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_callbacks_stop_and_extend_a_run(kind):
    recorder = Recorder()
    patience = nk.callbacks.EarlyStopping(min_delta=10.0, patience=2)
    data = logged(make(kind), 50, callback=[recorder, patience])
    steps = len(data["Loss"].iters)
    assert 3 <= steps <= 4  # no improvement of 10 ever
    np.testing.assert_allclose(data["diagnostics/twice"], 2 * np.array(data["Loss"].Mean))
    assert recorder.calls == list(enumerate(data["Loss"].Mean))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
@pytest.mark.filterwarnings("ignore::netket_qsntk.errors.UnstableLearningRateWarning")
def test_an_infinite_loss_stops_the_run_where_asked_for(kind):
    driver = make(kind, optax.sgd(1e6), ensemble(n_members=1, width=32))
    data = logged(driver, 200, callback=nk.callbacks.InvalidLossStopping())
    losses = np.asarray(data["Loss"].Mean)
    assert len(losses) < 200
    assert np.isfinite(losses[:-1]).all()
    assert not np.isfinite(losses[-1])


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_an_exception_leaves_log_and_state_usable(kind):
    whole = numbers(logged(make(kind, MOMENTUM), 8))
    driver = make(kind, MOMENTUM)
    log = nk.logging.RuntimeLog()
    with pytest.raises(RuntimeError, match="stop here"):
        driver.run(8, out=log, callback=Recorder(fail_at=2), show_progress=False)
    np.testing.assert_array_equal(log.data["Loss"].iters, [0, 1])
    assert np.isfinite(driver.state.to_array(normalize=False)).all()
    driver.run(6, out=log, show_progress=False)
    assert_same(numbers(log.data), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_observables_are_logged_beside_the_losses_before_each_update(kind, capsys):
    if kind == "infinite":
        states = [qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8, 1.0, 2.0))]
    else:
        states = [ensemble(), full_sum(nk.models.RBM(alpha=1, param_dtype=complex))]
    for state in states:
        start = state.expect(ISING)
        driver = make(kind, optax.sgd(0.02), state)
        log = nk.logging.RuntimeLog()
        driver.run(3, out=log, obs={"energy": ISING}, step_size=2, show_progress=True)
        energy = log.data["energy"]
        np.testing.assert_array_equal(energy.iters, [0, 2])
        assert energy.Mean[0] == pytest.approx(float(np.real(start.mean)))
        assert energy.Mean[1] != energy.Mean[0]
        assert "3/3" in capsys.readouterr().err  # the progress bar
        assert driver.step_count == 3


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_the_whole_basis_as_training_set_leaves_the_test_loss_out(kind):
    driver = make(kind, n_train=None)
    data = logged(driver, 2)
    assert set(KEYS) - set(data) == {"loss/test"}
    assert len(driver.test) == 0
    if kind != "finite":
        curve = driver.predict([0, np.inf])
        assert curve["fidelity"][1] == pytest.approx(1)


def test_a_netket_state_serves_as_target():
    state = full_sum(nk.models.RBM(alpha=1, param_dtype=complex), seed=8)
    driver = qs.driver.QSNTKDriver(
        state, optax.sgd(0.1), variational_state=ensemble(), n_train=N_TRAIN, seed=1
    )
    np.testing.assert_allclose(abs(np.vdot(driver.target.amplitudes, state.to_array())), 1)


def test_all_drivers_take_their_arguments_in_any_order_of_states():
    """The InfiniteWidthDriver of an ensemble is that of the InfiniteState of its model."""
    model = qs.models.CosNet(8, 1.0, 2.0)
    a = make("infinite", MOMENTUM).predict([0, 3])
    b = make("infinite", MOMENTUM, qs.vqs.InfiniteState(HILBERT, model)).predict([0, 3])
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_readout_training_of_infinite_width_is_the_kernel_of_the_readout():
    readout = qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8, 1.0, 2.0), trainable="readout")
    a = make("infinite", trainable="readout").predict([5, np.inf])
    b = make("infinite", state=readout).predict([5, np.inf])
    everything = make("infinite").predict([5, np.inf])
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    assert np.abs(a["Loss"] - everything["Loss"]).max() > 1e-4
    posterior = qs.dynamics.Posterior(readout.kernel, make("infinite").train)
    test = make("infinite").test
    loss = np.mean(
        np.abs(posterior.mean(test.states) - test.amplitudes) ** 2 + posterior.variance(test.states)
    )
    assert a["loss/test"][1] == pytest.approx(float(loss))


def test_the_trained_infinite_state_has_the_losses_that_were_logged():
    state = qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8, 1.0, 2.0))
    driver = make("infinite", MOMENTUM, state)
    logged(driver, 6)
    assert state.steps == 6
    curve = driver.predict([6])
    train, test = TARGET.split_indices(N_TRAIN, 1)
    variance = np.diag(state.covariance)
    for name, index in (("train", train), ("test", test)):
        mean_part = np.mean(np.abs(np.asarray(state.mean) - TARGET.amplitudes)[index] ** 2)
        assert curve[f"loss/{name}/mean_part"][0] == pytest.approx(mean_part)
        assert curve[f"loss/{name}/variance_part"][0] == pytest.approx(np.mean(variance[index]))


@pytest.mark.thorough
def test_wide_ensembles_approach_the_infinite_width_curve():
    steps = 15
    infinite = make("infinite").predict([0, steps])
    distance = []
    for width in (4, 512):
        vs = ensemble(n_members=60, width=width, seed=3)
        data = logged(make("finite", state=vs), steps + 1)
        # Only what is trained tells: at the start widths differ in the variance of the average alone.
        gap = [data[k].Mean[-1] - infinite[k][1] for k in ("loss/train", "loss/test")]
        error = [data[k].Sigma[-1] for k in ("loss/train", "loss/test")]
        distance.append(np.abs(np.array(gap)) / infinite["loss/test"][1])
        if width == 512:
            assert np.all(np.abs(gap) < 4 * np.array(error))
    assert np.all(distance[1] < distance[0])


@pytest.mark.slow
def test_the_distance_to_infinite_width_falls_as_one_over_the_width():
    # Early steps: later the members whose kernel has the smallest eigenvalues rule the average, and only far
    # wider networks than these fluctuate little enough for the first order in 1/width.
    steps, members = 10, 2000
    infinite = make("infinite").predict([steps])["loss/train"][0]
    rows = []
    for width in (16, 32, 64, 128):
        data = logged(make("finite", state=ensemble(members, width, seed=3)), steps + 1)
        loss = data["loss/train"]
        rows.append((width, loss.Mean[-1] - infinite, loss.Sigma[-1]))
    print("\nwidth  loss - infinite width  standard error")  # noqa: T201  the table of the issue
    for width, gap, error in rows:
        print(f"{width:5d}  {gap:+.3e}  {error:.1e}")  # noqa: T201
    for width, gap, error in rows:
        scaled, limit = gap * width, rows[-1][1] * rows[-1][0]
        assert abs(scaled - limit) < 0.4 * abs(limit) + 4 * error * width
        assert gap > 4 * error


def test_drivers_describe_themselves():
    for kind in DRIVERS:
        assert f"n_train={N_TRAIN}" in repr(make(kind))


def test_parameters_of_the_linearised_networks_stay():
    vs = ensemble()
    before = jax.tree.map(np.array, vs.parameters)
    logged(make("linearized", state=vs), 3)
    jax.tree.map(np.testing.assert_array_equal, before, vs.parameters)

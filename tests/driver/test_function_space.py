"""Infinite-width training on losses that are not quadratic, and on large training sets, as NetKet drivers."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import serialization

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
)

E = qs.errors
MODEL = qs.models.CosNet(8, 1.0, 2.0)
MOMENTUM = optax.sgd(0.02, momentum=0.7)
GROUND_ENERGY = np.linalg.eigvalsh(ISING.to_dense())[0]


def infinite(parts="independent"):
    return qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8, 1.0, 2.0, parts=parts))


def tomography():
    shots = [qs.losses.measure(TARGET, basis, 500, seed=1) for basis in ("ZZZZ", "XXXX", "YZXY")]
    return qs.losses.Tomography(HILBERT, shots)


def drive(first=ISING, optimizer=MOMENTUM, state=None, **options):
    state = infinite() if state is None else state
    options = {"n_members": 3, "seed": 1, **options}
    return qs.driver.InfiniteWidthDriver(first, optimizer, variational_state=state, **options)


CASES = {
    "operator": lambda: (ISING, {}),
    "energy": lambda: (qs.losses.Energy(ISING), {}),
    "energy and target": lambda: (TARGET, {"loss": qs.losses.Energy(ISING)}),
    "tomography": lambda: (tomography(), {}),
    "tomography and target": lambda: (TARGET, {"loss": tomography()}),
    "infidelity": lambda: (TARGET, {"loss": "infidelity"}),
    "infidelity of a part": lambda: (TARGET, {"loss": "infidelity", "n_train": N_TRAIN}),
    "infidelity object": lambda: (qs.losses.Infidelity(TARGET), {}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_finite_and_infinite_width_take_the_same_arguments_and_log_the_same_keys(case):
    first, options = CASES[case]()
    ours = drive(first, state=ensemble(), n_members=None, **options)
    finite = qs.driver.QSNTKDriver(first, MOMENTUM, variational_state=ensemble(), seed=1, **options)
    assert type(ours) is qs.driver.InfiniteWidthDriver
    assert "engine=function space" in repr(ours)
    ours.evaluate_every = finite.evaluate_every = 2
    a, b = logged(ours, 3), logged(finite, 3)
    assert set(a) == set(b)
    assert ("fidelity" in a) == ("operator" not in case and ours.target is not None)
    assert ("loss/test" in a) == ("part" in case)
    for key in set(a) - {"wallclock"}:
        np.testing.assert_array_equal(a[key].iters, b[key].iters)
        assert a[key].Mean.dtype == a[key].Sigma.dtype == np.float64


def test_the_mean_square_error_stays_with_the_closed_form():
    for first, options in ((TARGET, {}), (qs.losses.MSE(TARGET), {})):
        driver = drive(first, n_members=None, **options)
        assert type(driver) is qs.driver.InfiniteWidthDriver
        assert driver.predict([np.inf])["fidelity"][0] == pytest.approx(1)


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize("case", ["energy and target", "tomography", "infidelity"])
def test_curves_are_those_of_the_flow_averaged_over_draws(case, parts):
    first, options = CASES[case]()
    driver = drive(first, state=infinite(parts), **options)
    initial = infinite(parts).sample(3, seed=1)
    flow = qs.dynamics.FunctionSpaceFlow(driver.dynamics.kernel, driver.loss, optimizer=MOMENTUM)
    expected = np.asarray(flow.losses(initial, np.arange(8)))
    data = logged(driver, 8)
    np.testing.assert_allclose(data["Loss"].Mean, expected.mean(1), rtol=1e-11)
    error = expected.std(1, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(data["Loss"].Sigma, error, rtol=1e-9)
    if driver.target is not None:
        psi = np.asarray(flow.run(initial, [7])[0])
        fidelity = np.abs(psi @ TARGET.amplitudes.conj()) ** 2 / np.sum(np.abs(psi) ** 2, -1)
        assert data["fidelity"].Mean[-1] == pytest.approx(fidelity.mean(), rel=1e-10)
    end = np.asarray(flow.run(initial, [8])[0])
    np.testing.assert_allclose(driver.state.to_array(normalize=False), end, rtol=1e-10)


@pytest.mark.thorough
def test_a_training_set_moves_the_rest_of_the_basis_through_the_kernel():
    rate, steps = 0.3, 6
    driver = drive(TARGET, optax.sgd(rate), loss="infidelity", n_train=N_TRAIN)
    train, test = TARGET.split_indices(N_TRAIN, 1)
    theta = np.asarray(driver.dynamics.kernel.ntk(HILBERT.all_states()))
    psi = np.asarray(infinite().sample(3, seed=1))
    goal = TARGET.amplitudes

    def infidelity(psi, index):
        overlap = np.abs(psi[:, index] @ goal[index].conj()) ** 2
        norm = np.sum(np.abs(psi[:, index]) ** 2, -1) * np.sum(np.abs(goal[index]) ** 2)
        return np.mean(1 - overlap / norm)

    rows = []
    for _ in range(steps):
        rows.append((infidelity(psi, train), infidelity(psi, test)))
        a, b = psi[:, train], goal[train]
        norm = np.sum(np.abs(a) ** 2, -1, keepdims=True)
        overlap = (a @ b.conj())[:, None]
        unit = np.sum(np.abs(b) ** 2)
        # ∂/∂ψ* of -|⟨ψ_T|ψ⟩|²/(⟨ψ|ψ⟩⟨ψ_T|ψ_T⟩), twice
        gradient = 2 * (np.abs(overlap) ** 2 * a / norm**2 - overlap * b / norm) / unit
        psi = psi - rate * gradient @ theta[train]
    curve = driver.predict(range(steps))
    data = logged(driver, steps)
    for key, values in zip(("loss/train", "loss/test"), np.array(rows).T, strict=True):
        np.testing.assert_allclose(data[key].Mean, values, rtol=1e-10)
        np.testing.assert_allclose(curve[key], values, rtol=1e-10)
    np.testing.assert_allclose(driver.state.to_array(normalize=False), psi, rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
def test_the_mean_square_error_through_the_flow_is_the_closed_form():
    rate = 0.3
    closed = drive(TARGET, optax.sgd(rate), n_members=None, n_train=N_TRAIN)
    options = {"n_train": N_TRAIN, "n_members": 3000, "seed": 1}
    flow = qs.driver.FunctionSpaceDriver(
        TARGET, optax.sgd(rate), variational_state=infinite(), **options
    )
    a, b = closed.predict([0, 5, 40]), flow.predict([0, 5, 40])
    for key in ("loss/train", "loss/test"):
        error = b[f"{key}/error"]
        assert np.all(error < 0.05 * b[key])
        assert np.all(np.abs(a[key] - b[key]) < 4 * error)


@pytest.mark.thorough
def test_energies_fall_at_every_small_step_to_the_ground_state():
    driver = drive(optimizer=optax.sgd(0.05), n_members=4)
    start = driver.dynamics.max_learning_rate(infinite().sample(4, seed=1)[0])
    assert start > 0.05
    data = logged(driver, 400)
    assert np.all(np.diff(data["Loss"].Mean) < 0)
    fast = drive(optimizer=optax.sgd(0.1, momentum=0.9), n_members=4)
    end = fast.predict([3000])
    assert end["Loss"][0] == pytest.approx(GROUND_ENERGY, abs=1e-8)
    assert end["Loss/error"][0] < 1e-8


@pytest.mark.thorough
def test_the_largest_learning_rate_separates_stable_from_unstable_descent():
    # Near the ground state the curvature is constant: below the limit it stays, beyond it is left.
    flow = drive(optimizer=optax.sgd(0.1, momentum=0.9), n_members=1).dynamics
    ground = flow.run(infinite().sample(1, seed=1)[0], [6000])[0]
    theta = np.asarray(flow.kernel.ntk(HILBERT.all_states()))
    norm = float(jnp.vdot(ground, ground).real)
    curvature = 2 * theta @ (ISING.to_dense() - GROUND_ENERGY * np.eye(16)) / norm
    limit = flow.max_learning_rate(ground, 500)
    assert limit == pytest.approx(2 / np.abs(np.linalg.eigvals(curvature)).max(), rel=1e-3)
    near = ground + 1e-4 * infinite().sample(1, seed=2)[0]
    for fraction, stays in ((0.95, True), (1.1, False)):
        descent = qs.dynamics.FunctionSpaceFlow(
            flow.kernel, flow.loss, learning_rate=fraction * limit
        )
        first, last = descent.losses(near, [0, 60]) - GROUND_ENERGY
        assert bool(last < first) == stays


@pytest.mark.thorough
@pytest.mark.parametrize("case", ["energy", "infidelity of a part"])
def test_two_runs_are_one_and_a_checkpoint_continues_identically(case):
    first, options = CASES[case]()
    optimizer = optax.chain(
        optax.add_decayed_weights(0.1),
        optax.sgd(optax.exponential_decay(0.05, 3, 0.9), momentum=0.8),
    )
    whole = logged(drive(first, optimizer, **options), 7, obs={"energy": ISING})
    driver = drive(first, optimizer, **options)
    logged(driver, 3)
    saved = serialization.to_bytes(driver)
    logged(driver, 4)
    fresh = drive(first, optimizer, **{**options, "seed": 1})
    # Other draws, until it is restored.
    fresh._optimizer_state = (*fresh._optimizer_state[:2], infinite().sample(3, seed=77))
    restored = serialization.from_bytes(fresh, saved)
    assert restored.step_count == 3
    rest = logged(restored, 4, obs={"energy": ISING})
    np.testing.assert_array_equal(rest["Loss"].iters, range(3, 7))
    for key in set(whole) - {"wallclock"}:
        np.testing.assert_allclose(rest[key].Mean, whole[key].Mean[3:], rtol=1e-11, err_msg=key)
    np.testing.assert_allclose(
        restored.state.to_array(normalize=False), driver.state.to_array(normalize=False), rtol=1e-11
    )


@pytest.mark.thorough
def test_predict_gives_what_run_logs_at_any_finite_steps():
    driver = drive(TARGET, loss="infidelity", n_train=N_TRAIN)
    logged(driver, 2)  # a prediction starts from the beginning all the same
    curve = driver.predict([9, 0, 4, 9])
    data = logged(drive(TARGET, loss="infidelity", n_train=N_TRAIN), 10)
    for key in set(data) - {"wallclock"}:
        np.testing.assert_allclose(curve[key], data[key].Mean[[9, 0, 4, 9]], rtol=1e-11)
        np.testing.assert_allclose(curve[f"{key}/error"], data[key].Sigma[[9, 0, 4, 9]], rtol=1e-9)
    for steps in ([1, np.inf], [-1], [np.nan]):
        with pytest.raises(E.InvalidTrainingError, match="no closed form at ∞"):
            driver.predict(steps)


@pytest.mark.thorough
def test_the_state_is_an_ensemble_of_the_trained_wave_functions():
    given = infinite()
    driver = drive(state=given)
    data = logged(driver, 4, obs={"energy": ISING})
    np.testing.assert_allclose(data["energy"].Mean, data["Loss"].Mean, rtol=1e-11)
    np.testing.assert_allclose(data["energy"].Sigma, data["Loss"].Sigma, rtol=1e-9)
    state = driver.state
    assert state.n_members == 3
    energies = [state.get_state(i).expect(ISING).mean.real for i in range(3)]
    assert np.mean(energies) == pytest.approx(driver.predict([4])["Loss"][0])
    entropy = qs.observable.EntanglementEntropy(HILBERT, [0, 1])
    assert 0 < state.expect(entropy).mean < 2 * np.log(2)
    assert given.steps == 0
    counted = drive(state=ensemble(n_members=5), n_members=None)
    assert counted.state.n_members == 5
    assert drive(state=full_sum(MODEL), n_members=None).state.n_members == 8


def test_callbacks_and_loggers_see_a_run(tmp_path):
    driver = drive(evaluate_every=3)
    out = str(tmp_path / "run")
    driver.run(
        20,
        out=out,
        callback=nk.callbacks.EarlyStopping(min_delta=10.0, patience=2),
        show_progress=False,
    )
    assert (tmp_path / "run.log").exists()
    assert 3 <= driver.step_count <= 4


@pytest.mark.thorough
def test_wrong_input_is_named():
    other = nk.hilbert.Spin(0.5, 3)
    lowering = nk.operator.spin.sigmam(HILBERT, 0)
    energy = qs.losses.Energy(ISING)
    autoregressive = nk.models.ARNNDense(layers=1, features=2, hilbert=HILBERT)
    for error, message, call in (
        (E.HamiltonianError, "Hermitian", lambda: drive(lowering)),
        (E.HilbertMismatchError, "same", lambda: drive(state=qs.vqs.InfiniteState(other, MODEL))),
        (E.HilbertMismatchError, "same", lambda: drive(qs.targets.Target(other, [1] * 8), loss=energy)),
        (E.InvalidTrainingError, "n_train=None", lambda: drive(n_train=10)),
        (E.InvalidTrainingError, "n_train=None", lambda: drive(TARGET, loss=energy, n_train=10)),
        (E.InvalidTrainingError, "alone", lambda: drive(ISING, loss="infidelity")),
        (E.InvalidTrainingError, "n_members=0", lambda: drive(n_members=0)),
        (E.InvalidTrainingError, "n_members=2", lambda: drive(TARGET, n_members=2)),
        (E.InvalidTrainingError, "integer", lambda: drive(n_members=2.5)),
        (E.InvalidTrainingError, "batch_size=4", lambda: drive(TARGET, loss="infidelity", batch_size=4)),
        (E.InvalidTrainingError, "solver", lambda: drive(solver="dense")),
        (E.InvalidTrainingError, "solver='fast'", lambda: drive(TARGET, n_members=None, solver="fast")),
        (E.NonLinearOptimizerError, "QSNTKDriver", lambda: drive(optimizer=optax.adam(0.1))),
        (E.UnknownKernelError, "register", lambda: drive(state=full_sum(autoregressive))),
        (E.AmplitudesError, "shape", lambda: qs.vqs.EnsembleState.from_amplitudes(HILBERT, [1.0])),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
    fermions = qs.vqs.EnsembleState(FERMIONS, qs.models.CosNet(4), 2, seed=0)
    with pytest.raises(E.HilbertMismatchError, match="same Hilbert space"):
        drive(state=fermions)
    with pytest.raises(E.InvalidTrainingError, match="VMC_SR"):
        qs.driver.QSNTKDriver(ISING, MOMENTUM, variational_state=full_sum(MODEL), sampling="target")


@pytest.mark.thorough
@pytest.mark.parametrize("n_train", [N_TRAIN, None])
def test_the_closed_form_by_products_agrees_with_the_dense_one(n_train):
    steps = [0, 3, 40, np.inf]
    optimizer = optax.sgd(0.3, momentum=0.5)
    dense, products = (
        drive(TARGET, optimizer, n_members=None, n_train=n_train, solver=solver)
        for solver in ("dense", "products")
    )
    assert not products.dynamics.solution.stores_matrices
    a, b = dense.predict(steps), products.predict(steps)
    np.testing.assert_allclose(b["loss/train/mean_part"], a["loss/train/mean_part"], atol=1e-9)
    for key in set(a) - {"steps"}:
        error = b.get(f"{key}/error", np.zeros(4))
        assert np.all(
            np.abs(a[key] - b[key])
            < 5 * error + 1e-8 + (0.1 if key == "fidelity" and n_train else 0)
        ), key
    assert ("loss/train/error" in b) == (n_train is not None)  # exact on a whole basis
    data = logged(products, 4)
    for key in ("Loss", "loss/train", "loss/train/variance_part"):
        np.testing.assert_allclose(data[key].Mean[[0, 3]], b[key][:2], rtol=1e-9)
        if n_train:
            np.testing.assert_allclose(data[key].Sigma[[0, 3]], b[f"{key}/error"][:2], rtol=1e-6)
    logged(dense, 4)
    np.testing.assert_allclose(products.state.mean, dense.state.mean, atol=1e-8)
    np.testing.assert_allclose(products.state.to_array(), dense.state.to_array(), atol=1e-8)
    np.testing.assert_allclose(products.state.covariance, dense.state.covariance, atol=1e-7)


GOALS = {"energy": lambda: ISING, "tomography": tomography}


def gaps(goal, widths, members, steps, rate=0.05):
    """Rows (width, loss - infinite width, standard error) after so many steps."""
    optimizer = optax.sgd(rate)
    limit = drive(goal, optimizer, n_members=4 * members).predict([steps])
    rows = []
    for width in widths:
        vs = ensemble(members, width, seed=3)
        data = logged(qs.driver.QSNTKDriver(goal, optimizer, variational_state=vs), steps + 1)
        loss = data["Loss"]
        error = np.hypot(loss.Sigma[-1], limit["Loss/error"][0])
        rows.append((width, loss.Mean[-1] - limit["Loss"][0], error))
    return rows


@pytest.mark.thorough
@pytest.mark.parametrize("goal", GOALS)
def test_wide_ensembles_approach_the_flow(goal):
    (_, narrow, error), (_, wide, wide_error) = gaps(GOALS[goal](), (2, 128), 100, 30)
    assert abs(wide) < 4 * wide_error
    assert abs(narrow) > 4 * error
    assert abs(wide) < abs(narrow)


@pytest.mark.slow
@pytest.mark.parametrize("goal", GOALS)
def test_the_distance_of_finite_networks_to_the_flow_falls_with_the_width(goal):
    rows = gaps(GOALS[goal](), (4, 8, 16, 32, 64), 2000, 30)
    print(f"\n{goal}\nwidth  loss - infinite width  standard error")  # noqa: T201  the table of the issue
    for width, gap, error in rows:
        print(f"{width:5d}  {gap:+.3e}  {error:.1e}")  # noqa: T201
    sizes = [abs(gap) for _, gap, _ in rows]
    for (_, gap, error), smaller in zip(rows[:-1], sizes[1:], strict=True):
        assert smaller < abs(gap) + 2 * error
    assert sizes[-1] < 0.2 * sizes[0] + 3 * rows[-1][2]


def test_an_energy_is_built_once(monkeypatch):
    built = []
    init = qs.losses.Energy.__init__
    monkeypatch.setattr(
        qs.losses.Energy, "__init__", lambda self, *args: built.append(1) or init(self, *args)
    )
    drive(ISING)
    assert len(built) == 1

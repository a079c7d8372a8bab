"""InfiniteWidthDriver of networks of log ψ, or with a reference: steps in function space, written again in NumPy."""

import netket as nk
import numpy as np
import optax
import pytest
from flax import serialization

import netket_qsntk as qs
from tests.driver.problems import HILBERT, ISING, N_TRAIN, TARGET, logged

CHAIN = nk.graph.Chain(4)
X = HILBERT.all_states()
MARSHALL = qs.readout.marshall(CHAIN)
TILTED = MARSHALL + qs.readout.jastrow(CHAIN, 0.3)
GOAL = np.asarray(TARGET.amplitudes)
RATE, MOMENTUM, STEPS = 0.02, 0.5, 6


def state(output="log_psi", reference=None, parts="independent"):
    net = qs.models.WideMLP(
        widths=(256,), activation="erf", sigma_w=1.2, sigma_b=0.4, output=output,
        reference=reference, parts=parts,
    )  # fmt: skip
    return qs.vqs.InfiniteState(HILBERT, net)


def drive(first, vs, optimizer=None, **options):
    optimizer = optax.sgd(RATE, momentum=MOMENTUM) if optimizer is None else optimizer
    options = {"n_members": 3, "seed": 1, **options}
    return qs.driver.InfiniteWidthDriver(first, optimizer, variational_state=vs, **options)


def mse(psi, goal):
    """Value and ∂L/∂ψ₁ + i∂L/∂ψ₂ of the mean square error."""
    return np.mean(abs(psi - goal) ** 2), 2 * (psi - goal) / len(psi)


def infidelity(psi, goal):
    weight, norm = np.vdot(goal, goal).real, np.vdot(psi, psi).real
    overlap = np.vdot(goal, psi)
    value = 1 - abs(overlap) ** 2 / (norm * weight)
    return value, 2 / norm * ((1 - value) * psi - goal * overlap / weight)


def energy(psi, _):
    moved, norm = ISING.to_dense() @ psi, np.vdot(psi, psi).real
    value = np.vdot(psi, moved).real / norm
    return value, 2 / norm * (moved - value * psi)


LOSSES = {
    "mse": (mse, lambda: (TARGET, {})),
    "mse of a part": (mse, lambda: (TARGET, {"n_train": N_TRAIN})),
    "infidelity": (infidelity, lambda: (TARGET, {"loss": "infidelity"})),
    "infidelity of a part": (
        infidelity,
        lambda: (TARGET, {"loss": "infidelity", "n_train": N_TRAIN}),
    ),
    "energy": (energy, lambda: (TARGET, {"loss": qs.losses.Energy(ISING)})),
}


def by_steps(loss, vs, train, test):
    """Losses on both sets and fidelities (STEPS, 3) of the mean over members, and the last log ψ."""
    log, parts = vs.process.readout.is_log, vs.process.n_parts
    reference = vs.process.readout.reference
    r = 0.0 if reference is None else np.asarray(reference(X))
    theta = np.asarray(vs.kernel.ntk(X))
    f = np.asarray(vs.process.sample(3, 1))
    trace, rows = np.zeros_like(f), []
    for _ in range(STEPS):
        psi = np.exp(r + f) if log else np.exp(r) * f
        slope = psi if log else np.broadcast_to(np.exp(r), psi.shape)
        found = [loss(p[train], GOAL[train]) for p in psi]
        on_test = [loss(p[test], GOAL[test])[0] for p in psi] if len(test) else [0.0]
        overlaps = abs(psi @ GOAL.conj()) ** 2 / np.sum(abs(psi) ** 2, 1)
        rows.append((np.mean([v for v, _ in found]), np.mean(on_test), overlaps.mean()))
        gradient = np.zeros_like(psi)
        gradient[:, train] = slope[:, train].conj() * np.stack([g for _, g in found])
        gradient = gradient.real if parts == 1 else gradient
        trace = gradient + MOMENTUM * trace
        f = f - RATE * trace @ theta
    return np.array(rows).T, (np.exp(r + f) if log else np.exp(r) * f)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("output", "reference", "parts"),
    [
        ("log_psi", None, "independent"),
        ("log_psi", TILTED, "real"),
        ("psi", TILTED, "independent"),
        ("psi", MARSHALL, "real"),
    ],
    ids=["log psi", "real log psi and reference", "psi and reference", "real psi and signs"],
)
def test_every_step_is_that_of_a_fixed_kernel_for_the_functions(loss, output, reference, parts):
    formula, case = LOSSES[loss]
    first, options = case()
    vs = state(output, reference, parts)
    driver = drive(first, vs, **options)
    assert "engine=function space" in repr(driver)
    train, test = TARGET.split_indices(options.get("n_train", 16), 1)
    (on_train, on_test, fidelity), end = by_steps(formula, vs, train, test)
    curve, data = driver.predict(range(STEPS)), logged(driver, STEPS)
    expected = {"loss/train": on_train, "fidelity": fidelity}
    if len(test):
        expected["loss/test"] = on_test
    assert ("loss/test" in data) == bool(len(test))
    for key, values in expected.items():
        np.testing.assert_allclose(data[key].Mean, values, rtol=1e-9)
        np.testing.assert_allclose(curve[key], values, rtol=1e-9)
        assert (data[key].Sigma > 0).all()
    found = np.asarray(driver.state.to_array(normalize=False))
    np.testing.assert_allclose(found, end, rtol=1e-8, atol=1e-12)


@pytest.mark.thorough
def test_minibatches_are_those_of_the_finite_driver():
    vs = state()
    options = {"n_train": N_TRAIN, "batch_size": 4, "seed": 1}
    driver = drive(TARGET, vs, optax.sgd(RATE), **options)
    assert "minibatches" in repr(driver)
    train, _ = TARGET.split_indices(N_TRAIN, 1)
    theta, f = np.asarray(vs.kernel.ntk(X)), np.asarray(vs.process.sample(3, 1))
    losses = []
    for step in range(STEPS):
        psi = np.exp(f)
        losses.append(np.mean(abs(psi[:, train] - GOAL[train]) ** 2))
        batch = train[np.asarray(driver.batch(step))]
        gradient = psi[:, batch].conj() * 2 * (psi[:, batch] - GOAL[batch]) / 4
        f = f - RATE * gradient @ theta[batch]
    np.testing.assert_allclose(driver.predict(range(STEPS))["loss/train"], losses, rtol=1e-10)
    np.testing.assert_allclose(logged(driver, STEPS)["loss/train"].Mean, losses, rtol=1e-10)


def test_amplitudes_beyond_floating_point_are_trained_on_energies():
    net = qs.models.WideMLP(
        widths=(8,), activation="relu", sigma_w=1.0, sigma_b=2000.0, output="log_psi", parts="real"
    )
    vs = qs.vqs.InfiniteState(HILBERT, net)
    assert abs(np.asarray(vs.process.sample(3, 1))).max() > 720
    energies = drive(ISING, vs, optax.sgd(0.05)).predict([0, 50])["loss/train"]
    assert np.isfinite(energies).all()
    assert energies[1] < energies[0] - 0.1


@pytest.mark.thorough
def test_a_run_is_saved_and_resumed():
    def driver():
        return drive(TARGET, state("log_psi", TILTED), loss="infidelity", n_train=N_TRAIN)

    first, second = driver(), driver()
    first.run(3, show_progress=False)
    second = serialization.from_bytes(second, serialization.to_bytes(first))
    for one in (first, second):
        one.run(3, show_progress=False)
    curve = first.predict([6])
    for one in (first, second):
        one.compute_loss_and_update()
        assert one._now()["loss/test"].mean == pytest.approx(curve["loss/test"][0], rel=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize(("loss", "rate"), [("mse", 0.1), ("infidelity", 0.5)])
def test_wide_networks_follow_within_the_errors(loss, rate):
    # Small functions: averages of e^f have short tails.
    net = qs.models.WideMLP(
        widths=(1024,), activation="erf", sigma_w=0.6, sigma_b=0.2, output="log_psi"
    )
    wide = qs.vqs.EnsembleState(HILBERT, net, 64, seed=3)
    options = {"loss": loss, "n_train": N_TRAIN, "seed": 1}
    finite = qs.driver.QSNTKDriver(TARGET, optax.sgd(rate), variational_state=wide, **options)
    vs = qs.vqs.InfiniteState(HILBERT, net)
    ours = drive(TARGET, vs, optax.sgd(rate), n_members=256, **options)
    measured, curve = logged(finite, 21), ours.predict([10, 20])
    for key in ("loss/train", "loss/test", "fidelity"):
        mean, error = (np.asarray(v)[[10, 20]] for v in (measured[key].Mean, measured[key].Sigma))
        off = abs(mean - curve[key]) / np.hypot(error, curve[f"{key}/error"])
        assert (off < 4).all(), (key, off)
    # Neither is where it started.
    assert measured["loss/train"].Mean[20] < 0.9 * measured["loss/train"].Mean[0]


def test_what_counts_draws_and_what_is_solved_is_said():
    vs = state()
    assert drive(TARGET, vs, n_members=None).state.n_members == 8
    with pytest.raises(qs.errors.InvalidTrainingError, match="networks of ψ"):
        drive(TARGET, vs, solver="dense")
    with pytest.raises(qs.errors.InvalidTrainingError, match="closed form|finite"):
        drive(TARGET, vs).predict([np.inf])

"""Long computations show a bar, short ones and those that were told not to show none."""

import inspect

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk import progress

HILBERT = nk.hilbert.Spin(0.5, 4)
H = nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=0.5)
TARGET = qs.targets.quench(H, initial="plus", time=1.0)
TRAIN, TEST = TARGET.split(12, seed=0)
NET = qs.models.CosNet(8, 1.0, 2.0)
KERNEL = qs.kernels.infinite_width(NET)
X = HILBERT.all_states()


def operator():
    return qs.operators.Hypercube(0.5 ** jnp.arange(6.0), positive=True).restrict(jnp.arange(20))


def flow(mode, show):
    loss = qs.losses.Energy(H)
    made = qs.dynamics.FunctionSpaceFlow(
        KERNEL, loss, learning_rate=0.1, mode=mode, show_progress=show
    )
    return made.losses(qs.vqs.InfiniteState(HILBERT, NET).sample(2, seed=0), [0, 3, 200])


def products(show):
    options = {"learning_rate": 1e-2, "solver": "products", "show_progress": show}
    return qs.dynamics.LinearDynamics(KERNEL, TRAIN, **options).losses([10], TEST)


def posterior(show):
    made = qs.dynamics.Posterior(KERNEL, TRAIN, solver="products", show_progress=show)
    return made.variance(TEST.states)


def linearized(show):
    vs = qs.vqs.EnsembleState(HILBERT, NET, 2, seed=0)
    return qs.driver.LinearizedDriver(
        TARGET, optax.sgd(0.1), variational_state=vs, n_train=12, show_progress=show
    )


def predicted_energies(show):
    driver = qs.driver.InfiniteWidthDriver(
        H, optax.sgd(0.1), variational_state=qs.vqs.InfiniteState(HILBERT, NET), show_progress=show
    )
    return driver.predict([0, 100])


def trained_draws(show):
    vs = qs.vqs.InfiniteState(HILBERT, NET)
    driver = qs.driver.InfiniteWidthDriver(
        TARGET,
        optax.sgd(0.1),
        variational_state=vs,
        n_train=12,
        solver="products",
        show_progress=show,
    )
    driver.run(2, show_progress=False)
    return driver.state.sample(2, seed=0)


def large_quench(show):
    hilbert = nk.hilbert.Spin(0.5, 17)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(17), h=0.5)
    return qs.targets.quench(hamiltonian, "plus", 0.01, show_progress=show)


def large_ground_state(show):
    hilbert = nk.hilbert.Spin(0.5, 10)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(10), h=1.5, J=-1.0)
    return qs.targets.ground_state(hamiltonian, show_progress=show)


def stax(show):
    stax = qs.kernels.load_neural_tangents().stax
    _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    return qs.kernels.from_stax(kernel_fn, block=8, show_progress=show).ntk(X)


O, V, KEY = qs.operators, jnp.arange(1.0, 21.0), {"key": jax.random.key(0)}
JOBS = {
    "time evolution": large_quench,
    "ground state": large_ground_state,
    "training": lambda show: flow("gd", show),
    "training: ": lambda show: flow("flow", show),
    "draws": products,
    "posterior": posterior,
    "linearisation": linearized,
    "training:": predicted_energies,
    "training: draws": trained_draws,
    "ranking": lambda show: qs.dynamics.rank(
        {"a": NET, "b": NET}, TARGET, n_train=12, steps=5, show_progress=show
    ),
    "entropies": lambda show: qs.entanglement.entropy_scaling(
        NET, [2, 4], [8], n_members=2, show_progress=show
    ),
    "kernel": lambda show: qs.kernels.empirical(
        nk.vqs.FullSumState(HILBERT, nk.models.RBM()), X, chunk_size=4, show_progress=show
    ),
    "kernel: stax": stax,
    "Lanczos": lambda show: O.lanczos(operator(), V, show_progress=show),
    "Lanczos: function": lambda show: O.apply_function(operator(), V, jnp.exp, show_progress=show),
    "Chebyshev series": lambda show: O.chebyshev(operator(), V, jnp.exp, show_progress=show),
    "conjugate residuals": lambda show: O.conjugate_residuals(operator(), V, show_progress=show),
    "stochastic trace": lambda show: O.trace_of_function(
        operator(), jnp.exp, **KEY, show_progress=show
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", JOBS)
def test_long_jobs_show_how_far_they_are(name, monkeypatch, capfd):
    what = name.partition(":")[0]
    monkeypatch.setattr(progress, "DELAY", 1e6)
    JOBS[name](True)
    assert what not in capfd.readouterr().err  # it was short
    monkeypatch.setattr(progress, "DELAY", 0.0)
    JOBS[name](True)
    shown = capfd.readouterr().err
    assert f"{what}: " in shown
    JOBS[name](False)
    assert what not in capfd.readouterr().err


@pytest.mark.thorough
def test_bars_end_at_their_total(monkeypatch, capfd):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    for job in (flow("gd", True), flow("flow", True), products(True)):
        del job
    last = capfd.readouterr().err.replace("\r", "\n").splitlines()
    ends = [line for line in last if "training" in line]
    assert any("400/400" in line for line in ends)  # two members, 200 steps each
    assert any("200/200" in line for line in ends)  # two members, 100 per cent each


@pytest.mark.thorough
def test_bars_change_no_number(monkeypatch):
    quiet = [np.asarray(flow(mode, False)) for mode in ("gd", "flow")]
    monkeypatch.setattr(progress, "DELAY", 0.0)
    for before, mode in zip(quiet, ("gd", "flow"), strict=True):
        np.testing.assert_array_equal(np.asarray(flow(mode, True)), before)


@pytest.mark.parametrize(
    "steps", [[0], [5], [0, 0, 7], np.arange(300), [1, 1000], np.arange(0, 999, 9)]
)
def test_steps_of_a_flow_do_not_depend_on_how_it_is_divided(steps):
    loss = qs.losses.Energy(H)
    made = qs.dynamics.FunctionSpaceFlow(KERNEL, loss, learning_rate=0.1)
    psi = qs.vqs.InfiniteState(HILBERT, NET).sample(1, seed=0)[0]
    run = made.run(psi, steps)
    wanted = [s.psi for s in made.follow(made.start(psi), list(steps))]
    np.testing.assert_allclose(run, jnp.stack(wanted), rtol=1e-12, atol=1e-14)


def test_the_option_is_called_the_same_everywhere():
    for function in (
        qs.targets.quench,
        qs.targets.ground_state,
        qs.dynamics.rank,
        qs.entanglement.entropy_scaling,
        qs.kernels.empirical,
        qs.kernels.from_stax,
        qs.operators.lanczos,
        qs.operators.conjugate_residuals,
        nk.driver.VMC.run,
    ):
        assert inspect.signature(function).parameters["show_progress"].default is True

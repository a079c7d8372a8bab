"""Warnings have classes of their own, point at the user's line, and come once for each cause."""

import inspect
import warnings
from pathlib import Path

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs

E = qs.errors
HILBERT = nk.hilbert.Spin(0.5, 4)
TARGET = qs.targets.quench(
    nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=0.5), initial="plus", time=1.0
)
TRAIN, TEST = TARGET.split(12, seed=0)
NET = qs.models.CosNet(8, 1.0, 2.0)
KERNEL = qs.kernels.infinite_width(NET)
TOO_FAST = 1.5 * qs.kernels.max_learning_rate(KERNEL, TRAIN.states)
SINGULAR = qs.operators.Hypercube([1.0, 0.0, -1.0], positive=True).restrict([0, 1, 2, 3])


def unstable_dynamics():
    qs.dynamics.LinearDynamics(KERNEL, TRAIN, learning_rate=TOO_FAST)


def unstable_products():
    qs.dynamics.LinearDynamics(KERNEL, TRAIN, learning_rate=TOO_FAST, solver="products")


def unstable_driver():
    vs = qs.vqs.InfiniteState(HILBERT, NET)
    qs.driver.InfiniteWidthDriver(TARGET, optax.sgd(TOO_FAST), variational_state=vs, n_train=12)


def unstable_members():
    vs = qs.vqs.EnsembleState(HILBERT, NET, 4, seed=0)
    qs.driver.LinearizedDriver(TARGET, optax.sgd(3 * TOO_FAST), variational_state=vs, n_train=12)


def rough_activation():
    model = qs.models.WideMLP(widths=(8,), activation=lambda z: jnp.floor(3 * z))
    qs.kernels.infinite_width(model)


def singular_system():
    qs.operators.conjugate_residuals(SINGULAR, jnp.array([1.0, 0.0, 0.0, 1.0]))


def few_lanczos_steps():
    operator = qs.operators.Hypercube(0.5 ** np.arange(13.0), positive=True)
    v = jnp.asarray(np.random.default_rng(0).normal(size=3000))
    function = lambda e: jnp.exp(-1e2 * e)  # noqa: E731
    qs.operators.apply_function(operator.restrict(np.arange(3000)), v, function, max_steps=16)


def low_degree():
    operator = qs.operators.Dense(jnp.diag(jnp.geomspace(1e-3, 1.0, 64)), positive=True)
    qs.operators.chebyshev(operator, jnp.ones(64), lambda e: jnp.exp(-1e3 * e), max_degree=8)


def posterior_of_a_singular_kernel():
    linear = qs.models.WideMLP(widths=(8,), activation="identity")
    posterior = qs.dynamics.Posterior(
        qs.kernels.infinite_width(linear), TRAIN, solver="products", noise=0.0
    )
    del posterior


def samples_that_miss_each_other():
    psi = np.zeros((2, 16))
    psi[0, :2], psi[1, 8:] = 1.0, 1.0
    target = qs.targets.Target(HILBERT, psi[0] + 1e-9)
    state = qs.vqs.EnsembleState.from_amplitudes(HILBERT, psi[1:] + 1e-9).get_state(0)
    driver = qs.driver.QSNTKDriver(
        target,
        optax.sgd(1e-6),
        variational_state=state,
        loss="infidelity",
        sampling="both",
        n_samples=64,
    )
    driver.run(5, show_progress=False)


def gathered_matrix():
    _, ntk = qs.parallel.SharedMatrix.of_kernel(KERNEL, TRAIN.states)
    ntk.gather()


def few_amplitudes():
    levels = qs.learning.levels(KERNEL, nk.hilbert.Spin(0.5, 8))
    power = qs.learning.target_power(qs.targets.Target(nk.hilbert.Spin(0.5, 8), np.eye(256)[3]))
    qs.learning.learning_curve(levels, power, [64])


def few_functions():
    levels = qs.learning.levels(KERNEL, nk.hilbert.Spin(0.5, 8))
    qs.learning.learning_curve(levels, np.ones(9) / 9, [190])


def frozen():
    profile = 40.0 * (1 - 2 * np.arange(9) / 8) ** 4
    ensemble = qs.entanglement.LogNormalEnsemble.hamming(profile)
    qs.entanglement.participation_entropy(ensemble)


def no_number():
    zero = qs.vqs.EnsembleState.from_amplitudes(HILBERT, np.zeros((1, 16)))
    driver = qs.driver.QSNTKDriver(TARGET, optax.sgd(0.0), variational_state=zero)
    driver.run(1, show_progress=False)


CAUSES = {
    unstable_dynamics: E.UnstableLearningRateWarning,
    unstable_products: E.UnstableLearningRateWarning,
    unstable_driver: E.UnstableLearningRateWarning,
    unstable_members: E.UnstableLearningRateWarning,
    rough_activation: E.InaccurateKernelWarning,
    singular_system: E.NotConvergedWarning,
    few_lanczos_steps: E.NotConvergedWarning,
    low_degree: E.NotConvergedWarning,
    posterior_of_a_singular_kernel: E.NotConvergedWarning,
    samples_that_miss_each_other: E.PoorOverlapWarning,
    gathered_matrix: E.GatheredMatrixWarning,
    few_amplitudes: E.FewAmplitudesWarning,
    few_functions: E.FiniteSizeWarning,
    frozen: E.FreezingWarning,
    no_number: E.NotANumberWarning,
}


@pytest.mark.thorough
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_a_warning_comes_once_and_points_at_the_users_line(cause, monkeypatch):
    if cause is gathered_matrix:
        monkeypatch.setattr("netket_qsntk.parallel.shared_matrix.n_devices", lambda: 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cause()
    (warning,) = [w for w in caught if issubclass(w.category, E.QSNTKWarning)]
    assert warning.category is CAUSES[cause]
    lines, first = inspect.getsourcelines(cause)
    assert warning.filename == __file__
    assert first < warning.lineno < first + len(lines)


def test_every_class_of_warnings_has_a_cause_here():
    classes = {
        c
        for c in vars(E).values()
        if inspect.isclass(c) and issubclass(c, E.QSNTKWarning) and c is not E.QSNTKWarning
    }
    # A setting of the process: tests/test_precision.py starts one.
    assert set(CAUSES.values()) == classes - {E.SinglePrecisionWarning}


def test_all_warnings_go_through_one_function():
    package = Path(qs.__file__).parent
    callers = [p.name for p in package.rglob("*.py") if "warnings.warn(" in p.read_text("utf-8")]
    assert callers == ["alert.py"]

"""Wrong input by a user's first mistakes: a named error says what came, what was expected and what to call.

One case for each thing that the documentation promises, through each door that leads to it.
"""

import inspect

import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs

E = qs.errors
HILBERT = nk.hilbert.Spin(0.5, 4)
OTHER = nk.hilbert.Spin(0.5, 4, total_sz=0)
LARGE = nk.hilbert.Spin(0.5, 40)
H = nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=0.5)
TARGET = qs.targets.quench(H, initial="plus", time=1.0)
TRAIN, TEST = TARGET.split(12, seed=0)
NET = qs.models.CosNet(8, 1.0, 2.0)
KERNEL = qs.kernels.infinite_width(NET)
X = HILBERT.all_states()
DRIVERS = {
    name: getattr(qs.driver, name)
    for name in ("QSNTKDriver", "LinearizedDriver", "InfiniteWidthDriver")
}


def ensemble(hilbert=HILBERT, model=NET):
    return qs.vqs.EnsembleState(hilbert, model, n_members=2, seed=0)


def driver(name, target=TARGET, optimizer=None, state=None, **options):
    state = ensemble() if state is None else state
    return DRIVERS[name](target, optimizer or optax.sgd(1e-3), variational_state=state, **options)


def flow(**options):
    return qs.dynamics.FunctionSpaceFlow(KERNEL, qs.losses.Energy(H), **options)


# Case -> (call, class, words of what came, words of what was expected or works).
CASES = {
    # Target and state on different Hilbert spaces.
    **{
        f"other space, {name}": (
            lambda name=name: driver(name, state=ensemble(OTHER)),
            E.HilbertMismatchError,
            ["Spin(s=1/2, N=4", "total_sz"],
            ["same Hilbert space"],
        )
        for name in DRIVERS
    },
    "other space, initial state of a quench": (
        lambda: qs.targets.quench(H, qs.targets.Target(OTHER, np.ones(6)), 1.0),
        E.HilbertMismatchError,
        ["total_sz"],
        ["same Hilbert space"],
    ),
    "other space, operator of an ensemble": (
        lambda: ensemble(OTHER).expect(H),
        E.HilbertMismatchError,
        ["total_sz"],
        ["same Hilbert space"],
    ),
    "other space, entropy": (
        lambda: ensemble().expect(qs.observable.EntanglementEntropy(OTHER, [0])),
        E.HilbertMismatchError,
        ["Spin(s=1/2, N=4"],
        ["EntanglementEntropy(state.hilbert, partition)"],
    ),
    # More training points than the basis has.
    **{
        f"n_train, {name}": (
            lambda name=name: driver(name, n_train=17),
            E.SplitError,
            ["17"],
            ["from 1 to 16", "split(8, seed=0)"],
        )
        for name in DRIVERS
    },
    "n_train, split": (lambda: TARGET.split(17), E.SplitError, ["17"], ["from 1 to 16"]),
    # Amplitudes.
    "amplitudes, length": (
        lambda: qs.targets.Target(HILBERT, np.ones(15)),
        E.AmplitudesError,
        ["(15,)"],
        ["16", "hilbert.all_states()"],
    ),
    "amplitudes, zero": (
        lambda: qs.targets.Target(HILBERT, np.zeros(16)),
        E.AmplitudesError,
        ["zeros only"],
        ["not all zero"],
    ),
    "amplitudes, not finite": (
        lambda: qs.targets.Target(HILBERT, np.where(np.arange(16) == 3, np.nan, 1.0)),
        E.AmplitudesError,
        ["1 that are not finite", "basis state 3"],
        ["finite numbers", "np.exp"],
    ),
    "amplitudes, no numbers": (
        lambda: qs.targets.Target(HILBERT, "psi"),
        E.AmplitudesError,
        ["str"],
        ["np.ones(hilbert.n_states)"],
    ),
    "amplitudes, of an entropy": (
        lambda: qs.entanglement.entropies(np.zeros(16), HILBERT, [0]),
        E.AmplitudesError,
        ["all zero"],
        ["cannot be normalised"],
    ),
    # Optimisers without a closed form.
    **{
        f"optimiser, {name}": (
            lambda name=name: driver(name, optimizer=optax.adam(1e-3)),
            E.NonLinearOptimizerError,
            ["not linear"],
            ["optax.sgd", "QSNTKDriver"],
        )
        for name in ("LinearizedDriver", "InfiniteWidthDriver")
    },
    "optimiser, dynamics": (
        lambda: qs.dynamics.LinearDynamics(KERNEL, TRAIN, optimizer=optax.adam(1e-3)),
        E.NonLinearOptimizerError,
        ["not linear"],
        ["optax.sgd", "QSNTKDriver"],
    ),
    "optimiser, flow": (
        lambda: flow(optimizer=optax.adam(1e-3)),
        E.NonLinearOptimizerError,
        ["not linear"],
        ["optax.sgd"],
    ),
    # Models without a known limit.
    "limit, kernel": (
        lambda: qs.kernels.infinite_width(nk.models.RBMMultiVal(n_classes=2)),
        E.UnknownKernelError,
        ["RBMMultiVal"],
        ["qs.kernels.infinite_width.register", "qs.kernels.from_stax"],
    ),
    "limit, driver": (
        lambda: driver(
            "InfiniteWidthDriver", state=ensemble(model=nk.models.RBMMultiVal(n_classes=2))
        ),
        E.UnknownKernelError,
        ["RBMMultiVal"],
        ["qs.kernels.from_stax"],
    ),
    "limit, state": (
        lambda: qs.vqs.InfiniteState(HILBERT, nk.models.RBMMultiVal(n_classes=2)),
        E.UnknownKernelError,
        ["RBMMultiVal"],
        ["qs.kernels.from_stax"],
    ),
    # Partitions.
    **{
        f"partition {sites}, {name}": (
            lambda make=make, sites=sites: make(sites),
            E.PartitionError,
            words,
            ["site"],
        )
        for sites, words in (((), []), ((4,), ["4"]), ((-1,), ["-1"]), ((0, 0), ["0"]))
        for name, make in (
            ("function", lambda s: qs.entanglement.entropies(np.ones(16), HILBERT, s)),
            ("observable", lambda s: qs.observable.EntanglementEntropy(HILBERT, s)),
            ("ensemble", lambda s: qs.observable.EnsembleEntropy(HILBERT, s)),
        )
    },
    # Bases too large to sum over.
    "large, target": (
        lambda: qs.targets.Target(LARGE, []),
        E.SystemTooLargeError,
        ["too many to number", "N=40"],
        ["nk.vqs.MCState", "qs.driver.QSNTKDriver"],
    ),
    "large, states": (
        lambda: qs.targets.all_states(LARGE),
        E.SystemTooLargeError,
        ["N=40"],
        ["nk.vqs.MCState"],
    ),
    "large, ensemble": (
        lambda: ensemble(LARGE).to_array(),
        E.SystemTooLargeError,
        ["N=40"],
        ["nk.vqs.MCState"],
    ),
    "large, infinite state": (
        lambda: qs.vqs.InfiniteState(LARGE, NET).sample(1),
        E.SystemTooLargeError,
        ["N=40"],
        ["nk.vqs.MCState"],
    ),
    "large, covariance": (
        lambda: qs.vqs.InfiniteState(nk.hilbert.Spin(0.5, 16), NET).covariance,
        E.SystemTooLargeError,
        ["65536"],
        ["32768"],
    ),
    "large, entropy": (
        lambda: qs.entanglement.entropies(np.ones(4), LARGE, [0]),
        E.SystemTooLargeError,
        ["N=40"],
        ["annealed_renyi", "EntanglementEntropy"],
    ),
    "large, drawn members": (
        lambda: qs.entanglement.draw_members(NET, LARGE, 2),
        E.SystemTooLargeError,
        ["N=40"],
        ["annealed_renyi"],
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_an_error_says_what_came_what_was_expected_and_what_to_call(case):
    call, kind, came, expected = CASES[case]
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    for words in (*came, *expected):
        assert words in message
    assert isinstance(caught.value, E.QSNTKError)
    assert isinstance(caught.value, (ValueError, TypeError))
    # Nobody reads a message of a page, or one that prints an array.
    assert len(message) < 700


FAST = {
    "LinearizedDriver": lambda r: driver("LinearizedDriver", optimizer=optax.sgd(r), n_train=12),
    "InfiniteWidthDriver": lambda r: driver(
        "InfiniteWidthDriver", optimizer=optax.sgd(r), n_train=12
    ),
    "dynamics": lambda r: qs.dynamics.LinearDynamics(KERNEL, TRAIN, learning_rate=r),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAST)
def test_a_rate_beyond_the_limit_is_a_warning_with_the_limit(name):
    limit = qs.kernels.max_learning_rate(KERNEL, TRAIN.states)
    rate = 10 * limit
    with pytest.warns(E.UnstableLearningRateWarning, match="η = .*max_learning_rate") as caught:
        FAST[name](rate)
    if name != "LinearizedDriver":  # whose networks have limits of their own
        assert f"η = {limit:.6g}," in str(caught[0].message)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "call",
    {
        "nngp": lambda x: KERNEL.nngp(x),
        "ntk": lambda x: KERNEL.ntk(x, x[:3]),
        "operator": lambda x: KERNEL.operator(x).as_matrix(),
        "empirical": lambda x: qs.kernels.empirical(ensemble().get_state(0), x).theta_11,
        "members": lambda x: ensemble().psi(x),
        "model": lambda x: NET.apply(ensemble().get_state(0).variables, x),
        "spins": qs.encodings.spins,
    }.values(),
)
def test_int8_is_cast_before_any_arithmetic(call):
    x = np.asarray(X)
    assert x.dtype == np.int8
    np.testing.assert_allclose(call(x), call(x.astype(float)), rtol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("name", DRIVERS)
def test_a_run_that_stops_half_way_loses_nothing(name):
    class Stop(nk.callbacks.AbstractCallback):
        def on_step_end(self, step, log_data, driver):
            if step == 3:
                raise RuntimeError("power cut")

    log, made = nk.logging.RuntimeLog(), driver(name, n_train=12)
    with pytest.raises(RuntimeError, match="power cut"):
        made.run(10, out=log, callback=Stop(), show_progress=False)
    assert len(log.data["Loss"]) >= 3
    assert np.isfinite(log.data["loss/test"].Mean).all()
    before = made.step_count
    made.run(2, out=nk.logging.RuntimeLog(), show_progress=False)
    assert made.step_count == before + 2


def test_every_error_is_a_builtin_too_and_documented():
    for name, kind in vars(E).items():
        if not (inspect.isclass(kind) and issubclass(kind, E.QSNTKError | E.QSNTKWarning)):
            continue
        assert kind.__doc__, name
        if kind not in (E.QSNTKError, E.QSNTKWarning):
            bases = set(kind.__mro__) - {Exception, BaseException, object, Warning}
            assert any(base.__module__ == "builtins" for base in bases), name

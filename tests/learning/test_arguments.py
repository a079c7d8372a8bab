"""The wrong kind of first argument: each public function says what came and what to call."""

import copy
import pickle

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

L, E = qs.learning, qs.errors
HILBERT = nk.hilbert.Spin(0.5, 4)
MODEL = qs.models.WideMLP(widths=(4,))
POWER = np.ones(5) / 80
CALLS = {
    "levels": (lambda x: L.levels(x, HILBERT), E.InvalidModelError, "qs.kernels.infinite_width"),
    "dense_curve": (
        lambda x: L.dense_curve(x, qs.targets.Target(HILBERT, np.ones(16)), [4]),
        E.InvalidModelError,
        "qs.kernels.infinite_width",
    ),
    "learning_curve": (
        lambda x: L.learning_curve(x, POWER, [4]),
        E.NoLevelsError,
        "qs.learning.levels",
    ),
    "log_evidence": (
        lambda x: L.log_evidence(x, POWER, [4]),
        E.NoLevelsError,
        "qs.learning.levels",
    ),
    "stochastic_curve": (
        lambda x: L.stochastic_curve(x, POWER, [4], learning_rate=0.1, batch_size=2),
        E.NoLevelsError,
        "qs.learning.levels",
    ),
    "max_stochastic_rate": (
        lambda x: L.max_stochastic_rate(x, 4),
        E.NoLevelsError,
        "qs.learning.levels",
    ),
    "samples_needed": (lambda x: L.samples_needed(x), E.NoLevelsError, "qs.learning.levels"),
    "target_power": (lambda x: L.target_power(x), E.TargetPowerError, "qs.targets.Target"),
    "ChainState": (lambda x: L.ChainState(x), E.TargetPowerError, "qs.learning.product_state"),
    "product_state": (lambda x: L.product_state(x), E.TargetPowerError, "(d, 2)"),
    "ising_quench": (
        lambda x: L.ising_quench(x, J=1.0, time=0.1),
        E.TargetPowerError,
        "whole number",
    ),
    "Levels": (
        lambda x: L.Levels(x, x, np.ones(5), 16.0, np.ones(5)),
        E.NoLevelsError,
        "qs.learning.levels",
    ),
    "TargetPower": (lambda x: L.TargetPower(x), E.TargetPowerError, "qs.learning.target_power"),
}
RESULTS = {"LearningCurve", "StochasticCurve"}
WRONG = {"a model": MODEL, "words": "levels", "a Hilbert space": HILBERT}


def test_every_public_function_is_asked() -> None:
    assert set(CALLS) | RESULTS == set(L.__all__)


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_the_wrong_kind_of_first_argument_is_named(name, given) -> None:
    call, error, advice = CALLS[name]
    with pytest.raises(error) as raised:
        call(WRONG[given])
    message = str(raised.value)
    came = repr(WRONG[given]) if name == "ising_quench" else type(WRONG[given]).__name__
    assert came in message
    assert advice in message


def test_levels_of_what_is_no_hilbert_space_and_curves_of_what_is_no_target() -> None:
    kernel = qs.kernels.infinite_width(MODEL)
    for wrong in (4, nk.graph.Chain(4), "spins"):
        with pytest.raises(E.NoLevelsError, match=type(wrong).__name__):
            L.levels(kernel, wrong)
    with pytest.raises(E.TargetPowerError, match="list: expected a qs.targets.Target"):
        L.dense_curve(kernel, [1.0, 2.0], [1])


def test_levels_of_different_lengths_are_refused() -> None:
    with pytest.raises(E.NoLevelsError, match="shapes"):
        L.Levels(np.ones(5), np.ones(5), np.ones(4), 16.0, np.ones(5))


LEVELS = L.levels(qs.kernels.infinite_width(MODEL), HILBERT)
WITH_POWER = {
    "learning_curve": lambda power: L.learning_curve(LEVELS, power, [4]),
    "log_evidence": lambda power: L.log_evidence(LEVELS, power, [4]),
    "stochastic_curve": lambda power: L.stochastic_curve(
        LEVELS, power, [4], learning_rate=0.1, batch_size=2
    ),
}


@pytest.mark.parametrize("name", WITH_POWER)
def test_powers_are_mean_squares_of_a_target_on_the_space_of_the_levels(name) -> None:
    call = WITH_POWER[name]
    for wrong in (-POWER, POWER * np.nan, 1j * POWER):
        with pytest.raises(E.TargetPowerError, match="mean squares, finite numbers >= 0"):
            call(wrong)
    with pytest.raises(E.TargetPowerError, match=r"shape \(4,\)"):
        call(POWER[:4])
    sector = nk.hilbert.Spin(0.5, 8, total_sz=0)
    elsewhere = L.target_power(qs.targets.Target(sector, np.ones(70)))
    assert len(elsewhere) == len(LEVELS)
    with pytest.raises(E.TargetPowerError, match="on 70 configurations, .* are of 16"):
        call(elsewhere)


def test_powers_keep_what_they_know_of_their_target() -> None:
    power = L.target_power(qs.targets.Target(HILBERT, np.ones(16)))
    for copied in (
        copy.copy(power),
        copy.deepcopy(power),
        pickle.loads(pickle.dumps(power)),
        2 * power,
    ):
        assert copied.n_states == 16
        assert copied.participation == power.participation == 16
    assert L.target_power(L.product_state([[1.0, 0.5]] * 100)).n_states == 2.0**100


@pytest.mark.parametrize("ridge", [-1.0, np.inf, np.nan, np.zeros(2)])
def test_ridges_are_one_finite_number(ridge) -> None:
    for call in (
        lambda: L.learning_curve(LEVELS, POWER, [4], ridge=ridge),
        lambda: L.log_evidence(LEVELS, POWER, [4], ridge=ridge),
        lambda: L.stochastic_curve(
            LEVELS, POWER, [4], learning_rate=0.1, batch_size=2, method="minsr", ridge=ridge
        ),
        lambda: L.max_stochastic_rate(LEVELS, 2, method="minsr", ridge=ridge),
        lambda: L.samples_needed(LEVELS, ridge=ridge),
    ):
        with pytest.raises(E.InvalidTrainingError, match="one finite number >= 0"):
            call()


@pytest.mark.parametrize("sizes", [[], [0], [16], [17], [[1, 2]], [np.nan]])
def test_training_sets_leave_something_unseen(sizes) -> None:
    for call in (L.learning_curve, L.log_evidence):
        with pytest.raises(E.InvalidTrainingError, match="above 0 and below the 16"):
            call(LEVELS, POWER, sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "from 1 up"),
        ({"batch_size": np.nan}, "from 1 up"),
        ({"batch_size": 17, "replace": False}, "there are 16 configurations"),
        ({"batch_size": 16, "method": "minsr"}, "fewer than all 16"),
        ({"batch_size": 2, "method": "SGD"}, "expected 'sgd' or 'minsr'"),
    ],
)
def test_batches_that_cannot_be_drawn_are_refused(options, message) -> None:
    with pytest.raises(E.InvalidTrainingError, match=message):
        L.stochastic_curve(LEVELS, POWER, [1], learning_rate=0.1, **options)
    with pytest.raises(E.InvalidTrainingError, match=message):
        L.max_stochastic_rate(LEVELS, **options)


@pytest.mark.parametrize("rate", [0.0, -0.1, np.inf, np.nan, np.array([0.1, 0.2])])
def test_learning_rates_are_one_finite_number(rate) -> None:
    with pytest.raises(E.InvalidTrainingError, match="one finite number > 0"):
        L.stochastic_curve(LEVELS, POWER, [1], learning_rate=rate, batch_size=2)

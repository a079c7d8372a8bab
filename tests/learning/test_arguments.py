"""The wrong kind of first argument: each public function says what came and what to call."""

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

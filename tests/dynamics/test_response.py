"""Modes under linear optimisers: residuals and displacements."""

import mpmath
import netket  # noqa: F401  switches JAX to float64
import numpy as np
import optax
import pytest

from netket_qsntk.dynamics.optimizers import ScheduledRun
from netket_qsntk.dynamics.response import (
    AffineResponse,
    GradientDescent,
    GradientFlow,
    ScheduledResponse,
    optimizer_response,
)
from netket_qsntk.dynamics.settings import make_response
from netket_qsntk.errors import (
    InvalidTrainingError,
    UndefinedLimitError,
)
from tests.dynamics.oracles import LINEAR

N_TRAIN = 10
# With s = 2η/n = 0.1: null, slow, fast, sλ = 1 exactly, beyond 1, just below 2.
EIGENVALUES = np.array([0.0, 1e-9, 0.3, 7.0, 10.0, 14.0, 19.9])
RATE = 0.5


def by_steps(optimizer, eigenvalues, n_steps):
    """Residual and displacement of each mode from the optimiser applied to it n_steps times."""
    alpha = np.zeros_like(eigenvalues)
    state = optimizer.init(alpha)
    residuals, displacements = [np.ones_like(eigenvalues)], [-alpha]
    for _ in range(n_steps):
        gradient = 2 / N_TRAIN * residuals[-1]
        update, state = optimizer.update(gradient, state, alpha)
        alpha = alpha + np.asarray(update)
        residuals.append(1 + eigenvalues * alpha)
        displacements.append(-alpha)
    return np.stack(residuals), np.stack(displacements)


@pytest.mark.parametrize("name", LINEAR)
def test_every_linear_optimizer_equals_its_own_steps(name):
    optimizer = LINEAR[name](RATE)
    response = make_response(N_TRAIN, None, optimizer, "gd")
    r, a = by_steps(optimizer, EIGENVALUES, 60)
    steps = np.array([0.0, 1, 2, 3, 17, 18, 60, 5])
    ours = response.curves(steps, EIGENVALUES)
    pick = steps.astype(int)
    np.testing.assert_allclose(ours[0], r[pick], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(ours[1], a[pick], rtol=1e-11, atol=1e-13)


def test_plain_sgd_takes_the_closed_form_and_the_others_their_recursion():
    assert isinstance(make_response(N_TRAIN, None, optax.sgd(RATE), "gd"), GradientDescent)
    assert isinstance(make_response(N_TRAIN, RATE, None, "flow"), GradientFlow)
    assert isinstance(make_response(N_TRAIN, None, optax.sgd(RATE), "flow"), GradientFlow)
    for name in set(LINEAR) - {"sgd"}:
        response = make_response(N_TRAIN, None, LINEAR[name](RATE), "gd")
        assert isinstance(response, AffineResponse | ScheduledResponse), name


@pytest.mark.parametrize("t", [1, 1000, 10**9])
def test_slow_modes_keep_their_digits_over_many_steps(t):
    s, eigenvalues = 0.1, np.array([1e-15, 1e-8, 1e-3, 4.9, 5.1, 19.99999])
    r, a = GradientDescent(s).curves(np.array([float(t)]), eigenvalues)
    with mpmath.workdps(50):
        exact_r = [(1 - mpmath.mpf(s) * mpmath.mpf(x)) ** t for x in eigenvalues]
        exact_a = [(1 - r1) / mpmath.mpf(x) for r1, x in zip(exact_r, eigenvalues, strict=True)]
    slack = 1e-14 + 1e-16 * t  # of log|1 - sλ| itself, t times
    for ours, exact in zip(r[0], exact_r, strict=True):
        assert abs(ours - float(exact)) <= slack * abs(float(exact)) + 1e-290
    np.testing.assert_allclose(a[0, :-1], np.array(exact_a[:-1], float), rtol=slack)
    # Near 2 the product sλ itself, rounded, is a thousand times less exact.
    np.testing.assert_allclose(a[0, -1], float(exact_a[-1]), rtol=1e-9)


def test_flow_is_gradient_descent_in_infinitely_many_small_steps():
    steps = np.array([0.0, 0.5, 3.0, 40.0])
    fine = 10**7
    flow = GradientFlow(0.1).curves(steps, EIGENVALUES)
    gd = GradientDescent(0.1 / fine).curves(steps * fine, EIGENVALUES)
    np.testing.assert_allclose(flow[0], gd[0], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(flow[1], gd[1], rtol=1e-6)


@pytest.mark.parametrize("kind", ["gd", "flow", "momentum", "weight decay"])
def test_infinity_is_the_limit_of_many_steps_and_null_modes_stay(kind):
    if kind in ("gd", "flow"):
        response = make_response(N_TRAIN, RATE, None, kind)
    else:
        response = make_response(N_TRAIN, None, LINEAR[kind](RATE), "gd")
    eigenvalues = np.array([0.0, 0.3, 7.0, 14.0, 19.0])
    r, a = response.curves(np.array([20000.0, np.inf]), eigenvalues)
    np.testing.assert_allclose(r[1, 1:], r[0, 1:], atol=1e-12)
    np.testing.assert_allclose(a[1, 1:], a[0, 1:], rtol=1e-12)
    assert r[1, 0] == 1
    assert a[1, 0] == 0


def test_a_diverging_mode_is_infinite_at_infinity_and_follows_its_powers_before():
    for response in (
        GradientDescent(0.1),
        optimizer_response(optax.sgd(0.5, momentum=0.1), N_TRAIN),
    ):
        r, a = response.curves(np.array([np.inf]), np.array([25.0]))
        assert not np.isfinite(r[0, 0])
        assert not np.isfinite(a[0, 0])
    r, _ = GradientDescent(0.1).curves(np.array([2.0, 3.0]), np.array([25.0]))
    np.testing.assert_allclose(r[:, 0], [2.25, -3.375], rtol=1e-14)


def test_a_schedule_has_no_limit_and_says_so():
    response = make_response(N_TRAIN, None, LINEAR["schedule"](RATE), "gd")
    with pytest.raises(UndefinedLimitError, match="schedule"):
        response.curves(np.array([1.0, np.inf]), EIGENVALUES)


def test_of_a_fractional_step_the_completed_ones_count_in_gradient_descent():
    for optimizer in (LINEAR["sgd"](RATE), LINEAR["momentum"](RATE)):
        response = make_response(N_TRAIN, None, optimizer, "gd")
        half = response.curves(np.array([0.9, 3.5]), EIGENVALUES)
        whole = response.curves(np.array([0.0, 3.0]), EIGENVALUES)
        np.testing.assert_array_equal(half[0], whole[0])
        np.testing.assert_array_equal(half[1], whole[1])


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "factor"), [("sgd", 1.0), ("momentum", 1.8)])
def test_stability_limit_is_one_plus_momentum_over_the_top_eigenvalue(name, factor):
    top = 8.0
    limit = factor * N_TRAIN / top  # η_max = (1 + β) |B| / λ_max
    response = make_response(N_TRAIN, None, LINEAR[name](1.0), "gd")
    assert response.stability_margin(top) == pytest.approx(limit, rel=1e-9)
    for eta, stable in ((0.999 * limit, True), (1.001 * limit, False)):
        r, _ = by_steps(LINEAR[name](eta), np.array([top]), 20000)
        assert (np.abs(r[-1, 0]) < 1) == stable
        assert (make_response(N_TRAIN, None, LINEAR[name](eta), "gd").growth(top) <= 1) == stable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, "gd"), "neither"),
        ((0.1, optax.sgd(0.1), "gd"), "both"),
        ((0.1, None, "discrete"), "'gd' or 'flow'"),
        ((-0.1, None, "gd"), "> 0"),
        ((float("nan"), None, "flow"), "> 0"),
        ((None, optax.sgd(0.1, momentum=0.9), "flow"), "optax.sgd"),
    ],
)
def test_contradictory_options_are_named(arguments, message):
    with pytest.raises(InvalidTrainingError, match=message):
        make_response(N_TRAIN, *arguments)


def test_a_mode_that_trains_in_one_step_is_finite_in_float32():
    # 1 - sλ = 0, and what keeps its logarithm finite must not be zero in single precision.
    response = GradientDescent(0.5)
    r, a = response.curves(np.arange(3, dtype=np.float32), np.array([2.0], np.float32))
    np.testing.assert_allclose(r[:, 0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(a[:, 0], [0, 0.5, 0.5], atol=1e-6)


def test_a_curve_that_is_read_in_blocks_runs_each_step_of_a_schedule_once(monkeypatch):
    ran = []
    advance = ScheduledRun.advance
    monkeypatch.setattr(
        ScheduledRun,
        "advance",
        lambda run, times: ran.append(times[-1] - run.time) or advance(run, times),
    )
    response = make_response(N_TRAIN, None, LINEAR["schedule"](RATE), "gd")
    whole = make_response(N_TRAIN, None, LINEAR["schedule"](RATE), "gd").curves(
        np.arange(100.0), EIGENVALUES
    )
    ran.clear()
    for block in np.split(np.arange(100.0), [10, 40]):
        r, a = response.curves(block, EIGENVALUES)
        few = response.displacements(block[::3], EIGENVALUES[[2, 4]])
        np.testing.assert_array_equal(few, a[::3, [2, 4]])
        np.testing.assert_allclose(r, whole[0][block.astype(int)], rtol=1e-12)
    assert sum(ran) == 99


def test_late_steps_of_momentum_cost_no_more_than_early_ones_and_are_exact():
    response = make_response(N_TRAIN, None, optax.sgd(0.1, momentum=0.9), "gd")
    t, values = 10**7, np.array([1e-6, 1e-5])
    r, _ = response.curves(np.array([float(t)]), values)
    with mpmath.workdps(50):
        for ours, value in zip(r[0], values, strict=True):
            rate = mpmath.mpf(0.1) * 2 / N_TRAIN * mpmath.mpf(value)
            step = mpmath.matrix([[1 - rate, mpmath.mpf(0.9)], [-rate, mpmath.mpf(0.9)]])
            exact = (step**t)[0, 0]
            assert abs(ours - float(exact)) < 1e-8

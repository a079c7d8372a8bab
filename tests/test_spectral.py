"""Eigenvalues at the boundaries: the floor of rounding, the stability limit."""

import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk import spectral
from netket_qsntk.dynamics.response import GradientDescent, GradientFlow, optimizer_response
from netket_qsntk.dynamics.settings import warn_if_unstable


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ranks_count_what_is_above_the_floor_in_the_dtype_of_the_eigenvalues(dtype):
    eps = np.finfo(dtype).eps
    values = np.array([1.0, 5 * eps, 3.9 * eps, -eps], dtype)
    assert spectral.floor_of(values) == pytest.approx(4 * eps, rel=1e-6)
    assert spectral.rank(values) == 2
    assert np.count_nonzero(spectral.without_rounding(values)) == 2
    assert spectral.condition_number(values) == np.inf
    assert spectral.rank(values, rtol=0.5) == 1
    assert spectral.rank(values[:2], counts=[1, 10]) == 1


def test_no_eigenvalues_and_zero_ones_have_rank_zero_and_an_infinite_limit():
    assert spectral.rank(np.zeros(0)) == spectral.rank(np.zeros(3)) == 0
    assert spectral.effective_rank(np.zeros(3)) == 1
    assert spectral.learning_rate_limit(0.0, 3) == np.inf


@pytest.mark.parametrize("nudge", [-3e-14, -1e-16, 0.0, 1e-16, 3e-14])
def test_a_mode_at_the_stability_limit_does_not_decay_however_its_factor_is_rounded(nudge):
    z = np.array([2.0 + nudge, 1.0, 1e-9])
    assert spectral.at_limit(z).tolist() == [True, False, False]
    rates = spectral.decay_rates(z)
    assert rates[0] == 0
    assert np.all(rates[1:] > 0)
    found = qs.kernels.spectrum(np.diag(z), residual=np.ones(3))
    assert np.isinf(found.mode_steps(1.5)).tolist() == [True, False, False]
    assert found.losses(np.inf, 1.5) == pytest.approx(1 / 3)


@pytest.mark.parametrize("nudge", [-3e-14, 0.0, 3e-14])
def test_the_limit_of_an_alternating_mode_is_that_of_even_steps(nudge):
    values = np.array([20.0 + nudge, 5.0])
    responses = (
        GradientDescent(0.1),
        optimizer_response(optax.sgd(0.5), 10),
        # With momentum β the limit is (1 + β) times larger.
        optimizer_response(optax.sgd(0.5 * 1.25, momentum=0.25), 10),
    )
    for response in responses:
        late, limit = (response.curves(np.array([t]), values) for t in (2000.0, np.inf))
        for at_late, at_limit in zip(late, limit, strict=True):
            np.testing.assert_allclose(at_limit, at_late, rtol=1e-9, atol=1e-9)
        sums = response.square_sums(np.array([np.inf]), values, np.eye(2))[0]
        np.testing.assert_allclose(sums, np.asarray(limit[0][0]) ** 2)


def test_training_at_the_limit_is_finite_at_infinity_and_does_not_warn(recwarn):
    hi = nk.hilbert.Spin(0.5, 4)
    target = qs.targets.Target(hi, np.random.default_rng(0).normal(size=16))
    kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
    train, test = target.split(12, seed=0)
    rate = qs.kernels.max_learning_rate(kernel, train.states)
    dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate)
    losses = dynamics.curves([10_000_000, np.inf], test)
    for found in (losses.train.total, losses.test.total, losses.fidelity):
        np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert not [w for w in recwarn if issubclass(w.category, qs.errors.UnstableLearningRateWarning)]


def test_margins_to_the_stability_limit():
    assert GradientDescent(1.0).stability_margin(1.0) == 2
    assert GradientDescent(0.5).stability_margin(1.0) == pytest.approx(4, rel=1e-14)
    assert GradientFlow(1.0).stability_margin(1.0) == np.inf
    assert GradientDescent(1.0).stability_margin(0.0) == np.inf
    momentum = optimizer_response(optax.sgd(1.0, momentum=0.5), 2)
    assert momentum.stability_margin(1.0) == pytest.approx(3, rel=1e-9)
    with pytest.warns(qs.errors.UnstableLearningRateWarning, match="0.8"):
        warn_if_unstable(GradientDescent(1.0), 2.5, 2)

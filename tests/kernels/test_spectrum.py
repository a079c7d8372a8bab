"""Spectra and what they predict, against gradient descent and direct diagonalisation."""

from math import comb

import netket as nk
import numpy as np
import pytest
import scipy.linalg

import netket_qsntk as qs

X = nk.hilbert.Spin(0.5, 6).all_states()
KERNEL = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), activation="erf", sigma_b=0.3))
RNG = np.random.default_rng(0)
RESIDUAL = RNG.normal(size=64) + 1j * RNG.normal(size=64)


def test_numbers_of_a_known_spectrum():
    values = np.array([8.0, 4.0, 2.0, 1.0])
    basis = scipy.linalg.qr(RNG.normal(size=(4, 4)))[0]
    found = qs.kernels.spectrum(basis @ np.diag(values) @ basis.T)
    np.testing.assert_allclose(found.eigenvalues, values, rtol=1e-12)
    assert found.condition_number == pytest.approx(8)
    assert found.max_learning_rate == pytest.approx(0.5)
    p = values / 15
    assert found.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert found.rank() == 4
    assert found.rank(rtol=0.3) == 2
    assert found.summary()["largest"] == pytest.approx(8)


def test_a_singular_kernel_is_called_singular():
    factor = RNG.normal(size=(40, 7))
    found = qs.kernels.spectrum(factor @ factor.T)
    assert found.rank() == 7
    assert found.condition_number == np.inf
    assert abs(found.smallest) <= found.floor
    assert qs.kernels.spectrum(np.eye(5)).effective_rank == pytest.approx(5)
    zero = qs.kernels.spectrum(np.zeros((3, 3)))
    assert (zero.rank(), zero.max_learning_rate) == (0, np.inf)


def descend(matrix, residual, learning_rate, steps):
    losses = []
    for _ in range(steps + 1):
        losses.append((np.abs(residual) ** 2).mean())
        residual = residual - 2 * learning_rate / len(residual) * (matrix @ residual)
    return np.array(losses)


def test_predicted_losses_are_those_of_gradient_descent():
    matrix = np.asarray(KERNEL.ntk(X))
    found = qs.kernels.spectrum(KERNEL, X, residual=RESIDUAL)
    rate = 0.9 * found.max_learning_rate
    expected = descend(matrix, RESIDUAL, rate, 50)
    np.testing.assert_allclose(found.losses(np.arange(51), rate), expected, rtol=1e-10)
    assert found.loss == pytest.approx(expected[0])
    assert found.alignment.sum() == pytest.approx(1)
    flow = found.losses(7.0, rate, mode="flow")
    moved = scipy.linalg.expm(-2 * rate * 7.0 / 64 * matrix) @ RESIDUAL
    assert flow == pytest.approx((np.abs(moved) ** 2).mean(), rel=1e-10)


def test_steps_to_a_loss_is_the_first_step_at_or_below_it():
    found = qs.kernels.spectrum(KERNEL, X, residual=RESIDUAL)
    rate = 0.9 * found.max_learning_rate
    curve = found.losses(np.arange(400), rate)
    for level in (0.9, 0.5, 0.3):
        loss = level * found.loss
        assert found.steps_to_loss(loss, rate) == np.argmax(curve <= loss)
        time = found.steps_to_loss(loss, rate, mode="flow")
        assert found.losses(time, rate, mode="flow") == pytest.approx(loss, rel=1e-9)
    assert found.steps_to_loss(2 * found.loss, rate) == 0
    assert found.steps_to_loss(0.5 * found.loss, 3 * rate) == np.inf


def test_what_lies_in_the_null_space_never_trains():
    relu = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
    parity = X.astype(float)[:, :3].prod(1)
    found = qs.kernels.spectrum(relu, X, residual=parity)
    assert found.losses(np.inf, found.max_learning_rate) == pytest.approx(1)
    assert found.steps_to_loss(0.99, found.max_learning_rate) == np.inf
    null = comb(6, 3) + comb(6, 5)
    assert np.isinf(found.mode_steps(0.9 * found.max_learning_rate)).sum() == null
    # At the stability limit the top mode does not decay either, whichever way its factor is rounded.
    assert np.isinf(found.mode_steps(found.max_learning_rate)).sum() == null + 1


def test_steps_of_a_mode():
    found = qs.kernels.spectrum(np.diag([4.0, 1.0, 0.25]))
    rate = 0.3 * found.max_learning_rate
    expected = np.log(0.1) / np.log(np.abs(1 - 2 * rate * np.array([4.0, 1.0, 0.25]) / 3))
    np.testing.assert_allclose(found.mode_steps(rate, reduction=0.1), expected, rtol=1e-12)
    flow = -np.log(0.1) * 3 / (2 * rate * np.array([4.0, 1.0, 0.25]))
    np.testing.assert_allclose(found.mode_steps(rate, reduction=0.1, mode="flow"), flow, rtol=1e-12)
    assert np.isinf(found.mode_steps(1.1 * found.max_learning_rate)[0])


@pytest.mark.thorough
def test_networks_by_their_parts():
    """Mixing parts: Ω_RI; independent ones: the modes of both; a real network cannot learn Im ψ."""
    hi = nk.hilbert.Spin(0.5, 3)
    x, residual = hi.all_states(), RESIDUAL[:8]
    for parts in ("shared", "independent", "real"):
        vs = nk.vqs.FullSumState(hi, qs.models.CosNet(20, parts=parts), seed=1)
        block = qs.kernels.empirical(vs, x)
        found = qs.kernels.spectrum(qs.kernels.EmpiricalKernel(vs), x, residual=residual)
        rate = 0.5 * found.max_learning_rate
        omega = np.asarray(block.omega_ri)
        stacked = np.concatenate([residual.real, residual.imag])
        for step in range(4):
            assert found.losses(step, rate) == pytest.approx((stacked**2).sum() / 8, rel=1e-10)
            stacked = stacked - 2 * rate / 8 * omega @ stacked
        expected = np.linalg.eigvalsh(block.theta_11 if parts == "real" else omega)
        np.testing.assert_allclose(np.sort(found.eigenvalues), expected, atol=1e-12)
        assert qs.kernels.max_learning_rate(qs.kernels.EmpiricalKernel(vs), x) == pytest.approx(
            found.max_learning_rate, rel=1e-10
        )


@pytest.mark.parametrize("n", [1, 10, 64])
def test_max_learning_rate_against_eigvalsh(n):
    top = np.linalg.eigvalsh(KERNEL.ntk(X[:n]))[-1]
    assert qs.kernels.max_learning_rate(KERNEL, X[:n]) == pytest.approx(n / top, rel=1e-10)


@pytest.mark.thorough
def test_the_limit_is_where_gradient_descent_diverges():
    matrix = np.asarray(KERNEL.ntk(X))
    limit = qs.kernels.max_learning_rate(KERNEL, X)
    assert descend(matrix, RESIDUAL, 0.99 * limit, 500)[-1] < 1
    assert descend(matrix, RESIDUAL, 1.01 * limit, 500)[-1] > 100


def test_errors():
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"spectrum\(kernel, states\)"):
        qs.kernels.spectrum(KERNEL)
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="square"):
        qs.kernels.spectrum(np.ones((2, 3)))
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"expected \(64,\)"):
        qs.kernels.spectrum(KERNEL, X, residual=np.ones(3))
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="residual="):
        qs.kernels.spectrum(KERNEL, X).losses(1, 0.1)
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="empty"):
        qs.kernels.max_learning_rate(KERNEL, X[:0])

"""Eqs. 6-12 and S5-S14 for arbitrary Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netket_qsntk as qs


@st.composite
def jacobians(draw):
    n, m, p = (draw(st.integers(1, 5)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return tuple(scale * (rng.normal(size=(k, p)) + 1j * rng.normal(size=(k, p))) for k in (n, m))


def kernel(left: np.ndarray, right: np.ndarray | None = None) -> qs.kernels.QSNTK:
    other = left if right is None else right
    blocks = [
        jnp.asarray(a @ b.T)
        for a, b in (
            (left.real, other.real),
            (left.imag, other.imag),
            (left.real, other.imag),
            (left.imag, other.real),
        )
    ]
    return qs.kernels.QSNTK(*(blocks if right is not None else blocks[:3]))


def rotation(n: int) -> np.ndarray:
    return np.kron([[1, 1j], [1, -1j]], np.eye(n))


def close(a, b, scale):
    np.testing.assert_allclose(a, b, atol=1e-13 * scale, rtol=1e-12)


@pytest.mark.thorough
@settings(deadline=None, max_examples=30)
@given(jacobians())
def test_rectangular_blocks_are_products_of_jacobians(pair):
    x, y = pair
    found, scale = kernel(x, y), np.abs(x @ y.conj().T).max() + np.abs(x @ y.T).max()
    close(found.theta, x @ y.T, scale)
    close(found.phi, x @ y.conj().T, scale)
    stacked_x, stacked_y = np.vstack([x, x.conj()]), np.vstack([y, y.conj()])
    # The second index of Ω is that of ∂L/∂ψ, so that its columns hold ψ and then ψ*.
    close(found.omega, stacked_x @ stacked_y.T, scale)
    np.testing.assert_array_equal(found.rotation(len(x)), rotation(len(x)))
    close(found.omega, rotation(len(x)) @ found.omega_ri @ rotation(len(y)).T, scale)


@pytest.mark.thorough
@settings(deadline=None, max_examples=30)
@given(jacobians())
def test_square_kernels_have_their_symmetries(pair):
    x, _ = pair
    found, scale = kernel(x), np.abs(x @ x.conj().T).max()
    close(found.theta, found.theta.T, scale)
    close(found.phi, found.phi.conj().T, scale)
    close(found.omega_ri, found.omega_ri.T, scale)
    close(found.omega, rotation(len(x)) @ found.omega_ri @ rotation(len(x)).T, scale)
    assert np.linalg.eigvalsh(found.omega_ri).min() >= -1e-12 * scale
    assert np.linalg.eigvalsh(found.phi).min() >= -1e-12 * scale
    close(kernel(x, x).omega, found.omega, scale)


@settings(deadline=None, max_examples=20)
@given(jacobians())
def test_omega_moves_psi_as_gradient_descent_does(pair):
    """dψ/dτ = -η Σ Θ ∂L/∂ψ + Φ ∂L/∂ψ* (Eq. 8) is J dθ/dτ for real parameters."""
    x, _ = pair
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=len(x)) + 1j * rng.normal(size=len(x))  # ∂L/∂ψ
    theta_dot = -2 * (x.T @ gradient).real  # -∂L/∂θ
    found, scale = kernel(x), np.abs(x @ x.conj().T).sum() * np.abs(gradient).max()
    moved = -found.omega @ np.concatenate([gradient, gradient.conj()])
    close(moved[: len(x)], x @ theta_dot, scale)
    close(moved[len(x) :], (x @ theta_dot).conj(), scale)


def test_decoupling_is_relative():
    one = jnp.eye(3)
    for scale in (1e-8, 1.0, 1e8):
        loose = qs.kernels.QSNTK(scale * one, scale * one, 1e-6 * scale * one)
        assert not loose.is_decoupled()
        assert loose.is_decoupled(tol=1e-5)
        assert qs.kernels.QSNTK(scale * one, 0 * one, 0 * one).is_decoupled()
    hidden = qs.kernels.QSNTK(one, one, 0 * one, theta_21=one)
    assert not hidden.is_decoupled()


def test_a_pytree_that_goes_through_jit():
    one = jnp.eye(3)
    doubled = jax.jit(lambda k: jax.tree.map(lambda t: 2 * t, k))(
        qs.kernels.QSNTK(one, one, 0 * one)
    )
    np.testing.assert_array_equal(doubled.phi, 4 * one)
    text = []
    jax.jit(lambda k: (text.append(repr(k)), k.phi)[1])(doubled)
    assert text[0].startswith("QSNTK(")


def test_rectangular_blocks_need_theta_21():
    block = jnp.ones((2, 3))
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="theta_21"):
        _ = qs.kernels.QSNTK(block, block, block).omega

"""Perceptrons in closed form against neural-tangents, and its architectures through from_stax."""

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

SPINS = nk.hilbert.Spin(0.5, 5).all_states()
REALS = np.random.default_rng(0).normal(size=(12, 5))

# neural-tangents' names, and its accuracy at equal inputs: it takes square roots of rounding errors.
NONLINEARITIES = {
    "relu": (lambda stax: stax.Relu(), 1e-7),
    "erf": (lambda stax: stax.Erf(), 1e-12),
    "sin": (lambda stax: stax.Sin(), 1e-12),
    "cos": (lambda stax: stax.Cos(), 1e-12),
    "gelu": (lambda stax: stax.Gelu(), 1e-12),
    "gaussian": (lambda stax: stax.Gaussian(b=-1), 1e-12),
    "identity": (lambda stax: stax.Identity(), 1e-12),
}


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", NONLINEARITIES)
def test_perceptrons(activation, depth, stax):
    make, tolerance = NONLINEARITIES[activation]
    sigma_w = tuple(np.linspace(0.7, 1.6, depth + 1))
    sigma_b = tuple(np.linspace(0.3, 0.0, depth + 1))
    layers = []
    for i, (w, b) in enumerate(zip(sigma_w, sigma_b, strict=True)):
        layers += [stax.Dense(1, W_std=w, b_std=b or None)]
        layers += [make(stax)] if i < depth else []
    kernel_fn = stax.serial(*layers)[2]
    model = qs.models.WideMLP(
        widths=(8,) * depth, activation=activation, sigma_w=sigma_w, sigma_b=sigma_b
    )
    kernel = qs.kernels.infinite_width(model)
    for x in (SPINS.astype(float), REALS):
        theirs = kernel_fn(x, None, ("nngp", "ntk"))
        nngp, ntk = kernel.both(x)
        np.testing.assert_allclose(nngp, theirs.nngp, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(ntk, theirs.ntk, rtol=tolerance, atol=tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1, 3])
def test_standard_parametrisation(depth, stax):
    """Without biases every parameter group has variance σ_w²: the two NTKs differ by that factor."""
    sigma_w = 1.3
    ntk = qs.models.WideMLP(widths=(8,) * depth, activation="erf", sigma_w=sigma_w)
    standard = ntk.clone(parametrization="standard")
    x = SPINS.astype(float)
    layers = [stax.Dense(1, W_std=sigma_w), stax.Erf()] * depth + [stax.Dense(1, W_std=sigma_w)]
    theirs = stax.serial(*layers)[2](x, None, "ntk")
    np.testing.assert_allclose(
        qs.kernels.infinite_width(standard).ntk(x) * sigma_w**2, theirs, rtol=1e-11, atol=1e-13
    )
    np.testing.assert_allclose(
        qs.kernels.infinite_width(ntk).ntk(x), theirs, rtol=1e-11, atol=1e-13
    )


@pytest.mark.thorough
def test_from_stax_convolution(stax):
    layers = [
        stax.Conv(8, (3,), padding="CIRCULAR", W_std=1.2, b_std=0.2),
        stax.Erf(),
        stax.GlobalAvgPool(),
        stax.Dense(1),
    ]
    kernel_fn = stax.serial(*layers)[2]
    images = SPINS.astype(float)[..., None]
    whole = kernel_fn(images, None, ("nngp", "ntk"))
    kernel = qs.kernels.from_stax(kernel_fn, encode=lambda x: x[..., None], block=7)
    for y in (None, SPINS[3:13]):
        columns = slice(None) if y is None else slice(3, 13)
        nngp, ntk = kernel.both(SPINS, y)
        np.testing.assert_allclose(nngp, whole.nngp[:, columns], rtol=1e-12)
        np.testing.assert_allclose(ntk, whole.ntk[:, columns], rtol=1e-12)
    nngp, ntk = kernel.diagonals(SPINS)
    np.testing.assert_allclose(nngp, np.diag(whole.nngp), rtol=1e-12)
    np.testing.assert_allclose(ntk, np.diag(whole.ntk), rtol=1e-12)
    # Translations of the ring do not change a network that averages over it.
    rolled = kernel.ntk(np.roll(SPINS, 1, axis=1), SPINS)
    np.testing.assert_allclose(rolled, kernel.ntk(SPINS), rtol=1e-11)


def test_from_stax_is_a_kernel_like_any_other(stax):
    kernel_fn = stax.serial(stax.Dense(8), stax.Erf(), stax.Dense(1))[2]
    kernel = qs.kernels.from_stax(kernel_fn, n_parts=1)
    ours = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), activation="erf", parts="real"))
    assert qs.kernels.infinite_width(kernel) is kernel
    block = kernel.qsntk(SPINS)
    np.testing.assert_allclose(block.theta, ours.qsntk(SPINS).theta, rtol=1e-12, atol=1e-14)
    assert not np.any(block.theta_22)
    assert qs.kernels.max_learning_rate(kernel, SPINS) == pytest.approx(
        qs.kernels.max_learning_rate(ours, SPINS), rel=1e-10
    )


def test_from_stax_errors(stax):
    network = stax.serial(stax.Dense(8), stax.Erf(), stax.Dense(1))
    with pytest.raises(qs.errors.InvalidModelError, match="third element"):
        qs.kernels.from_stax(network)
    with pytest.raises(qs.errors.InvalidModelError, match="n_parts=3"):
        qs.kernels.from_stax(network[2], n_parts=3)

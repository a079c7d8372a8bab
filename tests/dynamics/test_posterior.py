"""The NNGP posterior."""

import numpy as np
import pytest

import netket_qsntk as qs
from tests.dynamics.oracles import FERMIONS, SPINS, encoding, random_target


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("hilbert", [SPINS, FERMIONS], ids=["spins", "fermions"])
def test_posterior_is_the_gaussian_conditioned_on_the_target(hilbert, noise, parts):
    model = qs.models.CosNet(1, 1.0, 2.0, parts=parts, encoding=encoding(hilbert))
    kernel = qs.kernels.infinite_width(model)
    target = random_target(hilbert)
    n = 2 * hilbert.n_states // 3
    train, test = target.split(n, seed=1)
    k_bb, k_xb = (np.asarray(kernel.nngp(data.states, train.states)) for data in (train, test))
    solve = np.linalg.solve(k_bb + noise * np.eye(n), np.eye(n))
    goal = train.amplitudes if parts == "independent" else train.amplitudes.real
    covariance = np.asarray(kernel.nngp(test.states)) - k_xb @ solve @ k_xb.T
    posterior = qs.dynamics.Posterior(kernel, train, noise=noise)
    np.testing.assert_allclose(posterior.mean(test.states), k_xb @ solve @ goal, atol=1e-11)
    np.testing.assert_allclose(posterior.covariance(test.states), covariance, atol=1e-11)
    np.testing.assert_allclose(
        posterior.variance(test.states), kernel.n_parts * np.diag(covariance), atol=1e-11
    )


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("hilbert", [SPINS, FERMIONS], ids=["spins", "fermions"])
def test_the_posterior_by_products_is_that_of_the_stored_kernel(hilbert, noise, parts):
    model = qs.models.CosNet(1, 1.0, 2.0, parts=parts, encoding=encoding(hilbert))
    kernel = qs.kernels.infinite_width(model)
    train, test = random_target(hilbert).split(2 * hilbert.n_states // 3, seed=1)
    stored, products = (
        qs.dynamics.Posterior(kernel, train, noise=noise, solver=solver)
        for solver in ("dense", "products")
    )
    for name in ("mean", "variance", "covariance"):
        a, b = (getattr(p, name)(test.states) for p in (stored, products))
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, atol=1e-8)


@pytest.mark.thorough
def test_a_posterior_without_a_stored_kernel_solves_its_own_equation():
    # 8192 of 2^14 configurations: (K + σ²)⁻¹ψ_T = (ψ_T - μ_B)/σ², so that the mean on B gives the mean elsewhere.
    model = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=3.0, sigma_b=1.0)
    kernel = qs.kernels.infinite_width(model)
    train, test = qs.targets.tfim_quench(extent=(2, 7), time=0.3).split(8192, seed=0)
    posterior = qs.dynamics.Posterior(kernel, train, noise=0.1, solver="products")
    assert "Hypercube" in repr(posterior)
    x = test.states[:20]
    residual = train.amplitudes - posterior.mean(train.states)
    expected = np.asarray(kernel.nngp(x, train.states)) @ residual / 0.1
    np.testing.assert_allclose(posterior.mean(x), expected, atol=1e-7)
    variance = posterior.variance(x)
    assert np.all((variance > 0) & (variance < 2 * kernel.nngp_diagonal(x)))


def test_an_unknown_solver_is_named():
    train, _ = random_target(SPINS).split(10, seed=1)
    with pytest.raises(qs.errors.InvalidTrainingError, match="solver='fast'"):
        qs.dynamics.Posterior(qs.kernels.infinite_width(qs.models.CosNet(1)), train, solver="fast")


def test_posterior_is_the_end_of_training_the_readout():
    model = qs.models.CosNet(1, 1.0, 2.0)
    train, test = random_target(SPINS).split(10, seed=1)
    kernel = qs.kernels.infinite_width(model, trainable="readout")
    dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.3)
    posterior = qs.dynamics.Posterior(qs.kernels.infinite_width(model), train)
    np.testing.assert_allclose(
        dynamics.mean([np.inf], test.states)[0], posterior.mean(test.states), atol=1e-11
    )
    np.testing.assert_allclose(
        dynamics.variance([np.inf], test.states)[0], posterior.variance(test.states), atol=1e-11
    )
    everything = qs.dynamics.LinearDynamics(
        qs.kernels.infinite_width(model), train, learning_rate=0.3
    )
    other = everything.mean([np.inf], test.states)[0]
    assert np.abs(other - posterior.mean(test.states)).max() > 1e-3


def test_null_modes_are_not_inverted_and_stay_uncertain():
    kernel = qs.kernels.infinite_width(
        qs.models.WideMLP(widths=(1,))
    )  # no bias: 4 null modes of 16
    train, _ = random_target(SPINS).split(16, seed=1)
    posterior = qs.dynamics.Posterior(kernel, train)
    projector = np.eye(16)
    x = np.asarray(train.states, float)
    null = np.stack([np.prod(np.delete(x, i, axis=1), axis=1) for i in range(4)]) / 4
    projector = projector - null.T @ null
    np.testing.assert_allclose(
        posterior.mean(train.states), projector @ train.amplitudes, atol=1e-11
    )
    assert np.abs(posterior.covariance(train.states)).max() < 1e-12


@pytest.mark.parametrize("noise", [-0.1, float("nan")])
def test_noise_that_is_no_variance_is_named(noise):
    train, _ = random_target(SPINS).split(10, seed=1)
    kernel = qs.kernels.infinite_width(qs.models.CosNet(1))
    with pytest.raises(qs.errors.InvalidTrainingError, match="variance >= 0"):
        qs.dynamics.Posterior(kernel, train, noise=noise)

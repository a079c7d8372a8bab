"""Training by products alone equals the dense solution, and its error bars hold."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError, SystemTooLargeError

HI = nk.hilbert.Spin(0.5, 7)
TARGET = qs.targets.quench(
    nk.operator.Ising(HI, nk.graph.Chain(7), h=0.5), initial="plus", time=1.3
)
STEPS = [0, 1, 10, 300, 2000]


def model(parts="independent"):
    return qs.models.WideMLP(widths=(1,), sigma_w=0.8, sigma_b=0.3, parts=parts)


def pair(n_train, parts="independent", **options):
    kernel = qs.kernels.infinite_width(model(parts))
    train, test = TARGET.split(n_train, seed=2)
    if not options:
        options = {"learning_rate": 0.9 * qs.kernels.max_learning_rate(kernel, train.states)}
    dense = qs.dynamics.LinearDynamics(kernel, train, solver="dense", **options)
    products = qs.dynamics.LinearDynamics(
        kernel, train, solver="products", tolerance=1e-10, n_draws=16, **options
    )
    return dense, products, test


@pytest.fixture(scope="module", params=["independent", "real"])
def curves(request):
    """Dense and product-only curves on the same split, ∞ included."""
    dense, products, test = pair(75, request.param)
    return dense.curves([*STEPS, np.inf], test), products.curves([*STEPS, np.inf], test)


def test_mean_losses_equal_the_dense_ones(curves):
    expected, found = curves
    for one, other in ((expected.train, found.train), (expected.test, found.test)):
        np.testing.assert_allclose(other.L_mu, one.L_mu, rtol=1e-8, atol=1e-14)


def test_variance_losses_agree_within_their_standard_errors(curves):
    expected, found = curves
    for one, other in ((expected.train, found.train), (expected.test, found.test)):
        sigma = np.maximum(other.L_gamma_error, 1e-6 * one.L_gamma + 1e-12)
        assert np.all(np.abs(other.L_gamma - one.L_gamma) < 4 * sigma)
        # Signs in the eigenbasis leave little to chance.
        assert np.all(np.asarray(other.L_gamma_error)[:3] < 0.1 * np.asarray(one.L_gamma)[:3])
    np.testing.assert_allclose(found.fidelity, expected.fidelity, rtol=0.08)


@pytest.mark.parametrize("parts", ["independent", "real"])
def test_the_whole_basis_is_exact(parts):
    dense, products, test = pair(HI.n_states, parts)
    expected, found = dense.curves([*STEPS, np.inf], test), products.curves([*STEPS, np.inf], test)
    np.testing.assert_allclose(found.train.L_mu, expected.train.L_mu, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(found.train.L_gamma, expected.train.L_gamma, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(found.fidelity, expected.fidelity, rtol=1e-9)
    assert np.all(found.train.L_gamma_error == 0)


def test_mean_amplitudes_equal_the_dense_ones():
    dense, products, test = pair(75)
    steps = [0, 7, 100, np.inf]
    np.testing.assert_allclose(
        products.mean(steps, test.states), dense.mean(steps, test.states), atol=1e-9
    )


def test_momentum_and_schedules_go_through_the_same_products():
    optimizer = optax.sgd(optax.linear_schedule(40.0, 4.0, 50), momentum=0.5)
    dense, products, test = pair(75, optimizer=optimizer)
    expected, found = dense.curves(STEPS[:4], test), products.curves(STEPS[:4], test)
    np.testing.assert_allclose(found.test.L_mu, expected.test.L_mu, rtol=1e-7)


def test_the_solver_is_chosen_by_size(monkeypatch):
    kernel = qs.kernels.infinite_width(model())
    train, _ = TARGET.split(20, seed=0)
    make = qs.dynamics.LinearDynamics
    assert type(make(kernel, train, learning_rate=1.0)) is make
    monkeypatch.setattr("netket_qsntk.dynamics.linear.LARGEST_DENSE", 10)
    large = make(kernel, train, learning_rate=1.0)
    assert isinstance(large, qs.dynamics.ProductDynamics)
    with pytest.raises(InvalidTrainingError, match="solver"):
        make(kernel, train, learning_rate=1.0, solver="fast")
    with pytest.raises(SystemTooLargeError, match="dense"):
        large.variance([1], train.states)


def test_cosnet_on_fermions_uses_its_product_structure():
    hilbert = nk.hilbert.SpinOrbitalFermions(3, s=0.5)
    rng = np.random.default_rng(0)
    target = qs.targets.Target(hilbert, rng.normal(size=hilbert.n_states) + 0j)
    net = qs.models.CosNet(1, 1.0, 1.0, encoding=qs.encodings.fermion_sites)
    kernel = qs.kernels.infinite_width(net)
    train, test = target.split(40, seed=0)
    rate = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
    expected, found = (
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver=solver).curves(
            STEPS[:4], test
        )
        for solver in ("dense", "products")
    )
    np.testing.assert_allclose(found.test.L_mu, expected.test.L_mu, rtol=1e-8)
    sigma = jnp.maximum(found.test.L_gamma_error, 1e-9)
    assert bool(jnp.all(jnp.abs(found.test.L_gamma - expected.test.L_gamma) < 4 * sigma))


def test_a_sector_of_fixed_magnetisation_is_trained_as_a_batch_of_the_hypercube():
    hilbert = nk.hilbert.Spin(0.5, 8, total_sz=0)
    rng = np.random.default_rng(3)
    amplitudes = rng.normal(size=(2, hilbert.n_states))
    target = qs.targets.Target(hilbert, amplitudes[0] + 1j * amplitudes[1])
    kernel = qs.kernels.infinite_width(model())
    for n_train in (55, hilbert.n_states):
        train, test = target.split(n_train, seed=0)
        rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
        dense, products = (
            qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver=solver)
            for solver in ("dense", "products")
        )
        assert "Hypercube" in repr(products)
        a, b = dense.curves(STEPS, test), products.curves(STEPS, test)
        np.testing.assert_allclose(b.train.L_mu, a.train.L_mu, rtol=1e-7)
        sigma = b.train.L_gamma_error + 1e-6 * a.train.L_gamma + 1e-12
        assert np.all(np.abs(b.train.L_gamma - a.train.L_gamma) < 4 * sigma)

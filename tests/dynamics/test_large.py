"""Training by products alone equals the dense solution, and its error bars hold."""

import copy
import pickle

import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError, NotConvergedError, SystemTooLargeError

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


@pytest.mark.thorough
def test_mean_losses_equal_the_dense_ones(curves):
    expected, found = curves
    for one, other in ((expected.train, found.train), (expected.test, found.test)):
        np.testing.assert_allclose(other.L_mu, one.L_mu, rtol=1e-8, atol=1e-14)


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_mean_amplitudes_equal_the_dense_ones():
    dense, products, test = pair(75)
    steps = [0, 7, 100, np.inf]
    np.testing.assert_allclose(
        products.mean(steps, test.states), dense.mean(steps, test.states), atol=1e-9
    )


@pytest.mark.slow
def test_momentum_and_schedules_go_through_the_same_products():
    optimizer = optax.sgd(optax.linear_schedule(40.0, 4.0, 50), momentum=0.5)
    dense, products, test = pair(75, optimizer=optimizer)
    expected, found = dense.curves(STEPS[:4], test), products.curves(STEPS[:4], test)
    np.testing.assert_allclose(found.test.L_mu, expected.test.L_mu, rtol=1e-7)


def test_the_solver_is_chosen_by_size(monkeypatch):
    kernel = qs.kernels.infinite_width(model())
    train, _ = TARGET.split(20, seed=0)
    make = qs.dynamics.LinearDynamics
    assert "eigendecomposition" in repr(make(kernel, train, learning_rate=1.0).solution)
    monkeypatch.setattr("netket_qsntk.dynamics.linear.LARGEST_DENSE", 10)
    large = make(kernel, train, learning_rate=1.0)
    assert type(large) is make
    assert "20 configurations are more than 10" in repr(large)
    assert large.rank is None
    with pytest.raises(SystemTooLargeError, match="dense"):
        _ = large.modes
    with pytest.raises(InvalidTrainingError, match="solver"):
        make(kernel, train, learning_rate=1.0, solver="fast")
    with pytest.raises(InvalidTrainingError, match="no whole basis"):
        make(kernel, train, learning_rate=1.0, solver="levels")


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_variances_and_covariances_of_single_configurations_equal_the_dense_ones():
    dense, products, test = pair(75)
    x = test.states[:3]
    for step in (40, np.inf):
        np.testing.assert_allclose(
            products.variance([step], x), dense.variance([step], x), rtol=1e-6, atol=1e-9
        )
        for found, expected in zip(products.moments(step, x), dense.moments(step, x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        f = np.array([1, 1j]) @ np.random.default_rng(0).normal(size=(2, 78))
        np.testing.assert_allclose(
            products.trained(step, x, f[:75], f[75:]),
            dense.trained(step, x, f[:75], f[75:]),
            atol=1e-7,
        )


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
def test_levels_of_a_whole_basis_give_what_its_eigenvectors_give(parts):
    kernel = qs.kernels.infinite_width(model(parts))
    train, _ = TARGET.split(HI.n_states, seed=2)
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    levels, dense = (
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver=solver)
        for solver in ("auto", "dense")
    )
    assert "8 levels of 128 modes" in repr(levels)
    assert levels.rank == dense.rank
    steps, x = [0, 7, np.inf], train.states[::31]
    for name in ("mean", "variance"):
        found, expected = (getattr(d, name)(steps, x) for d in (levels, dense))
        np.testing.assert_allclose(found, expected, atol=1e-12)
    for found, expected in zip(levels.moments(7, x), dense.moments(7, x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    other = qs.targets.Dataset(x, 0.1 + train.amplitudes[::31])
    found, expected = levels.losses(steps, other), dense.losses(steps, other)
    np.testing.assert_allclose(found.L_mu, expected.L_mu, rtol=1e-10)
    np.testing.assert_allclose(found.L_gamma, expected.L_gamma, rtol=1e-9, atol=1e-14)
    f = np.array([1, 1j]) @ np.random.default_rng(0).normal(size=(2, 128))
    there = f[::31]
    np.testing.assert_allclose(
        levels.trained(7, x, f, there), dense.trained(7, x, f, there), atol=1e-12
    )


@pytest.mark.thorough
def test_products_of_one_site_modes_are_levels_where_the_readout_alone_trains():
    hilbert = nk.hilbert.SpinOrbitalFermions(2, s=0.5)
    target = qs.targets.Target(hilbert, np.random.default_rng(0).normal(size=hilbert.n_states))
    net = qs.models.CosNet(1, 1.0, 1.0, encoding=qs.encodings.fermion_sites)
    kernel = qs.kernels.infinite_width(net, trainable="readout")
    train, test = target.split(hilbert.n_states, seed=0)
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    levels, dense = (
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver=solver)
        for solver in ("levels", "dense")
    )
    steps, x = [0, 7, np.inf], train.states[::3]
    np.testing.assert_allclose(levels.mean(steps, x), dense.mean(steps, x), atol=1e-10)
    np.testing.assert_allclose(levels.variance(steps, x), dense.variance(steps, x), atol=1e-10)
    np.testing.assert_allclose(levels.moments(7, x)[1], dense.moments(7, x)[1], atol=1e-12)
    found, expected = (d.curves(steps, test) for d in (levels, dense))
    np.testing.assert_allclose(found.train.total, expected.train.total, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.fidelity, expected.fidelity, rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("n_train", [32, 20])
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_null_modes_stay_where_they_were_by_products_as_by_eigenvectors(activation, n_train):
    """Every network without bias has null modes; 0.1 iterated past them and gave half of the loss."""
    hi = nk.hilbert.Spin(0.5, 5)
    target = qs.targets.Target(hi, np.random.default_rng(0).normal(size=32))
    net = qs.models.WideMLP(widths=(3,), activation=activation, sigma_w=1.3)
    kernel = qs.kernels.infinite_width(net)
    train, _ = target.split(n_train, seed=0)
    rate = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
    dense, products = (
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver=s, n_draws=2)
        for s in ("dense", "products")
    )
    x = hi.all_states()
    np.testing.assert_allclose(products.mean([np.inf], x), dense.mean([np.inf], x), atol=1e-6)
    found, expected = (d.losses([np.inf], train).L_mu for d in (products, dense))
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.thorough
def test_a_limit_that_was_not_reached_is_an_error_and_weight_decay_has_its_own():
    hi = nk.hilbert.Spin(0.5, 5)
    target = qs.targets.Target(hi, np.random.default_rng(0).normal(size=32))
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(3,), activation="relu"))
    train, test = target.split(20, seed=0)
    few = qs.dynamics.LinearDynamics(
        kernel, train, learning_rate=1.0, solver="products", max_products=5
    )
    with pytest.raises(NotConvergedError, match="solver='dense'"):
        few.mean([np.inf], test.states)
    decay = optax.chain(optax.add_decayed_weights(0.05), optax.sgd(1.0))
    dense, products = (
        qs.dynamics.LinearDynamics(kernel, train, optimizer=decay, solver=s)
        for s in ("dense", "products")
    )
    np.testing.assert_allclose(
        products.mean([np.inf], test.states), dense.mean([np.inf], test.states), atol=1e-8
    )


@pytest.mark.thorough
@pytest.mark.parametrize("solver", ["levels", "dense", "products"])
def test_every_solution_copies_and_pickles(solver):
    kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
    hi = nk.hilbert.Spin(0.5, 3)
    target = qs.targets.Target(hi, np.arange(1.0, 9.0))
    train, test = target.split(8 if solver == "levels" else 6, seed=0)
    optimizer = optax.sgd(0.1, momentum=0.5)
    dynamics = qs.dynamics.LinearDynamics(
        kernel, train, optimizer=optimizer, solver=solver, n_draws=2
    )
    expected = dynamics.losses([0, 5], test).total
    for again in (
        copy.copy(dynamics),
        copy.deepcopy(dynamics),
        pickle.loads(pickle.dumps(dynamics)),
    ):
        np.testing.assert_array_equal(again.losses([0, 5], test).total, expected)

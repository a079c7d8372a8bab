"""Kernels are values: their numbers are leaves, they add, multiply and scale, and share programs."""

import copy
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidModelError, UnknownKernelError

X = np.asarray(nk.hilbert.Spin(0.5, 4).all_states())
FREQUENCIES = np.random.default_rng(0).normal(size=(5, 4), scale=0.2)
MODELS = {
    "cosnet": qs.models.CosNet(3, 0.8, 1.3),
    "gaussnet": qs.models.GaussNet(3, 0.8, 0.6, parametrization="standard"),
    "relu": qs.models.WideMLP(widths=(3,), sigma_w=1.2, sigma_b=0.3),
    "relu without bias": qs.models.WideMLP(widths=(3, 3), sigma_w=1.2),
    "deep erf": qs.models.WideMLP(
        widths=(3, 3), activation="erf", sigma_w=(1.1, 0.9, 1.2), sigma_b=(0.1, 0.2, 0.3)
    ),
    "gelu": qs.models.WideMLP(widths=(3,), activation="gelu", parametrization="standard"),
    "tanh": qs.models.WideMLP(widths=(3,), activation="tanh", sigma_w=1.2, sigma_b=0.1),
    "sin": qs.models.WideMLP(widths=(3,), activation="sin", sigma_b=0.1),
    "fourier": qs.models.FourierFeatures(
        FREQUENCIES, 1.0, qs.models.WideMLP(widths=(3,), activation="erf", sigma_b=0.1)
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", ["nngp", "ntk"])
def test_gradients_with_respect_to_sigma_are_finite_differences(name, which):
    kernel = qs.kernels.infinite_width(MODELS[name])
    weights = np.random.default_rng(1).normal(size=(16, 16))

    def value(kernel):
        return jnp.sum(kernel.matrix(X, which=which) * weights) + jnp.sum(kernel.diagonal(X, which))

    slopes, leaves = jax.tree.leaves(jax.grad(value)(kernel)), jax.tree.leaves(kernel)
    treedef = jax.tree.structure(kernel)
    rng = np.random.default_rng(2)
    direction = [rng.uniform(0.5, 1.0, np.shape(leaf)) * (np.abs(leaf) > 0) for leaf in leaves]
    step = 1e-5

    def moved(by):
        new = [leaf + by * d for leaf, d in zip(leaves, direction, strict=True)]
        return value(treedef.unflatten(new))

    difference = (moved(step) - moved(-step)) / (2 * step)
    slope = sum(float(np.sum(s * d)) for s, d in zip(slopes, direction, strict=True))
    assert all(np.all(np.isfinite(s)) for s in slopes)
    assert slope == pytest.approx(float(difference), rel=1e-7, abs=1e-7)


@pytest.mark.thorough
def test_a_gradient_goes_through_the_structure():
    hilbert = nk.hilbert.Spin(0.5, 12)
    kernel = qs.kernels.infinite_width(MODELS["deep erf"])

    def level(kernel):
        return kernel.structure(hilbert).values[3]

    x, y = np.ones((1, 12)), np.where(np.arange(12) < 3, -1.0, 1.0)[None]
    slope, direct = (jax.grad(f)(kernel) for f in (level, lambda k: k.ntk(x, y)[0, 0]))
    for one, two in zip(jax.tree.leaves(slope), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
    product = qs.kernels.infinite_width(MODELS["cosnet"])
    fermions = nk.hilbert.Spin(1, 5)
    slope = jax.jit(jax.grad(lambda k: k.structure(fermions, which="nngp").scale))(product)
    assert float(jax.tree.leaves(slope)[0]) == pytest.approx(0.8)


@pytest.mark.thorough
def test_gradients_and_batches_of_sigma_go_through_operators():
    kernel = qs.kernels.infinite_width(MODELS["cosnet"])
    v = jnp.arange(len(X), dtype=float)

    def with_sigma(sigma):
        return eqx.tree_at(lambda k: k.formula.sigma_w, kernel, sigma)

    def by_operator(sigma):
        return with_sigma(sigma).operator(X, hint="hypercube").matvec(v).sum()

    def by_matrix(sigma):
        return (with_sigma(sigma).ntk(X) @ v).sum()

    sigmas = jnp.asarray([1.3, 0.6])
    np.testing.assert_allclose(
        jax.vmap(by_operator)(sigmas), [by_matrix(s) for s in sigmas], rtol=1e-12
    )
    np.testing.assert_allclose(jax.grad(by_operator)(1.3), jax.grad(by_matrix)(1.3), rtol=1e-12)


def test_two_sigmas_share_their_programs():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **more: (
            compiled.append(event) if event == "/jax/core/compile/backend_compile_duration" else 0
        )
    )
    for sigma in (0.5, 0.7):
        before = len(compiled)
        for name in ("erf", "relu"):
            model = qs.models.WideMLP(widths=(3,), activation=name, sigma_w=sigma, sigma_b=0.1)
            kernel = qs.kernels.infinite_width(model)
            kernel.both(X)
            kernel.operator(X).matvec(np.ones(16))
            kernel.both(np.random.default_rng(0).normal(size=(7, 4)))
    assert len(compiled) == before


@pytest.mark.thorough
def test_sums_products_and_multiples_are_kernels_of_networks_made_so():
    """For CosNet K and Θ are averages at any width, and of independent networks so are these."""
    one, two = (
        qs.models.CosNet(2, 1.1, 0.9, parts="real"),
        qs.models.CosNet(3, 0.7, 1.6, parts="real"),
    )
    x = X[[0, 1, 3, 5, 9]]
    n = 20_000

    def draw(model, seed):
        keys = jax.random.split(jax.random.key(seed), n)
        parameters = jax.vmap(lambda key: model.init(key, x)["params"])(keys)

        def function(p, row):
            return model.apply({"params": p}, row[None], method="psi")[0]

        def both(p):
            gradients = jax.vmap(jax.grad(function), (None, 0))(p, jnp.asarray(x, float))
            flat = jnp.concatenate([g.reshape(len(x), -1) for g in jax.tree.leaves(gradients)], -1)
            return jax.vmap(function, (None, 0))(p, jnp.asarray(x, float)), flat @ flat.T

        return map(np.asarray, jax.jit(jax.vmap(both))(parameters))

    (f, s), (g, t) = draw(one, 0), draw(two, 1)
    k, l = (qs.kernels.infinite_width(model) for model in (one, two))
    outer = f[:, :, None] * f[:, None], g[:, :, None] * g[:, None]
    total = f + np.sqrt(2.0) * g
    for kernel, nngp, ntk in (
        (k + 2.0 * l, total[:, :, None] * total[:, None], s + 2 * t),
        (k * l, outer[0] * outer[1], s * outer[1] + outer[0] * t),
    ):
        for which, drawn in (("nngp", nngp), ("ntk", ntk)):
            error = drawn.std(0) / np.sqrt(n)
            assert np.all(np.abs(drawn.mean(0) - kernel.matrix(x, which=which)) < 4.5 * error)
            np.testing.assert_allclose(
                kernel.diagonal(x, which), np.diag(kernel.matrix(x, which=which)), rtol=1e-12
            )
    np.testing.assert_allclose((np.float64(2.0) * k).ntk(x), 2 * k.ntk(x))
    np.testing.assert_allclose((k * 2).ntk(x), 2 * k.ntk(x))


def test_kernels_that_do_not_fit_are_refused():
    real, complex_ = (
        qs.kernels.infinite_width(qs.models.CosNet(2, parts=p)) for p in ("real", "shared")
    )
    with pytest.raises(InvalidModelError, match="parts=1"):
        real + complex_
    with pytest.raises(InvalidModelError, match="expected a finite number > 0"):
        -1.0 * real
    with pytest.raises(TypeError):
        real + 1.0


def test_a_subclass_that_is_another_function_has_no_inherited_kernel():
    class Even(qs.models.WideMLP):
        def psi(self, x):
            return super().psi(x) + super().psi(-x)

    class Renamed(qs.models.WideMLP):
        """The same function under another name."""

    with pytest.raises(UnknownKernelError, match="overrides psi of WideMLP"):
        qs.kernels.infinite_width(Even(widths=(3,)))
    kernel = qs.kernels.infinite_width(Renamed(widths=(3,)))
    np.testing.assert_array_equal(
        kernel.ntk(X), qs.kernels.infinite_width(qs.models.WideMLP(widths=(3,))).ntk(X)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["cosnet", "relu", "tanh", "fourier"])
def test_kernels_copy_and_pickle(name):
    kernel = qs.kernels.infinite_width(MODELS[name])
    kernel = kernel + 2.0 * kernel
    for again in (copy.copy(kernel), copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        np.testing.assert_array_equal(again.ntk(X), kernel.ntk(X))


@pytest.mark.thorough
def test_matrices_are_exactly_symmetric():
    rng = np.random.default_rng(0)
    for x in (X, rng.integers(-3, 4, size=(40, 5)), rng.normal(size=(40, 5))):
        for name in ("relu", "deep erf", "cosnet"):
            for matrix in qs.kernels.infinite_width(MODELS[name]).both(x):
                np.testing.assert_array_equal(matrix, matrix.T)


def test_kernels_are_float64_whatever_the_parameters_are():
    network = qs.models.WideMLP(widths=(3,), activation="erf")
    exact, single = (
        qs.kernels.infinite_width(
            qs.models.FourierFeatures(FREQUENCIES, 1.0, network.clone(param_dtype=kind))
        )
        for kind in (jnp.float64, jnp.float32)
    )
    np.testing.assert_array_equal(single.ntk(X), exact.ntk(X))

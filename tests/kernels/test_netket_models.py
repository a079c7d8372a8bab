"""Kernels of NetKet's own models against averages over drawn networks, and training them against NetKet's drivers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import nnx
from jax.nn.initializers import normal

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
X = HI.all_states()
CHAIN = nk.graph.Chain(4)

MODELS = {
    "rbm": nk.models.RBM(alpha=4, kernel_init=normal(0.4), hidden_bias_init=normal(0.3)),
    "rbm without biases": nk.models.RBM(
        alpha=4, kernel_init=normal(0.4), use_hidden_bias=False, use_visible_bias=False
    ),
    "modulus and phase": nk.models.RBMModPhase(alpha=4, kernel_init=normal(0.4)),
    "mlp": nk.models.MLP(hidden_dims=(24,), hidden_activations=jnp.tanh, kernel_init=normal(0.5)),
    "deep mlp": nk.models.MLP(
        hidden_dims_alpha=(8, 12),
        hidden_activations=(jnp.sin, jnp.tanh),
        kernel_init=normal(0.2),
        use_output_bias=True,
        bias_init=normal(0.2),
    ),
    "jastrow": nk.models.Jastrow(param_dtype=float),
    "complex jastrow": nk.models.Jastrow(),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_tangent_kernel_is_the_average_over_drawn_networks(name):
    model = MODELS[name]
    kernel = qs.kernels.infinite_width(model)
    mean, error = qs.kernels.monte_carlo(model, X[:6], n_members=100, seed=0)
    # Deeper networks have corrections of relative order 1/width beside the statistical error.
    slack = 0.1 if name == "deep mlp" else 1e-9
    expected = kernel.ntk(X[:6])
    size = float(abs(expected).max())
    blocks = [(mean.theta_11, error.theta_11)]
    if kernel.n_parts == 2:
        blocks.append((mean.theta_22, error.theta_22))
        assert abs(mean.theta_12).max() < 1e-12
    for block, sigma in blocks:
        assert (abs(block - expected) < 5 * sigma + slack * size).all()


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_covariance_is_that_of_drawn_log_amplitudes(name):
    model = MODELS[name]
    kernel = qs.kernels.infinite_width(model)
    keys = jax.random.split(jax.random.key(1), 3000)
    f = jax.vmap(lambda key: model.apply(model.init(key, X[:1]), X[:6]))(keys)
    f = np.asarray(f).real - np.asarray(f).real.mean(0)
    products = f[:, :, None] * f[:, None, :]
    sigma = products.std(0) / np.sqrt(len(f))
    assert (abs(products.mean(0) - kernel.nngp(X[:6])) < 5 * sigma + 1e-12).all()
    np.testing.assert_allclose(kernel.nngp_diagonal(X[:6]), np.diag(kernel.nngp(X[:6])), rtol=1e-12)


@pytest.mark.thorough
def test_netkets_default_initialisers_are_understood():
    for model in (nk.models.RBM(), nk.models.MLP(hidden_dims=(16,)), nk.models.RBMModPhase()):
        assert np.isfinite(qs.kernels.infinite_width(model).ntk(X)).all()


@pytest.mark.thorough
@pytest.mark.parametrize("param_dtype", [float, complex])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_jastrow_is_linear_and_its_prediction_exact(param_dtype, momentum):
    H = nk.operator.Heisenberg(HI, CHAIN)
    model = nk.models.Jastrow(param_dtype=param_dtype, kernel_init=normal(0.3))
    runs = []
    for driver in (nk.driver.VMC_SR, qs.driver.InfiniteWidthVMC_SR):
        vs = nk.vqs.FullSumState(HI, model, seed=1)
        log = nk.logging.RuntimeLog()
        driver(H, optax.sgd(0.05), variational_state=vs, diag_shift=1e-3, momentum=momentum).run(
            50, out=log, show_progress=False
        )
        runs.append(np.real(np.asarray(log["Energy"]["Mean"])))
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-8)
    assert abs(runs[0][0] - runs[0][-1]) > 1e-2


@pytest.mark.thorough
@pytest.mark.parametrize("param_dtype", [float, complex])
@pytest.mark.parametrize("preconditioner", [None, nk.optimizer.SR(diag_shift=1e-2)])
def test_vmc_of_a_jastrow_has_netkets_rate_for_real_and_complex_parameters(
    param_dtype, preconditioner
):
    H = nk.operator.Heisenberg(HI, CHAIN)
    model = nk.models.Jastrow(param_dtype=param_dtype, kernel_init=normal(0.3))
    runs = []
    for driver in (nk.driver.VMC, qs.driver.InfiniteWidthVMC):
        vs = nk.vqs.FullSumState(HI, model, seed=1)
        log = nk.logging.RuntimeLog()
        driver(H, optax.sgd(0.05), variational_state=vs, preconditioner=preconditioner).run(
            20, out=log, show_progress=False
        )
        runs.append(np.real(np.asarray(log["Energy"]["Mean"])))
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-6)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(4, 8, rngs=rngs, param_dtype=float)

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.layer(x.astype(float))), axis=-1)


class Equinox(eqx.Module):
    layer: eqx.nn.Linear

    def __init__(self, key):
        self.layer = eqx.nn.Linear(4, 8, key=key, dtype=float)

    def __call__(self, x):
        return jnp.sum(
            jnp.tanh(jnp.vectorize(self.layer, signature="(i)->(o)")(x.astype(float))), axis=-1
        )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "model",
    [
        lambda key: Nnx(nnx.Rngs(key)),
        Nnx(nnx.Rngs(0)),
        Equinox,
        qs.models.CosNet(16, output="log_psi"),
    ],
    ids=["function", "nnx", "equinox", "ours"],
)
def test_any_framework_can_be_drawn(model):
    mean, error = qs.kernels.monte_carlo(model, X[:5], n_members=4, seed=0)
    assert mean.theta_11.shape == error.theta_11.shape == (5, 5)
    assert np.linalg.eigvalsh(np.asarray(mean.theta_11)).min() > -1e-9
    assert (np.asarray(error.theta_11) > 0).any()
    again, _ = qs.kernels.monte_carlo(model, X[:5], n_members=4, seed=0)
    np.testing.assert_array_equal(again.theta_11, mean.theta_11)
    block, _ = qs.kernels.monte_carlo(model, X[:5], X[:3], n_members=4, seed=0)
    np.testing.assert_allclose(block.theta_11, mean.theta_11[:, :3], rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: qs.kernels.infinite_width(nk.models.RBM(param_dtype=complex)),
            "UnknownKernelError",
            "diverges",
        ),
        (
            lambda: qs.kernels.infinite_width(nk.models.RBM(kernel_init=lambda k, s, d: 0)),
            "UnknownKernelError",
            "monte_carlo",
        ),
        (
            lambda: qs.kernels.infinite_width(nk.models.MLP(output_activation=jnp.tanh)),
            "UnknownKernelError",
            "output_activation",
        ),
        (
            lambda: qs.kernels.infinite_width(nk.models.RBM(), "readout"),
            "InvalidModelError",
            "no readout",
        ),
        (
            lambda: qs.kernels.monte_carlo(nk.models.RBM(), X, n_members=1),
            "InvalidModelError",
            "n_members",
        ),
        (
            lambda: qs.kernels.monte_carlo(3.0, X, n_members=4),
            "NotANetworkError",
            "cannot be drawn",
        ),
    ],
)
def test_what_has_no_limit_is_an_error_that_says_why(call, error, words):
    with pytest.raises(getattr(qs.errors, error), match=words):
        call()


@pytest.mark.thorough
def test_many_bosons_are_as_accurate_as_spins():
    model = nk.models.RBM(alpha=2, kernel_init=jax.nn.initializers.normal(0.1))
    kernel = qs.kernels.infinite_width(model)
    x = np.asarray([[0, 20, 3, 50], [50, 0, 0, 1], [1, 1, 0, 0]])
    z = np.linspace(-9, 9, 40001)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    square = (x * x).sum(-1)
    slopes = [weights @ np.tanh(np.sqrt(0.01 * q + 1e-4) * z) ** 2 for q in square]
    exact = 8 * np.asarray(slopes) * (square + 1) + square
    np.testing.assert_allclose(kernel.diagonal(x), exact, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(kernel.diagonal)(x), exact, rtol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "model",
    [
        nk.models.RBM(activation=jax.nn.selu),
        nk.models.MLP(hidden_dims=(4,), hidden_activations=jax.nn.leaky_relu),
    ],
    ids=["RBM", "MLP"],
)
def test_activations_without_an_accurate_quadrature_warn(model):
    with pytest.warns(qs.errors.InaccurateKernelWarning, match="relu|selu"):
        qs.kernels.infinite_width(model)


def test_a_mean_that_differs_between_configurations_is_no_centred_process():
    model = nk.models.RBM(kernel_init=normal(0.3))
    assert qs.vqs.InfiniteState(nk.hilbert.Spin(0.5, 3), model).hilbert.size == 3
    assert qs.vqs.InfiniteState(nk.hilbert.Fock(1, 4, n_particles=2), model).hilbert.size == 4
    kernel = 2.0 * qs.kernels.infinite_width(model)
    for given in (model, kernel, kernel + kernel):
        with pytest.raises(qs.errors.EnsembleError, match="EnsembleState"):
            qs.vqs.InfiniteState(nk.hilbert.Fock(2, 3), given)

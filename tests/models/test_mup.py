"""parametrization="mup": coordinates move alike at every width, and one learning rate serves all widths."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import UnknownKernelError

HI = nk.hilbert.Spin(0.5, 6)
X = jnp.asarray(HI.all_states()[::3])
H = nk.operator.IsingJax(HI, nk.graph.Chain(6), h=1.0, J=-1.0)


def perceptron(width, parametrization, layers=2, output="log_psi"):
    return qs.models.WideMLP(
        widths=(width,) * layers, activation="erf", sigma_w=1.5, sigma_b=0.3, parts="real", output=output,
        parametrization=parametrization,
    )  # fmt: skip


def moved(width, parametrization, seed):
    """Change of the hidden units (root mean square) and of f in three steps toward a fixed function."""
    model = perceptron(width, parametrization)
    variables = model.init(jax.random.key(seed), X)
    parameters = variables["params"]
    target = jnp.cos(X @ jnp.arange(1.0, 7.0))

    def hidden(parameters):
        _, kept = model.apply({"params": parameters}, X, mutable=["intermediates"])
        return kept["intermediates"]["real"]["readout"]["input"][0]

    def loss(parameters):
        return jnp.mean((model.apply({"params": parameters}, X) - target) ** 2)

    before = hidden(parameters), model.apply({"params": parameters}, X)
    for _ in range(3):
        parameters = jax.tree.map(lambda p, g: p - 0.1 * g, parameters, jax.grad(loss)(parameters))
    after = hidden(parameters), model.apply({"params": parameters}, X)
    return [float(jnp.sqrt(jnp.mean((a - b) ** 2))) for a, b in zip(after, before, strict=True)]


@pytest.mark.thorough
def test_coordinates_move_by_order_one_at_every_width():
    change = {
        (p, n): np.mean([moved(n, p, seed) for seed in range(3)], 0)
        for p in ("mup", "ntk")
        for n in (64, 1024)
    }
    features, function = change["mup", 1024] / change["mup", 64]
    assert 0.6 < features < 1.7
    assert 0.6 < function < 1.7
    # In the NTK parametrisation features stand still as 1/√N: a factor 4 here.
    assert change["ntk", 1024][0] / change["ntk", 64][0] < 0.4


@pytest.mark.thorough
def test_the_function_starts_near_zero_and_has_no_kernel_limit():
    variables = perceptron(1024, "mup", 1).init(jax.random.key(0), X)
    f = np.asarray(perceptron(1024, "mup", 1).apply(variables, X))
    assert np.std(f) < 0.2
    with pytest.raises(UnknownKernelError, match="mup"):
        qs.kernels.infinite_width(perceptron(8, "mup"))


@pytest.mark.thorough
@pytest.mark.parametrize("network", [qs.models.CosNet, qs.models.GaussNet])
def test_one_hidden_layer_starts_as_the_others_do_but_for_the_readout(network):
    # The same hidden units: f differs by the factor 1/√N alone.
    spread = {}
    for parametrization in ("ntk", "mup"):
        model = network(256, sigma_w=0.7, parts="real", parametrization=parametrization)
        values = [model.apply(model.init(jax.random.key(s), X), X, method="psi") for s in range(40)]
        spread[parametrization] = float(jnp.sqrt(jnp.mean(jnp.stack(values) ** 2)))
    assert spread["mup"] * 16 == pytest.approx(spread["ntk"], rel=0.25)


@pytest.mark.thorough
def test_empirical_kernels_know_its_factors():
    state = nk.vqs.FullSumState(HI, perceptron(16, "mup", output="psi"), seed=0)
    by_layers = qs.kernels.EmpiricalKernel(state, route="layers").qsntk(X).theta_11
    by_jacobian = qs.kernels.EmpiricalKernel(state, route="jacobian").qsntk(X).theta_11
    np.testing.assert_allclose(by_layers, by_jacobian, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_one_learning_rate_serves_all_widths_of_a_vmc_run():
    energies = {}
    for width in (32, 512):
        for rate in (0.02, 0.1, 0.5):
            state = nk.vqs.FullSumState(HI, perceptron(width, "mup", 1), seed=0)
            log = nk.logging.RuntimeLog()
            nk.driver.VMC(H, optax.sgd(rate), variational_state=state).run(
                40, out=log, show_progress=False
            )
            energies[width, rate] = float(np.real(log.data["Energy"].Mean[-1]))
    best = {w: min((0.02, 0.1, 0.5), key=lambda r: energies[w, r]) for w in (32, 512)}
    assert best[32] == best[512]

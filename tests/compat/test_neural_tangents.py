"""The loader of neural-tangents: what it gives, and that it leaves everything else alone."""

import json
import subprocess
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from netket_qsntk._compat import load_neural_tangents
from netket_qsntk.errors import NeuralTangentsError, QSNTKError

# Twelve different spin configurations of six sites, so that no kernel is singular.
NUMBERS = np.random.default_rng(0).permutation(64)[:12]
X = 1.0 - 2.0 * ((NUMBERS[:, None] >> np.arange(6)) & 1)

# Modules that an import adds to its parent package are no change of JAX: the same happens when
# anybody imports jax.example_libraries.
LOAD_IN_FRESH_PROCESS = """
import json, sys, types
import jax, jax.core, jax.random, jax.tree_util, jax.interpreters.ad, jax.interpreters.pxla

watched = [jax, jax.core, jax.random, jax.tree_util, jax.interpreters.ad, jax.interpreters.pxla]

def names():
    return {
        m.__name__: sorted(n for n, v in vars(m).items() if not isinstance(v, types.ModuleType))
        for m in watched
    }

import netket_qsntk
from netket_qsntk._compat import load_neural_tangents

loaded_early = "neural_tangents" in sys.modules
before, util_before = names(), "jax.util" in sys.modules
nt = load_neural_tangents()
report = {
    "loaded_early": loaded_early,
    "before": before,
    "after": names(),
    "util": [util_before, "jax.util" in sys.modules],
    "same": load_neural_tangents() is nt,
    "tensorflow": sorted(m for m in sys.modules if m.split(".")[0] in ("tensorflow", "tf2jax")),
}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD_IN_FRESH_PROCESS],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.thorough
def test_jax_keeps_exactly_its_own_names(report):
    assert report["before"] == report["after"]
    assert report["util"][0] == report["util"][1]
    assert len(report["before"]["jax.core"]) > 10


@pytest.mark.thorough
def test_it_is_loaded_when_used_and_once(report):
    assert not report["loaded_early"]
    assert report["same"]


@pytest.mark.thorough
def test_tensorflow_is_never_imported(report):
    assert report["tensorflow"] == []


@cache
def network(activation: str):
    stax = load_neural_tangents().stax
    layer = {"relu": stax.Relu, "erf": stax.Erf}[activation]()
    return stax.serial(stax.Dense(64, 1.3, 0.2), layer, stax.Dense(1, 1.1, 0.3))


@pytest.mark.thorough
def test_relu_kernels_are_the_arc_cosine_kernels():
    kernels = network("relu")[2](X, None, ("nngp", "ntk"))
    first = 1.3**2 * X @ X.T / 6 + 0.2**2
    q = np.sqrt(np.outer(first.diagonal(), first.diagonal()))
    angle = np.arccos(np.clip(first / q, -1, 1))
    dual = q * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    nngp = 1.1**2 * dual + 0.3**2
    ntk = nngp + 1.1**2 * first * (np.pi - angle) / (2 * np.pi)
    assert_allclose(kernels.nngp, nngp, atol=1e-7)
    assert_allclose(kernels.ntk, ntk, atol=1e-7)


def test_erf_kernel_is_the_arcsine_kernel():
    first = 1.3**2 * X @ X.T / 6 + 0.2**2
    norms = 1 + 2 * first.diagonal()
    dual = 2 / np.pi * np.arcsin(2 * first / np.sqrt(np.outer(norms, norms)))
    assert_allclose(network("erf")[2](X, None, "nngp"), 1.1**2 * dual + 0.3**2, atol=1e-12)


@pytest.mark.thorough
def test_empirical_kernel_is_the_product_of_jacobians():
    init_fn, apply_fn, _ = network("erf")
    _, params = init_fn(jax.random.key(0), X.shape)
    jacobian = jax.jacobian(lambda p: apply_fn(p, X)[:, 0])(params)
    rows = jnp.concatenate([leaf.reshape(len(X), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
    kernel = load_neural_tangents().empirical_ntk_fn(apply_fn)(X, None, params)
    assert_allclose(kernel, rows @ rows.T, rtol=1e-10)


def test_monte_carlo_kernel_approaches_the_exact_one():
    init_fn, apply_fn, kernel_fn = network("erf")
    sample = load_neural_tangents().monte_carlo_kernel_fn(
        init_fn, apply_fn, jax.random.key(1), 256, device_count=0
    )
    # 256 networks of width 64: relative fluctuations of an NTK element stay below 0.02.
    assert_allclose(sample(X, None, "ntk"), kernel_fn(X, None, "ntk"), atol=0.1)


@pytest.mark.thorough
def test_gradient_descent_ensemble_called_eagerly_solves_the_training():
    predict = load_neural_tangents().predict
    kernel_fn = network("relu")[2]
    y = X[:8].sum(axis=1, keepdims=True)
    ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, X[:8], y, diag_reg=0.0)
    mean = ensemble(t=3.0, x_test=X[8:], get="ntk")
    ntk = np.asarray(kernel_fn(X, X[:8], "ntk"))
    values, vectors = np.linalg.eigh(ntk[:8])
    # Its loss is |f - y|²/2 summed over outputs and averaged over the 8 training points.
    weight = -np.expm1(-values * 3.0 / 8) / values
    expected = ntk[8:] @ vectors @ (weight[:, None] * (vectors.T @ y))
    assert_allclose(mean, expected, rtol=1e-6)
    converged = ensemble(t=None, x_test=X[:8], get="ntk", compute_cov=True)
    assert_allclose(converged.mean, y, atol=1e-6)
    assert_allclose(converged.covariance, 0.0, atol=1e-6)


def test_prediction_runs_with_a_traced_kernel():
    predict = load_neural_tangents().predict
    ntk = jnp.asarray(network("relu")[2](X, None, "ntk"))
    y = jnp.asarray(X.sum(axis=1, keepdims=True))

    def trained(kernel):
        return predict.gradient_descent_mse(kernel, y)(2.0, jnp.zeros_like(y))

    assert_allclose(jax.jit(trained)(ntk), trained(ntk), rtol=1e-9)


def test_max_learning_rate_is_two_over_the_largest_eigenvalue():
    ntk = jnp.asarray(network("relu")[2](X, None, "ntk"))
    rate = load_neural_tangents().predict.max_learning_rate(ntk, y_train_size=12, eps=0.0)
    assert_allclose(rate, 2 * 12 / np.linalg.eigvalsh(ntk)[-1], rtol=1e-6)


@pytest.fixture
def not_loaded(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("not_loaded")
def test_a_missing_package_says_which_versions_work(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NeuralTangentsError, match=r"not installed.*jax 0\.10.*==0\.5\.0"):
        load_neural_tangents()


@pytest.mark.usefixtures("not_loaded")
def test_a_package_that_does_not_import_says_which_versions_work(monkeypatch, tmp_path):
    package = tmp_path / "neural_tangents"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text("from . import part\nfrom jax import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NeuralTangentsError, match=r"no_such_name.*==0\.5\.0") as caught:
        load_neural_tangents()
    assert isinstance(caught.value, QSNTKError)
    assert isinstance(caught.value, ImportError)
    assert not any(name.startswith("neural_tangents") for name in sys.modules)


@pytest.mark.usefixtures("not_loaded")
def test_another_version_is_refused_by_number(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.6.5")
    with pytest.raises(NeuralTangentsError, match=r"0\.6\.5 is installed.*==0\.5\.0"):
        load_neural_tangents()

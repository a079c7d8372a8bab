"""With JAX's 64-bit mode off everything runs, warns once, and is as accurate as the documentation says."""

import json
import os
import subprocess
import sys

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

JOBS = """
import json, warnings
import jax, netket as nk, numpy as np, optax
import netket_qsntk as qs

hilbert = nk.hilbert.Spin(0.5, 8)
x = hilbert.all_states()
H = nk.operator.Ising(hilbert, nk.graph.Chain(8), h=0.5, J=-1.0)
target = qs.targets.quench(H, initial="plus", time=1.0)
train, test = target.split(160, seed=0)
net = qs.models.WideMLP(widths=(64,), activation="relu", sigma_w=(1.4, 0.05), sigma_b=(0.3, 0.0))
kernel = qs.kernels.infinite_width(net)
out = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    out["kernel"] = kernel.ntk(x)
    eta = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
    dense = qs.dynamics.LinearDynamics(kernel, train, learning_rate=eta)
    steps = np.array([0, 1, 10, 100, 1000])
    for name, data in (("train", train), ("test", test)):
        out[f"L_mu, {name}"] = dense.losses(steps, data).L_mu
        out[f"L_gamma, {name}"] = dense.losses(steps, data).L_gamma
    products = qs.dynamics.LinearDynamics(kernel, train, learning_rate=eta, solver="products")
    out["products"] = products.losses(steps, test).L_mu
    flow = qs.dynamics.FunctionSpaceFlow(kernel, qs.losses.Energy(H), learning_rate=1e-2)
    out["energy"] = flow.losses(np.full(256, 1 / 16), [0, 10, 100])
    out["posterior"] = qs.dynamics.Posterior(kernel, train, noise=1e-3).mean(test.states)
    state = qs.vqs.EnsembleState(hilbert, net, 2, seed=0)
    for name in ("QSNTKDriver", "LinearizedDriver", "InfiniteWidthDriver"):
        log = nk.logging.RuntimeLog()
        driver = getattr(qs.driver, name)(
            target, optax.sgd(eta), variational_state=state, n_train=160, seed=0)
        driver.run(3, out=log, show_progress=False)
        assert np.isfinite(log.data["loss/test"].Mean).all()
    out["infinite width"] = log.data["loss/test"].Mean
out["entropy"] = qs.entanglement.entropies(target.amplitudes, hilbert, [0, 1, 2, 3])
ours = [w.category.__name__ for w in caught if issubclass(w.category, qs.errors.QSNTKWarning)]
jax_own = [str(w.message) for w in caught if "is not available" in str(w.message)]
print(json.dumps({
    "x64": bool(jax.config.read("jax_enable_x64")), "ours": ours, "jax": jax_own,
    "values": {k: [np.ravel(v).real.tolist(), np.ravel(v).imag.tolist()] for k, v in out.items()},
}))
"""

# Largest deviation from float64 relative to the largest number, some ten times those that the documentation lists.
BOUNDS = {
    "kernel": 1e-6,
    "L_mu, train": 1e-6,
    "L_gamma, train": 1e-6,
    "L_mu, test": 1e-6,
    "L_gamma, test": 2e-6,
    "products": 2e-3,
    "energy": 2e-6,
    "posterior": 2e-5,
    "infinite width": 2e-6,
    "entropy": 1e-12,
}


def run(x64: str) -> dict:
    environment = {**os.environ, "JAX_ENABLE_X64": x64}
    command = [sys.executable, "-c", JOBS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def both() -> tuple[dict, dict]:
    return run("1"), run("0")


@pytest.mark.slow
def test_the_setting_is_respected_and_warned_of_once(both) -> None:
    double, single = both
    assert double["x64"]
    assert double["ours"] == []
    assert not single["x64"]
    assert single["ours"] == ["SinglePrecisionWarning"]


@pytest.mark.slow
def test_jax_has_nothing_to_add(both) -> None:
    assert not both[1]["jax"]


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_accuracy_without_64_bits(both, name) -> None:
    double, single = (
        np.array(r["values"][name][0]) + 1j * np.array(r["values"][name][1]) for r in both
    )
    deviation = np.abs(single - double).max() / np.abs(double).max()
    assert deviation <= BOUNDS[name]
    if BOUNDS[name] > 1e-10:
        assert deviation > 0  # it did compute in float32


def test_doubles_are_the_default() -> None:
    kernel = qs.kernels.infinite_width(qs.models.CosNet(8))
    assert kernel.ntk(nk.hilbert.Spin(0.5, 3).all_states()).dtype == np.float64

"""SR and gradient descent of real networks, by their Jacobians in parameter space, beside the infinite width."""

from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 6)
X = jnp.asarray(HI.all_states())
H = nk.operator.Ising(HI, nk.graph.Chain(6), h=1.0)
DENSE = jnp.asarray(H.to_dense())
E0 = float(np.linalg.eigvalsh(H.to_dense())[0])


def network(width):
    return qs.models.WideMLP(
        widths=(width,), activation="erf", sigma_b=0.3, output="log_psi", parts="real"
    )


@partial(jax.jit, static_argnums=(0, 1))
def trained(net, steps, theta, shift, rate):
    """E - E₀ at each step of minSR with λ = shift, or of gradient descent for shift = inf."""
    flat, unravel = ravel_pytree(theta)

    def log_psi(flat):
        return net.apply({"params": unravel(flat)}, X)

    def step(flat, _):
        f, j = log_psi(flat), jax.jacrev(log_psi)(flat)
        psi = jnp.exp(f - f.max())
        psi = psi / jnp.linalg.norm(psi)
        energy = psi @ DENSE @ psi
        rows = psi[:, None] * (j - psi**2 @ j)
        right = 2 * (DENSE @ psi - energy * psi)
        gram = rows @ rows.T + shift * jnp.eye(len(psi))
        descent = jnp.isinf(shift)
        solved = jnp.linalg.solve(jnp.where(descent, jnp.eye(len(psi)), gram), right)
        a = jnp.where(descent, right, solved)
        return flat - rate * rows.T @ a, energy - E0

    return jax.lax.scan(step, flat, None, length=steps)[1]


def both(width, seeds, steps, shift, rate):
    """Measured and predicted E - E₀, each (seeds, steps)."""
    net = network(width)
    kernel = qs.kernels.infinite_width(net)
    flow = qs.dynamics.NaturalGradientFlow(kernel, H, learning_rate=rate, diag_shift=shift)
    measured, starts = [], []
    for seed in range(seeds):
        theta = net.init(jax.random.key(seed), X)["params"]
        measured.append(trained(net, steps, theta, jnp.inf if shift is None else shift, rate))
        starts.append(net.apply({"params": theta}, X))
    predicted = flow.energies(jnp.stack(starts), np.arange(steps)) - E0
    return np.asarray(measured), np.asarray(predicted).T


@pytest.mark.slow
def test_the_average_over_seeds_is_predicted():
    measured, predicted = both(512, 16, 40, 1e-4, 0.05)
    found, theory = measured.mean(0), predicted.mean(0)
    seen = theory > 1e-3 * theory[0]
    assert abs(found / theory - 1)[seen].max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "rate"), [(None, 0.1), (1e-1, 0.05), (1e-3, 0.05)])
def test_deviations_fall_with_the_width(shift, rate):
    deviations = []
    for width in (64, 1024):
        measured, predicted = both(width, 12, 25, shift, rate)
        # The median: single seeds are far off.
        deviations.append(np.median(abs(measured / predicted - 1)[:, 1:].mean(1)))
    assert deviations[1] < 0.9 * deviations[0]
    assert deviations[1] < 0.1


def test_a_narrow_network_is_already_near():
    measured, predicted = both(64, 2, 8, 1e-2, 0.05)
    np.testing.assert_allclose(measured[:, 0], predicted[:, 0], rtol=1e-10)
    np.testing.assert_allclose(measured, predicted, rtol=0.5)

"""SR and gradient descent of networks of finite width beside the infinite width, from the same functions."""

from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from benchmarks.widths import both, drawn, exponent, network, summary, trained
from netket_qsntk.losses import Energy

HI = nk.hilbert.Spin(0.5, 6)
X = jnp.asarray(HI.all_states(), float)
H = nk.operator.Ising(HI, nk.graph.Chain(6), h=1.0)
LOSS = Energy(H)
E0 = -(2 / np.sin(np.pi / 12))
"""The ground state of the critical ring: free fermions."""


@partial(jax.jit, static_argnums=0)
def by_jacobians(steps, params, shift, rate):
    """E at each step of minSR with λ = shift, or of gradient descent for shift = inf, by automatic derivatives."""
    flat, unravel = ravel_pytree(params)

    def log_psi(flat):
        w, b, v, c = unravel(flat)
        hidden = jax.scipy.special.erf(X @ w.T / 6**0.5 + 0.3 * b)
        return hidden @ v / len(v) ** 0.5 + 0.3 * c

    def step(flat, _):
        f, j = log_psi(flat), jax.jacrev(log_psi)(flat)
        psi = jnp.exp(f - f.max())
        psi = psi / jnp.linalg.norm(psi)
        moved = LOSS.apply(psi)
        energy = psi @ moved
        rows = psi[:, None] * (j - psi**2 @ j)
        right = 2 * (moved - energy * psi)
        gram = rows @ rows.T + shift * jnp.eye(len(psi))
        descent = jnp.isinf(shift)
        solved = jnp.linalg.solve(jnp.where(descent, jnp.eye(len(psi)), gram), right)
        a = jnp.where(descent, right, solved)
        return flat - rate * rows.T @ a, energy

    return jax.lax.scan(step, flat, None, length=steps)[1]


@pytest.mark.thorough
@pytest.mark.parametrize("shift", [1e-3, jnp.inf])
def test_the_closed_form_of_one_layer_is_the_jacobian(shift):
    params = drawn(jax.random.key(0), 24, 6)
    _, energies = trained(LOSS, X, params, 6, jnp.asarray(shift), jnp.asarray(0.05))
    np.testing.assert_allclose(energies, by_jacobians(6, params, shift, 0.05), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1e-3, None])
def test_netkets_drivers_do_the_same_steps(shift):
    net, state_seed = network(24), 3
    vs = nk.vqs.FullSumState(HI, net, seed=state_seed)
    leaves = {leaf.shape: leaf for leaf in jax.tree.leaves(vs.parameters)}
    assert sorted(leaves) == [(1,), (6, 24), (24,), (24, 1)], leaves.keys()
    params = (leaves[6, 24].T, leaves[24,], leaves[24, 1][:, 0], leaves[1,][0])
    numbers = jnp.asarray(jnp.inf if shift is None else shift), jnp.asarray(0.05)
    start, energies = trained(LOSS, X, params, 10, *numbers)
    np.testing.assert_allclose(start, vs.log_value(X), atol=1e-12)
    optimizer, log = optax.sgd(0.05), nk.logging.RuntimeLog()
    if shift is None:
        driver = nk.driver.VMC(H, optimizer, variational_state=vs)
    else:
        driver = nk.driver.VMC_SR(
            H, optimizer, variational_state=vs, diag_shift=shift, use_ntk=False, on_the_fly=False
        )
    driver.run(10, out=log, show_progress=False)
    np.testing.assert_allclose(np.real(log["Energy"]["Mean"]), energies, atol=1e-9)


@pytest.mark.slow
def test_the_average_over_seeds_is_predicted():
    off = {}
    for width in (512, 2048):
        measured, predicted = both(H, width, 48, 41, 1e-4, 0.05)
        _, off[width], _, error = summary(measured - E0, predicted - E0, np.random.default_rng(0))
        # Of the order of 1/width: 3.1 ± 0.4 % and 1.4 ± 0.2 % over 96 seeds.
        assert off[width] < 0.03 * 512 / width + 0.01 + 2 * error
    assert off[2048] < off[512]


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "rate"), [(None, 0.05), (1e-1, 0.05)])
def test_deviations_fall_with_the_root_of_the_width(shift, rate):
    rng, singles = np.random.default_rng(0), {}
    for width in (128, 512, 2048):
        measured, predicted = both(H, width, 48, 41, shift, rate)
        singles[width] = summary(measured - E0, predicted - E0, rng)[0]
    slope, error = exponent(singles, rng, np.mean)
    assert error < 0.15
    assert abs(slope + 0.5) < 3 * error


@pytest.mark.thorough
def test_a_narrow_network_is_already_near():
    measured, predicted = both(H, 64, 2, 8, 1e-2, 0.05)
    np.testing.assert_allclose(measured[:, 0], predicted[:, 0], rtol=1e-10)
    np.testing.assert_allclose(measured - E0, predicted - E0, rtol=0.5)

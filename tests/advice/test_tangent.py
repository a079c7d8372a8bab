"""The tangent space on a batch against NetKet's own, dense Hessians and exact rates."""

from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from netket_qsntk.advice.batch import connect, draw_batch
from netket_qsntk.advice.modes import clusters, tangent_modes, whole_clusters
from netket_qsntk.advice.tangent import tangent
from netket_qsntk.wavefunction import pure_wavefunction

from .problems import HILBERT, ISING, Table, ground_state_table, hessian, spectrum


def examine(state, n=64, whole=64, parts=1, memory=2**30, operator=ISING):
    network, batch = pure_wavefunction(state), draw_batch(state, n, whole=whole)
    return batch, tangent(
        network.log_psi,
        network.parameters,
        batch,
        connect(operator, batch),
        parts=parts,
        memory=memory,
    )


def modes_of(state, **options):
    batch, seen = examine(state, **options)
    return tangent_modes(seen, batch)


def samples(model, n=96, seed=3):
    sampler = nk.sampler.ExactSampler(HILBERT)
    return nk.vqs.MCState(sampler, model, n_samples=n, seed=seed)


@pytest.mark.thorough
@pytest.mark.parametrize("complex_parameters", [False, True])
def test_eigenvalues_and_force_are_those_of_netkets_own_step(complex_parameters):
    model = nk.models.RBM(param_dtype=complex if complex_parameters else float)
    state = samples(model)
    state.parameters = jax.tree.map(lambda p: 20 * p, state.parameters)
    solver = partial(
        nk.optimizer.solver.pinv_smooth, rtol=1e-14, rtol_smooth=1e-14, return_eigvals=True
    )
    shift = 0.05
    driver = nk.driver.VMC_SR(
        ISING,
        nk.optimizer.Sgd(0.1),
        variational_state=state,
        diag_shift=shift,
        use_ntk=True,
        on_the_fly=False,
        linear_solver=solver,
    )
    driver.reset_step()
    _, update = driver.compute_loss_and_update()
    parts = 2 if complex_parameters else 1
    batch, seen = examine(state, n=96, parts=parts)
    modes = tangent_modes(seen, batch)
    theirs = np.sort(np.asarray(driver.info["evals"]))[::-1] - shift
    np.testing.assert_allclose(modes.eigenvalues, theirs[: len(modes.eigenvalues)], atol=1e-10)
    # ‖update‖² = Σ s φ²/(s+λ)².
    square = sum(float(jnp.sum(jnp.abs(leaf) ** 2)) for leaf in jax.tree.leaves(update))
    expected = np.sum(modes.eigenvalues * modes.force**2 / (modes.eigenvalues + shift) ** 2)
    assert square == pytest.approx(expected, rel=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("with_phase", [False, True])
def test_second_variation_is_the_hessian_of_a_network_linear_in_its_parameters(with_phase):
    state = nk.vqs.FullSumState(HILBERT, Table(with_phase, scale=0.3), seed=1)
    modes = modes_of(state, parts=2 if with_phase else 1)
    exact = np.linalg.eigvalsh(hessian(state))
    ours = modes.rates(None)
    # The Hessian has the directions of norm and phase too, where nothing changes.
    both = np.sort(np.concatenate([ours, np.zeros(len(exact) - len(ours))]))
    np.testing.assert_allclose(both, exact, atol=1e-9)
    assert modes.max_learning_rate() == pytest.approx(2 / exact[-1])


@pytest.mark.thorough
@pytest.mark.parametrize("shift", [1e-4, 1e-2, 1.0])
def test_late_rate_at_the_ground_state_is_that_of_the_filtered_hamiltonian(shift):
    state = ground_state_table()
    modes = modes_of(state)
    values, vectors = spectrum()
    psi = np.abs(vectors[:, 0])
    kernel = np.diag(psi) @ (np.eye(64) - np.outer(np.ones(64), psi**2))
    kernel = kernel @ kernel.T
    root = vectors @ np.diag(np.sqrt(np.maximum(values - values[0], 0))) @ vectors.T
    filtered = root @ kernel @ np.linalg.inv(kernel + shift * np.eye(64)) @ root
    exact = np.linalg.eigvalsh((filtered + filtered.T) / 2)
    assert 1 / modes.max_learning_rate(shift) == pytest.approx(exact[-1], rel=1e-6)
    assert modes.late_rate(shift) == pytest.approx(exact[1], rel=1e-4)
    assert modes.residual == pytest.approx(0, abs=1e-12)


@pytest.mark.thorough
def test_samples_tell_the_largest_stable_rates():
    model = nk.models.MLP(hidden_dims=(12,), param_dtype=float)
    exact = modes_of(nk.vqs.FullSumState(HILBERT, model, seed=5))
    sampled = samples(model, n=2048)
    sampled.parameters = nk.vqs.FullSumState(HILBERT, model, seed=5).parameters
    estimate = modes_of(sampled, n=256)
    for shift in (1e-3, 1e-1, None):
        assert estimate.max_learning_rate(shift) == pytest.approx(
            exact.max_learning_rate(shift), rel=0.25
        )


@pytest.mark.thorough
@pytest.mark.parametrize("parts", [1, 2])
def test_chunks_give_what_whole_jacobians_give(parts):
    state = samples(nk.models.RBMModPhase(alpha=1) if parts == 2 else nk.models.RBM(alpha=1), n=20)
    _, whole = examine(state, n=20, parts=parts)
    _, tiled = examine(state, n=20, parts=parts, memory=4 * parts * whole.size * 8 * 6)
    rows = np.asarray(whole.rows)
    assert tiled.rows is None
    np.testing.assert_allclose(tiled.kernel, rows @ rows.T, atol=1e-13)
    np.testing.assert_allclose(tiled.mixed, np.asarray(whole.moved) @ rows.T, atol=1e-12)
    np.testing.assert_allclose(tiled.column, whole.column, atol=1e-13)


@pytest.mark.thorough
def test_signal_to_noise_is_the_spread_over_independent_samples():
    model = nk.models.Jastrow()
    states = [samples(model, n=256, seed=s) for s in range(40)]
    start = states[0].parameters
    for state in states:
        state.parameters = jax.tree.map(lambda p: 10 * p, start)
    modes = [modes_of(state, n=256) for state in states]
    # The total: signs and order of single modes are not the same from one draw to the next.
    total = np.array([np.sqrt(m.eigenvalues[0]) * abs(m.force[0]) for m in modes])
    claimed = np.mean([np.sqrt(m.eigenvalues[0]) * m.error[0] for m in modes])
    assert 0.4 < total.std() / claimed < 2.5


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_single_precision_models_are_examined_in_their_precision(dtype):
    state = samples(nk.models.RBM(param_dtype=dtype), n=64)
    _, seen = examine(state, n=64, parts=2 if dtype == jnp.complex64 else 1)
    assert seen.rows.dtype == jnp.float32
    assert np.isfinite(modes_of(state, n=64).max_learning_rate(1e-2))


def test_cuts_divide_no_cluster():
    values = np.array([3.0, 3.0 - 1e-9, 2.0, 1.0, 1.0, 1.0])
    assert clusters(values).tolist() == [2, 3, 6]
    assert [whole_clusters(values, k) for k in range(1, 7)] == [2, 2, 3, 6, 6, 6]

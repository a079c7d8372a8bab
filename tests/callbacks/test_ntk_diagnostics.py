"""NTKDiagnostics logs what a direct computation gives, in NetKet's drivers and in ours."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.callbacks.energy_modes import optimizer_limit
from netket_qsntk.errors import InvalidTrainingError

HI = nk.hilbert.Spin(0.5, 5)
H = nk.operator.Ising(HI, nk.graph.Chain(5), h=0.8)


def run(driver, steps=13, **options):
    log = nk.logging.RuntimeLog()
    options = {"every": 6, "n_samples": 20, **options}
    driver.run(steps, out=log, callback=qs.callbacks.NTKDiagnostics(**options), show_progress=False)
    return {
        key: np.asarray(value.values) for key, value in log.data.items() if key.startswith("ntk")
    }


def vmc(state, driver=nk.driver.VMC, rate=0.01, **options):
    return driver(H, nk.optimizer.Sgd(rate), variational_state=state, **options)


def monte_carlo(model):
    return nk.vqs.MCState(nk.sampler.MetropolisLocal(HI, n_chains=8), model, n_samples=256, seed=1)


@pytest.mark.thorough
def test_spectrum_and_drift_are_those_of_the_log_psi_jacobian():
    x = HI.all_states()[::2]
    state = nk.vqs.FullSumState(HI, nk.models.RBM(param_dtype=complex), seed=3)

    def omega():
        flat, unravel = jax.flatten_util.ravel_pytree(state.parameters)

        def parts(re, im):
            value = state.model.apply({"params": unravel(re + 1j * im)}, x)
            return jnp.concatenate([value.real, value.imag])

        jacobian = jnp.concatenate(jax.jacrev(parts, (0, 1))(flat.real, flat.imag), axis=1)
        return np.asarray(jacobian @ jacobian.T)

    start = omega()
    logged = run(vmc(state, rate=0.1), steps=7, batch=x)
    # The second evaluation is before the seventh update: take the parameters back by that one step.
    assert logged["ntk/largest_eigenvalue"][0] == pytest.approx(np.linalg.eigvalsh(start)[-1])
    state_6 = nk.vqs.FullSumState(HI, nk.models.RBM(param_dtype=complex), seed=3)
    vmc(state_6, rate=0.1).run(6, show_progress=False)
    state.parameters = state_6.parameters
    drift = np.linalg.norm(omega() - start) / np.linalg.norm(start)
    assert logged["ntk/drift"][0] == 0
    assert logged["ntk/drift"][1] == pytest.approx(drift, rel=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize("complex_parameters", [False, True])
def test_small_steps_of_vmc_realise_the_predicted_decrease(complex_parameters):
    model = nk.models.RBM(param_dtype=complex if complex_parameters else float)
    logged = run(vmc(nk.vqs.FullSumState(HI, model, seed=3), rate=1e-3))
    assert np.all(logged["ntk/predicted_decrease"] > 0)
    np.testing.assert_allclose(
        logged["ntk/predicted_decrease"], logged["ntk/realised_decrease"], rtol=0.02
    )


@pytest.mark.thorough
def test_natural_gradient_steps_realise_the_predicted_decrease():
    state = nk.vqs.FullSumState(HI, nk.models.RBM(), seed=3)
    logged = run(vmc(state, nk.driver.VMC_SR, rate=1e-4, diag_shift=1e-2))
    np.testing.assert_allclose(
        logged["ntk/predicted_decrease"], logged["ntk/realised_decrease"], rtol=0.02
    )


@pytest.mark.thorough
def test_ensembles_are_diagnosed_member_by_member_and_sharpness_is_the_curvature():
    net = qs.models.WideMLP(widths=(64,), sigma_w=1.0)
    state = qs.vqs.EnsembleState(HI, net, n_members=3, seed=0)
    member = state.get_state(1)
    target = qs.targets.ground_state(H)
    driver = qs.driver.QSNTKDriver(
        target, optax.sgd(1e-3), variational_state=state, n_train=20, seed=1
    )
    logged = run(driver, member=1)
    kernel = qs.kernels.empirical(member, driver.train.states)
    limit = qs.kernels.max_learning_rate(qs.kernels.EmpiricalKernel(member), driver.train.states)
    assert logged["ntk/sharpness"][0] == pytest.approx(2 / limit)
    assert logged["ntk/decoupling_error"][0] == 0
    assert kernel.is_decoupled()
    np.testing.assert_allclose(
        logged["ntk/predicted_decrease"], logged["ntk/realised_decrease"], rtol=0.05
    )
    assert np.all((logged["ntk/alignment"] > 0) & (logged["ntk/alignment"] <= 1))


@pytest.mark.thorough
def test_gradient_alignment_is_its_share_in_the_modes_of_the_kernel():
    # Against a singular value decomposition of the Jacobian; the whole gradient lies in the modes of its own batch.
    net = qs.models.WideMLP(widths=(16,), sigma_w=1.0, parts="shared")
    states = [nk.vqs.FullSumState(HI, net, seed=2) for _ in range(3)]
    target = qs.targets.ground_state(H)
    shares = []
    for state, n_modes in zip(states[:2], (40, 3), strict=True):
        driver = qs.driver.QSNTKDriver(
            target, optax.sgd(1e-3), variational_state=state, n_train=20, seed=1
        )
        shares.append(run(driver, steps=1, n_modes=n_modes)["ntk/gradient_alignment"][0])
    assert shares[0] == pytest.approx(1, abs=1e-6)

    x, amplitudes = driver.train.states, jnp.asarray(driver.train.amplitudes)
    flat, unravel = jax.flatten_util.ravel_pytree(states[2].parameters)

    def parts(p):
        psi = net.apply({"params": unravel(p)}, x, method="psi")
        return jnp.concatenate([psi.real, psi.imag])

    jacobian = jax.jacobian(parts)(flat)
    error = parts(flat) - jnp.concatenate([amplitudes.real, amplitudes.imag])
    gradient = jacobian.T @ error
    directions = jnp.linalg.svd(jacobian, full_matrices=False)[2][:3]
    expected = jnp.sum((directions @ gradient) ** 2) / jnp.sum(gradient**2)
    assert shares[1] == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize("batch", ["fixed", "sampled"])
def test_monte_carlo_runs_log_finite_numbers(batch):
    driver = vmc(monte_carlo(nk.models.RBMModPhase()), nk.driver.VMC_SR, diag_shift=1e-2)
    logged = run(driver, batch=batch)
    assert set(logged) >= {
        "ntk/drift",
        "ntk/alignment",
        "ntk/effective_rank",
        "ntk/condition_number",
    }
    assert all(np.all(np.isfinite(values)) for values in logged.values())
    assert logged["ntk/drift"][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.thorough
def test_infidelity_and_time_evolution_drivers_take_it():
    states = [nk.vqs.FullSumState(HI, nk.models.RBM(param_dtype=complex), seed=s) for s in (1, 2)]
    driver = nk.driver.Infidelity_SR(
        states[0], optax.sgd(0.01), diag_shift=1e-2, variational_state=states[1]
    )
    assert "ntk/alignment" in run(driver, steps=2)
    tdvp = nk.experimental.driver.TDVP(
        H,
        states[0],
        nk.experimental.dynamics.Euler(dt=0.01),
        qgt=nk.optimizer.qgt.QGTJacobianDense(holomorphic=True),
    )
    log = nk.logging.RuntimeLog()
    tdvp.run(
        0.03,
        out=log,
        show_progress=False,
        callback=qs.callbacks.NTKDiagnostics(every=1, n_samples=8),
    )
    assert len(log.data["ntk/drift"].values) >= 2


def test_bad_options_say_what_was_expected():
    with pytest.raises(InvalidTrainingError, match="every=0"):
        qs.callbacks.NTKDiagnostics(every=0)
    with pytest.raises(InvalidTrainingError, match="'fixed'"):
        qs.callbacks.NTKDiagnostics(batch="all")
    with pytest.raises(InvalidTrainingError, match="MCState"):
        run(vmc(nk.vqs.FullSumState(HI, nk.models.RBM())), steps=1, batch="sampled")


@pytest.mark.thorough
def test_one_callback_serves_many_runs_each_from_its_own_start():
    shared = qs.callbacks.NTKDiagnostics(every=1, n_samples=8)
    for model, seed in ((nk.models.RBM(), 0), (nk.models.RBM(), 1), (nk.models.Jastrow(), 0)):
        logs = []
        for diagnostics in (shared, qs.callbacks.NTKDiagnostics(every=1, n_samples=8)):
            log = nk.logging.RuntimeLog()
            driver = vmc(nk.vqs.FullSumState(HI, model, seed=seed))
            driver.run(3, out=log, callback=diagnostics, show_progress=False)
            logs.append(log.data)
        for key in ("ntk/drift", "ntk/predicted_decrease"):
            assert logs[0][key].iters.tolist() == logs[1][key].iters.tolist()
            np.testing.assert_allclose(logs[0][key].values, logs[1][key].values, rtol=1e-12)
        assert logs[0]["ntk/drift"].values[0] == 0
    of = qs.driver.QSNTKDriver(
        qs.targets.ground_state(H),
        optax.sgd(0.1),
        variational_state=nk.vqs.FullSumState(HI, nk.models.RBM()),
    )
    of.run(1, callback=shared, show_progress=False)
    assert shared.of == "psi"
    vmc(nk.vqs.FullSumState(HI, nk.models.RBM())).run(1, callback=shared, show_progress=False)
    assert shared.of == "log_psi"


@pytest.mark.thorough
def test_a_run_that_goes_on_keeps_its_start():
    driver = vmc(nk.vqs.FullSumState(HI, nk.models.RBM(), seed=0), rate=0.1)
    diagnostics, log = qs.callbacks.NTKDiagnostics(every=1, n_samples=8), nk.logging.RuntimeLog()
    driver.run(2, out=log, callback=diagnostics, show_progress=False)
    driver.run(2, out=log, callback=diagnostics, show_progress=False)
    drift = np.asarray(log.data["ntk/drift"].values)
    assert drift[2] > drift[1] > 0


@pytest.mark.thorough
@pytest.mark.parametrize("n_modes", [4, 5, 6])
def test_shares_of_equal_modes_do_not_depend_on_the_order_of_the_batch(n_modes):
    # The eigenvalues of a holomorphic network come in pairs.
    x = np.asarray(HI.all_states())[:12]
    shares = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(12)
        state = nk.vqs.FullSumState(HI, nk.models.RBM(alpha=1, param_dtype=complex), seed=0)
        logged = run(vmc(state), steps=1, every=1, batch=x[order], n_modes=n_modes)
        shares.append([logged["ntk/alignment"][0], logged["ntk/gradient_alignment"][0]])
    np.testing.assert_allclose(shares[1:], [shares[0]] * 2, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_single_precision_models_are_diagnosed(dtype):
    model = nk.models.RBM(param_dtype=dtype)
    driver = vmc(monte_carlo(model), nk.driver.VMC_SR, diag_shift=1e-2)
    logged = run(driver, steps=3, every=1)
    assert all(np.all(np.isfinite(values)) for values in logged.values())


@pytest.mark.thorough
def test_energy_keys_are_those_of_the_modes_that_the_driver_trains():
    from netket_qsntk.advice.batch import connect, draw_batch
    from netket_qsntk.advice.modes import tangent_modes
    from netket_qsntk.advice.tangent import tangent
    from netket_qsntk.wavefunction import pure_wavefunction

    state = nk.vqs.FullSumState(HI, nk.models.MLP(hidden_dims=(8,), param_dtype=float), seed=1)
    network, batch = pure_wavefunction(state), draw_batch(state, 20, whole=80)
    seen = tangent(
        network.log_psi, network.parameters, batch, connect(H, batch), parts=1, memory=2**30
    )
    modes = tangent_modes(seen, batch)
    logged = run(
        vmc(state, nk.driver.VMC_SR, rate=0.02, diag_shift=1e-2), steps=1, eigenvalues=True
    )
    assert logged["ntk/edge"][0] == pytest.approx(modes.max_learning_rate(1e-2) / 0.02, rel=1e-6)
    assert logged["ntk/sr_trained_modes"][0] == pytest.approx(modes.trained(1e-2), rel=1e-6)
    np.testing.assert_allclose(
        logged["ntk/sr_filter"][0][: len(modes.eigenvalues)], modes.filter(1e-2), rtol=1e-6
    )
    momentum = nk.driver.VMC(H, optax.sgd(0.01, momentum=0.5), variational_state=state)
    start = tangent_modes(
        tangent(
            network.log_psi,
            pure_wavefunction(state).parameters,
            batch := draw_batch(state, 20, whole=80),
            connect(H, batch),
            parts=1,
            memory=2**30,
        ),
        batch,
    )
    logged = run(momentum, steps=1)
    assert logged["ntk/edge"][0] == pytest.approx(1.5 * start.max_learning_rate() / 0.01, rel=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("complex_parameters", [False, True])
def test_gradient_read_off_the_step_of_sr_is_the_gradient(complex_parameters):
    from netket_qsntk.callbacks.energy_modes import gradient_of_sr

    model = nk.models.RBM(param_dtype=complex if complex_parameters else float)
    state = monte_carlo(model)
    driver = vmc(state, nk.driver.VMC_SR, diag_shift=1e-2)
    driver.reset_step()
    _, update = driver.compute_loss_and_update()
    exact = state.expect_and_grad(H)[1]
    for ours, theirs in zip(
        jax.tree.leaves(gradient_of_sr(driver, update)), jax.tree.leaves(exact), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.thorough
def test_prediction_error_is_small_for_lazy_and_large_for_long_steps():
    slow = run(vmc(nk.vqs.FullSumState(HI, nk.models.Jastrow(), seed=1)), steps=7)
    # A Jastrow factor is linear in its parameters.
    assert slow["ntk/prediction_error"][0] == pytest.approx(0, abs=1e-10)
    long = run(vmc(nk.vqs.FullSumState(HI, nk.models.RBM(), seed=3), rate=0.2), steps=13)
    assert long["ntk/prediction_error"][-1] > 0.1


@pytest.mark.thorough
def test_long_steps_are_beyond_the_edge_for_every_optimiser():
    for make in (optax.sgd, optax.adam, lambda r: optax.sgd(optax.constant_schedule(r))):
        edges = []
        for rate in (1e-3, 10.0):
            state = nk.vqs.FullSumState(
                HI, nk.models.MLP(hidden_dims=(8,), param_dtype=float), seed=1
            )
            driver = nk.driver.VMC(H, make(rate), variational_state=state)
            edges.append(run(driver, steps=1)["ntk/edge"][0])
        assert edges[0] > 1 > edges[1]


def test_optimisers_that_are_not_linear_have_no_limit_of_their_own():
    assert optimizer_limit(optax.sgd(0.1, momentum=0.9)) == pytest.approx(38)
    assert optimizer_limit(optax.sgd(1e-6)) == pytest.approx(2e6)
    labels = {"Dense": "fast", "visible_bias": "slow"}
    for optimizer in (
        optax.rmsprop(0.01),
        nk.optimizer.AdaGrad(0.01),
        optax.sign_sgd(0.1),
        optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1)),
        optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(0.1)),
        optax.multi_transform({"fast": optax.sgd(0.1), "slow": optax.sgd(0.01)}, labels),
    ):
        assert optimizer_limit(optimizer) is None


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["tenfold", "scaled shift", "clipped"])
def test_the_edge_is_that_of_the_step_that_is_made(kind):
    """Steps that are no gradient and no plain SR are judged by the energy along them; clipped ones by their rate."""
    clip = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1))
    optimizer, preconditioner = {
        "tenfold": (optax.sgd(0.1), lambda _, g, step: jax.tree.map(lambda x: 10 * x, g)),
        "scaled shift": (optax.sgd(0.1), nk.optimizer.SR(diag_shift=1e-3, diag_scale=1.0)),
        "clipped": (clip, nk.optimizer.identity_preconditioner),
    }[kind]
    # Log ψ is linear in the parameters: the second variation along a step is the second derivative.
    jastrow = nk.models.Jastrow(param_dtype=float, kernel_init=jax.nn.initializers.normal(0.3))

    def logged(optimizer, preconditioner):
        state = nk.vqs.FullSumState(HI, jastrow, seed=1)
        driver = nk.driver.VMC(H, optimizer, variational_state=state, preconditioner=preconditioner)
        start = state.parameters
        found = run(driver, steps=1)
        change = jax.tree.map(jnp.subtract, driver.state.parameters, start)
        assert "ntk/sr_trained_modes" not in found
        return found["ntk/edge"][0], start, change, driver._loss_grad

    found, start, change, gradient = logged(optimizer, preconditioner)
    if kind == "clipped":
        plain = logged(optax.sgd(0.1), nk.optimizer.identity_preconditioner)[0]
        norm = float(jnp.linalg.norm(jax.flatten_util.ravel_pytree(gradient)[0]))
        assert norm > 2e-3
        assert found == pytest.approx(plain * norm / 1e-3, rel=1e-6)
        return
    dense = jnp.asarray(H.to_dense())

    def energy(t):
        moved = jax.tree.map(lambda p, d: p + t * d, start, change)
        psi = jnp.exp(jastrow.apply({"params": moved}, jnp.asarray(HI.all_states())))
        return (psi @ dense @ psi) / (psi @ psi)

    slope, curve = jax.grad(energy)(0.0), jax.grad(jax.grad(energy))(0.0)
    assert found == pytest.approx(float(-2 * slope / curve), rel=1e-6)


@pytest.mark.thorough
def test_blocks_of_jacobians_within_little_memory_log_the_same():
    whole, blocks = (
        run(
            vmc(monte_carlo(nk.models.RBM(param_dtype=complex)), nk.driver.VMC_SR, diag_shift=1e-2),
            memory=memory,
        )
        for memory in (2**30, 2**15)
    )
    assert set(whole) == set(blocks)
    # Samples repeat, eigenvalues coincide, and modes among equal ones are a matter of rounding: so is how many stand
    # above their noise, and which side of the second variation is taken between them.
    del whole["ntk/resolved_modes"]
    for key, values in whole.items():
        rtol = 5e-3 if key == "ntk/edge" else 1e-6
        np.testing.assert_allclose(blocks[key], values, rtol=rtol, atol=1e-9, err_msg=key)

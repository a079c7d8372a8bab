"""VMC, VMC_SR and TDVP of infinitely wide networks beside NetKet's own drivers and exact evolution."""

import flax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
import scipy.linalg

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
CHAIN = nk.graph.Chain(4)
H = nk.operator.Ising(HI, CHAIN, h=1.0)
E0 = nk.exact.lanczos_ed(H)[0]


def network(width=32, **options):
    settings = {"activation": "erf", "sigma_b": 0.3, "output": "log_psi", "parts": "real"}
    return qs.models.WideMLP(widths=(width,), **(settings | options))


def full(model, seed=0):
    return nk.vqs.FullSumState(HI, model, seed=seed)


def energies(driver, steps=20, **options):
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, show_progress=False, **options)
    return np.real(np.asarray(log["Energy"]["Mean"])), log


@pytest.mark.thorough
def test_a_wide_network_trained_by_netket_follows_the_prediction():
    net = network(2048)
    measured, _ = energies(nk.driver.VMC(H, optax.sgd(0.05), variational_state=full(net)), 30)
    predicted, log = energies(
        qs.driver.InfiniteWidthVMC(H, optax.sgd(0.05), variational_state=full(net)), 30
    )
    np.testing.assert_allclose(predicted - E0, measured - E0, rtol=0.05)
    netket, _ = energies(nk.driver.VMC(H, optax.sgd(0.05), variational_state=full(net)), 1)
    assert netket[0] == pytest.approx(predicted[0], abs=1e-12)
    assert log["Energy"]["Variance"][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("parts", ["real", "independent"])
def test_deviations_of_netkets_vmc_sr_fall_with_the_width(parts, momentum):
    deviations = []
    for width in (32, 512):
        found = []
        for seed in range(3):
            net = network(width, parts=parts)
            arguments = {"diag_shift": 1e-2, "momentum": momentum}
            state = nk.vqs.MCState(nk.sampler.ExactSampler(HI), net, n_samples=16, seed=seed)
            start = full(net, seed)
            start.variables = state.variables
            measured = energies(exact_sr(H, start, **arguments), 20)[0]
            predicted = energies(
                qs.driver.InfiniteWidthVMC_SR(
                    H, optax.sgd(0.05), variational_state=start, **arguments
                )
            )[0]
            found.append(np.abs((measured - E0) / (predicted - E0) - 1).mean())
        deviations.append(np.mean(found))
    assert deviations[1] < 0.5 * deviations[0]
    assert deviations[1] < 0.1


def exact_sr(hamiltonian, state, *, diag_shift, momentum):
    return nk.driver.VMC_SR(
        hamiltonian,
        optax.sgd(0.05),
        variational_state=state,
        diag_shift=diag_shift,
        momentum=momentum,
        use_ntk=False,
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("start", "members"),
    [
        (lambda: full(network()), None),
        (
            lambda: nk.vqs.MCState(nk.sampler.ExactSampler(HI), network(), n_samples=16, seed=0),
            None,
        ),
        (lambda: qs.vqs.EnsembleState(HI, network(), 3, seed=0), 3),
        (lambda: qs.vqs.InfiniteState(HI, network()), 8),
        (lambda: full(network(output="psi", parts="independent")), None),
    ],
    ids=["full sum", "samples", "ensemble", "draws", "psi"],
)
def test_where_a_run_starts_and_that_it_is_what_predict_says(start, members):
    state = start()
    driver = qs.driver.InfiniteWidthVMC_SR(
        H, optax.sgd(0.05), variational_state=state, diag_shift=1e-2, momentum=0.5
    )
    found, log = energies(driver, 15, obs={"x": nk.operator.spin.sigmax(HI, 0)})
    curve = driver.predict([0, 7, 14])
    np.testing.assert_allclose(curve["Energy"], found[[0, 7, 14]], rtol=1e-12)
    assert ("Energy/error" in curve) == (members is not None)
    if members is None:
        assert driver.state.to_array().shape == (16,)
        if isinstance(state, nk.vqs.FullSumState):
            assert found[0] == pytest.approx(state.expect(H).mean.real, abs=1e-10)
    else:
        assert driver.state.n_members == members
        assert (log["Energy"]["Sigma"][1:] > 0).all()
    after = float(np.real(driver.state.expect(H).mean))
    assert after == pytest.approx(driver.predict([15])["Energy"][0], abs=1e-10)
    assert np.isfinite(np.real(log["x"]["Mean"])).all()


@pytest.mark.thorough
def test_netkets_preconditioner_is_the_same_run():
    state = full(network())
    sr = qs.driver.InfiniteWidthVMC_SR(H, optax.sgd(0.05), variational_state=state, diag_shift=1e-2)
    vmc = qs.driver.InfiniteWidthVMC(
        H, optax.sgd(0.05), variational_state=state, preconditioner=nk.optimizer.SR(diag_shift=1e-2)
    )
    np.testing.assert_allclose(vmc.predict([10])["Energy"], sr.predict([10])["Energy"], rtol=1e-12)


@pytest.mark.thorough
def test_a_run_can_be_saved_and_resumed():
    def driver():
        return qs.driver.InfiniteWidthVMC_SR(
            H, optax.sgd(0.05, momentum=0.5), variational_state=full(network()), diag_shift=1e-2,
            momentum=0.8,
        )  # fmt: skip

    first = driver()
    first.run(5, show_progress=False)
    saved = flax.serialization.to_bytes(first)
    second = flax.serialization.from_bytes(driver(), saved)
    first.run(5, show_progress=False)
    second.run(5, show_progress=False)
    np.testing.assert_allclose(second.state.to_array(), first.state.to_array(), atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("propagation", ["real", "imag"])
def test_tdvp_without_a_shift_is_exact_evolution_in_netkets_integrators(propagation):
    net = qs.models.CosNet(16, 0.4, 2.5, output="log_psi")
    state = full(net)
    psi = state.to_array()
    driver = qs.driver.InfiniteWidthTDVP(
        H, state, nk.experimental.dynamics.RK4(dt=0.0025), propagation_type=propagation
    )
    log = nk.logging.RuntimeLog()
    times = np.linspace(0, 0.5, 6)
    driver.run(0.5, out=log, tstops=times, show_progress=False)
    factor = -0.5j if propagation == "real" else -0.5
    exact = scipy.linalg.expm(factor * H.to_dense()) @ psi
    exact = exact / np.linalg.norm(exact)
    found = driver.state.to_array()
    np.testing.assert_allclose(found * np.vdot(found, exact), exact, atol=1e-8)
    # NetKet logs the generator at the start of each step, so not at the last stop.
    logged = np.real(np.asarray(log["Generator"]["Mean"]))
    np.testing.assert_allclose(driver.predict(times[:-1])["Generator"], logged, atol=1e-8)


@pytest.mark.thorough
def test_another_optimizer_takes_over_and_one_that_cannot_be_followed_is_refused():
    driver = qs.driver.InfiniteWidthVMC(H, optax.sgd(0.05), variational_state=full(network()))
    first, _ = energies(driver, 3)
    with pytest.raises(qs.errors.NonLinearOptimizerError):
        driver.optimizer = optax.adam(0.05)
    driver.optimizer = optax.sgd(0.02, momentum=0.5)
    second, _ = energies(driver, 4)
    # By hand: f ← f - η_t m_t, m_t = g_t + μ_t m_{t-1}, the memory empty after the exchange.
    flow, place = driver.flow, driver.flow.start(full(network()).log_value(HI.all_states()))
    by_hand, memory = [], jnp.zeros(16)
    for t in range(7):
        step = flow.direction(place, t)
        by_hand.append(float(step.value))
        rate, mu = (0.05, 0.0) if t < 3 else (0.02, 0.5)
        memory = step.place.alpha + (mu * memory if t > 3 else 0)
        place = place._replace(f=place.f - rate * flow.apply(memory))
    np.testing.assert_allclose(np.concatenate([first, second]), by_hand, atol=1e-12)


@pytest.mark.thorough
def test_tdvp_of_members_and_of_generators_that_change():
    net = qs.models.CosNet(16, 0.4, 2.5, output="log_psi")
    ensemble = qs.vqs.EnsembleState(HI, net, 2, seed=0)
    solver = nk.experimental.dynamics.RK23(dt=0.01, adaptive=True, rtol=1e-6)
    driver = qs.driver.InfiniteWidthTDVP(
        H, ensemble, solver, qgt=nk.optimizer.qgt.QGTJacobianDense(diag_shift=1e-4)
    )
    assert driver.flow.diag_shift == 1e-4
    driver.run(0.05, show_progress=False)
    assert driver.state.n_members == 2
    ramp = qs.driver.InfiniteWidthTDVP(
        lambda t: nk.operator.Ising(HI, CHAIN, h=1.0 + t),
        full(net),
        nk.experimental.dynamics.RK4(dt=0.01),
    )
    start = ramp.state.expect(H).mean
    ramp.run(0.05, show_progress=False)
    assert abs(ramp.state.expect(H).mean - start) > 1e-6
    with pytest.raises(qs.errors.InvalidTrainingError, match="depend on time"):
        ramp.predict([0.1])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: qs.driver.InfiniteWidthVMC(
                H, optax.adam(0.1), variational_state=full(network())
            ),
            "NonLinearOptimizerError",
            "not linear",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC_SR(
                H, optax.sgd(0.1), variational_state=full(network()), diag_shift=-1.0
            ),
            "InvalidTrainingError",
            ">= 0",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC(
                nk.operator.Ising(nk.hilbert.Spin(0.5, 3), nk.graph.Chain(3), h=1.0),
                optax.sgd(0.1),
                variational_state=full(network()),
            ),
            "HilbertMismatchError",
            "same",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC(
                H, optax.sgd(0.1), variational_state=full(network()), n_members=3
            ),
            "InvalidTrainingError",
            "InfiniteState",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC(
                H, optax.sgd(0.1), variational_state=full(network()), preconditioner=lambda *a: a
            ),
            "InvalidTrainingError",
            "preconditioner",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC(
                H,
                optax.sgd(0.1),
                variational_state=full(network()),
                preconditioner=nk.optimizer.SR(diag_shift=0.1, diag_scale=0.1),
            ),
            "InvalidTrainingError",
            "diag_scale",
        ),
        (
            lambda: qs.driver.InfiniteWidthTDVP(
                H,
                full(network()),
                nk.experimental.dynamics.RK4(dt=0.1),
                qgt=nk.optimizer.qgt.QGTJacobianDense(diag_shift=0.1, diag_scale=0.1),
            ),
            "InvalidTrainingError",
            "diag_scale",
        ),
        (
            lambda: qs.driver.InfiniteWidthTDVP(
                H, full(network()), nk.experimental.dynamics.RK4(dt=0.1)
            ),
            "InvalidTrainingError",
            "phases",
        ),
        (
            lambda: qs.driver.InfiniteWidthVMC(
                H, optax.sgd(0.1), variational_state=nk.vqs.FullSumState(HI, nk.models.DeepSetMLP())
            ),
            "UnknownKernelError",
            "No infinite-width kernel",
        ),
    ],
)
def test_what_cannot_be_predicted_is_an_error_that_says_so(make, error, words):
    with pytest.raises(getattr(qs.errors, error), match=words):
        make()


def test_negative_amplitudes_are_followed_by_networks_of_psi():
    state = full(network(output="psi", sigma_w=2.0))
    assert (np.sign(np.real(state.to_array())) != 1).any()
    driver = qs.driver.InfiniteWidthVMC(H, optax.sgd(0.05), variational_state=state)
    assert jnp.isrealobj(driver.flow.functions(state.log_value(HI.all_states())))
    found, _ = energies(driver)
    assert found[-1] < found[0]

"""FunctionSpaceFlow against the linear solution, explicit iteration, and what its flows conserve."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError, NonLinearOptimizerError

HI = nk.hilbert.Spin(0.5, 4)
H = nk.operator.Ising(HI, nk.graph.Chain(4), h=0.9)
TARGET = qs.targets.quench(H, initial="plus", time=0.7)
KERNEL = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
X = HI.all_states()
THETA = np.asarray(KERNEL.ntk(X))
STATE = qs.vqs.InfiniteState(HI, qs.models.CosNet(1, 1.0, 2.0))
PSI = STATE.sample(2, seed=3)


def losses():
    shots = [qs.losses.measure(TARGET, basis, 500, seed=1) for basis in ("ZZZZ", "XXXX", "YZXY")]
    return {
        "mse": qs.losses.MSE(TARGET),
        "infidelity": qs.losses.Infidelity(TARGET),
        "energy": qs.losses.Energy(H),
        "tomography": qs.losses.Tomography(HI, shots),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["gd", "flow"])
def test_mean_square_error_follows_the_linear_solution(mode):
    train, _ = TARGET.split(11, seed=0)
    rate = 0.5 * qs.kernels.max_learning_rate(KERNEL, train.states)
    steps = [0, 1, 7, 60]
    flow = qs.dynamics.FunctionSpaceFlow(
        KERNEL, qs.losses.MSE(TARGET), train.states, train.amplitudes,
        learning_rate=rate, mode=mode, tolerance=1e-10,
    )  # fmt: skip
    dynamics = qs.dynamics.LinearDynamics(KERNEL, train, learning_rate=rate, mode=mode)
    psi = flow.run(jnp.zeros(len(train), complex), steps)
    np.testing.assert_allclose(psi, dynamics.mean(steps, train.states), atol=2e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["infidelity", "energy", "tomography"])
def test_gradient_descent_is_the_explicit_iteration(name):
    loss, rate, psi = losses()[name], 0.05, PSI[0]
    flow = qs.dynamics.FunctionSpaceFlow(KERNEL, loss, learning_rate=rate)
    expected = psi
    for _ in range(5):
        expected = expected - rate * THETA @ loss.gradient(expected, TARGET.amplitudes)
    np.testing.assert_allclose(flow.run(psi, [5])[0], expected, atol=1e-12)


@pytest.mark.thorough
def test_momentum_is_the_explicit_iteration_on_alpha():
    loss, psi = qs.losses.Energy(H), PSI[0]
    optimizer = optax.sgd(0.02, momentum=0.7)
    flow = qs.dynamics.FunctionSpaceFlow(KERNEL, loss, optimizer=optimizer)
    expected, trace = psi, 0
    for _ in range(4):
        trace = 0.7 * trace + loss.gradient(expected)
        expected = expected - 0.02 * THETA @ trace
    np.testing.assert_allclose(flow.run(psi, [4])[0], expected, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["infidelity", "energy", "tomography"])
def test_flow_decreases_the_loss_and_conserves_the_kernel_norm(name):
    # These losses do not depend on the norm of ψ, so Re ψ†g = 0 and ψ†Θ⁻¹ψ stays constant.
    flow = qs.dynamics.FunctionSpaceFlow(
        KERNEL, losses()[name], learning_rate=0.05, mode="flow", tolerance=1e-9
    )
    steps = np.linspace(0, 60, 7)
    psi = np.asarray(flow.run(PSI[0], steps))
    values = np.asarray(flow.losses(PSI[0], steps))
    assert np.all(np.diff(values) < 0)
    norms = np.einsum("ti,ij,tj->t", psi.conj(), np.linalg.inv(THETA), psi).real
    np.testing.assert_allclose(norms, norms[0], rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["energy", "infidelity", "mse"])
@pytest.mark.parametrize("output", ["log_psi", "psi"])
def test_a_readout_moves_the_functions_of_the_networks(name, output):
    # The oracle: JAX's derivative of the loss of e^(r + f), or of f e^r, with respect to both parts of f.
    loss, rate = losses()[name], 0.03
    readout = qs.readout.Readout(
        output, qs.readout.marshall(nk.graph.Chain(4)) + qs.readout.jastrow(nk.graph.Chain(4), 0.1)
    )
    r = np.asarray(readout.reference(X))
    f = 0.3 * PSI[0] + (0.0 if output == "log_psi" else 1.0)
    flow = qs.dynamics.FunctionSpaceFlow(KERNEL, loss, learning_rate=rate, readout=readout)

    def psi(parts):
        f = parts[0] + 1j * parts[1]
        return jnp.exp(r + f) if output == "log_psi" else f * jnp.exp(r)

    first = jnp.log(psi((f.real, f.imag)))
    parts = jnp.stack([f.real, f.imag])
    values = [loss.value(psi(parts), TARGET.amplitudes)]
    for _ in range(4):
        slope = jax.grad(lambda parts: loss.value(psi(parts), TARGET.amplitudes))(parts)
        parts = parts - rate * slope @ THETA
        values.append(loss.value(psi(parts), TARGET.amplitudes))
    np.testing.assert_allclose(flow.losses(first, range(5)), values, atol=1e-12)
    np.testing.assert_allclose(np.exp(flow.run(first, [4])[0]), psi(parts), atol=1e-11)


@pytest.mark.thorough
def test_real_networks_of_log_psi_are_those_of_natural_gradient_flow():
    kernel = qs.kernels.infinite_width(
        qs.models.CosNet(1, 1.0, 2.0, parts="real", output="log_psi")
    )
    readout, first = qs.readout.Readout("log_psi"), jnp.log(jnp.abs(PSI[0]) + 0.1)
    options = {"learning_rate": 0.05, "readout": readout}
    flow = qs.dynamics.FunctionSpaceFlow(kernel, qs.losses.Energy(H), **options)
    other = qs.dynamics.NaturalGradientFlow(kernel, H, diag_shift=None, **options)
    np.testing.assert_allclose(
        flow.losses(first, [0, 9]), other.energies(first, [0, 9]), atol=1e-12
    )
    assert not jnp.iscomplexobj(flow.run(first, [9]))
    for wrong in (first.at[0].set(-jnp.inf), first + 1j * X[:, 0]):
        with pytest.raises(qs.errors.AmplitudesError):
            flow.run(wrong, [1])


@pytest.mark.thorough
def test_the_stiff_integrator_agrees_with_the_explicit_one():
    options = {"learning_rate": 0.2, "mode": "flow", "tolerance": 1e-8}
    explicit, implicit = (
        qs.dynamics.FunctionSpaceFlow(KERNEL, qs.losses.Energy(H), stiff=stiff, **options)
        for stiff in (False, True)
    )
    np.testing.assert_allclose(explicit.run(PSI[0], [3.0]), implicit.run(PSI[0], [3.0]), atol=1e-6)


@pytest.mark.thorough
def test_energy_reaches_the_ground_state_for_every_member():
    exact = np.linalg.eigvalsh(H.to_dense())[0]
    flow = qs.dynamics.FunctionSpaceFlow(KERNEL, qs.losses.Energy(H), learning_rate=0.3)
    energies = flow.losses(PSI, [0, 3000])
    assert energies.shape == (2, 2)
    np.testing.assert_allclose(energies[1], exact, atol=1e-6)


def test_members_are_evolved_one_by_one_and_real_states_stay_real():
    flow = qs.dynamics.FunctionSpaceFlow(KERNEL, qs.losses.Energy(H), learning_rate=0.1)
    np.testing.assert_array_equal(flow.run(PSI, [2])[0, 1], flow.run(PSI[1], [2])[0])
    assert not jnp.iscomplexobj(flow.run(PSI[0].real, [2]))


def test_what_has_no_meaning_is_refused():
    energy = qs.losses.Energy(H)
    make = qs.dynamics.FunctionSpaceFlow
    with pytest.raises(InvalidTrainingError, match="exactly one"):
        make(KERNEL, energy)
    with pytest.raises(InvalidTrainingError, match="whole basis"):
        make(KERNEL, energy, X[:3], learning_rate=0.1)
    with pytest.raises(InvalidTrainingError, match="amplitudes"):
        make(KERNEL, qs.losses.MSE(TARGET), X[:3], learning_rate=0.1)
    with pytest.raises(InvalidTrainingError, match="plain gradient descent"):
        make(KERNEL, energy, optimizer=optax.sgd(0.1), mode="flow")
    with pytest.raises(NonLinearOptimizerError):
        make(KERNEL, energy, optimizer=optax.adam(0.1))
    with pytest.raises(InvalidTrainingError, match="∞"):
        make(KERNEL, energy, learning_rate=0.1).run(PSI[0], [np.inf])

"""Sampled losses and gradients agree with sums over the whole basis within their statistical errors."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from tests.driver.problems import FERMIONS, HILBERT, full_sum, random_target

MODELS = {
    "complex parameters": nk.models.RBM(param_dtype=complex),
    "complex function": nk.models.RBMModPhase(),
    "real function": nk.models.RBM(),
    "amplitudes": qs.models.CosNet(6, 1.0, 2.0),
}
N_DRAWS = 160


class Collect:
    """Gradients and logged values of every step, of a run whose learning rate is zero."""

    def __init__(self):
        self.gradients, self.logs = [], []

    def __call__(self, step, log_data, driver):
        self.gradients.append(jax.flatten_util.ravel_pytree(driver._dp)[0])
        self.logs.append(dict(log_data))
        return True


def exact(state, target, loss):
    """Value and ∂L/∂Re θ + i ∂L/∂Im θ over the whole basis, by automatic differentiation of the definition."""
    states = state.hilbert.all_states()

    def value(parameters):
        log_psi = state.model.apply({"params": parameters}, states)
        psi = jnp.exp(log_psi)
        if loss == "mse":
            return jnp.sum(jnp.abs(psi - target) ** 2) / jnp.sum(jnp.abs(target) ** 2)
        norms = jnp.vdot(psi, psi).real * jnp.vdot(target, target).real
        return 1 - jnp.abs(jnp.vdot(target, psi)) ** 2 / norms

    gradient = jax.tree.map(jnp.conj, jax.grad(value)(state.parameters))
    return float(value(state.parameters)), jax.flatten_util.ravel_pytree(gradient)[0]


def monte_carlo(state, n_samples=1000):
    sampler = nk.sampler.ExactSampler(state.hilbert)
    return nk.vqs.MCState(
        sampler, state.model, n_samples=n_samples, variables=state.variables, seed=4
    )


def agree(samples, expected, what):
    """Real numbers (draws, n): mean within 4 standard errors, and not because the errors are huge."""
    error = samples.std(0, ddof=1) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - expected) < 4 * error + 1e-12), what
    assert np.max(error) < 0.1 * max(1e-3, np.max(np.abs(expected))), what


def check(state, target, loss, reference, trained=None, **options):
    trained = state if trained is None else trained
    driver = qs.driver.QSNTKDriver(
        target, optax.sgd(0.0), variational_state=trained, loss=loss, seed=7, **options
    )
    collected = Collect()
    driver.run(N_DRAWS, callback=collected, show_progress=False)
    value, gradient = exact(state, reference, loss)
    sampled = np.asarray(collected.gradients)
    agree(sampled.real, gradient.real, "gradient")
    if np.iscomplexobj(sampled):
        agree(sampled.imag, gradient.imag, "imaginary part of the gradient")
    losses = np.array([[log["Loss"].mean] for log in collected.logs])
    agree(losses, value, "loss")
    infidelity, _ = exact(state, reference, "infidelity")
    agree(np.array([[log["fidelity"].mean] for log in collected.logs]), 1 - infidelity, "fidelity")
    # The error bars of single draws are those by which the draws scatter.
    claimed = np.mean([log["Loss"].error_of_mean for log in collected.logs])
    assert claimed == pytest.approx(losses.std(ddof=1), rel=0.35)


CASES = [
    *(
        (model, loss, sampling)
        for model in MODELS
        for loss, sampling in (("mse", "target"), ("infidelity", "both"))
    ),
    *(
        (model, *case)
        for model in ("complex parameters", "amplitudes")
        for case in (("infidelity", "target"), ("infidelity", "state"), ("mse", "state"))
    ),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("model", "loss", "sampling"), CASES)
def test_gradients_are_those_of_the_whole_basis(model, loss, sampling):
    state = full_sum(MODELS[model])
    # Half the state and half noise: importance weights of moderate variance.
    noise = random_target(seed=2).amplitudes
    own = state.to_array(normalize=False)
    target = qs.targets.Target(HILBERT, own / np.linalg.norm(own) + 0.6 * noise)
    check(state, target, loss, target.amplitudes, sampling=sampling, n_samples=1000)


@pytest.mark.thorough
@pytest.mark.parametrize("sampling", ["target", "state", "both"])
def test_samplers_of_netket_states_give_the_same(sampling):
    wide = {name: jax.nn.initializers.normal(0.3) for name in ("kernel_init", "hidden_bias_init")}
    model = nk.models.RBM(param_dtype=complex, **wide)
    state, other = (full_sum(model, FERMIONS, seed=s) for s in (5, 6))
    # Both samplers are made with one seed: the driver sees to it that their samples are independent.
    check(
        state,
        monte_carlo(other),
        "infidelity",
        other.to_array(),
        trained=monte_carlo(state),
        sampling=sampling,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("zeros", [False, True])
def test_the_overlap_estimator_is_unbiased_with_few_samples(zeros):
    """Also where the target vanishes: |φ|² never draws what ψ has there, and E|ψ/φ|² is less than one."""
    state = full_sum(MODELS["complex function"])
    target = random_target(seed=2)
    if zeros:
        amplitudes = np.array(target.amplitudes)
        amplitudes[::3] = 0
        target = qs.targets.Target(target.hilbert, amplitudes)
    driver = qs.driver.QSNTKDriver(
        target,
        optax.sgd(0.0),
        variational_state=state,
        loss="infidelity",
        sampling="both",
        n_samples=6,
    )
    collected = Collect()
    driver.run(1500, callback=collected, show_progress=False)
    value, gradient = exact(state, target.amplitudes, "infidelity")
    sampled = np.asarray(collected.gradients)
    error = sampled.std(0, ddof=1) / np.sqrt(len(sampled))
    assert np.all(np.abs(sampled.mean(0) - gradient) < 4 * error + 1e-12)
    losses = np.array([log["Loss"].mean for log in collected.logs])
    assert abs(losses.mean() - value) < 4 * losses.std(ddof=1) / np.sqrt(len(losses))


@pytest.mark.thorough
def test_the_control_variate_removes_first_order_noise_near_the_target():
    state = full_sum(MODELS["complex parameters"])
    own = state.to_array()
    scatter = {}
    for distance in (0.1, 0.01):
        target = qs.targets.Target(HILBERT, own + distance * random_target(seed=2).amplitudes)
        for control_variate in (None, -0.5, "optimal"):
            driver = qs.driver.QSNTKDriver(
                target,
                optax.sgd(0.0),
                variational_state=state,
                loss="infidelity",
                sampling="both",
                n_samples=400,
                control_variate=control_variate,
            )
            collected = Collect()
            driver.run(40, callback=collected, show_progress=False)
            losses = np.array([log["Loss"].mean for log in collected.logs])
            scatter[distance, control_variate] = losses.std()
            value, _ = exact(state, target.amplitudes, "infidelity")
            assert abs(losses.mean() - value) < 4.5 * losses.std() / np.sqrt(len(losses))
    # Without it the scatter falls like the distance, with it like the distance squared, as the loss does.
    assert scatter[0.1, None] / scatter[0.01, None] < 20
    assert scatter[0.1, -0.5] / scatter[0.01, -0.5] > 50
    assert scatter[0.01, -0.5] < scatter[0.01, None] / 20
    assert scatter[0.1, "optimal"] < 1.2 * scatter[0.1, -0.5]


@pytest.mark.thorough
def test_ensembles_train_on_shared_samples_of_the_target():
    model = qs.models.CosNet(6, 1.0, 2.0)
    ensemble = qs.vqs.EnsembleState(HILBERT, model, n_members=2, seed=0)
    target = random_target(seed=2)
    driver = qs.driver.QSNTKDriver(
        target, optax.sgd(0.0), variational_state=ensemble, sampling="target", n_samples=2000
    )
    collected = Collect()
    driver.run(N_DRAWS, callback=collected, show_progress=False)
    unravel = jax.flatten_util.ravel_pytree(ensemble.parameters)[1]
    sampled = jax.vmap(unravel)(jnp.stack(collected.gradients))
    values = []
    for i in range(2):
        value, gradient = exact(ensemble.get_state(i), target.amplitudes, "mse")
        own = jax.vmap(lambda tree: jax.flatten_util.ravel_pytree(tree)[0])(
            jax.tree.map(lambda leaf, i=i: leaf[:, i], sampled)
        )
        agree(np.asarray(own), gradient, f"member {i}")
        values.append(value)
    agree(np.array([[log["Loss"].mean] for log in collected.logs]), np.mean(values), "loss")

"""Advice given before a run is what the run then shows; what cannot work is named."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import linen

import netket_qsntk as qs
from netket_qsntk.advice.batch import connect, draw_batch
from netket_qsntk.advice.rows import real_view
from netket_qsntk.errors import HamiltonianError, HilbertMismatchError, InvalidTrainingError

from .problems import HILBERT, ISING, RING, spectrum


class Perceptron(linen.Module):
    """log ψ of one hidden layer."""

    width: int = 12
    odd: bool = False

    @linen.compact
    def __call__(self, x):
        hidden = linen.Dense(self.width, use_bias=not self.odd, param_dtype=float)(x)
        readout = linen.Dense(1, use_bias=False, param_dtype=float)
        return readout(jnp.tanh(hidden))[..., 0]


def numbers(advice):
    """Every number of the table."""
    found = [
        advice.learning_rate, advice.diag_shift, advice.max_learning_rate, advice.gradient_descent,
        advice.max_learning_rate_gd, *advice.diag_shift_range, advice.steps, *advice.steps_at_ends, advice.late_rate,
        advice.energy, advice.variance, advice.noise, advice.trained_modes, advice.spread, advice.initial_scale,
        advice.effective_samples, advice.laziness, advice.nonlinearity, advice.unreachable,
    ]  # fmt: skip
    return np.array(found, dtype=float)


def errors_of(state, rate, shift, steps):
    log = nk.logging.RuntimeLog()
    driver = nk.driver.VMC_SR(ISING, optax.sgd(rate), variational_state=state, diag_shift=shift)
    driver.run(steps, out=log, show_progress=False)
    exact = spectrum()[0][0]
    return np.abs(np.real(log.data["Energy"].Mean) - exact) / abs(exact)


@pytest.mark.thorough
def test_recommended_settings_converge_as_fast_as_foretold_and_thrice_the_limit_does_not():
    advice = qs.advise(nk.vqs.FullSumState(HILBERT, Perceptron(), seed=0), ISING)
    reached = errors_of(
        nk.vqs.FullSumState(HILBERT, Perceptron(), seed=0),
        advice.learning_rate,
        advice.diag_shift,
        int(4 * advice.steps) + 20,
    )
    assert np.nonzero(reached < 1e-3)[0][0] <= 3 * advice.steps + 5
    beyond = errors_of(
        nk.vqs.FullSumState(HILBERT, Perceptron(), seed=0),
        4 * advice.max_learning_rate,
        advice.diag_shift,
        60,
    )
    assert np.any(np.diff(beyond[30:]) > 0) or not np.all(np.isfinite(beyond)) or beyond[-1] > 0.1
    text = str(advice)
    assert f"diag_shift={advice.diag_shift:.2g}" in text
    assert advice.diag_shift_range[0] <= advice.diag_shift <= advice.diag_shift_range[1]
    assert advice.n_samples is None
    assert not advice.has("odd network")


@pytest.mark.thorough
def test_samples_advise_as_the_whole_basis_does():
    exact = qs.advise(nk.vqs.FullSumState(HILBERT, Perceptron(), seed=0), ISING)
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=32)
    state = nk.vqs.MCState(sampler, Perceptron(), n_samples=1024, seed=0)
    state.parameters = nk.vqs.FullSumState(HILBERT, Perceptron(), seed=0).parameters
    sampled = qs.advise(state, ISING)
    assert sampled.max_learning_rate_gd == pytest.approx(exact.max_learning_rate_gd, rel=0.3)
    assert 0.2 < sampled.learning_rate / exact.learning_rate < 5
    assert 0 < sampled.acceptance <= 1
    assert 0 < sampled.effective_samples <= 1024
    assert sampled.noise > 0
    assert sampled.resolved_modes > 0
    assert np.all(np.isfinite(sampled.signal_to_noise))


@pytest.mark.thorough
def test_odd_networks_are_told_that_the_problem_is_even():
    advice = qs.advise(nk.vqs.FullSumState(HILBERT, Perceptron(odd=True), seed=0), ISING)
    assert advice.has("odd network")
    assert not np.isnan(numbers(advice)).any()
    # A field along z is no longer even.
    tilted = ISING + nk.operator.spin.sigmaz(HILBERT, 0).to_pauli_strings().to_jax_operator()
    assert not qs.advise(nk.vqs.FullSumState(HILBERT, Perceptron(odd=True), seed=0), tilted).has(
        "odd network"
    )


@pytest.mark.thorough
def test_large_complex_rbms_are_to_be_scaled_down():
    model = nk.models.RBM(alpha=2, param_dtype=complex, kernel_init=jax.nn.initializers.normal(2.0))
    advice = qs.advise(nk.vqs.FullSumState(HILBERT, model, seed=1), ISING)
    assert advice.has("initial scale")
    assert 0 < advice.initial_scale < 1
    assert not np.isnan(numbers(advice)).any()
    assert "state.parameters" in advice.call


@pytest.mark.thorough
def test_frozen_parameters_are_named():
    class Frozen(linen.Module):
        @linen.compact
        def __call__(self, x):
            unused = self.param("unused", linen.initializers.normal(), (3,), float)
            norm = self.param("norm", linen.initializers.normal(), (), float)
            return Perceptron()(x) + norm + 0 * jnp.sum(jax.lax.stop_gradient(unused))

    advice = qs.advise(nk.vqs.FullSumState(HILBERT, Frozen(), seed=0), ISING)
    assert advice.has("frozen parameters")
    assert "unused" in str(advice)
    assert not np.isnan(numbers(advice)).any()


@pytest.mark.thorough
@pytest.mark.parametrize("sampled", [False, True])
def test_batches_without_variance_are_named_and_leave_no_nan(sampled):
    field = nk.operator.IsingJax(HILBERT, RING, h=1.0, J=0.0)
    model = nk.models.RBM(
        kernel_init=jax.nn.initializers.zeros,
        hidden_bias_init=jax.nn.initializers.zeros,
        visible_bias_init=jax.nn.initializers.zeros,
    )
    if sampled:
        state = nk.vqs.MCState(nk.sampler.ExactSampler(HILBERT), model, n_samples=64, seed=0)
    else:
        state = nk.vqs.FullSumState(HILBERT, model, seed=0)
    advice = qs.advise(state, field)
    assert advice.has("zero variance")
    assert advice.learning_rate == 0
    assert not np.isnan(numbers(advice)).any()
    text = str(advice)
    assert "eigenstate" in text
    assert "nothing can be trained" in text
    assert not any(wrong in text for wrong in ("nan", "∞", "0j", "stable below"))


@pytest.mark.thorough
def test_stuck_samplers_are_named():
    state = nk.vqs.MCState(
        nk.sampler.MetropolisLocal(HILBERT, n_chains=8),
        nk.models.Jastrow(kernel_init=jax.nn.initializers.constant(60.0)),
        n_samples=64,
        seed=0,
    )
    state.sample(n_discard_per_chain=100)
    advice = qs.advise(state, ISING)
    assert advice.has("initial scale") or advice.has("zero variance")
    assert not np.isnan(numbers(advice)).any()


@pytest.mark.thorough
def test_wrong_input_is_refused_by_name():
    state = nk.vqs.FullSumState(HILBERT, nk.models.RBM())
    other = nk.operator.IsingJax(nk.hilbert.Spin(0.5, 4), nk.graph.Chain(4), h=1.0)
    with pytest.raises(HilbertMismatchError, match="same Hilbert space"):
        qs.advise(state, other)
    with pytest.raises(InvalidTrainingError, match="accuracy=-1"):
        qs.advise(state, ISING, accuracy=-1)
    with pytest.raises(HamiltonianError, match="discrete"):
        connect(np.eye(2), draw_batch(state, 4))


class Mixed(linen.Module):
    """A real layer below a complex one."""

    @linen.compact
    def __call__(self, x):
        hidden = jnp.tanh(linen.Dense(4, param_dtype=float)(x))
        return nk.nn.activation.log_cosh(linen.Dense(3, param_dtype=complex)(hidden)).sum(-1)


@pytest.mark.thorough
def test_networks_of_real_and_complex_parameters_get_a_call_that_runs():
    state = nk.vqs.FullSumState(HILBERT, Mixed(), seed=0)
    advice = qs.advise(state, ISING)
    assert advice.has("mixed parameters")
    start, back = real_view(state.parameters)

    def energy_of(v):
        psi = jnp.exp(state.model.apply({"params": back(v)}, HILBERT.all_states()))
        return (jnp.vdot(psi, ISING.to_dense() @ psi) / jnp.vdot(psi, psi)).real

    driver = eval(advice.call, {"nk": nk, "optax": optax, "state": state, "hamiltonian": ISING})
    gradient = jax.grad(energy_of)(start)
    rows = jax.jacrev(
        lambda v: jnp.stack(
            [
                f(state.model.apply({"params": back(v)}, HILBERT.all_states()))
                for f in (jnp.real, jnp.imag)
            ]
        )
    )(start)
    p = np.asarray(state.probability_distribution())
    centred = rows - jnp.einsum("n,pnk->pk", p, rows)[:, None]
    s = jnp.einsum("n,pnk,pnl->kl", p, centred, centred)
    shift, rate = float(f"{advice.diag_shift:.2g}"), float(f"{advice.learning_rate:.2g}")
    expected = start - rate * np.linalg.solve(s + shift * np.eye(len(start)), gradient)
    driver.run(1, show_progress=False, out=nk.logging.RuntimeLog())
    moved = np.asarray(real_view(state.parameters)[0] - start)
    np.testing.assert_allclose(moved, expected - start, atol=1e-3 * np.abs(moved).max())

"""Networks that start too large are advised on as scaled; trained ones, as they are."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import linen

import netket_qsntk as qs
from netket_qsntk.advice.scale import rescaled

from .problems import HILBERT, ISING, RING, Field, spectrum


class Convolutions(linen.Module):
    """Two convolutions of three sites, summed over sites and features: there is no readout."""

    features: int = 6

    @linen.compact
    def __call__(self, x):
        x = x[..., None].astype(float)
        for _ in range(2):
            near = jnp.concatenate([jnp.roll(x, shift, -2) for shift in (-1, 0, 1)], -1)
            x = nk.nn.activation.log_cosh(linen.Dense(self.features, param_dtype=float)(near))
        return 2 * jnp.sum(x, (-1, -2))


def relative_errors(state, advice, steps):
    """Of VMC_SR with the settings, after the line of the call that scales the parameters."""
    state.parameters = jax.tree.map(lambda p: advice.initial_scale * p, state.parameters)
    log = nk.logging.RuntimeLog()
    nk.driver.VMC_SR(
        ISING,
        optax.sgd(advice.learning_rate),
        variational_state=state,
        diag_shift=advice.diag_shift,
        use_ntk=False,
    ).run(steps, out=log, show_progress=False)
    exact = spectrum()[0][0]
    return np.abs(np.real(log.data["Energy"].Mean) - exact) / abs(exact)


@pytest.mark.thorough
def test_large_convolutional_networks_converge_with_the_settings_and_the_scale():
    state = nk.vqs.FullSumState(HILBERT, Convolutions(), seed=0)
    before = jax.tree.leaves(state.parameters)
    advice = qs.advise(state, ISING)
    assert advice.spread > 10
    assert advice.has("initial scale")
    assert 0.1 < advice.initial_scale < 1
    assert advice.call.splitlines()[0].startswith("state.parameters = jax.tree.map(")
    for now, then in zip(jax.tree.leaves(state.parameters), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert advice.learning_rate < 1
    assert relative_errors(state, advice, 60)[-5:].max() < 2e-3


@pytest.mark.thorough
def test_settings_are_those_of_the_scaled_network_itself():
    state = nk.vqs.FullSumState(HILBERT, Convolutions(), seed=0)
    advice = qs.advise(state, ISING)
    scaled = qs.advise(rescaled(state, advice.initial_scale), ISING)
    assert scaled.initial_scale == 1
    assert scaled.spread == pytest.approx(0.5, rel=0.05)
    for name in ("learning_rate", "diag_shift", "max_learning_rate_gd", "energy", "laziness"):
        assert vars(advice)[name] == pytest.approx(vars(scaled)[name], rel=1e-9)


@pytest.mark.thorough
def test_chains_of_scaled_states_start_anew_and_the_state_keeps_its_own():
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=16)
    state = nk.vqs.MCState(sampler, Field(3.0), n_samples=128, seed=0)
    own = np.asarray(state.samples)
    assert np.all(own == own[0, 0, 0])
    samples = np.asarray(rescaled(state, 0.05).samples)
    assert samples.shape == own.shape
    # ⟨x⟩ = tanh(2·0.15).
    assert samples.mean() == pytest.approx(np.tanh(0.3), abs=0.15)
    np.testing.assert_array_equal(state.samples, own)
    advice = qs.advise(state, ISING)
    assert advice.has("initial scale")
    assert not advice.has("zero variance")
    assert advice.effective_samples > 50
    np.testing.assert_array_equal(state.samples, own)


def test_trained_networks_of_wide_spread_are_not_scaled():
    weak = nk.operator.IsingJax(HILBERT, RING, h=0.5, J=-1.0)
    state = nk.vqs.FullSumState(HILBERT, Field(0.8), seed=0)
    advice = qs.advise(state, weak)
    assert advice.spread > 1
    assert advice.initial_scale == 1
    assert not advice.has("initial scale")
    assert "trained already" in str(advice)
    assert "state.parameters" not in advice.call


@pytest.mark.thorough
def test_large_starts_of_low_energy_are_scaled_all_the_same():
    # Chains that hardly move show the energy of a few aligned spins, which the scaled network does not reach.
    ferromagnet = nk.operator.IsingJax(HILBERT, RING, h=0.5, J=-1.0)
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=16)
    state = nk.vqs.MCState(sampler, Field(1.5), n_samples=128, seed=0, n_discard_per_chain=50)
    smaller = rescaled(state, 0.1)
    assert state.expect(ferromagnet).mean.real < smaller.expect(ferromagnet).mean.real
    advice = qs.advise(state, ferromagnet)
    assert advice.has("initial scale")
    assert advice.initial_scale < 0.5
    as_it_is = qs.advise(state, ferromagnet, rescale=False)
    assert as_it_is.initial_scale == 1
    assert as_it_is.has("low acceptance")
    assert not as_it_is.has("initial scale")


def test_spreads_that_no_parameter_makes_are_named_and_leave_settings():
    class Fixed(linen.Module):
        @linen.compact
        def __call__(self, x):
            return Field(0.1)(x) + 2.0 * jnp.sum(x * jnp.roll(x, 1, -1), -1)

    advice = qs.advise(nk.vqs.FullSumState(HILBERT, Fixed(), seed=0), ISING)
    assert advice.has("initial scale")
    assert np.isnan(advice.initial_scale)
    assert "without parameters" in str(advice)
    assert "state.parameters" not in advice.call

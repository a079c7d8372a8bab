"""Which rates are stable is read where the run goes, not where it starts."""

import netket as nk
import numpy as np
import optax
import pytest
from flax import linen

import netket_qsntk as qs
from netket_qsntk.advice.ahead import log_psi_of
from netket_qsntk.advice.batch import connect, draw_batch
from netket_qsntk.advice.modes import tangent_modes
from netket_qsntk.advice.tangent import tangent
from netket_qsntk.advice.trial import TrialStep, largest_step, try_step
from netket_qsntk.wavefunction import pure_wavefunction

from .problems import HILBERT, ISING, spectrum

SHIFTS = (1e-3, 1e-1, 1.0)


class Field(linen.Module):
    """log ψ = θ Σ x."""

    size: float

    @linen.compact
    def __call__(self, x):
        theta = self.param("theta", linen.initializers.constant(self.size), (), float)
        return theta * x.sum(-1)


def field_of_one_spin():
    """A spin that is down with probability 10⁻⁴."""
    return nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 1), Field(float(np.log(1e4 - 1) / 4)))


def curvature_limits(state):
    """2/µ_max at each shift, of the state as it is."""
    network, batch = pure_wavefunction(state), draw_batch(state, 64, whole=64)
    seen = tangent(
        log_psi_of(network),
        network.parameters,
        batch,
        connect(ISING, batch),
        parts=1,
        memory=2**28,
    )
    modes = tangent_modes(seen, batch)
    return np.array([modes.max_learning_rate(shift) for shift in SHIFTS])


@pytest.mark.slow
def test_limits_are_nearer_to_those_of_the_ground_state_than_the_ones_of_the_start():
    model = nk.models.MLP(
        hidden_dims=(8,), param_dtype=float, hidden_activations=nk.nn.activation.log_cosh
    )
    state = nk.vqs.FullSumState(HILBERT, model, seed=0)
    at_start = curvature_limits(state)
    advice = qs.advise(state, ISING)
    foretold = np.array([advice.stable_below(shift) for shift in SHIFTS])
    driver = nk.driver.VMC_SR(
        ISING, optax.sgd(0.05), variational_state=state, diag_shift=1e-2, use_ntk=False
    )
    driver.run(80, show_progress=False, out=nk.logging.RuntimeLog())
    assert state.expect(ISING).mean.real < 0.999 * spectrum()[0][0]
    in_the_end = curvature_limits(state)
    off = np.abs(np.log(foretold / in_the_end))
    assert np.sum(off) < 0.7 * np.sum(np.abs(np.log(at_start / in_the_end)))
    assert off.max() < np.log(1.6)


@pytest.mark.parametrize("start", [0.5, 1.7, 40.0])
def test_the_largest_step_is_found_to_a_tenth(start):
    def attempt(rate):
        return TrialStep(rate, rate, rate, 0.0, 1.0)

    assert 0.9 * min(start, 1.0) <= largest_step(attempt, start) <= min(start, 1.0)


def test_steps_onto_configurations_without_weight_are_too_long():
    # log ψ of the second configuration, of weight 10⁻⁴, grows by 50η: the standard deviation over |ψ|² is 0.5η only.
    network, batch = (
        pure_wavefunction(field_of_one_spin()),
        draw_batch(field_of_one_spin(), 2, whole=2),
    )
    small = float(batch.weights.min())
    assert small == pytest.approx(1e-4, rel=0.01)
    parameters = network.parameters
    step = np.array([25.0])
    moved = np.zeros(2)

    def attempt(rate):
        return try_step(log_psi_of(network), parameters, batch, step, moved, rate)

    assert attempt(0.3).change < 0.2
    limit = largest_step(attempt, 10.0)
    # (1 + q(z - 1))²/(1 + q(z² - 1)) with z = e^(50η), q = 10⁻⁴: the overlap is e⁻² there.
    z = np.exp(50 * limit)
    overlap = (1 + small * (z - 1)) ** 2 / (1 + small * (z**2 - 1))
    assert np.exp(-2) <= overlap < np.exp(-2) * 1.8

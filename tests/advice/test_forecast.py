"""Forecasts of a run from its modes, against levels that are known and against runs."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest
from flax import linen

import netket_qsntk as qs
from netket_qsntk.advice.forecast import Outlook, outlook
from netket_qsntk.advice.modes import TangentModes

RING = 8
SECTOR = nk.hilbert.Spin(0.5, RING, total_sz=0)
HEISENBERG = nk.operator.Heisenberg(SECTOR, nk.graph.Chain(RING), sign_rule=True)


def modes_of(force, omega, eigenvalues=None):
    """Modes with forces and excitation energies, no noise."""
    force, omega = np.asarray(force, float), np.asarray(omega, float)
    s = np.ones_like(force) if eigenvalues is None else np.asarray(eigenvalues, float)
    excited = np.diag(omega)
    return TangentModes(
        s, np.eye(len(s)), force, np.zeros_like(force), 1.0, excited, excited, s.sum(), 1e-16, None
    )


def arrow(force, omega):
    """H - E between ψ and the modes."""
    matrix = np.diag([0.0, *omega])
    matrix[0, 1:] = matrix[1:, 0] = np.asarray(force) / 2
    return matrix


@pytest.mark.parametrize("seed", range(3))
def test_the_gain_is_the_lowest_level_of_state_and_modes(seed):
    rng = np.random.default_rng(seed)
    force, omega = rng.normal(size=6), rng.uniform(0.5, 3, 6)
    found = outlook(modes_of(force, omega), 0.0)
    assert found.gain == pytest.approx(-np.linalg.eigvalsh(arrow(force, omega))[0], rel=1e-9)


def test_one_mode_is_a_problem_of_two_levels():
    found = outlook(modes_of([3.0], [0.5]), 0.0)
    low, high = np.linalg.eigvalsh(arrow([3.0], [0.5]))
    assert found.rates[0] == pytest.approx(high - low, rel=1e-9)


def test_near_the_ground_state_modes_are_on_their_own():
    force, omega = np.array([1e-4, 3e-4]), np.array([0.5, 2.0])
    found = outlook(modes_of(force, omega, [0.1, 1.0]), 0.1)
    np.testing.assert_allclose(found.gains, force**2 / (4 * omega), rtol=1e-6)
    np.testing.assert_allclose(found.rates, omega * np.array([0.5, 1 / 1.1]), rtol=1e-6)


def test_excitations_are_counted_from_where_the_run_ends():
    # From a state high up, modes of no excitation energy: three strong ones lead down by 5, and the fourth, on its
    # own almost without a gap, relaxes there with that of the low energy.
    force, omega = np.array([6.0, 6.0, 6.0, 0.1]), np.zeros(4)
    found = outlook(modes_of(force, omega), 0.0)
    assert found.rates[3] > 5
    assert isinstance(found, Outlook)
    assert found.steps_to(1e-3, 0.02) < 30


class Convolutions(linen.Module):
    """log ψ on a ring, summed over sites and features: it starts high in the spectrum."""

    @linen.compact
    def __call__(self, x):
        x = x[..., None].astype(float)
        for _ in range(2):
            near = jnp.concatenate([jnp.roll(x, shift, -2) for shift in range(-2, 3)], -1)
            x = nk.nn.activation.log_cosh(linen.Dense(8, param_dtype=float)(near))
        return jnp.sum(x, (-1, -2))


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [0, 1])
def test_steps_from_a_start_high_in_the_spectrum_are_those_of_the_run_within_a_factor_of_two(seed):
    exact = float(np.linalg.eigvalsh(HEISENBERG.to_dense())[0])
    state = nk.vqs.FullSumState(SECTOR, Convolutions(), seed=seed)
    advice = qs.advise(state, HEISENBERG)
    assert advice.energy > 0.5 * exact
    scope = {"state": state, "hamiltonian": HEISENBERG, "nk": nk, "jax": jax, "optax": optax}
    *before, last = advice.call.splitlines()
    for line in before:
        exec(line, scope)
    driver = eval(last, scope)
    log = nk.logging.RuntimeLog()
    driver.run(int(2.5 * advice.steps) + 5, out=log, show_progress=False)
    error = np.abs(np.real(log.data["Energy"].Mean) - exact) / abs(exact)
    taken = np.nonzero(error < 1e-3)[0][0]
    assert 0.5 * taken <= advice.steps <= 2 * taken

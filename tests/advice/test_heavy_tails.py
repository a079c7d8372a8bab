"""Kernels that few configurations carry are named, with the share they carry."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.advice.batch import Batch
from netket_qsntk.advice.findings import heavy_tails
from netket_qsntk.advice.tangent import tangent

from .problems import HILBERT, RING, Field

STATES = np.asarray(HILBERT.all_states())


@jax.tree_util.Partial
def unit(parameters, x):
    """One hidden unit of a complex RBM: log cosh(w·x + b)."""
    return jnp.log(jnp.cosh(x @ parameters["w"] + parameters["b"]))


def near_a_pole(distance):
    """Parameters with w·x + b = iπ/2 + ``distance`` on the first configuration, off the poles elsewhere."""
    w = 0.1 * np.array([1, 2, 3, 5, 7, 11]) + 0j
    return {"w": jnp.asarray(w), "b": jnp.asarray(0.5j * np.pi + distance - STATES[0] @ w)}


def by_hand(parameters, n):
    """Share of the n configurations with the largest ‖∂f - ⟨∂f⟩‖², ∂f = tanh(w·x + b)·(x, 1), each counted alike."""
    slope = np.tanh(STATES @ np.asarray(parameters["w"]) + np.asarray(parameters["b"]))
    rows = slope[:, None] * np.column_stack([STATES, np.ones(64)])
    norms = np.sum(np.abs(rows - rows.mean(0)) ** 2, 1)
    return np.sort(norms)[-n:].sum() / norms.sum()


def found_on(parameters):
    batch = Batch(jnp.asarray(STATES), np.full(64, 1 / 64), 1000)
    return heavy_tails(tangent(unit, parameters, batch, None, parts=2, memory=2**30), batch)


def test_poles_of_complex_units_are_heavy_tails():
    parameters = near_a_pole(0.02)
    share = by_hand(parameters, 1)
    assert 0.5 < share < 0.99
    (finding,) = found_on(parameters)
    assert finding.name == "heavy tails"
    assert f"1 of 64 configurations carry {100 * share:.0f} % of the tangent kernel" in str(finding)
    assert "poles" in str(finding)


def test_units_away_from_their_poles_have_none():
    parameters = {"w": jnp.linspace(0.1, 0.6, 6) + 0.2j, "b": jnp.asarray(0.3 + 0.1j)}
    assert by_hand(parameters, 1) < 0.2
    assert not found_on(parameters)


@pytest.mark.thorough
@pytest.mark.parametrize(("size", "heavy"), [(1.6, True), (0.2, False)])
def test_advice_on_nearly_polarised_states_names_them(size, heavy):
    # One row (Σx - ⟨Σx⟩) of each configuration: the share follows from the binomial distribution of flipped spins.
    weak = nk.operator.IsingJax(HILBERT, RING, h=0.2, J=-1.0)
    advice = qs.advise(nk.vqs.FullSumState(HILBERT, Field(size), seed=0), weak)
    assert advice.has("heavy tails") == heavy
    if heavy:
        assert "seldom sampled" in str(advice)

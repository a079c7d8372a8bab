"""Values and derivatives of the supervised losses."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

RNG = np.random.default_rng(0)
N = 7
TARGET = qs.targets.Target(nk.hilbert.Spin(0.5, 3), RNG.normal(size=8) + 1j * RNG.normal(size=8))
AMPLITUDES = TARGET.amplitudes[:N]
PSI = RNG.normal(size=N) + 1j * RNG.normal(size=N)
LOSSES = {"mse": qs.losses.MSE(TARGET), "infidelity": qs.losses.Infidelity(TARGET)}


def test_mean_square_error_is_its_definition():
    expected = sum(abs(a - b) ** 2 for a, b in zip(PSI, AMPLITUDES, strict=True)) / N
    assert float(LOSSES["mse"].value(PSI, AMPLITUDES)) == pytest.approx(expected, rel=1e-14)


def test_infidelity_is_one_minus_the_squared_overlap():
    overlap = np.vdot(AMPLITUDES, PSI)
    norms = np.vdot(PSI, PSI).real * np.vdot(AMPLITUDES, AMPLITUDES).real
    expected = 1 - abs(overlap) ** 2 / norms
    assert float(LOSSES["infidelity"].value(PSI, AMPLITUDES)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("factor", [1.0, -2.5, 3j, 0.1 - 4j])
def test_infidelity_knows_neither_norm_nor_phase(factor):
    loss = LOSSES["infidelity"]
    value = float(loss.value(factor * PSI, AMPLITUDES))
    assert value == pytest.approx(float(loss.value(PSI, AMPLITUDES)), rel=1e-13)
    assert float(loss.value(factor * AMPLITUDES, AMPLITUDES)) < 1e-30


def test_small_infidelities_keep_their_digits():
    rest = PSI - np.vdot(AMPLITUDES, PSI) / np.vdot(AMPLITUDES, AMPLITUDES) * AMPLITUDES
    epsilon = 1e-10
    value = float(LOSSES["infidelity"].value(AMPLITUDES + epsilon * rest, AMPLITUDES))
    squares = np.vdot(rest, rest).real / np.vdot(AMPLITUDES, AMPLITUDES).real
    assert value == pytest.approx(epsilon**2 * squares, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("real", [False, True], ids=["complex ψ", "real ψ"])
def test_gradients_are_finite_differences_in_both_parts(name, real):
    loss, h = LOSSES[name], 1e-6
    psi = PSI.real if real else PSI
    gradient = np.asarray(loss.gradient(jnp.asarray(psi), AMPLITUDES))

    def slope(direction):
        up, down = (float(loss.value(psi + s * h * direction, AMPLITUDES)) for s in (1, -1))
        return (up - down) / (2 * h)

    for i, unit in enumerate(np.eye(N)):
        assert gradient[i].real == pytest.approx(slope(unit), abs=1e-8)
        assert gradient[i].imag == pytest.approx(slope(1j * unit), abs=1e-8)


def test_a_local_loss_gives_the_gradient_of_a_part_of_the_configurations():
    loss = LOSSES["mse"]
    whole = loss.gradient(PSI, AMPLITUDES)
    np.testing.assert_allclose(loss.gradient(PSI[2:5], AMPLITUDES[2:5], N), whole[2:5], rtol=1e-15)
    assert loss.is_local
    assert not LOSSES["infidelity"].is_local


def test_repr_names_loss_and_target():
    assert repr(LOSSES["mse"]).startswith("MSE(Target(")


@pytest.mark.parametrize("loss", [qs.losses.MSE, qs.losses.Infidelity])
def test_a_target_is_asked_for_by_name(loss):
    with pytest.raises(qs.errors.InvalidTrainingError, match="Target.*got ndarray"):
        loss(np.ones(8))

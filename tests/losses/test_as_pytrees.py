"""Losses as arguments of compiled functions, their default gradient, and their gradient through a readout."""

import gc
import weakref

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
CHAIN = nk.graph.Chain(4)
rng = np.random.default_rng(0)
PSI = jnp.asarray(rng.normal(size=16) + 1j * rng.normal(size=16))


def target(seed):
    amplitudes = np.random.default_rng(seed).normal(size=(2, 16)).T @ [1, 1j]
    return qs.targets.Target(HI, amplitudes)


def measured(seed):
    return qs.losses.Tomography(HI, [qs.losses.measure(target(seed), "XYZX", 100, seed)])


KINDS = {
    "mse": lambda i: qs.losses.MSE(target(i)),
    "infidelity": lambda i: qs.losses.Infidelity(target(i)),
    "energy": lambda i: qs.losses.Energy(nk.operator.Ising(HI, CHAIN, h=0.5 + i)),
    "tomography": measured,
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.thorough
@kinds
def test_two_losses_of_a_kind_share_a_program_that_keeps_neither_alive(kind):
    traces = []

    @jax.jit
    def value_and_gradient(loss, psi, amplitudes):
        traces.append(1)
        return loss.value(psi, amplitudes), loss.gradient(psi, amplitudes)

    amplitudes, seen, alive = [], [], []
    for i in range(2):
        loss = KINDS[kind](i)
        amplitudes = target(i).amplitudes
        value, gradient = value_and_gradient(loss, PSI, amplitudes)
        np.testing.assert_allclose(value, loss.value(PSI, amplitudes), rtol=1e-12)
        np.testing.assert_allclose(gradient, loss.gradient(PSI, amplitudes), rtol=1e-10)
        seen.append(float(value))
        alive += [weakref.ref(loss)] + ([weakref.ref(loss.target)] if loss.target else [])
        del loss
    assert len(traces) == 1
    assert seen[0] != seen[1]
    gc.collect()
    assert not any(ref() is not None for ref in alive)


@pytest.mark.thorough
def test_energy_by_strings_shares_a_program_as_well(monkeypatch):
    monkeypatch.setattr("netket_qsntk.losses.energy._BY_STRINGS", 1)
    first, second = KINDS["energy"](0), KINDS["energy"](1)
    assert first._strings is not None
    assert jax.tree.structure(first) == jax.tree.structure(second)


@pytest.mark.thorough
@kinds
def test_gradients_by_hand_are_the_default_ones(kind):
    loss, amplitudes = KINDS[kind](0), target(1).amplitudes
    default = qs.losses.Loss.gradient(loss, PSI, amplitudes)
    np.testing.assert_allclose(loss.gradient(PSI, amplitudes), default, rtol=1e-9, atol=1e-12)
    if loss.is_local:
        part = qs.losses.Loss.gradient(loss, PSI[:6], amplitudes[:6], 16)
        np.testing.assert_allclose(loss.gradient(PSI[:6], amplitudes[:6], 16), part, rtol=1e-9)


@pytest.mark.thorough
@kinds
@pytest.mark.parametrize("output", ["psi", "log_psi"])
def test_gradient_with_respect_to_the_functions_of_a_network(kind, output):
    loss, amplitudes = KINDS[kind](0), target(1).amplitudes
    reference = qs.readout.marshall(CHAIN) + qs.readout.jastrow(CHAIN, 0.2)
    readout = qs.readout.Readout(output, reference).at(HI.all_states())

    def of_parts(parts):
        return loss.value(readout.psi(jax.lax.complex(parts[0], parts[1])), amplitudes)

    parts = jnp.stack([PSI.real, PSI.imag])
    value, gradient = loss.value_and_f_gradient(readout, PSI, amplitudes)
    assert float(value) == pytest.approx(float(of_parts(parts)), rel=1e-12)
    expected = jax.grad(of_parts)(parts)
    np.testing.assert_allclose(gradient, expected[0] + 1j * expected[1], rtol=1e-8, atol=1e-11)


@pytest.mark.thorough
def test_energies_of_amplitudes_that_span_hundreds_of_e_folds():
    energy = KINDS["energy"](0)
    f = jnp.asarray(np.linspace(-900.0, 900.0, 16))
    readout = qs.readout.Readout("log_psi").at(HI.all_states())
    value, gradient = energy.value_and_f_gradient(readout, f)
    # The largest amplitude stands alone: its diagonal element.
    assert float(value) == pytest.approx(
        nk.operator.Ising(HI, CHAIN, h=0.5).to_dense()[-1, -1].real
    )
    assert np.isfinite(gradient).all()
    local = energy.local(f / 9)
    psi = np.exp(np.asarray(f / 9))
    dense = nk.operator.Ising(HI, CHAIN, h=0.5).to_dense().real
    np.testing.assert_allclose(local, dense @ psi / psi, rtol=1e-10)

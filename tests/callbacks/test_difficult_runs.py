"""NTKDiagnostics on what goes wrong: odd networks, complex RBMs, frozen parameters, batches without variance."""

import jax
import netket as nk
import numpy as np
import optax
import pytest
from flax import linen

import netket_qsntk as qs
from netket_qsntk.errors import NotANumberWarning

HI = nk.hilbert.Spin(0.5, 4)
RING = nk.graph.Chain(4)
ISING = nk.operator.IsingJax(HI, RING, h=1.0, J=-1.0)
FIELD = nk.operator.IsingJax(HI, RING, h=1.0, J=0.0)
ZEROS = jax.nn.initializers.zeros


class Odd(linen.Module):
    """log ψ odd under the flip of all spins, with a parameter that does nothing."""

    @linen.compact
    def __call__(self, x):
        self.param("unused", linen.initializers.normal(), (2,), float)
        hidden = linen.tanh(linen.Dense(4, use_bias=False, param_dtype=float)(x))
        return linen.Dense(1, use_bias=False, param_dtype=float)(hidden)[..., 0]


def watched(state, hamiltonian, **options):
    log = nk.logging.RuntimeLog()
    driver = nk.driver.VMC_SR(
        hamiltonian,
        optax.sgd(0.02),
        variational_state=state,
        diag_shift=1e-2,
        use_ntk=False,
        **options,
    )
    diagnostics = qs.callbacks.NTKDiagnostics(1, 16, eigenvalues=True)
    driver.run(2, out=log, callback=diagnostics, show_progress=False)
    return {k: np.asarray(v.values) for k, v in log.data.items() if k.startswith("ntk/")}


def flat():
    """The ground state of a field alone: all local energies are the same."""
    return nk.models.RBM(kernel_init=ZEROS, hidden_bias_init=ZEROS, visible_bias_init=ZEROS)


CASES = {
    "odd and frozen": (Odd(), ISING, {}),
    "large complex RBM": (
        nk.models.RBM(param_dtype=complex, kernel_init=jax.nn.initializers.normal(2.0)),
        ISING,
        {"mode": "complex"},
    ),
    "eigenstate": (flat(), FIELD, {}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_no_number_is_missing(name):
    model, hamiltonian, options = CASES[name]
    sampler = nk.sampler.MetropolisLocal(HI, n_chains=8)
    state = nk.vqs.MCState(sampler, model, n_samples=64, seed=0)
    logged = watched(state, hamiltonian, **options)
    assert {"ntk/edge", "ntk/effective_samples", "ntk/signal_to_noise"} <= set(logged)
    for key, values in logged.items():
        assert not np.isnan(values).any(), key


@pytest.mark.thorough
def test_a_stuck_sampler_is_worth_the_configurations_that_it_shows():
    model = nk.models.Jastrow(kernel_init=jax.nn.initializers.constant(60.0))
    state = nk.vqs.MCState(
        nk.sampler.MetropolisLocal(HI, n_chains=8),
        model,
        n_samples=64,
        n_discard_per_chain=50,
        seed=0,
    )
    logged = watched(state, ISING)
    assert logged["ntk/effective_samples"][0] <= 2
    for key, values in logged.items():
        assert not np.isnan(values).any(), key


@pytest.mark.thorough
def test_a_run_that_diverges_goes_on_and_is_warned_of_once():
    model = nk.models.MLP(hidden_dims=(4,), param_dtype=float)
    state = nk.vqs.FullSumState(HI, model, seed=0)
    driver = nk.driver.VMC(ISING, nk.optimizer.Sgd(1e200), variational_state=state)
    log = nk.logging.RuntimeLog()
    diagnostics = qs.callbacks.NTKDiagnostics(every=1, n_samples=16)
    with pytest.warns(NotANumberWarning, match="ntk/ keys are left out from step 1 on") as caught:
        driver.run(4, out=log, callback=diagnostics, show_progress=False)
    assert sum(issubclass(w.category, NotANumberWarning) for w in caught) == 1
    assert log.data["ntk/drift"].iters.tolist() == [0]
    assert len(log.data["Energy"].iters) == 4

"""EntanglementEntropy of single states: exact, sampled, and next to NetKet's own."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.entanglement import entropies
from netket_qsntk.errors import (
    EntropyOrderError,
    HilbertMismatchError,
    ObservableError,
    PartitionError,
)
from netket_qsntk.observable import EntanglementEntropy

SPINS = nk.hilbert.Spin(0.5, 4)
FIXED = nk.hilbert.Spin(0.5, 4, total_sz=0)
# Two fermions on modes 1, 3 | 0, 2: without exchange signs the entropies below are off by a half.
FERMIONS = nk.hilbert.SpinOrbitalFermions(4, n_fermions=2)
SPACES = {
    "spins": (SPINS, [0, 2]),
    "fixed magnetisation": (FIXED, [0, 2]),
    "fermions": (FERMIONS, [1, 3]),
    "fermions and spin": (
        FERMIONS * nk.hilbert.Spin(0.5, 1),
        [1, 3],
    ),
}
NETWORK = qs.models.CosNet(20, sigma_w=2.0)


def full_state(hilbert, model=NETWORK, seed=1):
    return nk.vqs.FullSumState(hilbert, model, seed=seed)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SPACES)
def test_full_sums_are_the_entropy_of_the_amplitudes(name):
    hilbert, sites = SPACES[name]
    state = full_state(hilbert)
    for n in (0.5, 1, 2, math.inf):
        stats = state.expect(EntanglementEntropy(hilbert, sites, n, log_base=3))
        expected = entropies(state.to_array(), hilbert, sites, n=n, log_base=3)
        assert stats.mean == pytest.approx(float(expected), abs=1e-13)
        assert (stats.error_of_mean, stats.variance) == (0, 0)


@pytest.mark.thorough
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("name", SPACES)
def test_swaps_of_samples_agree_within_their_errors(name, n):
    hilbert, sites = SPACES[name]
    exact = full_state(hilbert)
    sampler = nk.sampler.ExactSampler(hilbert)
    state = nk.vqs.MCState(
        sampler, NETWORK, n_samples=60_000, variables=exact.variables, sampler_seed=n
    )
    entropy = EntanglementEntropy(hilbert, sites, n)
    value, estimate = exact.expect(entropy).mean, state.expect(entropy)
    assert 0 < estimate.error_of_mean < 0.05
    assert abs(estimate.mean - value) < 4 * estimate.error_of_mean


@pytest.mark.thorough
def test_errors_of_many_runs_have_the_stated_size():
    exact = full_state(SPINS)
    entropy = EntanglementEntropy(SPINS, [0, 2], 2)
    value = exact.expect(entropy).mean
    state = nk.vqs.MCState(
        nk.sampler.ExactSampler(SPINS), NETWORK, n_samples=2000, variables=exact.variables
    )
    pulls = []
    for _ in range(60):
        state.reset()
        stats = state.expect(entropy)
        pulls.append((stats.mean - value) / stats.error_of_mean)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(60)
    assert 0.65 < np.std(pulls) < 1.4


@pytest.mark.thorough
@pytest.mark.parametrize("n_chains", [16, 2])
def test_markov_chains_are_split_into_replicas(n_chains):
    # 16 chains make 5 groups for n = 3; of 2 chains each is cut into three stretches.
    exact = full_state(FIXED)
    sampler = nk.sampler.MetropolisExchange(FIXED, graph=nk.graph.Chain(4), n_chains=n_chains)
    state = nk.vqs.MCState(
        sampler, NETWORK, n_samples=9600, variables=exact.variables, sampler_seed=5
    )
    entropy = EntanglementEntropy(FIXED, [0, 1], 3)
    batch = nk.vqs.local_estimators(state, entropy, None)
    assert batch.data.shape == ((5, 600, 1) if n_chains == 16 else (2, 1600, 1))
    value = exact.expect(entropy).mean
    # Few chains state a rough error: a fixed allowance instead.
    assert abs(batch.to_stats().mean - value) < 0.15


@pytest.mark.thorough
def test_chunks_change_nothing():
    state = nk.vqs.MCState(nk.sampler.ExactSampler(SPINS), NETWORK, n_samples=300, seed=1)
    entropy = EntanglementEntropy(SPINS, [0], 2)
    whole = state.expect(entropy)
    state.chunk_size = 64
    chunked = state.expect(entropy)
    np.testing.assert_allclose(chunked.mean, whole.mean, rtol=1e-12)


def test_agreement_with_netkets_renyi_two_in_bits():
    pytest.importorskip("qutip")
    state = full_state(SPINS)
    theirs = state.expect(nk.observable.Renyi2EntanglementEntropy(SPINS, [0, 2])).mean
    ours = state.expect(EntanglementEntropy(SPINS, [0, 2], 2, log_base=2)).mean
    assert ours == pytest.approx(float(theirs), abs=1e-12)


@pytest.mark.thorough
def test_the_same_samples_give_netkets_estimate():
    state = nk.vqs.MCState(
        nk.sampler.MetropolisLocal(SPINS, n_chains=16), nk.models.RBM(), n_samples=1600, seed=3
    )
    theirs = state.expect(nk.observable.Renyi2EntanglementEntropy(SPINS, np.array([0, 2])))
    ours = state.expect(EntanglementEntropy(SPINS, [0, 2], 2, log_base=2))
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-10)
    np.testing.assert_allclose(ours.error_of_mean, theirs.error_of_mean, rtol=1e-8)


@pytest.mark.thorough
def test_precision_can_be_asked_for():
    state = nk.vqs.MCState(nk.sampler.ExactSampler(SPINS), NETWORK, n_samples=500, seed=1)
    batch = state.local_estimators(EntanglementEntropy(SPINS, [0], 2))
    accumulated = batch.accumulate().get_stats()
    np.testing.assert_allclose(accumulated.mean, batch.to_stats().mean, rtol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("n", [1, 0.5, 2.5, math.inf])
def test_orders_that_samples_cannot_give_name_the_state_that_can(n):
    state = nk.vqs.MCState(nk.sampler.ExactSampler(SPINS), NETWORK, n_samples=10)
    with pytest.raises(EntropyOrderError, match="FullSumState"):
        state.expect(EntanglementEntropy(SPINS, [0], n))


@pytest.mark.thorough
def test_too_few_samples_for_the_replicas():
    state = nk.vqs.MCState(nk.sampler.ExactSampler(SPINS), NETWORK, n_samples=3)
    with pytest.raises(ObservableError, match="n_samples to 5"):
        state.expect(EntanglementEntropy(SPINS, [0], 5))


def test_bad_input():
    with pytest.raises(PartitionError, match="all 4 sites"):
        EntanglementEntropy(SPINS, range(4))
    with pytest.raises(EntropyOrderError, match="> 0"):
        EntanglementEntropy(SPINS, [0], 0)
    with pytest.raises(EntropyOrderError, match="log_base"):
        EntanglementEntropy(SPINS, [0], log_base=0)
    with pytest.raises(ObservableError, match="discrete"):
        EntanglementEntropy(SPINS.all_states(), [0])
    with pytest.raises(HilbertMismatchError, match="state.hilbert"):
        full_state(FIXED).expect(EntanglementEntropy(SPINS, [0]))


def test_the_representation_says_what_is_measured():
    assert "partition=[0, 2], n=2" in repr(EntanglementEntropy(SPINS, [2, 0], 2))

"""InfiniteState of networks of log ψ, and what NetKet asks of every state."""

import copy
import pickle

import netket as nk
import numpy as np
import pytest
from flax import serialization

import netket_qsntk as qs
from netket_qsntk.observable import EnsembleEntropy, EntanglementEntropy

HILBERT = nk.hilbert.Spin(0.5, 4)
ISING = nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=0.7)


def state(parts="independent", reference=None, output="log_psi", **options):
    model = qs.models.CosNet(
        1, sigma_a=0.8, sigma_w=1.5, parts=parts, output=output, reference=reference
    )
    return qs.vqs.InfiniteState(HILBERT, model, **options)


def jastrow(x):
    """A fixed log ψ with a phase."""
    return 0.2 * x[..., 0] * x[..., 1] + 0.5j * (1.0 - x[..., 2])


CASES = {
    "log ψ": lambda: state(),
    "real log ψ": lambda: state("real"),
    "log ψ, reference": lambda: state(reference=jastrow),
    "real log ψ, reference": lambda: state("real", reference=jastrow),
    "ψ, reference": lambda: state("real", reference=jastrow, output="psi"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_the_first_two_moments_are_those_of_samples(name):
    vs, members = CASES[name](), 20_000
    psi = np.asarray(vs.sample(members, seed=1))
    mean, covariance = np.asarray(vs.mean), np.asarray(vs.covariance)
    assert np.max(np.abs(psi.mean(0) - mean) / (psi.std(0) / np.sqrt(members))) < 4.5
    rest = psi - mean
    few = slice(0, 5)
    products = rest[:, few, None] * rest[:, None, few].conj()
    error = products.std(0) / np.sqrt(members)
    assert np.max(np.abs(products.mean(0) - covariance[few, few]) / error) < 4.5


@pytest.mark.thorough
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("log", "real"))])
def test_expectations_average_normalised_draws(name):
    vs = CASES[name]()
    psi = np.asarray(vs.sample(vs.n_draws, seed=7, normalize=True))
    np.testing.assert_allclose(np.linalg.norm(psi, axis=1), 1.0)
    values = np.einsum("mx,xy,my->m", psi.conj(), ISING.to_dense(), psi).real
    stats = vs.expect(ISING)
    error = values.std() / np.sqrt(len(values))
    assert abs(stats.mean - values.mean()) < 4 * np.hypot(error, stats.error_of_mean)
    assert 0.5 < stats.error_of_mean / error < 2
    assert stats.mean == vs.expect(ISING).mean
    vs.chunk_size = 100
    assert abs(vs.expect(ISING).mean - stats.mean) < 5 * error


def test_large_logarithms_give_normalised_draws():
    model = qs.models.CosNet(1, sigma_a=1500.0, output="log_psi")
    psi = np.asarray(qs.vqs.InfiniteState(HILBERT, model).sample(3, 0, normalize=True))
    np.testing.assert_allclose(np.linalg.norm(psi, axis=1), 1.0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_its_ensemble_has_the_entropies_of_its_samples(name):
    vs, sites = CASES[name](), [0, 2]
    psi = np.asarray(vs.sample(4000, seed=3))
    exact = EnsembleEntropy(HILBERT, sites, 2, "annealed", n_draws=4000)
    ratio = EnsembleEntropy(HILBERT, sites, 2, "annealed", normalization="ratio")
    purities = qs.entanglement.purity(psi, HILBERT, sites)
    norms = np.sum(np.abs(psi) ** 2, axis=1) ** 2
    moment = np.exp(-vs.expect(ratio).mean)
    gaps = norms * (purities - moment)
    assert abs(gaps.mean()) < 4.5 * gaps.std() / np.sqrt(len(gaps))
    assert vs.expect(ratio).error_of_mean == 0
    found = vs.expect(exact)
    error = purities.std() / purities.mean() / np.sqrt(len(purities))
    assert abs(found.mean + np.log(purities.mean())) < 4.5 * np.hypot(error, found.error_of_mean)
    quenched = vs.expect(EntanglementEntropy(HILBERT, sites, 2))
    assert quenched.mean > found.mean - 4 * quenched.error_of_mean
    # The same observable of the same draws as members.
    members = qs.vqs.EnsembleState.from_amplitudes(HILBERT, psi)
    by_members = members.expect(ratio)
    assert abs(by_members.mean - vs.expect(ratio).mean) < 4.5 * by_members.error_of_mean


@pytest.mark.thorough
def test_networks_of_log_psi_approach_it():
    model = qs.models.WideMLP((400,), "erf", 1.0, 0.3, output="log_psi")
    members = qs.vqs.EnsembleState(HILBERT, model, 400, seed=0)
    limit = qs.vqs.InfiniteState(HILBERT, model)
    for observable in (ISING, EnsembleEntropy(HILBERT, [0, 1], 2, "annealed")):
        a, b = members.expect(observable), limit.expect(observable)
        assert abs(a.mean - b.mean) < 4.5 * np.hypot(a.error_of_mean, b.error_of_mean)


@pytest.mark.parametrize("name", CASES)
def test_states_copy_and_pickle(name):
    vs = state(output="log_psi" if "log" in name else "psi", parts="real", chunk_size=8)
    vs.covariance  # noqa: B018  fills the cache
    for again in (copy.copy(vs), copy.deepcopy(vs), pickle.loads(pickle.dumps(vs))):
        np.testing.assert_array_equal(again.sample(2, seed=0), vs.sample(2, seed=0))
        assert again.chunk_size == 8
    fresh = state(output="log_psi" if "log" in name else "psi", parts="real")
    assert serialization.from_bytes(fresh, serialization.to_bytes(vs)).chunk_size == 8


def test_what_netket_asks_of_a_state_works_or_is_refused_by_name():
    vs = state()
    for bad in (0, -1, 2.5, "many", True):
        with pytest.raises(qs.errors.InvalidEnsembleError, match="chunk_size"):
            vs.chunk_size = bad
        with pytest.raises(qs.errors.InvalidEnsembleError, match="n_draws"):
            state(n_draws=bad)
    for call in (
        lambda: vs.expect_and_grad(ISING),
        lambda: vs.expect_and_grad(ISING, use_covariance=True),
        lambda: vs.expect_and_forces(ISING),
        lambda: vs.grad(ISING),
        lambda: vs.quantum_geometric_tensor(),
        lambda: nk.vqs.local_estimators(vs, ISING, None),
        lambda: nk.vqs.expect_and_grad(vs, ISING, mutable=False, use_covariance=True),
        lambda: nk.vqs.expect_and_forces(vs, ISING, mutable=False),
    ):
        with pytest.raises(qs.errors.UnsupportedObservableError, match="InfiniteState"):
            call()
    with pytest.raises(nk.errors.ParameterMismatchError):
        vs.parameters = {"kernel": np.ones(3)}
    vs.parameters = {}
    assert vs.n_parameters == 0
    vs.init_parameters(seed=0)
    vs.reset()
    with pytest.raises(qs.errors.InvalidEnsembleError, match="InfiniteWidthVMC_SR"):
        vs.set_training(None, 0)
    number = np.arange(2, 4)[0]
    assert vs.sample(number, seed=int(number)).shape == (2, 16)
    assert state(n_draws=number, chunk_size=number).n_draws == 2
    assert EnsembleEntropy(HILBERT, [0], n_draws=number).n_draws == 2
    with pytest.raises(qs.errors.EntropyOrderError, match="normalization"):
        EnsembleEntropy(HILBERT, [0], normalization="none")

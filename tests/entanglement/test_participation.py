"""Participation: closed forms against sums over replicas and draws; freezing; effective numbers of samples."""

import itertools
import math
import warnings

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk import entanglement as ent
from netket_qsntk.entanglement import (
    DenseEnsemble,
    HammingEnsemble,
    LogNormalEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.errors import EnsembleError, EntropyOrderError, FreezingWarning

K = 0.12 * 0.8 ** np.arange(5)
DISTANCE = np.bitwise_count(np.arange(16)[:, None] ^ np.arange(16))
HILBERT = nk.hilbert.Spin(0.5, 4)
KAPPA = ProductKernel(
    [np.array([[1.0, 0.8], [0.8, 1.2]]), np.array([[0.9, 0.2], [0.2, 0.9]])], scale=0.2
)
CASES = {
    "log ψ": LogNormalEnsemble.hamming(K, K),
    "real log ψ": LogNormalEnsemble.hamming(K),
    "dense log ψ": LogNormalEnsemble.dense(
        K[DISTANCE], None, HILBERT, reference=np.linspace(0, 1, 16) + 1j
    ),
    "product log ψ": LogNormalEnsemble.product(KAPPA),
    "ψ": HammingEnsemble.from_parts(K, K),
    "unequal ψ": HammingEnsemble.from_parts(K, 3 * K),
    "real ψ": HammingEnsemble.from_parts(K),
    "product ψ": ProductEnsemble.from_parts(KAPPA, KAPPA),
    "real product ψ": ProductEnsemble.from_parts(KAPPA),
    "dense ψ": DenseEnsemble.from_parts(K[DISTANCE], 2 * K[DISTANCE], HILBERT),
}


@pytest.mark.filterwarnings("ignore::netket_qsntk.errors.FreezingWarning")
@pytest.mark.parametrize("name", CASES)
def test_annealed_participation_is_the_ratio_of_averages_over_draws(name):
    ensemble, members = CASES[name], 30_000
    if name in ("log ψ", "real log ψ", "product log ψ", "dense log ψ"):
        f = ent.sample_wavefunctions(ensemble.fields, members, seed=1)
        psi = np.exp(f if ensemble.reference is None else f + ensemble.reference)
    else:
        psi = ent.sample_wavefunctions(ensemble, members, seed=1)
    weights = np.abs(psi) ** 2
    for n in (2, 3):
        moments, norms = np.sum(weights**n, axis=1), np.sum(weights, axis=1) ** n
        exact = math.exp(ent.log_participation_moment(ensemble, n))
        assert abs(moments.mean() - exact) < 4.5 * moments.std() / math.sqrt(members)
        share = math.exp((1 - n) * ent.participation_entropy(ensemble, n))
        gaps = moments - share * norms
        assert abs(gaps.mean()) < 4.5 * gaps.std() / math.sqrt(members)


@pytest.mark.parametrize("n", [0.5, 1, 2, 3.5, math.inf])
def test_quenched_participation_is_an_average_over_draws(n):
    ensemble = CASES["real log ψ"]
    found = ent.participation_entropy(ensemble, n, average="quenched", n_draws=500, seed=2)
    psi = ent.sample_wavefunctions(ensemble, 500, seed=2)
    p = psi.real**2 / np.sum(psi.real**2, axis=1, keepdims=True)
    if n == 1:
        values = -np.sum(p * np.log(p), axis=1)
    elif math.isinf(n):
        values = -np.log(p.max(axis=1))
    else:
        values = np.log(np.sum(p**n, axis=1)) / (1 - n)
    assert abs(found - values.mean()) < 1e-10
    assert abs(found.error_of_mean - values.std(ddof=1) / math.sqrt(500)) < 1e-10
    bits = ent.participation_entropy(
        ensemble, n, average="quenched", n_draws=500, seed=2, log_base=2
    )
    assert abs(bits - found / math.log(2)) < 1e-10


def test_the_fluctuation_of_the_weights_is_the_sum_over_two_replicas():
    for name in ("log ψ", "product log ψ", "dense log ψ"):
        ensemble = CASES[name]
        if name == "product log ψ":
            k = KAPPA.scale * np.kron(*KAPPA.sites)
        else:
            k = K[DISTANCE]
        r = np.zeros(len(k)) if ensemble.reference is None else ensemble.reference.real
        for n in (1, 2):
            second = first = 0.0
            for x, y in itertools.product(range(len(k)), repeat=2):
                second += math.exp(
                    2 * n**2 * (k[x, x] + k[y, y] + 2 * k[x, y]) + 2 * n * (r[x] + r[y])
                )
            for x in range(len(k)):
                first += math.exp(2 * n**2 * k[x, x] + 2 * n * r[x])
            weight = np.exp(2 * n * r) / np.exp(2 * n * r).sum()
            common = weight @ k @ weight
            found = ent.parting(ensemble, n)
            expected = math.log(second / first**2) - 4 * n**2 * common
            assert abs(found.log_fluctuation - expected) < 1e-12
            if found.log_overlaps is not None:
                assert abs(np.exp(found.log_overlaps).sum() - 1) < 1e-12


@pytest.mark.parametrize("d", [8, 12, pytest.param(16, marks=pytest.mark.slow)])
def test_annealed_and_quenched_part_where_it_says(d):
    # A kernel of four-body terms freezes at a jump, like a random energy model.
    profile = (1 - 2 * np.arange(d + 1) / d) ** 4
    point = ent.parting(LogNormalEnsemble.hamming(profile), 2)
    assert 0 < point.scale < point.freezing_scale
    at = ent.parting(LogNormalEnsemble.hamming(point.scale * profile), 2)
    assert abs(at.log_fluctuation - math.log(2)) < 1e-8
    below = LogNormalEnsemble.hamming(0.1 * point.scale * profile)
    beyond = LogNormalEnsemble.hamming(4 * point.freezing_scale * profile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annealed = ent.participation_entropy(below)
    quenched = ent.participation_entropy(below, average="quenched", n_draws=300)
    # Quenched - annealed is half the relative variance of the moment to leading order.
    assert abs(quenched - annealed) < 0.1 + 4 * quenched.error_of_mean
    with pytest.warns(FreezingWarning, match="quenched"):
        annealed = ent.participation_entropy(beyond)
    quenched = ent.participation_entropy(beyond, average="quenched", n_draws=300)
    assert quenched - annealed > 0.4 + 10 * quenched.error_of_mean


def test_a_common_factor_is_no_fluctuation():
    profile = 0.2 * 0.5 ** np.arange(13)
    one, two = (
        ent.parting(LogNormalEnsemble.hamming(profile + constant), 2) for constant in (0.0, 3.0)
    )
    assert abs(one.log_fluctuation - two.log_fluctuation) < 1e-12
    assert one.scale == pytest.approx(two.scale)
    entropies = [
        ent.participation_entropy(LogNormalEnsemble.hamming(profile / 20 + c)) for c in (0.0, 3.0)
    ]
    assert abs(entropies[0] - entropies[1]) < 1e-10
    constant = ent.parting(LogNormalEnsemble.hamming(np.full(9, 0.7)))
    assert constant.scale == math.inf
    assert not constant.parted


@pytest.mark.thorough
def test_effective_samples_are_those_that_a_sampler_of_netket_gives():
    hilbert = nk.hilbert.Spin(0.5, 10)
    model = qs.models.WideMLP(
        (2000,), "erf", (2.0, 0.5), (0.1, 0.0), output="log_psi", parts="real"
    )
    ensemble = ent.ensemble(model, hilbert)
    predicted = ent.effective_samples(ensemble, 400, average="quenched", n_draws=500)
    annealed = ent.effective_samples(ensemble, 400)
    found = []
    for seed in range(12):
        vs = nk.vqs.MCState(nk.sampler.ExactSampler(hilbert), model, n_samples=400, seed=seed)
        numbers = hilbert.states_to_numbers(np.asarray(vs.samples).reshape(-1, 10))
        _, counts = np.unique(numbers, return_counts=True)
        found.append(400**2 / np.sum(counts**2))
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert 150 < predicted < 320
    assert abs(np.mean(found) - predicted) < 4.5 * math.hypot(error, predicted.error_of_mean)
    assert abs(annealed / predicted - 1) < 0.1


def test_wrong_requests_are_named():
    ensemble = CASES["log ψ"]
    for order in (0, -1, 2.5, math.inf, math.nan, "2", True):
        with pytest.raises(EntropyOrderError, match="whole"):
            ent.participation_entropy(ensemble, order)
    with pytest.raises(EntropyOrderError, match="pole"):
        ent.participation_entropy(ensemble, 1)
    with pytest.raises(EntropyOrderError, match="average"):
        ent.participation_entropy(ensemble, 2, average="typical")
    with pytest.raises(EntropyOrderError, match="log_base"):
        ent.participation_entropy(ensemble, 2, log_base=1)
    with pytest.raises(EnsembleError, match="log-normal"):
        ent.parting(CASES["ψ"])
    with pytest.raises(EntropyOrderError, match="whole"):
        ent.parting(ensemble, 1.5)
    assert ent.participation_entropy(ensemble, np.int64(2)) == ent.participation_entropy(ensemble)


def test_local_states_that_never_occur_are_no_configurations():
    """A site in one state for certain: |ψ|⁴ of one Gaussian amplitude over (|ψ|²)² of it."""
    one = ent.ProductKernel(np.diag([1.0, 0.0]), n_sites=4)
    entropy = ent.participation_entropy(ent.ProductEnsemble(one), 2)
    np.testing.assert_allclose(entropy, 0.0, atol=1e-12)


@pytest.mark.parametrize("distance", [1e-13, -1e-13])
def test_quenched_orders_close_to_one_are_continuous(distance):
    calm = ent.LogNormalEnsemble.hamming(0.1 * 0.9 ** np.arange(7))
    near, shannon = (
        ent.participation_entropy(calm, n, average="quenched", n_draws=5) for n in (1 + distance, 1)
    )
    np.testing.assert_allclose(near, shannon, rtol=1e-10)

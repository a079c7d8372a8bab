"""Log-normal ensembles: a replica sum by brute force, draws, sectors, signs, references, hundreds of spins."""

import functools
import itertools
import math

import netket as nk
import numpy as np
import pytest
from scipy.special import logsumexp

from netket_qsntk import entanglement as ent
from netket_qsntk.entanglement import LogNormalEnsemble, ProductKernel
from netket_qsntk.entanglement.partition import exchange_signs
from netket_qsntk.entanglement.replica_sums import log_normal_moment
from netket_qsntk.errors import EnsembleError, EntropyOrderError, SystemTooLargeError
from tests.entanglement.oracles import (
    gaussian_draws,
    standard_score,
    tables_of_members,
    trace_moments,
)

# Covariances of f₁ and of f₂ at the distances 0, 1, …; the first is no product over sites.
LOG_MODULUS = 0.1 * 0.9 ** np.arange(11) + 0.05 * (-0.4) ** np.arange(11)
PHASE = 0.8 * 0.6 ** np.arange(11)
PARTS = {"equal": (PHASE, PHASE), "unequal": (LOG_MODULUS, PHASE), "real": (PHASE, None)}


def distances(d):
    return np.bitwise_count(np.arange(2**d)[:, None] ^ np.arange(2**d))


def replica_sum(k1, k2, shape, n, psi=None):
    """log E Tr ρ̃ⁿ by the 2n-fold sum over configurations of exp(½ Var Σ log|ψ| - ½ Var Σ phase)."""
    d_a, d_b = shape
    psi = np.ones(d_a * d_b) if psi is None else psi
    sign = np.array([1] * n + [-1] * n)
    b = np.array(list(itertools.product(range(d_b), repeat=n)))
    logs, amplitudes = [], []
    for a in itertools.product(range(d_a), repeat=n):
        a = np.array(a)
        z = np.hstack([a * d_b + b, np.roll(a, -1) * d_b + b])
        amplitudes.append(np.prod(psi[z[:, :n]], axis=1) * np.prod(psi[z[:, n:]].conj(), axis=1))
        pairs = z[:, :, None], z[:, None, :]
        logs.append((k1[pairs].sum((1, 2)) - np.einsum("k,skl,l->s", sign, k2[pairs], sign)) / 2)
    total, phase = logsumexp(np.ravel(logs), b=np.ravel(amplitudes), return_sign=True)
    assert abs(phase - 1) < 1e-9
    return float(total)


def norm_sum(k1, n):
    """log E ⟨ψ|ψ⟩ⁿ likewise."""
    x = np.array(list(itertools.product(range(len(k1)), repeat=n)))
    return float(logsumexp(2 * k1[x[:, :, None], x[:, None, :]].sum((1, 2))))


SUMS = [(n, sites) for n in (2, 3, 4) for sites in ((1, 2), (0, 3), (0,), (0, 1, 3))]


@pytest.mark.parametrize(("n", "sites"), [*SUMS, pytest.param(5, (1, 2), marks=pytest.mark.slow)])
@pytest.mark.parametrize("parts", PARTS)
def test_moments_of_four_spins_are_the_replica_sum(parts, n, sites):
    k1, k2 = (None if k is None else k[:5] for k in PARTS[parts])
    hilbert = nk.hilbert.Spin(0.5, 4)
    ensembles = [
        LogNormalEnsemble.hamming(k1, k2),
        LogNormalEnsemble.dense(
            k1[distances(4)], None if k2 is None else k2[distances(4)], hilbert
        ),
    ]
    if parts != "unequal":
        kernel = ProductKernel([[1.0, 0.6], [0.6, 1.0]], n_sites=4, scale=0.8)
        ensembles.append(LogNormalEnsemble.product(kernel, None if k2 is None else kernel))
    # |ψ|^{2n} of one configuration is log-normal.
    participation = 4 * math.log(2) + 2 * n**2 * k1[0]
    phase = np.zeros((16, 16)) if k2 is None else k2[distances(4)]
    expected = replica_sum(k1[distances(4)], phase, (2 ** len(sites), 2 ** (4 - len(sites))), n)
    norm = norm_sum(k1[distances(4)], min(n, 4))
    for ensemble in ensembles:
        found = ent.log_average_moment(ensemble, sites, n, normalization="none")
        assert abs(found - expected) < 1e-12 * max(1, abs(expected))
        assert abs(ent.log_norm_moment(ensemble, min(n, 4)) - norm) < 1e-12 * abs(norm)
        assert (
            abs(ent.log_participation_moment(ensemble, n) - participation) < 1e-12 * participation
        )
        ratio = ent.log_average_moment(ensemble, sites, n)
        assert ratio == found - ent.log_norm_moment(ensemble, n)
        assert ent.annealed_renyi(ensemble, sites, n) == ratio / (1 - n)
        tsallis = ent.average_tsallis(ensemble, sites, n, normalization="ratio")
        assert abs(tsallis + math.expm1(ratio) / (n - 1)) < 1e-15


@pytest.mark.parametrize("n", [5, 6])
def test_high_orders_on_three_spins(n):
    k = 0.4 * 0.5 ** np.arange(4)
    ensemble = LogNormalEnsemble.hamming(k, 0.5 * k)
    dense = LogNormalEnsemble.dense(k[distances(3)], 0.5 * k[distances(3)], nk.hilbert.Spin(0.5, 3))
    values = [ent.annealed_renyi(e, [1], n) for e in (ensemble, dense)]
    assert abs(values[0] - values[1]) < 1e-12
    swapped = ent.annealed_renyi(ensemble, [0, 2], n)
    assert abs(values[0] - swapped) < 1e-12


def of_distances(parts, d):
    k1, k2 = (None if k is None else k[: d + 1] for k in PARTS[parts])
    # Draws give moments of e^f while the exponents stay of order one.
    k1 = k1 / (8 if parts == "real" else 2)
    if parts == "equal":
        k1 = k2 = k1 / 4
    matrices = [None if k is None else k[distances(d)] for k in (k1, k2)]
    return LogNormalEnsemble.hamming(k1, k2), matrices


def of_products(parts, d):
    """Sites of two kinds, in turn."""
    kappas = [np.array([[1.0, 0.7], [0.7, 1.0]]), np.array([[0.9, 0.3], [0.3, 0.9]])]
    sites = [kappas[i % 2] for i in range(d)]
    scale = 0.05 if parts == "real" else 0.12
    first = ProductKernel(sites, scale=scale)
    second = ProductKernel([np.sqrt(k) for k in sites], scale=0.8) if parts == "unequal" else first
    kernels = [first, None if parts == "real" else second]
    matrices = [
        None if k is None else k.scale * functools.reduce(np.kron, k.sites) for k in kernels
    ]
    return LogNormalEnsemble.product(*kernels), matrices


def of_a_sector(parts, d):
    """Magnetisation zero, with a reference; on the whole basis amplitudes elsewhere vanish."""
    hilbert = nk.hilbert.Spin(0.5, d, total_sz=0)
    inside = nk.hilbert.Spin(0.5, d).states_to_numbers(hilbert.all_states())
    matrices = [k if k is None else k[np.ix_(inside, inside)] for k in of_distances(parts, d)[1]]
    reference = 0.3 * np.cos(np.arange(len(inside))) + 1j * np.arange(len(inside))
    return LogNormalEnsemble.dense(*matrices, hilbert, reference=reference), matrices


KINDS = {"distances": of_distances, "products": of_products, "a sector": of_a_sector}


def cells():
    for kind, parts in itertools.product(KINDS, PARTS):
        for d, n in itertools.product((6, 8, 10), (2, 3, 4)):
            quick = d == 6 and (kind == "distances" or (kind == "products" and n == 2))
            marks = [] if quick else [pytest.mark.slow]
            yield pytest.param(kind, parts, d, n, marks=marks, id=f"{kind}-{parts}-{d}-{n}")


@functools.lru_cache(maxsize=1)
def drawn(kind, parts, d):
    """Draws over the whole basis, from Cholesky factors."""
    ensemble, matrices = KINDS[kind](parts, d)
    psi = np.exp(gaussian_draws(*matrices, 4000, np.random.default_rng(d)))
    if ensemble.reference is None:
        return ensemble, psi
    whole = np.zeros((len(psi), 2**d), dtype=complex)
    hilbert = ensemble.fields.hilbert
    whole[:, nk.hilbert.Spin(0.5, d).states_to_numbers(hilbert.all_states())] = psi * np.exp(
        ensemble.reference
    )
    return ensemble, whole


@pytest.mark.parametrize(("kind", "parts", "d", "n"), list(cells()))
def test_moments_are_averages_over_draws(kind, parts, d, n):
    ensemble, psi = drawn(kind, parts, d)
    weights = np.abs(psi) ** 2
    norm = weights.sum(axis=1) ** n
    share = math.exp(ent.log_participation_moment(ensemble, n) - ent.log_norm_moment(ensemble, n))
    gaps = [(np.sum(weights**n, axis=1), share)]
    for sites in ((0, 2, d - 1), tuple(range(d // 2))):
        raw, _ = trace_moments(tables_of_members(psi, nk.hilbert.Spin(0.5, d), sites), n)
        moment = math.exp(ent.log_average_moment(ensemble, sites, n, normalization="none"))
        assert abs(standard_score(raw, moment)) < 4
        gaps.append((raw, math.exp(ent.log_average_moment(ensemble, sites, n))))
    assert abs(standard_score(norm, math.exp(ent.log_norm_moment(ensemble, n)))) < 4
    for raw, ratio in gaps:
        # raw - ratio · norm has mean zero if the ratio is right, and fluctuates far less than either.
        assert abs(standard_score(raw - ratio * norm, 0.0)) < 4
        assert abs(standard_score(raw - 1.2 * ratio * norm, 0.0)) > 4


def test_sites_and_local_states_may_differ():
    rng = np.random.default_rng(1)
    sites = []
    for q in (3, 2, 3):
        x = rng.standard_normal((q, 2))
        sites.append(np.exp(-0.3 * ((x[:, None] - x) ** 2).sum(-1)))
    kernels = ProductKernel(sites, scale=0.7), ProductKernel([s**2 for s in sites], scale=0.4)
    ensemble = LogNormalEnsemble.product(*kernels)
    matrices = [k.scale * np.kron(np.kron(*k.sites[:2]), k.sites[2]) for k in kernels]
    # A is the first site and, in the order of the basis, the slowest index.
    for n in (2, 3):
        expected = replica_sum(*matrices, (3, 6), n)
        assert (
            abs(ent.log_average_moment(ensemble, [0], n, normalization="none") - expected) < 1e-11
        )


@pytest.mark.thorough
def test_sectors_fermions_and_references_are_sums_over_what_is_there():
    rng = np.random.default_rng(2)
    for hilbert, sites in (
        (nk.hilbert.Spin(0.5, 4, total_sz=0), (0, 2)),
        (nk.hilbert.SpinOrbitalFermions(2, s=1 / 2, n_fermions_per_spin=(1, 1)), (0, 2)),
    ):
        states = np.asarray(hilbert.all_states())
        m = rng.standard_normal((2, len(states), 3)) * 0.4
        k1, k2 = (x @ x.T for x in m)
        reference = rng.standard_normal(len(states)) + 1j * rng.standard_normal(len(states))
        reference[0] = -np.inf
        ensemble = LogNormalEnsemble.dense(k1, k2, hilbert, reference=reference)
        # The sector inside the whole basis, with A first.
        rest = [i for i in range(4) if i not in sites]
        level = (states > 0).astype(int)
        number = level[:, [*sites, *rest]] @ 2 ** np.arange(4)[::-1]
        whole = [np.zeros((16, 16)), np.zeros((16, 16))]
        for table, k in zip(whole, (k1, k2), strict=True):
            table[np.ix_(number, number)] = k
        psi = np.zeros(16, complex)
        psi[number] = np.exp(reference) * exchange_signs(hilbert, sites, states)
        for n in (2, 3):
            found = ent.log_average_moment(ensemble, sites, n, normalization="none")
            assert abs(found - replica_sum(*whole, (4, 4), n, psi)) < 1e-11
        weights = np.exp(2 * reference.real)
        expected = math.log(
            np.einsum(
                "x,y,xy->",
                weights,
                weights,
                np.exp(2 * (np.diag(k1)[:, None] + np.diag(k1) + 2 * k1)),
            )
        )
        assert abs(ent.log_norm_moment(ensemble, 2) - expected) < 1e-11


def test_draws_are_exponentials_of_the_fields_at_their_largest_one():
    ensemble = LogNormalEnsemble.hamming(1e4 * PHASE[:6], PHASE[:6])
    psi = ent.sample_wavefunctions(ensemble, 4, seed=3)
    f = ent.sample_wavefunctions(ensemble.fields, 4, seed=3)
    np.testing.assert_allclose(np.max(np.abs(psi), axis=1), 1.0)
    np.testing.assert_allclose(psi, np.exp(f - f.real.max(axis=1, keepdims=True)))


def test_two_hundred_spins_and_three_replicas():
    # A constant covariance is a common factor and a common phase: no entropy at any size.
    constant = LogNormalEnsemble.hamming(np.full(201, 0.3), np.full(201, 5.0))
    assert abs(ent.annealed_renyi(constant, range(100), 2)) < 1e-10
    # Deep in the volume law every amplitude has a phase of its own: a random phase state, of purity
    # (D_A + D_B - 1)/D.
    phases = LogNormalEnsemble.hamming(np.zeros(201), 800.0 * (np.arange(201) == 0))
    expected = -math.log(2.0**-99 - 2.0**-200)
    assert abs(ent.annealed_renyi(phases, range(100), 2) - expected) < 1e-8
    # Three replicas through a contraction of tensors equal the double sum.
    for d in (7, 12):
        k = 0.9 * 0.7 ** np.arange(d + 1)
        equal = LogNormalEnsemble.hamming(k, k)
        nearly = LogNormalEnsemble.hamming(k, k * (1 + 1e-14))
        assert not nearly.fields.is_proper
        for sites in ((0, 1, 2), tuple(range(d - 2))):
            a, b = (log_normal_moment(e, sites, 3) for e in (equal, nearly))
            assert abs(a - b) < 1e-11


def test_a_fixed_modulus_has_averages_over_normalised_states():
    hilbert, d = nk.hilbert.Spin(0.5, 6), 6
    k2 = PHASE[: d + 1]
    reference = 0.3 * np.cos(np.arange(2**d))
    for ensemble in (
        LogNormalEnsemble.hamming(np.full(d + 1, 0.4), k2),
        LogNormalEnsemble.hamming(np.zeros(d + 1), k2),
        LogNormalEnsemble.dense(
            np.full((2**d, 2**d), 0.4), k2[distances(d)], hilbert, reference=reference
        ),
    ):
        psi = np.exp(ent.sample_wavefunctions(ensemble.fields, 4000, seed=4))
        psi = psi if ensemble.reference is None else psi * np.exp(reference)
        for n in (2, 3):
            moments = np.exp((1 - n) * ent.entropies(psi, hilbert, [0, 1, 2], n=n))
            exact = ent.log_average_moment(ensemble, [0, 1, 2], n, normalization="exact")
            assert abs(standard_score(moments, math.exp(exact))) < 4
            assert abs(standard_score(moments, 1.05 * math.exp(exact))) > 4
    assert ensemble.has_fixed_modulus
    # At hundreds of spins too.
    phases = LogNormalEnsemble.hamming(np.zeros(201), 0.9 ** np.arange(201))
    exact = ent.annealed_renyi(phases, range(100), 2, normalization="exact")
    assert exact == pytest.approx(ent.annealed_renyi(phases, range(100), 2), rel=1e-12)
    assert not LogNormalEnsemble.hamming(PHASE, PHASE).has_fixed_modulus


def test_what_has_no_closed_form_is_said():
    ensemble = LogNormalEnsemble.hamming(PHASE, PHASE)
    for call in (
        lambda: ent.annealed_renyi(ensemble, [0], 2, normalization="exact"),
        lambda: ent.average_tsallis(ensemble, [0], 2, normalization="exact"),
        lambda: ent.normalized_purity(ensemble, [0]),
    ):
        with pytest.raises(EntropyOrderError, match="EnsembleEntropy"):
            call()
    large = LogNormalEnsemble.hamming(0.3 * 0.9 ** np.arange(101), 0.9 ** np.arange(101))
    with pytest.raises(SystemTooLargeError, match="sampled_renyi"):
        ent.annealed_renyi(large, range(50), 4)
    with pytest.raises(EnsembleError, match="DenseEnsemble"):
        LogNormalEnsemble(ensemble.fields, np.zeros(2**10))
    with pytest.raises(EnsembleError, match="positive numbers"):
        LogNormalEnsemble.product(ProductKernel([[1.0, -0.2], [-0.2, 1.0]], n_sites=3))
    with pytest.raises(EnsembleError, match="log ψ on the 4 basis states"):
        LogNormalEnsemble.dense(
            np.eye(4), None, nk.hilbert.Spin(0.5, 2), reference=np.full(4, np.nan)
        )

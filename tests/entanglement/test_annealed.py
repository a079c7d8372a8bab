"""Annealed moments in closed form, against Monte Carlo and against one another."""

import functools
import math

import netket as nk
import numpy as np
import pytest

from netket_qsntk.entanglement import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
    annealed_renyi,
    average_tsallis,
    entropies,
    log_average_moment,
    log_norm_moment,
    page_entropy,
    sample_wavefunctions,
)
from netket_qsntk.errors import (
    EnsembleError,
    EntropyOrderError,
    PartitionError,
    SystemTooLargeError,
)
from tests.entanglement.oracles import (
    gaussian_draws,
    standard_score,
    tables_of_members,
    trace_moments,
)

MEMBERS = 6000


def kron_power(kappa, d):
    return functools.reduce(np.kron, [kappa] * d)


def two_level(g):
    return np.array([[1.0, g], [g, 1.0]])


def perceptron_like(d):
    """A function of the Hamming distance that is no product: a polynomial in x·y/d."""
    c = 1 - 2 * np.arange(d + 1) / d
    return 0.3 + 0.5 * c + 0.4 * c**2 + 0.3 * c**5 + 0.4 * (c == 1)


def hamming_matrix(k):
    d = len(k) - 1
    states = np.arange(2**d)
    return k[np.bitwise_count(states[:, None] ^ states[None, :])]


def ensembles(d, parts):
    """(K₁, K₂, structured ensembles) for each family of covariances."""
    kappa, other = two_level(0.35), two_level(0.6)
    k, k2 = perceptron_like(d), 0.5 * 0.7 ** np.arange(d + 1)
    product, second = ProductKernel(kappa, d, scale=1.3), ProductKernel(other, d, scale=0.4)
    imag = {"independent": (product, k), "unequal": (second, k2), "real": (None, None)}[parts]
    matrices = {
        "product": (1.3 * kron_power(kappa, d), 0.4 * kron_power(other, d)),
        "hamming": (hamming_matrix(k), hamming_matrix(k2)),
    }
    structured = {
        "product": ProductEnsemble.from_parts(product, imag[0]),
        "hamming": HammingEnsemble.from_parts(k, imag[1]),
    }
    for family, ensemble in structured.items():
        k1, unequal = matrices[family]
        yield family, k1, {"independent": k1, "unequal": unequal, "real": None}[parts], ensemble


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "unequal", "real"])
@pytest.mark.parametrize("d", [6, 8])
def test_moments_of_every_family_agree_with_monte_carlo(d, parts):
    hilbert = nk.hilbert.Spin(0.5, d)
    sites = (0, 2, 5) if d == 6 else (1, 2, 5, 7)
    rng = np.random.default_rng(d)
    for family, k1, k2, ensemble in ensembles(d, parts):
        tables = tables_of_members(gaussian_draws(k1, k2, MEMBERS, rng), hilbert, sites)
        for n in (2, 3, 4):
            raw, norms = trace_moments(tables, n)
            closed = {
                name: math.exp(log_average_moment(ensemble, sites, n, normalization=name))
                for name in ("none", "exact")
            }
            norm = math.exp(log_norm_moment(ensemble, n))
            for samples, value in (
                (raw, closed["none"]),
                (raw / norms, closed["exact"]),
                (norms, norm),
            ):
                assert abs(standard_score(samples, value)) < 4, (family, n)
            # The test has power: a per cent is many standard errors for normalised moments.
            assert abs(standard_score(raw / norms, closed["exact"] * 1.05)) > 4


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "unequal", "real"])
def test_structured_and_dense_forms_agree(parts):
    d, hilbert = 6, nk.hilbert.Spin(0.5, 6)
    for _, k1, k2, ensemble in ensembles(d, parts):
        dense = DenseEnsemble.from_parts(k1, k2, hilbert)
        for sites in ([3], [0, 4]):
            for n in (2, 3, 4, 5) if sites == [3] else (2, 3, 4):
                for normalization in ("ratio", "none"):
                    values = [
                        log_average_moment(e, sites, n, normalization=normalization)
                        for e in (ensemble, dense)
                    ]
                    assert values[0] == pytest.approx(values[1], abs=1e-11)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_products_and_hamming_functions_agree_on_a_kernel_that_is_both(n):
    d, g = 24, 0.8
    product = ProductKernel(two_level(g), d)
    unequal = ProductKernel(two_level(0.9), d)
    k, k2 = g ** np.arange(d + 1), 0.9 ** np.arange(d + 1)
    for a, b in (
        (ProductEnsemble.from_parts(product, product), HammingEnsemble.from_parts(k, k)),
        (ProductEnsemble.from_parts(product), HammingEnsemble.from_parts(k)),
        (ProductEnsemble.from_parts(product, unequal), HammingEnsemble.from_parts(k, k2)),
    ):
        values = [annealed_renyi(e, range(0, d, 3), n, normalization="ratio") for e in (a, b)]
        assert values[0] == pytest.approx(values[1], rel=1e-10)


def test_sites_of_different_kinds_and_parts_that_do_not_commute():
    rng = np.random.default_rng(5)
    hilbert = nk.hilbert.Spin(0.5, 1) * nk.hilbert.Spin(1, 1) * nk.hilbert.Fock(1, 1)
    sites = [[m @ m.T for m in (rng.standard_normal((q, q)) for q in (2, 3, 2))] for _ in range(2)]
    k1, k2 = (functools.reduce(np.kron, part) for part in sites)
    products = [ProductKernel(part) for part in sites]
    cases = [
        (ProductEnsemble.from_parts(*products), DenseEnsemble.from_parts(k1, k2, hilbert)),
        (ProductEnsemble(products[0]), DenseEnsemble(k1, hilbert)),
    ]
    for product, dense in cases:
        for n in (2, 3, 4):
            values = [log_average_moment(e, [1], n) for e in (product, dense)]
            assert values[0] == pytest.approx(values[1], abs=1e-12)
    with pytest.raises(EnsembleError, match="do not commute"):
        log_average_moment(cases[0][0], [1], 2, normalization="exact")
    exact = [log_average_moment(e, [1], 3, normalization="exact") for e in cases[1]]
    assert exact[0] == pytest.approx(exact[1], abs=1e-10)


def test_hermitian_complex_one_site_matrices():
    kappa = np.array([[1.0, 0.3 - 0.4j], [0.3 + 0.4j, 0.8]])
    hilbert = nk.hilbert.Spin(0.5, 4)
    product = ProductEnsemble(ProductKernel(kappa, 4, scale=2.0))
    dense = DenseEnsemble(2 * kron_power(kappa, 4), hilbert)
    for n in (2, 3, 4):
        for normalization in ("none", "exact"):
            values = [
                log_average_moment(e, [0, 3], n, normalization=normalization)
                for e in (product, dense)
            ]
            assert values[0] == pytest.approx(values[1], abs=1e-10)


@pytest.mark.thorough
def test_a_constrained_fermionic_space_agrees_with_monte_carlo():
    hilbert = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 2))
    rng = np.random.default_rng(2)
    m = rng.standard_normal((9, 4))
    k = m @ m.T + 0.1 * np.eye(9)
    ensemble = DenseEnsemble.from_parts(k, 0.3 * k, hilbert)
    psi = gaussian_draws(k, 0.3 * k, 40_000, rng)
    s2 = entropies(psi, hilbert, [0, 3], n=2)
    exact = math.exp(log_average_moment(ensemble, [0, 3], 2, normalization="exact"))
    assert abs(standard_score(np.exp(-s2), exact)) < 4


def test_infinite_sigma_w_reaches_page():
    # exp(-σ_w² · 4/2d) = e^-40: independent amplitudes.
    d = 8
    white = ProductKernel(two_level(math.exp(-40)), d)
    ensemble = ProductEnsemble.from_parts(white, white)
    psi = sample_wavefunctions(ensemble, 400, seed=1)
    s = entropies(psi, nk.hilbert.Spin(0.5, d), range(4))
    assert abs(standard_score(s, page_entropy(16, 16))) < 4
    haar = (16 + 16) / (256 + 1)
    for normalization in ("ratio", "exact"):
        s2 = annealed_renyi(ensemble, range(4), normalization=normalization)
        assert s2 == pytest.approx(-math.log(haar), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_jensen_bounds_the_quenched_average(n):
    d, kernel = 6, ProductKernel(two_level(0.5), 6)
    ensemble = ProductEnsemble.from_parts(kernel, kernel)
    psi = sample_wavefunctions(ensemble, 20_000, seed=3)
    s = entropies(psi, nk.hilbert.Spin(0.5, d), range(3), n=n)
    annealed = annealed_renyi(ensemble, range(3), n, normalization="exact")
    assert standard_score(s, annealed) > 4


def test_tsallis_is_the_exact_average_not_a_bound():
    d, kernel = 6, ProductKernel(two_level(0.5), 6)
    ensemble = ProductEnsemble.from_parts(kernel)
    psi = sample_wavefunctions(ensemble, 10_000, seed=4)
    s = entropies(psi, nk.hilbert.Spin(0.5, d), range(3), n=[2, 3], kind="tsallis")
    for i, q in enumerate((2, 3)):
        assert abs(standard_score(s[:, i], average_tsallis(ensemble, range(3), q))) < 4


def test_hundreds_of_sites_are_extensive_and_finite():
    kernel = ProductKernel(two_level(0.3), 400, scale=1e-3)
    for ensemble in (
        ProductEnsemble.from_parts(kernel, kernel),
        ProductEnsemble.from_parts(kernel),
    ):
        for n in (2, 6):
            s = [
                annealed_renyi(ensemble, range(size), n, normalization="ratio")
                for size in (60, 120, 180)
            ]
            per_site = np.log((1.3**n + 0.7**n) / 2**n) / (1 - n)
            np.testing.assert_allclose(np.diff(s), 60 * per_site, rtol=1e-6)
    smooth = HammingEnsemble.from_parts(perceptron_like(400) - 0.4 * (np.arange(401) == 0))
    assert 0 < annealed_renyi(smooth, range(200), 2, normalization="ratio") < 1


def test_a_spectrum_below_rounding_is_refused_except_where_it_is_not_needed():
    d = 300
    k = 0.5 ** np.arange(d + 1.0)
    hamming, kernel = HammingEnsemble.from_parts(k, k), ProductKernel(two_level(0.5), d)
    product = ProductEnsemble.from_parts(kernel, kernel)
    a, b = (annealed_renyi(e, range(100), normalization="ratio") for e in (hamming, product))
    assert a == pytest.approx(b)
    with pytest.raises(SystemTooLargeError, match="does not resolve"):
        annealed_renyi(hamming, range(100), 3, normalization="ratio")


def test_bad_input():
    kernel = ProductKernel(two_level(0.5), 6)
    ensemble = ProductEnsemble.from_parts(kernel, kernel)
    with pytest.raises(EntropyOrderError, match="pole"):
        annealed_renyi(ensemble, [0], 1)
    with pytest.raises(EntropyOrderError, match="normalization"):
        annealed_renyi(ensemble, [0], 2, normalization="other")
    with pytest.raises(EntropyOrderError, match="log_average_moment"):
        annealed_renyi(ensemble, [0], 2, normalization="none")
    with pytest.raises(PartitionError, match="empty"):
        annealed_renyi(ensemble, [])
    with pytest.raises(EnsembleError, match="not Hermitian"):
        ProductKernel([[1.0, 0.5], [0.1, 1.0]], 3)
    with pytest.raises(EnsembleError, match="negative eigenvalue"):
        ProductKernel(two_level(1.5), 3)
    with pytest.raises(EnsembleError, match="n_sites=12"):
        ProductKernel(two_level(0.5))
    with pytest.raises(EnsembleError, match="different numbers of sites"):
        ProductEnsemble.from_parts(kernel, ProductKernel(two_level(0.5), 5))
    with pytest.raises(EnsembleError, match=r"d \+ 1"):
        HammingEnsemble(np.eye(3))
    with pytest.raises(EnsembleError, match="negative eigenvalue"):
        annealed_renyi(HammingEnsemble([1.0, -0.9, 1.0, 0.9]), [0], 3)
    with pytest.raises(EnsembleError, match="8 basis states"):
        DenseEnsemble(np.eye(7), nk.hilbert.Spin(0.5, 3))

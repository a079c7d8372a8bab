"""Averages over normalised states: the integral against closed forms, mpmath and Monte Carlo."""

import math

import mpmath
import netket as nk
import numpy as np
import pytest

from netket_qsntk.entanglement import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
    log_average_moment,
    normalized_purity,
)
from netket_qsntk.errors import EnsembleError, EntropyOrderError, SystemTooLargeError


@pytest.mark.parametrize(("d", "n_a"), [(2, 1), (5, 2), (8, 4), (30, 11), (200, 100)])
def test_a_white_covariance_gives_the_haar_average(d, n_a):
    haar = (2.0**n_a + 2.0 ** (d - n_a)) / (2.0**d + 1)
    white = np.zeros(d + 1)
    white[0] = 1.0
    cases = [ProductEnsemble(ProductKernel(np.eye(2), d)), HammingEnsemble(white)]
    if d <= 8:
        cases.append(DenseEnsemble(np.eye(2**d), nk.hilbert.Spin(0.5, d)))
    for ensemble in cases:
        assert normalized_purity(ensemble, range(n_a)) == pytest.approx(haar, rel=1e-11)


def test_real_white_states_average_over_the_orthogonal_group():
    # E Tr ρ² = (d_A + d_B + 1)/(d_A d_B + 2) for uniformly random real unit vectors.
    ensemble = ProductEnsemble.from_parts(ProductKernel(np.eye(2), 7))
    assert normalized_purity(ensemble, [0, 1]) == pytest.approx((4 + 32 + 1) / (128 + 2), rel=1e-11)


def test_higher_moments_of_haar_states():
    # E Tr ρ³ = (d_A² + 3 d_A d_B + d_B² + 1)/((d_A d_B + 1)(d_A d_B + 2)).
    a, b = 4, 8
    expected = (a * a + 3 * a * b + b * b + 1) / ((a * b + 1) * (a * b + 2))
    ensemble = ProductEnsemble(ProductKernel(np.eye(2), 5))
    value = math.exp(log_average_moment(ensemble, [0, 4], 3, normalization="exact"))
    assert value == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("g", [0.999999, 0.9, 0.2])
def test_the_quadrature_is_good_to_ten_digits(g):
    """Two sites, Γ = κ ⊗ κ, with the integral done by mpmath in 30 digits."""
    with mpmath.workdps(30):
        up, down = 1 + mpmath.mpf(g), 1 - mpmath.mpf(g)
        spectrum = [[up * up, up * down], [down * up, down * down]]

        def integrand(t):
            x = [[v / (1 + t * v) for v in row] for row in spectrum]
            det = mpmath.fprod(1 + t * v for row in spectrum for v in row)
            rows = sum(sum(row) ** 2 for row in x)
            columns = sum(sum(c) ** 2 for c in zip(*x, strict=True))
            return t * (rows + columns) / det

        expected = float(mpmath.quad(integrand, [0, 0.1, 1, 10, 100, 1e4, 1e8, mpmath.inf]))
    ensemble = ProductEnsemble(ProductKernel([[1, g], [g, 1]], 2))
    assert normalized_purity(ensemble, [0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.thorough
def test_spectra_and_matrices_agree():
    d, hilbert = 6, nk.hilbert.Spin(0.5, 6)
    k = np.exp(-0.4 * np.arange(d + 1.0)) + 0.2
    distance = np.bitwise_count(np.arange(64)[:, None] ^ np.arange(64))
    for imag in (k, None, 0.3 + 0 * k):
        dense = DenseEnsemble.from_parts(
            k[distance], None if imag is None else imag[distance], hilbert
        )
        values = [
            normalized_purity(e, [1, 2]) for e in (HammingEnsemble.from_parts(k, imag), dense)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-11)


@pytest.mark.parametrize(("d", "g"), [(24, 0.7), (40, 0.9), (120, 0.985)])
def test_twenty_sites_and_more_agree_between_both_spectral_forms(d, g):
    product = ProductEnsemble(ProductKernel([[1, g], [g, 1]], d))
    hamming = HammingEnsemble(g ** np.arange(d + 1.0))
    values = [normalized_purity(e, range(d // 3)) for e in (product, hamming)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.thorough
def test_four_level_sites_go_through_classes_of_equal_eigenvalues():
    x = np.array([-1.5, -0.5, 0.5, 1.5])
    kappa = np.exp(-0.3 * (x[:, None] - x) ** 2)
    small = ProductEnsemble(ProductKernel(kappa, 3))
    dense = DenseEnsemble(np.kron(np.kron(kappa, kappa), kappa), nk.hilbert.Spin(1.5, 3))
    values = [normalized_purity(e, [0]) for e in (small, dense)]
    assert values[0] == pytest.approx(values[1], rel=1e-11)
    assert 0 < normalized_purity(ProductEnsemble(ProductKernel(kappa, 24)), range(12)) < values[0]


def test_a_rank_one_covariance_gives_product_states_of_purity_one():
    for ensemble in (
        ProductEnsemble(ProductKernel(np.ones((2, 2)), 6)),
        ProductEnsemble.from_parts(ProductKernel(np.ones((2, 2)), 6)),
    ):
        assert normalized_purity(ensemble, [0, 1]) == pytest.approx(1, rel=1e-10)


def test_bad_input():
    ensemble = ProductEnsemble(ProductKernel(np.eye(2), 4))
    with pytest.raises(EntropyOrderError, match="rtol"):
        normalized_purity(ensemble, [0], rtol=0)
    with pytest.raises(EnsembleError, match="negative eigenvalue"):
        normalized_purity(DenseEnsemble(np.diag([1.0, -1, 1, 1]), nk.hilbert.Spin(0.5, 2)), [0])
    with pytest.raises(SystemTooLargeError, match="beyond float64"):
        normalized_purity(ProductEnsemble(ProductKernel(np.eye(2), 2400)), range(1200))
    rng = np.random.default_rng(0)
    different = [np.diag(rng.uniform(1, 2, 2)) for _ in range(30)]
    with pytest.raises(SystemTooLargeError, match="differ so much"):
        normalized_purity(ProductEnsemble(ProductKernel(different)), range(15))

"""Draws from Gaussian ensembles have the ensemble's covariance and relation."""

import netket as nk
import numpy as np
import pytest

from netket_qsntk.entanglement import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
    sample_wavefunctions,
)
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.hamming import hamming_spectrum

KAPPA = ProductKernel([np.array([[1.0, 0.4], [0.4, 0.7]]), np.eye(3) + 0.5, np.ones((2, 2))])
K1 = KAPPA.sites[0]
DENSE = np.kron(np.kron(K1, KAPPA.sites[1]), KAPPA.sites[2])
DISTANCE = np.bitwise_count(np.arange(8)[:, None] ^ np.arange(8))
K = np.array([1.0, 0.5, 0.3, 0.2])
COMPLEX = np.array([[1.0, 0.5j, 0.1, 0], [-0.5j, 1, 0, 0], [0.1, 0, 2, 0.3], [0, 0, 0.3, 1]])
RELATION = np.diag([0.5, 0.3j, -1.0, 0.2])
TWO = nk.hilbert.Spin(0.5, 2)

CASES = {
    "product": (ProductEnsemble.from_parts(KAPPA, KAPPA), 2 * DENSE, 0),
    "real product": (ProductEnsemble.from_parts(KAPPA), DENSE, DENSE),
    "unequal product": (
        ProductEnsemble.from_parts(KAPPA, ProductKernel(KAPPA.sites, scale=3.0)),
        4 * DENSE,
        -2 * DENSE,
    ),
    "complex product": (
        ProductEnsemble(ProductKernel([np.array([[1, 0.5j], [-0.5j, 1]])] * 2, scale=2.0)),
        2 * np.kron(*[np.array([[1, 0.5j], [-0.5j, 1]])] * 2),
        0,
    ),
    "hamming": (HammingEnsemble(K), K[DISTANCE], 0),
    "unequal hamming": (
        HammingEnsemble.from_parts(K, K**2),
        (K + K**2)[DISTANCE],
        (K - K**2)[DISTANCE],
    ),
    "real hamming": (HammingEnsemble.from_parts(K), K[DISTANCE], K[DISTANCE]),
    "dense": (DenseEnsemble(COMPLEX, TWO), COMPLEX, 0),
    "improper dense": (DenseEnsemble(COMPLEX, TWO, RELATION), COMPLEX, RELATION),
}


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_covariance_and_the_relation(name):
    ensemble, gamma, relation = CASES[name]
    members = 40_000
    psi = sample_wavefunctions(ensemble, members, seed=7)
    assert psi.shape == (members, len(gamma))
    variance = np.diag(gamma).real
    # Products of two Gaussian fields have at most three times the variance of a proper pair.
    error = np.sqrt(3 * np.outer(variance, variance) / members) + 1e-300
    assert np.max(np.abs(psi.T @ psi.conj() / members - gamma) / error) < 4
    assert np.max(np.abs(psi.T @ psi / members - relation) / error) < 4


def test_seeds_reproduce_and_generators_advance():
    ensemble = CASES["hamming"][0]
    a, b = (sample_wavefunctions(ensemble, 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(3)
    first, second = (sample_wavefunctions(ensemble, 2, rng) for _ in range(2))
    np.testing.assert_array_equal(first, a)
    assert np.all(first != second)


def test_the_hamming_spectrum_is_that_of_the_matrix():
    for d in (1, 2, 5, 6):
        k = np.random.default_rng(d).standard_normal(d + 1)
        matrix = k[np.bitwise_count(np.arange(2**d)[:, None] ^ np.arange(2**d))]
        spectrum = hamming_spectrum(k) * 2**d
        repeated = spectrum[np.bitwise_count(np.arange(2**d))]
        np.testing.assert_allclose(np.sort(repeated), np.linalg.eigvalsh(matrix), atol=1e-12)


def test_two_hundred_sites_are_refused_with_the_closed_forms_named():
    with pytest.raises(SystemTooLargeError, match="annealed_renyi"):
        sample_wavefunctions(ProductEnsemble(ProductKernel(np.eye(2), 200)), 1, seed=0)

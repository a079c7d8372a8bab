"""Cases 1-3 (S19-S31): positive where theory says so, singular where the parities say so."""

from math import comb

import netket as nk
import numpy as np
import pytest
from scipy.linalg import hadamard

import netket_qsntk as qs

D = 6
X = nk.hilbert.Spin(0.5, D).all_states()
WEIGHTS = np.array([int(i).bit_count() for i in range(2**D)])
ODD, EVEN = {1, 3, 5}, {0, 2, 4, 6}


def report(model, trainable="all", states=X):
    return qs.kernels.positive_definiteness(qs.kernels.infinite_width(model, trainable), states)


@pytest.mark.parametrize("network", [qs.models.CosNet, qs.models.GaussNet])
def test_case_1_readout_training_of_gaussian_networks(network):
    found = report(network(8, sigma_w=2.0), "readout")
    assert found.is_positive_definite
    assert found.nullity == 0
    assert found.null_space is None
    assert "Case 1" in found.reason
    # The Gaussian kernel is a product over sites: (1 ± g)/2 to the powers d - w and w.
    g = np.exp(-2 * 4.0 / D)
    scale = 0.5 if network is qs.models.CosNet else 1.0
    exact = [scale * ((1 + g) / 2) ** (D - w) * ((1 - g) / 2) ** w for w in range(D + 1)]
    np.testing.assert_allclose(found.parity_eigenvalues, exact, rtol=1e-10)
    assert found.spectrum.smallest == pytest.approx(2**D * min(exact), rel=1e-9)


@pytest.mark.thorough
def test_case_2_fourier_features():
    b = np.random.default_rng(0).normal(size=(30, D), scale=0.3)
    found = report(qs.models.FourierFeatures(b, 1.0, qs.models.WideMLP(widths=(8,), sigma_b=0.1)))
    assert "Case 2" in found.reason
    assert found.is_positive_definite


@pytest.mark.thorough
def test_case_2_features_that_cannot_tell_configurations_apart():
    b = np.full((3, D), 0.25)  # sees the magnetisation only
    found = report(qs.models.FourierFeatures(b, 1.0, qs.models.WideMLP(widths=(8,), sigma_b=0.1)))
    assert not found.is_positive_definite
    assert found.nullity >= 2**D - (D + 1)


def test_case_3_needs_biases():
    biased = report(qs.models.WideMLP(widths=(8,), sigma_b=0.3))
    assert biased.is_positive_definite
    assert "Jacot" in biased.reason
    bare = report(qs.models.WideMLP(widths=(8,)))
    assert "needs a bias in every hidden layer" in bare.reason
    assert not bare.is_positive_definite
    assert report(qs.models.WideMLP(widths=(8, 8))).null_space is None


@pytest.mark.parametrize(
    ("options", "null", "name"),
    [
        ({"activation": "relu"}, ODD - {1}, "odd weight > 1"),
        ({"activation": "erf"}, EVEN, "even weight, the constant included"),
        ({"activation": "cos"}, ODD, "parities of odd weight:"),
        ({"activation": "identity", "sigma_b": 0.3}, set(range(2, D + 1)), "weight > 1"),
        ({"activation": "identity"}, set(range(D + 1)) - {1}, "every weight but 1"),
    ],
)
def test_the_null_space_is_named_and_is_that_of_the_matrix(options, null, name):
    model = qs.models.WideMLP(widths=(8,), **options)
    found = report(model)
    assert set(found.null_weights) == null
    assert name in found.null_space
    dimension = sum(comb(D, w) for w in null)
    assert found.nullity == dimension
    assert f"{dimension} of 64" in found.null_space
    assert found.null_space in str(found)
    # Every parity is an eigenvector; its eigenvalue is 2^d times the reported one.
    parities = hadamard(2**D)
    matrix = np.asarray(qs.kernels.infinite_width(model).ntk(X))
    diagonal = np.diag(parities @ matrix @ parities) / 4**D
    np.testing.assert_allclose(diagonal, found.parity_eigenvalues[WEIGHTS], atol=1e-13)


def test_a_subset_can_be_positive_where_the_hypercube_is_not():
    subset = X[X.astype(int).sum(1) > 0]
    found = report(qs.models.WideMLP(widths=(8,)), states=subset)
    assert found.null_space is not None
    assert found.nullity == len(subset) - np.linalg.matrix_rank(
        qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,))).ntk(subset), hermitian=True
    )


def test_equal_configurations_are_named():
    found = report(qs.models.CosNet(8, sigma_w=2.0), states=np.concatenate([X[:5], X[2:3]]))
    assert found.duplicates == ((2, 5),)
    assert not found.is_positive_definite
    assert "the first pair is (2, 5)" in str(found)


@pytest.mark.thorough
def test_fermions_are_not_on_a_sphere():
    hi = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))
    model = qs.models.WideMLP(widths=(8,), sigma_b=0.3, encoding=qs.encodings.fermion_sites)
    found = report(model, states=hi.all_states())
    assert "different norms" in found.reason
    assert found.parity_eigenvalues is None

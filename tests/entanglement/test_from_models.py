"""The Gaussian ensemble of a model has its kernel's covariance, in the cheapest form."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.entanglement import (
    DenseEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    gaussian_ensemble,
    log_average_moment,
    sample_wavefunctions,
)
from netket_qsntk.errors import SystemTooLargeError, UnknownKernelError

SPINS = nk.hilbert.Spin(0.5, 5)
FREQUENCIES = np.random.default_rng(0).normal(size=(6, 5), scale=0.2)
MODELS = {
    "cosnet": (qs.models.CosNet(3, sigma_a=2.0, sigma_w=1.5), SPINS, ProductEnsemble),
    "gaussnet": (qs.models.GaussNet(3, sigma_w=0.9, parts="real"), SPINS, ProductEnsemble),
    "cosnet on bosons": (qs.models.CosNet(3), nk.hilbert.Fock(2, 3), ProductEnsemble),
    "perceptron": (qs.models.WideMLP((3, 3), "erf", 1.5, 0.2), SPINS, HammingEnsemble),
    "shared": (qs.models.WideMLP((3,), "relu", parts="shared"), SPINS, HammingEnsemble),
    "scaled spins": (
        qs.models.WideMLP((3,), "relu", parts="real", encoding=lambda x: 0.5 * x),
        SPINS,
        HammingEnsemble,
    ),
    "occupations": (qs.models.WideMLP((3,), "relu"), nk.hilbert.Qubit(4), DenseEnsemble),
    "fixed magnetisation": (
        qs.models.CosNet(3),
        nk.hilbert.Spin(0.5, 4, total_sz=0),
        DenseEnsemble,
    ),
    "fermions": (
        qs.models.CosNet(3, encoding=qs.encodings.fermion_sites),
        nk.hilbert.SpinOrbitalFermions(2, s=1 / 2),
        DenseEnsemble,
    ),
    "fourier features": (
        qs.models.FourierFeatures(FREQUENCIES, 1.0, qs.models.WideMLP((3,), "erf")),
        SPINS,
        DenseEnsemble,
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_structure_and_numbers_of_each_model(name):
    model, hilbert, kind = MODELS[name]
    ensemble = gaussian_ensemble(model, hilbert)
    assert isinstance(ensemble, kind)
    assert ensemble.is_proper == (model.parts != "real")
    k = np.asarray(qs.kernels.infinite_width(model).nngp(np.asarray(hilbert.all_states())))
    dense = DenseEnsemble.from_parts(k, None if model.parts == "real" else k, hilbert)
    for n in (2, 3):
        values = [log_average_moment(e, [0, 1], n, normalization="none") for e in (ensemble, dense)]
        assert values[0] == pytest.approx(values[1], rel=1e-11)


def test_draws_are_in_the_order_of_the_basis():
    # A covariance that tells sites and local states apart: Fock space without any symmetry.
    model, hilbert = qs.models.CosNet(3, sigma_w=1.0), nk.hilbert.Fock(2, 2)
    psi = sample_wavefunctions(gaussian_ensemble(model, hilbert), 40_000, seed=0)
    k = np.asarray(qs.kernels.infinite_width(model).nngp(np.asarray(hilbert.all_states())))
    measured = (psi.T @ psi.conj()).real / len(psi)
    assert np.max(np.abs(measured - 2 * k)) < 4 * math.sqrt(3) * 2 * k[0, 0] / math.sqrt(len(psi))


def test_large_spaces_keep_their_structure_or_are_refused():
    large = nk.hilbert.Spin(0.5, 200)
    assert gaussian_ensemble(MODELS["cosnet"][0], large).n_sites == 200
    assert gaussian_ensemble(MODELS["perceptron"][0], large).n_sites == 200
    with pytest.raises(SystemTooLargeError, match="no structure"):
        gaussian_ensemble(MODELS["occupations"][0], nk.hilbert.Qubit(20))
    with pytest.raises(SystemTooLargeError, match="no structure"):
        gaussian_ensemble(MODELS["cosnet"][0], nk.hilbert.Spin(0.5, 40, total_sz=0))


def test_an_unknown_model_says_what_is_known():
    with pytest.raises(UnknownKernelError, match="CosNet"):
        gaussian_ensemble(nk.models.RBMMultiVal(n_classes=2), SPINS)

"""Kernels and batches that the operator tests share."""

import netket as nk
import numpy as np
import pytest

from netket_qsntk import encodings, kernels, models


@pytest.fixture(scope="session")
def relu():
    """A kernel with zero eigenvalues almost within reach: relu with a small bias."""
    return kernels.infinite_width(
        models.WideMLP(widths=(8,), activation="relu", sigma_w=0.25, sigma_b=0.01)
    )


@pytest.fixture(scope="session")
def erf():
    return kernels.infinite_width(
        models.WideMLP(widths=(8, 8), activation="erf", sigma_w=1.5, sigma_b=0.5)
    )


@pytest.fixture(scope="session")
def spins():
    return np.asarray(nk.hilbert.Spin(0.5, 8).all_states())


@pytest.fixture(scope="session")
def fermions():
    """CosNet on 4 Hubbard sites, with its configurations at fixed particle numbers."""
    hilbert = nk.hilbert.SpinOrbitalFermions(4, s=1 / 2, n_fermions_per_spin=(2, 2))
    model = models.CosNet(8, sigma_a=1.3, sigma_w=1.1, encoding=encodings.fermion_sites)
    return kernels.infinite_width(model), np.asarray(hilbert.all_states())


@pytest.fixture
def rng():
    return np.random.default_rng(0)

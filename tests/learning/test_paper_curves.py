"""Fig. 3 of arXiv:2112.00723 at infinite time: predicted without a training set, and averaged over many."""

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

from .oracles import Splits

# Size of the training set -> sets, and the largest relative error.
SIZES = {1024: (20, 0.03), 2400: (20, 0.03), 3200: (100, 0.03), 4000: (400, 0.05)}


def kernel_of(encoding=None):
    return qs.kernels.infinite_width(
        qs.models.WideMLP(
            widths=(1,), activation="relu", sigma_w=0.25, sigma_b=0.01, encoding=encoding
        )
    )


@pytest.mark.thorough
@pytest.mark.parametrize("n", [12, 50])
def test_losses_of_many_splits_are_those_of_linear_dynamics(n) -> None:
    hilbert = nk.hilbert.Spin(0.5, 6)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(6), h=0.5)
    target = qs.targets.quench(hamiltonian, initial="plus", time=0.8)
    kernel = kernel_of()
    train, test = target.split(n, 1)
    losses = qs.dynamics.LinearDynamics(kernel, train, learning_rate=1.0).losses([np.inf], test)
    np.testing.assert_allclose(
        Splits(kernel, target).losses(n, 1), (losses.L_mu[0], losses.L_gamma[0]), rtol=1e-7
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::netket_qsntk.errors.FiniteSizeWarning")
@pytest.mark.parametrize("name", ["Ising", "Hubbard"])
def test_losses_of_the_papers_models_at_infinite_time(name) -> None:
    if name == "Ising":
        target, kernel = qs.targets.tfim_quench(), kernel_of()
        levels = qs.learning.levels(kernel, target.hilbert)
        power = qs.learning.target_power(target)
        curve = qs.learning.learning_curve(levels, power, list(SIZES))
    else:
        # Its configurations have no flips among them, and no levels: classes of single ones.
        target, kernel = qs.targets.hubbard_quench(), kernel_of(qs.encodings.fermion_sites)
        curve = qs.learning.dense_curve(kernel, target, list(SIZES))
    splits = Splits(kernel, target)
    for i, (n, (draws, bound)) in enumerate(SIZES.items()):
        found = np.array([splits.losses(n, seed) for seed in range(draws)])
        mean, error = found.mean(0), found.std(0, ddof=1) / draws**0.5
        off = np.array([curve.L_mu[i], curve.L_gamma[i]]) / mean - 1
        assert np.all(np.abs(off) < bound), (name, n, off, error / mean)
        # The average is known better than the bound.
        assert np.all(error / mean < bound / 2)

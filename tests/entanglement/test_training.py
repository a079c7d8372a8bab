"""Entropies on the way of training in function space."""

import netket as nk
import numpy as np
import pytest
from scipy.linalg import expm

import netket_qsntk as qs
from netket_qsntk import entanglement as ent

HILBERT = nk.hilbert.Spin(0.5, 4)
ISING = nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=1.0)


@pytest.mark.thorough
def test_natural_gradient_leads_from_a_random_network_to_the_ground_state():
    net = qs.models.WideMLP((1,), "erf", 1.0, 0.3, output="log_psi", parts="real")
    flow = qs.dynamics.NaturalGradientFlow(
        qs.kernels.infinite_width(net), ISING, learning_rate=0.05, diag_shift=1e-4
    )
    draws = qs.vqs.InfiniteState(HILBERT, net).process.sample(3, seed=0)
    found = ent.entropies_along(flow, draws, [0, 400], HILBERT, [0, 1], output="log_psi", n=2)
    start = ent.entropies(np.exp(draws), HILBERT, [0, 1], n=2)
    np.testing.assert_allclose(found[:, 0], start, atol=1e-12)
    ground = nk.exact.lanczos_ed(ISING, compute_eigenvectors=True)[1][:, 0]
    exact = ent.entropies(ground, HILBERT, [0, 1], n=2)
    np.testing.assert_allclose(found[:, 1], exact, atol=2e-2)
    assert ent.entropies_along(
        flow, draws[0], [0], HILBERT, [0, 1], output="log_psi", n=2
    ).shape == (1,)


@pytest.mark.thorough
def test_a_quench_of_random_networks_is_the_exact_evolution():
    net = qs.models.WideMLP((1,), "erf", (2.0, 0.3), 0.5, output="log_psi", parts="independent")
    flow = qs.dynamics.NaturalGradientFlow(
        qs.kernels.infinite_width(net),
        ISING,
        learning_rate=1.0,
        diag_shift=1e-9,
        propagation="real",
        flow=True,
    )
    draws = np.asarray(qs.vqs.InfiniteState(HILBERT, net).process.sample(6, seed=0))
    times = np.array([0.0, 0.5, 1.0, 2.0])
    found = ent.entropies_along(flow, draws, times, HILBERT, [0, 1], output="log_psi", n=2)
    hamiltonian = np.asarray(ISING.to_dense())
    for t, mine in zip(times, found.T, strict=True):
        evolved = np.exp(draws) @ expm(-1j * t * hamiltonian).T
        exact = ent.entropies(evolved, HILBERT, [0, 1], n=2)
        np.testing.assert_allclose(mine, exact, atol=1e-4)
    # Members differ, and so does time: a constant would not pass.
    assert np.ptp(found, axis=0).min() > 1e-3
    assert np.ptp(found.mean(axis=0)) > 0.3


@pytest.mark.thorough
def test_function_space_flow_of_psi():
    model = qs.models.CosNet(1, 1.0, 2.0)
    kernel = qs.kernels.infinite_width(model)
    target = qs.targets.ground_state(ISING)
    flow = qs.dynamics.FunctionSpaceFlow(
        kernel, qs.losses.Infidelity(target), learning_rate=0.5, show_progress=False
    )
    draws = np.asarray(qs.vqs.InfiniteState(HILBERT, model).sample(2, seed=1))
    found = ent.entropies_along(flow, draws, [0, 5], HILBERT, [0, 2], output="psi")
    for i, psi in enumerate(draws):
        trained = np.asarray(flow.run(psi, [0, 5]))
        np.testing.assert_allclose(found[i], ent.entropies(trained, HILBERT, [0, 2]), atol=1e-12)

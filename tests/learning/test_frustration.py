"""Generalisation on frustrated rings: predicted, and measured on drawn training sets."""

import netket as nk
import numpy as np
import pytest
import scipy.linalg

import netket_qsntk as qs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::netket_qsntk.errors.FiniteSizeWarning")
@pytest.mark.parametrize("J2", [0.0, 0.4, 0.5, 0.6, 1.0])
def test_losses_of_j1_j2_rings_of_twelve_sites(J2) -> None:
    d = 12
    hilbert = nk.hilbert.Spin(0.5, d, total_sz=0)
    edges = [(i, (i + r) % d, r - 1) for r in (1, 2) for i in range(d)]
    hamiltonian = nk.operator.Heisenberg(
        hilbert, nk.graph.Graph(edges), J=[1.0, J2], sign_rule=[False, False]
    )
    states = np.asarray(hilbert.all_states())
    signs = 1.0 - 2.0 * (((states[:, ::2] == 1).sum(1)) % 2)
    psi = np.linalg.eigh(hamiltonian.to_dense())[1][:, 0].real * signs
    net = qs.models.WideMLP(widths=(4,), sigma_w=1.0, sigma_b=0.1, parts="real")
    kernel = qs.kernels.infinite_width(net)
    n, ntk = round(0.2 * len(psi)), np.asarray(kernel.ntk(states))
    power = qs.learning.target_power(qs.targets.Target(hilbert, psi))
    curve = qs.learning.learning_curve(qs.learning.levels(kernel, hilbert), power, [n])
    losses = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(psi))
        seen, unseen = order[:n], order[n:]
        factor = scipy.linalg.cho_factor(ntk[np.ix_(seen, seen)])
        rest = psi[unseen] - ntk[np.ix_(unseen, seen)] @ scipy.linalg.cho_solve(factor, psi[seen])
        losses.append(np.mean(rest**2))
    mean, error = np.mean(losses), np.std(losses, ddof=1) / 20**0.5
    assert abs(mean - float(curve.L_mu[0])) < max(4 * error, 0.03 * mean)

"""Random RBMs: against a sum over signs by brute force, NetKet's own network, their Gaussian limit, finite sizes."""

import itertools
import math

import jax
import netket as nk
import numpy as np
import pytest

from netket_qsntk import entanglement as ent
from netket_qsntk.errors import EnsembleError, EntropyOrderError, PartitionError
from tests.entanglement.oracles import standard_score, tables_of_members, trace_moments


def brute_force(d, units, sigma_w, d_a):
    """-log(E Tr ρ̃²/E(Tr ρ̃)²) of A = the first sites, term by term."""
    signs = np.array(list(itertools.product((1, -1), repeat=4)))

    def average(x, y):
        q = np.array(x) @ np.array(y).T / d
        return np.mean(np.exp(sigma_w**2 * np.einsum("sk,sl,kl->s", signs[:, :2], signs[:, 2:], q)))

    moment = norm = 0.0
    configurations = list(itertools.product((1, -1), repeat=d))
    for x1, x2 in itertools.product(configurations, repeat=2):
        swapped = (x2[:d_a] + x1[d_a:], x1[:d_a] + x2[d_a:])
        moment += average((x1, x2), swapped) ** units
        norm += average((x1, x2), (x1, x2)) ** units
    return math.log(norm / moment)


@pytest.mark.parametrize(("units", "sigma_w"), [(2, 0.5), (4, 1.2), (8, 0.3)])
def test_the_average_of_four_spins_is_the_sum_over_signs(units, sigma_w):
    rbm = ent.RandomRBM(units / 4, sigma_w)
    for d_a in (1, 2, 3):
        expected = brute_force(4, units, sigma_w, d_a)
        assert abs(rbm.annealed_renyi(4, range(d_a)) - expected) < 1e-12
    assert rbm.annealed_renyi(4, [0], log_base=2) == rbm.annealed_renyi(4, [3]) / math.log(2)


@pytest.mark.thorough
def test_they_are_networks_of_netket():
    d, members = 6, 4000
    hilbert = nk.hilbert.Spin(0.5, d)
    model = nk.models.RBM(
        alpha=2,
        param_dtype=complex,
        use_hidden_bias=False,
        use_visible_bias=False,
        kernel_init=jax.nn.initializers.normal(0.6 / math.sqrt(d)),
    )
    x = hilbert.all_states()
    keys = jax.random.split(jax.random.key(0), members)
    log_psi = jax.vmap(lambda key: model.apply(model.init(key, x[:1]), x))(keys)
    raw, norm = trace_moments(tables_of_members(np.exp(np.asarray(log_psi)), hilbert, (0, 2, 5)), 2)
    ratio = math.exp(-ent.RandomRBM(2.0, 0.6).annealed_renyi(d, (0, 2, 5)))
    assert abs(standard_score(raw - ratio * norm, 0.0)) < 4
    assert abs(standard_score(raw - 1.05 * ratio * norm, 0.0)) > 4


def test_many_weakly_coupled_units_are_the_gaussian_two_body_kernel():
    gaps = []
    for density in (4.0, 16.0, 64.0):
        rbm = ent.RandomRBM(density, (4 * 0.03 / density) ** 0.25)
        assert rbm.variance == pytest.approx(0.03)
        limit = ent.entropy_density(lambda c: c**2, log_modulus=0.03, phase=0.03)
        gaps.append(abs(rbm.entropy_density().value / limit.value - 1))
    # Corrections are of order 1/density.
    assert gaps[2] < 2e-3
    assert 2 < gaps[0] / gaps[1] < 8
    assert 2 < gaps[1] / gaps[2] < 8


@pytest.mark.parametrize(("density", "sigma_w"), [(1.0, 0.5), (2.0, 0.6), (0.5, 0.75), (4.0, 2.0)])
def test_finite_sizes_approach_the_density(density, sigma_w):
    rbm, sizes = ent.RandomRBM(density, sigma_w), np.array([64, 128, 256, 400])
    values = [rbm.annealed_renyi(d, range(d // 2)) / d for d in sizes]
    limit = np.polyfit(1 / sizes, values, 2)[-1]
    assert abs(limit - rbm.entropy_density().value) < 1e-5


def test_wrong_requests_are_named():
    for options in ((0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(EnsembleError, match="positive finite"):
            ent.RandomRBM(*options)
    rbm = ent.RandomRBM(0.5, 1.0)
    with pytest.raises(EnsembleError, match="whole number"):
        rbm.annealed_renyi(5, [0])
    with pytest.raises(PartitionError):
        rbm.annealed_renyi(4, [4])
    with pytest.raises(EntropyOrderError, match="log_base"):
        rbm.annealed_renyi(4, [0], log_base=1)
    with pytest.raises(EnsembleError, match="fraction"):
        rbm.entropy_density(0.0)

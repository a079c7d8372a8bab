"""The annealed purity at finite width, against networks drawn and against the written-out sum."""

import itertools
import math

import jax
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.entanglement import (
    annealed_renyi,
    finite_width_purity,
    gaussian_ensemble,
    width_expansion,
)
from netket_qsntk.errors import EnsembleError, PartitionError
from netket_qsntk.models import CosNet, GaussNet, WideMLP
from tests.entanglement.oracles import standard_score, tables_of_members, trace_moments

HILBERT = nk.hilbert.Spin(0.5, 6)
NETWORKS = [(CosNet, 1.5), (GaussNet, 0.4)]


def draw(model, hilbert, members):
    x = hilbert.all_states()
    keys = jax.random.split(jax.random.key(0), members)
    return np.asarray(
        jax.jit(jax.vmap(lambda key: model.apply(model.init(key, x), x, method="psi")))(keys)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "shared", "real"])
@pytest.mark.parametrize(("network", "sigma_w"), NETWORKS)
@pytest.mark.parametrize("width", [1, 4])
def test_networks_drawn_at_random_have_the_closed_form_purity(network, sigma_w, parts, width):
    model = network(width, sigma_a=1.3, sigma_w=sigma_w, parts=parts)
    psi = draw(model, HILBERT, 30_000)
    expansion = width_expansion(model, HILBERT, [0, 2])
    purity, norm = trace_moments(tables_of_members(psi, HILBERT, (0, 2)), 2)
    closed = finite_width_purity(model, HILBERT, [2, 0], normalization="none")
    closed_norm = math.exp(expansion.log_norm) * (1 + expansion.norm_coefficient / width)
    assert abs(standard_score(purity, closed)) < 4
    assert abs(standard_score(norm, closed_norm)) < 4
    # Without the connected part the formula fails the same test.
    assert abs(standard_score(purity, math.exp(expansion.log_purity))) > 4
    ratio = finite_width_purity(model, HILBERT, [0, 2])
    assert ratio == pytest.approx(closed / closed_norm, rel=1e-12)


def test_the_sum_of_the_specification_written_out():
    d, n_width, sites = 4, 7, (1, 2)
    model = CosNet(n_width, sigma_a=1.7, sigma_w=1.2)
    states = np.asarray(nk.hilbert.Spin(0.5, d).all_states(), dtype=float)
    in_a = np.isin(np.arange(d), sites)

    def g(u):
        return math.exp(-(1.2**2) * float(u @ u) / (2 * d))

    k = 1.7**2 / 2
    e4 = 1.7**4 / 8
    total = 0.0
    for p, q in itertools.product(states, repeat=2):
        x = [np.where(in_a, *pair) for pair in ((p, p), (q, p), (q, q), (p, q))]

        def pairing(i, j, m, n, x=x):
            return k**2 * g(x[i] - x[j]) * g(x[m] - x[n])

        p1234, p1423, p1324 = pairing(0, 1, 2, 3), pairing(0, 3, 1, 2), pairing(0, 2, 1, 3)
        four = e4 * sum(
            g(np.tensordot(s, x, axes=1)) for s in ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
        )
        total += 4 * (p1234 + p1423) + 2 / n_width * (3 * four - p1234 - p1423 - p1324)
    ours = finite_width_purity(model, nk.hilbert.Spin(0.5, d), sites, normalization="none")
    assert ours == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize(("network", "sigma_w"), NETWORKS)
def test_infinite_width_is_the_gaussian_ensemble(network, sigma_w, parts):
    model = network(10, sigma_a=0.7, sigma_w=sigma_w, parts=parts)
    hilbert = nk.hilbert.Spin(0.5, 100)
    limit = finite_width_purity(model, hilbert, range(30), width=math.inf)
    annealed = annealed_renyi(gaussian_ensemble(model, hilbert), range(30), normalization="ratio")
    assert -math.log(limit) == pytest.approx(annealed, rel=1e-12)


def test_one_real_gaussnet_unit_is_a_product_state():
    model = GaussNet(1, sigma_w=0.7, parts="real")
    assert finite_width_purity(model, HILBERT, [0, 3]) == pytest.approx(1, rel=1e-13)
    assert finite_width_purity(model, HILBERT, [0, 3], width=2) < 0.999


def test_the_correction_is_the_slope_in_one_over_n():
    expansion = width_expansion(CosNet(5, sigma_w=2.0), HILBERT, [0, 1, 2])
    limit = expansion.log_ratio(math.inf)
    slope = (expansion.log_ratio(1e6) - limit) * 1e6
    assert slope == pytest.approx(expansion.correction, rel=1e-4)


@pytest.mark.parametrize("tolerance", [0.5, 0.03, 1e-3])
@pytest.mark.parametrize(("network", "sigma_w"), NETWORKS)
def test_width_within_is_the_smallest_width_that_will_do(network, sigma_w, tolerance):
    expansion = width_expansion(network(5, sigma_w=sigma_w), HILBERT, [0, 1, 2])
    width = expansion.width_within(tolerance)

    def deviation(n):
        return abs(math.expm1(expansion.log_ratio(n) - expansion.log_ratio(math.inf)))

    assert deviation(width) <= tolerance * (1 + 1e-9)
    assert width == 1 or deviation(width - 1) > tolerance


def test_encodings_and_local_states_are_those_of_the_model():
    hilbert = nk.hilbert.Spin(1, 3)
    model = CosNet(2, sigma_w=1.0, encoding=lambda x: 0.5 * x)
    psi = draw(model, hilbert, 20_000)
    purity, _ = trace_moments(tables_of_members(psi, hilbert, (0,)), 2)
    closed = finite_width_purity(model, hilbert, [0], normalization="none")
    assert abs(standard_score(purity, closed)) < 4


def test_hundreds_of_sites_cost_no_more_than_six():
    hilbert = nk.hilbert.Spin(0.5, 300)
    expansion = width_expansion(CosNet(1, sigma_a=10.0, sigma_w=30.0), hilbert, range(150))
    assert -expansion.log_ratio(math.inf) > 100
    assert expansion.width_within(0.1) > 10**20


def test_what_does_not_factorise_is_refused():
    model = CosNet(5)
    with pytest.raises(EnsembleError, match="unconstrained"):
        finite_width_purity(model, nk.hilbert.Spin(0.5, 4, total_sz=0), [0])
    fermions = nk.hilbert.SpinOrbitalFermions(2, s=1 / 2)
    with pytest.raises(EnsembleError, match="unconstrained"):
        finite_width_purity(model, fermions, [0])
    mixing = CosNet(5, encoding=lambda x: x @ np.ones((4, 4)))
    with pytest.raises(EnsembleError, match="encoding"):
        finite_width_purity(mixing, nk.hilbert.Spin(0.5, 4), [0])
    with pytest.raises(EnsembleError, match="WideMLP"):
        finite_width_purity(WideMLP((5,)), HILBERT, [0], width=5)
    with pytest.raises(EnsembleError, match="width"):
        finite_width_purity(model, HILBERT, [0], width=0)
    with pytest.raises(EnsembleError, match="normalization"):
        finite_width_purity(model, HILBERT, [0], normalization="exact")
    with pytest.raises(EnsembleError, match="tolerance"):
        width_expansion(model, HILBERT, [0]).width_within(0)
    with pytest.raises(PartitionError):
        finite_width_purity(model, HILBERT, [])


@pytest.mark.parametrize(
    "options", [{"output": "log_psi"}, {"reference": qs.readout.marshall(nk.graph.Chain(4))}]
)
def test_only_networks_whose_function_is_psi_have_the_closed_form(options):
    model = qs.models.CosNet(5, **options)
    with pytest.raises(EnsembleError, match="those of ψ = f.* Average over members"):
        finite_width_purity(model, nk.hilbert.Spin(0.5, 4), [0, 1])


def test_the_maximal_update_parametrisation_changes_the_norm_alone():
    hilbert = nk.hilbert.Spin(0.5, 4)
    plain, mup = (qs.models.CosNet(5, sigma_w=1.0, parametrization=name) for name in ("ntk", "mup"))
    purity = finite_width_purity(mup, hilbert, [0, 1])
    assert purity == finite_width_purity(plain, hilbert, [0, 1])
    with pytest.raises(EnsembleError, match="square of the width"):
        finite_width_purity(mup, hilbert, [0, 1], normalization="none")

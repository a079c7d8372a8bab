"""The scaling table: its averages, its closed forms, and the paper's Fig. 1 in small."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk import entanglement as ent
from netket_qsntk.entanglement import (
    annealed_renyi,
    draw_members,
    entropies,
    entropy_scaling,
    finite_width_purity,
    gaussian_ensemble,
    maximum_entropy,
    page_entropy,
)
from netket_qsntk.errors import EnsembleError, PartitionError


def paper(size, width):
    return qs.models.CosNet(width, sigma_a=10.0, sigma_w=math.sqrt(2 * size))


@pytest.fixture(scope="module")
def table():
    return entropy_scaling(paper, [4, 6, 8], [30, math.inf], n=[1, 2], n_members=200, seed=3)


@pytest.mark.thorough
def test_every_row_holds_the_average_over_its_members(table):
    row = table.select(size=6, width=30, order=2)[0]
    hilbert = nk.hilbert.Spin(0.5, 6)
    s = entropies(draw_members(paper(6, 30), hilbert, 200, seed=3), hilbert, range(3), n=2)
    assert row.mean == pytest.approx(s.mean())
    assert row.error == pytest.approx(s.std(ddof=1) / math.sqrt(200))
    assert (row.maximum, row.page) == pytest.approx((maximum_entropy(8, 8), page_entropy(8, 8)))
    assert row.annealed == pytest.approx(
        -math.log(finite_width_purity(paper(6, 30), hilbert, range(3)))
    )


@pytest.mark.thorough
def test_the_gaussian_limit_has_its_own_closed_form(table):
    row = table.select(size=8, width=math.inf, order=2)[0]
    ensemble = gaussian_ensemble(paper(8, 1), nk.hilbert.Spin(0.5, 8))
    assert row.annealed == pytest.approx(annealed_renyi(ensemble, range(4), normalization="ratio"))
    assert math.isnan(table.select(size=8, width=math.inf, order=1)[0].annealed)


@pytest.mark.thorough
def test_figure_one_in_small(table):
    # σ_w² = 2d: nearly Page at infinite width, a volume law of slope close to ln 2, and narrow
    # networks below.
    for row in table.select(width=math.inf, order=1):
        assert abs(row.mean - row.page) < 4 * row.error + 0.01
    narrow = table.select(width=30, order=1)
    wide = table.select(width=math.inf, order=1)
    assert np.all(narrow.column("mean")[1:] < wide.column("mean")[1:])
    law = wide.volume_law()
    assert abs(law.slope - math.log(2)) < 0.03
    assert law.slope_error < 0.01


def test_tables_read_as_sequences_and_print():
    table = entropy_scaling(
        qs.models.WideMLP((5, 5)), [4], [3], n_members=2, partition=lambda size: [1]
    )
    assert len(table) == 1
    assert table[0].subsystem == 1
    assert list(table.as_dict()) == str(table).split("\n")[0].split()
    assert math.isnan(table[0].annealed)


@pytest.mark.thorough
def test_constrained_spaces_have_their_own_maximum():
    table = entropy_scaling(
        qs.models.CosNet(5),
        [4],
        [5],
        n_members=2,
        hilbert=lambda size: nk.hilbert.Spin(0.5, size, total_sz=0),
    )
    assert table[0].maximum == pytest.approx(math.log(4))
    assert math.isnan(table[0].page)


def test_bad_input():
    with pytest.raises(EnsembleError, match="no width to replace"):
        entropy_scaling(nk.models.RBM(), [4], [10])
    with pytest.raises(PartitionError, match="two sites"):
        entropy_scaling(paper, [1], [10])


@pytest.mark.thorough
def test_what_takes_too_long_or_has_no_closed_form_leaves_the_rest_of_the_table():
    """Six replicas of 12 spins overlap in too many ways; log-normal networks of finite width have no closed form."""
    model = qs.models.CosNet(4, output="log_psi")
    found = ent.entropy_scaling(
        model, [12], [4, math.inf], n=[2, 6], n_members=2, show_progress=False
    )
    closed = [
        math.isfinite(found.select(width=w, order=n)[0].annealed)
        for w in (4, math.inf)
        for n in (2, 6)
    ]
    assert closed == [False, False, True, False]
    members = qs.vqs.EnsembleState(nk.hilbert.Spin(0.5, 12), model, 2, seed=0).to_array()
    expected = ent.entropies(members, nk.hilbert.Spin(0.5, 12), range(6), n=2).mean()
    np.testing.assert_allclose(found.select(width=4, order=2)[0].mean, expected, rtol=1e-10)

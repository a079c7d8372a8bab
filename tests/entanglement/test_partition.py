"""Partitions: what is refused, and where basis states and exchange signs go."""

import netket as nk
import numpy as np
import pytest

from netket_qsntk.entanglement.partition import (
    _group,
    bipartition,
    check_partition,
    exchange_signs,
    fermion_modes,
)
from netket_qsntk.errors import PartitionError, SystemTooLargeError

FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 2))


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ([], "empty"),
        (range(6), "all 6 sites"),
        ([0, 0], "more than once"),
        ([6], "outside"),
        ([-1], "outside"),
        ([0.5], "list of site indices"),
        ([[0, 1]], "list of site indices"),
    ],
)
def test_bad_partitions_are_refused_and_told_what_works(partition, message):
    with pytest.raises(PartitionError, match=message) as caught:
        check_partition(partition, 6)
    assert isinstance(caught.value, ValueError)
    assert "0, 1, 2" in str(caught.value) or message == "more than once"


def test_partition_order_and_type_do_not_matter():
    assert check_partition(np.array([4, 1], dtype=np.int8), 6) == (1, 4)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert",
    [
        nk.hilbert.Spin(0.5, 5),
        nk.hilbert.Spin(1, 3),
        nk.hilbert.Spin(0.5, 6, total_sz=1),
        nk.hilbert.Fock(2, 4, n_particles=3),
        nk.hilbert.Spin(0.5, 2) * nk.hilbert.Fock(2, 2),
        FERMIONS,
    ],
    ids=str,
)
def test_states_share_a_row_exactly_when_they_agree_on_a(hilbert):
    sites = (0, 2)
    cut = bipartition(hilbert, sites)
    states = np.asarray(hilbert.all_states())
    rest = [i for i in range(hilbert.size) if i not in sites]
    for numbers, part in ((cut.rows, list(sites)), (cut.columns, rest)):
        same = (states[:, None, part] == states[None, :, part]).all(-1)
        np.testing.assert_array_equal(numbers[:, None] == numbers[None, :], same)
    assert cut.shape == (cut.rows.max() + 1, cut.columns.max() + 1)


@pytest.mark.thorough
def test_blocks_hold_every_state_once_and_sectors_do_not_mix():
    hilbert = nk.hilbert.Spin(0.5, 6, total_sz=0)
    cut = bipartition(hilbert, (0, 1, 4))
    numbers = np.concatenate([block.ravel() for block in cut.blocks])
    assert sorted(numbers) == list(range(hilbert.n_states))  # no holes: one sector a block
    magnetisation = np.asarray(hilbert.all_states())[:, [0, 1, 4]].sum(-1)
    assert all(len(set(magnetisation[block.ravel()])) == 1 for block in cut.blocks)
    assert len(cut.blocks) == 4
    assert cut.max_rank == 1 + 3 + 3 + 1


@pytest.mark.thorough
def test_exchange_signs_are_the_parity_of_sorting_a_before_b():
    sites = (1, 3, 4)
    states = np.asarray(FERMIONS.all_states())
    expected = []
    for n in states:
        order = [i for i in range(6) if n[i]]
        sides = [0 if i in sites else 1 for i in order]
        swaps = sum(
            sides[i] > sides[j] for i in range(len(sides)) for j in range(i + 1, len(sides))
        )
        expected.append((-1) ** swaps)
    np.testing.assert_array_equal(exchange_signs(FERMIONS, sites, states), expected)
    assert -1 in expected


def test_exchange_signs_act_within_each_fermionic_factor_only():
    hilbert = nk.hilbert.Spin(0.5, 1) * nk.hilbert.SpinOrbitalFermions(2)
    states = np.asarray(hilbert.all_states())
    signs = exchange_signs(hilbert, (2,), states)
    np.testing.assert_array_equal(signs, 1 - 2 * states[:, 1] * states[:, 2])


def test_lattice_sites_of_fermions_are_modes_of_both_spins():
    assert fermion_modes(FERMIONS, [0, 2]) == [0, 2, 3, 5]
    with pytest.raises(PartitionError, match="outside"):
        fermion_modes(FERMIONS, [3])
    with pytest.raises(PartitionError, match="SpinOrbitalFermions"):
        fermion_modes(nk.hilbert.Spin(0.5, 3), [0])


def test_a_space_too_large_to_list_names_the_closed_forms():
    with pytest.raises(SystemTooLargeError, match="annealed_renyi"):
        bipartition(nk.hilbert.Spin(0.5, 200), (0, 1))


def test_configurations_too_many_to_number_are_still_told_apart():
    # 2^70 configurations do not fit an integer key.
    rng = np.random.default_rng(0)
    few = rng.integers(0, 2, (5, 70)).astype(np.int8)
    which = rng.integers(0, 5, 40)
    number, count = _group(few[which])
    assert count == len(set(which))
    np.testing.assert_array_equal(number[:, None] == number, which[:, None] == which)

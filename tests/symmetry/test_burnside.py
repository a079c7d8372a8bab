"""Multiplicities by Burnside's lemma against dense diagonalisation of projected kernels and projectors."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs


def dense_projector(symmetry, states):
    """|G|⁻¹ χ(1) Σ_g χ(g)* g on functions over ``states``, (gv)(x) = v(g⁻¹x), entry by entry."""
    place = {tuple(x): i for i, x in enumerate(states)}
    matrix = np.zeros((len(states), len(states)), complex)
    for p, s, chi in symmetry.elements():
        for i, x in enumerate(states):
            matrix[place[tuple(s * x[p])], i] += np.conj(chi)
    return symmetry.dimension * matrix / symmetry.order


def momentum(length, k):
    return np.exp(2j * np.pi * k * np.arange(length) / length)


GRID = nk.graph.Grid([2, 4], pbc=[False, True])
CASES = {
    "translations": (nk.graph.Chain(8).translation_group(), None, None),
    "momentum": (nk.graph.Chain(8).translation_group(), momentum(8, 1), None),
    "flip": (nk.graph.Chain(8).translation_group(), None, -1),
    "space group, even": (nk.graph.Chain(8).space_group(), None, 1),
    "rectangle": (GRID.translation_group(), None, None),
    "star of two": (
        nk.graph.Chain(8).space_group(),
        nk.graph.Chain(8).space_group().space_group_irreps(2 * np.pi / 8)[0],
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n_up", [None, 3, 4])
def test_multiplicities_are_those_of_a_dense_projector(name, n_up):
    group, character, flip = CASES[name]
    if flip and n_up == 3:
        with pytest.raises(qs.errors.SymmetryError, match="leads out of the sector"):
            qs.symmetry.multiplicities(group, 8, character, n_up=n_up, spin_flip=flip)
        return
    d = 8
    states = np.array(list(np.ndindex(*[2] * d))) * 2 - 1
    if n_up is not None:
        states = states[(states > 0).sum(1) == n_up]
    symmetry = qs.symmetry.projection(group, character, spin_flip=flip)
    projector = dense_projector(symmetry, states)
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
    # A kernel whose levels are all different, on the symmetric functions.
    distance = (states[:, None] != states[None]).sum(-1)
    kernel = np.exp(-0.7 * distance)
    values, vectors = np.linalg.eigh(kernel)
    labels = np.unique(values.round(9), return_inverse=True)[1]
    counted = qs.symmetry.multiplicities(group, d, character, n_up=n_up, spin_flip=flip)
    # Levels in decreasing order of the eigenvalue, weight 0 first: this kernel falls with the weight.
    dense = [
        np.trace(vectors[:, labels == label].T @ projector @ vectors[:, labels == label]).real
        for label in sorted(set(labels), reverse=True)
    ]
    np.testing.assert_allclose(counted, dense, atol=1e-9)
    assert counted.sum() == pytest.approx(np.trace(projector).real)


@pytest.mark.parametrize("group", [nk.graph.Chain(12), nk.graph.Grid([3, 4], pbc=True)], ids=str)
@pytest.mark.parametrize("flip", [None, 1, -1])
def test_symmetric_functions_of_twelve_sites_are_counted_by_their_orbits(group, flip):
    space = group.space_group()
    total = qs.symmetry.multiplicities(space, 12, spin_flip=flip).sum()
    states = np.array(list(np.ndindex(*[2] * 12))) * 2 - 1
    symmetry = qs.symmetry.projection(space, spin_flip=flip)
    # tr P = |G|⁻¹ Σ χ #{x : gx = x}, over configurations instead of over parities.
    count = 0.0
    for p, s, chi in symmetry.elements():
        count += chi * np.all(s * states[:, p] == states, axis=1).sum()
    assert total == pytest.approx(count / symmetry.order)


def test_without_a_group_the_levels_are_binomial():
    np.testing.assert_array_equal(
        qs.symmetry.multiplicities(None, 9), [math.comb(9, w) for w in range(10)]
    )
    np.testing.assert_array_equal(
        qs.symmetry.multiplicities(None, 9, n_up=4),
        [1] + [math.comb(9, j) - math.comb(9, j - 1) for j in range(1, 5)],
    )


def test_a_hundred_sites_are_counted_in_whole_numbers():
    group = nk.graph.Square(10).space_group()
    counted = qs.symmetry.multiplicities(group, 100)
    # Pairs up to translation and the square's symmetries: one for each difference (a, b), 0 <= b <= a <= 5.
    assert counted[:3].tolist() == [1.0, 1.0, 20.0]


def test_what_is_no_symmetry_is_refused():
    group = nk.graph.Chain(6).translation_group()
    with pytest.raises(qs.errors.SymmetryError, match="has 8 sites.*moves 6"):
        qs.symmetry.multiplicities(group, 8)
    with pytest.raises(qs.errors.SymmetryError, match=r"shape \(5,\).*6 elements"):
        qs.symmetry.projection(group, np.ones(5))
    with pytest.raises(qs.errors.SymmetryError, match="no irreducible representation"):
        qs.symmetry.projection(group, [1, 1, -1, 1, 1, 1])
    with pytest.raises(qs.errors.SymmetryError, match="character of the identity"):
        qs.symmetry.projection(group, np.zeros(6))
    broken = nk.utils.group.PermutationGroup(group.elems[:2], 6)
    with pytest.raises(qs.errors.SymmetryError, match="closed"):
        qs.symmetry.projection(broken)
    with pytest.raises(qs.errors.SymmetryError, match="expected a NetKet permutation group"):
        qs.symmetry.projection(np.arange(6))
    with pytest.raises(qs.errors.SymmetryError, match="expected 1 or -1"):
        qs.symmetry.projection(group, spin_flip=2)

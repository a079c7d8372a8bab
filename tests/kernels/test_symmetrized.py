"""Symmetrised kernels against the sum over the group, entry by entry, and against dense diagonalisation."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

D = 8
RING = nk.graph.Chain(D)
STATES = nk.hilbert.Spin(0.5, D).all_states()
ERF = qs.models.WideMLP(widths=(4, 4), activation="erf", sigma_w=1.2, sigma_b=0.3)
CASES = {
    "translations": (RING.translation_group(), None, None),
    "momentum": (RING.translation_group(), np.exp(0.5j * np.pi * np.arange(D)), None),
    "momentum π, odd under the flip": (RING.translation_group(), (-1.0) ** np.arange(D), -1),
    "space group": (RING.space_group(), None, 1),
    "star of two": (RING.space_group(), RING.space_group().space_group_irreps(np.pi / 2)[0], None),
}


def brute_force(kernel, group, character, flip, x, y, which):
    """|G|⁻¹ Σ_g χ(g)* k(x, gy), with NetKet's own action of the group."""
    chi = np.ones(len(group)) if character is None else np.asarray(character)
    total = 0
    for sign, factor in ((1, 1),) if flip is None else ((1, 1), (-1, flip)):
        for c, image in zip(chi, np.asarray(group @ np.asarray(y)), strict=True):
            total = total + np.conj(c * factor) * np.asarray(
                getattr(kernel, which)(x, sign * image)
            )
    return total / (len(group) * (1 if flip is None else 2))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", ["nngp", "ntk"])
def test_sum_over_bits_is_the_sum_over_the_group(name, which):
    kernel = qs.kernels.infinite_width(ERF)
    x, y = STATES[::7], STATES[::11]
    made = qs.kernels.symmetrized(kernel, CASES[name][0], CASES[name][1], spin_flip=CASES[name][2])
    expected = brute_force(kernel, *CASES[name], x, y, which)
    scale = np.abs(np.asarray(getattr(kernel, which)(x, y))).max()
    np.testing.assert_allclose(getattr(made, which)(x, y), expected, atol=1e-12 * scale)
    square = getattr(made, which)(x)
    diagonal = made.diagonals(x)[which == "ntk"]
    np.testing.assert_allclose(diagonal, np.diag(square).real, atol=1e-12 * scale)


def test_kernels_without_structure_are_summed_element_by_element():
    # Three local states: no Hamming table.
    kernel = qs.kernels.infinite_width(ERF)
    states = nk.hilbert.Spin(1, 4).all_states()
    group = nk.graph.Chain(4).space_group()
    made = qs.kernels.symmetrized(kernel, group, spin_flip=1)
    expected = brute_force(kernel, group, None, 1, states, states, "ntk")
    np.testing.assert_allclose(made.ntk(states), expected, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("flip", [None, 1])
@pytest.mark.parametrize(
    "hilbert", [nk.hilbert.Spin(1, 3), nk.hilbert.Fock(1, 3), nk.hilbert.Spin(0.5, 3)], ids=str
)
def test_other_local_states_are_no_spins(hilbert, flip):
    """On the diagonal, and under jax.jit, where values are known only as the program runs."""
    kernel = qs.kernels.infinite_width(qs.models.CosNet(4, 1.0, 1.5))
    x, group = np.asarray(hilbert.all_states(), float), nk.graph.Chain(3).space_group()
    made = qs.kernels.symmetrized(kernel, group, spin_flip=flip)
    expected = brute_force(kernel, group, None, flip, x, x, "ntk")
    np.testing.assert_allclose(made.diagonals(x)[1], np.diag(expected), atol=1e-13)
    np.testing.assert_allclose(made.diagonal(x), np.diag(expected), atol=1e-13)
    np.testing.assert_allclose(jax.jit(made.ntk)(x), expected, atol=1e-13)
    np.testing.assert_allclose(jax.jit(lambda t: made.ntk(t, x))(x), expected, atol=1e-13)
    nngp = brute_force(kernel, group, None, flip, x, x, "nngp")
    np.testing.assert_allclose(made.nngp(x), nngp, atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_levels_stay_and_multiplicities_are_burnsides(name):
    group, character, flip = CASES[name]
    kernel = qs.kernels.infinite_width(ERF)
    made = qs.kernels.symmetrized(kernel, group, character, spin_flip=flip)
    values = np.linalg.eigvalsh(np.asarray(made.ntk(STATES)))[::-1]
    levels = kernel.operator(STATES).levels
    counts = qs.symmetry.multiplicities(group, D, character, spin_flip=flip)
    expected = np.repeat(np.asarray(levels) / made.symmetry.dimension, counts.astype(int))
    expected = np.sort(np.concatenate([expected, np.zeros(len(values) - len(expected))]))[::-1]
    np.testing.assert_allclose(values, expected, atol=1e-11 * values[0])


def test_complex_characters_mix_the_two_parts():
    kernel = qs.kernels.infinite_width(ERF)
    made = qs.kernels.symmetrized(kernel, CASES["momentum"][0], CASES["momentum"][1])
    q, hermitian = made.qsntk(STATES[:20]), made.ntk(STATES[:20])
    assert not q.is_decoupled()
    np.testing.assert_allclose(q.phi, 2 * hermitian, atol=1e-12)
    np.testing.assert_allclose(q.theta, 0, atol=1e-12)


def test_multiples_and_sums_of_complex_kernels_mix_them_too():
    one = qs.kernels.symmetrized(qs.kernels.infinite_width(ERF), *CASES["momentum"][:2])
    x = STATES[::31]
    expected = one.qsntk(x).omega_ri
    for made, factor in ((2.0 * one, 2.0), (one + one, 2.0)):
        np.testing.assert_allclose(made.qsntk(x).omega_ri, factor * expected, atol=1e-13)


@pytest.mark.parametrize("parts", ["real", "independent"])
def test_the_spectrum_of_a_complex_kernel_is_that_of_the_quantum_state_kernel(parts):
    kernel = qs.kernels.infinite_width(ERF.clone(parts=parts))
    made, x = qs.kernels.symmetrized(kernel, *CASES["momentum"][:2]), STATES[::31]
    both = qs.kernels.spectrum(made.qsntk(x))
    # Each mode twice, for ψ and iψ.
    np.testing.assert_allclose(
        qs.kernels.spectrum(made, x).eigenvalues, both.eigenvalues[::2], atol=1e-12
    )
    limit = qs.kernels.max_learning_rate(made, x)
    assert abs(limit / both.max_learning_rate - 1) < 1e-10


def test_no_configurations_have_no_entries():
    made = qs.kernels.symmetrized(qs.kernels.infinite_width(ERF), RING.translation_group())
    none = STATES[:0]
    assert made.ntk(none, STATES).shape == (0, len(STATES))
    assert made.ntk(STATES, none).shape == (len(STATES), 0)
    assert made.diagonals(none)[0].shape == (0,)
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="empty"):
        qs.kernels.spectrum(made, none)


@pytest.mark.thorough
def test_derivatives_reach_the_scales():
    x = STATES[::17]

    def total(sigma_w):
        net = qs.models.WideMLP(widths=(4,), activation="erf", sigma_w=sigma_w, sigma_b=0.3)
        made = qs.kernels.symmetrized(qs.kernels.infinite_width(net), RING.translation_group())
        return made, float(made.ntk(x).sum())

    made, _ = total(1.2)
    slope = jax.grad(lambda kernel: kernel.ntk(x).sum())(made)
    by_sigma_w = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(slope)[:2])
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(made)]
    numeric = 0.0
    for i in range(2):
        up, down = (
            jax.tree.unflatten(
                jax.tree.structure(made),
                [leaf + e * (k == i) for k, leaf in enumerate(leaves)],
            )
            .ntk(x)
            .sum()
            for e in (1e-5, -1e-5)
        )
        numeric += float(up - down) / 2e-5
    assert by_sigma_w == pytest.approx(numeric, rel=1e-6)


def test_groups_of_another_lattice_are_refused():
    kernel = qs.kernels.infinite_width(ERF)
    made = qs.kernels.symmetrized(kernel, nk.graph.Chain(6).translation_group())
    with pytest.raises(qs.errors.SymmetryError, match="has 8 sites.*moves 6"):
        made.ntk(STATES)
    with pytest.raises(qs.errors.InvalidModelError, match="infinite_width"):
        qs.kernels.symmetrized(ERF, RING.translation_group())

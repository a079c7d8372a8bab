"""Kernels of patches against sums written out, finite convolutional networks, and the sum over the group."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

D = 6
RING = nk.graph.Chain(D)
STATES = np.asarray(nk.hilbert.Spin(0.5, D).all_states())
LOCAL = qs.kernels.infinite_width(
    qs.models.WideMLP(widths=(4,), activation="erf", sigma_w=1.3, sigma_b=0.4, parts="real")
)
SQUARE = nk.graph.Square(4)


def random_states(n, sites, seed=0):
    return np.random.default_rng(seed).choice([-1, 1], size=(n, sites))


def test_it_is_the_mean_over_patches():
    made = qs.kernels.patches(LOCAL, SQUARE, (2, 3))
    x, y = random_states(5, 16), random_states(7, 16, 1)
    grid = np.arange(16).reshape(4, 4)
    expected = np.zeros((2, 5, 7))
    for i in range(4):
        for j in range(4):
            sites = np.roll(grid, (-i, -j), (0, 1))[:2, :3].ravel()
            expected += np.array(LOCAL.both(x[:, sites], y[:, sites])) / 16
    np.testing.assert_allclose(made.both(x, y), expected, atol=1e-13)
    np.testing.assert_allclose(made.ntk(x, y), expected[1], atol=1e-13)
    np.testing.assert_allclose(jax.jit(made.ntk)(x, y), expected[1], atol=1e-12)
    np.testing.assert_allclose(made.diagonals(x)[1], np.diag(made.ntk(x)), atol=1e-13)


def test_open_lattices_have_fewer_patches():
    assert qs.kernels.patches(LOCAL, nk.graph.Chain(6, pbc=False), (3,)).sites.shape == (4, 3)
    assert qs.kernels.patches(LOCAL, RING, (3,)).sites.shape == (6, 3)
    kagome = qs.kernels.patches(LOCAL, nk.graph.Kagome([3, 3]), (1, 2))
    assert kagome.sites.shape == (9, 6)
    assert np.all(np.bincount(np.asarray(kagome.sites).ravel()) == 2)


CHANNELS = 8


def convolution(key, x, pooled):
    """Periodic convolution over three sites, erf, and a dense readout (after the mean over sites, or without it)."""
    w, b, a = (jax.random.normal(k, s) for k, s in zip(
        jax.random.split(key, 3), ((CHANNELS, 3), (CHANNELS,), (CHANNELS, 1 if pooled else D)), strict=True
    ))  # fmt: skip

    def f(parameters):
        w, b, a = parameters
        windows = jnp.stack([jnp.roll(x, -s, axis=1) for s in range(3)], -1)
        hidden = jax.scipy.special.erf(1.3 * windows @ w.T / 3**0.5 + 0.4 * b)
        if pooled:
            return 1.3 * hidden.mean(1) @ a[:, 0] / CHANNELS**0.5
        return 1.3 * jnp.einsum("npc,cp->n", hidden, a) / (CHANNELS * D) ** 0.5

    return f((w, b, a)), jax.jacobian(f)((w, b, a))


@pytest.mark.slow
@pytest.mark.parametrize("pooled", [False, True], ids=["flattened", "pooled"])
def test_finite_convolutional_networks_have_it_on_average(pooled):
    # One hidden layer without a readout bias: the limit is the mean at any number of channels.
    bare = qs.models.WideMLP(
        widths=(4,), activation="erf", sigma_w=(1.3, 1.3), sigma_b=(0.4, 0.0), parts="real"
    )
    kernel = qs.kernels.patches(qs.kernels.infinite_width(bare), RING, (3,))
    if pooled:
        kernel = qs.kernels.symmetrized(kernel, RING.translation_group())
    x = STATES[[0, 1, 3, 5, 11, 21, 38]]
    f, jacobian = jax.vmap(lambda k: convolution(k, x, pooled))(
        jax.random.split(jax.random.key(3), 1500)
    )
    nngp = f[:, :, None] * f[:, None]
    ntk = sum(
        jnp.einsum("kip,kjp->kij", j, j)
        for j in (leaf.reshape(*leaf.shape[:2], -1) for leaf in jacobian)
    )
    for drawn, expected in zip((nngp, ntk), kernel.both(x), strict=True):
        error = drawn.std(0) / len(drawn) ** 0.5
        assert np.all(np.abs(drawn.mean(0) - expected) < 4.5 * error)
        # The bound is a few per cent of what is compared.
        assert float(error.max()) < 0.04 * float(jnp.max(expected))


PAIRS = qs.kernels.patches(LOCAL, SQUARE, sites=[0, 5])
SUMS = {
    "one shape": (qs.kernels.patches(LOCAL, SQUARE, (2, 2)), None),
    "oblong": (qs.kernels.patches(LOCAL, SQUARE, (1, 3)), 1),
    "odd": (qs.kernels.patches(LOCAL, SQUARE, (2, 2)) + PAIRS, -1),
    "two shapes": (qs.kernels.patches(LOCAL, SQUARE, (2, 2)) + 0.3 * PAIRS, 1),
    "with the whole": (0.7 * (qs.kernels.patches(LOCAL, SQUARE, (2, 2)) + LOCAL), 1),
}


@pytest.mark.parametrize(
    "name",
    [name if name == "odd" else pytest.param(name, marks=pytest.mark.slow) for name in SUMS],
)
def test_counts_of_patterns_are_the_sum_over_the_group(name):
    kernel, flip = SUMS[name]
    group = SQUARE.space_group()
    made = qs.kernels.symmetrized(kernel, group, spin_flip=flip)
    x, y = random_states(4, 16), random_states(5, 16, 1)
    for which in ("nngp", "ntk"):
        expected = 0
        # The kernels of oblong patches are not invariant under rotations: both arguments are projected.
        images_of_x = np.asarray(group @ x).reshape(-1, 16)
        for sign in (1,) if flip is None else (1, -1):
            images_of_y = sign * np.asarray(group @ y).reshape(-1, 16)
            values = np.asarray(kernel.matrix(images_of_x, images_of_y, which))
            values = values.reshape(len(group), 4, len(group), 5).mean(0).sum(1)
            expected = expected + (values if sign > 0 else flip * values)
        expected = expected / made.symmetry.order
        np.testing.assert_allclose(made.matrix(x, y, which), expected, atol=1e-12)
    square = np.asarray(made.ntk(x))
    np.testing.assert_allclose(square, square.T, atol=1e-13)


@pytest.mark.thorough
def test_kernels_that_the_group_changes_are_projected_on_both_sides():
    # Patches of one place alone, with a character: no counts.
    ring = nk.graph.Chain(D, pbc=False)
    kernel = qs.kernels.patches(LOCAL, ring, (4,))
    chi = np.exp(2j * np.pi * np.arange(D) / D)
    made = qs.kernels.symmetrized(kernel, RING.translation_group(), chi)
    x, y = STATES[[1, 5, 9]], STATES[[2, 20]]
    images = [np.asarray(RING.translation_group() @ t) for t in (x, y)]
    expected = sum(
        a * np.conj(b) * np.asarray(kernel.ntk(u, v)) / D**2
        for a, u in zip(chi, images[0], strict=True)
        for b, v in zip(chi, images[1], strict=True)
    )
    np.testing.assert_allclose(made.ntk(x, y), expected, atol=1e-13)
    ring, open_ring = (nk.graph.Chain(130, pbc=wraps) for wraps in (True, False))
    long = qs.kernels.patches(LOCAL, open_ring, (129,))
    odd = qs.kernels.symmetrized(long, ring.translation_group(), (-1.0) ** np.arange(130))
    with pytest.raises(qs.errors.SymmetryError, match="not invariant"):
        odd.ntk(random_states(2, 130))


def test_momenta_are_summed_element_by_element():
    chi = np.exp(2j * np.pi * np.arange(D) / D)
    kernel = qs.kernels.patches(LOCAL, RING, (3,))
    made = qs.kernels.symmetrized(kernel, RING.translation_group(), chi)
    images = np.asarray(RING.translation_group() @ STATES[:9])
    expected = sum(
        np.conj(c) * np.asarray(kernel.ntk(STATES, y)) / D for c, y in zip(chi, images, strict=True)
    )
    np.testing.assert_allclose(made.ntk(STATES, STATES[:9]), expected, atol=1e-13)


def test_misfits_are_refused():
    ring = qs.kernels.patches
    for make, message in (
        (lambda: ring(LOCAL, RING, (7,)), "from 1 to"),
        (lambda: ring(LOCAL, RING, (2, 2)), "expected 1 numbers"),
        (lambda: ring(LOCAL, RING, (1.5,)), "from 1 to"),
        (lambda: ring(LOCAL, RING, sites=[0, 6]), "from 0 to 5"),
        (lambda: ring(LOCAL, RING, sites=[0, 0]), "different sites"),
        (lambda: ring(LOCAL, RING), "either a shape"),
        (lambda: ring(LOCAL, RING, (2,), sites=[0]), "either a shape"),
        (lambda: ring(LOCAL, nk.graph.Graph(edges=[(0, 1)]), (2,)), "lattice"),
        (lambda: ring(nk.models.RBM(), RING, (2,)), "infinite_width"),
    ):
        with pytest.raises(qs.errors.InvalidModelError, match=message):
            make()
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"\(n, 6\)"):
        ring(LOCAL, RING, (2,)).ntk(STATES[:, :4])

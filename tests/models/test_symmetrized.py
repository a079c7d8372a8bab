"""Projected networks: NetKet's own projection, brute-force sums, and the kernel at infinite width by Monte Carlo."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from netket.utils import HashableArray

import netket_qsntk as qs

D = 6
RING = nk.graph.Chain(D)
STATES = np.asarray(nk.hilbert.Spin(0.5, D).all_states())
MOMENTUM = np.exp(2j * np.pi * np.arange(D) / D)
PAIR = RING.space_group().space_group_irreps(2 * np.pi / D)[0]
CASES = {
    "translations": (RING.translation_group(), None),
    "momentum": (RING.translation_group(), MOMENTUM),
    "space group, two arms": (RING.space_group(), PAIR),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parts", ["independent", "real"])
def test_it_is_netkets_projection_of_psi(name, parts):
    group, character = CASES[name]
    net = qs.models.CosNet(8, sigma_w=2.0, parts=parts)
    model = qs.models.Symmetrized(net, group, character)
    variables = model.init(jax.random.key(0), STATES)
    chi = np.ones(len(group)) if character is None else character
    theirs = nk.nn.blocks.SymmExpSum(net, group, characters=HashableArray(np.asarray(chi)))
    own = {"params": {"module": variables["params"]["network"]}}
    np.testing.assert_allclose(
        model.apply(variables, STATES, method="psi"), jnp.exp(theirs.apply(own, STATES)), atol=1e-12
    )


@pytest.mark.thorough
@pytest.mark.parametrize("flip", [1, -1])
def test_log_psi_is_projected_as_a_function(flip):
    net = qs.models.WideMLP(
        widths=(8,),
        activation="gelu",
        sigma_b=0.5,
        output="log_psi",
        reference=qs.readout.marshall(RING),
    )
    model = qs.models.Symmetrized(net, RING.space_group(), spin_flip=flip)
    variables = model.init(jax.random.key(0), STATES)
    f = model.apply(variables, STATES, method="fields")
    plain = {"params": variables["params"]["network"]}
    images = [s * STATES[:, p] for s in (1, -1) for p in np.asarray(RING.space_group())]
    signs = np.repeat([1, flip], len(images) // 2)
    expected = np.mean(
        [s * net.apply(plain, y, method="fields") for s, y in zip(signs, images, strict=True)],
        axis=0,
    )
    np.testing.assert_allclose(f, expected, atol=1e-12)
    np.testing.assert_allclose(
        model.apply(variables, STATES), f + qs.readout.marshall(RING)(STATES), atol=1e-12
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_kernel_of_the_projected_network_by_monte_carlo(name):
    group, character = CASES[name]
    net = qs.models.CosNet(40, sigma_w=1.5, parts="real")
    model = qs.models.Symmetrized(net, group, character)
    x = STATES[[0, 1, 3, 5, 11, 21]]
    keys = jax.random.split(jax.random.key(1), 4000)
    f = jax.vmap(lambda k: model.apply(model.init(k, x), x, method="fields"))(keys)
    drawn = f[:, :, None] * jnp.conj(f[:, None, :])
    mean, error = drawn.mean(0), drawn.std(0) / len(keys) ** 0.5
    expected = qs.kernels.infinite_width(model).nngp(x)
    assert np.all(np.abs(mean - expected) < 5 * error + 1e-12)
    projected = qs.kernels.symmetrized(qs.kernels.infinite_width(net), group, character)
    np.testing.assert_allclose(expected, projected.nngp(x) / model.symmetry.dimension, atol=1e-14)


def test_what_cannot_be_projected_is_refused():
    with pytest.raises(qs.errors.InvalidModelError, match=r"expected one of qs\.models, got RBM"):
        qs.models.Symmetrized(nk.models.RBM(), RING.translation_group())
    with pytest.raises(qs.errors.InvalidModelError, match="complex character"):
        qs.models.Symmetrized(
            qs.models.CosNet(4, output="log_psi"), RING.translation_group(), MOMENTUM
        )
    model = qs.models.Symmetrized(qs.models.CosNet(4), nk.graph.Chain(4).translation_group())
    with pytest.raises(qs.errors.SymmetryError, match="has 6 sites"):
        model.init(jax.random.key(0), STATES)

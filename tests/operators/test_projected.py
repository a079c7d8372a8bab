"""Products with projected kernels against their entries."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

D = 7
RING = nk.graph.Chain(D)
STATES = np.asarray(nk.hilbert.Spin(0.5, D).all_states())
SECTOR = np.asarray(nk.hilbert.Spin(0.5, D, total_sz=0.5).all_states())
KERNEL = qs.kernels.infinite_width(
    qs.models.WideMLP(widths=(4,), activation="erf", sigma_w=1.2, sigma_b=0.3)
)
GROUPS = {
    "space group": (RING.space_group(), None, None),
    "odd under the flip": (RING.translation_group(), None, -1),
    "odd under reflections": (RING.space_group(), RING.space_group().character_table()[1], 1),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(
    "batches",
    [(STATES, None), (SECTOR, None), (SECTOR, STATES[::3])],
    ids=["basis", "sector", "block"],
)
def test_products_are_those_of_the_entries(name, batches):
    group, character, flip = GROUPS[name]
    x, y = batches
    made = qs.kernels.symmetrized(KERNEL, group, character, spin_flip=flip)
    values = KERNEL.structure(STATES).values
    operator = qs.operators.Projected.of(values, made.symmetry, x, y, positive=True)
    exact = np.asarray(made.ntk(x, y))
    np.testing.assert_allclose(operator.as_matrix(), exact, atol=1e-11)
    v = np.random.default_rng(0).normal(size=exact.shape[1])
    np.testing.assert_allclose(operator.matvec(jnp.asarray(v)), exact @ v, atol=1e-11)
    np.testing.assert_allclose(operator.diagonal(), np.diag(exact), atol=1e-11)
    np.testing.assert_allclose(operator.transpose().as_matrix(), exact.T, atol=1e-11)
    np.testing.assert_allclose(
        operator.restrict([0, 3, 2], [1, 2]).as_matrix(),
        exact[np.ix_([0, 3, 2], [1, 2])],
        atol=1e-11,
    )
    np.testing.assert_allclose((2.0 * operator).as_matrix(), 2 * exact, atol=1e-11)
    assert "symmetric sector" in repr(operator)


def test_large_batches_choose_it_and_are_learned_with_products():
    ring = nk.graph.Chain(13)
    x = np.asarray(nk.hilbert.Spin(0.5, 13).all_states())
    made = qs.kernels.symmetrized(KERNEL, ring.translation_group())
    operator = made.operator(x)
    assert isinstance(operator, qs.operators.Projected)
    v = np.random.default_rng(0).normal(size=len(x))
    np.testing.assert_allclose(operator.matvec(v)[:50], made.ntk(x[:50], x) @ v, atol=1e-9)

"""Sums, multiples and shifts are those of the matrices, and keep their structure where one exists."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netket_qsntk import kernels
from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.operators import Dense, Hypercube, Kronecker, ScaledIdentity, Sum, Tiled

X = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, -1]])
BATCH = np.array([0, 2, 6, 5])
numbers = st.floats(-3, 3, allow_subnormal=False)
levels = st.lists(numbers, min_size=4, max_size=4)
matrices = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=4, max_size=4)


@st.composite
def operators(draw):
    kind = draw(st.sampled_from(["hypercube", "dense", "kronecker", "identity"]))
    if kind == "hypercube":
        return Hypercube(draw(levels), X)
    if kind == "dense":
        a = np.array(draw(matrices))
        return Dense(a + a.T)
    if kind == "kronecker":
        a = np.array(draw(matrices))[:2, :2]
        return Kronecker(a + a.T, 3, X, local_states=[1, -1], scale=draw(numbers))
    return ScaledIdentity(draw(numbers), 4)


@pytest.mark.thorough
@settings(max_examples=30, deadline=None)
@given(operators(), operators(), operators(), numbers)
def test_operators_form_a_vector_space(a, b, c, s):
    expected = a.as_matrix() + s * (b.as_matrix() - c.as_matrix())
    total = a + s * (b - c)
    scale = 1e-12 * (1 + float(jnp.abs(expected).max()) + abs(s) * 100)
    np.testing.assert_allclose(total.as_matrix(), expected, atol=scale)
    np.testing.assert_allclose(total.diagonal(), jnp.diagonal(expected), atol=scale)
    v = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(total.matvec(v), expected @ v, atol=20 * scale)
    np.testing.assert_allclose(total.T.matvec(v), expected.T @ v, atol=20 * scale)
    np.testing.assert_allclose(
        total.restrict([2, 0]).as_matrix(),
        expected[jnp.array([2, 0])][:, jnp.array([2, 0])],
        atol=scale,
    )


def test_like_structures_merge():
    a, b = Hypercube([1.0, 0.5, 0.2, 0.1], X), Hypercube([2.0, 1.0, 0.5, 0.25], X)
    assert isinstance(a + 2 * b, Hypercube)
    assert isinstance(a.add_diagonal(0.3), Hypercube)
    assert isinstance(Dense(np.eye(4)) + Dense(np.eye(4)), Dense)
    assert isinstance(a + Dense(np.eye(4)) + b, Sum)
    assert len((a + Dense(np.eye(4)) + b).terms) == 2
    other = Hypercube([2.0, 1.0, 0.5, 0.25], X[::-1])
    assert isinstance(a + other, Sum)


def test_a_merged_sum_keeps_its_exact_spectrum():
    a, b = Hypercube([1.0, 0.5, 0.2]), Hypercube([1.0, 0.1, 0.0])
    total = (a + b / 2).add_diagonal(0.25)
    values = np.sort(total.eigh().eigenvalues)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(total.as_matrix()), atol=1e-14)
    with pytest.raises(StructureError):
        (a + Dense(np.eye(4))).eigh()


def test_positivity_survives_what_keeps_it():
    a = Hypercube([1.0, 0.5, 0.2, 0.1], X, positive=True)
    dense = Dense(np.eye(4), positive=True)
    for positive in (a + a, 2 * a, a.add_diagonal(1.0), a + dense, (a + dense).restrict([0, 1])):
        assert positive.positive
        assert lx.is_positive_semidefinite(positive)
    for unknown in (
        a - dense,
        -a,
        a.add_diagonal(-1.0),
        a + Dense(np.eye(4)),
        a.T.restrict([0], [1]),
    ):
        assert not unknown.positive

    def traced(s):
        assert not (s * a).positive
        return (s * a).trace()

    assert jax.jit(traced)(2.0) == pytest.approx(8.0)


def test_operators_are_pytrees():
    a = Hypercube([1.0, 0.5, 0.2, 0.1], X, positive=True)
    total = a + Dense(np.eye(4)) + Kronecker(np.eye(2), 3, X, local_states=[1, -1])
    leaves, structure = jax.tree.flatten(total)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.as_matrix(), total.as_matrix())
    gradient = jax.grad(lambda s: jnp.sum((s * total).matvec(jnp.ones(4))))(1.0)
    assert gradient == pytest.approx(float(jnp.sum(total.as_matrix())))


def test_what_does_not_fit_is_refused():
    a = Hypercube([1.0, 0.5, 0.2, 0.1], X)
    with pytest.raises(OperatorShapeError, match="cannot be added"):
        a + a.restrict([0, 1])
    with pytest.raises(OperatorShapeError, match="same rows and columns"):
        a.restrict([0], [1]).add_diagonal(1.0)
    with pytest.raises(StructureError, match="same rows"):
        ScaledIdentity(1.0, 3).restrict([0], [1])
    with pytest.raises(ValueError, match="AbstractLinearOperator"):
        a + 3


def test_tiles_shift_too(relu, spins):
    tiles = Tiled(kernels.Entries(relu, "ntk"), spins[:20], positive=True)
    shifted = 3 * tiles.add_diagonal(0.5)
    expected = 3 * (relu.ntk(spins[:20]) + 0.5 * np.eye(20))
    np.testing.assert_allclose(shifted.as_matrix(), expected, rtol=1e-13)
    assert shifted.positive

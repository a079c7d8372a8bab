"""The fast transforms against their definitions, on every path."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from netket_qsntk._compat.cpu import walsh_hadamard as native
from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.operators import BasisIndex, apply_factors, walsh_hadamard
from netket_qsntk.operators.basis_index import local_values, product_index, spin_index
from netket_qsntk.operators.transforms import _by_products


@pytest.mark.parametrize("d", [0, 1, 3, 5, 6, 7, 9, 12])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_transform_is_the_product_with_the_hadamard_matrix(d, dtype, rng):
    x = rng.normal(size=(2, 3, 2**d)).astype(dtype)
    expected = x.astype(float) @ hadamard(2**d)
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    for transform in (walsh_hadamard, jax.jit(walsh_hadamard), _by_products):
        y = transform(jnp.asarray(x))
        assert y.dtype == dtype
        assert y.shape == x.shape
        np.testing.assert_allclose(y, expected, atol=tolerance * 2 ** (d / 2) * 5)


def test_the_compiled_transform_is_used_here_and_crosses_its_block_boundary(rng):
    # 2^15 is beyond the 2^14 numbers of a cache block, 2^16 has another remainder of passes.
    assert native.available()
    for d in (15, 16):
        x = jnp.asarray(rng.normal(size=2**d))
        np.testing.assert_allclose(native.transform(x), _by_products(x), atol=1e-11)
        np.testing.assert_allclose(native.transform(native.transform(x)) / 2**d, x, atol=1e-13)


def test_the_transform_has_derivatives_and_batches(rng):
    x, dx = (jnp.asarray(rng.normal(size=(3, 128))) for _ in range(2))
    h = hadamard(128).astype(float)
    np.testing.assert_allclose(jax.vmap(walsh_hadamard)(x), x @ h, atol=1e-12)
    _, tangent = jax.jvp(walsh_hadamard, (x,), (dx,))
    np.testing.assert_allclose(tangent, dx @ h, atol=1e-12)
    gradient = jax.grad(lambda v: jnp.sum(walsh_hadamard(v) ** 3))(x)
    np.testing.assert_allclose(gradient, 3 * (x @ h) ** 2 @ h, rtol=1e-10)


def test_without_compiled_code_the_transform_still_works(monkeypatch, rng):
    monkeypatch.setattr(native, "available", lambda: False)
    x = jnp.asarray(rng.normal(size=256))
    np.testing.assert_allclose(walsh_hadamard(x), x @ hadamard(256), atol=1e-12)


@pytest.mark.parametrize("n", [3, 48, 100])
def test_a_length_that_is_no_power_of_two_is_refused(n):
    with pytest.raises(OperatorShapeError, match="2\\^d"):
        walsh_hadamard(jnp.ones(n))


@pytest.mark.parametrize("dimensions", [(3,), (2, 3), (4, 1, 4), (2, 2, 2, 2, 2), (5, 4, 3)])
@pytest.mark.parametrize("rows", [1, 3])
def test_factors_act_as_their_kronecker_product(dimensions, rows):
    rng = np.random.default_rng(1)
    matrices = [rng.normal(size=(q, q)) for q in dimensions]
    product = np.eye(1)
    for m in matrices:
        product = np.kron(product, m)
    x = rng.normal(size=(rows, len(product)))
    y = apply_factors([jnp.asarray(m) for m in matrices], jnp.asarray(x))
    np.testing.assert_allclose(y, x @ product.T, atol=1e-12)


def test_factors_refuse_another_length():
    with pytest.raises(OperatorShapeError, match="length 4"):
        apply_factors([jnp.eye(2), jnp.eye(2)], jnp.ones(5))


@pytest.mark.thorough
def test_positions_are_netkets():
    hilbert = nk.hilbert.Spin(0.5, 5)
    np.testing.assert_array_equal(spin_index(hilbert.all_states()), np.arange(32))
    sector = np.asarray(nk.hilbert.Spin(0.5, 6, total_sz=1).all_states())
    full = np.asarray(nk.hilbert.Spin(0.5, 6).all_states())
    np.testing.assert_array_equal(full[spin_index(sector)], sector)
    spin_one = np.asarray(nk.hilbert.Spin(1, 3).all_states())
    np.testing.assert_array_equal(product_index(spin_one, local_values(spin_one)), np.arange(27))


def test_a_value_outside_of_the_local_states_is_named():
    with pytest.raises(StructureError, match="Site 1 has the value 7"):
        product_index([[0.0, 7.0]], [1.0, 0.0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=6, max_size=6))
def test_scatter_is_the_transpose_of_gather(index):
    batch = BasisIndex(np.array(index), 16)
    assert batch.distinct == (len(set(index)) == len(index))
    rng = np.random.default_rng(2)
    v, f = rng.normal(size=len(index)), rng.normal(size=16)
    np.testing.assert_allclose(batch.scatter(jnp.asarray(v)) @ f, v @ batch.gather(jnp.asarray(f)))

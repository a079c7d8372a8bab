"""Products and eigenvectors on the CPU's own BLAS are the plain ones, also where panels do not divide the size."""

import jax.numpy as jnp
import numpy as np
import pytest

from netket_qsntk.dynamics.matrices import congruence, eigh, product, transpose


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize("n", [1, 3, 10, 17])
def test_products_and_eigenvectors_are_those_of_the_definition(n, array):
    rng = np.random.default_rng(n)
    v, matrix = rng.standard_normal((2, n, n))
    matrix = matrix + matrix.T
    tall = rng.standard_normal((n + 5, n))
    found = congruence(array(v), array(matrix))
    np.testing.assert_allclose(found, v.T @ matrix @ v, atol=1e-13)
    for right in (v, v + 1j * matrix):
        np.testing.assert_allclose(product(array(tall), array(right)), tall @ right, atol=1e-13)
    np.testing.assert_allclose(product(transpose(array(tall)), array(tall)), tall.T @ tall)
    values, vectors = eigh(array(matrix))
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-12 * n)
    assert np.all(np.diff(values) >= 0)

"""Products on the CPU's own BLAS are the plain products, also where panels do not divide the size."""

import jax.numpy as jnp
import numpy as np
import pytest

from netket_qsntk.dynamics.dense import congruence, eigh, gram, matmul


@pytest.mark.parametrize("n", [1, 3, 10, 17])
def test_products_and_eigenvectors_are_those_of_the_definition(n):
    rng = np.random.default_rng(n)
    v, matrix = rng.standard_normal((2, n, n))
    matrix = matrix + matrix.T
    tall = rng.standard_normal((n + 5, n))
    np.testing.assert_allclose(congruence(jnp.asarray(v), jnp.asarray(matrix)), v.T @ matrix @ v)
    np.testing.assert_allclose(gram(jnp.asarray(tall)), tall.T @ tall)
    np.testing.assert_allclose(matmul(jnp.asarray(tall), jnp.asarray(v)), tall @ v)
    values, vectors = eigh(jnp.asarray(matrix))
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-12 * n)
    assert np.all(np.diff(values) >= 0)

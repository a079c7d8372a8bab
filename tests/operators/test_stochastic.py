"""Stochastic traces and diagonals: right on average, with honest error bars."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators import (
    estimate_diagonal,
    estimate_trace,
    parities,
    top_modes,
    trace_of_function,
    xtrace,
)

KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def batch(erf, spins):
    rows = np.sort(np.random.default_rng(5).permutation(256)[:120])
    operator = erf.operator(spins).restrict(rows)
    return operator, jnp.asarray(operator.as_matrix()), spins[rows]


def spread(estimate, exact, keys=64):
    """z-scores of independent estimates."""
    found = [estimate(key) for key in jax.random.split(KEY, keys)]
    mean = np.array([e.mean for e in found])
    error = np.array([e.error_of_mean for e in found])
    return (mean - exact) / error, error


@pytest.mark.thorough
def test_a_trace_is_unbiased_and_its_error_bar_is_the_scatter(batch):
    operator, matrix, _ = batch
    quadratic = jax.jit(lambda z: jnp.sum(z * operator.product(z), axis=-1))
    exact = float(jnp.trace(matrix @ matrix))
    squared = jax.jit(lambda z: jnp.sum(operator.product(z) ** 2, axis=-1))
    for values, truth in ((quadratic, float(operator.trace())), (squared, exact)):
        z, _ = spread(
            lambda key, f=values: estimate_trace(f, 120, key=key, n_samples=16, chunk_size=16),
            truth,
        )
        # 64 estimates: their mean within 4 standard errors, their spread that of a t distribution with 15 dof.
        assert abs(z.mean()) < 4 / 8
        assert 0.75 < z.std() < 1.45


@pytest.mark.thorough
def test_dealing_exactly_with_the_top_modes_shrinks_the_error(batch):
    operator, _, x = batch
    quadratic = jax.jit(lambda z: jnp.sum(z * operator.product(z), axis=-1))
    truth = float(operator.trace())
    _, plain = spread(lambda key: estimate_trace(quadratic, 120, key=key, n_samples=16), truth, 8)
    for basis in (parities(x, 1), top_modes(operator, 9)):
        np.testing.assert_allclose(basis @ basis.T, np.eye(9), atol=1e-8)
        z, error = spread(
            lambda key, q=basis: estimate_trace(quadratic, 120, key=key, n_samples=16, basis=q),
            truth,
            8,
        )
        assert np.abs(z).max() < 5
        assert error.mean() < plain.mean() / 2


@pytest.mark.thorough
def test_many_matrices_at_once(batch):
    operator, matrix, _ = batch
    top = float(np.linalg.eigvalsh(matrix)[-1])
    times = jnp.array([0.0, 3.0, 30.0])
    function = lambda e: jnp.exp(-2 * times[:, None] * e / top)  # noqa: E731
    found = trace_of_function(operator, function, key=KEY, n_samples=24, steps=48)
    exact = np.exp(-2 * np.asarray(times)[:, None] * np.linalg.eigvalsh(matrix) / top).sum(1)
    assert found.mean.shape == (3,)
    assert found.mean[0] == pytest.approx(120.0, rel=1e-12)
    assert np.all(np.abs(found.mean - exact) <= 4 * found.error_of_mean + 1e-9)


@pytest.mark.thorough
def test_xtrace_is_far_more_accurate_on_a_decaying_spectrum(batch):
    operator, _, _ = batch
    truth = float(operator.trace())
    found = xtrace(operator.matvec, 120, key=KEY, n_samples=32)
    plain = estimate_trace(
        lambda z: jnp.sum(z * operator.product(z), axis=-1), 120, key=KEY, n_samples=64
    )
    assert abs(found.mean - truth) <= 6 * found.error_of_mean + 1e-10
    assert found.error_of_mean < plain.error_of_mean / 3


def test_a_diagonal_with_error_bars(batch):
    _, matrix, _ = batch
    found = estimate_diagonal(lambda v: matrix @ (matrix @ v), 120, key=KEY, n_samples=256)
    exact = np.diagonal(matrix @ matrix)
    z = (np.asarray(found.mean) - exact) / np.asarray(found.error_of_mean)
    assert np.abs(z).max() < 5
    assert 0.6 < z.std() < 1.5


def test_one_probe_has_no_error_bar():
    with pytest.raises(OperatorShapeError, match="at least 2"):
        estimate_trace(lambda z: z[:, 0], 3, key=KEY, n_samples=1)

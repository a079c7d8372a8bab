"""Functions of operators, solutions and their error estimates against dense linear algebra."""

import jax.numpy as jnp
import numpy as np
import pytest

from netket_qsntk.errors import NotConvergedWarning, OperatorShapeError
from netket_qsntk.operators import (
    Dense,
    Hypercube,
    apply_function,
    chebyshev,
    conjugate_residuals,
    lanczos,
    largest_eigenvalue,
)

TIMES = jnp.array([0.0, 1.0, 2.0, 7.0, 40.0, 1000.0, 10_000.0])


@pytest.fixture(scope="module")
def problem(erf, spins):
    """A batch of the hypercube, its matrix with eigendecomposition, and complex right-hand sides."""
    rng = np.random.default_rng(3)
    rows = np.sort(rng.permutation(256)[:150])
    operator = erf.operator(spins).restrict(rows)
    matrix = np.asarray(operator.as_matrix())
    b = rng.normal(size=(150, 2)) + 1j * rng.normal(size=(150, 2))
    return operator, matrix, np.linalg.eigh(matrix), b


def functions(top):
    s = 1.8 / top
    return {
        "descent": lambda e: (1 - s * e) ** TIMES[:, None],
        "flow": lambda e: jnp.exp(-s * TIMES[:, None] * e),
        "one": lambda e: jnp.sqrt(jnp.maximum(e, 0.0)),
    }


def dense_function(decomposition, function, b):
    values, vectors = decomposition
    f = np.asarray(function(jnp.asarray(values)))
    return np.einsum("in,...n,nk->...ik", vectors, f, vectors.T @ b)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("descent", "vector"),
        ("flow", "complex vector"),
        ("flow", "columns"),
        ("descent", "complex columns"),
    ],
)
def test_all_steps_of_training_agree_with_the_matrix(problem, name, form):
    operator, _, decomposition, b = problem
    b = b[:, 0] if "vector" in form else b
    b = b if "complex" in form else b.real
    function = functions(decomposition[0][-1])[name]
    result = apply_function(operator, b, function, tol=1e-11)
    exact = dense_function(decomposition, function, b.reshape(150, -1)).reshape(-1, *b.shape)
    assert result.value.shape == exact.shape
    true = np.linalg.norm(np.asarray(result.value) - exact, axis=1)
    scale = np.linalg.norm(b, axis=0)
    assert np.max(true / scale) < 1e-9
    assert result.error.shape == true.shape
    assert np.max(np.asarray(result.error) / scale) <= 1e-11
    assert result.steps < 150


@pytest.mark.thorough
@pytest.mark.parametrize("steps", [16, 32, 64])
@pytest.mark.parametrize("name", ["descent", "flow"])
def test_the_estimated_error_is_not_below_the_true_one(problem, name, steps):
    operator, _, decomposition, b = problem
    function = functions(decomposition[0][-1])[name]
    krylov = lanczos(operator, b, max_steps=steps)
    exact = dense_function(decomposition, function, b)
    true = np.linalg.norm(np.asarray(krylov.apply(function)) - exact, axis=1)
    estimated = np.asarray(krylov.error(function))
    rounding = 1e-12 * np.linalg.norm(b, axis=0)
    assert np.all(true <= 5 * estimated + rounding)
    # Nor is it useless: within a few orders of magnitude wherever there is an error to see.
    seen = true > 1e-8 * np.linalg.norm(b, axis=0)
    assert np.all(estimated[seen] < 1e4 * true[seen])


def test_the_basis_is_orthonormal_and_diagonalises_what_it_says(problem):
    operator, matrix, _, b = problem
    krylov = lanczos(operator, b[:, 0], max_steps=100)
    gram = np.asarray(krylov.gram())
    for g in gram:
        used = np.diagonal(g) > 0.5
        np.testing.assert_allclose(g[np.ix_(used, used)], np.eye(used.sum()), atol=1e-12)
    q = np.concatenate([np.asarray(block)[0] for block in krylov.blocks])[: krylov.steps]
    t = q @ matrix @ q.T
    np.testing.assert_allclose(np.diagonal(t), krylov.alpha[0], atol=1e-10 * krylov.alpha[0, 0])
    np.testing.assert_allclose(
        np.diagonal(t, 1), krylov.beta[0, :-1], atol=1e-10 * krylov.alpha[0, 0]
    )


@pytest.mark.thorough
def test_an_exhausted_krylov_space_ends_the_run_exactly():
    """On the whole basis d + 1 eigenvalues mean d + 1 products, for any function."""
    operator = Hypercube([3.0, 1.0, 0.5, 0.2, 0.15], positive=True)
    b = np.random.default_rng(0).normal(size=(16, 2))
    krylov = lanczos(operator, b, max_steps=64)
    assert np.count_nonzero(krylov.beta[0]) == 4
    assert krylov.steps == 5
    assert "steps=5" in repr(krylov)
    values, vectors = np.linalg.eigh(operator.as_matrix())
    exact = vectors @ (np.exp(-values)[:, None] * (vectors.T @ b))
    np.testing.assert_allclose(krylov.apply(lambda e: jnp.exp(-e)), exact, atol=1e-12)


@pytest.mark.thorough
def test_an_exact_spectrum_needs_no_iteration():
    operator = Hypercube([3.0, 1.0, 0.5, 0.2, 0.15], positive=True)
    b = np.random.default_rng(0).normal(size=(16, 2)) * (1 + 2j)
    function = functions(float(operator.levels[0]))["descent"]
    result = apply_function(operator, b, function)
    assert result.steps == 0
    exact = dense_function(np.linalg.eigh(operator.as_matrix()), function, b)
    np.testing.assert_allclose(result.value, exact, atol=1e-11)


@pytest.mark.thorough
def test_an_image_is_the_prediction_elsewhere(problem, erf, spins):
    """Θ_xB f(Θ_BB) b and its squared norm at all times, from the basis seen through Θ_xB."""
    operator, _, decomposition, b = problem
    rng = np.random.default_rng(4)
    elsewhere = spins[rng.permutation(256)[:40]]
    cross = erf.operator(elsewhere, spins[np.asarray(operator.rows.positions)])
    s = 1.8 / decomposition[0][-1]
    function = lambda e: (1 - (1 - s * e) ** TIMES[1:4, None]) / jnp.where(e > 0, e, 1.0)  # noqa: E731
    krylov = lanczos(operator, b[:, 0], max_steps=60)
    image = krylov.image(cross)
    exact = np.asarray(cross.as_matrix()) @ dense_function(decomposition, function, b[:, :1])
    np.testing.assert_allclose(image.apply(function), exact[..., 0], atol=1e-9)
    y = image.coefficients(function)
    squares = np.einsum("tkm,kml,tkl->tk", y, image.gram(), y).sum(-1)
    np.testing.assert_allclose(squares, np.linalg.norm(exact[..., 0], axis=-1) ** 2, rtol=1e-9)
    w = rng.normal(size=40) + 1j * rng.normal(size=40)
    inner = np.einsum("tkm,km->t", y, image.overlap(w))
    np.testing.assert_allclose(inner, (exact[..., 0] @ w.conj()).real, atol=1e-9)
    assert np.all(np.asarray(image.error(function)) < 1e-8)


def test_too_few_steps_are_admitted(problem):
    operator, _, decomposition, b = problem
    with pytest.warns(NotConvergedWarning, match="max_steps=4"):
        apply_function(operator, b, functions(decomposition[0][-1])["flow"], max_steps=4)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["descent", "flow"])
def test_the_chebyshev_series_agrees_and_knows_its_error(problem, name):
    operator, _, decomposition, b = problem
    function = functions(decomposition[0][-1])[name]
    result = chebyshev(operator, b, function, tol=1e-11)
    exact = dense_function(decomposition, function, b)
    true = np.linalg.norm(np.asarray(result.value) - exact, axis=1)
    assert np.max(true / np.linalg.norm(b, axis=0)) < 1e-9
    assert np.all(true <= np.asarray(result.error) + 1e-10 * np.linalg.norm(b, axis=0))
    with pytest.warns(NotConvergedWarning, match="at degree 20"):
        short = chebyshev(operator, b, function, max_degree=20)
    true = np.linalg.norm(np.asarray(short.value) - exact, axis=1)
    assert np.all(true <= np.asarray(short.error) + 1e-10 * np.linalg.norm(b, axis=0))


def test_a_chebyshev_series_takes_an_indefinite_operator(rng):
    a = rng.normal(size=(30, 30))
    operator = Dense(a + a.T)
    v = rng.normal(size=30)
    result = chebyshev(operator, v, jnp.sin)
    exact = dense_function(np.linalg.eigh(a + a.T), jnp.sin, v[:, None])[:, 0]
    np.testing.assert_allclose(result.value, exact, atol=1e-9)


def test_the_largest_eigenvalue(problem, rng):
    operator, _, decomposition, _ = problem
    value, error = largest_eigenvalue(operator)
    assert abs(value - decomposition[0][-1]) <= error + 1e-12 * value
    assert error < 1e-8 * value


@pytest.mark.thorough
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("columns", [1, 2])
def test_conjugate_residuals_solve(problem, preconditioned, columns):
    operator, matrix, _, b = problem
    shifted = operator.add_diagonal(1e-3)
    b = b[:, 0] if columns == 1 else b
    preconditioner = shifted.preconditioner() if preconditioned else None
    solution = conjugate_residuals(shifted, b, preconditioner=preconditioner, tol=1e-12)
    assert solution.converged
    exact = np.linalg.solve(matrix + 1e-3 * np.eye(150), b)
    np.testing.assert_allclose(solution.value, exact, atol=1e-8 * np.abs(exact).max())
    residual = np.linalg.norm(b - matrix @ solution.value - 1e-3 * solution.value, axis=0)
    np.testing.assert_allclose(
        solution.residual, residual / np.linalg.norm(b, axis=0), rtol=0.5, atol=1e-14
    )


def test_the_full_inverse_restricted_saves_steps(erf, spins):
    rows = np.random.default_rng(0).permutation(256)[:230]
    operator = erf.operator(spins).restrict(rows).add_diagonal(1e-3)
    b = np.random.default_rng(1).normal(size=230)
    plain = conjugate_residuals(operator, b, tol=1e-9)
    better = conjugate_residuals(operator, b, preconditioner=operator.preconditioner(), tol=1e-9)
    assert better.converged
    assert better.steps < plain.steps / 2


def test_a_singular_kernel_leaves_the_part_it_cannot_express():
    operator = Hypercube(
        [4.0, 2.0, 0.0, -2.0, -4.0], positive=True
    )  # x·y: parities of one spin only
    np.testing.assert_allclose(operator.levels, [0.0, 16.0, 0.0, 0.0, 0.0], atol=1e-13)
    rng = np.random.default_rng(0)
    b = rng.normal(size=16)
    spectrum = operator.eigh()
    seen = spectrum.from_modes(jnp.where(spectrum.eigenvalues > 1, spectrum.to_modes(b), 0.0))
    with pytest.warns(NotConvergedWarning, match="singular"):
        solution = conjugate_residuals(operator, b, max_steps=50)
    assert not solution.converged
    np.testing.assert_allclose(operator.matvec(solution.value), seen, atol=1e-10)
    unseen = np.linalg.norm(b - seen) / np.linalg.norm(b)
    assert solution.residual == pytest.approx(unseen, rel=1e-10)
    consistent = conjugate_residuals(operator, seen)
    assert consistent.converged


def test_a_start_and_zero_columns_are_taken(problem):
    operator, matrix, _, b = problem
    shifted = operator.add_diagonal(0.1)
    exact = np.linalg.solve(matrix + 0.1 * np.eye(150), b)
    again = conjugate_residuals(shifted, b, start=exact)
    assert again.steps == 0
    zero = conjugate_residuals(shifted, np.stack([0 * b[:, 0], b[:, 0]], axis=1))
    np.testing.assert_array_equal(zero.value[:, 0], 0.0)
    assert zero.converged


def test_solvers_want_symmetric_operators_that_fit(problem):
    operator, _, _, b = problem
    block = operator.restrict(np.arange(100), np.arange(40, 140))
    for solve in (
        lambda: lanczos(block, b[:100]),
        lambda: chebyshev(block, b[:100], jnp.exp),
        lambda: conjugate_residuals(block, b[:100]),
        lambda: conjugate_residuals(operator, b[:100]),
        lambda: conjugate_residuals(operator, b, preconditioner=operator.restrict([0, 1])),
        lambda: conjugate_residuals(operator, b, start=b.real),
    ):
        with pytest.raises(OperatorShapeError):
            solve()


def test_a_krylov_basis_without_a_vector_is_refused_by_name():
    with pytest.raises(OperatorShapeError, match="max_steps=0"):
        lanczos(Hypercube([1.0, 0.5]), np.ones(2), max_steps=0)

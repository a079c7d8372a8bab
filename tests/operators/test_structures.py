"""Every structure is the matrix of the kernel: products, entries, blocks, spectra, tags."""

import jax
import jax.numpy as jnp
import lineax as lx
import netket as nk
import numpy as np
import pytest

from netket_qsntk import kernels, models
from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.hamming import hamming_levels, hamming_values, krawtchouk_integers
from netket_qsntk.operators import Dense, Hypercube, Kronecker, Tiled


def hamming(kernel, d, which="ntk"):
    h = np.arange(d + 1)
    return kernel.values(d, d, d, d - 2 * h)[1 if which == "ntk" else 0]


@pytest.fixture(
    scope="module",
    params=[
        "dense",
        "hypercube",
        "hypercube-block",
        "kronecker",
        "insertion",
        "tiled",
        "tiled-block",
    ],
)
def case(request, relu, spins, fermions):
    """(operator, matrix)"""
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(256)[:90], rng.permutation(256)[:70]
    if request.param == "dense":
        matrix = relu.ntk(spins[rows])
        return Dense(matrix, positive=True), matrix
    if request.param == "hypercube":
        return Hypercube(hamming(relu, 8), spins[rows], positive=True), relu.ntk(spins[rows])
    if request.param == "hypercube-block":
        operator = Hypercube(hamming(relu, 8), spins[rows], spins[columns])
        return operator, relu.ntk(spins[rows], spins[columns])
    if request.param == "tiled":
        return Tiled(kernels.Entries(relu, "ntk"), spins[rows], block=17, positive=True), relu.ntk(
            spins[rows]
        )
    if request.param == "tiled-block":
        operator = Tiled(kernels.Entries(relu, "nngp"), spins[rows], spins[columns], block=40)
        return operator, relu.nngp(spins[rows], spins[columns])
    kernel, x = fermions
    which = "nngp" if request.param == "kronecker" else "ntk"
    operator = kernel.operator(x, which=which, hint="kronecker")
    assert (operator.insertion is None) == (which == "nngp")
    return operator, kernel.both(x)[0 if which == "nngp" else 1]


@pytest.mark.thorough
def test_products_are_those_of_the_matrix(case, rng):
    operator, matrix = case
    n, m = matrix.shape
    assert operator.shape == (n, m)
    v = rng.normal(size=(m, 3)) + 1j * rng.normal(size=(m, 3))
    tolerance = 1e-13 * float(jnp.linalg.norm(matrix, 2)) * np.linalg.norm(v)
    for vector in (v[:, 0].real, v[:, 0], v.real, v):
        expected = matrix @ vector
        np.testing.assert_allclose(operator.matvec(vector), expected, atol=tolerance)
        np.testing.assert_allclose(operator @ vector, expected, atol=tolerance)
    jitted = jax.jit(lambda a, u: a.matvec(u))(operator, v)
    np.testing.assert_allclose(jitted, matrix @ v, atol=tolerance)
    w = rng.normal(size=(n, 2))
    np.testing.assert_allclose(operator.T.matvec(w), matrix.T @ w, atol=tolerance)
    rows = rng.normal(size=(2, 3, m))
    np.testing.assert_allclose(operator.product(rows), rows @ matrix.T, atol=tolerance)


@pytest.mark.thorough
def test_entries_are_those_of_the_matrix(case):
    operator, matrix = case
    np.testing.assert_allclose(operator.as_matrix(), matrix, rtol=1e-12)
    np.testing.assert_allclose(operator.diagonal(), jnp.diagonal(matrix), rtol=1e-12)
    np.testing.assert_allclose(operator.trace(), jnp.trace(matrix), rtol=1e-12)
    np.testing.assert_allclose(operator.T.as_matrix(), matrix.T, rtol=1e-12)


@pytest.mark.thorough
def test_blocks_are_blocks_and_keep_the_structure(case, rng):
    operator, matrix = case
    n, m = matrix.shape
    rows, columns = rng.permutation(n)[:7], rng.permutation(m)[:5]
    block = operator.restrict(rows, columns)
    assert type(block) is type(operator)
    assert not block.symmetric
    np.testing.assert_allclose(block.as_matrix(), matrix[rows][:, columns], rtol=1e-12)
    if operator.symmetric:
        same = operator.restrict(rows)
        assert same.symmetric
        assert same.positive == operator.positive
        np.testing.assert_allclose(same.as_matrix(), matrix[rows][:, rows], rtol=1e-12)


@pytest.mark.thorough
def test_tags_say_what_holds(case):
    operator, matrix = case
    square = matrix.shape[0] == matrix.shape[1]
    assert operator.symmetric == square
    assert lx.is_symmetric(operator) == square
    assert lx.is_positive_semidefinite(operator) == (square and operator.positive)
    assert not lx.is_diagonal(operator)
    negated = -operator
    assert not lx.is_positive_semidefinite(negated)
    np.testing.assert_allclose(negated.as_matrix(), -matrix, rtol=1e-12)


def test_repr_tells_structure_size_and_memory(case):
    operator, matrix = case
    text = repr(operator)
    assert type(operator).__name__ in text
    assert f"{matrix.shape[0]} × {matrix.shape[1]}" in text
    assert "memory=" in text


@pytest.mark.thorough
def test_lineax_solves_with_them(case, rng):
    operator, matrix = case
    if not operator.symmetric:
        pytest.skip("a block between different batches")
    shifted = operator.add_diagonal(0.1)
    b = jnp.asarray(rng.normal(size=matrix.shape[0]))
    solver = lx.CG(rtol=1e-11, atol=1e-11, max_steps=500)
    x = lx.linear_solve(shifted, b, solver).value
    np.testing.assert_allclose(matrix @ x + 0.1 * x, b, atol=1e-8)
    np.testing.assert_allclose(
        lx.materialise(shifted).as_matrix(), matrix + 0.1 * np.eye(len(matrix)), rtol=1e-12
    )


def test_vectors_of_another_length_are_refused(case):
    operator, matrix = case
    for v in (np.ones(matrix.shape[1] + 1), np.ones((2, 2, matrix.shape[1])), np.ones(())):
        with pytest.raises(OperatorShapeError):
            operator.matvec(v)
    with pytest.raises(OperatorShapeError, match="last axis"):
        operator.product(np.ones((2, matrix.shape[1] + 1)))


def test_a_batch_has_no_exact_spectrum(case):
    operator, _ = case
    if isinstance(operator, Dense):
        return
    with pytest.raises(StructureError, match="lanczos"):
        operator.eigh()


@pytest.mark.thorough
@pytest.mark.parametrize(("which", "shuffled"), [("ntk", False), ("nngp", True)])
def test_the_whole_basis_is_diagonal_in_parities(relu, spins, which, shuffled, rng):
    x = rng.permutation(spins) if shuffled else spins
    matrix = relu.both(x)[1 if which == "ntk" else 0]
    operator = Hypercube(hamming(relu, 8, which), x, positive=True)
    assert operator.has_cheap_spectrum
    spectrum = operator.eigh()
    scale = float(jnp.max(spectrum.eigenvalues))
    np.testing.assert_allclose(
        np.sort(spectrum.eigenvalues), np.linalg.eigvalsh(matrix), atol=1e-13 * scale
    )
    values, counts = spectrum.levels()
    assert counts.sum() == 256
    np.testing.assert_allclose(values @ counts, jnp.trace(matrix), rtol=1e-12)
    _check_decomposition(spectrum, matrix, rng)


@pytest.mark.thorough
def test_a_product_is_diagonal_in_products_on_the_whole_basis(rng):
    x = np.asarray(nk.hilbert.Spin(1, 4).all_states())
    kernel = kernels.infinite_width(models.GaussNet(4, sigma_w=1.2))
    operator = kernel.operator(x, which="nngp", hint="kronecker")
    assert operator.has_cheap_spectrum
    matrix = kernel.nngp(x)
    values = np.sort(operator.eigh().eigenvalues)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-13 * values[-1])
    _check_decomposition(operator.eigh(), matrix, rng)
    with pytest.raises(StructureError):
        kernel.operator(x, hint="kronecker").eigh()


@pytest.mark.thorough
def test_a_stored_matrix_has_its_modes(relu, spins, rng):
    matrix = relu.ntk(spins[:40])
    _check_decomposition(Dense(matrix).eigh(), matrix, rng)
    with pytest.raises(StructureError, match="svd"):
        Dense(matrix[:, :7]).eigh()


def _check_decomposition(spectrum, matrix, rng):
    n = len(matrix)
    v = rng.normal(size=(2, n)) + 1j * rng.normal(size=(2, n))
    np.testing.assert_allclose(spectrum.from_modes(spectrum.to_modes(v)), v, atol=1e-12)
    scale = float(jnp.max(spectrum.eigenvalues))
    np.testing.assert_allclose(
        spectrum.from_modes(spectrum.eigenvalues * spectrum.to_modes(v)),
        v @ matrix,
        atol=1e-12 * scale * n,
    )
    times = jnp.array([[0.0], [1.0], [7.0]])
    values, vectors = np.linalg.eigh(matrix)
    many = spectrum.apply(lambda e: jnp.exp(-times * e / scale), v)
    for t, got in zip(times[:, 0], many, strict=True):
        exact = (v @ vectors) * np.exp(-t * values / scale) @ vectors.T
        np.testing.assert_allclose(got, exact, atol=1e-11)
        weights = spectrum.level_weights(v)
        norm = jnp.exp(-2 * t * spectrum.levels()[0] / scale) @ weights.T
        np.testing.assert_allclose(norm, np.linalg.norm(exact, axis=-1) ** 2, rtol=1e-10)


def test_small_levels_are_exact_where_an_eigensolver_has_only_rounding():
    """e^{-ah} has λ_w = (1+q)^{d-w} (1-q)^w with q = e^{-a}; the last is 1e-28 of the first at d = 14."""
    from fractions import Fraction

    d, q = 14, Fraction(255, 256)
    values = [
        float(q**h) for h in range(d + 1)
    ]  # not all exact: the binary numbers are what is meant
    exact_of_binary = [
        sum(Fraction(k) * krawtchouk_integers(d)[h][w] for h, k in enumerate(values))
        for w in range(d + 1)
    ]
    levels = hamming_levels(values)
    for level, exact in zip(levels, exact_of_binary, strict=True):
        assert level == pytest.approx(float(exact), rel=1e-15)
    # Down to the rounding of k itself the closed form holds, ten orders below eps λ_max.
    closed = [float((1 + q) ** (d - w) * (1 - q) ** w) for w in range(d + 1)]
    eps = np.finfo(float).eps
    for w in range(d + 1):
        bound = eps * sum(abs(k * krawtchouk_integers(d)[h][w]) for h, k in enumerate(values))
        assert abs(levels[w] - closed[w]) <= bound
    assert (
        eps * sum(abs(krawtchouk_integers(d)[h][7]) for h in range(d + 1)) < 1e-2 * eps * levels[0]
    )


def test_levels_and_values_determine_each_other(rng):
    values = rng.normal(size=13)
    np.testing.assert_allclose(hamming_values(hamming_levels(values)), values, atol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_levels_are_eigenvalues(d, rng):
    values = rng.normal(size=d + 1)
    matrix = np.asarray(Hypercube(values).as_matrix())
    levels = hamming_levels(values)
    counts = [len(list(g)) for g in _subsets_by_weight(d)]
    expected = np.sort(np.repeat(levels, counts))
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), expected, atol=1e-11)


def _subsets_by_weight(d):
    numbers = range(2**d)
    return [[s for s in numbers if s.bit_count() == w] for w in range(d + 1)]


def test_float32_hypercube_has_single_accuracy(relu, spins, rng):
    operator = Hypercube(hamming(relu, 8), spins[:100], dtype=jnp.float32)
    v = rng.normal(size=100)
    product = operator.matvec(v)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, relu.ntk(spins[:100]) @ v, rtol=0, atol=1e-5)


def test_the_square_of_the_root_and_the_inverse_are_right_on_the_whole_basis(erf, spins, rng):
    operator = Hypercube(hamming(erf, 8), spins, positive=True)
    matrix = np.asarray(operator.as_matrix())
    root = operator.map_spectrum(jnp.sqrt)
    np.testing.assert_allclose(np.asarray(root.as_matrix()) @ root.as_matrix(), matrix, atol=1e-11)
    v = rng.normal(size=256)
    np.testing.assert_allclose(operator.preconditioner().matvec(operator.matvec(v)), v, atol=1e-7)


def test_a_configuration_may_come_twice(relu, spins, rng):
    x = spins[[3, 3, 5]]
    operator = Hypercube(hamming(relu, 8), x, positive=True)
    v = rng.normal(size=3)
    np.testing.assert_allclose(operator.matvec(v), relu.ntk(x) @ v, rtol=1e-12)
    np.testing.assert_allclose(
        operator.add_diagonal(2.0).matvec(v), relu.ntk(x) @ v + 2 * v, rtol=1e-12
    )
    assert not Hypercube([1.0, 0.5], np.array([[1], [1]])).has_cheap_spectrum


def test_wrong_inputs_are_named(relu, spins):
    with pytest.raises(StructureError, match="two opposite values"):
        Hypercube(np.ones(9), np.where(spins > 0, 1.0, -2.0))
    with pytest.raises(StructureError, match="got shape"):
        Hypercube(np.ones(7), spins)
    with pytest.raises(StructureError, match="30 spins"):
        Hypercube(np.ones(40))
    with pytest.raises(StructureError, match="local_states"):
        Kronecker(np.eye(2), 3, np.ones((4, 3)))
    with pytest.raises(StructureError, match="2\\^28"):
        Kronecker(np.eye(4), 16)
    with pytest.raises(StructureError, match="'ntk' or 'nngp'"):
        kernels.Entries(relu, "qsntk")(spins)
    with pytest.raises(StructureError, match="block=0"):
        Tiled(kernels.Entries(relu, "ntk"), spins, block=0)
    with pytest.raises(OperatorShapeError, match="matrix"):
        Dense(np.ones(3))
    with pytest.raises(OperatorShapeError, match="symmetric"):
        Dense(np.ones((3, 2)), symmetric=True)


@pytest.mark.thorough
def test_modes_around_a_batch_carry_its_covariance(erf, fermions):
    # Σ λ u uᵀ over the modes of the whole basis, at the batch, is the kernel of the batch.
    sector = np.asarray(nk.hilbert.Spin(0.5, 6, total_sz=0).all_states())
    for kernel, x, kind in ((erf, sector, Hypercube), (*fermions, Kronecker)):
        operator = kernel.operator(x, which="nngp", hint=kind.__name__.lower())
        modes = operator.basis_modes()
        n = len(modes.eigenvalues)
        assert n > len(x)
        if n > 300:  # only check on random vectors: vᵀKv = Σ λ (uᵀv)²
            v = np.random.default_rng(0).normal(size=(5, len(x)))
            sums = np.sum(np.asarray(modes.to_modes(v)) ** 2 * np.asarray(modes.eigenvalues), -1)
            expected = np.einsum("ki,ij,kj->k", v, kernel.nngp(x), v)
            np.testing.assert_allclose(sums, expected, rtol=1e-10)
        root = modes.from_modes(np.eye(n) * np.sqrt(np.maximum(modes.eigenvalues, 0))).T
        np.testing.assert_allclose(root @ root.T, kernel.nngp(x), atol=1e-12)
    with pytest.raises(OperatorShapeError, match="two batches"):
        erf.operator(sector, sector[:3], hint="hypercube").basis_modes()
    kernel, x = fermions
    with pytest.raises(StructureError, match="insertion"):
        kernel.operator(x, which="ntk", hint="kronecker").basis_modes()


def test_a_factor_of_integers_acts_as_the_same_numbers_in_floating_point():
    operator = Kronecker(jnp.array([[2, 1], [1, 2]]), 2)
    np.testing.assert_allclose(operator.matvec(jnp.full(4, 0.5)), 4.5)
    np.testing.assert_allclose(operator.scaled(0.5).matvec(jnp.full(4, 0.5)), 2.25)

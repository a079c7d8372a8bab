"""Levels against dense diagonalisation."""

import jax
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.learning.schemes import hamming_scheme, johnson_scheme, spectrum

E = qs.errors


def network(**options):
    return qs.models.WideMLP(widths=(4,), activation="erf", sigma_w=1.3, sigma_b=0.3, **options)


def repeated(eigenvalues, levels):
    return np.sort(np.repeat(eigenvalues, np.asarray(levels.multiplicities).astype(int)))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert",
    [
        nk.hilbert.Spin(0.5, 6),
        nk.hilbert.Spin(0.5, 8, total_sz=0),
        nk.hilbert.Spin(0.5, 7, total_sz=-1.5),
        nk.hilbert.SpinOrbitalFermions(8, n_fermions=3),
    ],
    ids=["all", "half filling", "sector", "fermions"],
)
def test_levels_are_the_eigenvalues_of_the_kernel_matrices(hilbert) -> None:
    kernel = qs.kernels.infinite_width(network())
    levels = qs.learning.levels(kernel, hilbert)
    nngp, ntk = kernel.both(np.asarray(hilbert.all_states()))
    for matrix, found in ((ntk, levels.eigenvalues), (nngp, levels.nngp_eigenvalues)):
        exact = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(repeated(found, levels), exact, atol=1e-13 * exact[-1])
    assert float(levels.n_states) == hilbert.n_states


@pytest.mark.thorough
def test_levels_of_sites_with_three_states() -> None:
    hilbert = nk.hilbert.Spin(1, 4)
    model = qs.models.CosNet(4, 1.0, 1.5)
    kernel = qs.kernels.infinite_width(model, trainable="readout")
    levels = qs.learning.levels(kernel, hilbert)
    exact = np.linalg.eigvalsh(kernel.ntk(np.asarray(hilbert.all_states())))
    np.testing.assert_allclose(repeated(levels.eigenvalues, levels), exact, atol=1e-13)
    with pytest.raises(E.NoLevelsError, match="readout"):
        qs.learning.levels(qs.kernels.infinite_width(model), hilbert)


@pytest.mark.thorough
def test_a_symmetry_group_keeps_the_eigenvalues_and_lowers_the_multiplicities() -> None:
    hilbert, group = nk.hilbert.Spin(0.5, 8), nk.graph.Chain(8).translation_group()
    kernel = qs.kernels.infinite_width(network())
    levels = qs.learning.levels(kernel, hilbert, group=group)
    symmetric = qs.kernels.symmetrized(kernel, group)
    exact = np.linalg.eigvalsh(symmetric.ntk(np.asarray(hilbert.all_states())))
    number = int(levels.n_functions)
    np.testing.assert_allclose(exact[:-number], 0.0, atol=1e-12)
    np.testing.assert_allclose(repeated(levels.eigenvalues, levels), exact[-number:], rtol=1e-8)
    np.testing.assert_allclose(
        qs.learning.levels(symmetric, hilbert).eigenvalues, levels.eigenvalues
    )


def test_levels_keep_the_trace_where_rounding_drowns_them() -> None:
    kernel = qs.kernels.infinite_width(network())
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 200))
    trace = float(kernel.diagonals(np.ones((1, 200)))[1][0])
    shares = np.asarray(levels.spectrum * levels.multiplicities)
    assert np.all(shares >= 0)
    np.testing.assert_allclose(shares.sum(), trace, rtol=1e-12)


@pytest.mark.parametrize(
    "scheme", [hamming_scheme(6), johnson_scheme(6, 2)], ids=["cube", "sector"]
)
def test_levels_have_the_derivatives_of_a_linear_map(scheme) -> None:
    values = np.exp(-0.3 * np.array(scheme.distances, dtype=float))
    jacobian = jax.jacobian(lambda v: spectrum(v, scheme))(values)
    exact = np.array(scheme.table, dtype=float).T / scheme.n_states
    np.testing.assert_allclose(jacobian, exact, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jax.jit(lambda v: spectrum(v, scheme))(values), exact @ values)


def test_what_has_no_levels_is_refused_by_name() -> None:
    kernel = qs.kernels.infinite_width(network())
    fermions = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))
    with pytest.raises(E.NoLevelsError, match="whole basis"):
        qs.learning.levels(kernel, fermions)

"""Curves from the whole matrix against regression, where there are no levels, and against levels, where there are."""

import jax
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs


@pytest.mark.thorough
def test_the_dense_curve_is_the_coherent_potential_of_the_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hilbert = nk.hilbert.Spin(0.5, 8, total_sz=1)
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(4,), sigma_w=1.4, sigma_b=0.5))
    target = qs.targets.Target(hilbert, np.random.default_rng(0).normal(size=hilbert.n_states))
    dense = qs.learning.dense_curve(kernel, target, [10, 40])
    levels = qs.learning.levels(kernel, hilbert)
    # The curve of levels without its first corrections, which the dense one has not.
    jax.clear_caches()
    monkeypatch.setattr("netket_qsntk.learning.curve.corrected_distances", lambda *_: None)
    curve = qs.learning.learning_curve(levels, qs.learning.target_power(target), [10, 40])
    jax.clear_caches()
    np.testing.assert_allclose(dense.L_mu, curve.L_mu, rtol=1e-6)
    np.testing.assert_allclose(dense.L_gamma, curve.L_gamma, rtol=1e-6)
    np.testing.assert_allclose(dense.learned, [10, 40], rtol=1e-6)


@pytest.mark.thorough
def test_fermions_have_classes_of_configurations() -> None:
    hilbert = nk.hilbert.SpinOrbitalFermions(6, s=1 / 2, n_fermions_per_spin=(2, 2))
    net = qs.models.WideMLP(
        widths=(4,), sigma_w=1.0, sigma_b=0.3, encoding=qs.encodings.fermion_sites
    )
    kernel = qs.kernels.infinite_width(net)
    rng = np.random.default_rng(1)
    target = qs.targets.Target(hilbert, rng.normal(size=hilbert.n_states))
    curve = qs.learning.dense_curve(kernel, target, [75])
    assert "3 classes" in repr(curve)
    found = []
    for seed in range(20):
        train, test = target.split(75, seed)
        losses = qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.1).losses([np.inf], test)
        found.append([losses.L_mu[0], losses.L_gamma[0]])
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 20**0.5
    off = np.abs(mean - [curve.L_mu[0], curve.L_gamma[0]])
    assert np.all(off < np.maximum(4 * error, 0.03 * mean))


def test_kernels_of_a_complex_character_are_refused() -> None:
    hilbert, ring = nk.hilbert.Spin(0.5, 4), nk.graph.Chain(4)
    kernel = qs.kernels.symmetrized(
        qs.kernels.infinite_width(qs.models.WideMLP(widths=(4,), sigma_b=0.3)),
        ring.translation_group(),
        character=np.exp(2j * np.pi * np.arange(4) / 4),
    )
    with pytest.raises(qs.errors.InvalidModelError, match="complex character"):
        qs.learning.dense_curve(kernel, qs.targets.Target(hilbert, np.ones(16)), [4])
    with pytest.raises(qs.errors.InvalidModelError, match="complex character"):
        qs.parallel.SharedMatrix.of_kernel(kernel, hilbert.all_states())

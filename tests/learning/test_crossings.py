"""The first corrections to the coherent potential against regression, and against what they must be."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.learning import crossings
from netket_qsntk.learning.coherent import conditions, solve, transfer
from netket_qsntk.learning.curve import clusters, effective_ridge

from .oracles import parities, unit_errors

SMOOTH = qs.models.CosNet(4, 1.0, 1.0)


def corrected(levels, power, sizes):
    """Losses of the coherent potential, and relative corrections (2, sizes)."""
    pairs = bool(np.all(levels.parities != 0))
    kernel, ridge = clusters(levels, pairs), effective_ridge(levels, jnp.asarray(0.0))
    sizes = jnp.asarray(sizes, float)
    log_kappa, _ = solve(kernel, sizes, ridge)
    found = crossings.corrections(
        log_kappa, kernel, sizes, float(ridge), levels.scheme, np.asarray(power)[None]
    )
    unit = [transfer(u, kernel, n, ridge)[0] for u, n in zip(log_kappa, sizes, strict=True)]
    basis = np.array([np.asarray(q) @ power for q in unit])
    share = np.asarray(levels.n_states / (levels.n_states - sizes))
    return basis * share, found[..., 0] / basis


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 128])
def test_corrections_are_the_deviation_of_regression_from_the_coherent_potential(n) -> None:
    d, draws = 8, 100
    hilbert = nk.hilbert.Spin(0.5, d)
    kernel = qs.kernels.infinite_width(SMOOTH)
    levels = qs.learning.levels(kernel, hilbert)
    x = np.where((np.arange(2**d)[:, None] >> np.arange(d)) & 1, -1.0, 1.0)
    functions, weights = parities(d)
    units = unit_errors(np.asarray(kernel.ntk(x)), functions, weights, n, draws)
    ising = nk.operator.Ising(hilbert, nk.graph.Chain(d), h=1.5)
    ground = qs.learning.target_power(qs.targets.ground_state(ising))
    for power in (ground, levels.multiplicities / 4.0**d):
        losses, change = corrected(levels, np.asarray(power), [n])
        measured = units @ np.asarray(power) / losses[0] - 1
        error = measured.std(ddof=1) / draws**0.5
        # Pairs and rings partly cancel; what is left out is a part of either.
        off = measured.mean() - change[:, 0].sum()
        assert abs(off) < 3 * error + 0.3 * np.abs(change).sum()


@pytest.mark.thorough
def test_a_kernel_without_correlations_has_no_corrections() -> None:
    # Configurations that tell nothing of one another: no path returns.
    d = 6
    flat = qs.learning.Levels(
        np.ones(d + 1), np.ones(d + 1), [1, 6, 15, 20, 15, 6, 1], 2.0**d, (-1.0) ** np.arange(d + 1),
        sites=(d,),
    )  # fmt: skip
    _, change = corrected(flat, np.ones(d + 1) / 64, [10, 40])
    np.testing.assert_allclose(change, 0.0, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert", [nk.hilbert.Spin(0.5, 6), nk.hilbert.Spin(0.5, 7, total_sz=0.5)]
)
def test_the_conditions_for_complex_levels_are_those_of_the_coherent_potential(hilbert) -> None:
    levels = qs.learning.levels(qs.kernels.infinite_width(SMOOTH), hilbert)
    kernel = clusters(levels, bool(np.all(levels.parities != 0)))
    sizes = jnp.asarray([9.0, 20.0])
    u = jnp.full((2, kernel.n_sectors), -4.0) + jnp.arange(kernel.n_sectors)
    problem = crossings._problem(kernel, np.asarray(sizes), 0.1, levels.scheme)
    found = crossings._conditions(np.asarray(u), problem.spectrum, problem)
    exact = [conditions(row, kernel, n, jnp.asarray(0.1)) for row, n in zip(u, sizes, strict=True)]
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert", [nk.hilbert.Spin(0.5, 6), nk.hilbert.Spin(0.5, 8, total_sz=0), nk.hilbert.Spin(0.5, 7, total_sz=1.5)]
)  # fmt: skip
def test_levels_know_the_distances_of_their_configurations(hilbert) -> None:
    levels = qs.learning.levels(qs.kernels.infinite_width(SMOOTH), hilbert)
    assert levels.scheme is not None
    np.testing.assert_array_equal(levels.multiplicities, levels.scheme.multiplicities)
    assert levels.scheme.n_states == hilbert.n_states
    group = nk.graph.Chain(hilbert.size).translation_group()
    kernel = qs.kernels.infinite_width(SMOOTH)
    assert qs.learning.levels(kernel, hilbert, group=group).scheme is None


@pytest.mark.thorough
def test_smooth_kernels_are_warned_about_and_rough_ones_are_not() -> None:
    hilbert = nk.hilbert.Spin(0.5, 10)
    chain = nk.operator.Ising(hilbert, nk.graph.Chain(10), h=1.5)
    power = qs.learning.target_power(qs.targets.ground_state(chain))
    smooth = qs.learning.levels(qs.kernels.infinite_width(SMOOTH), hilbert)
    with pytest.warns(qs.errors.FiniteSizeWarning, match="accurate to 3%"):
        qs.learning.learning_curve(smooth, power, [512])
    net = qs.models.WideMLP(widths=(4,) * 3, activation="erf", sigma_w=1.4, sigma_b=0.5)
    rough = qs.learning.levels(qs.kernels.infinite_width(net), hilbert)
    qs.learning.learning_curve(rough, power, [512])


@pytest.mark.thorough
def test_a_loss_that_rests_on_few_unseen_pairs_is_warned_about() -> None:
    hilbert = nk.hilbert.Spin(0.5, 10)
    net = qs.models.WideMLP(widths=(4,), activation="relu", sigma_w=0.25, sigma_b=0.01)
    levels = qs.learning.levels(qs.kernels.infinite_width(net), hilbert)
    even = np.where(np.arange(11) % 2 == 0, np.asarray(levels.multiplicities), 0.0)
    # 1024 (1 - φ)²/2 = 32 pairs at three quarters, and a little of those of which one was seen.
    with pytest.warns(qs.errors.FiniteSizeWarning, match=r"about 3\d pairs"):
        qs.learning.learning_curve(levels, even, [768])

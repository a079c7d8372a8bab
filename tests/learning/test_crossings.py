"""The first corrections to the coherent potential against regression, and against what they must be."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.learning import crossings
from netket_qsntk.learning.coherent import solve, transfer
from netket_qsntk.learning.curve import clusters, effective_ridge

from .oracles import parities, unit_errors

SMOOTH = qs.models.CosNet(4, 1.0, 1.0)


def corrected(levels, power, sizes):
    """Losses of the coherent potential, and relative corrections (2, sizes)."""
    pairs = bool(np.all(levels.parities != 0))
    kernel, ridge = clusters(levels, pairs), effective_ridge(levels, jnp.asarray(0.0))
    sizes = jnp.asarray(sizes, float)
    log_kappa, _ = solve(kernel, sizes, ridge)
    weights = jnp.asarray(power)[None]

    def at(u, n):
        found = crossings.corrections(u, kernel, n, ridge, levels.scheme, weights)
        return weights[0] @ transfer(u, kernel, n, ridge)[0], found[0]

    basis, found = jax.vmap(at)(log_kappa, sizes)
    share = np.asarray(levels.n_states / (levels.n_states - sizes))
    return np.asarray(basis) * share, np.asarray(found).T / np.asarray(basis)


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
def test_corrected_curves_are_right_where_the_coherent_potential_is_not() -> None:
    d, n, draws = 8, 128, 60
    hilbert = nk.hilbert.Spin(0.5, d)
    kernel = qs.kernels.infinite_width(qs.models.CosNet(4, 1.0, 2.0))
    levels = qs.learning.levels(kernel, hilbert)
    ising = nk.operator.Ising(hilbert, nk.graph.Chain(d), h=1.5)
    power = qs.learning.target_power(qs.targets.ground_state(ising))
    x = np.where((np.arange(2**d)[:, None] >> np.arange(d)) & 1, -1.0, 1.0)
    measured = unit_errors(np.asarray(kernel.ntk(x)), *parities(d), n, draws) @ np.asarray(power)
    error = measured.std(ddof=1) / draws**0.5
    with pytest.warns(qs.errors.FiniteSizeWarning, match="L_mu may not be accurate"):
        curve = qs.learning.learning_curve(levels, power, [n])
    losses, change = corrected(levels, np.asarray(power), [n])
    np.testing.assert_allclose(curve.L_mu, losses * (1 + change.sum(0)), rtol=1e-9)
    assert measured.mean() - losses[0] > 4 * error
    assert abs(measured.mean() - float(curve.L_mu[0])) < 3 * error


@pytest.mark.thorough
@pytest.mark.parametrize(
    "hilbert", [nk.hilbert.Spin(0.5, 6), nk.hilbert.Spin(0.5, 7, total_sz=0.5)]
)
def test_corrected_losses_have_derivatives_by_the_levels_and_the_ridge(hilbert) -> None:
    known = qs.learning.levels(qs.kernels.infinite_width(SMOOTH), hilbert)
    power = np.asarray(known.multiplicities) / 2.0 ** np.arange(len(known)) / 64

    def loss(slope, ridge):
        moved = eqx.tree_at(
            lambda t: t.eigenvalues,
            known,
            known.eigenvalues * jnp.exp(-slope * jnp.arange(len(known))),
        )
        return qs.learning.learning_curve(moved, power, [12], ridge=ridge).L_mu[0]

    at = (0.2, 0.05)
    gradient = jax.grad(loss, argnums=(0, 1))(*at)
    for i, step in enumerate(((1e-4, 0.0), (0.0, 1e-5))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ends = [loss(at[0] + s * step[0], at[1] + s * step[1]) for s in (1, -1)]
        np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / (2 * step[i]), rtol=1e-5)


@pytest.mark.thorough
def test_corrections_that_cancel_are_warned_about_by_their_sizes() -> None:
    hilbert = nk.hilbert.Spin(0.5, 9)
    levels = qs.learning.levels(qs.kernels.infinite_width(SMOOTH), hilbert)
    flat = np.asarray(levels.multiplicities) / 4.0**9
    _, change = corrected(levels, flat, [64])
    pairs, rings = change[:, 0]
    assert abs(pairs + rings) < 0.03 < abs(pairs) + abs(rings)
    with pytest.warns(qs.errors.FiniteSizeWarning) as caught:
        qs.learning.learning_curve(levels, flat, [64])
    first = str(next(w.message for w in caught if "L_mu" in str(w.message)))
    assert f"{pairs:+.1%} (neighbouring" in first
    assert f"{rings:+.1%} (few" in first


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

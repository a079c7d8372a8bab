"""Learning curves against kernel regression on drawn training sets."""

import warnings

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.learning.curve import is_paired
from netket_qsntk.learning.schemes import hamming_scheme, johnson_scheme

from .oracles import parities, unit_errors, unit_errors_of_the_unseen

E = qs.errors
MLP = qs.models.WideMLP
NETWORKS = {
    "relu, small bias": MLP(widths=(4,), activation="relu", sigma_w=0.25, sigma_b=0.01),
    "relu, bias": MLP(widths=(4,), activation="relu", sigma_w=1.4, sigma_b=0.5),
    "erf, deep": MLP(widths=(4, 4, 4), activation="erf", sigma_w=1.5, sigma_b=0.1),
    "tanh": MLP(widths=(4,), activation="tanh", sigma_w=1.0, sigma_b=0.3),
    "cosines": qs.models.CosNet(4, 1.0, 2.0),
}


def problem(name, d):
    """Kernel matrix, levels, orthonormal parities, their weights."""
    hilbert = nk.hilbert.Spin(0.5, d)
    kernel = qs.kernels.infinite_width(NETWORKS[name])
    x = np.where((np.arange(2**d)[:, None] >> np.arange(d)) & 1, -1.0, 1.0)
    functions, weights = parities(d)
    return np.asarray(kernel.ntk(x)), qs.learning.levels(kernel, hilbert), functions, weights


def powers(d, kind):
    hilbert = nk.hilbert.Spin(0.5, d)
    chain = nk.graph.Chain(d)
    if kind == "random":
        rng = np.random.default_rng(0)
        target = qs.targets.Target(hilbert, rng.normal(size=2**d))
    elif kind == "even":
        rng = np.random.default_rng(1)
        values = rng.normal(size=2**d)
        target = qs.targets.Target(hilbert, values + values[::-1])
    elif kind == "quench":
        hamiltonian = nk.operator.Ising(hilbert, chain, h=0.3, J=-1.0)
        target = qs.targets.quench(hamiltonian, initial="plus", time=1.3)
    else:
        target = qs.targets.ground_state(nk.operator.Ising(hilbert, chain, h=1.5))
    return qs.learning.target_power(target)


TARGETS = ["random", "even", "quench", "ground"]


def compare(name, d, fractions, draws):
    ntk, levels, functions, weights = problem(name, d)
    for fraction in fractions:
        n = round(fraction * 2**d)
        check(name, d, n, levels, unit_errors(ntk, functions, weights, n, draws))


def check(name, d, n, levels, units):
    """Predictions without a warning against the errors for a unit of power in each level, (draws, levels)."""
    for kind in TARGETS:
        power = powers(d, kind)
        measured = units @ np.asarray(power)
        mean, error = measured.mean(), measured.std(ddof=1) / len(units) ** 0.5
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            curve = qs.learning.learning_curve(levels, power, [n])
        if caught:
            continue
        off = abs(float(curve.L_mu[0]) - mean)
        assert off < max(4 * error, 0.03 * mean), (name, kind, n, off / error, off / mean)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NETWORKS)
def test_mean_losses_are_those_of_kernel_regression(name) -> None:
    compare(name, 8, (1 / 16, 1 / 2, 0.9), 20)


@pytest.mark.slow
@pytest.mark.parametrize("d", [9, 10])
@pytest.mark.parametrize("name", NETWORKS)
def test_mean_losses_are_those_of_kernel_regression_on_a_grid(name, d) -> None:
    compare(name, d, (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 0.9), 20)


@pytest.mark.thorough
def test_regression_leaves_what_the_inverse_between_unseen_ones_says() -> None:
    ntk, levels, functions, weights = problem("relu, bias", 6)
    np.testing.assert_allclose(
        unit_errors_of_the_unseen(np.asarray(levels.eigenvalues), 6, 48, 2),
        unit_errors(ntk, functions, weights, 48, 2),
        rtol=1e-8,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_mean_losses_of_most_of_the_configurations_of_twelve_spins(name) -> None:
    d = 12
    kernel = qs.kernels.infinite_width(NETWORKS[name])
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, d))
    for n in (round(fraction * 2**d) for fraction in (3 / 4, 0.9)):
        units = unit_errors_of_the_unseen(np.asarray(levels.eigenvalues), d, n, 20)
        check(name, d, n, levels, units)


@pytest.mark.thorough
def test_a_ridge_and_the_fluctuations_of_initial_networks() -> None:
    d, n, draws, ridge = 8, 96, 20, 0.02
    ntk, levels, functions, weights = problem("relu, bias", d)
    units = unit_errors(ntk, functions, weights, n, draws, ridge)
    power = np.asarray(levels.n_parts * levels.multiplicities * levels.nngp_spectrum)
    curve = qs.learning.learning_curve(levels, power, [n], ridge=ridge)
    np.testing.assert_allclose(curve.L_mu, (units @ power).mean(), rtol=0.03)
    np.testing.assert_allclose(curve.L_gamma, curve.L_mu)


@pytest.mark.thorough
def test_curves_on_a_sector_agree_with_linear_dynamics() -> None:
    hilbert = nk.hilbert.Spin(0.5, 10, total_sz=0)
    target = qs.targets.ground_state(nk.operator.Heisenberg(hilbert, nk.graph.Chain(10)))
    kernel = qs.kernels.infinite_width(NETWORKS["relu, bias"])
    levels, power = qs.learning.levels(kernel, hilbert), qs.learning.target_power(target)
    curve = qs.learning.learning_curve(levels, power, [50])
    found = []
    for seed in range(20):
        train, test = target.split(50, seed)
        losses = qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.1).losses([np.inf], test)
        found.append([losses.L_mu[0], losses.L_gamma[0]])
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 20**0.5
    off = np.abs(mean - [curve.L_mu[0], curve.L_gamma[0]])
    assert np.all(off < np.maximum(4 * error, 0.03 * mean))


@pytest.mark.thorough
def test_a_symmetric_kernel_learns_orbits() -> None:
    d, n = 10, 60
    hilbert, graph = nk.hilbert.Spin(0.5, d), nk.graph.Chain(d)
    group = graph.translation_group()
    target = qs.targets.ground_state(nk.operator.Ising(hilbert, graph, h=0.8))
    kernel = qs.kernels.symmetrized(qs.kernels.infinite_width(NETWORKS["relu, bias"]), group)
    curve = qs.learning.learning_curve(
        qs.learning.levels(kernel, hilbert), qs.learning.target_power(target, group=group), [n]
    )
    found = []
    for seed in range(20):
        train, test = target.split(n, seed)
        losses = qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.1).losses([np.inf], test)
        found.append(losses.L_mu[0])
    mean, error = np.mean(found), np.std(found, ddof=1) / 20**0.5
    assert abs(mean - float(curve.L_mu[0])) < max(4 * error, 0.03 * mean)


@pytest.mark.thorough
def test_pairs_do_what_single_configurations_cannot() -> None:
    ntk, levels, functions, weights = problem("relu, small bias", 8)
    power = np.asarray(powers(8, "even"))
    measured = (unit_errors(ntk, functions, weights, 192, 10) @ power).mean()
    pairs = qs.learning.learning_curve(levels, power, [192])
    single = qs.learning.learning_curve(levels, power, [192], method="single")
    assert pairs.method == "pairs"
    assert abs(float(pairs.L_mu[0]) / measured - 1) < 0.2
    assert abs(float(single.L_mu[0]) / measured - 1) > 0.5


@pytest.mark.thorough
def test_curves_of_a_hundred_spins_and_of_singular_kernels_are_solved() -> None:
    for model in (NETWORKS["relu, bias"], MLP(widths=(4,), activation="relu", sigma_b=0.0)):
        kernel = qs.kernels.infinite_width(model)
        for d, sizes in ((100, np.geomspace(1, 1e6, 20)), (10, np.linspace(1, 1023, 20))):
            levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, d))
            power = qs.learning.product_state([[1.0, 0.8]] * d).powers()
            curve = qs.learning.learning_curve(levels, power, sizes)
            assert np.all(np.asarray(curve.residual) < 1e-8)
            assert np.all(np.asarray(curve.learned) <= np.asarray(curve.n_train) * (1 + 1e-6))
            assert np.all(np.isfinite(curve.total))


@pytest.mark.thorough
def test_losses_have_derivatives_by_the_levels_and_the_ridge() -> None:
    _, levels, _, _ = problem("erf, deep", 6)
    power = powers(6, "quench")

    def loss(scale, ridge):
        changed = levels.eigenvalues * jnp.exp(-scale * jnp.arange(7.0))
        moved = qs.learning.Levels(
            changed,
            levels.nngp_eigenvalues,
            levels.multiplicities,
            levels.n_states,
            levels.parities,
        )
        return qs.learning.learning_curve(moved, power, [20], ridge=ridge).total[0]

    gradient = jax.grad(loss, argnums=(0, 1))(0.2, 0.05)
    for i, point in enumerate(((1e-5, 0.0), (0.0, 1e-6))):
        ends = [loss(0.2 + s * point[0], 0.05 + s * point[1]) for s in (1, -1)]
        np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / (2 * point[i]), rtol=1e-5)


def test_wrong_inputs_are_named() -> None:
    _, levels, _, _ = problem("cosines", 6)
    power = powers(6, "quench")
    with pytest.raises(E.SplitError, match="64"):
        qs.learning.learning_curve(levels, power, [64])
    with pytest.raises(E.TargetPowerError, match="shape"):
        qs.learning.learning_curve(levels, power[:-1], [8])
    with pytest.raises(E.InvalidTrainingError, match="ridge"):
        qs.learning.learning_curve(levels, power, [8], ridge=-1.0)
    with pytest.raises(E.InvalidTrainingError, match="method"):
        qs.learning.learning_curve(levels, power, [8], method="triples")


@pytest.mark.thorough
def test_a_target_of_few_amplitudes_is_warned_about() -> None:
    _, levels, _, _ = problem("relu, bias", 8)
    hilbert = nk.hilbert.Spin(0.5, 8)
    target = qs.targets.Target(hilbert, np.eye(256)[3])
    with pytest.warns(E.FewAmplitudesWarning, match="dominated by 1"):
        qs.learning.learning_curve(levels, qs.learning.target_power(target), [40])


@pytest.mark.thorough
def test_losses_have_derivatives_by_the_sigmas_of_a_network() -> None:
    hilbert, power = nk.hilbert.Spin(0.5, 40), qs.learning.product_state([[1.0, 0.9]] * 40).powers()
    kernel = qs.kernels.infinite_width(NETWORKS["relu, bias"])

    def loss(kernel):
        return qs.learning.learning_curve(qs.learning.levels(kernel, hilbert), power, [500]).total[
            0
        ]

    slopes = jax.tree.leaves(jax.grad(loss)(kernel))
    leaves, treedef = jax.tree.flatten(kernel)
    for i, leaf in enumerate(leaves):
        ends = []
        for step in (1e-5, -1e-5):
            moved = [*leaves[:i], leaf + step, *leaves[i + 1 :]]
            ends.append(loss(treedef.unflatten(moved)))
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(slopes[i].sum(), slope, rtol=1e-4, atol=1e-6 * float(ends[0]))


@pytest.mark.parametrize("d", [10, 60, 61, 63, 91, 100, 200])
def test_configurations_of_any_number_of_spins_come_in_pairs(d) -> None:
    """From 2^53 on, half of all configurations and the other half need not add up to all in float64."""
    scheme = hamming_scheme(d)
    counts = np.array(scheme.multiplicities, dtype=float)
    ones = np.ones(len(counts))
    levels = qs.learning.Levels(ones, ones, counts, float(scheme.n_states), scheme.parities)
    assert is_paired(levels)


@pytest.mark.parametrize(("d", "up"), [(10, 5), (60, 30), (64, 32), (60, 29), (61, 30)])
def test_half_filled_sectors_come_in_pairs(d, up) -> None:
    scheme = johnson_scheme(d, up)
    counts = np.array(scheme.multiplicities, dtype=float)
    ones = np.ones(len(counts))
    levels = qs.learning.Levels(ones, ones, counts, float(scheme.n_states), scheme.parities)
    assert is_paired(levels) == (2 * up == d)


@pytest.mark.thorough
def test_curves_change_smoothly_with_the_number_of_spins() -> None:
    losses = []
    for d in (60, 61, 62):
        kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, d))
        power = qs.learning.target_power(qs.learning.ising_quench(d, J=-1.0, time=0.05))
        curve = qs.learning.learning_curve(levels, power, [3000])
        assert curve.method == "pairs"
        losses.append(float(curve.L_mu[0]) * 2.0**d)
    np.testing.assert_allclose(losses[1], (losses[0] + losses[2]) / 2, rtol=2e-3)


@pytest.mark.thorough
def test_six_hundred_spins_have_a_curve_without_overflow() -> None:
    d = 600
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, d))
    power = qs.learning.target_power(qs.learning.ising_quench(d, J=-1.0, time=0.02))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = qs.learning.learning_curve(levels, power, [100, 10_000])
    assert 0 < float(curve.L_mu[1]) < float(curve.L_mu[0]) < 2.0**-d

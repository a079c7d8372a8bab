"""Stochastic training by levels against simulations in function space."""

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.learning import batch_sizes

from .oracles import parities

E = qs.errors


def problem(d, **options):
    model = qs.models.WideMLP(widths=(4,), sigma_w=1.4, sigma_b=0.5, **options)
    kernel = qs.kernels.infinite_width(model)
    x = np.where((np.arange(2**d)[:, None] >> np.arange(d)) & 1, -1.0, 1.0)
    rng = np.random.default_rng(0)
    target = rng.normal(size=2**d)
    target /= np.linalg.norm(target)
    functions, weights = parities(d)
    power = np.bincount(weights, (functions.T @ target) ** 2) / 2**d
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, d))
    return np.asarray(kernel.ntk(x)), levels, power, target


def simulated(ntk, target, batch, rate, steps, runs, method, ridge, replace):
    """Mean square error over the basis of networks that start at 0, averaged over runs, with its error."""
    curves = np.empty((runs, steps + 1))
    for run in range(runs):
        rng = np.random.default_rng(run)
        error = -target.copy()
        for t in range(steps + 1):
            curves[run, t] = np.mean(error**2)
            seen = rng.choice(len(target), batch, replace=replace)
            if method == "sgd":
                error -= 2 * rate / batch * (ntk[:, seen] @ error[seen])
            else:
                block = ntk[np.ix_(seen, seen)] + ridge * np.eye(batch)
                error -= rate * ntk[:, seen] @ np.linalg.solve(block, error[seen])
    return curves.mean(0), curves.std(0, ddof=1) / runs**0.5


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "batch", "rate", "ridge", "replace"),
    [
        ("sgd", 8, 0.5, 0.0, True),
        ("sgd", 64, 0.6, 0.0, False),
        ("minsr", 20, 0.3, 0.01, False),
        ("minsr", 100, 0.5, 0.0, False),
    ],
)
def test_average_losses_are_those_of_simulated_runs(method, batch, rate, ridge, replace) -> None:
    ntk, levels, power, target = problem(8)
    if method == "sgd":
        rate *= qs.learning.max_stochastic_rate(levels, batch, replace=replace)
    mean, error = simulated(ntk, target, batch, rate, 30, 60, method, ridge, replace)
    curve = qs.learning.stochastic_curve(
        levels,
        power,
        np.arange(31),
        learning_rate=rate,
        batch_size=batch,
        method=method,
        ridge=ridge,
        replace=replace,
    )
    off = np.abs(np.asarray(curve.L_mu) - mean)
    assert np.all(off <= np.maximum(4 * error, 0.02 * mean) + 1e-15)
    np.testing.assert_allclose(curve.powers[0].sum(), curve.total[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "minsr"])
def test_average_losses_at_ten_spins(method) -> None:
    ntk, levels, power, target = problem(10)
    rate, ridge = (
        (0.4, 0.01)
        if method == "minsr"
        else (
            0.5 * qs.learning.max_stochastic_rate(levels, 32),
            0.0,
        )
    )
    # The noise of fewer runs is as large as the bound.
    mean, _ = simulated(ntk, target, 32, rate, 60, 120, method, ridge, method == "sgd")
    curve = qs.learning.stochastic_curve(
        levels,
        power,
        np.arange(61),
        learning_rate=rate,
        batch_size=32,
        method=method,
        ridge=ridge,
    )
    np.testing.assert_allclose(curve.L_mu, mean, rtol=0.02)


@pytest.mark.thorough
def test_the_largest_rate_separates_decay_from_growth() -> None:
    _, levels, power, _ = problem(6)
    for batch in (1, 10, 200):
        largest = qs.learning.max_stochastic_rate(levels, batch)
        options = {"batch_size": batch}
        below = qs.learning.stochastic_curve(
            levels, power, [0, 10**7], learning_rate=0.98 * largest, **options
        )
        assert float(below.L_mu[1]) < 1e-3 * float(below.L_mu[0])
        with pytest.warns(E.UnstableLearningRateWarning, match=f"batches of {batch}"):
            above = qs.learning.stochastic_curve(
                levels, power, [0, 5000], learning_rate=1.02 * largest, **options
            )
        assert not float(above.L_mu[1]) < float(above.L_mu[0])
    n, top = float(levels.n_states), float(levels.eigenvalues.max())
    np.testing.assert_allclose(qs.learning.max_stochastic_rate(levels, 10**9), n / top, rtol=1e-6)


@pytest.mark.thorough
def test_samples_needed_are_those_at_which_a_level_is_half_learned() -> None:
    _, levels, power, _ = problem(8)
    needed = qs.learning.samples_needed(levels)
    assert np.all(np.diff(needed[:3]) > 0)
    for w in (1, 2, 3):
        curve = qs.learning.learning_curve(levels, power, [needed[w]])
        np.testing.assert_allclose(curve.learnability[0, w], 0.5, atol=1e-9)


@pytest.mark.thorough
def test_infinitely_many_steps_and_wrong_inputs() -> None:
    _, levels, power, _ = problem(6)
    curve = qs.learning.stochastic_curve(
        levels, power, [np.inf], learning_rate=0.5, batch_size=8, method="minsr"
    )
    assert float(curve.total[0]) < 1e-20
    for options, word in (
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 64, "method": "minsr"}, "batch_size"),
        ({"batch_size": 8, "method": "adam"}, "method"),
        ({"batch_size": 8, "learning_rate": -1.0}, "learning_rate"),
    ):
        with pytest.raises(E.InvalidTrainingError, match=word):
            qs.learning.stochastic_curve(levels, power, [1], **({"learning_rate": 0.1} | options))


@pytest.mark.parametrize("steps", [2.0**62, 2.0**63, 2.0**64, 1e30])
def test_steps_beyond_counting_are_infinitely_many(steps) -> None:
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 4))
    power = qs.learning.target_power(qs.learning.product_state([[1.0, 0.5]] * 4))
    curve = qs.learning.stochastic_curve(
        levels, power, [steps, np.inf], learning_rate=0.1, batch_size=4
    )
    np.testing.assert_array_equal(curve.powers[0], curve.powers[1])
    assert float(curve.L_mu[0]) < 1e-12


def test_samples_whose_potential_is_not_found_are_nan_and_named(monkeypatch) -> None:
    """Where it is lost between 6 and 20 samples, no level is said to need 20."""
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
    levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 8))
    known = qs.learning.samples_needed(levels)
    assert 6 < known[1] < 20 < known[2]
    right = batch_sizes._shares

    def lost(clusters, sizes, ridge):
        gone = (sizes > 6) & (sizes < 20)
        return jnp.where(gone[:, None], jnp.nan, right(clusters, sizes, ridge))

    monkeypatch.setattr(batch_sizes, "_shares", lost)
    with pytest.warns(qs.errors.NotConvergedWarning, match="samples are nan"):
        found = qs.learning.samples_needed(levels)
    assert np.isnan(found[1])
    given = np.isfinite(found)
    assert given[2]
    np.testing.assert_allclose(found[given], known[given], rtol=1e-6)

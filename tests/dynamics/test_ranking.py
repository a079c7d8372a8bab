"""The order of architectures, predicted and measured."""

import numpy as np
import optax
import pytest
import scipy.stats

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError

TARGET = qs.targets.tfim_quench(extent=(2, 3))
MODELS = {
    "rough": qs.models.CosNet(1, 0.1, 8.0),
    "smooth": qs.models.CosNet(1, 0.1, 1.0),
    "even": qs.models.WideMLP((1,), "cos", sigma_w=(1.4, 0.1)),
}


def test_ranking_is_that_of_the_infinite_width_driver() -> None:
    found = qs.dynamics.rank(MODELS, TARGET, n_train=40, steps=[10, 200], rate=0.5, seed=3)
    losses = {}
    for name, model in MODELS.items():
        states = TARGET.split(40, 3)[0].states
        rate = 0.5 * qs.kernels.max_learning_rate(qs.kernels.infinite_width(model), states)
        driver = qs.driver.InfiniteWidthDriver(
            TARGET, optax.sgd(rate), n_train=40, seed=3,
            variational_state=qs.vqs.InfiniteState(TARGET.hilbert, model),
        )  # fmt: skip
        losses[name] = driver.predict([10, 200])["loss/test"]
        assert found.learning_rate(name) == pytest.approx(rate)
    assert found.names == tuple(sorted(losses, key=lambda name: losses[name][-1]))
    np.testing.assert_allclose(found.total, [losses[name] for name in found.names], rtol=1e-9)
    for name in found.names:
        assert name in str(found)


def test_zero_is_the_loss_of_predicting_nothing() -> None:
    found = qs.dynamics.rank(MODELS, TARGET, n_train=40, steps=1)
    assert found.zero == pytest.approx(np.mean(np.abs(TARGET.split(40, 0)[1].amplitudes) ** 2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": {}}, "No models"),
        ({"rate": 1.5}, "stability limit"),
        ({"n_train": 64}, "whole basis"),
    ],
)
def test_what_cannot_be_ranked_is_refused(changed: dict, message: str) -> None:
    options = {"models": MODELS, "n_train": 40, "rate": 0.5} | changed
    with pytest.raises(InvalidTrainingError, match=message):
        qs.dynamics.rank(target=TARGET, **options)


def test_rank_correlation_is_scipys_of_the_averages() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.random(9)
    trained = predicted[:, None] + 0.3 * rng.normal(size=(9, 5))
    found = qs.dynamics.rank_correlation(predicted, trained)
    expected = scipy.stats.spearmanr(predicted, trained.mean(1)).statistic
    assert found.correlation == pytest.approx(expected)
    assert found.low < found.correlation < found.high


@pytest.mark.thorough
def test_error_of_the_members_is_the_scatter_of_repeated_training() -> None:
    rng = np.random.default_rng(1)
    predicted = np.linspace(0, 1, 12)

    def draw():
        return predicted[:, None] + 0.5 * rng.normal(size=(12, 30))

    repeated = [qs.dynamics.rank_correlation(predicted, draw()) for _ in range(12)]
    truth = np.std(
        [scipy.stats.spearmanr(predicted, draw().mean(1)).statistic for _ in range(2000)]
    )
    # Bootstrapping adds its own noise to that of the averages: it errs on the safe side.
    assert truth < np.mean([r.error for r in repeated]) < 2 * truth


@pytest.mark.slow
def test_interval_covers_the_correlation_of_the_population() -> None:
    # Bivariate normal with Pearson 0.8: Spearman's correlation is (6/π) arcsin(0.4).
    rng = np.random.default_rng(2)
    truth = 6 / np.pi * np.arcsin(0.4)
    inside = 0
    for _ in range(60):
        x = rng.normal(size=17)
        y = 0.8 * x + 0.6 * rng.normal(size=17)
        found = qs.dynamics.rank_correlation(x, y[:, None])
        inside += found.low < truth < found.high
    assert inside >= 51  # 95 % of 60 is 57, with a standard deviation of 1.7


@pytest.mark.thorough
def test_perfect_order_has_an_interval_that_narrows_with_more_architectures() -> None:
    few, many = (qs.dynamics.rank_correlation(np.arange(n), np.arange(n)[:, None]) for n in (5, 20))
    assert few.correlation == pytest.approx(1)
    assert many.correlation == pytest.approx(1)
    assert few.low < many.low < 1
    assert few.error == 0


def test_too_few_to_correlate_is_refused() -> None:
    with pytest.raises(InvalidTrainingError, match="at least four"):
        qs.dynamics.rank_correlation([1, 2, 3], [[1], [2], [3]])


@pytest.mark.thorough
def test_architectures_by_levels_are_those_on_average_over_training_sets() -> None:
    by_levels = qs.dynamics.compare_architectures(MODELS, TARGET, n_train=40, method="levels")
    sets = [qs.dynamics.rank(MODELS, TARGET, n_train=40, seed=s) for s in range(30)]
    for i, name in enumerate(by_levels.names):
        losses = [found.loss(name) for found in sets]
        error = np.std(losses, ddof=1) / len(losses) ** 0.5
        assert abs(np.mean(losses) - by_levels.total[i, -1]) < max(
            4 * error, 0.05 * np.mean(losses)
        )


@pytest.mark.thorough
def test_architectures_for_a_hundred_spins() -> None:
    chain = qs.learning.ising_quench(100, J=-1.0, time=0.05)
    found = qs.dynamics.compare_architectures(MODELS, chain, n_train=10**5)
    assert len(found.names) == len(MODELS)
    assert np.all(np.isfinite(found.total))
    with pytest.raises(InvalidTrainingError, match="infinitely many"):
        qs.dynamics.compare_architectures(MODELS, chain, n_train=10**5, steps=100)

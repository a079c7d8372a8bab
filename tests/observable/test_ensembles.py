"""Quenched and annealed entropies of ensembles of finite and of infinite width."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.entanglement import entropies, page_entropy
from netket_qsntk.errors import EntropyOrderError, HilbertMismatchError, ObservableError
from netket_qsntk.observable import EnsembleEntropy, EntanglementEntropy

HILBERT = nk.hilbert.Spin(0.5, 6)
SITES = [0, 3, 4]
MODEL = qs.models.CosNet(30, sigma_a=1.0, sigma_w=2.0)


@pytest.fixture(scope="module")
def members():
    return qs.vqs.EnsembleState(HILBERT, MODEL, 200, seed=0)


@pytest.fixture(scope="module")
def infinite():
    return qs.vqs.InfiniteState(HILBERT, MODEL)


@pytest.mark.thorough
def test_members_average_as_single_states_do(members):
    stats = members.expect(EntanglementEntropy(HILBERT, SITES, 1))
    single = [
        members.get_state(i).expect(EntanglementEntropy(HILBERT, SITES, 1)).mean for i in range(3)
    ]
    s = entropies(members.to_array(), HILBERT, SITES)
    np.testing.assert_allclose(s[:3], single, atol=1e-12)
    assert stats.mean == pytest.approx(s.mean())
    assert stats.error_of_mean == pytest.approx(s.std(ddof=1) / math.sqrt(200))
    quenched = members.expect(EnsembleEntropy(HILBERT, SITES, 1))
    assert (quenched.mean, quenched.error_of_mean) == (stats.mean, stats.error_of_mean)


@pytest.mark.thorough
@pytest.mark.parametrize("n", [0.5, 2, 3.5])
def test_annealed_is_the_logarithm_of_the_average(members, n):
    purity = np.exp((1 - n) * entropies(members.to_array(), HILBERT, SITES, n=n))
    stats = members.expect(EnsembleEntropy(HILBERT, SITES, n, "annealed", log_base=2))
    assert stats.mean == pytest.approx(math.log2(purity.mean()) / (1 - n))
    # The stated error against a bootstrap over members.
    rng = np.random.default_rng(0)
    resampled = purity[rng.integers(0, 200, (400, 200))].mean(axis=1)
    spread = np.std(np.log2(resampled) / (1 - n))
    assert stats.error_of_mean == pytest.approx(spread, rel=0.2)


def test_jensen_holds_on_both_sides_of_order_one(members, infinite):
    for state in (members, infinite):
        for n, sign in ((2, 1), (4, 1), (0.5, -1)):
            quenched, annealed = (
                state.expect(EnsembleEntropy(HILBERT, SITES, n, average)).mean
                for average in ("quenched", "annealed")
            )
            assert sign * (quenched - annealed) > 0


@pytest.mark.parametrize("n", [2, 3])
def test_the_exact_annealed_average_is_that_of_draws(infinite, n):
    exact = infinite.expect(EnsembleEntropy(HILBERT, SITES, n, "annealed"))
    assert exact.error_of_mean == 0
    moments = np.exp((1 - n) * entropies(infinite.sample(20_000, 1), HILBERT, SITES, n=n))
    z = (moments.mean() - math.exp((1 - n) * exact.mean)) / (moments.std() / math.sqrt(20_000))
    assert abs(z) < 4


def test_the_quenched_average_is_that_of_draws(infinite):
    stats = infinite.expect(EnsembleEntropy(HILBERT, SITES, 1, n_draws=4000, seed=5))
    s = entropies(infinite.sample(4000, 2), HILBERT, SITES)
    error = math.hypot(stats.error_of_mean, s.std() / math.sqrt(4000))
    assert abs(stats.mean - s.mean()) < 4 * error
    again = infinite.expect(EnsembleEntropy(HILBERT, SITES, 1, n_draws=4000, seed=5))
    assert again.mean == stats.mean
    plain = infinite.expect(EntanglementEntropy(HILBERT, SITES, 1))
    assert abs(plain.mean - s.mean()) < 4 * math.hypot(plain.error_of_mean, error)


@pytest.mark.thorough
def test_wide_ensembles_tend_to_the_infinite_one(infinite):
    # Width 30 differs from the limit, width 1000 does not within errors.
    wide = qs.vqs.EnsembleState(HILBERT, MODEL.clone(width=1000), 300, seed=1)
    entropy = EnsembleEntropy(HILBERT, SITES, 2, "annealed")
    exact, measured = infinite.expect(entropy), wide.expect(entropy)
    assert abs(measured.mean - exact.mean) < 4 * measured.error_of_mean


def test_real_models_and_perceptrons_reach_the_closed_forms_too():
    for model in (
        qs.models.WideMLP((8,), "erf", 2.0, parts="real"),
        qs.models.GaussNet(8, sigma_w=1.0, parts="real"),
    ):
        state = qs.vqs.InfiniteState(HILBERT, model)
        exact = state.expect(EnsembleEntropy(HILBERT, SITES, 2, "annealed"))
        purity = np.exp(-entropies(state.sample(20_000, 1), HILBERT, SITES, n=2))
        z = (purity.mean() - math.exp(-exact.mean)) / (purity.std() / math.sqrt(20_000))
        assert abs(z) < 4


def test_two_hundred_spins_have_an_annealed_entropy_without_amplitudes():
    large = nk.hilbert.Spin(0.5, 200)
    state = qs.vqs.InfiniteState(large, qs.models.CosNet(1, sigma_w=math.sqrt(400)))
    stats = state.expect(EnsembleEntropy(large, range(100), 2, "annealed"))
    assert 60 < stats.mean < page_entropy(2**100, 2**100)


@pytest.mark.thorough
def test_a_trained_state_is_averaged_over_draws():
    target = qs.targets.Target(HILBERT, np.ones(64))
    state = qs.vqs.InfiniteState(HILBERT, MODEL)
    untrained = state.expect(EnsembleEntropy(HILBERT, SITES, 2, "annealed")).mean
    train = target.split(64, seed=0)[0]
    rate = 0.5 * qs.kernels.max_learning_rate(state.kernel, train.states)
    dynamics = qs.dynamics.LinearDynamics(state.kernel, train, learning_rate=rate)
    state.set_training(dynamics, math.inf)
    for average in ("quenched", "annealed"):
        # Trained to a product state everywhere: nothing is left of the entropy.
        stats = state.expect(EnsembleEntropy(HILBERT, SITES, 2, average, n_draws=50))
        assert stats.mean < 1e-3 < untrained


@pytest.mark.thorough
def test_single_states_are_told_what_to_use():
    entropy = EnsembleEntropy(HILBERT, SITES)
    sampled = nk.vqs.MCState(nk.sampler.ExactSampler(HILBERT), MODEL, n_samples=8)
    for state in (nk.vqs.FullSumState(HILBERT, MODEL), sampled):
        with pytest.raises(ObservableError, match=r"EntanglementEntropy\(hilbert"):
            state.expect(entropy)


def test_bad_input(members):
    with pytest.raises(EntropyOrderError, match="pole"):
        EnsembleEntropy(HILBERT, SITES, 1, "annealed")
    with pytest.raises(EntropyOrderError, match="n=inf"):
        EnsembleEntropy(HILBERT, SITES, math.inf, "annealed")
    with pytest.raises(EntropyOrderError, match="average"):
        EnsembleEntropy(HILBERT, SITES, 2, "typical")
    with pytest.raises(EntropyOrderError, match="n_draws"):
        EnsembleEntropy(HILBERT, SITES, n_draws=1)
    other = nk.hilbert.Spin(0.5, 5)
    for observable in (EnsembleEntropy, EntanglementEntropy):
        with pytest.raises(HilbertMismatchError):
            members.expect(observable(other, [0]))
    assert "average='annealed'" in repr(EnsembleEntropy(HILBERT, SITES, 2, "annealed"))


@pytest.mark.thorough
def test_draws_of_log_psi_are_weighted_by_their_norms():
    """No closed form at n = 2.0001, and next to the one at n = 2."""
    hilbert = nk.hilbert.Spin(0.5, 4)
    model = qs.models.CosNet(1, sigma_a=1.2, sigma_w=1.5, output="log_psi")
    state = qs.vqs.InfiniteState(hilbert, model)
    closed, drawn = (
        state.expect(
            EnsembleEntropy(hilbert, [0, 1], n, "annealed", n_draws=20_000, normalization="ratio")
        )
        for n in (2, 2.0001)
    )
    assert closed.error_of_mean == 0
    assert abs(drawn.mean - closed.mean) < 4 * drawn.error_of_mean
    exact = state.expect(EnsembleEntropy(hilbert, [0, 1], 2.0001, "annealed", n_draws=20_000))
    assert abs(exact.mean - closed.mean) > 5 * drawn.error_of_mean

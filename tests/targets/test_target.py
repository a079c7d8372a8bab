import pickle

import jax
import netket as nk
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from netket_qsntk.errors import AmplitudesError, SplitError, SystemTooLargeError
from netket_qsntk.targets import Dataset, Target, all_states

SPINS = nk.hilbert.Spin(0.5, 5)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 2))


def random_target(hilbert: nk.hilbert.DiscreteHilbert, seed: int = 0) -> Target:
    rng = np.random.default_rng(seed)
    return Target(hilbert, rng.normal(size=(hilbert.n_states, 2)) @ [1, 1j])


def test_amplitudes_have_unit_norm_over_the_whole_basis_and_the_given_direction():
    given = np.random.default_rng(1).normal(size=(32, 2)) @ [1, 1j]
    target = Target(SPINS, given)
    assert target.amplitudes.dtype == np.complex128
    assert target.n_states == 32
    assert_allclose(np.linalg.norm(target.amplitudes), 1.0, atol=1e-15)
    assert_allclose(target.amplitudes * np.linalg.norm(given), given, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_norm_neither_overflows_nor_underflows(scale):
    given = np.arange(1.0, 33.0)
    assert_allclose(Target(SPINS, scale * given).amplitudes, given / np.linalg.norm(given))


def test_target_keeps_its_own_read_only_copy():
    given = np.ones(32, dtype=complex)
    target = Target(SPINS, given)
    given[0] = 100.0
    assert target.amplitudes[0] == target.amplitudes[1]
    with pytest.raises(ValueError, match="read-only"):
        target.amplitudes[0] = 0.0


@pytest.mark.thorough
@pytest.mark.parametrize("hilbert", [SPINS, FERMIONS])
def test_from_state_takes_what_the_state_holds(hilbert):
    state = nk.vqs.FullSumState(hilbert, nk.models.RBM(alpha=1, param_dtype=complex), seed=2)
    target = Target.from_state(state)
    log_psi = np.asarray(state.log_value(hilbert.all_states()))
    expected = np.exp(log_psi) / np.linalg.norm(np.exp(log_psi))
    assert target.hilbert == hilbert
    assert_allclose(target.amplitudes, expected, atol=1e-14)


@pytest.mark.thorough
def test_from_state_takes_sampled_states():
    sampler = nk.sampler.MetropolisLocal(SPINS, n_chains=4)
    model = nk.models.RBM(alpha=1, param_dtype=complex)
    sampled = nk.vqs.MCState(sampler, model, n_samples=8, seed=2)
    full = nk.vqs.FullSumState(SPINS, model, variables=sampled.variables)
    assert_allclose(
        Target.from_state(sampled).amplitudes, Target.from_state(full).amplitudes, atol=1e-14
    )


def test_from_state_refuses_what_is_no_state():
    with pytest.raises(AmplitudesError, match=r"got ndarray.*Target\(hilbert, amplitudes\)"):
        Target.from_state(np.ones(32))


@pytest.mark.thorough
@pytest.mark.parametrize("hilbert", [SPINS, FERMIONS])
def test_split_is_disjoint_and_complete_with_the_amplitudes_of_its_states(hilbert):
    target = random_target(hilbert)
    train, test = target.split(4, seed=7)
    states = np.concatenate([train.states, test.states])
    amplitudes = np.concatenate([train.amplitudes, test.amplitudes])
    assert isinstance(train.states, np.ndarray)
    assert train.states.dtype == np.asarray(hilbert.all_states()).dtype == np.int8
    assert train.states.shape == (4, hilbert.size)
    assert (len(train), len(test)) == (4, hilbert.n_states - 4)
    numbers = np.asarray(hilbert.states_to_numbers(states))
    assert sorted(numbers) == list(range(hilbert.n_states))
    assert_array_equal(amplitudes, target.amplitudes[numbers])


def test_split_repeats_with_its_seed_and_changes_with_it():
    target = random_target(SPINS)
    numbers = [target.split_indices(16, seed)[0].tolist() for seed in (3, 3, 4)]
    assert numbers[0] == numbers[1] != numbers[2]
    # The stream of numpy's default generator is part of the contract: seeds mean the same tomorrow.
    expected = np.sort(np.random.default_rng(3).permutation(32)[:16]).tolist()
    assert numbers[0] == expected


def test_larger_training_sets_of_one_seed_contain_the_smaller_ones():
    target = random_target(SPINS)
    small, large = (set(target.split_indices(n, seed=5)[0].tolist()) for n in (10, 20))
    assert small < large


def test_split_draws_uniformly():
    target = random_target(SPINS)
    counts = np.zeros(32)
    for seed in range(2000):
        counts[target.split_indices(8, seed)[0]] += 1
    # Each state is drawn with probability 1/4: a standard deviation of √(2000·3/16) = 19.4.
    assert np.abs(counts - 500).max() < 4.5 * 19.4
    assert np.abs(counts - 500).max() > 5


def test_training_on_the_whole_basis_leaves_an_empty_test_set():
    train, test = random_target(SPINS).split(32, seed=0)
    assert_array_equal(train.states, all_states(SPINS))
    assert test.states.shape == (0, 5)
    assert test.amplitudes.shape == (0,)


@pytest.mark.parametrize("n_train", [0, -3, 33, 2.5, True, None])
def test_impossible_training_sets_are_named(n_train):
    with pytest.raises(SplitError, match=r"from 1 to 32.*split\(16, seed=0\)"):
        random_target(SPINS).split(n_train, seed=0)


@pytest.mark.parametrize(
    ("amplitudes", "message"),
    [
        (np.ones(31), r"expected 32 finite numbers.*shape \(31,\).*all_states"),
        (np.ones((32, 1)), r"shape \(32, 1\)"),
        (np.zeros(32), "zeros only"),
        ([1.0, np.nan, *[1.0] * 29, np.inf], "2 that are not finite, the first at basis state 1"),
        (["a"] * 32, "got list"),
    ],
)
def test_impossible_amplitudes_are_named(amplitudes, message):
    with pytest.raises(AmplitudesError, match=message):
        Target(SPINS, amplitudes)


@pytest.mark.parametrize("hilbert", [nk.hilbert.Spin(0.5, 40), nk.hilbert.Spin(0.5, 100)])
def test_a_basis_too_large_to_sum_over_says_what_to_use(hilbert):
    with pytest.raises(SystemTooLargeError, match=r"at most 67108864.*nk.vqs.MCState"):
        Target(hilbert, np.ones(3))
    with pytest.raises(SystemTooLargeError, match="all_states"):
        all_states(hilbert)


def test_repr_tells_space_spread_and_phase():
    half = Target(SPINS, [1.0, 1j] + [0.0] * 30)
    assert "N=5" in repr(half)
    assert "32 states, effectively 2.0, 50.0% of the norm imaginary" in repr(half)
    train, _ = half.split(32)
    assert (
        repr(train) == "Dataset(32 configurations of length 5, int8, 100.0% of the target's norm)"
    )


def test_target_pickles():
    target = random_target(FERMIONS)
    copy = pickle.loads(pickle.dumps(target))
    assert copy.hilbert == target.hilbert
    assert_array_equal(copy.amplitudes, target.amplitudes)


def test_dataset_passes_through_jit():
    train, _ = random_target(SPINS).split(6, seed=0)
    out = jax.jit(lambda data: data)(train)
    assert isinstance(out, Dataset)
    assert_array_equal(np.asarray(out.states), train.states)
    assert_array_equal(np.asarray(out.amplitudes), train.amplitudes)


@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((12,), (12,)), ((3, 4), (3, 1))])
def test_dataset_refuses_shapes_that_do_not_fit(shapes):
    states, amplitudes = (np.zeros(shape) for shape in shapes)
    with pytest.raises(AmplitudesError, match=r"\(n, sites\) and \(n,\)"):
        Dataset(states, amplitudes)

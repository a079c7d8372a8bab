"""Wick's theorem as loops, against Isserlis' theorem term by term over all configurations."""

import math

import netket as nk
import numpy as np
import pytest

from netket_qsntk.entanglement import DenseEnsemble, log_average_moment
from netket_qsntk.entanglement.orders import check_replicas
from netket_qsntk.entanglement.wick import contractions, loop_graphs
from netket_qsntk.errors import EntropyOrderError, SystemTooLargeError
from tests.entanglement.oracles import isserlis_moment


def random_covariances(dimension, *, proper, seed):
    """(Γ, C) of ψ = M ξ with complex M and real white ξ, or of a proper ensemble."""
    rng = np.random.default_rng(seed)
    m = rng.standard_normal((dimension, 6)) + 1j * rng.standard_normal((dimension, 6))
    return m @ m.conj().T, None if proper else m @ m.T


@pytest.mark.parametrize("n", range(1, 7))
def test_the_number_of_pairings(n):
    assert sum(c.weight for c in contractions(n, proper=True)) == math.factorial(n)
    pairings = math.prod(range(1, 2 * n, 2))
    assert sum(c.weight for c in contractions(n, proper=False)) == pairings
    for proper, total in ((True, math.factorial(n)), (False, pairings)):
        assert sum(weight for _, weight in loop_graphs(n, proper=proper)) == total


def test_planar_contractions_close_n_plus_one_loops():
    # Catalan numbers count the planar (dominant) ones, and no contraction has more loops.
    for n, catalan in ((2, 2), (3, 5), (4, 14), (5, 42), (6, 132)):
        loops = {c: sum(map(len, c.loops)) for c in contractions(n, proper=True)}
        assert max(loops.values()) == n + 1
        assert sum(c.weight for c, count in loops.items() if count == n + 1) == catalan


@pytest.mark.parametrize(("n", "proper"), [(2, True), (2, False), (3, True), (3, False), (4, True)])
def test_moments_equal_the_sum_over_all_replica_configurations(n, proper):
    hilbert, site = nk.hilbert.Spin(0.5, 2), [1]
    gamma, c = random_covariances(4, proper=proper, seed=n)
    # The oracle puts A first; site 1 is the fast index of NetKet's states.
    order = [0, 2, 1, 3]
    expected = isserlis_moment(
        gamma[np.ix_(order, order)], None if c is None else c[np.ix_(order, order)], (2, 2), n
    )
    if proper:
        zero = np.zeros((4, 4))
        assert isserlis_moment(gamma[np.ix_(order, order)], zero, (2, 2), n) == pytest.approx(
            expected
        )
    ensemble = DenseEnsemble(gamma, hilbert, c)
    ours = log_average_moment(ensemble, site, n, normalization="none")
    assert ours == pytest.approx(math.log(expected), abs=1e-12)


def test_orders_without_a_sum_over_contractions_are_refused():
    with pytest.raises(EntropyOrderError, match="pole"):
        check_replicas(1)
    for bad in (0, 7, 2.5, -2, "2", math.inf):
        with pytest.raises(EntropyOrderError, match=r"integers 2, …, 6"):
            check_replicas(bad)
    assert check_replicas(3.0) == 3


def test_a_contraction_that_does_not_fit_is_refused_before_it_is_tried():
    ensemble = DenseEnsemble(np.eye(1024), nk.hilbert.Spin(0.5, 10))
    with pytest.raises(SystemTooLargeError, match="intermediate of 8 GiB"):
        log_average_moment(ensemble, range(5), 6)

"""EnsembleState: independent members and averages over them."""

import jax
import netket as nk
import numpy as np
import pytest
from flax import serialization
from netket.operator.fermion import create, destroy

import netket_qsntk as qs

SPINS = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))
CHAIN = nk.graph.Chain(4)
HOPPING = create(FERMIONS, 0, -1) @ destroy(FERMIONS, 1, -1)
HUBBARD = nk.operator.FermiHubbardJax(FERMIONS, t=1.0, U=3.0, graph=nk.graph.Chain(3))


def spins(n_members=4, **options):
    model = qs.models.CosNet(8, 1.0, 2.0)
    return qs.vqs.EnsembleState(SPINS, model, n_members, **{"seed": 0, **options})


def fermions(n_members=3):
    model = qs.models.WideMLP(widths=(6,), parts="shared", encoding=qs.encodings.fermion_sites)
    return qs.vqs.EnsembleState(FERMIONS, model, n_members, seed=0)


def rbm():
    return qs.vqs.EnsembleState(SPINS, nk.models.RBM(alpha=1, param_dtype=complex), 3, seed=0)


def dense_averages(state, operator):
    """Mean, standard error and variance over members, by dense matrices."""
    values = []
    for psi in np.asarray(state.to_array(normalize=False)):
        values.append(np.vdot(psi, operator.to_dense() @ psi) / np.vdot(psi, psi))
    values = np.array(values)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values)), values.var(ddof=1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "operator"),
    [
        (spins, nk.operator.Ising(SPINS, CHAIN, h=0.7)),
        (spins, nk.operator.IsingJax(SPINS, CHAIN, h=0.7)),
        (rbm, nk.operator.spin.sigmay(SPINS, 1) @ nk.operator.spin.sigmaz(SPINS, 2)),
        (rbm, nk.operator.spin.sigmap(SPINS, 0)),
        (fermions, HUBBARD),
        (fermions, HOPPING + HOPPING.H),
    ],
    ids=["Ising", "IsingJax", "σyσz", "not Hermitian", "Hubbard", "hopping"],
)
def test_expectations_are_averages_over_members(make, operator):
    state = make()
    stats = state.expect(operator)
    mean, error, variance = dense_averages(state, operator)
    assert stats.mean == pytest.approx(mean)
    assert np.isrealobj(stats.mean) == operator.is_hermitian
    assert stats.error_of_mean == pytest.approx(error)
    assert stats.variance == pytest.approx(variance)


@pytest.mark.thorough
@pytest.mark.parametrize("make", [spins, rbm, fermions])
def test_members_are_netket_states_with_the_same_amplitudes(make):
    state = make()
    whole = np.asarray(state.to_array())
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1)
    x = state.hilbert.all_states()
    for i, psi in enumerate(whole):
        member = state.get_state(i)
        assert isinstance(member, nk.vqs.FullSumState)
        assert abs(np.vdot(member.to_array(), psi)) == pytest.approx(1)
        np.testing.assert_allclose(np.exp(member.log_value(x)), state.psi(x)[i], rtol=1e-12)
        np.testing.assert_allclose(np.exp(state.log_value(x)[i]), state.psi(x)[i], rtol=1e-12)
    assert member.n_parameters == state.n_parameters


@pytest.mark.thorough
def test_observables_that_are_no_operators_go_through_the_members():
    state = rbm()
    energy = nk.operator.Ising(SPINS, CHAIN, h=0.7)
    stats = state.expect(nk.observable.VarianceObservable(energy))
    values = []
    for psi in np.asarray(state.to_array()):
        h_psi = energy.to_dense() @ psi
        values.append(np.vdot(h_psi, h_psi).real - np.vdot(psi, h_psi).real ** 2)
    assert np.real(stats.mean) == pytest.approx(np.mean(values))
    assert stats.error_of_mean == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))


@pytest.mark.thorough
def test_a_member_depends_on_seed_and_number_only():
    few, many, other = spins(3), spins(7), spins(3, seed=1)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b[:3]), few.parameters, many.parameters
    )
    for a, b in zip(
        jax.tree.leaves(few.parameters), jax.tree.leaves(other.parameters), strict=True
    ):
        assert not np.any(a == b)


@pytest.mark.thorough
def test_members_are_drawn_independently_from_the_models_distribution():
    members = 1500
    state = qs.vqs.EnsembleState(SPINS, qs.models.CosNet(4, 1.0, 2.0), members, seed=3)
    psi = np.asarray(state.psi(SPINS.all_states()))
    k = np.asarray(qs.kernels.infinite_width(state.model).nngp(SPINS.all_states()))
    products = psi[:, :, None] * psi[:, None, :].conj()
    # CosNet has its limit's covariance at every width.
    error = products.std(0) / np.sqrt(members)
    assert np.max(np.abs(products.mean(0) - 2 * k) / error) < 4.5
    neighbours = np.sum(psi[:-1] * psi[1:].conj(), axis=1)
    assert abs(neighbours.mean()) < 4 * neighbours.std() / np.sqrt(members)


@pytest.mark.thorough
def test_chunks_do_not_change_amplitudes():
    np.testing.assert_allclose(spins(chunk_size=3).to_array(), spins().to_array(), rtol=1e-13)


def test_a_checkpoint_brings_the_parameters_back():
    state, other = spins(), spins(seed=9)
    restored = serialization.from_bytes(other, serialization.to_bytes(state))
    np.testing.assert_array_equal(restored.to_array(), state.to_array())
    assert np.any(np.asarray(other.to_array()) != np.asarray(state.to_array()))
    assert restored.n_members == 4
    assert "n_members=4" in repr(restored)


@pytest.mark.thorough
def test_one_member_has_no_error_bar():
    stats = spins(1).expect(nk.operator.spin.sigmax(SPINS, 0))
    assert stats.error_of_mean == 0
    assert stats.variance == 0


@pytest.mark.parametrize("n_members", [0, -1, 2.0, "3"])
def test_impossible_ensembles_are_named(n_members):
    with pytest.raises(qs.errors.InvalidEnsembleError, match="positive integer"):
        spins(n_members)


@pytest.mark.thorough
def test_wrong_requests_are_named():
    state = spins()
    for i in (4, -5):
        with pytest.raises(qs.errors.InvalidEnsembleError, match="from 0 to 3"):
            state.get_state(i)
    other = nk.operator.spin.sigmax(nk.hilbert.Spin(0.5, 3), 0)
    with pytest.raises(qs.errors.HilbertMismatchError, match="same Hilbert space"):
        state.expect(other)
    with pytest.raises(qs.errors.NotANetworkError, match="flax"):
        qs.vqs.EnsembleState(SPINS, "RBM", 2)
    big = qs.vqs.EnsembleState(nk.hilbert.Spin(0.5, 40), qs.models.CosNet(2), 2, seed=0)
    assert big.psi(big.hilbert.random_state(jax.random.key(0), 3)).shape == (2, 3)
    with pytest.raises(qs.errors.SystemTooLargeError, match="MCState"):
        big.to_array()


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_members_that_have_no_norm_are_named(wrong):
    hilbert = nk.hilbert.Spin(0.5, 3)
    state = qs.vqs.EnsembleState.from_amplitudes(hilbert, [np.ones(8), np.full(8, wrong)])
    for call in (state.to_array, lambda: state.expect(nk.operator.spin.sigmax(hilbert, 0))):
        with pytest.raises(
            qs.errors.AmplitudesError, match=r"Members \[1\] have amplitudes that are all zero"
        ):
            call()

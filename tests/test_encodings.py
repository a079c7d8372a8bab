import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from netket_qsntk.encodings import fermion_sites, spins
from netket_qsntk.errors import EncodingError

# Made at import, outside the strict mode of the tests, which NetKet's own code does not keep.
SPIN_STATES = nk.hilbert.Spin(0.5, 4).all_states()
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 2))
FERMION_STATES = FERMIONS.all_states()


def measured_occupation(site: int, sz: int) -> np.ndarray:
    number = nk.operator.fermion.number(FERMIONS, site, sz)
    _, elements = number.get_conn_padded(FERMION_STATES)
    return np.asarray(elements).sum(axis=-1)


OCCUPATIONS = {(site, sz): measured_occupation(site, sz) for site in range(3) for sz in (-1, 1)}


def test_spins_are_the_configuration_in_float64():
    encoded = spins(SPIN_STATES)
    assert SPIN_STATES.dtype == jnp.int8
    assert encoded.dtype == jnp.float64
    np.testing.assert_array_equal(np.asarray(encoded), np.asarray(SPIN_STATES))


def test_encoded_products_do_not_overflow_where_int8_ones_do():
    states = jnp.ones((1, 200), dtype=jnp.int8)
    assert (states @ states.T).item() != 200
    assert (spins(states) @ spins(states).T).item() == 200


def test_fermion_sites_agrees_with_netkets_number_operators():
    value = {(0, 0): -1.5, (1, 0): -0.5, (0, 1): 0.5, (1, 1): 1.5}
    expected = [
        [value[int(OCCUPATIONS[site, -1][k]), int(OCCUPATIONS[site, 1][k])] for site in range(3)]
        for k in range(FERMIONS.n_states)
    ]
    encoded = fermion_sites(FERMION_STATES)
    np.testing.assert_array_equal(np.asarray(encoded), expected)
    assert set(np.unique(encoded)) == {-1.5, -0.5, 0.5, 1.5}


def test_fermion_sites_tells_all_configurations_apart():
    encoded = np.asarray(fermion_sites(FERMION_STATES))
    assert len(np.unique(encoded, axis=0)) == FERMIONS.n_states


@pytest.mark.parametrize(("encoding", "size"), [(spins, 6), (fermion_sites, 3)])
def test_encodings_jit_vmap_and_keep_batch_axes(encoding, size):
    x = np.random.default_rng(0).integers(0, 2, size=(2, 5, 6)).astype(np.int8)
    encoded = encoding(x)
    assert encoded.shape == (2, 5, size)
    np.testing.assert_array_equal(jax.jit(encoding)(x), encoded)
    np.testing.assert_array_equal(jax.vmap(jax.vmap(encoding))(x), encoded)


@pytest.mark.parametrize("encoding", [spins, fermion_sites])
@pytest.mark.parametrize("came", [np.int8, np.int64, np.float64, np.bool_])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_of_the_result_is_the_one_asked_for(encoding, came, dtype):
    assert encoding(np.ones((3, 4), came), dtype=dtype).dtype == dtype


def test_odd_number_of_occupations_is_named():
    with pytest.raises(EncodingError, match=r"2n occupations.*\(2, 5\).*SpinOrbitalFermions"):
        fermion_sites(np.zeros((2, 5), np.int8))


@pytest.mark.parametrize("encoding", [spins, fermion_sites])
def test_wrong_kinds_of_numbers_are_named(encoding):
    with pytest.raises(EncodingError, match="complex128"):
        encoding(np.zeros((2, 4), complex))
    with pytest.raises(EncodingError, match=r"shape \(\)"):
        encoding(1)
    with pytest.raises(EncodingError, match="real floating dtype, got int8"):
        encoding(np.zeros((2, 4), np.int8), dtype=jnp.int8)

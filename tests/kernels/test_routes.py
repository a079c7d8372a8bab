"""Look-up, direct and traced evaluation of infinite-width kernels are one kernel."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

SPINS = nk.hilbert.Spin(0.5, 6).all_states()
FERMIONS = nk.hilbert.SpinOrbitalFermions(4, s=1 / 2, n_fermions_per_spin=(2, 2)).all_states()
SPIN_ONE = nk.hilbert.Spin(1, 3).all_states()
BOSONS = nk.hilbert.Fock(3, 3).all_states()
B = np.random.default_rng(0).normal(size=(20, 6), scale=0.1)

MODELS = {
    "relu": qs.models.WideMLP(widths=(8, 8), sigma_w=1.3, sigma_b=0.2),
    "erf": qs.models.WideMLP(widths=(8,), activation="erf"),
    "tanh": qs.models.WideMLP(widths=(8,), activation="tanh", sigma_b=0.2),
    "CosNet": qs.models.CosNet(8, sigma_w=2.0),
}
models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@pytest.mark.thorough
@models
@pytest.mark.parametrize(
    ("states", "encoding"),
    [
        (SPINS, None),
        (FERMIONS, qs.encodings.fermion_sites),
        (SPIN_ONE, None),
        (BOSONS, None),
        (FERMIONS, None),
    ],
    ids=["spins", "fermion sites", "spin 1", "bosons", "occupations"],
)
def test_look_up_and_traced_agree(model, states, encoding):
    kernel = qs.kernels.infinite_width(model.clone(encoding=encoding))
    x, y = states, states[3:10]
    for other in (None, y):
        looked_up = kernel.both(x, other)
        traced = jax.jit(kernel.both)(x) if other is None else jax.jit(kernel.both)(x, other)
        for a, b in zip(looked_up, traced, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13 * np.abs(b).max())


@pytest.mark.thorough
@models
def test_direct_and_traced_agree_on_real_inputs(model):
    x = np.random.default_rng(1).normal(size=(40, 5))
    kernel = qs.kernels.infinite_width(model)
    for a, b in zip(kernel.both(x, x[:7]), jax.jit(kernel.both)(x, x[:7]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_inputs_longer_than_one_group_of_coordinates():
    x = np.random.default_rng(1).normal(size=(9, 70))
    model = qs.models.CosNet(8, sigma_w=3.0)
    square = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.testing.assert_allclose(
        qs.kernels.infinite_width(model).nngp(x), np.exp(-9.0 * square / 140) / 2, rtol=1e-13
    )


@pytest.mark.thorough
@models
def test_diagonals_blocks_and_symmetry(model):
    kernel = qs.kernels.infinite_width(model)
    for x in (SPINS, np.random.default_rng(1).normal(size=(30, 5))):
        whole = kernel.both(x)
        block = kernel.both(x[5:12], x[2:])
        for w, b, diagonal in zip(whole, block, kernel.diagonals(x), strict=True):
            np.testing.assert_allclose(b, w[5:12, 2:], rtol=1e-14, atol=1e-15)
            np.testing.assert_allclose(diagonal, np.diag(w), rtol=1e-14)
            np.testing.assert_allclose(w, w.T, rtol=1e-13, atol=1e-15)
        # One kernel alone is another program, and rounds for itself.
        for which, w, diagonal in zip(("nngp", "ntk"), whole, kernel.diagonals(x), strict=True):
            alone, own = kernel.matrix(x, which=which), kernel.diagonal(x, which)
            np.testing.assert_allclose(alone, w, rtol=1e-14, atol=1e-15)
            np.testing.assert_allclose(own, diagonal, rtol=1e-14)


def test_many_blocks_of_rows_agree_with_one():
    x = nk.hilbert.Spin(0.5, 10).all_states()
    kernel = qs.kernels.infinite_width(MODELS["relu"])
    whole = kernel.ntk(x)
    np.testing.assert_array_equal(whole[700:720], kernel.ntk(x[700:720], x))
    np.testing.assert_array_equal(whole[700], kernel.ntk(x[700:701], x)[0])


def test_fourier_features_are_translation_invariant_and_their_networks_kernel():
    network = qs.models.WideMLP(widths=(8,), activation="relu", sigma_b=0.3)
    model = qs.models.FourierFeatures(B, np.linspace(0.5, 1, 20), network)
    kernel = qs.kernels.infinite_width(model)
    x = np.random.default_rng(2).normal(size=(10, 6))
    shift = np.random.default_rng(3).normal(size=6)
    np.testing.assert_allclose(kernel.ntk(x + shift), kernel.ntk(x), rtol=1e-12)
    inner = qs.kernels.infinite_width(network)
    np.testing.assert_allclose(kernel.ntk(x), inner.ntk(np.asarray(model.encode(x))), rtol=1e-13)
    features = np.asarray(model.encode(x))
    np.testing.assert_allclose(
        (features**2).sum(-1), (np.linspace(0.5, 1, 20) ** 2).sum(), rtol=1e-13
    )


def test_integers_floats_lists_and_jax_arrays_are_the_same_configurations():
    kernel = qs.kernels.infinite_width(MODELS["relu"])
    expected = kernel.ntk(SPINS)
    for x in (SPINS.astype(float), SPINS.tolist(), jnp.asarray(SPINS)):
        np.testing.assert_array_equal(kernel.ntk(x), expected)


def test_empty_sets_of_configurations():
    kernel = qs.kernels.infinite_width(MODELS["relu"])
    assert kernel.ntk(SPINS[:0], SPINS).shape == (0, len(SPINS))
    assert kernel.ntk(SPINS, SPINS[:0]).shape == (len(SPINS), 0)


def test_shape_errors():
    kernel = qs.kernels.infinite_width(MODELS["relu"])
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"x\[None, :\]"):
        kernel.ntk(SPINS[0])
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="y has shape"):
        kernel.ntk(SPINS, SPINS[None])
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="length 6 and 5"):
        kernel.ntk(SPINS, SPINS[:, :5])


def test_registration():
    class Mine:
        pass

    with pytest.raises(qs.errors.UnknownKernelError, match="from_stax"):
        qs.kernels.infinite_width(Mine())

    @qs.kernels.infinite_width.register
    def _(model: Mine, trainable: str = "all"):
        return qs.kernels.infinite_width(MODELS["erf"], trainable)

    kernel = qs.kernels.infinite_width(Mine(), "readout")
    assert kernel.trainable == "readout"
    assert qs.kernels.infinite_width(kernel) is kernel

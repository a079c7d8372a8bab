"""Bad options are named errors when the model is made."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

M = qs.models
B = np.ones((3, 4))

BAD = {
    "parts": lambda: M.CosNet(4, parts="both"),
    "parametrization": lambda: M.WideMLP(widths=(4,), parametrization="kaiming"),
    "complex parameters": lambda: M.CosNet(4, param_dtype=complex),
    "encoding": lambda: M.CosNet(4, encoding="fermions"),
    "width 0": lambda: M.CosNet(0),
    "width 4.5": lambda: M.GaussNet(4.5),
    "width True": lambda: M.CosNet(True),
    "sigma 0": lambda: M.CosNet(4, sigma_a=0.0),
    "sigma nan": lambda: M.GaussNet(4, sigma_w=float("nan")),
    "sigma text": lambda: M.CosNet(4, sigma_w="2"),
    "activation": lambda: M.WideMLP(widths=(4,), activation="swish"),
    "widths": lambda: M.WideMLP(widths=(4, -1)),
    "widths text": lambda: M.WideMLP(widths="44"),
    "widths none": lambda: M.WideMLP(widths=None),
    "sigmas short": lambda: M.WideMLP(widths=(4,), sigma_w=(1.0,)),
    "sigmas negative": lambda: M.WideMLP(widths=(4,), sigma_b=-1.0),
    "sigmas infinite": lambda: M.WideMLP(widths=(4,), sigma_w=(1.0, float("inf"))),
    "frequencies": lambda: M.FourierFeatures(np.ones(4), 1.0, M.CosNet(4)),
    "amplitudes": lambda: M.FourierFeatures(B, np.ones(2), M.CosNet(4)),
    "inner network": lambda: M.FourierFeatures(B, 1.0, nk.models.RBM()),
    "inner encoding": lambda: M.FourierFeatures(B, 1.0, M.CosNet(4, encoding=qs.encodings.spins)),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_bad_options(make):
    with pytest.raises(qs.errors.InvalidModelError, match="expected|not known"):
        make()
    with pytest.raises(ValueError):
        make()


def test_fourier_features_of_the_wrong_length():
    model = M.FourierFeatures(B, 1.0, M.CosNet(4))
    with pytest.raises(qs.errors.InvalidModelError, match=r"\(features, 5\)"):
        model.init(jax.random.key(0), jnp.ones((2, 5)))


def test_numpy_numbers_are_numbers():
    model = M.WideMLP(widths=np.array([4, 3]), sigma_w=np.float32(0.5))
    assert model == M.WideMLP(widths=(4, 3), sigma_w=0.5)
    assert M.WideMLP(widths=4) == M.WideMLP(widths=(4,))
    assert M.CosNet(np.int64(4)) == M.CosNet(4)


def test_fourier_features_take_the_networks_options_or_replace_them():
    inner = M.WideMLP(widths=(4,), parts="real", parametrization="standard")
    assert M.FourierFeatures(B, 1.0, inner).parts == "real"
    outer = M.FourierFeatures(B, 1.0, inner, parts="shared", param_dtype=jnp.float32)
    assert outer.network.parts == "shared"
    assert outer.network.parametrization == "standard"
    x = jnp.ones((2, 4))
    assert outer.apply(outer.init(jax.random.key(0), x), x).dtype == np.complex64


def test_functions_with_a_closed_form_are_recognised():
    named = M.WideMLP(widths=(4,), activation=jax.nn.relu)
    assert named.nonlinearity is M.WideMLP(widths=(4,), activation="relu").nonlinearity

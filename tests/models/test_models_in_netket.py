"""The models are NetKet models: states, samplers, drivers and files take them as they are."""

import flax
import jax
import jax.numpy as jnp
import netket as nk
import nqxpack
import numpy as np
import optax
import pytest

import netket_qsntk as qs

SPINS = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))
B = np.random.default_rng(0).normal(size=(3, 4), scale=0.1)

MODELS = {
    "CosNet": qs.models.CosNet(6, sigma_w=2.0),
    "GaussNet": qs.models.GaussNet(6, sigma_w=0.5, parts="shared"),
    "WideMLP": qs.models.WideMLP(widths=(5, 4), activation="tanh", sigma_b=0.3),
    "linear": qs.models.WideMLP(widths=(), sigma_b=0.1),
    "FourierFeatures": qs.models.FourierFeatures(B, 1.0, qs.models.WideMLP(widths=(5,))),
}
models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def ising() -> nk.operator.AbstractOperator:
    return nk.operator.IsingJax(SPINS, nk.graph.Chain(4), h=0.5)


@pytest.mark.thorough
@models
def test_full_sum_state_normalises_psi(model):
    vs = nk.vqs.FullSumState(SPINS, model, seed=1)
    psi = model.apply(vs.variables, SPINS.all_states(), method="psi")
    expected = psi / jnp.linalg.norm(psi)
    assert abs(np.vdot(vs.to_array(), expected)) == pytest.approx(1, abs=1e-12)
    energy = np.vdot(expected, ising().to_dense() @ expected).real
    assert vs.expect(ising()).mean == pytest.approx(energy, abs=1e-10)


@pytest.mark.parametrize(
    "name",
    ["CosNet", pytest.param("FourierFeatures", marks=pytest.mark.thorough)]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("GaussNet", "WideMLP", "linear")],
)
def test_vmc_and_vmc_sr_lower_the_energy(name):
    model = MODELS[name]
    start = nk.vqs.FullSumState(SPINS, model, seed=1).expect(ising()).mean.real
    full = nk.vqs.FullSumState(SPINS, model, seed=1)
    nk.driver.VMC(ising(), optax.sgd(0.01), variational_state=full).run(3, show_progress=False)
    sampled = nk.vqs.MCState(
        nk.sampler.ExactSampler(SPINS), model, n_samples=64, seed=1, sampler_seed=2
    )
    nk.driver.VMC_SR(ising(), optax.sgd(0.02), diag_shift=0.1, variational_state=sampled).run(
        5, show_progress=False
    )
    for vs in (full, sampled):
        after = nk.vqs.FullSumState(SPINS, model, variables=vs.variables).expect(ising()).mean.real
        assert after < start


@pytest.mark.thorough
def test_fermions_through_their_encoding():
    model = qs.models.WideMLP(widths=(6,), encoding=qs.encodings.fermion_sites)
    vs = nk.vqs.MCState(
        nk.sampler.MetropolisFermionHop(FERMIONS, graph=nk.graph.Chain(3), n_chains=4),
        model,
        n_samples=16,
        seed=1,
    )
    kernel = vs.parameters["real"]["hidden_0"]["kernel"]
    assert kernel.shape == (3, 6)
    c, c_dag = (
        lambda site, f=f: f(FERMIONS, site, sz=-1)
        for f in (nk.operator.fermion.destroy, nk.operator.fermion.create)
    )
    hopping = (c_dag(0) @ c(1) + c_dag(1) @ c(0)).to_jax_operator()
    nk.driver.VMC(hopping, optax.sgd(0.01), variational_state=vs).run(2, show_progress=False)
    assert np.isfinite(vs.to_array()).all()


@pytest.mark.thorough
@models
def test_shapes_dtypes_and_integer_inputs(model):
    x = SPINS.all_states()
    assert x.dtype == np.int8
    variables = model.init(jax.random.key(0), x)
    psi = model.apply(variables, x, method="psi")
    log_psi = model.apply(variables, x)
    assert psi.shape == log_psi.shape == (16,)
    assert psi.dtype == log_psi.dtype == np.complex128
    np.testing.assert_allclose(jnp.exp(log_psi), psi, rtol=1e-12)
    np.testing.assert_array_equal(model.apply(variables, x.astype(float), method="psi"), psi)
    np.testing.assert_allclose(
        model.apply(variables, x.reshape(2, 8, 4), method="psi"), psi.reshape(2, 8), rtol=1e-12
    )
    np.testing.assert_allclose(model.apply(variables, x[3], method="psi"), psi[3], rtol=1e-12)


@models
def test_init_leaves_parameters_only(model):
    assert set(model.init(jax.random.key(0), SPINS.all_states())) == {"params"}


@pytest.mark.thorough
def test_float32_is_used_throughout():
    model = qs.models.WideMLP(widths=(8,), activation="erf", param_dtype=jnp.float32, sigma_b=0.1)
    x = SPINS.all_states()
    variables = model.init(jax.random.key(0), x)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
    assert model.apply(variables, x).dtype == np.complex64
    double = jax.tree.map(lambda t: t.astype(np.float64), variables)
    reference = model.clone(param_dtype=jnp.float64).apply(double, x, method="psi")
    np.testing.assert_allclose(model.apply(variables, x, method="psi"), reference, atol=1e-6)


@pytest.mark.parametrize(
    ("parts", "names", "dtype"),
    [
        ("independent", {"real", "imag"}, np.complex128),
        ("shared", {"trunk"}, np.complex128),
        ("real", {"real"}, np.float64),
    ],
)
def test_parts(parts, names, dtype):
    model = qs.models.CosNet(6, parts=parts)
    x = SPINS.all_states()
    variables = model.init(jax.random.key(0), x)
    assert set(variables["params"]) == names
    assert model.apply(variables, x, method="psi").dtype == dtype
    assert model.apply(variables, x).dtype == np.complex128
    if parts == "independent":
        swapped = {
            "params": {"real": variables["params"]["imag"], "imag": variables["params"]["real"]}
        }
        np.testing.assert_allclose(
            model.apply(swapped, x, method="psi"),
            1j * model.apply(variables, x, method="psi").conj(),
            rtol=1e-12,
        )


def test_cosnet_is_its_formula():
    model = qs.models.CosNet(6, sigma_a=1.5, sigma_w=2.0, parts="real")
    x = SPINS.all_states().astype(float)
    variables = model.init(jax.random.key(0), x)
    p = variables["params"]["real"]
    w, b, a = p["hidden"]["kernel"], p["hidden"]["bias"], p["readout"]["kernel"][:, 0]
    assert abs(b).max() <= np.pi
    expected = np.cos(x @ w * 2.0 / np.sqrt(4) + b) @ a * 1.5 / np.sqrt(6)
    np.testing.assert_allclose(model.apply(variables, x, method="psi"), expected, rtol=1e-12)


def test_gaussnet_does_not_overflow_where_its_ratio_is_finite():
    model = qs.models.GaussNet(4, sigma_w=40.0, parts="real")
    x = SPINS.all_states()
    variables = model.init(jax.random.key(3), x)
    assert np.isfinite(model.apply(variables, x, method="psi")).all()


@pytest.mark.parametrize("name", ["CosNet", "GaussNet", "WideMLP", "FourierFeatures"])
def test_standard_parametrisation_is_the_same_function_of_scaled_parameters(name):
    if name in ("CosNet", "GaussNet"):
        ntk = getattr(qs.models, name)(5, sigma_a=1.7, sigma_w=0.6)
        phase = {"bias": 1.0} if name == "CosNet" else {}
        sigmas = {"hidden": {"kernel": 0.6, **phase}, "readout": {"kernel": 1.7}}
    else:
        ntk = qs.models.WideMLP(widths=(5, 4), sigma_w=(0.5, 2.0, 1.5), sigma_b=(0.1, 0.0, 0.3))
        sigmas = {
            "hidden_0": {"kernel": 0.5, "bias": 0.1},
            "hidden_1": {"kernel": 2.0},
            "readout": {"kernel": 1.5, "bias": 0.3},
        }
    if name == "FourierFeatures":
        ntk = qs.models.FourierFeatures(B, 1.0, ntk)
    standard = ntk.clone(parametrization="standard")
    x = SPINS.all_states()
    key = jax.random.key(0)
    theta, scaled = ntk.init(key, x), standard.init(key, x)
    for part in ("real", "imag"):
        before, after = (
            (v["params"]["network"] if name == "FourierFeatures" else v["params"])[part]
            for v in (theta, scaled)
        )
        expected = jax.tree.map(lambda t, s: t * s, before, sigmas)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after, expected)
    np.testing.assert_allclose(
        ntk.apply(theta, x, method="psi"), standard.apply(scaled, x, method="psi"), rtol=1e-12
    )


@models
def test_equal_models_are_equal_and_hash_alike(model):
    twin = model.clone()
    assert twin == model
    assert hash(twin) == hash(model)
    other = model.clone(parts="real")
    assert other != model


@pytest.mark.thorough
@models
def test_serialisation(model, tmp_path):
    vs = nk.vqs.FullSumState(SPINS, model, seed=1)
    other = nk.vqs.FullSumState(SPINS, model, seed=2)
    assert not np.allclose(other.to_array(), vs.to_array())
    restored = flax.serialization.from_bytes(other, flax.serialization.to_bytes(vs))
    np.testing.assert_array_equal(restored.to_array(), vs.to_array())
    path = tmp_path / "state.nk"
    nqxpack.save(vs, path)
    loaded = nqxpack.load(path)
    np.testing.assert_array_equal(loaded.to_array(), vs.to_array())
    assert loaded.model == model


@pytest.mark.thorough
def test_mcstate_saves_and_loads(tmp_path):
    model = qs.models.WideMLP(widths=(6,), encoding=qs.encodings.fermion_sites)
    vs = nk.vqs.MCState(nk.sampler.ExactSampler(FERMIONS), model, n_samples=16, seed=1)
    nqxpack.save(vs, tmp_path / "state.nk")
    loaded = nqxpack.load(tmp_path / "state.nk")
    np.testing.assert_array_equal(loaded.to_array(), vs.to_array())
    assert loaded.model.encoding is qs.encodings.fermion_sites

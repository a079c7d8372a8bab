"""Empirical QS-NTKs of any NetKet model against one derivative for each real parameter."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from flax import linen, nnx

import netket_qsntk as qs

HILBERTS = {
    "Spin": nk.hilbert.Spin(0.5, 4),
    "SpinOrbitalFermions(2,2)": nk.hilbert.SpinOrbitalFermions(
        3, s=1 / 2, n_fermions_per_spin=(2, 2)
    ),
}


class MixedParameters(linen.Module):
    """A holomorphic layer, a real one, and an output that is not holomorphic in the first."""

    @linen.compact
    def __call__(self, x):
        z = linen.Dense(3, param_dtype=complex)(x)
        u = linen.Dense(3, param_dtype=float)(x)
        return jnp.sum(jnp.abs(z) ** 2 * 0.1 + jnp.tanh(u) * z, axis=-1)


class RealFromComplex(linen.Module):
    """Complex parameters, real log ψ."""

    @linen.compact
    def __call__(self, x):
        return jnp.sum(linen.Dense(3, param_dtype=complex)(x).real ** 2, axis=-1) * 0.1


class MixedReal(linen.Module):
    """A complex layer and a real one, real log ψ."""

    @linen.compact
    def __call__(self, x):
        z = linen.Dense(3, param_dtype=complex)(x)
        u = linen.Dense(3, param_dtype=float)(x)
        return jnp.sum(jnp.tanh(u) * z.imag + 0.1 * jnp.abs(z) ** 2, axis=-1)


class OwnPsi(linen.Module):
    """A model with a ``psi`` method, whose amplitudes pass through zero."""

    def setup(self):
        self.layer = linen.Dense(2, param_dtype=float)

    def psi(self, x):
        out = self.layer(x.astype(float))
        return jax.lax.complex(out[..., 0], out[..., 1])

    def __call__(self, x):
        return jnp.log(self.psi(x))


class NnxModel(nnx.Module):
    def __init__(self, sites, rngs):
        self.hidden = nnx.Linear(sites, 3, param_dtype=float, rngs=rngs)
        self.out = nnx.Linear(3, 2, param_dtype=float, rngs=rngs)

    def __call__(self, x):
        out = self.out(jnp.tanh(self.hidden(x.astype(float))))
        return jax.lax.complex(out[..., 0], out[..., 1])


MODELS = {
    "real parameters, real ψ": lambda n: nk.models.RBM(param_dtype=float),
    "real parameters, complex ψ": lambda n: nk.models.RBMModPhase(param_dtype=float),
    "complex parameters, complex ψ": lambda n: nk.models.RBM(param_dtype=complex),
    "complex parameters, real ψ": lambda n: RealFromComplex(),
    "mixed, not holomorphic": lambda n: MixedParameters(),
    "mixed, real ψ": lambda n: MixedReal(),
    "psi of its own": lambda n: OwnPsi(),
    "nnx": lambda n: NnxModel(n, nnx.Rngs(0)),
    "CosNet": lambda n: qs.models.CosNet(5, sigma_w=1.5),
    "deep, shared": lambda n: qs.models.WideMLP(widths=(4, 3), sigma_b=0.3, parts="shared"),
    "standard, real": lambda n: qs.models.GaussNet(
        4, sigma_w=0.4, sigma_a=1.7, parts="real", parametrization="standard"
    ),
}


@lru_cache(maxsize=32)
def state(model: str, hilbert: str) -> nk.vqs.FullSumState:
    hi = HILBERTS[hilbert]
    return nk.vqs.FullSumState(hi, MODELS[model](hi.size), seed=1)


@pytest.fixture(scope="session")
def jacobian(oracles):
    @lru_cache(maxsize=32)
    def of(model: str, hilbert: str) -> np.ndarray:
        vs = state(model, hilbert)

        graph = nnx.split(vs.model)[0] if model == "nnx" else None

        def psi(parameters, x):
            if model == "nnx":
                return jnp.exp(nnx.merge(graph, parameters)(x))
            if hasattr(type(vs.model), "psi"):
                return vs.model.apply({"params": parameters}, x, method="psi")
            return jnp.exp(vs.model.apply({"params": parameters}, x))

        return oracles.brute_force_jacobian(
            psi, vs.parameters, jnp.asarray(vs.hilbert.all_states())
        )

    return of


def assert_blocks(found: qs.kernels.QSNTK, left: np.ndarray, right: np.ndarray) -> None:
    scale = np.abs(left @ right.conj().T).max()
    expected = {
        "theta_11": left.real @ right.real.T,
        "theta_22": left.imag @ right.imag.T,
        "theta_12": left.real @ right.imag.T,
        "theta": left @ right.T,
        "phi": left @ right.conj().T,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, atol=1e-10 * scale, err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("hilbert", HILBERTS)
@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_model(model, hilbert, chunk_size, jacobian):
    vs, exact = state(model, hilbert), jacobian(model, hilbert)
    x = vs.hilbert.all_states()
    kernel = qs.kernels.EmpiricalKernel(vs, chunk_size=chunk_size)
    ours = isinstance(vs.model, qs.models.WaveFunction)
    assert kernel.route(x) == ("layers" if ours else "blocks" if chunk_size else "jacobian")
    assert_blocks(kernel.qsntk(x), exact, exact)
    assert_blocks(qs.kernels.empirical(vs, x[1:5], x, chunk_size=chunk_size), exact[1:5], exact)
    assert_blocks(qs.kernels.empirical(vs, x, x[:3], chunk_size=chunk_size), exact, exact[:3])


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["CosNet", "deep, shared", "standard, real"])
def test_the_three_routes_agree(model):
    vs = state(model, "Spin")
    x = vs.hilbert.all_states()
    found = {
        route: qs.kernels.empirical(vs, x, route=route).omega_ri
        for route in ("layers", "jacobian", "blocks")
    }
    scale = np.abs(found["layers"]).max()
    for route in ("jacobian", "blocks"):
        np.testing.assert_allclose(found[route], found["layers"], atol=1e-10 * scale)


@pytest.mark.thorough
def test_a_pair_of_apply_function_and_variables():
    vs = state("complex parameters, complex ψ", "Spin")
    x = vs.hilbert.all_states()
    pair = (vs.model.apply, vs.variables)
    np.testing.assert_allclose(
        qs.kernels.empirical(pair, x).omega, qs.kernels.empirical(vs, x).omega, rtol=1e-12
    )


@pytest.mark.thorough
def test_tiles_of_many_configurations_agree_with_one_product():
    """More than one tile on both routes, the last one overlapping."""
    hi = nk.hilbert.Spin(0.5, 10)
    x = hi.all_states()[:700]
    for model in (
        qs.models.WideMLP(widths=(3,), parts="shared"),
        nk.models.RBM(param_dtype=complex),
    ):
        vs = nk.vqs.FullSumState(hi, model, seed=1)
        whole = qs.kernels.empirical(vs, x)
        other = qs.kernels.empirical(vs, x, x)
        for name in ("theta_11", "theta_22", "theta_12"):
            a, b = getattr(whole, name), getattr(other, name)
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13 * np.abs(b).max())
        np.testing.assert_allclose(whole.theta_12.T, other.theta_21, atol=1e-12 * np.abs(b).max())


@pytest.mark.thorough
def test_the_blocks_route_holds_chunks_only(monkeypatch):
    """No Jacobian of more than chunk_size rows on either side is ever made."""
    from netket_qsntk.kernels import jacobian as module

    seen = []
    compute = module.jacobian

    def spy(psi, parameters, x):
        seen.append(len(x))
        return compute(psi, parameters, x)

    monkeypatch.setattr(module, "jacobian", spy)
    vs = state("real parameters, complex ψ", "Spin")
    x = vs.hilbert.all_states()
    qs.kernels.empirical(vs, x, x[:9], chunk_size=4)
    assert set(seen) <= {1, 4}  # 1 to find the dtype, abstractly
    assert seen.count(4) >= 4 + 4 * 3


@pytest.mark.thorough
def test_the_route_is_chosen_by_size():
    hi = nk.hilbert.Spin(0.5, 12)
    x = hi.all_states()
    vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=200), seed=1)
    kernel = qs.kernels.EmpiricalKernel(vs)
    assert kernel.route(x) == "blocks"
    assert kernel.route(x[:64]) == "jacobian"
    assert kernel.route(x[:64], x) == "blocks"
    assert qs.kernels.EmpiricalKernel(vs, chunk_size=16).route(x[:64]) == "blocks"
    assert qs.kernels.EmpiricalKernel(vs, chunk_size=64).route(x[:64]) == "jacobian"
    assert "by size" in repr(kernel)


def test_readout_training():
    hi = nk.hilbert.Spin(0.5, 4)
    x = hi.all_states()
    vs = nk.vqs.FullSumState(hi, qs.models.CosNet(5, sigma_a=1.3), seed=1)
    found = qs.kernels.EmpiricalKernel(vs, trainable="readout").qsntk(x)
    p = vs.parameters["imag"]
    features = np.cos(x @ p["hidden"]["kernel"] / 2.0 + p["hidden"]["bias"]) * 1.3 / np.sqrt(5)
    np.testing.assert_allclose(found.theta_22, features @ features.T, rtol=1e-12)


@pytest.mark.thorough
def test_float32_parameters_give_float32_kernels():
    hi = nk.hilbert.Spin(0.5, 4)
    vs = nk.vqs.FullSumState(hi, qs.models.CosNet(5, param_dtype=jnp.float32), seed=1)
    single = qs.kernels.empirical(vs, hi.all_states())
    assert single.theta_11.dtype == np.float32
    double = nk.vqs.FullSumState(
        hi,
        qs.models.CosNet(5),
        variables=jax.tree.map(lambda t: t.astype(float), vs.variables),
    )
    np.testing.assert_allclose(
        single.theta_11, qs.kernels.empirical(double, hi.all_states()).theta_11, atol=1e-5
    )


@pytest.mark.thorough
def test_a_second_call_compiles_nothing():
    hi = nk.hilbert.Spin(0.5, 4)
    x = hi.all_states()
    for model in (nk.models.RBM(alpha=3), qs.models.CosNet(7)):
        qs.kernels.empirical(nk.vqs.FullSumState(hi, model, seed=1), x)
        again = nk.vqs.FullSumState(hi, model.clone(), seed=2)
        compiled = []

        def listen(event: str, duration: float, compiled=compiled, **_) -> None:
            if event.endswith("backend_compile_duration"):
                compiled.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            qs.kernels.empirical(again, x)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        assert not compiled


@pytest.mark.thorough
def test_bad_input():
    vs = state("complex parameters, complex ψ", "Spin")
    x = vs.hilbert.all_states()
    errors = qs.errors
    with pytest.raises(errors.InvalidModelError, match="chunk_size=0"):
        qs.kernels.empirical(vs, x, chunk_size=0)
    with pytest.raises(errors.InvalidModelError, match="Leave route=None"):
        qs.kernels.empirical(vs, x, route="layers")
    with pytest.raises(errors.InvalidModelError, match="expected one of"):
        qs.kernels.empirical(vs, x, route="fast")
    with pytest.raises(errors.InvalidModelError, match="readout"):
        qs.kernels.EmpiricalKernel(vs, trainable="readout")
    with pytest.raises(errors.NotANetworkError, match="apply_fun"):
        qs.kernels.empirical(vs.parameters, x)
    with pytest.raises(errors.NotANetworkError, match="get_state"):
        qs.kernels.empirical(qs.vqs.EnsembleState(vs.hilbert, qs.models.CosNet(3), n_members=2), x)
    with pytest.raises(errors.InvalidConfigurationsError, match=r"x\[None, :\]"):
        qs.kernels.empirical(vs, x[0])

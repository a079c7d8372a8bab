"""Empirical kernels are those of the function itself: its precision, its zeros, its layers, its readout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.networks.dense_layer import Dense

HI = nk.hilbert.Spin(0.5, 4)
X = HI.all_states()


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_kernels_are_in_the_precision_of_the_model(dtype):
    model = nk.models.RBM(param_dtype=dtype)
    state = nk.vqs.FullSumState(HI, model, seed=0)
    kernel = qs.kernels.empirical(state, X)
    wide = jax.tree.map(
        lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float64)), state.variables
    )
    double = nk.models.RBM(param_dtype=jnp.promote_types(dtype, jnp.float64))
    assert kernel.theta_11.dtype == jnp.float32
    wanted = qs.kernels.empirical((double.apply, wide), X)
    np.testing.assert_allclose(kernel.theta_11, wanted.theta_11, rtol=1e-4)


@pytest.mark.thorough
def test_at_an_exact_zero_of_a_determinant_the_kernel_is_the_derivative():
    fermions = nk.hilbert.SpinOrbitalFermions(4, n_fermions=2)
    x = np.asarray(fermions.all_states())
    state = nk.vqs.FullSumState(fermions, nk.models.Slater2nd(fermions, param_dtype=float), seed=0)
    bonds = jnp.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    state.parameters = {"M": bonds}

    def cofactors(c):
        """Derivative of the determinant of two rows, which is linear in each."""
        i, j = np.flatnonzero(c)
        out = np.zeros((4, 2))
        out[i], out[j] = (bonds[j, 1], -bonds[j, 0]), (-bonds[i, 1], bonds[i, 0])
        return out.ravel()

    jacobian = np.stack([cofactors(c) for c in x])
    kernel = qs.kernels.empirical(state, x)
    np.testing.assert_allclose(kernel.theta_11, jacobian @ jacobian.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(kernel.theta_11), 2.0, atol=1e-12)


@pytest.mark.thorough
def test_a_derivative_that_is_not_finite_is_an_error():
    class Large(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nk.models.RBM()(x) + 800.0

    with pytest.raises(qs.errors.NonFiniteError, match="range of exp"):
        qs.kernels.empirical(nk.vqs.FullSumState(HI, Large(), seed=0), X)


class Net(nn.Module):
    outputs: int
    kind: str

    @nn.compact
    def __call__(self, x):
        if self.kind == "used twice":
            layer = Dense(4, 1.0, 0.1, "ntk", float)
            x = nn.tanh(layer(nn.tanh(layer(x))))
        else:
            x = nn.tanh(nn.Dense(5, param_dtype=float)(x))
        last = nn.Dense(self.outputs, param_dtype=float)
        return last(x) if self.kind == "flax" else Dense(self.outputs, 1.0, 0.1, "ntk", float)(x)


class Mine(qs.models.WaveFunction):
    kind: str = "flax"

    @nn.nowrap
    def network(self, outputs):
        return Net(outputs, self.kind)


class Even(qs.models.WideMLP):
    def psi(self, x):
        return super().psi(x) + super().psi(-x)


MODELS = {
    "layers of flax": Mine(kind="flax"),
    "some of flax": Mine(kind="mixed"),
    "a layer used twice": Mine(kind="used twice"),
    "another psi": Even(widths=(5,), activation="erf", sigma_b=0.4),
    "log psi": qs.models.WideMLP(widths=(5,), activation="erf", output="log_psi"),
    "log psi, shared": qs.models.CosNet(5, output="log_psi", parts="shared"),
    "log psi, real": qs.models.CosNet(5, output="log_psi", parts="real"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_the_chosen_route_gives_what_the_jacobian_gives(name):
    state = nk.vqs.FullSumState(HI, MODELS[name], seed=0)
    chosen = qs.kernels.EmpiricalKernel(state)
    for y in (None, X[:3]):
        truth = qs.kernels.EmpiricalKernel(state, route="jacobian").qsntk(X, y)
        got = chosen.qsntk(X, y)
        for block in ("theta_11", "theta_22", "theta_12", "_theta_21"):
            np.testing.assert_allclose(getattr(got, block), getattr(truth, block), atol=1e-10)
    assert chosen.route(X) == ("layers" if name.startswith("log") else "jacobian")


def test_layers_that_are_not_known_are_not_taken_on_request():
    state = nk.vqs.FullSumState(HI, MODELS["some of flax"], seed=0)
    with pytest.raises(qs.errors.InvalidModelError, match="outside"):
        qs.kernels.empirical(state, X, route="layers")


def test_functions_that_depend_on_the_batch_are_an_error():
    def centred(variables, x):
        f = nk.models.RBM().apply(variables, x)
        return f - f.mean()

    variables = nk.models.RBM().init(jax.random.key(0), X)
    with pytest.raises(qs.errors.BatchDependentError, match="alone"):
        qs.kernels.empirical((centred, variables), X)

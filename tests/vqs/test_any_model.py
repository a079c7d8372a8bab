"""A network is what the state applies, whatever framework it is written in and wherever its variables are."""

import copy
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx, serialization

import netket_qsntk as qs
from netket_qsntk.vqs.members import Members

HI = nk.hilbert.Spin(0.5, 4)
X = HI.all_states()


class Equinox(eqx.Module):
    a: jax.Array
    b: jax.Array

    def __init__(self, key):
        k = jax.random.split(key)
        self.a, self.b = jax.random.normal(k[0], (4, 3)), jax.random.normal(k[1], (3,))

    def __call__(self, x):
        return jnp.tanh(x @ self.a) @ self.b


class Nnx(nnx.Module):
    def __init__(self, rngs, width=3):
        self.a = nnx.Linear(4, width, param_dtype=float, rngs=rngs)
        self.shift = nnx.BatchStat(jax.random.normal(rngs.params(), (width,)))

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.a(x.astype(float)) + self.shift[...]), -1)


class Fixed(nn.Module):
    """Random features that are not trained."""

    @nn.compact
    def __call__(self, x):
        w = self.variable("fixed", "w", lambda: jax.random.normal(self.make_rng("params"), (4, 8)))
        return nn.Dense(1, param_dtype=float)(jnp.cos(x @ w.value))[..., 0]


class Counting(nn.Module):
    """Updates a variable on which its output does not depend."""

    @nn.compact
    def __call__(self, x):
        calls = self.variable("stats", "calls", lambda: jnp.zeros(()))
        calls.value = calls.value + 1
        return nn.Dense(1, param_dtype=float)(x.astype(float))[..., 0]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x):
        z = nn.Dense(3, param_dtype=float)(x.astype(float))
        z = nn.BatchNorm(use_running_average=False, param_dtype=float)(z)
        return nn.Dense(1, param_dtype=float)(nn.tanh(z))[..., 0]


def _states():
    rbm = nk.models.RBM(param_dtype=complex)
    variables = rbm.init(jax.random.key(0), X)
    key = jax.random.key(1)
    return {
        "equinox": nk.vqs.FullSumState(HI, Equinox(key)),
        "nnx": nk.vqs.FullSumState(HI, Nnx(nnx.Rngs(0))),
        "not trained": nk.vqs.FullSumState(HI, Fixed(), seed=0),
        "mutable": nk.vqs.MCState(
            nk.sampler.ExactSampler(HI), Counting(), mutable=["stats"], seed=0, n_samples=16
        ),
        "function": nk.vqs.FullSumState(HI, apply_fun=rbm.apply, variables=variables),
        "its apply function": nk.vqs.FullSumState(
            HI, apply_fun=lambda v, x: 2 * rbm.apply(v, x), variables=variables
        ),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", list(_states()))
def test_kernel_is_that_of_the_function_the_state_applies(name):
    state = _states()[name]
    mutable = {"mutable": ["stats"]} if name == "mutable" else {}
    leaves, structure = jax.tree.flatten(state.parameters)
    real = [leaf.real for leaf in leaves], [leaf.imag for leaf in leaves]

    def psi(re, im):
        joined = [
            a + 1j * b if jnp.iscomplexobj(leaf) else a
            for a, b, leaf in zip(re, im, leaves, strict=True)
        ]
        variables = {"params": structure.unflatten(joined), **state.model_state}
        out = state._apply_fun(variables, X, **mutable)
        return jnp.exp(out[0] if isinstance(out, tuple) else out)

    def rows(part):
        parts = jax.tree.leaves(jax.jacrev(lambda *r: part(psi(*r)), argnums=(0, 1))(*real))
        return np.concatenate([np.asarray(leaf).reshape(16, -1) for leaf in parts], axis=1)

    kernel = qs.kernels.empirical(state, X)
    j_1, j_2 = rows(jnp.real), rows(jnp.imag)
    np.testing.assert_allclose(kernel.theta_11, j_1 @ j_1.T, atol=1e-10)
    np.testing.assert_allclose(kernel.theta_12, j_1 @ j_2.T, atol=1e-10)


_MODELS = {
    "equinox": Equinox(jax.random.key(3)),
    "nnx": Nnx(nnx.Rngs(3)),
    "a function that makes nnx modules": lambda key: Nnx(nnx.Rngs(key), 5),
    "not trained": Fixed(),
    "linen": nk.models.RBM(),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", list(_MODELS))
def test_ensembles_of_any_model(name):
    vs = qs.vqs.EnsembleState(HI, _MODELS[name], 3, seed=0)
    psi = np.asarray(vs.to_array())
    assert psi.shape == (3, 16)
    for i in range(3):
        np.testing.assert_allclose(vs.get_state(i).to_array(), psi[i], atol=1e-12)
    assert abs(np.vdot(psi[0], psi[1])) < 1 - 1e-9  # drawn independently
    again = qs.vqs.EnsembleState(HI, _MODELS[name], 2, seed=0)
    np.testing.assert_array_equal(again.to_array(), psi[:2])


def test_members_that_nobody_can_draw_are_refused():
    class Wide(Equinox):
        def __init__(self, key, width):
            super().__init__(key)

    with pytest.raises(qs.errors.InvalidEnsembleError, match="lambda key: Wide"):
        qs.vqs.EnsembleState(HI, Wide(jax.random.key(0), 3), 2, seed=0)


@pytest.mark.thorough
def test_members_see_one_network_or_many_alike():
    many = qs.vqs.EnsembleState(HI, Fixed(), 2, seed=0)
    views = Members.of(many), *(Members.of(many.get_state(i)) for i in range(2))
    for got in ("psi", "log_psi"):
        whole, *single = (np.asarray(getattr(view, got)(X)) for view in views)
        np.testing.assert_allclose(whole, np.concatenate(single), atol=1e-12)
    assert [view.n for view in views] == [2, 1, 1]
    one = many.get_state(1).parameters
    np.testing.assert_array_equal(
        jax.tree.leaves(views[2].unstack(views[2].parameters))[0], jax.tree.leaves(one)[0]
    )


class TrainingMode(nnx.Module):
    """nnx normalises over the batch unless it is told not to."""

    def __init__(self, rngs):
        self.a = nnx.Linear(4, 4, param_dtype=float, rngs=rngs)
        self.norm = nnx.BatchNorm(4, param_dtype=float, rngs=rngs)

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.norm(self.a(x.astype(float)))), -1)


@pytest.mark.thorough
def test_amplitudes_that_depend_on_the_batch_are_an_error():
    sampler = nk.sampler.ExactSampler(HI)
    state = nk.vqs.MCState(sampler, Normalised(), mutable=["batch_stats"], seed=0, n_samples=16)
    with pytest.raises(qs.errors.BatchDependentError, match="running averages"):
        qs.kernels.empirical(state, X)
    with pytest.raises(qs.errors.BatchDependentError, match="TrainingMode"):
        qs.vqs.EnsembleState(HI, TrainingMode(nnx.Rngs(0)), 2, seed=0)


def test_a_method_psi_that_is_another_function_is_not_the_wave_function():
    class Odd(nn.Module):
        def setup(self):
            self.rbm = nk.models.RBM()

        def psi(self, x):
            return self.rbm(x) ** 2

        def __call__(self, x):
            return self.rbm(x)

    state = nk.vqs.FullSumState(HI, Odd(), seed=0)
    wanted = qs.kernels.empirical((state._apply_fun, state.variables), X)
    got = qs.kernels.empirical(state, X)
    np.testing.assert_allclose(got.theta_11, wanted.theta_11, atol=1e-12)


def test_ensembles_copy_pickle_and_keep_their_chunk_size():
    vs = qs.vqs.EnsembleState(HI, qs.models.CosNet(4), np.int64(2), seed=0, chunk_size=4)
    read = serialization.from_bytes(
        qs.vqs.EnsembleState(HI, qs.models.CosNet(4), 2, seed=1), serialization.to_bytes(vs)
    )
    for again in (copy.copy(vs), copy.deepcopy(vs), pickle.loads(pickle.dumps(vs)), read):
        np.testing.assert_array_equal(again.to_array(), vs.to_array())
        assert again.chunk_size == 4


@pytest.mark.thorough
def test_what_does_not_fit_into_an_ensemble_is_an_error_that_names_both():
    vs = qs.vqs.EnsembleState(HI, qs.models.CosNet(4), 3, seed=0)
    other = qs.vqs.EnsembleState(HI, qs.models.CosNet(4), 5, seed=0)
    with pytest.raises(qs.errors.CheckpointError, match=r"n_members=5.*\(5, .*\(3, "):
        serialization.from_bytes(other, serialization.to_bytes(vs))
    with pytest.raises(qs.errors.InvalidEnsembleError, match=r"\(3, .*\(5, "):
        vs.parameters = other.parameters
    with pytest.raises(nk.errors.ParameterMismatchError):
        vs.parameters = {"a": jnp.zeros((3, 2))}
    for wrong in (0, -1, 1.5, "8"):
        with pytest.raises(qs.errors.InvalidEnsembleError, match="chunk_size"):
            vs.chunk_size = wrong


@pytest.mark.thorough
def test_netkets_functions_of_states_work_on_ensembles_or_refuse_by_name():
    vs = qs.vqs.EnsembleState(HI, nk.models.RBM(), 2, seed=0)
    hamiltonian = nk.operator.Ising(HI, nk.graph.Chain(4), h=0.7)
    stats, gradient = vs.expect_and_grad(hamiltonian)
    assert abs(stats.mean - vs.expect(hamiltonian).mean) < 1e-12
    _, forces = vs.expect_and_forces(hamiltonian)
    for i in range(2):
        one = vs.get_state(i)
        for got, wanted in (
            (gradient, one.expect_and_grad(hamiltonian)[1]),
            (vs.grad(hamiltonian), one.grad(hamiltonian)),
            (forces, one.expect_and_forces(hamiltonian)[1]),
        ):
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(a[i], b, atol=1e-12)
    refused = (vs.to_qobj, vs.quantum_geometric_tensor)
    for call in (*refused, lambda: nk.vqs.local_estimators(vs, hamiltonian)):
        with pytest.raises(qs.errors.QSNTKError, match=r"get_state\(i\)"):
            call()

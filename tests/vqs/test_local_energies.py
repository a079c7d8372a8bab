"""Local estimators by tables against NetKet's own evaluation of every connected configuration."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
from netket.operator import DiscreteJaxOperator, DiscreteOperator
from netket.vqs.mc import get_local_kernel, get_local_kernel_arguments

import netket_qsntk as qs
from netket_qsntk.vqs.flip_terms import flip_terms

RING = nk.graph.Chain(10)
GRID = nk.graph.Grid([3, 4], pbc=True)
SPINS = nk.hilbert.Spin(0.5, 10)
SECTOR = nk.hilbert.Spin(0.5, 10, total_sz=0)
QUBITS = nk.hilbert.Qubit(10)
BIG = nk.hilbert.Spin(0.5, 40)
σ = nk.operator.spin


def pauli(hilbert, jax_backend):
    make = nk.operator.PauliStringsJax if jax_backend else nk.operator.PauliStrings
    strings = [
        "XXIIIIIIII",
        "YIIYIIIIII",
        "ZXYIIIIIII",
        "IIZZIIIIIZ",
        "IYIZIIIIII",
        "XYIIIIIIIZ",
        "IIIIIIIIII",
    ]
    return make(hilbert, strings, [0.3, -1.2, 0.7j, 0.5, 1.1, -0.4, 0.25])


def field_and_exchange():
    terms = [σ.sigmax(SPINS, i) @ σ.sigmaz(SPINS, (i + 3) % 10) for i in range(10)]
    terms += [σ.sigmap(SPINS, i) @ σ.sigmam(SPINS, (i + 1) % 10) for i in range(10)]
    return sum(terms[1:], terms[0])


OPERATORS = {
    "Ising, Jax": lambda: nk.operator.IsingJax(SPINS, RING, h=0.7, J=-1.3),
    "Ising": lambda: nk.operator.Ising(SPINS, RING, h=0.7, J=-1.3),
    "Heisenberg": lambda: nk.operator.Heisenberg(SECTOR, RING),
    "J1-J2": lambda: nk.operator.Heisenberg(
        SECTOR, nk.graph.Chain(10, max_neighbor_order=2), J=[1.0, 0.5], sign_rule=[True, False]
    ),
    "local, not Hermitian": field_and_exchange,
    "local, Jax": lambda: field_and_exchange().to_jax_operator(),
    "Pauli strings": lambda: pauli(SPINS, False),
    "Pauli strings, Jax": lambda: pauli(SPINS, True),
    "qubits": lambda: pauli(QUBITS, True),
    "Ising, 40 sites": lambda: nk.operator.IsingJax(BIG, nk.graph.Chain(40), h=1.0),
}


def state(operator, *, parts="independent", group=None, dtype=float, **options):
    hilbert = operator.hilbert
    graph = nk.graph.Chain(hilbert.size)
    net = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=1.2, sigma_b=0.3, parts=parts)
    if isinstance(hilbert, nk.hilbert.Qubit):
        net = qs.models.CosNet(1, parts=parts)
    if group == "space":
        net = qs.models.Symmetrized(net, graph.space_group(), spin_flip=1)
    if group == "momentum π, odd":
        net = qs.models.Symmetrized(
            net, graph.translation_group(), (-1.0) ** np.arange(hilbert.size), spin_flip=-1
        )
    x = np.asarray(hilbert.random_state(jax.random.key(3), 60))
    model = qs.models.InfiniteWidth(
        net, qs.models.choose_centres(net, x, 25), param_dtype=dtype, **options
    )
    sampler = (
        nk.sampler.ExactSampler(hilbert)
        if hilbert.is_indexable
        else nk.sampler.MetropolisLocal(hilbert)
    )
    vs = nk.vqs.MCState(sampler, model, n_samples=64, seed=1, sampler_seed=2)
    rng = np.random.default_rng(0)
    theta = {
        k: jnp.asarray(0.3 * rng.normal(size=v.shape), dtype) for k, v in vs.parameters.items()
    }
    vs.parameters = theta
    return vs


def plainly(vs, operator):
    """NetKet's estimators, as for any other model."""
    base = DiscreteJaxOperator if isinstance(operator, DiscreteJaxOperator) else DiscreteOperator
    x, arguments = get_local_kernel_arguments.invoke(type(vs), base)(vs, operator)
    kernel = get_local_kernel.invoke(type(vs), base)(vs, operator)
    return kernel(vs._apply_fun, vs.variables, x.reshape(-1, x.shape[-1]), arguments)


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPERATORS)
def test_estimators_are_those_of_all_connected_configurations(name):
    operator = OPERATORS[name]()
    vs = state(operator)
    assert flip_terms(operator) is not None
    values = np.asarray(vs.local_estimators(operator).data).ravel()
    expected = np.asarray(plainly(vs, operator))
    np.testing.assert_allclose(values, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.thorough
@pytest.mark.parametrize("group", ["space", "momentum π, odd"])
@pytest.mark.parametrize("parts", ["real", "independent"])
@pytest.mark.parametrize("name", ["Ising, Jax", "Heisenberg"])
def test_with_symmetry_and_references(name, group, parts):
    operator = OPERATORS[name]()
    reference, initial = qs.readout.marshall(RING), qs.readout.jastrow(RING, [0.2, 0.1])
    vs = state(operator, parts=parts, group=group, reference=reference, initial=initial)
    values = np.asarray(vs.local_estimators(operator).data).ravel()
    expected = np.asarray(plainly(vs, operator))
    np.testing.assert_allclose(values, expected, atol=1e-10 * np.abs(expected).max())


PLACES = {
    "pairs": lambda k: qs.kernels.patches(k, RING, sites=[0, 3]),
    "three in a row": lambda k: qs.kernels.patches(k, RING, (3,)),
    "two shapes": lambda k: (
        qs.kernels.patches(k, RING, (4,)) + 0.4 * qs.kernels.patches(k, RING, sites=[0, 5])
    ),
    "beside the whole": lambda k: qs.kernels.patches(k, RING, (3,)) + 0.7 * k,
}


def state_of_patches(operator, name, *, parts="real", n_samples=64, **options):
    """A state whose kernel counts patterns, with parameters that are not small."""
    net = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=1.2, sigma_b=0.3, parts=parts)
    kernel = PLACES[name](qs.kernels.infinite_width(net))
    kernel = qs.kernels.symmetrized(kernel, RING.space_group(), spin_flip=1)
    x = np.asarray(operator.hilbert.random_state(jax.random.key(3), 60))
    model = qs.models.InfiniteWidth(kernel, qs.models.choose_centres(kernel, x, 25), **options)
    sampler = nk.sampler.ExactSampler(operator.hilbert)
    vs = nk.vqs.MCState(sampler, model, n_samples=n_samples, seed=1, sampler_seed=2)
    rng = np.random.default_rng(0)
    vs.parameters = jax.tree.map(
        lambda v: jnp.asarray(rng.normal(size=v.shape)), dict(vs.parameters)
    )
    return vs


@pytest.mark.thorough
@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("of", ["Ising, Jax", "J1-J2", "Pauli strings"])
@pytest.mark.parametrize("parts", ["real", "independent"])
def test_patches_look_only_at_patterns_that_change(name, of, parts):
    operator = OPERATORS[of]()
    vs = state_of_patches(operator, name, parts=parts, reference=qs.readout.marshall(RING))
    _, terms = get_local_kernel_arguments(vs, operator)
    assert terms.places is not None
    values = np.asarray(vs.local_estimators(operator).data).ravel()
    expected = np.asarray(plainly(vs, operator))
    assert np.ptp(np.abs(expected)) > 0.1
    np.testing.assert_allclose(values, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.thorough
def test_patches_in_chunks_of_samples():
    operator = OPERATORS["Ising, Jax"]()
    vs = state_of_patches(operator, "two shapes")
    whole, gradient = vs.expect_and_grad(operator)
    vs.chunk_size = 16
    stats, by_chunks = vs.expect_and_grad(operator)
    assert complex(stats.mean) == pytest.approx(complex(whole.mean), rel=1e-12)
    for found, expected in zip(jax.tree.leaves(by_chunks), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("chunk_size", [None, 16])
def test_expectation_values_and_gradients_use_them(chunk_size):
    operator = OPERATORS["Ising, Jax"]()
    vs = state(operator, group="space")
    vs.chunk_size = chunk_size
    expected = np.asarray(plainly(vs, operator))
    stats, gradient = vs.expect_and_grad(operator)
    assert complex(stats.mean) == pytest.approx(complex(expected.mean()), rel=1e-10)
    x = vs.samples.reshape(-1, 10)
    centred = expected - expected.mean()
    by_part = nk.jax.jacobian(
        vs._apply_fun, vs.parameters, x, vs.model_state, mode="complex", dense=True
    )
    jacobian = np.asarray(by_part[:, 0] + 1j * by_part[:, 1])
    by_hand = 2 * np.mean(np.real(np.conj(jacobian) * centred[:, None]), axis=0)
    flat = jnp.concatenate([g.ravel() for g in jax.tree.leaves(gradient)])
    np.testing.assert_allclose(flat, by_hand, atol=1e-10)


@pytest.mark.thorough
def test_float32_keeps_its_precision():
    operator = OPERATORS["Heisenberg"]()
    vs = state(operator, dtype=jnp.float32)
    exact = np.asarray(plainly(vs, operator))
    values = np.asarray(vs.local_estimators(operator).data).ravel()
    np.testing.assert_allclose(values, exact, rtol=2e-3, atol=1e-3)


@pytest.mark.thorough
def test_other_operators_and_models_are_evaluated_as_ever():
    three = nk.operator.PauliStringsJax(SPINS, ["XXXIIIIIII", "ZIIIIIIIII"])
    assert flip_terms(three) is None
    vs = state(three)
    np.testing.assert_allclose(
        np.asarray(vs.local_estimators(three).data).ravel(),
        np.asarray(plainly(vs, three)),
        atol=1e-12,
    )
    operator = OPERATORS["Ising, Jax"]()
    rbm = nk.vqs.MCState(nk.sampler.ExactSampler(SPINS), nk.models.RBM(), n_samples=64)
    for op in (operator, OPERATORS["Heisenberg"]()):
        if op.hilbert == SPINS:
            exact = np.asarray(plainly(rbm, op))
            np.testing.assert_allclose(
                np.asarray(rbm.local_estimators(op).data).ravel(), exact, atol=1e-12
            )


def test_operators_summed_in_place_are_read_again():
    operator = nk.operator.LocalOperator(SPINS)
    operator += σ.sigmax(SPINS, 0)
    first = flip_terms(operator)
    operator += 2.0 * σ.sigmax(SPINS, 1)
    second = flip_terms(operator)
    assert (first.flips.tolist(), second.flips.tolist()) == ([0], [0, 1])

"""ψ and log ψ from a network's functions, gradients between them, and fixed references."""

import jax
import jax.numpy as jnp
import netket as nk
import nqxpack
import numpy as np
import optax
import pytest

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
CHAIN = nk.graph.Chain(4)
X = HI.all_states()
REFERENCE = qs.readout.marshall(CHAIN) + qs.readout.jastrow(CHAIN, [0.2, -0.1], field=0.3)
READOUTS = [qs.readout.Readout(o, r) for o in ("psi", "log_psi") for r in (None, REFERENCE)]
readouts = pytest.mark.parametrize("readout", READOUTS, ids=repr)
rng = np.random.default_rng(0)
F = jnp.asarray(rng.normal(size=16) + 1j * rng.normal(size=16))


@readouts
def test_psi_and_log_psi_are_one_wave_function_and_the_inverse_gives_f(readout):
    r = 0 if readout.reference is None else np.exp(np.asarray(readout.reference(X)))
    r = r if readout.reference is not None else 1.0
    expected = (np.exp(F) if readout.is_log else F) * r
    np.testing.assert_allclose(readout.psi(F, X), expected, rtol=1e-13)
    log_psi = readout.log_psi(F, X)
    np.testing.assert_allclose(jnp.exp(log_psi), expected, rtol=1e-13)
    np.testing.assert_allclose(readout.functions(log_psi, X), F, rtol=1e-12)


@readouts
def test_gradient_of_f_is_what_jax_finds_through_the_amplitudes(readout):
    weights = jnp.asarray(rng.normal(size=16))

    def loss(psi):
        return jnp.sum(weights * jnp.abs(psi - 1.0) ** 2)

    def of_parts(parts):
        return loss(readout.psi(jax.lax.complex(parts[0], parts[1]), X))

    psi = readout.psi(F, X)
    g_psi = 2 * weights * (psi - 1.0)
    parts = jax.grad(of_parts)(jnp.stack([F.real, F.imag]))
    np.testing.assert_allclose(
        readout.f_gradient(g_psi, psi, X), jax.lax.complex(parts[0], parts[1]), rtol=1e-11
    )


def test_readouts_are_static_and_equal_by_what_they_say():
    twin = qs.readout.Readout(
        "log_psi", qs.readout.marshall(CHAIN) + qs.readout.jastrow(CHAIN, [0.2, -0.1], field=0.3)
    )
    assert twin == READOUTS[3]
    assert hash(twin) == hash(READOUTS[3])
    assert twin != READOUTS[1]
    assert jax.tree.leaves(twin) == []


@pytest.mark.thorough
def test_marshall_makes_the_heisenberg_ground_state_positive():
    for graph in (nk.graph.Chain(6), nk.graph.Grid([2, 3], pbc=False)):
        hi = nk.hilbert.Spin(0.5, 6, total_sz=0)
        H = nk.operator.Heisenberg(hi, graph, sign_rule=False)
        ground = np.linalg.eigh(H.to_dense())[1][:, 0]
        signed = np.exp(qs.readout.marshall(graph)(hi.all_states())) * ground
        signed = signed / signed[np.argmax(abs(signed))]
        assert signed.real.min() > 0
        assert abs(signed.imag).max() < 1e-12


def test_marshall_counts_particles_and_larger_spins():
    sign = qs.readout.MarshallSign((0,), spacing=1)
    np.testing.assert_allclose(
        np.exp(sign(np.array([[0], [1], [2], [3]]))), [1, -1, 1, -1], atol=1e-15
    )
    one = qs.readout.MarshallSign((0,))
    ratio = np.exp(one(np.array([[-2], [0], [2]])))
    np.testing.assert_allclose(ratio[1:] / ratio[:-1], [-1, -1], atol=1e-15)


@pytest.mark.thorough
def test_jastrow_is_that_of_netket():
    vs = nk.vqs.FullSumState(HI, nk.models.Jastrow(param_dtype=float), seed=1)
    w = np.zeros((4, 4))
    w[np.tril_indices(4, -1)] = np.asarray(vs.parameters["kernel"])
    ours = qs.readout.JastrowReference(w + w.T)
    np.testing.assert_allclose(ours(X), vs.log_value(X), atol=1e-14)
    bound = qs.readout.as_reference(vs.model.bind(vs.variables))
    np.testing.assert_allclose(bound(X), vs.log_value(X), atol=1e-14)
    other = nk.vqs.FullSumState(HI, nk.models.Jastrow(param_dtype=float), seed=2)
    assert bound != qs.readout.as_reference(other.model.bind(other.variables))
    assert bound == qs.readout.as_reference(vs.model.bind(vs.variables))


def models(**options):
    return {
        "CosNet": qs.models.CosNet(6, **options),
        "FourierFeatures": qs.models.FourierFeatures(
            np.ones((2, 4)) * 0.1, 1.0, qs.models.WideMLP(widths=(5,)), **options
        ),
        "WideMLP": qs.models.WideMLP(widths=(5,), sigma_b=0.1, **options),
    }


@pytest.mark.parametrize("name", ["CosNet", "FourierFeatures", "WideMLP"])
@pytest.mark.parametrize("parts", ["real", "independent", "shared"])
def test_models_of_log_psi_are_exponentials_of_the_same_network(name, parts):
    plain = models(parts=parts)[name]
    log = models(parts=parts, output="log_psi", reference=REFERENCE)[name]
    variables = plain.init(jax.random.key(0), X)
    f = plain.apply(variables, X, method="psi")
    np.testing.assert_array_equal(log.apply(variables, X, method="fields"), f)
    expected = f + REFERENCE(X)
    np.testing.assert_allclose(log.apply(variables, X), expected, rtol=1e-13)
    np.testing.assert_allclose(log.apply(variables, X, method="psi"), np.exp(expected), rtol=1e-12)
    assert log.readout == qs.readout.Readout("log_psi", REFERENCE)
    # The kernel is that of the functions, whatever they are used for.
    np.testing.assert_array_equal(
        qs.kernels.infinite_width(log).ntk(X), qs.kernels.infinite_width(plain).ntk(X)
    )


@pytest.mark.thorough
def test_a_positive_network_has_real_log_amplitudes_and_gradients_in_netket():
    model = qs.models.WideMLP(widths=(8,), output="log_psi", parts="real")
    vs = nk.vqs.FullSumState(HI, model, seed=1)
    assert vs.log_value(X).dtype == np.float64
    H = nk.operator.IsingJax(HI, CHAIN, h=1.0)
    _, gradient = vs.expect_and_grad(H)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("parts", ["real", pytest.param("shared", marks=pytest.mark.slow)])
@pytest.mark.parametrize("reference", [None, REFERENCE], ids=["bare", "reference"])
def test_netket_trains_networks_of_log_psi(parts, reference):
    model = qs.models.WideMLP(
        widths=(8,), activation="erf", output="log_psi", parts=parts, reference=reference
    )
    H = nk.operator.IsingJax(HI, CHAIN, h=1.0)
    sampler = nk.sampler.ExactSampler(HI)
    for vs in (
        nk.vqs.FullSumState(HI, model, seed=1),
        nk.vqs.MCState(sampler, model, n_samples=64, seed=1, sampler_seed=2),
    ):
        exact = nk.vqs.FullSumState(HI, model, variables=vs.variables)
        before = exact.expect(H).mean.real
        nk.driver.VMC_SR(H, optax.sgd(0.05), diag_shift=0.1, variational_state=vs).run(
            4, show_progress=False
        )
        exact.variables = vs.variables
        assert exact.expect(H).mean.real < before


def test_models_with_references_are_saved_and_loaded(tmp_path):
    model = qs.models.WideMLP(widths=(5,), output="log_psi", reference=REFERENCE)
    vs = nk.vqs.FullSumState(HI, model, seed=1)
    nqxpack.save(vs, tmp_path / "state.nk")
    loaded = nqxpack.load(tmp_path / "state.nk")
    assert loaded.model == model
    np.testing.assert_array_equal(loaded.to_array(), vs.to_array())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: qs.readout.Readout("log"), "expected one of"),
        (lambda: qs.models.CosNet(4, output="amplitude"), "output='amplitude'"),
        (lambda: qs.models.CosNet(4, reference=3.0), "expected a function"),
        (lambda: qs.models.CosNet(4, reference=nk.models.Jastrow()), "vs.model.bind"),
        (lambda: qs.readout.marshall(nk.graph.Chain(5)), "odd length"),
        (lambda: qs.readout.jastrow(CHAIN, []), "each distance"),
        (lambda: qs.readout.JastrowReference(np.triu(np.ones((3, 3)))), "symmetric"),
        (lambda: REFERENCE(np.ones((2, 5))), "5 sites"),
        (lambda: READOUTS[1].f_gradient(F, F), "give the configurations"),
        (lambda: qs.readout.MarshallSign((0,), spacing=3), "spacing=3"),
    ],
)
def test_what_makes_no_readout_is_an_error_that_says_so(call, words):
    with pytest.raises(qs.errors.InvalidModelError, match=words):
        call()

"""The infinite-width module in NetKet's hands: against the flow of its functions, and as any NetKet model."""

import warnings

import flax
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs

D = 8
RING = nk.graph.Chain(D)
HILBERT = nk.hilbert.Spin(0.5, D)
STATES = np.asarray(HILBERT.all_states())
TFIM = nk.operator.IsingJax(HILBERT, RING, h=1.0, J=-1.0)
XXZ_FIELD = sum(
    nk.operator.spin.sigmaz(HILBERT, i) @ nk.operator.spin.sigmaz(HILBERT, (i + 1) % D)
    + 0.7 * nk.operator.spin.sigmax(HILBERT, i)
    + 0.4 * nk.operator.spin.sigmay(HILBERT, i)
    for i in range(D)
)
NET = qs.models.WideMLP(widths=(4,), activation="erf", sigma_w=1.0, sigma_b=0.3, parts="real")
BOTH = NET.clone(parts="independent")


def natural_gradient(theta, hamiltonian, f, steps, rate, shift):
    """f <- f - η Θ Cᵀ D (T + λ)⁻¹ 2D(E_loc - E), with p, E_loc and T over the whole basis (spec of section 6)."""
    matrix, energies = np.asarray(hamiltonian.to_dense()), []
    for _ in range(steps):
        psi = np.exp(f - f.real.max())
        p = np.abs(psi) ** 2 / np.sum(np.abs(psi) ** 2)
        local = (matrix @ psi) / psi
        energy = p @ local
        energies.append(energy.real)
        centring = np.eye(len(p)) - np.outer(np.ones(len(p)), p)
        root = np.diag(np.sqrt(p))
        t = root @ centring @ theta @ centring.T @ root
        a = np.linalg.solve(t + shift * np.eye(len(p)), 2 * np.sqrt(p) * (local - energy))
        if not np.iscomplexobj(f):
            a = a.real
        f = f - rate * theta @ centring.T @ root @ a
    return f, np.array(energies)


def trained(model, hamiltonian, steps, rate=0.05, shift=1e-3):
    vs = nk.vqs.FullSumState(HILBERT, model)
    driver = nk.driver.VMC_SR(hamiltonian, optax.sgd(rate), variational_state=vs, diag_shift=shift)
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, show_progress=False)
    return vs, np.asarray(log.data["Energy"]["Mean"]).real


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["real", "independent"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_with_the_whole_basis_as_centres_it_is_the_natural_gradient_flow(parts, symmetric):
    net, hamiltonian = (NET, TFIM) if parts == "real" else (BOTH, XXZ_FIELD)
    centres = STATES
    if symmetric:
        net = qs.models.Symmetrized(net, RING.space_group())
        centres = qs.models.choose_centres(net, STATES, 2**D)
        assert len(centres) == int(qs.symmetry.multiplicities(RING.space_group(), D).sum())
    model = qs.models.InfiniteWidth(net, centres)
    vs, energies = trained(model, hamiltonian, 12)
    theta = np.asarray(model.kernel.ntk(STATES))
    f, expected = natural_gradient(
        theta, hamiltonian, np.zeros(2**D, float if parts == "real" else complex), 12, 0.05, 1e-3
    )
    np.testing.assert_allclose(energies, expected, rtol=1e-9)
    np.testing.assert_allclose(vs.log_value(STATES), f, atol=1e-8)


@pytest.mark.thorough
def test_with_the_whole_basis_as_centres_it_is_natural_gradient_flow():
    vs, energies = trained(qs.models.InfiniteWidth(NET, STATES), TFIM, 10)
    flow = qs.dynamics.NaturalGradientFlow(
        qs.kernels.infinite_width(NET), TFIM, learning_rate=0.05, diag_shift=1e-3
    )
    np.testing.assert_allclose(energies, flow.energies(np.zeros(2**D), np.arange(10)), rtol=1e-9)
    log_psi = np.asarray(flow.run(np.zeros(2**D), [10]))[0]
    own = np.asarray(vs.log_value(STATES))
    np.testing.assert_allclose(own - own[0], (log_psi - log_psi[0]).real, atol=1e-9)


@pytest.mark.thorough
def test_the_tangent_kernel_is_the_nystroem_approximation():
    model = qs.models.InfiniteWidth(NET, STATES[::9])
    variables = model.init(jax.random.key(0), STATES[:1])
    phi = np.asarray(model.apply(variables, STATES, method="features"))
    kernel = qs.kernels.infinite_width(NET)
    cross, inner = np.asarray(kernel.ntk(STATES, STATES[::9])), np.asarray(kernel.ntk(STATES[::9]))
    np.testing.assert_allclose(phi @ phi.T, cross @ np.linalg.pinv(inner) @ cross.T, atol=1e-9)
    np.testing.assert_allclose(phi[::9] @ phi[::9].T, inner, atol=1e-10)
    measured = qs.kernels.empirical(nk.vqs.FullSumState(HILBERT, model), STATES[::9])
    np.testing.assert_allclose(measured.theta_11, inner, atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("hilbert", [nk.hilbert.Spin(1, 4), nk.hilbert.Fock(2, 4)], ids=str)
def test_kernels_without_tables(hilbert):
    states = hilbert.all_states()
    net = NET.clone(encoding=None)
    model = qs.models.InfiniteWidth(net, states[::5])
    variables = model.init(jax.random.key(0), states[:1])
    assert "table" not in variables["centres"]
    rows = jax.jit(lambda v, x: model.apply(v, x, method="rows"))(variables, states)
    np.testing.assert_allclose(
        rows, qs.kernels.infinite_width(net).ntk(states, states[::5]), atol=1e-12
    )


@pytest.mark.thorough
def test_centres_of_two_of_three_local_states_say_nothing_of_the_third():
    net = NET.clone(encoding=None)
    made = qs.models.InfiniteWidth(net, [[2, -2, 2, -2], [2, 2, -2, -2]])
    x = jnp.asarray([[2, -2, 2, 2], [2, 0, 2, -2]])
    variables = made.init(jax.random.key(0), x[:1])
    known = qs.kernels.infinite_width(net).ntk(x[:1], np.asarray(made.centres))
    found = jax.jit(lambda v, x: made.apply(v, x, method="rows"))(variables, x)
    np.testing.assert_allclose(found[0], known[0], atol=1e-12)
    assert np.isnan(found[1]).all()
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"\[2, 0, 2, -2\]"):
        made.apply(variables, x, method="rows")


def random_variables(model, dtype=float):
    variables = model.init(jax.random.key(0), STATES[:1])
    theta = jax.tree.map(
        lambda t: jnp.asarray(np.random.default_rng(len(t)).normal(size=t.shape), dtype),
        variables["params"],
    )
    return {**variables, "params": theta}


@pytest.mark.thorough
def test_references_and_initial_functions_are_added():
    reference = qs.readout.marshall(RING)
    initial = qs.readout.jastrow(RING, [0.2, 0.1])
    plain = qs.models.InfiniteWidth(BOTH, STATES[::9])
    variables = random_variables(plain)
    added = qs.models.InfiniteWidth(BOTH, STATES[::9], initial=initial, reference=reference).apply(
        variables, STATES
    )
    expected = plain.apply(variables, STATES) + reference(STATES) + initial(STATES)
    np.testing.assert_allclose(added, expected, atol=1e-12)
    follows = qs.models.InfiniteWidth(BOTH.clone(reference=reference), STATES[::9])
    assert follows.readout.reference == reference


@pytest.mark.thorough
def test_it_goes_through_jax():
    model = qs.models.InfiniteWidth(
        qs.models.Symmetrized(BOTH, RING.translation_group()), STATES[[0, 1, 3, 7]]
    )
    variables = random_variables(model)
    values = model.apply(variables, STATES)
    assert values.shape == (2**D,)
    one = jax.vmap(lambda x: model.apply(variables, x))(STATES)
    np.testing.assert_allclose(one, values, atol=1e-12)
    jitted = jax.jit(model.apply)(variables, STATES.reshape(4, -1, D).astype(np.int8))
    np.testing.assert_allclose(jitted.reshape(-1), values, atol=1e-12)
    # The same model made twice is one static argument.
    again = qs.models.InfiniteWidth(
        qs.models.Symmetrized(BOTH, RING.translation_group()), STATES[[0, 1, 3, 7]]
    )
    assert hash(again) == hash(model)
    assert again == model


def test_float32_keeps_its_precision():
    exact = qs.models.InfiniteWidth(NET, STATES[::9])
    variables = random_variables(exact)
    model = qs.models.InfiniteWidth(NET, STATES[::9], param_dtype=jnp.float32)
    own = random_variables(model, jnp.float32)
    values = model.apply(own, STATES)
    assert values.dtype == jnp.float32
    phi, psi = (
        m.apply(v, STATES, method="features") for m, v in ((exact, variables), (model, own))
    )
    np.testing.assert_allclose(psi @ psi.T, phi @ phi.T, atol=3e-4)


def monte_carlo_state(model, **options):
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=16)
    return nk.vqs.MCState(sampler, model, n_samples=256, seed=1, sampler_seed=2, **options)


@pytest.mark.thorough
@pytest.mark.parametrize("chunk_size", [None, 32])
def test_netkets_samplers_and_drivers_train_it(chunk_size):
    net = qs.models.Symmetrized(NET, RING.translation_group())
    vs = monte_carlo_state(
        qs.models.InfiniteWidth(net, qs.models.choose_centres(net, STATES, 30)),
        chunk_size=chunk_size,
    )
    before = {k: np.asarray(v) for k, v in vs.model_state["centres"].items()}
    driver = nk.driver.VMC_SR(TFIM, optax.sgd(0.1), variational_state=vs, diag_shift=1e-3)
    driver.run(40, show_progress=False)
    exact = np.linalg.eigvalsh(TFIM.to_dense())[0]
    assert float(vs.expect(TFIM).mean.real) == pytest.approx(exact, rel=0.02)
    for name, value in vs.model_state["centres"].items():
        np.testing.assert_array_equal(value, before[name])
    assert vs.n_parameters == 30


def test_states_are_saved_and_restored():
    model = qs.models.InfiniteWidth(BOTH, STATES[::9])
    vs, other = monte_carlo_state(model), monte_carlo_state(model)
    vs.variables = random_variables(model)
    other = flax.serialization.from_bytes(other, flax.serialization.to_bytes(vs))
    np.testing.assert_array_equal(other.log_value(STATES), vs.log_value(STATES))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "net",
    [NET, qs.models.Symmetrized(NET, RING.space_group(), spin_flip=1)],
    ids=["plain", "symmetrised"],
)
def test_nqxpack_saves_it(net, tmp_path):
    nqxpack = pytest.importorskip("nqxpack")
    model = qs.models.InfiniteWidth(net, qs.models.choose_centres(net, STATES, 10))
    vs = monte_carlo_state(model)
    vs.variables = random_variables(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nqxpack.save(vs, tmp_path / "state.nk")
        loaded = nqxpack.load(tmp_path / "state.nk")
    np.testing.assert_array_equal(loaded.log_value(STATES), vs.log_value(STATES))


def test_what_are_no_centres_is_refused():
    net = qs.models.Symmetrized(NET, RING.translation_group())
    with pytest.raises(
        qs.errors.InvalidConfigurationsError, match="1 of 3 centres coincide.*choose_centres"
    ):
        qs.models.InfiniteWidth(NET, STATES[[0, 1, 1]])
    with pytest.raises(
        qs.errors.InvalidConfigurationsError, match="1 of 3 centres are images of others"
    ):
        qs.models.InfiniteWidth(net, STATES[[0, 1, 2]])
    with pytest.raises(qs.errors.InvalidConfigurationsError, match=r"shape \(8,\)"):
        qs.models.InfiniteWidth(NET, STATES[0])
    with pytest.raises(qs.errors.SymmetryError, match="has 6 sites.*moves 8"):
        qs.models.InfiniteWidth(net, nk.hilbert.Spin(0.5, 6).all_states()[:4])
    with pytest.raises(qs.errors.InvalidConfigurationsError, match="GB.*take at most"):
        qs.models.InfiniteWidth(NET, nk.hilbert.Spin(0.5, 20).all_states())
    with pytest.raises(qs.errors.InvalidModelError, match="floor"):
        qs.models.InfiniteWidth(NET, STATES[:4], floor=2.0)
    momentum = np.exp(0.5j * np.pi * np.arange(D))
    kernel = qs.kernels.symmetrized(
        qs.kernels.infinite_width(NET), RING.translation_group(), momentum
    )
    with pytest.raises(qs.errors.InvalidModelError, match="complex"):
        qs.models.InfiniteWidth(kernel, STATES[[0, 1, 3, 7]]).init(jax.random.key(0), STATES)
    with pytest.raises(qs.errors.UnknownKernelError):
        qs.models.InfiniteWidth(
            nk.models.ARNNDense(layers=1, features=2, hilbert=HILBERT), STATES[:4]
        )


LOCAL = qs.kernels.infinite_width(NET)
PATCHES = qs.kernels.patches(LOCAL, RING, (3,)) + qs.kernels.patches(LOCAL, RING, sites=[0, 4])


MADE = {
    "patches": PATCHES,
    "one shape": 0.5 * qs.kernels.patches(LOCAL, RING, (4,)),
    "patches and the whole": PATCHES + LOCAL,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name == "one shape" else pytest.mark.slow)
        for name in MADE
    ],
)
def test_kernels_of_patches(name):
    made = qs.kernels.symmetrized(MADE[name], RING.space_group(), spin_flip=1)
    centres = qs.models.choose_centres(made, STATES, 40)
    model = qs.models.InfiniteWidth(made, centres, parts="independent")
    variables = random_variables(model)
    assert "columns" in variables["centres"]
    exact = np.asarray(made.ntk(STATES, centres))
    np.testing.assert_allclose(model.apply(variables, STATES, method="rows"), exact, atol=1e-13)
    expected = exact @ np.asarray(model.apply(variables, method="weights"))
    np.testing.assert_allclose(
        model.apply(variables, STATES), expected[:, 0] + 1j * expected[:, 1], atol=1e-9
    )
    # The pivots' rows are those of the kernel: what is left out lies in the span of what was taken.
    square = np.asarray(made.ntk(centres))
    left = np.asarray(made.ntk(STATES)) - exact @ np.linalg.pinv(square, hermitian=True) @ exact.T
    assert len(centres) < 40
    assert np.abs(np.diag(left)).max() < 1e-8 * exact.max()


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_local_energies_of_kernels_of_patches(name):
    made = qs.kernels.symmetrized(MADE[name], RING.space_group(), spin_flip=1)
    model = qs.models.InfiniteWidth(made, qs.models.choose_centres(made, STATES, 40))
    vs = monte_carlo_state(model)
    vs.variables = random_variables(model)
    psi = np.exp(np.asarray(vs.log_value(STATES)))
    local = np.asarray(TFIM.to_dense()) @ psi / psi
    drawn = local[HILBERT.states_to_numbers(vs.samples)]
    np.testing.assert_allclose(vs.expect(TFIM).mean, drawn.mean(), rtol=1e-10)

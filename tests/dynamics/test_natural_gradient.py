"""SR, SPRING, gradient descent and TDVP in function space against a linear model in parameter space, in NumPy."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest
import scipy.linalg

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
X = HI.all_states()
CHAIN = nk.graph.Chain(4)
REAL = nk.operator.Ising(HI, CHAIN, h=1.0)
COMPLEX = REAL.to_local_operator() + 0.3 * nk.operator.spin.sigmay(HI, 0) @ nk.operator.spin.sigmaz(
    HI, 1
)
STEPS = np.arange(0, 101, 10)
rng = np.random.default_rng(0)


def kernel(parts="real", **options):
    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=1.4, sigma_b=0.5, parts=parts, **options
    )
    return qs.kernels.infinite_width(net)


def features(parts):
    """Θ = J Jᵀ of each part: the Jacobian of a linear model, complex where it has two parts."""
    values, vectors = np.linalg.eigh(np.asarray(kernel().ntk(X)))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return root if parts == "real" else np.concatenate([root, 1j * root], axis=1)


def linear_model(
    jacobian, hamiltonian, f, *, rate, shift, momentum=None, output="log_psi", mode=None
):
    """Energies and log ψ of f + Jθ, trained over its real parameters θ exactly as NetKet's drivers do."""
    h = hamiltonian.to_dense()
    theta = old = np.zeros(jacobian.shape[1])
    energies, logs = [], []
    for _ in range(STEPS[-1] + 1):
        now = f + jacobian @ theta
        log_psi = now if output == "log_psi" else np.log(now + 0j)
        o = jacobian if output == "log_psi" else jacobian / now[:, None]
        psi = np.exp(log_psi - log_psi.real.max())
        psi = psi / np.linalg.norm(psi)
        p, energy = abs(psi) ** 2, (psi.conj() @ h @ psi).real
        energies.append(energy)
        logs.append(log_psi)
        o = (o - p @ o) * np.sqrt(p)[:, None]
        forces = 2 * np.sqrt(p) * ((h @ psi) / psi - energy)
        rows = np.concatenate([o.real] if mode == "real" else [o.real, o.imag])
        right = np.concatenate([forces.real] if mode == "real" else [forces.real, forces.imag])
        if shift is None:
            update = rows.T @ right
        else:
            mu = momentum or 0.0
            s = rows.T @ rows + shift * np.eye(len(theta))
            update = np.linalg.solve(s, rows.T @ (right - mu * rows @ old)) + mu * old
            old = update
        theta = theta - rate * update
    return np.array(energies)[STEPS], np.array(logs)[STEPS]


def start(parts, output="log_psi"):
    draw = np.random.default_rng(3)
    f = draw.normal(size=16)
    return f if parts == "real" else f + 1j * draw.normal(size=16)


@pytest.mark.thorough
@pytest.mark.parametrize("output", ["log_psi", "psi"])
@pytest.mark.parametrize("parts", ["real", "independent"])
@pytest.mark.parametrize(
    ("shift", "momentum"),
    [(None, None), (1e-6, None), (1e-6, 0.9), (1e-2, 0.9), (1.0, None), (1.0, 0.9)],
)
def test_every_step_is_that_of_a_linear_model_in_parameter_space(output, parts, shift, momentum):
    hamiltonian = REAL if parts == "real" else COMPLEX
    # Small functions where they are logarithms: large ones collapse onto one configuration for λ = 1e-6.
    f = start(parts) * (0.3 if output == "log_psi" else 1.0)
    energies, logs = linear_model(
        features(parts), hamiltonian, f, rate=0.05, shift=shift, momentum=momentum, output=output
    )
    readout = qs.readout.Readout(output)
    flow = qs.dynamics.NaturalGradientFlow(
        kernel(parts),
        hamiltonian,
        learning_rate=0.05,
        diag_shift=shift,
        momentum=momentum,
        readout=readout,
    )
    first = readout.log_psi(f, X)
    np.testing.assert_allclose(flow.energies(first, STEPS), energies, atol=1e-10)
    psi, expected = np.exp(flow.run(first, STEPS)), np.exp(logs)
    size = np.linalg.norm(expected, axis=-1, keepdims=True)
    assert np.abs(expected / size).min() > 1e-3
    np.testing.assert_allclose(psi / size, expected / size, atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["real", "independent"])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_products_and_joint_kernels_give_the_same(parts, momentum):
    options = {"learning_rate": 0.05, "diag_shift": 1e-3, "momentum": momentum, "tolerance": 1e-12}
    hamiltonian = REAL if parts == "real" else COMPLEX
    k, first = kernel(parts), start(parts)
    dense = qs.dynamics.NaturalGradientFlow(k, hamiltonian, **options)
    products = qs.dynamics.NaturalGradientFlow(k, hamiltonian, solver="products", **options)
    assert products.problem.method == "products"
    expected = dense.energies(first, STEPS)
    np.testing.assert_allclose(products.energies(first, STEPS), expected, atol=1e-9)
    theta = k.ntk(X)
    given = theta if parts == "real" else jnp.kron(jnp.eye(2), theta)
    array = qs.dynamics.NaturalGradientFlow(given, hamiltonian, **options)
    np.testing.assert_allclose(array.energies(first, STEPS), expected, atol=1e-9)


@pytest.mark.thorough
def test_mode_real_is_that_of_netket():
    f = start("independent")
    energies, _ = linear_model(features("complex"), COMPLEX, f, rate=0.05, shift=1e-3, mode="real")
    for solver in ("dense", "products"):
        flow = qs.dynamics.NaturalGradientFlow(
            kernel("independent"), COMPLEX, learning_rate=0.05, diag_shift=1e-3, mode="real",
            solver=solver, tolerance=1e-11,
        )  # fmt: skip
        np.testing.assert_allclose(flow.energies(f, STEPS), energies, atol=1e-9)


@pytest.mark.thorough
def test_members_schedules_and_references():
    k = kernel("independent")
    reference = qs.readout.marshall(CHAIN) + qs.readout.jastrow(CHAIN, 0.3)
    readout = qs.readout.Readout("log_psi", reference)
    options = {"learning_rate": 0.05, "diag_shift": 1e-2}
    flow = qs.dynamics.NaturalGradientFlow(k, COMPLEX, readout=readout, **options)
    members = jnp.stack([start("complex"), 0.5 * start("complex")])
    run = flow.run(members, STEPS)
    assert run.shape == (len(STEPS), 2, 16)
    alone = flow.run(members[1], STEPS)
    np.testing.assert_allclose(run[:, 1], alone, atol=1e-10)
    plain = qs.dynamics.NaturalGradientFlow(k, COMPLEX, **options)
    np.testing.assert_allclose(plain.run(members, STEPS), run, atol=1e-10)
    scheduled = qs.dynamics.NaturalGradientFlow(
        k, COMPLEX, learning_rate=lambda t: 0.05, diag_shift=lambda t: 1e-2, momentum=lambda t: 0.0
    )
    np.testing.assert_allclose(scheduled.run(members[1], STEPS), alone, atol=1e-8)


def normalised(log_psi):
    psi = np.exp(np.asarray(log_psi))
    return psi / np.linalg.norm(psi, axis=-1, keepdims=True)


@pytest.mark.thorough
@pytest.mark.parametrize("propagation", ["imag", "real"])
def test_without_a_shift_the_flow_is_exact_evolution(propagation):
    k = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.5))
    first = 0.3 * start("complex")
    flow = qs.dynamics.NaturalGradientFlow(
        k,
        COMPLEX,
        learning_rate=0.5,
        diag_shift=0.0,
        propagation=propagation,
        flow=True,
        tolerance=1e-11,
    )
    times = np.array([0.0, 0.3, 1.0])
    found = normalised(flow.run(first, times))
    # Imaginary time runs at twice the learning rate, as NetKet's gradient does.
    factor = -1.0 if propagation == "imag" else -0.5j
    for t, psi in zip(times, found, strict=True):
        exact = scipy.linalg.expm(factor * t * COMPLEX.to_dense()) @ np.exp(first)
        exact = exact / np.linalg.norm(exact)
        assert 1 - abs(np.vdot(exact, psi)) < 1e-14
        np.testing.assert_allclose(psi * np.vdot(psi, exact), exact, atol=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize("solver", ["dense", "products"])
def test_amplitudes_that_span_hundreds_of_e_folds_stay_numbers(solver):
    flow = qs.dynamics.NaturalGradientFlow(
        kernel("independent"), COMPLEX, learning_rate=0.05, diag_shift=1e-3, solver=solver
    )
    first = np.linspace(-700, 700, 16) * (1 + 0.1j)
    run = flow.run(first, STEPS)
    assert np.isfinite(run).all()
    energies = flow.energies(first, STEPS)
    assert np.isfinite(energies).all()
    assert energies[-1] <= energies[0]


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["infidelity", "tomography"])
def test_other_losses_with_the_same_preconditioner(loss):
    target = qs.targets.ground_state(REAL)
    if loss == "infidelity":
        minimised = qs.losses.Infidelity(target)
    else:
        shots = [qs.losses.measure(target, basis, 1000, seed=0) for basis in ("ZZZZ", "XXXX")]
        minimised = qs.losses.Tomography(HI, shots)
    flow = qs.dynamics.NaturalGradientFlow(kernel(), minimised, learning_rate=0.05, diag_shift=1e-2)
    values = flow.energies(start("real"), STEPS)
    assert (np.diff(values) < 0).all()
    if loss == "infidelity":
        assert values[-1] < 0.1


def test_other_numbers_do_not_compile_again():
    first = start("real")
    qs.dynamics.NaturalGradientFlow(kernel(), REAL, learning_rate=0.05, diag_shift=1e-3).energies(
        first, STEPS
    )
    before = qs.dynamics.natural_gradient_step.follow._cached._cache_size()
    other = nk.operator.Ising(HI, CHAIN, h=0.3)
    qs.dynamics.NaturalGradientFlow(
        kernel(), other, learning_rate=0.02, diag_shift=1e-2, momentum=0.5
    ).energies(2 * first, STEPS)
    assert qs.dynamics.natural_gradient_step.follow._cached._cache_size() == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"diag_shift": -1e-3}, "InvalidTrainingError", ">= 0"),
        ({"learning_rate": 0.0}, "InvalidTrainingError", "learning_rate"),
        ({"momentum": 1.5}, "InvalidTrainingError", "momentum"),
        ({"momentum": 0.5, "diag_shift": None}, "InvalidTrainingError", "SPRING"),
        ({"mode": "holomorphic"}, "InvalidTrainingError", "mode"),
        ({"propagation": "real"}, "InvalidTrainingError", "phases"),
        ({"flow": True, "diag_shift": lambda t: 1e-3}, "InvalidTrainingError", "constant"),
    ],
)
def test_settings_that_make_no_flow(options, error, words):
    settings = {"learning_rate": 0.05, "diag_shift": 1e-3} | options
    with pytest.raises(getattr(qs.errors, error), match=words):
        qs.dynamics.NaturalGradientFlow(kernel(), REAL, **settings)


@pytest.mark.parametrize(
    ("name", "last"), [("diag_shift", -0.1), ("momentum", 1.5), ("learning_rate", -1.0)]
)
def test_schedules_that_leave_the_range_are_named_with_their_step(name, last):
    settings = {"learning_rate": 0.05, "diag_shift": 1e-3}
    settings[name] = lambda t: 0.5 if t < 2 else last
    flow = qs.dynamics.NaturalGradientFlow(kernel(), REAL, **settings)
    with pytest.raises(qs.errors.InvalidTrainingError, match=f"{name} gives .* at step 2"):
        flow.energies(np.zeros(16), [3])


def test_states_that_cannot_be_listed_or_have_zeros_are_named():
    settings = {"learning_rate": 0.05, "diag_shift": 1e-3}
    flow = qs.dynamics.NaturalGradientFlow(kernel(), REAL, **settings)
    with pytest.raises(qs.errors.AmplitudesError, match="zero or not finite"):
        flow.run(np.full(16, -np.inf), [1])
    with pytest.raises(qs.errors.AmplitudesError, match="shape"):
        flow.run(np.zeros(8), [1])
    large = nk.hilbert.Spin(0.5, 60)
    with pytest.raises(qs.errors.QSNTKError, match="InfiniteWidth"):
        qs.dynamics.NaturalGradientFlow(
            kernel(), nk.operator.IsingJax(large, nk.graph.Chain(60), h=1.0), **settings
        )
    with pytest.raises(qs.errors.InvalidTrainingError, match="norm"):
        qs.dynamics.NaturalGradientFlow(
            kernel(), qs.losses.MSE(qs.targets.ground_state(REAL)), **settings
        )
    assert jax.tree.leaves(flow.problem)

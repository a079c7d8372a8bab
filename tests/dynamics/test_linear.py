"""LinearDynamics against explicit steps, sampled networks and neural-tangents."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk._compat import load_neural_tangents
from tests.dynamics.oracles import (
    FERMIONS,
    LINEAR,
    SPINS,
    encoding,
    ensemble_by_steps,
    random_target,
    square_root,
    train_linear_model,
)

N_STEPS = 60
STEPS = np.array([0, 1, 2, 7, 60])


def cosnet(hilbert, parts="independent"):
    return qs.models.CosNet(1, 1.0, 2.0, parts=parts, encoding=encoding(hilbert))


def relu(hilbert, parts="independent"):
    """Without bias: on the hypercube its kernel has null modes at odd parity weights above 1."""
    return qs.models.WideMLP(widths=(1,), parts=parts, encoding=encoding(hilbert))


def erf(hilbert, parts="independent"):
    return qs.models.WideMLP(
        widths=(1,), activation="erf", sigma_b=0.3, parts=parts, encoding=encoding(hilbert)
    )


class Case:
    """One training problem and its solution step by step."""

    def __init__(self, hilbert, make, *, parts="independent", n_train=None, optimizer="sgd"):
        n_train = n_train or 2 * hilbert.n_states // 3
        self.target = random_target(hilbert)
        self.train, self.test = self.target.split(n_train, seed=1)
        self.index = np.concatenate(self.target.split_indices(n_train, seed=1))
        self.kernel = qs.kernels.infinite_width(make(hilbert, parts))
        self.rate = 0.6 * qs.kernels.max_learning_rate(self.kernel, self.train.states)
        self.optimizer = LINEAR[optimizer](self.rate)
        self.dynamics = qs.dynamics.LinearDynamics(
            self.kernel, self.train, optimizer=self.optimizer
        )
        train = self.index[:n_train]
        mean, part = ensemble_by_steps(
            self.kernel, hilbert, train, self.target, self.optimizer, N_STEPS
        )
        self.n_train = n_train
        self.mean = mean[STEPS][:, self.index]
        self.part = part[STEPS][:, self.index][:, :, self.index]
        self.variance = self.kernel.n_parts * np.diagonal(self.part, axis1=1, axis2=2)
        self.amplitudes = self.target.amplitudes[self.index]

    def halves(self, array):
        return array[:, : self.n_train], array[:, self.n_train :]


CASES = {
    "spins": {"hilbert": SPINS, "make": cosnet},
    "fermions": {"hilbert": FERMIONS, "make": erf},
    "real ψ": {"hilbert": SPINS, "make": erf, "parts": "real"},
    "null modes": {"hilbert": SPINS, "make": relu},
    "whole basis": {"hilbert": SPINS, "make": cosnet, "n_train": 16},
    "one configuration": {"hilbert": FERMIONS, "make": cosnet, "n_train": 1},
    **{
        name: {"hilbert": SPINS, "make": cosnet, "optimizer": name}
        for name in ("momentum", "weight decay")
    },
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    return Case(**CASES[request.param])


@pytest.mark.thorough
def test_mean_and_variance_are_those_of_explicit_steps(case):
    for data, mean, variance in zip(
        (case.train, case.test), case.halves(case.mean), case.halves(case.variance), strict=True
    ):
        ours = case.dynamics.mean(STEPS, data.states)
        assert ours.dtype == jnp.complex128
        np.testing.assert_allclose(ours, mean, atol=1e-11)
        np.testing.assert_allclose(case.dynamics.variance(STEPS, data.states), variance, atol=1e-11)


@pytest.mark.thorough
def test_losses_are_averages_of_explicit_steps(case):
    for data, mean, variance, amplitudes in zip(
        (case.train, case.test),
        case.halves(case.mean),
        case.halves(case.variance),
        case.halves(case.amplitudes[None]),
        strict=True,
    ):
        losses = case.dynamics.losses(STEPS, data)
        if not len(data):
            assert np.isnan(losses.total).all()
            continue
        np.testing.assert_allclose(
            losses.L_mu, np.mean(np.abs(mean - amplitudes) ** 2, 1), atol=1e-12
        )
        np.testing.assert_allclose(losses.L_gamma, np.mean(variance, 1), atol=1e-12)
        np.testing.assert_array_equal(losses.total, losses.L_mu + losses.L_gamma)


@pytest.mark.thorough
def test_fidelity_is_the_ratio_of_averages_over_the_whole_basis(case):
    amplitudes = case.amplitudes
    overlap = case.mean @ amplitudes.conj()
    spread = np.einsum("x,txy,y->t", amplitudes.conj(), case.part, amplitudes).real
    norm = np.sum(np.abs(case.mean) ** 2 + case.variance, axis=1)
    expected = (np.abs(overlap) ** 2 + case.kernel.n_parts * spread) / norm
    curves = case.dynamics.curves(STEPS, case.test)
    np.testing.assert_allclose(curves.fidelity, expected, atol=1e-11)
    for set_, data in ((curves.train, case.train), (curves.test, case.test)):
        np.testing.assert_array_equal(set_.total, case.dynamics.losses(STEPS, data).total)


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize("solver", ["levels", "dense", "products"])
def test_fidelity_is_that_of_amplitudes_of_any_norm(solver, parts):
    """Data that are made by hand have the norm that they have."""
    whole = solver == "levels"
    train, test = random_target(SPINS).split(SPINS.n_states if whole else 10, seed=1)
    train, test = (qs.targets.Dataset(d.states, 3 * d.amplitudes) for d in (train, test))
    kernel = qs.kernels.infinite_width(cosnet(SPINS, parts))
    rate = 0.6 * qs.kernels.max_learning_rate(kernel, train.states)
    dynamics = qs.dynamics.LinearDynamics(
        kernel, train, learning_rate=rate, solver=solver, n_draws=400
    )
    x, psi = (
        np.concatenate([getattr(d, name) for d in (train, test)])
        for name in ("states", "amplitudes")
    )
    expected = []
    for step in STEPS:
        mean, part = dynamics.moments(step, x)
        part = kernel.n_parts * np.asarray(part)
        reached = abs(psi.conj() @ mean) ** 2 + (psi.conj() @ part @ psi).real
        norm = np.sum(np.abs(mean) ** 2) + np.trace(part)
        expected.append(reached / (norm * np.vdot(psi, psi).real))
    found = dynamics.curves(STEPS, test).fidelity
    # The squared overlap of a draw scatters by √2 of its mean: four standard errors.
    np.testing.assert_allclose(found, expected, rtol=0.28 if solver == "products" else 1e-9)
    assert found[-1] > found[0]


@pytest.mark.thorough
def test_moments_at_one_step_are_mean_and_covariance(case):
    x = np.asarray(case.target.hilbert.all_states())[case.index]
    mean, part = case.dynamics.moments(int(STEPS[-1]), x)
    np.testing.assert_allclose(mean, case.mean[-1], atol=1e-11)
    np.testing.assert_allclose(part, case.part[-1], atol=1e-11)


def test_losses_on_a_training_set_given_as_other_data_are_the_same(case):
    again = qs.targets.Dataset(case.train.states, case.train.amplitudes)
    ours, other = (case.dynamics.losses(STEPS, data) for data in (case.train, again))
    np.testing.assert_allclose(ours.L_mu, other.L_mu, atol=1e-12)
    np.testing.assert_allclose(ours.L_gamma, other.L_gamma, atol=1e-12)


@pytest.mark.parametrize(
    ("hilbert", "make", "parts"),
    [(SPINS, cosnet, "independent"), (FERMIONS, erf, "independent"), (SPINS, erf, "real")],
)
def test_averages_over_sampled_networks_agree_within_four_standard_errors(hilbert, make, parts):
    members, n_steps = 4000, 25
    target = random_target(hilbert, seed=5)
    n_train = 2 * hilbert.n_states // 3
    train, test = target.split(n_train, seed=2)
    index = np.concatenate(target.split_indices(n_train, seed=2))
    kernel = qs.kernels.infinite_width(make(hilbert, parts))
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    optimizer = LINEAR["sgd"](rate)
    x = np.asarray(hilbert.all_states())[index]
    nngp, ntk = (square_root(k) for k in kernel.both(x))
    rng = np.random.default_rng(7)
    amplitudes = target.amplitudes[index]
    trained = []
    for part in (amplitudes.real, amplitudes.imag)[: kernel.n_parts]:
        start = nngp @ rng.normal(size=(len(x), members))
        goal = part[:n_train, None]
        trained.append(
            train_linear_model(ntk, np.arange(n_train), start, goal, optimizer, n_steps)[-1]
        )
    psi = trained[0] + (1j * trained[1] if len(trained) == 2 else 0)
    dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate)
    curves = dynamics.curves([n_steps], test)

    def check(expected, samples):
        error = samples.std(ddof=1) / np.sqrt(members)
        assert abs(samples.mean() - expected) < 4 * error

    squares = np.abs(psi - amplitudes[:, None]) ** 2
    check(curves.train.total[0], squares[:n_train].mean(0))
    check(curves.test.total[0], squares[n_train:].mean(0))
    overlap, norm = np.abs(amplitudes.conj() @ psi) ** 2, np.sum(np.abs(psi) ** 2, 0)
    check(0.0, overlap - float(curves.fidelity[0]) * norm)
    mean, variance = dynamics.mean([n_steps], x)[0], dynamics.variance([n_steps], x)[0]
    deviation = np.abs(psi.mean(1) - mean) / np.sqrt(variance / members)
    assert deviation[n_train:].max() < 4.5  # the largest of up to 6 points
    spread = np.abs(psi - np.asarray(mean)[:, None]) ** 2
    for i in range(n_train, len(x)):
        check(variance[i], spread[i])


@pytest.mark.thorough
def test_flow_is_that_of_neural_tangents():
    nt = load_neural_tangents()
    layers = {"W_std": 1.2, "b_std": 0.3}
    stax = nt.stax
    _, _, kernel_fn = stax.serial(stax.Dense(1, **layers), stax.Erf(), stax.Dense(1, **layers))
    model = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=1.2, sigma_b=0.3)
    target = random_target(SPINS)
    train, test = target.split(10, seed=1)
    y = jnp.stack([train.amplitudes.real, train.amplitudes.imag], axis=1)
    x, x_test = (jnp.asarray(data.states, jnp.float64) for data in (train, test))
    predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=0.0)
    rate = 0.7
    dynamics = qs.dynamics.LinearDynamics(
        qs.kernels.infinite_width(model), train, learning_rate=rate, mode="flow"
    )
    for time, data, given in ((3.0, train, None), (3.0, test, x_test), (200.0, test, x_test)):
        # Its loss is Σ|f - y|²/(2·n·outputs), ours Σ|f - y|²/n: with two outputs its clock is 4 times slower.
        theirs = predict(t=4 * rate * time, x_test=given, get="ntk", compute_cov=True)
        mean = np.asarray(theirs.mean)
        ours = dynamics.mean([time], data.states)[0]
        np.testing.assert_allclose(ours, mean[:, 0] + 1j * mean[:, 1], atol=1e-6)
        variance = dynamics.variance([time], data.states)[0]
        np.testing.assert_allclose(variance, 2 * np.diag(np.asarray(theirs.covariance)), atol=1e-6)
        # In truth they agree to the accuracy of float64.
        np.testing.assert_allclose(ours, mean[:, 0] + 1j * mean[:, 1], atol=1e-11)


@pytest.mark.parametrize("parts", ["independent", "real"])
def test_at_infinity_the_target_is_learned_but_for_null_modes(parts):
    target = random_target(SPINS)
    train, test = target.split(16, seed=1)
    dynamics = qs.dynamics.LinearDynamics(
        qs.kernels.infinite_width(relu(SPINS, parts)), train, learning_rate=0.1
    )
    # Characters of three sites, of which there are 4, are what bias-free relu cannot learn.
    x = np.asarray(train.states, float)
    null = np.stack([np.prod(np.delete(x, i, axis=1), axis=1) for i in range(4)]) / 4
    assert dynamics.modes.rank == 12
    left = null @ train.amplitudes
    unlearned = np.sum(np.abs(left if parts == "independent" else left.real) ** 2)
    if parts == "real":
        unlearned += np.sum(train.amplitudes.imag**2)
    losses = dynamics.losses([np.inf], train)
    np.testing.assert_allclose(losses.L_mu, [unlearned / 16], rtol=1e-10)
    np.testing.assert_allclose(losses.L_gamma, [0], atol=1e-12)
    mean = dynamics.mean([np.inf], test.states)
    assert mean.shape == (1, 0)


def test_duplicated_configurations_make_null_modes_and_count_twice():
    target = random_target(SPINS)
    train, test = target.split(10, seed=1)
    twice = qs.targets.Dataset(
        np.concatenate([train.states, train.states]), np.tile(train.amplitudes, 2)
    )
    kernel = qs.kernels.infinite_width(cosnet(SPINS))
    once, doubled = (
        qs.dynamics.LinearDynamics(kernel, data, learning_rate=0.5) for data in (train, twice)
    )
    assert doubled.modes.rank == 10
    steps = [0, 1, 50, np.inf]
    for name in ("mean", "variance"):
        np.testing.assert_allclose(
            getattr(doubled, name)(steps, test.states),
            getattr(once, name)(steps, test.states),
            atol=1e-10,
        )


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["gd", "momentum"])
def test_compressed_time_gives_the_direct_curve_over_3000_steps(kind):
    hilbert = SPINS.__class__(0.5, 8)
    target = random_target(hilbert)
    train, test = target.split(180, seed=1)
    kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 0.7))
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    optimizer = LINEAR["sgd" if kind == "gd" else "momentum"](rate)
    dynamics = qs.dynamics.LinearDynamics(kernel, train, optimizer=optimizer)
    steps = np.append(np.arange(3000.0), np.inf)
    assert len(dynamics.modes.time_basis(steps).nodes) < 90  # it is compressed
    losses = dynamics.losses(steps, test)
    few = np.array([0, 1, 2, 10, 500, 2998, 2999, 3000])
    mean, variance = (
        dynamics.mean(steps[few], test.states),
        dynamics.variance(steps[few], test.states),
    )
    l_mu = np.mean(np.abs(np.asarray(mean) - test.amplitudes) ** 2, axis=1)
    np.testing.assert_allclose(losses.L_mu[few], l_mu, rtol=1e-11)
    np.testing.assert_allclose(losses.L_gamma[few[:-1]], np.mean(variance[:-1], 1), rtol=1e-11)
    # At ∞ displacements are up to 1/λ_min = 10⁵ and the variance 5·10⁻⁴ is left of 1.
    np.testing.assert_allclose(losses.L_gamma[few[-1]], np.mean(variance[-1]), atol=1e-12)


def test_a_rate_beyond_the_limit_warns_with_the_limit():
    target = random_target(SPINS)
    train, _ = target.split(10, seed=1)
    kernel = qs.kernels.infinite_width(cosnet(SPINS))
    limit = qs.kernels.max_learning_rate(kernel, train.states)
    with pytest.warns(qs.errors.UnstableLearningRateWarning, match=f"η = {limit:.6g},"):
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=2 * limit)
    with pytest.warns(qs.errors.UnstableLearningRateWarning, match=r"0\.6 times the present one"):
        qs.dynamics.LinearDynamics(kernel, train, optimizer=LINEAR["momentum"](3 * limit))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", qs.errors.GatheredMatrixWarning)  # on several devices
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.999 * limit)
        qs.dynamics.LinearDynamics(kernel, train, learning_rate=2 * limit, mode="flow")
        qs.dynamics.LinearDynamics(kernel, train, optimizer=LINEAR["momentum"](1.79 * limit))


@pytest.mark.parametrize("steps", [[-1], [1, np.nan]])
def test_steps_that_are_no_steps_are_named(steps):
    train, test = random_target(SPINS).split(10, seed=1)
    dynamics = qs.dynamics.LinearDynamics(
        qs.kernels.infinite_width(cosnet(SPINS)), train, learning_rate=0.1
    )
    for call in (dynamics.mean, dynamics.variance):
        with pytest.raises(qs.errors.InvalidTrainingError, match="steps="):
            call(steps, test.states)
    with pytest.raises(qs.errors.InvalidTrainingError, match="steps="):
        dynamics.losses(steps, test)

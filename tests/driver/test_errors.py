"""Wrong input of drivers gets an error that names it and says what would work."""

import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from tests.driver.problems import (
    DRIVERS,
    FERMIONS,
    HILBERT,
    TARGET,
    ensemble,
    full_sum,
    make,
    random_target,
)
from tests.driver.problems import logged as run

E = qs.errors
CLOSED = ["linearized", "infinite"]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_options_out_of_range_are_named(kind):
    for options, error, message in (
        ({"n_train": 17}, E.SplitError, "from 1 to 16"),
        ({"n_train": 0}, E.SplitError, "from 1 to 16"),
        ({"batch_size": 0}, E.InvalidTrainingError, "from 1 to n_train=10"),
        ({"batch_size": 11}, E.InvalidTrainingError, "from 1 to n_train=10"),
        ({"batch_size": 2.5}, E.InvalidTrainingError, "integer"),
        ({"loss": "energy"}, E.InvalidTrainingError, "'mse', 'infidelity'"),
        ({"loss": ["mse"]}, E.InvalidTrainingError, "'mse', 'infidelity'"),
        ({"loss": qs.losses.MSE(random_target(seed=4))}, E.InvalidTrainingError, "another target"),
        ({"trainable": "hidden"}, ValueError, "'all'"),
        ({"evaluate_every": 0}, E.InvalidTrainingError, ">= 1"),
    ):
        with pytest.raises(error, match=message):
            make(kind, **options)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", DRIVERS)
def test_target_and_state_on_different_spaces_are_refused(kind):
    state = qs.vqs.EnsembleState(FERMIONS, qs.models.CosNet(4), 2, seed=0)
    with pytest.raises(E.HilbertMismatchError, match="same Hilbert space"):
        make(kind, state=state)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CLOSED)
def test_closed_forms_refuse_what_has_none(kind):
    for optimizer in (optax.adam(0.1), optax.chain(optax.clip(1.0), optax.sgd(0.1))):
        with pytest.raises(E.NonLinearOptimizerError, match="QSNTKDriver"):
            make(kind, optimizer)
    if kind == "linearized":
        with pytest.raises(E.InvalidTrainingError, match="QSNTKDriver"):
            make(kind, loss="infidelity")
    with pytest.raises(E.InvalidTrainingError, match="> 0"):
        make(kind, optax.sgd(-0.1))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CLOSED)
def test_optimizers_that_tell_parameters_apart_are_refused_by_closed_forms(kind):
    def only_readout(parameters):
        return {part: {"hidden": False, "readout": True} for part in parameters}

    optimizer = optax.chain(optax.sgd(0.1), optax.masked(optax.scale(0.1), only_readout))
    with pytest.raises(E.NonLinearOptimizerError, match="treats parameters differently"):
        make(kind, optimizer)
    run(make("finite", optimizer), 1)  # the finite driver takes it


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CLOSED)
def test_a_rate_beyond_the_limit_warns_with_the_limit(kind):
    state = ensemble(n_members=1)
    kernel = (
        qs.kernels.infinite_width(state.model)
        if kind == "infinite"
        else qs.kernels.EmpiricalKernel(state.get_state(0))
    )
    train, _ = TARGET.split(10, 1)
    limit = qs.kernels.max_learning_rate(kernel, train.states)
    with pytest.warns(E.UnstableLearningRateWarning, match=f"η = {limit:.6g},"):
        make(kind, optax.sgd(1.5 * limit), state)


@pytest.mark.thorough
def test_a_loss_derived_from_the_mean_square_error_is_not_taken_for_it():
    class Tripled(qs.losses.MSE):
        def value(self, psi, amplitudes=None):
            return 3 * super().value(psi, amplitudes)

        def gradient(self, psi, amplitudes=None, n=None):
            return 3 * super().gradient(psi, amplitudes, n)

    hilbert = nk.hilbert.Spin(0.5, 3)
    target = qs.targets.Target(hilbert, np.arange(1.0, 9.0))
    net = qs.models.CosNet(8, 1.0, 2.0)
    options = {"variational_state": qs.vqs.EnsembleState(hilbert, net, 2, seed=0), "n_train": 6}
    options["loss"] = Tripled(target)
    driver = qs.driver.InfiniteWidthDriver(target, optax.sgd(0.1), **options)
    plain = qs.driver.FunctionSpaceDriver(target, optax.sgd(0.3), **(options | {"loss": "mse"}))
    found, expected = (d.predict([0, 5])["loss/train"] for d in (driver, plain))
    np.testing.assert_allclose(found, 3 * expected, rtol=1e-12)
    with pytest.raises(qs.errors.InvalidTrainingError, match="Tripled"):
        qs.driver.LinearizedDriver(target, optax.sgd(0.1), **options)
    with pytest.raises(qs.errors.InvalidTrainingError, match="Tripled"):
        qs.driver.QSNTKDriver(target, optax.sgd(0.1), sampling="target", **options)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CLOSED)
def test_closed_forms_keep_their_optimizer(kind):
    driver = make(kind)
    with pytest.raises(E.InvalidTrainingError, match="another driver"):
        driver.optimizer = optax.sgd(0.1)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CLOSED)
def test_steps_that_cannot_be_predicted_are_named(kind):
    driver = make(kind)
    for steps in ([-1], [np.nan]):
        with pytest.raises(E.InvalidTrainingError, match="steps="):
            driver.predict(steps)
    scheduled = make(kind, optax.sgd(optax.exponential_decay(0.1, 10, 0.9)))
    with pytest.raises(E.UndefinedLimitError, match="schedule"):
        scheduled.predict([np.inf])


@pytest.mark.parametrize("kind", ["finite", "linearized"])
def test_readout_training_needs_a_readout(kind):
    with pytest.raises(E.InvalidTrainingError, match="no parameters called 'readout'"):
        make(kind, state=full_sum(nk.models.RBM(alpha=1)), trainable="readout")


def test_a_model_without_known_limit_says_how_to_give_one():
    with pytest.raises(E.UnknownKernelError, match="infinite_width.register"):
        make("infinite", state=full_sum(nk.models.ARNNDense(layers=1, features=2, hilbert=HILBERT)))


def test_an_infinite_state_that_was_trained_is_no_start():
    state = qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8, 1.0, 2.0))
    first = make("infinite", state=state)
    first.run(2, show_progress=False)
    with pytest.raises(E.InvalidTrainingError, match="trained already"):
        make("infinite", state=state)
    with pytest.raises(E.InvalidTrainingError, match="kernel for 'all'"):
        make(
            "infinite",
            state=qs.vqs.InfiniteState(HILBERT, qs.models.CosNet(8)),
            trainable="readout",
        )


def test_whole_basis_losses_need_the_whole_basis_of_the_same_space():
    energy = qs.losses.Energy(nk.operator.Ising(HILBERT, nk.graph.Chain(4), h=1.0))
    with pytest.raises(E.InvalidTrainingError, match="n_train=None"):
        make("finite", loss=energy)
    other = nk.hilbert.Spin(0.5, 3)
    energy = qs.losses.Energy(nk.operator.Ising(other, nk.graph.Chain(3), h=1.0))
    with pytest.raises(E.HilbertMismatchError, match="same Hilbert space"):
        make("finite", loss=energy, n_train=None)

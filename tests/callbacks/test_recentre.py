"""Moving the centres: nothing is lost where they can hold it, and what is lost is measured."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.models.refit import contributions, refit

D = 8
RING = nk.graph.Chain(D)
HILBERT = nk.hilbert.Spin(0.5, D)
STATES = np.asarray(HILBERT.all_states())
TFIM = nk.operator.IsingJax(HILBERT, RING, h=1.0, J=-1.0)
NET = qs.models.WideMLP(widths=(4,), activation="erf", sigma_b=0.3, parts="real")


def with_random_theta(model, seed=0):
    variables = model.init(jax.random.key(0), STATES[:1])
    rng = np.random.default_rng(seed)
    theta = {k: jnp.asarray(rng.normal(size=v.shape)) for k, v in variables["params"].items()}
    return {**variables, "params": theta}


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["real", "independent"])
def test_centres_that_hold_the_function_keep_it(parts):
    model = qs.models.InfiniteWidth(NET.clone(parts=parts), STATES[::9])
    variables = with_random_theta(model)
    samples = np.concatenate([STATES, STATES])
    made = refit(model, variables, samples, 2**D, keep=0.1, ridge=1e-14)
    assert made.misfit < 1e-6
    np.testing.assert_allclose(
        model.apply(made.variables, STATES), model.apply(variables, STATES), atol=1e-5
    )


@pytest.mark.thorough
def test_the_misfit_is_the_change_on_other_samples():
    model = qs.models.InfiniteWidth(NET, STATES[::9])
    variables = with_random_theta(model)
    made = refit(model, variables, STATES[np.random.default_rng(1).permutation(2**D)], 12, keep=0.5)
    assert made.n_kept == 6
    assert made.n_centres == 12
    change = model.apply(made.variables, STATES) - model.apply(variables, STATES)
    assert 0 < made.misfit == pytest.approx(float(change.std()), rel=0.4)


def test_contributions_are_what_is_lost_without_a_centre():
    model = qs.models.InfiniteWidth(NET, STATES[::25])
    variables = with_random_theta(model)
    theta = np.asarray(qs.kernels.infinite_width(NET).ntk(STATES[::25]))
    weights = np.asarray(model.apply(variables, method="weights"))
    root = np.asarray(variables["centres"]["root"])
    for c, found in enumerate(contributions(weights, root)):
        rest = np.delete(np.arange(len(theta)), c)
        values = theta @ weights[:, 0]
        left = values[rest] @ np.linalg.solve(theta[np.ix_(rest, rest)], values[rest])
        assert found == pytest.approx(weights[:, 0] @ theta @ weights[:, 0] - left, rel=1e-6)


def run(callback, steps=41, n_centres=12):
    net = qs.models.Symmetrized(NET, RING.space_group(), spin_flip=1)
    first = qs.models.choose_centres(net, STATES[:40], n_centres)
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=32)
    vs = nk.vqs.MCState(
        sampler, qs.models.InfiniteWidth(net, first), n_samples=256, seed=1, sampler_seed=2
    )
    driver = nk.driver.VMC_SR(TFIM, optax.sgd(0.1), variational_state=vs, diag_shift=1e-3)
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, callback=callback, show_progress=False)
    return vs, log.data


@pytest.mark.thorough
def test_new_centres_let_few_of_them_find_the_ground_state():
    vs, log = run(qs.callbacks.Recentre(every=10))
    exact = np.linalg.eigvalsh(TFIM.to_dense())[0]
    assert float(np.real(vs.expect(TFIM).mean)) == pytest.approx(exact, rel=5e-3)
    assert log["recentre/misfit"].iters.tolist() == [10, 20, 30, 40]
    assert np.all(log["recentre/accepted"].values)


@pytest.mark.thorough
def test_misfits_that_are_too_large_let_it_grow_or_leave_the_old_centres():
    vs, log = run(qs.callbacks.Recentre(every=10, n_centres=4, max_misfit=1e-6), steps=12)
    assert log["recentre/accepted"].values.tolist() == [0]
    assert vs.n_parameters == 12
    vs, log = run(
        qs.callbacks.Recentre(every=10, n_centres=4, max_misfit=1e-6, max_centres=16), steps=12
    )
    assert log["recentre/n_centres"].values[0] > 4


@pytest.mark.thorough
def test_full_sums_are_recentred_too():
    vs = nk.vqs.FullSumState(HILBERT, qs.models.InfiniteWidth(NET, STATES[::9]))
    driver = nk.driver.VMC(TFIM, optax.sgd(0.01), variational_state=vs)
    log = nk.logging.RuntimeLog()
    driver.run(8, out=log, callback=qs.callbacks.Recentre(every=5), show_progress=False)
    assert log.data["recentre/misfit"].iters.tolist() == [5]


def test_what_cannot_be_recentred_is_refused():
    with pytest.raises(qs.errors.InvalidTrainingError, match="every=0"):
        qs.callbacks.Recentre(0)
    with pytest.raises(qs.errors.InvalidTrainingError, match="keep=2"):
        qs.callbacks.Recentre(5, keep=2)
    vs = nk.vqs.FullSumState(HILBERT, nk.models.RBM())
    driver = nk.driver.VMC(TFIM, optax.sgd(0.01), variational_state=vs)
    with pytest.raises(qs.errors.InvalidTrainingError, match="is a RBM"):
        driver.run(2, callback=qs.callbacks.Recentre(1), show_progress=False)


def test_a_function_that_is_no_number_moves_no_centres():
    model = qs.models.InfiniteWidth(NET, STATES[::9])
    vs = nk.vqs.FullSumState(HILBERT, model)
    driver = nk.driver.VMC(TFIM, optax.sgd(0.1), variational_state=vs)
    callback = qs.callbacks.Recentre(every=1, n_centres=12)
    vs.parameters = {k: jnp.full_like(v, jnp.nan) for k, v in vs.parameters.items()}
    log: dict = {}
    callback._samples = STATES
    callback.on_step_start(1, log, driver)
    assert np.isnan(log["recentre/misfit"])
    assert log["recentre/accepted"] == 0
    np.testing.assert_array_equal(vs.model_state["centres"]["configurations"], STATES[::9])

"""Natural-gradient steps: NetKet's preconditioners in QSNTKDriver, and the minSR solver."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError
from tests.driver.problems import HILBERT, ensemble, full_sum, logged, random_target

SHIFT = 1e-2
DENSE = nk.optimizer.qgt.QGTJacobianDense
MODELS = {
    "real": (nk.models.RBM(), {}),
    "complex function": (nk.models.RBMModPhase(), {}),
    "holomorphic": (nk.models.RBM(param_dtype=complex), {"holomorphic": True}),
}


def driver(state, preconditioner, **options):
    return qs.driver.QSNTKDriver(
        random_target(seed=2),
        optax.sgd(0.1),
        variational_state=state,
        loss="infidelity",
        preconditioner=preconditioner,
        **options,
    )


def flat(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "solver"), [("complex function", "cholesky"), *((model, "minsr") for model in MODELS)]
)
def test_the_update_solves_the_equations_of_natural_gradient(model, solver):
    module, options = MODELS[model]
    state = full_sum(module)
    solve = {"cholesky": nk.optimizer.solver.cholesky, "minsr": qs.driver.minsr}[solver]
    sr = nk.optimizer.SR(DENSE, solver=solve, diag_shift=SHIFT, **options)
    update = flat(driver(state, sr).compute_loss_and_update()[1])
    gradient = flat(driver(state, None).compute_loss_and_update()[1])

    parameters, unravel = jax.flatten_util.ravel_pytree(state.parameters)
    states = HILBERT.all_states()

    def log_psi(p):
        return state.model.apply({"params": unravel(p)}, states) + 0j

    jacobian = (
        jax.jacfwd(log_psi, holomorphic=np.iscomplexobj(parameters))(parameters)
        if np.iscomplexobj(parameters)
        else jax.jacfwd(log_psi)(parameters)
    )
    weights = np.abs(state.to_array()) ** 2
    centred = np.sqrt(weights)[:, None] * (jacobian - weights @ jacobian)
    geometry = centred.conj().T @ centred
    if not np.iscomplexobj(parameters):
        geometry = geometry.real
    expected = np.linalg.solve(geometry + SHIFT * np.eye(len(geometry)), gradient)
    np.testing.assert_allclose(update, expected, rtol=1e-8, atol=1e-11)
    assert np.linalg.norm(update - gradient) > 0.1 * np.linalg.norm(gradient)


@pytest.mark.thorough
def test_an_mcstate_is_preconditioned_on_new_samples_of_its_own():
    model = nk.models.RBM(param_dtype=complex)
    state = nk.vqs.MCState(nk.sampler.ExactSampler(HILBERT), model, n_samples=256, seed=1)
    sr = nk.optimizer.SR(DENSE, solver=qs.driver.minsr, diag_shift=SHIFT, holomorphic=True)
    seen = []

    def callback(step, log_data, driver):
        expected = sr(driver.state, driver._loss_grad, step)
        np.testing.assert_allclose(flat(driver._dp), flat(expected), rtol=1e-10)
        seen.append(np.array(driver.state.samples))
        return True

    for sampling in (None, "both"):
        seen.clear()
        driver(state, sr, sampling=sampling).run(3, callback=callback, show_progress=False)
        assert not np.array_equal(seen[0], seen[1])


@pytest.mark.thorough
def test_natural_gradient_reaches_the_target_where_gradient_descent_lingers():
    model = nk.models.RBM(alpha=4, param_dtype=complex)
    sr = nk.optimizer.SR(DENSE, solver=qs.driver.minsr, diag_shift=1e-4, holomorphic=True)
    natural = logged(driver(full_sum(model), sr), 150)["Loss"].Mean
    plain = logged(driver(full_sum(model), None), 150)["Loss"].Mean
    assert natural[-1] < 0.1 * plain[-1]


@pytest.mark.thorough
def test_diagnostics_predict_the_decrease_from_the_gradient_not_from_the_update():
    sr = nk.optimizer.SR(DENSE, solver=nk.optimizer.solver.cholesky, diag_shift=SHIFT)
    natural = driver(full_sum(nk.models.RBMModPhase()), sr)
    natural.optimizer = optax.sgd(1e-4)
    data = logged(natural, 3, callback=qs.callbacks.NTKDiagnostics(every=1, n_samples=16))
    np.testing.assert_allclose(
        data["ntk/predicted_decrease"].values, data["ntk/realised_decrease"].values, rtol=0.02
    )


@pytest.mark.thorough
def test_what_cannot_be_preconditioned_is_refused():
    sr = nk.optimizer.SR(diag_shift=SHIFT)
    with pytest.raises(InvalidTrainingError, match="get_state"):
        driver(ensemble(), sr)
    with pytest.raises(InvalidTrainingError, match="mixes all parameters"):
        driver(full_sum(qs.models.CosNet(8)), sr, trainable="readout")
    with pytest.raises(InvalidTrainingError, match="expected a function"):
        driver(full_sum(nk.models.RBM()), 0.01)
    lazy = nk.optimizer.SR(nk.optimizer.qgt.QGTOnTheFly, solver=qs.driver.minsr)
    with pytest.raises(InvalidTrainingError, match="dense Jacobian"):
        driver(full_sum(nk.models.RBM()), lazy).compute_loss_and_update()
    assert jnp.isfinite(
        flat(driver(full_sum(nk.models.RBM()), sr).compute_loss_and_update()[1])
    ).all()

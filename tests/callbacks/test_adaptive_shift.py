"""AdaptiveShift lengthens short steps, takes bad ones back, and leaves a run alone that it is not given to."""

import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from netket_qsntk.errors import InvalidTrainingError

HI = nk.hilbert.Spin(0.5, 5)
H = nk.operator.IsingJax(HI, nk.graph.Chain(5), h=1.0, J=-1.0)
EXACT = float(nk.exact.lanczos_ed(H)[0])
MODEL = nk.models.MLP(hidden_dims=(8,), param_dtype=float)


def run(rate, shift, steps=40, callback=None, optimizer=None, driver=nk.driver.VMC_SR):
    state = nk.vqs.FullSumState(HI, MODEL, seed=1)
    options = {"diag_shift": shift} if driver is nk.driver.VMC_SR else {}
    log = nk.logging.RuntimeLog()
    made = driver(H, optimizer or optax.sgd(rate), variational_state=state, **options)
    made.run(steps, out=log, callback=callback, show_progress=False)
    return np.real(log.data["Energy"].Mean) - EXACT, log.data, made


@pytest.mark.thorough
def test_a_shift_that_is_too_large_shrinks_and_the_run_is_faster():
    plain = run(0.05, 10.0)[0]
    adapted, data, driver = run(0.05, 10.0, callback=qs.callbacks.AdaptiveShift())
    assert driver.diag_shift < 1
    assert adapted[-1] < 0.1 * plain[-1]
    assert np.all(np.diff(adapted) < 1e-9)
    assert len(data["shift/ratio"].values) > 0


@pytest.mark.thorough
def test_steps_that_raise_the_energy_are_taken_back():
    plain = run(0.5, 1e-4)[0]
    assert np.any(np.diff(plain) > 0) or not np.all(np.isfinite(plain))
    adapted, data, driver = run(0.5, 1e-4, callback=qs.callbacks.AdaptiveShift())
    assert np.asarray(data["shift/rejected"].values)[-1] > 0
    assert np.all(np.diff(adapted) < 1e-9)
    assert driver.diag_shift > 1e-4


@pytest.mark.thorough
def test_learning_rates_are_controlled_where_the_optimiser_holds_one():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=10.0)
    callback = qs.callbacks.AdaptiveShift(what="learning_rate", max_rejections=20)
    adapted, data, _ = run(None, None, callback=callback, optimizer=optimizer, driver=nk.driver.VMC)
    assert np.all(np.diff(adapted) < 1e-9)
    assert np.asarray(data["shift/learning_rate"].values)[-1] < 10


def test_wrong_use_is_refused_by_name():
    with pytest.raises(InvalidTrainingError, match="inject_hyperparams"):
        run(
            0.1,
            None,
            callback=qs.callbacks.AdaptiveShift(what="learning_rate"),
            driver=nk.driver.VMC,
        )
    with pytest.raises(InvalidTrainingError, match="VMC_SR"):
        run(0.1, None, callback=qs.callbacks.AdaptiveShift(), driver=nk.driver.VMC)
    with pytest.raises(InvalidTrainingError, match="factor"):
        qs.callbacks.AdaptiveShift(factor=0.5)

"""LinearizedDriver with energies and SR: wide networks beside their own frozen kernel."""

import netket as nk
import numpy as np
import optax
import pytest
from jax.nn.initializers import normal

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 4)
H = nk.operator.Ising(HI, nk.graph.Chain(4), h=1.0)
HEISENBERG = nk.operator.Heisenberg(HI, nk.graph.Chain(4))


def logged(driver, key, steps):
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, show_progress=False)
    return np.real(np.asarray(log[key]["Mean"]))


@pytest.mark.thorough
@pytest.mark.parametrize(("shift", "momentum"), [(None, None), (1e-2, None), (1e-2, 0.9)])
@pytest.mark.parametrize("param_dtype", [float, complex])
def test_a_network_linear_in_its_parameters_is_followed_exactly(shift, momentum, param_dtype):
    model = nk.models.Jastrow(param_dtype=param_dtype, kernel_init=normal(0.3))
    first, second = (nk.vqs.FullSumState(HI, model, seed=1) for _ in range(2))
    if shift is None:
        netket = nk.driver.VMC(HEISENBERG, optax.sgd(0.02), variational_state=first)
    else:
        netket = nk.driver.VMC_SR(
            HEISENBERG,
            optax.sgd(0.05),
            variational_state=first,
            diag_shift=shift,
            momentum=momentum,
        )
    ours = qs.driver.LinearizedDriver(
        HEISENBERG,
        optax.sgd(0.02 if shift is None else 0.05),
        variational_state=second,
        diag_shift=shift,
        momentum=momentum,
    )
    np.testing.assert_allclose(logged(ours, "Loss", 15), logged(netket, "Energy", 15), atol=1e-8)
    after = float(np.real(ours.linearized_state().expect(HEISENBERG).mean))
    assert after == pytest.approx(ours.predict([15])["Loss"][0], abs=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("output", ["psi", "log_psi"])
def test_it_is_nearer_to_the_network_than_the_limit_is(output):
    net = qs.models.WideMLP(
        widths=(256,), activation="erf", sigma_b=0.3, output=output, parts="independent"
    )

    def start():
        return nk.vqs.FullSumState(HI, net, seed=1)

    finite = logged(nk.driver.VMC(H, optax.sgd(0.05), variational_state=start()), "Energy", 15)
    own = logged(
        qs.driver.LinearizedDriver(H, optax.sgd(0.05), variational_state=start()), "Loss", 15
    )
    wide = logged(
        qs.driver.InfiniteWidthVMC(H, optax.sgd(0.05), variational_state=start()), "Energy", 15
    )
    assert abs(own - finite).max() < 0.5 * abs(wide - finite).max()


@pytest.mark.thorough
def test_members_and_infidelity():
    target = qs.targets.ground_state(H)
    net = qs.models.WideMLP(widths=(16,), activation="erf", sigma_b=0.3, output="log_psi")
    vs = qs.vqs.EnsembleState(HI, net, 2, seed=0)
    driver = qs.driver.LinearizedDriver(
        target, optax.sgd(0.05), variational_state=vs, loss="infidelity", diag_shift=1e-2
    )
    curve = driver.predict([0, 10])
    assert curve["fidelity"][1] > curve["fidelity"][0]
    assert curve["Loss/error"].shape == (2,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diag_shift": 1e-3}, "SR is for losses"),
        ({"loss": "infidelity", "n_train": 8}, "whole basis"),
        ({"loss": "infidelity", "trainable": "readout"}, "all parameters"),
    ],
)
def test_what_it_does_not_do_is_named(options, words):
    target = qs.targets.ground_state(H)
    vs = nk.vqs.FullSumState(HI, qs.models.CosNet(8), seed=0)
    with pytest.raises(qs.errors.InvalidTrainingError, match=words):
        qs.driver.LinearizedDriver(target, optax.sgd(0.1), variational_state=vs, **options)


@pytest.mark.thorough
def test_infinity_is_refused_for_energies():
    vs = nk.vqs.FullSumState(HI, qs.models.CosNet(8), seed=0)
    driver = qs.driver.LinearizedDriver(H, optax.sgd(0.1), variational_state=vs)
    with pytest.raises(qs.errors.InvalidTrainingError, match="finite"):
        driver.predict([np.inf])

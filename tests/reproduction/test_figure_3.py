"""The paper's Fig. 3 from the infinite-width limit: converged test losses against training size."""

import numpy as np
import optax
import pytest

import netket_qsntk as qs


def converged(target, encoding, n_train):
    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=0.25, sigma_b=0.01, encoding=encoding
    )
    vs = qs.vqs.InfiniteState(target.hilbert, net)
    train, _ = target.split(n_train, 1)
    rate = 0.9 * qs.kernels.max_learning_rate(vs.kernel, train.states)
    driver = qs.driver.InfiniteWidthDriver(
        target, optax.sgd(rate), variational_state=vs, n_train=n_train, seed=1
    )
    return driver.predict([10_000])["loss/test"][0]


@pytest.mark.slow
def test_ising_test_loss_falls_with_training_size_as_in_the_figure():
    # Read off the figure: near 1.3e-4 at 2400 training points, about 0.5e-4 at 4000.
    target = qs.targets.tfim_quench()
    losses = [converged(target, None, n) for n in (2400, 3200, 4000)]
    assert losses[0] == pytest.approx(1.3e-4, rel=0.1)
    assert losses[2] == pytest.approx(0.5e-4, rel=0.3)
    assert np.all(np.diff(losses) < 0)


@pytest.mark.slow
def test_hubbard_test_loss_is_nearly_flat_as_in_the_figure():
    # Read off the figure: near 1e-4 at every size.
    target = qs.targets.hubbard_quench(order=3)
    losses = [converged(target, qs.encodings.fermion_sites, n) for n in (2400, 4000)]
    assert losses[0] == pytest.approx(1e-4, rel=0.2)
    assert losses[1] == pytest.approx(losses[0], rel=0.2)

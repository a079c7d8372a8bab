"""The small problems that the tests of the drivers share, so that compiled shapes are shared too."""

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

HILBERT = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(2, s=1 / 2, n_fermions_per_spin=(1, 1))
CHAIN = nk.graph.Chain(4)
ISING = nk.operator.Ising(HILBERT, CHAIN, h=0.7)
N_TRAIN = 10

DRIVERS = {
    "finite": qs.driver.QSNTKDriver,
    "linearized": qs.driver.LinearizedDriver,
    "infinite": qs.driver.InfiniteWidthDriver,
}


def random_target(hilbert=HILBERT, seed=0):
    rng = np.random.default_rng(seed)
    amplitudes = rng.normal(size=(2, hilbert.n_states))
    return qs.targets.Target(hilbert, amplitudes[0] + 1j * amplitudes[1])


TARGET = random_target()


def ensemble(n_members=3, width=8, parts="independent", seed=0):
    model = qs.models.CosNet(width, 1.0, 2.0, parts=parts)
    return qs.vqs.EnsembleState(HILBERT, model, n_members=n_members, seed=seed)


def full_sum(model, hilbert=HILBERT, seed=5):
    return nk.vqs.FullSumState(hilbert, model, seed=seed)


def make(kind, optimizer=None, state=None, **options):
    options = {"n_train": N_TRAIN, "seed": 1, **options}
    return DRIVERS[kind](
        TARGET,
        optimizer or optax.sgd(0.3),
        variational_state=ensemble() if state is None else state,
        **options,
    )


def logged(driver, n_steps, **options):
    """Run, and give the log's data."""
    log = nk.logging.RuntimeLog()
    driver.run(n_steps, out=log, show_progress=False, **options)
    return log.data


KEYS = ("Loss", "loss/train", "loss/test", "fidelity")

"""``resume.py save FILE`` trains five steps and keeps a checkpoint after two; ``load FILE`` trains the last three."""

import sys
from pathlib import Path

import netket as nk
import numpy as np
import optax
from flax import serialization

import netket_qsntk as qs
from tests.parallel.launch import report


def main() -> None:
    """Train and report."""
    what, file = sys.argv[1:]
    hi = nk.hilbert.Spin(0.5, 4)
    amplitudes = np.random.default_rng(0).normal(size=16)
    target = qs.targets.Target(hi, amplitudes / np.linalg.norm(amplitudes))
    vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(8, 1.0, 2.0), n_members=4, seed=0)
    driver = qs.driver.QSNTKDriver(
        target, optax.adam(0.01), variational_state=vs, n_train=10, batch_size=5, seed=1
    )
    if what == "save":
        driver.run(2, show_progress=False)
        Path(file).write_bytes(serialization.to_bytes(driver))
    else:
        driver = serialization.from_bytes(driver, Path(file).read_bytes())
    log = nk.logging.RuntimeLog()
    driver.run(3, out=log, show_progress=False)
    losses = [float(t) for t in np.real(log.data["loss/test"].Mean)]
    psi = np.abs(np.asarray(driver.state.to_array())).ravel().tolist()
    result = {"step": driver.step_count, "loss": losses + psi}
    report(result)


if __name__ == "__main__":
    main()

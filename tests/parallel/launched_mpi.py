"""Run under mpirun by test_mpi.py: every rank's numbers, with and without sharing, go to the folder argv[1]."""

import sys
from pathlib import Path

import jax
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs


def numbers(members):
    hi = nk.hilbert.Spin(0.5, 6)
    target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(6), h=1.0))
    net = qs.models.CosNet(16, 1.0, 2.0)
    vs = qs.vqs.EnsembleState(hi, net, n_members=members, seed=0)
    out = {"psi": vs.to_array(), "x": vs.expect(nk.operator.spin.sigmax(hi, 0)).mean}
    driver = qs.driver.QSNTKDriver(
        target, optax.adam(0.01), variational_state=vs, n_train=50, seed=1
    )
    log = nk.logging.RuntimeLog()
    driver.run(5, out=log, show_progress=False)
    out["loss"] = log.data["loss/test"].Mean
    out["parameters"] = np.concatenate([np.ravel(p) for p in jax.tree.leaves(vs.parameters)])
    states = hi.all_states()
    for name, model in {"lattice": net, "relu": qs.models.WideMLP(widths=(8, 8))}.items():
        kernel = qs.kernels.infinite_width(model)
        out[f"{name} ntk"] = kernel.ntk(states[:37])
        out[f"{name} rows"] = kernel.nngp(states[:5], states)
        out[f"{name} real"] = kernel.ntk(0.1 * states[:9])
    return {f"{name}, {members} members": np.asarray(value) for name, value in out.items()}


def main():
    """Compute and save everything."""
    alone = {k: v for members in (1, 2, 5) for k, v in numbers(members).items()}
    with qs.parallel.mpi.ranks() as mpi:
        shared = {k: v for members in (1, 2, 5) for k, v in numbers(members).items()}
        inside = jax.jit(lambda x: qs.parallel.mpi.over_ranks(lambda y: 2 * y, x))(np.arange(7.0))
    folder = Path(sys.argv[1])
    np.savez(folder / f"alone{mpi.rank}.npz", **alone)
    np.savez(folder / f"shared{mpi.rank}.npz", inside=inside, size=mpi.size, **shared)


if __name__ == "__main__":
    main()

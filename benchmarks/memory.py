"""Memory estimates of ``qs.parallel.estimate`` beside measured peaks, each job in a process of its own.

``python -m benchmarks.memory`` prints a table; ``python -m benchmarks.memory JOB`` runs one job and prints its peak.
"""

import json
import resource
import subprocess
import sys

SIZES = {
    "kernel": {"n": 5000},
    "dynamics": {"n": 2500, "m": 1500},
    "ensemble": {"n": 1024, "n_members": 4, "n_parameters": 600_000, "optimizer_copies": 2},
}


def run(job: str) -> int:
    """Bytes by which one job raises the peak of a process that has done a small one of the same kind."""
    import jax
    import jax.numpy as jnp
    import netket as nk
    import numpy as np
    import optax

    import netket_qsntk as qs

    size = SIZES[job]
    target = qs.targets.Target(nk.hilbert.Spin(0.5, 12), np.random.default_rng(0).normal(size=4096))

    def kernel(n: int) -> None:
        x = np.asarray(nk.hilbert.Spin(0.5, 13).all_states())[:n]
        wide = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        jax.block_until_ready(wide.both(x))

    def dynamics(n: int, m: int) -> None:
        train, test = target.split(n, 0)
        wide = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        few = type(test)(test.states[:m], test.amplitudes[:m])
        curves = qs.dynamics.LinearDynamics(wide, train, learning_rate=1e-3, solver="dense")
        jax.block_until_ready(curves.losses(jnp.arange(20.0), few))

    def ensemble(width: int, members: int) -> int:
        small = qs.targets.Target(nk.hilbert.Spin(0.5, 10), np.ones(1024) / 32)
        vs = qs.vqs.EnsembleState(
            small.hilbert, qs.models.CosNet(width, 1.0, 2.0), n_members=members, seed=0
        )
        driver = qs.driver.QSNTKDriver(small, optax.adam(1e-3), variational_state=vs)
        driver.run(3, show_progress=False)
        return vs.n_parameters

    def peak() -> int:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    if job == "kernel":
        kernel(200)
        before = peak()
        kernel(size["n"])
    elif job == "dynamics":
        dynamics(200, 100)
        before = peak()
        dynamics(size["n"], size["m"])
    else:
        each = ensemble(100, 2) / 100
        before = peak()
        ensemble(int(size["n_parameters"] / each), size["n_members"])
    return peak() - before


def main() -> None:
    """Print the table."""
    import netket_qsntk as qs

    for job, size in SIZES.items():
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", job],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            print(job, found.stderr[-1500:])
            continue
        measured = json.loads(found.stdout.splitlines()[-1])
        estimated = qs.parallel.estimate(job, **size).bytes
        print(
            f"{job:10s} {size} estimated {estimated / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB, "
            f"ratio {estimated / measured:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(run(sys.argv[1]))
    else:
        main()

"""Strong and weak scaling over CPU devices, with the bytes that each device sends.

``python -m benchmarks.scaling`` starts a process for 1 and for 2 devices; sizes are fixed (strong) or grow with the
devices (weak).
"""

import os
import subprocess
import sys

SMALL = "--small" in sys.argv


def measure() -> None:
    """One line a job, on the devices that there are."""
    import jax
    import jax.numpy as jnp
    import netket as nk
    import numpy as np
    import optax

    import netket_qsntk as qs
    from benchmarks.timing import best

    p = jax.device_count()
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
    for scaling in ("strong", "weak"):
        grow = p if scaling == "weak" else 1
        n = (512 if SMALL else 4096) * grow
        m = 512 if SMALL else 4096
        basis = np.asarray(nk.hilbert.Spin(0.5, 13).all_states())
        _, ntk = qs.parallel.SharedMatrix.of_kernel(kernel, basis[:n], basis[:m])
        v = jnp.ones((m, 8))
        (seconds,) = best(lambda ntk=ntk, v=v: ntk.matvec(v))
        show(scaling, p, f"rows {n} x {m}, 8 columns", seconds, 8 * 8 * n * (p - 1) // p)

        length = 2 ** (14 if SMALL else 22) * grow
        x = qs.parallel.share(np.ones(length))
        (seconds,) = best(lambda x=x: qs.operators.walsh_hadamard(x))
        sent = 2 * 8 * (length // p) * (p - 1) // p
        show(scaling, p, f"transform of {length}", seconds, sent)

        members = 2 * grow
        hi = nk.hilbert.Spin(0.5, 10)
        target = qs.targets.Target(hi, np.ones(1024) / 32)
        model = qs.models.CosNet(64 if SMALL else 1000, 1.0, 2.0)
        vs = qs.vqs.EnsembleState(hi, model, n_members=members, seed=0)
        driver = qs.driver.QSNTKDriver(target, optax.sgd(1e-3), variational_state=vs)
        (seconds,) = best(lambda driver=driver: driver.run(20, show_progress=False))
        show(scaling, p, f"20 steps of {members} members", seconds, 0)


def show(scaling: str, devices: int, what: str, seconds: float, sent: int) -> None:
    """A line of the table."""
    print(f"| {scaling} | {devices} | {what} | {1e3 * seconds:.1f} ms | {sent} B |", flush=True)


if __name__ == "__main__":
    if "--here" in sys.argv:
        measure()
    else:
        print("| scaling | devices | job | time | sent by a device |\n|---|---|---|---|---|")
        for devices in (1, 2):
            subprocess.run(
                [sys.executable, "-m", "benchmarks.scaling", "--here", *sys.argv[1:]],
                env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
                check=True,
            )

"""Memory estimates of ``qs.parallel.estimate`` beside measured peaks, each job in a process of its own.

``python -m benchmarks.memory`` prints a table (``--quick``: one size of each); with the name of a job and a size as
JSON it runs that one and prints its peak.
"""

import json
import resource
import subprocess
import sys

SIZES = {
    "kernel": [{"n": 5000}, {"n": 8192, "m": 2000}],
    "dynamics": [{"n": 2500}, {"n": 2500, "m": 1500}, {"n": 2500, "m": 5000}, {"n": 4000}],
    "products": [
        {"n": 32_000, "m": 2**16 - 32_000, "n_products": 16},
        {"n": 500_000, "m": 2**20 - 500_000, "n_products": 16},
    ],
    "ensemble": [
        {"n": 1024, "n_members": 4, "n_parameters": 600_000, "optimizer_copies": 2},
        {"n": 1024, "n_members": 8, "n_parameters": 600_000},
        {"n": 256, "n_members": 4, "n_parameters": 300_000, "optimizer_copies": 2},
    ],
    "entropy": [{"n": 2**12, "n_members": 500}, {"n": 2**16, "n_members": 100}],
}


def run(job: str, size: dict[str, int]) -> int:
    """Bytes by which one job raises the peak of a process that has done a small one of the same kind."""
    import jax
    import jax.numpy as jnp
    import netket as nk
    import numpy as np
    import optax

    import netket_qsntk as qs

    def target(spins: int) -> qs.targets.Target:
        psi = np.random.default_rng(0).normal(size=2**spins)
        return qs.targets.Target(nk.hilbert.Spin(0.5, spins), psi)

    def kernel(n: int, m: int | None = None) -> None:
        x = np.asarray(nk.hilbert.Spin(0.5, 13).all_states())
        wide = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        jax.block_until_ready(wide.both(x[:n], None if m is None else x[-m:]))

    def dynamics(n: int, m: int = 0) -> None:
        train, test = target(13).split(n, 0)
        wide = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        few = type(test)(test.states[:m], test.amplitudes[:m]) if m else train
        curves = qs.dynamics.LinearDynamics(wide, train, learning_rate=1e-3, solver="dense")
        jax.block_until_ready(curves.losses(jnp.arange(20.0), few))

    def products(n: int, m: int, n_products: int) -> None:
        train, test = target((n + m).bit_length() - 1).split(n, 0)
        wide = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        curves = qs.dynamics.LinearDynamics(
            wide, train, learning_rate=1e-3, solver="products", n_draws=4
        )
        jax.block_until_ready(curves.curves(jnp.array([0.0, 10.0, 1000.0]), test).fidelity)

    def ensemble(n: int, n_members: int, n_parameters: int, optimizer_copies: int = 0) -> None:
        small = target(n.bit_length() - 1)
        width = max(1, n_parameters // (2 * (small.hilbert.size + 2)))
        vs = qs.vqs.EnsembleState(
            small.hilbert, qs.models.CosNet(width, 1.0, 2.0), n_members=n_members, seed=0
        )
        optimizer = optax.adam(1e-3) if optimizer_copies else optax.sgd(1e-3)
        qs.driver.QSNTKDriver(small, optimizer, variational_state=vs).run(3, show_progress=False)

    def entropy(n: int, n_members: int) -> None:
        rng = np.random.default_rng(0)
        spins = nk.hilbert.Spin(0.5, n.bit_length() - 1)
        psi = rng.normal(size=(n_members, n)) + 1j * rng.normal(size=(n_members, n))
        half = list(range(spins.size // 2))
        jax.block_until_ready(qs.entanglement.entropies(psi, spins, half))

    small = {
        "kernel": {"n": 200},
        "dynamics": {"n": 200, "m": 100},
        "products": {"n": 150, "m": 106, "n_products": 16},
        "ensemble": {"n": 1024, "n_members": 2, "n_parameters": 2000},
        "entropy": {"n": 256, "n_members": 4},
    }

    def peak() -> int:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    jobs = {f.__name__: f for f in (kernel, dynamics, products, ensemble, entropy)}
    jobs[job](**small[job])
    before = peak()
    jobs[job](**size)
    return peak() - before


def main() -> None:
    """Print the table."""
    import netket_qsntk as qs

    for job, sizes in SIZES.items():
        for size in sizes[: 1 if "--quick" in sys.argv else None]:
            command = [sys.executable, "-m", "benchmarks.memory", job, json.dumps(size)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode:
                print(job, found.stderr[-1500:])
                continue
            measured = json.loads(found.stdout.splitlines()[-1])
            estimated = qs.parallel.estimate(job, **size).bytes
            print(
                f"{job:10s} estimated {estimated / 1e6:5.0f} MB, measured {measured / 1e6:5.0f} MB, "
                f"ratio {estimated / measured:.2f}  {size}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in SIZES:
        print(run(sys.argv[1], json.loads(sys.argv[2])))
    else:
        main()

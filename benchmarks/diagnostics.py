"""What NTKDiagnostics costs in a VMC run; goal: less than a tenth at the documented settings.

Two VMC_SR runs from the same seed, one with diagnostics, take their blocks of ``--every`` steps in turn, so that what
else the machine does meets both. Each pair of blocks gives one ratio; the table has their median and the interval
between the quartiles, by the clock and by processor time, and the cost of one evaluation beside that of one step.
"""

import argparse
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np

import netket_qsntk as qs
from benchmarks.timing import machine


class Convolutions(nn.Module):
    """log ψ on an L × L torus: residual 3 × 3 convolutions, summed over sites and features."""

    side: int
    features: int = 32
    layers: int = 4

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        shape = x.shape[:-1]
        x = x.reshape(-1, self.side, self.side, 1).astype(float)
        for _ in range(self.layers):
            y = nn.Conv(self.features, (3, 3), padding="CIRCULAR", param_dtype=float)(nn.gelu(x))
            x = y if x.shape[-1] == 1 else x + y
        return (jnp.sum(nk.nn.activation.log_cosh(x), (1, 2, 3)) / self.side).reshape(shape)


def convolutional(side: int, features: int) -> dict:
    """The same for a convolutional network on side × side spins."""
    spins = nk.hilbert.Spin(0.5, side**2)
    ising = nk.operator.IsingJax(spins, nk.graph.Square(side), h=3.0, J=-1.0)
    flips = nk.sampler.MetropolisLocal(spins, n_chains=64)
    return {f"convolutions, {side} × {side}": (ising, flips, Convolutions(side, features))}


def systems(side: int) -> dict:
    """Name -> (Hamiltonian, sampler, model): the settings of the example."""
    square, chain = nk.graph.Square(side), nk.graph.Chain(side**2)
    spins = nk.hilbert.Spin(0.5, side**2)
    sector = nk.hilbert.Spin(0.5, side**2, total_sz=0)
    flips = nk.sampler.MetropolisLocal(spins, n_chains=64)
    exchanges = nk.sampler.MetropolisExchange(sector, graph=chain, n_chains=64)
    ising = nk.operator.IsingJax(spins, square, h=3.0, J=-1.0)
    heisenberg = nk.operator.Heisenberg(sector, chain, sign_rule=True)
    return {
        "tfim, real RBM": (ising, flips, nk.models.RBM(alpha=2)),
        "tfim, complex RBM": (ising, flips, nk.models.RBM(alpha=1, param_dtype=complex)),
        "heisenberg, real RBM": (heisenberg, exchanges, nk.models.RBM(alpha=2)),
    }


def block(driver, steps, **options):
    """Seconds by the clock and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    driver.run(steps, out=nk.logging.RuntimeLog(), show_progress=False, **options)
    jax.block_until_ready(driver.state.parameters)
    return time.perf_counter() - clock, time.process_time() - processor


def row(name, system, args) -> None:
    """One line of the table."""
    hamiltonian, sampler, model = system
    drivers = []
    for _ in range(2):
        state = nk.vqs.MCState(sampler, model, n_samples=args.samples, seed=1)
        drivers.append(
            nk.driver.VMC_SR(
                hamiltonian, nk.optimizer.Sgd(0.01), variational_state=state, diag_shift=1e-2
            )
        )
    diagnostics = qs.callbacks.NTKDiagnostics(args.every, args.batch)
    pairs = []
    for i in range(args.blocks + 1):
        plain, with_ = (block(drivers[0], args.every), None)
        with_ = block(drivers[1], args.every, callback=diagnostics)
        if i:  # the first compiles
            pairs.append((plain, with_))
    plain, with_ = np.array(pairs).swapaxes(0, 1)
    overhead = 100 * (with_ / plain - 1)
    quartiles = np.percentile(overhead, [25, 50, 75], axis=0)
    step = np.median(plain[:, 0]) / args.every
    extra = np.median(with_[:, 0] - plain[:, 0])
    print(
        f"{name:22}"
        + "".join(f"{m:7.1f} % ({a:.1f} … {b:.1f})" for a, m, b in quartiles.T)
        + f"{1e3 * step:10.1f} ms{1e3 * extra:10.1f} ms",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4, help="L: L × L spins, chains of L²")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--every", type=int, default=20, help="steps between evaluations")
    parser.add_argument("--batch", type=int, default=128, help="configurations of the kernel")
    parser.add_argument("--blocks", type=int, default=12, help="pairs of blocks")
    parser.add_argument("--convolutions", type=int, nargs="*", default=[], help="sides, as in 6 10")
    parser.add_argument("--features", type=int, default=32, help="of the convolutions")
    parser.add_argument("--quick", action="store_true", help="2 × 2 spins, 3 pairs")
    args = parser.parse_args()
    if args.quick:
        args.side, args.blocks, args.samples = 2, 3, 256
    print(machine())
    print(
        f"\n{args.samples} samples, every {args.every} steps, {args.batch} configurations, {args.blocks} pairs\n\n"
        f"{'':22}{'overhead, clock':>22}{'processor time':>22}{'a step':>13}{'an evaluation':>14}"
    )
    rows = {} if args.convolutions else systems(args.side)
    for side in args.convolutions:
        rows |= convolutional(side, args.features)
    for name, system in rows.items():
        row(name, system, args)


if __name__ == "__main__":
    main()

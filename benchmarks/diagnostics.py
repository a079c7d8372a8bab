"""What NTKDiagnostics costs in a VMC run.

Goals: less than a tenth at the documented settings, and less than 3 % where a step takes over a second. Two VMC_SR
runs from the same seed, one with diagnostics, take their blocks of ``--steps`` steps in turn, so that what else the
machine does meets both; a block holds one evaluation. Each pair of blocks gives one ratio, for evaluations every
``--every`` steps; the table has their median and the interval between the quartiles, by the clock and by processor
time, and the processor time of one step and of one evaluation.

``--convolutions 6 10`` does this for a convolutional network on 6 × 6 and 10 × 10 spins, ``--transformer 24`` for a
transformer of so many features on 10 × 10 spins; with ``--memory`` that makes one evaluation within so many bytes of
Jacobians, and prints its peak.
"""

import argparse
import resource
import threading
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np

import netket_qsntk as qs
from benchmarks.timing import machine


class Convolutions(nn.Module):
    """log ψ on an L × L torus: residual 3 × 3 convolutions, summed over sites and features.

    They are products with weights: NetKet's Jacobian of a step takes all samples at once, and derivatives of nn.Conv
    by each of many configurations are slow on CPUs.
    """

    side: int
    features: int = 8
    layers: int = 2

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        shape = x.shape[:-1]
        x = x.reshape(-1, self.side, self.side, 1).astype(float)
        for _ in range(self.layers):
            g = nn.gelu(x)
            moved = [jnp.roll(g, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            y = nn.Dense(self.features, param_dtype=float)(jnp.concatenate(moved, -1))
            x = y if x.shape[-1] == 1 else x + y
        return (jnp.sum(nk.nn.activation.log_cosh(x), (1, 2, 3)) / self.side).reshape(shape)


class Transformer(nn.Module):
    """log ψ on an L × L torus: patches of 2 × 2 spins, two layers of factored attention, a complex readout."""

    side: int
    features: int

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        shape, n = x.shape[:-1], self.side // 2
        x = x.reshape(-1, n, 2, n, 2).swapaxes(2, 3).reshape(-1, n * n, 4).astype(float)
        dense = lambda width: nn.Dense(width, param_dtype=float)  # noqa: E731
        normal = lambda: nn.LayerNorm(param_dtype=float)  # noqa: E731
        x = dense(self.features)(x)
        for i in range(2):
            draw = nn.initializers.lecun_normal()
            mixing = self.param(f"mixing_{i}", draw, (n * n, n * n), float)
            x = x + jnp.einsum("ij,bjf->bif", mixing, dense(self.features)(normal()(x)))
            x = x + dense(self.features)(nn.gelu(dense(2 * self.features)(normal()(x))))
        z = normal()(x.sum(1))
        small = nn.initializers.normal(0.1 / self.features**0.5)
        re, im = (nn.Dense(self.features, param_dtype=float, kernel_init=small)(z) for _ in "ri")
        return jnp.sum(nk.nn.activation.log_cosh(re + 1j * im), -1).reshape(shape)


def ising(side: int):
    """Hamiltonian and sampler on side × side spins."""
    spins = nk.hilbert.Spin(0.5, side**2)
    hamiltonian = nk.operator.IsingJax(spins, nk.graph.Square(side), h=3.0, J=-1.0)
    return hamiltonian, nk.sampler.MetropolisLocal(spins, n_chains=64)


def convolutional(side: int, features: int) -> dict:
    """The same for a convolutional network on side × side spins."""
    return {f"convolutions, {side} × {side}": (*ising(side), Convolutions(side, features))}


def systems(side: int) -> dict:
    """Name -> (Hamiltonian, sampler, model): the settings of the example."""
    chain = nk.graph.Chain(side**2)
    sector = nk.hilbert.Spin(0.5, side**2, total_sz=0)
    exchanges = nk.sampler.MetropolisExchange(sector, graph=chain, n_chains=64)
    heisenberg = nk.operator.Heisenberg(sector, chain, sign_rule=True)
    return {
        "tfim, real RBM": (*ising(side), nk.models.RBM(alpha=2)),
        "tfim, complex RBM": (*ising(side), nk.models.RBM(alpha=1, param_dtype=complex)),
        "heisenberg, real RBM": (heisenberg, exchanges, nk.models.RBM(alpha=2)),
    }


def block(driver, steps, out=None, **options):
    """Seconds by the clock and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    driver.run(steps, out=out or nk.logging.RuntimeLog(), show_progress=False, **options)
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
    steps = args.steps or args.every
    diagnostics = qs.callbacks.NTKDiagnostics(steps, args.batch)
    pairs = []
    for i in range(args.blocks + 1):
        plain = block(drivers[0], steps)
        with_ = block(drivers[1], steps, callback=diagnostics)
        if i:  # the first compiles
            pairs.append((plain, with_))
    plain, with_ = np.array(pairs).swapaxes(0, 1)
    overhead = 100 * (with_ - plain) / (plain * args.every / steps)
    quartiles = np.percentile(overhead, [25, 50, 75], axis=0)
    # Of processor time, which other programs do not lengthen.
    step = np.median(plain[:, 1]) / steps
    extra = np.median(with_[:, 1] - plain[:, 1])
    print(
        f"{name:22}"
        + "".join(f"{m:7.1f} % ({a:.1f} … {b:.1f})" for a, m, b in quartiles.T)
        + f"{1e3 * step:10.1f} ms{1e3 * extra:10.1f} ms",
        flush=True,
    )


def resident() -> int:
    """Bytes of memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak_of(function) -> int:
    """Bytes by which a call raises the resident memory at most, looked at a hundred times a second."""
    start, most, ended = resident(), [0], threading.Event()

    def look():
        while not ended.wait(0.01):
            most[0] = max(most[0], resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        function()
    finally:
        ended.set()
        thread.join()
    return most[0] - start


def by_blocks(args) -> None:
    """One evaluation for a transformer whose Jacobians do not fit into ``--memory``."""
    hamiltonian, sampler = ising(10)
    state = nk.vqs.MCState(
        sampler,
        Transformer(10, args.transformer),
        n_samples=64,
        n_discard_per_chain=0,
        chunk_size=256,
        seed=1,
    )
    driver = nk.driver.VMC_SR(
        hamiltonian,
        nk.optimizer.Sgd(1e-3),
        variational_state=state,
        diag_shift=1e-2,
        use_ntk=True,
        on_the_fly=False,
    )
    log = nk.logging.RuntimeLog()
    diagnostics = qs.callbacks.NTKDiagnostics(1, args.batch, memory=args.memory)
    seen = []
    for options in ({}, {"callback": diagnostics}):
        block(driver, 1, **options)  # compiles
        cost = []
        peak = peak_of(lambda o=options, c=cost: c.append(block(driver, 1, out=log, **o)))
        seen.append((*cost[0], peak / 2**20))
    held = 2 * 2 * args.batch * state.n_parameters * 8
    finite = all(np.all(np.isfinite(v.values)) for k, v in log.data.items() if k.startswith("ntk/"))
    print(
        f"\ntransformer on 10 × 10 spins, {state.n_parameters} parameters, {args.batch} configurations; both "
        f"Jacobians {held / 2**20:.0f} MiB, allowed {args.memory / 2**20:.0f} MiB\n"
        f"{'':26}{'clock':>8}{'processor':>11}{'memory above the start':>24}"
    )
    for name, (clock, processor, peak) in zip(("a step", "with one evaluation"), seen, strict=True):
        print(f"{name:26}{clock:6.0f} s{processor:9.0f} s{peak:20.0f} MiB")
    print(f"all keys finite: {finite}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4, help="L: L × L spins, chains of L²")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--every", type=int, default=20, help="steps between evaluations")
    parser.add_argument("--batch", type=int, default=128, help="configurations of the kernel")
    parser.add_argument("--blocks", type=int, default=12, help="pairs of blocks")
    parser.add_argument("--steps", type=int, default=0, help="of a block; 0: --every")
    parser.add_argument("--convolutions", type=int, nargs="*", default=[], help="sides, as in 6 10")
    parser.add_argument("--features", type=int, default=8, help="of the convolutions")
    parser.add_argument("--transformer", type=int, default=0, help="features; 0: none")
    parser.add_argument("--memory", type=int, default=0, help="bytes for the transformer")
    parser.add_argument("--quick", action="store_true", help="2 × 2 spins, 3 pairs")
    args = parser.parse_args()
    if args.quick:
        args.side, args.blocks, args.samples = 2, 3, 256
    print(machine())
    if args.transformer and args.memory:
        by_blocks(args)
        return
    print(
        f"\n{args.samples} samples, every {args.every} steps, {args.batch} configurations, {args.blocks} pairs\n\n"
        f"{'':22}{'overhead, clock':>22}{'processor time':>22}{'a step':>13}{'an evaluation':>14}"
    )
    rows = {} if args.convolutions or args.transformer else systems(args.side)
    if args.transformer:
        rows["transformer, 10 × 10"] = (*ising(10), Transformer(10, args.transformer))
    for side in args.convolutions:
        rows |= convolutional(side, args.features)
    for name, system in rows.items():
        row(name, system, args)


if __name__ == "__main__":
    main()

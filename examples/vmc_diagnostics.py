"""The neural tangent kernel inside a VMC run, at a price to leave it switched on.

NetKet's VMC_SR finds a ground state while qs.callbacks.NTKDiagnostics logs, every few steps, the spectrum of the
network's tangent kernel, its drift from the start (small: lazy training, which the kernel predicts; of order one:
features are learned), how much of each update goes into the top modes, and whether the step did to the energy what
first order says.

A twin run without diagnostics takes its blocks of steps in turn with the first: the difference is what they cost.
"""

import argparse
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np

import netket_qsntk as qs


class ViT(nn.Module):
    """A vision transformer for log ψ: patches of spins, factored attention, a complex log-cosh readout."""

    side: int
    patch: int = 2
    features: int = 12
    layers: int = 2

    @nn.compact
    def __call__(self, x):
        """Log ψ of configurations (…, sites)."""
        n, b = self.side // self.patch, self.patch
        x = x.reshape(-1, n, b, n, b).swapaxes(2, 3).reshape(-1, n * n, b * b).astype(float)
        x = nn.Dense(self.features, param_dtype=float)(x)
        for i in range(self.layers):
            mixing = self.param(
                f"mixing_{i}", nn.initializers.lecun_normal(), (n * n, n * n), float
            )
            y = nn.Dense(self.features, param_dtype=float)(nn.LayerNorm(param_dtype=float)(x))
            x = x + jnp.einsum("ij,bjf->bif", mixing, y)
            y = nn.Dense(2 * self.features, param_dtype=float)(nn.LayerNorm(param_dtype=float)(x))
            x = x + nn.Dense(self.features, param_dtype=float)(nn.gelu(y))
        z = nn.LayerNorm(param_dtype=float)(x.sum(1))
        # A small readout: training begins near the uniform superposition.
        small = nn.initializers.normal(0.1 / self.features**0.5)
        re, im = (
            nn.Dense(self.features, param_dtype=float, kernel_init=small)(z) for _ in range(2)
        )
        return jnp.sum(nk.nn.activation.log_cosh(re + 1j * im), -1)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--system", choices=["tfim", "heisenberg"], default="tfim",
        help="tfim: L × L, -Σ σzσz - h Σ σx; heisenberg: chain of L² spins at zero magnetisation. "
        "Default: tfim")  # fmt: skip
    add("--length", type=int, default=4, help="L (default: 4)")
    add("--field", type=float, default=3.0, help="h of tfim (default: 3.0, near its transition)")
    add(
        "--network",
        choices=["rbm", "vit"],
        default="rbm",
        help="real RBM, or complex ViT (tfim). Default: rbm",
    )
    add("--steps", type=int, default=200, help="VMC steps (default: 200)")
    add("--samples", type=int, default=1024, help="Monte Carlo samples a step (default: 1024)")
    add("--rate", type=float, default=0.01, help="learning rate (default: 0.01)")
    add("--every", type=int, default=20, help="steps between diagnostics (default: 20)")
    add("--batch", type=int, default=128, help="configurations of the kernel (default: 128)")
    add("--seed", type=int, default=1, help="of network and sampler")
    add("--plot", default="vmc_diagnostics.png", help="file of the figure, '' for none")
    return parser.parse_args()


def make_system(args):
    """Hamiltonian, and a sampler on its Hilbert space."""
    if args.system == "tfim":
        graph = nk.graph.Square(args.length)
        hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
        return nk.operator.IsingJax(
            hilbert, graph, h=args.field, J=-1.0
        ), nk.sampler.MetropolisLocal(hilbert, n_chains=64)
    graph = nk.graph.Chain(args.length**2)
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes, total_sz=0)
    # Marshall's sign rule makes the ground state positive.
    hamiltonian = nk.operator.Heisenberg(hilbert, graph, sign_rule=True)
    return hamiltonian, nk.sampler.MetropolisExchange(hilbert, graph=graph, n_chains=64)


def make_driver(args, hamiltonian, sampler):
    model = nk.models.RBM(alpha=2) if args.network == "rbm" else ViT(args.length)
    state = nk.vqs.MCState(sampler, model, n_samples=args.samples, seed=args.seed)
    return nk.driver.VMC_SR(
        hamiltonian,
        nk.optimizer.Sgd(args.rate),
        variational_state=state,
        diag_shift=1e-2,
        use_ntk=False,
    )


def timed(driver, steps, **options):
    """Seconds by the clock, and of processor time, which other programs do not lengthen."""
    clock, processor = time.perf_counter(), time.process_time()
    driver.run(steps, show_progress=False, **options)
    jax.block_until_ready(driver.state.parameters)
    return time.perf_counter() - clock, time.process_time() - processor


def main():
    args = parse_arguments()
    if args.network == "vit" and (args.system != "tfim" or args.length % 2):
        raise SystemExit(
            "--network vit: give --system tfim and an even --length, which 2 × 2 patches need"
        )
    start = time.perf_counter()
    hamiltonian, sampler = make_system(args)
    exact = None
    if hamiltonian.hilbert.n_states <= 2**17:
        exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
    diagnosed, plain = (make_driver(args, hamiltonian, sampler) for _ in range(2))
    print(
        f"{args.system}, {hamiltonian.hilbert.size} spins; {args.network}, {plain.state.n_parameters} parameters"
    )

    diagnostics = qs.callbacks.NTKDiagnostics(args.every, args.batch, eigenvalues=True)
    log = nk.logging.RuntimeLog()
    with_, without = [], []
    for _ in range(max(2, -(-args.steps // args.every))):
        without.append(timed(plain, args.every, out=nk.logging.RuntimeLog()))
        with_.append(timed(diagnosed, args.every, out=log, callback=diagnostics))

    print_table(log, exact)
    print(f"\n{args.every} steps            without       with  one evaluation of the diagnostics")
    for i, name in enumerate(("wall clock", "processor")):
        # The first block compiles; the fastest of the others is the one that other programs disturbed least.
        reference, best = (min(times[1:], key=lambda t: t[i])[i] for times in (without, with_))
        print(
            f"{name:>11} {reference:14.3f} s {best:8.3f} s  overhead {100 * (best / reference - 1):.1f} %"
        )
    print(
        f"compilation, once: {with_[0][0]:.1f} s, the plain run just before {without[0][0]:.1f} s"
    )
    if args.plot:
        axes = qs.plot.diagnostics(log, exact=exact)
        axes[0].figure.suptitle(
            f"VMC_SR, {args.system}, {args.network}, kernel of log ψ on {args.batch} samples"
        )
        axes[0].figure.savefig(args.plot, dpi=150)
        print(f"figure: {args.plot}")
    print(f"total: {time.perf_counter() - start:.1f} s")


def print_table(log, exact):
    energy = log.data["Energy"]
    columns = {
        "largest": "largest_eigenvalue",
        "condition": "condition_number",
        "eff. rank": "effective_rank",
        "drift": "drift",
        "alignment": "alignment",
    }
    histories = {label: log.data[f"ntk/{key}"] for label, key in columns.items()}
    predicted, realised = (
        np.asarray(log.data[f"ntk/{key}_decrease"].values) for key in ("predicted", "realised")
    )
    steps = np.asarray(log.data["ntk/drift"].iters)
    energies = dict(zip(np.asarray(energy.iters).tolist(), np.real(energy.Mean), strict=True))
    error = "      energy" if exact is None else " rel. error"
    print(
        f"\n step {error}"
        + "".join(f"{name:>11}" for name in histories)
        + "  predicted  realised decrease"
    )
    rows = np.unique(np.linspace(0, len(steps) - 1, 12).astype(int))
    for i in rows:
        value = energies[steps[i]]
        shown = f"{value:12.4f}" if exact is None else f"{abs((value - exact) / exact):12.2e}"
        line = f"{steps[i]:5d}{shown}"
        line += "".join(f"{np.asarray(h.values)[i]:11.3g}" for h in histories.values())
        if i < len(predicted):
            line += f"{predicted[i]:11.2e}{realised[i]:11.2e}"
        print(line)


if __name__ == "__main__":
    main()

"""Infinitely wide networks on lattices of any size, trained by NetKet's own sampler and driver.

log ψ(x) = r(x) + Θ_G(x, Y) Θ_YY^{-1/2} θ: the kernel of an infinitely wide network, averaged over the lattice's
symmetries, at M centres Y that are chosen again from the samples every few steps. Energies are compared with exact
ones: free fermions for the Ising ring, exact diagonalisation (4×4, 6×6) and quantum Monte Carlo (10×10, Sandvik 1997)
for the Heisenberg square with Marshall's sign rule. An RBM of about as many parameters takes the same steps.

  ising       ring of L sites at transverse field h
  heisenberg  l × l sites, l = 4, 6 or 10
"""

import argparse
import time

import jax
import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Energy per site in units of J S·S.
HEISENBERG = {4: -0.701780, 6: -0.678872, 10: -0.671549}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=["ising", "heisenberg"], default="ising")
    add("--length", type=int, default=20, help="sites of the ring, or of a side of the square")
    add("--field", type=float, default=1.0, help="transverse field of the Ising ring")
    add("--centres", type=int, nargs="+", default=[100, 200, 400])
    add("--samples", type=int, default=1024)
    add("--steps", type=int, default=60)
    add("--rate", type=float, default=0.1)
    add("--shift", type=float, default=1e-4, help="diagonal shift of stochastic reconfiguration")
    add("--every", type=int, default=10, help="steps between choices of centres")
    add("--sigma-w", type=float, default=1.0)
    add("--sigma-b", type=float, default=0.3)
    add("--rbm-shift", type=float, default=1e-2, help="diagonal shift of the RBM")
    add("--no-rbm", action="store_true", help="leave out the RBM")
    return parser.parse_args()


def system(args):
    """Graph, Hamiltonian, sampler, reference and exact energy."""
    n_chains = max(1, args.samples // 2)
    if args.model == "ising":
        graph = nk.graph.Chain(args.length)
        hilbert = nk.hilbert.Spin(0.5, args.length)
        k = (np.arange(args.length) + 0.5) * 2 * np.pi / args.length
        exact = -np.sum(np.sqrt(1 + args.field**2 - 2 * args.field * np.cos(k)))
        hamiltonian = nk.operator.IsingJax(hilbert, graph, h=args.field, J=-1.0)
        sampler = nk.sampler.MetropolisLocal(
            hilbert, n_chains=n_chains, sweep_size=max(4, args.length // 2)
        )
        return graph, hamiltonian, sampler, None, exact
    graph = nk.graph.Square(args.length)
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes, total_sz=0)
    # NetKet's Heisenberg is σ·σ = 4 S·S; the sign rule is in the reference.
    hamiltonian = nk.operator.Heisenberg(hilbert, graph, sign_rule=False)
    sampler = nk.sampler.MetropolisExchange(
        hilbert, graph=graph, n_chains=n_chains, sweep_size=max(4, graph.n_nodes // 2)
    )
    exact = 4 * graph.n_nodes * HEISENBERG.get(args.length, np.nan)
    return graph, hamiltonian, sampler, qs.readout.marshall(graph), exact


def train(args, model, hamiltonian, sampler, callbacks, shift):
    vs = nk.vqs.MCState(
        sampler, model, n_samples=args.samples, n_discard_per_chain=0, seed=0, sampler_seed=1
    )
    driver = nk.driver.VMC_SR(
        hamiltonian, optax.sgd(args.rate), variational_state=vs, diag_shift=shift
    )
    log = nk.logging.RuntimeLog()
    start = time.perf_counter()
    driver.run(args.steps, out=log, callback=callbacks, show_progress=False)
    return vs, log.data, time.perf_counter() - start


def wide(args, graph, hilbert, reference, n_centres):
    net = qs.models.WideMLP(
        widths=(1,), activation="erf", sigma_w=args.sigma_w, sigma_b=args.sigma_b, parts="real",
        output="log_psi", reference=reference,
    )  # fmt: skip
    net = qs.models.Symmetrized(net, graph.space_group(), spin_flip=1)
    candidates = hilbert.random_state(jax.random.key(0), 4 * n_centres)
    return qs.models.InfiniteWidth(net, qs.models.choose_centres(net, candidates, n_centres))


def main():
    args = parse_arguments()
    graph, hamiltonian, sampler, reference, exact = system(args)
    hilbert, n_sites = hamiltonian.hilbert, graph.n_nodes
    scale = 1 if args.model == "ising" else 4
    print(f"{args.model}, {n_sites} sites, exact energy per site {exact / n_sites / scale:.6f}")
    print(
        f"{'':24}{'parameters':>11}{'energy per site':>17}{'rel. error':>22}{'misfit':>8}{'time':>8}"
    )
    runs = {f"{m} centres": m for m in args.centres}
    if not args.no_rbm and reference is None:
        runs["RBM"] = 0
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), layout="constrained")
    ends = []
    for (name, m), colour in zip(runs.items(), qs.plot.COLOURS, strict=False):
        if m:
            model = wide(args, graph, hilbert, reference, m)
            callbacks, shift = [qs.callbacks.Recentre(every=args.every)], args.shift
        else:
            alpha = max(1, round(args.centres[-1] / n_sites**2))
            model, callbacks, shift = (
                nk.models.RBM(alpha=alpha, param_dtype=float),
                [],
                args.rbm_shift,
            )
        vs, data, seconds = train(args, model, hamiltonian, sampler, callbacks, shift)
        energy = np.real(np.asarray(data["Energy"].Mean))
        tail = max(1, args.steps // 6)
        mean, noise = energy[-tail:].mean(), np.asarray(data["Energy"].Sigma)[-tail:]
        sigma = np.sqrt(np.mean(noise**2) / tail)
        misfit = (
            f"{np.mean(data['recentre/misfit'].values):8.3f}"
            if "recentre/misfit" in data
            else " " * 8
        )
        print(
            f"{name:24}{vs.n_parameters:11d}{mean / n_sites / scale:17.6f}"
            f"{(mean - exact) / abs(exact):14.1e} ± {sigma / abs(exact):.0e}{misfit}{seconds:6.0f} s",
            flush=True,
        )
        error = np.abs((energy - exact) / exact)
        axes[0].semilogy(error, color=colour, label=name, linestyle="-" if m else "--")
        if m:
            ends.append((m, abs(mean - exact) / abs(exact), sigma / abs(exact)))
        else:
            axes[1].axhline(
                abs(mean - exact) / abs(exact), color=colour, linestyle="--", label=name
            )
    if ends:
        axes[1].errorbar(
            *np.array(ends).T[:2], yerr=np.array(ends).T[2], marker="o", color="black", capsize=3
        )
    axes[0].set(xlabel="step of stochastic reconfiguration", ylabel="relative error of the energy")
    axes[0].legend(frameon=False)
    axes[1].set(
        xscale="log",
        yscale="log",
        xlabel="centres",
        ylabel=f"mean of the last {max(1, args.steps // 6)} steps",
    )
    axes[1].set_xticks(args.centres, [str(m) for m in args.centres])
    axes[1].minorticks_off()
    name = f"Ising ring of {n_sites}, h = {args.field:g}"
    figure.suptitle(
        name if args.model == "ising" else f"Heisenberg, {args.length}×{args.length} sites"
    )
    figure.savefig("wide_network_on_a_lattice.png", dpi=160)
    print("wide_network_on_a_lattice.png")


if __name__ == "__main__":
    main()

"""Infinitely wide networks on lattices of any size, trained by NetKet's own sampler and driver.

log ψ(x) = r(x) + Θ_G(x, Y) Θ_YY^{-1/2} θ: the kernel of an infinitely wide network, averaged over the lattice's
symmetries, at M centres Y that are chosen again from the samples every few steps. Energies are compared with known
ones: free fermions for the ring, exact diagonalisation (4×4, 6×6) and quantum Monte Carlo (10×10) for squares. An
RBM and a convolutional network of NetKet's take steps of the same kind for as long, in seconds of CPU.

  ring        Ising ring of L sites at transverse field h
  square      Ising square of l × l sites at transverse field h
  heisenberg  l × l sites, with Marshall's signs
  j1j2        l × l sites at J2 = J1/2, with Marshall's signs
"""

import argparse
import json
import time

import jax
import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Energy per site, in units of J for S·S, and of the coupling of σzσz: Sandvik, PRB 56, 11678 (1997) for 10×10, exact
# diagonalisation for the smaller ones (J1-J2: Schulz, Ziman and Poilblanc, J. Phys. I 6, 675 (1996)).
KNOWN = {
    ("heisenberg", 4): -0.701780,
    ("heisenberg", 6): -0.678872,
    ("heisenberg", 10): -0.671549,
    ("j1j2", 6): -0.503810,
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--system", choices=["ring", "square", "heisenberg", "j1j2"], default="ring")
    add("--length", type=int, default=20, help="sites of the ring, or of a side of the square")
    add("--field", type=float, default=1.0, help="transverse field of the Ising models")
    add("--known", type=float, help="energy per site to compare with, where none is known here")
    add("--networks", nargs="+", choices=["wide", "rbm", "cnn"], default=["wide", "rbm", "cnn"])
    add("--centres", type=int, nargs="+", default=[100, 200, 400])
    add("--samples", type=int, nargs="+", default=[1024])
    add("--moves", type=int, default=20, help="proposed moves of each chain between two steps")
    add("--steps", type=int, default=60)
    add("--cpu-minutes", type=float, default=10.0, help="of each run at most")
    add("--rate", type=float, default=0.1)
    add("--shift", type=float, default=1e-4, help="diagonal shift of stochastic reconfiguration")
    add("--peer-rate", type=float, default=0.02)
    add("--peer-shift", type=float, default=1e-3)
    add("--every", type=int, default=10, help="steps between choices of centres")
    add("--patches", nargs="+", help="3x4, …: networks on patches and on pairs at any distance")
    add("--depth", type=int, default=1, help="hidden layers of the wide network")
    add("--sigma-w", type=float, default=1.0)
    add("--sigma-b", type=float, default=0.3)
    add("--draws", type=int, default=8, help="times the samples of the last energy")
    add("--json", help="file that takes one line for each run, at its end")
    return parser.parse_args()


def system(args):
    """Graph, Hamiltonian in the bare basis and with Marshall's signs, and known energy per site in its units."""
    if args.system in ("ring", "square"):
        n_dim = 1 if args.system == "ring" else 2
        graph = nk.graph.Hypercube(args.length, n_dim=n_dim, pbc=True)
        hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
        hamiltonian = nk.operator.IsingJax(hilbert, graph, h=args.field, J=-1.0)
        k = (np.arange(args.length) + 0.5) * 2 * np.pi / args.length
        ring = -np.mean(np.sqrt(1 + args.field**2 - 2 * args.field * np.cos(k)))
        return graph, hamiltonian, hamiltonian, ring if n_dim == 1 else np.nan
    frustrated = args.system == "j1j2"
    graph = nk.graph.Square(args.length, max_neighbor_order=2 if frustrated else 1)
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes, total_sz=0)
    # NetKet's Heisenberg is σ·σ = 4 S·S.
    couplings = [0.25, 0.125] if frustrated else 0.25
    bare, turned = (
        nk.operator.Heisenberg(hilbert, graph, J=couplings, sign_rule=rule)
        for rule in (([False, False], [True, False]) if frustrated else (False, True))
    )
    return graph, bare, turned, KNOWN.get((args.system, args.length), np.nan)


def sampler(args, graph, hilbert, samples):
    if args.system in ("ring", "square"):
        return nk.sampler.MetropolisLocal(hilbert, n_chains=samples, sweep_size=args.moves)
    return nk.sampler.MetropolisExchange(
        hilbert, graph=graph, n_chains=samples, sweep_size=args.moves
    )


def kernel(args, graph):
    """Of the infinite network on all sites, or on patches, averaged over the space group and the flip of all."""
    net = qs.models.WideMLP(
        widths=(1,) * args.depth, activation="erf", sigma_w=args.sigma_w, sigma_b=args.sigma_b,
        parts="real", output="log_psi",
    )  # fmt: skip
    one = qs.kernels.infinite_width(net)
    if args.patches:
        group = np.asarray(graph.point_group().to_array())
        partners = {min(images) for images in group.T.tolist() if min(images)}
        local = [qs.kernels.patches(one, graph, sites=[0, r]) for r in sorted(partners)]
        for shape in args.patches:
            extents = tuple(map(int, shape.split("x")))
            local.append(qs.kernels.patches(one, graph, extents))
        one = sum(local[1:], local[0])
    # The singlet of 4n sites is even under the flip.
    return qs.kernels.symmetrized(one, graph.space_group(), spin_flip=1)


def wide(args, graph, hilbert, n_centres):
    """The infinite network at centres drawn blindly."""
    # The sublattices are those of the nearest neighbours: bonds along diagonals make odd loops.
    spin_models = args.system in ("heisenberg", "j1j2")
    signs = qs.readout.marshall(nk.graph.Square(args.length)) if spin_models else None
    one = kernel(args, graph)
    candidates = hilbert.random_state(jax.random.key(0), 2 * n_centres)
    centres = qs.models.choose_centres(one, candidates, n_centres)
    return qs.models.InfiniteWidth(one, centres, reference=signs)


def peer(name, graph):
    """NetKet's own positive networks."""
    if name == "rbm":
        return nk.models.RBM(alpha=2, param_dtype=float)
    return nk.models.GCNN(
        symmetries=graph.translation_group(), layers=2, features=4, mode="fft",
        shape=tuple(graph.extent), param_dtype=float, complex_output=False,
    )  # fmt: skip


def energy(vs, hamiltonian, draws):
    """Energy and its standard error from chains that go on: their means are independent of one another."""
    means = 0
    for _ in range(draws):
        vs.sample()
        local = np.asarray(jax.numpy.asarray(vs.local_estimators(hamiltonian)))
        means = means + local.reshape(vs.sampler.n_chains, -1).mean(1).real / draws
    return means.mean(), means.std(ddof=1) / len(means) ** 0.5


def train(args, hamiltonian, vs, callbacks, rate, shift):
    """Energies of the steps and seconds of CPU."""
    start = time.process_time()
    driver = nk.driver.VMC_SR(hamiltonian, optax.sgd(rate), variational_state=vs, diag_shift=shift)

    def in_time(step, log_data, driver):
        return time.process_time() - start < 60 * args.cpu_minutes

    log = nk.logging.RuntimeLog()
    driver.run(
        args.steps,
        out=log,
        callback=[*callbacks, in_time, nk.callbacks.InvalidLossStopping()],
        show_progress=False,
    )
    return log.data, time.process_time() - start


def main():
    args = parse_arguments()
    graph, bare, turned, known = system(args)
    known = known if args.known is None else args.known
    n_sites = graph.n_nodes
    print(f"{args.system}, {n_sites} sites, known energy per site {known:.6f}")
    print(
        f"{'':30}{'steps':>6}{'energy per site':>17}{'rel. error':>20}{'misfit':>9}{'CPU':>8}{'wall':>8}"
    )
    runs = [(m, n) for n in args.samples for m in args.centres if "wide" in args.networks]
    runs += [(name, args.samples[-1]) for name in args.networks if name != "wide"]
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), layout="constrained")
    ends = {}
    for (size, samples), colour in zip(runs, 3 * qs.plot.COLOURS, strict=False):
        clock = time.perf_counter()
        is_wide = isinstance(size, int)
        hamiltonian = bare if is_wide else turned
        model = wide(args, graph, bare.hilbert, size) if is_wide else peer(size, graph)
        vs = nk.vqs.MCState(
            sampler(args, graph, bare.hilbert, samples), model, n_samples=samples,
            n_discard_per_chain=0, seed=0, sampler_seed=1,
        )  # fmt: skip
        chosen = [qs.callbacks.Recentre(every=args.every)] if is_wide else []
        rate, shift = (args.rate, args.shift) if is_wide else (args.peer_rate, args.peer_shift)
        data, seconds = train(args, hamiltonian, vs, chosen, rate, shift)
        energies = np.real(np.asarray(data["Energy"].Mean)) / n_sites
        mean, sigma = (e / n_sites for e in energy(vs, hamiltonian, args.draws))
        error, sigma = mean / known - 1, sigma / abs(known)
        name = f"{size} centres, {samples} samples" if is_wide else f"{size}, {samples} samples"
        misfit = np.mean(data["recentre/misfit"].values) if "recentre/misfit" in data else np.nan
        print(
            f"{name:30}{len(energies):6d}{mean:17.6f}{-error:12.2e} ± {sigma:.0e}{misfit:9.1e}{seconds:6.0f} s"
            f"{time.perf_counter() - clock:6.0f} s",
            flush=True,
        )
        if args.json:
            row = {
                "system": args.system, "length": args.length, "field": args.field, "known": known,
                "network": "wide" if is_wide else size, "centres": size if is_wide else None,
                "samples": samples, "parameters": int(vs.n_parameters), "energy": mean,
                "relative_error": -error, "standard_error": sigma, "cpu_seconds": seconds,
                "steps": len(energies), "every_fifth": np.round(energies[::5], 6).tolist(),
            }  # fmt: skip
            with open(args.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        style = "-" if is_wide else "--"
        axes[0].plot(np.abs(energies / known - 1), style, color=colour, label=name)
        if is_wide:
            ends.setdefault(samples, []).append((size, abs(error), sigma))
        else:
            axes[1].axhline(abs(error), color=colour, linestyle="--", label=name)
    for samples, points in ends.items():
        m, error, sigma = np.array(points).T
        axes[1].errorbar(m, error, yerr=sigma, marker="o", capsize=3, label=f"{samples} samples")
    axes[0].set(xlabel="step of stochastic reconfiguration", ylabel="relative error of the energy")
    axes[1].set(xscale="log", xlabel="centres", ylabel="relative error at the end")
    for ax in axes:
        drawn = [line.get_ydata() for line in ax.lines]
        # Runs that left the numbers, or energies without a known one, have nothing to show on a logarithmic axis.
        finite = any(np.any(np.isfinite(y) & (np.asarray(y) > 0)) for y in drawn)
        ax.set_yscale("log" if finite else "linear")
        ax.legend(frameon=False, title=None if finite else "no finite error")
    figure.suptitle(f"{args.system}, {n_sites} sites")
    figure.savefig("wide_network_on_a_lattice.png", dpi=160)
    print("wide_network_on_a_lattice.png")


if __name__ == "__main__":
    main()

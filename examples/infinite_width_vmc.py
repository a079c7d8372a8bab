"""Ground states from a kernel alone: variational Monte Carlo at infinite width, and finite networks beside it.

Gradient descent on the energy moves an infinitely wide network by ψ ← ψ - ηΘ ∂E/∂ψ, with a kernel Θ that never
changes (Eqs. 8-10 of Luo & Halverson, arXiv:2112.00723). Wave functions drawn from the initial ensemble are taken
to the ground state that way; on spins a step is two Walsh-Hadamard transforms. Sums run over the whole basis, so
there is no Monte Carlo error, and the energies are compared with exact diagonalisation:

  tfim        transverse-field Ising model on 4×4 sites near its transition, -Σ σzσz - 3.05 Σ σx
  heisenberg  chain of 12 sites in the sector of zero magnetisation, Σ (σzσz - σxσx - σyσy): Marshall's rotation
              of one sublattice makes the ground state positive, which a real network of any kernel can reach

Finite networks of growing width take the same steps with the same optimiser, and follow the flow ever more closely.
"""

import argparse
import sys
import time

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

_RISE_STEPS = 1000


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=["tfim", "heisenberg"], default=["tfim", "heisenberg"])
    add("--size", default="4x4", help="lattice of the Ising model, for instance 4x4")
    add("--field", type=float, default=3.05, help="transverse field of the Ising model")
    add("--sites", type=int, default=12, help="length of the Heisenberg chain (even)")
    add(
        "--sigma-w",
        type=float,
        default=3.0,
        help="of CosNet: how fast its kernel falls with the distance",
    )
    add("--steps", type=int, default=1500, help="steps at infinite width")
    add("--draws", type=int, default=8, help="initial wave functions at infinite width")
    add("--tfim-widths", nargs="*", type=int, default=[16, 64, 256], help="of the finite networks")
    add("--heisenberg-widths", nargs="*", type=int, default=[16, 64, 256, 1024, 4096])
    add("--members", type=int, default=4, help="networks of each width")
    add("--finite-steps", type=int, default=50, help="steps of the finite networks")
    add("--rate", type=float, default=0.2, help="first learning rate as a fraction of its limit")
    add(
        "--rise",
        type=float,
        default=75.0,
        help="how many times larger it gets in the first 1000 steps",
    )
    add("--momentum", type=float, default=0.0)
    add("--seed", type=int, default=0, help="of the initial wave functions and networks")
    add("--plot", default="infinite_width_vmc.png", help="file of the figure, '' for none")
    return parser.parse_args()


def problem(name, args):
    """(title, Hamiltonian)."""
    if name == "tfim":
        extent = [int(n) for n in args.size.split("x")]
        graph = nk.graph.Grid(extent, pbc=[n > 2 for n in extent])
        hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
        title = f"tfim {args.size}, field {args.field:g}"
        return title, nk.operator.Ising(hilbert, graph, h=args.field, J=-1.0)
    graph = nk.graph.Chain(args.sites)
    hilbert = nk.hilbert.Spin(0.5, args.sites, total_sz=0)
    title = f"heisenberg chain, {args.sites} sites"
    return title, nk.operator.Heisenberg(hilbert, graph, sign_rule=True)


def network(width, sigma_w):
    return qs.models.CosNet(width, sigma_a=1.0, sigma_w=sigma_w, parts="real")


def log_spaced(last, count=80):
    return np.unique(np.append(np.geomspace(1, last, count).astype(int), 0))


def relative(curve, exact):
    """Energies of a prediction as distances to the exact one."""
    return {
        "steps": curve["steps"],
        "energy": (curve["Loss"] - exact) / abs(exact),
        "energy/error": curve["Loss/error"] / abs(exact),
    }


def trained(hamiltonian, optimizer, width, args):
    """The energies of trained networks, as a prediction gives them."""
    vs = qs.vqs.EnsembleState(
        hamiltonian.hilbert, network(width, args.sigma_w), n_members=args.members, seed=args.seed
    )
    driver = qs.driver.QSNTKDriver(hamiltonian, optimizer, variational_state=vs)
    log = nk.logging.RuntimeLog()
    driver.run(args.finite_steps + 1, out=log, show_progress=sys.stderr.isatty())
    loss = log.data["Loss"]
    return {"steps": np.asarray(loss.iters), "Loss": loss.Mean, "Loss/error": loss.Sigma}


def main():
    args = parse_arguments()
    start, figures = time.perf_counter(), {}
    for name in args.models:
        title, hamiltonian = problem(name, args)
        hilbert = hamiltonian.hilbert
        exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
        print(f"\n{title}: {hilbert.n_states} states, exact ground state energy {exact:.10f}")

        state = qs.vqs.InfiniteState(hilbert, network(1, args.sigma_w))
        loss = qs.losses.Energy(hamiltonian)
        flow = qs.dynamics.FunctionSpaceFlow(state.kernel, loss, learning_rate=1.0)
        limits = [flow.max_learning_rate(psi) for psi in state.sample(args.draws, args.seed)]
        # The limit grows with ⟨ψ|ψ⟩, and toward the ground state, where the curvature is least.
        rate = args.rate * min(limits)
        rates = optax.linear_schedule(rate, args.rise * rate, _RISE_STEPS)
        optimizer = optax.sgd(rates, momentum=args.momentum or None)
        print(f"learning rate {rate:.4g}, rising {args.rise:g} times; {flow.operator}")

        clock = time.perf_counter()
        driver = qs.driver.InfiniteWidthDriver(
            loss, optimizer, variational_state=state, n_members=args.draws, seed=args.seed
        )
        both = np.union1d(log_spaced(args.steps), np.arange(args.finite_steps + 1))
        infinite = driver.predict(both)
        seconds = time.perf_counter() - clock
        print(f"infinite width: {args.steps} steps of {args.draws} wave functions, {seconds:.1f} s")
        print_convergence(infinite, exact, args.steps)

        curves = {}
        for width in getattr(args, f"{name}_widths"):
            clock = time.perf_counter()
            curves[width] = trained(hamiltonian, optimizer, width, args)
            print(f"width {width}: {args.finite_steps} steps, {time.perf_counter() - clock:.1f} s")
        print_widths(infinite, curves, args.finite_steps)
        figures[title] = (
            relative(infinite, exact),
            {f"width {width}": relative(curve, exact) for width, curve in curves.items()},
        )
    if args.plot:
        plot(figures, args.plot)
    print(f"total: {time.perf_counter() - start:.1f} s")


def print_convergence(curve, exact, last):
    print("\n    step          energy ± standard error    relative error")
    for step in [0, *(10**k for k in range(1, 9) if 10**k < last), last]:
        i = int(np.searchsorted(curve["steps"], step))
        energy, error = curve["Loss"][i], curve["Loss/error"][i]
        print(
            f"{curve['steps'][i]:8.0f}{energy:16.10f} ± {error:.1e}"
            f"{(energy - exact) / abs(exact):22.2e}"
        )
    print()


def print_widths(infinite, curves, last):
    """Energies of networks less those at infinite width."""
    if not curves:
        return
    steps = np.unique([0, last // 10, last // 3, last])
    print("\nenergy per |E at infinite width| less 1, after step")
    print("   width" + "".join(f"{step:>24}" for step in steps))
    at = np.searchsorted(infinite["steps"], steps)
    scale = np.abs(infinite["Loss"][at])
    for width, curve in curves.items():
        gap = (curve["Loss"][steps] - infinite["Loss"][at]) / scale
        error = np.hypot(curve["Loss/error"][steps], infinite["Loss/error"][at]) / scale
        print(
            f"{width:8d}" + "".join(f"{g:15.2e} ± {e:.0e}" for g, e in zip(gap, error, strict=True))
        )


def plot(figures, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(figures), figsize=(5.2 * len(figures), 4), layout="constrained", squeeze=False
    )
    for ax, (title, (infinite, finite)) in zip(axes[0], figures.items(), strict=True):
        qs.plot.training_curves({"infinite width": infinite}, finite, keys=("energy",), axes=ax)
        ax.set_yscale("log")
        ax.set_ylabel("(E - E exact) / |E exact|")
        ax.set_title(title)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")


if __name__ == "__main__":
    main()

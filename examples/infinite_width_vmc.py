"""Infinite-width VMC: ground states from the kernel alone, beside finite networks and exact diagonalisation.

The energy ⟨ψ|H|ψ⟩/⟨ψ|ψ⟩ of an infinitely wide network is minimised in function space: ψ ← ψ - ηΘ ∂E/∂ψ, with
initial wave functions drawn from the network's Gaussian process. Sums go over the whole basis, so there is no
sampling noise, and the kernel of 65,536 configurations is never stored. Finite CosNets of growing width take the
same steps with the same optimiser. On the ring's 924 configurations the widest follows the infinite one within its
error for some forty steps; then its kernel has moved toward the ground state, and it is faster. On the 65,536 of the
square lattice these widths are far too small for the limit: they show what it is compared with.

  tfim        4×4 sites, periodic, -Σ σzσz - 3 Σ σx (near the critical field of the square lattice)
  heisenberg  12-site ring in the sector of zero magnetisation, in the basis rotated by Marshall's sign rule
"""

import argparse
import time

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Roughness of the functions (σ_w) that suits the ground state; a learning rate that rises where its limit does, as it
# can toward the Ising ground state; as many networks, draws and steps as take a minute or two on two cores.
DEFAULTS = {
    "tfim": {
        "sigma_w": 3.5,
        "members": 2,
        "draws": 4,
        "finite_steps": 30,
        "rise": 30.0,
        "widths": (32, 64, 128),
    },
    "heisenberg": {
        "sigma_w": 3.0,
        "members": 8,
        "draws": 32,
        "finite_steps": 100,
        "rise": 1.0,
        "widths": (32, 128, 512),
    },
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=["tfim", "heisenberg"], default=["tfim", "heisenberg"])
    add("--tfim-size", default="4x4", help="lattice of the transverse-field Ising model")
    add("--sites", type=int, default=12, help="sites of the Heisenberg ring")
    add("--steps", type=int, default=2000, help="steps at infinite width")
    add(
        "--widths",
        nargs="*",
        type=int,
        help="of finite networks (default: 32, 64, 128 and 32, 128, 512)",
    )
    add("--members", type=int, help="networks of each width (default: 2 and 8 for the two models)")
    add("--finite-steps", type=int, help="steps of finite networks (default: 30 and 100)")
    add("--draws", type=int, help="initial states at infinite width (default: 4 and 32)")
    add("--sigma-w", type=float, help="of the first layer (default: 3.5 and 3)")
    add(
        "--rate", type=float, default=0.3, help="learning rate as a fraction of the stability limit"
    )
    add("--rise", type=float, help="growth of the learning rate in the run (default: 30 and 1)")
    add("--momentum", type=float, default=0.0)
    add("--seed", type=int, default=0)
    add("--plot", default="infinite_width_vmc.png", help="file of the figure, '' for none")
    return parser.parse_args()


def hamiltonian_of(model, args):
    if model == "tfim":
        extent = [int(n) for n in args.tfim_size.split("x")]
        hilbert = nk.hilbert.Spin(0.5, int(np.prod(extent)))
        graph = nk.graph.Grid(extent, pbc=[side > 2 for side in extent])
        return nk.operator.Ising(hilbert, graph, h=3.0, J=-1.0)
    hilbert = nk.hilbert.Spin(0.5, args.sites, total_sz=0)
    return nk.operator.Heisenberg(hilbert, nk.graph.Chain(args.sites), sign_rule=True)


def stable_rate(hamiltonian, state, seed):
    """The learning rate at which descent from a drawn wave function just does not overshoot."""
    loss = qs.losses.Energy(hamiltonian)
    flow = qs.dynamics.FunctionSpaceFlow(state.kernel, loss, learning_rate=1.0)
    return flow.max_learning_rate(state.sample(1, seed)[0])


def main():
    args = parse_arguments()
    figures = {}
    for model in args.models:
        settings = argparse.Namespace(**vars(args))
        for name, value in DEFAULTS[model].items():
            if getattr(args, name) is None:
                setattr(settings, name, value)
        hamiltonian = hamiltonian_of(model, args)
        hilbert = hamiltonian.hilbert
        exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
        sigma_w = settings.sigma_w
        print(f"\n{model}: {hilbert.n_states} states, exact ground state energy {exact:.10f}")

        def network(width, sigma_w=sigma_w):
            return qs.models.CosNet(width, sigma_a=1.0, sigma_w=sigma_w, parts="real")

        state = qs.vqs.InfiniteState(hilbert, network(1))
        rate = args.rate * stable_rate(hamiltonian, state, args.seed)
        rates = optax.linear_schedule(rate, settings.rise * rate, min(args.steps, 1000))
        optimizer = optax.sgd(rates, momentum=args.momentum or None)
        print(
            f"CosNet, σ_w = {sigma_w:.2f}; learning rate {rate:.3g}, rising {settings.rise:g} times"
        )

        clock = time.perf_counter()
        infinite = qs.driver.InfiniteWidthDriver(
            hamiltonian,
            optimizer,
            variational_state=state,
            n_members=settings.draws,
            seed=args.seed,
        )
        steps = np.unique(
            np.append(np.geomspace(1, args.steps, 40).astype(int), [0, settings.finite_steps])
        )
        curves = {"infinite width": infinite.predict(steps)}
        print(f"infinite width: {args.steps} steps in {time.perf_counter() - clock:.1f} s")
        for width in settings.widths:
            clock = time.perf_counter()
            curves[f"width {width}"] = trained(hamiltonian, optimizer, network(width), settings)
            print(
                f"width {width:<8}: {settings.finite_steps} steps in {time.perf_counter() - clock:.1f} s"
            )
        print_table(curves, exact, settings)
        figures[model] = curves, exact
    if args.plot:
        draw(figures, args.plot)


def trained(hamiltonian, optimizer, net, args):
    """Energies of finite networks, logged at every step."""
    vs = qs.vqs.EnsembleState(hamiltonian.hilbert, net, n_members=args.members, seed=args.seed)
    driver = qs.driver.QSNTKDriver(hamiltonian, optimizer, variational_state=vs)
    log = nk.logging.RuntimeLog()
    driver.run(args.finite_steps + 1, out=log, show_progress=False)
    history = log.data["Loss"]
    return {"steps": np.asarray(history.iters), "Loss": history.Mean, "Loss/error": history.Sigma}


def print_table(curves, exact, args):
    steps = np.unique(np.geomspace(1, args.finite_steps, 6).astype(int))
    steps = np.append(steps, args.steps)
    print("relative error of the energy (standard error over members)")
    print("    step" + "".join(f"{name:>24}" for name in curves))
    for step in steps:
        line = f"{step:8d}"
        for curve in curves.values():
            at = int(np.searchsorted(curve["steps"], step))
            if at == len(curve["steps"]):
                line += f"{'':>24}"
                continue
            error = (curve["Loss"][at] - exact) / abs(exact)
            line += f"{error:13.3e} ± {curve['Loss/error'][at] / abs(exact):.1e}".rjust(24)
        print(line)


def draw(figures, file):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(figures), figsize=(5.2 * len(figures), 4), layout="constrained", squeeze=False
    )
    for ax, (model, (curves, exact)) in zip(axes[0], figures.items(), strict=True):
        for colour, (name, curve) in zip(qs.plot.COLOURS, curves.items(), strict=False):
            # Rounding, which may be negative, is drawn at its own size.
            error = np.maximum((curve["Loss"] - exact) / abs(exact), 1e-15)
            spread = curve["Loss/error"] / abs(exact)
            ax.plot(curve["steps"] + 1, error, color=colour, label=name)
            ax.fill_between(
                curve["steps"] + 1, np.maximum(error - spread, error / 10), error + spread,
                color=colour, alpha=0.25, linewidth=0,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("optimiser step + 1")
        ax.set_ylabel("relative error of the energy")
        ax.set_title(model)
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    figure.savefig(file, dpi=150)
    print(f"\nfigure: {file}")


if __name__ == "__main__":
    main()

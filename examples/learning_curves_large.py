"""Learning curves on 2¹⁶ and 2²⁰ amplitudes: how the test loss falls with the size of the training set.

The transverse-field Ising quench of Fig. 3 of Luo & Halverson (arXiv:2112.00723) on 4×4 and 4×5 sites, a short and a
long time after the quench, learned by an infinitely wide network. L_μ is the loss of the ensemble's mean, in units of
1/2^d, the loss of ψ = 0: below one the mean knows something about amplitudes it has not seen. L_γ, the fluctuations
of single networks around it, does not depend on the target but on the scale of the initial networks (here far larger
than the target's amplitudes), and is averaged over a few draws. No kernel is stored.
"""

import argparse
import time

import numpy as np

import netket_qsntk as qs


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", default=["4x4", "4x5"], help="lattices")
    add("--times", nargs="+", type=float, default=[0.3, 2.1], help="times after the quench")
    add("--fractions", nargs="+", type=float, default=[1 / 64, 1 / 16, 1 / 4, 3 / 4],
        help="training sets as fractions of the basis")  # fmt: skip
    add("--steps", type=int, default=10_000, help="the finite number of steps")
    add("--draws", type=int, default=4, help="random initial networks for the fluctuations")
    add("--sigma-w", type=float, default=0.25)
    add("--sigma-b", type=float, default=0.01)
    add("--seed", type=int, default=1, help="of the training sets")
    add("--plot", default="learning_curves_large.png", help="file of the figure, '' for none")
    return parser.parse_args()


def losses(kernel, target, n_train, args):
    """Test losses at the steps and at ∞ in units of 1/2^d: L_μ (2,), L_γ (2,), standard error of L_γ (2,)."""
    train, test = target.split(n_train, args.seed)
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    dynamics = qs.dynamics.LinearDynamics(
        kernel, train, learning_rate=rate, solver="products", n_draws=args.draws
    )
    found = dynamics.losses([args.steps, np.inf], test)
    numbers = (found.L_mu, found.L_gamma, found.L_gamma_error)
    return [target.n_states * np.asarray(number) for number in numbers]


def main():
    args = parse_arguments()
    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=args.sigma_w, sigma_b=args.sigma_b
    )
    kernel = qs.kernels.infinite_width(net)
    figures = {}
    for size in args.sizes:
        extent = tuple(int(n) for n in size.split("x"))
        curves = {}
        for t in args.times:
            target = qs.targets.tfim_quench(extent=extent, time=t)
            print(f"\n{size}, t = {t:g}: {target}")
            header = (f"L_μ, {args.steps} steps", 20), ("L_μ, ∞", 12), ("L_γ, ∞", 20), ("time", 11)
            print(f"{'n_train':>11}" + "".join(f"{name:>{width}}" for name, width in header))
            names = [f"infinite width, t = {t:g}, {when}" for when in (f"{args.steps} steps", "∞")]
            for name in names:
                curves[name] = {"n_train": [], "loss": []}
            for fraction in args.fractions:
                clock = time.perf_counter()
                n_train = int(fraction * target.n_states)
                l_mu, l_gamma, error = losses(kernel, target, n_train, args)
                print(
                    f"{n_train:11d}{l_mu[0]:20.4f}{l_mu[1]:12.4f}{l_gamma[1]:12.4f} ± {error[1]:.3f}"
                    f"{time.perf_counter() - clock:9.1f} s",
                    flush=True,
                )
                for name, loss in zip(names, l_mu, strict=True):
                    curves[name]["n_train"].append(n_train)
                    curves[name]["loss"].append(loss)
        figures[size] = curves
    if args.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(
            1, len(figures), figsize=(5.2 * len(figures), 4), layout="constrained", squeeze=False
        )
        for ax, (size, curves) in zip(axes[0], figures.items(), strict=True):
            qs.plot.learning_curves(curves, ax=ax)
            ax.set_xscale("log")
            ax.axhline(1.0, color="0.5", linestyle=":", linewidth=1)
            ax.set_ylabel("test loss of the mean × number of basis states")
            ax.set_title(f"tfim {size}")
        figure.savefig(args.plot, dpi=150)
        print(f"\nfigure: {args.plot}")


if __name__ == "__main__":
    main()

"""Learning curves of large bases: what more amplitudes teach, shortly after a quench and late.

Fig. 3 of Luo & Halverson (arXiv:2112.00723) shows how the test loss falls with the size of the training set, on a
basis of 4096 states. On spins the kernel is a function of the Hamming distance, products with it are two
Walsh-Hadamard transforms, and the same curves can be had for 2¹⁶ and 2²⁰ states at infinite width: after a number of
steps, and after infinitely many. Losses are given per mean square amplitude, so that 1 is what the guess ψ = 0
costs. Their part L_μ is the error of the average network, the rest is the spread of single networks about it.
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
    add("--sizes", nargs="+", default=["4x4", "4x5"], help="lattices of the Ising model")
    add("--times", nargs="+", type=float, default=[0.3, 2.1], help="times after the quench")
    add("--fractions", nargs="+", type=float, default=[0.05, 0.15, 0.4, 0.8], help="of the basis")
    add("--steps", type=int, default=10_000, help="training steps, beside infinitely many")
    add("--sigma-w", type=float, default=0.25)
    add("--sigma-b", type=float, default=0.01)
    add(
        "--rate", type=float, default=0.9, help="learning rate as a fraction of the stability limit"
    )
    add("--draws", type=int, default=2, help="random initial functions for the spread")
    add("--tolerance", type=float, default=1e-6, help="relative error of the curves")
    add("--seed", type=int, default=1, help="of the training split")
    add("--plot", default="large_learning_curves.png", help="file of the figure, '' for none")
    return parser.parse_args()


def test_losses(kernel, target, n_train, args):
    """Test losses per mean square amplitude after the steps and after infinitely many."""
    train, test = target.split(n_train, args.seed)
    dynamics = qs.dynamics.LinearDynamics(
        kernel,
        train,
        learning_rate=args.rate * qs.kernels.max_learning_rate(kernel, train.states),
        solver="products",
        n_draws=args.draws,
        tolerance=args.tolerance,
    )
    losses = dynamics.losses([args.steps, np.inf], test)
    mean, total, error = losses.L_mu, losses.total, losses.L_gamma_error
    return [np.asarray(x) * target.n_states for x in (mean, total, error)]


def main():
    args = parse_arguments()
    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=args.sigma_w, sigma_b=args.sigma_b
    )
    kernel = qs.kernels.infinite_width(net)
    start, figures = time.perf_counter(), {}
    for size in args.sizes:
        extent = tuple(int(n) for n in size.split("x"))
        for quench_time in args.times:
            target = qs.targets.tfim_quench(extent=extent, time=quench_time)
            title = f"tfim {size}, t = {quench_time:g}"
            print(f"\n{title}: {target.n_states} amplitudes")
            print(f"{'':>12}{f'{args.steps} steps':>36}{'infinitely many':>36}")
            print(f"{'training':>12}" + 2 * f"{'average':>12}{'single networks':>24}")
            curves = figures[title] = {
                name: {"n_train": [], "loss": [], "error": []}
                for name in (
                    f"infinite width, {args.steps} steps",
                    "infinite width, ∞ steps",
                    f"infinite width, average, {args.steps} steps",
                    "infinite width, average, ∞ steps",
                )
            }
            for fraction in args.fractions:
                n_train = round(fraction * target.n_states)
                mean, total, error = test_losses(kernel, target, n_train, args)
                print(
                    f"{n_train:12d}"
                    + "".join(
                        f"{m:12.3e}{t:14.3e} ± {e:.0e}"
                        for m, t, e in zip(mean, total, error, strict=True)
                    ),
                    flush=True,
                )
                rows = zip([*total, *mean], [*error, 0, 0], strict=True)
                for curve, (loss, spread) in zip(curves.values(), rows, strict=True):
                    curve["n_train"].append(n_train)
                    curve["loss"].append(loss)
                    curve["error"].append(spread)
    print(f"\ntotal: {time.perf_counter() - start:.1f} s")
    if args.plot:
        plot(figures, args.plot)


def plot(figures, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(figures), figsize=(3.6 * len(figures), 4.2), layout="constrained",
        squeeze=False, sharey=True,
    )  # fmt: skip
    for ax, (title, curves) in zip(axes[0], figures.items(), strict=True):
        qs.plot.learning_curves(curves, ax=ax).set_title(title)
        ax.axhline(1, color="0.5", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_ylabel("")
        handles, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
    axes[0, 0].set_ylabel("test loss / mean square amplitude")
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")


if __name__ == "__main__":
    main()

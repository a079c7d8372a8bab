"""Gradient descent, Bayesian inference, and finite networks: three ways to learn from the same amplitudes.

An infinitely wide network that is trained to the end by gradient descent answers with the NTK, and the Bayesian
posterior of the same prior with the NNGP kernel (which is also what training the readout alone gives). Both have a
mean and a variance. Ensembles of finite networks are trained beside them, all parameters and the readout alone, and
approach the one and the other as the width grows (Luo & Halverson, arXiv:2112.00723, Eqs. 14-18).

Losses are on the test set: of the average network (without bias: the spread of the members is taken off) and the
spread of single networks about it.
"""

import argparse
import sys
import time

import numpy as np
import optax

import netket_qsntk as qs


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", default="2x4", help="lattice of the quenched Ising model")
    add("--time", type=float, default=0.3, help="time after the quench")
    add("--fraction", type=float, default=0.25, help="of the basis, for training")
    add("--widths", nargs="*", type=int, default=[32, 128, 512], help="of the finite networks")
    add("--members", type=int, default=12, help="networks of each width")
    add("--steps", type=int, default=300, help="training steps of the networks")
    add("--sigma-w", type=float, default=2.5)
    add("--momentum", type=float, default=0.9)
    add(
        "--rate", type=float, default=0.2, help="learning rate as a fraction of the stability limit"
    )
    add("--seed", type=int, default=1)
    add("--plot", default="training_and_inference.png", help="file of the figure, '' for none")
    return parser.parse_args()


def network(width, args):
    return qs.models.CosNet(width, sigma_a=0.1, sigma_w=args.sigma_w)


def of_members(psi, amplitudes):
    """(loss of the average, its error, spread, its error) of members' test amplitudes (members, n)."""
    members = len(psi)
    spread = np.mean(np.var(psi, axis=0, ddof=1))
    of_average = np.mean(np.abs(psi.mean(0) - amplitudes) ** 2) - spread / members
    # Jackknife: what leaving out one member changes.
    left = [np.delete(psi, i, axis=0) for i in range(members)]
    spreads = np.array([np.mean(np.var(p, axis=0, ddof=1)) for p in left])
    averages = np.array([np.mean(np.abs(p.mean(0) - amplitudes) ** 2) for p in left])
    averages = averages - spreads / (members - 1)
    scale = (members - 1) / members**0.5
    return of_average, scale * averages.std(), spread, scale * spreads.std()


def main():
    args = parse_arguments()
    start = time.perf_counter()
    extent = tuple(int(n) for n in args.size.split("x"))
    target = qs.targets.tfim_quench(extent=extent, time=args.time)
    n_train = round(args.fraction * target.n_states)
    train, test = target.split(n_train, args.seed)
    unit = target.n_states  # losses per mean square amplitude
    print(f"{target}, {n_train} for training; test losses per mean square amplitude")

    rows = {}
    for trainable, limit in (("all", "NTK"), ("readout", "NNGP")):
        kernel = qs.kernels.infinite_width(network(1, args), trainable)
        rate = args.rate * qs.kernels.max_learning_rate(kernel, train.states)
        optimizer = optax.sgd(rate, momentum=args.momentum)
        dynamics = qs.dynamics.LinearDynamics(kernel, train, optimizer=optimizer)
        losses = dynamics.losses([args.steps, np.inf], test)
        for i, steps in enumerate((args.steps, "∞")):
            name = f"{trainable}, infinite width, {steps} steps"
            rows[name] = losses.L_mu[i], 0, losses.L_gamma[i], 0
        for width in args.widths:
            vs = qs.vqs.EnsembleState(target.hilbert, network(width, args), args.members, args.seed)
            driver = qs.driver.QSNTKDriver(
                target, optimizer, variational_state=vs, n_train=n_train, seed=args.seed,
                trainable=trainable, evaluate_every=args.steps,
            )  # fmt: skip
            driver.run(args.steps, show_progress=sys.stderr.isatty())
            psi = np.asarray(driver.state.to_array(normalize=False))
            index = target.split_indices(n_train, args.seed)[1]
            rows[f"{trainable}, width {width}"] = of_members(psi[:, index], test.amplitudes)
        print(f"{trainable} parameters ({limit}): {time.perf_counter() - start:.1f} s", flush=True)
    posterior = qs.dynamics.Posterior(qs.kernels.infinite_width(network(1, args)), train)
    error = np.mean(np.abs(posterior.mean(test.states) - test.amplitudes) ** 2)
    rows["Bayesian posterior"] = error, 0, np.mean(posterior.variance(test.states)), 0

    print(f"\n{'':<38}{'of the average network':>26}{'spread of networks':>26}")
    for name, row in rows.items():
        mean, mean_error, spread, spread_error = (unit * np.asarray(x) for x in row)
        print(f"{name:<38}{_number(mean, mean_error):>26}{_number(spread, spread_error):>26}")
    if args.plot:
        plot(rows, unit, args)
    print(f"total: {time.perf_counter() - start:.1f} s")


def _number(value, error):
    return f"{value:.4f}" + (f" ± {error:.4f}" if error else "         ")


def plot(rows, unit, args):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.9), layout="constrained")
    parts = zip(axes, (0, 2), ("loss of the average network", "spread of networks"), strict=True)
    for ax, part, title in parts:
        for colour, trainable, label in zip(
            qs.plot.COLOURS, ("all", "readout"), ("all parameters", "the readout"), strict=False
        ):
            limit = rows[f"{trainable}, infinite width, {args.steps} steps"]
            ax.axhline(unit * limit[part], color=colour, label=f"infinite width, {label}")
            values = [rows[f"{trainable}, width {w}"] for w in args.widths]
            ax.errorbar(
                args.widths, [unit * v[part] for v in values],
                [unit * v[part + 1] for v in values], fmt="o", color=colour, capsize=2,
                label=f"networks, {label}",
            )  # fmt: skip
        posterior = rows["Bayesian posterior"][part]
        ax.axhline(unit * posterior, color="0.2", linestyle=":", label="Bayesian posterior")
        ax.set_xscale("log")
        ax.set_xticks(args.widths, [str(width) for width in args.widths])
        ax.minorticks_off()
        ax.set_xlabel("width")
        ax.set_title(title)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("test loss / mean square amplitude")
    axes[1].legend(frameon=False)
    figure.savefig(args.plot, dpi=150)
    print(f"figure: {args.plot}")


if __name__ == "__main__":
    main()

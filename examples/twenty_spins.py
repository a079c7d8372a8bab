"""Twenty spins: the training curve of an infinitely wide network on a million amplitudes.

A quench of the transverse-field Ising model on 4×5 sites has 2²⁰ amplitudes; 600,000 of them are the training set,
whose kernel would take 2.9 TB as a matrix. On spins the kernel depends on the Hamming distance alone, so a product
with it is two Walsh-Hadamard transforms, and the curve (10,000 steps and infinitely many, training and test loss)
takes some hundred products. The fluctuations over initial networks are averaged over random draws; their standard
error is printed and drawn.

  twenty_spins.py                               4×5 sites, 600,000 of 1,048,576 amplitudes
  twenty_spins.py --size 4x6 --n-train 0        24 spins, the whole basis: exact, no draws
  twenty_spins.py --size 3x4 --n-train 2400     seconds
"""

import argparse
import resource
import time

import numpy as np
import optax

import netket_qsntk as qs


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", default="4x5", help="lattice, for instance 4x5")
    add("--n-train", type=int, default=600_000, help="training amplitudes; 0 for the whole basis")
    add("--steps", type=int, default=10_000, help="last step of the curve, before infinity")
    add("--time", type=float, default=2.1, help="time after the quench")
    add("--sigma-w", type=float, default=0.25)
    add("--sigma-b", type=float, default=0.01)
    add(
        "--rate", type=float, default=0.9, help="learning rate as a fraction of the stability limit"
    )
    add("--seed", type=int, default=1, help="of the training split")
    add("--plot", default="twenty_spins.png", help="file of the figure, '' for none")
    return parser.parse_args()


def stopwatch():
    """A function that prints how long it took since its last call; and when it was made."""
    start = last = time.perf_counter()

    def report(what):
        nonlocal last
        now = time.perf_counter()
        print(f"{what:<46}{now - last:8.1f} s", flush=True)
        last = now

    return report, start


def main():
    args = parse_arguments()
    report, start = stopwatch()
    extent = tuple(int(n) for n in args.size.split("x"))
    target = qs.targets.tfim_quench(extent=extent, time=args.time)
    report(f"exact evolution of {target.n_states} amplitudes")

    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=args.sigma_w, sigma_b=args.sigma_b
    )
    state = qs.vqs.InfiniteState(target.hilbert, net)
    n_train = args.n_train or None
    states = target.split(n_train or target.n_states, args.seed)[0].states
    rate = args.rate * qs.kernels.max_learning_rate(state.kernel, states)
    del states
    report(f"learning rate {rate:.4g}")

    driver = qs.driver.InfiniteWidthDriver(
        target, optax.sgd(rate), variational_state=state, n_train=n_train, seed=args.seed
    )
    print(driver.dynamics)
    report("kernel operator")
    steps = np.unique(np.append(np.geomspace(1, args.steps, 60).astype(int), 0))
    curve = driver.predict(np.append(steps, np.inf))
    report(f"train and test curves to step {args.steps} and ∞")

    print_table(curve)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\ntotal {time.perf_counter() - start:.1f} s, peak memory {memory:.2f} GB")
    if args.plot:
        keys = ("loss/train", "loss/test") if n_train else ("loss/train",)
        axes = qs.plot.training_curves({"infinite width": curve}, keys=keys)
        for ax, key in zip(axes, keys, strict=True):
            if curve[key][-1] > curve[key][-2] / 100:
                ax.axhline(curve[key][-1], color="0.4", linestyle="--", label="after ∞ steps")
        axes[-1].legend(frameon=False)
        axes[0].figure.suptitle(
            f"tfim {args.size}, {driver.n_train} of {target.n_states} amplitudes"
        )
        axes[0].figure.savefig(args.plot, dpi=150)
        print(f"figure: {args.plot}")


def print_table(curve):
    keys = [key for key in ("loss/train", "loss/test", "fidelity") if key in curve]
    print("\n    step" + "".join(f"{key:>26}" for key in keys))
    rows = np.unique(
        np.append(np.arange(0, len(curve["steps"]), 8), [-2, -1]) % len(curve["steps"])
    )
    for i in rows:
        line = f"{curve['steps'][i]:8.0f}"
        for key in keys:
            error = curve.get(f"{key}/error")
            line += f"{curve[key][i]:14.4e}" + (
                "" if error is None else f" ± {error[i]:.1e}"
            ).ljust(12)
        print(line)


if __name__ == "__main__":
    main()

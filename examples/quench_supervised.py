"""Predict, then train: wide networks learn a quenched state.

A state is evolved exactly after a quench (the paper's two models), a few thousand of its amplitudes are shown to
an ensemble of wide networks, and three drivers say how the loss falls:

  infinite   networks of infinite width, in closed form, averaged over all initialisations
  linear     the linearisation of the very networks that are trained, in closed form
  finite     the networks, trained

The table compares them step by step; the figure is Fig. 2 of Luo & Halverson, arXiv:2112.00723.
"""

import argparse
import sys
import time

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=["tfim", "hubbard"], default="tfim",
        help="tfim: -Σ σzσz - 0.1 Σ σx from |+…+>, t = 2.1 (Eq. 19); hubbard: ground state at U = 4 evolved "
        "with U = 8, t = 2.1, 2+2 fermions (Eq. 20). Default: tfim")  # fmt: skip
    add("--size", default="3x4", help="lattice, for instance 3x4 (4096 TFIM states). Default: 3x4")
    add(
        "--network",
        choices=["mlp", "cosnet"],
        default="mlp",
        help="default: mlp (relu, as in the paper)",
    )
    add("--width", type=int, default=512, help="hidden units of each finite network (paper: 5000)")
    add("--members", type=int, default=5, help="networks in the ensemble (paper: 10)")
    add("--n-train", type=int, default=2400, help="training configurations (default: 2400)")
    add(
        "--steps",
        type=int,
        default=1000,
        help="training steps of the finite networks (paper: 10000)",
    )
    add(
        "--horizon",
        type=int,
        default=10_000,
        help="steps of the infinite-width curve (default: 10000)",
    )
    add(
        "--rate", type=float, default=0.9, help="learning rate as a fraction of the stability limit"
    )
    add("--seed", type=int, default=1, help="of the training split and of the networks")
    add("--no-linearized", action="store_true", help="leave the linearised networks out (faster)")
    add("--plot", default="quench_supervised.png", help="file of the figure, '' for none")
    return parser.parse_args()


def make_target(model, size):
    side, length = (int(n) for n in size.split("x"))
    if model == "tfim":
        return qs.targets.tfim_quench(extent=(side, length)), None
    return qs.targets.hubbard_quench(extent=(side, length), order=side), qs.encodings.fermion_sites


def main():
    args = parse_arguments()
    start = time.perf_counter()
    target, encoding = make_target(args.model, args.size)
    print(target)
    if args.network == "mlp":
        # The paper's N(0, 0.25) and N(0, 0.01), read as standard deviations in the NTK parametrisation.
        net = qs.models.WideMLP(
            widths=(args.width,), activation="relu", sigma_w=0.25, sigma_b=0.01, encoding=encoding
        )
    else:
        net = qs.models.CosNet(args.width, sigma_a=0.05, sigma_w=1.0, encoding=encoding)
    vs = qs.vqs.EnsembleState(target.hilbert, net, n_members=args.members, seed=args.seed)
    print(vs)

    kernel = qs.kernels.infinite_width(net)
    train, _ = target.split(args.n_train, args.seed)
    rate = args.rate * qs.kernels.max_learning_rate(kernel, train.states)
    print(f"learning rate {rate:.4g} = {args.rate:g} of the stability limit\n")
    options = {"variational_state": vs, "n_train": args.n_train, "seed": args.seed}

    clock = time.perf_counter()
    infinite = qs.driver.InfiniteWidthDriver(target, optax.sgd(rate), **options)
    steps = np.arange(args.horizon + 1)
    prediction = infinite.predict(np.append(steps, np.inf))
    print(f"infinite width: {args.horizon} steps in {time.perf_counter() - clock:.1f} s")

    predictions = {"infinite width": prediction}
    if not args.no_linearized:
        clock = time.perf_counter()
        linearized = qs.driver.LinearizedDriver(target, optax.sgd(rate), **options)
        predictions["linearised networks"] = linearized.predict(steps[: args.steps + 1])
        print(f"linearised:     {args.steps} steps in {time.perf_counter() - clock:.1f} s")

    clock = time.perf_counter()
    log = nk.logging.RuntimeLog()
    finite = qs.driver.QSNTKDriver(
        target, optax.sgd(rate), evaluate_every=max(1, args.steps // 100), **options
    )
    finite.run(args.steps + 1, out=log, show_progress=sys.stderr.isatty())
    print(f"finite:         {args.steps} steps in {time.perf_counter() - clock:.1f} s\n")

    print_table(predictions, log, args.steps)
    limit = prediction["loss/train"][-1], prediction["loss/test"][-1]
    print(f"\nafter infinitely many steps: training loss {limit[0]:.3e}, test loss {limit[1]:.3e}")
    if args.plot:
        axes = qs.plot.training_curves(predictions, {f"width {args.width}": log})
        name = {"tfim": "quenched Ising lattice", "hubbard": "quenched Hubbard lattice"}[args.model]
        axes[0].figure.suptitle(
            f"{name}, {args.size} sites: {args.n_train} of {target.hilbert.n_states} amplitudes, "
            f"{args.members} networks"
        )
        axes[0].figure.savefig(args.plot, dpi=150)
        print(f"figure: {args.plot}")
    print(f"total: {time.perf_counter() - start:.1f} s")


def print_table(predictions, log, last_step):
    history = log.data["loss/test"]
    measured = np.asarray(history.iters)
    wanted = np.unique(np.append(np.geomspace(1, last_step, 7).astype(int), 0))
    rows = np.unique(np.searchsorted(measured, wanted).clip(max=len(measured) - 1))
    names = list(predictions)
    print("          " + "".join(f"{name:>24}" for name in names) + f"{'finite networks':>24}")
    print("    step  " + f"{'train        test':>24}" * (len(names) + 1))
    for i in rows:
        step = measured[i]
        line = f"{step:8d}  "
        for name in names:
            curve = predictions[name]
            line += f"{curve['loss/train'][step]:13.3e}{curve['loss/test'][step]:11.3e}"
        train = log.data["loss/train"]
        j = int(np.searchsorted(np.asarray(train.iters), step))
        line += f"{train.Mean[j]:13.3e}{history.Mean[i]:11.3e}"
        print(line + f" ± {history.Sigma[i]:.1e}")


if __name__ == "__main__":
    main()

"""How the test loss falls with the size of the training set (Fig. 3 of Luo & Halverson, arXiv:2112.00723).

For each training size the infinite-width prediction costs one eigendecomposition; finite networks of the widths
asked for are trained beside it. Both models of the paper; results as a table and a figure.

On two cores the defaults take a few minutes. The paper's full run is
  learning_curves.py --widths 300 1000 5000 --members 10 --steps 10000
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
    add("--models", nargs="+", choices=["tfim", "hubbard"], default=["tfim", "hubbard"])
    add("--n-train", nargs="+", type=int, default=[2400, 3200, 4000], help="training sizes")
    add(
        "--widths",
        nargs="*",
        type=int,
        default=[300],
        help="finite widths; none for the prediction only",
    )
    add("--members", type=int, default=3, help="networks of each width (paper: 10)")
    add("--steps", type=int, default=1000, help="training steps (paper: 10000)")
    add(
        "--rate", type=float, default=0.9, help="learning rate as a fraction of the stability limit"
    )
    add("--splits", type=int, default=3, help="random training sets averaged in the prediction")
    add("--seed", type=int, default=1)
    add("--plot", default="learning_curves.png", help="file of the figure, '' for none")
    return parser.parse_args()


def network(width, encoding):
    return qs.models.WideMLP(
        widths=(width,), activation="relu", sigma_w=0.25, sigma_b=0.01, encoding=encoding
    )


def predicted(target, encoding, n_train, args):
    """Mean and standard error over splits of the infinite-width test loss after the steps, and at ∞."""
    rows = []
    for split in range(args.splits):
        seed = args.seed + split
        vs = qs.vqs.InfiniteState(target.hilbert, network(1, encoding))
        train, _ = target.split(n_train, seed)
        rate = args.rate * qs.kernels.max_learning_rate(vs.kernel, train.states)
        driver = qs.driver.InfiniteWidthDriver(
            target, optax.sgd(rate), variational_state=vs, n_train=n_train, seed=seed
        )
        rows.append(driver.predict([args.steps, np.inf])["loss/test"])
    rows = np.array(rows)
    error = rows.std(0, ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else np.zeros(2)
    return rows.mean(0), error, rate


def trained(target, encoding, width, n_train, rate, args):
    """Mean and standard error over members of the test loss of trained networks."""
    vs = qs.vqs.EnsembleState(
        target.hilbert, network(width, encoding), n_members=args.members, seed=args.seed
    )
    driver = qs.driver.QSNTKDriver(
        target, optax.sgd(rate), variational_state=vs, n_train=n_train,
        seed=args.seed + args.splits - 1, evaluate_every=args.steps,
    )  # fmt: skip
    log = nk.logging.RuntimeLog()
    driver.run(args.steps + 1, out=log, show_progress=sys.stderr.isatty())
    history = log.data["loss/test"]
    return history.Mean[-1], history.Sigma[-1]


def main():
    args = parse_arguments()
    figures = {}
    for model in args.models:
        if model == "tfim":
            target, encoding = qs.targets.tfim_quench(), None
        else:
            # Sites numbered along the side of length 3: the order decides the signs of the amplitudes.
            target, encoding = qs.targets.hubbard_quench(order=3), qs.encodings.fermion_sites
        print(f"\n{model}: {target}")
        curves = {
            name: {"n_train": [], "loss": [], "error": []}
            for name in (
                f"infinite width, {args.steps} steps",
                "infinite width, infinitely many steps",
                *(f"width {w}, {args.steps} steps" for w in args.widths),
            )
        }
        for n_train in args.n_train:
            clock = time.perf_counter()
            means, errors, rate = predicted(target, encoding, n_train, args)
            results = list(zip(means, errors, strict=True))
            results += [trained(target, encoding, w, n_train, rate, args) for w in args.widths]
            for (name, curve), (loss, error) in zip(curves.items(), results, strict=True):
                curve["n_train"].append(n_train)
                curve["loss"].append(loss)
                curve["error"].append(error)
                print(f"  n_train {n_train}  {name:<40} test loss {loss:.3e} ± {error:.1e}")
            print(f"  ({time.perf_counter() - clock:.0f} s)")
        figures[model] = curves
    if args.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(
            1, len(figures), figsize=(5 * len(figures), 4), layout="constrained", squeeze=False
        )
        for ax, (model, curves) in zip(axes[0], figures.items(), strict=True):
            qs.plot.learning_curves(curves, ax=ax).set_title(model)
        figure.savefig(args.plot, dpi=150)
        print(f"figure: {args.plot}")


if __name__ == "__main__":
    main()

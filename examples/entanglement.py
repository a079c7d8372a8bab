"""Entanglement of network ensembles: Fig. 1 of Luo & Halverson, and what theory adds to it.

Figure 1 (arXiv:2112.00723) measures the von Neumann entropy of half the sites in ensembles of CosNets
(σ_a = 10, σ_w = √(2d)), beside Page's value and the maximum. The second figure has three things that no
sampling reaches, or that sampling only checks:

  a, b. the crossover from area to volume law with σ_w, exact at 200 sites;
  c. the exact annealed entropy of networks of finite width, through measured points;
  d. quenched against annealed averages, and how the normalisation of the states enters.

The defaults take about a minute on two idle cores.
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib.pyplot as plt
import netket as nk
import numpy as np

import netket_qsntk as qs
from netket_qsntk import entanglement as ent
from netket_qsntk.plot import COLOURS

LINES = ("-", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", type=int, default=[4, 6, 8, 10, 12], help="numbers of spins")
    add("--widths", nargs="+", type=int, default=[400, 1000, 4000], help="widths in Fig. 1")
    add("--members", type=int, default=100, help="networks of each size and width")
    add("--sites", type=int, default=200, help="sites in the crossover")
    add("--draws", type=int, default=2000, help="networks and states drawn for panels c and d")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("."), help="folder of the figures")
    return parser.parse_args()


def paper_network(size, width):
    return qs.models.CosNet(width, sigma_a=10.0, sigma_w=math.sqrt(2 * size))


def figure_one(args):
    """Entropy against size, and what is missing to Page's value."""
    widths = [*args.widths, math.inf]
    table = ent.entropy_scaling(
        paper_network, args.sizes, widths, n_members=args.members, seed=args.seed
    )
    print(table)
    law = table.select(width=max(args.widths)).volume_law()
    print(
        f"volume law at width {max(args.widths)}: {law.slope:.4f} ± {law.slope_error:.4f} nats a "
        f"site "
        f"(ln 2 = {math.log(2):.4f})"
    )
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    reference = table.select(width=widths[0])
    axes[0].plot(args.sizes, reference.column("maximum"), "k:", label="maximum")
    axes[0].plot(args.sizes, reference.column("page"), "k-", label="Page")
    for i, width in enumerate(widths):
        colour, marker = COLOURS[i % len(COLOURS)], "osD^v<>*"[i % 8]
        rows = table.select(width=width)
        label = "infinite width" if math.isinf(width) else f"N = {width}"
        style = {"color": colour, "marker": marker, "markersize": 5, "capsize": 2, "label": label}
        mean, error = rows.column("mean"), rows.column("error")
        axes[0].errorbar(args.sizes, mean, error, linestyle="none", **style)
        # Side by side: at few sites the error bars are longer than the distances.
        beside = np.add(args.sizes, 0.15 * (i - (len(widths) - 1) / 2))
        axes[1].errorbar(beside, rows.column("page") - mean, error, linewidth=1, **style)
    axes[1].axhline(0, color="black", linewidth=0.8)
    axes[0].set_ylabel("von Neumann entropy of half the sites (nats)")
    axes[1].set_ylabel("Page value - entropy (nats)")
    axes[0].set_title(f"{args.members} members, mean ± standard error")
    axes[1].set_title("what finite width takes away")
    finish(axes, "number of sites d", args.out / "entanglement_figure_1.png", figure)


def annealed(d, sigma_w, part):
    """Exact annealed Rényi-2 of the infinitely wide CosNet; no wave function is held."""
    model = qs.models.CosNet(1, sigma_w=sigma_w)
    ensemble = ent.ensemble(model, nk.hilbert.Spin(0.5, d))
    return ent.annealed_renyi(ensemble, part, normalization="ratio")


def saturation(ax, args):
    """Half-system entropy against size: bounded at fixed σ_w, a volume law at σ_w = √(2d)."""
    sizes = np.unique(2 * np.geomspace(2, 2 * args.sites, 24).round().astype(int))
    for sigma_w, colour, line in zip((1, 2, 4, 8), COLOURS, LINES, strict=False):
        curve = [annealed(int(d), sigma_w, range(d // 2)) for d in sizes]
        ax.plot(sizes, curve, linestyle=line, color=colour, label=rf"$\sigma_w = {sigma_w}$")
    curve = [annealed(int(d), math.sqrt(2 * d), range(d // 2)) for d in sizes]
    ax.plot(sizes, curve, "k", label=r"$\sigma_w = \sqrt{2d}$")
    ax.axvline(args.sites, color="grey", linewidth=0.8, linestyle=":")
    ax.annotate(f" {args.sites} sites", (args.sites, 0.02), xycoords=("data", "axes fraction"))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("number of sites d")
    ax.set_ylabel("annealed $S_2$ of half the sites (nats)")
    ax.set_title("a. plateau (area law) and slope (volume law), exact")


def crossover(ax, args):
    """Half-system entropy against σ_w²/d at several sizes."""
    couplings = np.geomspace(1e-3, 5, 40)
    sizes = sorted({12, 50, args.sites, 4 * args.sites})
    for d, colour, line in zip(sizes, COLOURS, LINES, strict=False):
        half = range(d // 2)
        curve = [annealed(d, math.sqrt(x * d), half) for x in couplings]
        fraction = np.divide(curve, len(half) * math.log(2))
        ax.plot(couplings, fraction, linestyle=line, color=colour, label=f"{d} sites")
    ax.set_xscale("log")
    ax.set_xlabel(r"$\sigma_w^2/d$")
    ax.set_ylabel("annealed $S_2$ / maximum, half the sites")
    ax.set_title("b. one curve for all large systems")


def finite_width(ax, args, d=8):
    """The closed form in the width, through averages over networks."""
    hilbert, half = nk.hilbert.Spin(0.5, d), range(d // 2)
    expansion = ent.width_expansion(paper_network(d, 1), hilbert, half)
    widths = np.geomspace(1, 1000, 100)
    ax.plot(
        widths,
        [-expansion.log_ratio(n) for n in widths],
        color=COLOURS[0],
        label="exact at any width",
    )
    limit = expansion.log_ratio(math.inf)
    # In the logarithm the 1/N correction is additive.
    shown = widths[abs(expansion.correction) < widths]
    corrected = -limit - expansion.correction / shown
    ax.plot(shown, corrected, "--", color=COLOURS[1], label="1/N correction")
    ax.axhline(-limit, color="black", linewidth=0.8, linestyle=":", label="infinite width")
    measured = np.unique(np.geomspace(1, 1000, 7).round().astype(int))
    points = [measured_annealed(paper_network(d, int(n)), hilbert, half, args) for n in measured]
    ax.errorbar(
        measured, *np.transpose(points), fmt="o", markersize=4, capsize=2, color=COLOURS[2],
        label=f"{args.draws} networks",
    )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlabel("width N")
    ax.set_ylabel(r"$-\log\, E\,\mathrm{Tr}\tilde\rho^2 / E\,(\mathrm{Tr}\tilde\rho)^2$ (nats)")
    ax.set_title(f"c. finite width, exact ({d} sites)")
    print(
        f"{d} sites: within 1 % of the infinite-width purity from N = "
        f"{expansion.width_within(0.01)}"
    )


def measured_annealed(model, hilbert, half, args):
    """-log of the ratio of averages over networks, and its error by the delta method."""
    psi = ent.draw_members(model, hilbert, args.draws, args.seed)
    norm = np.sum(np.abs(psi) ** 2, axis=1) ** 2
    purity = norm * ent.purity(psi, hilbert, half)
    ratio = purity.mean() / norm.mean()
    scatter = purity / purity.mean() - norm / norm.mean()
    return -math.log(ratio), scatter.std(ddof=1) / math.sqrt(args.draws)


def quenched_annealed(ax, args, d=8):
    """Average of the entropy, entropy of the average, with the states normalised or not."""
    hilbert, half = nk.hilbert.Spin(0.5, d), range(d // 2)
    couplings = np.geomspace(0.02, 3, 49)
    ensembles = [
        ent.gaussian_ensemble(qs.models.CosNet(1, sigma_w=math.sqrt(x * d)), hilbert)
        for x in couplings
    ]
    draws = [
        ent.entropies(ent.sample_wavefunctions(e, args.draws, args.seed), hilbert, half, n=2)
        for e in ensembles[::4]
    ]
    ax.errorbar(
        couplings[::4], np.mean(draws, axis=1), np.std(draws, axis=1, ddof=1) / math.sqrt(args.draws),
        fmt="o", markersize=4, capsize=2, color=COLOURS[2], label="quenched, drawn",
    )  # fmt: skip
    labels = {"exact": "annealed, normalised states", "ratio": "annealed, ratio of averages"}
    for (normalization, label), colour, style in zip(labels.items(), COLOURS, "-:", strict=False):
        curve = [ent.annealed_renyi(e, half, normalization=normalization) for e in ensembles]
        ax.plot(couplings, curve, style, color=colour, label=label)
    ax.set_xscale("log")
    ax.set_xlabel(r"$\sigma_w^2/d$")
    ax.set_ylabel("$S_2$ of half the sites (nats)")
    ax.set_title(f"d. quenched and annealed ({d} sites)")


def finish(axes, xlabel, path, figure):
    for ax in axes:
        if xlabel:
            ax.set_xlabel(xlabel)
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")


def main():
    args = parse_arguments()
    clock = time.perf_counter()
    figure_one(args)
    print(f"({time.perf_counter() - clock:.0f} s)")
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    saturation(axes[0, 0], args)
    crossover(axes[0, 1], args)
    finite_width(axes[1, 0], args)
    quenched_annealed(axes[1, 1], args)
    finish(axes.flat, None, args.out / "entanglement_theory.png", figure)
    print(f"({time.perf_counter() - clock:.0f} s)")


if __name__ == "__main__":
    main()

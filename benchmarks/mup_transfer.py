"""Does one learning rate serve all widths? parametrization="mup", "ntk" and "standard" in VMC and VMC_SR.

The transverse-field Ising ring of 8, summed over the basis; networks of log ψ with one hidden layer at several
widths. The *coordinate check*: how far hidden units (root mean square) and the part of log ψ that is even under the
spin flip move in the first five steps of VMC at one rate; neither may depend on the width. *Transfer*: the rate with
the lowest energy after ``--steps`` steps at each width, and the error at each width with the best rate of the
smallest one, for VMC (gradient descent) and for VMC_SR at one shift.
"""

import argparse

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax.flatten_util import ravel_pytree

import netket_qsntk as qs
from benchmarks.timing import machine

PARAMETRIZATIONS = ("mup", "ntk", "standard")


class Problem:
    """Energies of log ψ on the whole basis of an Ising ring."""

    def __init__(self, sites):
        self.hilbert = nk.hilbert.Spin(0.5, sites)
        hamiltonian = nk.operator.IsingJax(self.hilbert, nk.graph.Chain(sites), h=1.0, J=-1.0)
        self.matrix = jnp.asarray(hamiltonian.to_dense())
        self.exact = float(np.linalg.eigvalsh(self.matrix)[0])
        self.x = jnp.asarray(self.hilbert.all_states())


def network(width, parametrization):
    return qs.models.WideMLP(
        widths=(width,), activation="erf", sigma_w=1.5, sigma_b=0.3, parts="real", output="log_psi",
        parametrization=parametrization,
    )  # fmt: skip


def make_run(problem, model, seed, steps):
    """η -> energies (steps,) of VMC; (η, λ) -> those of VMC_SR; η -> changes of hidden units and even log ψ."""
    x, matrix = problem.x, problem.matrix
    start, back = ravel_pytree(model.init(jax.random.key(seed), x)["params"])

    def log_psi(v, x=x):
        return model.apply({"params": back(v)}, x).real

    def energy(v):
        psi = jnp.exp(log_psi(v) - jnp.max(log_psi(v)))
        return psi @ (matrix @ psi) / (psi @ psi)

    def natural(v, gradient, shift):
        # (S+λ)⁻¹g = (g - Jᵀ(T+λ)⁻¹J g)/λ: n × n matrices at any width.
        p = jax.nn.softmax(2 * log_psi(v))
        rows = jax.vmap(lambda one: jax.grad(lambda v: log_psi(v, one[None])[0])(v))(x)
        rows = jnp.sqrt(p)[:, None] * (rows - p @ rows)
        kernel = rows @ rows.T + shift * jnp.eye(len(x))
        solved = jax.scipy.linalg.solve(kernel, rows @ gradient, assume_a="pos")
        return (gradient - rows.T @ solved) / shift

    @jax.jit
    def descend(rate):
        def one(v, _):
            value, gradient = jax.value_and_grad(energy)(v)
            return v - rate * gradient, value

        return jax.lax.scan(one, start, None, length=steps)[1]

    @jax.jit
    def natural_descend(rate, shift):
        def one(v, _):
            value, gradient = jax.value_and_grad(energy)(v)
            return v - rate * natural(v, gradient, shift), value

        return jax.lax.scan(one, start, None, length=steps)[1]

    def hidden(v):
        _, kept = model.apply({"params": back(v)}, x, mutable=["intermediates"])
        return kept["intermediates"]["real"]["readout"]["input"][0]

    def even(v):
        # What the energy asks for: the odd part only loses what it started with, one over √width.
        return (log_psi(v) + model.apply({"params": back(v)}, -x).real) / 2

    def moved(rate, number=5):
        v = start
        for _ in range(number):
            v = v - rate * jax.grad(energy)(v)
        return tuple(float(jnp.sqrt(jnp.mean((f(v) - f(start)) ** 2))) for f in (hidden, even))

    return descend, natural_descend, moved


def errors(run, rates, exact):
    """Relative error at the end of each run, ∞ where it is no number."""
    found = np.array([float(run(rate)[-1]) for rate in rates])
    return np.where(np.isfinite(found), np.abs(found - exact) / abs(exact), np.inf)


def draw(file, curves, rates, widths):
    """Error against rate, a panel for each driver and parametrisation."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(driver for driver, *_ in curves))
    figure, axes = plt.subplots(
        len(names),
        len(PARAMETRIZATIONS),
        figsize=(10, 5.6),
        layout="constrained",
        sharey="row",
        sharex=True,
    )
    for row, name in zip(axes, names, strict=True):
        for ax, parametrization in zip(row, PARAMETRIZATIONS, strict=True):
            for width, style in zip(widths, ("-o", "--s", "-.^", ":v"), strict=False):
                ax.loglog(
                    rates, curves[name, parametrization, width], style, ms=3, label=f"width {width}"
                )
            ax.set_title(f"{name}, {parametrization}", fontsize="medium")
            ax.grid(alpha=0.3)
        row[0].set_ylabel("relative error")
    for ax in axes[-1]:
        ax.set_xlabel("learning rate")
    axes[0][0].legend(frameon=False, fontsize="small")
    figure.savefig(file, dpi=150)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--shift", type=float, default=1e-2, help="diag_shift of VMC_SR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", default="", help="file of the figure")
    parser.add_argument("--quick", action="store_true", help="4 spins, widths 8 and 32")
    args = parser.parse_args()
    if args.quick:
        args.sites, args.widths, args.steps = 4, [8, 32], 8
    problem = Problem(args.sites)
    rates = 2.0 ** np.arange(-7, 2) if not args.quick else 2.0 ** np.arange(-6, 0, 2)
    print(machine())
    print(
        f"\nring of {args.sites}, {args.steps} steps, rates {rates[0]:.2g} … {rates[-1]:.2g} by factors of two\n"
    )
    print(
        f"{'':10}{'':10}{'width':>6}{'hidden':>9}{'log ψ':>9}{'best η':>9}{'error':>10}{'with the first':>16}"
    )
    curves = {}
    for parametrization in PARAMETRIZATIONS:
        for width in args.widths:
            descend, natural, moved = make_run(
                problem, network(width, parametrization), args.seed, args.steps
            )
            hidden, function = moved(0.02)
            runs = {"VMC": descend, "VMC_SR": lambda rate, run=natural: run(rate, args.shift)}
            for name, run in runs.items():
                found = curves[name, parametrization, width] = errors(run, rates, problem.exact)
                best = int(np.argmin(found))
                first = int(np.argmin(curves[name, parametrization, args.widths[0]]))
                check = f"{hidden:9.1e}{function:9.1e}" if name == "VMC" else " " * 18
                print(
                    f"{parametrization:10}{name:10}{width:6}{check}{rates[best]:9.3g}{found[best]:10.1e}"
                    f"{found[first]:16.1e}",
                    flush=True,
                )
    if args.plot:
        draw(args.plot, curves, rates, args.widths)


if __name__ == "__main__":
    main()

"""Where runs diverge: qs.advise before the run against runs on a grid of learning rates and shifts.

The transverse-field Ising model on L₁ × L₂ spins, summed over the basis, an RBM and an MLP. One advice for each
network gives the largest stable rate at every shift. Then SR runs from the same start at every cell: θ ← θ -
η(S+λ)⁻¹∇E, which is what NetKet's VMC_SR and its VMC with ``preconditioner=nk.optimizer.SR`` do, and plain VMC,
θ ← θ - η∇E, at the same rates; ``--check`` compares cells with NetKet's drivers. A run counts as diverged if its
energy is not finite, still rises in the last third, or was thrown off (it rose above its first value, or changed by
more than a tenth of the first error in one step) and ends above a tenth of the first error: it rests in another
state.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import netket_qsntk as qs


def networks():
    """Name -> model, with NetKet's own initialisers."""
    mlp = nk.models.MLP(
        hidden_dims=(16,), param_dtype=float, hidden_activations=nk.nn.activation.log_cosh
    )
    return {"RBM": nk.models.RBM(alpha=1, param_dtype=float), "MLP": mlp}


def make_run(state, hamiltonian, steps):
    """Compiled (η, λ) -> energies (steps,), from the parameters of a state that sums over its basis.

    λ = ∞ is plain gradient descent with the rate η. A run ends where its energy is no number any more, or stands
    still; the rest is filled up with the last value. All settings share one program.
    """
    start, back = ravel_pytree(state.parameters)
    x = jnp.asarray(state.hilbert.all_states())
    connected, elements = hamiltonian.get_conn_padded(np.asarray(x))
    numbers = jnp.asarray(
        state.hilbert.states_to_numbers(np.asarray(connected).reshape(-1, x.shape[-1]))
    ).reshape(elements.shape)
    elements = jnp.asarray(elements).real
    model = state.model

    def log_psi(v, x):
        return model.apply({"params": back(v)}, x).real

    def step(v, rate, shift):
        log = log_psi(v, x)
        local = jnp.sum(elements * jnp.exp(log[numbers] - log[:, None]), 1)
        p = jax.nn.softmax(2 * log)
        energy = p @ local
        rows = jax.vmap(lambda x1: jax.grad(lambda v: log_psi(v, x1[None])[0])(v))(x)
        rows = jnp.sqrt(p)[:, None] * (rows - p @ rows)
        gradient = rows.T @ (2 * jnp.sqrt(p) * (local - energy))
        unit = jnp.eye(len(v))
        matrix = jnp.where(jnp.isinf(shift), unit, rows.T @ rows + shift * unit)
        return v - rate * jax.scipy.linalg.solve(matrix, gradient, assume_a="pos"), energy

    def run(rate, shift):
        def goes_on(carry):
            number, _, energies, change = carry
            still = jnp.abs(change) < 1e-12 * jnp.abs(energies[number - 1])
            return (number < steps) & jnp.isfinite(energies[number - 1]) & ~still

        def one(carry):
            number, v, energies, _ = carry
            v, energy = step(v, rate, shift)
            later = jnp.where(jnp.arange(steps) >= number, energy, energies)
            return number + 1, v, later, energy - energies[number - 1]

        v, energy = step(start, rate, shift)
        first = (jnp.asarray(1), v, jnp.full(steps, energy), jnp.asarray(jnp.inf))
        return jax.lax.while_loop(goes_on, one, first)[2]

    return jax.jit(run)


def diverged(energies, exact):
    """By the definition of the page."""
    if not np.all(np.isfinite(energies)):
        return True
    tolerance = 1e-9 * abs(exact)
    late = energies[-len(energies) // 3 :]
    tenth = 0.1 * (energies[0] - exact)
    thrown_out = np.abs(np.diff(energies)).max() > tenth or energies.max() > energies[0] + tolerance
    lost = energies[-1] - exact > tenth
    return bool((thrown_out and lost) or np.any(np.diff(late) > tolerance))


def steps_to(energies, exact, accuracy=1e-3):
    """First step within the accuracy, ∞ if the run does not get or stay there."""
    error = np.abs(energies - exact) / abs(exact)
    there = np.nonzero(error < accuracy)[0]
    return there[0] if there.size and error[-1] < 2 * accuracy else np.inf


def check(state, hamiltonian, run, cells, steps):
    """Largest relative difference of the energies from NetKet's VMC_SR, VMC with SR, and plain VMC."""

    def netkets(rate, shift):
        of = {"variational_state": state}
        if np.isinf(shift):
            return [nk.driver.VMC(hamiltonian, optax.sgd(rate), **of)]
        dense = nk.optimizer.qgt.QGTJacobianDense(holomorphic=False)
        sr = nk.optimizer.SR(diag_shift=shift, qgt=dense)
        return [
            nk.driver.VMC_SR(hamiltonian, optax.sgd(rate), diag_shift=shift, use_ntk=False, **of),
            nk.driver.VMC(hamiltonian, optax.sgd(rate), preconditioner=sr, **of),
        ]

    worst = 0.0
    start = state.parameters
    for rate, shift in cells:
        ours = np.asarray(run(rate, shift))
        for driver in netkets(rate, shift):
            log = nk.logging.RuntimeLog()
            state.parameters = start
            driver.run(steps, out=log, show_progress=False)
            theirs = np.real(log.data["Energy"].Mean)
            worst = max(worst, float(np.max(np.abs(ours[:steps] - theirs) / np.abs(theirs))))
    state.parameters = start
    return worst


def draw(axes, name, rates, shifts, bad, limit, chosen, plain):
    """One panel: cells that diverged, the predicted boundary, the recommended settings; last column: plain VMC."""
    axes.pcolormesh(shifts, rates, bad, shading="nearest", cmap="Greys", vmin=0, vmax=2)
    axes.plot([], [], "s", color="0.6", label="diverged")
    axes.plot(shifts, limit, color="C3", label="predicted before the run")
    axes.plot(chosen[1], chosen[0], "o", color="C0", label="recommended")
    beside = shifts[-1] * np.array([4.0, 12.0])
    column = np.sqrt(beside[0] * beside[1])
    axes.pcolormesh(
        beside, edges(rates), plain[0][:, None], cmap="Greys", vmin=0, vmax=2, shading="flat"
    )
    axes.plot(beside, [plain[1]] * 2, color="C3")
    axes.annotate(
        "plain VMC",
        (column, 1.2 * rates[0]),
        ha="center",
        va="bottom",
        rotation=90,
        fontsize="small",
    )
    axes.set(xscale="log", yscale="log", xlabel="diag_shift λ", title=name)
    axes.set_ylim(rates[0] / 1.3, rates[-1] * 1.3)
    axes.legend(loc="upper left", fontsize="small")


def edges(rates):
    """Boundaries of cells around rates at equal ratios."""
    ratio = np.sqrt(rates[1] / rates[0])
    return np.append(rates / ratio, rates[-1] * ratio)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="3x4")
    parser.add_argument("--field", type=float, default=2.5)
    parser.add_argument("--cells", type=int, default=12, help="rates and shifts")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--check", type=int, default=0, help="cells compared with NetKet's drivers")
    parser.add_argument("--plot", default="", help="file of the figure")
    parser.add_argument("--quick", action="store_true", help="6 spins, 3 × 3 cells")
    args = parser.parse_args()
    if args.quick:
        args.size, args.cells, args.steps, args.check = "2x3", 3, 12, 1
    extent = [int(n) for n in args.size.split("x")]
    graph = nk.graph.Grid(extent, pbc=[n > 2 for n in extent])
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
    hamiltonian = nk.operator.IsingJax(hilbert, graph, h=args.field, J=-1.0)
    exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
    rates, shifts = np.geomspace(3e-3, 3, args.cells), np.geomspace(1e-5, 10, args.cells)
    panels = []
    print(
        f"TFIM {args.size}, h = {args.field}, {args.cells} × {args.cells} cells, {args.steps} steps"
    )
    for name, model in networks().items():
        state = nk.vqs.FullSumState(hilbert, model, seed=0)
        clock = time.perf_counter()
        advice = qs.advise(state, hamiltonian)
        seconds = time.perf_counter() - clock
        run = make_run(state, hamiltonian, args.steps)
        if args.check:
            cells = [(0.02, 0.01), (0.05, np.inf), (0.1, 1.0), (0.01, 1e-3)][: args.check]
            difference = check(state, hamiltonian, run, cells, min(10, args.steps))
            print(f"{name}: largest relative difference from NetKet's drivers {difference:.1e}")
        limit = np.array([advice.stable_below(shift) for shift in shifts])
        clock, processor = time.perf_counter(), time.process_time()
        curves = np.array([[np.asarray(run(r, s)) for s in shifts] for r in rates])
        bad = np.array([[diverged(c, exact) for c in row] for row in curves])
        right = (rates[:, None] > limit) == bad
        plain = np.array([diverged(np.asarray(run(r, np.inf)), exact) for r in rates])
        plain_right = (rates > advice.max_learning_rate_gd) == plain
        fewest = min(steps_to(c, exact) for row in curves for c in row)
        own = steps_to(np.asarray(run(advice.learning_rate, advice.diag_shift)), exact)
        print(
            f"{name}: {100 * right.mean():.1f} % of {right.size} cells on the right side, "
            f"{plain_right.sum()} of {len(rates)} rates of plain VMC; steps to 1e-3: "
            f"recommended (η = {advice.learning_rate:.2g}, λ = {advice.diag_shift:.2g}) {own}, "
            f"foretold {advice.steps}, best of the map {fewest}; "
            f"advice {seconds:.1f} s, map {time.perf_counter() - clock:.0f} s "
            f"({time.process_time() - processor:.0f} s of processor time)",
            flush=True,
        )
        chosen = (advice.learning_rate, advice.diag_shift)
        panels.append(
            (name, rates, shifts, bad, limit, chosen, (plain, advice.max_learning_rate_gd))
        )
    if args.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(
            1, len(panels), figsize=(9, 4), layout="constrained", sharey=True
        )
        for ax, panel in zip(axes, panels, strict=True):
            draw(ax, *panel)
        axes[0].set_ylabel("learning rate η")
        figure.savefig(args.plot, dpi=150)


if __name__ == "__main__":
    main()

"""NetKet's VMC_SR predicted before it starts: three widths, with the theory of infinite width through them.

Networks of log ψ (an erf perceptron, positive or behind Marshall's sign rule) are trained by NetKet's own VMC_SR on
sums over the basis and on samples, and the same lines with InfiniteWidthVMC_SR predict each run from its own initial
function. The last panel is what the regularisation does: steps to a given accuracy against diag_shift, predicted and
measured. SR leaves the regime of a fixed kernel sooner than gradient descent, so every run prints how far its kernel
moved.

  tfim        periodic chain, -Σ σzσz - Σ σx (critical), positive networks
  heisenberg  periodic chain in the sector of zero magnetisation, Marshall's sign as reference
"""

import argparse

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Full sums are solved in the space of parameters; samples in their own, which is the smaller one.
SUMS = {"use_ntk": False, "on_the_fly": False}
SAMPLES = {"use_ntk": True, "on_the_fly": False}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=["tfim", "heisenberg"], default=["tfim", "heisenberg"])
    add("--sites", type=int, default=6)
    add("--widths", nargs="+", type=int, default=[32, 128, 256])
    add("--steps", type=int, default=60)
    add("--seeds", type=int, default=3)
    add("--diag-shift", type=float, default=1e-2)
    add("--shifts", nargs="+", type=float, default=[1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    add("--samples", type=int, default=512, help="of the runs on MCState, 0 for none")
    add("--accuracy", type=float, default=0.2, help="of E - E₀, against its initial value")
    add("--learning-rate", type=float, default=0.05)
    add("--plot", default="vmc_sr_predicted.png", help="file of the figure, '' for none")
    return parser.parse_args()


def system(name, sites):
    chain = nk.graph.Chain(sites)
    if name == "tfim":
        hi = nk.hilbert.Spin(0.5, sites)
        return hi, nk.operator.Ising(hi, chain, h=1.0), None
    hi = nk.hilbert.Spin(0.5, sites, total_sz=0)
    return hi, nk.operator.Heisenberg(hi, chain, sign_rule=False), qs.readout.marshall(chain)


def network(width, reference):
    return qs.models.WideMLP(
        widths=(width,),
        activation="erf",
        sigma_w=1.0,
        sigma_b=0.3,
        output="log_psi",
        parts="real",
        reference=reference,
    )


def energies(driver, steps):
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, show_progress=False)
    return np.real(np.asarray(log["Energy"]["Mean"]))


def main():
    args = parse_arguments()
    optimizer = optax.sgd(args.learning_rate)
    curves, reached = {}, {}
    for name in args.models:
        hi, hamiltonian, reference = system(name, args.sites)
        exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
        x = hi.all_states()
        print(f"\n{name}, {hi.n_states} states, E₀ = {exact:.6f}, diag_shift = {args.diag_shift:g}")
        print(
            f"{'width':>6} {'measured':>10} {'predicted':>10} {'deviation':>10} {'drift':>7} {'sampled':>10}"
        )
        for width in args.widths:
            found = []
            for seed in range(args.seeds):
                net = network(width, reference)
                vs = nk.vqs.FullSumState(hi, net, seed=seed)
                options = {"variational_state": vs, "diag_shift": args.diag_shift}
                predicted = qs.driver.InfiniteWidthVMC_SR(hamiltonian, optimizer, **options)
                theory = predicted.predict(np.arange(args.steps))["Energy"] - exact
                before = functions_kernel(net, vs.variables, x)
                sr = nk.driver.VMC_SR(hamiltonian, optimizer, **SUMS, **options)
                start = vs.variables
                measured = energies(sr, args.steps) - exact
                drift = np.linalg.norm(functions_kernel(net, vs.variables, x) - before)
                noisy = np.full(args.steps, np.nan)
                if args.samples:
                    state = nk.vqs.MCState(
                        nk.sampler.ExactSampler(hi), net, n_samples=args.samples, variables=start
                    )
                    options["variational_state"] = state
                    sr = nk.driver.VMC_SR(hamiltonian, optimizer, **SAMPLES, **options)
                    noisy = energies(sr, args.steps) - exact
                found.append((measured, theory, noisy, drift / np.linalg.norm(before)))
            measured, theory, noisy = (np.mean([f[i] for f in found], axis=0) for i in range(3))
            off = np.mean([abs(f[0] / f[1] - 1).mean() for f in found])
            curves[name, width] = measured, theory, noisy
            print(
                f"{width:6d} {measured[-1]:10.2e} {theory[-1]:10.2e} {off:10.1%} "
                f"{np.mean([f[3] for f in found]):7.1%} {noisy[-1]:10.2e}"
            )
        reached[name] = steps_to(args, hi, hamiltonian, exact, reference, optimizer)
    if args.plot:
        draw(args, curves, reached)


def functions_kernel(net, variables, x):
    """The tangent kernel of log ψ at these parameters."""
    apply_fun = lambda v, x: net.apply(v, x, method="fields")  # noqa: E731  log ψ without the reference
    kernel = qs.kernels.EmpiricalKernel(
        qs.wavefunction.PureWaveFunction(
            lambda p, x: apply_fun({"params": p}, x), variables["params"]
        )
    )
    return np.asarray(kernel.qsntk(x).theta_11)


def steps_to(args, hi, hamiltonian, exact, reference, optimizer):
    """Steps to the accuracy, predicted and measured, for each regularisation."""
    rows, limit = [], 20 * args.steps
    net = network(max(args.widths), reference)
    trace = float(np.mean(qs.kernels.infinite_width(net).diagonals(hi.all_states())[1]))
    print(f"\nsteps to {args.accuracy:.0%} of the initial E - E₀ (mean Θ(x, x) = {trace:.2f})")
    for shift in args.shifts:
        options = {
            "variational_state": nk.vqs.FullSumState(hi, net, seed=0),
            "diag_shift": shift,
        }
        predicted = qs.driver.InfiniteWidthVMC_SR(hamiltonian, optimizer, **options)
        theory = predicted.predict(np.arange(limit))["Energy"] - exact
        count = int(np.argmax(theory < args.accuracy * theory[0]))
        if count == 0:
            print(f"  diag_shift {shift:8.0e}: more than {limit}")
            continue
        sr = nk.driver.VMC_SR(hamiltonian, optimizer, **SUMS, **options)
        measured = energies(sr, min(limit, 2 * count + 10)) - exact
        really = int(np.argmax(measured < args.accuracy * measured[0]))
        rows.append((shift, count, really))
        print(f"  diag_shift {shift:8.0e}: predicted {count}, measured {really}")
    return np.array(rows)


def draw(args, curves, reached):
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    titles = {"tfim": "Ising ring, h = 1", "heisenberg": "Heisenberg ring, Marshall's signs"}
    panels = len(args.models) + 1
    figure, axes = plt.subplots(1, panels, figsize=(4.2 * panels, 3.8), layout="constrained")
    for axis, name in zip(axes, args.models, strict=False):
        for width, colour, marker in zip(args.widths, qs.plot.COLOURS, "os^vDPX", strict=False):
            measured, theory, noisy = curves[name, width]
            axis.semilogy(theory, "-", color=colour)
            every = slice(None, None, max(1, args.steps // 20))
            at = np.arange(args.steps)[every]
            axis.plot(at, measured[every], marker, ms=5, color=colour, label=f"width {width}")
            # Sampled energies scatter about E₀ in the end.
            axis.plot(at, abs(noisy[every]), "x", ms=4, alpha=0.5, color=colour)
        axis.plot([], [], "k-", label="predicted")
        if args.samples:
            axis.plot([], [], "kx", alpha=0.5, label="from samples")
        title = f"{titles[name]}, {args.sites} spins, λ = {args.diag_shift:g}"
        axis.set(title=title, xlabel="step of VMC_SR", ylabel="$E - E_0$")
        axis.legend(frameon=False, fontsize="small")
    for name, colour, marker in zip(args.models, qs.plot.COLOURS, "os", strict=False):
        if len(reached[name]):
            shifts, predicted, measured = reached[name].T
            axes[-1].loglog(shifts, predicted, "-", color=colour, label=f"{name}, predicted")
            label = f"{name}, width {max(args.widths)}"
            axes[-1].plot(shifts, measured, marker, ms=5, color=colour, label=label)
    axes[-1].set(
        title="what the shift does",
        xlabel="diag_shift λ",
        ylabel=f"steps to {args.accuracy:.0%} of the initial $E - E_0$",
    )
    axes[-1].yaxis.set_major_formatter(ScalarFormatter())
    axes[-1].yaxis.set_minor_formatter(NullFormatter())
    axes[-1].legend(frameon=False, fontsize="small")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(args.plot, dpi=150)
    print(f"\nfigure: {args.plot}")


if __name__ == "__main__":
    main()

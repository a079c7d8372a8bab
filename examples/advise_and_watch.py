"""Four typical runs, diagnosed before they start and watched while they go.

A rate too high, a shift too small, an initial scale too large, an odd network on an even problem, and beside them the
settings that qs.advise recommends. Before each run: what the advice says of it. During it: the energy and
NTKDiagnostics' distance to the edge of stability (below 1 the run is beyond it).
"""

import argparse

import flax.linen as nn
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs


class Network(nn.Module):
    """log ψ of one hidden layer; without biases and with tanh it is odd."""

    width: int = 16
    scale: float = 1.0
    odd: bool = False

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        draw = nn.initializers.normal(self.scale / x.shape[-1] ** 0.5)
        hidden = nn.Dense(self.width, use_bias=not self.odd, kernel_init=draw, param_dtype=float)(x)
        shape = jnp.tanh if self.odd else nk.nn.activation.log_cosh
        readout = nn.initializers.normal(self.scale / self.width**0.5)
        value = nn.Dense(1, use_bias=False, kernel_init=readout, param_dtype=float)(shape(hidden))
        return value[..., 0]


def make_state(args, hilbert, **network):
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=32)
    return nk.vqs.MCState(sampler, Network(**network), n_samples=args.samples, seed=1)


def watch(args, hamiltonian, state, rate, shift):
    """Energies of a run, and the smallest distance to the edge."""
    log = nk.logging.RuntimeLog()
    driver = nk.driver.VMC_SR(
        hamiltonian, optax.sgd(rate), variational_state=state, diag_shift=shift, use_ntk=False
    )
    diagnostics = qs.callbacks.NTKDiagnostics(max(1, args.steps // 5), 64)
    driver.run(args.steps, out=log, callback=diagnostics, show_progress=False)
    edge = np.asarray(log.data["ntk/edge"].values)
    return np.real(log.data["Energy"].Mean), log.data["ntk/edge"].iters, edge


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=10, help="spins of the ring (default: 10)")
    parser.add_argument("--samples", type=int, default=512, help="samples a step (default: 512)")
    parser.add_argument("--steps", type=int, default=60, help="steps of each run (default: 60)")
    parser.add_argument(
        "--plot", default="advise_and_watch.png", help="file of the figure, '' for none"
    )
    args = parser.parse_args()
    hilbert = nk.hilbert.Spin(0.5, args.sites)
    hamiltonian = nk.operator.IsingJax(hilbert, nk.graph.Chain(args.sites), h=1.0, J=-1.0)
    exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
    good = qs.advise(make_state(args, hilbert), hamiltonian)
    print(good, "\n")
    rate, shift = good.learning_rate, good.diag_shift
    runs = {
        "as recommended": ({}, rate, shift),
        "rate too high": ({}, 5 * good.max_learning_rate, shift),
        "shift too small": ({}, rate, 1e-3 * shift),
        "initial scale too large": ({"scale": 6.0}, rate, shift),
        "odd network": ({"odd": True}, rate, shift),
    }
    curves = {}
    for name, (network, eta, lam) in runs.items():
        before = qs.advise(make_state(args, hilbert, **network), hamiltonian)
        limit = before.stable_below(lam)
        found = ", ".join(f.name for f in before.findings) or "nothing"
        energies, steps, edge = watch(
            args, hamiltonian, make_state(args, hilbert, **network), eta, lam
        )
        curves[name] = energies, steps, edge
        error = (energies[-1] - exact) / abs(exact)
        end = (
            f"error at the end {error:.1e}" if np.isfinite(error) else "energy no number at the end"
        )
        print(
            f"{name:24} η = {eta:.2g}, λ = {lam:.2g}: stable below {limit:.2g}; found: {found}; "
            f"{end}, smallest distance to the edge {np.nanmin(edge):.2g}"
        )
    if args.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
        for (name, (energies, steps, edge)), style in zip(curves.items(), styles, strict=True):
            shown = np.abs(energies - exact) / abs(exact)
            axes[0].semilogy(shown, linestyle=style, label=name)
            # A sampler that is stuck sees no curvature, and no edge near.
            axes[1].semilogy(steps, np.clip(edge, 0.1, 100), "o", linestyle=style, label=name)
        axes[1].axhline(1, color="k", lw=0.8)
        axes[0].set(xlabel="step", ylabel="relative error of the energy", title="energy")
        axes[1].set(
            xlabel="step",
            ylabel="distance, cut off at 0.1 and 100",
            title="distance to the edge of stability",
        )
        axes[0].legend(frameon=False, fontsize="small")
        figure.savefig(args.plot, dpi=150)
        print(f"figure: {args.plot}")


if __name__ == "__main__":
    main()

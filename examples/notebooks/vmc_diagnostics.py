# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What happens inside a VMC run
#
# A variational Monte Carlo run prints an energy. Underneath it a kernel, the network's neural tangent kernel (NTK),
# decides which changes of the wave function a step can make. `qs.callbacks.NTKDiagnostics` watches it inside any
# NetKet run and answers: how many directions does the network really have, do they change while it learns, and do
# the steps do what first order says?

# %%
import os

import jax.numpy as jnp
import matplotlib.pyplot as plt
import netket as nk
from flax import linen

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
LENGTH, STEPS, EVERY = (3, 40, 10) if QUICK else (4, 100, 10)

# %% [markdown]
# ## A run, watched
#
# The transverse-field Ising model on a 4 × 4 lattice near its transition, a restricted Boltzmann machine,
# stochastic reconfiguration. One callback is all there is to add.

# %%
graph = nk.graph.Square(LENGTH)
hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
hamiltonian = nk.operator.IsingJax(hilbert, graph, h=3.0, J=-1.0)
exact = float(nk.exact.lanczos_ed(hamiltonian)[0])


def run(model, diag_shift=1e-2, rate=0.02, use_ntk=False):
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=64)
    state = nk.vqs.MCState(sampler, model, n_samples=1024, seed=1)
    driver = nk.driver.VMC_SR(
        hamiltonian,
        nk.optimizer.Sgd(rate),
        variational_state=state,
        diag_shift=diag_shift,
        use_ntk=use_ntk,
        on_the_fly=False,
    )
    log = nk.logging.RuntimeLog()
    diagnostics = qs.callbacks.NTKDiagnostics(EVERY, 64 if QUICK else 128, eigenvalues=True)
    driver.run(STEPS, out=log, callback=diagnostics, show_progress=False)
    return log


log = run(nk.models.RBM(alpha=2))
axes = qs.plot.diagnostics(log, exact=exact)
axes[0].figure.suptitle(f"VMC_SR, {LENGTH} × {LENGTH} Ising model, RBM")
plt.show()

# %% [markdown]
# Left, the energy approaches the exact one. In the middle, eigenvalues of the kernel by rank: they span many orders
# of magnitude, which is why plain gradient descent would be slow and why a shift on the diagonal matters. Right,
# the kernel drifts from where it started: this network does learn features.

# %% [markdown]
# ## Wide networks drift less
#
# The theory of this package is that of networks so wide that their kernel stands still. That needs its scaling:
# parameters of order one, and a factor $N^{-1/2}$ in front of a sum over $N$ units (the NTK parametrisation; a
# restricted Boltzmann machine has no such factor). The same run with three widths of such a network for $\log\psi$:


# %%
class OneLayer(linen.Module):
    """log ψ = N^(-1/2) Σ a tanh(w·x/√d + b), all parameters drawn from N(0, 1)."""

    width: int

    @linen.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        draw = linen.initializers.normal(1.0)
        w = self.param("w", draw, (x.shape[-1], self.width), float)
        b = self.param("b", draw, (self.width,), float)
        a = self.param("a", draw, (self.width,), float)
        return jnp.tanh(x @ w / x.shape[-1] ** 0.5 + b) @ a / self.width**0.5


widths = (8, 32) if QUICK else (8, 32, 128)
drifts = {
    # With more parameters than samples the solution in the space of samples is the cheaper one.
    width: run(OneLayer(width), use_ntk=width > 64).data["ntk/drift"]
    for width in widths
}

figure, ax = plt.subplots(figsize=(5.4, 4.0), layout="constrained")
for (width, drift), colour, style in zip(drifts.items(), qs.plot.COLOURS, ("-", "--", "-.", ":")):
    ax.plot(drift.iters, drift.values, style, color=colour, label=f"{width} hidden units")
ax.set_xlabel("optimiser step")
ax.set_ylabel("relative drift of the NTK")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

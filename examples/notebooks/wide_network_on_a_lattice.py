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
# # A wide network on a lattice
#
# An infinitely wide network is a kernel; restricted to the functions of $M$ configurations, its centres, it is a model
# with $M$ parameters that NetKet trains on lattices of any size. Here it finds ground states of Ising models,
# $H = -\sum_{\langle ij\rangle} \sigma^z_i\sigma^z_j - h\sum_i \sigma^x_i$: the ring of forty spins, whose energies free
# fermions give exactly, and squares close to their critical field.

# %%
import logging
import os

import jax
import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

logging.disable(logging.WARNING)
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
SPINS = 12 if QUICK else 40
ring, square = nk.graph.Chain(SPINS), nk.graph.Square(4)


def ring_energy(h):
    k = (np.arange(SPINS) + 0.5) * 2 * np.pi / SPINS
    return -np.sum(np.sqrt(1 + h**2 - 2 * h * np.cos(k)))


# %% [markdown]
# ## Symmetry decides how many centres are needed
#
# Averaged over translations, reflections and the flip of all spins, pairs of spins are one function for each distance.
# The number of independent functions of $w$ spins, before and after:

# %%
every = qs.symmetry.multiplicities(None, SPINS)[:7:2]
symmetric = qs.symmetry.multiplicities(ring.space_group(), SPINS, spin_flip=1)[:7:2]
for w, (before, after) in enumerate(zip(every, symmetric, strict=True)):
    print(f"{2 * w} spins: {before:12.0f} {after:8.0f}")

# %% [markdown]
# ## Training
#
# NetKet's sampler and its `VMC_SR`, as for any model. `Recentre` moves the centres to where the state is: it keeps those
# that carry most of the function and adds the samples that the kernel explains least.

# %%
net = qs.models.WideMLP(
    widths=(1,), activation="erf", sigma_w=1.0, sigma_b=0.3, output="log_psi", parts="real"
)


def train(graph, h, n_centres, n_samples, n_steps, rate=0.1):
    hilbert = nk.hilbert.Spin(0.5, graph.n_nodes)
    kernel = qs.models.Symmetrized(net, graph.space_group(), spin_flip=1)
    candidates = hilbert.random_state(jax.random.key(0), 8 * n_centres)
    model = qs.models.InfiniteWidth(kernel, qs.models.choose_centres(kernel, candidates, n_centres))
    sampler = nk.sampler.MetropolisLocal(
        hilbert, n_chains=n_samples, sweep_size=max(10, graph.n_nodes // 4)
    )
    vs = nk.vqs.MCState(
        sampler, model, n_samples=n_samples, n_discard_per_chain=0, seed=0, sampler_seed=1
    )
    hamiltonian = nk.operator.IsingJax(hilbert, graph, h=h, J=-1.0)
    driver = nk.driver.VMC_SR(hamiltonian, optax.sgd(rate), variational_state=vs, diag_shift=1e-4)
    log = nk.logging.RuntimeLog()
    driver.run(n_steps, out=log, callback=qs.callbacks.Recentre(every=10), show_progress=False)
    return vs, log.data


# %%
RUNS = [(8, 64), (16, 64)] if QUICK else [(50, 512), (200, 512)]
figure, ax = plt.subplots(figsize=(5.6, 4.0), layout="constrained")
for (n_centres, n_samples), colour, line in zip(RUNS, qs.plot.COLOURS, "-:", strict=False):
    _, data = train(ring, 1.0, n_centres, n_samples, 12 if QUICK else 40)
    error = 1 - np.real(data["Energy"].Mean) / ring_energy(1.0)
    misfit = data["recentre/misfit"].values
    label = f"{n_centres} centres, {n_samples} samples"
    print(f"{label}: last ten steps {error[-10:].mean():9.1e}, misfits {np.round(misfit, 4)}")
    ax.semilogy(np.abs(error), line, color=colour, label=label)
ax.set(xlabel="step", ylabel="relative error of the energy", title=f"ring of {SPINS}, h = 1")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# One step's energy scatters with the samples, by less the closer the state is to the ground state. The misfit is the
# standard deviation of what a change of centres did to $\log\psi$; its square is the infidelity that this cost.
#
# ## Centres and samples
#
# On the square of $4\times4$ spins at $h = 3.05$, close to the critical field of the infinite lattice, the trained state is
# summed over all $2^{16}$ configurations: what remains is the error of the state, without that of an estimate.

# %%
SQUARE_RUNS = {64: [4, 8], 256: [4, 8]} if QUICK else {64: [3, 10, 30], 512: [3, 10, 30]}
spins = nk.hilbert.Spin(0.5, 16)
hamiltonian = nk.operator.IsingJax(spins, square, h=3.05, J=-1.0)
exact, matrix = nk.exact.lanczos_ed(hamiltonian)[0], hamiltonian.to_sparse()
figure, ax = plt.subplots(figsize=(5.6, 4.0), layout="constrained")
for (n_samples, sizes), style in zip(SQUARE_RUNS.items(), ("o-", "s--"), strict=True):
    errors = []
    for n_centres in sizes:
        vs, _ = train(square, 3.05, n_centres, n_samples, 10 if QUICK else 50, rate=0.03)
        psi = np.asarray(vs.to_array())
        errors.append(1 - (psi.conj() @ (matrix @ psi)).real / exact)
        print(f"{n_centres:4d} centres, {n_samples:4d} samples: {errors[-1]:9.1e}")
    ax.loglog(sizes, errors, style, label=f"{n_samples} samples")
ax.set(xlabel="centres", ylabel="relative error of the energy", title="4 × 4, h = 3.05")
ax.set_xticks(sizes, [str(size) for size in sizes])
ax.xaxis.minorticks_off()
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## What longer runs reach
#
# `examples/wide_network_on_a_lattice.py` makes such runs for larger lattices, with an RBM and a convolutional network of
# NetKet's beside them. One run each:
#
# | system | centres, samples | relative error of the energy |
# |---|---|---|
# | ring of 40, h = 1 | 400, 1024 | 1.6(1.1)e-4 |
# | ring of 40, h = 2 | 400, 1024 | 1.3(1.3)e-5 |
# | Heisenberg, 10 × 10 | 59, 512 | 3.4(2)e-3; with patches of 3 × 4 spins too, 300 centres and 1024 samples, 1.9(1)e-3 |
# | Ising, 10 × 10, h = 3.05 | 60, 512 | below the 4e-4 that quantum Monte Carlo resolves: −3.24026(3) a site, and −3.2399(14) |
#
# The last two kernels look at pairs of spins at any distance and at 3 × 3 patches (`--patches 3x3 --depth 3 --sigma-w 1.5
# --sigma-b 0.5 --moves 150 --rate 0.03 --shift 3e-5`, and rate 0.1 for Heisenberg, with Marshall's signs), which span no
# more functions than that. The references are quantum Monte Carlo: Sandvik (1997) for Heisenberg, a stochastic series
# expansion at inverse temperature 30 for Ising.
#
# Its rate matters. A step of `VMC_SR` with rate $\eta$ moves a mode of excitation energy $\omega$ by a factor
# $1-2\eta\,\omega\,s/(s+\lambda)$, which throws the state off where it is below $-1$. Eight turned spins of a patch cost
# about $16h = 49$, which makes the largest rate 0.0205 without a shift $\lambda$, and more with one: on $6\times6$ spins
# `qs.advise` puts the edge at 0.032 for the shift of this run; there a rate of 0.03 stayed at its energy, 0.05 did not, and
# at 10 × 10 neither did 0.06 and 0.1. The guide on infinitely wide models has the table.

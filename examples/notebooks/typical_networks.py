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
# # What a network is before anybody trains it
#
# NetKet's networks give $\log\psi = f_1 + if_2$. At initialisation both are random functions with a covariance that the
# architecture fixes, so how entangled the initial state is, on how many configurations it lives, and whether Monte Carlo
# can sample it are questions to a kernel. No network is needed to answer them.

# %%
import math
import os
import warnings

import matplotlib.pyplot as plt
import netket as nk
import numpy as np

import netket_qsntk as qs
from netket_qsntk import entanglement as ent

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
GRID = 5 if QUICK else 16
SITES = 10 if QUICK else 20
DRAWS, NETWORKS = (20, 2) if QUICK else (100, 3)


def network(depth=1, sigma_w=1.5, readout=1.0, width=1, parts="independent"):
    return qs.models.WideMLP(
        widths=(width,) * depth,
        activation="erf",
        sigma_w=(sigma_w,) * depth + (readout,),
        sigma_b=(0.1,) * depth + (0.0,),
        output="log_psi",
        parts=parts,
    )


# %% [markdown]
# ## Area and volume law of infinitely many spins
#
# The phase gets a variance $v$ a spin. The colour is the Rényi-2 entropy of half of the spins relative to its maximum. On
# the line single layers forget differences between inputs (the edge of chaos, where $\sigma_w^2E[\phi'^2] = 1$): to its left a
# deep network shows nearly the same phase to all configurations. A shallow one crosses over without a transition.

# %%
sigmas = np.linspace(0.6, 3.0, GRID)
variances = np.geomspace(0.01, 3.0, GRID)
depths = (1, 10)


def shares(depth, sigma_w):
    """Entropy over its maximum at each variance; the kernel is looked at once."""
    profile = ent.kernel_profile(network(depth, sigma_w))
    densities = (
        ent.entropy_density(lambda c: profile, log_modulus=0.0, phase=v) for v in variances
    )
    return [density.value / density.maximum for density in densities]


def expansion(sigma_w):
    """σ_w² E[erf'(z)²] at the fixed variance of z."""
    q = 1.0
    for _ in range(500):
        q = sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + 0.1**2
    return sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q)


edge = np.interp(1.0, *zip(*[(expansion(s), s) for s in np.linspace(0.5, 2.0, 60)], strict=True))
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained", sharey=True)
for ax, depth in zip(axes, depths, strict=True):
    table = np.array([shares(depth, s) for s in sigmas]).T
    image = ax.pcolormesh(sigmas, variances, table, vmin=0, vmax=1, cmap="viridis", rasterized=True)
    ax.contour(sigmas, variances, table, levels=[0.1, 0.5, 0.9], colors="white", linewidths=0.8)
    ax.axvline(edge, color="white", linestyle="--")
    ax.set(yscale="log", xlabel=r"$\sigma_w$", title=f"{depth} hidden layer{'s' * (depth > 1)}")
axes[0].set_ylabel("variance of the phase, for each spin")
figure.colorbar(image, ax=axes, label="entropy / maximum")
print(f"edge of chaos at sigma_w = {edge:.3f}")

# %% [markdown]
# Finite sizes approach the density as $1/d$:

# %%
sizes = np.array([64, 100, 160, 256, 400])
figure, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
for variance, colour in zip((0.02, 0.1, 0.5), qs.plot.COLOURS, strict=False):
    options = {"log_modulus": 0.0, "phase": variance}
    limit = ent.entropy_density(network(3), **options).value
    finite = [
        ent.annealed_renyi(ent.extensive_ensemble(network(3), int(d), **options), range(d // 2)) / d
        for d in sizes
    ]
    slope, intercept = np.polyfit(1 / sizes, finite, 1)
    ax.plot(1 / sizes, finite, "o", color=colour, label=f"variance {variance}")
    ax.plot([0, 1 / 60], [intercept, intercept + slope / 60], color=colour)
    ax.plot(0, limit, "*", color=colour, markersize=13)
    print(f"variance {variance}: saddle point {limit:.5f}, fitted {intercept:.5f} + {slope:.3f}/d")
ax.axhline(math.log(2) / 2, color="k", linewidth=0.8)
ax.text(0.017, math.log(2) / 2 - 0.015, "maximum", ha="right", va="top")
ax.set(xlabel="1/d", ylabel="entropy of half of the spins / d (nats)", xlim=(-5e-4, 0.0175))
ax.legend(frameon=False, loc="center right")
# %% [markdown]
# ## Where annealed averages part from typical networks
#
# Over how many configurations is $|\psi|^2$ spread? The annealed average is a closed form, the quenched one an average over
# drawn networks. Open circles mark where the weight $\sum|\psi|^4$ fluctuates from network to network by as much as its mean:
# beyond, closed forms describe rare networks, and a warning says so.

# %%
scales = np.geomspace(0.1, 3.0, 5 if QUICK else 12)
figure, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
for d, colour in zip((8, 12) if QUICK else (8, 12, 16), qs.plot.COLOURS, strict=False):
    hilbert = nk.hilbert.Spin(0.5, d)
    annealed, quenched = [], []
    for scale in scales:
        ensemble = ent.ensemble(network(readout=scale), hilbert)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", qs.errors.FreezingWarning)
            annealed.append(ent.participation_entropy(ensemble) / d / math.log(2))
        drawn = ent.participation_entropy(ensemble, average="quenched", n_draws=DRAWS)
        quenched.append(drawn / d / math.log(2))
    ax.plot(scales, quenched, color=colour, label=f"d = {d}")
    ax.plot(scales, annealed, "--", color=colour)
    at = math.sqrt(ent.parting(ent.ensemble(network(), hilbert), 2).scale)
    ax.plot(at, np.interp(at, scales, quenched), "o", color=colour, mfc="white")
ax.set(xscale="log", xlabel=r"$\sigma_w$ of the readout", ylim=(-0.05, 1.05))
ax.set_ylabel("participation entropy of order 2 / d (bits)")
ax.plot([], [], "k", label="quenched")
ax.plot([], [], "k--", label="annealed")
ax.legend(frameon=False)
# %% [markdown]
# ## What scale keeps sampling alive
#
# Of 1000 samples of an initial network, how many are worth having? Left, NetKet's sampler against the prediction. Right,
# the scales between which the answer changes, at any number of spins: below the first, closed forms describe every network;
# beyond the second, every network lives on few configurations.

# %%
hilbert = nk.hilbert.Spin(0.5, SITES)
readouts = np.geomspace(0.5, 6.0, 4 if QUICK else 5)
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")
predicted, measured, errors = [], [], []
for readout in readouts:
    wide = network(readout=float(readout), width=128, parts="real")
    ensemble = ent.ensemble(wide, hilbert)
    predicted.append(ent.effective_samples(ensemble, 1000, average="quenched", n_draws=20))
    found = []
    for seed in range(NETWORKS):
        state = nk.vqs.MCState(nk.sampler.ExactSampler(hilbert), wide, n_samples=1000, seed=seed)
        numbers = hilbert.states_to_numbers(np.asarray(state.samples).reshape(-1, SITES))
        found.append(1000**2 / np.sum(np.unique(numbers, return_counts=True)[1] ** 2))
    measured.append(np.mean(found))
    errors.append(np.std(found, ddof=1) / math.sqrt(len(found)))
axes[0].plot(readouts, predicted, color=qs.plot.COLOURS[0], label="predicted")
axes[0].errorbar(readouts, measured, errors, fmt="o", color="k", label="NetKet's sampler")
axes[0].set(title=f"{SITES} spins", ylabel="effective samples of 1000", ylim=(0, 1050))
numbers = np.array([10, 20, 50, 100, 200])
parted, frozen = [], []
for d in numbers:
    ensemble = ent.ensemble(network(), nk.hilbert.Spin(0.5, int(d)))
    parted.append(math.sqrt(ent.parting(ensemble, 2).scale))
    # At order 1, the weights themselves: beyond, the configurations that would carry them do not exist.
    frozen.append(math.sqrt(ent.parting(ensemble, 1).freezing_scale))
    print(
        f"{d} spins: closed forms up to a readout of {parted[-1]:.2f}, frozen before {frozen[-1]:.2f}"
    )
axes[1].fill_between(
    numbers, 0, parted, color=qs.plot.COLOURS[2], alpha=0.3, label="alive, closed forms"
)
axes[1].fill_between(
    numbers, parted, frozen, color=qs.plot.COLOURS[1], alpha=0.3, label="typical networks by draws"
)
axes[1].fill_between(
    numbers, frozen, 20, color="k", alpha=0.3, label="frozen on few configurations"
)
axes[1].set(xscale="log", xlabel="number of spins", ylim=(0, 20), xlim=(10, 200))
axes[1].set_ylabel(r"$\sigma_w$ of the readout")
axes[0].set(
    xscale="log",
    xlabel=r"$\sigma_w$ of the readout",
    xticks=[0.5, 1, 2, 4],
    xticklabels=[0.5, 1, 2, 4],
)
axes[0].minorticks_off()
for ax in axes:
    ax.legend(frameon=False)

# %% [markdown]
# ## Entanglement on the way of a VMC run
#
# Stochastic reconfiguration of infinitely wide networks, a critical Ising ring, from drawn initial networks to the ground
# state: first the random part of each network dies, then each becomes entangled, at its own time.

# %%
ring = 6 if QUICK else 8
space = nk.hilbert.Spin(0.5, ring)
ising = nk.operator.Ising(space, nk.graph.Chain(ring), h=1.0)
model = qs.models.WideMLP((1,), "erf", 1.0, 0.3, output="log_psi", parts="real")
flow = qs.dynamics.NaturalGradientFlow(
    qs.kernels.infinite_width(model), ising, learning_rate=0.05, diag_shift=1e-4
)
steps = np.unique(np.geomspace(1, 600, 30).astype(int) - 1)
half = range(ring // 2)
draws = qs.vqs.InfiniteState(space, model).process.sample(3 if QUICK else 8, seed=1)
entropies = ent.entropies_along(flow, draws, steps, space, half, output="log_psi", n=2)
ground = nk.exact.lanczos_ed(ising, compute_eigenvectors=True)[1][:, 0]
figure, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
ax.plot(1 + steps, entropies.T, color=qs.plot.COLOURS[0], linewidth=0.8, alpha=0.5)
ax.plot(1 + steps, entropies.mean(axis=0), color=qs.plot.COLOURS[0], label="mean over networks")
ax.axhline(ent.entropies(ground, space, half, n=2), color="k", linestyle="--", label="ground state")
ax.set(xscale="log", xlabel="1 + step", ylabel="Rényi-2 entropy of half of the ring (nats)")
ax.legend(frameon=False)

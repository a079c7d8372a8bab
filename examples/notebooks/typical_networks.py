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
from scipy.linalg import expm
from scipy.optimize import brentq
from scipy.special import erf

import netket_qsntk as qs
from netket_qsntk import entanglement as ent

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
GRID = 5 if QUICK else 16
SITES = 10 if QUICK else 20
DRAWS, NETWORKS = (20, 2) if QUICK else (60, 3)


def network(depth=1, sigma_w=1.5, readout=1.0, width=1, parts="independent", sigma_b=0.1):
    return qs.models.WideMLP(
        widths=(width,) * depth,
        activation="erf",
        sigma_w=(sigma_w,) * depth + (readout,),
        sigma_b=(sigma_b,) * depth + (0.0,),
        output="log_psi",
        parts=parts,
    )


# %% [markdown]
# ## Area and volume law of infinitely many spins
#
# The phase gets a variance $v$ a spin. The colour is the Rényi-2 entropy of half of the spins relative to its maximum,
# circles are 200 spins in the same colours. On the dashed line single layers forget differences between inputs (the edge of
# chaos, where $\sigma_w^2E[\phi'^2] = 1$): to its left a deep network shows nearly the same phase to all configurations. A
# shallow one crosses over without a transition.

# %%
sigmas = np.linspace(0.6, 3.0, GRID)
biases = np.linspace(0.05, 1.5, GRID)
variances = np.geomspace(0.01, 3.0, GRID)


def share(kernel, phase, log_modulus=0.0):
    density = ent.entropy_density(kernel, log_modulus=log_modulus, phase=phase)
    return density.value / density.maximum


def expansion(sigma_w, sigma_b=0.1):
    """σ_w² E[erf'(z)²] at the fixed variance of z."""
    q = 1.0
    for _ in range(300):
        q = sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + sigma_b**2
    return sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q)


def edge(sigma_b):
    """σ_w at which it is one."""
    return brentq(lambda sigma_w: expansion(sigma_w, sigma_b) - 1, 0.3, 5.0)


figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.8), layout="constrained")
for ax, depth in zip(axes, (1, 10), strict=False):
    # The kernel is looked at once for each network.
    kernels = [ent.overlap_kernel(network(depth, s)) for s in sigmas]
    table = np.array([[share(kernel, v) for kernel in kernels] for v in variances])
    image = ax.pcolormesh(sigmas, variances, table, vmin=0, vmax=1, cmap="viridis", rasterized=True)
    ax.contour(sigmas, variances, table, levels=[0.1, 0.5, 0.9], colors="white", linewidths=0.8)
    finite = [
        (
            s,
            v,
            ent.annealed_renyi(
                ent.extensive_ensemble(network(depth, s), 200, log_modulus=0.0, phase=v), range(100)
            ),
        )
        for s in (0.8, 1.2, 1.6, 2.0, 2.6)
        for v in (0.03, 0.3)
    ]
    x, y, entropy = np.array(finite).T
    ax.scatter(
        x, y, c=entropy / 100 / math.log(2), vmin=0, vmax=1, cmap="viridis", edgecolors="white"
    )
    ax.axvline(edge(0.1), color="white", linestyle="--")
    ax.set(yscale="log", xlabel=r"$\sigma_w$", title=f"{depth} hidden layer{'s' * (depth > 1)}")
    ax.set_ylabel("variance of the phase, for each spin")
table = np.array(
    [[share(ent.overlap_kernel(network(10, s, sigma_b=b)), 0.1) for s in sigmas] for b in biases]
)
axes[2].pcolormesh(sigmas, biases, table, vmin=0, vmax=1, cmap="viridis", rasterized=True)
axes[2].contour(sigmas, biases, table, levels=[0.1, 0.5, 0.9], colors="white", linewidths=0.8)
axes[2].plot([edge(b) for b in biases], biases, color="white", linestyle="--")
axes[2].set(
    xlabel=r"$\sigma_w$",
    ylabel=r"$\sigma_b$",
    title="10 hidden layers, variance 0.1",
    xlim=(0.6, 3.0),
)
figure.colorbar(image, ax=axes, label="entropy / maximum")
print(
    f"edge of chaos at sigma_w = {edge(0.1):.3f} for sigma_b = 0.1, {edge(1.0):.3f} for sigma_b = 1"
)

# %% [markdown]
# ## On the same axes: random RBMs and deep networks of others
#
# Left, RBMs with independent complex Gaussian weights, the ensemble of [Sun et al., arXiv:2203.00020](
# https://arxiv.org/abs/2203.00020). They found phases in the thermodynamic limit, one with nearly maximal entropy where
# $|\psi|^2$ is nevertheless not ergodic. An RBM's inputs are Gaussian, so its averages are closed forms at its own width
# (`RandomRBM`); weakly coupled, it is the kernel $c^2$ with equal variances $v = \alpha\sigma_w^4/4$ of $\log|\psi|$ and phase
# (dashed). The modulus that grows along with the phase takes over: annealed averages of unnormalised states fall back to zero
# where they freeze on few configurations, while the drawn, normalised networks (circles, 12 spins) stay entangled. The grey
# line has the same phases and a fixed modulus.
#
# Right, deep networks at a fixed variance of the phase, as [Passetti and Kennes, arXiv:2312.11941](
# https://arxiv.org/abs/2312.11941) varied them: they linked a transition of the entropy of deep states to the edge of chaos
# of their layers. Here lines are infinitely many spins at infinite width, circles drawn networks of width 100 on 10 spins.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")
couplings = np.geomspace(0.002, 2.0, 12 if QUICK else 40)
small = nk.hilbert.Spin(0.5, 8 if QUICK else 12)
spins = small.all_states()
rng = np.random.default_rng(0)
for density, colour in zip((1, 4), qs.plot.COLOURS, strict=False):
    of_rbm = [ent.RandomRBM(density, (4 * v / density) ** 0.25) for v in couplings]
    entropies = [rbm.entropy_density() for rbm in of_rbm]
    axes[0].plot(
        couplings,
        [e.value / e.maximum for e in entropies],
        color=colour,
        label=rf"RBM, $\alpha$ = {density}",
    )
    for v in (0.004, 0.02, 0.1, 0.5, 2.0):
        scale = (4 * v / density) ** 0.25 / math.sqrt(2 * small.size)
        shape = (20, small.size, density * small.size)
        weights = scale * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
        log_psi = np.log(np.cosh(spins @ weights)).sum(axis=-1)
        drawn = np.exp(log_psi - log_psi.real.max(axis=1, keepdims=True))
        values = (
            ent.entropies(drawn, small, range(small.size // 2), n=2)
            / (small.size // 2)
            / math.log(2)
        )
        axes[0].errorbar(
            v, values.mean(), values.std() / math.sqrt(20), fmt="o", color=colour, mfc="white"
        )
        print(
            f"RBM, alpha {density}, variance {v}: drawn {values.mean():.3f} +- {values.std() / math.sqrt(20):.3f} of the maximum"
        )
axes[0].plot(
    couplings, [share(lambda c: c**2, v, v) for v in couplings], "k--", label="kernel $c^2$"
)
axes[0].plot(
    couplings, [share(lambda c: c**2, v) for v in couplings], color="0.6", label="modulus fixed"
)
axes[0].set(
    xscale="log",
    xlabel=r"variance $\alpha\sigma_w^4/4$ of $\log|\psi|$ and of the phase",
    ylabel="entropy / maximum",
)
axes[0].legend(frameon=False, fontsize=8)

few = nk.hilbert.Spin(0.5, 10)


def drawn_functions(depth, sigma_w, width=100, draws=20):
    """Outputs of erf networks of finite width on all configurations, of variance one."""
    hidden, variance = few.all_states()[None], 1.0
    for _ in range(depth):
        inputs = hidden.shape[-1]
        weights = sigma_w / math.sqrt(inputs) * rng.normal(size=(draws, inputs, width))
        hidden = erf(hidden @ weights + 0.1 * rng.normal(size=(draws, 1, width)))
        q = sigma_w**2 * variance + 0.1**2
        variance = 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
    readout = rng.normal(size=(draws, width, 1)) / math.sqrt(width * variance)
    return (hidden @ readout)[..., 0]


for depth, colour in zip((1, 10), qs.plot.COLOURS, strict=False):
    axes[1].plot(
        sigmas,
        [share(network(depth, s), 0.1) for s in sigmas],
        color=colour,
        label=f"depth {depth}",
    )
    for sigma_w in (0.8, 1.6, 2.4)[:: 2 if QUICK else 1]:
        phases = math.sqrt(0.1 * few.size) * drawn_functions(depth, sigma_w)
        values = ent.entropies(np.exp(1j * phases), few, range(5), n=2) / 5 / math.log(2)
        axes[1].errorbar(
            sigma_w, values.mean(), values.std() / math.sqrt(20), fmt="o", color=colour, mfc="white"
        )
axes[1].axvline(edge(0.1), color="k", linestyle="--", linewidth=0.8)
axes[1].set(xlabel=r"$\sigma_w$", ylim=(-0.03, 1.03), title="variance of the phase 0.1")
axes[1].legend(frameon=False)

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
scales = np.geomspace(0.1, 3.0, 5 if QUICK else 10)
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
readouts = np.geomspace(0.5, 6.0, 3 if QUICK else 4)
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")


def scaled(state, factor):
    """The state with its readout times a factor: one program samples all scales."""
    real = dict(state.parameters["real"])
    real["readout"] = {"kernel": factor * real["readout"]["kernel"]}
    state.parameters = {"real": real}
    return state


wide = network(width=128, parts="real")
exact_sampler = nk.sampler.ExactSampler(hilbert)
predicted, measured, errors = [], [], []
for readout in readouts:
    ensemble = ent.ensemble(network(readout=float(readout), parts="real"), hilbert)
    predicted.append(ent.effective_samples(ensemble, 1000, average="quenched", n_draws=6))
    found = []
    for seed in range(NETWORKS):
        state = scaled(nk.vqs.MCState(exact_sampler, wide, n_samples=1000, seed=seed), readout)
        numbers = hilbert.states_to_numbers(np.asarray(state.samples).reshape(-1, SITES))
        found.append(1000**2 / np.sum(np.unique(numbers, return_counts=True)[1] ** 2))
    measured.append(np.mean(found))
    errors.append(np.std(found, ddof=1) / math.sqrt(len(found)))
    print(
        f"readout {readout:.2f}: predicted {predicted[-1].mean:.0f}, measured {measured[-1]:.0f} +- {errors[-1]:.0f}"
    )
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
# At 50 and 100 spins a Markov chain has to do. NetKet's Metropolis chains at the first scale, between the two, and at
# twice the second: below both most moves are accepted, chains agree on the mean of $\log|\psi|$ ($\hat R$ within 0.01 of
# one) and nearly all samples differ. Beyond, one move in ten is accepted, $\hat R$ is four to six percent above one, and
# samples repeat, the more the smaller the system: 2048 of them are worth 12 at 20 spins and 293 at 50.

# %%
for d, first, last in zip(numbers, parted, frozen, strict=True):
    if d not in ((20,) if QUICK else (20, 50, 100)):
        continue
    space = nk.hilbert.Spin(0.5, int(d))
    sampler = nk.sampler.MetropolisLocal(space, n_chains=16)
    state = nk.vqs.MCState(sampler, wide, n_samples=2048, n_discard_per_chain=50, seed=1)
    before = 1.0
    for readout in (first, (first + last) / 2, 2 * last):
        scaled(state, readout / before)
        before = readout
        state.reset()
        logs = np.asarray(state.log_value(state.samples)).real
        R_hat = nk.stats.statistics(logs.reshape(16, -1)).R_hat
        configurations = np.asarray(state.samples).reshape(2048, -1)
        counts = np.unique(configurations, axis=0, return_counts=True)[1]
        print(
            f"{d} spins, readout {readout:5.2f}: acceptance {float(state.sampler_state.acceptance):.2f}, "
            f"R_hat {R_hat:.3f}, effective samples {2048**2 / np.sum(counts**2):.0f} of 2048"
        )

# %% [markdown]
# ## Entanglement on the way of a VMC run, and through a quench
#
# Left, from drawn initial networks to the ground state of a critical Ising ring: stochastic reconfiguration of networks of
# log ψ, and gradient descent of networks of ψ towards the same state. First the random part of each network dies, then each
# becomes entangled, at its own time. Right, the same networks of log ψ after a quench, by TDVP: the mean over networks with
# its error, against the exact evolution of the same states.

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
in_log = ent.entropies_along(flow, draws, steps, space, half, output="log_psi", n=2)
ground = nk.exact.lanczos_ed(ising, compute_eigenvectors=True)[1][:, 0]
cosine = qs.models.CosNet(1, 1.0, 2.0, parts="real")
descent = qs.dynamics.FunctionSpaceFlow(
    qs.kernels.infinite_width(cosine),
    qs.losses.Infidelity(qs.targets.ground_state(ising)),
    learning_rate=1.0,
    show_progress=False,
)
functions = qs.vqs.InfiniteState(space, cosine).sample(3 if QUICK else 8, seed=1)
in_psi = ent.entropies_along(descent, functions, steps, space, half, output="psi", n=2)
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.8), layout="constrained")
for values, colour, name in zip(
    (in_log, in_psi), qs.plot.COLOURS, ("log ψ, SR", "ψ, gradient descent"), strict=False
):
    axes[0].plot(1 + steps, values.T, color=colour, linewidth=0.8, alpha=0.4)
    axes[0].plot(1 + steps, values.mean(axis=0), color=colour, label=f"networks of {name}")
exact = float(ent.entropies(ground, space, half, n=2))
axes[0].axhline(exact, color="k", linestyle="--", label="ground state")
axes[0].set(xscale="log", xlabel="1 + step", ylabel="Rényi-2 entropy of half of the ring (nats)")
axes[0].legend(frameon=False, fontsize=8)
print(
    f"ground state {exact:.4f}; trained networks of log psi {in_log[:, -1].mean():.4f}, of psi {in_psi[:, -1].mean():.4f}"
)

small = nk.hilbert.Spin(0.5, 4 if QUICK else 6)
quenched = nk.operator.Ising(small, nk.graph.Chain(small.size), h=1.0)
model = qs.models.WideMLP((1,), "erf", (2.0, 0.3), 0.5, output="log_psi")
evolution = qs.dynamics.NaturalGradientFlow(
    qs.kernels.infinite_width(model),
    quenched,
    learning_rate=1.0,
    diag_shift=1e-9,
    propagation="real",
    flow=True,
)
times = np.linspace(0, 3, 13)
draws = np.asarray(qs.vqs.InfiniteState(small, model).process.sample(3 if QUICK else 8, seed=0))
values = ent.entropies_along(
    evolution, draws, times, small, range(small.size // 2), output="log_psi", n=2
)
axes[1].errorbar(
    times,
    values.mean(axis=0),
    values.std(axis=0, ddof=1) / math.sqrt(len(values)),
    fmt="o",
    label="TDVP, mean over networks",
)
fine = np.linspace(0, 3, 61)
matrix = quenched.to_dense()
exact = np.array(
    [
        ent.entropies(
            np.exp(draws) @ expm(-1j * t * matrix).T, small, range(small.size // 2), n=2
        ).mean()
        for t in fine
    ]
)
axes[1].plot(fine, exact, color="k", linewidth=0.8, label="exact evolution")
axes[1].set(xlabel="time", title=f"quench of {small.size} spins")
axes[1].legend(frameon=False, fontsize=8)
print(
    f"largest difference from the exact mean: {np.max(np.abs(values.mean(axis=0) - exact[::5])):.1e}"
)

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
# # Twenty spins
#
# A quench of twenty spins has $2^{20} = 1{,}048{,}576$ amplitudes. Show 600,000 of them to an infinitely wide
# network: its kernel would be a matrix of 2.9 TB. It is never written down. On spins the kernel of a perceptron
# depends on the Hamming distance alone, 21 numbers hold it, and a product with it is two Walsh-Hadamard transforms;
# the training curve to 10,000 steps and beyond takes some thousand products.

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.special import comb

import netket_qsntk as qs

# Set by continuous integration; leave it unset for twenty spins.
# 24 spins: examples/twenty_spins.py --size 4x6 --n-train 0.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
EXTENT, N_TRAIN = ((3, 4), 2400) if QUICK else ((4, 5), 600_000)

# %% [markdown]
# ## The target, exactly
#
# $e^{-iHt}|{+}\cdots{+}\rangle$ at $t = 2.1$, by a Chebyshev expansion in Pauli strings.

# %%
clock = time.perf_counter()
target = qs.targets.tfim_quench(extent=EXTENT)
print(f"{target}\n{time.perf_counter() - clock:.1f} s")

# %% [markdown]
# ## One number for each Hamming distance
#
# The kernel, and the spectrum it gives on the whole basis: the eigenvectors are the parities of subsets of spins,
# and all subsets of the same number of spins share an eigenvalue. Low parities are learned first.

# %%
net = qs.models.WideMLP(widths=(1,), activation="relu", sigma_w=0.25, sigma_b=0.01)
kernel = qs.kernels.infinite_width(net)
d = target.hilbert.size
ladder = np.where(np.arange(d)[None, :] < np.arange(d + 1)[:, None], -1.0, 1.0)
by_distance = np.asarray(kernel.ntk(ladder, ladder[:1]))[:, 0]
# The eigenvalue of parities of w spins is the sum of k(h) over all configurations, with their signs.
krawtchouk = np.array(
    [
        [
            sum((-1) ** j * comb(w, j) * comb(d - w, h - j) for j in range(h + 1))
            for h in range(d + 1)
        ]
        for w in range(d + 1)
    ]
)
eigenvalues = krawtchouk @ by_distance
figure, axes = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
axes[0].plot(by_distance / by_distance[0], "o-", color=qs.plot.COLOURS[0])
axes[0].set_xlabel("Hamming distance (spins)")
axes[0].set_ylabel("NTK / NTK at distance 0")
known = eigenvalues > 1e-13 * eigenvalues.max()
weights = np.arange(d + 1)
for parity, marker, colour in ((0, "o", qs.plot.COLOURS[0]), (1, "s", qs.plot.COLOURS[1])):
    pick = known & (weights % 2 == parity)
    label = "even parities" if parity == 0 else "odd parities"
    axes[1].semilogy(
        weights[pick], eigenvalues[pick] / eigenvalues.max(), marker, color=colour, label=label
    )
axes[1].set_xlabel("spins in the parity")
axes[1].set_ylabel("eigenvalue / largest eigenvalue")
axes[1].legend(frameon=False)
for ax in axes:
    ax.set_xticks(range(0, d + 1, 2))
    ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## The training curve
#
# The average over initial networks needs traces, which are estimated from random draws; the bands are their
# standard errors.

# %%
clock = time.perf_counter()
state = qs.vqs.InfiniteState(target.hilbert, net)
train, _ = target.split(N_TRAIN, seed=1)
rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
driver = qs.driver.InfiniteWidthDriver(
    target,
    optax.sgd(rate),
    variational_state=state,
    n_train=N_TRAIN,
    seed=1,
    solver="products",
    show_progress=False,
)
driver.dynamics.n_draws = 8  # half of the default, to stay below two minutes on two cores
steps = np.unique(np.append(0, np.geomspace(1, 10_000, 40).astype(int)))
curve = driver.predict(np.append(steps, np.inf))
print(f"{len(steps)} steps to {steps[-1]}, and ∞: {time.perf_counter() - clock:.1f} s")
for key in ("loss/train", "loss/test"):
    start, last, infinity = curve[key][[0, -2, -1]]
    print(f"{key}: {start:.3e} at the start, {last:.3e} at step {steps[-1]}, {infinity:.3e} at ∞")

axes = qs.plot.training_curves({"infinite width": curve})
axes[1].axhline(1 / target.n_states, color="0.5", linestyle=":", label="ψ = 0")
axes[1].legend(frameon=False, fontsize="small")
axes[0].figure.suptitle(f"{d} spins, {N_TRAIN} of {target.n_states} amplitudes")
plt.show()

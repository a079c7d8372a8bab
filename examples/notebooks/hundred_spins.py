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
# # A hundred spins
#
# $2^{100}$ configurations, of which nobody will see more than a vanishing part. What does a network learn of a state
# from a thousand of them, or from a million? At infinite width the answer needs 101 numbers for the network and 101 for
# the state, and no training set.

# %%
import os
import time

import matplotlib.pyplot as plt
import netket as nk
import numpy as np

import netket_qsntk as qs

QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
D, SIZES = 100, np.geomspace(10, 1e6, 20 if QUICK else 50)

# %% [markdown]
# ## The state
#
# A quench of the Ising chain, $e^{-iHt}|{+}\cdots{+}\rangle$ with $H = -\sum_i \sigma^z_i\sigma^z_{i+1}$. Its power in
# correlations of $w$ spins, $P_w = \sum_{|S|=w}|\hat\psi_S|^2$, follows from a transfer matrix. With time the power moves
# from the mean and pairs of neighbours to correlations of many spins.

# %%
times = [0.02, 0.05, 0.1, 0.2]
powers = {t: qs.learning.target_power(qs.learning.ising_quench(D, J=-1.0, time=t)) for t in times}
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for t, marker in zip(times, "osd^"):
    weights = np.arange(0, 41, 2)  # correlations of odd numbers vanish
    axes.semilogy(weights, powers[t][weights] * 2.0**D, marker + "-", ms=4, label=f"t = {t}")
axes.set(xlabel="w", ylabel="part of the norm in w spins", ylim=(1e-8, 2))
axes.legend()
plt.show()

# %% [markdown]
# ## The networks
#
# A perceptron's kernel on spins depends on the Hamming distance alone: level $w$ of its spectrum holds the
# $\binom{100}{w}$ parities of $w$ spins. How many configurations it takes until half of a level is predicted:

# %%
hilbert = nk.hilbert.Spin(0.5, D)
models = {
    "relu": qs.models.WideMLP(widths=(1,), sigma_w=1.4, sigma_b=0.3),
    "erf, 3 layers": qs.models.WideMLP(widths=(1,) * 3, activation="erf", sigma_w=1.4, sigma_b=0.3),
    "CosNet": qs.models.CosNet(1, 1.0, 1.0),
}
levels = {
    name: qs.learning.levels(qs.kernels.infinite_width(model), hilbert)
    for name, model in models.items()
}
print(f"{'':16}" + "".join(f"{f'w = {w}':>12}" for w in range(5)))
for name, known in levels.items():
    needed = qs.learning.samples_needed(known)[:5]
    print(f"{name:16}" + "".join(f"{n:12.3g}" for n in needed))

# %% [markdown]
# ## Learning curves

# %%
power = powers[0.05]
curves = {name: qs.learning.learning_curve(known, power, SIZES) for name, known in levels.items()}
clock = time.perf_counter()
again = qs.learning.learning_curve(levels["relu"], power, SIZES)
again.L_mu.block_until_ready()
print(f"a curve of {len(SIZES)} sizes: {1e3 * (time.perf_counter() - clock):.0f} ms")
qs.plot.learnability(curves, part="L_mu", zero=2.0**-D)
plt.show()

# %% [markdown]
# Plateaus end where a level becomes learnable: the pairs of the quench at a few thousand configurations. Between them
# the loss may rise with more data, because everything above the level acts as noise.
#
# ## Gradient descent, SGD and minSR
#
# New samples at every step instead of a training set. SGD is limited by the largest eigenvalue, and by noise at small
# batches; minSR inverts the kernel on the batch, and learns at once whatever level the batch resolves. The whole
# basis as a batch is gradient descent without noise.

# %%
BATCH, known = 1000, levels["relu"]
steps = np.unique(np.geomspace(1, 1000, 60).astype(int)) - 1
training = {}
for label, method, batch in (
    ("gradient descent", "sgd", 10**9),
    ("SGD, 3 samples a step", "sgd", 3),
    (f"SGD, {BATCH} samples a step", "sgd", BATCH),
    (f"minSR, {BATCH} samples a step", "minsr", BATCH),
):
    largest = qs.learning.max_stochastic_rate(known, batch, method=method)
    training[label] = qs.learning.stochastic_curve(
        known, power, steps, learning_rate=min(0.5 * largest, 0.5), batch_size=batch, method=method
    )
    print(f"{label:32} largest stable rate {largest:.3g}")
ax = qs.plot.learnability(training, part="L_mu", zero=2.0**-D)
plt.show()

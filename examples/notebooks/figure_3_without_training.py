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
# # Figure 3 without training
#
# Fig. 3 of Luo and Halverson ([arXiv:2112.00723](https://arxiv.org/abs/2112.00723)) shows the test loss against the
# number of training amplitudes, from networks trained for 10,000 steps. Its limit of infinite time follows without a
# network, without a training set, from a few numbers: the levels of the kernel and the power of the target in each.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import numpy as np

import netket_qsntk as qs

# Set by continuous integration; leave it unset for the paper's twelve sites.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
EXTENT = (3, 3) if QUICK else (3, 4)
target = qs.targets.tfim_quench(extent=EXTENT)
net = qs.models.WideMLP(widths=(1,), activation="relu", sigma_w=0.25, sigma_b=0.01)
kernel = qs.kernels.infinite_width(net)
n_states = target.n_states

# %% [markdown]
# ## Thirteen numbers for the network, thirteen for the state
#
# Level $w$ holds the correlations of $w$ spins. This kernel, a relu network with small biases, all but ignores odd
# correlations of more than one spin. The target has none.

# %%
levels = qs.learning.levels(kernel, target.hilbert)
power = qs.learning.target_power(target)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
axes[0].semilogy(levels.spectrum, "o-")
axes[0].set(xlabel="w", ylabel="eigenvalue / number of configurations")
axes[1].semilogy(np.maximum(power * n_states, 1e-18), "s-", color="C1")
axes[1].set(xlabel="w", ylabel="part of the norm", ylim=(1e-6, 2))
plt.show()

# %% [markdown]
# ## The curve, and training sets that were drawn
#
# Because the kernel tells even from odd, a configuration and its flip carry the same information about the even part,
# and the training set is not generic: the textbook formula (one coherent potential for single configurations) fails
# by factors, the one for pairs does not. The points are `LinearDynamics` at infinite time, for each of a few random
# training sets.

# %%
fractions = np.array([0.1, 0.25, 0.5, 0.6]) if QUICK else np.array([0.125, 0.25, 0.4, 0.586])
drawn = np.rint(fractions * n_states).astype(int)
# Near the whole basis few functions are left to be told apart, and single training sets differ.
warnings.simplefilter("ignore", qs.errors.FiniteSizeWarning)
sizes = np.unique(np.rint(np.geomspace(0.02, 0.95, 60) * n_states))
curves = {
    "predicted, x with -x": qs.learning.learning_curve(levels, power, sizes),
    "predicted, each x alone": qs.learning.learning_curve(levels, power, sizes, method="single"),
}
SPLITS = 6 if QUICK else 3
losses = np.zeros((2, len(drawn), SPLITS))
for i, n in enumerate(drawn):
    for seed in range(SPLITS):
        train, test = target.split(int(n), seed)
        found = qs.dynamics.LinearDynamics(kernel, train, learning_rate=1.0).losses([np.inf], test)
        losses[:, i, seed] = found.L_mu[0], found.L_gamma[0]

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, part, values in zip(axes, ("L_mu", "L_gamma"), losses):
    points = {
        "n_train": drawn,
        "loss": values.mean(1),
        "error": values.std(1, ddof=1) / SPLITS**0.5,
    }
    qs.plot.learnability(curves, {"drawn training sets": points}, part=part, ax=ax)
plt.show()

predicted = qs.learning.learning_curve(levels, power, drawn)
print(f"{'n_train':>8}{'L_mu':>12}{'measured':>12}{'L_gamma':>12}{'measured':>12}")
for i, n in enumerate(drawn):
    mu, gamma = losses[:, i].mean(-1)
    print(f"{n:8d}{predicted.L_mu[i]:12.3e}{mu:12.3e}{predicted.L_gamma[i]:12.3e}{gamma:12.3e}")

# %% [markdown]
# ## What a larger network would not change
#
# The plateau between a quarter and a half of the basis is the price of the levels: everything of weight two is learned,
# weight four waits for $\binom{12}{4} = 495$ functions to be told apart from the rest. Depth and activation move levels
# against one another; `qs.dynamics.compare_architectures` searches them, at these sizes and at a hundred spins.

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
# # Predict, then train
#
# Figures 2 and 3 of Luo and Halverson ([arXiv:2112.00723](https://arxiv.org/abs/2112.00723)): a lattice of spins is
# quenched, wide networks learn a part of its amplitudes, and the infinite-width limit says beforehand how their
# losses will fall, on amplitudes that they are shown and on those that they are not.

# %%
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text. The paper's own sizes are width 5000,
# ten members and 10,000 steps: examples/quench_supervised.py --width 5000 --members 10 --steps 10000.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
EXTENT, N_TRAIN = ((3, 3), 300) if QUICK else ((3, 4), 2400)
STEPS, MEMBERS = (100, 2) if QUICK else (400, 4)

# %% [markdown]
# ## The target and the networks
#
# All spins start along $x$ and evolve for $t = 2.1$ under $H = -\sum\sigma^z\sigma^z - 0.1\sum\sigma^x$ (Eq. 19).

# %%
target = qs.targets.tfim_quench(extent=EXTENT)
print(target)


def network(width):
    return qs.models.WideMLP(widths=(width,), activation="relu", sigma_w=0.25, sigma_b=0.01)


train, test = target.split(N_TRAIN, seed=1)
kernel = qs.kernels.infinite_width(network(1))
rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)

# %% [markdown]
# ## Figure 2: predicted and trained
#
# The same three lines of use for both curves: the average over all infinitely wide networks, in closed form, and
# networks that are trained, four of width 512 and eight of width 8. (`LinearizedDriver` in their place gives the
# linearisation of the same networks.)

# %%
state = qs.vqs.EnsembleState(
    target.hilbert, network(64 if QUICK else 512), n_members=MEMBERS, seed=1
)
options = {"variational_state": state, "n_train": N_TRAIN, "seed": 1}
steps = np.unique(np.geomspace(1, 1001 if QUICK else 10_001, 120).astype(int)) - 1
infinite = qs.driver.InfiniteWidthDriver(target, optax.sgd(rate), **options).predict(steps)

log = nk.logging.RuntimeLog()
finite = qs.driver.QSNTKDriver(target, optax.sgd(rate), evaluate_every=STEPS // 50, **options)
finite.run(STEPS + 1, out=log, show_progress=False)

narrow_log = nk.logging.RuntimeLog()
narrow = qs.vqs.EnsembleState(target.hilbert, network(8), n_members=8, seed=1)
options["variational_state"] = narrow
qs.driver.QSNTKDriver(target, optax.sgd(rate), evaluate_every=STEPS // 50, **options).run(
    STEPS + 1, out=narrow_log, show_progress=False
)

qs.plot.training_curves(
    {"infinite width": infinite},
    {f"width {state.model.widths[0]}": log, "width 8": narrow_log},
)
plt.show()

# %% [markdown]
# The line knows nothing of the points. Networks of width 512 follow it within their error bars; those of width 8
# leave it.

# %% [markdown]
# ## Figure 3: how many amplitudes are needed?
#
# The test loss that training converges to, against the size of the training set, costs one eigendecomposition a
# point, so that it can be averaged over training sets.

# %%
sizes = (100, 250, 400) if QUICK else (400, 800, 1200, 1600, 2000, 2400)
splits = 2 if QUICK else 3
horizons = {"infinite width, 1000 steps": 1000, "infinite width, ∞ steps": np.inf}
curves = {label: {"n_train": sizes, "loss": [], "error": []} for label in horizons}
zero = []
for n_train in sizes:
    losses = []
    for seed in range(splits):
        known, unknown = target.split(n_train, seed)
        eta = 0.9 * qs.kernels.max_learning_rate(kernel, known.states)
        dynamics = qs.dynamics.LinearDynamics(kernel, known, learning_rate=eta)
        losses.append(dynamics.losses(list(horizons.values()), unknown).total)
    zero.append(np.mean(np.abs(unknown.amplitudes) ** 2))
    for curve, values in zip(curves.values(), np.transpose(losses)):
        curve["loss"].append(values.mean())
        curve["error"].append(values.std(ddof=1) / np.sqrt(splits))
qs.plot.learning_curves(curves, zero={"n_train": sizes, "loss": zero})
plt.show()

# %% [markdown]
# Below the dotted line something has been learned about amplitudes that were never shown.

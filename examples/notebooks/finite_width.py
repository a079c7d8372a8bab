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
# # How wide is wide?
#
# The infinite-width limit is a statement about networks nobody has. How fast do real ones approach it? Theory says:
# the kernel of one network fluctuates by $N^{-1/2}$, averages over networks differ by $N^{-1}$. Three measurements
# and one closed form.

# %%
import math
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs
from netket_qsntk import entanglement as ent

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
WIDTHS = (8, 32, 128) if QUICK else (8, 16, 32, 64, 128, 256, 512)
MEMBERS, STEPS = (8, 50) if QUICK else (24, 200)

target = qs.targets.tfim_quench(extent=(2, 4))
N_TRAIN = 150
train, test = target.split(N_TRAIN, seed=0)


def network(width):
    return qs.models.WideMLP(
        widths=(width,), activation="erf", sigma_w=(1.4, 0.1), sigma_b=(0.3, 0.0)
    )


# %% [markdown]
# ## The kernel of one network, and of the average network
#
# Distances are relative, in the Frobenius norm.

# %%
x = target.hilbert.all_states()
limit = np.asarray(qs.kernels.infinite_width(network(1)).ntk(x))


def kernels(width):
    state = qs.vqs.EnsembleState(target.hilbert, network(width), n_members=MEMBERS, seed=2)
    members = (qs.kernels.empirical(state.get_state(i), x) for i in range(MEMBERS))
    return np.array([block.theta_11 for block in members])


single = {"width": WIDTHS, "distance": [], "error": []}
for width in WIDTHS:
    distance = [np.linalg.norm(k - limit) / np.linalg.norm(limit) for k in kernels(width)]
    single["distance"].append(np.mean(distance))
    single["error"].append(np.std(distance, ddof=1) / math.sqrt(MEMBERS))

# %% [markdown]
# ## Training
#
# Ensembles of every width, trained for the same steps at half of the stability limit: how far is their average test
# loss from what the limit predicts?

# %%
kernel = qs.kernels.infinite_width(network(1))
rate = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate)
predicted = float(dynamics.losses(STEPS, test).total[0])
trained = {"width": WIDTHS, "distance": [], "error": []}
signed = []
for width in WIDTHS:
    state = qs.vqs.EnsembleState(target.hilbert, network(width), n_members=MEMBERS, seed=3)
    driver = qs.driver.QSNTKDriver(
        target,
        optax.sgd(rate),
        variational_state=state,
        n_train=N_TRAIN,
        seed=0,
        evaluate_every=STEPS,
    )
    driver.run(STEPS, out=nk.logging.RuntimeLog(), show_progress=False)
    losses = np.mean(np.abs(np.asarray(state.psi(test.states)) - test.amplitudes) ** 2, axis=1)
    signed.append(losses.mean() / predicted - 1)
    trained["distance"].append(abs(signed[-1]))
    trained["error"].append(losses.std(ddof=1) / math.sqrt(MEMBERS) / predicted)
    print(
        f"width {width:4d}: test loss {signed[-1]:+.1%} ± {trained['error'][-1]:.1%} from the limit"
    )

figure, axes = plt.subplots(1, 2, figsize=(10.4, 4.0), layout="constrained")
qs.plot.width_corrections(
    {"kernel of one network": single},
    exponents={"kernel of one network": -0.5},
    ylabel="relative distance from the limit",
    ax=axes[0],
).set_title("NTK at initialisation")
qs.plot.width_corrections(
    {"average test loss": trained},
    exponents={"average test loss": -1.0},
    ylabel="relative distance from the limit",
    ax=axes[1],
).set_title(f"test loss after {STEPS} steps")
plt.show()

# %% [markdown]
# Bars are standard errors; where a point's bar reaches the bottom of its panel, the ensemble is too small to tell
# it from the limit.

# %% [markdown]
# ## Entanglement: exact at every width
#
# For CosNet the average purity is known in closed form at any width. It goes through the points measured in drawn
# networks, and says how wide a network must be, for twelve spins or for sixty.


# %%
def cosnet(d, width=1):
    return qs.models.CosNet(width, sigma_a=1.0, sigma_w=math.sqrt(2 * d))


d, draws = 8, 200 if QUICK else 2000
hilbert, half = nk.hilbert.Spin(0.5, d), range(d // 2)
expansion = ent.width_expansion(cosnet(d), hilbert, half)
widths = np.geomspace(1, 1000, 60)
figure, axes = plt.subplots(1, 2, figsize=(10.4, 4.0), layout="constrained")
axes[0].plot(
    widths, [-expansion.log_ratio(n) for n in widths], color=qs.plot.COLOURS[0], label="exact"
)
axes[0].axhline(
    -expansion.log_ratio(math.inf), color="black", linestyle=":", label="infinite width"
)
for width in (1, 4, 16, 64, 256):
    psi = ent.draw_members(cosnet(d, width), hilbert, draws, 0)
    norm = np.sum(np.abs(psi) ** 2, axis=1) ** 2
    purity = norm * ent.purity(psi, hilbert, half)
    scatter = purity / purity.mean() - norm / norm.mean()
    axes[0].errorbar(
        width,
        -math.log(purity.mean() / norm.mean()),
        scatter.std(ddof=1) / math.sqrt(draws),
        fmt="s",
        capsize=2,
        color=qs.plot.COLOURS[1],
        label=f"{draws} networks" if width == 1 else None,
    )
axes[0].set_xscale("log")
axes[0].set_xlabel("width N")
axes[0].set_ylabel("annealed Rényi-2 entropy (nats)")
axes[0].set_title(f"half of {d} spins")
sizes = np.arange(4, 61, 4)
needed = [
    ent.width_expansion(cosnet(int(n)), nk.hilbert.Spin(0.5, int(n)), range(n // 2)).width_within(
        0.1
    )
    for n in sizes
]
axes[1].semilogy(sizes, needed, "o-", color=qs.plot.COLOURS[2])
axes[1].set_xlabel("number of spins")
axes[1].set_ylabel("width for the limit's purity to 10 %")
axes[1].set_title("how wide is wide?")
for ax in axes:
    ax.grid(alpha=0.3)
axes[0].legend(frameon=False)
plt.show()

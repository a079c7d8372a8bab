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
# # Ground states with infinitely many neurons
#
# Variational Monte Carlo changes the parameters of a network so that the energy falls. At infinite width the
# parameters disappear: the wave function itself moves, $\mathrm{d}\psi/\mathrm{d}\tau = -\eta\,\Theta\,\partial
# E/\partial\psi$ with a kernel $\Theta$ that stands still ([arXiv:2112.00723](https://arxiv.org/abs/2112.00723),
# Eqs. 8-10). The equation is not linear, so there is no closed form, but it can be integrated; what remains random
# is the initial network. Here it is beside finite networks, trained with the same optimiser by the same three lines
# of use.

# %%
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
SPINS, STEPS, MEMBERS, WIDTHS = (6, 100, 4, (8, 64)) if QUICK else (8, 300, 6, (16, 64, 512))

# %% [markdown]
# ## The system
#
# A chain of eight spins with transverse field at its critical point.

# %%
hilbert = nk.hilbert.Spin(0.5, SPINS)
graph = nk.graph.Chain(SPINS)
hamiltonian = nk.operator.IsingJax(hilbert, graph, h=1.0, J=-1.0)
ground = qs.targets.ground_state(hamiltonian)
exact = float(nk.exact.lanczos_ed(hamiltonian)[0])


def network(width):
    return qs.models.CosNet(width, sigma_a=1.0, sigma_w=2.0)


# %% [markdown]
# ## Energies on the way down
#
# The learning rate is the same for all widths, which is what the NTK parametrisation is for.

# %%
RATE = 0.3
infinite = qs.driver.InfiniteWidthDriver(
    hamiltonian,
    optax.sgd(RATE),
    variational_state=qs.vqs.InfiniteState(hilbert, network(1)),
    n_members=MEMBERS,
    seed=0,
)
logs = {"infinite width": nk.logging.RuntimeLog()}
infinite.run(STEPS + 1, out=logs["infinite width"], show_progress=False)
states = {"infinite width": infinite.state}
for width in WIDTHS:
    name = f"width {width}"
    states[name] = qs.vqs.EnsembleState(hilbert, network(width), n_members=MEMBERS, seed=1)
    driver = qs.driver.QSNTKDriver(hamiltonian, optax.sgd(RATE), variational_state=states[name])
    logs[name] = nk.logging.RuntimeLog()
    driver.run(STEPS + 1, out=logs[name], show_progress=False)

figure, ax = plt.subplots(figsize=(5.8, 4.2), layout="constrained")
for (name, log), colour, style in zip(logs.items(), qs.plot.COLOURS, ("-", "--", "-.", ":")):
    history = log.data["Loss"]
    steps, error = np.asarray(history.iters) + 1, np.real(history.Mean) / exact - 1
    low, high = (-(np.real(history.Mean) + s * history.Sigma - exact) / exact for s in (-1, 1))
    ax.plot(steps, -error, style, color=colour, label=name)
    ax.fill_between(steps, np.maximum(low, 1e-8), high, color=colour, alpha=0.2, linewidth=0)
ax.loglog()
ax.set_xlabel("optimiser step + 1")
ax.set_ylabel("relative error of the energy")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Bands are standard errors over initial networks. The wider the networks, the closer they keep to the infinite
# ones.

# %% [markdown]
# ## What the trained ensembles are
#
# The members of a trained ensemble are NetKet states: any operator can be measured in them. Correlations of the
# order parameter, $\langle\sigma^z_0\sigma^z_r\rangle$, against those of the exact ground state:

# %%
distances = np.arange(1, SPINS // 2 + 1)
correlators = [
    nk.operator.spin.sigmaz(hilbert, 0) @ nk.operator.spin.sigmaz(hilbert, int(r))
    for r in distances
]
psi = ground.amplitudes
figure, ax = plt.subplots(figsize=(5.8, 4.2), layout="constrained")
ax.plot(
    distances, [np.vdot(psi, c.to_sparse() @ psi).real for c in correlators], "k-", label="exact"
)
for i, (name, state) in enumerate(states.items()):
    found = [state.expect(c) for c in correlators]
    ax.errorbar(
        distances + 0.06 * (i - 1),
        [np.real(s.mean) for s in found],
        [s.error_of_mean for s in found],
        fmt="osD^"[i],
        capsize=2,
        color=qs.plot.COLOURS[i],
        label=name,
    )
ax.set_xlabel("distance r (sites)")
ax.set_ylabel(r"$\langle\sigma^z_0\,\sigma^z_r\rangle$")
ax.set_xticks(distances)
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

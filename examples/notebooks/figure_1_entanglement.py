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
# # Entanglement of networks that nobody has trained
#
# An ensemble of wide networks with random parameters is a Gaussian process, and its states are about as entangled
# as random states can be, or hardly at all: the variance of the weights decides. This notebook draws Fig. 1 of Luo
# and Halverson ([arXiv:2112.00723](https://arxiv.org/abs/2112.00723)), looks at what finite width takes away, and
# goes to two hundred spins, where no wave function fits into any memory and the average is still exact.

# %%
import math
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np

import netket_qsntk as qs
from netket_qsntk import entanglement as ent

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
# The paper has up to 16 spins, widths 400 to 10,000 and more members.
SIZES, MEMBERS = ([2, 4, 6], 20) if QUICK else ([4, 6, 8, 10, 12], 60)
WIDTHS = [20, 400, math.inf]

# %% [markdown]
# ## Figure 1: a volume law
#
# CosNet with $\sigma_a = 10$ and $\sigma_w = \sqrt{2d}$ for $d$ spins, cut in half. Infinitely wide networks are
# drawn from their Gaussian process: to compute with them no network is made.


# %%
def paper_network(size, width):
    return qs.models.CosNet(width, sigma_a=10.0, sigma_w=math.sqrt(2 * size))


table = ent.entropy_scaling(
    paper_network, SIZES, WIDTHS, n_members=MEMBERS, seed=0, show_progress=False
)
figure, axes = plt.subplots(1, 2, figsize=(10.4, 4.0), layout="constrained")
qs.plot.entropy_scaling(table, ax=axes[0]).set_title("half of the sites")
qs.plot.entropy_scaling(table, missing=True, ax=axes[1]).set_title(
    "what is missing to Page's value"
)
plt.show()

# %% [markdown]
# The entropy grows by nearly $\ln 2 = 0.693$ nats for every site of the half: a volume law, just below the maximum.
# What is missing shows at the right: narrow networks cannot fill the Hilbert space of many spins. The slope, fitted
# with its error:

# %%
for width in WIDTHS:
    law = table.select(width=width).volume_law()
    print(f"width {width:>4}: {law.slope:.4f} ± {law.slope_error:.4f} nats a site of the half")

# %% [markdown]
# ## From area law to volume law, at two hundred spins
#
# At infinite width the average purity is a product over sites. With fixed $\sigma_w$ the entropy of half of the
# spins stops growing; with $\sigma_w \propto \sqrt d$ it never does.

# %%
sizes = np.unique(2 * np.geomspace(2, 25 if QUICK else 100, 20).round().astype(int))


def annealed(d, sigma_w):
    """-log of the average purity of half of d spins."""
    model = qs.models.CosNet(1, sigma_w=sigma_w)
    return ent.annealed_renyi(
        ent.ensemble(model, nk.hilbert.Spin(0.5, int(d))), range(d // 2), normalization="ratio"
    )


figure, ax = plt.subplots(figsize=(5.6, 4.0), layout="constrained")
for sigma_w, colour, style in zip((1, 2, 4, 8), qs.plot.COLOURS, ("-", "--", "-.", ":")):
    curve = [annealed(d, sigma_w) for d in sizes]
    ax.plot(sizes, curve, style, color=colour, label=rf"$\sigma_w = {sigma_w}$")
ax.plot(sizes, [annealed(d, math.sqrt(2 * d)) for d in sizes], "k", label=r"$\sigma_w = \sqrt{2d}$")
ax.loglog()
ax.set_xlabel("number of spins d")
ax.set_ylabel("annealed Rényi-2 entropy of half of the spins (nats)")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

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
# # Why frustration is hard to learn
#
# Networks that are shown a part of the ground state of a frustrated magnet fail to guess the signs of the rest
# (Westerhout, Astrakhantsev, Tikhonov, Katsnelson and Bagrov, Nat. Commun. 11, 1593 (2020)). Here the failure is
# computed before any training: frustration moves the power of the state into levels that a kernel cannot reach.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import netket as nk
import numpy as np

import netket_qsntk as qs

QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
L = 8 if QUICK else 12
COUPLINGS = [0.0, 0.4, 0.5, 0.6, 1.0]
DRAWS = 10 if QUICK else 20
hilbert = nk.hilbert.Spin(0.5, L, total_sz=0)
L_STATES = hilbert.n_states
n_train = round(0.2 * L_STATES)


def ring(J2):
    """The J1-J2 Heisenberg ring in the plain basis."""
    edges = [(i, (i + 1) % L, 0) for i in range(L)] + [(i, (i + 2) % L, 1) for i in range(L)]
    graph = nk.graph.Graph(edges)
    return nk.operator.Heisenberg(hilbert, graph, J=[1.0, J2], sign_rule=[False, False])


# %% [markdown]
# ## The states
#
# The ground state in the Marshall basis (signs of one sublattice taken out) and in the plain basis, and its log-amplitudes.
# At $J_2/J_1 = 1/2$ two states cross; among degenerate ones the one that is symmetric under translations and reflections
# is taken.

# %%
states = np.asarray(hilbert.all_states())
marshall = 1.0 - 2.0 * (((states[:, ::2] == 1).sum(1)) % 2)
group = nk.graph.Chain(L).space_group()


def ground_state(J2):
    """Lowest state, and of several the one with the largest part in a one-dimensional representation."""
    values, vectors = np.linalg.eigh(ring(J2).to_dense())
    lowest = vectors[:, values < values[0] + 1e-8]
    if lowest.shape[1] == 1:
        return lowest[:, 0].real
    # A projector on trivial translations times the reflection keeps what is alike on the whole ring.
    total = np.zeros_like(lowest)
    for element in np.asarray(group.to_array()):
        total += lowest[hilbert.states_to_numbers(states[:, element])]
    return np.linalg.svd(total, full_matrices=False)[0][:, 0].real


exact = {J2: ground_state(J2) for J2 in COUPLINGS}
functions = {
    "Marshall basis": {J2: psi * marshall for J2, psi in exact.items()},
    "plain basis": exact,
}

# %% [markdown]
# ## Predicted and measured generalisation
#
# A fifth of the sector is seen by an infinitely wide relu network; the loss on the rest in units of that of $\psi = 0$,
# predicted from the levels of the Johnson scheme and measured by kernel regression on drawn sets.

# %%
net = qs.models.WideMLP(widths=(1,), activation="relu", sigma_w=1.0, sigma_b=0.1, parts="real")
kernel = qs.kernels.infinite_width(net)
levels = qs.learning.levels(kernel, hilbert)
ntk = np.asarray(kernel.ntk(states))


def measured(matrix, values, n_train=n_train):
    """Mean and standard error of the relative loss on unseen configurations."""
    losses = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(values))
        seen, unseen = order[:n_train], order[n_train:]
        weights = np.linalg.lstsq(matrix[np.ix_(seen, seen)], values[seen], rcond=1e-12)[0]
        rest = values[unseen] - matrix[np.ix_(unseen, seen)] @ weights
        losses.append(np.mean(np.abs(rest) ** 2) / np.mean(np.abs(values) ** 2))
    return np.mean(losses), np.std(losses, ddof=1) / DRAWS**0.5


def predicted(known, values, n_train=n_train, space=hilbert):
    power = qs.learning.target_power(qs.targets.Target(space, values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", qs.errors.QSNTKWarning)
        curve = qs.learning.learning_curve(known, power, [n_train])
    return float(curve.L_mu[0]) * len(values)


figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
print(f"{'':18}{'J2/J1':>6}{'predicted':>12}{'measured':>20}")
for (label, by_coupling), marker in zip(functions.items(), "os"):
    theory = [predicted(levels, by_coupling[J2]) for J2 in COUPLINGS]
    found = np.array([measured(ntk, by_coupling[J2]) for J2 in COUPLINGS])
    (line,) = axes.plot(COUPLINGS, theory, label=label)
    axes.errorbar(
        COUPLINGS, found[:, 0], found[:, 1], fmt=marker, color=line.get_color(), capsize=2
    )
    for J2, one, (mean, error) in zip(COUPLINGS, theory, found):
        print(f"{label:18}{J2:6.1f}{one:12.3f}{mean:14.3f} ± {error:.3f}")
axes.axhline(1, ls=":", color="0.5")
axes.set(xlabel="J2 / J1", ylabel="loss on unseen configurations / that of ψ = 0")
axes.legend()
plt.show()

# %% [markdown]
# Above the dotted line nothing is learned. The power of the states in the levels tells why: $j$ counts the spins that a
# function correlates.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, (label, by_coupling) in zip(axes, functions.items()):
    for J2, marker in zip(COUPLINGS, "osd^v"):
        power = qs.learning.target_power(qs.targets.Target(hilbert, by_coupling[J2]))
        even = np.arange(0, len(power), 2)  # the flip of all spins leaves these states alone
        ax.semilogy(
            even, np.maximum(power[even] * L_STATES, 1e-9), marker + "-", ms=4, label=f"J2 = {J2}"
        )
    ax.set(xlabel="level j", title=label, ylim=(1e-6, 2), xticks=even)
axes[0].set_ylabel("part of the norm")
axes[0].legend()
plt.show()

# %% [markdown]
# In the plain basis every one of these states lies in the last level alone: they are singlets, and level $j$ of the Johnson
# scheme is total spin $L/2 - j$. Nothing about them can be guessed from simpler functions, at any coupling. Marshall's
# signs undo this where there is no frustration.
#
# ## Log-amplitudes
#
# A network of log ψ has an easier task in the Marshall basis, where nothing changes sign: its function is smooth.

# %%
print(f"{'J2/J1':>6}{'predicted':>12}{'measured':>20}   (log |ψ|, in units of its variance)")
for J2 in COUPLINGS:
    psi = exact[J2]
    kept = np.abs(psi) > 1e-10 * np.abs(psi).max()
    if not kept.all():
        print(f"{J2:6.1f}   {int((~kept).sum())} amplitudes vanish: no logarithm")
        continue
    values = np.log(np.abs(psi))
    values = values - values.mean()
    mean, error = measured(ntk, values)
    print(f"{J2:6.1f}{predicted(levels, values):12.3f}{mean:14.3f} ± {error:.3f}")

# %% [markdown]
# ## With the symmetry of the lattice
#
# A network that is averaged over translations and reflections learns from one configuration what it knows of all its
# images: the eigenvalues stay, the multiplicities fall. A handful of configurations is enough (here a third as many as there
# are orbits).

# %%
symmetric = qs.kernels.symmetrized(kernel, group)
few = max(3, round(0.35 * float(qs.learning.levels(symmetric, hilbert).n_functions)))
known, matrix = qs.learning.levels(symmetric, hilbert), np.asarray(symmetric.ntk(states))
print(f"{'J2/J1':>6}{'predicted':>12}{'measured':>20}   (Marshall basis, {few} configurations)")
for J2 in COUPLINGS:
    psi = functions["Marshall basis"][J2]
    moved = psi[hilbert.states_to_numbers(states[:, np.asarray(group.to_array())[1]])]
    if (
        min(np.abs(moved - psi).max(), np.abs(moved + psi).max()) > 1e-8
        or np.abs(moved - psi).max() > 1e-8
    ):
        print(f"{J2:6.1f}   the state is in another representation")
        continue
    mean, error = measured(matrix, psi, few)
    print(f"{J2:6.1f}{predicted(known, psi, few):12.3f}{mean:14.3f} ± {error:.3f}")

# %% [markdown]
# ## Where levels cross
#
# The ground state changes its momentum and its parity under reflection as the coupling grows. Followed in one sector of
# the symmetry the loss is smooth; the jumps above are those between sectors.

# %%
moves = np.asarray(group.to_array())
step = next(m for m in moves if np.array_equal(m, np.roll(np.arange(L), 1)))
turn = next(m for m in moves if np.array_equal(m, (-np.arange(L)) % L))


def sector(momentum, parity):
    """Basis of the functions with T = (-1)^momentum and R = parity, for real momenta 0 and π: (n_states, dim)."""
    total, image = np.zeros((L_STATES, L_STATES)), states
    for power in range(L):
        sign = (-1) ** (momentum * power)
        total[np.arange(L_STATES), hilbert.states_to_numbers(image)] += sign
        total[np.arange(L_STATES), hilbert.states_to_numbers(image[:, turn])] += sign * parity
        image = image[:, step]
    values, vectors = np.linalg.eigh((total + total.T) / (4 * L))
    return vectors[:, values > 0.5]


sectors = {(k, r): sector(k, r) for k in (0, 1) for r in (1, -1)}
grid = np.linspace(0, 1, 6 if QUICK else 21)
energies, loss = ({key: [] for key in sectors} for _ in range(2))
for J2 in grid:
    dense = ring(J2).to_dense().real
    for key, basis in sectors.items():
        values, vectors = np.linalg.eigh(basis.T @ dense @ basis)
        energies[key].append(values[0])
        loss[key].append(predicted(levels, basis @ vectors[:, 0] * marshall))

figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
lowest = np.min([energies[key] for key in sectors], axis=0)
names = {0: "0", 1: "π"}
for key, marker in zip(sectors, "osd^"):
    label = f"momentum {names[key[0]]}, reflection {key[1]:+d}"
    axes[0].plot(grid, np.array(energies[key]) - lowest, marker + "-", ms=4, label=label)
    axes[1].plot(grid, loss[key], marker + "-", ms=4, label=label)
axes[0].set(xlabel="J2 / J1", ylabel="energy above the ground state", ylim=(-0.1, 4))
axes[1].axhline(1, ls=":", color="0.5")
axes[1].set(xlabel="J2 / J1", ylabel="predicted loss / that of ψ = 0 (Marshall basis)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

print(f"{'sector':>8}{'J2/J1':>6}{'predicted':>12}{'measured':>20}   (Marshall basis)")
for key in sectors:
    for J2 in (0.4, 1.0):
        basis = sectors[key]
        psi = basis @ np.linalg.eigh(basis.T @ ring(J2).to_dense().real @ basis)[1][:, 0] * marshall
        mean, error = measured(ntk, psi)
        name = f"{names[key[0]]}, {key[1]:+d}"
        print(f"{name:>8}{J2:6.1f}{predicted(levels, psi):12.3f}{mean:14.3f} ± {error:.3f}")

# %% [markdown]
# ## The square lattice
#
# The same for 4 × 4 sites (couplings of neighbours and of diagonals; the sector of zero magnetisation has 12,870
# configurations), with ground states from Lanczos iterations. Where the lowest energy is degenerate one state of several
# is taken; prediction and measurement see the same.

# %%
SIDE = 4
if not QUICK:
    sites = np.arange(SIDE * SIDE)
    row, column = sites // SIDE, sites % SIDE
    at = lambda r, c: (r % SIDE) * SIDE + c % SIDE  # noqa: E731
    edges = {
        (*sorted((int(i), int(at(row[i] + a, column[i] + b)))), colour)
        for i in sites
        for a, b, colour in ((0, 1, 0), (1, 0, 0), (1, 1, 1), (1, -1, 1))
    }
    square = nk.graph.Graph(sorted(edges))
    lattice = nk.hilbert.Spin(0.5, SIDE * SIDE, total_sz=0)
    places = np.asarray(lattice.all_states())
    sublattice = (row + column) % 2 == 0
    signs = 1.0 - 2.0 * (((places[:, sublattice] == 1).sum(1)) % 2)
    of_lattice = qs.learning.levels(kernel, lattice)
    seen_of_lattice = round(0.2 * lattice.n_states)
    print(f"{'':18}{'J2/J1':>6}{'predicted':>12}{'measured':>20}")
    for J2 in (0.0, 0.5, 1.0):
        model = nk.operator.Heisenberg(lattice, square, J=[1.0, J2], sign_rule=[False, False])
        psi = nk.exact.lanczos_ed(model, k=1, compute_eigenvectors=True)[1][:, 0].real * signs
        psi /= np.linalg.norm(psi)
        errors = []
        for seed in range(5):
            order = np.random.default_rng(seed).permutation(len(psi))
            seen, unseen = order[:seen_of_lattice], order[seen_of_lattice:]
            weights = np.linalg.solve(np.asarray(kernel.ntk(places[seen])), psi[seen])
            rest = psi[unseen] - np.asarray(kernel.ntk(places[unseen], places[seen])) @ weights
            errors.append(np.mean(rest**2) * len(psi))
        mean, error = np.mean(errors), np.std(errors, ddof=1) / len(errors) ** 0.5
        theory = predicted(of_lattice, psi, seen_of_lattice, lattice)
        print(f"{'Marshall basis':18}{J2:6.1f}{theory:12.3f}{mean:14.3f} ± {error:.3f}")

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
# # NetKet's VMC_SR, predicted
#
# Networks of $\log\psi$ trained by stochastic reconfiguration are what NetKet's users run. When the network is wide its
# tangent kernel stands still, and the run closes in function space: three lines predict it before it starts.

# %%
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax
import scipy.linalg

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
SITES, STEPS, WIDTHS, SEEDS = (4, 10, (8, 32), 1) if QUICK else (6, 60, (32, 128, 256), 3)

# %% [markdown]
# ## Three widths and the theory through them
#
# A critical Ising ring and positive networks. Each prediction starts from the initial function of the network beside it.

# %%
hi = nk.hilbert.Spin(0.5, SITES)
hamiltonian = nk.operator.Ising(hi, nk.graph.Chain(SITES), h=1.0)
exact = float(nk.exact.lanczos_ed(hamiltonian)[0])


def network(width, **options):
    settings = {"activation": "erf", "sigma_b": 0.3, "output": "log_psi", "parts": "real"}
    return qs.models.WideMLP(widths=(width,), **(settings | options))


def energies(driver, steps=STEPS):
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, show_progress=False)
    return np.real(np.asarray(log["Energy"]["Mean"])) - exact


fig, axis = plt.subplots()
for i, width in enumerate(WIDTHS):
    for seed in range(SEEDS):
        vs = nk.vqs.FullSumState(hi, network(width), seed=seed)
        options = {"variational_state": vs, "diag_shift": 1e-2}
        theory = qs.driver.InfiniteWidthVMC_SR(hamiltonian, optax.sgd(0.05), **options)
        axis.semilogy(theory.predict(np.arange(STEPS))["Energy"] - exact, f"C{i}-")
        trained = nk.driver.VMC_SR(hamiltonian, optax.sgd(0.05), on_the_fly=False, **options)
        label = f"width {width}" if seed == 0 else None
        axis.semilogy(energies(trained), f"C{i}.", label=label)
axis.set(xlabel="step", ylabel="$E - E_0$", title="lines: predicted")
axis.legend()
# %% [markdown]
# The same with samples: NetKet's `MCState` scatters about the prediction of sums over the basis.

# %%
net = network(WIDTHS[-1])
sampled = nk.vqs.MCState(nk.sampler.ExactSampler(hi), net, n_samples=512, seed=0)
options = {"variational_state": sampled, "diag_shift": 1e-2}
theory = qs.driver.InfiniteWidthVMC_SR(hamiltonian, optax.sgd(0.05), **options)
curve = theory.predict(np.arange(STEPS))["Energy"] - exact
trained = nk.driver.VMC_SR(hamiltonian, optax.sgd(0.05), **options)
noisy = energies(trained)
print(f"largest difference {abs(noisy - curve).max():.3f}, of {curve[0]:.3f} at the start")

# %% [markdown]
# ## What `diag_shift` does
#
# The late rate $r$ of $E - E_0\sim e^{-4\eta r t}$ follows from the ground state alone: the gap without regularisation,
# and nearly nothing when $\lambda$ is as large as the kernel.

# %%
kernel = qs.kernels.infinite_width(net)
shifts = np.geomspace(1e-6, 1.0, 7)
flows = [
    qs.dynamics.NaturalGradientFlow(kernel, hamiltonian, learning_rate=0.05, diag_shift=float(s))
    for s in shifts
]
fig, axis = plt.subplots()
axis.loglog(shifts, [flow.late_rate() for flow in flows], "o-")
levels = np.linalg.eigvalsh(hamiltonian.to_dense())
axis.axhline(levels[1] - levels[0], color="k", ls=":", label="gap")
axis.set(xlabel="diag_shift", ylabel="late rate $r$")
axis.legend()
# %% [markdown]
# ## Behind Marshall's sign
#
# The Heisenberg ring has a sign rule; as a fixed reference it leaves a positive function to the network.

# %%
chain = nk.graph.Chain(SITES)
sector = nk.hilbert.Spin(0.5, SITES, total_sz=0)
heisenberg = nk.operator.Heisenberg(sector, chain, sign_rule=False)
signed = network(WIDTHS[-1], reference=qs.readout.marshall(chain))
vs = nk.vqs.FullSumState(sector, signed, seed=0)
driver = qs.driver.InfiniteWidthVMC_SR(
    heisenberg, optax.sgd(0.05), variational_state=vs, diag_shift=1e-2
)
energy = driver.predict([0, STEPS])["Energy"]
print(f"{energy[0]:.4f} -> {energy[1]:.4f}, exact {nk.exact.lanczos_ed(heisenberg)[0]:.4f}")

# %% [markdown]
# ## A quench
#
# In real time the same kernel gives Schrödinger's equation when nothing is regularised.

# %%
phases = qs.models.CosNet(64, 0.4, 2.5, output="log_psi")
vs = nk.vqs.FullSumState(hi, phases, seed=0)
psi = np.asarray(vs.to_array())
tdvp = qs.driver.InfiniteWidthTDVP(hamiltonian, vs, nk.experimental.dynamics.RK4(dt=0.005))
tdvp.run(0.2, show_progress=False)
evolved = scipy.linalg.expm(-0.2j * hamiltonian.to_dense()) @ psi
print(
    f"infidelity with exact evolution {1 - abs(np.vdot(evolved, tdvp.state.to_array())) ** 2:.1e}"
)

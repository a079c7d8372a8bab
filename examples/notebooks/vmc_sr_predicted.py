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
# tangent kernel stands still, and the run closes in function space: three lines predict it before it starts. How far the
# kernel really stood still is drawn beside every curve.

# %%
import os

import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax
import scipy.linalg
from matplotlib.ticker import LogFormatter

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
SITES, STEPS, WIDTHS, SAMPLES = (4, 10, (8, 16, 32), 128) if QUICK else (6, 60, (32, 128, 256), 512)

# %% [markdown]
# ## Three widths, sums and samples
#
# A critical Ising ring and positive networks. Each prediction starts from the initial function of the network beside it.
# `NTKDiagnostics` logs the drift $\lVert\Theta_t-\Theta_0\rVert/\lVert\Theta_0\rVert$ of the network's own kernel.

# %%
chain = nk.graph.Chain(SITES)
hi = nk.hilbert.Spin(0.5, SITES)
ising = nk.operator.Ising(hi, chain, h=1.0)
RATE, SHIFT = 0.05, 1e-2


def network(width, **options):
    settings = {"activation": "erf", "sigma_b": 0.3, "output": "log_psi", "parts": "real"}
    return qs.models.WideMLP(widths=(width,), **(settings | options))


def trained(hamiltonian, state, steps=STEPS, shift=SHIFT):
    """Predicted and measured $E - E_0$, and the drift, of one run of NetKet's driver."""
    exact = float(nk.exact.lanczos_ed(hamiltonian)[0])
    options = {"variational_state": state, "diag_shift": shift}
    theory = qs.driver.InfiniteWidthVMC_SR(hamiltonian, optax.sgd(RATE), **options)
    predicted = theory.predict(np.arange(steps))["Energy"] - exact
    # Full sums are solved in the space of parameters; samples in their own, which is the smaller one.
    space = {"use_ntk": isinstance(state, nk.vqs.MCState), "on_the_fly": False}
    driver = nk.driver.VMC_SR(hamiltonian, optax.sgd(RATE), **space, **options)
    watch = qs.callbacks.NTKDiagnostics(
        max(1, STEPS // 10), batch=state.hilbert.all_states(), of="log_psi", energy_modes=False
    )
    log = nk.logging.RuntimeLog()
    driver.run(steps, out=log, callback=watch, show_progress=False)
    measured = np.real(np.asarray(log["Energy"]["Mean"])) - exact
    return predicted, measured, log.data.get("ntk/drift")


def compare(axis, axis_of_drift, hamiltonian, make_state):
    """Three widths: lines are predicted, dots measured; below, the drift of each."""
    for width, colour, marker in zip(WIDTHS, qs.plot.COLOURS, "os^"):
        predicted, measured, drift = trained(hamiltonian, make_state(width))
        # Sampled energies scatter about E₀ in the end.
        shown = {"marker": marker, "ms": 3.5, "markevery": max(1, len(measured) // 20)}
        axis.semilogy(np.abs(measured), ls="", color=colour, label=f"width {width}", **shown)
        axis.semilogy(predicted, "-", color=colour)
        axis_of_drift.plot(drift.iters, drift.values, "-", marker=marker, ms=4, color=colour)
        final = abs(measured[-1] / predicted[-1] - 1)
        print(
            f"width {width:4d}: last energies differ by {final:.0%}, drift {drift.values[-1]:.0%}"
        )
    axis_of_drift.set_xlabel("step")


figure, axes = plt.subplots(
    2, 2, figsize=(8.4, 6.0), sharex=True, sharey="row", layout="constrained"
)
print("sums over the basis")
compare(*axes[:, 0], ising, lambda width: nk.vqs.FullSumState(hi, network(width), seed=1))
print(f"{SAMPLES} samples")
sampler = nk.sampler.ExactSampler(hi)
compare(
    *axes[:, 1],
    ising,
    lambda width: nk.vqs.MCState(
        sampler, network(width), n_samples=SAMPLES, seed=1, sampler_seed=2
    ),
)
axes[0, 0].set(ylabel="$E - E_0$", title="FullSumState")
axes[0, 1].set(title=f"MCState, {SAMPLES} samples")
axes[1, 0].set(ylabel="drift of the kernel")
axes[0, 0].legend(title="lines: predicted", frameon=False)
plt.show()

# %% [markdown]
# The wider the network, the smaller the drift and the nearer the run to its prediction: width 32 misses the first twenty
# steps, where its kernel moves by a third. With samples the noise comes on
# top, of the order of $\sigma_E/\sqrt{n}$, and shrinks with the variance as the run converges.

# %% [markdown]
# ## What `diag_shift` does
#
# Steps until $E - E_0$ is a fifth of what it was, predicted and measured. Small shifts are all alike: exact imaginary
# time for what the kernel can move. Beyond, a step moves fewer and fewer directions of the wave function. The late rate $r$ of
# $E - E_0\sim e^{-4\eta r t}$ follows from the ground state alone: the gap without regularisation, and nearly nothing
# when $\lambda$ is as large as the kernel.


# %%
def steps_to(curve, fraction=0.2):
    """The first step below a fraction of the start, or nan."""
    below = curve < fraction * curve[0]
    return float(np.argmax(below)) if below.any() else np.nan


shifts = (1e-6, 1e-2, 1e-1) if QUICK else np.geomspace(1e-6, 1.0, 7)
middle = WIDTHS[1]
predicted_steps, measured_steps, drifts = [], [], []
for shift in shifts:
    limit = 50 if QUICK else int(60 + 100 * shift)
    state = nk.vqs.FullSumState(hi, network(middle), seed=1)
    predicted, measured, drift = trained(ising, state, limit, float(shift))
    predicted_steps.append(steps_to(predicted))
    measured_steps.append(steps_to(measured))
    drifts.append(drift.values[-1])
    print(
        f"diag_shift {shift:.0e}: {predicted_steps[-1]:.0f} predicted, {measured_steps[-1]:.0f} measured, "
        f"drift {drifts[-1]:.0%}"
    )

kernel = qs.kernels.infinite_width(network(middle))
rates = [
    qs.dynamics.NaturalGradientFlow(
        kernel, ising, learning_rate=RATE, diag_shift=float(s)
    ).late_rate()
    for s in shifts
]
levels = np.linalg.eigvalsh(ising.to_dense())
figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.4), layout="constrained")
axes[0].loglog(shifts, predicted_steps, "-", color="C0", label="predicted")
axes[0].loglog(shifts, measured_steps, "o", color="C1", label=f"VMC_SR, width {middle}")
axes[0].set(xlabel="diag_shift", ylabel="steps to a fifth of $E - E_0$")
axes[0].yaxis.set_major_formatter(LogFormatter())
axes[0].yaxis.set_minor_formatter(LogFormatter())
axes[0].legend(frameon=False)
axes[1].semilogx(shifts, drifts, "o-", color="C1")
axes[1].set(xlabel="diag_shift", ylabel="drift at the end of the run")
axes[2].loglog(shifts, rates, "o-")
axes[2].axhline(levels[1] - levels[0], color="k", ls=":", label="gap")
axes[2].set(xlabel="diag_shift", ylabel="late rate $r$")
axes[2].legend(frameon=False)
plt.show()

# %% [markdown]
# ## Behind Marshall's sign
#
# The Heisenberg ring has a sign rule; as a fixed reference it leaves a positive function to the network. NetKet's driver
# beside the prediction, in the sector without magnetisation.

# %%
sector = nk.hilbert.Spin(0.5, SITES, total_sz=0)
heisenberg = nk.operator.Heisenberg(sector, chain, sign_rule=False)
marshall = qs.readout.marshall(chain)
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
compare(
    *axes,
    heisenberg,
    lambda width: nk.vqs.FullSumState(sector, network(width, reference=marshall), seed=1),
)
axes[0].set(xlabel="step", ylabel="$E - E_0$", title="Heisenberg ring")
axes[0].legend(title="lines: predicted", frameon=False)
axes[1].set(ylabel="drift of the kernel")
plt.show()

# %% [markdown]
# ## A quench
#
# In real time the same kernel gives Schrödinger's equation when nothing is regularised: the transverse magnetisation of
# a network with a phase, and exact evolution of the same wave function.

# %%
phases = qs.models.CosNet(64, 0.4, 2.5, output="log_psi")
vs = nk.vqs.FullSumState(hi, phases, seed=0)
psi = np.asarray(vs.to_array())
dense = ising.to_dense()
field = sum(nk.operator.spin.sigmax(hi, i) for i in range(SITES)) / SITES
tdvp = qs.driver.InfiniteWidthTDVP(ising, vs, nk.experimental.dynamics.RK4(dt=0.005))
log = nk.logging.RuntimeLog()
times = np.linspace(0.0, 0.4, 9)
tdvp.run(times[-1], out=log, obs={"x": field}, tstops=times, show_progress=False)
evolved = [scipy.linalg.expm(-1j * t * dense) @ psi for t in times]
exact = [np.vdot(v, field.to_dense() @ v).real for v in evolved]
figure, axis = plt.subplots(figsize=(5.0, 3.4), layout="constrained")
axis.plot(times, exact, "-", label="exact")
axis.plot(log.data["x"].iters, np.real(log.data["x"].Mean), "o", label="TDVP at infinite width")
axis.set(xlabel="time", ylabel=r"$\langle\sigma^x\rangle$")
axis.legend(frameon=False)
plt.show()
off = 1 - abs(np.vdot(evolved[-1], tdvp.state.to_array())) ** 2
print(f"infidelity with exact evolution {off:.1e}")

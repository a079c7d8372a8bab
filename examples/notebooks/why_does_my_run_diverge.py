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
# # Why does my run diverge?
#
# Four runs that people write to mailing lists about: the learning rate is too high, `diag_shift` is too small, the
# initial parameters are too large, or the network cannot represent the ground state at all. Each is diagnosed here
# twice: by `qs.advise` before the first step, and by `qs.callbacks.NTKDiagnostics` while it runs.

# %%
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

# Set by continuous integration; leave it unset to see the numbers of the text.
QUICK = os.environ.get("NETKET_QSNTK_QUICK") == "1"
SITES, SAMPLES, STEPS, EVERY = (6, 256, 20, 5) if QUICK else (10, 512, 60, 6)

hilbert = nk.hilbert.Spin(0.5, SITES)
hamiltonian = nk.operator.IsingJax(hilbert, nk.graph.Chain(SITES), h=1.0, J=-1.0)
exact = float(nk.exact.lanczos_ed(hamiltonian)[0])

# %% [markdown]
# The network: one hidden layer with biases and an even activation. Without biases and with tanh it is *odd*:
# $\log\psi(-x) = -\log\psi(x)$.


# %%
class Network(nn.Module):
    """log ψ of one hidden layer."""

    width: int = 16
    scale: float = 1.0
    odd: bool = False

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        draw = nn.initializers.normal(self.scale / x.shape[-1] ** 0.5)
        hidden = nn.Dense(self.width, use_bias=not self.odd, kernel_init=draw, param_dtype=float)(x)
        shape = jnp.tanh if self.odd else nk.nn.activation.log_cosh
        readout = nn.initializers.normal(self.scale / self.width**0.5)
        value = nn.Dense(1, use_bias=False, kernel_init=readout, param_dtype=float)(shape(hidden))
        return value[..., 0]


def make_state(**network):
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=32)
    return nk.vqs.MCState(sampler, Network(**network), n_samples=SAMPLES, seed=1)


# %% [markdown]
# ## Before the run
#
# One call, a line for every setting, with its reason.

# %%
good = qs.advise(make_state(), hamiltonian)
print(good)

# %% [markdown]
# Now the four mistakes, one at a time. `advice.stable_below(diag_shift)` is the largest stable rate with a shift of
# one's own; `advice.findings` are the named ones.

# %%
rate, shift = good.learning_rate, good.diag_shift
RUNS = {
    "as recommended": ({}, rate, shift),
    "rate too high": ({}, 5 * good.max_learning_rate, shift),
    "shift too small": ({}, rate, 1e-4 * shift),
    "initial scale too large": ({"scale": 6.0}, rate, shift),
    "odd network": ({"odd": True}, rate, shift),
}
before = {
    name: qs.advise(make_state(**network), hamiltonian) for name, (network, *_) in RUNS.items()
}
print(f"{'':25}{'η':>8}{'λ':>10}{'stable below':>14}{'trained':>9}{'resolved':>10}  verdict")
for name, (_, eta, lam) in RUNS.items():
    limit, resolved = before[name].stable_below(lam), before[name].resolved_modes
    trained = before[name].modes.trained(lam)
    verdict = [finding.name for finding in before[name].findings]
    if eta > limit:
        verdict.insert(0, f"η/stable = {eta / limit:.2f}")
    print(
        f"{name:25}{eta:8.3f}{lam:10.2g}{limit:14.3f}{trained:9.0f}{resolved:10d}  {', '.join(verdict) or 'fine'}"
    )

# %% [markdown]
# *Trained* is the number of modes of the tangent kernel that SR moves with this shift, *resolved* the number whose force
# stands above the noise of the samples. The first mistake is five times beyond the edge of stability. The second has
# the recommended rate, and is beyond the edge all the same: without a shift that holds them back SR trains far more
# modes than the samples know. Large initial parameters are found, and the factor that mends them: the rest of that
# line is for the network so scaled. The odd network is stable and fails: what it cannot reach, no rate will reach. The
# messages say what to do:

# %%
for name in ("initial scale too large", "odd network"):
    print(name)
    for finding in before[name].findings:
        print(f"    {finding}")
print(f"\nThe lines to type for the former:\n{before['initial scale too large'].call}")

# %% [markdown]
# ## While they run
#
# The same five, with one callback. `ntk/edge` is the distance to the edge of stability for the driver's own
# optimiser, rate and shift: below 1 the run is beyond it. `ntk/effective_samples` is what the chains are worth.


# %%
def watch(network, eta, lam, factor=1.0):
    state = make_state(**network)
    state.parameters = jax.tree.map(lambda p: factor * p, state.parameters)
    driver = nk.driver.VMC_SR(
        hamiltonian, optax.sgd(eta), variational_state=state, diag_shift=lam, use_ntk=False
    )
    log = nk.logging.RuntimeLog()
    diagnostics = qs.callbacks.NTKDiagnostics(EVERY, 64)
    driver.run(STEPS, out=log, callback=diagnostics, show_progress=False)
    return log.data


logs = {name: watch(*settings) for name, settings in RUNS.items()}

# %%
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def panel(ax, key, title, reference=None):
    for (name, log), style, colour in zip(logs.items(), STYLES, qs.plot.COLOURS, strict=False):
        shown = np.asarray(log[key].values, dtype=float)
        ax.semilogy(log[key].iters, shown, "o", ms=3, ls=style, color=colour, label=name)
    if reference is not None:
        ax.axhline(reference, color="k", lw=0.8)
    ax.set(xlabel="step", title=title)


figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.0), layout="constrained")
for (name, log), style, colour in zip(logs.items(), STYLES, qs.plot.COLOURS, strict=False):
    error = np.abs(np.real(log["Energy"].Mean) - exact) / abs(exact)
    axes[0].semilogy(error, ls=style, color=colour, label=name)
axes[0].set(xlabel="step", title="relative error of the energy", ylim=(1e-5, 30))
panel(axes[1], "ntk/edge", "distance to the edge (below 1: unstable)", 1.0)
axes[1].set_ylim(0.03, 30)
panel(axes[2], "ntk/effective_samples", f"effective samples of {SAMPLES}")
figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
)
plt.show()

# %% [markdown]
# The recommended run settles at an error below $10^{-3}$, inside the edge. The rate that is too high throws the
# parameters off within a few steps, until they are no numbers: the callback says so in a warning, and has one point to
# show, far below the line. The shift that is too small starts below the line, and its energy stays at errors of order
# one. With large initial parameters the chains are worth a few dozen samples from the start, which the right panel
# alone shows: the energy of those few says nothing. The odd network grazes the line, never breaks, and stops tens of times
# above the error of the recommended run: the advice said so before the first step. How a broken run goes on is chaos, and
# differs from machine to machine; that it breaks does not.
#
# ## The cure of the third
#
# The large network again, scaled as its advice says and with the settings of that advice.

# %%
cure = before["initial scale too large"]
mended = watch({"scale": 6.0}, cure.learning_rate, cure.diag_shift, cure.initial_scale)
last = np.real(mended["Energy"].Mean)[-10:].mean()
print(
    f"η = {cure.learning_rate:.3f}, λ = {cure.diag_shift:.2g}, parameters times {cure.initial_scale:.2f}"
)
print(f"relative error of the last ten steps: {abs(last - exact) / abs(exact):.1e}")

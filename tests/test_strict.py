"""Our own arithmetic under JAX's strict modes: no shape and no dtype changes by itself.

Ranks: what is here; spectra and products of several vectors at once broadcast over leading axes on purpose. Dtypes:
what is real; complex amplitudes times real kernels are promotions on purpose too.
"""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

HILBERT = nk.hilbert.Spin(0.5, 6)
H = nk.operator.Ising(HILBERT, nk.graph.Chain(6), h=0.5)
X = np.asarray(HILBERT.all_states())
REAL = np.random.default_rng(0).normal(size=(20, 6))
TARGET = qs.targets.quench(H, initial="plus", time=1.0)
TRAIN, TEST = TARGET.split(40, seed=0)
PSI, AMPLITUDES = jnp.asarray(1.1 * TARGET.amplitudes), jnp.asarray(TARGET.amplitudes)
V = jnp.arange(1.0, 41.0)
MODELS = {
    name: qs.models.WideMLP(widths=(8, 8), activation=name, sigma_b=0.1)
    for name in ("relu", "erf", "tanh", "gelu", "sin", "cos", "gaussian", "identity")
} | {"CosNet": qs.models.CosNet(8, 1.0, 2.0), "GaussNet": qs.models.GaussNet(8, 1.0, 0.5)}
KERNELS = {name: qs.kernels.infinite_width(model) for name, model in MODELS.items()}
RELU, COS = KERNELS["relu"], KERNELS["CosNet"]
LOSSES = {
    "mse": qs.losses.MSE(TARGET),
    "infidelity": qs.losses.Infidelity(TARGET),
    "energy": qs.losses.Energy(H),
    "tomography": qs.losses.Tomography(HILBERT, [qs.losses.measure(TARGET, "XYZXYZ", 100, seed=0)]),
}
STEPS = np.array([0.0, 1.0, 10.0, np.inf])


def batch():
    return RELU.operator(TRAIN.states, hint="hypercube")


def dynamics():
    return qs.dynamics.LinearDynamics(RELU, TRAIN, learning_rate=1e-2)


REAL_JOBS = {
    "spins": lambda: qs.encodings.spins(X),
    "mse": lambda: LOSSES["mse"].value(PSI, AMPLITUDES),
    "mse, gradient": lambda: LOSSES["mse"].gradient(PSI, AMPLITUDES),
    **{f"kernel, {n}": (lambda k=k: k.both(X)) for n, k in KERNELS.items()},
    **{f"kernel of reals, {n}": (lambda k=k: k.both(REAL)) for n, k in KERNELS.items()},
    **{f"diagonals, {n}": (lambda k=k: k.diagonals(X)) for n, k in KERNELS.items()},
    "spectrum": lambda: qs.kernels.spectrum(RELU, X),
    "learning rate": lambda: qs.kernels.max_learning_rate(RELU, X),
    "dense": lambda: RELU.operator(TRAIN.states, hint="dense").matvec(V),
    "hypercube": lambda: batch().matvec(V),
    "kronecker": lambda: COS.operator(TRAIN.states, hint="kronecker").matvec(V),
    "tiled": lambda: RELU.operator(TRAIN.states, hint="tiled").matvec(V),
    "walsh-hadamard": lambda: qs.operators.walsh_hadamard(jnp.arange(64.0)),
}
JOBS = REAL_JOBS | {
    **{f"{n}, value": (lambda f=f: f.value(PSI, AMPLITUDES)) for n, f in LOSSES.items()},
    **{f"{n}, gradient": (lambda f=f: f.gradient(PSI, AMPLITUDES)) for n, f in LOSSES.items()},
    "quantum-state kernel": lambda: RELU.qsntk(X).omega,
    "lanczos": lambda: qs.operators.lanczos(batch(), V).apply(jnp.exp),
    "conjugate residuals": lambda: qs.operators.conjugate_residuals(batch(), V),
    "curves": lambda: dynamics().curves(STEPS, TEST),
    "losses": lambda: dynamics().losses(STEPS, TRAIN),
    "mean": lambda: dynamics().mean(STEPS, TEST.states),
}


@pytest.mark.thorough
@pytest.mark.parametrize("job", JOBS)
def test_no_rank_is_raised_in_silence(job):
    with jax.numpy_rank_promotion("raise"):
        JOBS[job]()


@pytest.mark.thorough
@pytest.mark.parametrize("job", REAL_JOBS)
def test_no_dtype_changes_in_silence(job):
    with jax.numpy_dtype_promotion("strict"):
        REAL_JOBS[job]()

"""What a user sees of every public object: a summary of a line or three, never its numbers."""

import inspect
import re
from functools import cache

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs

HILBERT = nk.hilbert.Spin(0.5, 6)
H = nk.operator.Ising(HILBERT, nk.graph.Chain(6), h=0.5)
X = HILBERT.all_states()
TARGET = qs.targets.quench(H, initial="plus", time=1.0)
TRAIN, TEST = TARGET.split(40, seed=0)
NET = qs.models.WideMLP(widths=(16, 16), activation="erf", sigma_w=1.4, sigma_b=(0.1, 0.1, 0.0))
COS = qs.models.CosNet(16, 1.0, 2.0, parametrization="standard")
KERNEL = qs.kernels.infinite_width(NET)
FREQUENCIES = np.random.default_rng(0).normal(size=(24, 6), scale=0.1)
FOURIER = qs.models.FourierFeatures(FREQUENCIES, 1.0, NET)
GROUP = nk.graph.Chain(6).translation_group()
V, KEY = jnp.arange(40.0), jax.random.key(0)
M, K, O, D, L, N = qs.models, qs.kernels, qs.operators, qs.dynamics, qs.losses, qs.entanglement


@cache
def ensemble():
    return qs.vqs.EnsembleState(HILBERT, COS, n_members=3, seed=0)


@cache
def full_sum():
    return nk.vqs.FullSumState(HILBERT, nk.models.RBM(alpha=2), seed=0)


@cache
def sampled():
    sampler = nk.sampler.MetropolisLocal(HILBERT, n_chains=4)
    return nk.vqs.MCState(sampler, nk.models.RBM(alpha=1), n_samples=64, seed=0)


def driver(kind, state, first=TARGET, **options):
    return kind(first, optax.sgd(1e-3), variational_state=state, **options)


def diagnostics_after_a_run():
    callback = qs.callbacks.NTKDiagnostics(every=1, n_samples=8)
    driver(qs.driver.QSNTKDriver, ensemble(), n_train=40).run(
        2, callback=callback, show_progress=False
    )
    return callback


def stax():
    stax = K.load_neural_tangents().stax
    return K.from_stax(stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))[2])


def ranking():
    models = {f"σ_w = {s}": M.CosNet(1, 0.1, s) for s in np.linspace(0.5, 4.0, 12)}
    return D.rank(models, TARGET, n_train=40, steps=[1, 10, 100])


def scaling():
    return N.entropy_scaling(COS, [2, 4, 6], [4, 8, 16], n=[1, 2], n_members=3)


def product_kernel():
    return N.ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=200)


def log_network(parts="real"):
    net = M.WideMLP(widths=(8,), activation="erf", sigma_b=0.3, output="log_psi", parts=parts)
    return nk.vqs.FullSumState(HILBERT, net, seed=0)


def vmc(kind, **options):
    return kind(H, optax.sgd(0.1), variational_state=log_network(), **options)


def batch():
    return KERNEL.operator(TRAIN.states, hint="hypercube")


def linear(**options):
    return D.LinearDynamics(KERNEL, TRAIN, learning_rate=1e-2, **options)


def linearized():
    kernel = K.EmpiricalKernel(ensemble().get_state(0))
    return D.LinearizedDynamics(kernel, TRAIN, TEST, learning_rate=1e-3)


def log_normal():
    return N.gaussian_ensemble(M.CosNet(1, output="log_psi"), HILBERT)


def levels():
    return qs.learning.levels(KERNEL, HILBERT)


@cache
def advice():
    return qs.advise(full_sum(), H)


def tomography():
    bases = ("XXXXXX", "ZZZZZZ", "YYYYYY")
    return L.Tomography(HILBERT, [L.measure(TARGET, basis, 500, seed=0) for basis in bases])


# Name -> (how to make it, what its summary must say).
OBJECTS = {
    "CosNet": (lambda: COS, "width=16 sigma_w=2.0 standard"),
    "GaussNet": (lambda: M.GaussNet(8, parts="real"), "width=8 real"),
    "WideMLP": (lambda: NET, "16, 16 erf 1.4"),
    "WideMLP, own activation": (
        lambda: M.WideMLP(widths=(4,), activation=jnp.tanh, encoding=qs.encodings.fermion_sites),
        "tanh fermion_sites",
    ),
    "FourierFeatures": (lambda: FOURIER, "24 WideMLP erf"),
    "Readout": (lambda: qs.readout.Readout("log_psi"), "log_psi"),
    "FixedReadout": (lambda: qs.readout.Readout("log_psi").at(X), "log"),
    "MarshallSign": (lambda: qs.readout.marshall(nk.graph.Chain(6)), "3 sites"),
    "JastrowReference": (lambda: qs.readout.jastrow(nk.graph.Chain(6), 0.1), "6 sites"),
    "NetworkReference": (
        lambda: qs.readout.as_reference(full_sum().model.bind(full_sum().variables)),
        "RBM",
    ),
    "SumOfReferences": (
        lambda: qs.readout.marshall(nk.graph.Chain(6)) + qs.readout.jastrow(nk.graph.Chain(6), 0.1),
        "MarshallSign JastrowReference",
    ),
    "DotProductKernel": (lambda: KERNEL, "WideMLP 2 erf structure= memory="),
    "DotProductKernel, Fourier": (
        lambda: K.infinite_width(FOURIER),
        "WideMLP 24 Fourier structure= memory=",
    ),
    "SymmetrizedKernel": (lambda: K.symmetrized(KERNEL, GROUP), "WideMLP 6 elements"),
    "PatchKernel": (
        lambda: K.patches(KERNEL, nk.graph.Chain(6), sites=[0, 1]),
        "WideMLP 6",
    ),
    "Symmetrized": (lambda: M.Symmetrized(NET, GROUP), "WideMLP 6 elements"),
    "InfiniteWidth": (lambda: M.InfiniteWidth(KERNEL, X[:10]), "WideMLP 10 centres ntk"),
    "Projection": (lambda: qs.symmetry.projection(GROUP), "6 elements character"),
    "HammingTable": (lambda: KERNEL.structure(HILBERT), "d=6 Hamming distance"),
    "SiteProduct": (
        lambda: K.infinite_width(COS).structure(nk.hilbert.Fock(2, 4)),
        "d=4 product over sites",
    ),
    "Unstructured": (lambda: K.infinite_width(FOURIER).structure(HILBERT), "because"),
    "GaussianProcess": (lambda: qs.process.GaussianProcess.of(NET, HILBERT), "WideMLP psi"),
    "LogNormalEnsemble": (log_normal, "HammingEnsemble 6 sites"),
    "Parting": (lambda: N.parting(log_normal()), "parted"),
    "EntropyDensity": (
        lambda: N.entropy_density(KERNEL, log_modulus=0.1, phase=0.2),
        "of at most volume law",
    ),
    "Levels": (levels, "7 levels 6 spins"),
    "TargetPower": (lambda: qs.learning.target_power(TARGET), "7 levels participation"),
    "LearningCurve": (
        lambda: qs.learning.learning_curve(levels(), qs.learning.target_power(TARGET), [10, 20]),
        "2 sizes",
    ),
    "StochasticCurve": (
        lambda: qs.learning.stochastic_curve(
            levels(),
            qs.learning.target_power(TARGET),
            np.arange(9),
            learning_rate=0.01,
            batch_size=8,
        ),
        "sgd 9",
    ),
    "ChainState": (lambda: qs.learning.ChainState([np.ones((2, 1, 1))] * 100), "100 sites"),
    "Entries": (lambda: K.Entries(KERNEL, "ntk"), "ntk WideMLP"),
    "Projected": (
        lambda: K.symmetrized(KERNEL, nk.graph.Chain(12).translation_group()).operator(
            nk.hilbert.Spin(0.5, 12).all_states()
        ),
        "4096 × 4096 memory=",
    ),
    "TangentModes": (
        lambda: qs.advice.TangentModes(*[np.ones(3)] * 4, 0.0, None, None, 3.0, 1e-16, 64),
        "3 modes",
    ),
    "Advice": (advice, "learning_rate diag_shift"),
    "Finding": (lambda: advice().findings[0], "name message"),
    "AdaptiveShift": (lambda: qs.callbacks.AdaptiveShift(), "diag_shift bounds"),
    "Recentre": (lambda: qs.callbacks.Recentre(every=10), "every=10"),
    "DotProductKernel, formula": (
        lambda: K.DotProductKernel(KERNEL.formula),
        "erf structure= memory=",
    ),
    "StaxKernel": (stax, "neural-tangents structure= memory="),
    "EmpiricalKernel": (
        lambda: K.EmpiricalKernel(ensemble().get_state(0)),
        "CosNet 16 layers memory= parameters",
    ),
    "EmpiricalKernel, any": (lambda: K.EmpiricalKernel(full_sum()), "RBM jacobian memory="),
    "EmpiricalKernel, function": (
        lambda: K.EmpiricalKernel((lambda v, x: v["params"] * x.sum(-1), {"params": jnp.ones(())})),
        "apply_fun memory=",
    ),
    "QSNTK": (lambda: K.empirical(full_sum(), X), "64 decoupled memory="),
    "Spectrum": (lambda: K.spectrum(KERNEL, X, residual=TARGET.amplitudes), "64 rank"),
    "DefinitenessReport": (lambda: K.positive_definiteness(KERNEL, X), "64 positive"),
    "Dense": (lambda: KERNEL.operator(X, TRAIN.states, hint="dense"), "64 × 40 memory="),
    "Hypercube": (batch, "40 × 40 memory="),
    "Kronecker": (lambda: K.infinite_width(COS).operator(X, hint="kronecker"), "memory="),
    "Tiled": (lambda: KERNEL.operator(X, hint="tiled"), "64 × 64 memory="),
    "Sum": (lambda: batch() + KERNEL.operator(TRAIN.states, hint="dense"), "memory="),
    "ScaledIdentity": (lambda: O.ScaledIdentity(2.0, 40, jnp.float64), "40 × 40"),
    "BasisIndex": (lambda: batch().rows, "64"),
    "Eigendecomposition": (lambda: KERNEL.operator(X).eigh(), ""),
    "Eigendecomposition, stored": (lambda: KERNEL.operator(X, hint="dense").eigh(), ""),
    "Krylov": (lambda: O.lanczos(batch(), V), "40 memory="),
    "FunctionResult": (lambda: O.apply_function(batch(), V, jnp.exp), "(40,) steps="),
    "Solution": (lambda: O.conjugate_residuals(batch(), V), "(40,) residual converged=True"),
    "Estimate": (lambda: O.trace_of_function(batch(), jnp.exp, key=KEY), "mean n_samples=32"),
    "Estimate of many": (
        lambda: O.estimate_diagonal(batch().matvec, 40, key=KEY),
        "(40,) n_samples=32",
    ),
    "LinearDynamics": (linear, "n_train=40 erf"),
    "ProductDynamics": (lambda: linear(solver="products"), "n_train=40 products Hypercube"),
    "Losses": (lambda: linear().losses(np.arange(50), TEST), "(50,)"),
    "Curves": (lambda: linear().curves(np.arange(50), TEST), "(50,)"),
    "LinearizedDynamics": (linearized, "n_train=40 CosNet"),
    "LinearizedCurves": (lambda: linearized().curves(np.arange(50)), "(50,)"),
    "Posterior": (lambda: D.Posterior(KERNEL, TRAIN, noise=1e-3), "n_train=40 noise=0.001"),
    "FunctionSpaceFlow": (
        lambda: D.FunctionSpaceFlow(KERNEL, L.Energy(H), learning_rate=0.1),
        "Energy Ising memory=",
    ),
    "NaturalGradientFlow": (
        lambda: D.NaturalGradientFlow(KERNEL, H, learning_rate=0.1, diag_shift=1e-3),
        "Energy cholesky 0.001 n_states=64",
    ),
    "Ranking": (ranking, "12 σ_w"),
    "RankCorrelation": (
        lambda: D.rank_correlation([1, 2, 3, 4], [[1], [2], [4], [3]]),
        "correlation=0.8",
    ),
    "Target": (lambda: TARGET, "64 states"),
    "Dataset": (lambda: TRAIN, "40 configurations"),
    "MSE": (lambda: L.MSE(TARGET), "64 states"),
    "Infidelity": (lambda: L.Infidelity(TARGET), "64 states"),
    "Energy": (lambda: L.Energy(H.to_local_operator()), "LocalOperator"),
    "Energy of strings": (
        lambda: L.Energy(H.to_local_operator().to_pauli_strings()),
        "PauliStrings",
    ),
    "Tomography": (tomography, "3 bases 1500 shots"),
    "Measurement": (lambda: tomography().measurements[0], "XXXXXX 500 shots"),
    "EnsembleState": (ensemble, "CosNet n_members=3"),
    "InfiniteState": (lambda: qs.vqs.InfiniteState(HILBERT, COS), "CosNet steps=0"),
    "QSNTKDriver": (
        lambda: driver(qs.driver.QSNTKDriver, ensemble(), n_train=40),
        "MSE n_train=40 n_members=3",
    ),
    "QSNTKDriver, full sum": (
        lambda: driver(qs.driver.QSNTKDriver, full_sum(), n_train=40),
        "FullSumState RBM",
    ),
    "QSNTKDriver, from samples": (
        lambda: driver(qs.driver.QSNTKDriver, sampled(), loss="infidelity", sampling="both"),
        "Infidelity both MCState RBM",
    ),
    "LinearizedDriver": (
        lambda: driver(qs.driver.LinearizedDriver, ensemble(), n_train=40),
        "n_train=40 n_members=3",
    ),
    "InfiniteWidthDriver": (
        lambda: driver(
            qs.driver.InfiniteWidthDriver, qs.vqs.InfiniteState(HILBERT, NET), n_train=40
        ),
        "n_train=40 WideMLP",
    ),
    "FunctionSpaceDriver": (
        lambda: driver(qs.driver.InfiniteWidthDriver, qs.vqs.InfiniteState(HILBERT, NET), H),
        "Energy n_members=8",
    ),
    "InfiniteWidthVMC": (lambda: vmc(qs.driver.InfiniteWidthVMC), "gradient n_members=1"),
    "InfiniteWidthVMC_SR": (
        lambda: vmc(qs.driver.InfiniteWidthVMC_SR, diag_shift=1e-3),
        "0.001 step_count=0",
    ),
    "InfiniteWidthTDVP": (
        lambda: qs.driver.InfiniteWidthTDVP(
            H, log_network("independent"), nk.experimental.dynamics.RK4(dt=0.1)
        ),
        "t=0.0",
    ),
    "NTKDiagnostics": (diagnostics_after_a_run, "every=1 n_samples=8"),
    "EntanglementEntropy": (
        lambda: qs.observable.EntanglementEntropy(HILBERT, [0, 1, 2]),
        "[0, 1, 2]",
    ),
    "EnsembleEntropy": (lambda: qs.observable.EnsembleEntropy(HILBERT, [0, 1]), "quenched"),
    "ProductKernel": (product_kernel, "200 sites"),
    "ProductEnsemble": (
        lambda: N.ProductEnsemble.from_parts(product_kernel(), product_kernel()),
        "200 sites proper",
    ),
    "OverlapKernel": (lambda: N.overlap_kernel(KERNEL), "κ(1/2) κ(-1)"),
    "RandomRBM": (lambda: N.RandomRBM(2.0, 0.5), "density=2.0 sigma_w=0.5"),
    "HammingEnsemble": (
        lambda: N.HammingEnsemble.from_parts(0.5 ** np.arange(101.0)),
        "100 sites improper",
    ),
    "DenseEnsemble": (lambda: N.DenseEnsemble(np.eye(64), HILBERT), "64 states proper"),
    "ScalingTable": (scaling, "18 rows"),
    "ScalingRow": (lambda: scaling()[0], "size=2"),
    "VolumeLaw": (lambda: scaling().select(width=16, order=1).volume_law(), ""),
    "WidthExpansion": (lambda: N.width_expansion(M.CosNet(8), HILBERT, [0, 1, 2]), ""),
    "Shared": (lambda: KERNEL.operator(X, hint="shared"), "64 × 64 memory="),
    "Estimate of memory": (lambda: qs.parallel.estimate("kernel", n=5000), "kernel"),
    "SharedMatrix": (lambda: qs.parallel.SharedMatrix.of_kernel(KERNEL, X)[0], "64 × 64"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", OBJECTS)
def test_summaries_are_short_and_say_what_it_is(name):
    make, words = OBJECTS[name]
    made = make()
    text = repr(made)
    assert len(text) <= 3 * 120
    assert text.count("\n") < 3
    assert type(made).__name__ in text
    # A list of numbers is an array that was printed; tuples of widths and lists of sites are short.
    assert not re.search(r"(\d[\d.e+-]*,?\s+){8}", text)
    assert " at 0x" not in text
    for word in words.split(" "):
        assert word in text


def test_every_public_class_is_here():
    made = {name.partition(",")[0].partition(" of ")[0] for name in OBJECTS}
    abstract = {
        "InfiniteWidthKernel",
        "KernelOperator",
        "Loss",
        "WaveFunction",
        "Reference",
        "FunctionSpaceVMC",
        "Formula",  # the kernel of an architecture, which it is printed as
        "BasisModes",
    }
    for namespace in set(qs.__all__) - {"errors", "advise"}:
        module = getattr(qs, namespace)
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                assert name in made | abstract | {"Shares", "Ranks"}, f"qs.{namespace}.{name}"

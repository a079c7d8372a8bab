"""Infinite-width kernels against mpmath at 50 digits, Monte Carlo and quadrature."""

import warnings

import jax
import jax.numpy as jnp
import mpmath as mp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

D = 12
ONES = np.ones(D)
RNG = np.random.default_rng(0)
R, S = RNG.normal(size=(2, D))
SITES = np.array([1.5, -0.5, 0.5, -1.5] * 3)


def flipped(k: int) -> np.ndarray:
    return np.where(np.arange(D) < k, -1.0, 1.0)


SPINS = [(ONES, flipped(k)) for k in (0, 1, 5, 11, 12)]
FERMIONS = [
    (SITES, SITES),
    (SITES, -SITES),
    (np.full(D, 1.5), np.full(D, 0.5)),
    (np.full(D, 1.5), np.full(D, -0.5)),
    (SITES, np.roll(SITES, 1)),
]
REALS = [
    (R, R),
    (R, -R),
    (R, S),
    (R, R + 1e-6 * S),
    (R, R + 1e-9 * S),
    (R, -R + 1e-7 * S),
    (R, 3 * R),
    (R, 2 * R + 1e-7 * S),
]


def pairs_of(kernel, pairs):
    x, y = (np.stack(t) for t in zip(*pairs, strict=True))
    nngp, ntk = kernel.both(x, y)
    return np.stack([np.diag(nngp), np.diag(ntk)], axis=1)


def agree(found, exact, digits=1e-12):
    for got, want in zip(found, exact, strict=True):
        for g, w in zip(got, want, strict=True):
            # A value that is zero in exact arithmetic has no relative accuracy.
            assert abs(mp.mpf(float(g)) - w) <= digits * max(abs(w), mp.mpf("1e-35"))


@pytest.mark.parametrize("pairs", [SPINS, FERMIONS, REALS], ids=["spins", "fermions", "reals"])
@pytest.mark.parametrize(
    "activation", ["relu", "erf", "sin", "cos", "gaussian", "gelu", "identity"]
)
def test_shallow_networks_to_1e_12(activation, pairs, oracles):
    for sigma_w, sigma_b in ((0.25, 0.01), (1.5, 0.0)):
        model = qs.models.WideMLP(
            widths=(8,), activation=activation, sigma_w=sigma_w, sigma_b=sigma_b
        )
        found = pairs_of(qs.kernels.infinite_width(model), pairs)
        exact = [
            oracles.perceptron(oracles.DUALS[activation], (sigma_w,) * 2, (sigma_b,) * 2, x, y)
            for x, y in pairs
        ]
        agree(found, exact)


@pytest.mark.thorough
@pytest.mark.parametrize("pairs", [SPINS, FERMIONS, REALS], ids=["spins", "fermions", "reals"])
@pytest.mark.parametrize("activation", ["relu", "erf", "sin"])
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_deep_networks_to_1e_12(activation, pairs, parametrization, oracles):
    sigma_w, sigma_b = (0.7, 1.4, 1.1, 0.9), (1e-4, 0.3, 0.0, 0.05)
    model = qs.models.WideMLP(
        widths=(8, 8, 8),
        activation=activation,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        parametrization=parametrization,
    )
    options = {"standard": parametrization == "standard"}
    exact = [
        oracles.perceptron(oracles.DUALS[activation], sigma_w, sigma_b, x, y, **options)
        for x, y in pairs
    ]
    agree(pairs_of(qs.kernels.infinite_width(model), pairs), exact)


@pytest.mark.thorough
@pytest.mark.parametrize(("sigma_w", "distance"), [(0.25, 5), (1.5, 3)])
def test_tanh_by_quadrature_to_1e_12(sigma_w, distance, oracles):
    model = qs.models.WideMLP(widths=(8,), activation="tanh", sigma_w=sigma_w, sigma_b=0.1)
    pair = (ONES, flipped(distance))
    exact = oracles.perceptron(oracles.DUALS["tanh"], (sigma_w,) * 2, (0.1,) * 2, *pair)
    agree(pairs_of(qs.kernels.infinite_width(model), [pair]), [exact])


def test_tanh_of_equal_and_antipodal_inputs(oracles):
    model = qs.models.WideMLP(widths=(8,), activation="tanh", sigma_w=1.5)
    found = pairs_of(qs.kernels.infinite_width(model), [(ONES, ONES), (ONES, -ONES)])
    with mp.workdps(25):
        gauss = lambda f: mp.quad(lambda z: mp.npdf(z) * f(mp.mpf(1.5) * z), [-12, 0, 12])  # noqa: E731
        tau, slope = gauss(lambda t: mp.tanh(t) ** 2), gauss(lambda t: mp.sech(t) ** 4)
    nngp = mp.mpf(1.5) ** 2 * tau
    ntk = nngp + mp.mpf(1.5) ** 4 * slope
    agree(found, [(nngp, ntk), (-nngp, -ntk)])


@pytest.mark.parametrize("network", ["CosNet", "GaussNet"])
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_cosnet_and_gaussnet_to_1e_12(network, parametrization):
    a, w = 1.7, 1.3
    model = getattr(qs.models, network)(8, sigma_a=a, sigma_w=w, parametrization=parametrization)
    for pairs in (SPINS, REALS):
        exact = []
        with mp.workdps(50):
            for x, y in pairs:
                u, v = ([mp.mpf(float(t)) for t in z] for z in (x, y))
                square = mp.fsum((s - t) ** 2 for s, t in zip(u, v, strict=True))
                ma, mw = mp.mpf(a), mp.mpf(w)
                nngp = ma**2 * mp.exp(-(mw**2) * square / (2 * D))
                nngp /= 2 if network == "CosNet" else 1
                standard = parametrization == "standard"
                readout = 1 / ma**2 if standard else mp.mpf(1)
                hidden = (1 if standard else mw**2) * mp.fdot(u, v) / D
                phase = 1 if network == "CosNet" else 0
                exact.append((nngp, nngp * (readout + hidden + phase)))
        agree(pairs_of(qs.kernels.infinite_width(model), pairs), exact)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["relu", "erf", "sin", "cos", "gaussian", "gelu"])
def test_closed_duals_agree_with_quadrature(name):
    act = qs.activations.activation(name)
    a, b, c = jnp.array([1.0, 0.3, 2.0]), jnp.array([0.5, 0.3, 2.0]), jnp.array([0.2, -0.1, 1.9])
    pair = qs.activations.Pair.of(a, b, c)
    closed, slope = act.dual(pair)
    numeric, numeric_slope = qs.activations.quadrature(act.function, 400)(pair)
    tol = 3e-3 if name == "relu" else 1e-12  # relu has a kink, where the rule converges slowly
    np.testing.assert_allclose(closed.c, numeric.c, rtol=tol)
    np.testing.assert_allclose(slope, numeric_slope, rtol=tol)
    np.testing.assert_allclose(closed.a, numeric.a, rtol=tol)


def test_the_redundant_moments_of_relu_stay_consistent():
    theta = np.array([1e-7, 1e-3, 0.1, 1.0, 2.0, 3.0, np.pi - 1e-3])
    with mp.workdps(50):
        exact = []
        for t in map(mp.mpf, theta):
            kappa = (mp.sin(t) + (mp.pi - t) * mp.cos(t)) / mp.pi
            exact.append(((1 - kappa) / 2, (1 - kappa**2) / 4))
    one = jnp.ones(len(theta))
    pair = qs.activations.Pair(
        one, one, np.cos(theta), 2 * np.sin(theta / 2) ** 2, np.sin(theta) ** 2
    )
    moments, _ = qs.activations.activation("relu").dual(pair)
    agree(np.stack([moments.gap, moments.determinant], axis=1), exact)


def test_readout_training_is_the_nngp():
    x = nk.hilbert.Spin(0.5, 4).all_states()
    for model in (
        qs.models.CosNet(8, sigma_a=1.7),
        qs.models.GaussNet(8, sigma_a=1.7),
        qs.models.WideMLP(widths=(8, 8), activation="erf", sigma_w=1.7, sigma_b=0.4),
    ):
        nngp, ntk = qs.kernels.infinite_width(model, "readout").both(x)
        np.testing.assert_allclose(ntk, nngp, rtol=1e-13)
    standard = qs.models.CosNet(8, sigma_a=1.7, parametrization="standard")
    nngp, ntk = qs.kernels.infinite_width(standard, "readout").both(x)
    np.testing.assert_allclose(ntk, nngp / 1.7**2, rtol=1e-13)
    with pytest.raises(qs.errors.InvalidModelError, match="'all' or 'readout'"):
        qs.kernels.infinite_width(standard, "hidden")


def test_the_ntk_is_the_sum_of_its_parameter_groups():
    """With σ² of each group varied, Θ is linear in them: standard and NTK parametrisations differ by σ²."""
    x = nk.hilbert.Spin(0.5, 3).all_states()
    sigma_w, sigma_b = (0.7, 1.9), (0.3, 0.5)
    options = {"widths": (8,), "activation": "erf", "sigma_w": sigma_w, "sigma_b": sigma_b}
    kernels = {
        p: qs.kernels.infinite_width(qs.models.WideMLP(**options, parametrization=p))
        for p in ("ntk", "standard")
    }
    np.testing.assert_allclose(kernels["ntk"].nngp(x), kernels["standard"].nngp(x), rtol=1e-14)
    gram = x.astype(float) @ x.T / 3
    a = sigma_w[0] ** 2 + sigma_b[0] ** 2
    c = sigma_w[0] ** 2 * gram + sigma_b[0] ** 2
    tau = 2 / np.pi * np.arcsin(2 * c / (1 + 2 * a))
    slope = 4 / np.pi / np.sqrt((1 + 2 * a) ** 2 - 4 * c**2)
    groups = [tau, np.ones_like(gram), sigma_w[1] ** 2 * slope * gram, sigma_w[1] ** 2 * slope]
    variances = [sigma_w[1] ** 2, sigma_b[1] ** 2, sigma_w[0] ** 2, sigma_b[0] ** 2]
    np.testing.assert_allclose(kernels["standard"].ntk(x), sum(groups), rtol=1e-12)
    scaled = sum(v * g for v, g in zip(variances, groups, strict=True))
    np.testing.assert_allclose(kernels["ntk"].ntk(x), scaled, rtol=1e-12)


def test_a_function_with_a_kink_warns_and_a_smooth_one_does_not():
    with pytest.warns(qs.errors.InaccurateKernelWarning, match="leaky_relu"):
        qs.kernels.infinite_width(qs.models.WideMLP(widths=(4,), activation=jax.nn.leaky_relu))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sigma_w in (0.25, 2.5):
            qs.kernels.infinite_width(
                qs.models.WideMLP(widths=(4,), activation=jax.nn.silu, sigma_w=sigma_w)
            )

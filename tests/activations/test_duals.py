"""Duals against 80 digits: values, slopes, and the redundant moments that deep layers live on."""

import pickle
import warnings

import jax
import jax.numpy as jnp
import mpmath as mp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.activations import Pair, activation

DIGITS = 80


def gelu(a, b, c):
    det, kappa = (1 + a) * (1 + b) - c * c, 1 / (1 + a) + 1 / (1 + b)
    root = mp.sqrt(det)
    value = c / 4 + (c * mp.atan(c / root) + (a * b - c * c + kappa * c * c) / root) / (2 * mp.pi)
    slope = mp.mpf(1) / 4 + (mp.atan(c / root) + c * (kappa + 1 / det) / root) / (2 * mp.pi)
    return value, slope


def erf(a, b, c):
    one = (1 + 2 * a) * (1 + 2 * b)
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(one)), 4 / mp.pi / mp.sqrt(one - 4 * c * c)


def gaussian(a, b, c):
    det = (1 + 2 * a) * (1 + 2 * b) - 4 * c * c
    return 1 / mp.sqrt(det), 4 * c / det ** mp.mpf(1.5)


def sin(a, b, c):
    scale = mp.exp(-(a + b) / 2)
    return scale * mp.sinh(c), scale * mp.cosh(c)


def cos(a, b, c):
    return sin(a, b, c)[::-1]


def relu(a, b, c):
    q = mp.sqrt(a * b)
    theta = mp.acos(max(min(c / q, mp.mpf(1)), mp.mpf(-1)))
    value = q * (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta)) / (2 * mp.pi)
    return value, (mp.pi - theta) / (2 * mp.pi)


DUALS = {f.__name__: f for f in (relu, gelu, erf, gaussian, sin, cos)}


def grid():
    """(a, b, c, gap, determinant) from tiny to huge variances, from parallel to antipodal, at full precision."""
    with mp.workdps(DIGITS):
        for exponent in (-6, -1, 0, 2, 8, 12):
            for ratio in (1, 3, 1000):
                for away in (0, 1e-12, 1e-3, 0.5, 1):
                    for sign in (1, -1):
                        a = mp.mpf(10) ** exponent
                        b = a * ratio
                        c = sign * mp.sqrt(a * b) * (1 - mp.mpf(away))
                        yield a, b, c, (a + b) / 2 - c, a * b - c * c


@pytest.mark.parametrize("name", DUALS)
def test_every_moment_keeps_its_digits_at_any_variance(name):
    rows = list(grid())
    moments, slopes = jax.device_get(
        activation(name).dual(
            Pair(*(jnp.asarray([float(t) for t in column]) for column in zip(*rows, strict=True)))
        )
    )
    dual = DUALS[name]
    with mp.workdps(DIGITS):
        for i, (a, b, c, _, _) in enumerate(rows):
            aa, bb, (cc, slope) = dual(a, a, a)[0], dual(b, b, b)[0], dual(a, b, c)
            gap, determinant = (aa + bb) / 2 - cc, aa * bb - cc * cc
            # A determinant is added to 1 + a + b: it needs its digits against that.
            scale = abs(determinant) + (0 if name == "relu" else 1 + aa + bb)
            for what, found, exact, size in (
                ("a", moments.a, aa, aa),
                ("c", moments.c, cc, abs(cc)),
                ("gap", moments.gap, gap, gap),
                ("determinant", moments.determinant, determinant, scale),
                ("slope", slopes, slope, abs(slope)),
            ):
                if abs(exact) < mp.mpf(10) ** -50 * (1 + aa) * (1 + bb):
                    assert abs(float(found[i])) < 1e-30 * float(1 + aa + bb), (what, rows[i])
                else:
                    error = abs(mp.mpf(float(found[i])) - exact) / size
                    assert error < 1e-10, (what, float(error), [float(t) for t in (a, b, c)])


def exact_kernels(dual, sigma_w, sigma_b, depth, pairs):
    """NNGP and NTK of networks with one σ for all layers at (x·x/d, y·y/d, x·y/d)."""
    with mp.workdps(DIGITS):
        w2, b2 = mp.mpf(sigma_w) ** 2, mp.mpf(sigma_b) ** 2
        for moments in pairs:
            a, b, c = (w2 * mp.mpf(float(t)) + b2 for t in moments)
            ntk = c
            for _ in range(depth):
                value, slope = dual(a, b, c)
                a, b, c = (w2 * t + b2 for t in (dual(a, a, a)[0], dual(b, b, b)[0], value))
                ntk = c + w2 * slope * ntk
            yield c, ntk


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "depth"),
    [
        ("gelu", 30.0, 10.0, 3),
        ("gelu", 10.0, 1.0, 4),
        ("gelu", 2.0, 0.1, 20),
        ("relu", 2.0, 0.1, 20),
        ("erf", 30.0, 1.0, 4),
        ("erf", 3.0, 0.1, 12),
        ("gaussian", 30.0, 3.0, 4),
        ("sin", 4.0, 0.3, 8),
        ("cos", 4.0, 0.3, 8),
    ],
)
def test_deep_networks_of_any_sigma_to_1e_10(name, sigma_w, sigma_b, depth):
    model = qs.models.WideMLP(
        widths=(1,) * depth, activation=name, sigma_w=sigma_w, sigma_b=sigma_b
    )
    spins = np.ones((4, 6))
    for row, flips in enumerate((0, 1, 3, 6)):
        spins[row, :flips] = -1
    bosons = np.asarray(
        [[0, 1, 2, 0, 3, 1], [1, 1, 2, 0, 3, 1], [0, 3, 6, 0, 9, 3], [5, 0, 0, 7, 0, 0]]
    )
    kernel = qs.kernels.infinite_width(model)
    for x in (spins, bosons):
        gram = x.astype(float) @ x.T / 6
        pairs = [(gram[0, 0], gram[i, i], gram[0, i]) for i in range(len(x))]
        found = np.stack([np.asarray(t)[0] for t in kernel.both(x)], axis=1)
        exact = list(exact_kernels(DUALS[name], sigma_w, sigma_b, depth, pairs))
        for got, want, own in zip(found, exact, [exact[0]] * 4, strict=True):
            for g, w, scale in zip(got, want, own, strict=True):
                # Relative to the value, or, where distant inputs are all but uncorrelated, to the diagonal.
                assert abs(mp.mpf(float(g)) - w) < 1e-10 * max(abs(w), 1e-4 * abs(scale))


SMOOTH = {
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "snake": lambda z: z + jnp.sin(z) ** 2,
    "square": lambda z: z * z,
}


def by_brute_force(function, a, b, c):
    """E[φ(u)φ(v)], E[φ'(u)φ'(v)] by 1101² nodes."""
    z = np.linspace(-8.7, 8.7, 1101)
    w = np.exp(-z * z / 2)
    w /= w.sum()
    u = np.sqrt(a) * z
    v = (c / np.sqrt(a) * z)[:, None] + np.sqrt(max(b - c * c / a, 0.0)) * z[None, :]
    at = jnp.asarray(np.concatenate([u, v.ravel()]))
    for values in jax.jvp(function, (at,), (jnp.ones_like(at),)):
        of_u, of_v = np.split(np.asarray(values), [len(u)])
        yield float(w @ (of_u * (of_v.reshape(v.shape) @ w)))


@pytest.mark.thorough
@pytest.mark.parametrize("name", SMOOTH)
def test_quadratures_follow_the_deviation(name):
    function = SMOOTH[name]
    for deviation in (0.3, 1.5, 12.0):
        act = activation(function).resolved(deviation)
        a = deviation**2
        # The last is parallel: v is a fifth of u.
        b = a * np.asarray([1, 0.7, 1, 1 / 9, 1 / 25])
        c = a * np.asarray([1, 0.6, -0.999, 0.0, 1 / 5])
        moments, slopes = jax.jit(act.dual)(Pair.of(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c)))
        sizes = np.asarray(moments.a + moments.b)
        for i, size in enumerate(sizes):
            value, derivative = by_brute_force(function, a, b[i], c[i])
            assert abs(float(moments.c[i]) - value) < 1e-11 * size
            assert abs(float(slopes[i]) - derivative) < 1e-11 * max(abs(derivative), size / a)


@pytest.mark.thorough
def test_tanh_on_large_inputs_is_exact_and_symmetric():
    """One-dimensional integrals on the diagonal; bosons up to 30 need 2500 nodes a direction on the plane."""
    model = qs.models.WideMLP(widths=(8,), activation="tanh", sigma_w=1.2, parts="real")
    x = np.asarray([[0, 0], [1, 0], [0, 1], [3, 5], [5, 3], [30, 7], [30, 30]], float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = qs.kernels.infinite_width(model)
        nngp, ntk = (np.asarray(t) for t in kernel.both(x))
    np.testing.assert_array_equal(ntk, ntk.T)
    np.testing.assert_array_equal(nngp, nngp.T)
    z = np.linspace(-9, 9, 20001)
    w = np.exp(-z * z / 2)
    w /= w.sum()
    for i, row in enumerate(x):
        q = 1.44 * np.mean(row**2)
        tau = w @ np.tanh(np.sqrt(q) * z) ** 2
        slope = w @ np.cosh(np.minimum(np.abs(np.sqrt(q) * z), 300)) ** -4.0
        assert abs(nngp[i, i] - 1.44 * tau) < 1e-12
        assert abs(ntk[i, i] - 1.44 * (tau + slope * q)) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*DUALS, "tanh", "identity"])
def test_derivatives_are_finite_at_equal_antipodal_and_zero_inputs(name):
    x = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
    xx, yy, xy = x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1]

    @jax.jit
    def summed(sigma):
        pair = Pair.of(sigma * xx, sigma * yy, sigma * xy)
        for _ in range(2):
            pair, slope = activation(name).dual(pair)
            pair = pair.affine(sigma, 0.0)
        return jnp.sum(pair.c + pair.gap + pair.determinant + slope)

    found = float(jax.jit(jax.grad(summed))(1.3))
    difference = float(summed(1.3 + 1e-5) - summed(1.3 - 1e-5)) / 2e-5
    assert abs(found - difference) < 1e-6 * max(1.0, abs(difference))


def test_an_inaccurate_kernel_warns_at_each_use():
    model = qs.models.WideMLP(widths=(4,), activation=jax.nn.leaky_relu)
    with pytest.warns(qs.errors.InaccurateKernelWarning, match="leaky_relu"):
        kernel = qs.kernels.infinite_width(model)
    x = nk.hilbert.Spin(0.5, 2).all_states()
    for _ in range(2):
        with pytest.warns(qs.errors.InaccurateKernelWarning, match="leaky_relu"):
            kernel.ntk(x)
    with pytest.warns(qs.errors.InaccurateKernelWarning, match="inf"):
        activation(jnp.exp).resolved(1e3).checked()


def snake(z):
    return z + jnp.sin(z) ** 2


@pytest.mark.thorough
@pytest.mark.parametrize("sigma", [9.66, 25.0, 40.0])
def test_a_rule_right_by_chance_is_not_taken(sigma):
    """Of an oscillation a coarse rule sees a slower one, at some deviations none at all."""
    model = qs.models.WideMLP(widths=(4,), activation=snake, sigma_w=sigma, parts="real")
    x = np.where(np.arange(4) < np.arange(5)[:, None], -1.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = np.asarray(qs.kernels.infinite_width(model).nngp(x)[0])
    a, c = sigma**2, sigma**2 * x @ x[0] / 4
    both = (np.exp(4 * (c - a)) + np.exp(-4 * (a + c))) / 2
    square = (1 - 2 * np.exp(-2 * a) + both) / 4  # E sin²u sin²v
    np.testing.assert_allclose(found / a, c + square, rtol=1e-13, atol=1e-13 * a)


def test_an_oscillation_too_fast_for_every_rule_warns():
    with pytest.warns(qs.errors.InaccurateKernelWarning, match="snake"):
        activation(snake).resolved(100.0).checked()


@pytest.mark.thorough
def test_inputs_not_known_give_no_number_where_no_rule_reaches():
    model = qs.models.WideMLP(widths=(4,), activation=snake, sigma_w=3.0, parts="real")
    kernel, x = qs.kernels.infinite_width(model), np.asarray([[1.0, 1], [1, -1], [9, 2]])
    known, traced = np.asarray(kernel.ntk(x)), np.asarray(jax.jit(kernel.ntk)(x))
    np.testing.assert_allclose(traced[:2, :2], known[:2, :2], rtol=1e-12, atol=1e-12)
    assert np.isnan(traced[2]).all()
    slope = jax.grad(lambda k: k.ntk(x[:2]).sum())(kernel).formula.sigma_w
    assert np.isfinite(slope).all()


def test_the_mean_square_is_the_largest_up_to_a_deviation():
    # E cos²(2u) = (1 + e^{-8 a})/2 falls with the variance.
    assert abs(activation(lambda z: jnp.cos(2 * z)).mean_square(5.0) - 1) < 1e-12


def test_deviations_share_rules():
    tanh = activation("tanh")
    assert tanh.resolved(0.9) == tanh.resolved(1.0)
    assert hash(tanh.resolved(0.9)) == hash(tanh.resolved(1.0))
    # Beyond the near field of tanh the rule does not change any more.
    assert tanh.resolved(40.0).dual.nodes == tanh.resolved(1e6).dual.nodes


@pytest.mark.parametrize("name", [*DUALS, "tanh", "identity"])
def test_activations_pickle(name):
    for act in (activation(name), activation(name).resolved(1.0)):
        assert pickle.loads(pickle.dumps(act)) == act


def test_polynomials_are_told_from_other_functions():
    for function in (lambda z: z * z, lambda z: 1 + z - z**5 / 7, lambda z: z):
        assert activation(function).is_polynomial
    for name in ("relu", "erf", "tanh", "gelu", "sin", "gaussian"):
        assert not activation(name).is_polynomial


@pytest.mark.thorough
def test_the_kernel_of_equal_configurations_is_its_diagonal():
    model = qs.models.WideMLP(widths=(4, 4), activation="tanh", sigma_w=2.0, sigma_b=0.1)
    kernel, x = qs.kernels.infinite_width(model), nk.hilbert.Spin(0.5, 3).all_states()
    for matrix, diagonal in zip(kernel.both(x), kernel.diagonals(x), strict=True):
        np.testing.assert_allclose(np.diag(matrix), diagonal, rtol=1e-15)

"""Saddle points: against finite sizes, against what is known in closed form; drawn overlaps against sums."""

import math

import netket as nk
import numpy as np
import pytest
from scipy.special import entr

import netket_qsntk as qs
from netket_qsntk import entanglement as ent
from netket_qsntk.entanglement import LogNormalEnsemble
from netket_qsntk.errors import EnsembleError, NotConvergedWarning

ERF = qs.models.WideMLP((1,), "erf", 2.0, 0.3)
DEEP = qs.models.WideMLP((1,) * 4, "erf", 1.5, 0.3)
KERNELS = {
    "two-body": lambda c: c**2,
    "four-body": lambda c: c**4,
    "erf": ERF,
    "four layers": DEEP,
    "CosNet": qs.models.CosNet(1, 1.0, 1.5),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("log_modulus", "phase"), [(0.0, 0.3), (0.05, 0.05), (0.02, 0.2)])
def test_finite_sizes_approach_the_density_as_one_over_d(name, log_modulus, phase):
    options = {"log_modulus": log_modulus, "phase": phase}
    density = ent.entropy_density(KERNELS[name], **options)
    sizes = np.array([64, 128, 256, 400])
    values = []
    for d in sizes:
        ensemble = ent.extensive_ensemble(KERNELS[name], d, **options)
        values.append(ent.annealed_renyi(ensemble, range(d // 2), 2) / d)
    limit = np.polyfit(1 / sizes, values, 2)[-1]
    assert abs(limit - density.value) < 3e-4 * max(density.value, 0.1)
    assert density.value <= density.maximum + 1e-9


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("fraction", [0.5, 0.2])
def test_small_phases_have_unlike_replicas_and_a_closed_form(name, fraction):
    profile = ent.kernel_profile(KERNELS[name], 1000)
    at = [profile[round(1000 * h)] for h in (0, fraction / 2, (1 - fraction) / 2, 0.5)]
    found = ent.entropy_density(KERNELS[name], log_modulus=0.0, phase=1e-3, fraction=fraction)
    # 2 Var(phase) [κ(0) - κ(A unlike) - κ(B unlike) + κ(both unlike)] to first order in the variance.
    first = 2e-3 * (at[0] - at[1] - at[2] + at[3])
    assert abs(found.value - first) < 1e-5 + 0.02 * first


def test_fields_on_single_sites_make_product_states():
    # κ = c: the exponent is a sum over sites of single-site fields.
    found = ent.entropy_density(lambda c: c, log_modulus=0.0, phase=3.0)
    assert found.law == "area"
    assert repr(found).endswith("area law)")


def test_random_phases_have_the_largest_entropy():
    for fraction in (0.5, 0.3):
        found = ent.entropy_density(lambda c: c**8, log_modulus=0.0, phase=5.0, fraction=fraction)
        assert found.law == "volume"
        assert abs(found.value - found.maximum) < 1e-3
    # One part's replicas are alike, the other's are not.
    assert {round(float(d[0, 1]), 2) for d in (found.distances_a, found.distances_b)} == {0.0, 0.5}


def test_depth_in_the_ordered_phase_takes_the_volume_law_away():
    def density(sigma_w, depth):
        model = qs.models.WideMLP((1,) * depth, "erf", sigma_w, 0.1)
        return ent.entropy_density(model, log_modulus=0.0, phase=0.05).value

    # erf is at the edge of chaos near σ_w² · 4/π · 1/(1 + …) = 1: deep networks below forget their input.
    assert density(0.7, 12) < 0.02 * density(3.0, 12)
    assert density(3.0, 12) > density(3.0, 1)


def test_orders_above_two_approach_their_densities():
    profile = KERNELS["two-body"]
    for n in (3, 4):
        density = ent.entropy_density(profile, log_modulus=0.05, phase=0.05, n=n)
        ensemble = ent.extensive_ensemble(profile, 400, log_modulus=0.05, phase=0.05)
        entropy = ent.sampled_renyi(ensemble, range(200), n, n_samples=2000)
        assert abs(entropy / 400 - density.value) < 5e-3
    orders = [ent.entropy_density(profile, log_modulus=0.0, phase=0.2, n=n).value for n in (2, 3)]
    assert orders[0] > orders[1]


@pytest.mark.parametrize("n", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["equal", "unequal", "product", "extensive", "frozen"])
def test_drawn_overlaps_give_the_sum(kind, n):
    h = np.arange(11)
    ensemble = {
        "equal": LogNormalEnsemble.hamming(0.6 * 0.8**h, 0.6 * 0.8**h),
        "unequal": LogNormalEnsemble.hamming(0.2 * 0.7**h, 0.9 * 0.6**h),
        "product": LogNormalEnsemble.product(
            *[ent.ProductKernel([[1.0, 0.7], [0.7, 1.1]], n_sites=10, scale=s) for s in (0.1, 0.3)]
        ),
        # Replicas frozen alike or opposite: the even kernel does not tell the two.
        "frozen": ent.extensive_ensemble(lambda c: c**2, 10, log_modulus=0.5, phase=0.0),
        "extensive": ent.extensive_ensemble(lambda c: c**2, 10, log_modulus=0.0, phase=0.3),
    }[kind]
    exact = ent.annealed_renyi(ensemble, range(4), n)
    found = ent.sampled_renyi(ensemble, range(4), n, seed=1)
    assert abs(found - exact) < 4.5 * found.error_of_mean + 1e-9
    assert found.error_of_mean < 0.03


@pytest.mark.parametrize("n", [5, 6])
def test_high_orders_at_two_hundred_spins(n):
    k = 0.3 * 0.9 ** np.arange(201)
    ensemble = LogNormalEnsemble.hamming(k, k)
    found = ent.sampled_renyi(ensemble, range(100), n, n_samples=2000)
    lower = ent.annealed_renyi(ensemble, range(100), 2)
    assert 0 < found < lower
    assert found.error_of_mean < 0.01


def random_mixture(seed):
    """A positive-definite kernel c -> Σ a_p c^p, variances of both parts and a share of the spins."""
    rng = np.random.default_rng(seed)
    powers, shares = rng.integers(1, 12, size=4), rng.random(4) ** 3
    log_modulus, phase = np.where(rng.random(2) < 0.3, 0.0, 10 ** rng.uniform(-2.5, 0.7, size=2))
    if log_modulus == phase == 0:
        phase = 0.2

    def kernel(c):
        return sum(
            a * np.asarray(c) ** p for a, p in zip(shares / shares.sum(), powers, strict=True)
        )

    return kernel, log_modulus, phase, rng.choice([0.5, 0.3, 0.05])


def entropy(x):
    return entr(x) + entr(1 - x)


@pytest.mark.parametrize(
    ("seeds", "points"),
    [(range(10), 301), pytest.param(range(10, 150), 1501, marks=pytest.mark.slow)],
)
def test_no_point_of_an_exhaustive_grid_beats_the_peak_of_two_replicas(seeds, points):
    x = np.linspace(0, 1, points)
    fine = np.linspace(0, 1, 100 * points)
    for seed in seeds:
        kernel, v1, v2, fraction = random_mixture(seed)

        def exponent(x, y, kernel=kernel, v1=v1, v2=v2, fraction=fraction):
            a, b = fraction * x, (1 - fraction) * y
            k, k_a, k_b = (kernel(1 - 2 * h) for h in (a + b, a, b))
            return 2 * v1 * (1 + k + k_a + k_b) - 2 * v2 * (1 + k - k_a - k_b)

        def phi(x, y, fraction=fraction, exponent=exponent):
            spread = fraction * entropy(x) + (1 - fraction) * entropy(y)
            return math.log(2) + spread + exponent(x, y)

        found = ent.entropy_density(kernel, log_modulus=v1, phase=v2, fraction=fraction)
        peak = float(found.distances_a[0, 1]), float(found.distances_b[0, 1])
        assert phi(*map(np.array, peak)) > phi(x[:, None], x[None, :]).max() - 1e-9
        norm = math.log(2) + np.max(entropy(fine) + 4 * v1 * (1 + kernel(1 - 2 * fine)))
        # The value is attained: no grid says less, and only by its own coarseness.
        expected = max(norm - phi(*map(np.array, peak)), 0.0)
        assert abs(found.value - expected) < 1e-7


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(200, 204), marks=pytest.mark.thorough),
        pytest.param(range(204, 240), marks=pytest.mark.slow),
    ],
)
def test_three_replicas_of_random_kernels_approach_their_density(seeds):
    sizes = np.array([40, 60, 80, 120])
    for seed in seeds:
        kernel, _, v, fraction = random_mixture(seed)
        v = min(v, 0.6) or 0.3
        options = {"log_modulus": v, "phase": v}
        density = ent.entropy_density(kernel, **options, fraction=fraction, n=3)
        values = [
            ent.annealed_renyi(
                ent.extensive_ensemble(kernel, d, **options), range(round(fraction * d)), 3
            )
            / d
            for d in sizes
        ]
        limit = np.polyfit(1 / sizes, values, 2)[-1]
        assert abs(limit - density.value) < 3e-3, (seed, limit, density)


def test_wrong_requests_are_named():
    square = KERNELS["two-body"]
    for options in (
        {"log_modulus": -0.1, "phase": 0.1},
        {"log_modulus": 0.0, "phase": 0.0},
        {"log_modulus": 0.0, "phase": math.nan},
        {"log_modulus": 0.0, "phase": 0.1, "fraction": 1.0},
    ):
        with pytest.raises(EnsembleError):
            ent.entropy_density(square, **options)
    with pytest.raises(EnsembleError, match="overlaps"):
        ent.kernel_profile(lambda c: c[:3])
    with pytest.raises(EnsembleError, match="annealed_renyi"):
        ent.sampled_renyi(ent.HammingEnsemble([1.0, 0.5, 0.2]), [0])
    dense = LogNormalEnsemble.dense(np.eye(4), None, nk.hilbert.Spin(0.5, 2))
    with pytest.raises(EnsembleError, match="annealed_renyi"):
        ent.sampled_renyi(dense, [0])
    rough = ent.extensive_ensemble(square, 60, log_modulus=0.15, phase=0.0)
    with pytest.warns(NotConvergedWarning, match="n_samples"):
        ent.sampled_renyi(rough, range(30), 2, n_samples=50, seed=1)

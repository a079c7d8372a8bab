"""Page's entropy, the maximum, and the volume-law fit."""

import math
from fractions import Fraction

import numpy as np
import pytest

from netket_qsntk.entanglement import fit_volume_law, maximum_entropy, page_entropy, renyi_entropy
from netket_qsntk.errors import PartitionError


@pytest.mark.parametrize(("m", "n"), [(1, 7), (2, 2), (3, 5), (8, 4), (16, 16), (2, 64), (64, 128)])
def test_page_entropy_is_the_rational_number(m, n):
    small, large = sorted((m, n))
    exact = sum(Fraction(1, k) for k in range(large + 1, m * n + 1)) - Fraction(
        small - 1, 2 * large
    )
    assert page_entropy(m, n) == pytest.approx(float(exact), abs=1e-15)


def test_page_entropy_is_the_average_over_haar_states():
    rng = np.random.default_rng(0)
    psi = rng.standard_normal((4000, 4, 8)) + 1j * rng.standard_normal((4000, 4, 8))
    p = np.linalg.svd(psi, compute_uv=False) ** 2
    s = renyi_entropy(p / p.sum(-1, keepdims=True))
    assert abs(s.mean() - page_entropy(4, 8)) < 4 * s.std() / math.sqrt(len(s))
    assert abs(s.mean() - maximum_entropy(4, 8)) > 40 * s.std() / math.sqrt(len(s))


def test_dimensions_beyond_the_range_of_floats():
    assert page_entropy(2**600, 2**600) == pytest.approx(600 * math.log(2) - 0.5, abs=1e-10)
    assert page_entropy(4, 2**3000) == pytest.approx(math.log(4), abs=1e-14)
    assert maximum_entropy(2**3000, 2**2000, log_base=2) == pytest.approx(2000)


def test_the_approximation_is_the_leading_term():
    for m, n in ((16, 64), (256, 1024)):
        approximate = page_entropy(m, n, approximate=True)
        assert approximate == pytest.approx(math.log(m) - m / (2 * n), abs=1e-15)
        assert abs(approximate - page_entropy(m, n)) < 1 / n


def test_dimensions_that_are_not_counts_are_refused():
    for bad in (0, 2.5, -3):
        with pytest.raises(PartitionError, match="Hilbert dimension"):
            page_entropy(bad, 4)


def test_fit_recovers_a_line_with_its_errors():
    rng = np.random.default_rng(1)
    x, sigma = np.arange(2, 9), np.linspace(0.01, 0.05, 7)
    slopes, pulls = [], []
    for _ in range(800):
        law = fit_volume_law(x, 0.6 * x - 0.4 + sigma * rng.standard_normal(7), sigma)
        slopes.append(law.slope)
        pulls.append(
            [(law.slope - 0.6) / law.slope_error, (law.intercept + 0.4) / law.intercept_error]
        )
    assert np.std(slopes) == pytest.approx(law.slope_error, rel=0.1)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.1)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 4 / math.sqrt(800))


def test_fit_agrees_with_numpy():
    x, y, sigma = (
        np.array([2, 3, 5, 6.0]),
        np.array([1, 1.9, 3.2, 4.1]),
        np.array([0.1, 0.2, 0.1, 0.3]),
    )
    law = fit_volume_law(x, y, sigma)
    (slope, intercept), covariance = np.polyfit(x, y, 1, w=1 / sigma, cov="unscaled")
    np.testing.assert_allclose([law.slope, law.intercept], [slope, intercept])
    np.testing.assert_allclose(law.covariance, covariance)
    free = fit_volume_law(x, y)
    np.testing.assert_allclose(free.covariance, np.polyfit(x, y, 1, cov=True)[1])
    assert free.chi2 is None
    assert free.dof == 2


def test_fits_without_a_line_are_refused():
    with pytest.raises(PartitionError, match="two different sizes"):
        fit_volume_law([3, 3], [1, 2])
    with pytest.raises(PartitionError, match="error > 0"):
        fit_volume_law([3, 4], [1, 2], [0.1, 0])

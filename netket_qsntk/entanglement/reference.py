"""Curves to compare an entropy with: its maximum, Page's average, a volume law."""

import math
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.entanglement.orders import check_log_base
from netket_qsntk.errors import PartitionError


def maximum_entropy(dim_a: int, dim_b: int, *, log_base: float = math.e) -> float:
    """Largest entropy between A and B: the log of the smaller Hilbert dimension.

    Args:
        dim_a: Hilbert dimension of A (2**6 for six spins 1/2); Python integers of any size.
        dim_b: Hilbert dimension of B.
        log_base: Base of the logarithm; e gives nats.

    Raises:
        PartitionError: A dimension that is no positive integer.
        EntropyOrderError: A base of logarithms that is none.

    Example:
        >>> maximum_entropy(2**6, 2**6, log_base=2)
        6.0
    """
    check_log_base(log_base)
    m, _ = _sorted_dimensions(dim_a, dim_b)
    return math.log(m) / math.log(log_base)


def page_entropy(
    dim_a: int, dim_b: int, *, approximate: bool = False, log_base: float = math.e
) -> float:
    r"""Average von Neumann entropy of a Haar-random pure state between A and B.

    .. math:: \sum_{k=n+1}^{mn} \frac1k - \frac{m-1}{2n} \approx \ln m - \frac{m}{2n},\qquad m \le n

    with m and n the smaller and the larger Hilbert dimension (Page, PRL 71, 1291 (1993); Foong
    and Kanno, PRL 72, 1148 (1994)). In S40 of arXiv:2112.00723 d_A and d_B must be read as
    Hilbert dimensions, not numbers of sites.

    Args:
        dim_a: Hilbert dimension of A; Python integers of any size, 2**100 included.
        dim_b: Hilbert dimension of B.
        approximate: Take the approximation on the right.
        log_base: Base of the logarithm; e gives nats.

    Raises:
        PartitionError: A dimension that is no positive integer.
        EntropyOrderError: A base of logarithms that is none.

    Example:
        >>> round(page_entropy(2, 2), 12)
        0.333333333333
    """
    check_log_base(log_base)
    m, n = _sorted_dimensions(dim_a, dim_b)
    if approximate:
        nats = math.log(m) - m / (2 * n)
    else:
        nats = _harmonic_difference(m, n) - (m - 1) / (2 * n)
    return nats / math.log(log_base)


def _sorted_dimensions(dim_a: int, dim_b: int) -> tuple[int, int]:
    for name, dim in (("dim_a", dim_a), ("dim_b", dim_b)):
        if int(dim) != dim or dim < 1:
            raise PartitionError(
                f"{name}={dim!r}: expected the Hilbert dimension of the subsystem, an integer >= "
                "1, as in page_entropy(2**6, 2**6) for six spins on each side."
            )
    m, n = sorted((int(dim_a), int(dim_b)))
    return m, n


def _harmonic_difference(m: int, n: int) -> float:
    """Σ_{k=n+1}^{mn} 1/k for m <= n: term by term below 64, by Euler–Maclaurin from there."""
    if n < 64:
        return math.fsum(1 / k for k in range(n + 1, m * n + 1))

    def correction(k: int) -> float:
        # Divisions of integers: k may be beyond the range of floats.
        return 1 / (2 * k) - 1 / (12 * k**2) + 1 / (120 * k**4) - 1 / (252 * k**6)

    return math.log(m) + correction(m * n) - correction(n)


@dataclass(frozen=True)
class VolumeLaw:
    """A straight line S = slope · size + intercept through measured entropies.

    Attributes:
        slope: Entropy for each site.
        intercept: Entropy left at size zero.
        slope_error: Standard error of the slope.
        intercept_error: Standard error of the intercept.
        covariance: 2 × 2 covariance of (slope, intercept).
        chi2: Σ (residual/error)²; None when no errors were given.
        dof: Degrees of freedom, the number of points less two.
    """

    slope: float
    intercept: float
    slope_error: float
    intercept_error: float
    covariance: np.ndarray
    chi2: float | None
    dof: int

    def __repr__(self) -> str:
        chi2 = "" if self.chi2 is None else f", chi2={self.chi2:.3g}"
        return (
            f"VolumeLaw(slope={self.slope:.5g} ± {self.slope_error:.1g}, intercept={self.intercept:.5g} ± "
            f"{self.intercept_error:.1g}{chi2}, dof={self.dof})"
        )


def fit_volume_law(
    sizes: ArrayLike, entropies: ArrayLike, errors: ArrayLike | None = None
) -> VolumeLaw:
    """Weighted least-squares line through entropies against subsystem sizes.

    Args:
        sizes: Numbers of sites of A, at least two different ones.
        entropies: One entropy for each size.
        errors: Standard errors of the entropies. Without them the scatter around the line gives
            the errors of the fit, which then needs three points; with two they are nan.

    Raises:
        PartitionError: Fewer than two sizes, arrays of different lengths, or errors that are not positive.

    Example:
        >>> law = fit_volume_law([2, 3, 4], [1.3, 2.0, 2.7], [0.1, 0.1, 0.1])
        >>> round(law.slope, 6), round(law.slope_error, 4)
        (0.7, 0.0707)
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(entropies, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(np.unique(x)) < 2:
        raise PartitionError(
            f"fit_volume_law got sizes of shape {x.shape} and entropies of shape {y.shape}; "
            "expected one entropy for each size and at least two different sizes."
        )
    sigma = np.ones_like(y) if errors is None else np.asarray(errors, dtype=float)
    if sigma.shape != y.shape or not np.all(sigma > 0):
        raise PartitionError("fit_volume_law needs one error > 0 for each entropy, or errors=None.")
    dof = len(x) - 2
    (slope, intercept), covariance = np.polyfit(x, y, 1, w=1 / sigma, cov="unscaled")
    chi2 = float(np.sum(((y - intercept - slope * x) / sigma) ** 2))
    if errors is None:
        covariance = covariance * (chi2 / dof if dof else math.nan)
    errors_of_fit = np.sqrt(np.diag(covariance))
    return VolumeLaw(
        slope=float(slope),
        intercept=float(intercept),
        slope_error=float(errors_of_fit[0]),
        intercept_error=float(errors_of_fit[1]),
        covariance=covariance,
        chi2=None if errors is None else chi2,
        dof=dof,
    )

"""Kernels as functions of the overlap of two configurations of infinitely many spins."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import flax.linen as nn
import netket as nk
import numpy as np
import scipy  # its submodules load when first used
from jax.typing import ArrayLike

from netket_qsntk.entanglement.ensembles import HammingEnsemble
from netket_qsntk.entanglement.from_models import ensemble
from netket_qsntk.errors import EnsembleError, UnknownKernelError
from netket_qsntk.kernels import DotProductKernel, InfiniteWidthKernel, infinite_width

# A model, a kernel, or a function of the overlap.
OverlapSource = nn.Module | InfiniteWidthKernel | Callable[[np.ndarray], ArrayLike]

# Distances at which a kernel of NetKet's models is looked at.
_POINTS = 400
# Angles at which any other kernel is looked at: as densely at both ends as deep chaotic networks need.
_SMALL = np.geomspace(1e-7, 0.02, 60)
_ANGLES = np.concatenate(
    [[0.0], _SMALL, np.linspace(0.02, np.pi - 0.02, 402)[1:-1], np.pi - _SMALL[::-1], [np.pi]]
)


@dataclass(frozen=True, eq=False)
class OverlapKernel:
    """κ(c), the covariance of two configurations of overlap c = 1 - 2h/d relative to their variance.

    A spline in the angle arccos c, in which kernels of networks are smooth and even at both ends. It is a function of
    the overlap, and may stand wherever one is taken: :func:`entropy_density` then needs no kernel a second time.

    Args:
        angles: Rising from 0 to π.
        values: The kernel there, positive at zero; normalised to one.

    Raises:
        EnsembleError: Values that are not finite, or not positive at overlap one.

    Example:
        >>> kernel = overlap_kernel(lambda c: 0.5 * c**3)
        >>> np.round(kernel(np.array([1.0, 0.5, -1.0])), 6).tolist()
        [1.0, 0.125, -1.0]
    """

    angles: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=float)
        if values.shape != self.angles.shape or not np.all(np.isfinite(values)) or values[0] <= 0:
            raise EnsembleError(
                f"Expected finite values of a kernel at {len(self.angles)} overlaps, positive at overlap one, got "
                f"shape {values.shape}."
            )
        object.__setattr__(self, "values", values / values[0])

    @cached_property
    def _spline(self) -> "scipy.interpolate.CubicSpline":
        return scipy.interpolate.CubicSpline(self.angles, self.values, bc_type="clamped")

    @cached_property
    def _derivative(self) -> "scipy.interpolate.CubicSpline":
        return self._spline.derivative()

    def __call__(self, overlap: ArrayLike) -> np.ndarray:
        """κ(c), of the shape of ``overlap``."""
        return np.asarray(self._spline(np.arccos(np.clip(overlap, -1.0, 1.0))))

    def slope(self, overlap: ArrayLike) -> np.ndarray:
        """dκ/dc."""
        theta = np.arccos(np.clip(overlap, -1 + 1e-15, 1 - 1e-15))
        return np.asarray(-self._derivative(theta) / np.sin(theta))

    def __repr__(self) -> str:
        half, opposite = self(np.array([0.5, -1.0]))
        return f"OverlapKernel(κ(1/2) = {half:.4g}, κ(-1) = {opposite:.4g})"


def overlap_kernel(kernel: OverlapSource) -> OverlapKernel:
    """The NNGP of a model, or any function of the overlap, relative to its value at overlap one.

    Args:
        kernel: A model or kernel of inner products (its layer recursion is evaluated at real inputs, so that
            overlaps are not limited to those of a number of spins), or a function of the overlap in [-1, 1].

    Raises:
        EnsembleError: The kernel is no function of the Hamming distance between spins.
        UnknownKernelError: A model without a known kernel, or something else that is none.

    Example:
        >>> import netket_qsntk as qs
        >>> overlap_kernel(qs.models.WideMLP((1,) * 3, "erf", 1.5, 0.3))
        OverlapKernel(κ(1/2) = 0.4814, κ(-1) = -0.456)
    """
    if isinstance(kernel, OverlapKernel):
        return kernel
    known = _known_or_function(kernel)
    if not isinstance(known, InfiniteWidthKernel):
        return OverlapKernel(_ANGLES, np.asarray(known(np.cos(_ANGLES))))
    few = kernel_profile(known, 16)
    if isinstance(known, DotProductKernel):
        rotated = _rotated(known, np.arccos(np.linspace(1.0, -1.0, 17)))
        if np.allclose(rotated / rotated[0], few, rtol=0, atol=1e-9):
            return OverlapKernel(_ANGLES, _rotated(known, _ANGLES))
    angles = np.arccos(np.linspace(1.0, -1.0, _POINTS + 1))
    return OverlapKernel(angles, kernel_profile(known, _POINTS))


def kernel_profile(kernel: OverlapSource, n_sites: int = _POINTS) -> np.ndarray:
    """κ at the distances 0, …, d: the NNGP between spins over its value at distance zero, (d + 1,).

    Args:
        kernel: A model or kernel of inner products, or a function of the overlap c = 1 - 2h/d in [-1, 1].
        n_sites: d.

    Raises:
        EnsembleError: The kernel is no function of the Hamming distance, or d no whole number of at least two.

    Example:
        >>> kernel_profile(lambda c: c**2, 4).tolist()
        [1.0, 0.25, 0.0, 0.25, 1.0]
    """
    if isinstance(n_sites, bool) or not isinstance(n_sites, int | np.integer) or n_sites < 2:
        raise EnsembleError(f"n_sites={n_sites!r}: expected a whole number of spins, at least two.")
    overlaps = 1 - 2 * np.arange(n_sites + 1) / n_sites
    known = _known_or_function(kernel)
    if not isinstance(known, InfiniteWidthKernel):
        table = np.asarray(known(overlaps), dtype=float)
    else:
        found = ensemble(known, nk.hilbert.Spin(0.5, int(n_sites)))
        if isinstance(found, HammingEnsemble):
            table = found.covariance
        elif isinstance(known, DotProductKernel):
            x = np.where(np.arange(n_sites) < np.arange(n_sites + 1)[:, None], -1.0, 1.0)
            table = np.asarray(known.nngp(x[:1], x)[0])
        else:
            raise EnsembleError(f"{kernel!r} is no function of the Hamming distance between spins.")
    if table.shape != overlaps.shape or not np.all(np.isfinite(table)) or table[0] <= 0:
        raise EnsembleError(
            f"kernel_profile: expected finite values at {len(overlaps)} overlaps, positive at overlap one, got shape "
            f"{table.shape}."
        )
    return np.asarray(table / table[0])


def _known_or_function(
    kernel: OverlapSource,
) -> InfiniteWidthKernel | Callable[[np.ndarray], ArrayLike]:
    """The kernel of a model or kernel; a function of the overlap as it is."""
    try:
        return infinite_width(kernel)
    except UnknownKernelError:
        if isinstance(kernel, nn.Module) or not isinstance(kernel, Callable):  # type: ignore[arg-type]
            raise
        return kernel


def _rotated(kernel: DotProductKernel, angles: np.ndarray) -> np.ndarray:
    """The kernel between two real inputs of the length of spins at these angles."""
    turned = np.sqrt(2) * np.stack([np.cos(angles + np.pi / 4), np.sin(angles + np.pi / 4)], axis=1)
    return np.asarray(kernel.nngp(np.ones((1, 2)), turned))[0]

"""Where a predicted learning curve is not to be trusted, as warnings."""

from typing import Protocol

import numpy as np
from jax import Array

from netket_qsntk.alert import alert
from netket_qsntk.errors import (
    FewAmplitudesWarning,
    FiniteSizeWarning,
    InaccurateKernelWarning,
    NotConvergedWarning,
)
from netket_qsntk.learning.levels import Levels

__all__ = ["CONVERGED", "Solved", "warn"]

# The largest residual of the conditions for the coherent potential, in its logarithm.
CONVERGED = 1e-8
# Effective number of configurations of a target below which losses of single training sets scatter widely.
_FEW = 20
# Relative corrections by chance are about this over the number of functions half learned (measured at d = 8 … 10).
_CHANCE = 8.0


class Solved(Protocol):
    """What is looked at of a :class:`~netket_qsntk.learning.LearningCurve`."""

    @property
    def n_train(self) -> Array: ...  # noqa: D102
    @property
    def learnability(self) -> Array: ...  # noqa: D102
    @property
    def residual(self) -> Array: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102


def warn(curve: Solved, levels: Levels, participation: float, weights: np.ndarray) -> None:
    """Say where a curve is not to be trusted: not converged, few amplitudes, chance, symmetry, rounding."""
    n, residual = np.asarray(curve.n_train), np.asarray(curve.residual)
    bad = ~(residual < CONVERGED)
    if bad.any():
        alert(
            f"The coherent potential was not found at n_train = {n[bad]}: residuals {residual[bad]}. These losses "
            "are nan. A ridge helps, or method='single'.",
            NotConvergedWarning,
        )
    if participation < _FEW:
        alert(
            f"The target is dominated by {participation:.3g} configurations: the average over training sets is "
            "right, but single ones scatter widely about it, by whether those were seen.",
            FewAmplitudesWarning,
        )
    counts = levels.multiplicities
    if curve.method == "single" and all(np.any(counts[levels.parities == s]) for s in (1, -1)):
        alert(
            "Even and odd functions are learned as one, since some orbits of the symmetry group are their own flips: "
            "a kernel that tells them apart needs larger clusters than single orbits.",
            FiniteSizeWarning,
        )
    _warn_of_chance(curve, levels, weights)
    spectrum = np.asarray(levels.spectrum)
    rounding = np.finfo(spectrum.dtype).eps * n * spectrum.max()
    share = np.asarray(curve.learnability)
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(share > 0, spectrum * (1 / share - 1), np.inf).min(axis=1)
    deep = (kappa < rounding) & ~bad
    if deep.any():
        alert(
            f"At n_train = {n[deep]} the prediction rests on levels below the rounding of a kernel matrix of that "
            "size: training in float64 does not see them. Give the ridge that it works with.",
            InaccurateKernelWarning,
        )


def _warn_of_chance(curve: Solved, levels: Levels, weights: np.ndarray) -> None:
    share = np.asarray(curve.learnability)
    half = (levels.multiplicities * share * (1 - share)).sum(1)
    parts = weights[None, 0] * (1 - share) ** 2
    learned = (parts * share).sum(1) / np.maximum(parts.sum(1), 1e-300)
    chance = _CHANCE / np.maximum(half, 1e-300) * learned
    large = (chance > 0.1) & (half > 0) & (levels.n_states < 1e6)
    if large.any():
        alert(
            f"At n_train = {np.asarray(curve.n_train)[large]} few functions are half learned, and chance corrections "
            f"to the average are of the order of {chance[large].max():.0%}.",
            FiniteSizeWarning,
        )

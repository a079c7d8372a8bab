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
from netket_qsntk.learning.coherent import Clusters, cavities
from netket_qsntk.learning.levels import Levels

__all__ = ["CONVERGED", "Solved", "warn"]

# The largest residual of the conditions for the coherent potential, in its logarithm.
CONVERGED = 1e-8
# A loss that is the sum of this many independent squares of Gaussian numbers scatters by a quarter: √(3/48).
_FEW = 48
# What curves promise: beyond this relative correction they say that they do not keep it.
_ACCURACY = 0.03


class Solved(Protocol):
    """What is looked at of a :class:`~netket_qsntk.learning.LearningCurve`."""

    @property
    def n_train(self) -> Array: ...  # noqa: D102
    @property
    def learnability(self) -> Array: ...  # noqa: D102
    @property
    def residual(self) -> Array: ...  # noqa: D102
    @property
    def L_mu(self) -> Array: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102


def warn(
    curve: Solved,
    levels: Levels,
    participation: float,
    weights: np.ndarray,
    medium: tuple[Array, Clusters],
    crossed: np.ndarray | None,
) -> None:
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
    _warn_of_crossings(curve, levels, weights, crossed)
    _warn_of_scatter(curve, levels, weights, medium)
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


def _warn_of_crossings(
    curve: Solved, levels: Levels, weights: np.ndarray, crossed: np.ndarray | None
) -> None:
    """Where the first corrections to the coherent potential exceed what curves promise.

    The losses contain them, and what they do not contain, paths with more crossings, is smaller where they are small.
    Pairs and rings may cancel, and those of higher order need not: their sizes are added.

    Where they are not known, on a large basis those by pairs are as small as the fraction seen, and those by rings
    about one over the number of functions half learned, times the learned share of what is left of the target. The
    same is taken for symmetric kernels.
    """
    n = np.asarray(curve.n_train)
    if crossed is None:
        share = np.asarray(curve.learnability)
        half = (levels.multiplicities * share * (1 - share)).sum(1)
        left = weights[None, 0] * (1 - share) ** 2
        learned = (left * share).sum(1) / np.maximum(left.sum(1), 1e-300)
        size = np.where(half > 0, learned / np.maximum(half, 1e-300), 0.0)
        large = ~(size <= _ACCURACY)
        if large.any():
            alert(
                f"At n_train = {n[large]} the coherent potential is not accurate to {_ACCURACY:.0%}: too few "
                f"functions are half learned, and what is left out changes L_mu by about {_percents(size[large])}.",
                FiniteSizeWarning,
            )
        return
    for loss, parts in zip(("L_mu", "L_gamma"), np.moveaxis(crossed, 1, 0), strict=True):
        large = ~(np.abs(parts).sum(1) <= _ACCURACY)
        if large.any():
            pairs, rings = (_percents(part[large]) for part in parts.T)
            alert(
                f"At n_train = {n[large]} {loss} may not be accurate to {_ACCURACY:.0%}: the coherent potential is "
                f"corrected there by {pairs} (neighbouring configurations that belong together) and {rings} (few "
                "functions that are half learned), and corrections of higher order are left out.",
                FiniteSizeWarning,
            )


def _percents(numbers: np.ndarray) -> str:
    return ", ".join(f"{x:+.1%}" for x in numbers[:5]) + (", ..." if len(numbers) > 5 else "")


def _warn_of_scatter(
    curve: Solved, levels: Levels, weights: np.ndarray, medium: tuple[Array, Clusters]
) -> None:
    """Where the error rests on the few pairs of which neither configuration was seen.

    A mode of a pair with the error e, and the variances Δ and Δ' of this mode and of the other one given all other
    pairs, leaves e² where neither is seen, 2r²e² with r = Δ'/(Δ + Δ') where one is, and 0 where both are. These are,
    effectively, ½N (p₀ + 4p₁r²)²/(p₀ + 8p₁r⁴) independent errors.
    """
    log_kappa, kernel = medium
    if kernel.n_sectors == 1:
        return
    n, total = np.asarray(curve.n_train), levels.n_states
    delta = np.asarray([cavities(kernel, np.exp(u))[0] for u in log_kappa])
    # Shares of numbers whose squares may be no float64.
    one = n / total * ((total - n) / (total - 1))
    none = (total - n) / total * ((total - n - 1) / (total - 1))
    left = weights[None, 0] * (1 - np.asarray(curve.learnability)) ** 2
    parts = left @ np.asarray(kernel.members).T
    other = np.where(parts[:, 0] > parts[:, 1], delta[:, 1], delta[:, 0])
    r = other / delta.sum(1)
    number = 0.5 * total * (none + 4 * one * r**2) ** 2 / (none + 8 * one * r**4)
    few = number < _FEW
    if few.any():
        alert(
            f"At n_train = {n[few]} the loss rests on about {number[few].min():.2g} pairs x, -x that were not "
            "seen: the average over training sets is right, but single ones scatter widely about it.",
            FiniteSizeWarning,
        )

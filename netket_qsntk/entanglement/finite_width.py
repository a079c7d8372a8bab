r"""Annealed purity of CosNet and GaussNet at any width, in closed form.

A network f(x) = Σᵢ aᵢ φᵢ(x) with a ~ N(0, σ_a²/N) and independent hidden units φᵢ has

.. math:: E f_1 f_2 f_3 f_4 = \sigma_a^4 \Big[\tfrac{3}{N} M_{1234}
    + \big(1 - \tfrac1N\big)(M_{12}M_{34} + M_{13}M_{24} + M_{14}M_{23})\Big],\qquad M =
    E[\phi\phi\cdots],

and for both networks M is a product over sites (for CosNet a sum of three such), so the sum over
the four configurations of Tr ρ̃² = Σ ψ(x₁)ψ*(x₂)ψ(x₃)ψ*(x₄) is a product over sites too: x = (p,
q, q, p) on a site of A, (p, p, q, q) on a site of B. The norm ⟨ψ|ψ⟩² is the same sum with every
site in A.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

import numpy as np
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.from_models import site_values
from netket_qsntk.entanglement.partition import check_partition
from netket_qsntk.errors import EnsembleError
from netket_qsntk.networks import CosNet, GaussNet
from netket_qsntk.process import readout_of
from netket_qsntk.readout import Readout

_PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
_SIGNS = ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))

# Prefactors of Tr ρ̃²/σ_a⁴ for each way to build ψ: that of the three pairings P₁₂₃₄, P₁₃₂₄,
# P₁₄₂₃ as N → ∞ and at order 1/N, and that of M₁₂₃₄ at order 1/N. Independent parts: E ψψ*ψψ* = 2
# E f⁴ + 2 (P₁₂₃₄ - P₁₃₂₄ + P₁₄₂₃). Shared trunk: circular readouts z with E|z|² = 2σ_a²/N and
# E|z|⁴ = 8σ_a⁴/N².
_PARTS = {
    "independent": ((4.0, 0.0, 4.0), (-2.0, -2.0, -2.0), 6.0),
    "shared": ((4.0, 0.0, 4.0), (-4.0, 0.0, -4.0), 8.0),
    "real": ((1.0, 1.0, 1.0), (-1.0, -1.0, -1.0), 3.0),
}


@singledispatch
def log_site_moments(model: object, x: np.ndarray, d: int) -> tuple[np.ndarray, float]:
    """One site's share of E[φ(x₁)φ(x₂)] or E[φ(x₁)φ(x₂)φ(x₃)φ(x₄)] of a unit φ.

    Register a network of your own with ``log_site_moments.register``; :func:`finite_width_purity`
    then knows it. The pair moment must be one product.

    Args:
        model: The network, with ``sigma_w``.
        x: Encoded values of the two or four configurations on one site, (2, …) or (4, …).
        d: Number of sites.

    Returns:
        Logs of the terms, (terms, …), each to be multiplied over the sites, and the log of their
        common prefactor.
    """
    raise _unknown(model)


def _unknown(model: object) -> EnsembleError:
    return EnsembleError(
        f"The finite-width moments of a {type(model).__name__} are not known in closed form: "
        "expected a CosNet or a GaussNet. At infinite width annealed_renyi takes any Gaussian "
        "ensemble; at finite width average entropies over members."
    )


@log_site_moments.register
def _(model: CosNet, x: np.ndarray, d: int) -> tuple[np.ndarray, float]:
    # E over the uniform phase keeps, of the product of cosines, the terms whose signs add up to
    # zero.
    signs = np.array([(1, -1)] if len(x) == 2 else _SIGNS, dtype=float)
    total = np.tensordot(signs, x, axes=1)
    return -(model.sigma_w**2) * total**2 / (2 * d), -math.log(2 if len(x) == 2 else 8)


@log_site_moments.register
def _(model: GaussNet, x: np.ndarray, d: int) -> tuple[np.ndarray, float]:
    # E exp(w·Σx) over Gaussian w, times the normalisation exp(-σ_w² x²/d) of each factor.
    total = np.sum(x, axis=0) ** 2 / 2 - np.sum(x * x, axis=0)
    return model.sigma_w**2 * total[None] / d, 0.0


@dataclass(frozen=True)
class WidthExpansion:
    r"""E Tr ρ̃_A² and E ⟨ψ|ψ⟩² as functions of the width N, each (limit)·(1 + c/N).

    Attributes:
        log_purity: log E Tr ρ̃_A² as N → ∞.
        log_norm: log E ⟨ψ|ψ⟩² as N → ∞.
        purity_coefficient: c of E Tr ρ̃_A².
        norm_coefficient: c of E ⟨ψ|ψ⟩².
    """

    log_purity: float
    log_norm: float
    purity_coefficient: float
    norm_coefficient: float

    def log_ratio(self, width: float) -> float:
        """log of E Tr ρ̃_A² / E ⟨ψ|ψ⟩² at a width; ``math.inf`` for the Gaussian limit."""
        return (
            self.log_purity
            - self.log_norm
            + math.log1p(self.purity_coefficient / width)
            - math.log1p(self.norm_coefficient / width)
        )

    @property
    def correction(self) -> float:
        """Coefficient of 1/N in the ratio, relative to its infinite-width value."""
        return self.purity_coefficient - self.norm_coefficient

    def width_within(self, tolerance: float) -> int:
        """Smallest width whose ratio is within a relative ``tolerance`` of the limit.

        Exact, from |c_purity - c_norm|/(N + c_norm) <= tolerance.
        """
        if not 0 < tolerance < math.inf:
            raise EnsembleError(f"tolerance={tolerance!r}: expected a number > 0.")
        needed = abs(self.correction) / tolerance - self.norm_coefficient
        return max(1, math.ceil(needed * (1 - 1e-14)))


def width_expansion(
    model: Any, hilbert: DiscreteHilbert, partition: Sequence[int]
) -> WidthExpansion:
    """The exact dependence of the annealed purity on the width.

    Args:
        model: A CosNet or GaussNet with any ``parts``; its own width is not used.
        hilbert: Unconstrained NetKet space with the same local states on every site; any number
            of sites.
        partition: Sites of A.

    Raises:
        EnsembleError: Another model, one of log ψ or with a reference, a constrained or fermionic space, an encoding
            that mixes sites.
        PartitionError: See :func:`check_partition`.

    Example:
        >>> import netket as nk
        >>> model = CosNet(100, sigma_a=1.0, sigma_w=20.0)
        >>> expansion = width_expansion(model, nk.hilbert.Spin(0.5, 200), range(100))
        >>> expansion.width_within(0.01) > 100
        True
    """
    if log_site_moments.dispatch(type(model)) is log_site_moments.dispatch(object):
        raise _unknown(model)
    readout = readout_of(model)
    if readout != Readout():
        raise EnsembleError(
            f"The finite-width moments are those of ψ = f, and this {type(model).__name__} has {readout!r}. Average "
            "over members: qs.vqs.EnsembleState(hilbert, model, n_members).expect("
            "qs.observable.EnsembleEntropy(hilbert, partition, 2, 'annealed'))."
        )
    sites = check_partition(partition, hilbert.size)
    values = _site_values(model, hilbert)
    moments = [_moments(model, values, n_a, hilbert.size) for n_a in (len(sites), hilbert.size)]
    infinite, first, four_point = _PARTS[model.parts]
    logs, coefficients = [], []
    for log_pairings, log_four in moments:
        # Relative to the largest pairing: at hundreds of sites none of them is in the range of
        # floats.
        top = np.max(log_pairings)
        pairings = np.exp(log_pairings - top)
        leading = float(np.dot(infinite, pairings))
        order_1 = float(np.dot(first, pairings)) + four_point * math.exp(log_four - top)
        logs.append(float(top) + math.log(leading) + 4 * math.log(model.sigma_a))
        coefficients.append(order_1 / leading)
    return WidthExpansion(logs[0], logs[1], coefficients[0], coefficients[1])


def _moments(model: object, values: np.ndarray, n_a: int, d: int) -> tuple[np.ndarray, float]:
    """Logs of the three pairings of M₂ and of M₄, summed over configurations, n_a sites in A."""
    p, q = (v.ravel() for v in np.meshgrid(values, values))
    patterns = (np.stack([p, q, q, p]), np.stack([p, p, q, q]))
    counts = (n_a, d - n_a)
    log_pairings = []
    for i, j, k, m in _PAIRINGS:
        log = 0.0
        for x, count in zip(patterns, counts, strict=True):
            first, prefactor = log_site_moments(model, x[[i, j]], d)
            second, _ = log_site_moments(model, x[[k, m]], d)
            log += count * float(np.logaddexp.reduce((first + second).ravel()))
        log_pairings.append(log + 2 * prefactor)
    terms, prefactor = 0.0, 0.0
    for x, count in zip(patterns, counts, strict=True):
        four, prefactor = log_site_moments(model, x, d)
        terms = terms + count * np.logaddexp.reduce(four, axis=1)
    return np.array(log_pairings), float(np.logaddexp.reduce(terms)) + prefactor


def _site_values(model: Any, hilbert: DiscreteHilbert) -> np.ndarray:
    values = site_values(model.encoding, hilbert)
    if values is None:
        raise EnsembleError(
            "The finite-width purity factorises over the sites of an unconstrained space with "
            f"equal sites and an encoding that acts on each alike; {hilbert} with "
            f"encoding={model.encoding} is not that. Average entropies(…) over members instead."
        )
    return values


def finite_width_purity(
    model: Any,
    hilbert: DiscreteHilbert,
    partition: Sequence[int],
    *,
    width: float | None = None,
    normalization: Literal["ratio", "none"] = "ratio",
) -> float:
    r"""Exact annealed purity of an ensemble of CosNets or GaussNets of finite width.

    Args:
        model: A CosNet or GaussNet, any ``parts``.
        hilbert: Unconstrained NetKet space, any number of sites: the cost does not depend on it.
        partition: Sites of A.
        width: Number N of hidden units; None takes the model's, ``math.inf`` the Gaussian limit.
        normalization: ``"ratio"``: E Tr ρ̃² / E ⟨ψ|ψ⟩²; ``"none"``: E Tr ρ̃² (with
            independent parts, 4(P₁₂₃₄ + P₁₄₂₃) + (2/N)(3E₄ - P₁₂₃₄ - P₁₄₂₃ - P₁₃₂₄)).

    Returns:
        The average; its -log is the annealed Rényi-2 entropy.

    Raises:
        EnsembleError: Another model or space; see :func:`width_expansion`, which also has the 1/N
            correction and the width needed for a given accuracy.

    Example:
        >>> import netket as nk
        >>> model = CosNet(100, sigma_a=1.0, sigma_w=1.0)
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> round(finite_width_purity(model, hi, [0, 1]), 6)
        0.767563
    """
    expansion = width_expansion(model, hilbert, partition)
    n = model.width if width is None else width
    if not n >= 1:
        raise EnsembleError(f"width={width!r}: expected a number of hidden units, at least 1.")
    if normalization == "ratio":
        return math.exp(expansion.log_ratio(n))
    if normalization == "none":
        if model.parametrization == "mup":
            raise EnsembleError(
                "With parametrization='mup' the moment itself is smaller by the square of the width. Take "
                "normalization='ratio', which does not know of it, or a model with parametrization='ntk'."
            )
        return math.exp(expansion.log_purity) * (1 + expansion.purity_coefficient / n)
    raise EnsembleError(f"normalization={normalization!r}: expected 'ratio' or 'none'.")

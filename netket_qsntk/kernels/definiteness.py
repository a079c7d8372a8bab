"""Is the NTK positive definite, why, and if not, what can the network not learn? (arXiv:2112.00723, S19-S31)."""

from dataclasses import dataclass
from math import comb

import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.hamming import hamming_spectrum
from netket_qsntk.kernels.architectures import (
    ExponentialKernel,
    FourierEncoding,
    PerceptronKernel,
)
from netket_qsntk.kernels.arguments import check_configurations
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.kernel_spectrum import Spectrum, spectrum
from netket_qsntk.operators import HammingTable

# Differences of kernel values below this fraction of the largest are rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class DefinitenessReport:
    """What is known, and what was measured, about the positivity of an NTK.

    Attributes:
        spectrum: Of the NTK on the configurations given.
        reason: Which of the paper's cases (or what else) proves positivity, or why none does.
        duplicates: Pairs of configurations (indices) that the encoding does not tell apart: each is a zero
            eigenvalue.
        sites: Length d of encoded inputs.
        null_weights: On ±1 spins: weights w such that the kernel vanishes exactly on the C(d, w) parities
            Π_{i∈S} x_i with |S| = w, over the whole hypercube. A network cannot learn them.
        parity_eigenvalues: On ±1 spins: (d + 1,) λ_w/2^d, the eigenvalue of the parities of weight w over
            the whole hypercube; None for other inputs.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> relu = qs.kernels.infinite_width(qs.models.WideMLP(widths=(1,), activation="relu"))
        >>> report = qs.kernels.positive_definiteness(relu, nk.hilbert.Spin(0.5, 4).all_states())
        >>> report.is_positive_definite, report.null_weights, report.null_space
        (False, (3,), 'parities of odd weight > 1: 4 of 16 dimensions')
    """

    spectrum: Spectrum
    reason: str
    duplicates: tuple[tuple[int, int], ...]
    sites: int
    null_weights: tuple[int, ...]
    parity_eigenvalues: np.ndarray | None

    @property
    def is_positive_definite(self) -> bool:
        """Whether the smallest eigenvalue is above the numerical floor, on the configurations given."""
        return self.spectrum.smallest > self.spectrum.floor

    @property
    def nullity(self) -> int:
        """Eigenvalues at or below the floor."""
        return len(self.spectrum.eigenvalues) - self.spectrum.rank()

    @property
    def null_space(self) -> str | None:
        """The null space over the whole hypercube by name, or None where none is known."""
        if not self.null_weights:
            return None
        odd = {w for w in range(self.sites + 1) if w % 2}
        even = set(range(self.sites + 1)) - odd
        weights = set(self.null_weights)
        names = {
            frozenset(odd): "parities of odd weight",
            frozenset(odd - {1}): "parities of odd weight > 1",
            frozenset(even): "parities of even weight, the constant included",
            frozenset(even - {0}): "parities of even weight > 0",
            frozenset((odd | even) - {0, 1}): "parities of weight > 1",
            frozenset((odd - {1}) | even): "parities of every weight but 1",
        }
        name = names.get(frozenset(weights), f"parities of weights {sorted(weights)}")
        return f"{name}: {sum(comb(self.sites, w) for w in weights)} of {2**self.sites} dimensions"

    def __repr__(self) -> str:
        found = self.spectrum
        verdict = "positive definite" if self.is_positive_definite else "not positive definite"
        return (
            f"DefinitenessReport({verdict} on {found.n_states} configurations of length {self.sites}, "
            f"nullity={self.nullity}, smallest={found.smallest:.4g}, floor={found.floor:.2g}, "
            f"duplicates={len(self.duplicates)})"
        )

    def __str__(self) -> str:
        found = self.spectrum
        lines = [
            f"NTK on {found.n_states} configurations: "
            + (
                "positive definite"
                if self.is_positive_definite
                else f"{self.nullity} zero eigenvalues"
            )
            + f" (smallest {found.smallest:.3g}, floor {found.floor:.2g}, largest {found.largest:.3g},"
            + f" rank {found.rank()})",
            self.reason,
        ]
        if self.duplicates:
            lines.append(
                f"{len(self.duplicates)} configurations have the encoding of another, the first pair is "
                f"{self.duplicates[0]}."
            )
        if self.null_space:
            lines.append(f"Over the whole hypercube the kernel vanishes on {self.null_space}.")
        return "\n".join(lines)


def positive_definiteness(kernel: InfiniteWidthKernel, states: ArrayLike) -> DefinitenessReport:
    """Measure the smallest eigenvalue of an infinite-width NTK and say what theory says about it.

    Args:
        kernel: From :func:`~netket_qsntk.kernels.infinite_width`; its ``trainable`` decides between the
            paper's Case 1 and the others.
        states: Configurations (n, sites).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(10,), activation="relu"))
        >>> report = qs.kernels.positive_definiteness(kernel, nk.hilbert.Spin(0.5, 5).all_states())
        >>> report.is_positive_definite, report.nullity
        (False, 11)
        >>> report.null_space
        'parities of odd weight > 1: 11 of 32 dimensions'
    """
    x = np.asarray(check_configurations(states, "states"))
    u = np.asarray(kernel.coordinates(x))
    structure = kernel.structure(x)
    table = np.asarray(structure.values) if isinstance(structure, HammingTable) else None
    return DefinitenessReport(
        spectrum=spectrum(kernel, x),
        reason=_reason(kernel, u),
        duplicates=_duplicates(u),
        sites=u.shape[-1],
        null_weights=() if table is None else _null_weights(table),
        parity_eigenvalues=None if table is None else hamming_spectrum(table),
    )


def _null_weights(table: np.ndarray) -> tuple[int, ...]:
    """Parities that the even or odd part of k(d - 2h) excludes by its form.

    An odd part that is linear in x·y holds no parity of odd weight but 1, an even part that is constant
    none of even weight but 0.
    """
    d = len(table) - 1
    scale = _ROUNDING * np.abs(table).max()
    even, odd = (table + table[::-1]) / 2, (table - table[::-1]) / 2
    linear = odd[0] * (1 - 2 * np.arange(d + 1) / d)
    null: set[int] = set()
    if np.abs(odd - linear).max() <= scale:
        null |= set(range(1 if abs(odd[0]) <= scale else 3, d + 1, 2))
    if np.abs(even - even[0]).max() <= scale:
        null |= set(range(0 if abs(even[0]) <= scale else 2, d + 1, 2))
    return tuple(sorted(null))


def _duplicates(u: np.ndarray) -> tuple[tuple[int, int], ...]:
    _, first, inverse = np.unique(
        u.reshape(len(u), -1), axis=0, return_index=True, return_inverse=True
    )
    original = first[inverse.ravel()]
    return tuple((int(original[i]), i) for i in range(len(u)) if original[i] != i)


def _reason(kernel: InfiniteWidthKernel, u: np.ndarray) -> str:
    if not isinstance(kernel, DotProductKernel):
        return "No theorem is known here for this kernel: the verdict is numerical."
    formula = kernel.formula
    if isinstance(formula, ExponentialKernel) and not isinstance(kernel.encoding, FourierEncoding):
        if kernel.trainable == "readout":
            return (
                "Case 1: the readout alone trains, so the NTK is proportional to the NNGP, a Gaussian of "
                "x - y: positive definite on distinct inputs by Bochner's theorem."
            )
        return (
            "The NTK is a Gaussian of x - y times a kernel with positive diagonal and non-negative "
            "eigenvalues: positive definite on distinct inputs by Schur's product theorem."
        )
    if isinstance(kernel.encoding, FourierEncoding):
        return (
            "Case 2: on Fourier features the NTK depends on x - y alone; by Bochner's theorem it is "
            "positive definite where its Fourier transform is positive: the verdict is numerical."
        )
    if not isinstance(formula, PerceptronKernel):
        return "No theorem is known here for this kernel: the verdict is numerical."
    if formula.activation.name == "identity" or len(formula.biased) == 1:
        return "A linear network: its NTK is linear in x·y and has rank d + 1 at most."
    if kernel.trainable == "readout":
        return (
            "Case 1: the readout alone trains, so the NTK is proportional to the NNGP, whose positivity "
            "it shares: the verdict is numerical."
        )
    if not np.allclose((u * u).sum(-1), (u[:1] * u[:1]).sum(-1), rtol=1e-12):
        return "Case 3 is for inputs on one sphere; these have different norms: the verdict is numerical."
    if formula.activation.is_polynomial:
        return (
            "Case 3 is for activations that are no polynomials. With this one the NTK is a polynomial in x·y, of "
            "finite rank over all inputs: the verdict is numerical."
        )
    if all(formula.biased[:-1]):
        return (
            "Case 3: a deep network with biases and a non-polynomial activation, inputs on a sphere: "
            "positive definite on distinct inputs (Jacot et al., 2018)."
        )
    return (
        "Case 3 needs a bias in every hidden layer. Without them x and -x are tied where the even or the odd part of "
        "the activation is a polynomial (relu, gelu, tanh), and the NTK is singular on the hypercube: the verdict is "
        "numerical."
    )

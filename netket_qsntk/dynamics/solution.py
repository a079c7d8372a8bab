"""What a way of solving the training of infinitely wide networks must answer, and in which form."""

import abc
from typing import NamedTuple, Protocol

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.text import summary

Numbers = np.ndarray | Array


class Data(Protocol):
    """Configurations and their target amplitudes, such as :class:`netket_qsntk.targets.Dataset`."""

    @property
    def states(self) -> np.ndarray:
        """(n, sites)."""
        ...

    @property
    def amplitudes(self) -> np.ndarray:
        """(n,)."""
        ...


class Losses(NamedTuple):
    """Average losses of the ensemble at given steps, each (steps,) (arXiv:2112.00723, Eqs. 16-18).

    Example:
        >>> losses = Losses(np.array([0.5, 0.1]), np.array([0.25, 0.02]))
        >>> losses.total
        array([0.75, 0.12])
    """

    L_mu: Numbers
    """Of the mean: (1/n) Σ_x |μ_x - ψ_T(x)|²."""
    L_gamma: Numbers
    """Of the fluctuations: (1/n) Σ_x E|γ_x|²."""
    L_mu_error: Numbers | float = 0.0
    """Estimated error of L_μ; 0 where it is exact to rounding."""
    L_gamma_error: Numbers | float = 0.0
    """Standard error of L_γ over random draws; 0 where it is exact."""

    @property
    def total(self) -> Numbers:
        """E[L] = L_μ + L_γ."""
        return self.L_mu + self.L_gamma

    def __repr__(self) -> str:
        return summary(self, self._fields)


class Curves(NamedTuple):
    """A whole training run of the ensemble, each (steps,).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> train, test = target.split(n_train=12, seed=0)
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        >>> curves = qs.dynamics.LinearDynamics(kernel, train, learning_rate=0.5).curves([0, 100], test)
        >>> bool(curves.train.total[1] < curves.train.total[0]), curves.fidelity.shape
        (True, (2,))
    """

    train: Losses
    """On the training set."""
    test: Losses
    """On the rest of the basis."""
    fidelity: Numbers
    """E|⟨ψ_T|ψ⟩|² / E⟨ψ|ψ⟩ over the whole basis: the ratio of averages, not the average ratio."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


class Solution(abc.ABC):
    """The trained ensemble at any step, for a kernel, a training set B and a response of modes.

    Attributes:
        kernel: The infinite-width kernel.
        train: The training set.
        largest: λ_max of Θ_BB.
        stores_matrices: Whether matrices of the size of the training set are held.
        reason: Why this way of solving was chosen.
    """

    kernel: InfiniteWidthKernel
    train: Data
    largest: float
    stores_matrices: bool = False
    reason: str = ""

    @property
    @abc.abstractmethod
    def rank(self) -> int | None:
        """Number of modes of Θ_BB that train; None where that is not known."""

    @abc.abstractmethod
    def mean(self, steps: np.ndarray, x: ArrayLike) -> Numbers:
        """μ_x: (steps, n) complex."""

    @abc.abstractmethod
    def variance(self, steps: np.ndarray, x: ArrayLike) -> Numbers:
        """E|γ_x|², both parts added: (steps, n)."""

    @abc.abstractmethod
    def moments(self, step: float, x: ArrayLike) -> tuple[Numbers, Numbers]:
        """(E[ψ_x], covariance of one part of ψ between configurations): (n,) and (n, n)."""

    @abc.abstractmethod
    def trained(self, step: float, x: ArrayLike, on_train: ArrayLike, on_x: ArrayLike) -> Numbers:
        """ψ_x of one network that starts from a function, its values on B and on x: (n,) complex."""

    @abc.abstractmethod
    def losses(self, steps: np.ndarray, data: Data) -> Losses:
        """L_μ and L_γ on the training set (the same object) or another data set; nan on an empty one."""

    @abc.abstractmethod
    def curves(self, steps: np.ndarray, test: Data) -> Curves:
        """Losses on both sets, and the fidelity over both together."""

    @abc.abstractmethod
    def __repr__(self) -> str:
        """The way of solving, and its size."""


def averages(sums: Losses, data: Data) -> Losses:
    """Sums over a data set as averages."""
    n = len(data.states) or np.nan
    return Losses(*(np.asarray(part) / n for part in sums))


class NoData(NamedTuple):
    """No configurations: the test set of a run on the whole basis."""

    states: np.ndarray
    amplitudes: np.ndarray

    @classmethod
    def like(cls, data: Data) -> "NoData":
        """With configurations of the same length."""
        return cls(np.asarray(data.states)[:0], np.asarray(data.amplitudes)[:0])

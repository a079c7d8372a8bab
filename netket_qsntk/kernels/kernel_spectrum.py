r"""What the spectrum of a kernel says about training: which modes train, how fast, and which never.

For L = (1/|B|) Σ_B |ψ - ψ_T|² full-batch gradient descent multiplies the residual in mode k of the kernel by
1 - 2ηλ_k/|B| a step (arXiv:2112.00723, Eq. 13, in this package's convention), the flow by e^{-2ηλ_k/|B|} a
unit of time.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from netket_qsntk import spectral
from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels.arguments import check_configurations
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.empirical import EmpiricalKernel
from netket_qsntk.kernels.qsntk import QSNTK, each_part

Mode = Literal["gd", "flow"]


@dataclass(frozen=True, repr=False)
class Spectrum:
    """Eigenvalues of a kernel on |B| configurations, and the residual ψ_T - ψ in its modes.

    Attributes:
        eigenvalues: (modes,) float64, largest first.
        n_states: |B|.
        shares: (modes,) part of the loss in each mode, |⟨v_k, ψ_T - ψ⟩|²/|B|; None without a residual.
        loss: The loss ‖ψ_T - ψ‖²/|B|; None without a residual. What the shares do not add up to (the
            imaginary part for a real network) never trains.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        >>> found = qs.kernels.spectrum(kernel, hi.all_states(), residual=target.amplitudes)
        >>> rate = 0.5 * found.max_learning_rate
        >>> found.rank(), bool(found.steps_to_loss(0.01 * found.loss, rate) < found.mode_steps(rate)[-1] * 5)
        (16, True)
    """

    eigenvalues: np.ndarray
    n_states: int
    shares: np.ndarray | None = None
    loss: float | None = None

    @property
    def largest(self) -> float:
        """λ_max."""
        return float(self.eigenvalues[0])

    @property
    def smallest(self) -> float:
        """λ_min as computed; below :attr:`floor` its digits mean nothing, nor does its sign."""
        return float(self.eigenvalues[-1])

    @property
    def floor(self) -> float:
        """modes · ε · λ_max: the rounding error of an eigenvalue; smaller ones cannot be told from 0."""
        return spectral.floor_of(self.eigenvalues)

    @property
    def condition_number(self) -> float:
        """λ_max/λ_min, infinite where λ_min is not above the floor."""
        return spectral.condition_number(self.eigenvalues)

    @property
    def effective_rank(self) -> float:
        """e^H, H the Shannon entropy of λ/Σλ (Roy & Vetterli, 2007): 1 to the number of modes."""
        return spectral.effective_rank(self.eigenvalues)

    @property
    def max_learning_rate(self) -> float:
        """|B|/λ_max, the stability limit of gradient descent."""
        return spectral.learning_rate_limit(self.largest, self.n_states)

    @property
    def alignment(self) -> np.ndarray:
        """(modes,) fraction of the loss in each mode."""
        shares, loss = self._residual()
        return shares / loss if loss > 0 else np.zeros_like(shares)

    def rank(self, rtol: float = 0.0) -> int:
        """Number of eigenvalues above ``rtol``·λ_max and above the floor."""
        return spectral.rank(self.eigenvalues, rtol=rtol)

    def mode_steps(
        self, learning_rate: float, *, reduction: float = np.exp(-1), mode: Mode = "gd"
    ) -> np.ndarray:
        """Steps (or time, ``mode="flow"``) until the residual of each mode is ``reduction`` times its start.

        Returns:
            (modes,) float64; infinite for modes below the floor and, with "gd", at the stability limit (within
            :func:`netket_qsntk.spectral.limit_tolerance`) and beyond it.
        """
        with np.errstate(divide="ignore"):
            return -np.log(reduction) / self._rates(learning_rate, mode)

    def losses(self, steps: ArrayLike, learning_rate: float, *, mode: Mode = "gd") -> np.ndarray:
        """The loss after ``steps`` (any shape, infinity included) of the linearised network."""
        shares, loss = self._residual()
        t = np.asarray(steps, dtype=float)[..., None]
        rates = np.where(shares > 0, self._rates(learning_rate, mode, diverging=True), 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            decay = np.where(rates == 0, 1.0, np.exp(-2 * np.where(t == 0, 0.0, rates * t)))
        return decay @ shares + max(loss - shares.sum(), 0.0)

    def steps_to_loss(self, loss: float, learning_rate: float, *, mode: Mode = "gd") -> float:
        """The first step (or the time, ``mode="flow"``) at which the loss is at most ``loss``.

        Infinite if the modes that train do not suffice, or if one diverges.
        """
        if self.losses(0.0, learning_rate, mode=mode) <= loss:
            return 0.0
        if not self.losses(np.inf, learning_rate, mode=mode) <= loss:
            return float("inf")
        low, high = 0.0, 1.0
        while self.losses(high, learning_rate, mode=mode) > loss:
            if not np.isfinite(high):
                return high
            low, high = high, 2 * high
        while high - low > 1e-12 * high:
            middle = (low + high) / 2
            if middle in (low, high):
                break
            if self.losses(middle, learning_rate, mode=mode) > loss:
                low = middle
            else:
                high = middle
        return float(np.ceil(high * (1 - 1e-11))) if mode == "gd" else float(high)

    def summary(self) -> dict[str, float]:
        """The numbers a logger would keep."""
        return {
            "largest": self.largest,
            "smallest": self.smallest,
            "floor": self.floor,
            "condition_number": self.condition_number,
            "effective_rank": self.effective_rank,
            "rank": float(self.rank()),
        }

    def _residual(self) -> tuple[np.ndarray, float]:
        if self.shares is None or self.loss is None:
            raise InvalidConfigurationsError(
                "This spectrum was made without a residual: use spectrum(kernel, states, "
                "residual=target amplitudes - present amplitudes)."
            )
        return self.shares, self.loss

    def _rates(self, learning_rate: float, mode: Mode, diverging: bool = False) -> np.ndarray:
        """-log|mode factor| a step; 0 below the floor and, unless ``diverging``, where it would grow."""
        z = 2 * learning_rate / self.n_states * spectral.without_rounding(self.eigenvalues)
        if mode == "flow":
            return z
        rates = spectral.decay_rates(z)
        return rates if diverging else np.maximum(rates, 0.0)

    def __repr__(self) -> str:
        return (
            f"Spectrum(modes={len(self.eigenvalues)}, largest={self.largest:.4g}, "
            f"smallest={self.smallest:.4g}, floor={self.floor:.2g}, rank={self.rank()}, "
            f"effective_rank={self.effective_rank:.4g})"
        )


# A matrix, or what has one on configurations.
Given = ArrayLike | QSNTK | InfiniteWidthKernel | EmpiricalKernel


def spectrum(
    kernel: Given, states: ArrayLike | None = None, *, residual: ArrayLike | None = None
) -> Spectrum:
    """The spectrum of a kernel, and what is left to learn in each of its modes.

    Args:
        kernel: A matrix (n, n), symmetric or Hermitian; a :class:`~netket_qsntk.kernels.QSNTK`; or an
            infinite-width or empirical kernel, together with ``states``. Where ψ₁ and ψ₂ train
            independently with the same kernel it is listed once, with different ones the modes of both are;
            where they mix the modes are those of Ω_RI.
        states: Configurations (n, sites).
        residual: ψ_T - ψ at the configurations, (n,) real or complex.

    Returns:
        The spectrum. Cost: one symmetric eigendecomposition, without eigenvectors if no residual is given.

    Raises:
        InvalidConfigurationsError: The kernel is not square, the residual is not of its length, or states
            are missing.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(100, sigma_w=2.0))
        >>> found = qs.kernels.spectrum(kernel, nk.hilbert.Spin(0.5, 4).all_states())
        >>> found.rank(), found.max_learning_rate > 0
        (16, True)
    """
    blocks = _blocks(kernel, states)
    n = len(blocks[0][0]) // (2 if blocks[0][1] == "both" else 1)
    amplitudes = None if residual is None else np.asarray(residual)
    if amplitudes is not None and amplitudes.shape != (n,):
        raise InvalidConfigurationsError(
            f"residual has shape {amplitudes.shape}: expected ({n},), one amplitude for each configuration."
        )
    values, shares = [], []
    for matrix, which in blocks:
        if amplitudes is None:
            values.append(scipy.linalg.eigvalsh(matrix))
            continue
        eigenvalues, modes = scipy.linalg.eigh(matrix)
        seen = {
            "each": amplitudes,
            "real": amplitudes.real,
            "imag": amplitudes.imag,
            "both": np.concatenate([amplitudes.real, amplitudes.imag]),
        }[which]
        values.append(eigenvalues)
        shares.append(np.abs(modes.conj().T @ seen) ** 2 / n)
    eigenvalues = np.concatenate(values)
    order = np.argsort(eigenvalues)[::-1]
    if amplitudes is None:
        return Spectrum(eigenvalues[order], n)
    loss = float((np.abs(amplitudes) ** 2).sum() / n)
    return Spectrum(eigenvalues[order], n, np.concatenate(shares)[order], loss)


def _blocks(kernel: Given, states: ArrayLike | None) -> list[tuple[np.ndarray, str]]:
    """Matrices to diagonalise, each with the part of the residual that it moves."""
    if isinstance(kernel, InfiniteWidthKernel | EmpiricalKernel):
        if states is None:
            raise InvalidConfigurationsError(
                f"{type(kernel).__name__} is a function: expected spectrum(kernel, states), for instance "
                "hilbert.all_states()."
            )
        x = check_configurations(states, "states")
        if not len(x):
            raise InvalidConfigurationsError("states is empty: expected configurations (n, sites).")
        if isinstance(kernel, InfiniteWidthKernel):
            matrix = kernel.ntk(x)
            if not kernel.is_real:
                return [(np.asarray(each_part(matrix, kernel.n_parts)), "each")]
            return [(np.asarray(matrix), "each" if kernel.n_parts == 2 else "real")]
        kernel = kernel.qsntk(x)
    if isinstance(kernel, QSNTK):
        shape = kernel.theta_11.shape
        first, second = np.asarray(kernel.theta_11), np.asarray(kernel.theta_22)
        if not kernel.is_decoupled():
            return [(_square(np.asarray(kernel.omega_ri)), "both")]
        if not second.any():
            return [(_square(first), "real")]
        if shape == second.shape and np.array_equal(first, second):
            return [(_square(first), "each")]
        return [(_square(first), "real"), (_square(second), "imag")]
    return [(_square(np.asarray(kernel)), "each")]


def _square(matrix: np.ndarray) -> np.ndarray:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise InvalidConfigurationsError(
            f"A spectrum is that of a square matrix, got shape {matrix.shape}; a kernel between x and "
            "y = x has one."
        )
    return matrix

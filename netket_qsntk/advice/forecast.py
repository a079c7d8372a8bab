r"""What the modes say of a run: steps to an accuracy, its last rate, noise.

Along mode k of T the force φ_k = 2⟨δψ_k|H|ψ⟩ pulls ψ toward states of excitation energy ω_k = ⟨δψ_k|H - E|δψ_k⟩.
With the couplings between modes left out, the lowest energy that they and ψ reach together is E - g, where

.. math:: g = \sum_k g_k, \qquad g_k = \frac{\varphi_k^2/4}{\omega_k + g},

(φ_k²/4ω_k near the ground state; (√(ω²+φ²) - ω)/2 for one mode alone, a problem of two levels). Excitation energies
are counted from there, where the run ends: from a start high in the spectrum ω_k itself is small or negative. SR with
rate η and shift λ gains g as

.. math:: E(t) - E_\min = \sum_k g_k e^{-4 \eta r_k t}, \qquad r_k = (\omega_k + g + g_k) \frac{s_k}{s_k + \lambda}

(s_k for s_k/(s_k+λ) with gradient descent): imaginary time, slowed down where λ holds a mode back. Noisy forces hold
the energy above the minimum by (η/4) Σ_k s_k/(s_k+λ) · err_k² once the signal is gone.
"""

from dataclasses import dataclass

import numpy as np

from netket_qsntk.advice.modes import TangentModes

__all__ = ["Outlook", "noise_of", "outlook"]

_NEVER = 10**7
# Excitation energies below this share of the largest are noise of few samples.
_LEAST_ENERGY = 0.02


@dataclass(frozen=True)
class Outlook:
    """A run, mode by mode.

    Attributes:
        gains: g (r,).
        rates: r_k (r,).
    """

    gains: np.ndarray
    rates: np.ndarray

    @property
    def gain(self) -> float:
        """Energy to gain in all."""
        return float(self.gains.sum())

    def remaining(self, steps: float, learning_rate: float) -> float:
        """E(t) - E_min.

        Example:
            >>> import numpy as np
            >>> Outlook(np.array([2.0]), np.array([1.0])).remaining(10, 0.0)
            2.0
        """
        return float(self.gains @ np.exp(-4 * learning_rate * steps * self.rates))

    def steps_to(self, energy: float, learning_rate: float) -> float:
        """Steps until E(t) - E_min is ``energy``; ∞ beyond ten million."""
        if self.remaining(_NEVER, learning_rate) > energy:
            return float("inf")
        low, high = 0, _NEVER
        while high - low > 1:
            middle = (low + high) // 2
            if self.remaining(middle, learning_rate) > energy:
                low = middle
            else:
                high = middle
        return float(high)

    def late_rate(self, energy: float) -> float:
        """The smallest r_k of the modes with more than their part of ``energy`` to gain; 0 without any."""
        relevant = self.rates[self.gains > energy / max(1, len(self.gains))]
        return float(relevant.min()) if relevant.size else 0.0


def outlook(modes: TangentModes, diag_shift: float | None) -> Outlook:
    """The run that modes with energies foresee; forces that samples do not resolve are shrunk by SNR²/(1 + SNR²).

    Args:
        modes: With energies.
        diag_shift: λ; None for gradient descent.
    """
    if modes.excited is None or modes.force is None:
        return Outlook(np.zeros(0), np.zeros(0))
    signal = modes.signal_to_noise
    weight = np.ones_like(modes.force)
    if signal is not None:
        known = np.isfinite(signal)
        weight[known] = signal[known] ** 2 / (1 + signal[known] ** 2)
    omega = np.diag(modes.excited)
    omega = np.maximum(omega, _LEAST_ENERGY * np.abs(omega).max(initial=0.0) + 1e-300)
    force = weight * modes.force
    gain = _gain(omega, force)
    gains = force**2 / (4 * (omega + gain))
    speed = modes.eigenvalues if diag_shift is None else modes.filter(diag_shift)
    return Outlook(gains, (omega + gain + gains) * speed)


def _gain(omega: np.ndarray, force: np.ndarray) -> float:
    """The root g of g = Σ φ²/4(ω + g), by bisection: the right side falls with g, and is below ‖φ‖/2 at ‖φ‖/2."""
    low, high = 0.0, 0.5 * float(np.linalg.norm(force))
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = middle > float(np.sum(force**2 / (4 * (omega + middle))))
        low, high = (low, middle) if above else (middle, high)
    return high


def noise_of(modes: TangentModes, diag_shift: float | None) -> float:
    """Energy per unit of learning rate that the noise of the forces adds."""
    if modes.error is None:
        return 0.0
    speed = modes.eigenvalues if diag_shift is None else modes.filter(diag_shift)
    return float(0.25 * speed @ modes.error**2)

"""What is logged of one kernel."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk import spectral
from netket_qsntk.advice.modes import whole_clusters
from netket_qsntk.advice.rows import real_view
from netket_qsntk.kernels import QSNTK, EmpiricalKernel
from netket_qsntk.wavefunction import PureWaveFunction

__all__ = ["Logged", "kernel_within", "summarise"]

# A number of a step, or an array over modes.
Logged = float | np.ndarray


def kernel_within(network: PureWaveFunction, x: Array, memory: int) -> QSNTK:
    """The kernel of a network on configurations x (m, sites), from Jacobians of at most ``memory`` bytes."""
    vector, _ = real_view(network.parameters)
    row = 2 * vector.nbytes
    # A kernel of x with itself holds one Jacobian; one by blocks two chunks, and the next on their way.
    chunk = None if len(x) * row <= memory else max(1, memory // (4 * row))
    return EmpiricalKernel(network, chunk_size=chunk, show_progress=False).qsntk(x)


def summarise(
    kernel: QSNTK,
    start: Array,
    velocity: Array | None,
    slope: Array | None,
    size: float,
    n_modes: int,
) -> dict[str, Logged]:
    """What is logged of one kernel (m configurations).

    Args:
        kernel: At the present parameters.
        start: Ω_RI at the initial ones.
        velocity: J dθ of the update, (m,), or None.
        slope: J∇L, (m,), or None.
        size: ‖∇L‖².
        n_modes: Modes counted as top, and all that are equal to the last of them: inside a cluster of equal
            eigenvalues the eigenvectors, and shares of some of them, are arbitrary.
    """
    omega = kernel.omega_ri
    is_real = not np.any(kernel.theta_22)
    eigenvalues, vectors = np.linalg.eigh(np.asarray(kernel.theta_11 if is_real else omega))
    top = eigenvalues[-1]
    live = eigenvalues[eigenvalues > spectral.floor_of(eigenvalues)]
    norm = [float(jnp.linalg.norm(t)) for t in (kernel.theta_11, kernel.theta_22, kernel.theta_12)]
    product = np.sqrt(norm[0] * norm[1])
    out = {
        "largest_eigenvalue": float(top),
        "smallest_eigenvalue": float(max(eigenvalues[0], 0.0)),
        "condition_number": spectral.condition_number(live) if live.size else float("inf"),
        "effective_rank": spectral.effective_rank(eigenvalues),
        "drift": _relative(omega, start),
        "decoupling_error": norm[2] / product if product > 0 else 0.0,
        "eigenvalues": eigenvalues[::-1],
    }
    n_modes = whole_clusters(eigenvalues[::-1], n_modes, float(np.finfo(eigenvalues.dtype).eps))
    if velocity is not None:
        components = _components(vectors, velocity)
        total = components.sum()
        out["alignment"] = float(components[-n_modes:].sum() / total) if total > 0 else 0.0
    if slope is not None:
        live_top = live[-n_modes:]
        along = _components(vectors, slope)[len(eigenvalues) - len(live_top) :] / live_top
        out["gradient_alignment"] = float(along.sum() / size) if size > 0 else 0.0
    return out


def _components(vectors: np.ndarray, change: Array) -> np.ndarray:
    """Squared components along the modes of a change of the function, (m,) complex."""
    is_real = len(vectors) == len(change)
    parts = [np.real(change)] if is_real else [np.real(change), np.imag(change)]
    return (vectors.T @ np.concatenate(parts)) ** 2


def _relative(now: Array, start: Array) -> float:
    """‖now - start‖/‖start‖, 0 for two kernels that vanish."""
    change, size = float(jnp.linalg.norm(now - start)), float(jnp.linalg.norm(start))
    return change / size if size > 0 else (float("inf") if change > 0 else 0.0)
